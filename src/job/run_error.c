/*
 * run_error.c
 *		Whose doing is an error of a job's statement?
 *
 * What does not come from the chunk's rows, such as a missing table or a full
 * disk, is no failure of the chunk: it ends the run, and the job can go on when
 * that is fixed.  Where an error's SQLSTATE leaves open which it is, evidence
 * decides: it is the rows' if a chunk has been done by the same statement, or if
 * a row far away does not fail in the same way.
 */
#include "postgres.h"

#include "access/table.h"
#include "commands/trigger.h"

#include "base/subtransaction.h"
#include "job/job_carve.h"
#include "job/job_scope.h"
#include "job/run_error.h"
#include "job/run_timeout.h"
#include "walk/walk_read.h"

/* Rows that show whose an error is, the most telling first */
typedef enum Probe
{
	PROBE_DONE,					/* the last of the chunk that this run did last */
	PROBE_FAR,					/* the last and the first of what is still to be done, */
	PROBE_NEXT,					/* without the chunk itself */
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

/* A row that is tried, and how many rows the statement has processed */
typedef struct Trial
{
	const Job  *job;
	const JobChunk *chunk;
	Statement  *statement;
	const RunDone *done;
	Probe		probe;
	int64		processed;
} Trial;

static bool is_cancel_of_session(const ErrorData *error);
static ProbeResult try_row(Trial *trial, const ErrorData *like);
static void execute_in_time(void *arg);
static void execute_for_row(void *arg);
static bool find_row_to_try(const Trial *trial, Walk *walk, Range *range);

/* By its SQLSTATE, and by what raised it. */
ErrorKind
run_error_classify(const ErrorData *error)
{
	if (error->elevel != ERROR || is_cancel_of_session(error))
		return run_timeout_last() != TIMEOUT_NOT_FIRED && error->elevel == ERROR ?
			OF_OTHERS : OF_SERVER;
	if (job_retry_is_for_others(error->sqlerrcode))
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
is_cancel_of_session(const ErrorData *error)
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
ErrorKind
run_error_decide(const Job *job, const JobChunk *chunk, Statement *statement, const RunDone *done,
				 const ErrorData *error)
{
	int			needed = done->upto != NULL ? 2 : 1;
	int			others = 0;

	for (Probe probe = 0; probe < PROBES; probe++)
	{
		Trial		trial = {job, chunk, statement, done, probe, 0};
		ProbeResult result = try_row(&trial, error);

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
try_row(Trial *trial, const ErrorData *like)
{
	ErrorData  *error = subtransaction_try(execute_in_time, trial);

	if (error == NULL)
		return trial->processed > 0 ? PROBE_DIFFERS : PROBE_TELLS_NOTHING;
	switch (run_error_classify(error))
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
		return trial->probe == PROBE_DONE ? PROBE_TELLS_NOTHING : PROBE_DIFFERS;

	/* a row that has been done may fail for having been done, with a message that says so */
	return trial->done->upto == NULL || strcmp(error->message, like->message) == 0 ?
		PROBE_FAILS_ALIKE : PROBE_TELLS_NOTHING;
}

/* A step in a subtransaction. */
static void
execute_in_time(void *arg)
{
	run_timeout_within(execute_for_row, arg);
}

static void
execute_for_row(void *arg)
{
	Trial	   *trial = arg;
	Guard		guard;
	Relation	rel;
	Walk	   *walk;
	Range		range = {0};

	job_scope_enter(trial->job, GUARD_STATEMENT, &guard);
	run_timeout_start();
	SPI_connect();
	walk = job_scope_open_walk(trial->job, &rel);
	if (find_row_to_try(trial, walk, &range))
	{
		statement_prepare(trial->statement, walk, &range, 1);
		trial->processed = statement_execute(trial->statement);
		AfterTriggerSetState(makeNode(ConstraintsSetStmt));
	}
	table_close(rel, NoLock);
	SPI_finish();
	guard_leave(&guard);
}

/* The range of the row to try, if there is one; within the job's own. */
static bool
find_row_to_try(const Trial *trial, Walk *walk, Range *range)
{
	const Job  *job = trial->job;
	const JobChunk *chunk = trial->chunk;
	const RunDone *done = trial->done;
	Probe		probe = trial->probe;
	Range		rows = {0};
	WalkReader	reader = {0};
	bool		first = probe == PROBE_NEXT || probe == PROBE_FIRST;
	JobChunk	other;

	switch (probe)
	{
		case PROBE_DONE:
			if (done->upto == NULL)
				return false;
			job_scope_read_range(job, walk, done->after, done->upto, &rows);
			break;
		case PROBE_FAR:
		case PROBE_NEXT:
			if (!job_other_pending(job, chunk->number, probe == PROBE_FAR, &other))
				return false;
			job_scope_read_range(job, walk, other.after, other.upto, &rows);
			break;
		case PROBE_FIRST:
		case PROBE_LAST:
			job_scope_read_range(job, walk, chunk->after, chunk->upto, &rows);
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

	/* the last row: after the one before it */
	range->upto = walk_last_position(walk, &rows);
	if (range->upto == NULL)
		return false;
	reader.backward = true;
	reader.limit = 2;
	walk_read(walk, &rows, &reader);
	range->after = reader.ended ? reader.end : rows.after;
	return reader.ended || probe < PROBE_FIRST;	/* else it is all of the chunk */
}

void
run_error_describe(const ErrorData *error, ErrorKind kind, JobFailure *failure)
{
	RunTimeout	timeout = is_cancel_of_session(error) ? run_timeout_last() : TIMEOUT_NOT_FIRED;

	failure->error.sqlstate = pstrdup(unpack_sql_state(error->sqlerrcode));
	failure->error.message = timeout == TIMEOUT_NOT_FIRED ? error->message :
		timeout == TIMEOUT_FIRED_BLOCKED ?
		"statement_timeout ended the statement while it waited for a lock" :
		"statement_timeout ended the statement";
	failure->error.detail = error->detail;
	failure->error.hint = error->hint;
	failure->cause = kind != OF_OTHERS ? FAILED_ROWS :
		timeout == TIMEOUT_FIRED ? FAILED_SLOW : FAILED_BLOCKED;
}
