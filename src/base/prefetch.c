/*
 * prefetch.c
 *		Asking the operating system for heap blocks before they are read.
 *
 * That a block is asked for changes no result and takes no lock or pin: it is a
 * hint, and a wrong one costs a read that nobody needed.
 *
 * How many reads are under way is for the settings of the table's tablespace
 * to say.  effective_io_concurrency of 0 means none.  Its default up to version
 * 17, 1, was meant for bitmap scans among many sessions; a walk is a bulk read,
 * as what maintenance_io_concurrency is for, so it is the greater of both.  A
 * read is of 16 blocks at most, as those of the server's read streams are by default
 * (io_combine_limit): the operating system orders and merges what it is asked for.
 */
#include "postgres.h"

#include "executor/instrument.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"
#include "utils/spccache.h"

#include "base/prefetch.h"
#include "base/settings.h"

/* In one read */
#define BLOCKS_OF_READ 16

/* A read that takes less, in microseconds, was of the operating system's memory */
#define FAST_READ 25
/* After so many that took longer, the disk is what is waited for */
#define SLOW_READS 2

/* If so many blocks are all in shared buffers, the next ones may well be, too */
#define PROBE_BLOCKS 16

/* False if blocks of this relation should not be asked for. */
bool
prefetch_begin(Prefetch *prefetch, Relation rel)
{
	Oid			tablespace = rel->rd_rel->reltablespace;
	int			effective = get_tablespace_io_concurrency(tablespace);

	prefetch->rel = rel;
	prefetch->window = settings_native && effective > 0 ?
		Max(effective, get_tablespace_maintenance_io_concurrency(tablespace)) * BLOCKS_OF_READ : 0;
	prefetch->nblocks = InvalidBlockNumber;
	prefetch_probe(prefetch);
	return prefetch->window > 0;
}

/* Find out again whether asking pays. */
void
prefetch_probe(Prefetch *prefetch)
{
	prefetch->asked = 0;
	prefetch->missed = false;
	prefetch->slow = 0;
}

/*
 * Time a read that has not been asked for: of what the operating system has in
 * memory, to ask costs more than it saves.
 */
void
prefetch_before_read(Prefetch *prefetch)
{
	prefetch->reads = pgBufferUsage.shared_blks_read + pgBufferUsage.local_blks_read;
	INSTR_TIME_SET_CURRENT(prefetch->start);
}

PrefetchSource
prefetch_after_read(Prefetch *prefetch)
{
	int64		reads = pgBufferUsage.shared_blks_read + pgBufferUsage.local_blks_read - prefetch->reads;
	instr_time	elapsed;

	if (reads == 0)
		return PREFETCH_BUFFERS;
	INSTR_TIME_SET_CURRENT(elapsed);
	INSTR_TIME_SUBTRACT(elapsed, prefetch->start);
	if ((int64) INSTR_TIME_GET_MICROSEC(elapsed) < reads * FAST_READ)
		return PREFETCH_SYSTEM;
	/* one may have taken longer because the processor was wanted elsewhere */
	return ++prefetch->slow < SLOW_READS ? PREFETCH_BUFFERS : PREFETCH_DISK;
}

/* Ask for a block.  False: that does not pay here. */
bool
prefetch_block(Prefetch *prefetch, BlockNumber block)
{
	PrefetchBufferResult result;

	/* a damaged index may lead beyond the end, which is for its reader to find */
	if (prefetch->nblocks == InvalidBlockNumber)
		prefetch->nblocks = RelationGetNumberOfBlocks(prefetch->rel);
	if (block >= prefetch->nblocks)
		return true;

	result = PrefetchBuffer(prefetch->rel, MAIN_FORKNUM, block);
	if (!BufferIsValid(result.recent_buffer))
	{
		prefetch->missed = true;
		return result.initiated_io; /* with direct I/O nothing can be asked for */
	}
	return prefetch->missed || ++prefetch->asked < PROBE_BLOCKS;
}
