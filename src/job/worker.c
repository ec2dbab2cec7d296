/*
 * worker.c
 *		Background workers for a job: started, waited for, and what they do.
 *
 * They are started at need and need no shared_preload_libraries.  A worker logs
 * on as the owner of the job, and as nobody else, and takes over the settings that
 * the session has made, through shared memory since they may be secrets.
 * What ends it by an error is written into the ledger, for whoever waits or
 * looks later.  A worker that dies leaves nothing behind: the rows and the lock
 * that it held are free with its death.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc_tables.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/latch_wait.h"
#include "base/settings.h"
#include "job/job_progress.h"
#include "job/worker.h"

/* Between looks at the workers, in ms; they wake us when they end */
#define POLL_WORKERS 200
#define POLL_START 2

/* Handed over in bgw_extra */
typedef struct WorkerArguments
{
	int64		job;
	Oid			database;
	Oid			owner;			/* of the job */
	int			number;			/* of this one among those that are started */
	dsm_handle	settings;		/* of the session, a SettingsSegment */
	VirtualTransactionId starter;	/* wait for it to end; or invalid */
	TransactionId started_by;	/* and go on if it has committed */
} WorkerArguments;

/*
 * The starter keeps it until each worker has read it or has ended: it is not
 * pinned, so that it goes with the starter's transaction, whatever happens.
 */
typedef struct SettingsSegment
{
	Size		offset;			/* of the settings: name, value, ..., "" */
	pg_atomic_uint32 read[FLEXIBLE_ARRAY_MEMBER];	/* by each worker: not 0 */
} SettingsSegment;

typedef struct WorkerGroup
{
	int			nworkers;
	BackgroundWorkerHandle *handles[FLEXIBLE_ARRAY_MEMBER];
} WorkerGroup;

PGDLLEXPORT void chunked_worker_main(Datum argument);

static WorkerGroup *workers_make_group(int nworkers);
static void workers_start(WorkerGroup *group, const Job *job, int nworkers, bool wait);
static void workers_wait_until_read(WorkerGroup *group, SettingsSegment *shared);
static void collect_session_settings(StringInfo buf);
static bool worker_may_begin(const WorkerArguments *arguments);
static void workers_terminate(int code, Datum group);
static void workers_wait(WorkerGroup *group, int64 id);
static char *worker_read_settings(const WorkerArguments *arguments, MemoryContext context);
static void worker_take_settings(char *settings);
static void worker_write_error(int64 id, const ErrorData *error);

/* --------------------------------------------------------------- the session */

/*
 * Start workers that go on by themselves, once this transaction has committed.
 * Returns their number.  Error: 53400 none could be started.
 */
int
worker_start(const Job *job, int nworkers)
{
	WorkerGroup *group = workers_make_group(nworkers);

	workers_start(group, job, nworkers, false);
	return group->nworkers;
}

/*
 * Have workers do the job, and wait for them, showing progress.  They end if
 * the wait is interrupted.  Errors: 53400 none could be started; the one that
 * ended a worker, if the job was not done in spite of it.
 */
RunOutcome
worker_run(const Job *job, int nworkers)
{
	WorkerGroup *group = workers_make_group(nworkers);
	RunOutcome	outcome;
	int64		id = job->id;

	/* waiting for the workers' transactions, this one does nothing */
	compat_transaction_timeout_stop();
	PG_ENSURE_ERROR_CLEANUP(workers_terminate, PointerGetDatum(group));
	{
		workers_start(group, job, nworkers, true);
		workers_wait(group, id);
	}
	PG_END_ENSURE_ERROR_CLEANUP(workers_terminate, PointerGetDatum(group));

	PushActiveSnapshot(GetTransactionSnapshot());
	job = job_by_id(id);
	outcome = run_outcome(job);
	if (outcome == RUN_GOES_ON)
	{
		LedgerError error;

		if (job_error(id, &error))
			ereport(ERROR,
					(errcode(ledger_sqlstate(&error)),
					 errmsg_internal("%s", error.message),
					 error.detail == NULL ? 0 : errdetail_internal("%s", error.detail),
					 error.hint == NULL ? 0 : errhint("%s", error.hint),
					 errcontext("background worker of job \"%s\"", job->name)));
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the workers of job \"%s\" ended before it was done", job->name),
				 errhint("The server's log says why. CALL chunked.run_job(%s) goes on.",
						 quote_literal_cstr(job->name))));
	}
	PopActiveSnapshot();
	return outcome;
}

static WorkerGroup *
workers_make_group(int nworkers)
{
	return palloc0(offsetof(WorkerGroup, handles) + nworkers * sizeof(BackgroundWorkerHandle *));
}

/*
 * The job is one that guard_require_worker() and job_require_runnable() have let
 * pass.  wait: this session will wait for them, and is not to be waited for.
 */
static void
workers_start(WorkerGroup *group, const Job *job, int nworkers, bool wait)
{
	BackgroundWorker worker = {0};
	WorkerArguments arguments = {0};
	StringInfoData settings;
	dsm_segment *segment;
	SettingsSegment *shared;
	Size		offset;

	collect_session_settings(&settings);
	offset = offsetof(SettingsSegment, read) + nworkers * sizeof(pg_atomic_uint32);
	segment = dsm_create(offset + settings.len, 0);
	shared = dsm_segment_address(segment);
	shared->offset = offset;
	for (int i = 0; i < nworkers; i++)
		pg_atomic_init_u32(&shared->read[i], 0);
	memcpy((char *) shared + offset, settings.data, settings.len);

	arguments.job = job->id;
	arguments.database = MyDatabaseId;
	arguments.owner = job->owner;
	arguments.settings = dsm_segment_handle(segment);
	if (!wait)
	{
		GET_VXID_FROM_PGPROC(arguments.starter, *MyProc);
		arguments.started_by = GetCurrentTransactionId();
	}
	StaticAssertStmt(sizeof(arguments) <= BGW_EXTRALEN, "too many arguments for a worker");

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	strlcpy(worker.bgw_library_name, "pg_chunked", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "chunked_worker_main", sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_type, "pg_chunked worker", sizeof(worker.bgw_type));
	snprintf(worker.bgw_name, sizeof(worker.bgw_name), "pg_chunked worker for job " INT64_FORMAT, job->id);

	for (; group->nworkers < nworkers; group->nworkers++)
	{
		arguments.number = group->nworkers;
		memcpy(worker.bgw_extra, &arguments, sizeof(arguments));
		if (!RegisterDynamicBackgroundWorker(&worker, &group->handles[group->nworkers]))
			break;
	}
	workers_wait_until_read(group, shared);
	dsm_detach(segment);
	if (group->nworkers == 0)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("could not start a background worker"),
				 errhint("Raise max_worker_processes, or have this session do it: CALL chunked.run_job(%s).",
						 quote_literal_cstr(job->name))));
	if (group->nworkers < nworkers)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("only %d of %d background workers could be started", group->nworkers, nworkers),
				 errhint("Raise max_worker_processes for more.")));
}

/* Wait until every worker has read the settings, or has ended without. */
static void
workers_wait_until_read(WorkerGroup *group, SettingsSegment *shared)
{
	for (int i = 0; i < group->nworkers;)
	{
		pid_t		pid;
		BgwHandleStatus status = GetBackgroundWorkerPid(group->handles[i], &pid);

		if (status == BGWH_POSTMASTER_DIED)
			ereport(FATAL, (errcode(ERRCODE_ADMIN_SHUTDOWN), errmsg("the postmaster has died")));
		if (status == BGWH_STOPPED || pg_atomic_read_u32(&shared->read[i]) != 0)
		{
			i++;
			continue;
		}
		latch_wait(POLL_START);
	}
}

/*
 * What this session has SET: custom settings as well, which policies and
 * triggers may go by.
 */
static void
collect_session_settings(StringInfo buf)
{
	static const char *const not_these[] = {
		"application_name", "client_encoding", "client_min_messages", "is_superuser", "role", "search_path",
		"seed", "session_authorization", "transaction_deferrable", "transaction_isolation",
		"transaction_read_only"
	};
	int			nvariables;
	struct config_generic **variables = compat_guc_variables(&nvariables);

	initStringInfo(buf);
	for (int i = 0; i < nvariables; i++)
	{
		const struct config_generic *variable = variables[i];
		const char *value;
		bool		excluded = false;

		if ((variable->source != PGC_S_CLIENT && variable->source != PGC_S_SESSION) ||
			(variable->context != PGC_USERSET && variable->context != PGC_SUSET))
			continue;
		for (size_t j = 0; j < lengthof(not_these) && !excluded; j++)
			excluded = strcmp(variable->name, not_these[j]) == 0;
		if (excluded || (value = GetConfigOption(variable->name, true, false)) == NULL)
			continue;
		appendBinaryStringInfo(buf, variable->name, strlen(variable->name) + 1);
		appendBinaryStringInfo(buf, value, strlen(value) + 1);
	}
	appendBinaryStringInfo(buf, "", 1);
}

static void
workers_terminate(int code, Datum group)
{
	WorkerGroup *workers = (WorkerGroup *) DatumGetPointer(group);

	(void) code;
	for (int i = 0; i < workers->nworkers; i++)
		TerminateBackgroundWorker(workers->handles[i]);
}

static void
workers_wait(WorkerGroup *group, int64 id)
{
	TimestampTz progress_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), settings_progress_interval);

	for (;;)
	{
		int			alive = 0;

		for (int i = 0; i < group->nworkers; i++)
		{
			pid_t		pid;

			if (GetBackgroundWorkerPid(group->handles[i], &pid) != BGWH_STOPPED)
				alive++;
		}
		if (alive == 0)
			break;
		latch_wait(POLL_WORKERS);
		if (settings_progress_interval > 0 && GetCurrentTimestamp() >= progress_at)
		{
			PushActiveSnapshot(GetTransactionSnapshot());
			job_progress_show(id);
			PopActiveSnapshot();
			progress_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), settings_progress_interval);
		}
	}
}

/* ---------------------------------------------------------------- the worker */

/* Where a worker begins; its arguments are in bgw_extra. */
void
chunked_worker_main(Datum argument)
{
	WorkerArguments arguments;
	MemoryContext context;

	(void) argument;
	memcpy(&arguments, MyBgworkerEntry->bgw_extra, sizeof(arguments));
	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(arguments.database, arguments.owner, COMPAT_BYPASS_LOGIN);
	context = AllocSetContextCreate(TopMemoryContext, "pg_chunked worker", ALLOCSET_DEFAULT_SIZES);

	PG_TRY();
	{
		char	   *settings = worker_read_settings(&arguments, context);

		if (settings != NULL && worker_may_begin(&arguments))
		{
			worker_take_settings(settings);
			MemoryContextSwitchTo(context);
			(void) run_job(arguments.job, false);
		}
	}
	PG_CATCH();
	{
		ErrorData  *error;

		HOLD_INTERRUPTS();
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		EmitErrorReport();
		AbortCurrentTransaction();
		FlushErrorState();
		RESUME_INTERRUPTS();
		worker_write_error(arguments.job, error);
		proc_exit(1);
	}
	PG_END_TRY();
}

/* Wait for the transaction that started us to end, if need be: has it committed? */
static bool
worker_may_begin(const WorkerArguments *arguments)
{
	bool		committed;

	if (!VirtualTransactionIdIsValid(arguments->starter))
		return true;
	StartTransactionCommand();
	compat_transaction_timeout_stop();
	(void) VirtualXactLock(arguments->starter, true);
	committed = TransactionIdDidCommit(arguments->started_by);
	CommitTransactionCommand();
	return committed;
}

/* A copy of the session's settings; NULL if they are gone, and the starter with them. */
static char *
worker_read_settings(const WorkerArguments *arguments, MemoryContext context)
{
	char	   *settings = NULL;
	dsm_segment *segment;

	StartTransactionCommand();
	segment = dsm_attach(arguments->settings);
	if (segment != NULL)
	{
		SettingsSegment *shared = dsm_segment_address(segment);
		Size		size = dsm_segment_map_length(segment) - shared->offset;

		settings = MemoryContextAlloc(context, size);
		memcpy(settings, (char *) shared + shared->offset, size);
		pg_atomic_write_u32(&shared->read[arguments->number], 1);
		dsm_detach(segment);
	}
	CommitTransactionCommand();
	return settings;
}

static void
worker_take_settings(char *settings)
{
	StartTransactionCommand();
	/* the role's own settings may have set another one */
	SetConfigOption("role", "none", PGC_USERSET, PGC_S_SESSION);
	for (char *name = settings; name[0] != '\0';)
	{
		char	   *value = name + strlen(name) + 1;

		(void) set_config_option(name, value, superuser() ? PGC_SUSET : PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SET, true, WARNING, false);
		name = value + strlen(value) + 1;
	}
	CommitTransactionCommand();
}

static void
worker_write_error(int64 id, const ErrorData *error)
{
	LedgerError kept;

	kept.message = error->message;
	kept.detail = error->detail;
	kept.hint = error->hint;
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	kept.sqlstate = unpack_sql_state(error->sqlerrcode);	/* a static buffer */
	job_set_error(id, &kept);
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
}
