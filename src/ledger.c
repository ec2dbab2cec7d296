/*
 * ledger.c
 *		Queries on the ledger, the tables in which jobs are kept.
 *
 * They run as the owner of the tables, like those of foreign keys, since nobody
 * else may write there: who could forge a chunk could have another's statement
 * run twice.  They are all constant text; whose jobs a caller may see and change
 * is checked ahead of them (job.c).  Names in them are found in pg_catalog
 * alone, whatever search_path is, and they go by the ledger's indexes, whatever
 * the statistics said when the tables were still empty.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "ledger.h"

static const char *const settings[][2] = {
	{"search_path", "pg_catalog, pg_temp"},
	{"enable_seqscan", "off"},
	{"enable_bitmapscan", "off"},
	{"plan_cache_mode", "force_generic_plan"},
	{"jit", "off"},
	{"lock_timeout", "0"},		/* a job shall not end for a short wait */
};

static Oid	ledger_owner(void);

/*
 * Run a query; returns the number of rows that it returned or changed, of which
 * ledger_value() and the others read the first.  nulls: NULL if there are none.
 * SPI must be connected; what they return is good until SPI_finish().
 */
uint64
ledger_execute(LedgerQuery *query, Datum *values, const bool *nulls)
{
	char		null_flags[LEDGER_MAX_ARGS];
	int			nest_level = NewGUCNestLevel();
	int			result;
	Oid			user;
	int			security;

	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(ledger_owner(),
						   security | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);

	for (size_t i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i][0], settings[i][1], PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	if (query->plan == NULL)
	{
		SPIPlanPtr	plan;

		query->nargs = 0;
		while (OidIsValid(query->argtypes[query->nargs]))
			query->nargs++;
		plan = SPI_prepare(query->sql, query->nargs, query->argtypes);
		if (plan == NULL)
			elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
		SPI_keepplan(plan);
		query->plan = plan;
	}
	for (int i = 0; i < query->nargs; i++)
		null_flags[i] = nulls != NULL && nulls[i] ? 'n' : ' ';
	result = SPI_execute_plan(query->plan, values, null_flags, false, 0);
	if (result < 0)
		elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(result));
	AtEOXact_GUC(true, nest_level);
	SetUserIdAndSecContext(user, security);
	return SPI_processed;
}

static Oid
ledger_owner(void)
{
	Oid			relid = get_relname_relid("ledger_jobs", get_namespace_oid("chunked", false));
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for the ledger");
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/* A column, counted from 1, of the first row. */
Datum
ledger_value(int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, isnull);
}

/* The same of a bigint, 0 if null. */
int64
ledger_int64(int column)
{
	bool		isnull;
	Datum		value = ledger_value(column, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

/* The same of a boolean, false if null. */
bool
ledger_bool(int column)
{
	bool		isnull;
	Datum		value = ledger_value(column, &isnull);

	return !isnull && DatumGetBool(value);
}

/* The same of a text, NULL if null. */
char *
ledger_text(int column)
{
	bool		isnull;
	Datum		value = ledger_value(column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}
