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
 * that is fixed.  Where an error's SQLSTATE leaves open which it is, evidence
 * decides: it is the rows' if a chunk has been done by the same statement, or if
 * a row far away does not fail alike.
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
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "base/settings.h"
#include "job/job.h"
#include "job/job_chunk.h"
#include "job/run.h"
#include "job/throttle.h"
#include "statement/statement.h"
#include "walk/walk_read.h"

/* Of a chunk's rate, the weight of what was known before */
#define PAST_WEIGHT 0.75

/* In ms: between looks at what may have become free, and at what holds it up */
#define POLL_CHUNKS 50			/* at most; at first it is as long as the wait was */
#define POLL_THROTTLE 500
#define POLL_PAUSE 1000
#define RESCAN 1000
#define FOLD 2000

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
	SPIPlanPtr	plan;			/* of the last chunk */
	Jsonb	   *done_after;		/* the last chunk done in this run: where it starts, or NULL */
	Jsonb	   *done_upto;		/* and ends; NULL: none yet */
	int64		behind;			/* claim chunks whose numbers are over this one */
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

/* Whose doing is an error? */
typedef enum ErrorKind
{
	OF_ROWS,					/* other rows may fare better */
	OF_OTHERS,					/* others at work: time cures it */
	OF_SERVER,					/* or of the statement: it ends the run */
	IN_DOUBT					/* of the rows or of the statement */
} ErrorKind;

/* Rows that show whose an error is, the most telling first */
typedef enum Probe
{
	PROBE_DONE,					/* the last of the chunk that this run did last */
	PROBE_FAR,					/* the last and the first of what is still to be done, */
	PROBE_NEXT,					/* but for the chunk itself */
	PROBE_FIRST,				/* the chunk's first and last */
	PROBE_LAST
} Probe;

#define PROBES (PROBE_LAST + 1)

typedef enum ProbeResult
{
	PROBE_TELLS_NOTHING,		/* there is no such row, or it was not processed */
	PROBE_DIFFERS,				/* it is processed, or fails otherwise */
	PROBE_FAILS_ALIKE
} ProbeResult;

/* Of the chunk in hand, for the context of errors */
typedef struct ChunkContext
{
	const Job  *job;
	const JobChunk *chunk;
} ChunkContext;

/* Of this session: it is registered once, and whether it has fired */
static TimeoutId chunk_timeout = MAX_TIMEOUTS;
static volatile sig_atomic_t timed_out = false;
static volatile sig_atomic_t timed_out_blocked = false;	/* while it waited for a lock */

static RunOutcome run_step(Run *run);
static RunOutcome held_up_by(const Job *job);
static JobCarving carve(Run *run, const Job *job, bool wait);
static bool is_held(Run *run, const Job *job);
static bool take_turn(Run *run, const Job *job);
static bool attempt(JobCarving *carving, Run *run, const Job *job, bool wait);
static char *work(Run *run, const Job *job, const JobChunk *chunk);
static int64 execute(Run *run, const Job *job, const JobChunk *chunk, bool *executing);
static void add_context(void *arg);
static ErrorKind decide(Run *run, const Job *job, const JobChunk *chunk, const ErrorData *error);
static ProbeResult try_row(Run *run, const Job *job, const JobChunk *chunk, Probe probe,
						   const ErrorData *like);
static bool find_row(Run *run, const Job *job, Walk *walk, const JobChunk *chunk, Probe probe, Range *range);
static void keep_done(Run *run, const JobChunk *chunk);
static void learn_rate(Run *run, const JobChunk *chunk, TimestampTz started);
static void begin(Run *run);
static void commit(Run *run);
static void fail_at_commit(Run *run, ErrorData *error);
static ErrorKind classify(const ErrorData *error);
static bool is_cancel(const ErrorData *error);
static void describe_failure(const ErrorData *error, ErrorKind kind, JobFailure *failure);
static void start_timeout(void);
static void stop_timeout(void);
static void timeout_fired(void);
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
	job_lock(run->job);
	outcome = held_up_by(job);
	if (outcome != RUN_GOES_ON)
		return outcome;
	job_require_owner(job);		/* it may have been given to another */

	if (run->in_procedure && settings_progress_interval > 0 && now >= run->progress_at)
	{
		TimestampTz shown;

		if (run->progress_at != 0)
			run_show_progress(run->job);

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
	if (is_held(run, job))
	{
		if (job_is_over(job))
			return RUN_DONE;
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
	if (now >= run->fold_at)
	{
		job_fold(job, false);
		run->fold_at = TimestampTzPlusMilliseconds(now, FOLD);
		return RUN_GOES_ON;
	}
	if (run->carve)
	{
		run->carve = false;
		run->carved_all = (carve(run, job, false) == CARVED_ALL);
		return RUN_GOES_ON;
	}
	if (!take_turn(run, job))
		return RUN_GOES_ON;
	if (job_claim(job, run->behind, &chunk))
	{
		char	   *blocked;

		run->behind = chunk.number;
		run->chunk = chunk.number;
		run->idle_since = 0;
		blocked = work(run, job, &chunk);
		/* ahead, so that others do not wait for it; sizes that adapt are carved one by one */
		run->carve = chunk.ahead < JOB_CARVE_AHEAD / 4 && !run->carved_all && job->target_time == 0;
		run->ended_at = GetCurrentTimestamp();
		job_set_waiting(job, blocked != NULL ? blocked : job->pause >= WAIT_TOLD ? "pause" :
						job->turns_until > now ? "one chunk at a time after deadlocks" : NULL);
		return RUN_GOES_ON;
	}

	if (carve(run, job, true) == CARVED)
		return RUN_GOES_ON;
	if (run->behind > 0)
		run->behind = 0;		/* what came free behind us */
	else if (job_is_over(job))
	{
		job_fold(job, true);
		return RUN_DONE;
	}
	else
	{
		/* others have what is left, and may die, or it is to be tried again later */
		if (run->idle_since == 0)
			run->idle_since = now;
		run->sleep = Min((now - run->idle_since) / 1000 + 1, POLL_CHUNKS);
		if (TimestampDifferenceExceeds(run->idle_since, now, WAIT_TOLD))
		{
			char	   *retry = job_retry_reason(job);

			job_set_waiting(job, retry != NULL ? retry : "other workers have what is left");
		}
	}
	return RUN_GOES_ON;
}

/*
 * Carve some chunks, in this transaction.  Losing them would lose nothing, so
 * its commit is not waited for: work on them commits after it.
 */
static JobCarving
carve(Run *run, const Job *job, bool wait)
{
	JobCarving	carving = CARVING_BUSY;

	(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
	if (!attempt(&carving, run, job, wait))
		run->sleep = POLL_CHUNKS;
	return carving;
}

/* Wait for this session's turn.  False: others were in the way. */
static bool
take_turn(Run *run, const Job *job)
{
	if (attempt(NULL, run, job, true))
		return true;
	run->sleep = POLL_CHUNKS;
	return false;
}

/*
 * Carve or, without carving, wait for a turn; in a subtransaction, since locks
 * are waited for no longer than lock_timeout.  False: others were in the way,
 * and nothing of it has happened.
 */
static bool
attempt(JobCarving *carving, Run *run, const Job *job, bool wait)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool done = true;

	if (carving == NULL && LockTimeout == 0)
	{
		job_take_turn(job);
		return true;
	}
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		if (carving == NULL)
			job_take_turn(job);
		else
			*carving = job_carve(job, run->rate, wait);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		if (!job_others_in_the_way(error->sqlerrcode))
			ReThrowError(error);
		FreeErrorData(error);
		done = false;
	}
	PG_END_TRY();
	return done;
}

/* Does the job itself say to wait?  Why is written down for all to see. */
static bool
is_held(Run *run, const Job *job)
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
		job_enter(job, GUARD_CONDITION, &guard);
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
 * Execute the statement for a claimed chunk, and write down how it went.  Returns
 * what it waits for, if others were in its way more than once, else NULL.
 */
static char *
work(Run *run, const Job *job, const JobChunk *chunk)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	TimestampTz started = GetCurrentTimestamp();
	ChunkContext here = {job, chunk};
	ErrorContextCallback callback = {error_context_stack, add_context, &here};
	volatile bool executing = false;
	volatile int64 affected = -1;
	char	   *volatile blocked = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		error_context_stack = &callback;
		affected = execute(run, job, chunk, (bool *) &executing);
		error_context_stack = callback.previous;
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		ErrorData  *error;
		ErrorKind	kind;
		JobFailure	failure;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		stop_timeout();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;

		kind = classify(error);
		if (kind != OF_OTHERS && !executing)
			kind = OF_SERVER;
		if (kind == IN_DOUBT)
			kind = decide(run, job, chunk, error);
		if (kind == OF_SERVER)
			ReThrowError(error);
		describe_failure(error, kind, &failure);
		(void) job_chunk_failed(job, chunk, &failure);
		if (error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED)
			job_set_turns(job);
		if (failure.cause == FAILED_BLOCKED && chunk->attempts > 0)
			blocked = psprintf("the next attempt at chunk " INT64_FORMAT ": %s", chunk->number, failure.message);
		affected = -1;
		executing = false;
		timed_out = false;
		FreeErrorData(error);
	}
	PG_END_TRY();

	if (executing)
	{
		keep_done(run, chunk);
		learn_rate(run, chunk, started);
		job_chunk_done(job, chunk, started, affected);
	}
	return blocked;
}

/* By what has been done, errors of the statement are told from those of rows. */
static void
keep_done(Run *run, const JobChunk *chunk)
{
	MemoryContext context = MemoryContextSwitchTo(run->context);

	if (run->done_after != NULL)
		pfree(run->done_after);
	if (run->done_upto != NULL)
		pfree(run->done_upto);
	run->done_after = chunk->after == NULL ? NULL : DatumGetJsonbPCopy(JsonbPGetDatum(chunk->after));
	run->done_upto = DatumGetJsonbPCopy(JsonbPGetDatum(chunk->upto));
	MemoryContextSwitchTo(context);
}

/* For errors of a chunk: which it is. */
static void
add_context(void *arg)
{
	const ChunkContext *here = arg;
	const JobChunk *chunk = here->chunk;

	errcontext("job \"%s\", chunk " INT64_FORMAT ", after %s up to %s", here->job->name, chunk->number,
			   chunk->after == NULL ? "the start" : position_for_message(chunk->after),
			   position_for_message(chunk->upto));
}

/* Returns the rows that the statement processed; *executing: it has begun. */
static int64
execute(Run *run, const Job *job, const JobChunk *chunk, bool *executing)
{
	Guard		guard;
	ConstraintsSetStmt *immediate = makeNode(ConstraintsSetStmt);
	Relation	rel;
	Walk	   *walk;
	Range		range;
	int64		affected;

	job_enter(job, GUARD_STATEMENT, &guard);
	if (run->statement == NULL)
	{
		MemoryContext context = MemoryContextSwitchTo(run->context);

		run->statement = statement_parse(job->statement);
		MemoryContextSwitchTo(context);
	}

	start_timeout();			/* waiting for the relation's lock included */
	SPI_connect();
	walk = job_walk_open(job, &rel);
	job_read_range(job, chunk, walk, &range);
	statement_prepare(run->statement, walk, &range, chunk->row_count);
	if (job->check_plan && !run->plan_checked)
		statement_check_plan(run->statement, walk,
							 (double) job->total_rows / Max(chunk->row_count, 1));
	run->plan_checked = true;
	if (!job->foreign_writes && run->plan != statement_plan(run->statement))
		statement_refuse_foreign_writes(run->statement);
	run->plan = statement_plan(run->statement);

	*executing = true;
	affected = statement_execute(run->statement);
	/* whatever is deferred to the commit is to fail here, as this chunk's */
	immediate->deferred = false;
	AfterTriggerSetState(immediate);
	stop_timeout();

	if (affected == 0 && chunk->row_count > 0 && job->high_water != NULL)
		job_require_rows_shown(job, walk, chunk->after);
	table_close(rel, NoLock);
	SPI_finish();
	guard_leave(&guard);
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
	ErrorKind	kind = classify(error);
	Job		   *job;
	JobChunk	chunk;

	run->chunk = 0;
	if (number == 0 || kind == OF_SERVER)
		ReThrowError(error);

	begin(run);
	job = job_by_id(run->job);
	if (job != NULL && job_claim_number(job, number, &chunk))
	{
		JobFailure	failure;

		describe_failure(error, kind, &failure);
		(void) job_chunk_failed(job, &chunk, &failure);
	}
	commit(run);
	FreeErrorData(error);
}

/* ------------------------------------------------------------------- errors */

/* By its SQLSTATE, and by what raised it. */
static ErrorKind
classify(const ErrorData *error)
{
	if (error->elevel != ERROR || is_cancel(error))
		return timed_out && error->elevel == ERROR ? OF_OTHERS : OF_SERVER;
	if (job_others_in_the_way(error->sqlerrcode))
		return OF_OTHERS;

	/* the same row twice in a chunk: that depends on where chunks end, as no row's failure does */
	if (error->sqlerrcode == ERRCODE_CARDINALITY_VIOLATION && error->hint != NULL && error->funcname != NULL &&
		strncmp(error->funcname, "Exec", strlen("Exec")) == 0)
		return OF_SERVER;
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_CONNECTION_EXCEPTION:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_SYSTEM_ERROR:
		case ERRCODE_INVALID_TRANSACTION_STATE:
		case ERRCODE_INVALID_TRANSACTION_TERMINATION:
		case ERRCODE_INVALID_TRANSACTION_INITIATION:
		case ERRCODE_INVALID_CATALOG_NAME:
			return OF_SERVER;
		case ERRCODE_OPERATOR_INTERVENTION:
			return error->sqlerrcode == ERRCODE_QUERY_CANCELED ? IN_DOUBT : OF_SERVER;
		case ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION:
		case ERRCODE_INVALID_SCHEMA_NAME:
		case ERRCODE_FEATURE_NOT_SUPPORTED:
		case ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE:
			return IN_DOUBT;
		default:
			return OF_ROWS;
	}
}

/* Was the session's query cancelled, by a user or a timeout, rather than that raised by code? */
static bool
is_cancel(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_QUERY_CANCELED && error->funcname != NULL &&
		strcmp(error->funcname, "ProcessInterrupts") == 0;
}

/*
 * An error in doubt: OF_ROWS or OF_SERVER.  Single rows are tried, and undone.  It
 * is the rows' if one of them is processed, and else the server's if others fail
 * alike: two of them once this run has done a chunk, since what is done may fail
 * for being done.  The chunk's own rows say that only where nothing has ever been
 * done.
 */
static ErrorKind
decide(Run *run, const Job *job, const JobChunk *chunk, const ErrorData *error)
{
	int			needed = run->done_upto != NULL ? 2 : 1;
	int			others = 0;

	for (Probe probe = 0; probe < PROBES; probe++)
	{
		ProbeResult result = try_row(run, job, chunk, probe, error);

		if (result == PROBE_DIFFERS)
			return OF_ROWS;
		if (result == PROBE_FAILS_ALIKE && probe < PROBE_FIRST)
			others++;
	}
	return others >= needed || !job_has_done(job) ? OF_SERVER : OF_ROWS;
}

/*
 * How does the statement fare for another row?  That is found out before one error
 * becomes that of every row.
 */
static ProbeResult
try_row(Run *run, const Job *job, const JobChunk *chunk, Probe probe, const ErrorData *like)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;
	volatile int64 processed = 0;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		Guard		guard;
		Relation	rel;
		Walk	   *walk;
		Range		range = {0};

		job_enter(job, GUARD_STATEMENT, &guard);
		start_timeout();
		SPI_connect();
		walk = job_walk_open(job, &rel);
		if (find_row(run, job, walk, chunk, probe, &range))
		{
			ConstraintsSetStmt *immediate = makeNode(ConstraintsSetStmt);

			statement_prepare(run->statement, walk, &range, 1);
			processed = statement_execute(run->statement);
			AfterTriggerSetState(immediate);
		}
		table_close(rel, NoLock);
		SPI_finish();
		guard_leave(&guard);
		stop_timeout();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		stop_timeout();
	}
	PG_END_TRY();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	if (error == NULL)
		return processed > 0 ? PROBE_DIFFERS : PROBE_TELLS_NOTHING;
	switch (classify(error))
	{
		case OF_SERVER:
			ReThrowError(error);
			break;
		case OF_OTHERS:
			return PROBE_TELLS_NOTHING;
		default:
			break;
	}
	if (error->sqlerrcode != like->sqlerrcode)
		return probe == PROBE_DONE ? PROBE_TELLS_NOTHING : PROBE_DIFFERS;

	/* that of a row that has been done may come of that, and tell of it */
	return run->done_upto == NULL || strcmp(error->message, like->message) == 0 ? PROBE_FAILS_ALIKE :
		PROBE_TELLS_NOTHING;
}

/* The range of the row to try, if there is one; within the job's own. */
static bool
find_row(Run *run, const Job *job, Walk *walk, const JobChunk *chunk, Probe probe, Range *range)
{
	Range		rows = {0};
	WalkReader	reader = {0};
	bool		first = probe == PROBE_NEXT || probe == PROBE_FIRST;
	JobChunk	other;

	switch (probe)
	{
		case PROBE_DONE:
			if (run->done_upto == NULL)
				return false;
			if (run->done_after != NULL)
				rows.after = position_read(walk->key, job_position(job, run->done_after), "after");
			rows.upto = position_read(walk->key, job_position(job, run->done_upto), "upto");
			break;
		case PROBE_FAR:
		case PROBE_NEXT:
			if (!job_other_pending(job, chunk->number, probe == PROBE_FAR, &other))
				return false;
			job_read_range(job, &other, walk, &rows);
			break;
		case PROBE_FIRST:
		case PROBE_LAST:
			job_read_range(job, chunk, walk, &rows);
			break;
	}
	range->after = rows.after;
	reader.output = walk_all_keys(walk);
	reader.keep_end = true;
	if (first)
	{
		reader.limit = 1;
		walk_read(walk, &rows, &reader);
		range->upto = reader.end;
		return reader.ended && position_compare(walk->key, reader.end, walk_last_position(walk, &rows)) < 0;
	}

	/* the last row: from behind the one before it */
	range->upto = walk_last_position(walk, &rows);
	if (range->upto == NULL)
		return false;
	reader.backward = true;
	reader.limit = 2;
	walk_read(walk, &rows, &reader);
	range->after = reader.ended ? reader.end : rows.after;
	return reader.ended || probe < PROBE_FIRST;	/* else it is all of the chunk */
}

static void
describe_failure(const ErrorData *error, ErrorKind kind, JobFailure *failure)
{
	failure->sqlstate = pstrdup(unpack_sql_state(error->sqlerrcode));
	failure->message = !timed_out || !is_cancel(error) ? error->message : timed_out_blocked ?
		"statement_timeout ended the statement while it waited for a lock" :
		"statement_timeout ended the statement";
	failure->detail = error->detail;
	failure->hint = error->hint;
	failure->cause = kind != OF_OTHERS ? FAILED_ROWS :
		timed_out && is_cancel(error) && !timed_out_blocked ? FAILED_SLOW : FAILED_BLOCKED;
}

/* -------------------------------------------------------------------- times */

/*
 * statement_timeout for a chunk.  A timeout of our own, so that it can be told
 * from a cancel by the user, which ends the run.
 */
static void
start_timeout(void)
{
	timed_out = timed_out_blocked = false;
	if (StatementTimeout <= 0)
		return;
	if (chunk_timeout == MAX_TIMEOUTS)
		chunk_timeout = RegisterTimeout(USER_TIMEOUT, timeout_fired);
	enable_timeout_after(chunk_timeout, StatementTimeout);
}

static void
stop_timeout(void)
{
	if (chunk_timeout == MAX_TIMEOUTS)
		return;
	disable_timeout(chunk_timeout, false);

	/* one that fires after the statement's end is not to cancel the job */
	if (timed_out)
		QueryCancelPending = false;
}

/* In a signal handler.  A cancel that came first stays what it is. */
static void
timeout_fired(void)
{
	if (QueryCancelPending)
		return;
	timed_out = true;
	timed_out_blocked = (MyProc->wait_event_info & 0xFF000000U) == PG_WAIT_LOCK;
	QueryCancelPending = true;
	InterruptPending = true;
	SetLatch(MyLatch);
}

static void
sleep_for(int64 ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}
