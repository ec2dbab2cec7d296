/*
 * filter.h
 *		The caller's filter: a boolean SQL expression over a relation's columns,
 *		and the values of its parameters.
 *
 * Knows its syntax and its parameters; what its names mean is left to the queries.
 */
#ifndef PG_CHUNKED_FILTER_H
#define PG_CHUNKED_FILTER_H

#include "fmgr.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"

/* As the caller gives it */
typedef struct Filter
{
	char	   *text;
	Jsonb	   *args;			/* the values of $1, $2, ... or NULL */
} Filter;

/* As queries have it: its parameters are the first ones of each query, $1 to $n */
typedef struct BoundFilter
{
	/* fixed */
	char	   *text;
	bool		clock_literal;	/* it has a literal such as 'now', which is turned into
								 * a constant when the query is parsed, so that a plan
								 * for it must not be kept */
	bool		qualified;		/* it has a column with the name of a table, or the like */
	int			nargs;
	Oid		   *types;
	char	  **type_names;
	FmgrInfo   *inputs;
	Oid		   *typioparams;

	/* of one call */
	Datum	   *values;
	bool	   *nulls;
} BoundFilter;

extern BoundFilter *filter_parse(const Filter *given);
extern Node *filter_find_types(BoundFilter *filter, const char *from);
extern void filter_bind(BoundFilter *filter, Jsonb *args);
extern List *filter_with_values(const BoundFilter *filter, List *clauses);
extern char *filter_spi_nulls(const BoundFilter *filter, int nothers);

#endif							/* PG_CHUNKED_FILTER_H */
