/*
 * job.c
 *		Jobs in the ledger: reading, pausing, cancelling, dropping them.
 *
 * Nothing stored says that a job is running: whoever runs one holds an advisory
 * lock for it, shared with the others, which goes with its session or with the
 * end of the call.  It is numbered by the ledger's table and the job's id, and
 * of a kind of its own, so that no SQL function can take it.  (Only advisory
 * locks are given up by a session that ends otherwise than in a transaction.)
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "api/arguments.h"
#include "base/compat.h"
#include "job/job_chunk.h"
#include "job/ledger.h"
#include "job/reference.h"
#include "job/throttle.h"
#include "key/key.h"

/* Some thousand years, which can be added to a timestamp */
#define MOST_MS 1e14

/* In an advisory lock's tag; SQL functions make those of kinds 1 and 2 */
#define LOCK_RUNNING 3
#define LOCK_TURN 4

/* Workers that deadlock take turns for so long, in ms */
#define TURNS_FIRST 1000
#define TURNS_MOST 60000

#define JOB_COLUMNS \
	"id, name, owner::oid, relation::oid, statement, key, key_columns::int8[], filter, search_path, settings, key_described, high_water, " \
	"total_rows, chunk_size, target_time, pause, max_lag, throttle, max_attempts, " \
	"on_error = 'stop', check_plan, on_foreign_write = 'at_least_once', paused, cancelled, stopped, waiting, turns_until, turns_ms"

PG_FUNCTION_INFO_V1(chunked_alter_job);
PG_FUNCTION_INFO_V1(chunked_pause_job);
PG_FUNCTION_INFO_V1(chunked_resume_job);
PG_FUNCTION_INFO_V1(chunked_cancel_job);
PG_FUNCTION_INFO_V1(chunked_drop_job);
PG_FUNCTION_INFO_V1(chunked_drop_jobs);
PG_FUNCTION_INFO_V1(chunked_retry_failed);

static LedgerQuery select_own =
LEDGER_QUERY("SELECT " JOB_COLUMNS " FROM chunked.ledger_jobs"
			 " WHERE hashtextextended(name, 0) = hashtextextended($1, 0) AND name = $1 AND owner::oid = $2",
			 TEXTOID, OIDOID);
static LedgerQuery select_visible =
LEDGER_QUERY("SELECT " JOB_COLUMNS " FROM chunked.ledger_jobs"
			 " WHERE hashtextextended(name, 0) = hashtextextended($1, 0) AND name = $1"
			 " AND pg_has_role($2, owner::oid, 'MEMBER') ORDER BY id LIMIT 2", TEXTOID, OIDOID);
static LedgerQuery select_by_id =
LEDGER_QUERY("SELECT " JOB_COLUMNS " FROM chunked.ledger_jobs WHERE id = $1", INT8OID);
static LedgerQuery update_paused =
LEDGER_QUERY("UPDATE chunked.ledger_jobs SET paused = $2 WHERE id = $1", INT8OID, BOOLOID);
static LedgerQuery update_cancelled =
LEDGER_QUERY("UPDATE chunked.ledger_jobs SET cancelled = true WHERE id = $1", INT8OID);
static LedgerQuery update_settings =
LEDGER_QUERY("UPDATE chunked.ledger_jobs SET"
	" chunk_size = coalesce($2, chunk_size),"
	" target_time = CASE WHEN $3 IS NULL THEN target_time ELSE nullif($3, '0') END,"
	" pause = coalesce($4, pause),"
	" max_lag = CASE WHEN $5 IS NULL THEN max_lag ELSE nullif($5, '0') END,"
	" throttle = CASE WHEN $6 IS NULL THEN throttle ELSE nullif($6, '') END,"
	" max_attempts = coalesce($7, max_attempts),"
	" on_error = coalesce($8, on_error),"
	" check_plan = coalesce($9, check_plan),"
	" owner = coalesce($10, owner::oid) WHERE id = $1", INT8OID, INT8OID, INTERVALOID, INTERVALOID, INTERVALOID, TEXTOID, INT4OID, TEXTOID, BOOLOID, OIDOID);
static LedgerQuery select_over_for =
LEDGER_QUERY("SELECT j.id FROM chunked.ledger_jobs j JOIN chunked.ledger_carving v ON v.job = j.id"
			 " WHERE j.owner::oid = $1 AND j.created_at <= clock_timestamp() - $2"
			 " AND (j.cancelled OR (v.carved_all AND NOT EXISTS"
			 " (SELECT FROM chunked.ledger_chunks o WHERE o.job = j.id AND o.state <> 'done')))"
			 " AND coalesce((SELECT c.finished_at FROM chunked.ledger_chunks c WHERE c.job = j.id"
			 " ORDER BY c.number DESC LIMIT 1) <= clock_timestamp() - $2, true)", OIDOID, INTERVALOID);
static LedgerQuery delete_job =
LEDGER_QUERY("DELETE FROM chunked.ledger_jobs WHERE id = $1", INT8OID);
static LedgerQuery delete_carving =
LEDGER_QUERY("DELETE FROM chunked.ledger_carving WHERE job = $1", INT8OID);
static LedgerQuery delete_chunks =
LEDGER_QUERY("DELETE FROM chunked.ledger_chunks WHERE job = $1", INT8OID);
static LedgerQuery retry_chunks =
LEDGER_QUERY("UPDATE chunked.ledger_chunks SET state = 'pending', strikes = 0,"
	" lease_until = NULL, retry_at = NULL, finished_at = NULL, failed_key = NULL,"
	" error_sqlstate = NULL, error = NULL, error_detail = NULL, error_hint = NULL"
	" WHERE job = $1 AND state <> 'done' AND state = 'failed'", INT8OID);

/* Failed chunks that sums were folded past come again: their sums must count them, too */
static LedgerQuery unfold =
LEDGER_QUERY("UPDATE chunked.ledger_carving v SET folded_number = 0, folded_chunks = 0, folded_rows = 0,"
			 " folded_affected = 0, folded_retries = 0, marks_at = '{}', marks_rows = '{}'"
			 " WHERE v.job = $1 AND EXISTS (SELECT FROM chunked.ledger_chunks c WHERE c.job = $1"
			 " AND c.state <> 'done' AND c.state = 'failed' AND c.number <= v.folded_number)", INT8OID);
static LedgerQuery update_runnable =
LEDGER_QUERY("UPDATE chunked.ledger_jobs SET paused = false, stopped = false, waiting = NULL,"
			 " error_sqlstate = NULL, error = NULL, error_detail = NULL, error_hint = NULL"
			 " WHERE id = $1 AND (paused OR stopped OR waiting IS NOT NULL OR error IS NOT NULL)", INT8OID);
static LedgerQuery update_not_stopped =
LEDGER_QUERY("UPDATE chunked.ledger_jobs SET stopped = false,"
			 " error_sqlstate = NULL, error = NULL, error_detail = NULL, error_hint = NULL"
			 " WHERE id = $1 AND stopped", INT8OID);
static LedgerQuery update_stopped =
LEDGER_QUERY("UPDATE chunked.ledger_jobs SET stopped = true, error_sqlstate = $2, error = $3, error_detail = $4, error_hint = $5"
			 " WHERE id = $1 AND NOT stopped", INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID);

/* Just shown: not worth waiting for one who changes the job */
static LedgerQuery update_waiting =
LEDGER_QUERY("UPDATE chunked.ledger_jobs SET waiting = $2"
			 " WHERE id = (SELECT id FROM chunked.ledger_jobs WHERE id = $1 FOR NO KEY UPDATE SKIP LOCKED)",
			 INT8OID, TEXTOID);
static LedgerQuery update_turns =
LEDGER_QUERY("UPDATE chunked.ledger_jobs SET turns_ms = $2, turns_until = clock_timestamp() + $2 * interval '1 ms'"
			 " WHERE id = (SELECT id FROM chunked.ledger_jobs WHERE id = $1 FOR NO KEY UPDATE SKIP LOCKED)",
			 INT8OID, INT8OID);
static LedgerQuery update_error =
LEDGER_QUERY("UPDATE chunked.ledger_jobs SET error_sqlstate = $2, error = $3, error_detail = $4, error_hint = $5"
			 " WHERE id = $1", INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID);
static LedgerQuery select_error =
LEDGER_QUERY("SELECT error_sqlstate, error, error_detail, error_hint FROM chunked.ledger_jobs"
			 " WHERE id = $1 AND error IS NOT NULL", INT8OID);

/* What decides how a job's texts are read and what they mean */
static const char *const kept_settings[] =
{"DateStyle", "IntervalStyle", "TimeZone", "standard_conforming_strings", "array_nulls", "transform_null_equals",
	"bytea_output", "extra_float_digits", "xmloption", "xmlbinary", "default_text_search_config", "timezone_abbreviations",
	"lc_monetary", "lc_numeric", "lc_time", "backslash_quote", "quote_all_identifiers", "row_security",
"session_replication_role"};

/* The table that the locks are numbered by; known once one was asked for */
static Oid	lock_class = InvalidOid;

/* The job that this session runs, or 0 */
static int64 running_job = 0;

static Job *job_to_change(const char *name);
static void require_not_own(const Job *job);
static void require_new_owner(const Job *job, Oid owner);
static const char *role_text(Oid role);
static Job *read_job(void);
static bool try_drop(int64 id);
static bool equal_names(const JobNames *names);
static Jsonb *rename_members(Jsonb *position, const List *from, const List *to);
static double interval_column(int column);
static void set_lock_tag(LOCKTAG *tag, int64 id, uint16 kind);
static void require_not_cancelled(const Job *job);
static void add_setting(ArrayBuildState *pairs, const char *name);
static void use_setting(const Job *job, const char *name, const char *value);
static void keep_error(LedgerQuery *query, int64 id, const char *sqlstate, const char *message,
					   const char *detail, const char *hint);
static Datum set_paused(FunctionCallInfo fcinfo, bool paused);

/*
 * chunked.alter_job(name text, chunk_size bigint, target_time interval,
 *					 pause interval, max_lag interval, throttle text,
 *					 max_attempts int, on_error text, check_plan boolean,
 *					 owner regrole) RETURNS void
 *
 * Changes what is not null, from the next chunk on.  Locks the job's row.
 * Errors: 42704 no such job, 22023 a bad value, 42501 not with the caller's
 * rights, 42710 the new owner has a job of that name.
 */
Datum
chunked_alter_job(PG_FUNCTION_ARGS)
{
	char	   *name = job_argument_name(fcinfo, 0);
	Job		   *job;
	Datum		values[10];
	bool		nulls[10];
	Guard		guard;

	SPI_connect();
	job = job_to_change(name);
	require_not_own(job);
	values[0] = Int64GetDatum(job->id);
	nulls[0] = false;
	for (int i = 1; i < 10; i++)
	{
		values[i] = fcinfo->args[i].value;
		nulls[i] = PG_ARGISNULL(i);
	}
	if (!nulls[5])
	{
		char	   *throttle = TextDatumGetCString(values[5]);

		/* code, which is to be the owner's, read by names that he may have planted */
		job_require_owner(job);
		job_enter(job, GUARD_CONDITION, &guard);
		if (throttle[0] != '\0')
			throttle_check(throttle);
		guard_leave(&guard);
	}
	if (!nulls[4] && job_interval_ms(PG_GETARG_INTERVAL_P(4)) > 0)
		throttle_check_lag_visible();
	if (!nulls[1])
		(void) argument_positive(fcinfo, 1, "chunk_size");
	for (int i = 2; i <= 4; i++)
		if (!nulls[i])
			job_check_interval(PG_GETARG_INTERVAL_P(i), i == 2 ? "target_time" : i == 3 ? "pause" : "max_lag",
							   true);
	if (!nulls[2])
		job_check_target_time(job->statement);
	if (!nulls[6])
		(void) argument_positive(fcinfo, 6, "max_attempts");
	if (!nulls[7])
		job_check_on_error(TextDatumGetCString(values[7]));
	if (!nulls[9])
		require_new_owner(job, PG_GETARG_OID(9));
	(void) ledger_execute(&update_settings, values, nulls);
	if (!nulls[1])
		job_resize_chunks(job, PG_GETARG_INT64(1));
	SPI_finish();
	PG_RETURN_VOID();
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
	char	   *name = job_argument_name(fcinfo, 0);
	Job		   *job;
	Datum		values[2];

	SPI_connect();
	job = job_to_change(name);
	require_not_cancelled(job);
	values[0] = Int64GetDatum(job->id);
	values[1] = BoolGetDatum(paused);
	(void) ledger_execute(&update_paused, values, NULL);
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
	char	   *name = job_argument_name(fcinfo, 0);
	Datum		id;

	SPI_connect();
	id = Int64GetDatum(job_to_change(name)->id);
	(void) ledger_execute(&update_cancelled, &id, NULL);
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
	char	   *name = job_argument_name(fcinfo, 0);
	Job		   *job;

	SPI_connect();
	job = job_to_change(name);
	require_not_own(job);
	if (!try_drop(job->id))
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
	Datum		values[2];
	uint64		njobs;
	int64	   *ids;
	int64		dropped = 0;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("older_than must not be null"),
				 errhint("Give an interval, such as '30 days'.")));
	job_check_interval(PG_GETARG_INTERVAL_P(0), "older_than", true);
	SPI_connect();
	values[0] = ObjectIdGetDatum(GetUserId());
	values[1] = PG_GETARG_DATUM(0);
	njobs = ledger_execute(&select_over_for, values, NULL);
	ids = palloc((njobs + 1) * sizeof(int64));
	for (uint64 i = 0; i < njobs; i++)
	{
		bool		isnull;

		ids[i] = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
	}
	for (uint64 i = 0; i < njobs; i++)
		if (ids[i] != running_job && try_drop(ids[i]))
			dropped++;
	SPI_finish();
	PG_RETURN_INT64(dropped);
}

/* False if somebody runs it.  Keeps others from running it until the transaction ends. */
static bool
try_drop(int64 id)
{
	Datum		value = Int64GetDatum(id);
	LOCKTAG		tag;

	lock_class = ledger_jobs_relid();
	set_lock_tag(&tag, id, LOCK_RUNNING);
	if (LockAcquire(&tag, ExclusiveLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
		return false;

	/*
	 * The job last, by which the others are seen; and first what keeps chunks
	 * from being added.
	 */
	(void) ledger_execute(&delete_carving, &value, NULL);
	(void) ledger_execute(&delete_chunks, &value, NULL);
	(void) ledger_execute(&delete_job, &value, NULL);
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
	char	   *name = job_argument_name(fcinfo, 0);
	Job		   *job;
	Datum		id;
	int64		chunks;

	SPI_connect();
	job = job_to_change(name);
	require_not_own(job);
	require_not_cancelled(job);
	id = Int64GetDatum(job->id);
	job_lock_carving(job);		/* so that sums are not folded past these chunks meanwhile */
	(void) ledger_execute(&unfold, &id, NULL);
	chunks = (int64) ledger_execute(&retry_chunks, &id, NULL);
	(void) ledger_execute(&update_not_stopped, &id, NULL);
	SPI_finish();
	PG_RETURN_INT64(chunks);
}

/* ------------------------------------------------------------------ reading */

/* A job's name.  Error: 22004. */
char *
job_argument_name(FunctionCallInfo fcinfo, int argno)
{
	if (PG_ARGISNULL(argno))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("name must not be null"),
				 errhint("Name a job; the view chunked.jobs lists them.")));
	return text_to_cstring(PG_GETARG_TEXT_PP(argno));
}

/*
 * The current role's own job of this name, else one that it may see, in the
 * current memory context.  SPI must be connected.  Errors: 42704, also if there
 * is one that it may not see; 42710 it may see several.
 */
Job *
job_by_name(const char *name)
{
	Datum		values[2];
	uint64		found;

	values[0] = CStringGetTextDatum(name);
	values[1] = ObjectIdGetDatum(GetUserId());
	found = ledger_execute(&select_own, values, NULL);
	if (found == 0)
		found = ledger_execute(&select_visible, values, NULL);
	if (found == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("job \"%s\" does not exist", name),
				 errhint("The view chunked.jobs lists the jobs of the roles that you are a member of.")));
	if (found > 1)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("several roles have a job \"%s\"", name),
				 errhint("SET ROLE to the owner of the one that you mean; the view chunked.jobs shows them.")));
	return read_job();
}

/* Has this role a job of this name? */
bool
job_name_is_taken(const char *name, Oid owner)
{
	Datum		values[2];

	values[0] = CStringGetTextDatum(name);
	values[1] = ObjectIdGetDatum(owner);
	return ledger_execute(&select_own, values, NULL) > 0;
}

/* A job for one who changes it.  Errors: those of job_by_name(), 42501. */
static Job *
job_to_change(const char *name)
{
	Job		   *job = job_by_name(name);

	if (!has_privs_of_role(GetUserId(), job->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("job \"%s\" belongs to %s", job->name, role_text(job->owner)),
				 errhint("SET ROLE to its owner first.")));
	return job;
}

/* Code of a job may pause or cancel it, but not change its chunks.  Error: 55006. */
static void
require_not_own(const Job *job)
{
	if (job->id == running_job)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("job \"%s\" is running this very statement", job->name),
				 errhint("Change or drop it in another session; pause_job() and cancel_job() work here.")));
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
				 errhint("A job is given to another role by who has the rights of both.")));
	if (owner != job->owner && job_name_is_taken(job->name, owner))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("role \"%s\" already has a job \"%s\"", GetUserNameFromId(owner, false), job->name),
				 errhint("Drop one of them.")));
}

/* For messages: a role that may be gone. */
static const char *
role_text(Oid role)
{
	char	   *name = GetUserNameFromId(role, true);

	return name == NULL ? "a role that was dropped" : psprintf("role \"%s\"", name);
}

/* The same by id; NULL if it has been dropped. */
Job *
job_by_id(int64 id)
{
	Datum		value = Int64GetDatum(id);

	return ledger_execute(&select_by_id, &value, NULL) == 0 ? NULL : read_job();
}

static Job *
read_job(void)
{
	Job		   *job = palloc0(sizeof(Job));
	bool		isnull;
	Datum		value;
	int			column = 0;

	job->id = ledger_int64(++column);
	job->name = ledger_text(++column);
	job->owner = DatumGetObjectId(ledger_value(++column, &isnull));
	job->relid = DatumGetObjectId(ledger_value(++column, &isnull));
	job->statement = ledger_text(++column);
	job->key_then = DatumGetArrayTypePCopy(ledger_value(++column, &isnull));
	job->key_columns = DatumGetArrayTypePCopy(ledger_value(++column, &isnull));
	job->names = palloc0(sizeof(JobNames));
	value = ledger_value(++column, &isnull);
	job->filter = isnull ? NULL : DatumGetTextPCopy(value);
	job->search_path = ledger_text(++column);
	value = ledger_value(++column, &isnull);
	job->settings = DatumGetArrayTypePCopy(value);
	job->key_described = ledger_text(++column);
	value = ledger_value(++column, &isnull);
	job->high_water = isnull ? NULL : DatumGetJsonbPCopy(value);
	job->total_rows = ledger_int64(++column);
	job->chunk_size = ledger_int64(++column);
	job->target_time = interval_column(++column);
	job->pause = interval_column(++column);
	job->max_lag = interval_column(++column);
	job->throttle = ledger_text(++column);
	job->max_attempts = DatumGetInt32(ledger_value(++column, &isnull));
	job->stop_on_error = ledger_bool(++column);
	job->check_plan = ledger_bool(++column);
	job->foreign_writes = ledger_bool(++column);
	job->paused = ledger_bool(++column);
	job->cancelled = ledger_bool(++column);
	job->stopped = ledger_bool(++column);
	job->waiting = ledger_text(++column);
	value = ledger_value(++column, &isnull);
	job->turns_until = isnull ? 0 : DatumGetTimestampTz(value);
	job->turns_ms = ledger_int64(++column);
	return job;
}

/*
 * Find out how the job's key is called now.  Its relation must be locked, or a
 * name may change before it is used.  Error: 55000 a column is gone.
 */
void
job_find_names(const Job *job)
{
	JobNames   *names = job->names;
	MemoryContext context = MemoryContextSwitchTo(GetMemoryChunkContext(names));
	Datum	   *references;
	int			nreferences;

	names->now = NIL;
	deconstruct_array(job->key_columns, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
					  &references, NULL, &nreferences);
	for (int i = 0; i < nreferences; i++)
	{
		int64		reference = DatumGetInt64(references[i]);
		char	   *name = reference_relation(reference) == job->relid ? reference_column_name(reference) : NULL;

		if (name == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("a column of job \"%s\"'s key is gone from \"%s\"", job->name, get_rel_name(job->relid)),
					 errdetail("The key was %s.", job->key_described),
					 errhint("Drop the job, by chunked.drop_job(%s), and create another with another key.",
							 quote_literal_cstr(job->name))));
		names->now = lappend(names->now, name);
	}
	names->key = key_with_names(job->key_then, names->now, &names->then);
	MemoryContextSwitchTo(context);
}

/*
 * A position of the job as the ledger has it, its members named as the columns are
 * now; NULL for NULL.
 */
Jsonb *
job_position(const Job *job, Jsonb *kept)
{
	if (kept == NULL || equal_names(job->names))
		return kept;
	return rename_members(kept, job->names->then, job->names->now);
}

/* The same the other way round. */
Jsonb *
job_position_to_keep(const Job *job, Jsonb *position)
{
	if (position == NULL || equal_names(job->names))
		return position;
	return rename_members(position, job->names->now, job->names->then);
}

static bool
equal_names(const JobNames *names)
{
	ListCell   *then;
	ListCell   *now;

	forboth(then, names->then, now, names->now)
		if (strcmp(lfirst(then), lfirst(now)) != 0)
			return false;
	return true;
}

static Jsonb *
rename_members(Jsonb *position, const List *from, const List *to)
{
	JsonbIterator *iterator = JsonbIteratorInit(&position->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoChar(&buf, '{');
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		char	   *text;
		const ListCell *old;
		const ListCell *new;

		if (token != WJB_KEY && token != WJB_VALUE)
			continue;
		text = value.type == jbvString ? pnstrdup(value.val.string.val, value.val.string.len) : NULL;
		if (token == WJB_KEY)
		{
			if (buf.len > 1)
				appendStringInfoString(&buf, ", ");
			forboth(old, from, new, to)
				if (strcmp(lfirst(old), text) == 0)
				{
					text = lfirst(new);
					break;
				}
		}
		if (text == NULL)
			appendStringInfoString(&buf, "null");	/* a position's values are texts or null */
		else
			escape_json(&buf, text);
		if (token == WJB_KEY)
			appendStringInfoString(&buf, ": ");
	}
	appendStringInfoChar(&buf, '}');
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(buf.data)));
}

static double
interval_column(int column)
{
	bool		isnull;
	Datum		value = ledger_value(column, &isnull);

	return isnull ? 0 : job_interval_ms(DatumGetIntervalP(value));
}

/* Milliseconds, a day of 24 hours and a month of 30 days; at most MOST_MS. */
double
job_interval_ms(const Interval *interval)
{
	double		ms = interval->time / 1000.0 + interval->day * 86400000.0 +
		interval->month * 30 * 86400000.0;

	return Min(ms, MOST_MS);
}

/* ------------------------------------------------------------------- checks */

/* May the current role run this job?  Errors: 42501, 55000 it was cancelled. */
void
job_require_runnable(const Job *job)
{
	job_require_owner(job);
	require_not_cancelled(job);
}

/*
 * The texts of a job are code of its owner: no other role may run them, however
 * powerful.  Error: 42501.
 */
void
job_require_owner(const Job *job)
{
	if (job->owner != GetUserId())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("job \"%s\" belongs to %s", job->name, role_text(job->owner)),
				 errdetail("Its statement, filter and throttle would run with your privileges."),
				 !SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(job->owner)) ?
				 errhint("A superuser can give it to another role: chunked.alter_job(%s, owner => ...).",
						 quote_literal_cstr(job->name)) :
				 superuser() ?
				 errhint("SET SESSION AUTHORIZATION to its owner, and have background workers do it.") :
				 errhint("SET ROLE to its owner first.")));
}

/* Error: 55000. */
void
job_require_statement(const Job *job)
{
	if (job->statement == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("job \"%s\" has no statement to run", job->name),
				 errhint("Its chunks are claimed by claim_chunk(); resume_job() ends a pause.")));
}

static void
require_not_cancelled(const Job *job)
{
	if (job->cancelled)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("job \"%s\" was cancelled", job->name),
				 errhint("Create another job; what this one did stays done.")));
}

/* An option that is a time.  zero: it may be 0.  Error: 22023. */
void
job_check_interval(const Interval *interval, const char *name, bool zero)
{
	double		ms = job_interval_ms(interval);

	if (ms < 0 || (ms == 0 && !zero))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be %s", name, zero ? "zero or more" : "greater than zero"),
				 errhint("Give an interval, such as '500 ms'.")));
}

/* Error: 22023 a target for a job that has no statement. */
void
job_check_target_time(const char *statement)
{
	if (statement == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("target_time needs a statement"),
				 errhint("How long workers outside the server take for a chunk is not known; choose chunk_size.")));
}

/* Error: 22023. */
void
job_check_on_error(const char *on_error)
{
	if (strcmp(on_error, "stop") != 0 && strcmp(on_error, "continue") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("on_error must be 'stop' or 'continue', not '%s'", on_error),
				 errhint("'stop' ends the job at the first row that fails, 'continue' goes on with the rest.")));
}

/* Is writing through foreign tables allowed?  Error: 22023. */
bool
job_parse_foreign_writes(const char *on_foreign_write)
{
	if (strcmp(on_foreign_write, "refuse") != 0 && strcmp(on_foreign_write, "at_least_once") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("on_foreign_write must be 'refuse' or 'at_least_once', not '%s'", on_foreign_write),
				 errhint("With 'at_least_once' a chunk may be done again on a foreign server, if another one fails at the commit.")));
	return strcmp(on_foreign_write, "at_least_once") == 0;
}

/* ----------------------------------------------------------------- changing */

/* Clear what held the job up. */
void
job_set_runnable(const Job *job)
{
	Datum		id = Int64GetDatum(job->id);

	(void) ledger_execute(&update_runnable, &id, NULL);
}

/* What its runners wait for, NULL: nothing; written where it differs. */
void
job_set_waiting(const Job *job, const char *reason)
{
	Datum		values[2];
	bool		nulls[2] = {false, reason == NULL};

	if (reason == NULL ? job->waiting == NULL :
		job->waiting != NULL && strcmp(reason, job->waiting) == 0)
		return;
	values[0] = Int64GetDatum(job->id);
	values[1] = reason == NULL ? (Datum) 0 : CStringGetTextDatum(reason);
	(void) ledger_execute(&update_waiting, values, nulls);
}

/* It stops, since a chunk failed; and why. */
void
job_set_stopped(const Job *job, const char *sqlstate, const char *message, const char *detail, const char *hint)
{
	keep_error(&update_stopped, job->id, sqlstate, message, detail, hint);
}

/*
 * Its workers deadlocked with each other: they are to work on one chunk at a time
 * for a while, and for twice as long if that happens again soon after.
 */
void
job_set_turns(const Job *job)
{
	Datum		values[2];
	int64		ms = TURNS_FIRST;

	if (job->turns_until != 0 &&
		GetCurrentTimestamp() < TimestampTzPlusMilliseconds(job->turns_until, job->turns_ms))
		ms = Min(Max(job->turns_ms, TURNS_FIRST) * 2, TURNS_MOST);
	values[0] = Int64GetDatum(job->id);
	values[1] = Int64GetDatum(ms);
	(void) ledger_execute(&update_turns, values, NULL);
}

/* What ended a background worker, for the session that waits for it. */
void
job_set_error(int64 id, const ErrorData *error)
{
	keep_error(&update_error, id, unpack_sql_state(error->sqlerrcode), error->message, error->detail,
			   error->hint);
}

static void
keep_error(LedgerQuery *query, int64 id, const char *sqlstate, const char *message, const char *detail,
		   const char *hint)
{
	const char *texts[] = {sqlstate, message, detail, hint};
	Datum		values[1 + lengthof(texts)];
	bool		nulls[1 + lengthof(texts)] = {false};

	values[0] = Int64GetDatum(id);
	for (size_t i = 0; i < lengthof(texts); i++)
	{
		nulls[i + 1] = (texts[i] == NULL);
		values[i + 1] = nulls[i + 1] ? (Datum) 0 : CStringGetTextDatum(texts[i]);
	}
	(void) ledger_execute(query, values, nulls);
}

/* That error, as far as it is kept, or NULL. */
ErrorData *
job_error(int64 id)
{
	Datum		value = Int64GetDatum(id);
	ErrorData  *error;

	if (ledger_execute(&select_error, &value, NULL) == 0)
		return NULL;
	error = palloc0(sizeof(ErrorData));
	error->elevel = ERROR;
	error->sqlerrcode = ledger_sqlstate(1);
	error->message = ledger_text(2);
	error->detail = ledger_text(3);
	error->hint = ledger_text(4);
	return error;
}

/* -------------------------------------------------------------------- locks */

/*
 * Show that this session runs the job, until job_unlock() or its end.  Called at
 * each step, since the job's code may have given up all advisory locks.
 */
void
job_lock(int64 id)
{
	LOCKTAG		tag;

	if (running_job != id)
		lock_class = ledger_jobs_relid();
	set_lock_tag(&tag, id, LOCK_RUNNING);
	if (!compat_lock_held(&tag, ShareLock))
		(void) LockAcquire(&tag, ShareLock, true, false);
	running_job = id;
}

/* Looks nothing up, so that it works after an error. */
void
job_unlock(int64 id)
{
	LOCKTAG		tag;

	set_lock_tag(&tag, id, LOCK_RUNNING);
	if (compat_lock_held(&tag, ShareLock))
		(void) LockRelease(&tag, ShareLock, true);
	running_job = 0;
}

/*
 * Hold a turn of the job to the end of the transaction: one's own where its
 * runners take turns, else one that all share.  Waits for others' to end.
 */
void
job_take_turn(const Job *job)
{
	LOCKTAG		tag;

	set_lock_tag(&tag, job->id, LOCK_TURN);
	(void) LockAcquire(&tag, job->turns_until > GetCurrentTimestamp() ? ExclusiveLock : ShareLock,
					   false, false);
}

static void
set_lock_tag(LOCKTAG *tag, int64 id, uint16 kind)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, lock_class, (uint32) id, kind);
}

/*
 * The settings that a job keeps, and those of these names besides (NULL: none),
 * as text[] for the ledger: name, value, ...  Errors: 42602, 42704, 22023.
 */
Datum
job_settings_to_keep(const char *names)
{
	ArrayBuildState *pairs = initArrayResult(TEXTOID, CurrentMemoryContext, false);
	List	   *more = NIL;
	ListCell   *lc;

	for (size_t i = 0; i < lengthof(kept_settings); i++)
		add_setting(pairs, kept_settings[i]);
	if (names != NULL && !SplitIdentifierString(pstrdup(names), ',', &more))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("settings is not a list of names: %s", names),
				 errhint("Write names of settings with commas between them: 'app.tenant, app.user'.")));
	foreach(lc, more)
		add_setting(pairs, lfirst(lc));
	return makeArrayResult(pairs, CurrentMemoryContext);
}

static void
add_setting(ArrayBuildState *pairs, const char *name)
{
	static const char *const not_these[] = {"role", "session_authorization", "search_path", "is_superuser",
	"transaction_isolation", "transaction_read_only", "transaction_deferrable"};
	const char *value;

	for (size_t i = 0; i < lengthof(not_these); i++)
		if (pg_strcasecmp(name, not_these[i]) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("setting \"%s\" cannot be kept with a job", name),
					 errhint("Jobs run as their owner, in transactions of their own, and keep search_path by themselves.")));
	value = GetConfigOption(name, true, true);
	if (value == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("setting \"%s\" is not set", name),
				 strchr(name, '=') != NULL ?
				 errhint("settings takes names alone; SET their values in this session first.") :
				 errhint("SET it in this session first, to the value that the job is to have.")));
	accumArrayResult(pairs, CStringGetTextDatum(name), false, TEXTOID, CurrentMemoryContext);
	accumArrayResult(pairs, CStringGetTextDatum(value), false, TEXTOID, CurrentMemoryContext);
}

/*
 * Enter the job's texts: names and literals in them are read as when it was
 * created, and code in them has no other rights than the current role's.
 */
void
job_enter(const Job *job, GuardKind kind, Guard *guard)
{
	Datum	   *elements;
	int			nelements;

	guard_enter(kind, guard);
	use_setting(job, "search_path", job->search_path);
	deconstruct_array(job->settings, TEXTOID, -1, false, TYPALIGN_INT, &elements, NULL, &nelements);
	for (int i = 0; i + 1 < nelements; i += 2)
		use_setting(job, TextDatumGetCString(elements[i]), TextDatumGetCString(elements[i + 1]));
}

/* Error: 42501, 22023 and others, as the server's warning tells. */
static void
use_setting(const Job *job, const char *name, const char *value)
{
	const char *current = GetConfigOption(name, true, false);

	if (current != NULL && strcmp(current, value) == 0)
		return;
	if (set_config_option(name, value, superuser() ? PGC_SUSET : PGC_USERSET, PGC_S_SESSION,
						  GUC_ACTION_SAVE, true, WARNING, false) <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s cannot be set to \"%s\", as job \"%s\" keeps it", name, value, job->name),
				 errhint("A superuser may GRANT SET ON PARAMETER %s to the job's owner; or create the job again without it.", name)));
}
