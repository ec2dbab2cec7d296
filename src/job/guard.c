/*
 * guard.c
 *		Whose rights the code in a job has, and that it cannot take others.
 *
 * A job's texts are code of its owner, who wrote them or let them be written,
 * and so is what they set off: functions, triggers, operators, types.  It runs
 * as the owner alone.  That means little where the session could do more:
 * after SET ROLE, RESET ROLE is all that it takes to have the session user's
 * rights.  So:
 *
 * - While a job's code runs, role and session authorization cannot be set: the
 *   server refuses it under SECURITY_LOCAL_USERID_CHANGE, as in a function that
 *   is SECURITY DEFINER.
 * - Code can have itself run later: a trigger that is deferred, a cursor WITH
 *   HOLD, which is read when the transaction commits.  So the guard stays up
 *   until the server has run all that: XACT_EVENT_PRE_COMMIT comes after it, and
 *   no code of users' after that.
 * - What a job decides by, its filter and its throttle, is evaluated also by
 *   claim_chunk(), whose transaction we do not commit.  Nothing there can be put
 *   off: SECURITY_RESTRICTED_OPERATION refuses deferred triggers, cursors WITH
 *   HOLD and temporary objects.
 * - What code leaves behind in a session may be used by whatever comes later.
 *   Its settings are undone; but a statement may also leave temporary tables,
 *   prepared statements and, where it is run at the commit, settings.  So no
 *   superuser's session runs another role's job, however it has become that role.
 * - A background worker logs on as the owner: there is nobody else to become.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "job/guard.h"

/* In force until the transaction commits or aborts */
static bool until_commit = false;
static Guard outside;

static void raise_guard(GuardKind kind, Guard *guard);
static void guard_at_transaction_end(XactEvent event, void *arg);
static bool role_may_log_on(Oid role);

/*
 * Enter code of a job's.  What it sets, such as search_path, is in force until
 * guard_leave() and no longer.  After an error, the end of the (sub)transaction
 * leaves it.
 */
void
guard_enter(GuardKind kind, Guard *guard)
{
	raise_guard(kind, guard);
	guard->nest_level = NewGUCNestLevel();
}

void
guard_leave(const Guard *guard)
{
	/* as raise_guard() found it; an error undoes it with its (sub)transaction */
	SetUserIdAndSecContext(guard->user, guard->security);
	if (guard->nest_level > 0)
		AtEOXact_GUC(false, guard->nest_level);
}

static void
raise_guard(GuardKind kind, Guard *guard)
{
	int			added = SECURITY_LOCAL_USERID_CHANGE;

	if (kind == GUARD_CONDITION)
		added |= SECURITY_RESTRICTED_OPERATION;
	GetUserIdAndSecContext(&guard->user, &guard->security);
	/* the same user, who may do less: no SET ROLE and, in a condition, nothing that outlives it */
	SetUserIdAndSecContext(guard->user, guard->security | added);
	guard->nest_level = 0;
}

/*
 * Enter GUARD_STATEMENT until this transaction has nothing more to run.  Call it
 * in every transaction in which a job's statement is executed.
 */
void
guard_until_commit(void)
{
	Assert(!until_commit);
	raise_guard(GUARD_STATEMENT, &outside);
	until_commit = true;
}

/* By the time of XACT_EVENT_ABORT the abort has restored what was in force outside. */
static void
guard_at_transaction_end(XactEvent event, void *arg)
{
	(void) arg;
	if (!until_commit)
		return;
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			guard_leave(&outside);
			until_commit = false;
			break;
		case XACT_EVENT_ABORT:
			until_commit = false;
			break;
		default:
			break;
	}
}

/* Called once, when the library is loaded. */
void
guard_install(void)
{
	RegisterXactCallback(guard_at_transaction_end, NULL);
}

/*
 * May code of this role run in this session?  Error: 42501 the session is a
 * superuser's, whatever role it has set, and the role is not.
 */
void
guard_require_session(const char *job, Oid owner)
{
	if (superuser_arg(owner) ||
		!(superuser_arg(GetSessionUserId()) || superuser_arg(GetAuthenticatedUserId())))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("a superuser's session does not run the code of role \"%s\"", GetUserNameFromId(owner, false)),
			 errdetail("What the statement, filter and throttle of job \"%s\" leave behind in the session could be used with a superuser's rights.", job),
			 errhint("Log on as that role; or SET SESSION AUTHORIZATION to it and let background workers do the job, with start_job() or workers => 1.")));
}

/*
 * May this session have background workers log on as this role?  Errors: 42501
 * it may not, or not from here, or the role may not log on.
 */
void
guard_require_worker(const char *job, Oid owner)
{
	Oid			session = GetSessionUserId();

	if (InSecurityRestrictedOperation() || InLocalUserIdChange())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("background workers cannot be started from here"),
				 errdetail("This is a SECURITY DEFINER function, code of a job, or code that the server runs by itself, such as that of an index."),
				 errhint("Start the workers of job \"%s\" in a session of its owner.", job)));
	if (session != owner &&
		(!compat_may_set_role(session, owner) || (superuser_arg(session) && !superuser_arg(owner))))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" cannot start background workers for role \"%s\"",
						GetUserNameFromId(session, false), GetUserNameFromId(owner, false)),
				 errdetail("Workers log on as the owner of the job, \"%s\".", job),
				 errhint("Start them in a session of that role; a superuser's session can SET SESSION AUTHORIZATION to it.")));
	if (!COMPAT_MAY_BYPASS_LOGIN && !role_may_log_on(owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" may not log on, so neither may its background workers", GetUserNameFromId(owner, false)),
				 errhint("Run job \"%s\" in this session with workers => 0, or ALTER ROLE ... LOGIN. From PostgreSQL 17 on, workers need no LOGIN.", job)));
	if (!compat_may_connect(MyDatabaseId, owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" may not connect to this database, so neither may its background workers",
						GetUserNameFromId(owner, false)),
				 errhint("GRANT CONNECT ON DATABASE to it, or run job \"%s\" in this session with workers => 0.", job)));
}

static bool
role_may_log_on(Oid role)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	bool		may;

	if (!HeapTupleIsValid(tuple))
		return false;
	may = ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
	ReleaseSysCache(tuple);
	return may;
}
