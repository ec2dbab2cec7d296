/*
 * statement_plan.c
 *		Planning a job's statement: by the walk's index, for the chunk's rows.
 *
 * Two things are known of a chunk that the planner cannot know: how many rows
 * it has, and that its condition is one range of the walk's index.  Without
 * that, a row comparison in the middle of a table is taken for a quarter of it,
 * and after a purge everything is taken for what it was before.  So, while a job's
 * statement is planned, a relation that carries the whole of a chunk's
 * condition has the chunk's rows, times what its other restrictions let
 * through, and is read by the walk's index, which reads those rows and no
 * others.  Another index must promise much to be taken instead, since its
 * promise rests on statistics; a sequential scan is one of the ways only where
 * the table is small, or the chunk most of it.
 *
 * A statement has no parameters of its own, so any that is found is the chunk's.
 * But an equality with one may be handed on to another relation: only one that
 * has them all carries the condition.
 *
 * The rows of all relations are known before any path is made, and no hook
 * comes between.  So they are corrected when the first relation's paths have
 * been made, and these are made again.
 *
 * Planning for values but with parameters is what the planner does when it is
 * given values that are not marked as constants: they are used for estimates
 * only.  A generic plan, which is planned without values, would take a range of
 * unknown ends for a two-hundredth of the table, and join that.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/planner.h"
#include "optimizer/restrictinfo.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/resowner.h"

#include "base/compat.h"
#include "base/relation.h"
#include "statement/statement_plan.h"
#include "walk/steer.h"

/* A table of so few pages is read in a moment, whichever way */
#define SMALL_PAGES 8

/* Another index is worth it if it seems to cost so many times less */
#define WORTH_ANOTHER 10

/* A plan that is to be made */
typedef struct PlanRequest
{
	const char *query_string;	/* the source's own, which identifies its queries */
	const Walk *walk;
	ParamListInfo params;
	double		rows;			/* of the chunk; 0: not known */
	bool		of_view;		/* the walk is over a view */
} PlanRequest;

/* How one level of a query is being planned */
typedef struct PlannedLevel
{
	const PlanRequest *request; /* NULL: another's query */
	PlannerInfo *root;			/* whose relations have their rows */
	double	   *rows;			/* by range table index: those of the chunk that
								 * lie in it; 0: it carries no chunk */
} PlannedLevel;

/* Which parameters stand in some clauses */
typedef struct ParamSearch
{
	Bitmapset  *found;
} ParamSearch;

static PlanRequest *requested = NULL;
static PlannedLevel planning = {0};
static planner_hook_type next_planner_hook = NULL;
static set_rel_pathlist_hook_type next_pathlist_hook = NULL;

static PlannedStmt *plan_for_values(COMPAT_PLANNER_HOOK_PARAMS);
static PlannedStmt *plan_at(const PlannedLevel *level, COMPAT_PLANNER_HOOK_PARAMS);
static void plan_for_chunk(PlannerInfo *root, RelOptInfo *rel, Index rti, RangeTblEntry *rte);
static bool size_relations(PlannerInfo *root);
static void size_relation(PlannerInfo *root, RelOptInfo *rel);
static Index parent_of(PlannerInfo *root, Index rti);
static bool is_within(PlannerInfo *root, Index rti, Index ancestor);
static bool carries_chunk(PlannerInfo *root, RelOptInfo *rel);
static bool is_grouped(const PlannerInfo *root);
static List *chunk_clauses(PlannerInfo *root, RelOptInfo *rel, List **others);
static bool is_null_test_of_key(PlannerInfo *root, const Expr *clause);
static bool find_params(Node *node, void *context);
static bool paths_are_ours(RelOptInfo *rel, const RangeTblEntry *rte);
static void remake_paths(PlannerInfo *root, RelOptInfo *rel);
static void add_sequential_paths(PlannerInfo *root, RelOptInfo *rel);
static void steer_relation(PlannerInfo *root, RelOptInfo *rel, const RangeTblEntry *rte);
static void walk_index_paths(PlannerInfo *root, RelOptInfo *rel, IndexOptInfo *index,
							 List *clauses, List **paths, List **partial_paths);
static void make_index_paths(PlannerInfo *root, RelOptInfo *rel, List *indexes);
static bool by_chunk(const Path *path, const List *clauses, bool all);

/* Called once, when the library is loaded. */
void
statement_plan_install(void)
{
	next_planner_hook = planner_hook;
	planner_hook = plan_for_values;
	next_pathlist_hook = set_rel_pathlist_hook;
	set_rel_pathlist_hook = plan_for_chunk;
}

/*
 * Have a kept, generic plan made, or made again if it has become invalid, for
 * these values of a chunk's condition and so many rows of the chunk (0: not
 * known).
 */
void
statement_plan_make(SPIPlanPtr plan, const Walk *walk, ParamListInfo params, double rows)
{
	PlanRequest request = {0};
	PlanRequest *outer = requested;
	CachedPlan *cached = NULL;

	request.query_string = ((CachedPlanSource *) linitial(SPI_plan_get_plan_sources(plan)))->query_string;
	request.walk = walk;
	request.params = params;
	request.rows = rows;
	request.of_view = get_rel_relkind(walk->relid) == RELKIND_VIEW;

	requested = &request;
	PG_TRY();
	{
		cached = SPI_plan_get_cached_plan(plan);
	}
	PG_FINALLY();
	{
		requested = outer;
	}
	PG_END_TRY();
	if (cached != NULL)
		ReleaseCachedPlan(cached, CurrentResourceOwner);
}

/* The plan as EXPLAIN shows it, the chunk's values as parameters. */
char *
statement_plan_explain(SPIPlanPtr plan, ParamListInfo params)
{
	CachedPlan *cached = SPI_plan_get_cached_plan(plan);
	ExplainState *es = NewExplainState();
	ListCell   *lc;

	es->costs = true;
	ExplainBeginOutput(es);
	if (cached != NULL)
	{
		foreach(lc, cached->stmt_list)
		{
			PlannedStmt *planned = lfirst_node(PlannedStmt, lc);

			if (planned->commandType != CMD_UTILITY)
				compat_explain_plan(planned, es, params);
		}
		ReleaseCachedPlan(cached, CurrentResourceOwner);
	}
	ExplainEndOutput(es);
	while (es->str->len > 0 && es->str->data[es->str->len - 1] == '\n')
		es->str->data[--es->str->len] = '\0';
	return es->str->data;
}

/*
 * Is a chunk of so many rows most of a table of so many, so that it may well be
 * read in full?
 */
bool
statement_plan_reads_most(double rows, double tuples)
{
	return rows > 0 && rows * 2 >= tuples;
}

/*
 * planner_hook: for the queries of the plan that is requested, not for those of
 * functions called meanwhile.
 */
static PlannedStmt *
plan_for_values(COMPAT_PLANNER_HOOK_PARAMS)
{
	PlannedLevel level = {0};

	if (requested != NULL && query_string == requested->query_string)
	{
		level.request = requested;
		if (boundParams == NULL)
			boundParams = requested->params;
	}
	return plan_at(&level, COMPAT_PLANNER_HOOK_ARGS);
}

static PlannedStmt *
plan_at(const PlannedLevel *level, COMPAT_PLANNER_HOOK_PARAMS)
{
	PlannedLevel outer = planning;
	PlannedStmt *planned = NULL;

	planning = *level;
	PG_TRY();
	{
		planned = next_planner_hook != NULL ? next_planner_hook(COMPAT_PLANNER_HOOK_ARGS) :
			standard_planner(COMPAT_PLANNER_HOOK_ARGS);
	}
	PG_FINALLY();
	{
		planning = outer;
	}
	PG_END_TRY();
	return planned;
}

/* set_rel_pathlist_hook */
static void
plan_for_chunk(PlannerInfo *root, RelOptInfo *rel, Index rti, RangeTblEntry *rte)
{
	if (next_pathlist_hook != NULL)
		next_pathlist_hook(root, rel, rti, rte);
	if (planning.request == NULL)
		return;

	if (planning.root != root)
	{
		planning.root = root;
		planning.rows = palloc0(root->simple_rel_array_size * sizeof(double));
		/* this one's paths are for the rows that others were thought to have */
		if (size_relations(root) && planning.rows[rti] == 0 && paths_are_ours(rel, rte))
			remake_paths(root, rel);
	}
	if (planning.rows[rti] > 0)
		steer_relation(root, rel, rte);
}

/* -------------------------------------------------------------------- rows */

/* Set the rows of all relations that carry a chunk's condition; are there any? */
static bool
size_relations(PlannerInfo *root)
{
	bool		found = false;

	for (int rti = 1; rti < root->simple_rel_array_size; rti++)
	{
		RelOptInfo *rel = root->simple_rel_array[rti];

		if (rel != NULL && rel->reloptkind == RELOPT_BASEREL && !IS_DUMMY_REL(rel) &&
			carries_chunk(root, rel))
		{
			size_relation(root, rel);
			found = true;
		}
	}
	return found;
}

/*
 * Share the chunk's rows out among a relation and its children as the planner
 * itself would, and set theirs.
 */
static void
size_relation(PlannerInfo *root, RelOptInfo *rel)
{
	const PlanRequest *request = planning.request;
	bool		known = request->rows > 0 && !(request->of_view && is_grouped(root));
	double		sum = 0;

	for (int rti = 1; rti < root->simple_rel_array_size; rti++)
	{
		RelOptInfo *part = root->simple_rel_array[rti];
		List	   *others;

		if (part == NULL || IS_DUMMY_REL(part) || !is_within(root, rti, rel->relid))
			continue;
		if (planner_rt_fetch(rti, root)->inh)
			part->rows = 0;
		else
		{
			List	   *clauses = chunk_clauses(root, part, &others);

			planning.rows[rti] = Max(part->tuples * clauselist_selectivity(root, clauses, 0, JOIN_INNER, NULL), 1);
			sum += planning.rows[rti];
		}
	}
	for (int rti = 1; rti < root->simple_rel_array_size; rti++)
	{
		RelOptInfo *part = root->simple_rel_array[rti];
		List	   *others;

		if (part == NULL || IS_DUMMY_REL(part) || !is_within(root, rti, rel->relid) ||
			planner_rt_fetch(rti, root)->inh)
			continue;
		if (known)
			planning.rows[rti] *= request->rows / sum;
		part->tuples = Max(part->tuples, ceil(planning.rows[rti]));
		(void) chunk_clauses(root, part, &others);
		part->rows = clamp_row_est(planning.rows[rti] *
								   clauselist_selectivity(root, others, 0, JOIN_INNER, NULL));
		for (Index above = parent_of(root, rti); above != 0; above = parent_of(root, above))
		{
			root->simple_rel_array[above]->rows += part->rows;
			root->simple_rel_array[above]->tuples = root->simple_rel_array[above]->rows;
		}
	}
}

/* What a range table entry is a child of, or 0 */
static Index
parent_of(PlannerInfo *root, Index rti)
{
	return root->append_rel_array == NULL || root->append_rel_array[rti] == NULL ? 0 :
		root->append_rel_array[rti]->parent_relid;
}

static bool
is_within(PlannerInfo *root, Index rti, Index ancestor)
{
	while (rti != ancestor && rti != 0)
		rti = parent_of(root, rti);
	return rti == ancestor;
}

/*
 * Do the restrictions of a relation have the whole of a chunk's condition, and
 * is it that of the walk, or one inside the view that is walked?
 */
static bool
carries_chunk(PlannerInfo *root, RelOptInfo *rel)
{
	const PlanRequest *request = planning.request;
	RangeTblEntry *rte = planner_rt_fetch(rel->relid, root);
	ParamSearch search = {0};
	ListCell   *lc;

	if (request->params->numParams == 0)
		return false;
	if (!request->of_view &&
		(rte->rtekind != RTE_RELATION || !relation_is_or_is_in(rte->relid, request->walk->relid)))
		return false;
	foreach(lc, rel->baserestrictinfo)
		(void) find_params((Node *) lfirst_node(RestrictInfo, lc)->clause, &search);
	if (bms_num_members(search.found) != request->params->numParams)
		return false;

	for (int rti = 1; rti < root->simple_rel_array_size; rti++)
		if (root->simple_rel_array[rti] != NULL && is_within(root, rti, rel->relid) &&
			!planner_rt_fetch(rti, root)->inh && planner_rt_fetch(rti, root)->rtekind != RTE_RELATION)
			return false;		/* a UNION in a view */
	return true;
}

/* Are the rows of a view other than those of the relations inside? */
static bool
is_grouped(const PlannerInfo *root)
{
	const Query *query = root->parse;

	return root->parent_root != NULL &&
		(query->hasAggs || query->groupClause != NIL || query->groupingSets != NIL ||
		 query->distinctClause != NIL || query->hasWindowFuncs || query->hasTargetSRFs);
}

/* Those of a relation's restrictions that are the chunk's condition, and the others */
static List *
chunk_clauses(PlannerInfo *root, RelOptInfo *rel, List **others)
{
	List	   *clauses = NIL;
	ListCell   *lc;

	*others = NIL;
	foreach(lc, rel->baserestrictinfo)
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);
		ParamSearch search = {0};

		(void) find_params((Node *) rinfo->clause, &search);
		if (search.found != NULL || is_null_test_of_key(root, rinfo->clause))
			clauses = lappend(clauses, rinfo);
		else
			*others = lappend(*others, rinfo);
	}
	return clauses;
}

/* Such a test is next to the comparisons where a bound is null. */
static bool
is_null_test_of_key(PlannerInfo *root, const Expr *clause)
{
	const WalkKey *key = planning.request->walk->key;
	const Var  *var;
	char	   *name;

	if (!IsA(clause, NullTest) || !IsA(((const NullTest *) clause)->arg, Var))
		return false;
	var = (const Var *) ((const NullTest *) clause)->arg;
	if (var->varattno <= 0 || planner_rt_fetch(var->varno, root)->rtekind != RTE_RELATION)
		return false;
	name = get_attname(planner_rt_fetch(var->varno, root)->relid, var->varattno, true);
	for (int i = 0; i < key->ncolumns && name != NULL; i++)
		if (key->columns[i].nullable && strcmp(key->columns[i].name, name) == 0)
			return true;
	return false;
}

static bool
find_params(Node *node, void *context)
{
	ParamSearch *search = context;

	if (node == NULL)
		return false;
	if (IsA(node, Param) && ((Param *) node)->paramkind == PARAM_EXTERN)
	{
		search->found = bms_add_member(search->found, ((Param *) node)->paramid);
		return false;
	}
	return expression_tree_walker(node, find_params, context);
}

/* ------------------------------------------------------------------- paths */

/* Has a relation only paths that can be made again? */
static bool
paths_are_ours(RelOptInfo *rel, const RangeTblEntry *rte)
{
	ListCell   *lc;

	if (rte->rtekind != RTE_RELATION || rte->inh || rte->tablesample != NULL ||
		!RELKIND_HAS_TABLE_AM(rte->relkind) || IS_DUMMY_REL(rel))
		return false;
	foreach(lc, rel->pathlist)
	{
		switch (nodeTag(lfirst(lc)))
		{
			case T_Path:
			case T_IndexPath:
			case T_BitmapHeapPath:
			case T_TidPath:
			case T_TidRangePath:
				break;
			default:
				return false;
		}
	}
	return true;
}

/* All paths of a table, as the planner makes them */
static void
remake_paths(PlannerInfo *root, RelOptInfo *rel)
{
	rel->pathlist = NIL;
	rel->partial_pathlist = NIL;
	rel->ppilist = NIL;
	add_sequential_paths(root, rel);
	create_index_paths(root, rel);
	(void) create_tidscan_paths(root, rel);
}

static void
add_sequential_paths(PlannerInfo *root, RelOptInfo *rel)
{
	add_path(rel, create_seqscan_path(root, rel, rel->lateral_relids, 0));
	if (rel->consider_parallel && rel->lateral_relids == NULL)
	{
		int			workers = compute_parallel_worker(rel, rel->pages, -1, max_parallel_workers_per_gather);

		if (workers > 0)
			add_partial_path(rel, create_seqscan_path(root, rel, NULL, workers));
	}
}

/* Leave a relation that carries a chunk's condition the paths that suit it. */
static void
steer_relation(PlannerInfo *root, RelOptInfo *rel, const RangeTblEntry *rte)
{
	const PlanRequest *request = planning.request;
	double		rows = planning.rows[rel->relid];
	List	   *indexes = rel->indexlist;
	List	   *others;
	List	   *clauses = chunk_clauses(root, rel, &others);
	List	   *other_indexes = NIL;
	List	   *paths = NIL;
	List	   *partial_paths = NIL;
	List	   *other_paths;
	List	   *other_partial_paths;
	Cost		cheapest = -1;
	ListCell   *lc;

	if (!paths_are_ours(rel, rte))
	{
		/* a foreign table: joins go by the paths' rows */
		foreach(lc, rel->pathlist)
			if (rte->rtekind == RTE_RELATION && rte->relkind == RELKIND_FOREIGN_TABLE &&
				((Path *) lfirst(lc))->param_info == NULL && IsA(lfirst(lc), ForeignPath))
				((Path *) lfirst(lc))->rows = rel->rows;
		return;
	}

	rel->ppilist = NIL;
	foreach(lc, indexes)
	{
		IndexOptInfo *index = lfirst_node(IndexOptInfo, lc);
		List	   *found = NIL;

		if (request->of_view || steer_is_by_index(request->walk, request->walk->key->index, index, rte->relid))
			walk_index_paths(root, rel, index, clauses, &found, &partial_paths);
		if (found == NIL)
			other_indexes = lappend(other_indexes, index);
		paths = list_concat(paths, found);
	}
	foreach(lc, paths)
	{
		Path	   *path = lfirst(lc);

		if (path->param_info == NULL && (cheapest < 0 || path->total_cost < cheapest))
			cheapest = path->total_cost;
	}

	make_index_paths(root, rel, other_indexes);
	(void) create_tidscan_paths(root, rel);
	other_paths = rel->pathlist;
	other_partial_paths = rel->partial_pathlist;
	rel->indexlist = indexes;
	rel->pathlist = NIL;
	rel->partial_pathlist = NIL;

	if (cheapest < 0 || rel->pages <= SMALL_PAGES || statement_plan_reads_most(rows, rel->tuples))
		add_sequential_paths(root, rel);
	foreach(lc, paths)
		add_path(rel, lfirst(lc));
	foreach(lc, partial_paths)
		add_partial_path(rel, lfirst(lc));
	foreach(lc, other_paths)
	{
		Path	   *path = lfirst(lc);
		bool		whole = IsA(path, IndexPath) && ((IndexPath *) path)->indexclauses == NIL;

		if (cheapest < 0 || path->param_info != NULL ||
			(!whole && path->total_cost * WORTH_ANOTHER < cheapest))
			add_path(rel, path);
	}
	if (cheapest < 0)
		foreach(lc, other_partial_paths)
			add_partial_path(rel, lfirst(lc));
}

/*
 * The paths by the walk's index that use the chunk's condition.  Where that is
 * a conjunction which the index takes in whole they cost what the chunk's rows
 * do, whatever the planner thinks of the condition: that goes by the selectivity
 * that is kept with each clause.
 */
static void
walk_index_paths(PlannerInfo *root, RelOptInfo *rel, IndexOptInfo *index, List *clauses,
				 List **paths, List **partial_paths)
{
	bool		whole = true;
	ListCell   *lc;

	make_index_paths(root, rel, list_make1(index));
	foreach(lc, rel->pathlist)
		if (((Path *) lfirst(lc))->param_info == NULL && by_chunk(lfirst(lc), clauses, false) &&
			!by_chunk(lfirst(lc), clauses, true))
			whole = false;
	foreach(lc, clauses)
		if (restriction_is_or_clause(lfirst_node(RestrictInfo, lc)))
			whole = false;

	if (whole && rel->pathlist != NIL)
	{
		Selectivity *selectivities = palloc(list_length(clauses) * sizeof(Selectivity));

		foreach(lc, clauses)
		{
			RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);

			selectivities[foreach_current_index(lc)] = rinfo->norm_selec;
			rinfo->norm_selec = foreach_current_index(lc) > 0 ? 1 :
				Min(planning.rows[rel->relid] / rel->tuples, 1);
		}
		rel->ppilist = NIL;
		make_index_paths(root, rel, list_make1(index));
		foreach(lc, clauses)
			lfirst_node(RestrictInfo, lc)->norm_selec = selectivities[foreach_current_index(lc)];
	}

	foreach(lc, rel->pathlist)
		if (((Path *) lfirst(lc))->param_info != NULL || by_chunk(lfirst(lc), clauses, false))
			*paths = lappend(*paths, lfirst(lc));
	foreach(lc, rel->partial_pathlist)
		if (by_chunk(lfirst(lc), clauses, false))
			*partial_paths = lappend(*partial_paths, lfirst(lc));
}

/* Leave in the relation's lists the paths by these indexes alone. */
static void
make_index_paths(PlannerInfo *root, RelOptInfo *rel, List *indexes)
{
	List	   *indexlist = rel->indexlist;

	rel->pathlist = NIL;
	rel->partial_pathlist = NIL;
	rel->indexlist = indexes;
	create_index_paths(root, rel);
	rel->indexlist = indexlist;
}

/* Does a path look up some, or all, of these clauses in an index? */
static bool
by_chunk(const Path *path, const List *clauses, bool all)
{
	const ListCell *lc;
	int			used = 0;

	if (IsA(path, BitmapHeapPath))
		return by_chunk(((const BitmapHeapPath *) path)->bitmapqual, clauses, all);
	if (IsA(path, BitmapOrPath))
		return !all;			/* of a ladder */
	if (IsA(path, BitmapAndPath))
	{
		foreach(lc, ((const BitmapAndPath *) path)->bitmapquals)
			if (by_chunk(lfirst(lc), clauses, all))
				return true;
		return false;
	}
	if (!IsA(path, IndexPath))
		return false;
	foreach(lc, clauses)
	{
		const ListCell *used_lc;

		foreach(used_lc, ((const IndexPath *) path)->indexclauses)
			if (lfirst_node(IndexClause, used_lc)->rinfo == lfirst(lc))
			{
				used++;
				break;
			}
	}
	return all ? used == list_length(clauses) : used > 0;
}
