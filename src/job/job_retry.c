/*
 * job_retry.c
 *		What becomes of an attempt at a chunk that failed.
 *
 * The chunk is tried again, later and later.  One that keeps failing is divided in
 * two, and again, down to the row that fails: for one bad row in n that takes log2
 * n more attempts.
 */
#include "postgres.h"

#include <math.h>

#include "access/table.h"
#include "common/pg_prng.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/subtransaction.h"
#include "job/job_carve.h"
#include "job/job_retry.h"
#include "job/job_scope.h"
#include "walk/walk_read.h"

/* Before a failed chunk is tried again, in ms: doubled each time, up to the most */
#define BACKOFF_FIRST 100
#define BACKOFF_MOST 30000
#define BACKOFF_MOST_BLOCKED 2000	/* while others are in the way: they will be gone */

/* A chunk to be divided, and what came of it */
typedef struct Division
{
	const Job  *job;
	const JobChunk *chunk;
	const JobFailure *failure;
	bool		done;
	Jsonb	   *key;			/* not done: its only row's, if it has one */
} Division;

static bool divide_unless_blocked(Division *division);
static void divide_chunk(void *arg);
static Position *find_middle_of_range(Walk *walk, const Range *range, int64 *rows);
static int64 count_rows_in_range(Walk *walk, const Range *range, WalkOutput output);
static void put_chunk_back(const Division *division, Jsonb *upto, int64 row_count, int strikes,
						   TimestampTz retry_at);
static TimestampTz next_attempt_at(int attempts, bool blocked);

/* Is it an error by what other transactions do, which time cures? */
bool
job_retry_is_for_others(int sqlerrcode)
{
	return sqlerrcode == ERRCODE_T_R_SERIALIZATION_FAILURE ||
		sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED || sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
}

/*
 * An attempt at a claimed chunk failed: have it tried again, divide it, or give
 * it up, which is when the result is false.  What others were in the way of is
 * never given up: it comes again, later and later.  What takes too long is tried
 * with half the rows, and given up as any other when it is a single one.
 */
bool
job_retry_chunk(const Job *job, const JobChunk *chunk, const JobFailure *failure)
{
	Division	division = {.job = job,.chunk = chunk,.failure = failure};
	bool		blocked = failure->cause == FAILED_BLOCKED;
	int			strikes = blocked ? chunk->strikes : chunk->strikes + 1;
	JobChunk	changed = *chunk;

	if (failure->cause != FAILED_ROWS || strikes >= job->max_attempts)
	{
		if (divide_unless_blocked(&division))
			return true;
	}
	if (blocked || strikes < job->max_attempts)
	{
		put_chunk_back(&division, chunk->upto, chunk->row_count, strikes,
					   next_attempt_at(blocked ? chunk->attempts + 1 : strikes, blocked));
		return true;
	}

	changed.strikes = strikes;
	job_chunk_give_up(job, &changed, division.key, &failure->error);
	if (job->stop_on_error)
		job_set_stopped(job, &failure->error);
	return false;
}

/*
 * As divide_chunk(); but where others are in the way of that as well, the chunk stays
 * whole.  False: it cannot be divided.
 */
static bool
divide_unless_blocked(Division *division)
{
	const JobChunk *chunk = division->chunk;
	ErrorData  *error = subtransaction_run(divide_chunk, division);

	if (error == NULL)
		return division->done;
	if (!job_retry_is_for_others(error->sqlerrcode))
		ReThrowError(error);
	FreeErrorData(error);
	/* not a strike either way, since nothing was found out */
	put_chunk_back(division, chunk->upto, chunk->row_count, chunk->strikes,
				   next_attempt_at(chunk->attempts + 1, true));
	return true;
}

/*
 * A step in a subtransaction: make two chunks of one, with half the rows each.
 *
 * Those of a chunk that used up its attempts have one left each.
 */
static void
divide_chunk(void *arg)
{
	Division   *division = arg;
	const Job  *job = division->job;
	const JobChunk *chunk = division->chunk;
	JobFailureCause cause = division->failure->cause;
	int			strikes = cause == FAILED_ROWS ? job->max_attempts - 1 : chunk->strikes;
	TimestampTz retry_at = cause == FAILED_BLOCKED ? next_attempt_at(1, true) : 0;
	JobChunk	second = {0};
	Relation	rel;
	Guard		guard;
	Range		range;
	Walk	   *walk;
	Position   *middle = NULL;
	Jsonb	   *middle_to_keep = NULL;
	int64		rows;
	int64		matches = 0;
	int64		first_matches = 0;

	job_scope_enter(job, GUARD_CONDITION, &guard);
	/* by all rows, since the statement may fail at one that the filter leaves out */
	PushActiveSnapshot(GetTransactionSnapshot());
	walk = job_scope_open_walk(job, &rel);
	job_scope_read_range(job, walk, chunk->after, chunk->upto, &range);
	rows = count_rows_in_range(walk, &range, WALK_KEYS_UNFILTERED);
	if (rows > 0)
		middle = find_middle_of_range(walk, &range, &rows);
	if (middle != NULL)
		middle_to_keep = job_scope_position_to_keep(job, position_write(walk->key, middle));
	if (rows > 1 && middle != NULL)
	{
		matches = count_rows_in_range(walk, &range, WALK_KEYS);
		range.upto = middle;
		first_matches = count_rows_in_range(walk, &range, WALK_KEYS);
	}
	PopActiveSnapshot();
	guard_leave(&guard);
	table_close(rel, NoLock);

	if (rows < 2 || middle == NULL)
	{
		division->key = middle_to_keep;
		return;
	}
	second.number = job_carve_next_number(job);
	second.after = middle_to_keep;
	second.upto = chunk->upto;
	second.row_count = matches - first_matches;
	second.strikes = strikes;
	/* its number is out of order, so it must not pass for one that nobody touched */
	second.fence = 1;
	job_chunk_insert(job, &second, retry_at);
	put_chunk_back(division, middle_to_keep, first_matches, strikes, retry_at);
	division->done = true;
}

/*
 * The position up to which there is half of a range's rows, of which there are
 * some; NULL if that is all of them.  *rows becomes 1 if all share the first
 * position, which is the result then.
 */
static Position *
find_middle_of_range(Walk *walk, const Range *range, int64 *rows)
{
	WalkReader	reader = {0};

	reader.output = WALK_KEYS_UNFILTERED;
	reader.limit = Max(*rows / 2, 1);
	reader.boundary = (*rows > 1);
	reader.ties = true;
	reader.keep_end = true;
	walk_read(walk, range, &reader);
	if (*rows > 1 && reader.ended && (int64) reader.count >= *rows)
	{
		/* the middle's ties reach to the end: what is at the first position, then */
		reader.limit = 1;
		walk_read(walk, range, &reader);
		if ((int64) reader.count >= *rows)
			*rows = 1;			/* all share it */
	}
	return reader.ended ? reader.end : NULL;
}

static int64
count_rows_in_range(Walk *walk, const Range *range, WalkOutput output)
{
	WalkReader	reader = {0};

	reader.output = output;
	reader.limit = PG_INT64_MAX;
	walk_read(walk, range, &reader);
	return (int64) reader.count;
}

/* Have the chunk tried again, from retry_at on; it may be shorter now. */
static void
put_chunk_back(const Division *division, Jsonb *upto, int64 row_count, int strikes, TimestampTz retry_at)
{
	JobChunk	changed = *division->chunk;

	changed.upto = upto;
	changed.row_count = row_count;
	changed.strikes = strikes;
	job_chunk_put_back(division->job, &changed, retry_at, &division->failure->error);
}

/* When to try again after so many failed attempts. */
static TimestampTz
next_attempt_at(int attempts, bool blocked)
{
	double		most = blocked ? BACKOFF_MOST_BLOCKED : BACKOFF_MOST;
	double		ms = Min(BACKOFF_FIRST * pow(2, attempts - 1), most);

	/* workers that were in each other's way must not meet again */
	ms *= 0.75 + 0.5 * pg_prng_double(&pg_global_prng_state);
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), (int64) ms);
}
