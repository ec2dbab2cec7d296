/*
 * redirect.c
 *		Whether a query of a relation reads that relation's own storage.
 *
 * An extension may keep a table's rows elsewhere and leave an empty table in
 * its place: a hook of the planner then has every query of it read the others.
 * What reads indexes or blocks directly must see what a query would see, so the
 * server is asked for the plan of such a query, and that plan must scan this
 * very relation, or partitions of it, by the server's own nodes.
 *
 * Only code in one of four hooks can make such a plan: post_parse_analyze_hook
 * and planner_hook, which may exchange the relation, set_rel_pathlist_hook and
 * create_upper_paths_hook, which may add scans of their own.  While nobody but
 * this library is in them there is nothing to ask, and when somebody else
 * comes, whatever was found before no longer counts.  (The executor's hooks get a
 * finished plan; what they might do with it, no plan would show.)
 *
 * The plans are kept and revalidated by the server's plan cache, and so is what
 * was found in them: it is looked for again when the plan is another.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_class.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "lib/ilist.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "nodes/plannodes.h"
#include "optimizer/paths.h"
#include "optimizer/planner.h"
#include "parser/analyze.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/rls.h"

#include "base/pin.h"
#include "base/relation.h"
#include "key/range.h"
#include "key/redirect.h"

#define MAX_PROBES 32

typedef struct Hooks
{
	post_parse_analyze_hook_type analyze;
	planner_hook_type planner;
	set_rel_pathlist_hook_type pathlist;
	create_upper_paths_hook_type upper;
} Hooks;

/* A query that was planned to see what it reads */
typedef struct Probe
{
	dlist_node	node;
	uint32		hash;			/* of sql */
	char	   *sql;
	SPIPlanPtr	plan;
	int			users;			/* calls that hold on to it */

	/* what was found, in the plan of this number, of this relation */
	int			generation;		/* 0: nothing yet */
	Oid			relid;
	bool		redirected;
	bool		reads_own;
} Probe;

static Hooks hooks_before;
static Hooks hooks_own;
static Hooks hooks_seen;
static uint64 generation = 1;
static dlist_head probes = DLIST_STATIC_INIT(probes);	/* most recent first */
static int	nprobes = 0;
static uint64 probes_generation = 1;

static bool mentions_redirected(Node *node, void *context);
static Hooks current_hooks(void);
static bool same_hooks(const Hooks *a, const Hooks *b);
static char *walk_text(Relation rel, const WalkKey *key, const char *condition);
static Probe probe_of(Relation rel, const char *sql);
static Probe *find_probe(const char *sql);
static void drop_probe(Probe *probe);
static void examine_plan(Probe *probe, PlannedStmt *stmt);
static Plan *scan_of(Plan *plan);
static bool is_scan(const Plan *plan);
static bool reads_only(Plan *plan, List *rtable, Oid relid);
static bool all_read_only(List *plans, List *rtable, Oid relid);

/* Called when the library is loaded: before it installs its hooks, ... */
void
redirect_before_hooks(void)
{
	hooks_before = current_hooks();
}

/* ... and after that. */
void
redirect_after_hooks(void)
{
	hooks_own = hooks_seen = current_hooks();
}

/* A number that changes whenever the hooks do. */
uint64
redirect_generation(void)
{
	Hooks		now = current_hooks();

	if (!same_hooks(&now, &hooks_seen))
	{
		hooks_seen = now;
		generation++;
	}
	return generation;
}

/*
 * May a query of it be made to read something else?  Not while the hooks are our
 * own, nor where the query would be refused, as it will be when it is executed.
 */
bool
redirect_is_possible(Relation rel)
{
	static const Hooks none = {0};
	Hooks		now = current_hooks();

	if (same_hooks(&hooks_before, &none) && same_hooks(&now, &hooks_own))
		return false;
	return row_security || check_enable_rls(RelationGetRelid(rel), InvalidOid, true) != RLS_ENABLED;
}

/*
 * Is a walk's query made to read something other than its relation, so that the
 * relation's indexes say nothing about it?  What becomes of single partitions and
 * children is not looked at: planning for all of them may take long.
 */
bool
redirect_of_walk(Relation rel, const WalkKey *key)
{
	bool		has_parts = rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ||
		relation_has_children(rel);

	return redirect_is_possible(rel) &&
		probe_of(rel, walk_text(rel, key, has_parts ? " WHERE false" : "")).redirected;
}

/*
 * Does such a query read anything but the relation and, if it is partitioned,
 * its partitions?  Then their indexes must not be read directly.
 */
bool
redirect_of_direct_read(Relation rel, const WalkKey *key)
{
	return redirect_is_possible(rel) && !probe_of(rel, walk_text(rel, key, "")).reads_own;
}

/* Would counting the rows read something else, so that the catalog's numbers mean nothing? */
bool
redirect_of_count(Relation rel)
{
	bool		has_parts = rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ||
		relation_has_children(rel);

	return redirect_is_possible(rel) &&
		probe_of(rel, psprintf("SELECT pg_catalog.count(*) FROM %s%s", relation_quoted_name(rel),
							has_parts ? " WHERE false" : "")).redirected;
}

/* Would reading a range of the table's blocks read something else? */
bool
redirect_of_blocks(Relation rel)
{
	return redirect_is_possible(rel) &&
		!probe_of(rel, psprintf("SELECT ctid FROM ONLY %s WHERE ctid OPERATOR(pg_catalog.<=) '(0,0)'::pg_catalog.tid",
							 relation_quoted_name(rel))).reads_own;
}

/*
 * Does a prepared query mention a relation whose queries read something else?
 * Whoever arranges that may refuse to plan it without values, or, given values, make
 * a plan that is good for these alone.
 */
bool
redirect_of_plan(SPIPlanPtr plan)
{
	ListCell   *lc;

	foreach(lc, SPI_plan_get_plan_sources(plan))
	{
		if (mentions_redirected((Node *) ((CachedPlanSource *) lfirst(lc))->query_list, NULL))
			return true;
	}
	return false;
}

static bool
mentions_redirected(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;
		Relation	rel = rte->rtekind == RTE_RELATION ?
			try_relation_open(rte->relid, AccessShareLock) : NULL;
		bool		redirected;

		if (rel == NULL)
			return false;
		redirected = relation_is_local_table(rel) && redirect_of_count(rel);
		relation_close(rel, NoLock);
		return redirected;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, mentions_redirected, context,
								 QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, mentions_redirected, context);
}

static Hooks
current_hooks(void)
{
	Hooks		hooks;

	hooks.analyze = post_parse_analyze_hook;
	hooks.planner = planner_hook;
	hooks.pathlist = set_rel_pathlist_hook;
	hooks.upper = create_upper_paths_hook;
	return hooks;
}

static bool
same_hooks(const Hooks *a, const Hooks *b)
{
	return a->analyze == b->analyze && a->planner == b->planner &&
		a->pathlist == b->pathlist && a->upper == b->upper;
}

/* The query of a walk over the whole relation, or what of it satisfies the condition. */
static char *
walk_text(Relation rel, const WalkKey *key, const char *condition)
{
	const char *qualifier = quote_identifier(RelationGetRelationName(rel));
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoString(&buf, "SELECT ");
	for (int i = 0; i < key->ncolumns; i++)
		appendStringInfo(&buf, "%s%s.%s", i > 0 ? ", " : "", qualifier,
						 quote_identifier(key->columns[i].name));
	appendStringInfo(&buf, " FROM %s%s ORDER BY ", relation_quoted_name(rel), condition);
	range_order_by(&buf, key, qualifier, false);
	return buf.data;
}

/* What the plan of this query reads. */
static Probe
probe_of(Relation rel, const char *sql)
{
	Probe	   *probe;
	Probe		found;
	CachedPlan *cached;

	SPI_connect();
	probe = find_probe(sql);
	pin_until_reset(&probe->users);	/* planning may call us again */
	cached = SPI_plan_get_cached_plan(probe->plan);
	if (cached == NULL)
		elog(ERROR, "could not plan \"%s\"", sql);
	if (probe->generation != cached->generation || probe->relid != RelationGetRelid(rel))
	{
		probe->relid = RelationGetRelid(rel);
		examine_plan(probe, linitial_node(PlannedStmt, cached->stmt_list));
		probe->generation = cached->generation;
	}
	found = *probe;
	ReleaseCachedPlan(cached, CurrentResourceOwner);
	SPI_finish();
	return found;
}

/* The probe of this query; SPI must be connected. */
static Probe *
find_probe(const char *sql)
{
	uint32		hash = hash_bytes((const unsigned char *) sql, strlen(sql));
	dlist_mutable_iter iter;
	Probe	   *oldest = NULL;
	Probe	   *made;
	SPIPlanPtr	plan;
	bool		stale = probes_generation != redirect_generation();

	dlist_foreach_modify(iter, &probes)
	{
		Probe	   *kept = dlist_container(Probe, node, iter.cur);

		if (stale && kept->users == 0)
			drop_probe(kept);
		else if (!stale && kept->hash == hash && strcmp(kept->sql, sql) == 0)
		{
			dlist_move_head(&probes, &kept->node);
			return kept;
		}
		else if (kept->users == 0)
			oldest = kept;
	}
	probes_generation = redirect_generation();
	if (nprobes >= MAX_PROBES && oldest != NULL)
		drop_probe(oldest);

	plan = SPI_prepare(sql, 0, NULL);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	made = MemoryContextAllocZero(CacheMemoryContext, sizeof(Probe));
	made->hash = hash;
	made->sql = MemoryContextStrdup(CacheMemoryContext, sql);
	SPI_keepplan(plan);
	made->plan = plan;
	dlist_push_head(&probes, &made->node);
	nprobes++;
	return made;
}

static void
drop_probe(Probe *probe)
{
	dlist_delete(&probe->node);
	nprobes--;
	SPI_freeplan(probe->plan);
	pfree(probe->sql);
	pfree(probe);
}

/* The relation is the query's only one, so that it is the first of the plan's. */
static void
examine_plan(Probe *probe, PlannedStmt *stmt)
{
	RangeTblEntry *rte = stmt->rtable == NIL ? NULL : linitial_node(RangeTblEntry, stmt->rtable);
	Plan	   *scan = scan_of(stmt->planTree);

	probe->redirected = stmt->commandType != CMD_SELECT || rte == NULL ||
		rte->rtekind != RTE_RELATION || rte->relid != probe->relid || !is_scan(scan);
	probe->reads_own = !probe->redirected && reads_only(scan, stmt->rtable, probe->relid);
}

/* What is below the nodes that only sort, cut off, count or pass on. */
static Plan *
scan_of(Plan *plan)
{
	for (;;)
	{
		check_stack_depth();
		switch (nodeTag(plan))
		{
			case T_Sort:
			case T_IncrementalSort:
			case T_Limit:
			case T_Agg:
			case T_Gather:
			case T_GatherMerge:
			case T_Material:
				break;
			case T_Result:
				if (outerPlan(plan) == NULL)
					return plan;
				break;
			default:
				return plan;
		}
		plan = outerPlan(plan);
	}
}

/* Does it read one or more relations of the query by the server's own nodes? */
static bool
is_scan(const Plan *plan)
{
	switch (nodeTag(plan))
	{
		case T_SeqScan:
		case T_IndexScan:
		case T_IndexOnlyScan:
		case T_BitmapHeapScan:
		case T_TidScan:
		case T_TidRangeScan:
		case T_ForeignScan:
		case T_Append:
		case T_MergeAppend:
		case T_Result:			/* nothing is to be read */
			return true;
		default:
			return false;
	}
}

/* Does it read only that table, or partitions of it, from storage of their own? */
static bool
reads_only(Plan *plan, List *rtable, Oid relid)
{
	RangeTblEntry *rte;

	plan = scan_of(plan);
	switch (nodeTag(plan))
	{
		case T_Append:
			return all_read_only(((Append *) plan)->appendplans, rtable, relid);
		case T_MergeAppend:
			return all_read_only(((MergeAppend *) plan)->mergeplans, rtable, relid);
		case T_Result:
			return true;
		case T_ForeignScan:
			return false;
		default:
			if (!is_scan(plan))
				return false;
			rte = list_nth_node(RangeTblEntry, rtable, (int) ((Scan *) plan)->scanrelid - 1);
			return rte->rtekind == RTE_RELATION && relation_is_or_is_in(rte->relid, relid);
	}
}

static bool
all_read_only(List *plans, List *rtable, Oid relid)
{
	ListCell   *lc;

	foreach(lc, plans)
	{
		if (!reads_only(lfirst(lc), rtable, relid))
			return false;
	}
	return true;
}
