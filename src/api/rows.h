/*
 * rows.h
 *		Rows of a walk as the result of a set-returning function.
 *
 * Knows tuplestores; nothing of which rows are read.
 */
#ifndef PG_CHUNKED_ROWS_H
#define PG_CHUNKED_ROWS_H

#include "fmgr.h"
#include "utils/tuplestore.h"
#include "walk/walk_read.h"

typedef struct RowSink
{
	TupleDesc	tupdesc;		/* as the statement expects it */
	bool		wider;			/* the relation has got more columns since */
	Tuplestorestate *result;
	Tuplestorestate *reversed;	/* rows as read backwards, or NULL */
} RowSink;

extern void rows_begin(RowSink *sink, FunctionCallInfo fcinfo, Relation rel, bool backward);
extern void rows_check_shape(TupleDesc expected, int ncolumns, Relation rel);
extern void rows_read(RowSink *sink, Walk *walk, const Range *range, WalkReader *reader);

#endif							/* PG_CHUNKED_ROWS_H */
