/*
 * job_carve.c
 *		How far a job is: boundaries carved ahead of the work, and sums of what is
 *		done; all that is read from and written to ledger_carving.
 *
 * Boundaries are carved as the work goes, some ahead of it.  Carving commits by
 * itself, under the lock of the job's row in ledger_carving, so that chunks
 * are given out in the order of the key and never overlap.  Sums are folded, and
 * chunks taken back, under the same lock.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "chunk/chunk_walk.h"
#include "job/job_carve.h"
#include "job/job_scope.h"

/* Carved at a time: so many chunks, or for so long (ms) */
#define CARVE_CHUNKS 64
#define CARVE_TIME 20

/* Sums are folded so often, in ms */
#define FOLD_INTERVAL 2000

/* A filter that matches little must not make carving a chunk a matter of minutes */
#define SCAN_LIMIT_CHUNKS 10
#define SCAN_LIMIT_MIN 100000

/* A row of ledger_carving, while it is locked */
typedef struct Carving
{
	Jsonb	   *carved_upto;	/* NULL: nothing yet */
	bool		carved_all;
	int64		chunks;			/* numbers given out */
	int64		chunk_size;		/* of the next chunk */
	double		rate;			/* rows a second; 0: not known */
	int64		folded_number;	/* none up to this one is pending */
} Carving;

LEDGER_QUERY(insert_carving,
			 "INSERT INTO chunked.ledger_carving (job, carved_all, chunk_size, carved_upto)"
			 " VALUES ($1, $2, $3, $4)",
			 INT8OID, BOOLOID, INT8OID, JSONBOID);

#define LOCK_CARVING \
	"SELECT carved_upto, carved_all, chunks, chunk_size, rate, folded_number" \
	" FROM chunked.ledger_carving WHERE job = $1 FOR NO KEY UPDATE"

LEDGER_QUERY(lock_carving,
			 LOCK_CARVING,
			 INT8OID);

LEDGER_QUERY(try_lock_carving,
			 LOCK_CARVING " SKIP LOCKED",
			 INT8OID);

LEDGER_QUERY(select_carving,
			 "SELECT carved_upto, carved_all, chunks, chunk_size, rate, folded_number"
			 " FROM chunked.ledger_carving WHERE job = $1",
			 INT8OID);

LEDGER_QUERY(update_carving,
			 "UPDATE chunked.ledger_carving SET carved_upto = $2, carved_all = $3, chunks = $4,"
			 " chunk_size = $5, rate = $6 WHERE job = $1",
			 INT8OID, JSONBOID, BOOLOID, INT8OID, INT8OID, FLOAT8OID);

LEDGER_QUERY(update_next_number,
			 "UPDATE chunked.ledger_carving SET chunks = chunks + 1 WHERE job = $1"
			 " RETURNING chunks",
			 INT8OID);

LEDGER_QUERY(update_folded,
			 "UPDATE chunked.ledger_carving SET folded_number = $2,"
			 " folded_chunks = folded_chunks + $3, folded_rows = folded_rows + $4,"
			 " folded_affected = folded_affected + $5, folded_retries = folded_retries + $6"
			 " WHERE job = $1",
			 INT8OID, INT8OID, INT8OID, INT8OID, NUMERICOID, INT8OID);

/* For the rate of the last minute: what was folded by then, one mark in ten seconds */
LEDGER_QUERY(update_marks,
			 "UPDATE chunked.ledger_carving v SET"
			 " marks_at = m.at || clock_timestamp(), marks_rows = m.rows || v.folded_rows"
			 " FROM (SELECT coalesce(array_agg(u.at ORDER BY u.at), '{}') AS at,"
			 " coalesce(array_agg(u.rows ORDER BY u.at), '{}') AS rows"
			 " FROM chunked.ledger_carving w, unnest(w.marks_at, w.marks_rows) u (at, rows)"
			 " WHERE w.job = $1 AND u.at > clock_timestamp() - interval '1 min') m"
			 " WHERE v.job = $1 AND coalesce(v.marks_at[cardinality(v.marks_at)]"
			 " < clock_timestamp() - interval '10 s', true)",
			 INT8OID);

LEDGER_QUERY(update_not_folded,
			 "UPDATE chunked.ledger_carving SET folded_number = 0, folded_chunks = 0,"
			 " folded_rows = 0, folded_affected = 0, folded_retries = 0,"
			 " marks_at = '{}', marks_rows = '{}' WHERE job = $1",
			 INT8OID);

/* In one query, since chunks may be taken back to be carved again */
LEDGER_QUERY(select_over,
			 "SELECT carved_all AND NOT " JOB_CHUNK_EXISTS_PENDING("$1")
			 " FROM chunked.ledger_carving WHERE job = $1",
			 INT8OID);

LEDGER_QUERY(select_last_not_over,
			 "SELECT v.job FROM chunked.ledger_carving v WHERE v.job = ANY ($1)"
			 " AND (NOT v.carved_all OR " JOB_CHUNK_EXISTS_PENDING("v.job") ")"
			 " ORDER BY v.job DESC LIMIT 1",
			 INT8ARRAYOID);

LEDGER_QUERY(select_over_for,
			 "SELECT v.job FROM unnest($1, $2) j (id, cancelled)"
			 " JOIN chunked.ledger_carving v ON v.job = j.id"
			 " WHERE (j.cancelled OR (v.carved_all AND NOT " JOB_CHUNK_EXISTS_NOT_DONE("v.job") "))"
			 " AND coalesce(" JOB_CHUNK_LAST_FINISHED_AT("v.job")
			 " <= clock_timestamp() - $3, true)",
			 INT8ARRAYOID, BOOLARRAYOID, INTERVALOID);

LEDGER_QUERY(delete_carving,
			 "DELETE FROM chunked.ledger_carving WHERE job = $1",
			 INT8OID);

static bool read_carving(LedgerQuery *query, const Job *job, Carving *carving);
static void write_carving(const Job *job, const Carving *carving);
static void carve_chunks(const Job *job, Carving *carving);
static int64 next_size(const Job *job, int64 size, double rate);
static void check_no_rows_left(const Job *job, const Carving *carving);

/* ------------------------------------------------------------------ carving */

/* A new job's row; nothing is carved yet.  after: where it starts, or NULL. */
void
job_carve_begin(const Job *job, Jsonb *after)
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
	Carving		carving;

	if (read_carving(&select_carving, job, &carving) && carving.carved_all)
		return CARVED_ALL;		/* without the lock, for which others might wait */
	if (!read_carving(wait ? &lock_carving : &try_lock_carving, job, &carving))
		return CARVING_BUSY;
	if (carving.carved_all)
		return CARVED_ALL;
	if (rate != 0)
		carving.rate = rate;
	carving.chunk_size = next_size(job, carving.chunk_size, carving.rate);
	carve_chunks(job, &carving);
	write_carving(job, &carving);
	return CARVED;
}

/* False if there is no such row, or another has it locked and the query does not wait. */
static bool
read_carving(LedgerQuery *query, const Job *job, Carving *carving)
{
	Datum		id = Int64GetDatum(job->id);

	if (ledger_execute(query, &id, NULL) == 0)
		return false;
	carving->carved_upto = ledger_jsonb(1);
	carving->carved_all = ledger_bool(2);
	carving->chunks = ledger_int64(3);
	carving->chunk_size = ledger_int64(4);
	carving->rate = ledger_float8(5);
	carving->folded_number = ledger_int64(6);
	return true;
}

static void
write_carving(const Job *job, const Carving *carving)
{
	Datum		values[6];
	bool		nulls[6] = {false};

	values[0] = Int64GetDatum(job->id);
	nulls[1] = (carving->carved_upto == NULL);
	values[1] = nulls[1] ? (Datum) 0 : JsonbPGetDatum(carving->carved_upto);
	values[2] = BoolGetDatum(carving->carved_all);
	values[3] = Int64GetDatum(carving->chunks);
	values[4] = Int64GetDatum(carving->chunk_size);
	nulls[5] = (carving->rate == 0);
	values[5] = Float8GetDatum(carving->rate);
	(void) ledger_execute(&update_carving, values, nulls);
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

/* Insert the next chunks, and take them into "carving". */
static void
carve_chunks(const Job *job, Carving *carving)
{
	TimestampTz start;
	ChunkRequest request = {.relid = job->relid,.filter = job->filter};
	ChunkSource *source;
	Chunk		chunk;
	Guard		guard;
	Relation	rel;
	int64		before = carving->chunks;
	int			most = job->target_time > 0 ? 1 : CARVE_CHUNKS;

	PushActiveSnapshot(GetTransactionSnapshot());
	job_scope_enter(job, GUARD_CONDITION, &guard);
	SPI_connect();
	(void) job_scope_open_walk(job, &rel);
	table_close(rel, NoLock);
	SPI_finish();

	request.chunk_size = carving->chunk_size;
	request.exact = true;
	request.quiet = true;
	request.most_chunks = most;
	request.after = job_scope_position(job, carving->carved_upto);
	request.upto = job_scope_position(job, job->high_water);
	request.key = job->names->key;
	if (job->filter != NULL)
		request.scan_limit = Max(carving->chunk_size * SCAN_LIMIT_CHUNKS, SCAN_LIMIT_MIN);

	start = GetCurrentTimestamp();
	source = chunk_walk_begin(&request);
	for (int i = 0; i < most && !source->over; i++)
	{
		JobChunk	carved = {0};

		if (!source->next(source, &chunk, NULL, CurrentMemoryContext))
		{
			source->over = true;
			break;
		}
		carved.number = ++carving->chunks;
		carved.after = job_scope_position_to_keep(job, chunk.after);
		carved.upto = job_scope_position_to_keep(job, chunk.upto);
		carved.row_count = chunk.row_count;
		job_chunk_insert(job, &carved, 0);
		carving->carved_upto = carved.upto;
		if (!source->at_hand &&
			TimestampDifferenceExceeds(start, GetCurrentTimestamp(), CARVE_TIME))
			break;
	}
	carving->carved_all = source->over;
	if (carving->carved_all && carving->chunks == before)
		check_no_rows_left(job, carving);
	guard_leave(&guard);
	PopActiveSnapshot();
}

/* Is it the end of all rows, or of those that are shown? */
static void
check_no_rows_left(const Job *job, const Carving *carving)
{
	Relation	rel;
	Walk	   *walk;

	SPI_connect();
	walk = job_scope_open_walk(job, &rel);
	job_scope_require_rows(job, walk, carving->carved_upto);
	table_close(rel, NoLock);
	SPI_finish();
	if (carving->chunks == 0 && job->high_water != NULL)
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("job \"%s\" finds none of its rows", job->name),
				 errdetail("There were rows up to %s when it was created.",
						   position_for_message(job->high_water))));
}

/* The rate that the job was last carved by; 0: none. */
double
job_carve_rate(const Job *job)
{
	Carving		carving;

	return read_carving(&select_carving, job, &carving) ? carving.rate : 0;
}

/*
 * Go on with chunks of another size, those that are carved but were never
 * claimed included.  SPI must be connected.
 */
void
job_carve_resize(const Job *job, int64 chunk_size)
{
	Carving		carving;
	Jsonb	   *after;
	int64		taken_back;

	if (!read_carving(&lock_carving, job, &carving))
		return;
	taken_back = job_chunk_take_back(job, carving.chunks, &after);
	if (taken_back > 0)
	{
		carving.chunks -= taken_back;
		carving.carved_upto = after;
		carving.carved_all = false;
	}
	carving.chunk_size = chunk_size;
	carving.rate = 0;
	write_carving(job, &carving);
}

/* A number for one more chunk.  Locks the job's row in ledger_carving. */
int64
job_carve_next_number(const Job *job)
{
	Datum		id = Int64GetDatum(job->id);

	if (ledger_execute(&update_next_number, &id, NULL) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("job \"%s\" has no row in %s", job->name, LEDGER_CARVING),
				 errhint("Drop the job and create another.")));
	return ledger_int64(1);
}

/* What comes first when a job is dropped: it keeps chunks from being added. */
void
job_carve_delete(int64 job)
{
	Datum		id = Int64GetDatum(job);

	(void) ledger_execute(&delete_carving, &id, NULL);
}

/* --------------------------------------------------------------------- sums */

/*
 * Fold the sums of chunks that are done, if that was some time ago or the job is
 * over: progress then need not add up what is older, nor a claim look for what is
 * free among it.
 */
void
job_carve_fold(const Job *job, bool over)
{
	static TimestampTz last_fold = 0;
	static int64 last_job = 0;
	Carving		carving;
	JobChunkSums sums;

	if (!over && last_job == job->id &&
		!TimestampDifferenceExceeds(last_fold, GetCurrentTimestamp(), FOLD_INTERVAL))
		return;
	last_fold = GetCurrentTimestamp();
	last_job = job->id;
	if (IsolationUsesXactSnapshot() || !read_carving(&try_lock_carving, job, &carving))
		return;					/* it might fail, or another is working on it */
	if (job_chunk_sum_done(job, carving.folded_number, carving.chunks, &sums))
	{
		Datum		values[6];

		values[0] = Int64GetDatum(job->id);
		values[1] = Int64GetDatum(sums.upto);
		values[2] = Int64GetDatum(sums.chunks);
		values[3] = Int64GetDatum(sums.rows);
		values[4] = sums.affected;
		values[5] = Int64GetDatum(sums.retries);
		(void) ledger_execute(&update_folded, values, NULL);
	}
	if (!over)
	{
		Datum		id = Int64GetDatum(job->id);

		(void) ledger_execute(&update_marks, &id, NULL);
	}
}

/*
 * The job's failed chunks are pending again; returns how many.  Where sums were
 * folded past them, they are folded again from the start.
 */
int64
job_carve_retry_failed(const Job *job)
{
	Datum		id = Int64GetDatum(job->id);
	Carving		carving;
	int64		lowest;
	int64		chunks;
	bool		locked = read_carving(&lock_carving, job, &carving);

	chunks = job_chunk_retry_failed(job, &lowest);
	if (locked && chunks > 0 && lowest <= carving.folded_number)
		(void) ledger_execute(&update_not_folded, &id, NULL);
	return chunks;
}

/* --------------------------------------------------------------- whole jobs */

/* Is everything carved, and nothing pending? */
bool
job_is_over(const Job *job)
{
	Datum		id = Int64GetDatum(job->id);

	return ledger_execute(&select_over, &id, NULL) > 0 && ledger_bool(1);
}

/* Has any chunk been done? */
bool
job_has_done(const Job *job)
{
	Carving		carving;

	return read_carving(&select_carving, job, &carving) &&
		(carving.folded_number > 0 || job_chunk_has_done(job));
}

/*
 * A range that is still to be done, other than this chunk: the last, which may not
 * be carved yet, or the first.
 */
bool
job_other_pending(const Job *job, int64 number, bool last, JobChunk *range)
{
	Carving		carving;
	bool		uncarved = read_carving(&select_carving, job, &carving) && !carving.carved_all;

	if (!(last && uncarved) && job_chunk_other_pending(job, number, last, range))
		return true;
	if (!uncarved || job->high_water == NULL)
		return false;
	memset(range, 0, sizeof(JobChunk));
	range->after = carving.carved_upto;
	range->upto = job->high_water;
	return true;
}

/* Of these jobs, bigint[], the last that is not over; 0: all are. */
int64
job_last_not_over(Datum ids)
{
	return ledger_execute(&select_last_not_over, &ids, NULL) == 0 ? 0 : ledger_int64(1);
}

/*
 * Those of these jobs, bigint[], that have been over for so long: done without
 * failed chunks or, by boolean[], cancelled.
 */
int64 *
job_ids_over(Datum ids, Datum cancelled, const Interval *interval, uint64 *njobs)
{
	Datum		values[3];
	int64	   *over;

	values[0] = ids;
	values[1] = cancelled;
	values[2] = IntervalPGetDatum(interval);
	*njobs = ledger_execute(&select_over_for, values, NULL);
	over = palloc((*njobs + 1) * sizeof(int64));
	for (uint64 i = 0; i < *njobs; i++)
	{
		bool		isnull;

		over[i] = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
	}
	return over;
}
