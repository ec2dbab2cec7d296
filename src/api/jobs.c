/*
 * jobs.c
 *		SQL entry points that create, change and drop jobs: create_job(),
 *		alter_job(), pause_job(), resume_job(), cancel_job(), drop_job(),
 *		drop_jobs(), retry_failed().
 *
 * None of them waits for those who run the job: these look at it between chunks.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

#include "api/arguments.h"
#include "api/job_options.h"
#include "base/compat.h"
#include "job/job_carve.h"
#include "job/job_create.h"
#include "job/job_lock.h"
#include "job/job_scope.h"
#include "job/throttle.h"

PG_FUNCTION_INFO_V1(chunked_create_job);
PG_FUNCTION_INFO_V1(chunked_alter_job);
PG_FUNCTION_INFO_V1(chunked_pause_job);
PG_FUNCTION_INFO_V1(chunked_resume_job);
PG_FUNCTION_INFO_V1(chunked_cancel_job);
PG_FUNCTION_INFO_V1(chunked_drop_job);
PG_FUNCTION_INFO_V1(chunked_drop_jobs);
PG_FUNCTION_INFO_V1(chunked_retry_failed);

static void check_new_throttle(const Job *job, const char *throttle);
static void require_new_owner(const Job *job, Oid owner);
static Datum set_paused(FunctionCallInfo fcinfo, bool paused);
static bool drop_unless_running(int64 id);

/*
 * chunked.create_job(relation regclass, statement text, name text,
 *					  chunk_size bigint, key text, filter text,
 *					  target_time interval, pause interval, max_lag interval,
 *					  throttle text, max_attempts bigint, on_error text,
 *					  check_plan boolean, after jsonb, upto jsonb,
 *					  settings text, on_foreign_write text) RETURNS text
 *
 * The name of the new job.  Reads the relation under AccessShareLock.  Errors:
 * those of statement_parse(), statement_prepare(), statement_check_plan(),
 * throttle_check() and page(); 22023 a bad option, 42710 the name is taken.
 */
Datum
chunked_create_job(PG_FUNCTION_ARGS)
{
	JobOptions	options;

	job_options_read(fcinfo, false, &options);
	PG_RETURN_TEXT_P(cstring_to_text(job_create(&options)->name));
}

/*
 * chunked.alter_job(name text, chunk_size bigint, target_time interval,
 *					 pause interval, max_lag interval, throttle text,
 *					 max_attempts bigint, on_error text, check_plan boolean,
 *					 owner regrole) RETURNS void
 *
 * Changes what is not null, from the next chunk on.  Locks the job's row.
 * Errors: 42704 no such job, 22023 a bad value, 42501 not with the caller's
 * rights, 42710 the new owner has a job of that name.
 */
Datum
chunked_alter_job(PG_FUNCTION_ARGS)
{
	char	   *name = argument_name(fcinfo, ALTER_JOB_NAME);
	JobOptions	options;
	Job		   *job;

	SPI_connect();
	job = job_by_name_to_change(name);
	job_require_not_running_here(job);
	if (!PG_ARGISNULL(ALTER_JOB_THROTTLE))
		job_require_owner(job); /* it is code, which is to be the owner's */
	job_options_read_changes(fcinfo, job, &options);
	if (options.throttle != NULL)
		check_new_throttle(job, options.throttle);
	if (options.max_lag != NULL && job_interval_ms(options.max_lag) > 0)
		throttle_check_lag_visible();
	if (!PG_ARGISNULL(ALTER_JOB_OWNER))
	{
		options.owner = PG_GETARG_OID(ALTER_JOB_OWNER);
		require_new_owner(job, options.owner);
	}
	job_alter(job, &options);
	if (options.chunk_size > 0)
		job_carve_resize(job, options.chunk_size);
	SPI_finish();
	PG_RETURN_VOID();
}

/* It is read by names that the owner may have planted. */
static void
check_new_throttle(const Job *job, const char *throttle)
{
	Guard		guard;

	job_scope_enter(job, GUARD_CONDITION, &guard);
	if (throttle[0] != '\0')
		throttle_check(throttle);
	guard_leave(&guard);
}

/* Whoever gives a job away must be able to become the one who gets it. */
static void
require_new_owner(const Job *job, Oid owner)
{
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(owner)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role with OID %u does not exist", owner),
				 errhint("Name the role that is to own the job.")));
	if (!compat_may_set_role(GetUserId(), owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be able to SET ROLE \"%s\"", GetUserNameFromId(owner, false)),
				 errhint("Only a role with the rights of both owners can give a job away.")));
	if (owner != job->owner && job_name_is_taken(job->name, owner))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("role \"%s\" already has a job \"%s\"", GetUserNameFromId(owner, false), job->name),
				 errhint("Drop one of them.")));
}

/*
 * chunked.pause_job(name text) RETURNS void
 *
 * Errors: 42704 no such job, 55000 it is cancelled.  Locks the job's row.
 */
Datum
chunked_pause_job(PG_FUNCTION_ARGS)
{
	return set_paused(fcinfo, true);
}

/* chunked.resume_job(name text) RETURNS void: the same the other way round. */
Datum
chunked_resume_job(PG_FUNCTION_ARGS)
{
	return set_paused(fcinfo, false);
}

static Datum
set_paused(FunctionCallInfo fcinfo, bool paused)
{
	char	   *name = argument_name(fcinfo, 0);
	Job		   *job;

	SPI_connect();
	job = job_by_name_to_change(name);
	job_require_not_cancelled(job);
	job_set_paused(job, paused);
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * chunked.cancel_job(name text) RETURNS void
 *
 * For good.  Error: 42704 no such job.  Locks the job's row.
 */
Datum
chunked_cancel_job(PG_FUNCTION_ARGS)
{
	char	   *name = argument_name(fcinfo, 0);

	SPI_connect();
	job_set_cancelled(job_by_name_to_change(name));
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * chunked.drop_job(name text) RETURNS void
 *
 * Errors: 42704 no such job, 55006 it is running.  Keeps others from running it
 * until the transaction ends.
 */
Datum
chunked_drop_job(PG_FUNCTION_ARGS)
{
	char	   *name = argument_name(fcinfo, 0);
	Job		   *job;

	SPI_connect();
	job = job_by_name_to_change(name);
	job_require_not_running_here(job);
	if (!drop_unless_running(job->id))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("job \"%s\" is running", name),
				 errhint("Call cancel_job() or pause_job(), and drop it when its chunks in hand are done.")));
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * chunked.drop_jobs(older_than interval) RETURNS bigint
 *
 * The number of jobs of the current role that were over for so long and are
 * gone.  Errors: 22004, 22023.
 */
Datum
chunked_drop_jobs(PG_FUNCTION_ARGS)
{
	Interval   *older_than;
	Datum		all;
	Datum		cancelled;
	int64	   *ids;
	uint64		njobs;
	int64		dropped = 0;

	argument_require(fcinfo, 0, "older_than", "Give an interval, such as '30 days'.");
	older_than = argument_interval(fcinfo, 0, "older_than", true);
	SPI_connect();
	job_ids_older_than(older_than, GetUserId(), &all, &cancelled);
	ids = job_ids_over(all, cancelled, older_than, &njobs);
	for (uint64 i = 0; i < njobs; i++)
		if (!job_is_running_here(ids[i]) && drop_unless_running(ids[i]))
			dropped++;
	SPI_finish();
	PG_RETURN_INT64(dropped);
}

/* False if somebody runs it.  Keeps others from running it until the transaction ends. */
static bool
drop_unless_running(int64 id)
{
	if (!job_lock_to_drop(id))
		return false;

	/*
	 * The job last, by which the others are seen; and first what keeps chunks
	 * from being added.
	 */
	job_carve_delete(id);
	job_chunk_delete_all(id);
	job_delete(id);
	return true;
}

/*
 * chunked.retry_failed(name text) RETURNS bigint
 *
 * The number of chunks that had failed and now are pending.  Errors: 42704 no
 * such job, 55000 it is cancelled.
 */
Datum
chunked_retry_failed(PG_FUNCTION_ARGS)
{
	char	   *name = argument_name(fcinfo, 0);
	Job		   *job;
	int64		chunks;

	SPI_connect();
	job = job_by_name_to_change(name);
	job_require_not_running_here(job);
	job_require_not_cancelled(job);
	chunks = job_carve_retry_failed(job);
	job_set_not_stopped(job);
	SPI_finish();
	PG_RETURN_INT64(chunks);
}
