/*
 * settings.c
 *		The settings pg_chunked.*, and giving settings other values for a while.
 */
#include "postgres.h"

#include <limits.h>

#include "utils/guc.h"

#include "base/settings.h"

bool		settings_native = true;
int			settings_progress_interval = 1000;

/* Called once, when the library is loaded. */
void
settings_define(void)
{
	DefineCustomBoolVariable("pg_chunked.native",
							 "Reads btree indexes directly where that is sound.",
							 "Off: every walk, count and boundary goes through queries; the results are the same.",
							 &settings_native, true, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("pg_chunked.progress_interval",
							"Time between the notices in which run() reports its progress.",
							"0 turns them off.",
							&settings_progress_interval, 1000, 0, INT_MAX, PGC_USERSET,
							GUC_UNIT_MS, NULL, NULL, NULL);
	MarkGUCPrefixReserved("pg_chunked");
}

/*
 * Give settings (name, value) these values until settings_end() is called with
 * the result.  An error in between undoes them with its (sub)transaction.
 */
int
settings_begin(const char *const (*settings)[2], int nsettings)
{
	int			nest_level = NewGUCNestLevel();

	for (int i = 0; i < nsettings; i++)
		(void) set_config_option(settings[i][0], settings[i][1], PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	return nest_level;
}

/* nest_level 0: nothing was set. */
void
settings_end(int nest_level)
{
	if (nest_level > 0)
		AtEOXact_GUC(true, nest_level);
}
