/*
 * btree_partitions.h
 *		Counting along a relation's indexes, those of its partitions if it has any.
 *
 * Knows in which order partitions are to be read; nothing of filters or chunks.
 */
#ifndef PG_CHUNKED_BTREE_PARTITIONS_H
#define PG_CHUNKED_BTREE_PARTITIONS_H

#include "btree/btree_count.h"

/* A row that ends so many others */
typedef struct BtreeEnd
{
	Position   *position;
	int64		rows;			/* up to it, from the end before on */
} BtreeEnd;

/* Rows of a range, counted off */
typedef struct BtreeEnds
{
	/* wanted: ends of size() rows each, which gives 0 if there are no more */
	int			enough;			/* so many of them, */
	int			most;			/* or so many, if they are among the rows that had to
								 * be read for the first */
	int64		(*size) (void *arg, int number);
	void	   *arg;

	/* found */
	int			nends;
	BtreeEnd   *ends;
	bool		over;			/* the range is, */
	int64		rest;			/* with so many rows after the last end */
} BtreeEnds;

extern bool btree_find_ends(Relation rel, const WalkKey *key, const Position *after,
							const Position *upto, BtreeEnds *ends);
extern bool btree_count_rows(Relation rel, const WalkKey *key, const Position *after,
							 const Position *upto, int64 *rows);
extern bool btree_find_last(Relation rel, const WalkKey *key, const Position *after,
							const Position *upto, Position **last);

#endif							/* PG_CHUNKED_BTREE_PARTITIONS_H */
