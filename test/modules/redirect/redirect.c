/*
 * redirect.c
 *		For tests: an extension that keeps the rows of tables elsewhere.
 *
 * Where a table x has another beside it that is named x_elsewhere, queries of x
 * read that one.  redirect.how tells in which way:
 *
 *		relation	planner_hook exchanges the relation in the query
 *		scan		planner_hook has the whole query run by a scan of its own,
 *					as Citus does; the plan still names the table itself
 *		path		set_rel_pathlist_hook gives the table another scan
 *		none
 *
 * With redirect.by_value, such queries are not planned without their values, and
 * a plan is good for these alone.
 * There is also a table access method, which is the heap by another name.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/tableam.h"
#include "catalog/pg_class.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "nodes/extensible.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/planner.h"
#include "optimizer/restrictinfo.h"
#include "parser/parse_relation.h"
#include "parser/parsetree.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"

#include "base/compat.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

PG_FUNCTION_INFO_V1(redirect_tableam);

typedef enum How
{
	NONE,
	RELATION,
	SCAN,
	PATH
} How;

static const struct config_enum_entry how_options[] = {
	{"none", NONE, false},
	{"relation", RELATION, false},
	{"scan", SCAN, false},
	{"path", PATH, false},
	{NULL, 0, false}
};

static int	how = NONE;
static bool by_value = false;
static planner_hook_type next_planner_hook = NULL;
static set_rel_pathlist_hook_type next_pathlist_hook = NULL;

/* A scan whose tuples another query brings */
typedef struct QueryScan
{
	CustomScanState css;
	char	   *sql;
	HeapTuple  *tuples;
	uint64		count;
	uint64		at;
	bool		done;
} QueryScan;

static Plan *plan_path(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *tlist,
					   List *clauses, List *custom_plans);
static Node *scan_create(CustomScan *scan);
static void scan_begin(CustomScanState *node, EState *estate, int eflags);
static TupleTableSlot *scan_exec(CustomScanState *node);
static void scan_end(CustomScanState *node);
static void scan_rescan(CustomScanState *node);

static const CustomPathMethods path_methods = {.CustomName = "Redirect",.PlanCustomPath = plan_path};
static const CustomScanMethods scan_methods = {"Redirect", scan_create};
static const CustomExecMethods exec_methods = {"Redirect", scan_begin, scan_exec, scan_end, scan_rescan};

static Oid
elsewhere(Oid relid)
{
	char	   *name = get_rel_name(relid);
	char		kind = get_rel_relkind(relid);

	if (name == NULL || (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE))
		return InvalidOid;
	return get_relname_relid(psprintf("%s_elsewhere", name), get_rel_namespace(relid));
}

/* Exchange relations; *found: there are such. */
static bool
exchange(Node *node, void *found)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		Query	   *query = (Query *) node;
		ListCell   *lc;

		foreach(lc, query->rtable)
		{
			RangeTblEntry *rte = lfirst(lc);
			Oid			other = rte->rtekind == RTE_RELATION ? elsewhere(rte->relid) : InvalidOid;

			if (OidIsValid(other))
			{
				LockRelationOid(other, rte->rellockmode);
				compat_exchange_relation(query, rte, other);
				*(bool *) found = true;
			}
		}
		return query_tree_walker(query, exchange, found, 0);
	}
	return expression_tree_walker(node, exchange, found);
}

static bool
has_parameter(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Param))
		return ((Param *) node)->paramkind == PARAM_EXTERN;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, has_parameter, context, 0);
	return expression_tree_walker(node, has_parameter, context);
}

/* The values in place of the parameters, for good: the plan is for these values alone. */
static Node *
put_values(Node *node, void *params)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Param) && ((Param *) node)->paramkind == PARAM_EXTERN)
	{
		Param	   *param = (Param *) node;
		ParamListInfo list = params;
		ParamExternData buffer;
		ParamExternData *value = list->paramFetch != NULL ?
			list->paramFetch(list, param->paramid, false, &buffer) : &list->params[param->paramid - 1];
		int16		length;
		bool		byval;

		get_typlenbyval(param->paramtype, &length, &byval);
		return (Node *) makeConst(param->paramtype, param->paramtypmod, param->paramcollid, length,
								  value->isnull ? (Datum) 0 : datumCopy(value->value, byval, length),
								  value->isnull, byval);
	}
	if (IsA(node, Query))
		return (Node *) query_tree_mutator((Query *) node, put_values, params, 0);
	return expression_tree_mutator(node, put_values, params);
}

static CustomScan *
scan_make(const char *sql)
{
	CustomScan *scan = makeNode(CustomScan);

	scan->methods = &scan_methods;
	scan->custom_private = list_make1(makeString(pstrdup(sql)));
	return scan;
}

/* The whole query as one scan, whose columns are those that it brings */
static Plan *
scan_of_query(Query *query)
{
	CustomScan *scan = scan_make(pg_get_querydef(copyObject(query), false));
	ListCell   *lc;

	foreach(lc, query->targetList)
	{
		TargetEntry *entry = lfirst(lc);
		Oid			type = exprType((Node *) entry->expr);
		int32		typmod = exprTypmod((Node *) entry->expr);
		Oid			collation = exprCollation((Node *) entry->expr);
		int			number = list_length(scan->custom_scan_tlist) + 1;

		if (entry->resjunk)
			continue;
		scan->custom_scan_tlist = lappend(scan->custom_scan_tlist,
										  makeTargetEntry((Expr *) makeNullConst(type, typmod, collation),
														  number, entry->resname, false));
		scan->scan.plan.targetlist = lappend(scan->scan.plan.targetlist,
											 makeTargetEntry((Expr *) makeVar(INDEX_VAR, number, type, typmod, collation, 0),
															 number, entry->resname, false));
	}
	return (Plan *) scan;
}

static PlannedStmt *
plan_elsewhere(COMPAT_PLANNER_HOOK_PARAMS)
{
	Query	   *original = copyObject(parse);
	bool		found = false;
	PlannedStmt *planned;

	if (how == RELATION || how == SCAN)
		(void) exchange((Node *) parse, &found);
	if (found && by_value && boundParams == NULL && has_parameter((Node *) parse, NULL))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("could not create distributed plan"),
				 errdetail("Possibly this is caused by the use of parameters in SQL functions, which is not supported in Citus.")));
	if (found && by_value && boundParams != NULL)
		parse = (Query *) put_values((Node *) parse, boundParams);
	if (found && how == SCAN && parse->commandType == CMD_SELECT)
	{
		Plan	   *scan = scan_of_query(parse);

		parse = copyObject(original);
		planned = next_planner_hook ? next_planner_hook(COMPAT_PLANNER_HOOK_ARGS) :
			standard_planner(COMPAT_PLANNER_HOOK_ARGS);
		planned->planTree = scan;
		planned->subplans = NIL;
		planned->parallelModeNeeded = false;
		return planned;
	}
	return next_planner_hook ? next_planner_hook(COMPAT_PLANNER_HOOK_ARGS) :
		standard_planner(COMPAT_PLANNER_HOOK_ARGS);
}

static void
path_elsewhere(PlannerInfo *root, RelOptInfo *rel, Index rti, RangeTblEntry *rte)
{
	Oid			other;
	CustomPath *path;

	if (next_pathlist_hook)
		next_pathlist_hook(root, rel, rti, rte);
	if (how != PATH || rte->rtekind != RTE_RELATION || rte->inh ||
		!OidIsValid(other = elsewhere(rte->relid)) || IS_DUMMY_REL(rel))
		return;

	path = makeNode(CustomPath);
	path->path.pathtype = T_CustomScan;
	path->path.parent = rel;
	path->path.pathtarget = rel->reltarget;
	path->path.rows = rel->rows;
	path->flags = CUSTOMPATH_SUPPORT_PROJECTION;
	path->methods = &path_methods;
	path->custom_private = list_make1(makeString(psprintf("SELECT * FROM %s",
														  quote_qualified_identifier(get_namespace_name(get_rel_namespace(other)),
																					 get_rel_name(other)))));
	rel->pathlist = list_make1(path);
	rel->partial_pathlist = NIL;
}

static Plan *
plan_path(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *tlist,
		  List *clauses, List *custom_plans)
{
	CustomScan *scan = scan_make(strVal(linitial(path->custom_private)));

	scan->scan.scanrelid = rel->relid;
	scan->scan.plan.targetlist = tlist;
	scan->scan.plan.qual = extract_actual_clauses(clauses, false);
	return (Plan *) scan;
}

static Node *
scan_create(CustomScan *scan)
{
	QueryScan  *node = (QueryScan *) newNode(sizeof(QueryScan), T_CustomScanState);

	node->css.methods = &exec_methods;
	node->sql = strVal(linitial(scan->custom_private));
	return (Node *) node;
}

static void
scan_begin(CustomScanState *node, EState *estate, int eflags)
{
}

static TupleTableSlot *
scan_next(ScanState *node)
{
	QueryScan  *scan = (QueryScan *) node;
	EState	   *estate = node->ps.state;

	if (!scan->done)
	{
		ParamListInfo params = estate->es_param_list_info;
		int			count = params == NULL ? 0 : params->numParams;
		Oid		   *types = palloc((count + 1) * sizeof(Oid));
		Datum	   *values = palloc((count + 1) * sizeof(Datum));
		char	   *nulls = palloc(count + 1);

		for (int i = 0; i < count; i++)
		{
			ParamExternData buffer;
			ParamExternData *param = params->paramFetch != NULL ?
				params->paramFetch(params, i + 1, false, &buffer) : &params->params[i];

			types[i] = param->ptype;
			values[i] = param->value;
			nulls[i] = param->isnull ? 'n' : ' ';
		}
		SPI_connect();
		if (SPI_execute_with_args(scan->sql, count, types, values, nulls, true, 0) != SPI_OK_SELECT)
			elog(ERROR, "could not run \"%s\"", scan->sql);
		scan->count = SPI_processed;
		scan->tuples = MemoryContextAllocHuge(estate->es_query_cxt, (scan->count + 1) * sizeof(HeapTuple));
		for (uint64 i = 0; i < scan->count; i++)
		{
			MemoryContext context = MemoryContextSwitchTo(estate->es_query_cxt);

			scan->tuples[i] = heap_copytuple(SPI_tuptable->vals[i]);
			MemoryContextSwitchTo(context);
		}
		SPI_finish();
		scan->done = true;
	}
	if (scan->at >= scan->count)
		return ExecClearTuple(node->ss_ScanTupleSlot);
	ExecForceStoreHeapTuple(scan->tuples[scan->at++], node->ss_ScanTupleSlot, false);
	return node->ss_ScanTupleSlot;
}

static bool
scan_recheck(ScanState *node, TupleTableSlot *slot)
{
	return true;
}

static TupleTableSlot *
scan_exec(CustomScanState *node)
{
	return ExecScan(&node->ss, scan_next, scan_recheck);
}

static void
scan_end(CustomScanState *node)
{
}

static void
scan_rescan(CustomScanState *node)
{
	((QueryScan *) node)->at = 0;
}

/* The heap's own scan for this wants the heap's own address. */
static double
build_index(Relation table, Relation index, IndexInfo *info, bool allow_sync, bool anyvisible,
			bool progress, BlockNumber start, BlockNumber count, IndexBuildCallback callback,
			void *state, TableScanDesc scan)
{
	const TableAmRoutine *routine = table->rd_tableam;
	double		rows;

	table->rd_tableam = GetHeapamTableAmRoutine();
	rows = table->rd_tableam->index_build_range_scan(table, index, info, allow_sync, anyvisible,
													 progress, start, count, callback, state, scan);
	table->rd_tableam = routine;
	return rows;
}

/* The heap, but not at its address */
Datum
redirect_tableam(PG_FUNCTION_ARGS)
{
	static TableAmRoutine routine;

	routine = *GetHeapamTableAmRoutine();
	routine.index_build_range_scan = build_index;
	PG_RETURN_POINTER(&routine);
}

void
_PG_init(void)
{
	DefineCustomEnumVariable("redirect.how", "How queries are led to other tables.", NULL,
							 &how, NONE, how_options, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("redirect.by_value", "Refuse generic plans.", NULL,
							 &by_value, false, PGC_USERSET, 0, NULL, NULL, NULL);
	RegisterCustomScanMethods(&scan_methods);
	next_planner_hook = planner_hook;
	planner_hook = plan_elsewhere;
	next_pathlist_hook = set_rel_pathlist_hook;
	set_rel_pathlist_hook = path_elsewhere;
}
