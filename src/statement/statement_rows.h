/*
 * statement_rows.h
 *		Does a statement go over the rows of its chunk, all of them and no others?
 *
 * Of queries as parse analysis makes them.  bound: the entries of their range
 * tables that a chunk's condition picks rows of.
 */
#ifndef PG_CHUNKED_STATEMENT_ROWS_H
#define PG_CHUNKED_STATEMENT_ROWS_H

#include "nodes/parsenodes.h"
#include "walk/walk.h"

extern void statement_refuse_part_of_rows(Query *query, List *bound);
extern void statement_warn_of_other_rows(Query *query, List *bound, const Walk *walk);
extern List *statement_joined_conditions(const Query *query);
extern bool statement_shares_rows(Oid relid, const Walk *walk);

#endif							/* PG_CHUNKED_STATEMENT_ROWS_H */
