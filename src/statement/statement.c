/*
 * statement.c
 *		A job's statement: SQL with {chunk} where a chunk's condition belongs.
 *
 * The placeholders are found by the server's own scanner, so that a brace
 * within a literal, a comment or a quoted name is left alone.  A chunk's
 * condition is put in with parameters of the key's types: chunks of the same
 * shape share one plan, made for the values of the first of them.
 */
#include "postgres.h"

#include <ctype.h>

#include "common/keywords.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "parser/parser.h"
#include "parser/scanner.h"
#include "tcop/dest.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/varlena.h"

#include "base/compat.h"
#include "base/parse.h"
#include "chunk/condition.h"
#include "key/redirect.h"
#include "statement/full_scan.h"
#include "statement/statement.h"
#include "statement/statement_check.h"
#include "statement/statement_plan.h"

/* Shapes of a chunk's condition whose plans are kept: a ladder has some more */
#define MAX_PLANS 16

/* A chunk of so many times the rows is planned for by itself */
#define REPLAN_GROWTH 10

/* Stands for placeholders where a statement is just parsed; no name that anybody gives */
#define MARKER "{chunk}"

typedef struct Placeholder
{
	int			start;			/* byte offsets into the text */
	int			end;
	char	   *alias;			/* quoted, or NULL */
} Placeholder;

typedef struct StatementPlan
{
	char	   *sql;
	SPIPlanPtr	plan;
	int			generation;		/* of the plan that was checked; 0: none yet */
	double		rows;			/* that it was planned for; 0: not known */
} StatementPlan;

struct Statement
{
	/* fixed */
	MemoryContext context;
	char	   *text;
	List	   *placeholders;	/* Placeholder *, from left to right */

	/* changing */
	int			nplans;
	StatementPlan plans[MAX_PLANS];
	SPIPlanPtr	plan;			/* of the chunk in hand */
	ParamListInfo params;
	double		rows;			/* of that chunk; 0: not known */
};

static void find_placeholders(Statement *statement);
static Placeholder *read_placeholder(const char *text, const int *places, int nplaces, int at);
static char *read_identifier(const char *text, int from, int to);
static void check_parsed(const Statement *statement);
static bool is_restricted(Node *node, void *context);
static bool has_marker(Node *condition);
static bool merges_matched(const List *clauses);
static bool has_into(const SelectStmt *select);
static char *expand(const Statement *statement, const Walk *walk, const Range *range, double rows,
					RangeQuery **query);
static StatementPlan *find_plan(Statement *statement, const Walk *walk, const char *sql,
								const RangeQuery *query);
static bool has_types(SPIPlanPtr plan, const RangeQuery *query);
static void hint_at_alias(void *arg);
static void check(const Statement *statement, const Walk *walk, SPIPlanPtr plan);

/*
 * Read a statement, in a memory context of its own under the current one.
 * Errors: 42601 it has no {chunk}, a malformed one, a parameter or a syntax
 * error, or is more than one statement; 0A000 it is of another kind than
 * INSERT, UPDATE, DELETE, MERGE and SELECT, or {chunk} does not restrict it.
 */
Statement *
statement_parse(const char *text)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pg_chunked statement",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	Statement  *statement = palloc0(sizeof(Statement));

	statement->context = context;
	statement->text = pstrdup(text);
	find_placeholders(statement);
	check_parsed(statement);
	MemoryContextSwitchTo(caller);
	return statement;
}

void
statement_free(Statement *statement)
{
	for (int i = 0; i < statement->nplans; i++)
		SPI_freeplan(statement->plans[i].plan);
	MemoryContextDelete(statement->context);
}

/* The statement for a range of so many rows, as one would write it by hand. */
char *
statement_with_literals(const Statement *statement, const Walk *walk, const Range *range, double rows)
{
	return expand(statement, walk, range, rows, NULL);
}

/*
 * Make ready to execute the statement for a range of so many rows (0: not
 * known).  SPI must be connected, and stay so until it is executed.  Errors:
 * those of statement_check(), of parse analysis and of planning.
 */
void
statement_prepare(Statement *statement, const Walk *walk, const Range *range, double rows)
{
	RangeQuery *query = NULL;
	StatementPlan *slot = NULL;
	ParamListInfo params;
	int			generation;

	/* a filter's chunk has more rows, which the statement sees, than it counts */
	statement->rows = walk->filter == NULL ? rows : 0;
	if (!walk->redirected)
	{
		char	   *sql = expand(statement, walk, range, rows, &query);

		slot = find_plan(statement, walk, sql, query);
	}
	/* where a plan for parameters cannot be had, or not kept: one a chunk, for its values */
	if (slot == NULL ||
		((slot->generation == 0 || !SPI_plan_is_valid(slot->plan)) && redirect_of_plan(slot->plan)))
	{
		query = palloc0(sizeof(RangeQuery));
		slot = find_plan(statement, walk, expand(statement, walk, range, rows, NULL), query);
	}
	params = makeParamList(query->nparams);
	for (int i = 0; i < query->nparams; i++)
	{
		params->params[i].value = query->values[i];
		params->params[i].ptype = query->types[i];
		params->params[i].isnull = false;
		params->params[i].pflags = 0;	/* not a constant: the plan is kept */
	}
	statement->params = params;
	statement->plan = slot->plan;
	statement_plan_make(statement->plan, walk, params, statement->rows);

	/* planned anew: something under it has changed, and its names with it */
	generation = ((CachedPlanSource *) linitial(SPI_plan_get_plan_sources(slot->plan)))->generation;
	if (slot->generation != 0 && slot->generation != generation)
		check(statement, walk, slot->plan);
	if (slot->generation != generation)
		slot->rows = statement->rows;
	slot->generation = generation;
}

/* What it is executed by, once prepared. */
SPIPlanPtr
statement_plan(const Statement *statement)
{
	return statement->plan;
}

/* Execute it; returns the rows that it processed. */
int64
statement_execute(Statement *statement)
{
	SPIExecuteOptions options = {0};
	int			result;

	options.params = statement->params;
	options.dest = None_Receiver;
	result = SPI_execute_plan_extended(statement->plan, &options);
	if (result < 0)
		elog(ERROR, "SPI_execute_plan_extended failed: %s", SPI_result_code_string(result));
	return (int64) SPI_processed;
}

/*
 * Refuse the prepared statement if it reads a large table in full, which it
 * would do for every one of so many chunks.  SPI must be connected.  Error:
 * 0A000, with the index to create.
 */
void
statement_check_plan(Statement *statement, const Walk *walk, double nchunks)
{
	full_scan_refuse(statement->plan, walk, statement->rows, nchunks);
}

/* The plan of the prepared statement, as EXPLAIN shows it. */
char *
statement_explain(Statement *statement)
{
	return statement_plan_explain(statement->plan, statement->params);
}

/* ------------------------------------------------------------ placeholders */

/* Scan the text for {chunk} and {chunk:alias}, and for what must not be there. */
static void
find_placeholders(Statement *statement)
{
	const char *text = statement->text;
	core_yy_extra_type extra;
	core_yyscan_t scanner = scanner_init(text, &extra, &ScanKeywords, ScanKeywordTokens);
	core_YYSTYPE value;
	YYLTYPE		place;
	int			ntokens = 0;
	int			room = 64;
	int		   *places = palloc(room * sizeof(int));

	while (core_yylex(&value, &place, scanner) != 0)
	{
		if (ntokens == room)
			places = repalloc(places, (room *= 2) * sizeof(int));
		places[ntokens++] = place;
	}
	scanner_finish(scanner);

	for (int i = 0; i < ntokens; i++)
	{
		if (text[places[i]] == '$' && isdigit((unsigned char) text[places[i] + 1]))
			ereport(ERROR,
					(errcode(ERRCODE_SYNTAX_ERROR),
					 errmsg("the statement has a parameter"),
					 errhint("Write values into the statement; format() with %%L quotes them.")));
		if (text[places[i]] == '{')
			statement->placeholders = lappend(statement->placeholders,
											  read_placeholder(text, places, ntokens, i));
	}
	if (statement->placeholders == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("the statement has no {chunk}"),
				 errhint("Write {chunk} where the chunk's condition belongs: UPDATE event SET kind = 0 WHERE kind IS NULL AND {chunk}.")));
}

/* The placeholder at the brace that is token number "at" of those at these places. */
static Placeholder *
read_placeholder(const char *text, const int *places, int nplaces, int at)
{
	Placeholder *placeholder = palloc0(sizeof(Placeholder));
	int			close = at + 1;
	int			ntokens;
	bool		good = false;

	while (close < nplaces && text[places[close]] != '}')
		close++;
	ntokens = close - at - 1;	/* between the braces */
	placeholder->start = places[at];
	placeholder->end = close < nplaces ? places[close] + 1 : (int) strlen(text);
	if (close < nplaces && (ntokens == 1 || (ntokens == 3 && text[places[at + 2]] == ':')))
	{
		char	   *word = read_identifier(text, places[at + 1], places[ntokens == 1 ? close : at + 2]);

		good = word != NULL && strcmp(word, "chunk") == 0;
		if (good && ntokens == 3)
		{
			word = read_identifier(text, places[at + 3], places[close]);
			good = word != NULL;
			if (good)
				placeholder->alias = pstrdup(quote_identifier(word));
		}
	}
	if (!good)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("unknown placeholder %s", pnstrdup(text + placeholder->start,
														   placeholder->end - placeholder->start)),
				 errhint("Write {chunk}, or {chunk:e} where the table has the alias e.")));
	return placeholder;
}

/* The name that a piece of the text is, or NULL if it is none. */
static char *
read_identifier(const char *text, int from, int to)
{
	List	   *names;

	if (!(isalpha((unsigned char) text[from]) || text[from] == '_' || text[from] == '"' ||
		  IS_HIGHBIT_SET(text[from])))
		return NULL;
	if (!SplitIdentifierString(pnstrdup(text + from, to - from), '.', &names) || list_length(names) != 1)
		return NULL;
	return linitial(names);
}

/* Is it one statement, of a kind that works on rows? */
static void
check_parsed(const Statement *statement)
{
	StringInfoData buf;
	int			from = 0;
	ListCell   *lc;
	char	   *complaint;
	List	   *parsed;
	Node	   *stmt;

	initStringInfo(&buf);
	foreach(lc, statement->placeholders)
	{
		Placeholder *placeholder = lfirst(lc);

		appendBinaryStringInfo(&buf, statement->text + from, placeholder->start - from);
		appendStringInfoString(&buf, "(\"" MARKER "\")");
		from = placeholder->end;
	}
	appendStringInfoString(&buf, statement->text + from);

	parsed = parse_text(buf.data, RAW_PARSE_DEFAULT, &complaint);
	if (complaint != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("the statement is malformed: %s", complaint),
				 strstr(complaint, "\"(\"") != NULL ?
				 errhint("{chunk} is a condition: it goes into WHERE, by itself or after AND.") :
				 errhint("It is plain SQL but for {chunk}: try it with (true) in its place.")));
	if (list_length(parsed) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("the statement is not one statement"),
				 errhint("Put several into one by WITH, or into a function.")));
	stmt = linitial_node(RawStmt, parsed)->stmt;
	if (IsA(stmt, SelectStmt) && has_into((SelectStmt *) stmt))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the statement creates a table"),
				 errhint("Create it first, and write INSERT INTO ... SELECT.")));
	if (!IsA(stmt, InsertStmt) && !IsA(stmt, UpdateStmt) && !IsA(stmt, DeleteStmt) &&
		!IsA(stmt, MergeStmt) && !IsA(stmt, SelectStmt))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the statement is not an INSERT, UPDATE, DELETE, MERGE or SELECT"),
				 errhint("Call a function by SELECT f(e) FROM event e WHERE {chunk:e}.")));
	if (!is_restricted(stmt, NULL))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("{chunk} does not restrict the statement"),
				 errdetail("Under OR or NOT, in an outer join or outside of WHERE it lets every chunk process other rows, too."),
				 errhint("Add it to WHERE by AND, with the other conditions in parentheses: WHERE (kind = 1 OR kind = 2) AND {chunk}.")));
}

/*
 * Does a placeholder stand where no row passes it by: in WHERE or an inner join's
 * ON, by itself or after AND?  (Others may stand where they like.)
 */
static bool
is_restricted(Node *node, void *context)
{
	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_SelectStmt:
			if (has_marker(((SelectStmt *) node)->whereClause))
				return true;
			break;
		case T_UpdateStmt:
			if (has_marker(((UpdateStmt *) node)->whereClause))
				return true;
			break;
		case T_DeleteStmt:
			if (has_marker(((DeleteStmt *) node)->whereClause))
				return true;
			break;
		case T_JoinExpr:
			if (((JoinExpr *) node)->jointype == JOIN_INNER && has_marker(((JoinExpr *) node)->quals))
				return true;
			break;
		case T_MergeStmt:
			if (merges_matched(((MergeStmt *) node)->mergeWhenClauses) &&
				has_marker(((MergeStmt *) node)->joinCondition))
				return true;
			break;
		case T_BoolExpr:
			/* what a sub-select under NOT picks is what does not pass */
			if (((BoolExpr *) node)->boolop == NOT_EXPR)
				return false;
			break;
		default:
			break;
	}
	return raw_expression_tree_walker(node, is_restricted, context);
}

/* Is a placeholder one of the conditions that all must hold? */
static bool
has_marker(Node *condition)
{
	ListCell   *lc;

	if (condition == NULL)
		return false;
	if (IsA(condition, ColumnRef))
	{
		Node	   *name = linitial(((ColumnRef *) condition)->fields);

		return IsA(name, String) && strcmp(strVal(name), MARKER) == 0;
	}
	if (IsA(condition, BoolExpr) && ((BoolExpr *) condition)->boolop == AND_EXPR)
		foreach(lc, ((BoolExpr *) condition)->args)
			if (has_marker(lfirst(lc)))
				return true;
	return false;
}

/* Does a MERGE leave alone what its condition excludes? */
static bool
merges_matched(const List *clauses)
{
	const ListCell *lc;

	foreach(lc, clauses)
		if (!compat_when_matched(lfirst_node(MergeWhenClause, lc)))
			return false;
	return true;
}

/* INTO stands in the first of several SELECTs. */
static bool
has_into(const SelectStmt *select)
{
	while (select->larg != NULL)
		select = select->larg;
	return select->intoClause != NULL;
}

/*
 * The statement with the range's condition in place of {chunk}: with parameters
 * and *query to tell them or, if query is NULL, with literals.
 */
static char *
expand(const Statement *statement, const Walk *walk, const Range *range, double rows, RangeQuery **query)
{
	RangeStyle	style = condition_style(walk, range, rows);
	StringInfoData buf;
	int			from = 0;
	ListCell   *lc;

	initStringInfo(&buf);
	foreach(lc, statement->placeholders)
	{
		Placeholder *placeholder = lfirst(lc);
		char	   *condition;

		if (query == NULL)
			condition = range_predicate(walk->key, style, placeholder->alias, range);
		else
		{
			*query = range_condition(walk->key, style, placeholder->alias, range);
			condition = (*query)->condition;
		}
		appendBinaryStringInfo(&buf, statement->text + from, placeholder->start - from);
		appendStringInfo(&buf, "(%s)", condition);
		from = placeholder->end;
	}
	appendStringInfoString(&buf, statement->text + from);
	return buf.data;
}

/*
 * The statement with a condition that names each column of the key once in place
 * of {chunk}, and where those stand, as StatementConditions.
 */
char *
statement_with_names(const Statement *statement, const WalkKey *key, List **conditions)
{
	StringInfoData buf;
	int			from = 0;
	ListCell   *lc;

	initStringInfo(&buf);
	foreach(lc, statement->placeholders)
	{
		Placeholder *placeholder = lfirst(lc);
		StatementCondition *condition = palloc(sizeof(StatementCondition));

		appendBinaryStringInfo(&buf, statement->text + from, placeholder->start - from);
		condition->start = buf.len;
		for (int i = 0; i < key->ncolumns; i++)
			appendStringInfo(&buf, "%s%s%s%s IS NULL", i == 0 ? "(" : " AND ",
							 placeholder->alias == NULL ? "" : placeholder->alias,
							 placeholder->alias == NULL ? "" : ".",
							 quote_identifier(key->columns[i].name));
		appendStringInfoChar(&buf, ')');
		condition->end = buf.len;
		condition->placeholder = pnstrdup(statement->text + placeholder->start,
										  placeholder->end - placeholder->start);
		*conditions = lappend(*conditions, condition);
		from = placeholder->end;
	}
	appendStringInfoString(&buf, statement->text + from);
	return buf.data;
}

/* ------------------------------------------------------------------- plans */

/*
 * The kept plan of this text, prepared if it is new, or if what there is was
 * made for values of other types, or for a far smaller chunk: by it, many more
 * rows would be looked up one by one.
 */
static StatementPlan *
find_plan(Statement *statement, const Walk *walk, const char *sql, const RangeQuery *query)
{
	StatementPlan *slot = NULL;
	SPIPlanPtr	plan;
	ErrorContextCallback callback = {.callback = hint_at_alias,.arg = statement};

	for (int i = 0; i < statement->nplans && slot == NULL; i++)
		if (strcmp(statement->plans[i].sql, sql) == 0)
			slot = &statement->plans[i];
	if (slot != NULL && has_types(slot->plan, query) &&
		(slot->rows == 0 || statement->rows <= slot->rows * REPLAN_GROWTH))
		return slot;

	callback.previous = error_context_stack;
	error_context_stack = &callback;
	plan = SPI_prepare_cursor(sql, query->nparams, query->types, CURSOR_OPT_GENERIC_PLAN);
	error_context_stack = callback.previous;
	if (plan == NULL)
		elog(ERROR, "SPI_prepare_cursor failed: %s", SPI_result_code_string(SPI_result));
	check(statement, walk, plan);

	if (slot != NULL)
	{
		SPI_freeplan(slot->plan);
		SPI_keepplan(plan);
		slot->plan = plan;
		slot->generation = 0;
		return slot;
	}
	if (statement->nplans == MAX_PLANS)
	{
		slot = &statement->plans[--statement->nplans];
		SPI_freeplan(slot->plan);
		pfree(slot->sql);
	}
	slot = &statement->plans[statement->nplans];
	slot->sql = MemoryContextStrdup(statement->context, sql);
	SPI_keepplan(plan);
	slot->plan = plan;
	slot->generation = 0;
	slot->rows = 0;
	statement->nplans++;
	return slot;
}

/* A column of the key may have got another type since. */
static bool
has_types(SPIPlanPtr plan, const RangeQuery *query)
{
	for (int i = 0; i < query->nparams; i++)
		if (SPI_getargtypeid(plan, i) != query->types[i])
			return false;
	return true;
}

/* For errors of names, which {chunk} may be the cause of. */
static void
hint_at_alias(void *arg)
{
	bool		qualified = false;
	ListCell   *lc;

	foreach(lc, ((Statement *) arg)->placeholders)
		if (((Placeholder *) lfirst(lc))->alias != NULL)
			qualified = true;
	if (geterrcode() == ERRCODE_AMBIGUOUS_COLUMN)
		errhint("Columns of {chunk} are qualified by {chunk:e}, where e is the alias of the relation in the statement.");
	if (geterrcode() == ERRCODE_UNDEFINED_TABLE && qualified)
		errhint("In {chunk:e}, e is the alias of the relation as FROM has it, in quotes if it has capitals: {chunk:\"E\"}.");
}

/* As it would be for a chunk, whichever: its names are what counts. */
static void
check(const Statement *statement, const Walk *walk, SPIPlanPtr plan)
{
	List	   *conditions = NIL;
	char	   *text = statement_with_names(statement, walk->key, &conditions);

	statement_check(plan, text, conditions, walk);
}
