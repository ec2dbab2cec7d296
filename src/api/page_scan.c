/*
 * page_scan.c
 *		page() in FROM as a scan of its own.
 *
 * The server's scan of a function in FROM drains it into a tuple store before
 * its first row leaves.  This one hands on each row as the walk's query gives it:
 * the client receives while the server reads, nothing is copied, and a statement
 * that wants a few rows of a large page reads just those.
 *
 * It takes the function's place among the ways to scan it that the planner
 * knows, wherever the two cannot be told apart.  All else is as in the function:
 * arguments are evaluated, checked and read when the scan begins, by the same
 * code.  The function is called where the page is read backwards (before), where
 * its arguments depend on other rows of FROM (LATERAL) or are volatile, where a
 * subquery is run again and again over the same page, in ROWS FROM, WITH ORDINALITY
 * and outside of FROM, and where a row may have to be found again after another
 * one was locked (UPDATE ... FROM, FOR UPDATE).
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_proc.h"
#include "commands/explain.h"
#include "executor/executor.h"
#include "executor/nodeCustom.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/extensible.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/restrictinfo.h"
#include "parser/parse_relation.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

#include "api/page.h"
#include "api/page_scan.h"
#include "api/rows.h"
#include "base/compat.h"

typedef struct PageScan
{
	CustomScanState css;
	FmgrInfo	function;
	ExprState  *args[PAGE_NARGS];	/* NULL for a constant */
	int			ncolumns;		/* of the page's rows, as planned */
	TupleDesc	planned;		/* those, the dropped ones marked */
	bool		whole_row;		/* one more column: all of them as one value */

	/* of the page that is being read; context is NULL if there is none */
	MemoryContext context;
	PageRead	page;
	WalkCursor *cursor;
	TupleDesc	row_type;		/* for whole_row */
} PageScan;

static set_rel_pathlist_hook_type next_pathlist_hook = NULL;

static void offer_scan(PlannerInfo *root, RelOptInfo *rel, Index rti, RangeTblEntry *rte);
static FuncExpr *call_to_scan(PlannerInfo *root, RelOptInfo *rel, RangeTblEntry *rte);
static bool is_begun_again(PlannerInfo *root, FuncExpr *call);
static bool has_exec_param(Node *node, void *context);
static Plan *make_plan(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *tlist,
					   List *clauses, List *plans);
static List *scan_columns(Index rti, RangeTblEntry *rte, bool whole_row);
static Node *make_state(CustomScan *scan);
static void begin_scan(CustomScanState *node, EState *estate, int eflags);
static TupleTableSlot *exec_scan(CustomScanState *node);
static TupleTableSlot *next_page_row(ScanState *node);
static bool recheck_row(ScanState *node, TupleTableSlot *slot);
static void begin_page(PageScan *scan);
static void end_page(PageScan *scan);
static void end_scan(CustomScanState *node);
static void rescan(CustomScanState *node);
static void explain_scan(CustomScanState *node, List *ancestors, ExplainState *es);

static const CustomPathMethods path_methods = {.CustomName = "chunked.page", .PlanCustomPath = make_plan};
static const CustomScanMethods scan_methods = {.CustomName = "chunked.page", .CreateCustomScanState = make_state};
static const CustomExecMethods exec_methods = {
	.CustomName = "chunked.page",
	.BeginCustomScan = begin_scan,
	.ExecCustomScan = exec_scan,
	.EndCustomScan = end_scan,
	.ReScanCustomScan = rescan,
	.ExplainCustomScan = explain_scan,
};

/* Called once, when the library is loaded. */
void
page_scan_install(void)
{
	RegisterCustomScanMethods(&scan_methods);
	next_pathlist_hook = set_rel_pathlist_hook;
	set_rel_pathlist_hook = offer_scan;
}

static void
offer_scan(PlannerInfo *root, RelOptInfo *rel, Index rti, RangeTblEntry *rte)
{
	FuncExpr   *call;
	Path	   *by_function;
	CustomPath *path;

	if (next_pathlist_hook != NULL)
		next_pathlist_hook(root, rel, rti, rte);
	if (rte->rtekind != RTE_FUNCTION || list_length(rel->pathlist) != 1)
		return;
	by_function = linitial(rel->pathlist);
	call = by_function->pathtype == T_FunctionScan ? call_to_scan(root, rel, rte) : NULL;
	if (call == NULL)
		return;

	path = makeNode(CustomPath);
	path->path.pathtype = T_CustomScan;
	path->path.parent = rel;
	path->path.pathtarget = rel->reltarget;
	path->path.rows = by_function->rows;
	path->path.startup_cost = by_function->startup_cost;
	path->path.total_cost = by_function->total_cost;
	path->flags = CUSTOMPATH_SUPPORT_PROJECTION;
	path->custom_private = list_make1(call);
	path->methods = &path_methods;
	rel->pathlist = list_make1(path);
}

/* The call of page() that this is, if it can be scanned; else NULL. */
static FuncExpr *
call_to_scan(PlannerInfo *root, RelOptInfo *rel, RangeTblEntry *rte)
{
	RangeTblFunction *function;
	FuncExpr   *call;
	Node	   *before;
	FmgrInfo	info;

	/* rows of a branch of UNION ALL are found again without a row mark of its own */
	if (list_length(rte->functions) != 1 || rte->funcordinality || rte->lateral ||
		!bms_is_empty(rel->lateral_relids) || root->rowMarks != NIL)
		return NULL;
	function = linitial_node(RangeTblFunction, rte->functions);
	call = (FuncExpr *) function->funcexpr;
	if (!IsA(call, FuncExpr) || list_length(call->args) != PAGE_NARGS || function->funccolnames != NIL ||
		get_typ_typrelid(call->funcresulttype) == InvalidOid)
		return NULL;
	before = list_nth(call->args, PAGE_BEFORE);
	if (!IsA(before, Const) || !((Const *) before)->constisnull)
		return NULL;
	/* begun again, as in a nested loop, a scan evaluates them again; the function keeps its rows */
	if (contain_volatile_functions((Node *) call->args) || is_begun_again(root, call))
		return NULL;
	/* SECURITY DEFINER and the like, which somebody may have altered it to, come in between */
	fmgr_info(call->funcid, &info);
	return info.fn_addr == chunked_page && info.fn_retset ? call : NULL;
}

/* Is the same page wanted for each row of an outer query? */
static bool
is_begun_again(PlannerInfo *root, FuncExpr *call)
{
	bool		correlated = false;

	for (PlannerInfo *outer = root->parent_root; outer != NULL; outer = outer->parent_root)
		if (outer->plan_params != NIL)
			correlated = true;
	return correlated && !has_exec_param((Node *) call->args, NULL);
}

/* Is anything in it that the executor finds out, such as a column of an outer query? */
static bool
has_exec_param(Node *node, void *context)
{
	if (node != NULL && IsA(node, Param))
		return ((Param *) node)->paramkind == PARAM_EXEC;
	return expression_tree_walker(node, has_exec_param, context);
}

static Plan *
make_plan(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *tlist, List *clauses,
		  List *plans)
{
	CustomScan *scan = makeNode(CustomScan);
	List	   *quals = extract_actual_clauses(clauses, false);
	/* tlist may be left out, where a projection has yet to say what it is */
	List	   *needed = list_concat_copy(rel->reltarget->exprs, quals);
	List	   *vars = pull_var_clause((Node *) needed, PVC_RECURSE_PLACEHOLDERS);
	bool		whole_row = false;
	ListCell   *lc;

	(void) plans;
	foreach(lc, vars)
		if (lfirst_node(Var, lc)->varattno == InvalidAttrNumber)
			whole_row = true;

	scan->scan.plan.targetlist = tlist;
	scan->scan.plan.qual = quals;
	scan->scan.scanrelid = 0;	/* no relation that the executor should open */
	scan->flags = path->flags;
	scan->custom_exprs = list_make1(linitial(path->custom_private));
	scan->custom_private = list_make1(makeBoolean(whole_row));
	scan->custom_scan_tlist = scan_columns(rel->relid, root->simple_rte_array[rel->relid], whole_row);
	scan->methods = &scan_methods;
	return &scan->scan.plan;
}

/* The columns of a page's rows, a null for one that is dropped; and, if wanted, the whole row. */
static List *
scan_columns(Index rti, RangeTblEntry *rte, bool whole_row)
{
	List	   *tlist = NIL;
	List	   *names;
	List	   *vars;
	ListCell   *lc;

	compat_expand_rte(rte, rti, &names, &vars);	/* with those that are dropped */
	foreach(lc, vars)
		tlist = lappend(tlist, makeTargetEntry(lfirst(lc), foreach_current_index(lc) + 1,
											   strVal(list_nth(names, foreach_current_index(lc))), false));
	if (whole_row)
		tlist = lappend(tlist, makeTargetEntry((Expr *) makeWholeRowVar(rte, rti, 0, false), list_length(tlist) + 1,
											   "row", false));
	return tlist;
}

static Node *
make_state(CustomScan *plan)
{
	PageScan   *scan = palloc0(sizeof(PageScan));

	NodeSetTag(scan, T_CustomScanState);
	scan->css.methods = &exec_methods;
	scan->whole_row = boolVal(linitial(plan->custom_private));
	return (Node *) scan;
}

/* Error: 42501 the current role may not execute page(). */
static void
begin_scan(CustomScanState *node, EState *estate, int eflags)
{
	PageScan   *scan = (PageScan *) node;
	CustomScan *plan = (CustomScan *) node->ss.ps.plan;
	FuncExpr   *call = linitial_node(FuncExpr, plan->custom_exprs);
	ListCell   *lc;

	(void) estate;
	(void) eflags;
	if (!compat_may_execute(call->funcid, GetUserId()))
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FUNCTION, get_func_name(call->funcid));
	InvokeFunctionExecuteHook(call->funcid);
	fmgr_info(call->funcid, &scan->function);
	fmgr_info_set_expr((Node *) call, &scan->function);
	foreach(lc, call->args)
		if (!IsA(lfirst(lc), Const))
			scan->args[foreach_current_index(lc)] = ExecInitExpr(lfirst(lc), &node->ss.ps);

	scan->planned = node->ss.ss_ScanTupleSlot->tts_tupleDescriptor;
	scan->ncolumns = scan->planned->natts - scan->whole_row;
	foreach(lc, plan->custom_scan_tlist)
	{
		if (!IsA(lfirst_node(TargetEntry, lc)->expr, Const))
			continue;
		if (scan->planned == node->ss.ss_ScanTupleSlot->tts_tupleDescriptor)
			scan->planned = CreateTupleDescCopy(scan->planned);
		TupleDescAttr(scan->planned, foreach_current_index(lc))->attisdropped = true;
	}
}

static TupleTableSlot *
exec_scan(CustomScanState *node)
{
	return ExecScan(&node->ss, next_page_row, recheck_row);
}

static TupleTableSlot *
next_page_row(ScanState *node)
{
	PageScan   *scan = (PageScan *) node;
	TupleTableSlot *slot = node->ss_ScanTupleSlot;
	TupleTableSlot *row;

	ExecClearTuple(slot);
	if (scan->context == NULL)
		begin_page(scan);
	row = walk_cursor_next(scan->cursor);
	if (row == NULL)
		return slot;

	/* for a whole row, columns that were added since it was planned as well */
	slot_getsomeattrs(row, scan->whole_row ? scan->row_type->natts : scan->ncolumns);
	memcpy(slot->tts_values, row->tts_values, scan->ncolumns * sizeof(Datum));
	memcpy(slot->tts_isnull, row->tts_isnull, scan->ncolumns * sizeof(bool));
	if (scan->whole_row)
	{
		MemoryContext context = MemoryContextSwitchTo(node->ps.ps_ExprContext->ecxt_per_tuple_memory);

		slot->tts_values[scan->ncolumns] =
			HeapTupleGetDatum(heap_form_tuple(scan->row_type, row->tts_values, row->tts_isnull));
		slot->tts_isnull[scan->ncolumns] = false;
		MemoryContextSwitchTo(context);
	}
	return ExecStoreVirtualTuple(slot);
}

static bool
recheck_row(ScanState *node, TupleTableSlot *slot)
{
	(void) node;
	(void) slot;
	return true;
}

/* Evaluate the arguments, and begin to read what they ask for. */
static void
begin_page(PageScan *scan)
{
	LOCAL_FCINFO(fcinfo, PAGE_NARGS);
	ExprContext *econtext = scan->css.ss.ps.ps_ExprContext;
	ReturnSetInfo rsinfo = {.type = T_ReturnSetInfo, .econtext = econtext};
	MemoryContext context;

	scan->context = AllocSetContextCreate(econtext->ecxt_estate->es_query_cxt, "pg_chunked page",
										  ALLOCSET_SMALL_SIZES);
	context = MemoryContextSwitchTo(scan->context);
	InitFunctionCallInfoData(*fcinfo, &scan->function, PAGE_NARGS, InvalidOid, NULL, (Node *) &rsinfo);
	for (int i = 0; i < PAGE_NARGS; i++)
	{
		Const	   *constant = list_nth(((FuncExpr *) scan->function.fn_expr)->args, i);

		if (scan->args[i] != NULL)
			fcinfo->args[i].value = ExecEvalExpr(scan->args[i], econtext, &fcinfo->args[i].isnull);
		else
		{
			fcinfo->args[i].value = constant->constvalue;
			fcinfo->args[i].isnull = constant->constisnull;
		}
	}

	page_open_relation(&scan->page, fcinfo);
	rows_check_shape(scan->planned, scan->ncolumns, scan->page.rel);
	if (scan->whole_row)
	{
		scan->row_type = CreateTupleDescCopy(RelationGetDescr(scan->page.rel));
		BlessTupleDesc(scan->row_type);
	}
	page_begin(&scan->page, fcinfo);
	table_close(scan->page.rel, NoLock);
	scan->cursor = walk_cursor_open(scan->page.walk, &scan->page.range, &scan->page.reader);
	MemoryContextSwitchTo(context);
}

static void
end_page(PageScan *scan)
{
	if (scan->context == NULL)
		return;
	if (scan->cursor != NULL)
		walk_cursor_close(scan->cursor);
	scan->cursor = NULL;
	MemoryContextDelete(scan->context);
	scan->context = NULL;
}

static void
end_scan(CustomScanState *node)
{
	end_page((PageScan *) node);
}

static void
rescan(CustomScanState *node)
{
	end_page((PageScan *) node);
	ExecScanReScan(&node->ss);
}

static void
explain_scan(CustomScanState *node, List *ancestors, ExplainState *es)
{
	CustomScan *plan = (CustomScan *) node->ss.ps.plan;

	if (!es->verbose)
		return;
	ExplainPropertyText("Function Call",
						deparse_expression(linitial(plan->custom_exprs),
										   set_deparse_context_plan(es->deparse_cxt, (Plan *) plan, ancestors), true, false),
						es);
}
