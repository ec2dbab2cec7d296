/*
 * run_timeout.c
 *		statement_timeout for the execution of a job's statement on a chunk.
 *
 * A timeout of our own, so that it can be distinguished from a cancel by the user,
 * which ends the run.
 */
#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/timeout.h"
#include "utils/wait_event.h"

#include "job/run_timeout.h"

/* Of this session: it is registered once */
static TimeoutId chunk_timeout = MAX_TIMEOUTS;

/* Since it was started last */
static volatile sig_atomic_t timed_out = TIMEOUT_NOT_FIRED;

static void timeout_fired(void);

/* Start it, if statement_timeout is set; within run_timeout_within(). */
void
run_timeout_start(void)
{
	timed_out = TIMEOUT_NOT_FIRED;
	if (StatementTimeout <= 0)
		return;
	if (chunk_timeout == MAX_TIMEOUTS)
		chunk_timeout = RegisterTimeout(USER_TIMEOUT, timeout_fired);
	enable_timeout_after(chunk_timeout, StatementTimeout);
}

/* Call what may start the timeout: it is stopped then, whatever happens. */
void
run_timeout_within(void (*execute) (void *arg), void *arg)
{
	PG_TRY();
	{
		execute(arg);
	}
	PG_CATCH();
	{
		run_timeout_stop();
		PG_RE_THROW();
	}
	PG_END_TRY();
	run_timeout_stop();
}

void
run_timeout_stop(void)
{
	if (chunk_timeout == MAX_TIMEOUTS)
		return;
	disable_timeout(chunk_timeout, false);

	/* one that fires after the statement's end is not to cancel the job */
	if (timed_out != TIMEOUT_NOT_FIRED)
		QueryCancelPending = false;
}

/* Has it fired? */
RunTimeout
run_timeout_last(void)
{
	return (RunTimeout) timed_out;
}

/* What it ended has been dealt with. */
void
run_timeout_forget(void)
{
	timed_out = TIMEOUT_NOT_FIRED;
}

/* In a signal handler.  A cancel that came first stays what it is. */
static void
timeout_fired(void)
{
	if (QueryCancelPending)
		return;
	timed_out = (MyProc->wait_event_info & 0xFF000000U) == PG_WAIT_LOCK ?
		TIMEOUT_FIRED_BLOCKED : TIMEOUT_FIRED;
	QueryCancelPending = true;
	InterruptPending = true;
	SetLatch(MyLatch);
}
