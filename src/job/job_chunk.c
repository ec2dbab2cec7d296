/*
 * job_chunk.c
 *		The chunks of a job in the ledger: all that is read from and written to
 *		ledger_chunks.
 *
 * A claim locks the chunk's row: a worker inside the server keeps that lock until
 * its work and the word "done" commit together, so there is no claimed state to
 * be left over from a worker that died.  Workers outside have a lease instead
 * (claim.c), with a fence of its own, so that what comes late is seen to be late.
 *
 * One query reads another table as well: the claim asks ledger_carving how far
 * there is nothing free (folded_number), and how many chunks there are.  It is
 * made for every chunk, and one query more would be felt.
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "job/job_chunk.h"

#define CHUNK_COLUMNS \
	"number, after, upto, row_count, strikes, attempts, state, fence, lease_until," \
	" lease_until > clock_timestamp()"
#define CHUNK_AHEAD 11

/* "One claim statement": of the first chunk free that satisfies a condition */
#define CLAIM_CHUNK(condition) \
	"SELECT " CHUNK_COLUMNS "," \
	" (SELECT v.chunks FROM chunked.ledger_carving v WHERE v.job = $1) - number" \
	" FROM chunked.ledger_chunks" \
	" WHERE job = $1 AND state <> 'done' AND state = 'pending' AND " condition \
	" AND coalesce(greatest(lease_until, retry_at) <= clock_timestamp(), true)" \
	" ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED"

LEDGER_QUERY(claim_after,
			 CLAIM_CHUNK("number > greatest($2, (SELECT v.folded_number"
						 " FROM chunked.ledger_carving v WHERE v.job = $1))"),
			 INT8OID, INT8OID);

LEDGER_QUERY(claim_number,
			 CLAIM_CHUNK("number = $2"),
			 INT8OID, INT8OID);

LEDGER_QUERY(lock_chunk,
			 "SELECT " CHUNK_COLUMNS " FROM chunked.ledger_chunks"
			 " WHERE job = $1 AND number = $2 FOR UPDATE",
			 INT8OID, INT8OID);

LEDGER_QUERY(update_lease,
			 "UPDATE chunked.ledger_chunks SET fence = $4, started_at = clock_timestamp(),"
			 " retry_at = NULL, lease_until = clock_timestamp() + $3"
			 " WHERE job = $1 AND number = $2",
			 INT8OID, INT8OID, INTERVALOID, INT8OID);

LEDGER_QUERY(update_lease_until,
			 "UPDATE chunked.ledger_chunks SET lease_until = clock_timestamp() + $3"
			 " WHERE job = $1 AND number = $2",
			 INT8OID, INT8OID, INTERVALOID);

LEDGER_QUERY(update_done,
			 "UPDATE chunked.ledger_chunks SET state = 'done', rows_affected = $3,"
			 " started_at = coalesce($4, started_at), finished_at = clock_timestamp(),"
			 " fence = greatest(fence, 1), lease_until = NULL, retry_at = NULL,"
			 " error_sqlstate = NULL, error = NULL, error_detail = NULL, error_hint = NULL"
			 " WHERE job = $1 AND number = $2",
			 INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID);

LEDGER_QUERY(update_retry,
			 "UPDATE chunked.ledger_chunks SET upto = $3, row_count = $4,"
			 " attempts = attempts + 1, strikes = $5, retry_at = $6,"
			 " fence = greatest(fence, 1), lease_until = NULL,"
			 " error_sqlstate = $7, error = $8, error_detail = $9, error_hint = $10"
			 " WHERE job = $1 AND number = $2",
			 INT8OID, INT8OID, JSONBOID, INT8OID, INT4OID, TIMESTAMPTZOID,
			 TEXTOID, TEXTOID, TEXTOID, TEXTOID);

LEDGER_QUERY(update_failed,
			 "UPDATE chunked.ledger_chunks SET state = 'failed',"
			 " attempts = attempts + 1, strikes = $3, finished_at = clock_timestamp(),"
			 " fence = greatest(fence, 1), lease_until = NULL, retry_at = NULL, failed_key = $4,"
			 " error_sqlstate = $5, error = $6, error_detail = $7, error_hint = $8"
			 " WHERE job = $1 AND number = $2",
			 INT8OID, INT8OID, INT4OID, JSONBOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID);

LEDGER_QUERY(insert_chunk,
			 "INSERT INTO chunked.ledger_chunks"
			 " (job, number, after, upto, row_count, strikes, retry_at, fence)"
			 " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
			 INT8OID, INT8OID, JSONBOID, JSONBOID, INT8OID, INT4OID, TIMESTAMPTZOID, INT8OID);

LEDGER_QUERY(select_done,
			 "SELECT FROM chunked.ledger_chunks WHERE job = $1 AND state = 'done' LIMIT 1",
			 INT8OID);

LEDGER_QUERY(select_failed,
			 "SELECT number, failed_key::text, error_sqlstate, error, error_detail, error_hint"
			 " FROM chunked.ledger_chunks"
			 " WHERE job = $1 AND state <> 'done' AND state = 'failed' ORDER BY number LIMIT 1",
			 INT8OID);

#define SELECT_PENDING(direction) \
	"SELECT after, upto FROM chunked.ledger_chunks" \
	" WHERE job = $1 AND state <> 'done' AND state = 'pending' AND number <> $2" \
	" ORDER BY number " direction " LIMIT 1"

LEDGER_QUERY(select_first_pending,
			 SELECT_PENDING("ASC"),
			 INT8OID, INT8OID);

LEDGER_QUERY(select_last_pending,
			 SELECT_PENDING("DESC"),
			 INT8OID, INT8OID);

LEDGER_QUERY(select_retry,
			 "SELECT number, error FROM chunked.ledger_chunks"
			 " WHERE job = $1 AND state <> 'done' AND state = 'pending'"
			 " AND retry_at > clock_timestamp() ORDER BY retry_at LIMIT 1",
			 INT8OID);

/* Numbers from $2 (exclusive) on, up to $3 and to the first that is pending */
LEDGER_QUERY(select_sums,
			 "SELECT b.upto, count(c.number), coalesce(sum(c.row_count), 0)::bigint,"
			 " coalesce(sum(c.rows_affected), 0), coalesce(sum(c.attempts), 0)"
			 " FROM (SELECT least($3, (SELECT o.number - 1 FROM chunked.ledger_chunks o"
			 " WHERE o.job = $1 AND o.state <> 'done' AND o.state = 'pending'"
			 " ORDER BY o.number LIMIT 1)) AS upto) b"
			 " LEFT JOIN chunked.ledger_chunks c ON c.job = $1 AND c.number > $2"
			 " AND c.number <= b.upto AND c.state = 'done'"
			 " GROUP BY b.upto HAVING b.upto > $2",
			 INT8OID, INT8OID, INT8OID);

/*
 * A chunk that is being worked on is locked, and so are those of lower numbers
 * kept: only an unbroken row of them down from the last number, $2, can go.
 */
LEDGER_QUERY(take_back,
			 "WITH untouched AS MATERIALIZED (SELECT number FROM chunked.ledger_chunks"
			 " WHERE job = $1 AND state <> 'done' AND state = 'pending'"
			 " AND fence = 0 AND attempts = 0 AND retry_at IS NULL FOR UPDATE SKIP LOCKED),"
			 " numbered AS (SELECT number, row_number() OVER (ORDER BY number DESC) AS place"
			 " FROM untouched),"
			 " gone AS (DELETE FROM chunked.ledger_chunks c USING numbered n"
			 " WHERE n.number = $2 + 1 - n.place AND c.job = $1 AND c.number = n.number"
			 " RETURNING c.number, c.after)"
			 " SELECT count(*), (SELECT g.after FROM gone g ORDER BY g.number LIMIT 1) FROM gone",
			 INT8OID, INT8OID);

LEDGER_QUERY(retry_failed,
			 "WITH retried AS (UPDATE chunked.ledger_chunks SET state = 'pending', strikes = 0,"
			 " lease_until = NULL, retry_at = NULL, finished_at = NULL, failed_key = NULL,"
			 " error_sqlstate = NULL, error = NULL, error_detail = NULL, error_hint = NULL"
			 " WHERE job = $1 AND state <> 'done' AND state = 'failed' RETURNING number)"
			 " SELECT count(*), min(number) FROM retried",
			 INT8OID);

LEDGER_QUERY(delete_chunks,
			 "DELETE FROM chunked.ledger_chunks WHERE job = $1",
			 INT8OID);

static bool read_job_chunk(LedgerQuery *query, const Job *job, int64 number, JobChunk *chunk);
static void change_locked_chunk(LedgerQuery *query, const Job *job, Datum *values,
								const bool *nulls);

/* ------------------------------------------------------ one that is locked */

/*
 * Claim the first free chunk of a number over this one.  It is this transaction's
 * until it ends.  SPI must be connected.
 */
bool
job_chunk_claim(const Job *job, int64 after_number, JobChunk *chunk)
{
	if (!read_job_chunk(&claim_after, job, after_number, chunk))
		return false;
	chunk->ahead = ledger_int64(CHUNK_AHEAD);
	return true;
}

/* The same for just this number. */
bool
job_chunk_claim_number(const Job *job, int64 number, JobChunk *chunk)
{
	if (!read_job_chunk(&claim_number, job, number, chunk))
		return false;
	chunk->ahead = ledger_int64(CHUNK_AHEAD);
	return true;
}

/* Lock a chunk, whatever its state is, and wait for that; false: there is none. */
bool
job_chunk_lock(const Job *job, int64 number, JobChunk *chunk)
{
	return read_job_chunk(&lock_chunk, job, number, chunk);
}

static bool
read_job_chunk(LedgerQuery *query, const Job *job, int64 number, JobChunk *chunk)
{
	Datum		values[2];

	values[0] = Int64GetDatum(job->id);
	values[1] = Int64GetDatum(number);
	if (ledger_execute(query, values, NULL) == 0)
		return false;
	memset(chunk, 0, sizeof(JobChunk));
	chunk->number = ledger_int64(1);
	chunk->after = ledger_jsonb(2);
	chunk->upto = ledger_jsonb(3);
	chunk->row_count = ledger_int64(4);
	chunk->strikes = ledger_int32(5);
	chunk->attempts = ledger_int32(6);
	chunk->state = ledger_text(7);
	chunk->fence = ledger_int64(8);
	chunk->lease_until = ledger_timestamp(9);
	chunk->leased = ledger_bool(10);
	return true;
}

/* It is a worker's outside the server, by this fence, for so long. */
void
job_chunk_lease(const Job *job, const JobChunk *chunk, const Interval *lease, int64 fence)
{
	Datum		values[4];

	values[0] = Int64GetDatum(job->id);
	values[1] = Int64GetDatum(chunk->number);
	values[2] = IntervalPGetDatum(lease);
	values[3] = Int64GetDatum(fence);
	(void) ledger_execute(&update_lease, values, NULL);
}

/* For so long from now. */
void
job_chunk_renew_lease(const Job *job, const JobChunk *chunk, const Interval *lease)
{
	Datum		values[3];

	values[0] = Int64GetDatum(job->id);
	values[1] = Int64GetDatum(chunk->number);
	values[2] = IntervalPGetDatum(lease);
	(void) ledger_execute(&update_lease_until, values, NULL);
}

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
	change_locked_chunk(&update_done, job, values, nulls);
}

/*
 * An attempt failed, and another is made from retry_at on; 0: at once.  Its end,
 * row_count and strikes become those given.
 */
void
job_chunk_put_back(const Job *job, const JobChunk *changed, TimestampTz retry_at,
				   const LedgerError *error)
{
	Datum		values[6 + LEDGER_ERROR_COLUMNS];
	bool		nulls[6 + LEDGER_ERROR_COLUMNS] = {false};

	values[0] = Int64GetDatum(job->id);
	values[1] = Int64GetDatum(changed->number);
	values[2] = JsonbPGetDatum(changed->upto);
	values[3] = Int64GetDatum(changed->row_count);
	values[4] = Int32GetDatum(changed->strikes);
	nulls[5] = (retry_at == 0);
	values[5] = TimestampTzGetDatum(retry_at);
	ledger_put_error(error, &values[6], &nulls[6]);
	change_locked_chunk(&update_retry, job, values, nulls);
}

/* An attempt failed, and none is left.  key: the row's, or NULL. */
void
job_chunk_give_up(const Job *job, const JobChunk *changed, Jsonb *key, const LedgerError *error)
{
	Datum		values[4 + LEDGER_ERROR_COLUMNS];
	bool		nulls[4 + LEDGER_ERROR_COLUMNS] = {false};

	values[0] = Int64GetDatum(job->id);
	values[1] = Int64GetDatum(changed->number);
	values[2] = Int32GetDatum(changed->strikes);
	nulls[3] = (key == NULL);
	values[3] = key == NULL ? (Datum) 0 : JsonbPGetDatum(key);
	ledger_put_error(error, &values[4], &nulls[4]);
	change_locked_chunk(&update_failed, job, values, nulls);
}

/* Write down a claimed chunk's outcome: the work must not commit without it. */
static void
change_locked_chunk(LedgerQuery *query, const Job *job, Datum *values, const bool *nulls)
{
	if (ledger_execute(query, values, nulls) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the ledger does not have exactly one chunk " INT64_FORMAT " of job \"%s\"",
						DatumGetInt64(values[1]), job->name),
				 errhint("Drop the job and create another.")));
}

/* -------------------------------------------------------------- a whole job */

/* A new chunk: its number, range, row_count, strikes, fence.  retry_at: 0 for at once. */
void
job_chunk_insert(const Job *job, const JobChunk *chunk, TimestampTz retry_at)
{
	Datum		values[8];
	bool		nulls[8] = {false};

	values[0] = Int64GetDatum(job->id);
	values[1] = Int64GetDatum(chunk->number);
	nulls[2] = (chunk->after == NULL);
	values[2] = nulls[2] ? (Datum) 0 : JsonbPGetDatum(chunk->after);
	values[3] = JsonbPGetDatum(chunk->upto);
	values[4] = Int64GetDatum(chunk->row_count);
	values[5] = Int32GetDatum(chunk->strikes);
	nulls[6] = (retry_at == 0);
	values[6] = TimestampTzGetDatum(retry_at);
	values[7] = Int64GetDatum(chunk->fence);
	(void) ledger_execute(&insert_chunk, values, nulls);
}

bool
job_chunk_has_done(const Job *job)
{
	Datum		id = Int64GetDatum(job->id);

	return ledger_execute(&select_done, &id, NULL) > 0;
}

bool
job_chunk_has_failed(const Job *job)
{
	Datum		id = Int64GetDatum(job->id);

	return ledger_execute(&select_failed, &id, NULL) > 0;
}

/* The first that failed: its number, its row's key or NULL, its error; false: none has. */
bool
job_chunk_first_failed(const Job *job, int64 *number, char **key, LedgerError *error)
{
	if (!job_chunk_has_failed(job))
		return false;
	*number = ledger_int64(1);
	*key = ledger_text(2);
	ledger_error(3, error);
	return true;
}

/* The range of the first or the last that is pending, other than the one of this number. */
bool
job_chunk_other_pending(const Job *job, int64 number, bool last, JobChunk *range)
{
	Datum		values[2];

	values[0] = Int64GetDatum(job->id);
	values[1] = Int64GetDatum(number);
	if (ledger_execute(last ? &select_last_pending : &select_first_pending, values, NULL) == 0)
		return false;
	memset(range, 0, sizeof(JobChunk));
	range->after = ledger_jsonb(1);
	range->upto = ledger_jsonb(2);
	return true;
}

/* The chunk that comes again next, and why, or NULL: none waits for that. */
char *
job_chunk_retry_reason(const Job *job)
{
	Datum		id = Int64GetDatum(job->id);

	if (ledger_execute(&select_retry, &id, NULL) == 0)
		return NULL;
	return job_chunk_reason_to_wait(ledger_int64(1), ledger_text(2));
}

/* For the next attempt at a chunk that failed. */
char *
job_chunk_reason_to_wait(int64 number, const char *error)
{
	return psprintf("the next attempt at chunk " INT64_FORMAT ": %s", number, error);
}

/*
 * Add up the chunks that are done, of numbers over the one up to the other, and up
 * to the first that is pending.  False: there are no such numbers.
 */
bool
job_chunk_sum_done(const Job *job, int64 after_number, int64 upto_number, JobChunkSums *sums)
{
	Datum		values[3];
	bool		isnull;

	values[0] = Int64GetDatum(job->id);
	values[1] = Int64GetDatum(after_number);
	values[2] = Int64GetDatum(upto_number);
	if (ledger_execute(&select_sums, values, NULL) == 0)
		return false;
	sums->upto = ledger_int64(1);
	sums->chunks = ledger_int64(2);
	sums->rows = ledger_int64(3);
	sums->affected = ledger_value(4, &isnull);
	sums->retries = ledger_int64(5);
	return true;
}

/*
 * Take back the chunks that were carved last, up to this number, and that nobody
 * has touched.  Returns how many, and where the first of them starts.
 */
int64
job_chunk_take_back(const Job *job, int64 last_number, Jsonb **after)
{
	Datum		values[2];

	values[0] = Int64GetDatum(job->id);
	values[1] = Int64GetDatum(last_number);
	(void) ledger_execute(&take_back, values, NULL);
	*after = ledger_jsonb(2);
	return ledger_int64(1);
}

/*
 * Those that failed are pending again, with all their attempts.  Returns how many,
 * and the lowest number.
 */
int64
job_chunk_retry_failed(const Job *job, int64 *lowest)
{
	Datum		id = Int64GetDatum(job->id);

	(void) ledger_execute(&retry_failed, &id, NULL);
	*lowest = ledger_int64(2);
	return ledger_int64(1);
}

void
job_chunk_delete_all(int64 job)
{
	Datum		id = Int64GetDatum(job);

	(void) ledger_execute(&delete_chunks, &id, NULL);
}
