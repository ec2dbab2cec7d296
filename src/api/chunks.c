/*
 * chunks.c
 *		SQL entry points of the split: chunks(), next_chunk(), split().
 *
 * Each reads its arguments into a request, and hands out one chunk a call from
 * the source that answers it: along a key (chunk_walk.c) or by blocks (chunk_blocks.c).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "api/arguments.h"
#include "chunk/chunk_blocks.h"
#include "chunk/chunk_walk.h"

/* More than any relation has rows, and few enough to reckon with */
#define MOST_PARTS (INT64CONST(1) << 48)

PG_FUNCTION_INFO_V1(chunked_chunks);
PG_FUNCTION_INFO_V1(chunked_next_chunk);
PG_FUNCTION_INFO_V1(chunked_split);

static void read_chunks_request(FunctionCallInfo fcinfo, ChunkRequest *request);
static void read_next_chunk_request(FunctionCallInfo fcinfo, ChunkRequest *request);
static void read_walk_request(FunctionCallInfo fcinfo, ChunkRequest *request, int next);
static void read_split_request(FunctionCallInfo fcinfo, ChunkRequest *request);
static Datum chunk_srf(FunctionCallInfo fcinfo,
					   void (*read_request) (FunctionCallInfo, ChunkRequest *));
static Datum chunk_datum(const Chunk *chunk, const char *predicate, TupleDesc tupdesc);

/*
 * chunked.chunks(relation regclass, chunk_size bigint, exact boolean,
 *				  after jsonb, upto jsonb, key text, filter text, args jsonb,
 *				  scan_limit bigint, alias text) RETURNS SETOF chunked.chunk
 *
 * The chunks from "after" up to "upto" or the high-water mark, one a call.
 * Reads the relation under AccessShareLock.  Errors: those of page().
 */
Datum
chunked_chunks(PG_FUNCTION_ARGS)
{
	return chunk_srf(fcinfo, read_chunks_request);
}

/*
 * chunked.next_chunk(the same but for exact) RETURNS SETOF chunked.chunk
 *
 * The first of these chunks, or no row when the walk is over.
 */
Datum
chunked_next_chunk(PG_FUNCTION_ARGS)
{
	return chunk_srf(fcinfo, read_next_chunk_request);
}

/*
 * chunked.split(relation regclass, parts bigint, exact boolean, key text,
 *				 filter text, args jsonb, alias text) RETURNS SETOF chunked.chunk
 *
 * The relation in that many chunks, fewer only where it has fewer rows.
 * Reads the relation under AccessShareLock.  Errors: those of page().
 */
Datum
chunked_split(PG_FUNCTION_ARGS)
{
	return chunk_srf(fcinfo, read_split_request);
}

static void
read_chunks_request(FunctionCallInfo fcinfo, ChunkRequest *request)
{
	request->exact = argument_boolean(fcinfo, 2, "exact");
	read_walk_request(fcinfo, request, 3);
}

static void
read_next_chunk_request(FunctionCallInfo fcinfo, ChunkRequest *request)
{
	request->exact = true;
	request->most_chunks = 1;
	read_walk_request(fcinfo, request, 2);
}

/* The arguments that both take, the last seven from argument number "next" on. */
static void
read_walk_request(FunctionCallInfo fcinfo, ChunkRequest *request, int next)
{
	request->relid = argument_relation(fcinfo, 0);
	request->chunk_size = argument_positive(fcinfo, 1, "chunk_size", 1000);
	request->after = argument_end(fcinfo, next++);
	request->upto = argument_end(fcinfo, next++);
	request->key = argument_key(fcinfo, next++);
	request->filter = argument_filter(fcinfo, next);
	next += 2;					/* args */
	request->scan_limit = PG_ARGISNULL(next) ? 0 : argument_positive(fcinfo, next, "scan_limit", 1000);
	request->alias = argument_alias(fcinfo, next + 1);
}

static void
read_split_request(FunctionCallInfo fcinfo, ChunkRequest *request)
{
	request->relid = argument_relation(fcinfo, 0);
	request->parts = Min(argument_positive(fcinfo, 1, "parts", 8), MOST_PARTS);
	request->exact = argument_boolean(fcinfo, 2, "exact");
	request->key = argument_key(fcinfo, 3);
	request->filter = argument_filter(fcinfo, 4);
	request->alias = argument_alias(fcinfo, 6);
}

static Datum
chunk_srf(FunctionCallInfo fcinfo, void (*read_request) (FunctionCallInfo, ChunkRequest *))
{
	FuncCallContext *funcctx;
	ChunkSource *source;
	Chunk		chunk;
	char	   *predicate;

	if (SRF_IS_FIRSTCALL())
	{
		MemoryContext context;
		TupleDesc	tupdesc;
		ChunkRequest request = {0};

		funcctx = SRF_FIRSTCALL_INIT();
		context = MemoryContextSwitchTo(funcctx->multi_call_memory_ctx);
		if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		funcctx->tuple_desc = BlessTupleDesc(tupdesc);
		read_request(fcinfo, &request);
		funcctx->user_fctx = chunk_blocks_is_key(request.key) ?
			chunk_blocks_begin(&request) : chunk_walk_begin(&request);
		MemoryContextSwitchTo(context);
	}

	funcctx = SRF_PERCALL_SETUP();
	source = funcctx->user_fctx;
	if (source->over || !source->next(source, &chunk, &predicate, funcctx->multi_call_memory_ctx))
		SRF_RETURN_DONE(funcctx);
	if (read_request == read_next_chunk_request)
		source->over = true;
	SRF_RETURN_NEXT(funcctx, chunk_datum(&chunk, predicate, funcctx->tuple_desc));
}

static Datum
chunk_datum(const Chunk *chunk, const char *predicate, TupleDesc tupdesc)
{
	Datum		values[6] = {0};
	bool		nulls[6] = {0};

	values[0] = Int64GetDatum(chunk->number);
	values[1] = ObjectIdGetDatum(chunk->relid);
	nulls[2] = (chunk->after == NULL);
	if (chunk->after != NULL)
		values[2] = JsonbPGetDatum(chunk->after);
	values[3] = JsonbPGetDatum(chunk->upto);
	values[4] = Int64GetDatum(chunk->row_count);
	values[5] = CStringGetTextDatum(predicate);
	return HeapTupleGetDatum(heap_form_tuple(tupdesc, values, nulls));
}
