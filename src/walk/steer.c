/*
 * steer.c
 *		Planning the queries of a walk for its index, whatever costs say.
 *
 * A page must cost the same wherever it starts, so the plan must be a scan of
 * the index that supports the order.  Settings such as enable_sort do not
 * ensure that: they lose against costs from bad statistics, and with an equal
 * prefix another index may seem to give the order, and the whole table would be
 * read by it.  So, while one of these queries is planned, the planner is shown no other
 * index of the relation, and of the ways to read it only those in walk order.
 *
 * This is in force only while steer_plan() has the plan made, not while it
 * runs, so that functions called from a filter are planned as usual.
 */
#include "postgres.h"

#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "jit/jit.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/plancat.h"
#include "optimizer/planner.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/resowner.h"

#include "base/compat.h"
#include "walk/part_plan.h"
#include "walk/steer.h"

/* More than anything else costs */
#define FORBIDDING_COST 1.0e10

/* The query that is planned */
typedef struct Steering
{
	const Walk *walk;			/* NULL: none */
	Oid			relation;		/* that it is planned for */
	bool		foreign;		/* that is a foreign table */
	Oid			index;			/* that gives the order, or InvalidOid */
	bool		partitions;		/* a query by partitions */
	RelOptInfo *unpartitioned;	/* see keep_ordered_paths() */
	int			nparts_hidden;
} Steering;

static Steering steering = {0};
static compat_relation_hook_type next_relation_hook = NULL;
static set_rel_pathlist_hook_type next_pathlist_hook = NULL;
static create_upper_paths_hook_type next_upper_hook = NULL;

static void hide_other_indexes(COMPAT_RELATION_HOOK_PARAMS);
static void keep_ordered_paths(PlannerInfo *root, RelOptInfo *rel, Index rti, RangeTblEntry *rte);
static void after_scan(PlannerInfo *root, UpperRelationKind stage, RelOptInfo *input_rel,
					   RelOptInfo *output_rel, void *extra);
static List *ordered_paths(PlannerInfo *root, List *paths);
static List *index_paths(PlannerInfo *root, RelOptInfo *rel);
static bool is_under_way(void);
static bool is_steered(PlannerInfo *root, RelOptInfo *rel);
static bool index_has_key_columns(const WalkKey *key, const IndexOptInfo *index, Oid relid);

/* Called once, when the library is loaded. */
void
steer_install(void)
{
	next_relation_hook = compat_relation_hook;
	compat_relation_hook = hide_other_indexes;
	next_pathlist_hook = set_rel_pathlist_hook;
	set_rel_pathlist_hook = keep_ordered_paths;
	next_upper_hook = create_upper_paths_hook;
	create_upper_paths_hook = after_scan;
}

/*
 * Have the generic plan made, or made again if it has become invalid, for this
 * index (InvalidOid for what is foreign); the query must be a kept one.
 * part: the partition to plan it for, or NULL.
 * by_partitions: the query puts together those of foreign partitions.  It is run
 * without JIT, which would cost more than a page.  Returns it, held by the current
 * resource owner.
 */
CachedPlan *
steer_plan(Walk *walk, const OrderedPart *part, Oid index, bool by_partitions,
		   CachedPlanSource *source)
{
	Steering	outer = steering;	/* of a query that this one is planned within */
	CachedPlan *volatile cached = NULL;

	steering.walk = walk;
	steering.relation = part == NULL ? walk->relid : part->relid;
	steering.foreign = part == NULL ? walk->style.expand : part->relkind == RELKIND_FOREIGN_TABLE;
	steering.index = index;
	steering.partitions = by_partitions;
	steering.unpartitioned = NULL;
	PG_TRY();
	{
		cached = part_plan_get(source, NULL, walk->relid, part == NULL ? InvalidOid : part->relid);
	}
	PG_FINALLY();
	{
		steering = outer;
	}
	PG_END_TRY();

	linitial_node(PlannedStmt, cached->stmt_list)->jitFlags = PGJIT_NONE;
	return cached;
}

static void
hide_other_indexes(COMPAT_RELATION_HOOK_PARAMS)
{
	if (next_relation_hook != NULL)
		next_relation_hook(COMPAT_RELATION_HOOK_ARGS);

	if (is_under_way() && OidIsValid(steering.index) &&
		is_steered(root, rel) && !planner_rt_fetch(rel->relid, root)->inh)
	{
		Oid			relation = planner_rt_fetch(rel->relid, root)->relid;
		List	   *kept = NIL;
		ListCell   *lc;

		foreach(lc, rel->indexlist)
		{
			if (steer_is_by_index(steering.walk, steering.index, lfirst(lc), relation))
				kept = lappend(kept, lfirst(lc));
		}
		/* a child without such an index keeps what it has */
		if (kept != NIL)
			rel->indexlist = kept;
	}
}

static void
keep_ordered_paths(PlannerInfo *root, RelOptInfo *rel, Index rti, RangeTblEntry *rte)
{
	List	   *ordered = NIL;

	if (next_pathlist_hook != NULL)
		next_pathlist_hook(root, rel, rti, rte);

	if (!is_under_way() || IS_DUMMY_REL(rel) ||
		!(steering.partitions ? root->parent_root == NULL && rte->inh : is_steered(root, rel)))
		return;

	if (OidIsValid(steering.index) && !rte->inh)
		ordered = ordered_paths(root, index_paths(root, rel));
	if (ordered == NIL)
		ordered = ordered_paths(root, rel->pathlist);
	if (ordered != NIL)
	{
		rel->pathlist = ordered;
		rel->partial_pathlist = NIL;

		/*
		 * Of a partitioned table the planner would make all paths again, to have
		 * the output computed below Append, and sort where that seems cheaper.
		 * It does not where there seem to be no partitions.
		 */
		if (rte->inh && rel->reloptkind == RELOPT_BASEREL && rel->nparts > 0)
		{
			steering.unpartitioned = rel;
			steering.nparts_hidden = rel->nparts;
			rel->nparts = 0;
		}
	}
}

/*
 * create_upper_paths_hook: once the ways to read in order are known.  Give the
 * partitions back, which are needed to prune; and have a foreign table's server
 * do the LIMIT, which it is asked for next, whatever that seems to cost.
 */
static void
after_scan(PlannerInfo *root, UpperRelationKind stage, RelOptInfo *input_rel,
		   RelOptInfo *output_rel, void *extra)
{
	ListCell   *lc;

	if (next_upper_hook != NULL)
		next_upper_hook(root, stage, input_rel, output_rel, extra);

	if (!is_under_way() || stage != UPPERREL_ORDERED ||
		(root->parent_root != NULL) != steering.partitions)
		return;
	if (steering.unpartitioned != NULL)
		steering.unpartitioned->nparts = steering.nparts_hidden;
	steering.unpartitioned = NULL;
	if (!steering.foreign && !steering.partitions)
		return;
	foreach(lc, output_rel->pathlist)
	{
		Path	   *path = lfirst(lc);

		path->startup_cost += FORBIDDING_COST;
		path->total_cost += FORBIDDING_COST;
	}
}

/* Those of the paths that read in the order of the query. */
static List *
ordered_paths(PlannerInfo *root, List *paths)
{
	List	   *ordered = NIL;
	ListCell   *lc;

	foreach(lc, paths)
	{
		Path	   *path = lfirst(lc);

		if (path->param_info == NULL &&
			pathkeys_contained_in(root->query_pathkeys, path->pathkeys))
			ordered = lappend(ordered, path);
	}
	return ordered;
}

/*
 * The paths of a table by its indexes alone, made again, since a sequential or a
 * bitmap scan that seems cheaper may have pushed them out of its list, which is
 * left as it is.
 */
static List *
index_paths(PlannerInfo *root, RelOptInfo *rel)
{
	List	   *pathlist = rel->pathlist;
	List	   *partial_pathlist = rel->partial_pathlist;
	List	   *paths;
	CompatScans scans = compat_index_scans_only(rel);

	rel->pathlist = NIL;
	rel->partial_pathlist = NIL;
	PG_TRY();
	{
		create_index_paths(root, rel);
	}
	PG_FINALLY();
	{
		compat_scans_reset(rel, scans);
	}
	PG_END_TRY();
	paths = rel->pathlist;
	rel->pathlist = pathlist;
	rel->partial_pathlist = partial_pathlist;
	return paths;
}

/* Is that query planned at present, and none of a function in it? */
static bool
is_under_way(void)
{
	return steering.walk != NULL && part_plan_is_under_way();
}

/*
 * Is this the relation that the query walks, or a partition of it?  It is the
 * one range table entry of the query's FROM; others come from the filter.
 */
static bool
is_steered(PlannerInfo *root, RelOptInfo *rel)
{
	Index		rti = rel->relid;

	if (steering.partitions)
		return false;

	if (root->parent_root != NULL || root->query_level != 1)
		return false;
	while (root->append_rel_array != NULL && root->append_rel_array[rti] != NULL)
		rti = root->append_rel_array[rti]->parent_relid;
	return rti == 1 && planner_rt_fetch(rti, root)->relid == steering.relation;
}

/*
 * Is this index of a relation that index of the walk, a partition of it, or one
 * like it of a child?
 */
bool
steer_is_by_index(const Walk *walk, Oid index, const IndexOptInfo *candidate, Oid relid)
{
	if (candidate->indexoid == index)
		return true;
	if (walk->style.prune)
		return list_member_oid(get_partition_ancestors(candidate->indexoid), index);
	return walk->inherited && relid != walk->relid &&
		index_has_key_columns(walk->key, candidate, relid);
}

/* Do the leading columns of a child's index have the names of the key's columns? */
static bool
index_has_key_columns(const WalkKey *key, const IndexOptInfo *index, Oid relid)
{
	if (index->nkeycolumns < key->norder)
		return false;
	for (int i = 0; i < key->norder; i++)
	{
		char	   *name = index->indexkeys[i] == 0 ? NULL :
			get_attname(relid, index->indexkeys[i], true);

		if (name == NULL || strcmp(name, key->columns[i].name) != 0)
			return false;
	}
	return true;
}
