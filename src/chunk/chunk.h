/*
 * chunk.h
 *		What the ways of splitting a relation into chunks have in common.
 */
#ifndef PG_CHUNKED_CHUNK_H
#define PG_CHUNKED_CHUNK_H

#include "fmgr.h"
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
	bool		bare;			/* no predicates, and no warning of a missing index */
} ChunkRequest;

/* A chunk: chunked.chunk */
typedef struct Chunk
{
	int64		number;
	Oid			relid;
	Jsonb	   *after;			/* or NULL */
	Jsonb	   *upto;
	int64		row_count;
	char	   *predicate;
} Chunk;

/* A split in progress.  It lives in the SRF's multi-call memory context. */
typedef struct ChunkSource
{
	/*
	 * The next chunk, or false when there is none.  Its parts are good until
	 * the next call; what that needs goes into keep.
	 */
	bool		(*next) (struct ChunkSource *source, Chunk *chunk, MemoryContext keep);
	bool		over;
} ChunkSource;

/* chunk_walk.c: along a key */
extern ChunkSource *chunk_walk_begin(const ChunkRequest *request);

/* chunk_blocks.c: by block ranges */
extern bool heap_is_physical_key(ArrayType *key);
extern ChunkSource *heap_split_begin(const ChunkRequest *request);

#endif							/* PG_CHUNKED_CHUNK_H */
