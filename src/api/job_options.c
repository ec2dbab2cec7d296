/*
 * job_options.c
 *		The options of jobs as arguments of create_job(), run() and alter_job().
 *
 * What can be seen to be wrong of an option by itself is an error here.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "api/arguments.h"
#include "api/job_options.h"
#include "chunk/chunk_blocks.h"

static bool *argument_check_plan(FunctionCallInfo fcinfo, int argno);
static int	argument_attempts(FunctionCallInfo fcinfo, int argno);
static char *argument_on_error(FunctionCallInfo fcinfo, int argno);
static bool argument_on_foreign_write(FunctionCallInfo fcinfo, int argno);
static void check_target_time(const char *statement);

/* The arguments of create_job(), or of run().  Errors: 22004, 22023, 0A000. */
void
job_options_read(FunctionCallInfo fcinfo, bool of_run, JobOptions *options)
{
	/* run() has one more ahead of these */
	int			more = of_run ? 1 : 0;
	int			key = CREATE_JOB_KEY + more;
	int			filter = CREATE_JOB_FILTER + more;
	int			after = CREATE_JOB_AFTER + more;
	int			upto = CREATE_JOB_UPTO + more;

	memset(options, 0, sizeof(JobOptions));
	options->relid = argument_relation(fcinfo, CREATE_JOB_RELATION);
	options->statement = argument_text(fcinfo, CREATE_JOB_STATEMENT);
	options->name = argument_text(fcinfo, CREATE_JOB_NAME);
	options->chunk_size = argument_positive(fcinfo, CREATE_JOB_CHUNK_SIZE, "chunk_size", 1000);
	options->key = argument_key(fcinfo, key);
	options->filter = argument_filter(fcinfo, filter);
	options->target_time = argument_interval(fcinfo, CREATE_JOB_TARGET_TIME + more, "target_time", false);
	argument_require(fcinfo, CREATE_JOB_PAUSE + more, "pause",
					 "Leave it out for none, or give an interval, such as '500 ms'.");
	options->pause = argument_interval(fcinfo, CREATE_JOB_PAUSE + more, "pause", true);
	options->max_lag = argument_interval(fcinfo, CREATE_JOB_MAX_LAG + more, "max_lag", false);
	options->throttle = argument_text(fcinfo, CREATE_JOB_THROTTLE + more);
	if (options->throttle != NULL && options->throttle[0] == '\0')
		options->throttle = NULL;	/* as alter_job() turns it off */
	options->max_attempts = argument_attempts(fcinfo, CREATE_JOB_MAX_ATTEMPTS + more);
	options->check_plan = argument_check_plan(fcinfo, CREATE_JOB_CHECK_PLAN + more);
	options->after = argument_end(fcinfo, after);
	options->upto = argument_end(fcinfo, upto);
	options->settings = argument_text(fcinfo, CREATE_JOB_SETTINGS + more);
	options->foreign_writes = argument_on_foreign_write(fcinfo, CREATE_JOB_ON_FOREIGN_WRITE + more);
	options->on_error = argument_on_error(fcinfo, CREATE_JOB_ON_ERROR + more);

	if (options->name != NULL && options->name[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("name must not be empty"),
				 errhint("Leave it out to have one made from the relation's name.")));
	if (chunk_blocks_is_key(options->key))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a job cannot walk by ctid"),
				 errdetail("Rows move between blocks from one transaction to the next, so some would be missed."),
				 errhint("Add a primary key, or pass a key.")));
	if (options->target_time != NULL)
		check_target_time(options->statement);
}

/*
 * What alter_job() is to change: those of its arguments that are not null, but
 * for owner.  Errors: 22023.
 */
void
job_options_read_changes(FunctionCallInfo fcinfo, const Job *job, JobOptions *options)
{
	memset(options, 0, sizeof(JobOptions));
	if (!PG_ARGISNULL(ALTER_JOB_CHUNK_SIZE))
		options->chunk_size = argument_positive(fcinfo, ALTER_JOB_CHUNK_SIZE, "chunk_size", 1000);
	options->target_time = argument_interval(fcinfo, ALTER_JOB_TARGET_TIME, "target_time", true);
	options->pause = argument_interval(fcinfo, ALTER_JOB_PAUSE, "pause", true);
	options->max_lag = argument_interval(fcinfo, ALTER_JOB_MAX_LAG, "max_lag", true);
	options->throttle = argument_text(fcinfo, ALTER_JOB_THROTTLE);
	if (options->target_time != NULL)
		check_target_time(job->statement);
	if (!PG_ARGISNULL(ALTER_JOB_MAX_ATTEMPTS))
		options->max_attempts = argument_attempts(fcinfo, ALTER_JOB_MAX_ATTEMPTS);
	if (!PG_ARGISNULL(ALTER_JOB_ON_ERROR))
		options->on_error = argument_on_error(fcinfo, ALTER_JOB_ON_ERROR);
	if (!PG_ARGISNULL(ALTER_JOB_CHECK_PLAN))
		options->check_plan = argument_check_plan(fcinfo, ALTER_JOB_CHECK_PLAN);
}

/* Error: 22004. */
static bool *
argument_check_plan(FunctionCallInfo fcinfo, int argno)
{
	bool	   *check_plan = palloc(sizeof(bool));

	*check_plan = argument_boolean(fcinfo, argno, "check_plan");
	return check_plan;
}

/* Errors: 22004, 22023. */
static int
argument_attempts(FunctionCallInfo fcinfo, int argno)
{
	int64		attempts = argument_positive(fcinfo, argno, "max_attempts", 5);

	if (attempts > PG_INT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_attempts must be %d at most", PG_INT32_MAX),
				 errhint("Give a number, such as 5.")));
	return (int) attempts;
}

/* Error: 22023. */
static char *
argument_on_error(FunctionCallInfo fcinfo, int argno)
{
	char	   *on_error = PG_ARGISNULL(argno) ? "null" : argument_text(fcinfo, argno);

	if (strcmp(on_error, "stop") != 0 && strcmp(on_error, "continue") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("on_error must be 'stop' or 'continue', not '%s'", on_error),
				 errhint("'stop' ends the job at the first row that fails, 'continue' goes on with the rest.")));
	return on_error;
}

/* Is writing through foreign tables allowed?  Error: 22023. */
static bool
argument_on_foreign_write(FunctionCallInfo fcinfo, int argno)
{
	const char *on_foreign_write = PG_ARGISNULL(argno) ? "null" : argument_text(fcinfo, argno);

	if (strcmp(on_foreign_write, "refuse") != 0 && strcmp(on_foreign_write, "at_least_once") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("on_foreign_write must be 'refuse' or 'at_least_once', not '%s'", on_foreign_write),
				 errhint("With 'at_least_once' a chunk may be done again on a foreign server, if another one fails at the commit.")));
	return strcmp(on_foreign_write, "at_least_once") == 0;
}

/* Error: 22023 a target for a job that has no statement. */
static void
check_target_time(const char *statement)
{
	if (statement == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("target_time needs a statement"),
				 errhint("How long workers outside the server take for a chunk is not known; choose chunk_size.")));
}
