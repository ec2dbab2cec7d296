/*
 * support.c
 *		What the planner learns about page(), paginate(), chunks() and next_chunk():
 *		how many rows they return, as far as their arguments are known.
 *
 * The planner asks this of every call that it plans, so that here is also where
 * a call of page() or paginate() first meets its relation.  A SELECT locks the
 * table when it is parsed; a row type is not locked, and by the time of the call
 * the executor has already decided on the columns.  So the lock is
 * taken when the call is planned, and the columns that the statement uses are
 * compared with what is found once it is locked.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "fmgr.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/pathnodes.h"
#include "nodes/supportnodes.h"
#include "optimizer/optimizer.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "api/plan_watch.h"
#include "base/relation.h"

/* As many rows as possible, where the catalog has no count */
#define UNKNOWN_ROWS ((double) PG_INT64_MAX)

/* A search for uses of a call's columns that no longer exist */
typedef struct ColumnUse
{
	const Query *query;			/* that the call is in */
	const FuncExpr *call;
	TupleDesc	tupdesc;		/* of the relation as it is */
	Index		depth;			/* of subqueries of query that the search is in */
} ColumnUse;

PG_FUNCTION_INFO_V1(chunked_page_support);
PG_FUNCTION_INFO_V1(chunked_paginate_support);
PG_FUNCTION_INFO_V1(chunked_chunks_support);

static Node *support_page(Node *node, int argno, double by_default);
static double page_rows(SupportRequestRows *request, int argno, double otherwise);
static void meet_relation(PlannerInfo *root, const FuncExpr *call);
static bool is_same_call(Node *node, const FuncExpr *call);
static void lock_with_plan(PlannerInfo *root, Oid relid);
static bool uses_missing_column(Node *node, ColumnUse *use);
static bool column_is_missing(const ColumnUse *use, int attnum, Oid type);
static Const *constant_argument(SupportRequestRows *request, int argno);
static double constant_number(SupportRequestRows *request, int argno, double otherwise);
static double relation_rows(Oid relid);

/*
 * chunked.page_support(internal) RETURNS internal: page() returns page_size
 * rows, or the whole table if that is smaller.
 */
Datum
chunked_page_support(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(support_page((Node *) PG_GETARG_POINTER(0), 1, 1000));
}

/*
 * chunked.paginate_support(internal) RETURNS internal: the same for paginate()
 * and per_page.
 */
Datum
chunked_paginate_support(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(support_page((Node *) PG_GETARG_POINTER(0), 2, 100));
}

/*
 * chunked.chunks_support(internal) RETURNS internal: chunks() returns one
 * row for every chunk_size rows of the relation.
 */
Datum
chunked_chunks_support(PG_FUNCTION_ARGS)
{
	Node	   *node = (Node *) PG_GETARG_POINTER(0);

	if (IsA(node, SupportRequestRows))
	{
		SupportRequestRows *request = (SupportRequestRows *) node;
		Const	   *relation = constant_argument(request, 0);
		double		rows;

		if (relation == NULL || relation->constisnull)
			PG_RETURN_POINTER(NULL);
		rows = relation_rows(DatumGetObjectId(relation->constvalue));
		if (rows >= UNKNOWN_ROWS)
			PG_RETURN_POINTER(NULL);
		request->rows = clamp_row_est(rows / Max(constant_number(request, 1, 1000), 1));
		PG_RETURN_POINTER(request);
	}
	PG_RETURN_POINTER(NULL);
}

/*
 * Answer the planner for a call whose argument argno says how many rows a page
 * has, by default so many.
 */
static Node *
support_page(Node *node, int argno, double by_default)
{
	if (IsA(node, SupportRequestSimplify))
		meet_relation(((SupportRequestSimplify *) node)->root, ((SupportRequestSimplify *) node)->fcall);
	if (!IsA(node, SupportRequestRows))
		return NULL;
	((SupportRequestRows *) node)->rows = page_rows((SupportRequestRows *) node, argno, by_default);
	return node;
}

/* As many as argument argno says, or the whole table if that is smaller. */
static double
page_rows(SupportRequestRows *request, int argno, double otherwise)
{
	List	   *args = ((FuncExpr *) request->node)->args;
	double		rows = relation_rows(get_typ_typrelid(exprType(linitial(args))));

	return clamp_row_est(Min(constant_number(request, argno, otherwise), rows));
}

/*
 * Lock the relation that is named by the call's first argument, watch it, and
 * see that it still has the columns that the statement takes from the call.
 *
 * Error: 55000 if not, or if it is gone.  (root is not always there; the call
 * itself makes the same check, of all columns.)
 */
static void
meet_relation(PlannerInfo *root, const FuncExpr *call)
{
	Oid			row_type = exprType(linitial(call->args));
	Oid			relid = get_typ_typrelid(row_type);

	/* the call itself refuses what is no row type of a relation with rows */
	if (OidIsValid(relid) && get_rel_relkind(relid) == RELKIND_COMPOSITE_TYPE)
		return;
	if (OidIsValid(relid))
	{
		ColumnUse	use = {0};
		bool		missing;

		plan_watch(relid, call->funcid);
		LockRelationOid(relid, AccessShareLock);
		if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
			relation_report_changed(NULL);
		if (root == NULL)
			return;
		lock_with_plan(root, relid);
		use.query = root->parse;
		use.call = call;
		use.tupdesc = lookup_rowtype_tupdesc_copy(row_type, -1);
		missing = query_tree_walker(root->parse, uses_missing_column, &use, QTW_IGNORE_JOINALIASES);
		FreeTupleDesc(use.tupdesc);
		if (missing)
			relation_report_changed(get_rel_name(relid));
	}
	else if (!SearchSysCacheExists1(TYPEOID, ObjectIdGetDatum(row_type)))
	{
		plan_watch(InvalidOid, call->funcid);
		relation_report_changed(NULL);
	}
}

/*
 * Have the relation locked whenever a kept plan is used again, and the plan made
 * again if the relation has changed by then: by an entry in the range table that
 * no scan reads, like those that views leave there.  Unless it is too late for
 * that in planning; then the call alone takes the lock.
 */
static void
lock_with_plan(PlannerInfo *root, Oid relid)
{
	RangeTblEntry *rte;
	ListCell   *lc;

	if (root->simple_rel_array != NULL)
		return;
	foreach(lc, root->parse->rtable)
	{
		rte = lfirst_node(RangeTblEntry, lc);
		if (rte->rtekind == RTE_RELATION && rte->relid == relid)
			return;
	}
	rte = makeNode(RangeTblEntry);
	rte->rtekind = RTE_RELATION;
	rte->relid = relid;
	rte->relkind = get_rel_relkind(relid);
	rte->rellockmode = AccessShareLock;
	rte->eref = makeAlias(get_rel_name(relid), NIL);
	root->parse->rtable = lappend(root->parse->rtable, rte);
}

static bool
uses_missing_column(Node *node, ColumnUse *use)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;
		RangeTblEntry *rte;
		int			attnum = var->varattno;
		ListCell   *lc;

		if (var->varlevelsup != use->depth || attnum <= 0)
			return false;
		rte = list_nth_node(RangeTblEntry, use->query->rtable, var->varno - 1);
		if (rte->rtekind != RTE_FUNCTION)
			return false;
		foreach(lc, rte->functions)
		{
			RangeTblFunction *function = lfirst_node(RangeTblFunction, lc);

			if (attnum <= function->funccolcount)
				return is_same_call(function->funcexpr, use->call) &&
					column_is_missing(use, attnum, var->vartype);
			attnum -= function->funccolcount;
		}
		return false;
	}
	if (IsA(node, FieldSelect) && is_same_call((Node *) ((FieldSelect *) node)->arg, use->call) &&
		column_is_missing(use, ((FieldSelect *) node)->fieldnum, ((FieldSelect *) node)->resulttype))
		return true;
	if (IsA(node, Query))
	{
		bool		result;

		use->depth++;
		result = query_tree_walker((Query *) node, uses_missing_column, use, QTW_IGNORE_JOINALIASES);
		use->depth--;
		return result;
	}
	return expression_tree_walker(node, uses_missing_column, use);
}

/* Another call of the same function on the same row type will do as well. */
static bool
is_same_call(Node *node, const FuncExpr *call)
{
	FuncExpr   *other = (FuncExpr *) node;

	return IsA(node, FuncExpr) && other->funcid == call->funcid &&
		exprType(linitial(other->args)) == exprType(linitial(call->args));
}

static bool
column_is_missing(const ColumnUse *use, int attnum, Oid type)
{
	Form_pg_attribute attr;

	if (attnum > use->tupdesc->natts)
		return true;
	attr = TupleDescAttr(use->tupdesc, attnum - 1);
	return attr->attisdropped || attr->atttypid != type;
}

static Const *
constant_argument(SupportRequestRows *request, int argno)
{
	Node	   *arg;

	if (!IsA(request->node, FuncExpr))
		return NULL;
	arg = estimate_expression_value(request->root,
									list_nth(((FuncExpr *) request->node)->args, argno));
	return IsA(arg, Const) ? (Const *) arg : NULL;
}

/* A bigint argument as far as the planner knows it. */
static double
constant_number(SupportRequestRows *request, int argno, double otherwise)
{
	Const	   *constant = constant_argument(request, argno);

	if (constant == NULL || constant->constisnull)
		return otherwise;
	return (double) DatumGetInt64(constant->constvalue);
}

/* The catalog's row count; as many as possible if it has none. */
static double
relation_rows(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	double		rows = UNKNOWN_ROWS;

	if (!HeapTupleIsValid(tuple))
		return rows;
	if (((Form_pg_class) GETSTRUCT(tuple))->reltuples >= 0 &&
		((Form_pg_class) GETSTRUCT(tuple))->relkind != RELKIND_VIEW)
		rows = ((Form_pg_class) GETSTRUCT(tuple))->reltuples;
	ReleaseSysCache(tuple);
	return rows;
}
