/*
 * job_progress.h
 *		What the view chunked.progress says of a job, for its callers.
 */
#ifndef PG_CHUNKED_JOB_PROGRESS_H
#define PG_CHUNKED_JOB_PROGRESS_H

#include "job/job.h"

typedef struct JobSummary
{
	char	   *text;			/* chunks, rows, time, retries, failures */
	int64		failed;			/* chunks */
	char	   *affected;		/* rows that were processed; NULL: as many as the text says */
} JobSummary;

extern void job_progress_show(int64 id);
extern bool job_progress_summary(int64 id, double seconds, JobSummary *summary);

#endif							/* PG_CHUNKED_JOB_PROGRESS_H */
