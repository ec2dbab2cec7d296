/*
 * chunks.h
 *		What the ways of splitting a relation into chunks have in common.
 */
#ifndef PG_CHUNKED_CHUNKS_H
#define PG_CHUNKED_CHUNKS_H

#include "fmgr.h"
#include "access/htup.h"
#include "access/tupdesc.h"
#include "utils/array.h"
#include "utils/jsonb.h"

/* What the caller asks for: the arguments of chunks(), next_chunk() and split() */
typedef struct ChunkRequest
{
	Oid			relid;
	int64		chunk_size;		/* rows a chunk; 0: parts is given */
	int64		parts;			/* chunks; 0: chunk_size is given */
	bool		exact;
	Jsonb	   *after;			/* or NULL */
	Jsonb	   *upto;			/* or NULL */
	ArrayType  *key;			/* or NULL */
	text	   *filter;			/* or NULL */
	int64		scan_limit;		/* 0: none */
	char	   *alias;			/* quoted, or NULL */
} ChunkRequest;

/* A split in progress.  It lives in the SRF's multi-call memory context. */
typedef struct ChunkSource
{
	/*
	 * The next chunk, in the current memory context, or NULL when over; what
	 * the following calls need goes into keep.
	 */
	HeapTuple	(*next) (struct ChunkSource *source, TupleDesc tupdesc, MemoryContext keep);
	bool		over;
} ChunkSource;

/* chunk_walk.c: along a key */
extern ChunkSource *chunk_walk_begin(const ChunkRequest *request);

/* heap.c: by block ranges */
extern bool heap_is_physical_key(ArrayType *key);
extern ChunkSource *heap_split_begin(const ChunkRequest *request);

#endif							/* PG_CHUNKED_CHUNKS_H */
