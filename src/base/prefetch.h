/*
 * prefetch.h
 *		Asking the operating system for heap blocks before they are read.
 *
 * Knows blocks; nothing of which rows or index they come from.
 */
#ifndef PG_CHUNKED_PREFETCH_H
#define PG_CHUNKED_PREFETCH_H

#include "portability/instr_time.h"
#include "storage/block.h"
#include "utils/relcache.h"

/* Where blocks come from, as a read that was not asked for shows */
typedef enum PrefetchSource
{
	PREFETCH_BUFFERS,			/* shared buffers, or not known yet */
	PREFETCH_SYSTEM,			/* memory of the operating system */
	PREFETCH_DISK
} PrefetchSource;

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
	int			slow;			/* reads that were timed and took long */
	int64		reads;			/* of this backend before the read that is timed */
	instr_time	start;			/* of that read */
} Prefetch;

extern bool prefetch_begin(Prefetch *prefetch, Relation rel);
extern void prefetch_probe(Prefetch *prefetch);
extern void prefetch_before_read(Prefetch *prefetch);
extern PrefetchSource prefetch_after_read(Prefetch *prefetch);
extern bool prefetch_block(Prefetch *prefetch, BlockNumber block);

#endif							/* PG_CHUNKED_PREFETCH_H */
