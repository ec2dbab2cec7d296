/*
 * full_scan.c
 *		A plan that would read a large table in full for every chunk.
 *
 * Looks for scans without a condition on an index, anywhere in the plan but
 * below a LIMIT.  The plan is made for the chunk's rows and the walk's index
 * (statement_plan.c), so a full scan is no mistake where an index could be used
 * instead: of the walked relation, it means that the chunk is most of it; of
 * another, that looking up so many rows would cost more.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/plancat.h"
#include "parser/parsetree.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/rel.h"
#include "utils/resowner.h"

#include "base/relation.h"
#include "statement/full_scan.h"
#include "statement/statement_plan.h"

/* Reading LARGE_PAGES of a table for more chunks than this is worth an index */
#define MANY_CHUNKS 4

/* Where a plan reads a whole table */
typedef struct FullScan
{
	SPIPlanPtr	plan;
	const Walk *walk;
	double		rows;			/* of the chunk; 0: not known */
	List	   *rtable;
	Oid			relid;			/* of the largest, or InvalidOid */
	const char *alias;
	BlockNumber pages;
	const char *node;
} FullScan;

/* By which columns a query looks up a table */
typedef struct JoinColumns
{
	Query	   *query;			/* that is looked at */
	Oid			relid;
	const char *alias;			/* under which the query knows it */
	List	   *names;			/* String: compared by "=" with something */
	List	   *joined;			/* String: with a column */
} JoinColumns;

static void find_full_scans(Plan *plan, FullScan *found);
static void note_full_scan(const Scan *scan, const char *node, FullScan *found);
static bool has_parameter(Node *node, void *context);
static bool is_better_in_full(const Scan *scan, Relation rel, const FullScan *found);
static bool has_index_by(Relation rel, const List *names);
static JoinColumns join_columns(SPIPlanPtr plan, Oid relid, const char *alias);
static char *index_to_create(const FullScan *found);
static bool find_join_columns(Node *node, JoinColumns *search);
static void note_join_column(Node *node, bool joined, const Query *query, JoinColumns *search);
static bool is_of_others(Node *node);

/*
 * Refuse a kept plan, made for a chunk of so many rows (0: not known), that
 * reads a large table in full, which it would do for every one of so many
 * chunks.  SPI must be connected.  Error: 0A000, with the index to create.
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
	found.plan = plan;
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
		hint = psprintf("Create an index, or pass check_plan => false: %s", walk->key->create_index);
	else if (relation_is_or_is_in(found.relid, walk->relid))
		hint = "Put {chunk} into the WHERE of that table, with its alias, {chunk:e}; or pass check_plan => false.";
	else
		hint = psprintf("Create an index, or pass check_plan => false: %s",
						index_to_create(&found));
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

	if (pages >= LARGE_PAGES && pages > found->pages && !is_better_in_full(scan, rel, found))
	{
		found->relid = relid;
		found->alias = rt_fetch(scan->scanrelid, found->rtable)->eref->aliasname;
		found->pages = pages;
		found->node = node;
	}
	table_close(rel, NoLock);
}

/* Could an index be used, so that reading all is the better way? */
static bool
is_better_in_full(const Scan *scan, Relation rel, const FullScan *found)
{
	const char *alias = rt_fetch(scan->scanrelid, found->rtable)->eref->aliasname;
	BlockNumber pages;
	double		tuples;
	double		all_visible;

	if (!relation_is_or_is_in(RelationGetRelid(rel), found->walk->relid) ||
		!has_parameter((Node *) scan->plan.qual, NULL))
		return has_index_by(rel, join_columns(found->plan, RelationGetRelid(rel), alias).joined);
	if (!OidIsValid(found->walk->key->index))
		return false;
	estimate_rel_size(rel, NULL, &pages, &tuples, &all_visible);
	return statement_plan_reads_most(found->rows, tuples);
}

/* Does a table have an index whose first column is one of these? */
static bool
has_index_by(Relation rel, const List *names)
{
	bool		found = false;
	ListCell   *lc;

	if (names == NIL)
		return false;
	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		AttrNumber	attnum = index->rd_index->indkey.values[0];

		if (index->rd_index->indisvalid && attnum != 0 &&
			(index->rd_rel->relam == BTREE_AM_OID || index->rd_rel->relam == HASH_AM_OID) &&
			heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL))
			found = found || list_member(names, makeString(get_attname(RelationGetRelid(rel), attnum, false)));
		index_close(index, NoLock);
	}
	return found;
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
index_to_create(const FullScan *found)
{
	JoinColumns search = join_columns(found->plan, found->relid, found->alias);
	Oid			relid = found->relid;
	StringInfoData buf;
	ListCell   *lc;

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

/* The columns by which a statement looks up a table that it knows as alias */
static JoinColumns
join_columns(SPIPlanPtr plan, Oid relid, const char *alias)
{
	CachedPlanSource *source = linitial(SPI_plan_get_plan_sources(plan));
	JoinColumns search = {0};

	search.relid = relid;
	search.alias = alias;
	(void) find_join_columns((Node *) linitial(source->query_list), &search);
	return search;
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
	if (IsA(node, OpExpr) && list_length(((OpExpr *) node)->args) == 2 &&
		op_mergejoinable(((OpExpr *) node)->opno, exprType(linitial(((OpExpr *) node)->args))))
	{
		Node	   *left = linitial(((OpExpr *) node)->args);
		Node	   *right = lsecond(((OpExpr *) node)->args);

		note_join_column(left, is_of_others(right), search->query, search);
		note_join_column(right, is_of_others(left), search->query, search);
	}
	if (IsA(node, SubLink) && ((SubLink *) node)->subLinkType == ANY_SUBLINK)
	{
		/* IN (SELECT column) */
		Query	   *query = castNode(Query, ((SubLink *) node)->subselect);
		ListCell   *lc;

		foreach(lc, query->targetList)
			if (!lfirst_node(TargetEntry, lc)->resjunk)
				note_join_column((Node *) lfirst_node(TargetEntry, lc)->expr, true, query, search);
	}
	return expression_tree_walker(node, find_join_columns, search);
}

static void
note_join_column(Node *node, bool joined, const Query *query, JoinColumns *search)
{
	const Var  *var = (const Var *) node;
	RangeTblEntry *rte;
	String	   *name;

	if (!IsA(node, Var) || var->varlevelsup != 0 || var->varattno <= 0)
		return;
	rte = rt_fetch(var->varno, query->rtable);
	if (rte->rtekind != RTE_RELATION || !relation_is_or_is_in(search->relid, rte->relid) ||
		strcmp(rte->eref->aliasname, search->alias) != 0)
		return;
	name = makeString(get_attname(rte->relid, var->varattno, false));
	search->names = list_append_unique(search->names, name);
	if (joined)
		search->joined = list_append_unique(search->joined, name);
}

/* Is a value another row's, rather than the same for all? */
static bool
is_of_others(Node *node)
{
	return contain_var_clause(node) || contain_vars_of_level(node, 1) ||
		(IsA(node, Param) && ((Param *) node)->paramkind == PARAM_SUBLINK);
}
