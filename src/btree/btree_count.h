/*
 * btree_count.h
 *		Counting the visible rows along a btree index.
 *
 * Knows pages and visibility; nothing of filters, or of several indexes.
 */
#ifndef PG_CHUNKED_BTREE_COUNT_H
#define PG_CHUNKED_BTREE_COUNT_H

#include "btree/btree.h"

typedef struct BtreeCount
{
	int64		rows;			/* visible rows counted */
	bool		ended;			/* by the limit, not by the range's end */
	Position   *end;			/* then the position of the last row counted */
} BtreeCount;

extern void btree_count(BtreeIndex *btree, const Position *after, const Position *upto,
						int64 limit, BtreeCount *count);
extern int	btree_visible_items(BtreeIndex *btree, BtreePage *page, const Position *after,
								const Position *upto, OffsetNumber *visible, bool *last_page);

#endif							/* PG_CHUNKED_BTREE_COUNT_H */
