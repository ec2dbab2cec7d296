/*
 * statement_filter.h
 *		Does a statement leave out the rows that its job's filter leaves out?
 */
#ifndef PG_CHUNKED_STATEMENT_FILTER_H
#define PG_CHUNKED_STATEMENT_FILTER_H

#include "nodes/parsenodes.h"
#include "walk/walk.h"

extern void statement_refuse_unfiltered(Query *query, List *bound, const Walk *walk);

#endif							/* PG_CHUNKED_STATEMENT_FILTER_H */
