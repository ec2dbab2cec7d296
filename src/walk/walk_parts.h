/*
 * walk_parts.h
 *		The partitions of a read in progress.
 */
#ifndef PG_CHUNKED_WALK_PARTS_H
#define PG_CHUNKED_WALK_PARTS_H

#include "walk/walk_cursor.h"

extern void walk_parts_begin(WalkCursor *cursor);
extern bool walk_parts_next(WalkCursor *cursor);
extern bool walk_parts_row_is_due(WalkCursor *cursor, TupleTableSlot *slot);

#endif							/* PG_CHUNKED_WALK_PARTS_H */
