/*
 * walk.h
 *		Reading a relation in the order of a key, by queries through SPI.
 *
 * A Walk is a relation, a key and a filter, with the queries that read it; it
 * is kept for the session (walk.c) and read as often as wanted (walk.c).
 * It knows nothing of pages or chunks.
 */
#ifndef PG_CHUNKED_WALK_H
#define PG_CHUNKED_WALK_H

#include "executor/spi.h"
#include "lib/ilist.h"
#include "key/range.h"

/* What a read brings of each row */
typedef enum WalkOutput
{
	WALK_ROWS,					/* all columns, at their attribute numbers */
	WALK_KEYS,					/* the key columns */
	WALK_KEYS_UNFILTERED,		/* the key columns, of every row */
	WALK_MATCHES				/* the same, and whether the filter is true */
} WalkOutput;

/* A prepared query of a walk */
typedef struct WalkPlan
{
	uint32		hash;			/* of sql */
	char	   *sql;
	SPIPlanPtr	plan;
} WalkPlan;

typedef struct Walk
{
	/* identity: what the cache finds it by */
	dlist_node	node;
	uint32		hash;
	int			identity_length;
	char	   *identity;

	/* fixed once built */
	MemoryContext context;		/* all of it lives here */
	uint64		serial;			/* never used twice in a session */
	Oid			relid;
	WalkKey    *key;
	RangeStyle	style;
	Oid			filter_index;	/* partial index that supports the order of the
								 * rows that match the filter, or InvalidOid */
	bool		inherited;		/* has children that are not partitions */
	bool		redirected;		/* its queries are made to read something else,
								 * of which its indexes tell nothing */
	bool		all_foreign;	/* all partitions are */
	bool		by_partitions;	/* and better read each by itself, since none
								 * comes ahead of another */
	bool		filter_in_partitions;	/* the filter means the same there */
	bool		planned_by_value;	/* plan anew for each call's values */
	char	   *relation;		/* quoted and qualified */
	char	   *qualifier;		/* quoted name alone, qualifies columns */
	char	   *filter;			/* or NULL */
	char	   *select_lists[WALK_MATCHES + 1];
	AttrNumber *row_attnums;	/* of the key columns in WALK_ROWS */
	AttrNumber *key_attnums;	/* of the key columns in the others: 1, 2, ... */

	/* changing */
	bool		ready;			/* built */
	bool		valid;			/* nothing under it has changed */
	int			pins;			/* calls that are using it */
	int			nplans;
	WalkPlan   *plans;
} Walk;

/* One read: what the caller wants, and how it went */
typedef struct WalkReader
{
	WalkOutput	output;
	bool		backward;
	uint64		limit;			/* rows at most, over 0 */
	bool		boundary;		/* the next read will go on behind the last row
								 * of this: refuse if another row shares its key */
	bool		ties;			/* with boundary: take in those rows instead,
								 * beyond limit and whatever row() says */
	bool		keep_end;		/* set end */
	int64		skip;			/* pass over so many rows first, of each partition
								 * by itself; only where walk_can_skip() */
	bool		(*row) (struct WalkReader *reader, TupleTableSlot *slot);
								/* called for each row; false: it is the last */
	void	   *arg;			/* for row() */

	uint64		count;			/* rows brought */
	bool		ended;			/* by limit or row(), not by the range's end */
	Position   *end;			/* that last row's position, if ended */
} WalkReader;

typedef struct WalkCursor WalkCursor;

/* walk.c */
extern Walk *walk_open(Relation rel, ArrayType *key, text *filter);
extern SPIPlanPtr walk_prepare(Walk *walk, const char *sql, int nargs, Oid *argtypes,
							   bool *kept);

typedef struct WalkCursor WalkCursor;

/* walk.c */
extern void walk_read(Walk *walk, const Range *range, WalkReader *reader);
extern WalkCursor *walk_cursor_open(Walk *walk, const Range *range, WalkReader *reader);
extern TupleTableSlot *walk_cursor_next(WalkCursor *cursor);
extern void walk_cursor_close(WalkCursor *cursor);
extern Position *walk_end_of_range(Walk *walk, const Range *range, WalkOutput output,
								   bool backward);
extern bool walk_can_skip(const Walk *walk);
extern Position *walk_nth(Walk *walk, Relation rel, const Range *range, WalkOutput output,
						  int64 n, int64 *through);
extern void walk_report_tie(const Walk *walk, Position *position);
extern int64 walk_count(Walk *walk, Relation rel, const Range *range, WalkOutput output);
extern WalkOutput walk_all_keys(const Walk *walk);
extern Position *walk_last_position(Walk *walk, const Range *range);
extern void walk_warn_unsupported(Walk *walk, Relation rel, bool *warned);

#endif							/* PG_CHUNKED_WALK_H */
