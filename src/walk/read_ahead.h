/*
 * read_ahead.h
 *		Having the heap blocks read ahead that an index scan comes to.
 *
 * Knows index scans in execution; nothing of walks.
 */
#ifndef PG_CHUNKED_READ_AHEAD_H
#define PG_CHUNKED_READ_AHEAD_H

#include "access/genam.h"
#include "executor/execdesc.h"

/* An index scan, and how far ahead of it blocks have been asked for */
typedef struct ReadAhead ReadAhead;

extern void read_ahead_install(void);
extern void read_ahead_begin(QueryDesc *desc, int64 rows, int64 sure);
extern const char *read_ahead_expect(const char *source);
extern ReadAhead *read_ahead_make(Relation heap, Relation index, bool backward, int64 rows,
								  int64 sure, int share);
extern void read_ahead_before_row(ReadAhead *ahead);
extern void read_ahead_after_row(ReadAhead *ahead, IndexScanDesc scan);

#endif							/* PG_CHUNKED_READ_AHEAD_H */
