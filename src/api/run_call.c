/*
 * run_call.c
 *		SQL entry points that run jobs: run(), run_job(), start_job().
 *
 * A procedure that is called on its own may commit; within a transaction block
 * or a function it may not, and says so before anything is done.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "api/arguments.h"
#include "api/job_options.h"
#include "job/guard.h"
#include "job/job_carve.h"
#include "job/job_create.h"
#include "job/job_progress.h"
#include "job/worker.h"

/* As max_parallel_workers at most */
#define MAX_WORKERS 1024

PG_FUNCTION_INFO_V1(chunked_run);
PG_FUNCTION_INFO_V1(chunked_run_job);
PG_FUNCTION_INFO_V1(chunked_start_job);

static void require_may_run(const char *name, Oid owner, Oid relid, int nworkers);
static void require_may_commit(FunctionCallInfo fcinfo, const char *procedure);
static int	argument_workers(FunctionCallInfo fcinfo, int argno, int least);
static void make_runnable(const Job *job, int nworkers);
static void run_in_procedure(const Job *job, int nworkers);
static void report_outcome(const Job *job, RunOutcome outcome, TimestampTz started);
static void require_not_stopped(const Job *job);
static void report_stopped(const Job *job);

/*
 * CALL chunked.run(relation regclass, statement text, name text,
 *					chunk_size bigint, workers bigint, key text, filter text,
 *					target_time interval, pause interval, max_lag interval,
 *					throttle text, max_attempts bigint, on_error text,
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
	int			nworkers = argument_workers(fcinfo, RUN_WORKERS, 0);

	job_options_read(fcinfo, true, &options);
	if (options.statement == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("statement must not be null"),
				 errhint("For work that is done outside the server, call create_job().")));
	if (argument_boolean(fcinfo, RUN_DRY_RUN, "dry_run"))
	{
		job_create_dry_run(&options);
		PG_RETURN_VOID();
	}
	require_may_commit(fcinfo, "run");
	require_may_run(options.name != NULL ? options.name : get_rel_name(options.relid), GetUserId(),
					options.relid, nworkers);

	SPI_connect_ext(SPI_OPT_NONATOMIC);
	run_in_procedure(job_create(&options), nworkers);
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * CALL chunked.run_job(name text, workers bigint)
 *
 * Runs a job to its end.  Errors: 25001 in a transaction block, 42704 no such
 * job, 42501 another's, 55000 cancelled or without a statement; that of a row
 * that stops it, and whatever is not to do with rows.
 */
Datum
chunked_run_job(PG_FUNCTION_ARGS)
{
	char	   *name = argument_name(fcinfo, 0);
	int			nworkers = argument_workers(fcinfo, 1, 0);
	Job		   *job;

	require_may_commit(fcinfo, "run_job");
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	PushActiveSnapshot(GetTransactionSnapshot());
	job = job_by_name(name);
	make_runnable(job, nworkers);
	PopActiveSnapshot();
	run_in_procedure(job, nworkers);
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * chunked.start_job(name text, workers bigint) RETURNS int
 *
 * The number of background workers started, which go on by themselves.  Errors:
 * as for run_job(); 53400 no worker could be started.
 */
Datum
chunked_start_job(PG_FUNCTION_ARGS)
{
	char	   *name = argument_name(fcinfo, 0);
	int			nworkers = argument_workers(fcinfo, 1, 1);
	Job		   *job;
	int			started;

	SPI_connect();
	job = job_by_name(name);
	make_runnable(job, nworkers);
	started = worker_start(job, nworkers);
	SPI_finish();
	PG_RETURN_INT32(started);
}

/*
 * Here, or by workers?  Errors: 42501, 0A000 workers do not see the relation.
 * One that is gone is reported by whatever opens it.
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
			 errhint("CALL it by itself, with the driver's autocommit on; or call create_job() and start_job() in the transaction: the job begins when it commits.")));
}

/* A number of workers.  Errors: 22004, 22023. */
static int
argument_workers(FunctionCallInfo fcinfo, int argno, int least)
{
	int64		nworkers = PG_ARGISNULL(argno) ? -1 : PG_GETARG_INT64(argno);

	if (nworkers < least || nworkers > MAX_WORKERS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("workers must be from %d to %d", least, MAX_WORKERS),
				 least == 0 ?
				 errhint("Give the number of background workers. With 0 this session does the work.") :
				 errhint("Give the number of background workers.")));
	return (int) nworkers;
}

/* What ended an earlier run is no reason to end this one.  Errors: as for run_job(). */
static void
make_runnable(const Job *job, int nworkers)
{
	job_require_runnable(job);
	job_require_statement(job);
	require_may_run(job->name, job->owner, job->relid, nworkers);
	require_not_stopped(job);
	job_set_runnable(job);
}

/* The job may be run when this transaction commits.  SPI must be connected, and free to commit. */
static void
run_in_procedure(const Job *job, int nworkers)
{
	TimestampTz started = GetCurrentTimestamp();
	Job		   *now;
	RunOutcome	outcome = RUN_DROPPED;

	SPI_commit();
	run_by_fresh_snapshots();

	/* the commit may have undone SET LOCAL ROLE */
	PushActiveSnapshot(GetTransactionSnapshot());
	now = job_by_id(job->id);
	if (now != NULL)
	{
		job_require_runnable(now);
		require_may_run(now->name, now->owner, now->relid, nworkers);
	}
	PopActiveSnapshot();

	/* statement_timeout is for each execution of the job's statement */
	if (get_timeout_active(STATEMENT_TIMEOUT))
		disable_timeout(STATEMENT_TIMEOUT, false);

	if (now != NULL)
		outcome = nworkers > 0 ? worker_run(now, nworkers) : run_job(now->id, true);
	report_outcome(job, outcome, started);
}

/*
 * Say how it ended.  Errors: that of the row that stopped it; 57014 another session
 * paused, cancelled or dropped it.
 */
static void
report_outcome(const Job *job, RunOutcome outcome, TimestampTz started)
{
	const char *name = job->name;
	Job		   *now = NULL;
	JobSummary	summary;
	double		seconds;

	PushActiveSnapshot(GetTransactionSnapshot());
	if (outcome != RUN_DROPPED)
	{
		now = job_by_id(job->id);
		seconds = (GetCurrentTimestamp() - started) / (double) USECS_PER_SEC;
		if (!job_progress_summary(job->id, seconds, &summary) || now == NULL)
			outcome = RUN_DROPPED;
	}

	switch (outcome)
	{
		case RUN_GOES_ON:
		case RUN_DONE:
			if (!job_is_over(now))
				ereport(WARNING,
						(errmsg("job \"%s\" is not done, since chunks were made pending meanwhile: %s", name, summary.text),
						 errhint("CALL chunked.run_job(%s) goes on.", quote_literal_cstr(name))));
			else if (summary.failed > 0)
				ereport(WARNING,
						(errmsg("job \"%s\" is done, with failed chunks: %s", name, summary.text),
						 errhint("SELECT * FROM chunked.job_chunks WHERE job = %s AND state = 'failed' shows them; retry_failed() and run_job() try them again.",
								 quote_literal_cstr(name))));
			else
				ereport(NOTICE,
						(errmsg("job \"%s\" is done: %s", name, summary.text),
						 summary.affected == NULL ? 0 : errdetail("The statement processed %s rows.", summary.affected)));
			break;
		case RUN_PAUSED:
			ereport(ERROR,
					(errcode(ERRCODE_QUERY_CANCELED),
					 errmsg("job \"%s\" was paused", name),
					 errdetail("This run has committed %s.", summary.text),
					 errhint("CALL chunked.run_job(%s) goes on.", quote_literal_cstr(name))));
			break;
		case RUN_CANCELLED:
			ereport(ERROR,
					(errcode(ERRCODE_QUERY_CANCELED),
					 errmsg("job \"%s\" was cancelled", name),
					 errdetail("This run has committed %s.", summary.text)));
			break;
		case RUN_DROPPED:
			ereport(ERROR,
					(errcode(ERRCODE_QUERY_CANCELED),
					 errmsg("job \"%s\" was dropped", name),
					 errdetail("All that was done before is committed.")));
			break;
		case RUN_STOPPED:
			report_stopped(now);
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
	int64		number;
	char	   *key;
	char	   *place;
	char	   *name = quote_literal_cstr(job->name);
	LedgerError error;

	if (!job_chunk_first_failed(job, &number, &key, &error))
		return;					/* fixed meanwhile */
	if (key != NULL)
		place = psprintf("Chunk " INT64_FORMAT ", position %s.", number, key);
	else
		place = psprintf("Chunk " INT64_FORMAT ".", number);
	ereport(ERROR,
			(errcode(ledger_sqlstate(&error)),
			 errmsg("job \"%s\" stopped at a row that fails: %s", job->name, error.message),
			 errdetail("%s All that was done before is committed.%s", place,
					   error.detail == NULL ? "" : psprintf("\n%s", error.detail)),
			 errhint("%sFix the row or its cause, then SELECT chunked.retry_failed(%s) and CALL chunked.run_job(%s). To go on with the other rows, SELECT chunked.alter_job(%s, on_error => 'continue') first.",
					 error.hint == NULL ? "" : psprintf("%s\n", error.hint), name, name, name)));
}
