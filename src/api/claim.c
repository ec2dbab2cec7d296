/*
 * claim.c
 *		SQL entry points for workers outside the server: claim_chunk(),
 *		renew_chunk(), complete_chunk(), fail_chunk().
 *
 * A worker's claim is a lease: until it ends the chunk is the worker's, and
 * after it anybody's.  Every claim has a number of its own, the fence, and whoever
 * speaks of a chunk gives the fence that it was claimed with, so that one whose
 * lease was lost learns of it, and changes nothing.  A chunk is worked on at least
 * once, and completed once.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xlog.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/pg_lsn.h"

#include "api/arguments.h"
#include "chunk/condition.h"
#include "job/fence.h"
#include "job/job_carve.h"
#include "job/job_retry.h"
#include "job/job_scope.h"
#include "job/throttle.h"

PG_FUNCTION_INFO_V1(chunked_claim_chunk);
PG_FUNCTION_INFO_V1(chunked_renew_chunk);
PG_FUNCTION_INFO_V1(chunked_complete_chunk);
PG_FUNCTION_INFO_V1(chunked_fail_chunk);

/* What claim_chunk() returns */
typedef struct Claim
{
	JobChunk	chunk;
	int64		fence;
	char	   *predicate;
	const char *state;
	const char *reason;			/* or NULL */
	XLogRecPtr	lsn;			/* what a reader must have replayed */
} Claim;

static void claim_next(const Job *job, const Interval *lease, Claim *claim);
static bool claim_unless_failed(const Job *job, const Interval *lease, Claim *claim);
static bool claim_or_carve(const Job *job, JobChunk *chunk, const char **busy);
static char *chunk_predicate(const Job *job, const JobChunk *chunk);
static Job *lock_claimed(FunctionCallInfo fcinfo, JobChunk *chunk, bool done_before);
static void report_lost_claim(const char *name, const JobChunk *chunk, int64 fence);
static Interval *argument_lease(FunctionCallInfo fcinfo, int argno);

/*
 * chunked.claim_chunk(name text, lease interval,
 *					   OUT number bigint, OUT fence bigint, OUT after jsonb,
 *					   OUT upto jsonb, OUT predicate text, OUT state text,
 *					   OUT reason text, OUT lsn pg_lsn)
 *
 * One row: a chunk, or why there is none.  Waits for no other claimer.  Errors:
 * 42704 no such job, 42501 another's, 55000 it has a statement, 22023 a bad lease.
 */
Datum
chunked_claim_chunk(PG_FUNCTION_ARGS)
{
	char	   *name = argument_name(fcinfo, 0);
	Interval   *lease = argument_lease(fcinfo, 1);
	MemoryContext context = CurrentMemoryContext;
	TupleDesc	tupdesc;
	Claim		found = {0};
	Datum		values[8] = {0};
	bool		nulls[8];
	HeapTuple	tuple;
	Job		   *job;

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	tupdesc = BlessTupleDesc(tupdesc);

	SPI_connect();
	job = job_by_name(name);
	if (job->cancelled)
		found.state = "cancelled";
	else
	{
		job_require_runnable(job);
		if (job->statement != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("job \"%s\" has a statement, which would not be executed for a chunk that is claimed", name),
					 errhint("CALL chunked.run_job(%s) runs it; to claim chunks, create a job without a statement.",
							 quote_literal_cstr(name))));
		guard_require_session(job->name, job->owner);
		claim_next(job, lease, &found);
	}

	memset(nulls, found.predicate == NULL, sizeof(nulls));
	if (found.predicate != NULL)
	{
		values[0] = Int64GetDatum(found.chunk.number);
		values[1] = Int64GetDatum(found.fence);
		nulls[2] = (found.chunk.after == NULL);
		values[2] = nulls[2] ? (Datum) 0 : JsonbPGetDatum(job_scope_position(job, found.chunk.after));
		values[3] = JsonbPGetDatum(job_scope_position(job, found.chunk.upto));
		values[4] = CStringGetTextDatum(found.predicate);
		values[7] = LSNGetDatum(found.lsn);
	}
	values[5] = CStringGetTextDatum(found.state);
	nulls[5] = false;
	nulls[6] = (found.reason == NULL);
	values[6] = nulls[6] ? (Datum) 0 : CStringGetTextDatum(found.reason);
	context = MemoryContextSwitchTo(context);
	tuple = heap_form_tuple(tupdesc, values, nulls);
	MemoryContextSwitchTo(context);
	SPI_finish();
	PG_RETURN_DATUM(HeapTupleGetDatum(tuple));
}

/*
 * chunked.renew_chunk(name text, number bigint, fence bigint, lease interval)
 *					   RETURNS void
 *
 * Errors: 55000 the lease is lost, 42501 another's job, 42704 no such job or
 * chunk, 22023 a bad lease.  Locks the chunk's row, as do the following.
 */
Datum
chunked_renew_chunk(PG_FUNCTION_ARGS)
{
	Interval   *lease = argument_lease(fcinfo, 3);
	JobChunk	chunk;
	Job		   *job;

	SPI_connect();
	job = lock_claimed(fcinfo, &chunk, false);
	job_chunk_renew_lease(job, &chunk, lease);
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * chunked.complete_chunk(name text, number bigint, fence bigint,
 *						  row_count bigint) RETURNS void
 *
 * Once more by the same fence it changes nothing, for callers that do not know
 * whether the first call came through.  Errors: 55000 the lease is lost, 42704 no
 * such job or chunk, 22023 a negative row_count.
 */
Datum
chunked_complete_chunk(PG_FUNCTION_ARGS)
{
	int64		rows = PG_ARGISNULL(3) ? -1 : PG_GETARG_INT64(3);
	JobChunk	chunk;
	Job		   *job;

	if (!PG_ARGISNULL(3) && rows < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("row_count must not be negative"),
				 errhint("Give the number of rows that were worked on, or leave it out.")));
	SPI_connect();
	job = lock_claimed(fcinfo, &chunk, true);
	if (job != NULL)
	{
		job_chunk_done(job, &chunk, 0, rows);
		job_carve_fold(job, false);	/* here, for a claim's transaction may last */
	}
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * chunked.fail_chunk(name text, number bigint, fence bigint, error text)
 *					  RETURNS void
 *
 * Errors: 55000 the lease is lost, 42704 no such job or chunk.
 */
Datum
chunked_fail_chunk(PG_FUNCTION_ARGS)
{
	JobFailure	failure = {FAILED_ROWS, {.sqlstate = "P0001",.message = "failed by its worker"}};
	JobChunk	chunk;
	Job		   *job;

	if (!PG_ARGISNULL(3))
		failure.error.message = text_to_cstring(PG_GETARG_TEXT_PP(3));
	SPI_connect();
	job = lock_claimed(fcinfo, &chunk, false);
	guard_require_session(job->name, job->owner);
	(void) job_retry_chunk(job, &chunk, &failure);
	SPI_finish();
	PG_RETURN_VOID();
}

/* Fill in a claim for a worker outside the server. */
static void
claim_next(const Job *job, const Interval *lease, Claim *claim)
{
	Guard		guard;

	job_scope_enter(job, GUARD_CONDITION, &guard);
	claim->reason = throttle_reason(job);
	guard_leave(&guard);
	if (job->paused)
		claim->state = "paused";
	else if (job->stopped && job->stop_on_error)
		claim->state = "failed";
	else if (claim->reason != NULL)
		claim->state = "wait";
	else if (!claim_unless_failed(job, lease, claim))
		claim->state = "failed";
	else if (claim->predicate != NULL)
		claim->state = "claimed";
	else if (claim->reason != NULL || !job_is_over(job))
	{
		claim->state = "wait";
		if (claim->reason == NULL)
			claim->reason = job_chunk_retry_reason(job);
		if (claim->reason == NULL)
			claim->reason = "other workers have what is left";
	}
	else
	{
		job_carve_fold(job, true);
		claim->state = job_chunk_has_failed(job) ? "failed" : "done";
	}
	if (strcmp(claim->state, "wait") != 0)
		claim->reason = NULL;
}

/*
 * Claim a chunk, if there is one: else predicate is NULL, and reason says why, or
 * is NULL.  False: another failed meanwhile, which stops the job.
 */
static bool
claim_unless_failed(const Job *job, const Interval *lease, Claim *claim)
{
	while (claim_or_carve(job, &claim->chunk, &claim->reason))
	{
		JobFailure	lost = {FAILED_ROWS, {.sqlstate = "57000",.message = "the lease ran out"}};

		if (claim->chunk.lease_until == 0)
		{
			claim->fence = fence_next();
			job_chunk_lease(job, &claim->chunk, lease, claim->fence);
			/* whatever the snapshot shows was logged before */
			claim->lsn = GetXLogInsertRecPtr();
			claim->predicate = chunk_predicate(job, &claim->chunk);
			return true;
		}

		/* it may be what killed its worker: count that, and look again */
		if (!job_retry_chunk(job, &claim->chunk, &lost) && job->stop_on_error)
			return false;
	}
	return true;
}

/*
 * Claim a chunk, of newly carved ones if need be.  More are carved while there
 * still are some, so that the other claimers never have to wait for that.
 */
static bool
claim_or_carve(const Job *job, JobChunk *chunk, const char **busy)
{
	bool		claimed = job_chunk_claim(job, 0, chunk);

	*busy = NULL;
	if (!claimed || chunk->ahead < JOB_CARVE_AHEAD)
	{
		JobCarving	carving = job_carve(job, 0, false);

		if (!claimed && carving == CARVED)
			claimed = job_chunk_claim(job, 0, chunk);
		if (!claimed && carving == CARVING_BUSY)
			*busy = "another worker is carving chunks";
	}
	return claimed;
}

static char *
chunk_predicate(const Job *job, const JobChunk *chunk)
{
	Guard		guard;
	Relation	rel;
	Walk	   *walk;
	Range		range;
	char	   *predicate;

	job_scope_enter(job, GUARD_CONDITION, &guard);
	walk = job_scope_open_walk(job, &rel);
	job_scope_read_range(job, walk, chunk->after, chunk->upto, &range);
	predicate = range_predicate(walk->key, condition_style(walk, &range, chunk->row_count), NULL, &range);
	guard_leave(&guard);
	table_close(rel, NoLock);
	return predicate;
}

/*
 * Lock the chunk that the arguments name, fence and all, if the caller's lease
 * of it still holds.  NULL, if done_before allows for it: it was done by this fence.
 */
static Job *
lock_claimed(FunctionCallInfo fcinfo, JobChunk *chunk, bool done_before)
{
	char	   *name = argument_name(fcinfo, 0);
	Job		   *job = job_by_name(name);
	int64		fence;

	job_require_owner(job);
	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("number and fence must not be null"),
				 errhint("Give both as claim_chunk() returned them.")));
	fence = PG_GETARG_INT64(2);
	if (!job_chunk_lock(job, PG_GETARG_INT64(1), chunk))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("job \"%s\" has no chunk " INT64_FORMAT, name, PG_GETARG_INT64(1)),
				 errhint("Give number and fence as claim_chunk() returned them.")));
	if (done_before && strcmp(chunk->state, "done") == 0 && chunk->fence == fence)
		return NULL;
	if (strcmp(chunk->state, "pending") != 0 || chunk->fence != fence || !chunk->leased)
		report_lost_claim(name, chunk, fence);
	return job;
}

/* Say whose the chunk is now. */
static void
report_lost_claim(const char *name, const JobChunk *chunk, int64 fence)
{
	char	   *until = chunk->lease_until == 0 ? NULL :
		DatumGetCString(DirectFunctionCall1(timestamptz_out, TimestampTzGetDatum(chunk->lease_until)));
	char	   *detail;

	if (strcmp(chunk->state, "done") == 0)
		detail = pstrdup("The chunk is done.");
	else if (strcmp(chunk->state, "failed") == 0)
		detail = pstrdup("The chunk has failed.");
	else if (chunk->leased && chunk->fence != fence)
		detail = psprintf("The chunk is leased by fence " INT64_FORMAT " until %s.", chunk->fence, until);
	else if (chunk->fence == fence && until != NULL)
		detail = psprintf("The lease ran out at %s; the chunk is free.", until);
	else
		detail = pstrdup("The chunk is free.");
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("fence " INT64_FORMAT " does not hold chunk " INT64_FORMAT " of job \"%s\"",
					fence, chunk->number, name),
			 errdetail("%s", detail),
			 errhint("Undo the work on it or let it be done again, and claim another; a longer lease or renew_chunk() avoids this.")));
}

/* Errors: 22004, 22023. */
static Interval *
argument_lease(FunctionCallInfo fcinfo, int argno)
{
	argument_require(fcinfo, argno, "lease", "Give an interval, such as '5 min'.");
	return argument_interval(fcinfo, argno, "lease", false);
}
