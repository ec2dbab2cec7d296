/*
 * page.c
 *		SQL entry points of the walk: page(), bounds().
 *
 * Each call works everything out from its arguments; what the session keeps
 * between calls (walk.c) only saves time.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "api/arguments.h"
#include "api/page.h"
#include "api/plan_watch.h"
#include "api/rows.h"
#include "base/relation.h"
#include "walk/walk_read.h"

PG_FUNCTION_INFO_V1(chunked_page);
PG_FUNCTION_INFO_V1(chunked_page_untyped);
PG_FUNCTION_INFO_V1(chunked_bounds);

static void read_range(FunctionCallInfo fcinfo, Walk *walk, Range *range);

/*
 * chunked.page(relation anyelement, page_size bigint, after jsonb, upto jsonb,
 *				before jsonb, key text, filter text, args jsonb, max_bytes bigint)
 *				RETURNS SETOF anyelement
 *
 * The rows after "after", up to "upto" and before "before", page_size of them
 * at most, in walk order; with "before" the last of them, else the first.  The row
 * with which max_bytes are reached is the last (with "before", the first).
 * Reads the relation under AccessShareLock.
 *
 * Errors: 42809 not a relation that can be walked, 22023 page_size not over 0,
 * 21000 a duplicate key at the page's end, and those of key_resolve(),
 * position_read(), filter_parse(), filter_bind() and SELECT.
 */
Datum
chunked_page(PG_FUNCTION_ARGS)
{
	PageRead	page;
	RowSink		sink;

	page_open_relation(&page, fcinfo);
	rows_begin(&sink, fcinfo, page.rel, !PG_ARGISNULL(PAGE_BEFORE));
	SPI_connect();
	page_begin(&page, fcinfo);
	rows_read(&sink, page.walk, &page.range, &page.reader);
	SPI_finish();
	table_close(page.rel, NoLock);
	return (Datum) 0;
}

/* Open and lock the relation that a call of page() names. */
void
page_open_relation(PageRead *page, FunctionCallInfo fcinfo)
{
	page->rel = argument_open_row_type(fcinfo, PAGE_RELATION);
	plan_watch_check_name(fcinfo, RelationGetRelid(page->rel));
}

/*
 * What the call reads: walk, range and reader.  The walk stays pinned until the
 * current memory context is reset.
 */
void
page_begin(PageRead *page, FunctionCallInfo fcinfo)
{
	int64		page_size = argument_positive(fcinfo, PAGE_SIZE, "page_size", 1000);
	Range		nothing = {0};
	WalkReader	reader = {0};

	page->walk = walk_open(page->rel, argument_key(fcinfo, PAGE_KEY), argument_filter(fcinfo, PAGE_FILTER));
	walk_warn_unsupported(page->walk, page->rel, argument_warned(fcinfo));
	page->range = nothing;
	read_range(fcinfo, page->walk, &page->range);

	reader.output = WALK_ROWS;
	reader.backward = !PG_ARGISNULL(PAGE_BEFORE);
	reader.limit = page_size;
	if (!PG_ARGISNULL(PAGE_MAX_BYTES))
		reader.max_bytes = argument_positive(fcinfo, PAGE_MAX_BYTES, "max_bytes", 10000000);
	reader.boundary = true;
	page->reader = reader;
}

/*
 * chunked.page(relation text, ...) and paginate(relation text, ...): what an
 * untyped name such as 'event' resolves to; the error says how to name the table.
 */
Datum
chunked_page_untyped(PG_FUNCTION_ARGS)
{
	const char *given = PG_ARGISNULL(0) ? "event" : text_to_cstring(PG_GETARG_TEXT_PP(0));
	const char *quoted_null = "NULL::";
	bool		is_null;
	char	   *function = get_func_name(fcinfo->flinfo->fn_oid);
	const char *more = strcmp(function, "paginate") == 0 ? ", 1" : "";
	char	   *name = "event";
	List	   *names;

	is_null = pg_strncasecmp(given, quoted_null, strlen(quoted_null)) == 0;
	if (is_null)
		given += strlen(quoted_null);

	/* as a type, a name may need quotes that a text does not: user, order */
	if (SplitIdentifierString(pstrdup(given), '.', &names) && names != NIL)
	{
		StringInfoData buf;
		ListCell   *lc;

		initStringInfo(&buf);
		foreach(lc, names)
			appendStringInfo(&buf, "%s%s", buf.len > 0 ? "." : "", quote_identifier(lfirst(lc)));
		name = buf.data;
	}
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("%s() takes the relation as a typed null, not by name", function),
			 is_null ?
			 errhint("Leave out the quotes: SELECT * FROM chunked.%s(NULL::%s%s).", function, name, more) :
			 errhint("Write SELECT * FROM chunked.%s(NULL::%s%s).", function, name, more)));
}

/*
 * chunked.bounds(relation regclass, key text, filter text, args jsonb,
 *				  OUT first jsonb, OUT last jsonb)
 *
 * The first and the last position of a walk; nulls if it has no rows.  Reads
 * the relation under AccessShareLock.  Errors: those of page().
 */
Datum
chunked_bounds(PG_FUNCTION_ARGS)
{
	Relation	rel = argument_open_relation(fcinfo, 0);
	MemoryContext context = CurrentMemoryContext;
	Walk	   *walk;
	Range		all = {0};
	TupleDesc	tupdesc;
	Datum		values[2] = {0};
	bool		nulls[2];

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");

	SPI_connect();
	walk = walk_open(rel, argument_key(fcinfo, 1), argument_filter(fcinfo, 2));
	walk_warn_unsupported(walk, rel, argument_warned(fcinfo));
	for (int i = 0; i < 2; i++)
	{
		Position   *position = walk_end_of_range(walk, &all, WALK_KEYS, i == 1);

		nulls[i] = (position == NULL);
		if (position != NULL)
		{
			MemoryContext spi_context = MemoryContextSwitchTo(context);

			values[i] = JsonbPGetDatum(position_write(walk->key, position));
			MemoryContextSwitchTo(spi_context);
		}
	}
	SPI_finish();
	table_close(rel, NoLock);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls)));
}

/* page()'s range: arguments 2 after, 3 upto, 4 before */
static void
read_range(FunctionCallInfo fcinfo, Walk *walk, Range *range)
{
	Position   *before;

	range->after = argument_position(fcinfo, 2, walk->key, "after");
	range->upto = argument_position(fcinfo, 3, walk->key, "upto");
	before = argument_position(fcinfo, 4, walk->key, "before");
	if (before != NULL)
	{
		if (range->upto != NULL && walk->style.expand)
			range->also_before = before;
		else if (range->upto == NULL || position_compare(walk->key, before, range->upto) <= 0)
		{
			range->upto = before;
			range->upto_exclusive = true;
		}
	}
}
