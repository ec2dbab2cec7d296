/*
 * latch_wait.c
 *		Sleeping, as a backend should.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"

#include "base/latch_wait.h"

/* So many milliseconds, or until something sets the latch, such as a worker that ends or a cancel. */
void
latch_wait(long ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}
