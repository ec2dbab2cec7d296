/*
 * reference.h
 *		References to columns in the ledger; the SQL type is in reference_io.c.
 */
#ifndef PG_CHUNKED_REFERENCE_H
#define PG_CHUNKED_REFERENCE_H

#include "access/attnum.h"

extern int64 reference_to_column(Oid relid, AttrNumber attnum);
extern Oid	reference_relation(int64 reference);
extern char *reference_column_name(int64 reference);

#endif							/* PG_CHUNKED_REFERENCE_H */
