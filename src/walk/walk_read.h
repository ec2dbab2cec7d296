/*
 * walk_read.h
 *		Reading a walk: the rows of a range, in order, by queries through SPI.
 *
 * Knows ranges, limits and how a read ended; nothing of pages or chunks.
 */
#ifndef PG_CHUNKED_WALK_READ_H
#define PG_CHUNKED_WALK_READ_H

#include "walk/walk_reader.h"

extern WalkCursor *walk_cursor_open(Walk *walk, const Range *range, WalkReader *reader);
extern TupleTableSlot *walk_cursor_next(WalkCursor *cursor);
extern void walk_cursor_close(WalkCursor *cursor);
extern void walk_read(Walk *walk, const Range *range, WalkReader *reader);
extern Position *walk_end_of_range(Walk *walk, const Range *range, WalkOutput output,
								   bool backward);
extern Position *walk_last_position(Walk *walk, const Range *range);
extern bool walk_can_skip(const Walk *walk);
extern Position *walk_nth(Walk *walk, Relation rel, const Range *range, WalkOutput output,
						  int64 n, int64 *through);
extern int64 walk_count(Walk *walk, Relation rel, const Range *range, WalkOutput output);
pg_noreturn extern void walk_report_tie(const Walk *walk, Position *position);

#endif							/* PG_CHUNKED_WALK_READ_H */
