/*
 * full_scan.c
 *		A plan that would read a large table in full for every chunk.
 *
 * Looks for scans without a condition on an index, anywhere in the plan but
 * below a LIMIT.  What the walk's index could read is read in full only where
 * the chunk is most of it (statement_plan.c), which is not so for every chunk.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/plancat.h"
#include "parser/parsetree.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/rel.h"
#include "utils/resowner.h"

#include "full_scan.h"
#include "relation.h"
#include "statement_plan.h"

/* Reading this much of a table, for more chunks than this, is worth an index */
#define LARGE_PAGES 1024
#define MANY_CHUNKS 4

/* Where a plan reads a whole table */
typedef struct FullScan
{
	const Walk *walk;
	double		rows;			/* of the chunk; 0: not known */
	List	   *rtable;
	Oid			relid;			/* of the largest, or InvalidOid */
	BlockNumber pages;
	const char *node;
} FullScan;

/* By which columns a query looks up a table */
typedef struct JoinColumns
{
	Query	   *query;			/* that is looked at */
	Oid			relid;
	List	   *names;			/* String */
} JoinColumns;

static void find_full_scans(Plan *plan, FullScan *found);
static void note_full_scan(const Scan *scan, const char *node, FullScan *found);
static bool has_parameter(Node *node, void *context);
static char *index_to_create(SPIPlanPtr plan, Oid relid);
static bool find_join_columns(Node *node, JoinColumns *search);

/*
 * Refuse a kept plan, made for a chunk of so many rows (0: not known), that
 * reads a large table in full, which it would do for every one of so many
 * chunks.  SPI must be connected.  Error: 0A000, with the
 * index to create.
 */
void
full_scan_refuse(SPIPlanPtr plan, const Walk *walk, double rows, double nchunks)
{
	CachedPlan *cached = SPI_plan_get_cached_plan(plan);
	FullScan	found = {0};
	char	   *name;
	const char *hint;
	ListCell   *lc;

	if (cached == NULL)
		return;					/* rewritten into several queries */
	found.walk = walk;
	found.rows = rows;
	foreach(lc, cached->stmt_list)
	{
		PlannedStmt *planned = lfirst_node(PlannedStmt, lc);
		ListCell   *sub;

		found.rtable = planned->rtable;
		find_full_scans(planned->planTree, &found);
		foreach(sub, planned->subplans)
			find_full_scans(lfirst(sub), &found);
	}
	ReleaseCachedPlan(cached, CurrentResourceOwner);
	if (found.pages < LARGE_PAGES || nchunks <= MANY_CHUNKS)
		return;

	name = get_rel_name(found.relid);
	if (relation_is_or_is_in(found.relid, walk->relid) && !OidIsValid(walk->key->index))
		hint = psprintf("Run this first, or pass check_plan => false: %s", walk->key->create_index);
	else if (relation_is_or_is_in(found.relid, walk->relid))
		hint = "Put {chunk} into the WHERE of that table, with its alias, {chunk:e}; or pass check_plan => false.";
	else
		hint = psprintf("Run this first, or pass check_plan => false: %s",
						index_to_create(plan, found.relid));
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("the statement would read all of \"%s\" for every chunk", name),
			 errdetail("Its plan has a %s on %s, of %u pages, for each of about %.0f chunks.",
					   found.node, name, found.pages, nchunks),
			 errhint("%s", hint)));
}

/* Find the largest table that is read in full by a plan. */
static void
find_full_scans(Plan *plan, FullScan *found)
{
	List	   *children = NIL;
	ListCell   *lc;

	if (plan == NULL)
		return;
	check_stack_depth();
	switch (nodeTag(plan))
	{
		case T_Limit:
			return;				/* stops early */
		case T_SeqScan:
			note_full_scan((Scan *) plan, "Seq Scan", found);
			break;
		case T_IndexScan:
			if (((IndexScan *) plan)->indexqual == NIL)
				note_full_scan((Scan *) plan, "full Index Scan", found);
			break;
		case T_IndexOnlyScan:
			if (((IndexOnlyScan *) plan)->indexqual == NIL)
				note_full_scan((Scan *) plan, "full Index Only Scan", found);
			break;
		case T_BitmapIndexScan:
			if (((BitmapIndexScan *) plan)->indexqual == NIL)
				note_full_scan((Scan *) plan, "full Bitmap Index Scan", found);
			break;
		case T_Append:
			children = ((Append *) plan)->appendplans;
			break;
		case T_MergeAppend:
			children = ((MergeAppend *) plan)->mergeplans;
			break;
		case T_BitmapAnd:
			children = ((BitmapAnd *) plan)->bitmapplans;
			break;
		case T_BitmapOr:
			children = ((BitmapOr *) plan)->bitmapplans;
			break;
		case T_CustomScan:
			children = ((CustomScan *) plan)->custom_plans;
			break;
		case T_SubqueryScan:
			find_full_scans(((SubqueryScan *) plan)->subplan, found);
			break;
		default:
			break;
	}
	foreach(lc, children)
		find_full_scans(lfirst(lc), found);
	find_full_scans(outerPlan(plan), found);
	find_full_scans(innerPlan(plan), found);
}

static void
note_full_scan(const Scan *scan, const char *node, FullScan *found)
{
	Oid			relid = rt_fetch(scan->scanrelid, found->rtable)->relid;
	Relation	rel = table_open(relid, NoLock);
	BlockNumber pages = RELKIND_HAS_STORAGE(rel->rd_rel->relkind) ? RelationGetNumberOfBlocks(rel) : 0;
	bool		most = false;

	if (pages > found->pages && OidIsValid(found->walk->key->index) &&
		relation_is_or_is_in(relid, found->walk->relid) && has_parameter((Node *) scan->plan.qual, NULL))
	{
		BlockNumber all_pages;
		double		tuples;
		double		all_visible;

		estimate_rel_size(rel, NULL, &all_pages, &tuples, &all_visible);
		most = statement_plan_reads_most(found->rows, tuples);
	}
	table_close(rel, NoLock);
	if (pages > found->pages && !most)
	{
		found->relid = relid;
		found->pages = pages;
		found->node = node;
	}
}

/* Does it have the chunk's condition?  A statement has no other parameters. */
static bool
has_parameter(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Param) && ((Param *) node)->paramkind == PARAM_EXTERN)
		return true;
	return expression_tree_walker(node, has_parameter, context);
}

/* The CREATE INDEX for the columns by which the statement looks up a table. */
static char *
index_to_create(SPIPlanPtr plan, Oid relid)
{
	Query	   *query = linitial_node(Query, ((CachedPlanSource *)
											  linitial(SPI_plan_get_plan_sources(plan)))->query_list);
	JoinColumns search = {0};
	StringInfoData buf;
	ListCell   *lc;

	search.relid = relid;
	(void) find_join_columns((Node *) query, &search);

	initStringInfo(&buf);
	appendStringInfo(&buf, "CREATE INDEX CONCURRENTLY ON %s (",
					 quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
												get_rel_name(relid)));
	foreach(lc, search.names)
		appendStringInfo(&buf, "%s%s", foreach_current_index(lc) > 0 ? ", " : "",
						 quote_identifier(strVal(lfirst(lc))));
	appendStringInfoString(&buf, search.names == NIL ? "the columns that it is joined by)" : ")");
	return buf.data;
}

/* Gathers the columns of a table that are compared by "=" with something else. */
static bool
find_join_columns(Node *node, JoinColumns *search)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		Query	   *outer = search->query;

		search->query = (Query *) node;
		(void) query_tree_walker((Query *) node, find_join_columns, search, 0);
		search->query = outer;
		return false;
	}
	if (IsA(node, OpExpr) && op_mergejoinable(((OpExpr *) node)->opno,
											  exprType(linitial(((OpExpr *) node)->args))))
	{
		ListCell   *lc;

		foreach(lc, ((OpExpr *) node)->args)
		{
			Var		   *var = lfirst(lc);

			if (IsA(var, Var) && var->varlevelsup == 0 && var->varattno > 0 &&
				relation_is_or_is_in(search->relid, rt_fetch(var->varno, search->query->rtable)->relid))
				search->names = list_append_unique(search->names,
												   makeString(get_attname(rt_fetch(var->varno, search->query->rtable)->relid,
																		  var->varattno, false)));
		}
	}
	return expression_tree_walker(node, find_join_columns, search);
}
