/*
 * subtransaction.c
 *		Running a step that may fail, without failing oneself.
 *
 * An error leaves the transaction usable only if all that was begun since is
 * undone: so the step runs in a subtransaction of its own, which also takes
 * back what it locked, connected and set.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "base/subtransaction.h"

static ErrorData *run_step_in_subtransaction(void (*step) (void *arg), void *arg, bool keep);

/*
 * Run a step.  NULL if it succeeded; else its error, in the current memory
 * context, and nothing of it has happened.  The step begins in that context,
 * and need not come back to it.
 */
ErrorData *
subtransaction_run(void (*step) (void *arg), void *arg)
{
	return run_step_in_subtransaction(step, arg, true);
}

/* The same, but what the step did is undone in any case. */
ErrorData *
subtransaction_try(void (*step) (void *arg), void *arg)
{
	return run_step_in_subtransaction(step, arg, false);
}

static ErrorData *
run_step_in_subtransaction(void (*step) (void *arg), void *arg, bool keep)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		step(arg);
		if (keep)
			ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	if (!keep || error != NULL)
		RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return error;
}
