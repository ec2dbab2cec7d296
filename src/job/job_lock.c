/*
 * job_lock.c
 *		Who is running a job: locks that are given up with the session.
 *
 * Nothing stored says that a job is running: whoever runs one holds an advisory
 * lock for it, shared with the others, which goes with its session or with the
 * end of the call.  It is numbered by the ledger's table and the job's id, and
 * of a kind of its own, so that no SQL function can take it.  (Only advisory
 * locks are given up by a session that ends otherwise than in a transaction.)
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lock.h"

#include "base/compat.h"
#include "job/job_lock.h"
#include "job/ledger.h"

/* In an advisory lock's tag; SQL functions make those of kinds 1 and 2 */
#define LOCK_RUNNING 3
#define LOCK_TURN 4

/* The table that the locks are numbered by; known once one was asked for */
static Oid	lock_class = InvalidOid;

/* The job that this session runs, or 0 */
static int64 running_job = 0;

static void set_lock_tag(LOCKTAG *tag, int64 id, uint16 kind);

/*
 * Show that this session runs the job, until job_unlock_running() or its end.
 * Called at each step, since the job's code may have given up all advisory locks.
 */
void
job_lock_running(int64 id)
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
job_unlock_running(int64 id)
{
	LOCKTAG		tag;

	set_lock_tag(&tag, id, LOCK_RUNNING);
	if (compat_lock_held(&tag, ShareLock))
		(void) LockRelease(&tag, ShareLock, true);
	running_job = 0;
}

/* Is it code of this job that calls? */
bool
job_is_running_here(int64 id)
{
	return running_job == id;
}

/* False if somebody runs it.  Keeps others from running it until the transaction ends. */
bool
job_lock_to_drop(int64 id)
{
	LOCKTAG		tag;

	lock_class = ledger_jobs_relid();
	set_lock_tag(&tag, id, LOCK_RUNNING);
	return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

/*
 * Hold a turn of the job to the end of the transaction: alone, or one that its
 * runners share.  Waits for others' to end.
 */
void
job_lock_turn(int64 id, bool alone)
{
	LOCKTAG		tag;

	set_lock_tag(&tag, id, LOCK_TURN);
	(void) LockAcquire(&tag, alone ? ExclusiveLock : ShareLock, false, false);
}

static void
set_lock_tag(LOCKTAG *tag, int64 id, uint16 kind)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, lock_class, (uint32) id, kind);
}
