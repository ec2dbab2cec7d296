/*
 * part_order.h
 *		Whether a table's partitions follow each other in the order of a key.
 *
 * Knows partition bounds; opens no partition.
 */
#ifndef PG_CHUNKED_PART_ORDER_H
#define PG_CHUNKED_PART_ORDER_H

#include "key/position.h"
#include "partitioning/partdefs.h"

/* The partitions of one partitioned table, not of those below, in walk order */
typedef struct PartOrder
{
	int			nparts;
	Oid		   *parts;			/* without the default partition */
	Oid			default_part;	/* its rows lie before, between or after whole
								 * partitions, not among their rows */
	PartitionDesc desc;			/* of the table, while it is open */
} PartOrder;

extern PartOrder *part_order(Relation rel, const WalkKey *key);
extern void part_order_range(Relation rel, const WalkKey *key, const PartOrder *order,
							 const Position *after, const Position *upto, int *first, int *last);

#endif							/* PG_CHUNKED_PART_ORDER_H */
