/*
 * read_ahead.h
 *		Having the heap blocks read ahead that an index scan comes to.
 *
 * Knows scans in execution; nothing of walks.
 */
#ifndef PG_CHUNKED_READ_AHEAD_H
#define PG_CHUNKED_READ_AHEAD_H

#include "executor/execdesc.h"

extern void read_ahead_install(void);
extern void read_ahead_begin(QueryDesc *desc, int64 rows, int64 sure);
extern const char *read_ahead_expect(const char *source);

#endif							/* PG_CHUNKED_READ_AHEAD_H */
