/*
 * index_rows.h
 *		Reading the rows of a range by an index scan, without a query.
 *
 * Knows keys, ranges and index scans; nothing of limits or of how a read ends.
 */
#ifndef PG_CHUNKED_INDEX_ROWS_H
#define PG_CHUNKED_INDEX_ROWS_H

#include "executor/tuptable.h"
#include "key/range.h"

/* A read in progress */
typedef struct IndexRows IndexRows;

/* A partition to read in place of the table that the key is of */
typedef struct IndexRowsPart
{
	Oid			relid;
	Oid			index;			/* its part of the key's index */
} IndexRowsPart;

extern IndexRows *index_rows_begin(Oid relid, const IndexRowsPart *part, const WalkKey *key,
								   const Range *range, bool backward, int64 rows);
extern TupleTableSlot *index_rows_next(IndexRows *read);
extern void index_rows_end(IndexRows *read);

#endif							/* PG_CHUNKED_INDEX_ROWS_H */
