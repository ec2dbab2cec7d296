/*
 * job_chunk.c
 *		The chunks of a job in the ledger: carved, claimed, done or failed.
 *
 * Boundaries are carved as the work goes, some ahead of it.  Carving commits by
 * itself, under the lock of the job's row in ledger_carving, so that chunks
 * are handed out in the order of the key and never overlap.  A claim locks the
 * chunk's row: a worker inside the server keeps that lock until its work and
 * the word "done" commit together, so there is no claimed state to be left over
 * from a worker that died.  Workers outside have a lease instead (claim.c),
 * with a fence of its own, so that what comes late is seen to be late.
 *
 * A chunk that keeps failing is divided in two, and again, down to the row that
 * fails: for one bad row in n that takes log2 n more attempts.
 */
#include "postgres.h"

#include <math.h>

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/relation.h"
#include "chunk/chunk_walk.h"
#include "job/job_chunk.h"
#include "job/ledger.h"
#include "walk/row_security.h"
#include "walk/walk_read.h"

/* Carved at a time: so many chunks, or for so long (ms) */
#define CARVE_CHUNKS 64
#define CARVE_TIME 20

/* Sums are folded so often, in ms */
#define FOLD_INTERVAL 2000

/* A filter that matches little must not make carving a chunk a matter of minutes */
#define SCAN_LIMIT_CHUNKS 10
#define SCAN_LIMIT_MIN 100000

/* Before a failed chunk is tried again, in ms: doubled each time, up to the most */
#define BACKOFF_FIRST 100
#define BACKOFF_MOST 30000
#define BACKOFF_MOST_BLOCKED 2000	/* while others are in the way: they will be gone */

/* "One claim statement": of the first chunk free that satisfies a condition */
#define CLAIM_CHUNK(condition) \
	"SELECT number, after, upto, row_count, strikes, fence, lease_until IS NOT NULL, attempts," \
	" (SELECT v.chunks FROM chunked.ledger_carving v WHERE v.job = $1) - number" \
	" FROM chunked.ledger_chunks" \
	" WHERE job = $1 AND state <> 'done' AND state = 'pending' AND " condition \
	" AND coalesce(greatest(lease_until, retry_at) <= clock_timestamp(), true)" \
	" ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED"

#define LOCK_CARVING \
	"SELECT carved_upto, carved_all, chunks, chunk_size, rate" \
	" FROM chunked.ledger_carving WHERE job = $1 FOR NO KEY UPDATE"

static LedgerQuery insert_carving =
LEDGER_QUERY("INSERT INTO chunked.ledger_carving (job, carved_all, chunk_size, carved_upto) VALUES ($1, $2, $3, $4)",
			 INT8OID, BOOLOID, INT8OID, JSONBOID);
static LedgerQuery lock_carving =
LEDGER_QUERY(LOCK_CARVING, INT8OID);
static LedgerQuery try_lock_carving =
LEDGER_QUERY(LOCK_CARVING " SKIP LOCKED", INT8OID);

static LedgerQuery update_carving =
LEDGER_QUERY("UPDATE chunked.ledger_carving SET carved_upto = $2, carved_all = $3, chunks = $4,"
	" chunk_size = $5, rate = $6 WHERE job = $1", INT8OID, JSONBOID, BOOLOID, INT8OID, INT8OID, FLOAT8OID);

/*
 * Take back what was carved last and nobody has touched.  A chunk that is being
 * worked on is locked, and so are those ahead of it kept.
 */
static LedgerQuery uncarve =
LEDGER_QUERY("WITH untouched AS MATERIALIZED (SELECT number FROM chunked.ledger_chunks"
			 " WHERE job = $1 AND state <> 'done' AND state = 'pending' AND fence = 0 AND attempts = 0"
			 " AND retry_at IS NULL FOR UPDATE SKIP LOCKED),"
			 " numbered AS (SELECT number, row_number() OVER (ORDER BY number DESC) AS place FROM untouched),"
			 " gone AS (DELETE FROM chunked.ledger_chunks c USING numbered n, chunked.ledger_carving v"
			 " WHERE v.job = $1 AND n.number = v.chunks + 1 - n.place AND c.job = $1 AND c.number = n.number"
			 " RETURNING c.number, c.after)"
			 " UPDATE chunked.ledger_carving SET chunks = chunks - (SELECT count(*) FROM gone),"
			 " carved_upto = (SELECT g.after FROM gone g ORDER BY g.number LIMIT 1), carved_all = false"
			 " WHERE job = $1 AND EXISTS (SELECT FROM gone)", INT8OID);
static LedgerQuery update_next_size =
LEDGER_QUERY("UPDATE chunked.ledger_carving SET chunk_size = $2, rate = NULL WHERE job = $1",
			 INT8OID, INT8OID);
static LedgerQuery insert_chunk =
LEDGER_QUERY("INSERT INTO chunked.ledger_chunks (job, number, after, upto, row_count, strikes, retry_at, fence)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
	INT8OID, INT8OID, JSONBOID, JSONBOID, INT8OID, INT4OID, TIMESTAMPTZOID, INT8OID);

/*
 * Sums of done chunks are folded into the job's row, up to the first that is
 * pending, and now and then what they are is marked, for the rate of the last minute.
 */
static LedgerQuery fold_done =
LEDGER_QUERY("UPDATE chunked.ledger_carving v SET folded_number = s.upto, folded_chunks = folded_chunks + s.chunks,"
	" folded_rows = folded_rows + s.rows, folded_affected = folded_affected + s.affected,"
	" folded_retries = folded_retries + s.retries"
	" FROM (SELECT b.upto, count(c.number) AS chunks, coalesce(sum(c.row_count), 0)::bigint AS rows,"
	" coalesce(sum(c.rows_affected), 0) AS affected, coalesce(sum(c.attempts), 0) AS retries"
	" FROM (SELECT w.folded_number, least(w.chunks, (SELECT o.number - 1 FROM chunked.ledger_chunks o"
	" WHERE o.job = $1 AND o.state <> 'done' AND o.state = 'pending' ORDER BY o.number LIMIT 1)) AS upto"
	" FROM chunked.ledger_carving w WHERE w.job = $1) b"
	" LEFT JOIN chunked.ledger_chunks c ON c.job = $1 AND c.number > b.folded_number AND c.number <= b.upto"
	" AND c.state = 'done' GROUP BY b.upto, b.folded_number HAVING b.upto > b.folded_number) s"
	" WHERE v.job = $1 AND s.upto > v.folded_number", INT8OID);

/* Marks: one in ten seconds, of the last minute */
static LedgerQuery mark_rows =
LEDGER_QUERY("UPDATE chunked.ledger_carving v SET"
	" marks_at = m.at || clock_timestamp(), marks_rows = m.rows || v.folded_rows"
	" FROM (SELECT coalesce(array_agg(u.at ORDER BY u.at), '{}') AS at, coalesce(array_agg(u.rows ORDER BY u.at), '{}') AS rows"
	" FROM chunked.ledger_carving w, unnest(w.marks_at, w.marks_rows) u (at, rows)"
	" WHERE w.job = $1 AND u.at > clock_timestamp() - interval '1 min') m"
	" WHERE v.job = $1 AND coalesce(v.marks_at[cardinality(v.marks_at)] < clock_timestamp() - interval '10 s', true)", INT8OID);
static LedgerQuery add_number =
LEDGER_QUERY("UPDATE chunked.ledger_carving SET chunks = chunks + 1 WHERE job = $1 RETURNING chunks", INT8OID);
static LedgerQuery select_rate =
LEDGER_QUERY("SELECT rate FROM chunked.ledger_carving WHERE job = $1", INT8OID);
static LedgerQuery select_carved_all =
LEDGER_QUERY("SELECT carved_all FROM chunked.ledger_carving WHERE job = $1", INT8OID);
static LedgerQuery claim_behind =
LEDGER_QUERY(CLAIM_CHUNK("number > greatest($2, (SELECT v.folded_number"
			" FROM chunked.ledger_carving v WHERE v.job = $1))"), INT8OID, INT8OID);
static LedgerQuery claim_number =
LEDGER_QUERY(CLAIM_CHUNK("number = $2"), INT8OID, INT8OID);
static LedgerQuery select_over =
LEDGER_QUERY("SELECT carved_all AND NOT EXISTS (SELECT FROM chunked.ledger_chunks c"
			 " WHERE c.job = $1 AND c.state <> 'done' AND c.state = 'pending')"
			 " FROM chunked.ledger_carving WHERE job = $1", INT8OID);
static LedgerQuery select_retry =
LEDGER_QUERY("SELECT number, error FROM chunked.ledger_chunks"
			 " WHERE job = $1 AND state <> 'done' AND state = 'pending' AND retry_at > clock_timestamp()"
			 " ORDER BY retry_at LIMIT 1", INT8OID);
/* What is not carved has neither number nor end. */
#define SELECT_PENDING(order) \
	"SELECT p.after, p.upto FROM (SELECT c.number, c.after, c.upto FROM chunked.ledger_chunks c" \
	" WHERE c.job = $1 AND c.state <> 'done' AND c.state = 'pending' AND c.number <> $2" \
	" UNION ALL SELECT NULL, v.carved_upto, NULL FROM chunked.ledger_carving v" \
	" WHERE v.job = $1 AND NOT v.carved_all) p ORDER BY p.number " order " LIMIT 1"

static LedgerQuery select_last_pending = LEDGER_QUERY(SELECT_PENDING("DESC NULLS FIRST"), INT8OID, INT8OID);
static LedgerQuery select_first_pending = LEDGER_QUERY(SELECT_PENDING("NULLS LAST"), INT8OID, INT8OID);
static LedgerQuery select_has_done =
LEDGER_QUERY("SELECT folded_number > 0 OR EXISTS (SELECT FROM chunked.ledger_chunks c"
			 " WHERE c.job = $1 AND c.state = 'done') FROM chunked.ledger_carving WHERE job = $1", INT8OID);

static LedgerQuery update_done =
LEDGER_QUERY("UPDATE chunked.ledger_chunks SET state = 'done', rows_affected = $3, started_at = coalesce($4, started_at),"
	" finished_at = clock_timestamp(), fence = greatest(fence, 1), lease_until = NULL, retry_at = NULL,"
	" error_sqlstate = NULL, error = NULL, error_detail = NULL, error_hint = NULL"
	" WHERE job = $1 AND number = $2", INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID);
static LedgerQuery update_retry =
LEDGER_QUERY("UPDATE chunked.ledger_chunks SET upto = $3, row_count = $4, attempts = attempts + 1, strikes = $5, retry_at = $6,"
	" fence = greatest(fence, 1), lease_until = NULL, error_sqlstate = $7, error = $8, error_detail = $9, error_hint = $10"
	" WHERE job = $1 AND number = $2", INT8OID, INT8OID, JSONBOID, INT8OID, INT4OID, TIMESTAMPTZOID, TEXTOID, TEXTOID,
	TEXTOID, TEXTOID);
static LedgerQuery update_failed =
LEDGER_QUERY("UPDATE chunked.ledger_chunks SET state = 'failed', attempts = attempts + 1, strikes = $3, finished_at = clock_timestamp(),"
	" fence = greatest(fence, 1), lease_until = NULL, retry_at = NULL, failed_key = $4, error_sqlstate = $5, error = $6,"
	" error_detail = $7, error_hint = $8"
	" WHERE job = $1 AND number = $2", INT8OID, INT8OID, INT4OID, JSONBOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID);

static bool is_carved(const Job *job);
static void warn_none_left(const Job *job);
static int64 next_size(const Job *job, int64 size, double rate);
static void carve_chunks(const Job *job, const ChunkRequest *request, int64 *number,
						 Jsonb **carved_upto, bool *carved_all);
static void insert_pending(const Job *job, int64 number, Jsonb *after, Jsonb *upto,
						   int64 row_count, int strikes, TimestampTz retry_at, int64 fence);
static bool read_claimed(LedgerQuery *query, const Job *job, int64 number, JobChunk *chunk);
static void put_failure(const JobFailure *failure, Datum *values, bool *nulls);
static bool divide_unless_blocked(const Job *job, const JobChunk *chunk, const JobFailure *failure,
								  Jsonb **key);
static bool divide(const Job *job, const JobChunk *chunk, const JobFailure *failure, Jsonb **key);
static void put_back(const Job *job, const JobChunk *chunk, Jsonb *upto, int64 row_count,
					 int strikes, TimestampTz retry_at, const JobFailure *failure);
static int64 count_range(Walk *walk, const Range *range, WalkOutput output);
static int64 next_number(const Job *job);
static void change_chunk(const Job *job, LedgerQuery *query, Datum *values, const bool *nulls);
static TimestampTz backoff(int attempts, bool blocked);

/* ------------------------------------------------------------------ carving */

/* A new job's row; nothing is carved yet.  after: where it starts, or NULL. */
void
job_start_carving(const Job *job, Jsonb *after)
{
	Datum		values[4];
	bool		nulls[4] = {false, false, false, after == NULL};

	values[0] = Int64GetDatum(job->id);
	values[1] = BoolGetDatum(job->high_water == NULL);
	values[2] = Int64GetDatum(job->chunk_size);
	values[3] = after == NULL ? (Datum) 0 : JsonbPGetDatum(after);
	(void) ledger_execute(&insert_carving, values, nulls);
}

/*
 * Carve some more chunks of a job.  rate: rows a second by the caller's
 * experience, 0 for none, to size them by if there is a target_time.  wait: for
 * another carver, else CARVING_BUSY.  SPI must be connected, and a snapshot
 * active; the lock is held until the transaction ends.
 */
JobCarving
job_carve(const Job *job, double rate, bool wait)
{
	ChunkRequest request = {0};
	Relation	rel;
	Datum		values[6];
	bool		nulls[6] = {false};
	bool		isnull;
	Datum		value;
	int64		number;
	int64		size;
	Jsonb	   *carved_upto;
	bool		carved_all;
	Walk	   *walk;
	int64		before;
	Guard		guard;

	if (is_carved(job))
		return CARVED_ALL;		/* without the lock, for which others might wait */
	values[0] = Int64GetDatum(job->id);
	if (ledger_execute(wait ? &lock_carving : &try_lock_carving, values, NULL) == 0)
		return CARVING_BUSY;
	value = ledger_value(1, &isnull);
	carved_upto = isnull ? NULL : DatumGetJsonbPCopy(value);
	carved_all = ledger_bool(2);
	number = before = ledger_int64(3);
	size = ledger_int64(4);
	value = ledger_value(5, &isnull);
	if (rate == 0 && !isnull)
		rate = DatumGetFloat8(value);
	if (carved_all)
		return CARVED_ALL;

	size = next_size(job, size, rate);
	request.relid = job->relid;
	request.chunk_size = size;
	request.exact = true;
	request.quiet = true;
	request.filter = job->filter;
	if (job->filter != NULL)
		request.scan_limit = Max(size * SCAN_LIMIT_CHUNKS, SCAN_LIMIT_MIN);

	PushActiveSnapshot(GetTransactionSnapshot());
	job_enter(job, GUARD_CONDITION, &guard);
	SPI_connect();
	(void) job_walk_open(job, &rel);
	table_close(rel, NoLock);
	SPI_finish();
	request.after = job_position(job, carved_upto);
	request.upto = job_position(job, job->high_water);
	request.key = job->names->key;
	carve_chunks(job, &request, &number, &carved_upto, &carved_all);
	if (carved_all && number == before)
	{
		/* the end of all rows, or of those that are shown? */
		SPI_connect();
		walk = job_walk_open(job, &rel);
		job_require_rows_shown(job, walk, carved_upto);
		table_close(rel, NoLock);
		SPI_finish();
		if (number == 0)
			warn_none_left(job);
	}
	guard_leave(&guard);
	PopActiveSnapshot();

	nulls[1] = (carved_upto == NULL);
	values[1] = nulls[1] ? (Datum) 0 : JsonbPGetDatum(carved_upto);
	values[2] = BoolGetDatum(carved_all);
	values[3] = Int64GetDatum(number);
	values[4] = Int64GetDatum(size);
	nulls[5] = (rate == 0);
	values[5] = Float8GetDatum(rate);
	(void) ledger_execute(&update_carving, values, nulls);
	return CARVED;
}

/* Keep others from carving, dividing and folding until the transaction ends. */
void
job_lock_carving(const Job *job)
{
	Datum		id = Int64GetDatum(job->id);

	(void) ledger_execute(&lock_carving, &id, NULL);
}

/*
 * Fold the sums of chunks that are done, if that was some time ago or the job is
 * over: progress then need not add up what is older, nor a claim look for what is
 * free among it.
 */
void
job_fold(const Job *job, bool over)
{
	static TimestampTz last_fold = 0;
	static int64 last_job = 0;
	Datum		id = Int64GetDatum(job->id);

	if (!over && last_job == job->id && !TimestampDifferenceExceeds(last_fold, GetCurrentTimestamp(), FOLD_INTERVAL))
		return;
	last_fold = GetCurrentTimestamp();
	last_job = job->id;
	if (IsolationUsesXactSnapshot() || ledger_execute(&try_lock_carving, &id, NULL) == 0)
		return;					/* it might fail, or another is working on it */
	(void) ledger_execute(&fold_done, &id, NULL);
	if (!over)
		(void) ledger_execute(&mark_rows, &id, NULL);
}

/*
 * A job that knew rows up to its high-water mark and sees none behind a position
 * (NULL: the start) is not done, where policies decide what it sees.  SPI must be
 * connected, within job_enter(), a snapshot active.  Error: 55000.
 */
void
job_require_rows_shown(const Job *job, Walk *walk, Jsonb *after)
{
	Range		range = {0};

	if (job->high_water == NULL)
		return;
	if (after != NULL)
		range.after = position_read(walk->key, job_position(job, after), "after");
	range.upto = position_read(walk->key, job_position(job, job->high_water), "upto");
	if ((after != NULL && position_compare(walk->key, range.after, range.upto) >= 0) ||
		walk_last_position(walk, &range) != NULL || !row_security_applies(walk))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("row-level security shows job \"%s\" none of the rows that are left", job->name),
			 errdetail("There were rows up to %s when it was created.",
					   position_for_message(job->high_water)),
			 errhint("SET what the policies go by as it was then; create_job() and run() keep it with the job by settings => 'app.tenant'. Or cancel the job if its rows are gone.")));
}

static void
warn_none_left(const Job *job)
{
	if (job->high_water != NULL)
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("job \"%s\" finds none of its rows", job->name),
				 errdetail("There were rows up to %s when it was created.",
						   position_for_message(job->high_water))));
}

/*
 * Go on with chunks of another size, those that are carved but were never
 * claimed included.  SPI must be connected.
 */
void
job_resize_chunks(const Job *job, int64 chunk_size)
{
	Datum		values[2];

	values[0] = Int64GetDatum(job->id);
	values[1] = Int64GetDatum(chunk_size);
	(void) ledger_execute(&lock_carving, values, NULL);
	(void) ledger_execute(&uncarve, values, NULL);
	(void) ledger_execute(&update_next_size, values, NULL);
}

/* The rate that the job was last carved by; 0: none. */
double
job_carving_rate(const Job *job)
{
	Datum		value = Int64GetDatum(job->id);
	bool		isnull = true;

	if (ledger_execute(&select_rate, &value, NULL) > 0)
		value = ledger_value(1, &isnull);
	return isnull ? 0 : DatumGetFloat8(value);
}

/* As many rows as the target takes, in steps from half to double. */
static int64
next_size(const Job *job, int64 size, double rate)
{
	double		wanted;

	if (job->target_time == 0)
		return job->chunk_size;
	if (rate == 0)
		return size;
	wanted = rate * job->target_time / 1000;
	wanted = Min(Max(wanted, size / 2.0), size * 2.0);
	return (int64) Max(wanted, 1);
}

static void
carve_chunks(const Job *job, const ChunkRequest *request, int64 *number,
			 Jsonb **carved_upto, bool *carved_all)
{
	TimestampTz start = GetCurrentTimestamp();
	ChunkSource *source = chunk_walk_begin(request);
	Chunk		chunk;
	int			most = job->target_time > 0 ? 1 : CARVE_CHUNKS;

	for (int i = 0; i < most && !source->over; i++)
	{
		if (!source->next(source, &chunk, NULL, CurrentMemoryContext))
		{
			source->over = true;
			break;
		}
		*carved_upto = job_position_to_keep(job, chunk.upto);
		insert_pending(job, ++*number, job_position_to_keep(job, chunk.after), *carved_upto, chunk.row_count, 0, 0, 0);
		if (TimestampDifferenceExceeds(start, GetCurrentTimestamp(), CARVE_TIME))
			break;
	}
	*carved_all = source->over;
}

/* after: NULL for the start; retry_at: 0 for at once; fence: 0 if it is new. */
static void
insert_pending(const Job *job, int64 number, Jsonb *after, Jsonb *upto, int64 row_count,
			   int strikes, TimestampTz retry_at, int64 fence)
{
	Datum		values[8];
	bool		nulls[8] = {false};

	values[0] = Int64GetDatum(job->id);
	values[1] = Int64GetDatum(number);
	nulls[2] = (after == NULL);
	values[2] = after == NULL ? (Datum) 0 : JsonbPGetDatum(after);
	values[3] = JsonbPGetDatum(upto);
	values[4] = Int64GetDatum(row_count);
	values[5] = Int32GetDatum(strikes);
	nulls[6] = (retry_at == 0);
	values[6] = TimestampTzGetDatum(retry_at);
	values[7] = Int64GetDatum(fence);
	(void) ledger_execute(&insert_chunk, values, nulls);
}

/* ----------------------------------------------------------------- claiming */

/*
 * Claim the first free chunk whose number is over "behind".  It is this
 * transaction's until it ends.  SPI must be connected.
 */
bool
job_claim(const Job *job, int64 behind, JobChunk *chunk)
{
	return read_claimed(&claim_behind, job, behind, chunk);
}

/* The same for just this number. */
bool
job_claim_number(const Job *job, int64 number, JobChunk *chunk)
{
	return read_claimed(&claim_number, job, number, chunk);
}

static bool
read_claimed(LedgerQuery *query, const Job *job, int64 number, JobChunk *chunk)
{
	Datum		values[2];
	bool		isnull;
	Datum		value;

	values[0] = Int64GetDatum(job->id);
	values[1] = Int64GetDatum(number);
	if (ledger_execute(query, values, NULL) == 0)
		return false;
	chunk->number = ledger_int64(1);
	value = ledger_value(2, &isnull);
	chunk->after = isnull ? NULL : DatumGetJsonbPCopy(value);
	chunk->upto = DatumGetJsonbPCopy(ledger_value(3, &isnull));
	chunk->row_count = ledger_int64(4);
	chunk->strikes = DatumGetInt32(ledger_value(5, &isnull));
	chunk->fence = ledger_int64(6);
	chunk->lease_lost = ledger_bool(7);
	chunk->attempts = DatumGetInt32(ledger_value(8, &isnull));
	chunk->ahead = ledger_int64(9);
	return true;
}

/*
 * Is everything carved, and nothing pending?  Asked in one query, since chunks
 * may be taken back to be carved anew.
 */
bool
job_is_over(const Job *job)
{
	Datum		value = Int64GetDatum(job->id);

	return ledger_execute(&select_over, &value, NULL) > 0 && ledger_bool(1);
}

/* The chunk that comes again next, and why, or NULL: none waits for that. */
char *
job_retry_reason(const Job *job)
{
	Datum		value = Int64GetDatum(job->id);

	if (ledger_execute(&select_retry, &value, NULL) == 0)
		return NULL;
	return psprintf("the next attempt at chunk " INT64_FORMAT ": %s", ledger_int64(1), ledger_text(2));
}

/*
 * The range of what is still to be done but for this chunk: the last, which may not
 * be carved yet, or the first.
 */
bool
job_other_pending(const Job *job, int64 number, bool last, JobChunk *range)
{
	Datum		values[2];
	bool		isnull;
	Datum		value;

	values[0] = Int64GetDatum(job->id);
	values[1] = Int64GetDatum(number);
	if (ledger_execute(last ? &select_last_pending : &select_first_pending, values, NULL) == 0)
		return false;
	memset(range, 0, sizeof(JobChunk));
	value = ledger_value(1, &isnull);
	range->after = isnull ? NULL : DatumGetJsonbPCopy(value);
	value = ledger_value(2, &isnull);
	range->upto = isnull ? job->high_water : DatumGetJsonbPCopy(value);
	return range->upto != NULL;
}

/* Has any chunk been done? */
bool
job_has_done(const Job *job)
{
	Datum		value = Int64GetDatum(job->id);

	return ledger_execute(&select_has_done, &value, NULL) > 0 && ledger_bool(1);
}

static bool
is_carved(const Job *job)
{
	Datum		value = Int64GetDatum(job->id);

	return ledger_execute(&select_carved_all, &value, NULL) > 0 && ledger_bool(1);
}

/*
 * The walk of a job, within job_enter().  SPI must be connected; the caller
 * closes *rel.  Errors: 42P01 the relation is gone; 55000 the key has changed
 * since the job was created, so that its positions mean something else.
 */
Walk *
job_walk_open(const Job *job, Relation *rel)
{
	Walk	   *walk;

	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(job->relid)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the relation of job \"%s\" is gone", job->name),
				 errhint("Drop the job, by chunked.drop_job(%s), and create another for what has taken its place.",
						 quote_literal_cstr(job->name))));
	*rel = relation_open_to_walk(job->relid);
	job_find_names(job);
	walk = walk_open(*rel, job->names->key, job->filter);
	if (strcmp(key_describe(walk->key, job->names->now, job->names->then), job->key_described) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the key of \"%s\" has changed since job \"%s\" was created",
						RelationGetRelationName(*rel), job->name),
				 errdetail("It was %s, and is %s.", job->key_described,
						   key_describe(walk->key, job->names->now, job->names->then)),
				 errhint("What is done and what is left is no range of the order that it has now. Change the key back, or create another job whose statement tells the rows that are left.")));
	return walk;
}

/* The positions of a chunk, for this walk that job_walk_open() has opened. */
void
job_read_range(const Job *job, const JobChunk *chunk, const Walk *walk, Range *range)
{
	memset(range, 0, sizeof(Range));
	if (chunk->after != NULL)
		range->after = position_read(walk->key, job_position(job, chunk->after), "after");
	range->upto = position_read(walk->key, job_position(job, chunk->upto), "upto");
}

/* ----------------------------------------------------------------- outcomes */

/* started: 0 if the ledger knows; rows_affected: -1 if that is not known. */
void
job_chunk_done(const Job *job, const JobChunk *chunk, TimestampTz started, int64 rows_affected)
{
	Datum		values[4];
	bool		nulls[4] = {false};

	values[0] = Int64GetDatum(job->id);
	values[1] = Int64GetDatum(chunk->number);
	nulls[2] = (rows_affected < 0);
	values[2] = Int64GetDatum(rows_affected);
	nulls[3] = (started == 0);
	values[3] = TimestampTzGetDatum(started);
	change_chunk(job, &update_done, values, nulls);
}

/*
 * An attempt at a claimed chunk failed: have it tried again, divide it, or give
 * it up, which is when the result is false.  What others were in the way of is
 * never given up: it comes again, later and later.  What takes too long is tried
 * with half the rows, and given up as any other when it is a single one.
 */
bool
job_chunk_failed(const Job *job, const JobChunk *chunk, const JobFailure *failure)
{
	bool		blocked = failure->cause == FAILED_BLOCKED;
	int			strikes = blocked ? chunk->strikes : chunk->strikes + 1;
	Jsonb	   *key = NULL;
	Datum		values[8];
	bool		nulls[8] = {false};

	if (failure->cause != FAILED_ROWS || strikes >= job->max_attempts)
	{
		if (divide_unless_blocked(job, chunk, failure, &key))
			return true;
	}
	if (blocked || strikes < job->max_attempts)
	{
		put_back(job, chunk, chunk->upto, chunk->row_count, strikes,
				 backoff(blocked ? chunk->attempts + 1 : strikes, blocked), failure);
		return true;
	}

	values[0] = Int64GetDatum(job->id);
	values[1] = Int64GetDatum(chunk->number);
	values[2] = Int32GetDatum(strikes);
	nulls[3] = (key == NULL);
	values[3] = key == NULL ? (Datum) 0 : JsonbPGetDatum(key);
	put_failure(failure, &values[4], &nulls[4]);
	change_chunk(job, &update_failed, values, nulls);
	if (job->stop_on_error)
		job_set_stopped(job, failure->sqlstate, failure->message, failure->detail, failure->hint);
	return false;
}

/* The columns error_sqlstate, error, error_detail, error_hint. */
static void
put_failure(const JobFailure *failure, Datum *values, bool *nulls)
{
	const char *texts[] = {failure->sqlstate, failure->message, failure->detail, failure->hint};

	for (size_t i = 0; i < lengthof(texts); i++)
	{
		nulls[i] = (texts[i] == NULL);
		values[i] = nulls[i] ? (Datum) 0 : CStringGetTextDatum(texts[i]);
	}
}

/*
 * As divide(); but where others are in the way of that as well, the chunk stays
 * whole.  In a subtransaction, which takes back what there was of it.
 */
static bool
divide_unless_blocked(const Job *job, const JobChunk *chunk, const JobFailure *failure, Jsonb **key)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool divided = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		divided = divide(job, chunk, failure, key);
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
		/* not a strike either way, since nothing was found out */
		put_back(job, chunk, chunk->upto, chunk->row_count, chunk->strikes,
				 backoff(chunk->attempts + 1, true), failure);
		divided = true;
	}
	PG_END_TRY();
	return divided;
}

/* Is it an error by what other transactions do, which time cures? */
bool
job_others_in_the_way(int sqlerrcode)
{
	return sqlerrcode == ERRCODE_T_R_SERIALIZATION_FAILURE ||
		sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED || sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
}

/*
 * Make two chunks of one, with half the rows each.  False, and *key its only
 * row's, if it has one; NULL if it has none.
 *
 * Those of a chunk that used up its attempts have one left each.
 */
static bool
divide(const Job *job, const JobChunk *chunk, const JobFailure *failure, Jsonb **key)
{
	Relation	rel;
	Guard		guard;
	int			strikes = failure->cause == FAILED_ROWS ? job->max_attempts - 1 : chunk->strikes;
	TimestampTz retry_at = failure->cause == FAILED_BLOCKED ? backoff(1, true) : 0;
	WalkReader	reader = {0};
	Range		range;
	Walk	   *walk;
	Jsonb	   *middle = NULL;
	int64		rows;
	int64		matches = 0;
	int64		first_matches = 0;

	job_enter(job, GUARD_CONDITION, &guard);
	/* by all rows, since the statement may fail at one that the filter leaves out */
	PushActiveSnapshot(GetTransactionSnapshot());
	walk = job_walk_open(job, &rel);
	job_read_range(job, chunk, walk, &range);
	rows = count_range(walk, &range, WALK_KEYS_UNFILTERED);
	if (rows > 0)
	{
		reader.output = WALK_KEYS_UNFILTERED;
		reader.limit = Max(rows / 2, 1);
		reader.boundary = (rows > 1);
		reader.ties = true;
		reader.keep_end = true;
		walk_read(walk, &range, &reader);
		if (rows > 1 && reader.ended && (int64) reader.count >= rows)
		{
			/* the middle's ties reach to the end: what is at the first position, then */
			reader.limit = 1;
			walk_read(walk, &range, &reader);
			if ((int64) reader.count >= rows)
				rows = 1;		/* all share it */
		}
		if (reader.ended)
			middle = job_position_to_keep(job, position_write(walk->key, reader.end));
	}
	if (rows > 1 && middle != NULL)
	{
		matches = count_range(walk, &range, WALK_KEYS);
		range.upto = reader.end;
		first_matches = count_range(walk, &range, WALK_KEYS);
	}
	PopActiveSnapshot();
	guard_leave(&guard);
	table_close(rel, NoLock);

	if (rows < 2 || middle == NULL)
	{
		*key = middle;
		return false;
	}
	/* its number is out of order, so it must not pass for one that nobody touched */
	insert_pending(job, next_number(job), middle, chunk->upto, matches - first_matches, strikes,
				   retry_at, 1);
	put_back(job, chunk, middle, first_matches, strikes, retry_at, failure);
	return true;
}

static int64
count_range(Walk *walk, const Range *range, WalkOutput output)
{
	WalkReader	reader = {0};

	reader.output = output;
	reader.limit = PG_INT64_MAX;
	walk_read(walk, range, &reader);
	return (int64) reader.count;
}

/* A number for one more chunk.  Locks the job's row in ledger_carving. */
static int64
next_number(const Job *job)
{
	Datum		value = Int64GetDatum(job->id);

	if (ledger_execute(&add_number, &value, NULL) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("job \"%s\" has no row in %s", job->name, LEDGER_CARVING),
				 errhint("Drop the job and create another.")));
	return ledger_int64(1);
}

/* Have a claimed chunk tried again, from retry_at on; it may be shorter now. */
static void
put_back(const Job *job, const JobChunk *chunk, Jsonb *upto, int64 row_count, int strikes,
		 TimestampTz retry_at, const JobFailure *failure)
{
	Datum		values[10];
	bool		nulls[10] = {false};

	values[0] = Int64GetDatum(job->id);
	values[1] = Int64GetDatum(chunk->number);
	values[2] = JsonbPGetDatum(upto);
	values[3] = Int64GetDatum(row_count);
	values[4] = Int32GetDatum(strikes);
	nulls[5] = (retry_at == 0);
	values[5] = TimestampTzGetDatum(retry_at);
	put_failure(failure, &values[6], &nulls[6]);
	change_chunk(job, &update_retry, values, nulls);
}

/* Write down a claimed chunk's outcome: the work must not commit without it. */
static void
change_chunk(const Job *job, LedgerQuery *query, Datum *values, const bool *nulls)
{
	if (ledger_execute(query, values, nulls) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the ledger does not have chunk " INT64_FORMAT " of job \"%s\" once",
						DatumGetInt64(values[1]), job->name),
				 errhint("Drop the job and create another.")));
}

/* When to try again after so many failed attempts. */
static TimestampTz
backoff(int attempts, bool blocked)
{
	double		ms = Min(BACKOFF_FIRST * pow(2, attempts - 1), blocked ? BACKOFF_MOST_BLOCKED : BACKOFF_MOST);

	/* workers that were in each other's way shall not meet again */
	ms *= 0.75 + 0.5 * pg_prng_double(&pg_global_prng_state);
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), (int64) ms);
}
