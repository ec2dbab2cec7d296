/*
 * lsn.c
 *		SQL entry point wait_for_lsn(): for readers of chunks on a standby.
 *
 * A chunk is claimed on the primary.  Who reads it on a standby must wait until
 * the standby has replayed what the primary had written when it was claimed, or
 * rows are missing that the chunk holds.  Polls, as the server's own means to
 * wait came with PostgreSQL 19 alone.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "utils/fmgrprotos.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

#include "api/arguments.h"
#include "base/latch_wait.h"
#include "job/job.h"

/* Between looks, in ms: at first, and at most */
#define POLL_FIRST 1
#define POLL_MOST 50

PG_FUNCTION_INFO_V1(chunked_wait_for_lsn);

static XLogRecPtr lsn_reached(void);
static char *lsn_text(XLogRecPtr lsn);

/*
 * chunked.wait_for_lsn(lsn pg_lsn, timeout interval) RETURNS void
 *
 * Returns when the server has the WAL up to lsn, as a standby: has replayed it.
 * Takes no lock.  Errors: 22004 a null, 22023 a bad timeout, 25001 the
 * transaction's snapshot is older than what would be waited for, 55000 it has
 * not after that time.
 */
Datum
chunked_wait_for_lsn(PG_FUNCTION_ARGS)
{
	XLogRecPtr	lsn;
	double		timeout;
	TimestampTz start = GetCurrentTimestamp();
	long		poll = POLL_FIRST;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("lsn and timeout must not be null"),
				 errhint("Give lsn as claim_chunk() returned it.")));
	lsn = PG_GETARG_LSN(0);
	timeout = job_interval_ms(argument_interval(fcinfo, 1, "timeout", true));
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("wait_for_lsn() must be called before a transaction that uses a single snapshot"),
				 errdetail("This transaction would go on reading what was there before the wait."),
				 errhint("Call it by itself, and BEGIN ISOLATION LEVEL REPEATABLE READ afterwards.")));

	while (lsn_reached() < lsn)
	{
		if (GetCurrentTimestamp() - start >= timeout * 1000)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("this server is at %s, which is before %s", lsn_text(lsn_reached()), lsn_text(lsn)),
					 RecoveryInProgress() ?
					 errhint("Wait again, or longer; or read on the primary.") :
					 errhint("It is not a standby, and may have lost the end of its predecessor's WAL: claim the chunk again.")));
		latch_wait(poll);
		poll = Min(poll * 2, POLL_MOST);
	}
	PG_RETURN_VOID();
}

static XLogRecPtr
lsn_reached(void)
{
	return RecoveryInProgress() ? GetXLogReplayRecPtr(NULL) : GetXLogInsertRecPtr();
}

/* As the server writes it, which differs between majors */
static char *
lsn_text(XLogRecPtr lsn)
{
	return DatumGetCString(DirectFunctionCall1(pg_lsn_out, LSNGetDatum(lsn)));
}
