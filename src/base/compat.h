/*
 * compat.h
 *		What differs between the majors of PostgreSQL (15 to 19): the only place
 *		that asks for PG_VERSION_NUM.  Each shim names the upstream change.
 */
#ifndef PG_CHUNKED_COMPAT_H
#define PG_CHUNKED_COMPAT_H

#include "access/nbtree.h"
#include "access/tupdesc.h"
#include "commands/explain.h"
#include "fmgr.h"
#include "nodes/pathnodes.h"
#include "nodes/plannodes.h"
#include "optimizer/cost.h"
#include "parser/parse_relation.h"
#include "utils/jsonb.h"

/* 18: EXPLAIN's state and format got headers of their own */
#if PG_VERSION_NUM >= 180000
#include "commands/explain_format.h"
#include "commands/explain_state.h"
#endif

#if PG_VERSION_NUM >= 170000
#include "storage/proc.h"
#include "utils/timeout.h"
#endif

/* 18: PG_MODULE_MAGIC_EXT puts name and version into pg_get_loaded_modules() */
#if PG_VERSION_NUM >= 180000
#define COMPAT_MODULE_MAGIC(module, version_text) \
	PG_MODULE_MAGIC_EXT(.name = (module), .version = (version_text))
#else
#define COMPAT_MODULE_MAGIC(module, version_text) PG_MODULE_MAGIC
#endif

/*
 * 18: a NOT NULL constraint may be NOT VALID, and attnotnull is then set
 * although the table may hold nulls; only attnullability distinguishes them.
 */
static inline bool
compat_attribute_not_null(TupleDesc tupdesc, int index)
{
#if PG_VERSION_NUM >= 180000
	return TupleDescCompactAttr(tupdesc, index)->attnullability == ATTNULLABLE_VALID;
#else
	return TupleDescAttr(tupdesc, index)->attnotnull;
#endif
}

/* 18: pg_noreturn before the declaration replaced an attribute within it */
#if PG_VERSION_NUM < 180000
#define pg_noreturn pg_attribute_noreturn()
#endif

/* 17: transaction_timeout was added.  What is left of this transaction is not limited. */
static inline void
compat_transaction_timeout_stop(void)
{
#if PG_VERSION_NUM >= 170000
	if (get_timeout_active(TRANSACTION_TIMEOUT))
		disable_timeout(TRANSACTION_TIMEOUT, false);
#endif
}

/* 16: the heap relation was added before the access mode */
#if PG_VERSION_NUM >= 160000
#define compat_bt_getroot(index, heap) _bt_getroot(index, heap, BT_READ)
#else
#define compat_bt_getroot(index, heap) _bt_getroot(index, BT_READ)
#endif

/* 19: the hook moved from reading a relation's catalog data to building its RelOptInfo */
#if PG_VERSION_NUM >= 190000
#define compat_relation_hook build_simple_rel_hook
#define compat_relation_hook_type build_simple_rel_hook_type
#define COMPAT_RELATION_HOOK_PARAMS PlannerInfo *root, RelOptInfo *rel, RangeTblEntry *rte
#define COMPAT_RELATION_HOOK_ARGS root, rel, rte
#else
#define compat_relation_hook get_relation_info_hook
#define compat_relation_hook_type get_relation_info_hook_type
#define COMPAT_RELATION_HOOK_PARAMS PlannerInfo *root, Oid relid, bool inhparent, RelOptInfo *rel
#define COMPAT_RELATION_HOOK_ARGS root, relid, inhparent, rel
#endif

/*
 * 19: which scans to consider is read from the settings once, when
 * planning starts, and then kept with each relation.  Before that, a setting
 * was read whenever a path was made.
 */
typedef struct CompatScans
{
#if PG_VERSION_NUM >= 190000
	uint64		mask;
#else
	bool		indexscan;
	bool		bitmapscan;
#endif
} CompatScans;

/* Have only index scans of a relation considered, until compat_scans_reset(). */
static inline CompatScans
compat_index_scans_only(RelOptInfo *rel)
{
	CompatScans before;

#if PG_VERSION_NUM >= 190000
	before.mask = rel->pgs_mask;
	rel->pgs_mask = (before.mask & ~PGS_BITMAPSCAN) | PGS_INDEXSCAN | PGS_INDEXONLYSCAN;
#else
	(void) rel;
	before.indexscan = enable_indexscan;
	before.bitmapscan = enable_bitmapscan;
	enable_indexscan = true;
	enable_bitmapscan = false;
#endif
	return before;
}

static inline void
compat_scans_reset(RelOptInfo *rel, CompatScans before)
{
#if PG_VERSION_NUM >= 190000
	rel->pgs_mask = before.mask;
#else
	(void) rel;
	enable_indexscan = before.indexscan;
	enable_bitmapscan = before.bitmapscan;
#endif
}

/* 16: a copied array, with its length, replaced the array itself */
#if PG_VERSION_NUM >= 160000
#define compat_guc_variables(number) get_guc_variables(number)
#else
#define compat_guc_variables(number) (*(number) = GetNumConfigOptions(), get_guc_variables())
#endif

/* 16: membership in a role no longer means that one may SET it */
#if PG_VERSION_NUM >= 160000
#define compat_may_set_role(member, role) member_can_set_role(member, role)
#else
#define compat_may_set_role(member, role) is_member_of_role(member, role)
#endif

/* 19: the hook got the state that EXPLAIN wants filled in */
#if PG_VERSION_NUM >= 190000
#define COMPAT_PLANNER_HOOK_PARAMS Query *parse, const char *query_string, int cursorOptions, \
	ParamListInfo boundParams, ExplainState *es
#define COMPAT_PLANNER_HOOK_ARGS parse, query_string, cursorOptions, boundParams, es
#else
#define COMPAT_PLANNER_HOOK_PARAMS Query *parse, const char *query_string, int cursorOptions, \
	ParamListInfo boundParams
#define COMPAT_PLANNER_HOOK_ARGS parse, query_string, cursorOptions, boundParams
#endif

/* 17: the memory that planning took was added after the buffers that it used */
#if PG_VERSION_NUM >= 170000
#define compat_explain_plan(planned, es, params) \
	ExplainOnePlan(planned, NULL, es, "", params, NULL, NULL, NULL, NULL)
#else
#define compat_explain_plan(planned, es, params) \
	ExplainOnePlan(planned, NULL, es, "", params, NULL, NULL, NULL)
#endif

/* 19: what a whole query took got a name and a type of its own */
#if PG_VERSION_NUM >= 190000
#define compat_query_timed(desc) ((desc)->query_instr != NULL)
#define compat_query_start(desc) InstrStart((desc)->query_instr)
#define compat_query_stop(desc) InstrStop((desc)->query_instr)
#else
#define compat_query_timed(desc) ((desc)->totaltime != NULL)
#define compat_query_start(desc) InstrStartNode((desc)->totaltime)
#define compat_query_stop(desc) InstrStopNode((desc)->totaltime, 0)
#endif

/* 16: the rows of all runs of a query are counted as well */
#if PG_VERSION_NUM >= 160000
#define compat_count_row(estate) ((void) ((estate)->es_processed++, (estate)->es_total_processed++))
#else
#define compat_count_row(estate) ((void) ((estate)->es_processed++))
#endif

/* 19: JumbleState became const */
#if PG_VERSION_NUM >= 190000
#define COMPAT_ANALYZE_HOOK_PARAMS ParseState *pstate, Query *query, const JumbleState *jstate
#else
#define COMPAT_ANALYZE_HOOK_PARAMS ParseState *pstate, Query *query, JumbleState *jstate
#endif
#define COMPAT_ANALYZE_HOOK_ARGS pstate, query, jstate

/* 16: permissions moved from the range table's entries into a list of their own */
#if PG_VERSION_NUM >= 160000
#define compat_check_as_user(query, rte, role) \
	((rte)->perminfoindex == 0 ? (void) 0 : \
	 (void) (getRTEPermissionInfo((query)->rteperminfos, rte)->checkAsUser = (role)))
#else
#define compat_check_as_user(query, rte, role) ((void) (query), (void) ((rte)->checkAsUser = (role)))
#endif

/*
 * 16: the planner wants such an entry of each relation that a query reads, and the
 * executor none that requires nothing.  The parent has one, of the same role.
 */
static inline void
compat_require_nothing(Query *query, RangeTblEntry *rte, RangeTblEntry *parent)
{
#if PG_VERSION_NUM >= 160000
	Oid			role = getRTEPermissionInfo(query->rteperminfos, parent)->checkAsUser;

	rte->perminfoindex = 0;
	addRTEPermissionInfo(&query->rteperminfos, rte)->checkAsUser = role;
#else
	(void) query;
	(void) parent;
	rte->requiredPerms = 0;
#endif
}

static inline void
compat_forget_nothing_required(PlannedStmt *planned)
{
#if PG_VERSION_NUM >= 160000
	ListCell   *lc;

	for (int i = list_length(planned->permInfos); i > 0; i--)
	{
		if (list_nth_node(RTEPermissionInfo, planned->permInfos, i - 1)->requiredPerms != 0)
			continue;
		planned->permInfos = list_delete_nth_cell(planned->permInfos, i - 1);
		foreach(lc, planned->rtable)
		{
			RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

			if (rte->perminfoindex == (Index) i)
				rte->perminfoindex = 0;
			else if (rte->perminfoindex > (Index) i)
				rte->perminfoindex--;
		}
	}
#else
	(void) planned;
#endif
}

/* 16: whether columns may be missing became an argument */
#if PG_VERSION_NUM >= 160000
#define compat_attrmap_by_name(from, to) build_attrmap_by_name(from, to, false)
#define compat_attrmap_by_name_if_needed(from, to) build_attrmap_by_name_if_req(from, to, false)
#else
#define compat_attrmap_by_name(from, to) build_attrmap_by_name(from, to)
#define compat_attrmap_by_name_if_needed(from, to) build_attrmap_by_name_if_req(from, to)
#endif

/* 16: that list names the relation as well (for a test that exchanges it) */
#if PG_VERSION_NUM >= 160000
#define compat_exchange_relation(query, rte, other) \
	((rte)->perminfoindex == 0 ? (void) ((rte)->relid = (other)) : \
	 (void) (getRTEPermissionInfo((query)->rteperminfos, rte)->relid = (other), (rte)->relid = (other)))
#else
#define compat_exchange_relation(query, rte, other) ((void) (query), (void) ((rte)->relid = (other)))
#endif

/* 16: one function for all kinds of objects replaced those for each */
#if PG_VERSION_NUM >= 160000
#define compat_may_connect(database, role) \
	(object_aclcheck(DatabaseRelationId, database, role, ACL_CONNECT) == ACLCHECK_OK)
#define compat_may_use_schema(schema, role) \
	(object_aclcheck(NamespaceRelationId, schema, role, ACL_USAGE) == ACLCHECK_OK)
#define compat_may_execute(function, role) \
	(object_aclcheck(ProcedureRelationId, function, role, ACL_EXECUTE) == ACLCHECK_OK)
#else
#define compat_may_connect(database, role) \
	(pg_database_aclcheck(database, role, ACL_CONNECT) == ACLCHECK_OK)
#define compat_may_use_schema(schema, role) \
	(pg_namespace_aclcheck(schema, role, ACL_USAGE) == ACLCHECK_OK)
#define compat_may_execute(function, role) \
	(pg_proc_aclcheck(function, role, ACL_EXECUTE) == ACLCHECK_OK)
#endif

/* 17: whether a stronger lock counts as well became an argument */
#if PG_VERSION_NUM >= 170000
#define compat_lock_held(tag, mode) LockHeldByMe(tag, mode, false)
#else
#define compat_lock_held(tag, mode) LockHeldByMe(tag, mode)
#endif

/*
 * 17: old_snapshot_threshold went.  While it is set, rows that an old snapshot
 * should see may be gone, and only the server's own scans raise 72000 then.
 */
#if PG_VERSION_NUM >= 170000
#define compat_snapshots_expire() false
#else
#define compat_snapshots_expire() OldSnapshotThresholdActive()
#endif

/* 18: columns that are computed when they are read, by the planner */
#if PG_VERSION_NUM >= 180000
#define compat_has_virtual_columns(desc) \
	((desc)->constr != NULL && (desc)->constr->has_generated_virtual)
#else
#define compat_has_virtual_columns(desc) false
#endif

/* 18: a scan may count its searches; 19: and take hints of the executor */
#if PG_VERSION_NUM >= 190000
#define compat_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan(heap, index, snapshot, NULL, nkeys, 0, 0)
#elif PG_VERSION_NUM >= 180000
#define compat_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan(heap, index, snapshot, NULL, nkeys, 0)
#else
#define compat_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan(heap, index, snapshot, nkeys, 0)
#endif

/* 17: MERGE got WHEN NOT MATCHED BY SOURCE, and a kind in place of a boolean */
#if PG_VERSION_NUM >= 170000
#define compat_when_matched(clause) ((clause)->matchKind == MERGE_WHEN_MATCHED)
#else
#define compat_when_matched(clause) ((clause)->matched)
#endif

/* 17: the condition of a MERGE has a place of its own */
#if PG_VERSION_NUM >= 170000
#define compat_merge_condition(query) ((query)->mergeJoinCondition)
#else
#define compat_merge_condition(query) ((void) (query), (Node *) NULL)
#endif

/* 17: a background worker may log on as a role that has no LOGIN */
#if PG_VERSION_NUM >= 170000
#define COMPAT_BYPASS_LOGIN BGWORKER_BYPASS_ROLELOGINCHECK
#define COMPAT_MAY_BYPASS_LOGIN true
#else
#define COMPAT_BYPASS_LOGIN 0
#define COMPAT_MAY_BYPASS_LOGIN false
#endif

/* 18: what a query is grouped by became the columns of a range table entry of their own */
#if PG_VERSION_NUM >= 180000
#define compat_grouped_columns(rte) ((rte)->rtekind == RTE_GROUP ? (rte)->groupexprs : NIL)
#else
#define compat_grouped_columns(rte) ((void) (rte), NIL)
#endif

/* 19: a set replaced the list of the range table indexes that a plan writes to */
static inline List *
compat_result_relations(const PlannedStmt *planned)
{
#if PG_VERSION_NUM >= 190000
	List	   *relations = NIL;
	int			rti = -1;

	while ((rti = bms_next_member(planned->resultRelationRelids, rti)) >= 0)
		relations = lappend_int(relations, rti);
	return relations;
#else
	return planned->resultRelations;
#endif
}

/* 19: the state of a jsonb value being built got a struct, and holds the result as well */
#if PG_VERSION_NUM >= 190000
typedef JsonbInState CompatJsonb;
#define compat_push_jsonb(json, token, value) pushJsonbValue(json, token, value)
#else
typedef struct CompatJsonb
{
	JsonbParseState *state;
	JsonbValue *result;
} CompatJsonb;
#define compat_push_jsonb(json, token, value) \
	((void) ((json)->result = pushJsonbValue(&(json)->state, token, value)))
#endif

/* 18: RETURNING may ask for old and new rows, which the range table's columns are told */
#if PG_VERSION_NUM >= 180000
#define compat_expand_rte(rte, rti, names, vars) \
	expandRTE(rte, rti, 0, VAR_RETURNING_DEFAULT, -1, true, names, vars)
#else
#define compat_expand_rte(rte, rti, names, vars) expandRTE(rte, rti, 0, -1, true, names, vars)
#endif

#endif							/* PG_CHUNKED_COMPAT_H */
