/*
 * job.c
 *		Jobs in the ledger: all that is read from and written to ledger_jobs.
 *
 * A job is seen by the members of the role that owns it, and changed by who has
 * that role's rights: the ledger's queries pass all permissions (ledger.c), so
 * it is the checks here that decide.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

#include "job/job.h"
#include "job/job_lock.h"

/* Some thousand years, which can be added to a timestamp */
#define MOST_MS 1e14

/* Workers that deadlock take turns for so long, in ms */
#define TURNS_FIRST 1000
#define TURNS_MOST 60000

#define JOB_COLUMNS \
	"id, name, owner::oid, relation::oid, statement, key, key_columns::int8[], filter, args," \
	" search_path, settings, key_described, high_water, total_rows, chunk_size, target_time, pause, max_lag," \
	" throttle, max_attempts, on_error = 'stop', check_plan, on_foreign_write = 'at_least_once'," \
	" paused, cancelled, stopped, waiting, turns_until, turns_ms"

LEDGER_QUERY(select_own,
			 "SELECT " JOB_COLUMNS " FROM chunked.ledger_jobs"
			 " WHERE hashtextextended(name, 0) = hashtextextended($1, 0)"
			 " AND name = $1 AND owner::oid = $2",
			 TEXTOID, OIDOID);

LEDGER_QUERY(select_visible,
			 "SELECT " JOB_COLUMNS " FROM chunked.ledger_jobs"
			 " WHERE hashtextextended(name, 0) = hashtextextended($1, 0)"
			 " AND name = $1 AND pg_has_role($2, owner::oid, 'MEMBER') ORDER BY id LIMIT 2",
			 TEXTOID, OIDOID);

LEDGER_QUERY(select_by_id,
			 "SELECT " JOB_COLUMNS " FROM chunked.ledger_jobs WHERE id = $1",
			 INT8OID);

LEDGER_QUERY(select_last_number,
			 "SELECT coalesce(max(substr(name, length($1) + 2)::numeric), 0)::bigint"
			 " FROM chunked.ledger_jobs WHERE owner::oid = $2 AND starts_with(name, $1 || '-')"
			 " AND substr(name, length($1) + 2) ~ '^[0-9]{1,15}$'",
			 TEXTOID, OIDOID);

LEDGER_QUERY(select_like,
			 "SELECT coalesce(array_agg(id), '{}') FROM chunked.ledger_jobs"
			 " WHERE owner::oid = $1 AND relation::oid = $2 AND statement = $3 AND NOT cancelled",
			 OIDOID, OIDOID, TEXTOID);

LEDGER_QUERY(select_older_than,
			 "SELECT coalesce(array_agg(id ORDER BY id), '{}'),"
			 " coalesce(array_agg(cancelled ORDER BY id), '{}') FROM chunked.ledger_jobs"
			 " WHERE owner::oid = $1 AND created_at <= clock_timestamp() - $2",
			 OIDOID, INTERVALOID);

LEDGER_QUERY(select_error,
			 "SELECT error_sqlstate, error, error_detail, error_hint FROM chunked.ledger_jobs"
			 " WHERE id = $1 AND error IS NOT NULL",
			 INT8OID);

LEDGER_QUERY(insert_job,
			 "INSERT INTO chunked.ledger_jobs (name, owner, relation, statement, chunk_size, key,"
			 " filter, args, target_time, pause, max_lag, throttle, max_attempts, on_error, check_plan,"
			 " search_path, settings, key_described, high_water, total_rows, on_foreign_write,"
			 " key_columns)"
			 " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,"
			 " $18, $19, $20, $21, $22)"
			 " ON CONFLICT DO NOTHING RETURNING " JOB_COLUMNS,
			 TEXTOID, OIDOID, OIDOID, TEXTOID, INT8OID, TEXTOID,
			 TEXTOID, JSONBOID, INTERVALOID, INTERVALOID, INTERVALOID, TEXTOID, INT4OID, TEXTOID, BOOLOID,
			 TEXTOID, TEXTARRAYOID, TEXTOID, JSONBOID, INT8OID, TEXTOID,
			 INT8ARRAYOID);

LEDGER_QUERY(update_options,
			 "UPDATE chunked.ledger_jobs SET"
			 " chunk_size = coalesce($2, chunk_size),"
			 " target_time = CASE WHEN $3 IS NULL THEN target_time ELSE nullif($3, '0') END,"
			 " pause = coalesce($4, pause),"
			 " max_lag = CASE WHEN $5 IS NULL THEN max_lag ELSE nullif($5, '0') END,"
			 " throttle = CASE WHEN $6 IS NULL THEN throttle ELSE nullif($6, '') END,"
			 " max_attempts = coalesce($7, max_attempts),"
			 " on_error = coalesce($8, on_error),"
			 " check_plan = coalesce($9, check_plan),"
			 " owner = coalesce($10, owner::oid)"
			 " WHERE id = $1",
			 INT8OID, INT8OID, INTERVALOID, INTERVALOID, INTERVALOID, TEXTOID, INT4OID, TEXTOID,
			 BOOLOID, OIDOID);

LEDGER_QUERY(delete_job,
			 "DELETE FROM chunked.ledger_jobs WHERE id = $1",
			 INT8OID);

LEDGER_QUERY(update_paused,
			 "UPDATE chunked.ledger_jobs SET paused = $2 WHERE id = $1",
			 INT8OID, BOOLOID);

LEDGER_QUERY(update_cancelled,
			 "UPDATE chunked.ledger_jobs SET cancelled = true WHERE id = $1",
			 INT8OID);

LEDGER_QUERY(update_runnable,
			 "UPDATE chunked.ledger_jobs SET paused = false, stopped = false, waiting = NULL,"
			 " error_sqlstate = NULL, error = NULL, error_detail = NULL, error_hint = NULL"
			 " WHERE id = $1 AND (paused OR stopped OR waiting IS NOT NULL OR error IS NOT NULL)",
			 INT8OID);

LEDGER_QUERY(update_stopped,
			 "UPDATE chunked.ledger_jobs SET stopped = true,"
			 " error_sqlstate = $2, error = $3, error_detail = $4, error_hint = $5"
			 " WHERE id = $1 AND NOT stopped",
			 INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID);

LEDGER_QUERY(update_not_stopped,
			 "UPDATE chunked.ledger_jobs SET stopped = false,"
			 " error_sqlstate = NULL, error = NULL, error_detail = NULL, error_hint = NULL"
			 " WHERE id = $1 AND stopped",
			 INT8OID);

/* Just shown: not worth waiting for one who changes the job */
LEDGER_QUERY(update_waiting,
			 "UPDATE chunked.ledger_jobs SET waiting = $2 WHERE id ="
			 " (SELECT id FROM chunked.ledger_jobs WHERE id = $1 FOR NO KEY UPDATE SKIP LOCKED)",
			 INT8OID, TEXTOID);

LEDGER_QUERY(update_turns,
			 "UPDATE chunked.ledger_jobs SET turns_ms = $2,"
			 " turns_until = clock_timestamp() + $2 * interval '1 ms' WHERE id ="
			 " (SELECT id FROM chunked.ledger_jobs WHERE id = $1 FOR NO KEY UPDATE SKIP LOCKED)",
			 INT8OID, INT8OID);

LEDGER_QUERY(update_error,
			 "UPDATE chunked.ledger_jobs SET"
			 " error_sqlstate = $2, error = $3, error_detail = $4, error_hint = $5"
			 " WHERE id = $1",
			 INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID);

static Job *read_job(MemoryContext context);
static Filter *read_filter(int column);
static double interval_column(int column);
static const char *role_text(Oid role);
static void write_job_error(LedgerQuery *query, int64 id, const LedgerError *error);

/* ------------------------------------------------------------------ reading */

/*
 * The current role's own job of this name, else one that it may see, in
 * SPI's memory context.  SPI must be connected.  Errors: 42704, also if there
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
	return read_job(CurrentMemoryContext);
}

/* A job for one who changes it.  Errors: those of job_by_name(), 42501. */
Job *
job_by_name_to_change(const char *name)
{
	Job		   *job = job_by_name(name);

	if (!has_privs_of_role(GetUserId(), job->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("job \"%s\" belongs to %s", job->name, role_text(job->owner)),
				 errhint("SET ROLE to its owner first.")));
	return job;
}

/* The same by id; NULL if it has been dropped. */
Job *
job_by_id(int64 id)
{
	Datum		value = Int64GetDatum(id);

	return ledger_execute(&select_by_id, &value, NULL) == 0 ? NULL : read_job(CurrentMemoryContext);
}

/* The first row of a query that returned JOB_COLUMNS, in this memory context. */
static Job *
read_job(MemoryContext context)
{
	MemoryContext before = MemoryContextSwitchTo(context);
	Job		   *job = palloc0(sizeof(Job));
	bool		isnull;
	int			column = 0;

	job->id = ledger_int64(++column);
	job->name = ledger_text(++column);
	job->owner = DatumGetObjectId(ledger_value(++column, &isnull));
	job->relid = DatumGetObjectId(ledger_value(++column, &isnull));
	job->statement = ledger_text(++column);
	job->key_then = ledger_text(++column);
	job->key_columns = DatumGetArrayTypePCopy(ledger_value(++column, &isnull));
	job->names = palloc0(sizeof(JobNames));
	job->filter = read_filter(column);
	column += 2;
	job->search_path = ledger_text(++column);
	job->settings = DatumGetArrayTypePCopy(ledger_value(++column, &isnull));
	job->key_described = ledger_text(++column);
	job->high_water = ledger_jsonb(++column);
	job->total_rows = ledger_int64(++column);
	job->chunk_size = ledger_int64(++column);
	job->target_time = interval_column(++column);
	job->pause = interval_column(++column);
	job->max_lag = interval_column(++column);
	job->throttle = ledger_text(++column);
	job->max_attempts = ledger_int32(++column);
	job->stop_on_error = ledger_bool(++column);
	job->check_plan = ledger_bool(++column);
	job->foreign_writes = ledger_bool(++column);
	job->paused = ledger_bool(++column);
	job->cancelled = ledger_bool(++column);
	job->stopped = ledger_bool(++column);
	job->waiting = ledger_text(++column);
	job->turns_until = ledger_timestamp(++column);
	job->turns_ms = ledger_int64(++column);
	MemoryContextSwitchTo(before);
	return job;
}

/* In the columns after this one, or NULL. */
static Filter *
read_filter(int column)
{
	char	   *text = ledger_text(column + 1);
	Filter	   *filter;

	if (text == NULL)
		return NULL;
	filter = palloc(sizeof(Filter));
	filter->text = text;
	filter->args = ledger_jsonb(column + 2);
	return filter;
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

/* Has this role a job of this name? */
bool
job_name_is_taken(const char *name, Oid owner)
{
	Datum		values[2];

	values[0] = CStringGetTextDatum(name);
	values[1] = ObjectIdGetDatum(owner);
	return ledger_execute(&select_own, values, NULL) > 0;
}

/* The highest number that a name made of this prefix ends in; 0: there is none. */
int64
job_last_number(const char *prefix, Oid owner)
{
	Datum		values[2];

	values[0] = CStringGetTextDatum(prefix);
	values[1] = ObjectIdGetDatum(owner);
	(void) ledger_execute(&select_last_number, values, NULL);
	return ledger_int64(1);
}

/* The ids of jobs with the same relation and statement that were not cancelled, as bigint[]. */
Datum
job_ids_like(const JobOptions *options, Oid owner)
{
	Datum		values[3];
	bool		isnull;

	values[0] = ObjectIdGetDatum(owner);
	values[1] = ObjectIdGetDatum(options->relid);
	values[2] = CStringGetTextDatum(options->statement);
	(void) ledger_execute(&select_like, values, NULL);
	return ledger_value(1, &isnull);
}

/*
 * The ids of a role's jobs that are older than this, as bigint[], and whether each
 * was cancelled, as boolean[].
 */
void
job_ids_older_than(const Interval *interval, Oid owner, Datum *ids, Datum *cancelled)
{
	Datum		values[2];
	bool		isnull;

	values[0] = ObjectIdGetDatum(owner);
	values[1] = IntervalPGetDatum(interval);
	(void) ledger_execute(&select_older_than, values, NULL);
	*ids = ledger_value(1, &isnull);
	*cancelled = ledger_value(2, &isnull);
}

/* What ended a background worker of the job; false: nothing is kept of it. */
bool
job_error(int64 id, LedgerError *error)
{
	Datum		value = Int64GetDatum(id);

	if (ledger_execute(&select_error, &value, NULL) == 0)
		return false;
	ledger_error(1, error);
	return true;
}

/* ------------------------------------------------------------------- checks */

/* May the current role run this job?  Errors: 42501, 55000 it was cancelled. */
void
job_require_runnable(const Job *job)
{
	job_require_owner(job);
	job_require_not_cancelled(job);
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

/* Error: 55000. */
void
job_require_not_cancelled(const Job *job)
{
	if (job->cancelled)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("job \"%s\" was cancelled", job->name),
				 errhint("Create another job; what this one has done stays done.")));
}

/* Code of a job may pause or cancel it, but not change its chunks.  Error: 55006. */
void
job_require_not_running_here(const Job *job)
{
	if (job_is_running_here(job->id))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("job \"%s\" is running this very statement", job->name),
				 errhint("Change or drop it in another session; pause_job() and cancel_job() work here.")));
}

/* For messages: a role that may be gone. */
static const char *
role_text(Oid role)
{
	char	   *name = GetUserNameFromId(role, true);

	return name == NULL ? "a role that was dropped" : psprintf("role \"%s\"", name);
}

/* ----------------------------------------------------------------- changing */

/*
 * A new job of the current role, in this memory context; NULL if it has one of
 * that name.  Of "fixed" the name and what the options do not say are taken.
 */
Job *
job_insert(const JobOptions *options, const Job *fixed, MemoryContext context)
{
	Datum		values[22];
	bool		nulls[22];
	int			i = 0;

#define PUT(is_null, value) \
	(nulls[i] = (is_null), values[i] = nulls[i] ? (Datum) 0 : (value), i++)

	PUT(false, CStringGetTextDatum(fixed->name));
	PUT(false, ObjectIdGetDatum(GetUserId()));
	PUT(false, ObjectIdGetDatum(options->relid));
	PUT(options->statement == NULL, CStringGetTextDatum(options->statement));
	PUT(false, Int64GetDatum(options->chunk_size));
	PUT(false, CStringGetTextDatum(fixed->key_then));
	PUT(options->filter == NULL, CStringGetTextDatum(options->filter->text));
	PUT(options->filter == NULL || options->filter->args == NULL, JsonbPGetDatum(options->filter->args));
	PUT(options->target_time == NULL, IntervalPGetDatum(options->target_time));
	PUT(false, IntervalPGetDatum(options->pause));
	PUT(options->max_lag == NULL, IntervalPGetDatum(options->max_lag));
	PUT(options->throttle == NULL, CStringGetTextDatum(options->throttle));
	PUT(false, Int32GetDatum(options->max_attempts));
	PUT(false, CStringGetTextDatum(options->on_error));
	PUT(false, BoolGetDatum(*options->check_plan));
	PUT(false, CStringGetTextDatum(fixed->search_path));
	PUT(false, PointerGetDatum(fixed->settings));
	PUT(false, CStringGetTextDatum(fixed->key_described));
	PUT(fixed->high_water == NULL, JsonbPGetDatum(fixed->high_water));
	PUT(false, Int64GetDatum(fixed->total_rows));
	PUT(false, CStringGetTextDatum(options->foreign_writes ? "at_least_once" : "refuse"));
	PUT(false, PointerGetDatum(fixed->key_columns));

	return ledger_execute(&insert_job, values, nulls) == 0 ? NULL : read_job(context);
}

/* Change the options that are given. */
void
job_alter(const Job *job, const JobOptions *options)
{
	Datum		values[10];
	bool		nulls[10];
	int			i = 0;

	PUT(false, Int64GetDatum(job->id));
	PUT(options->chunk_size == 0, Int64GetDatum(options->chunk_size));
	PUT(options->target_time == NULL, IntervalPGetDatum(options->target_time));
	PUT(options->pause == NULL, IntervalPGetDatum(options->pause));
	PUT(options->max_lag == NULL, IntervalPGetDatum(options->max_lag));
	PUT(options->throttle == NULL, CStringGetTextDatum(options->throttle));
	PUT(options->max_attempts == 0, Int32GetDatum(options->max_attempts));
	PUT(options->on_error == NULL, CStringGetTextDatum(options->on_error));
	PUT(options->check_plan == NULL, BoolGetDatum(*options->check_plan));
	PUT(!OidIsValid(options->owner), ObjectIdGetDatum(options->owner));
#undef PUT

	(void) ledger_execute(&update_options, values, nulls);
}

/* What belongs to it in other tables goes first: by the job the others are seen. */
void
job_delete(int64 id)
{
	Datum		value = Int64GetDatum(id);

	(void) ledger_execute(&delete_job, &value, NULL);
}

void
job_set_paused(const Job *job, bool paused)
{
	Datum		values[2];

	values[0] = Int64GetDatum(job->id);
	values[1] = BoolGetDatum(paused);
	(void) ledger_execute(&update_paused, values, NULL);
}

/* For good. */
void
job_set_cancelled(const Job *job)
{
	Datum		id = Int64GetDatum(job->id);

	(void) ledger_execute(&update_cancelled, &id, NULL);
}

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
job_set_stopped(const Job *job, const LedgerError *error)
{
	write_job_error(&update_stopped, job->id, error);
}

/* Its failed chunks are tried again. */
void
job_set_not_stopped(const Job *job)
{
	Datum		id = Int64GetDatum(job->id);

	(void) ledger_execute(&update_not_stopped, &id, NULL);
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
job_set_error(int64 id, const LedgerError *error)
{
	write_job_error(&update_error, id, error);
}

static void
write_job_error(LedgerQuery *query, int64 id, const LedgerError *error)
{
	Datum		values[1 + LEDGER_ERROR_COLUMNS];
	bool		nulls[1 + LEDGER_ERROR_COLUMNS] = {false};

	values[0] = Int64GetDatum(id);
	ledger_put_error(error, &values[1], &nulls[1]);
	(void) ledger_execute(query, values, nulls);
}
