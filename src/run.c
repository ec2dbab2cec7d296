/*
 * run.c
 *		Running a job: the loop over its chunks, in a session or in a worker.
 *
 * One transaction a chunk: the chunk's row is locked, the statement executed in
 * a subtransaction, the row marked done, and all of it committed together.  If
 * the statement fails, its subtransaction is undone and the failure is written
 * down under the same lock.  If the session dies, nothing has happened.
 *
 * What does not come from the chunk's rows, such as a missing table or a full
 * disk, is no failure of the chunk: it ends the run, and the job can go on when
 * it is mended.
 */
#include "postgres.h"

#include <math.h>

#include "access/table.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "job.h"
#include "job_chunk.h"
#include "run.h"
#include "settings.h"
#include "statement.h"
#include "throttle.h"

/* Of a chunk's rate, the weight of what was known before */
#define PAST_WEIGHT 0.75

/* In ms: between looks at what may have become free, and at what holds it up */
#define POLL_CHUNKS 50			/* at most; at first it is as long as the wait was */
#define POLL_THROTTLE 500
#define POLL_PAUSE 1000
#define RESCAN 1000

/* In ms: shorter waits are not written down */
#define WAIT_TOLD 1000

/* A throttle is asked again after so many times what asking took */
#define THROTTLE_SHARE 10

typedef struct Run
{
	/* fixed */
	int64		job;
	bool		in_procedure;	/* commits are SPI's */
	MemoryContext context;
	MemoryContext scraps;		/* of a commit */

	/* changing */
	Statement  *statement;		/* NULL at first */
	bool		plan_checked;
	int64		behind;			/* claim chunks whose numbers are over this one */
	TimestampTz rescan_at;		/* when to claim from the start again */
	TimestampTz resume_at;		/* a pause ends */
	TimestampTz throttle_at;	/* ask it again */
	TimestampTz progress_at;	/* when to show it again */
	bool		carve;			/* some more chunks, next */
	bool		carved_all;		/* there are none */
	bool		rate_known;
	double		rate;			/* rows a second; 0: none yet */
	TimestampTz idle_since;		/* when no chunk was free; 0: the last was */
	int64		chunk;			/* that this transaction worked on; 0: none */
	int64		sleep;			/* ms, before the next step */
} Run;

static RunOutcome run_step(Run *run);
static RunOutcome held_up_by(const Job *job);
static JobCarving carve(Run *run, const Job *job, bool wait);
static bool is_held(Run *run, const Job *job);
static void work(Run *run, const Job *job, const JobChunk *chunk);
static int64 execute(Run *run, const Job *job, const JobChunk *chunk, bool *executing);
static void learn_rate(Run *run, const JobChunk *chunk, TimestampTz started);
static void begin(Run *run);
static void commit(Run *run);
static void fail_at_commit(Run *run, ErrorData *error);
static bool is_transient(const ErrorData *error, TimestampTz started);
static bool is_of_rows(const ErrorData *error);
static void describe_failure(const ErrorData *error, bool transient, JobFailure *failure);
static void start_statement_timeout(void);
static void stop_statement_timeout(void);
static void sleep_for(int64 ms);

/*
 * Work on a job until there is nothing left, or something ends it.  The
 * caller's transaction, if in_procedure, is committed, and one left open at the
 * end.  Errors: whatever is not to do with a chunk's rows.
 */
RunOutcome
run_job(int64 id, bool in_procedure)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(caller, "pg_chunked run", ALLOCSET_DEFAULT_SIZES);
	Run		   *run = MemoryContextAllocZero(context, sizeof(Run));
	RunOutcome	outcome = RUN_GOES_ON;

	run->job = id;
	run->in_procedure = in_procedure;
	run->context = context;
	run->scraps = AllocSetContextCreate(context, "pg_chunked commit", ALLOCSET_SMALL_SIZES);

	if (!in_procedure)
		StartTransactionCommand();
	job_lock(id);
	if (!in_procedure)
		CommitTransactionCommand();
	PG_TRY();
	{
		while (outcome == RUN_GOES_ON)
		{
			begin(run);
			outcome = run_step(run);
			commit(run);
			if (run->sleep > 0)
				sleep_for(run->sleep);
		}
	}
	PG_FINALLY();
	{
		job_unlock(id);
		if (run->statement != NULL)
			statement_free(run->statement);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	return outcome;
}

/*
 * How a job stands for one who did not run it; RUN_GOES_ON: there are chunks
 * left.  job: NULL if it was dropped.  SPI must be connected.
 */
RunOutcome
run_outcome(const Job *job)
{
	RunOutcome	outcome = held_up_by(job);

	return outcome == RUN_GOES_ON && job_is_over(job) ? RUN_DONE : outcome;
}

static RunOutcome
held_up_by(const Job *job)
{
	if (job == NULL)
		return RUN_DROPPED;
	if (job->cancelled)
		return RUN_CANCELLED;
	if (job->paused)
		return RUN_PAUSED;
	if (job->stopped)
		return RUN_STOPPED;
	return RUN_GOES_ON;
}

/* One transaction: a chunk, or some carving, or a reason to wait. */
static RunOutcome
run_step(Run *run)
{
	TimestampTz now = GetCurrentTimestamp();
	Job		   *job = job_by_id(run->job);
	RunOutcome	outcome;
	JobChunk	chunk;

	run->sleep = 0;
	run->chunk = 0;
	outcome = held_up_by(job);
	if (outcome != RUN_GOES_ON)
		return outcome;
	job_require_owner(job);		/* it may have been given to another */

	if (run->in_procedure && settings_progress_interval > 0 && now >= run->progress_at)
	{
		if (run->progress_at != 0)
			run_show_progress(run->job);
		run->progress_at = TimestampTzPlusMilliseconds(now, settings_progress_interval);
	}

	if (now < run->resume_at)
	{
		run->sleep = Min((run->resume_at - now) / 1000 + 1, POLL_PAUSE);
		return RUN_GOES_ON;
	}
	if (is_held(run, job))
	{
		run->sleep = POLL_THROTTLE;
		return RUN_GOES_ON;
	}
	if (!run->rate_known && job->target_time > 0)
		run->rate = job_carving_rate(job);
	run->rate_known = true;

	if (now >= run->rescan_at)
	{
		run->behind = 0;
		run->rescan_at = TimestampTzPlusMilliseconds(now, RESCAN);
	}
	if (run->carve)
	{
		run->carve = false;
		run->carved_all = (carve(run, job, false) == CARVED_ALL);
		return RUN_GOES_ON;
	}
	if (job_claim(job, run->behind, &chunk))
	{
		run->behind = chunk.number;
		run->chunk = chunk.number;
		run->idle_since = 0;
		work(run, job, &chunk);
		/* ahead, lest others wait for it; sizes that adapt are carved one by one */
		run->carve = chunk.ahead < JOB_CARVE_AHEAD / 4 && !run->carved_all && job->target_time == 0;
		if (job->pause > 0)
			run->resume_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), (int64) job->pause);
		job_set_waiting(job, job->pause >= WAIT_TOLD ? "pause" : NULL);
		return RUN_GOES_ON;
	}

	if (carve(run, job, true) == CARVED)
		return RUN_GOES_ON;
	if (run->behind > 0)
		run->behind = 0;		/* what came free behind us */
	else if (job_is_over(job))
		return RUN_DONE;
	else
	{
		/* others have what is left, and may die */
		if (run->idle_since == 0)
			run->idle_since = now;
		run->sleep = Min((now - run->idle_since) / 1000 + 1, POLL_CHUNKS);
		if (TimestampDifferenceExceeds(run->idle_since, now, WAIT_TOLD))
			job_set_waiting(job, "other workers have what is left");
	}
	return RUN_GOES_ON;
}

/*
 * Carve some chunks, in this transaction.  Losing them would lose nothing, so
 * its commit is not waited for: work on them commits behind it.
 */
static JobCarving
carve(Run *run, const Job *job, bool wait)
{
	(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
	return job_carve(job, run->rate, wait);
}

/* Does the job itself say to wait?  Why is written down for all to see. */
static bool
is_held(Run *run, const Job *job)
{
	TimestampTz start = GetCurrentTimestamp();
	char	   *reason;
	JobScope	scope;
	int64		took;

	if (job->max_lag == 0 && job->throttle == NULL)
		reason = NULL;
	else
	{
		if (start < run->throttle_at)
			return false;
		job_enter(job, GUARD_CONDITION, &scope);
		reason = throttle_reason(job);
		job_leave(&scope);
		took = GetCurrentTimestamp() - start;
		run->throttle_at = reason != NULL ? 0 : start + took * THROTTLE_SHARE;
	}
	if (reason != NULL)
		job_set_waiting(job, reason);
	return reason != NULL;
}

/* Execute the statement for a claimed chunk, and write down how it went. */
static void
work(Run *run, const Job *job, const JobChunk *chunk)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	TimestampTz started = GetCurrentTimestamp();
	volatile bool executing = false;
	volatile int64 affected = -1;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		affected = execute(run, job, chunk, (bool *) &executing);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		ErrorData  *error;
		JobFailure	failure;
		bool		transient;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		stop_statement_timeout();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;

		transient = is_transient(error, started);
		if (!transient && !(executing && is_of_rows(error)))
			ReThrowError(error);
		describe_failure(error, transient, &failure);
		(void) job_chunk_failed(job, chunk, &failure);
		affected = -1;
		executing = false;
		FreeErrorData(error);
	}
	PG_END_TRY();

	if (executing)
	{
		learn_rate(run, chunk, started);
		job_chunk_done(job, chunk, started, affected);
	}
}

/* Returns the rows that the statement processed; *executing: it has begun. */
static int64
execute(Run *run, const Job *job, const JobChunk *chunk, bool *executing)
{
	JobScope	scope;
	ConstraintsSetStmt *immediate = makeNode(ConstraintsSetStmt);
	Relation	rel;
	Walk	   *walk;
	Range		range;
	int64		affected;

	job_enter(job, GUARD_STATEMENT, &scope);
	if (run->statement == NULL)
	{
		MemoryContext context = MemoryContextSwitchTo(run->context);

		run->statement = statement_parse(job->statement);
		MemoryContextSwitchTo(context);
	}

	SPI_connect();
	walk = job_walk_open(job, &rel);
	job_read_range(chunk, walk, &range);
	statement_prepare(run->statement, walk, &range, chunk->row_count);
	if (job->check_plan && !run->plan_checked)
		statement_check_plan(run->statement, walk,
							 (double) job->total_rows / Max(chunk->row_count, 1));
	run->plan_checked = true;

	*executing = true;
	start_statement_timeout();
	affected = statement_execute(run->statement);
	/* whatever is deferred to the commit is to fail here, as this chunk's */
	immediate->deferred = false;
	AfterTriggerSetState(immediate);
	stop_statement_timeout();

	table_close(rel, NoLock);
	SPI_finish();
	job_leave(&scope);
	return affected;
}

/*
 * Take a chunk's rate into the mean: an exponentially weighted one, of their
 * logarithms, so that it follows a change to a tenth as fast as one to tenfold.
 */
static void
learn_rate(Run *run, const JobChunk *chunk, TimestampTz started)
{
	int64		took = Max(GetCurrentTimestamp() - started, 1);
	double		rate = chunk->row_count * (double) USECS_PER_SEC / took;

	if (chunk->row_count == 0)
		return;
	run->rate = run->rate == 0 ? rate :
		exp(PAST_WEIGHT * log(run->rate) + (1 - PAST_WEIGHT) * log(rate));
}

/* ------------------------------------------------------------- transactions */

/* Start a transaction, or prepare the one that there is. */
static void
begin(Run *run)
{
	CHECK_FOR_INTERRUPTS();
	if (!run->in_procedure)
	{
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		StartTransactionCommand();
		pgstat_report_activity(STATE_RUNNING, NULL);
	}

	guard_until_commit();

	/* claiming goes by what is there now, whatever the session's default is */
	if (!FirstSnapshotSet)
		XactIsoLevel = XACT_READ_COMMITTED;
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
}

/*
 * Commit.  A chunk's work may fail even now, by serialization or in a trigger
 * that the statement's constraints set off: that is its failure as well.
 */
static void
commit(Run *run)
{
	ErrorData  *volatile error = NULL;

	SPI_finish();
	PopActiveSnapshot();

	/* committing leaves scraps in the current memory context */
	MemoryContextReset(run->scraps);
	MemoryContextSwitchTo(run->scraps);
	PG_TRY();
	{
		if (run->in_procedure)
			SPI_commit();
		else
			CommitTransactionCommand();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(run->context);
		error = CopyErrorData();
		FlushErrorState();
		if (!run->in_procedure)
			AbortCurrentTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(run->context);

	if (error != NULL)
		fail_at_commit(run, error);
	if (!run->in_procedure)
	{
		(void) pgstat_report_stat(false);
		pgstat_report_activity(STATE_IDLE, NULL);
	}
}

/* Write down that the chunk failed, if nobody has taken it up meanwhile. */
static void
fail_at_commit(Run *run, ErrorData *error)
{
	int64		number = run->chunk;
	bool		transient = is_transient(error, 0);
	Job		   *job;
	JobChunk	chunk;

	run->chunk = 0;
	if (number == 0 || !(transient || is_of_rows(error)))
		ReThrowError(error);

	begin(run);
	job = job_by_id(run->job);
	if (job != NULL && job_claim_number(job, number, &chunk))
	{
		JobFailure	failure;

		describe_failure(error, transient, &failure);
		(void) job_chunk_failed(job, &chunk, &failure);
	}
	commit(run);
	FreeErrorData(error);
}

/* ------------------------------------------------------------------- errors */

/* Is it the doing of others, that time will mend?  started: of the statement. */
static bool
is_transient(const ErrorData *error, TimestampTz started)
{
	switch (error->sqlerrcode)
	{
		case ERRCODE_T_R_SERIALIZATION_FAILURE:
		case ERRCODE_T_R_DEADLOCK_DETECTED:
		case ERRCODE_LOCK_NOT_AVAILABLE:
			return true;
		case ERRCODE_QUERY_CANCELED:
			/* by statement_timeout, and not by the user? */
			return started != 0 && StatementTimeout > 0 &&
				TimestampDifferenceExceeds(started, GetCurrentTimestamp(), StatementTimeout);
		default:
			return false;
	}
}

/* Might other rows fare better?  Not if it is the server, or the statement. */
static bool
is_of_rows(const ErrorData *error)
{
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_SYSTEM_ERROR:
		case ERRCODE_INVALID_TRANSACTION_STATE:
		case ERRCODE_INVALID_CATALOG_NAME:
		case ERRCODE_INVALID_SCHEMA_NAME:
			return false;
		default:
			return error->elevel == ERROR;
	}
}

static void
describe_failure(const ErrorData *error, bool transient, JobFailure *failure)
{
	failure->sqlstate = pstrdup(unpack_sql_state(error->sqlerrcode));
	failure->message = error->message;
	failure->transient = transient;
}

/* -------------------------------------------------------------------- times */

static void
start_statement_timeout(void)
{
	if (StatementTimeout > 0)
		enable_timeout_after(STATEMENT_TIMEOUT, StatementTimeout);
}

static void
stop_statement_timeout(void)
{
	if (get_timeout_active(STATEMENT_TIMEOUT))
		disable_timeout(STATEMENT_TIMEOUT, true);

	/* one that fires behind the statement's end is not to cancel the job */
	if (get_timeout_indicator(STATEMENT_TIMEOUT, true))
		QueryCancelPending = false;
}

static void
sleep_for(int64 ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}
