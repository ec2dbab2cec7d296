/*
 * btree_ranks.h
 *		How many rows of one btree index come before a place in it, by estimate.
 *
 * Knows one index, in index order; nothing of walk order or of other indexes.
 */
#ifndef PG_CHUNKED_BTREE_RANKS_H
#define PG_CHUNKED_BTREE_RANKS_H

#include "btree/btree_parts.h"

/* The children of one level of an index, and the rows before each */
typedef struct BtreeRanks
{
	Relation	rel;			/* whose index it is */
	BtreeIndex *btree;
	BtreeLevel	level;
	int64		nchildren;		/* of the level; 1 if the root is a leaf */
	double		rows;
	double	   *rows_before;	/* estimated rows before each child, and in all */
} BtreeRanks;

extern void btree_ranks_begin(BtreeRanks *ranks, const BtreePart *part);
extern void btree_ranks_read(BtreeRanks *ranks, double share, int64 children_wanted,
							 bool separators);
extern double btree_ranks_of(const BtreeRanks *ranks, const Position *position);
extern bool btree_ranks_go(BtreeRanks *ranks, BtreePage *page, double rank, OffsetNumber *offset);

#endif							/* PG_CHUNKED_BTREE_RANKS_H */
