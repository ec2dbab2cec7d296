/*
 * chunk_walk.h
 *		Chunks along a key, counted or estimated.
 *
 * Knows where each chunk ends; nothing of what is done with it.
 */
#ifndef PG_CHUNKED_CHUNK_WALK_H
#define PG_CHUNKED_CHUNK_WALK_H

#include "chunk/chunk.h"

extern ChunkSource *chunk_walk_begin(const ChunkRequest *request);

#endif							/* PG_CHUNKED_CHUNK_WALK_H */
