/*
 * statement_filter.c
 *		Does a statement leave out the rows that its job's filter leaves out?
 *
 * A filter sizes a job's chunks and is no part of {chunk}: the statement says
 * by itself which of a chunk's rows it processes.  Whoever gives a filter means its
 * rows, and no others: so the conditions beside {chunk} must imply it, by the proof
 * that the planner has for partial indexes.
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteManip.h"

#include "base/compat.h"
#include "statement/statement_filter.h"
#include "statement/statement_rows.h"

typedef struct FilterSearch
{
	List	   *bound;			/* RangeTblEntry that {chunk} picks rows of */
	const Walk *walk;
	List	   *clauses;		/* the filter's, about relation number 1 */
} FilterSearch;

static bool find_unfiltered(Node *node, void *context);
static List *conditions_of(const Query *query);
static bool is_never_true(const List *conditions);
static List *simplified(Node *condition);

/* Error: 0A000. */
void
statement_refuse_unfiltered(Query *query, List *bound, const Walk *walk)
{
	FilterSearch search = {.bound = bound,.walk = walk};
	const BoundFilter *filter = walk->filter;

	if (filter == NULL)
		return;
	search.clauses = simplified((Node *) make_ands_explicit(copyObject(filter_with_values(filter, walk->filter_quals))));
	if (find_unfiltered((Node *) query, &search))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the statement may process rows that the filter leaves out"),
				 errdetail("A filter sizes a job's chunks and is no part of {chunk}; the conditions beside {chunk}, on the relation that is walked, do not imply it."),
				 filter->nargs == 0 ?
				 errhint("Write the condition beside {chunk}, as in WHERE {chunk} AND (%s), or leave out the filter.", filter->text) :
				 errhint("Write the condition beside {chunk}, as in WHERE {chunk} AND (%s) with the values in place of the parameters, or leave out the filter.",
						 filter->text)));
}

/* Is there a query in which rows that {chunk} picks need not match the filter? */
static bool
find_unfiltered(Node *node, void *context)
{
	FilterSearch *search = context;
	Query	   *query = (Query *) node;
	List	   *conditions = NIL;
	ListCell   *lc;

	if (node == NULL)
		return false;
	if (!IsA(node, Query))
		return expression_tree_walker(node, find_unfiltered, context);
	foreach(lc, query->rtable)
	{
		const RangeTblEntry *rte = lfirst(lc);
		List	   *wanted;

		if (!list_member_ptr(search->bound, rte))
			continue;
		if (conditions == NIL)
			conditions = simplified((Node *) make_ands_explicit(conditions_of(query)));
		wanted = copyObject(search->clauses);
		ChangeVarNodes((Node *) wanted, 1, foreach_current_index(lc) + 1, 0);
		if (is_never_true(conditions))
			continue;
		if (rte->rtekind != RTE_RELATION || rte->relid != search->walk->relid ||
			!predicate_implied_by(wanted, conditions, false))
			return true;
	}
	return query_tree_walker(query, find_unfiltered, context, 0);
}

/* What must hold of all rows that a query processes: not ON, where a MERGE does something without a match. */
static List *
conditions_of(const Query *query)
{
	ListCell   *lc;

	foreach(lc, query->mergeActionList)
		if (!compat_when_matched(lfirst_node(MergeAction, lc)))
			return NIL;
	return statement_joined_conditions(query);
}

/* A constant that is not true is all that is left of conditions with it */
static bool
is_never_true(const List *conditions)
{
	const Const *constant = conditions == NIL ? NULL : linitial(conditions);

	return constant != NULL && IsA(constant, Const) &&
		(constant->constisnull || !DatumGetBool(constant->constvalue));
}

/* As the planner compares conditions */
static List *
simplified(Node *condition)
{
	return make_ands_implicit(canonicalize_qual((Expr *) eval_const_expressions(NULL, condition), false));
}
