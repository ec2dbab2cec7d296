/*
 * walk_query.h
 *		The queries of a read in progress.
 */
#ifndef PG_CHUNKED_WALK_QUERY_H
#define PG_CHUNKED_WALK_QUERY_H

#include "walk/walk_cursor.h"

extern void walk_query_begin(WalkCursor *cursor);
extern TupleTableSlot *walk_query_next(WalkCursor *cursor);
extern void walk_query_end(WalkCursor *cursor);
extern void walk_query_role_begin(const WalkCursor *cursor, WalkRole *now);
extern void walk_query_role_end(const WalkRole *now);
extern RangeStyle walk_query_style(const Walk *walk);
extern bool walk_query_filters(const Walk *walk, const WalkReader *reader);
extern IndexRows *walk_rows_by_index(const WalkCursor *cursor, const IndexRowsPart *part, const Range *range);
extern const AttrNumber *walk_cursor_attnums(const WalkCursor *cursor);

#endif							/* PG_CHUNKED_WALK_QUERY_H */
