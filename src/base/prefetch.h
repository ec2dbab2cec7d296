/*
 * prefetch.h
 *		Asking the operating system for heap blocks before they are read.
 *
 * Knows blocks; nothing of which rows or index they come from.
 */
#ifndef PG_CHUNKED_PREFETCH_H
#define PG_CHUNKED_PREFETCH_H

#include "storage/block.h"
#include "utils/relcache.h"

/* The reads of one relation by one scan */
typedef struct Prefetch
{
	/* fixed */
	Relation	rel;
	int			window;			/* blocks to be ahead at most; 0: none */

	/* changing */
	BlockNumber nblocks;		/* of the relation, or InvalidBlockNumber */
	int			asked;			/* since prefetch_probe() */
	bool		missed;			/* one of these was not in shared buffers */
} Prefetch;

extern bool prefetch_begin(Prefetch *prefetch, Relation rel);
extern void prefetch_probe(Prefetch *prefetch);
extern bool prefetch_block(Prefetch *prefetch, BlockNumber block);

#endif							/* PG_CHUNKED_PREFETCH_H */
