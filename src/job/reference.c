/*
 * reference.c
 *		References to columns in the ledger: a relation's oid and a column's number
 *		in one bigint.
 */
#include "postgres.h"

#include "utils/lsyscache.h"

#include "job/reference.h"

int64
reference_to_column(Oid relid, AttrNumber attnum)
{
	return ((int64) relid << 16) | (uint16) attnum;
}

Oid
reference_relation(int64 reference)
{
	return (Oid) (reference >> 16);
}

/* The column's name, as it is now; NULL if it, or the relation, is gone. */
char *
reference_column_name(int64 reference)
{
	Oid			relid = reference_relation(reference);
	AttrNumber	attnum = (AttrNumber) (reference & 0xFFFF);

	return OidIsValid(get_atttype(relid, attnum)) ? get_attname(relid, attnum, true) : NULL;
}
