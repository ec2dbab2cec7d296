/*
 * row_security.c
 *		Do policies decide which rows of a relation the current role sees?
 *
 * The rewriter tells: it adds policies' conditions to a query, those of tables
 * behind a view as well, by whoever's rights they are read there.
 */
#include "postgres.h"

#include "utils/plancache.h"

#include "row_security.h"

/* SPI must be connected, and the walk's relation locked. */
bool
row_security_applies(const Walk *walk)
{
	SPIPlanPtr	plan = SPI_prepare(psprintf("SELECT FROM %s", walk->relation), 0, NULL);
	bool		applies;

	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	applies = ((CachedPlanSource *) linitial(SPI_plan_get_plan_sources(plan)))->dependsOnRLS;
	SPI_freeplan(plan);
	return applies;
}
