/*
 * btree_parts.h
 *		The btree indexes of a relation, one for each leaf partition.
 *
 * Knows which there are and whether they may be read; of what is on their pages
 * only the last position.
 */
#ifndef PG_CHUNKED_BTREE_PARTS_H
#define PG_CHUNKED_BTREE_PARTS_H

#include "btree/btree.h"

/* One table to read, and its index */
typedef struct BtreePart
{
	Relation	rel;
	BtreeIndex *btree;
} BtreePart;

/* What is to be read for the rows of a relation: itself, or its leaf partitions */
typedef struct BtreeParts
{
	int			nparts;
	BtreePart	parts[FLEXIBLE_ARRAY_MEMBER];
} BtreeParts;

extern BtreeParts *btree_open_parts(Relation rel, const WalkKey *key);
extern BtreeParts *btree_open_leaves(Relation rel, Oid index, const WalkKey *key);
extern void btree_close_parts(BtreeParts *parts);
extern Position *btree_last_position(const BtreeParts *parts, const WalkKey *key,
									 const Position *after, const Position *upto);
extern Position *btree_last_of_index(BtreeIndex *btree, const Position *after,
									 const Position *upto);

#endif							/* PG_CHUNKED_BTREE_PARTS_H */
