/*
 * walk_reader.h
 *		What the caller of a read wants, and how it went.
 */
#ifndef PG_CHUNKED_WALK_READER_H
#define PG_CHUNKED_WALK_READER_H

#include "base/compat.h"
#include "executor/tuptable.h"
#include "walk/walk.h"

/* One read: what the caller wants, and how it went */
typedef struct WalkReader
{
	WalkOutput	output;
	bool		backward;
	uint64		limit;			/* rows at most, over 0 */
	uint64		max_bytes;		/* the row with which so many are reached is the last; 0: none */
	bool		boundary;		/* the next read will go on after the last row of
								 * this one: refuse if another row shares its key */
	bool		ties;			/* with boundary: take in those rows instead,
								 * beyond limit and whatever row() says */
	bool		keep_end;		/* set end */
	int64		skip;			/* skip so many rows first, of each partition
								 * by itself; only where walk_can_skip() */
	bool		(*row) (struct WalkReader *reader, TupleTableSlot *slot);
								/* called for each row; false: it is the last */
	void	   *arg;			/* for row() */

	uint64		count;			/* rows read */
	uint64		bytes;			/* in them, counted with max_bytes only */
	bool		ended;			/* by limit, max_bytes or row(), not by the range's end */
	Position   *end;			/* that last row's position, if ended */
} WalkReader;

/* A read in progress, row by row */
typedef struct WalkCursor WalkCursor;

#endif							/* PG_CHUNKED_WALK_READER_H */
