/*
 * filter.c
 *		The caller's filter: a boolean SQL expression over a relation's columns.
 *
 * A filter is put between parentheses into generated queries.  That is sound
 * only for text that by itself is one whole expression: the server's grammar is
 * asked, in the mode made for PL/pgSQL's expressions, and whatever else that
 * mode allows (a FROM, several columns, an alias) is refused.  A newline after
 * the text ends a comment in it.  Types and names are checked by the query's
 * own parse analysis.
 */
#include "postgres.h"

#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"

#include "base/compat.h"
#include "base/parse.h"
#include "walk/filter.h"

static bool find_parameter(Node *node, void *clock_literal);
static bool names_the_clock(const char *literal);
pg_noreturn static void report_not_expression(const char *detail);

/*
 * Is this the text of one expression?  Errors: 42601 if not, or if it has
 * parameters.  *clock_literal: it has a literal such as 'now', which is
 * turned into a constant when the query is parsed, so that a plan for it must
 * not be kept.
 */
void
filter_check_syntax(const char *filter, bool *clock_literal)
{
	char	   *complaint;
	List	   *parsed = parse_text(filter, RAW_PARSE_PLPGSQL_EXPR, &complaint);
	SelectStmt *select;
	ResTarget  *target;

	*clock_literal = false;
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
	if (find_parameter(target->val, clock_literal))
		report_not_expression("It has a parameter.");
}

/* Walks the raw expression; *clock_literal as above. */
static bool
find_parameter(Node *node, void *clock_literal)
{
	if (node == NULL)
		return false;
	if (IsA(node, ParamRef))
		return true;
	if (IsA(node, A_Const))
	{
		A_Const    *constant = (A_Const *) node;

		if (!constant->isnull && IsA(&constant->val, String) &&
			names_the_clock(strVal(&constant->val)))
			*(bool *) clock_literal = true;
		return false;
	}
	return raw_expression_tree_walker(node, find_parameter, clock_literal);
}

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
			 errhint("Write what would follow WHERE, one comparison or several: 'kind = 1 AND created_at > now()'.")));
}
