/*
 * chunk.h
 *		What the ways of splitting a relation into chunks have in common.
 *
 * Knows what is asked for and what comes out; nothing of how chunks are found.
 */
#ifndef PG_CHUNKED_CHUNK_H
#define PG_CHUNKED_CHUNK_H

#include "fmgr.h"
#include "utils/jsonb.h"
#include "walk/filter.h"

/* What the caller asks for: the arguments of chunks(), next_chunk() and split() */
typedef struct ChunkRequest
{
	Oid			relid;
	int64		chunk_size;		/* rows a chunk; 0: parts is given */
	int64		parts;			/* chunks; 0: chunk_size is given */
	bool		exact;
	Jsonb	   *after;			/* or NULL */
	Jsonb	   *upto;			/* or NULL */
	char	   *key;			/* or NULL */
	Filter	   *filter;			/* or NULL */
	int64		scan_limit;		/* 0: none */
	char	   *alias;			/* for predicates: quoted, or NULL */
	bool		quiet;			/* no warning of a missing index */
	int			most_chunks;	/* that will be asked for; 0: not known */
} ChunkRequest;

typedef struct Chunk
{
	int64		number;
	Oid			relid;
	Jsonb	   *after;			/* or NULL */
	Jsonb	   *upto;
	int64		row_count;
} Chunk;

/* A split in progress.  It lives in the memory context that it was begun in. */
typedef struct ChunkSource
{
	/*
	 * The next chunk, or false when there is none; and its predicate, unless
	 * predicate is NULL.  Both are good until the next call; what that needs
	 * goes into keep.
	 */
	bool		(*next) (struct ChunkSource *source, Chunk *chunk, char **predicate,
						 MemoryContext keep);
	bool		over;
	bool		at_hand;		/* the next one has been found already */
} ChunkSource;

#endif							/* PG_CHUNKED_CHUNK_H */
