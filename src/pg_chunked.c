/*
 * pg_chunked.c
 *		The module itself: its magic block and its settings.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/guc.h"

#include "compat.h"

COMPAT_MODULE_MAGIC("pg_chunked", PG_CHUNKED_VERSION);

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	MarkGUCPrefixReserved("pg_chunked");
}
