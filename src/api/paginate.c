/*
 * paginate.c
 *		SQL entry points that count, seek and number pages: row_count(), seek(),
 *		paginator(), paginate().
 *
 * Page numbers, orphans and empty pages are those of Django's
 * django.core.paginator.Paginator.  A page is found by the rank of the row
 * before it, so that its cost is that of counting index entries, or of a
 * look at the index's upper pages, never of fetching the rows it skips.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "common/int.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "api/arguments.h"
#include "api/plan_watch.h"
#include "api/rows.h"
#include "base/compat.h"
#include "base/relation.h"
#include "chunk/count.h"
#include "walk/walk_read.h"

PG_FUNCTION_INFO_V1(chunked_row_count);
PG_FUNCTION_INFO_V1(chunked_seek);
PG_FUNCTION_INFO_V1(chunked_paginator);
PG_FUNCTION_INFO_V1(chunked_paginate);

static int64 argument_orphans(FunctionCallInfo fcinfo, int argno);
pg_noreturn static void report_past_end(int64 page_number);

/*
 * chunked.row_count(relation regclass, exact boolean, key text,
 *					 filter text, args jsonb) RETURNS bigint
 *
 * The number of (matching) rows; not exact: an estimate, where that shows
 * nothing that the caller may not see.  Reads under AccessShareLock.
 */
Datum
chunked_row_count(PG_FUNCTION_ARGS)
{
	Relation	rel = argument_open_relation(fcinfo, 0);
	int64		rows = count_relation(rel, argument_boolean(fcinfo, 1, "exact"),
									  argument_key(fcinfo, 2), argument_filter(fcinfo, 3));

	table_close(rel, NoLock);
	PG_RETURN_INT64(rows);
}

/*
 * chunked.seek(relation regclass, rank bigint, exact boolean, key text,
 *				filter text, args jsonb) RETURNS jsonb
 *
 * The position of the rank-th row in walk order, counted from 1; null if there
 * are fewer rows.  Errors: 22023 a rank below 1, and those of page().
 */
Datum
chunked_seek(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	Relation	rel = argument_open_relation(fcinfo, 0);
	int64		rank = argument_positive(fcinfo, 1, "rank", 1000);
	bool		exact = argument_boolean(fcinfo, 2, "exact");
	Walk	   *walk;
	Position   *position;
	Jsonb	   *result = NULL;

	SPI_connect();
	walk = walk_open(rel, argument_key(fcinfo, 3), argument_filter(fcinfo, 4));
	walk_warn_unsupported(walk, rel, argument_warned(fcinfo));
	position = count_nth(walk, rel, rank, exact, false);
	MemoryContextSwitchTo(context);
	if (position != NULL)
		result = position_write(walk->key, position);
	SPI_finish();
	table_close(rel, NoLock);
	if (result == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(result);
}

/*
 * chunked.paginator(relation regclass, per_page bigint, orphans bigint,
 *					 allow_empty_first_page boolean, exact boolean, key text,
 *					 filter text, args jsonb, OUT row_count bigint, OUT page_count bigint)
 *
 * The number of rows and of the pages that they make.
 */
Datum
chunked_paginator(PG_FUNCTION_ARGS)
{
	Relation	rel = argument_open_relation(fcinfo, 0);
	int64		per_page = argument_positive(fcinfo, 1, "per_page", 100);
	int64		orphans = argument_orphans(fcinfo, 2);
	bool		allow_empty = argument_boolean(fcinfo, 3, "allow_empty_first_page");
	int64		rows = count_relation(rel, argument_boolean(fcinfo, 4, "exact"),
									  argument_key(fcinfo, 5), argument_filter(fcinfo, 6));
	int64		pages = 0;
	TupleDesc	tupdesc;
	Datum		values[2];
	bool		nulls[2] = {false, false};

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");

	if (rows > 0 || allow_empty)
		pages = (Max(rows - orphans, 1) - 1) / per_page + 1;
	table_close(rel, NoLock);
	values[0] = Int64GetDatum(rows);
	values[1] = Int64GetDatum(pages);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls)));
}

/*
 * chunked.paginate(relation anyelement, page_number bigint, per_page bigint,
 *					orphans bigint, exact boolean, key text, filter text, args jsonb)
 *					RETURNS SETOF anyelement
 *
 * The rows of one numbered page.  Not exact: the pages lie between estimated
 * positions, each row on one of them, their sizes approximate.
 *
 * Errors: 22023 a page number below 1, P0002 one past the end, and those of
 * page().
 */
Datum
chunked_paginate(PG_FUNCTION_ARGS)
{
	Relation	rel = argument_open_row_type(fcinfo, 0);
	int64		per_page = argument_positive(fcinfo, 2, "per_page", 100);
	int64		orphans = argument_orphans(fcinfo, 3);
	bool		exact = argument_boolean(fcinfo, 4, "exact");
	int64		page_number = argument_page_number(fcinfo, 1);
	int64		skip;
	int64		through;
	bool		between_estimates = false;
	Walk	   *walk;
	Range		range = {0};
	WalkReader	reader = {0};
	RowSink		sink;

	if (pg_mul_s64_overflow(page_number - 1, per_page, &skip) ||
		pg_add_s64_overflow(skip, per_page, &through))
		report_past_end(page_number);

	plan_watch_check_name(fcinfo, RelationGetRelid(rel));
	rows_begin(&sink, fcinfo, rel, false);
	SPI_connect();
	walk = walk_open(rel, argument_key(fcinfo, 5), argument_filter(fcinfo, 6));
	walk_warn_unsupported(walk, rel, argument_warned(fcinfo));

	if (skip > 0)
	{
		range.after = count_nth(walk, rel, skip, exact, true);
		if (range.after == NULL)
			report_past_end(page_number);
	}

	reader.output = WALK_ROWS;
	reader.boundary = true;
	reader.limit = per_page;
	if (!exact)
	{
		Position   *end = count_nth_estimated(walk, rel, through, true, &between_estimates);

		if (between_estimates)
		{
			range.upto = end;
			reader.limit = PG_INT64_MAX;
		}
	}
	if (orphans > 0 && !between_estimates)
	{
		/* the last page takes in up to that many more */
		uint64		most = (uint64) per_page + (uint64) orphans;
		int64		left = count_at_most(walk, rel, &range, (int64) Min(most + 1, PG_INT64_MAX));

		if (page_number > 1 && left <= orphans)
			report_past_end(page_number);
		if ((uint64) left <= most)
			reader.limit = most;
	}
	rows_read(&sink, walk, &range, &reader);
	if (page_number > 1 && reader.count == 0 && !between_estimates)
		report_past_end(page_number);

	SPI_finish();
	table_close(rel, NoLock);
	return (Datum) 0;
}

/* Rows that do not make a page of their own.  Errors: 22004, 22023. */
static int64
argument_orphans(FunctionCallInfo fcinfo, int argno)
{
	argument_require(fcinfo, argno, "orphans", "Leave it out for none, or give a number of rows.");
	if (PG_GETARG_INT64(argno) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("orphans must not be negative"),
				 errhint("Leave it out, or give the number of rows that the last page may take in.")));
	return PG_GETARG_INT64(argno);
}

static void
report_past_end(int64 page_number)
{
	ereport(ERROR,
			(errcode(ERRCODE_NO_DATA_FOUND),
			 errmsg("page " INT64_FORMAT " contains no results", page_number),
			 errhint("paginator() returns the number of pages.")));
}
