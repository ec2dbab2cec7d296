/*
 * throttle.c
 *		What holds a job up: a standby's lag, or a condition of the user's.
 *
 * Whatever cannot be found out holds the job up as well, and is shown: a
 * throttle that fails says that something is wrong where the job works.
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"

#include "base/parse.h"
#include "base/subtransaction.h"
#include "job/throttle.h"

#define SELECT_LAG \
	"SELECT s.application_name, s.replay_lag FROM pg_catalog.pg_stat_replication s" \
	" WHERE s.replay_lag IS NOT NULL ORDER BY s.replay_lag DESC LIMIT 1"

typedef struct Condition
{
	const char *throttle;
	bool		holds;
} Condition;

static void hint_at_throttle(void *arg);
static char *lag_reason(const Job *job);
static char *condition_reason(const Job *job);
static void evaluate_condition(void *arg);
static char *throttle_query(const char *throttle);

/*
 * Is it a boolean expression or query?  Errors: 42601, 42804 it is not boolean,
 * and those of parse analysis.
 */
void
throttle_check(const char *throttle)
{
	char	   *complaint;
	List	   *parsed = parse_text(throttle_query(throttle), RAW_PARSE_DEFAULT, &complaint);
	SPIPlanPtr	plan;
	ErrorContextCallback callback = {.callback = hint_at_throttle};

	if (complaint != NULL || list_length(parsed) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 complaint != NULL ?
				 errmsg("throttle is not a boolean expression or query: %s", complaint) :
				 errmsg("throttle is not a boolean expression or query"),
				 errhint("Write a condition, or a SELECT that gives one: 'SELECT count(*) > 20 FROM pg_stat_activity'.")));
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	plan = SPI_prepare(throttle_query(throttle), 0, NULL);
	error_context_stack = callback.previous;
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	SPI_freeplan(plan);
}

/* For errors of its names and types. */
static void
hint_at_throttle(void *arg)
{
	(void) arg;
	errhint("This is the throttle: a condition, or a SELECT that gives one: 'SELECT count(*) > 20 FROM pg_stat_activity'.");
}

/* Others see no lag, which would look like none.  Error: 42501. */
void
throttle_check_lag_visible(void)
{
	if (!has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("max_lag needs the privileges of role pg_monitor"),
				 errdetail("Without them pg_stat_replication does not show how far the standbys lag."),
				 errhint("Grant them: GRANT pg_monitor TO %s", GetUserNameFromId(GetUserId(), false))));
}

/*
 * Why the job is to wait, or NULL.  SPI must be connected.  The caller
 * is within job_scope_enter().
 */
char *
throttle_reason(const Job *job)
{
	char	   *reason = NULL;

	if (job->max_lag > 0)
		reason = lag_reason(job);
	if (reason == NULL && job->throttle != NULL)
		reason = condition_reason(job);
	return reason;
}

static char *
lag_reason(const Job *job)
{
	bool		isnull;
	Interval   *lag;

	if (!has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS))
		return pstrdup("lag cannot be seen without pg_monitor");
	if (SPI_execute(SELECT_LAG, true, 1) != SPI_OK_SELECT || SPI_processed == 0)
		return NULL;
	lag = DatumGetIntervalP(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	if (isnull || job_interval_ms(lag) <= job->max_lag)
		return NULL;

	/* not how much, so that the reason stays the same and is written once */
	return psprintf("standby %s lags more than %.0f ms",
					SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1), job->max_lag);
}

/* The condition is evaluated in a subtransaction, since it may fail. */
static char *
condition_reason(const Job *job)
{
	Condition	condition = {.throttle = job->throttle};
	ErrorData  *error = subtransaction_run(evaluate_condition, &condition);

	if (error == NULL)
		return condition.holds ? pstrdup("throttle") : NULL;
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		ReThrowError(error);
	return psprintf("throttle fails: %s", error->message);
}

/* A step in a subtransaction. */
static void
evaluate_condition(void *arg)
{
	Condition  *condition = arg;

	SPI_connect();
	if (SPI_execute(throttle_query(condition->throttle), false, 2) == SPI_OK_SELECT && SPI_processed > 0)
	{
		bool		isnull;

		condition->holds = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	}
	SPI_finish();
}

/* In parentheses a whole query is an expression as well. */
static char *
throttle_query(const char *throttle)
{
	return psprintf("SELECT (%s\n) IS TRUE", throttle);
}
