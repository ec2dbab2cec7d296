/*
 * chunk_blocks.h
 *		Chunks by block ranges: key => 'ctid'.
 *
 * Knows tables and their blocks; nothing of walks.
 */
#ifndef PG_CHUNKED_CHUNK_BLOCKS_H
#define PG_CHUNKED_CHUNK_BLOCKS_H

#include "chunk/chunk.h"

extern bool chunk_blocks_is_key(const char *key);
extern ChunkSource *chunk_blocks_begin(const ChunkRequest *request);

#endif							/* PG_CHUNKED_CHUNK_BLOCKS_H */
