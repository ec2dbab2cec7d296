/*
 * origin.h
 *		Where a column comes from: through subqueries, joins and views, down to
 *		the relations that hold it.
 *
 * Knows queries that parse analysis has gone through; nothing of statements or
 * walks.
 */
#ifndef PG_CHUNKED_ORIGIN_H
#define PG_CHUNKED_ORIGIN_H

#include "access/attnum.h"
#include "nodes/pg_list.h"
#include "parser/parse_node.h"

/* A column of a relation */
typedef struct Origin
{
	Oid			relid;
	AttrNumber	attnum;
} Origin;

extern bool origin_leads_to(ParseState *pstate, Node *expr, const List *origins);
extern bool origin_leads_to_within(const List *queries, Node *expr, const List *origins);
extern List *origin_list(Oid relid, AttrNumber attnum, bool within_expressions);
extern bool origin_same_column(const Origin *a, const Origin *b);
extern bool origin_related(Oid a, Oid b);

#endif							/* PG_CHUNKED_ORIGIN_H */
