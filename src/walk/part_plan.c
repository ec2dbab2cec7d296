/*
 * part_plan.c
 *		Planning a query of a partitioned table for one of its partitions alone.
 *
 * The server plans such a query for all partitions: it opens and locks each, even
 * those that are pruned when it runs.  So the query is analyzed and rewritten
 * for the parent, and its privileges and policies are the parent's; but when
 * the planner gets it, its first relation is exchanged for the partition.
 * Columns are mapped by name, whole rows converted to the parent's type, as the
 * planner itself does for a partition.  The parent stays in the range table, for
 * its privileges to be checked, its lock to be taken, and the plan to be
 * made again when it changes.
 *
 * While a query is planned, functions in it may be called, and have queries of their
 * own planned, of the same relation as well.  So a query is known by its text, by where
 * that is, and what is planned within it is somebody else's.
 */
#include "postgres.h"

#include "access/attmap.h"
#include "access/relation.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "optimizer/planner.h"
#include "rewrite/rewriteManip.h"
#include "utils/rel.h"
#include "utils/resowner.h"

#include "base/compat.h"
#include "walk/part_plan.h"

/* A query that is to be planned */
typedef struct Wanted
{
	const char *text;			/* NULL: none */
	Oid			parent;
	Oid			part;			/* in the next query of that; or InvalidOid */
	bool		under_way;		/* it is what is planned at present */
} Wanted;

static planner_hook_type next_planner_hook = NULL;
static Wanted wanted = {0};

static PlannedStmt *plan_for_part(COMPAT_PLANNER_HOOK_PARAMS);
static PlannedStmt *plan_under_way(bool under_way, COMPAT_PLANNER_HOOK_PARAMS);
static PlannedStmt *plan_as_others(COMPAT_PLANNER_HOOK_PARAMS);
static RangeTblEntry *first_relation(List *rtable);
static Query *exchange_relation(Query *parse, Oid part);

/* Called once, when the library is loaded. */
void
part_plan_install(void)
{
	next_planner_hook = planner_hook;
	planner_hook = plan_for_part;
}

/*
 * The plan of a prepared query for this partition, which is locked; made, or made again
 * if it has become invalid; held by the current resource owner.  The query's
 * first relation is the parent.  The source must be planned for nothing else.
 * part InvalidOid: for the whole of it.
 */
CachedPlan *
part_plan_get(CachedPlanSource *source, ParamListInfo params, Oid parent, Oid part)
{
	Wanted		outer = wanted;
	CachedPlan *volatile cached = NULL;
	RangeTblEntry *first;

	wanted.text = source->query_string;
	wanted.parent = parent;
	wanted.part = part;
	wanted.under_way = false;
	PG_TRY();
	{
		cached = GetCachedPlan(source, params, CurrentResourceOwner, NULL);
	}
	PG_FINALLY();
	{
		wanted = outer;
	}
	PG_END_TRY();

	first = first_relation(linitial_node(PlannedStmt, cached->stmt_list)->rtable);
	if (OidIsValid(part) && (first == NULL || first->relid != part))
		elog(ERROR, "query of relation %u was not planned for partition %u", parent, part);
	return cached;
}

/* Is it the query of part_plan_get() that is planned, and none of a function in it? */
bool
part_plan_is_under_way(void)
{
	return wanted.under_way;
}

static PlannedStmt *
plan_for_part(COMPAT_PLANNER_HOOK_PARAMS)
{
	RangeTblEntry *first;
	PlannedStmt *planned;
	bool		under_way;
	bool		exchanged;

	if (wanted.text == NULL)
		return plan_as_others(COMPAT_PLANNER_HOOK_ARGS);
	under_way = query_string == wanted.text;
	first = under_way && OidIsValid(wanted.part) ? first_relation(parse->rtable) : NULL;
	exchanged = first != NULL && first->relid == wanted.parent && first->inh;
	if (exchanged)
	{
		parse = exchange_relation(parse, wanted.part);
		wanted.part = InvalidOid;
	}
	planned = plan_under_way(under_way, COMPAT_PLANNER_HOOK_ARGS);
	if (exchanged)
		compat_forget_nothing_required(planned);
	return planned;
}

static PlannedStmt *
plan_under_way(bool under_way, COMPAT_PLANNER_HOOK_PARAMS)
{
	bool		outer = wanted.under_way;
	PlannedStmt *planned = NULL;

	wanted.under_way = under_way;
	PG_TRY();
	{
		planned = plan_as_others(COMPAT_PLANNER_HOOK_ARGS);
	}
	PG_FINALLY();
	{
		wanted.under_way = outer;
	}
	PG_END_TRY();
	return planned;
}

static PlannedStmt *
plan_as_others(COMPAT_PLANNER_HOOK_PARAMS)
{
	if (next_planner_hook != NULL)
		return next_planner_hook(COMPAT_PLANNER_HOOK_ARGS);
	return standard_planner(COMPAT_PLANNER_HOOK_ARGS);
}

static RangeTblEntry *
first_relation(List *rtable)
{
	RangeTblEntry *first = rtable == NIL ? NULL : linitial_node(RangeTblEntry, rtable);

	return first != NULL && first->rtekind == RTE_RELATION ? first : NULL;
}

/* The query may be scribbled on. */
static Query *
exchange_relation(Query *parse, Oid part)
{
	RangeTblEntry *rte = linitial_node(RangeTblEntry, parse->rtable);
	Relation	from = relation_open(rte->relid, NoLock);
	Relation	to = relation_open(part, NoLock);
	AttrMap    *map = compat_attrmap_by_name(RelationGetDescr(to), RelationGetDescr(from));
	bool		whole_row;
	RangeTblEntry *parent;

	parse = castNode(Query, map_variable_attnos((Node *) parse, 1, 0, map, to->rd_rel->reltype, &whole_row));
	rte = linitial_node(RangeTblEntry, parse->rtable);
	parent = copyObject(rte);
	parent->inh = false;
	parent->securityQuals = NIL;
	parse->rtable = lappend(parse->rtable, parent);

	rte->relid = part;
	rte->relkind = to->rd_rel->relkind;
	rte->inh = to->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
	compat_require_nothing(parse, rte, parent);
	free_attrmap(map);
	relation_close(to, NoLock);
	relation_close(from, NoLock);
	return parse;
}
