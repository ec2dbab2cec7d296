/*
 * run.c
 *		Running a job: the loop over its chunks, in a session or in a worker.
 *
 * One transaction a chunk: the chunk's row is locked, the statement executed in
 * a subtransaction, the row marked done, and all of it committed together.  If
 * the statement fails, its subtransaction is undone and the failure is written
 * down under the same lock.  If the session dies, nothing has happened.
 */
#include "postgres.h"

#include <math.h>

#include "access/table.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/latch_wait.h"
#include "base/settings.h"
#include "base/subtransaction.h"
#include "job/job_carve.h"
#include "job/job_lock.h"
#include "job/job_progress.h"
#include "job/job_scope.h"
#include "job/run.h"
#include "job/run_error.h"
#include "job/run_timeout.h"
#include "job/throttle.h"
#include "statement/statement.h"

/* Of a chunk's rate, the weight of what was known before */
#define PAST_WEIGHT 0.75

/* In ms: between looks at what may have become free, and at what holds it up */
#define POLL_CHUNKS 50			/* at most; at first it is as long as the wait was */
#define POLL_THROTTLE 500
#define POLL_PAUSE 1000
#define RESCAN 1000
#define FOLD 2000

/* In ms: shorter waits are not written down */
#define WAIT_SHOWN 1000

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
	SPIPlanPtr	plan;			/* of the last chunk */
	RunDone		done;
	int64		after_number;	/* claim chunks whose numbers are over this one */
	TimestampTz rescan_at;		/* when to claim from the start again */
	TimestampTz ended_at;		/* the last chunk; 0: none since a pause */
	TimestampTz fold_at;		/* when to fold the sums of done chunks again */
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

/* A step in a subtransaction, and what came of it */
typedef struct Attempt
{
	Run		   *run;
	const Job  *job;
	const JobChunk *chunk;
	bool		wait;			/* in carving, for another carver */
	bool		executing;		/* the statement has begun */
	int64		affected;		/* rows that it processed */
	JobCarving	carving;
} Attempt;

static RunOutcome run_step(Run *run);
static RunOutcome outcome_of_state(const Job *job);
static bool must_wait(Run *run, const Job *job);
static JobCarving run_carve(Run *run, const Job *job, bool wait);
static void carve_for_run(void *arg);
static bool run_take_turn(Run *run, const Job *job);
static void wait_for_turn(void *arg);
static bool attempt_unless_blocked(Run *run, void (*step) (void *arg), Attempt *attempt);
static char *run_chunk(Run *run, const Job *job, const JobChunk *chunk);
static void execute_chunk(void *arg);
static void execute_statement(void *arg);
static void add_chunk_context(void *arg);
static void keep_done_range(Run *run, const JobChunk *chunk);
static void learn_rate(Run *run, const JobChunk *chunk, TimestampTz started);
static void run_begin(Run *run);
static void run_commit(Run *run);
static void fail_at_commit(Run *run, ErrorData *error);

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
	job_lock_running(id);
	if (!in_procedure)
		CommitTransactionCommand();
	PG_TRY();
	{
		while (outcome == RUN_GOES_ON)
		{
			run_begin(run);
			outcome = run_step(run);
			run_commit(run);
			if (run->sleep > 0)
				latch_wait(run->sleep);
		}
	}
	PG_FINALLY();
	{
		job_unlock_running(id);
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
	RunOutcome	outcome = outcome_of_state(job);

	return outcome == RUN_GOES_ON && job_is_over(job) ? RUN_DONE : outcome;
}

static RunOutcome
outcome_of_state(const Job *job)
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
	job_lock_running(run->job);
	outcome = outcome_of_state(job);
	if (outcome != RUN_GOES_ON)
		return outcome;
	job_require_owner(job);		/* it may have been given to another */

	if (run->in_procedure && settings_progress_interval > 0 && now >= run->progress_at)
	{
		TimestampTz shown;

		if (run->progress_at != 0)
			job_progress_show(run->job);

		/* no more than a tenth of the time, whatever it takes */
		shown = GetCurrentTimestamp();
		run->progress_at = TimestampTzPlusMilliseconds(shown, settings_progress_interval) + (shown - now) * 9;
		now = shown;
	}

	if (run->ended_at != 0 && job->pause > 0)
	{
		TimestampTz resume_at = TimestampTzPlusMilliseconds(run->ended_at, (int64) job->pause);

		if (now < resume_at)
		{
			run->sleep = Min((resume_at - now) / 1000 + 1, POLL_PAUSE);
			return RUN_GOES_ON;
		}
	}
	run->ended_at = 0;
	if (must_wait(run, job))
	{
		if (job_is_over(job))
			return RUN_DONE;
		run->sleep = POLL_THROTTLE;
		return RUN_GOES_ON;
	}
	if (!run->rate_known && job->target_time > 0)
		run->rate = job_carve_rate(job);
	run->rate_known = true;

	if (now >= run->rescan_at)
	{
		run->after_number = 0;
		run->rescan_at = TimestampTzPlusMilliseconds(now, RESCAN);
	}
	if (now >= run->fold_at)
	{
		job_carve_fold(job, false);
		run->fold_at = TimestampTzPlusMilliseconds(now, FOLD);
		return RUN_GOES_ON;
	}
	if (run->carve)
	{
		run->carve = false;
		run->carved_all = (run_carve(run, job, false) == CARVED_ALL);
		return RUN_GOES_ON;
	}
	if (!run_take_turn(run, job))
		return RUN_GOES_ON;
	if (job_chunk_claim(job, run->after_number, &chunk))
	{
		char	   *blocked;

		run->after_number = chunk.number;
		run->chunk = chunk.number;
		run->idle_since = 0;
		blocked = run_chunk(run, job, &chunk);
		/* ahead, so that others do not wait for it; sizes that adapt are carved one by one */
		run->carve = chunk.ahead < JOB_CARVE_AHEAD / 4 && !run->carved_all && job->target_time == 0;
		run->ended_at = GetCurrentTimestamp();
		job_set_waiting(job, blocked != NULL ? blocked : job->pause >= WAIT_SHOWN ? "pause" :
						job->turns_until > now ? "one chunk at a time after deadlocks" : NULL);
		return RUN_GOES_ON;
	}

	if (run_carve(run, job, true) == CARVED)
		return RUN_GOES_ON;
	if (run->after_number > 0)
		run->after_number = 0;		/* what came free of those that we have passed */
	else if (job_is_over(job))
	{
		job_carve_fold(job, true);
		return RUN_DONE;
	}
	else
	{
		/* others have what is left, and may die, or it is to be tried again later */
		if (run->idle_since == 0)
			run->idle_since = now;
		run->sleep = Min((now - run->idle_since) / 1000 + 1, POLL_CHUNKS);
		if (TimestampDifferenceExceeds(run->idle_since, now, WAIT_SHOWN))
		{
			char	   *retry = job_chunk_retry_reason(job);

			job_set_waiting(job, retry != NULL ? retry : "other workers have what is left");
		}
	}
	return RUN_GOES_ON;
}

/* Does the job itself say to wait?  Why is written down for all to see. */
static bool
must_wait(Run *run, const Job *job)
{
	TimestampTz start = GetCurrentTimestamp();
	char	   *reason;
	Guard		guard;
	int64		took;

	if (job->max_lag == 0 && job->throttle == NULL)
		reason = NULL;
	else
	{
		if (start < run->throttle_at)
			return false;
		job_scope_enter(job, GUARD_CONDITION, &guard);
		reason = throttle_reason(job);
		guard_leave(&guard);
		took = GetCurrentTimestamp() - start;
		run->throttle_at = reason != NULL ? 0 : start + took * THROTTLE_SHARE;
	}
	if (reason != NULL)
		job_set_waiting(job, reason);
	return reason != NULL;
}

/*
 * Carve some chunks, in this transaction.  Losing them would lose nothing, so
 * its commit is not waited for: work on them commits after it.
 */
static JobCarving
run_carve(Run *run, const Job *job, bool wait)
{
	Attempt		attempt = {.run = run,.job = job,.wait = wait};

	(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
	return attempt_unless_blocked(run, carve_for_run, &attempt) ? attempt.carving : CARVING_BUSY;
}

static void
carve_for_run(void *arg)
{
	Attempt    *attempt = arg;

	attempt->carving = job_carve(attempt->job, attempt->run->rate, attempt->wait);
}

/* Wait for this session's turn, where runners take turns.  False: others were in the way. */
static bool
run_take_turn(Run *run, const Job *job)
{
	Attempt		attempt = {.run = run,.job = job};

	if (LockTimeout > 0)
		return attempt_unless_blocked(run, wait_for_turn, &attempt);
	wait_for_turn(&attempt);
	return true;
}

static void
wait_for_turn(void *arg)
{
	const Job  *job = ((Attempt *) arg)->job;

	job_lock_turn(job->id, job->turns_until > GetCurrentTimestamp());
}

/*
 * Do what waits for locks, in a subtransaction, since they are waited for no
 * longer than lock_timeout.  False: others were in the way, and nothing of it has
 * happened.
 */
static bool
attempt_unless_blocked(Run *run, void (*step) (void *arg), Attempt *attempt)
{
	ErrorData  *error = subtransaction_run(step, attempt);

	if (error == NULL)
		return true;
	if (!job_retry_is_for_others(error->sqlerrcode))
		ReThrowError(error);
	FreeErrorData(error);
	run->sleep = POLL_CHUNKS;
	return false;
}

/*
 * Execute the statement for a claimed chunk, and write down how it went.  Returns
 * what it waits for, if others were in its way more than once, else NULL.
 */
static char *
run_chunk(Run *run, const Job *job, const JobChunk *chunk)
{
	TimestampTz started = GetCurrentTimestamp();
	Attempt		attempt = {.run = run,.job = job,.chunk = chunk};
	ErrorData  *error = subtransaction_run(execute_chunk, &attempt);
	ErrorKind	kind;
	JobFailure	failure;
	char	   *blocked = NULL;

	if (error == NULL)
	{
		keep_done_range(run, chunk);
		learn_rate(run, chunk, started);
		job_chunk_done(job, chunk, started, attempt.affected);
		return NULL;
	}

	kind = run_error_classify(error);
	if (kind != OF_OTHERS && !attempt.executing)
		kind = OF_SERVER;
	if (kind == IN_DOUBT)
		kind = run_error_decide(job, chunk, run->statement, &run->done, error);
	if (kind == OF_SERVER)
		ReThrowError(error);
	run_error_describe(error, kind, &failure);
	(void) job_retry_chunk(job, chunk, &failure);
	if (error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED)
		job_set_turns(job);
	if (failure.cause == FAILED_BLOCKED && chunk->attempts > 0)
		blocked = job_chunk_reason_to_wait(chunk->number, failure.error.message);
	run_timeout_forget();
	FreeErrorData(error);
	return blocked;
}

/* A step in a subtransaction. */
static void
execute_chunk(void *arg)
{
	ErrorContextCallback callback = {error_context_stack, add_chunk_context, arg};

	error_context_stack = &callback;
	run_timeout_within(execute_statement, arg);
	error_context_stack = callback.previous;
}

static void
execute_statement(void *arg)
{
	Attempt    *attempt = arg;
	Run		   *run = attempt->run;
	const Job  *job = attempt->job;
	const JobChunk *chunk = attempt->chunk;
	ConstraintsSetStmt *immediate = makeNode(ConstraintsSetStmt);
	Guard		guard;
	Relation	rel;
	Walk	   *walk;
	Range		range;

	job_scope_enter(job, GUARD_STATEMENT, &guard);
	if (run->statement == NULL)
	{
		MemoryContext context = MemoryContextSwitchTo(run->context);

		run->statement = statement_parse(job->statement);
		MemoryContextSwitchTo(context);
	}

	run_timeout_start();		/* waiting for the relation's lock included */
	SPI_connect();
	walk = job_scope_open_walk(job, &rel);
	job_scope_read_range(job, walk, chunk->after, chunk->upto, &range);
	statement_prepare(run->statement, walk, &range, chunk->row_count);
	if (job->check_plan && !run->plan_checked)
		statement_check_plan(run->statement, walk,
							 (double) job->total_rows / Max(chunk->row_count, 1));
	run->plan_checked = true;
	if (!job->foreign_writes && run->plan != statement_plan(run->statement))
		statement_refuse_foreign_writes(run->statement);
	run->plan = statement_plan(run->statement);

	attempt->executing = true;
	attempt->affected = statement_execute(run->statement);
	/* whatever is deferred to the commit is to fail here, as this chunk's */
	immediate->deferred = false;
	AfterTriggerSetState(immediate);
	run_timeout_stop();

	if (attempt->affected == 0 && chunk->row_count > 0 && job->high_water != NULL)
		job_scope_require_rows(job, walk, chunk->after);
	table_close(rel, NoLock);
	SPI_finish();
	guard_leave(&guard);
}

/* For errors of a chunk: which it is. */
static void
add_chunk_context(void *arg)
{
	const Attempt *attempt = arg;
	const JobChunk *chunk = attempt->chunk;

	errcontext("job \"%s\", chunk " INT64_FORMAT ", after %s up to %s",
			   attempt->job->name, chunk->number,
			   chunk->after == NULL ? "the start" : position_for_message(chunk->after),
			   position_for_message(chunk->upto));
}

/* What has been done tells errors of the statement from those of rows. */
static void
keep_done_range(Run *run, const JobChunk *chunk)
{
	MemoryContext context = MemoryContextSwitchTo(run->context);

	if (run->done.after != NULL)
		pfree(run->done.after);
	if (run->done.upto != NULL)
		pfree(run->done.upto);
	run->done.after = chunk->after == NULL ? NULL : DatumGetJsonbPCopy(JsonbPGetDatum(chunk->after));
	run->done.upto = DatumGetJsonbPCopy(JsonbPGetDatum(chunk->upto));
	MemoryContextSwitchTo(context);
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
run_begin(Run *run)
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

	run_by_fresh_snapshots();
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
}

/* In a new transaction: go by what is there now, whatever the session's default is. */
void
run_by_fresh_snapshots(void)
{
	if (!FirstSnapshotSet)
		XactIsoLevel = XACT_READ_COMMITTED;
}

/*
 * Commit.  A chunk's work may fail even now, by serialization or in a trigger
 * that the statement's constraints set off: that is its failure as well.
 */
static void
run_commit(Run *run)
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
	ErrorKind	kind = run_error_classify(error);
	Job		   *job;
	JobChunk	chunk;

	run->chunk = 0;
	if (number == 0 || kind == OF_SERVER)
		ReThrowError(error);

	run_begin(run);
	job = job_by_id(run->job);
	if (job != NULL && job_chunk_claim_number(job, number, &chunk))
	{
		JobFailure	failure;

		run_error_describe(error, kind, &failure);
		(void) job_retry_chunk(job, &chunk, &failure);
	}
	run_commit(run);
	FreeErrorData(error);
}
