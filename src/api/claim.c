/*
 * claim.c
 *		SQL entry points for workers outside the server: claim_chunk(),
 *		renew_chunk(), complete_chunk(), fail_chunk().
 *
 * A worker's claim is a lease: until it ends the chunk is the worker's, and
 * after it anybody's.  Every claim has a number of its own, the fence, and whoever
 * speaks of a chunk gives the fence that he claimed it with, so that one whose
 * lease was lost is told so, and changes nothing.  A chunk is worked on at least
 * once, and completed once.
 *
 * No number is given out twice, or a worker whose claim was undone could complete
 * another's: they come from a sequence, which a rollback does not set back; what
 * is logged of the sequence is flushed before a number is given out, for a crash; the
 * timeline, which every promotion raises, is in the number's upper bits, since a
 * standby may not have got the end of the log.  So fences grow with time.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "funcapi.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"

#include "chunk/condition.h"
#include "job/job.h"
#include "job/job_chunk.h"
#include "job/ledger.h"
#include "job/throttle.h"

PG_FUNCTION_INFO_V1(chunked_claim_chunk);
PG_FUNCTION_INFO_V1(chunked_renew_chunk);
PG_FUNCTION_INFO_V1(chunked_complete_chunk);
PG_FUNCTION_INFO_V1(chunked_fail_chunk);

static LedgerQuery lease_chunk =
LEDGER_QUERY("UPDATE chunked.ledger_chunks SET fence = $4, started_at = clock_timestamp(),"
			 " retry_at = NULL, lease_until = clock_timestamp() + $3"
			 " WHERE job = $1 AND number = $2", INT8OID, INT8OID, INTERVALOID, INT8OID);
static LedgerQuery renew_lease =
LEDGER_QUERY("UPDATE chunked.ledger_chunks SET lease_until = clock_timestamp() + $3"
			 " WHERE job = $1 AND number = $2", INT8OID, INT8OID, INTERVALOID);
static LedgerQuery lock_chunk =
LEDGER_QUERY("SELECT state, fence, lease_until > clock_timestamp(), strikes, row_count, after, upto,"
			 " lease_until::text, attempts FROM chunked.ledger_chunks"
			 " WHERE job = $1 AND number = $2 FOR UPDATE", INT8OID, INT8OID);
static LedgerQuery select_failed =
LEDGER_QUERY("SELECT FROM chunked.ledger_chunks WHERE job = $1 AND state <> 'done' AND state = 'failed' LIMIT 1",
			 INT8OID);

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

/* Bits of a fence for the sequence's number; above it, timelines but for the first */
#define FENCE_NUMBER_BITS 40

static void claim(const Job *job, Datum lease, Claim *claim);
static bool claim_or_carve(const Job *job, JobChunk *chunk, const char **busy);
static char *chunk_predicate(const Job *job, const JobChunk *chunk);
static Job *lock_claimed(FunctionCallInfo fcinfo, JobChunk *chunk, bool done_before);
static int64 new_fence(void);
static void report_lost(const char *name, int64 number, int64 fence);
static Datum argument_lease(FunctionCallInfo fcinfo, int argno);

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
	char	   *name = job_argument_name(fcinfo, 0);
	Datum		lease = argument_lease(fcinfo, 1);
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
		claim(job, lease, &found);
	}

	memset(nulls, found.predicate == NULL, sizeof(nulls));
	if (found.predicate != NULL)
	{
		values[0] = Int64GetDatum(found.chunk.number);
		values[1] = Int64GetDatum(found.fence);
		nulls[2] = (found.chunk.after == NULL);
		values[2] = nulls[2] ? (Datum) 0 : JsonbPGetDatum(job_position(job, found.chunk.after));
		values[3] = JsonbPGetDatum(job_position(job, found.chunk.upto));
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
	Datum		lease = argument_lease(fcinfo, 3);
	JobChunk	chunk;
	Datum		values[3];

	SPI_connect();
	values[0] = Int64GetDatum(lock_claimed(fcinfo, &chunk, false)->id);
	values[1] = Int64GetDatum(chunk.number);
	values[2] = lease;
	(void) ledger_execute(&renew_lease, values, NULL);
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
		job_fold(job, false);	/* here, for a claim's transaction may last */
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
	JobFailure	failure = {.cause = FAILED_ROWS,.sqlstate = "P0001",.message = "failed by its worker"};
	JobChunk	chunk;
	Job		   *job;

	if (!PG_ARGISNULL(3))
		failure.message = text_to_cstring(PG_GETARG_TEXT_PP(3));
	SPI_connect();
	job = lock_claimed(fcinfo, &chunk, false);
	guard_require_session(job->name, job->owner);
	(void) job_chunk_failed(job, &chunk, &failure);
	SPI_finish();
	PG_RETURN_VOID();
}

/* Fill in a claim for a worker outside the server. */
static void
claim(const Job *job, Datum lease, Claim *claim)
{
	Guard		guard;
	char	   *held;
	Datum		values[4];

	job_enter(job, GUARD_CONDITION, &guard);
	held = throttle_reason(job);
	guard_leave(&guard);
	claim->state = "wait";
	if (job->paused)
		claim->state = "paused";
	else if (job->stopped && job->stop_on_error)
		claim->state = "failed";
	else if (held != NULL)
		claim->reason = held;
	else
	{
		while (claim_or_carve(job, &claim->chunk, &claim->reason))
		{
			JobFailure	lost = {.cause = FAILED_ROWS,.sqlstate = "57000",.message = "the lease ran out"};

			if (!claim->chunk.lease_lost)
			{
				values[0] = Int64GetDatum(job->id);
				values[1] = Int64GetDatum(claim->chunk.number);
				values[2] = lease;
				claim->fence = new_fence();
				values[3] = Int64GetDatum(claim->fence);
				(void) ledger_execute(&lease_chunk, values, NULL);
				/* whatever the snapshot shows was logged before */
				claim->lsn = GetXLogInsertRecPtr();
				claim->predicate = chunk_predicate(job, &claim->chunk);
				claim->state = "claimed";
				return;
			}

			/* it may be what killed its worker: count that, and look again */
			if (!job_chunk_failed(job, &claim->chunk, &lost) && job->stop_on_error)
			{
				claim->state = "failed";
				return;
			}
		}
		if (claim->reason == NULL && !job_is_over(job))
		{
			claim->reason = job_retry_reason(job);
			if (claim->reason == NULL)
				claim->reason = "other workers have what is left";
		}
		else if (claim->reason == NULL)
		{
			Datum		id = Int64GetDatum(job->id);

			job_fold(job, true);
			claim->state = ledger_execute(&select_failed, &id, NULL) > 0 ? "failed" : "done";
		}
	}
}

/* A number that no claim has had, nor will have. */
static int64
new_fence(void)
{
	Oid			relid = ledger_fences_relid();
	int64		number = nextval_internal(relid, false);
	Relation	sequence;
	Buffer		buffer;
	XLogRecPtr	logged;

	if (number >= INT64CONST(1) << FENCE_NUMBER_BITS)
		elog(ERROR, "out of fences");

	/* numbers are logged some at a time, by whichever backend came first: its log must be safe, too */
	sequence = relation_open(relid, AccessShareLock);
	buffer = ReadBuffer(sequence, 0);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	logged = PageGetLSN(BufferGetPage(buffer));
	UnlockReleaseBuffer(buffer);
	relation_close(sequence, AccessShareLock);
	XLogFlush(logged);
	return ((int64) (GetWALInsertionTimeLine() - 1) << FENCE_NUMBER_BITS) | number;
}

/*
 * Claim a chunk, of newly carved ones if need be.  More are carved while there
 * still are some, so that the other claimers never have to wait for that.
 */
static bool
claim_or_carve(const Job *job, JobChunk *chunk, const char **busy)
{
	bool		claimed = job_claim(job, 0, chunk);

	*busy = NULL;
	if (!claimed || chunk->ahead < JOB_CARVE_AHEAD)
	{
		JobCarving	carving = job_carve(job, 0, false);

		if (!claimed && carving == CARVED)
			claimed = job_claim(job, 0, chunk);
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

	job_enter(job, GUARD_CONDITION, &guard);
	walk = job_walk_open(job, &rel);
	job_read_range(job, chunk, walk, &range);
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
	char	   *name = job_argument_name(fcinfo, 0);
	Job		   *job = job_by_name(name);
	Datum		values[2];
	bool		isnull;
	Datum		value;

	job_require_owner(job);
	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("number and fence must not be null"),
				 errhint("Give both as claim_chunk() returned them.")));
	values[0] = Int64GetDatum(job->id);
	values[1] = PG_GETARG_DATUM(1);
	if (ledger_execute(&lock_chunk, values, NULL) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("job \"%s\" has no chunk " INT64_FORMAT, name, PG_GETARG_INT64(1)),
				 errhint("Give number and fence as claim_chunk() returned them.")));
	if (done_before && strcmp(ledger_text(1), "done") == 0 && ledger_int64(2) == PG_GETARG_INT64(2))
		return NULL;
	if (strcmp(ledger_text(1), "pending") != 0 || ledger_int64(2) != PG_GETARG_INT64(2) ||
		!ledger_bool(3))
		report_lost(name, PG_GETARG_INT64(1), PG_GETARG_INT64(2));

	memset(chunk, 0, sizeof(JobChunk));
	chunk->number = PG_GETARG_INT64(1);
	chunk->fence = ledger_int64(2);
	chunk->strikes = DatumGetInt32(ledger_value(4, &isnull));
	chunk->attempts = DatumGetInt32(ledger_value(9, &isnull));
	chunk->row_count = ledger_int64(5);
	value = ledger_value(6, &isnull);
	chunk->after = isnull ? NULL : DatumGetJsonbPCopy(value);
	chunk->upto = DatumGetJsonbPCopy(ledger_value(7, &isnull));
	return job;
}

/* Say whose the chunk is that was just looked at. */
static void
report_lost(const char *name, int64 number, int64 fence)
{
	const char *state = ledger_text(1);
	int64		fence_now = ledger_int64(2);
	bool		leased = ledger_bool(3);
	char	   *until = ledger_text(8);
	char	   *detail;

	if (strcmp(state, "done") == 0)
		detail = pstrdup("The chunk is done.");
	else if (strcmp(state, "failed") == 0)
		detail = pstrdup("The chunk has failed.");
	else if (leased && fence_now != fence)
		detail = psprintf("The chunk is leased by fence " INT64_FORMAT " until %s.", fence_now, until);
	else if (fence_now == fence && until != NULL)
		detail = psprintf("The lease ran out at %s; the chunk is free.", until);
	else
		detail = pstrdup("The chunk is free.");
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("fence " INT64_FORMAT " does not hold chunk " INT64_FORMAT " of job \"%s\"",
					fence, number, name),
			 errdetail("%s", detail),
			 errhint("Undo the work on it or let it be done again, and claim another; a longer lease or renew_chunk() avoids this.")));
}

/* Errors: 22004, 22023. */
static Datum
argument_lease(FunctionCallInfo fcinfo, int argno)
{
	if (PG_ARGISNULL(argno))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("lease must not be null"),
				 errhint("Give an interval, such as '5 min'.")));
	job_check_interval(PG_GETARG_INTERVAL_P(argno), "lease", false);
	return PG_GETARG_DATUM(argno);
}
