/*
 * condition.c
 *		Which form of a chunk's condition the planner estimates right.
 *
 * A chunk of a composite key whose ends differ in a column has two forms.  The
 * bounded one is a range of that column and, at either end, what it leaves out
 * of the rows that share the end's value:
 *
 *		a >= 1 AND a <= 4 AND (a <> 1 OR b > 5) AND (a <> 4 OR b <= 7)
 *
 * It is one index range, in the order of the key, and is estimated by the range
 * alone; but the rows that share the ends' values are read whether they are in
 * the chunk or not.  The ladder is estimated as its parts are, whatever those rows
 * are, and reads no others, in three or more index ranges that give no order:
 *
 *		a = 1 AND b > 5 OR a > 1 AND a < 4 OR a = 4 AND b <= 7
 *
 * So the bounded form is for ends that few rows share, by the same statistics
 * that the planner has.  (A row comparison is estimated by its first column, and
 * two of them as if they were independent: in the middle of a table, as a quarter
 * of it.)
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_statistic.h"
#include "miscadmin.h"
#include "nodes/pathnodes.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/selfuncs.h"
#include "utils/syscache.h"

#include "chunk/condition.h"

static double sharing_rows(const Walk *walk, const Position *position, int ncolumns, double tuples);
static double equal_selectivity(Oid relid, const KeyColumn *column, Datum value, double tuples);
static double relation_tuples(Oid relid);

/*
 * The style in which to write a chunk's range.  rows: of the chunk; 0 if that is
 * not known.
 */
RangeStyle
condition_style(const Walk *walk, const Range *range, double rows)
{
	const WalkKey *key = walk->key;
	RangeStyle	style = walk->style;
	int			column = 0;		/* in which the ends differ */
	double		tuples;
	double		shared = 0;

	if (style.expand || key->ncolumns < 2 || (range->after == NULL && range->upto == NULL))
		return style;
	if (range->after != NULL && range->upto != NULL)
		column = position_common_prefix(key, range->after, range->upto);
	if (column >= key->ncolumns - 1 || key->columns[column].nullable)
		return style;			/* there is only one form */
	tuples = relation_tuples(walk->relid);
	if (tuples < 0)
		return style;
	if (range->after != NULL)
		shared += sharing_rows(walk, range->after, column + 1, tuples);
	if (range->upto != NULL)
		shared += sharing_rows(walk, range->upto, column + 1, tuples);
	style.bounded = shared <= Max(rows, 1);
	return style;
}

/* How many rows share a position's first columns, as the planner would guess. */
static double
sharing_rows(const Walk *walk, const Position *position, int ncolumns, double tuples)
{
	double		rows = tuples;

	for (int i = 0; i < ncolumns && rows >= 1; i++)
		rows *= position->nulls[i] ? 1 :
			equal_selectivity(walk->relid, &walk->key->columns[i], position->values[i], tuples);
	return rows;
}

static double
equal_selectivity(Oid relid, const KeyColumn *column, Datum value, double tuples)
{
	VariableStatData stats = {0};
	RelOptInfo	rel = {.type = T_RelOptInfo,.tuples = tuples};
	Oid			equal = get_opfamily_member(column->opfamily, column->opcintype, column->opcintype,
											BTEqualStrategyNumber);
	double		selectivity;

	stats.rel = &rel;
	stats.statsTuple = SearchSysCache3(STATRELATTINH, ObjectIdGetDatum(relid),
									   Int16GetDatum(column->attnum), BoolGetDatum(true));
	if (!HeapTupleIsValid(stats.statsTuple))
		stats.statsTuple = SearchSysCache3(STATRELATTINH, ObjectIdGetDatum(relid),
										   Int16GetDatum(column->attnum), BoolGetDatum(false));
	stats.freefunc = ReleaseSysCache;
	stats.vartype = stats.atttype = column->typid;
	stats.atttypmod = -1;
	stats.acl_ok = true;
	selectivity = var_eq_const(&stats, equal, column->collation, value, false, true, false);
	ReleaseVariableStats(stats);
	return selectivity;
}

/*
 * Below zero where statistics say nothing, or the caller may not know them: of
 * views, of tables that were never analyzed, and where policies hide rows.
 */
static double
relation_tuples(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	double		tuples = -1;

	if (HeapTupleIsValid(tuple))
	{
		tuples = ((Form_pg_class) GETSTRUCT(tuple))->reltuples;
		if (((Form_pg_class) GETSTRUCT(tuple))->relkind == RELKIND_VIEW)
			tuples = -1;
		ReleaseSysCache(tuple);
	}
	if (tuples >= 0 &&
		(pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) != ACLCHECK_OK ||
		 check_enable_rls(relid, InvalidOid, true) == RLS_ENABLED))
		return -1;
	return tuples;
}
