/*
 * job_options.h
 *		The options of jobs as arguments of create_job(), run() and alter_job().
 *
 * A new option of jobs is one in the install script, here as an argument, in
 * JobOptions (job.h), in the readers (job_options.c), in the ledger's row (job.c),
 * and where it is used.
 */
#ifndef PG_CHUNKED_JOB_OPTIONS_H
#define PG_CHUNKED_JOB_OPTIONS_H

#include "fmgr.h"
#include "job/job.h"

/* Of create_job() */
typedef enum CreateJobArgument
{
	CREATE_JOB_RELATION,
	CREATE_JOB_STATEMENT,
	CREATE_JOB_NAME,
	CREATE_JOB_CHUNK_SIZE,
	CREATE_JOB_KEY,
	CREATE_JOB_FILTER,
	CREATE_JOB_ARGS,
	CREATE_JOB_TARGET_TIME,
	CREATE_JOB_PAUSE,
	CREATE_JOB_MAX_LAG,
	CREATE_JOB_THROTTLE,
	CREATE_JOB_MAX_ATTEMPTS,
	CREATE_JOB_ON_ERROR,
	CREATE_JOB_CHECK_PLAN,
	CREATE_JOB_AFTER,
	CREATE_JOB_UPTO,
	CREATE_JOB_SETTINGS,
	CREATE_JOB_ON_FOREIGN_WRITE,
	CREATE_JOB_ARGUMENTS
} CreateJobArgument;

/* Those of run() are the same, with one among them and one after them */
#define RUN_WORKERS CREATE_JOB_KEY
#define RUN_DRY_RUN (CREATE_JOB_ARGUMENTS + 1)

typedef enum AlterJobArgument
{
	ALTER_JOB_NAME,
	ALTER_JOB_CHUNK_SIZE,
	ALTER_JOB_TARGET_TIME,
	ALTER_JOB_PAUSE,
	ALTER_JOB_MAX_LAG,
	ALTER_JOB_THROTTLE,
	ALTER_JOB_MAX_ATTEMPTS,
	ALTER_JOB_ON_ERROR,
	ALTER_JOB_CHECK_PLAN,
	ALTER_JOB_OWNER
} AlterJobArgument;

extern void job_options_read(FunctionCallInfo fcinfo, bool of_run, JobOptions *options);
extern void job_options_read_changes(FunctionCallInfo fcinfo, const Job *job, JobOptions *options);

#endif							/* PG_CHUNKED_JOB_OPTIONS_H */
