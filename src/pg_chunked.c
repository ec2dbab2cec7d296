/*
 * pg_chunked.c
 *		The module itself: its magic block, and what is set up when it is loaded.
 */
#include "postgres.h"

#include "fmgr.h"

#include "api/page_scan.h"
#include "base/compat.h"
#include "base/settings.h"
#include "job/guard.h"
#include "job/ledger.h"
#include "key/redirect.h"
#include "statement/statement_plan.h"
#include "walk/part_plan.h"
#include "walk/read_ahead.h"
#include "walk/steer.h"

COMPAT_MODULE_MAGIC("pg_chunked", PG_CHUNKED_VERSION);

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	settings_define();
	redirect_before_hooks();
	part_plan_install();
	steer_install();
	read_ahead_install();
	page_scan_install();
	statement_plan_install();
	ledger_install();
	guard_install();
	redirect_after_hooks();
}
