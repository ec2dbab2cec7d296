/*
 * count.h
 *		How many rows there are, and which is the n-th.
 *
 * Knows the ways to find out, and which is sound and cheap: an index's pages,
 * queries, or an estimate.
 */
#ifndef PG_CHUNKED_COUNT_H
#define PG_CHUNKED_COUNT_H

#include "btree/btree_partitions.h"
#include "walk/walk.h"

extern int64 count_relation(Relation rel, bool exact, const char *key, const Filter *filter);
extern int64 count_by_query(const char *from, const char *condition, const Filter *filter);

/* of a walk; SPI must be connected */
extern bool count_by_index(Walk *walk, Relation rel, const Range *range, int64 limit,
						   BtreeCount *count);
extern bool count_ends_by_index(Walk *walk, Relation rel, const Range *range, BtreeEnds *ends);
extern int64 count_in_range(Walk *walk, Relation rel, const Range *range);
extern double count_estimate_range(Walk *walk, Relation rel, const Range *range);
extern int64 count_at_most(Walk *walk, Relation rel, const Range *range, int64 limit);
extern Position *count_nth(Walk *walk, Relation rel, int64 n, bool exact, bool paging);
extern Position *count_nth_estimated(Walk *walk, Relation rel, int64 n, bool paging, bool *known);

#endif							/* PG_CHUNKED_COUNT_H */
