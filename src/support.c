/*
 * support.c
 *		What the planner is told of page(), chunks() and next_chunk(): how many
 *		rows they bring, as far as their arguments are known.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "fmgr.h"
#include "nodes/nodeFuncs.h"
#include "nodes/supportnodes.h"
#include "optimizer/optimizer.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/* As many rows as can be, where the catalog has no count */
#define UNKNOWN_ROWS ((double) PG_INT64_MAX)

PG_FUNCTION_INFO_V1(chunked_page_support);
PG_FUNCTION_INFO_V1(chunked_chunks_support);

static Const *constant_argument(SupportRequestRows *request, int argno);
static double constant_number(SupportRequestRows *request, int argno, double otherwise);
static double relation_rows(Oid relid);

/*
 * chunked.page_support(internal) RETURNS internal: page() brings page_size
 * rows, or the whole table if that is smaller.
 */
Datum
chunked_page_support(PG_FUNCTION_ARGS)
{
	Node	   *node = (Node *) PG_GETARG_POINTER(0);

	if (IsA(node, SupportRequestRows))
	{
		SupportRequestRows *request = (SupportRequestRows *) node;
		List	   *args = ((FuncExpr *) request->node)->args;
		double		rows = relation_rows(get_typ_typrelid(exprType(linitial(args))));

		request->rows = clamp_row_est(Min(constant_number(request, 1, 1000), rows));
		PG_RETURN_POINTER(request);
	}
	PG_RETURN_POINTER(NULL);
}

/*
 * chunked.chunks_support(internal) RETURNS internal: chunks() brings one row
 * for every chunk_size of the relation.
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

/* An int or bigint argument as far as the planner knows it. */
static double
constant_number(SupportRequestRows *request, int argno, double otherwise)
{
	Const	   *constant = constant_argument(request, argno);

	if (constant == NULL || constant->constisnull)
		return otherwise;
	return constant->constlen == sizeof(int32) ?
		(double) DatumGetInt32(constant->constvalue) :
		(double) DatumGetInt64(constant->constvalue);
}

/* The catalog's row count; as many as can be if it has none. */
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
