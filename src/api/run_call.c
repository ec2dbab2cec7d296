/*
 * run_call.c
 *		SQL entry points that run jobs: run(), run_job(), start_job().
 *
 * A procedure that is called on its own may commit; within a transaction block
 * or a function it may not, and says so before anything is done.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "api/arguments.h"
#include "job/job_chunk.h"
#include "job/ledger.h"
#include "job/worker.h"

/* As max_parallel_workers at most */
#define MAX_WORKERS 1024

PG_FUNCTION_INFO_V1(chunked_run);
PG_FUNCTION_INFO_V1(chunked_run_job);
PG_FUNCTION_INFO_V1(chunked_start_job);

/* Queries of the caller's on the view, which shows what he may see */
#define SELECT_LINE "SELECT p.line, 0::pg_catalog.int8, NULL::pg_catalog.text FROM chunked.progress p WHERE p.id OPERATOR(pg_catalog.=) $1"
#define SELECT_SUMMARY \
	"SELECT pg_catalog.format('%s chunks, %s rows in %s, %s retries, %s failed', p.chunks_done, p.rows_done," \
	" chunked.human_time($2), p.retries, p.chunks_failed), p.chunks_failed," \
	" CASE WHEN p.rows_affected OPERATOR(pg_catalog.<>) p.rows_done THEN pg_catalog.format('%s', p.rows_affected) END" \
	" FROM chunked.progress p WHERE p.id OPERATOR(pg_catalog.=) $1"

static LedgerQuery select_failure =
LEDGER_QUERY("SELECT number, error_sqlstate, error, failed_key::text, error_detail, error_hint FROM chunked.ledger_chunks"
			 " WHERE job = $1 AND state <> 'done' AND state = 'failed' ORDER BY number LIMIT 1", INT8OID);

static void require_may_run(const char *name, Oid owner, Oid relid, int nworkers);
static void require_may_commit(FunctionCallInfo fcinfo, const char *procedure);
static int	argument_workers(FunctionCallInfo fcinfo, int argno, int least);
static void run_in_procedure(const char *name, int nworkers);
static char *select_progress(const char *sql, int64 id, double seconds, int64 *failed, char **affected);
static void report_outcome(int64 id, const char *name, RunOutcome outcome, TimestampTz started);
static void require_not_stopped(const Job *job);
static void report_stopped(const Job *job);

/*
 * CALL chunked.run(relation regclass, statement text, name text,
 *					chunk_size bigint, workers int, key text[], filter text,
 *					target_time interval, pause interval, max_lag interval,
 *					throttle text, max_attempts int, on_error text,
 *					check_plan boolean, after jsonb, upto jsonb, settings text,
 *					on_foreign_write text, dry_run boolean)
 *
 * Creates a job and runs it to its end.  Errors: 25001 in a transaction block,
 * those of create_job() and run_job().
 */
Datum
chunked_run(PG_FUNCTION_ARGS)
{
	JobOptions	options;
	char	   *name;
	int			nworkers = argument_workers(fcinfo, 4, 0);

	job_read_options(fcinfo, 5, &options);
	if (options.statement == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("statement must not be null"),
				 errhint("For work that is done outside the server, call create_job().")));
	if (argument_boolean(fcinfo, 18, "dry_run"))
	{
		job_dry_run(&options);
		PG_RETURN_VOID();
	}
	require_may_commit(fcinfo, "run");
	require_may_run(options.name != NULL ? options.name : get_rel_name(options.relid), GetUserId(), options.relid, nworkers);

	SPI_connect_ext(SPI_OPT_NONATOMIC);
	name = job_create(&options);
	run_in_procedure(name, nworkers);
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * CALL chunked.run_job(name text, workers int)
 *
 * Runs a job to its end.  Errors: 25001 in a transaction block, 42704 no such
 * job, 42501 another's, 55000 cancelled or without a statement; that of a row
 * that stops it, and whatever is not to do with rows.
 */
Datum
chunked_run_job(PG_FUNCTION_ARGS)
{
	char	   *name = job_argument_name(fcinfo, 0);
	int			nworkers = argument_workers(fcinfo, 1, 0);

	require_may_commit(fcinfo, "run_job");
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	run_in_procedure(name, nworkers);
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * chunked.start_job(name text, workers int) RETURNS int
 *
 * The number of background workers started, which go on by themselves.  Errors:
 * as for run_job(); 53400 no worker to be had.
 */
Datum
chunked_start_job(PG_FUNCTION_ARGS)
{
	char	   *name = job_argument_name(fcinfo, 0);
	int			nworkers = argument_workers(fcinfo, 1, 1);
	Job		   *job;
	int			started;

	SPI_connect();
	job = job_by_name(name);
	job_require_runnable(job);
	job_require_statement(job);
	require_may_run(name, job->owner, job->relid, nworkers);
	require_not_stopped(job);
	job_set_runnable(job);
	started = worker_start(job, nworkers);
	SPI_finish();
	PG_RETURN_INT32(started);
}

/*
 * Here, or by workers?  Errors: 42501, 0A000 workers do not see the relation.
 * One that is gone is for whoever opens it to report.
 */
static void
require_may_run(const char *name, Oid owner, Oid relid, int nworkers)
{
	if (nworkers == 0)
		guard_require_session(name, owner);
	else
	{
		guard_require_worker(name, owner);
		if (get_rel_name(relid) != NULL && get_rel_persistence(relid) == RELPERSISTENCE_TEMP)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("workers do not see the temporary relation \"%s\"", get_rel_name(relid)),
					 errhint("Have this session do it, with workers => 0.")));
	}
}

static void
require_may_commit(FunctionCallInfo fcinfo, const char *procedure)
{
	if (fcinfo->context != NULL && IsA(fcinfo->context, CallContext) &&
		!castNode(CallContext, fcinfo->context)->atomic)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
			 errmsg("%s() cannot run inside a transaction block", procedure),
			 errdetail("It commits chunk by chunk."),
			 errhint("CALL it by itself, with the driver's autocommit on; or call create_job() and start_job() in the transaction, which begin when it commits.")));
}

/* A number of workers.  Errors: 22004, 22023. */
static int
argument_workers(FunctionCallInfo fcinfo, int argno, int least)
{
	int			nworkers = PG_ARGISNULL(argno) ? -1 : PG_GETARG_INT32(argno);

	if (nworkers < least || nworkers > MAX_WORKERS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("workers must be from %d to %d", least, MAX_WORKERS),
				 errhint("Give the number of background workers.%s",
						 least == 0 ? " With 0 this session does the work." : "")));
	return nworkers;
}

/* SPI must be connected, and free to commit. */
static void
run_in_procedure(const char *name, int nworkers)
{
	TimestampTz started = GetCurrentTimestamp();
	Job		   *job;
	int64		id;
	RunOutcome	outcome;

	PushActiveSnapshot(GetTransactionSnapshot());
	job = job_by_name(name);
	job_require_runnable(job);
	job_require_statement(job);
	require_may_run(name, job->owner, job->relid, nworkers);
	require_not_stopped(job);
	job_set_runnable(job);
	id = job->id;
	PopActiveSnapshot();
	SPI_commit();
	run_by_fresh_snapshots();

	/* the commit may have undone SET LOCAL ROLE */
	PushActiveSnapshot(GetTransactionSnapshot());
	job = job_by_id(id);
	if (job != NULL)
	{
		job_require_runnable(job);
		require_may_run(name, job->owner, job->relid, nworkers);
	}
	PopActiveSnapshot();

	/* statement_timeout is for each execution of the job's statement */
	if (get_timeout_active(STATEMENT_TIMEOUT))
		disable_timeout(STATEMENT_TIMEOUT, false);

	outcome = job == NULL ? RUN_DROPPED : nworkers > 0 ? worker_run(job, nworkers) : run_job(id, true);
	report_outcome(id, name, outcome, started);
}

/* Tell how it ended.  Error: that of the row that stopped it. */
static void
report_outcome(int64 id, const char *name, RunOutcome outcome, TimestampTz started)
{
	Job		   *job = NULL;
	char	   *summary = NULL;
	int64		failed = 0;
	char	   *affected = NULL;

	PushActiveSnapshot(GetTransactionSnapshot());
	if (outcome != RUN_DROPPED)
	{
		job = job_by_id(id);
		summary = select_progress(SELECT_SUMMARY, id, (GetCurrentTimestamp() - started) / (double) USECS_PER_SEC,
								  &failed, &affected);
		if (job == NULL || summary == NULL)
			outcome = RUN_DROPPED;
	}

	switch (outcome)
	{
		case RUN_GOES_ON:
		case RUN_DONE:
			if (!job_is_over(job))
				ereport(WARNING,
						(errmsg("job \"%s\" is not done, since chunks were made pending meanwhile: %s", name, summary),
						 errhint("CALL chunked.run_job(%s) goes on.", quote_literal_cstr(name))));
			else if (failed > 0)
				ereport(WARNING,
						(errmsg("job \"%s\" is done but for what failed: %s", name, summary),
						 errhint("SELECT * FROM chunked.job_chunks WHERE job = %s AND state = 'failed' tells the rows; retry_failed() and run_job() try them again.",
								 quote_literal_cstr(name))));
			else
				ereport(NOTICE,
						(errmsg("job \"%s\" is done: %s", name, summary),
						 affected == NULL ? 0 : errdetail("The statement processed %s rows.", affected)));
			break;
		case RUN_PAUSED:
			ereport(NOTICE,
					(errmsg("job \"%s\" is paused: %s", name, summary),
					 errhint("CALL chunked.run_job(%s) goes on.", quote_literal_cstr(name))));
			break;
		case RUN_CANCELLED:
			ereport(NOTICE, (errmsg("job \"%s\" was cancelled: %s", name, summary)));
			break;
		case RUN_DROPPED:
			ereport(NOTICE, (errmsg("job \"%s\" was dropped", name)));
			break;
		case RUN_STOPPED:
			report_stopped(job);
			break;
	}
	PopActiveSnapshot();
}

/* It stays stopped until the row is tried again, or failures are no reason to stop. */
static void
require_not_stopped(const Job *job)
{
	if (job->stopped && job->stop_on_error)
		report_stopped(job);
}

/* The error of the row that stopped a job. */
static void
report_stopped(const Job *job)
{
	Datum		id = Int64GetDatum(job->id);
	int			sqlstate;
	char	   *key;
	char	   *detail;
	char	   *hint;

	if (ledger_execute(&select_failure, &id, NULL) == 0)
		return;					/* mended meanwhile */
	sqlstate = ledger_sqlstate(2);
	key = ledger_text(4);
	detail = ledger_text(5);
	hint = ledger_text(6);
	ereport(ERROR,
			(errcode(sqlstate),
			 errmsg("job \"%s\" stopped at a row that fails: %s", job->name, ledger_text(3)),
			 errdetail("Chunk " INT64_FORMAT "%s%s. All that was done before is committed.%s%s", ledger_int64(1),
					   key != NULL ? ", position " : "", key != NULL ? key : "",
					   detail != NULL ? "\n" : "", detail != NULL ? detail : ""),
			 errhint("%s%sFix the row or its cause, then SELECT chunked.retry_failed(%s) and CALL chunked.run_job(%s). To go on with the other rows, SELECT chunked.alter_job(%s, on_error => 'continue') first.",
					 hint != NULL ? hint : "", hint != NULL ? "\n" : "",
					 quote_literal_cstr(job->name), quote_literal_cstr(job->name), quote_literal_cstr(job->name))));
}

/* Send the client a line on the job's progress, as a notice. */
void
run_show_progress(int64 id)
{
	char	   *line = select_progress(SELECT_LINE, id, 0, NULL, NULL);

	if (line != NULL)
		ereport(NOTICE, (errmsg("%s", line)));
}

/*
 * A text about the job, how many of its chunks have failed, and the rows that
 * were processed if that is another number than it says; NULL if it is not there.  SPI must be connected, and a snapshot active.
 */
static char *
select_progress(const char *sql, int64 id, double seconds, int64 *failed, char **affected)
{
	Oid			types[] = {INT8OID, FLOAT8OID};
	Datum		values[2];
	int			nest_level = NewGUCNestLevel();
	int			result;

	(void) set_config_option("jit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("row_security", "on", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	values[0] = Int64GetDatum(id);
	values[1] = Float8GetDatum(seconds);
	result = SPI_execute_with_args(sql, 2, types, values, NULL, false, 1);
	if (result != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute_with_args failed: %s", SPI_result_code_string(result));
	AtEOXact_GUC(true, nest_level);
	if (SPI_processed == 0)
		return NULL;
	if (failed != NULL)
	{
		*failed = ledger_int64(2);
		*affected = ledger_text(3);
	}
	return ledger_text(1);
}
