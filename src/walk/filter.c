/*
 * filter.c
 *		The caller's filter: a boolean SQL expression over a relation's columns,
 *		and the values of its parameters.
 *
 * A filter is put between parentheses into generated queries.  That is sound
 * only for text that by itself is one whole expression: the server's grammar is
 * asked, in the mode made for PL/pgSQL's expressions, and whatever else that
 * mode allows (a FROM, several columns, an alias) is refused.  A newline after
 * the text ends a comment in it.  Types and names are checked by the query's
 * own parse analysis.
 *
 * The filter's parameters keep their numbers in every query, the query's own are
 * numbered after them, so that the text need not be changed.  Their types are
 * what parse analysis makes of them, as for PREPARE; values are never written
 * into SQL.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parse_param.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"

#include "base/compat.h"
#include "base/parse.h"
#include "walk/filter.h"

/* What find_parameters() looks for */
typedef struct ParameterSearch
{
	int			highest;
	bool		below_one;		/* $0 */
	bool		clock_literal;
	bool		qualified;		/* a column is written with a qualifier */
} ParameterSearch;

/* A JSON array that is read into an SQL array */
typedef struct ArrayRead
{
	Oid			type;			/* of elements */
	int32		typmod;			/* that a domain gives them, or -1 */
	FmgrInfo	input;
	Oid			typioparam;
	int			ndims;
	int			dims[MAXDIM];
	int			scalars_at;		/* number of dimensions, once an element has been read; else 0 */
	ArrayBuildState *elements;
} ArrayRead;

/* The value that is being read, for messages */
typedef struct ValueRead
{
	const BoundFilter *filter;
	int			number;
} ValueRead;

static bool find_parameters(Node *node, void *search);
static Node *put_values(Node *node, void *arg);
static bool names_the_clock(const char *literal);
pg_noreturn static void report_not_expression(const char *detail);
static void check_count(int nargs, Jsonb *args);
static void add_qualifier_hint(void *filter);
static void setup_parameters(ParseState *pstate, void *filter);
static Datum read_parameter(const BoundFilter *filter, int i, const JsonbValue *value, bool *isnull);
static bool is_array_type(Oid type);
static void add_value_context(void *arg);
static char *parameter_text(const JsonbValue *value, Oid type);
static Datum read_array(const BoundFilter *filter, int i, JsonbContainer *array, Oid base_type);
static void add_elements(ArrayRead *read, JsonbContainer *array, int depth);
pg_noreturn static void report_ragged(void);

/*
 * A filter as it is given, with the parameters that it has, in the current memory
 * context; their types are not known yet.  Errors: 42601 it is not one expression,
 * 42P02 it has parameters without a value, 22023 there are values without a
 * parameter, or args is not an array.
 */
BoundFilter *
filter_parse(const Filter *given)
{
	BoundFilter *filter = palloc0(sizeof(BoundFilter));
	char	   *complaint;
	List	   *parsed = parse_text(given->text, RAW_PARSE_PLPGSQL_EXPR, &complaint);
	ParameterSearch search = {0};
	SelectStmt *select;
	ResTarget  *target;

	if (complaint != NULL)
		report_not_expression(psprintf("The parser says: %s.", complaint));

	select = castNode(SelectStmt, linitial_node(RawStmt, parsed)->stmt);
	if (list_length(select->targetList) != 1 ||
		select->distinctClause != NIL || select->fromClause != NIL ||
		select->whereClause != NULL || select->groupClause != NIL ||
		select->havingClause != NULL || select->windowClause != NIL ||
		select->sortClause != NIL || select->limitOffset != NULL ||
		select->limitCount != NULL || select->lockingClause != NIL)
		report_not_expression("It has clauses of a query.");
	target = linitial_node(ResTarget, select->targetList);
	if (target->name != NULL || target->indirection != NIL)
		report_not_expression("It has an alias.");
	(void) find_parameters(target->val, &search);
	if (search.below_one)
		report_not_expression("Parameters are numbered from $1.");
	check_count(search.highest, given->args);

	filter->text = pstrdup(given->text);
	filter->clock_literal = search.clock_literal;
	filter->qualified = search.qualified;
	filter->nargs = search.highest;
	return filter;
}

/* Walks the raw expression. */
static bool
find_parameters(Node *node, void *context)
{
	ParameterSearch *search = context;

	if (node == NULL)
		return false;
	if (IsA(node, ParamRef))
	{
		search->highest = Max(search->highest, ((ParamRef *) node)->number);
		search->below_one |= ((ParamRef *) node)->number < 1;
		return false;
	}
	if (IsA(node, ColumnRef))
		search->qualified |= list_length(((ColumnRef *) node)->fields) > 1;
	if (IsA(node, A_Const))
	{
		A_Const    *constant = (A_Const *) node;

		if (!constant->isnull && IsA(&constant->val, String) &&
			names_the_clock(strVal(&constant->val)))
			search->clock_literal = true;
		return false;
	}
	return raw_expression_tree_walker(node, find_parameters, context);
}

/* Are there as many values as parameters?  Errors: 42P02, 22023. */
static void
check_count(int nargs, Jsonb *args)
{
	int			nvalues = 0;

	if (args != NULL)
	{
		if (!JB_ROOT_IS_ARRAY(args) || JB_ROOT_IS_SCALAR(args))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("args must be a JSON array"),
					 errhint("Give the values of $1, $2 and so on in this order: '[7, \"x\"]'.")));
		nvalues = JB_ROOT_COUNT(args);
	}
	if (nvalues < nargs)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_PARAMETER),
				 args == NULL ? errmsg("filter has a parameter $%d, but there are no args", nargs) :
				 errmsg("args has no value for $%d of filter", nargs),
				 errhint("Give the values of $1, $2 and so on in this order: args => '[7, \"x\"]'.")));
	if (nvalues > nargs)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 nargs == 0 ? errmsg("args is given, but filter has no parameters") :
				 errmsg("args has more values than filter has parameters, %d rather than %d", nvalues, nargs),
				 errhint("Write $1, $2 and so on in the filter where the values belong: 'kind = $1 AND name = $2'.")));
}

/*
 * Find out the types of the filter's parameters, by its use with the relation that
 * stands in FROM.  Returns its condition after parse analysis, the relation being
 * number 1; all in the current memory context.  SPI must be connected.  Errors: 42P18
 * no type can be found, 42P08 different ones are, and those of the query.
 */
Node *
filter_find_types(BoundFilter *filter, const char *from)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *query = psprintf("SELECT FROM %s WHERE (%s\n)", from, filter->text);
	ErrorContextCallback callback = {error_context_stack, add_qualifier_hint, filter};
	SPIPlanPtr	plan;
	CachedPlanSource *source;
	Node	   *quals;

	filter->types = palloc0(Max(filter->nargs, 1) * sizeof(Oid));

	/* in WHERE, so that its type and its functions are judged as there */
	error_context_stack = &callback;
	plan = filter->nargs == 0 ? SPI_prepare(query, 0, NULL) :
		SPI_prepare_params(query, setup_parameters, filter, 0);
	error_context_stack = callback.previous;
	source = linitial(SPI_plan_get_plan_sources(plan));
	MemoryContextSwitchTo(context); /* SPI leaves us in its own */
	quals = copyObject(linitial_node(Query, source->query_list)->jointree->quals);
	SPI_freeplan(plan);

	filter->type_names = palloc(Max(filter->nargs, 1) * sizeof(char *));
	filter->inputs = palloc(Max(filter->nargs, 1) * sizeof(FmgrInfo));
	filter->typioparams = palloc(Max(filter->nargs, 1) * sizeof(Oid));
	for (int i = 0; i < filter->nargs; i++)
	{
		Oid			function;

		if (!OidIsValid(filter->types[i]) || filter->types[i] == UNKNOWNOID)
			ereport(ERROR,
					(errcode(ERRCODE_INDETERMINATE_DATATYPE),
					 errmsg("could not determine data type of parameter $%d", i + 1),
					 errhint("Say its type in the filter, as in $%d::bigint.", i + 1)));
		filter->type_names[i] = format_type_be(filter->types[i]);
		getTypeInputInfo(filter->types[i], &function, &filter->typioparams[i]);
		fmgr_info(function, &filter->inputs[i]);
	}
	return quals;
}

static void
add_qualifier_hint(void *filter)
{
	if (((const BoundFilter *) filter)->qualified && geterrcode() == ERRCODE_UNDEFINED_TABLE)
		errhint("In a filter, write columns plainly, or with the relation's own name; the argument alias is for predicates alone.");
}

static void
setup_parameters(ParseState *pstate, void *filter)
{
	setup_parse_variable_parameters(pstate, &((BoundFilter *) filter)->types, &((BoundFilter *) filter)->nargs);
}

/* -------------------------------------------------------------------- values */

/*
 * Read the values of the parameters, whose types are known, in the current memory
 * context.  Errors: those of filter_parse(), of the types' input functions, and 22023
 * for JSON arrays and objects that cannot be a value.
 */
void
filter_bind(BoundFilter *filter, Jsonb *args)
{
	check_count(filter->nargs, args);
	if (filter->nargs == 0)
		return;
	filter->values = palloc(filter->nargs * sizeof(Datum));
	filter->nulls = palloc(filter->nargs * sizeof(bool));
	for (int i = 0; i < filter->nargs; i++)
	{
		ValueRead	read = {filter, i + 1};
		ErrorContextCallback callback = {error_context_stack, add_value_context, &read};

		error_context_stack = &callback;
		filter->values[i] = read_parameter(filter, i, getIthJsonbValueFromContainer(&args->root, i),
									   &filter->nulls[i]);
		error_context_stack = callback.previous;
	}
}

/* Which of the parameters are null, as SPI is told it, with so many others that are not. */
char *
filter_spi_nulls(const BoundFilter *filter, int nothers)
{
	int			nargs = filter == NULL ? 0 : filter->nargs;
	char	   *nulls = palloc(nargs + nothers + 1);

	for (int i = 0; i < nargs + nothers; i++)
		nulls[i] = i < nargs && filter->nulls[i] ? 'n' : ' ';
	return nulls;
}

static Datum
read_parameter(const BoundFilter *filter, int i, const JsonbValue *value, bool *isnull)
{
	Oid			base_type = getBaseType(filter->types[i]);
	char	   *text = NULL;
	FmgrInfo	input;

	*isnull = (value->type == jbvNull);
	if (!*isnull)
	{
		text = parameter_text(value, base_type);
		if (text == NULL && JsonContainerIsArray(value->val.binary.data) && is_array_type(base_type))
			return read_array(filter, i, value->val.binary.data, base_type);
		if (text == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a value of type %s cannot be read from a JSON array or object", filter->type_names[i]),
					 errhint("Give the value's text form, as a JSON string.")));
	}
	/* a domain has functions called, which may come here again */
	fmgr_info_copy(&input, &filter->inputs[i], CurrentMemoryContext);
	return InputFunctionCall(&input, text, filter->typioparams[i], -1);
}

/* Those two are arrays to the catalog, but laid out in a way of their own. */
static bool
is_array_type(Oid type)
{
	return OidIsValid(get_element_type(type)) && type != INT2VECTOROID && type != OIDVECTOROID;
}

static void
add_value_context(void *arg)
{
	const ValueRead *read = arg;
	int			code = geterrcode();

	errcontext("value of $%d in args, of type %s", read->number, read->filter->type_names[read->number - 1]);
	if (code == ERRCODE_INVALID_TEXT_REPRESENTATION || code == ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE ||
		code == ERRCODE_INVALID_DATETIME_FORMAT || code == ERRCODE_DATETIME_FIELD_OVERFLOW)
		errhint("Give a value of that type, or say the parameter's type in the filter, as in $%d::text.", read->number);
}

/* The text that a value of this type is read from; NULL for a JSON array or object of another than JSON's types. */
static char *
parameter_text(const JsonbValue *value, Oid type)
{
	switch (value->type)
	{
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
		case jbvBool:
			return value->val.boolean ? "true" : "false";
		case jbvBinary:
			return type != JSONOID && type != JSONBOID ? NULL :
				JsonbToCString(NULL, value->val.binary.data, value->val.binary.len);
		default:
			elog(ERROR, "unexpected kind of JSON value: %d", (int) value->type);
	}
}

/* A JSON array as an SQL array, of several dimensions if it is one of arrays. */
static Datum
read_array(const BoundFilter *filter, int i, JsonbContainer *array, Oid base_type)
{
	ArrayRead	read = {.type = get_element_type(base_type),.typmod = -1};
	int			lower_bounds[MAXDIM];
	Oid			function;
	Datum		value;

	(void) getBaseTypeAndTypmod(filter->types[i], &read.typmod);
	getTypeInputInfo(read.type, &function, &read.typioparam);
	fmgr_info(function, &read.input);
	read.elements = initArrayResult(read.type, CurrentMemoryContext, false);
	add_elements(&read, array, 0);
	for (int dim = 0; dim < MAXDIM; dim++)
		lower_bounds[dim] = 1;
	if (read.elements->nelems == 0)
		value = PointerGetDatum(construct_empty_array(read.type));
	else
		value = makeMdArrayResult(read.elements, read.ndims, read.dims, lower_bounds, CurrentMemoryContext, false);
	if (base_type != filter->types[i])
		domain_check(value, false, filter->types[i], NULL, NULL);
	return value;
}

/* Error: 2202E arrays of different lengths or depths, 54000 too many dimensions. */
static void
add_elements(ArrayRead *read, JsonbContainer *array, int depth)
{
	int			count = JsonContainerSize(array);

	check_stack_depth();
	if (depth == MAXDIM)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("an array has no more than %d dimensions", MAXDIM),
				 errhint("Give fewer arrays within one another.")));
	if (depth == read->ndims)
		read->dims[read->ndims++] = count;
	else if (read->dims[depth] != count)
		report_ragged();

	for (int i = 0; i < count; i++)
	{
		JsonbValue *value = getIthJsonbValueFromContainer(array, i);
		bool		isnull = value->type == jbvNull;
		char	   *text = isnull ? NULL : parameter_text(value, getBaseType(read->type));

		CHECK_FOR_INTERRUPTS();
		if (!isnull && text == NULL && JsonContainerIsArray(value->val.binary.data))
		{
			if (read->scalars_at == depth + 1)
				report_ragged();
			add_elements(read, value->val.binary.data, depth + 1);
			continue;
		}
		if (!isnull && text == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a value of type %s cannot be read from a JSON array or object", format_type_be(read->type)),
					 errhint("Give the value's text form, as a JSON string.")));
		if (read->ndims != depth + 1)
			report_ragged();
		read->scalars_at = depth + 1;
		accumArrayResult(read->elements, InputFunctionCall(&read->input, text, read->typioparam, read->typmod), isnull,
						 read->type, CurrentMemoryContext);
	}
}

static void
report_ragged(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
			 errmsg("arrays within an array must have the same length"),
			 errhint("Give a JSON array of values, or of arrays that are all as long.")));
}

/* Clauses of the filter with the values of one call in the place of its parameters. */
List *
filter_with_values(const BoundFilter *filter, List *clauses)
{
	return filter->nargs == 0 ? clauses : castNode(List, put_values((Node *) clauses, (void *) filter));
}

static Node *
put_values(Node *node, void *arg)
{
	const BoundFilter *filter = arg;

	if (node != NULL && IsA(node, Param) && castNode(Param, node)->paramkind == PARAM_EXTERN)
	{
		Param	   *param = castNode(Param, node);
		int			i = param->paramid - 1;
		int16		length;
		bool		by_value;

		if (i < 0 || i >= filter->nargs || param->paramtype != filter->types[i])
			return (Node *) copyObject(param);
		get_typlenbyval(param->paramtype, &length, &by_value);
		return (Node *) makeConst(param->paramtype, param->paramtypmod, param->paramcollid, length,
								  filter->values[i], filter->nulls[i], by_value);
	}
	return expression_tree_mutator(node, put_values, arg);
}

/* -------------------------------------------------------------------- syntax */

/*
 * Might a date or time type read this literal by the clock?  The words may
 * stand within an array or a range.
 */
static bool
names_the_clock(const char *literal)
{
	static const char *const words[] = {"now", "today", "tomorrow", "yesterday"};

	for (const char *c = literal; *c != '\0'; c++)
		for (size_t i = 0; i < lengthof(words); i++)
			if (pg_strncasecmp(c, words[i], strlen(words[i])) == 0)
				return true;
	return false;
}

static void
report_not_expression(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_SYNTAX_ERROR),
			 errmsg("filter is not a boolean expression"),
			 errdetail_internal("%s", detail),
			 errhint("Write what would follow WHERE, with $1, $2 and so on for the values in args: 'kind = $1 AND created_at > now()'.")));
}
