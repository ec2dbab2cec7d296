/*
 * count.h
 *		How many rows a relation has.
 */
#ifndef PG_CHUNKED_COUNT_H
#define PG_CHUNKED_COUNT_H

#include "key/key.h"

/* Children of an index level wanted to tell one rank from another */
#define COUNT_CHILDREN 10000

extern int64 count_relation(Relation rel, bool exact, ArrayType *key, text *filter);
extern bool count_estimate(Relation rel, const WalkKey *key, double *rows);

#endif							/* PG_CHUNKED_COUNT_H */
