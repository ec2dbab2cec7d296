/*
 * filter.h
 *		The caller's filter: a boolean SQL expression over a relation's columns.
 *
 * Knows its syntax; what its names and types mean is left to the queries.
 */
#ifndef PG_CHUNKED_FILTER_H
#define PG_CHUNKED_FILTER_H

extern void filter_check_syntax(const char *filter, bool *clock_literal);

#endif							/* PG_CHUNKED_FILTER_H */
