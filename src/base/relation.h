/*
 * relation.h
 *		What may be walked: opening it, naming it, guessing its size.
 *
 * Knows relations and nothing of keys.  Permissions are left to the queries
 * that read the relation, so that the server's own checks always hold.
 */
#ifndef PG_CHUNKED_RELATION_H
#define PG_CHUNKED_RELATION_H

#include "base/compat.h"
#include "fmgr.h"
#include "utils/relcache.h"

extern Oid	relation_of_row_type(Oid row_type);
extern Relation relation_open_to_walk(Oid relid);
pg_noreturn extern void relation_report_changed(const char *name);
extern void relation_check_rewrite(Relation rel);
extern void relation_check_rewrite_of_part(Relation part);
extern bool relation_has_children(Relation rel);
extern bool relation_is_local_table(Relation rel);
extern bool relation_is_or_is_in(Oid relid, Oid ancestor);
extern double relation_estimate_rows(Relation rel);
extern double relation_estimate_rows_alone(Relation rel);
extern double relation_estimate_rows_here(Relation rel);
extern bool relation_has_estimate(Relation rel);
extern char *relation_quoted_name(Relation rel);

#endif							/* PG_CHUNKED_RELATION_H */
