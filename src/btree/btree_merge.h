/*
 * btree_merge.h
 *		The visible rows of several btree indexes in one order: which is the n-th.
 *
 * Knows leaf pages and how two items compare; nothing of how the tables belong
 * together.
 */
#ifndef PG_CHUNKED_BTREE_MERGE_H
#define PG_CHUNKED_BTREE_MERGE_H

#include "btree/btree_parts.h"

typedef struct BtreeMerge BtreeMerge;

extern BtreeMerge *btree_merge_begin(const BtreeParts *parts, const WalkKey *key,
									 const Position *after, const Position *upto);
extern bool btree_merge_go(BtreeMerge *merge, int64 n, int64 *rows);
extern int64 btree_merge_at_hand(const BtreeMerge *merge);
extern Position *btree_merge_position(const BtreeMerge *merge);
extern void btree_merge_end(BtreeMerge *merge);

#endif							/* PG_CHUNKED_BTREE_MERGE_H */
