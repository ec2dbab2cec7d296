/*
 * job_retry.h
 *		What becomes of an attempt at a chunk that failed.
 */
#ifndef PG_CHUNKED_JOB_RETRY_H
#define PG_CHUNKED_JOB_RETRY_H

#include "job/job_chunk.h"

/* Why it failed */
typedef enum JobFailureCause
{
	FAILED_ROWS,				/* something in its rows: divide it when its attempts are used up */
	FAILED_BLOCKED,				/* others at work: try again, on less, for ever */
	FAILED_SLOW					/* more than can be done in time: divide it at once */
} JobFailureCause;

typedef struct JobFailure
{
	JobFailureCause cause;
	LedgerError error;
} JobFailure;

extern bool job_retry_is_for_others(int sqlerrcode);
extern bool job_retry_chunk(const Job *job, const JobChunk *chunk, const JobFailure *failure);

#endif							/* PG_CHUNKED_JOB_RETRY_H */
