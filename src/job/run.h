/*
 * run.h
 *		Running a job: the loop over its chunks, in a session or in a worker.
 */
#ifndef PG_CHUNKED_RUN_H
#define PG_CHUNKED_RUN_H

#include "job/job.h"

typedef enum RunOutcome
{
	RUN_GOES_ON,
	RUN_DONE,
	RUN_PAUSED,
	RUN_CANCELLED,
	RUN_STOPPED,				/* by a chunk that failed */
	RUN_DROPPED
} RunOutcome;

extern RunOutcome run_job(int64 id, bool in_procedure);
extern RunOutcome run_outcome(const Job *job);
extern void run_by_fresh_snapshots(void);

#endif							/* PG_CHUNKED_RUN_H */
