/*
 * statement_text.c
 *		The text of a job's statement, and what goes into it in place of {chunk}.
 *
 * The placeholders are found by the server's own scanner, so that a brace
 * within a literal, a comment or a quoted name is left alone.
 */
#include "postgres.h"

#include <ctype.h>

#include "common/keywords.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "parser/scanner.h"
#include "utils/builtins.h"
#include "utils/varlena.h"

#include "base/compat.h"
#include "base/parse.h"
#include "chunk/condition.h"
#include "statement/statement_text.h"

/* Stands for placeholders where a statement is just parsed; no name that anybody would give */
#define MARKER "{chunk}"

typedef struct Placeholder
{
	int			start;			/* byte offsets into the text */
	int			end;
	char	   *alias;			/* quoted, or NULL */
} Placeholder;

/* Writes what stands in place of a placeholder */
typedef void (*PlaceholderWriter) (StringInfo buf, const StatementText *statement,
								   const Placeholder *placeholder, void *arg);

/* For write_chunk_condition() */
typedef struct ConditionToWrite
{
	const Walk *walk;
	RangeStyle	style;
	const Range *range;
	bool		parameters;		/* rather than literals */
	RangeQuery *query;			/* these */
} ConditionToWrite;

/* For write_names() */
typedef struct NamesToWrite
{
	const WalkKey *key;
	List	   *conditions;		/* StatementCondition: where they were written */
} NamesToWrite;

static void find_placeholders(StatementText *statement);
static Placeholder *read_placeholder(const char *text, const int *places, int nplaces, int at);
static char *read_identifier(const char *text, int from, int to);
static void check_parsed(const StatementText *statement);
static bool is_restricted(Node *node, void *context);
static bool merges_others(Node *node, void *context);
static bool has_marker(Node *condition);
static bool merges_matched(const List *clauses);
static bool has_into(const SelectStmt *select);
static char *replace_placeholders(const StatementText *statement, PlaceholderWriter writer, void *arg);
static void write_marker(StringInfo buf, const StatementText *statement,
						 const Placeholder *placeholder, void *arg);
static void write_chunk_condition(StringInfo buf, const StatementText *statement,
								  const Placeholder *placeholder, void *arg);
static void write_names(StringInfo buf, const StatementText *statement,
						const Placeholder *placeholder, void *arg);

/*
 * Read a statement; in the current memory context.  Errors: 42601 it has no
 * {chunk}, a malformed one, a parameter or a syntax error, or is more than one
 * statement; 0A000 it is of another kind than INSERT, UPDATE, DELETE, MERGE and
 * SELECT, or {chunk} does not restrict it.
 */
void
statement_text_read(StatementText *statement, const char *text)
{
	statement->text = pstrdup(text);
	statement->placeholders = NIL;
	find_placeholders(statement);
	check_parsed(statement);
}

/* The statement for a range of so many rows, as one would write it by hand. */
char *
statement_text_with_literals(const StatementText *statement, const Walk *walk, const Range *range,
							 double rows)
{
	ConditionToWrite condition = {.walk = walk,.range = range};

	condition.style = condition_style(walk, range, rows);
	return replace_placeholders(statement, write_chunk_condition, &condition);
}

/* The same with parameters, which are *query's. */
char *
statement_text_with_parameters(const StatementText *statement, const Walk *walk, const Range *range,
							   double rows, RangeQuery **query)
{
	ConditionToWrite condition = {.walk = walk,.range = range,.parameters = true};
	char	   *text;

	condition.style = condition_style(walk, range, rows);
	text = replace_placeholders(statement, write_chunk_condition, &condition);
	*query = condition.query;
	return text;
}

/*
 * The statement with a condition that names each column of the key once in place
 * of {chunk}, and where those stand, as StatementConditions.
 */
char *
statement_text_with_names(const StatementText *statement, const WalkKey *key, List **conditions)
{
	NamesToWrite names = {.key = key};
	char	   *text = replace_placeholders(statement, write_names, &names);

	*conditions = names.conditions;
	return text;
}

/* An error context callback: for errors of names, which {chunk} may be the cause of. */
void
statement_text_hint(void *statement)
{
	bool		qualified = false;
	ListCell   *lc;

	foreach(lc, ((StatementText *) statement)->placeholders)
		if (((Placeholder *) lfirst(lc))->alias != NULL)
			qualified = true;
	if (geterrcode() == ERRCODE_AMBIGUOUS_COLUMN)
		errhint("Columns of {chunk} are qualified by {chunk:e}, where e is the alias of the relation in the statement.");
	if (geterrcode() == ERRCODE_UNDEFINED_TABLE && qualified)
		errhint("In {chunk:e}, e is the alias of the relation as FROM has it, in quotes if it has capitals: {chunk:\"E\"}.");
}

/* ------------------------------------------------------------------ reading */

/* Scan the text for {chunk} and {chunk:alias}, and for what must not be there. */
static void
find_placeholders(StatementText *statement)
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
check_parsed(const StatementText *statement)
{
	char	   *complaint;
	List	   *parsed = parse_text(replace_placeholders(statement, write_marker, NULL), RAW_PARSE_DEFAULT, &complaint);
	Node	   *stmt;

	if (complaint != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("the statement is malformed: %s", complaint),
				 strstr(complaint, "\"(\"") != NULL ?
				 errhint("{chunk} is a condition: it goes into WHERE, by itself or after AND.") :
				 errhint("Apart from {chunk} it is plain SQL: try it with (true) in its place.")));
	if (list_length(parsed) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("the statement is more than one statement"),
				 errhint("Combine them by WITH, or put them into a function.")));
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
				 errhint("To call a function, write SELECT f(e) FROM event e WHERE {chunk:e}.")));
	if (!is_restricted(stmt, NULL) || merges_others(stmt, NULL))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("{chunk} does not restrict the statement"),
				 errdetail("Under OR or NOT, in an outer join or outside of WHERE it lets every chunk process other rows, too."),
				 errhint("Add it to WHERE by AND, with the other conditions in parentheses: WHERE (kind = 1 OR kind = 2) AND {chunk}.")));
}

/*
 * Does a placeholder stand where no row escapes it: in WHERE or an inner join's
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
			/* what a sub-select under NOT picks is what is left out */
			if (((BoolExpr *) node)->boolop == NOT_EXPR)
				return false;
			break;
		default:
			break;
	}
	return raw_expression_tree_walker(node, is_restricted, context);
}

/* Is there a MERGE that also does something with rows which the placeholder in its ON excludes? */
static bool
merges_others(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, MergeStmt) && has_marker(((MergeStmt *) node)->joinCondition) &&
		!merges_matched(((MergeStmt *) node)->mergeWhenClauses))
		return true;
	return raw_expression_tree_walker(node, merges_others, context);
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

/* ------------------------------------------------------------------ writing */

/* The text with something else in place of its placeholders. */
static char *
replace_placeholders(const StatementText *statement, PlaceholderWriter writer, void *arg)
{
	StringInfoData buf;
	int			from = 0;
	ListCell   *lc;

	initStringInfo(&buf);
	foreach(lc, statement->placeholders)
	{
		const Placeholder *placeholder = lfirst(lc);

		appendBinaryStringInfo(&buf, statement->text + from, placeholder->start - from);
		writer(&buf, statement, placeholder, arg);
		from = placeholder->end;
	}
	appendStringInfoString(&buf, statement->text + from);
	return buf.data;
}

static void
write_marker(StringInfo buf, const StatementText *statement, const Placeholder *placeholder, void *arg)
{
	(void) statement;
	(void) placeholder;
	(void) arg;
	appendStringInfoString(buf, "(\"" MARKER "\")");
}

static void
write_chunk_condition(StringInfo buf, const StatementText *statement,
					  const Placeholder *placeholder, void *arg)
{
	ConditionToWrite *condition = arg;
	const WalkKey *key = condition->walk->key;

	(void) statement;
	if (condition->parameters)
		condition->query = range_condition(key, condition->style, placeholder->alias, condition->range);
	appendStringInfo(buf, "(%s)", condition->parameters ? condition->query->condition :
					 range_predicate(key, condition->style, placeholder->alias, condition->range));
}

static void
write_names(StringInfo buf, const StatementText *statement, const Placeholder *placeholder, void *arg)
{
	NamesToWrite *names = arg;
	StatementCondition *condition = palloc(sizeof(StatementCondition));

	condition->start = buf->len;
	for (int i = 0; i < names->key->ncolumns; i++)
		appendStringInfo(buf, "%s%s%s%s IS NULL", i == 0 ? "(" : " AND ",
						 placeholder->alias == NULL ? "" : placeholder->alias,
						 placeholder->alias == NULL ? "" : ".",
						 quote_identifier(names->key->columns[i].name));
	appendStringInfoChar(buf, ')');
	condition->end = buf->len;
	condition->placeholder = pnstrdup(statement->text + placeholder->start,
									  placeholder->end - placeholder->start);
	names->conditions = lappend(names->conditions, condition);
}
