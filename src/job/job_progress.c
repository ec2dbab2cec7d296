/*
 * job_progress.c
 *		What the view chunked.progress says of a job, for its callers.
 *
 * These are queries of the caller's, not the ledger's: the view shows what he may
 * see.  SPI must be connected, and a snapshot active.
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "base/settings.h"
#include "job/job_progress.h"

#define SELECT_LINE \
	"SELECT p.line FROM chunked.progress p WHERE p.id OPERATOR(pg_catalog.=) $1"

#define SELECT_SUMMARY \
	"SELECT pg_catalog.format('%s chunks, %s rows in %s, %s retries, %s failed', p.chunks_done," \
	" p.rows_done, chunked.human_time($2), p.retries, p.chunks_failed)," \
	" p.chunks_failed," \
	" CASE WHEN p.rows_affected OPERATOR(pg_catalog.<>) p.rows_done" \
	" THEN pg_catalog.format('%s', p.rows_affected) END" \
	" FROM chunked.progress p WHERE p.id OPERATOR(pg_catalog.=) $1"

static bool select_progress(const char *sql, int64 id, double seconds);

/* Send the client a line on the job's progress, as a notice. */
void
job_progress_show(int64 id)
{
	char	   *line = select_progress(SELECT_LINE, id, 0) ? ledger_text(1) : NULL;

	if (line != NULL)
		ereport(NOTICE, (errmsg("%s", line)));
}

/* How it went, in so many seconds; false: it is not there. */
bool
job_progress_summary(int64 id, double seconds, JobSummary *summary)
{
	if (!select_progress(SELECT_SUMMARY, id, seconds))
		return false;
	summary->text = ledger_text(1);
	summary->failed = ledger_int64(2);
	summary->affected = ledger_text(3);
	return summary->text != NULL;
}

/* False: the job is not there. */
static bool
select_progress(const char *sql, int64 id, double seconds)
{
	Oid			types[] = {INT8OID, FLOAT8OID};
	Datum		values[2];
	static const char *const settings[][2] = {{"jit", "off"}, {"row_security", "on"}};
	int			nest_level;
	int			result;

	nest_level = settings_begin(settings, lengthof(settings));
	values[0] = Int64GetDatum(id);
	values[1] = Float8GetDatum(seconds);
	result = SPI_execute_with_args(sql, 2, types, values, NULL, false, 1);
	if (result != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute_with_args failed: %s", SPI_result_code_string(result));
	settings_end(nest_level);
	return SPI_processed > 0;
}
