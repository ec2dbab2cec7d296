/*
 * row_security.c
 *		Do policies decide which rows of a relation the current role sees?
 *
 * The rewriter shows it: it adds policies' conditions to a query, those of tables
 * under a view as well, by the rights of whoever they are read as there.
 */
#include "postgres.h"

#include "nodes/nodeFuncs.h"
#include "utils/plancache.h"

#include "walk/row_security.h"

static bool has_policies(Node *node, void *context);

/* SPI must be connected, and the walk's relation locked. */
bool
row_security_applies(const Walk *walk)
{
	SPIPlanPtr	plan = SPI_prepare(psprintf("SELECT FROM %s", walk->relation), 0, NULL);
	CachedPlanSource *source;
	bool		applies;

	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	source = linitial(SPI_plan_get_plan_sources(plan));
	applies = source->dependsOnRLS && has_policies((Node *) source->query_list, NULL);
	SPI_freeplan(plan);
	return applies;
}

/* Has the rewriter added conditions to what is read?  (Not for those who bypass policies.) */
static bool
has_policies(Node *node, void *context)
{
	ListCell   *lc;

	if (node == NULL)
		return false;
	if (!IsA(node, Query))
		return expression_tree_walker(node, has_policies, context);
	foreach(lc, ((Query *) node)->rtable)
		if (lfirst_node(RangeTblEntry, lc)->securityQuals != NIL)
			return true;
	return query_tree_walker((Query *) node, has_policies, context, 0);
}
