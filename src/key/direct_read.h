/*
 * direct_read.h
 *		May a relation be read by an index around the planner and the executor?
 *
 * Knows privileges, policies and whether an index is whole; reads nothing.
 */
#ifndef PG_CHUNKED_DIRECT_READ_H
#define PG_CHUNKED_DIRECT_READ_H

#include "key/key.h"

/* What is to be read of each row */
typedef enum DirectReadColumns
{
	DIRECT_READ_KEY,
	DIRECT_READ_ROW,
	DIRECT_READ_ROW_OF_PART		/* which single partitions the relation has is not looked at */
} DirectReadColumns;

extern bool direct_read_allowed(Relation rel, const WalkKey *key, DirectReadColumns columns);
extern bool direct_read_table(Relation rel);
extern bool direct_read_index(Relation index);
extern bool direct_read_backward(const WalkKey *key, Relation index);

#endif							/* PG_CHUNKED_DIRECT_READ_H */
