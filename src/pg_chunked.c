/*
 * pg_chunked.c
 *		The module itself: its magic block and its settings.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/guc.h"

#include "compat.h"
#include "settings.h"
#include "steer.h"

COMPAT_MODULE_MAGIC("pg_chunked", PG_CHUNKED_VERSION);

PGDLLEXPORT void _PG_init(void);

bool		settings_native = true;

void
_PG_init(void)
{
	DefineCustomBoolVariable("pg_chunked.native",
							 "Reads btree indexes directly where that is sound.",
							 "Off: every walk, count and boundary goes through queries; the results are the same.",
							 &settings_native, true, PGC_USERSET, 0, NULL, NULL, NULL);
	steer_install();
	MarkGUCPrefixReserved("pg_chunked");
}
