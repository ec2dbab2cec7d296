/*
 * btree_estimate.h
 *		Which row is at a rank, and the rank of a position, by estimate.
 *
 * Knows the order of a relation's rows over all its indexes; what is on the
 * pages of one, btree_ranks.h knows.
 */
#ifndef PG_CHUNKED_BTREE_ESTIMATE_H
#define PG_CHUNKED_BTREE_ESTIMATE_H

#include "btree/btree_parts.h"

typedef struct BtreeEstimate BtreeEstimate;

extern BtreeEstimate *btree_estimate_make(const BtreeParts *parts, const WalkKey *key,
										  int64 children_wanted, bool ranks);
extern double btree_estimate_rows(const BtreeEstimate *estimate);
extern int64 btree_estimate_children(const BtreeEstimate *estimate);
extern bool btree_estimate_is_merged(const BtreeEstimate *estimate);
extern double btree_estimate_rank(BtreeEstimate *estimate, const Position *position);
extern Position *btree_estimate_position(BtreeEstimate *estimate, double rank, bool far);

#endif							/* PG_CHUNKED_BTREE_ESTIMATE_H */
