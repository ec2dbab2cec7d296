/*
 * statement.c
 *		A job's statement, prepared and executed for one chunk after another.
 *
 * A chunk's condition is put in with parameters of the key's types: chunks of
 * the same shape share one plan, made for the values of the first of them.
 */
#include "postgres.h"

#include "tcop/dest.h"
#include "utils/memutils.h"
#include "utils/plancache.h"

#include "key/redirect.h"
#include "statement/full_scan.h"
#include "statement/statement.h"
#include "statement/statement_check.h"
#include "statement/statement_plan.h"
#include "statement/statement_text.h"
#include "walk/read_ahead.h"

/* Shapes of a chunk's condition whose plans are kept: a ladder has some more */
#define MAX_PLANS 16

/* A chunk of so many times the rows is planned for by itself */
#define REPLAN_GROWTH 10

typedef struct StatementPlan
{
	char	   *sql;
	SPIPlanPtr	plan;
	int			generation;		/* of the plan that was checked; 0: none yet */
	double		rows;			/* that it was planned for; 0: not known */
} StatementPlan;

struct Statement
{
	/* fixed */
	MemoryContext context;
	MemoryContextCallback release;	/* of the plans, with the context */
	StatementText text;

	/* changing */
	int			nplans;
	StatementPlan plans[MAX_PLANS];
	SPIPlanPtr	plan;			/* of the current chunk */
	ParamListInfo params;
	double		rows;			/* of that chunk; 0: not known */
};

static StatementPlan *find_plan(Statement *statement, const Walk *walk, const char *sql,
								const RangeQuery *query);
static void free_plans(void *arg);
static bool has_types(SPIPlanPtr plan, const RangeQuery *query);

/*
 * Read a statement, in a memory context of its own under the current one.
 * Errors: 42601 it has no {chunk}, a malformed one, a parameter or a syntax
 * error, or is more than one statement; 0A000 it is of another kind than
 * INSERT, UPDATE, DELETE, MERGE and SELECT, or {chunk} does not restrict it.
 */
Statement *
statement_parse(const char *text)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pg_chunked statement",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	Statement  *statement = palloc0(sizeof(Statement));

	statement->context = context;
	statement->release.func = free_plans;
	statement->release.arg = statement;
	MemoryContextRegisterResetCallback(context, &statement->release);
	statement_text_read(&statement->text, text);
	MemoryContextSwitchTo(caller);
	return statement;
}

void
statement_free(Statement *statement)
{
	MemoryContextDelete(statement->context);
}

/* Plans that are kept go with the statement, and where an error ends it, too. */
static void
free_plans(void *arg)
{
	Statement  *statement = arg;

	for (int i = 0; i < statement->nplans; i++)
		SPI_freeplan(statement->plans[i].plan);
}

/* The statement for a range of so many rows, as one would write it by hand. */
char *
statement_with_literals(const Statement *statement, const Walk *walk, const Range *range, double rows)
{
	return statement_text_with_literals(&statement->text, walk, range, rows);
}

/*
 * Make ready to execute the statement for a range of so many rows (0: not
 * known).  SPI must be connected, and stay so until it is executed.  Errors:
 * those of statement_check(), of parse analysis and of planning.
 */
void
statement_prepare(Statement *statement, const Walk *walk, const Range *range, double rows)
{
	RangeQuery *query = NULL;
	StatementPlan *slot = NULL;
	ParamListInfo params;
	int			generation;

	/* a filter's chunk has more rows, which the statement sees, than it counts */
	statement->rows = walk->filter == NULL ? rows : 0;
	if (!walk->redirected)
	{
		char	   *sql = statement_text_with_parameters(&statement->text, walk, range, rows, &query);

		slot = find_plan(statement, walk, sql, query);
	}
	/* where a plan for parameters cannot be made, or not kept: one for each chunk, for its values */
	if (slot == NULL ||
		((slot->generation == 0 || !SPI_plan_is_valid(slot->plan)) && redirect_of_plan(slot->plan)))
	{
		query = palloc0(sizeof(RangeQuery));
		slot = find_plan(statement, walk, statement_with_literals(statement, walk, range, rows), query);
	}
	params = makeParamList(query->nparams);
	for (int i = 0; i < query->nparams; i++)
	{
		params->params[i].value = query->values[i];
		params->params[i].ptype = query->types[i];
		params->params[i].isnull = false;
		params->params[i].pflags = 0;	/* not a constant: the plan is kept */
	}
	statement->params = params;
	statement->plan = slot->plan;
	statement_plan_make(statement->plan, walk, params, statement->rows);

	/* planned again: something under it has changed, and its names with it */
	generation = ((CachedPlanSource *) linitial(SPI_plan_get_plan_sources(slot->plan)))->generation;
	if (slot->generation != 0 && slot->generation != generation)
		statement_check(slot->plan, &statement->text, walk);
	if (slot->generation != generation)
		slot->rows = statement->rows;
	slot->generation = generation;
}

/* What it is executed by, once prepared. */
SPIPlanPtr
statement_plan(const Statement *statement)
{
	return statement->plan;
}

/* Execute it; returns the rows that it processed. */
int64
statement_execute(Statement *statement)
{
	SPIExecuteOptions options = {0};
	const char *source = ((CachedPlanSource *) linitial(SPI_plan_get_plan_sources(statement->plan)))->query_string;
	const char *before;
	volatile int result = 0;

	options.params = statement->params;
	options.dest = None_Receiver;
	before = read_ahead_expect(source);
	PG_TRY();
	{
		result = SPI_execute_plan_extended(statement->plan, &options);
	}
	PG_FINALLY();
	{
		(void) read_ahead_expect(before);
	}
	PG_END_TRY();
	if (result < 0)
		elog(ERROR, "SPI_execute_plan_extended failed: %s", SPI_result_code_string(result));
	return (int64) SPI_processed;
}

/*
 * Refuse the prepared statement if it reads a large table in full, which it
 * would do for every one of so many chunks.  SPI must be connected.  Error:
 * 0A000, with the index to create.
 */
void
statement_check_plan(Statement *statement, const Walk *walk, double nchunks)
{
	full_scan_refuse(statement->plan, walk, statement->rows, nchunks);
}

/* The plan of the prepared statement, as EXPLAIN shows it. */
char *
statement_explain(Statement *statement)
{
	return statement_plan_explain(statement->plan, statement->params);
}

/*
 * Refuse what the author of a new job cannot have meant, and warn of what he may not
 * have, in the prepared statement.  SPI must be connected.  Error: 0A000.
 */
void
statement_review(const Statement *statement, const Walk *walk)
{
	statement_check_review(statement->plan, &statement->text, walk);
}

/* Refuse the prepared statement if it writes to foreign tables.  Error: 0A000. */
void
statement_refuse_foreign_writes(const Statement *statement)
{
	statement_check_refuse_foreign_writes(statement->plan);
}

/*
 * The kept plan of this text, prepared if it is new, or if what there is was
 * made for values of other types, or for a far smaller chunk: by it, many more
 * rows would be looked up one by one.
 */
static StatementPlan *
find_plan(Statement *statement, const Walk *walk, const char *sql, const RangeQuery *query)
{
	StatementPlan *slot = NULL;
	SPIPlanPtr	plan;
	ErrorContextCallback callback = {.callback = statement_text_hint,.arg = &statement->text};

	for (int i = 0; i < statement->nplans && slot == NULL; i++)
		if (strcmp(statement->plans[i].sql, sql) == 0)
			slot = &statement->plans[i];
	if (slot != NULL && has_types(slot->plan, query) &&
		(slot->rows == 0 || statement->rows <= slot->rows * REPLAN_GROWTH))
		return slot;

	callback.previous = error_context_stack;
	error_context_stack = &callback;
	plan = SPI_prepare_cursor(sql, query->nparams, query->types, CURSOR_OPT_GENERIC_PLAN);
	error_context_stack = callback.previous;
	if (plan == NULL)
		elog(ERROR, "SPI_prepare_cursor failed: %s", SPI_result_code_string(SPI_result));
	statement_check(plan, &statement->text, walk);

	if (slot != NULL)
	{
		SPIPlanPtr	old = slot->plan;

		SPI_keepplan(plan);
		slot->plan = plan;
		SPI_freeplan(old);
		slot->generation = 0;
		return slot;
	}
	if (statement->nplans == MAX_PLANS)
	{
		slot = &statement->plans[--statement->nplans];
		SPI_freeplan(slot->plan);
		pfree(slot->sql);
	}
	slot = &statement->plans[statement->nplans];
	slot->sql = MemoryContextStrdup(statement->context, sql);
	SPI_keepplan(plan);
	slot->plan = plan;
	slot->generation = 0;
	slot->rows = 0;
	statement->nplans++;
	return slot;
}

/* A column of the key may have another type by now. */
static bool
has_types(SPIPlanPtr plan, const RangeQuery *query)
{
	for (int i = 0; i < query->nparams; i++)
		if (SPI_getargtypeid(plan, i) != query->types[i])
			return false;
	return true;
}
