/*
 * run_error.h
 *		Whose doing is an error of a job's statement?
 */
#ifndef PG_CHUNKED_RUN_ERROR_H
#define PG_CHUNKED_RUN_ERROR_H

#include "job/job_retry.h"
#include "statement/statement.h"

typedef enum ErrorKind
{
	OF_ROWS,					/* other rows may fare better */
	OF_OTHERS,					/* others at work: time cures it */
	OF_SERVER,					/* or of the statement: it ends the run */
	IN_DOUBT					/* of the rows or of the statement */
} ErrorKind;

/* The last chunk that this run has done, which tells errors of the statement from those of rows */
typedef struct RunDone
{
	Jsonb	   *after;			/* where it starts, or NULL */
	Jsonb	   *upto;			/* and ends; NULL: none yet */
} RunDone;

extern ErrorKind run_error_classify(const ErrorData *error);
extern ErrorKind run_error_decide(const Job *job, const JobChunk *chunk, Statement *statement,
								  const RunDone *done, const ErrorData *error);
extern void run_error_describe(const ErrorData *error, ErrorKind kind, JobFailure *failure);

#endif							/* PG_CHUNKED_RUN_ERROR_H */
