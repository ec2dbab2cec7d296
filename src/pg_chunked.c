/*
 * pg_chunked.c
 *		The module itself: its magic block and its settings.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/guc.h"

#include "api/page_scan.h"
#include "base/compat.h"
#include "base/settings.h"
#include "job/guard.h"
#include "job/ledger.h"
#include "key/redirect.h"
#include "statement/statement_plan.h"
#include "walk/steer.h"

COMPAT_MODULE_MAGIC("pg_chunked", PG_CHUNKED_VERSION);

PGDLLEXPORT void _PG_init(void);

bool		settings_native = true;
int			settings_progress_interval = 1000;

void
_PG_init(void)
{
	DefineCustomBoolVariable("pg_chunked.native",
							 "Reads btree indexes directly where that is sound.",
							 "Off: every walk, count and boundary goes through queries; the results are the same.",
							 &settings_native, true, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("pg_chunked.progress_interval",
							"Time between the notices in which run() tells its progress.",
							"0 turns them off.",
							&settings_progress_interval, 1000, 0, INT_MAX, PGC_USERSET,
							GUC_UNIT_MS, NULL, NULL, NULL);
	redirect_before_hooks();
	steer_install();
	page_scan_install();
	statement_plan_install();
	ledger_install();
	guard_install();
	redirect_after_hooks();
	MarkGUCPrefixReserved("pg_chunked");
}
