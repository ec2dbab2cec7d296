/*
 * compat.h
 *		What differs between the majors of PostgreSQL (15 to 19): the only place
 *		that asks for PG_VERSION_NUM.  Each shim names the upstream change.
 */
#ifndef PG_CHUNKED_COMPAT_H
#define PG_CHUNKED_COMPAT_H

#include "access/tupdesc.h"
#include "fmgr.h"

/* 18: PG_MODULE_MAGIC_EXT puts name and version into pg_get_loaded_modules() */
#if PG_VERSION_NUM >= 180000
#define COMPAT_MODULE_MAGIC(module, version_text) \
	PG_MODULE_MAGIC_EXT(.name = (module), .version = (version_text))
#else
#define COMPAT_MODULE_MAGIC(module, version_text) PG_MODULE_MAGIC
#endif

/*
 * 18: a NOT NULL constraint may be NOT VALID, and attnotnull is then set
 * although the table may hold nulls; only attnullability tells them apart.
 */
static inline bool
compat_attribute_not_null(TupleDesc tupdesc, int index)
{
#if PG_VERSION_NUM >= 180000
	return TupleDescCompactAttr(tupdesc, index)->attnullability == ATTNULLABLE_VALID;
#else
	return TupleDescAttr(tupdesc, index)->attnotnull;
#endif
}

#endif							/* PG_CHUNKED_COMPAT_H */
