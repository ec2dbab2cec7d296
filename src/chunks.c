/*
 * chunks.c
 *		SQL entry points of the split: chunks(), next_chunk().
 *
 * A chunk ends at its chunk_size-th row, so that the next one starts behind the
 * position of that row; the last one ends at the high-water mark, the last
 * position when the walk was planned.  Each step is a query of its own from the
 * last position on, under the statement's snapshot: between the calls of a
 * set-returning function nothing but memory can be held.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "arguments.h"
#include "relation.h"
#include "walk.h"

PG_FUNCTION_INFO_V1(chunked_chunks);
PG_FUNCTION_INFO_V1(chunked_next_chunk);

/* Argument numbers; next_chunk() has no exact, so its others come one earlier */
enum
{
	ARG_RELATION,
	ARG_CHUNK_SIZE,
	ARG_EXACT,
	ARG_AFTER,
	ARG_UPTO,
	ARG_KEY,
	ARG_FILTER,
	ARG_SCAN_LIMIT,
	ARG_ALIAS
};

/* A split in progress; lives in the SRF's multi-call memory context */
typedef struct ChunkWalk
{
	/* fixed */
	Oid			relid;
	int64		chunk_size;
	int64		scan_limit;		/* rows examined at most a chunk; 0: no limit */
	ArrayType  *key;			/* as given, or NULL */
	text	   *filter;			/* or NULL */
	char	   *alias;			/* quoted, or NULL */
	Jsonb	   *high_water;

	/* changing */
	int64		number;			/* of the last chunk */
	Jsonb	   *after;			/* where the next one starts, or NULL */
	bool		over;
	bool		warned;
} ChunkWalk;

/* Counts the rows of one chunk */
typedef struct ChunkCount
{
	int64		chunk_size;
	AttrNumber	match_attnum;	/* of WALK_MATCHES's verdict; 0: all rows match */
	int64		rows;
} ChunkCount;

static Datum chunk_srf(FunctionCallInfo fcinfo, bool stateless);
static ChunkWalk *chunk_walk_begin(FunctionCallInfo fcinfo, int shift);
static void find_start_and_end(ChunkWalk *split, Jsonb *after, Jsonb *upto);
static HeapTuple chunk_walk_next(ChunkWalk *split, TupleDesc tupdesc, MemoryContext keep);
static Walk *open_walk(ChunkWalk *split, Relation *rel);
static bool count_row(WalkReader *reader, TupleTableSlot *slot);

/*
 * chunked.chunks(relation regclass, chunk_size bigint, exact boolean,
 *				  after jsonb, upto jsonb, key text[], filter text,
 *				  scan_limit bigint, alias text) RETURNS SETOF chunked.chunk
 *
 * The chunks from "after" up to "upto" or the high-water mark, one a call.
 * Reads the relation under AccessShareLock.  Errors: those of page().
 */
Datum
chunked_chunks(PG_FUNCTION_ARGS)
{
	return chunk_srf(fcinfo, false);
}

/*
 * chunked.next_chunk(the same but for exact) RETURNS SETOF chunked.chunk
 *
 * The first of these chunks, or no row when the walk is over.
 */
Datum
chunked_next_chunk(PG_FUNCTION_ARGS)
{
	return chunk_srf(fcinfo, true);
}

static Datum
chunk_srf(FunctionCallInfo fcinfo, bool stateless)
{
	FuncCallContext *funcctx;
	ChunkWalk  *split;
	HeapTuple	tuple = NULL;

	if (SRF_IS_FIRSTCALL())
	{
		MemoryContext context;
		TupleDesc	tupdesc;

		funcctx = SRF_FIRSTCALL_INIT();
		context = MemoryContextSwitchTo(funcctx->multi_call_memory_ctx);
		if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		funcctx->tuple_desc = BlessTupleDesc(tupdesc);
		funcctx->user_fctx = chunk_walk_begin(fcinfo, stateless ? 1 : 0);
		MemoryContextSwitchTo(context);
	}

	funcctx = SRF_PERCALL_SETUP();
	split = funcctx->user_fctx;
	if (!split->over)
		tuple = chunk_walk_next(split, funcctx->tuple_desc, funcctx->multi_call_memory_ctx);
	if (tuple == NULL)
		SRF_RETURN_DONE(funcctx);
	if (stateless)
		split->over = true;
	SRF_RETURN_NEXT(funcctx, HeapTupleGetDatum(tuple));
}

/* Read the arguments into the current memory context. */
static ChunkWalk *
chunk_walk_begin(FunctionCallInfo fcinfo, int shift)
{
	ChunkWalk  *split = palloc0(sizeof(ChunkWalk));
	Jsonb	   *after = NULL;
	Jsonb	   *upto = NULL;

	split->relid = argument_relation(fcinfo, ARG_RELATION);
	split->chunk_size = argument_positive(fcinfo, ARG_CHUNK_SIZE, "chunk_size");
	if (shift == 0 && (PG_ARGISNULL(ARG_EXACT) || !PG_GETARG_BOOL(ARG_EXACT)))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("estimated chunks are not supported"),
				 errhint("Leave exact out, or set it to true.")));
	if (!PG_ARGISNULL(ARG_AFTER - shift))
		after = PG_GETARG_JSONB_P(ARG_AFTER - shift);
	if (!PG_ARGISNULL(ARG_UPTO - shift))
		upto = PG_GETARG_JSONB_P(ARG_UPTO - shift);
	if (!PG_ARGISNULL(ARG_KEY - shift))
		split->key = PG_GETARG_ARRAYTYPE_P_COPY(ARG_KEY - shift);
	if (!PG_ARGISNULL(ARG_FILTER - shift))
		split->filter = PG_GETARG_TEXT_P_COPY(ARG_FILTER - shift);
	if (!PG_ARGISNULL(ARG_SCAN_LIMIT - shift))
		split->scan_limit = argument_positive(fcinfo, ARG_SCAN_LIMIT - shift, "scan_limit");
	split->alias = argument_alias(fcinfo, ARG_ALIAS - shift);

	find_start_and_end(split, after, upto);
	return split;
}

/*
 * Fix the start and the high-water mark: the last position of the range, whether the filter
 * is true there or not, since looking for the last match might read everything.
 */
static void
find_start_and_end(ChunkWalk *split, Jsonb *after, Jsonb *upto)
{
	MemoryContext context = CurrentMemoryContext;
	Relation	rel;
	Walk	   *walk;
	Range		range = {0};
	Position   *last;

	SPI_connect();
	walk = open_walk(split, &rel);
	walk_warn_unsupported(walk, rel, &split->warned);
	if (after != NULL)
		range.after = position_read(walk->key, after, "after");
	if (upto != NULL)
		range.upto = position_read(walk->key, upto, "upto");
	last = walk_end_of_range(walk, &range, WALK_KEYS_UNFILTERED, true);
	MemoryContextSwitchTo(context);
	if (range.after != NULL)
		split->after = position_write(walk->key, range.after);
	split->over = (last == NULL);
	if (last != NULL)
		split->high_water = position_write(walk->key, last);
	SPI_finish();
	table_close(rel, NoLock);
}

/*
 * The next chunk as a tuple in the current memory context, or NULL.  What the
 * following call needs goes into keep.
 */
static HeapTuple
chunk_walk_next(ChunkWalk *split, TupleDesc tupdesc, MemoryContext keep)
{
	MemoryContext context = CurrentMemoryContext;
	Relation	rel;
	Walk	   *walk;
	Range		range = {0};
	WalkReader	reader = {0};
	ChunkCount	count = {0};
	Datum		values[6] = {0};
	bool		nulls[6] = {0};
	HeapTuple	tuple;

	SPI_connect();
	walk = open_walk(split, &rel);
	if (split->after != NULL)
		range.after = position_read(walk->key, split->after, "after");
	range.upto = position_read(walk->key, split->high_water, "upto");

	count.chunk_size = split->chunk_size;
	reader.output = WALK_KEYS;
	reader.limit = split->chunk_size;
	reader.boundary = true;
	reader.keep_end = true;
	reader.row = count_row;
	reader.arg = &count;
	if (split->scan_limit > 0)
	{
		reader.limit = Min(split->scan_limit, split->chunk_size);
		if (walk->filter != NULL)
		{
			reader.output = WALK_MATCHES;
			reader.limit = split->scan_limit;
			count.match_attnum = walk->key->ncolumns + 1;
		}
	}
	walk_read(walk, &range, &reader);

	if (reader.count == 0)
		split->over = true;
	else if (reader.ended)
		range.upto = reader.end;
	else
	{
		split->over = true;
		if (reader.output == WALK_KEYS && walk->filter != NULL)
		{
			Position   *last = walk_end_of_range(walk, &range, WALK_KEYS, true);

			/* a volatile filter may match nothing when asked again */
			if (last != NULL)
				range.upto = last;
		}
	}
	MemoryContextSwitchTo(context);
	if (reader.count == 0)
	{
		SPI_finish();
		table_close(rel, NoLock);
		return NULL;
	}

	values[0] = Int64GetDatum(++split->number);
	values[1] = ObjectIdGetDatum(split->relid);
	nulls[2] = (split->after == NULL);
	if (split->after != NULL)
		values[2] = JsonbPGetDatum(split->after);
	values[3] = JsonbPGetDatum(position_write(walk->key, range.upto));
	values[4] = Int64GetDatum(count.rows);
	values[5] = CStringGetTextDatum(range_predicate(walk->key, walk->style, split->alias, &range));
	tuple = heap_form_tuple(tupdesc, values, nulls);

	if (split->after != NULL)
		pfree(split->after);
	split->after = (Jsonb *) MemoryContextAlloc(keep, VARSIZE(DatumGetPointer(values[3])));
	memcpy(split->after, DatumGetPointer(values[3]), VARSIZE(DatumGetPointer(values[3])));

	SPI_finish();
	table_close(rel, NoLock);
	return tuple;
}

static Walk *
open_walk(ChunkWalk *split, Relation *rel)
{
	*rel = relation_open_to_walk(split->relid);
	return walk_open(*rel, split->key, split->filter);
}

static bool
count_row(WalkReader *reader, TupleTableSlot *slot)
{
	ChunkCount *count = reader->arg;

	if (count->match_attnum > 0)
	{
		bool		isnull;

		if (!DatumGetBool(slot_getattr(slot, count->match_attnum, &isnull)))
			return true;
	}
	return ++count->rows < count->chunk_size;
}
