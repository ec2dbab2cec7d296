/*
 * position_of.c
 *		SQL entry point position_of(), and the form of it that is executed.
 *
 * A row as one value has to be put together for the call, and taken apart again, for
 * a column or two of it.  So where the planner sees that the row is a whole row of FROM, the call
 * becomes one of position_of_columns(), with just these columns.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "nodes/makefuncs.h"
#include "nodes/pathnodes.h"
#include "nodes/supportnodes.h"
#include "parser/parse_func.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "api/arguments.h"
#include "base/relation.h"
#include "key/key_resolve.h"
#include "walk/walk.h"

/* Arguments of position_of_columns() */
#define COLUMNS_ROW 0
#define COLUMNS_KEY 1
#define COLUMNS_ATTNUMS 2
#define COLUMNS_FIRST 3

/* What a call keeps for a statement */
typedef struct PositionOf
{
	MemoryContext context;		/* all of it lives here; it pins the walk */
	Walk	   *walk;
	char	   *key;			/* as given, or NULL */
	Datum	   *values;			/* of the row at hand */
	bool	   *nulls;
} PositionOf;

PG_FUNCTION_INFO_V1(chunked_position_of);
PG_FUNCTION_INFO_V1(chunked_position_of_columns);
PG_FUNCTION_INFO_V1(chunked_position_of_support);

static bool position_of_is_current(const PositionOf *state, const text *key);
static PositionOf *position_of_prepare(FunctionCallInfo fcinfo, const text *key);
static void check_columns(FunctionCallInfo fcinfo, const WalkKey *key);
static Var *row_of_from(const SupportRequestSimplify *request);
static FuncExpr *call_of_columns(const FuncExpr *call, const Var *row, Relation rel);
static Oid	columns_function(Oid position_of);

/*
 * chunked.position_of("row" anyelement, key text) RETURNS jsonb
 *
 * The position of a row of a table, view or the like; null for a null row.
 * Takes AccessShareLock on the relation, for its key; reads no row of it.
 */
Datum
chunked_position_of(PG_FUNCTION_ARGS)
{
	PositionOf *state = (PositionOf *) fcinfo->flinfo->fn_extra;
	text	   *key = PG_ARGISNULL(1) ? NULL : PG_GETARG_TEXT_PP(1);
	HeapTupleHeader row;
	Position	position = {0};

	if (state == NULL || !position_of_is_current(state, key))
		state = position_of_prepare(fcinfo, key);
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	row = PG_GETARG_HEAPTUPLEHEADER(0);

	position.values = state->values;
	position.nulls = state->nulls;
	for (int i = 0; i < state->walk->key->ncolumns; i++)
		position.values[i] = GetAttributeByNum(row, state->walk->key->columns[i].attnum, &position.nulls[i]);
	PG_RETURN_JSONB_P(position_write(state->walk->key, &position));
}

/*
 * chunked.position_of_columns("row" anyelement, key text, attnums smallint[], VARIADIC "any")
 *		RETURNS jsonb
 *
 * What the planner makes of position_of(): the same, of a row whose key's columns
 * are given by themselves.  None of them can be null, unless the row is.  Error: 55000 if they
 * are not the key's, as when it was another when the statement was planned.
 */
Datum
chunked_position_of_columns(PG_FUNCTION_ARGS)
{
	PositionOf *state = (PositionOf *) fcinfo->flinfo->fn_extra;
	text	   *key = PG_ARGISNULL(COLUMNS_KEY) ? NULL : PG_GETARG_TEXT_PP(COLUMNS_KEY);
	Position	position = {0};

	if (state == NULL || !position_of_is_current(state, key))
	{
		state = position_of_prepare(fcinfo, key);
		check_columns(fcinfo, state->walk->key);
	}
	position.values = state->values;
	position.nulls = state->nulls;
	for (int i = 0; i < state->walk->key->ncolumns; i++)
	{
		if (PG_ARGISNULL(COLUMNS_FIRST + i))
			PG_RETURN_NULL();
		position.values[i] = PG_GETARG_DATUM(COLUMNS_FIRST + i);
	}
	PG_RETURN_JSONB_P(position_write(state->walk->key, &position));
}

/*
 * chunked.position_of_support(internal) RETURNS internal: has position_of() of a whole
 * row of FROM executed as position_of_columns().
 *
 * Only for keys without nulls, so that a null says that the row is one, as an
 * outer join makes them.  Errors: those of key_resolve().
 */
Datum
chunked_position_of_support(PG_FUNCTION_ARGS)
{
	Node	   *node = (Node *) PG_GETARG_POINTER(0);
	FuncExpr   *made = NULL;
	Relation	rel = NULL;
	Var		   *row;

	if (!IsA(node, SupportRequestSimplify))
		PG_RETURN_POINTER(NULL);
	row = row_of_from((SupportRequestSimplify *) node);
	if (row != NULL)
		rel = try_relation_open(get_typ_typrelid(row->vartype), AccessShareLock);
	if (rel == NULL)
		PG_RETURN_POINTER(NULL);
	if (rel->rd_rel->relkind == RELKIND_RELATION || rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		made = call_of_columns(((SupportRequestSimplify *) node)->fcall, row, rel);
	relation_close(rel, NoLock);
	PG_RETURN_POINTER(made);
}

/* The call's row, if it is a whole row of the query's FROM, and its key is known; else NULL. */
static Var *
row_of_from(const SupportRequestSimplify *request)
{
	Var		   *row = linitial(request->fcall->args);

	if (request->root == NULL || !IsA(row, Var) || !IsA(lsecond(request->fcall->args), Const) ||
		row->varattno != InvalidAttrNumber || row->varlevelsup > 0 ||
		!OidIsValid(get_typ_typrelid(row->vartype)))
		return NULL;
	return row;
}

/* The call of position_of_columns() for the same; or NULL. */
static FuncExpr *
call_of_columns(const FuncExpr *call, const Var *row, Relation rel)
{
	const Const *key_text = lsecond_node(Const, call->args);
	Oid			function = columns_function(call->funcid);
	MemoryContext context = CurrentMemoryContext;
	MemoryContext resolved;
	Datum	   *attnums;
	List	   *columns = NIL;
	const WalkKey *key;

	if (!OidIsValid(function))
		return NULL;
	resolved = AllocSetContextCreate(context, "pg_chunked position_of", ALLOCSET_SMALL_SIZES);
	MemoryContextSwitchTo(resolved);
	key = key_resolve(rel, key_text->constisnull ? NULL : TextDatumGetCString(key_text->constvalue));
	MemoryContextSwitchTo(context);

	attnums = palloc(key->ncolumns * sizeof(Datum));
	for (int i = 0; i < key->ncolumns; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(RelationGetDescr(rel), key->columns[i].attnum - 1);
		Var		   *column = copyObject((Var *) row);

		if (key->columns[i].nullable)
			break;
		attnums[i] = Int16GetDatum(attr->attnum);
		column->varattno = attr->attnum;
		column->varnosyn = 0;
		column->varattnosyn = 0;
		column->vartype = attr->atttypid;
		column->vartypmod = attr->atttypmod;
		column->varcollid = attr->attcollation;
		columns = lappend(columns, column);
	}
	if (list_length(columns) < key->ncolumns)
		columns = NIL;
	else
	{
		ArrayType  *array = construct_array(attnums, key->ncolumns, INT2OID, sizeof(int16), true, TYPALIGN_SHORT);
		Const	   *null_row = makeNullConst(row->vartype, -1, InvalidOid);
		Const	   *numbers = makeConst(INT2ARRAYOID, -1, InvalidOid, -1, PointerGetDatum(array), false, false);

		columns = list_concat(list_make3(null_row, copyObject((Const *) key_text), numbers), columns);
	}
	MemoryContextDelete(resolved);
	return columns == NIL ? NULL :
		makeFuncExpr(function, call->funcresulttype, columns, InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
}

/* It is where position_of() is. */
static Oid
columns_function(Oid position_of)
{
	const Oid	types[] = {ANYELEMENTOID, TEXTOID, INT2ARRAYOID, ANYOID};
	List	   *name = list_make2(makeString(get_namespace_name(get_func_namespace(position_of))),
								  makeString("position_of_columns"));

	return LookupFuncName(name, lengthof(types), types, true);
}

/* Are the columns that were given the key's? */
static void
check_columns(FunctionCallInfo fcinfo, const WalkKey *key)
{
	Oid			row_type = get_fn_expr_argtype(fcinfo->flinfo, COLUMNS_ROW);
	bool		same = !PG_ARGISNULL(COLUMNS_ATTNUMS) && PG_NARGS() == COLUMNS_FIRST + key->ncolumns;
	Relation	rel = relation_open(get_typ_typrelid(row_type), NoLock);
	Datum	   *attnums = NULL;
	int			nattnums = 0;

	if (same)
		deconstruct_array(PG_GETARG_ARRAYTYPE_P(COLUMNS_ATTNUMS), INT2OID, sizeof(int16), true, TYPALIGN_SHORT,
						  &attnums, NULL, &nattnums);
	same = same && nattnums == key->ncolumns;
	for (int i = 0; same && i < key->ncolumns; i++)
		same = DatumGetInt16(attnums[i]) == key->columns[i].attnum && !key->columns[i].nullable &&
			get_fn_expr_argtype(fcinfo->flinfo, COLUMNS_FIRST + i) ==
			TupleDescAttr(RelationGetDescr(rel), key->columns[i].attnum - 1)->atttypid;
	if (!same)
	{
		fcinfo->flinfo->fn_extra = NULL;	/* if called again, it is looked at again */
		relation_report_changed(RelationGetRelationName(rel));
	}
	relation_close(rel, NoLock);
}

/* Is that what position_of_prepare() would find out again? */
static bool
position_of_is_current(const PositionOf *state, const text *key)
{
	return state->walk->valid && (key == NULL) == (state->key == NULL) &&
		(key == NULL || (VARSIZE_ANY_EXHDR(key) == strlen(state->key) &&
						 memcmp(VARDATA_ANY(key), state->key, VARSIZE_ANY_EXHDR(key)) == 0));
}

/*
 * Find out once a statement, or after the relation has changed within it or
 * another key was given, what the key of the rows is.
 */
static PositionOf *
position_of_prepare(FunctionCallInfo fcinfo, const text *key)
{
	Oid			row_type = get_fn_expr_argtype(fcinfo->flinfo, 0);
	PositionOf *state = (PositionOf *) fcinfo->flinfo->fn_extra;
	MemoryContext context;
	MemoryContext caller;
	Relation	rel;

	/* if the type is gone, relation_of_row_type() says so */
	if (!OidIsValid(get_typ_typrelid(row_type)) && SearchSysCacheExists1(TYPEOID, ObjectIdGetDatum(row_type)))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("position_of() takes a whole row of a table, not a value of type %s",
						format_type_be(row_type)),
				 row_type == RECORDOID ?
				 errhint("Write chunked.position_of(e), where e is the table or its alias in FROM; a subquery's rows are of no table. In PL/pgSQL, declare the variable with the table's type, as in r event, not r record.") :
				 errhint("Write chunked.position_of(e), where e is the table or its alias in FROM; where a column has the alias's name, choose another alias.")));
	if (state != NULL)
	{
		fcinfo->flinfo->fn_extra = NULL;
		MemoryContextDelete(state->context);	/* unpins the walk */
	}
	rel = argument_open_row_type(fcinfo, 0);

	context = AllocSetContextCreate(fcinfo->flinfo->fn_mcxt, "pg_chunked position_of", ALLOCSET_SMALL_SIZES);
	caller = MemoryContextSwitchTo(context);
	state = palloc0(sizeof(PositionOf));
	state->context = context;
	state->key = key == NULL ? NULL : text_to_cstring(key);
	state->walk = walk_open(rel, state->key, NULL);
	state->values = palloc0(state->walk->key->ncolumns * sizeof(Datum));
	state->nulls = palloc0(state->walk->key->ncolumns * sizeof(bool));
	MemoryContextSwitchTo(caller);
	table_close(rel, NoLock);
	fcinfo->flinfo->fn_extra = state;
	return state;
}

