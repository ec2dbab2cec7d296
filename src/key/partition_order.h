/*
 * partition_order.h
 *		The partitions of a table in the order of a key, one after the other.
 *
 * Knows bounds, and which partitions hold nothing of a range; locks what it hands
 * out and reads no rows.
 */
#ifndef PG_CHUNKED_PARTITION_ORDER_H
#define PG_CHUNKED_PARTITION_ORDER_H

#include "key/position.h"
#include "nodes/pg_list.h"

/* All rows of it come after those of the parts before, or before them if read backwards. */
typedef struct OrderedPart
{
	Oid			relid;			/* locked under AccessShareLock; a leaf partition, or
								 * one whose own partitions the key does not order */
	char		relkind;
	bool		holds_after;	/* the range's ends may lie in it; if not, all of */
	bool		holds_upto;		/* its rows are on the range's side of that end */
	bool		is_default;		/* only rows of which partition_order_is_due() are to be
								 * read now: those up to the next partition */
} OrderedPart;

/* A way through them */
typedef struct PartitionOrder PartitionOrder;

extern bool partition_order_is_known(Relation rel, const WalkKey *key);
extern PartitionOrder *partition_order_begin(Oid relid, const WalkKey *key,
											 const Position *after, const Position *upto,
											 bool backward);
extern void partition_order_set_filter(PartitionOrder *order, List *filter);
extern bool partition_order_next(PartitionOrder *order, OrderedPart *part);
extern bool partition_order_is_due(PartitionOrder *order, const Position *position);
extern void partition_order_no_more_default(PartitionOrder *order);
extern void partition_order_end(PartitionOrder *order);

#endif							/* PG_CHUNKED_PARTITION_ORDER_H */
