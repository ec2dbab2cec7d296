/*
 * job_create.c
 *		Creating a job: its options checked, its statement tried out, its end
 *		fixed.
 *
 * All that can be known to be wrong is an error here, before anything runs: the
 * statement is prepared for the job's first chunk, and its plan looked at.
 */
#include "postgres.h"

#include <math.h>

#include "access/table.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/plancache.h"
#include "utils/rel.h"

#include "api/arguments.h"
#include "base/relation.h"
#include "chunk/chunk_blocks.h"
#include "chunk/count.h"
#include "job/job.h"
#include "job/job_chunk.h"
#include "job/ledger.h"
#include "job/reference.h"
#include "job/throttle.h"
#include "statement/statement.h"
#include "walk/row_security.h"
#include "walk/walk_read.h"

/* What is found out about a job before it is there */
typedef struct JobPlan
{
	Walk	   *walk;
	Position   *after;			/* where it starts; NULL: from the start */
	Position   *last;			/* the high-water mark; NULL: no rows */
	double		rows;			/* estimate */
	Range		first;			/* the first chunk, if there are rows */
	Statement  *statement;		/* or NULL */
} JobPlan;

PG_FUNCTION_INFO_V1(chunked_create_job);

static LedgerQuery insert_job =
LEDGER_QUERY("INSERT INTO chunked.ledger_jobs (name, owner, relation, statement, chunk_size, key, filter,"
			 " target_time, pause, max_lag, throttle, max_attempts, on_error, check_plan, search_path, settings, key_described,"
			 " high_water, total_rows, on_foreign_write, key_columns)"
			 " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)"
			 " ON CONFLICT DO NOTHING RETURNING id",
			 TEXTOID, OIDOID, OIDOID, TEXTOID, INT8OID, TEXTARRAYOID, TEXTOID,
			 INTERVALOID, INTERVALOID, INTERVALOID, TEXTOID, INT4OID, TEXTOID, BOOLOID, TEXTOID,
			 TEXTARRAYOID, TEXTOID, JSONBOID, INT8OID, TEXTOID, INT8ARRAYOID);
static LedgerQuery select_last_number =
LEDGER_QUERY("SELECT coalesce(max(substr(name, length($1) + 2)::numeric), 0)::bigint FROM chunked.ledger_jobs"
			 " WHERE owner::oid = $2 AND starts_with(name, $1 || '-')"
			 " AND substr(name, length($1) + 2) ~ '^[0-9]{1,15}$'", TEXTOID, OIDOID);

static LedgerQuery select_unfinished =
LEDGER_QUERY("SELECT j.name FROM chunked.ledger_jobs j JOIN chunked.ledger_carving v ON v.job = j.id"
			 " WHERE j.owner::oid = $1 AND j.relation::oid = $2 AND j.statement = $3 AND NOT j.cancelled"
			 " AND (NOT v.carved_all OR EXISTS (SELECT FROM chunked.ledger_chunks c"
			 " WHERE c.job = j.id AND c.state <> 'done' AND c.state = 'pending'))"
			 " ORDER BY j.id DESC LIMIT 1", OIDOID, OIDOID, TEXTOID);

static void notice_unfinished(const JobOptions *options);
static Interval *argument_interval(FunctionCallInfo fcinfo, int argno, const char *name, bool zero);
static void hint_at_key(void *arg);
static void plan_job(const JobOptions *options, Relation rel, JobPlan *plan);
static void warn_row_security(const Walk *walk, Relation rel);
static void find_first_chunk(const JobOptions *options, JobPlan *plan);
static double estimate_rows(Walk *walk, Relation rel, const Range *range);
static Datum column_references(Oid relid, const WalkKey *key);
static int64 insert(const JobOptions *options, const char *name, const WalkKey *key, Jsonb *high_water,
					double rows);
static void show_statement(const char *label, const char *text);

/*
 * chunked.create_job(relation regclass, statement text, name text,
 *					  chunk_size bigint, key text[], filter text,
 *					  target_time interval, pause interval, max_lag interval,
 *					  throttle text, max_attempts int, on_error text,
 *					  check_plan boolean, after jsonb, upto jsonb,
 *					  settings text, on_foreign_write text) RETURNS text
 *
 * The name of the new job.  Reads the relation under AccessShareLock.  Errors:
 * those of statement_parse(), statement_prepare(), statement_check_plan(),
 * throttle_check() and page(); 22023 a bad option, 42710 the name is taken.
 */
Datum
chunked_create_job(PG_FUNCTION_ARGS)
{
	JobOptions	options;

	job_read_options(fcinfo, 4, &options);
	PG_RETURN_TEXT_P(cstring_to_text(job_create(&options)));
}

/*
 * Read the options that create_job() and run() have in common; those from key
 * on start at this argument.
 */
void
job_read_options(FunctionCallInfo fcinfo, int argno, JobOptions *options)
{
	memset(options, 0, sizeof(JobOptions));
	options->relid = argument_relation(fcinfo, 0);
	options->statement = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	options->name = PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2));
	options->chunk_size = argument_positive(fcinfo, 3, "chunk_size");
	options->key = PG_ARGISNULL(argno) ? NULL : PG_GETARG_ARRAYTYPE_P_COPY(argno);
	argno++;
	options->filter = PG_ARGISNULL(argno) ? NULL : PG_GETARG_TEXT_P_COPY(argno);
	argno++;
	options->target_time = argument_interval(fcinfo, argno++, "target_time", false);
	options->pause = argument_interval(fcinfo, argno, "pause", true);
	if (options->pause == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("pause must not be null"),
				 errhint("Leave it out for none, or give an interval, such as '500 ms'.")));
	argno++;
	options->max_lag = argument_interval(fcinfo, argno++, "max_lag", false);
	options->throttle = PG_ARGISNULL(argno) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(argno));
	if (options->throttle != NULL && options->throttle[0] == '\0')
		options->throttle = NULL;	/* as alter_job() turns it off */
	argno++;
	options->max_attempts = (int) argument_positive(fcinfo, argno++, "max_attempts");
	options->on_error = PG_ARGISNULL(argno) ? "null" : text_to_cstring(PG_GETARG_TEXT_PP(argno));
	argno++;
	options->check_plan = argument_boolean(fcinfo, argno++, "check_plan");
	options->after = PG_ARGISNULL(argno) ? NULL : PG_GETARG_JSONB_P_COPY(argno);
	argno++;
	options->upto = PG_ARGISNULL(argno) ? NULL : PG_GETARG_JSONB_P_COPY(argno);
	argno++;
	options->settings = PG_ARGISNULL(argno) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(argno));
	argno++;
	options->foreign_writes = job_parse_foreign_writes(PG_ARGISNULL(argno) ? "null" :
													   text_to_cstring(PG_GETARG_TEXT_PP(argno)));

	job_check_on_error(options->on_error);
	if (options->name != NULL && options->name[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("name must not be empty"),
				 errhint("Leave it out to have one made of the relation's.")));
	if (chunk_blocks_is_key(options->key))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a job cannot go by ctid"),
				 errdetail("Rows move between blocks from one transaction to the next, so that some would be left out."),
				 errhint("Add a primary key, or pass a key.")));
	if (options->target_time != NULL)
		job_check_target_time(options->statement);
}

/* Create a job; returns its name, in the current memory context. */
char *
job_create(const JobOptions *options)
{
	MemoryContext context = CurrentMemoryContext;
	Relation	rel = relation_open_to_walk(options->relid);
	JobPlan		plan = {0};
	Jsonb	   *high_water = NULL;
	char	   *name = options->name;
	Job		   *job;
	Guard		guard;

	SPI_connect();
	guard_enter(GUARD_CONDITION, &guard);
	plan_job(options, rel, &plan);
	if (plan.last != NULL)
		high_water = position_write(plan.walk->key, plan.last);
	guard_leave(&guard);

	if (name != NULL)
	{
		if (insert(options, name, plan.walk->key, high_water, plan.rows) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_OBJECT),
					 errmsg("job \"%s\" already exists", name),
					 job_by_name(name)->statement == NULL ?
					 errhint("claim_chunk() goes on with it; drop_job() removes it.") :
					 errhint("CALL chunked.run_job(%s) goes on with it; drop_job() removes it.",
							 quote_literal_cstr(name))));
	}
	else
	{
		Datum		values[2];
		int64		number;

		if (options->statement != NULL)
			notice_unfinished(options);
		values[0] = CStringGetTextDatum(RelationGetRelationName(rel));
		values[1] = ObjectIdGetDatum(GetUserId());
		(void) ledger_execute(&select_last_number, values, NULL);
		number = ledger_int64(1);
		do
		{
			CHECK_FOR_INTERRUPTS();
			name = psprintf("%s-" INT64_FORMAT, RelationGetRelationName(rel), ++number);
		} while (insert(options, name, plan.walk->key, high_water, plan.rows) == 0);
	}

	job = job_by_name(name);
	job_start_carving(job, plan.after == NULL ? NULL : position_write(plan.walk->key, plan.after));
	if (job->statement == NULL)
		(void) job_carve(job, 0, true);
	if (plan.statement != NULL)
		statement_free(plan.statement);
	name = MemoryContextStrdup(context, name);
	SPI_finish();
	table_close(rel, NoLock);
	return name;
}

/* One who lost the connection may mean to go on, and calls run() again. */
static void
notice_unfinished(const JobOptions *options)
{
	Datum		values[3];
	char	   *name;

	values[0] = ObjectIdGetDatum(GetUserId());
	values[1] = ObjectIdGetDatum(options->relid);
	values[2] = CStringGetTextDatum(options->statement);
	if (ledger_execute(&select_unfinished, values, NULL) == 0)
		return;
	name = ledger_text(1);
	ereport(NOTICE,
			(errmsg("this is another job than \"%s\", which has the same statement and is not done", name),
			 errhint("To go on with that one, CALL chunked.run_job(%s).", quote_literal_cstr(name))));
}

/*
 * Show what a job would do, as notices: the first and the last statement, how
 * many chunks and rows there are, and the plan.  Errors: as for job_create().
 */
void
job_dry_run(const JobOptions *options)
{
	Relation	rel = relation_open_to_walk(options->relid);
	JobPlan		plan = {0};
	Guard		guard;

	SPI_connect();
	guard_enter(GUARD_CONDITION, &guard);
	plan_job(options, rel, &plan);
	if (plan.last == NULL)
		ereport(NOTICE, (errmsg("there are no rows, so nothing would be done")));
	else
	{
		WalkReader	reader = {0};
		Range		last = {0};

		last.after = plan.after;
		last.upto = plan.last;
		reader.output = walk_all_keys(plan.walk);
		reader.backward = true;
		reader.limit = options->chunk_size + 1;
		reader.keep_end = true;
		walk_read(plan.walk, &last, &reader);
		if (reader.ended)
			last.after = reader.end;

		ereport(NOTICE, (errmsg("about %.0f rows in %.0f chunks would be worked on", plan.rows,
								Max(1, ceil(plan.rows / options->chunk_size)))));
		show_statement("the first statement", statement_with_literals(plan.statement, plan.walk, &plan.first, options->chunk_size));
		show_statement("about the last statement", statement_with_literals(plan.statement, plan.walk, &last, options->chunk_size));
		show_statement("the plan of the first", psprintf("\n%s", statement_explain(plan.statement)));
	}
	statement_free(plan.statement);
	guard_leave(&guard);
	SPI_finish();
	table_close(rel, NoLock);
}

static void
show_statement(const char *label, const char *text)
{
	ereport(NOTICE, (errmsg("%s: %s", label, text)));
}

/* An interval option, or NULL.  zero: it may be 0.  Error: 22023. */
static Interval *
argument_interval(FunctionCallInfo fcinfo, int argno, const char *name, bool zero)
{
	if (PG_ARGISNULL(argno))
		return NULL;
	job_check_interval(PG_GETARG_INTERVAL_P(argno), name, zero);
	return PG_GETARG_INTERVAL_P(argno);
}

/* Find out what there is to know.  SPI must be connected, a snapshot active. */
static void
plan_job(const JobOptions *options, Relation rel, JobPlan *plan)
{
	Range		all = {0};
	bool		warned = false;
	ErrorContextCallback callback = {.callback = hint_at_key};

	if (options->statement != NULL)
		plan->statement = statement_parse(options->statement);
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	plan->walk = walk_open(rel, options->key, options->filter);
	error_context_stack = callback.previous;
	walk_warn_unsupported(plan->walk, rel, &warned);
	if (options->throttle != NULL)
		throttle_check(options->throttle);
	if (options->max_lag != NULL)
		throttle_check_lag_visible();

	if (options->after != NULL)
		all.after = plan->after = position_read(plan->walk->key, options->after, "after");
	if (options->upto != NULL)
		all.upto = position_read(plan->walk->key, options->upto, "upto");

	/* from here on by the key as the job keeps it, whose positions need not name it */
	plan->walk = walk_open(rel, key_elements(plan->walk->key), options->filter);
	plan->last = walk_last_position(plan->walk, &all);
	if (options->settings == NULL)
		warn_row_security(plan->walk, rel);
	if (plan->last == NULL)
	{
		/* nothing will be done, but it is told what is wrong all the same */
		if (plan->statement != NULL)
		{
			statement_prepare(plan->statement, plan->walk, &all, 0);
			if (!options->foreign_writes)
				statement_refuse_foreign_writes(plan->statement);
			statement_warn(plan->statement, plan->walk);
		}
		return;
	}
	all.upto = options->upto == NULL ? NULL : plan->last;
	plan->rows = estimate_rows(plan->walk, rel, &all);
	if (plan->statement != NULL)
	{
		find_first_chunk(options, plan);
		statement_prepare(plan->statement, plan->walk, &plan->first,
						  Min(options->chunk_size, Max(plan->rows, 1)));
		if (options->check_plan)
			statement_check_plan(plan->statement, plan->walk, plan->rows / options->chunk_size);
		if (!options->foreign_writes)
			statement_refuse_foreign_writes(plan->statement);
		statement_warn(plan->statement, plan->walk);
	}
}

/* A job's key is to be had more easily than a walk's, but for blocks. */
static void
hint_at_key(void *arg)
{
	(void) arg;
	if (geterrcode() == ERRCODE_INVALID_COLUMN_REFERENCE)
		errhint("Add a primary key, or pass columns to go by, for example key => '{created_at}': rows that share their values are in one chunk.");
}

/* What policies show may be something else when the job runs. */
static void
warn_row_security(const Walk *walk, Relation rel)
{
	if (row_security_applies(walk))
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("row-level security applies to you on \"%s\"", RelationGetRelationName(rel)),
				 errdetail("The job is for the rows that its policies show, as long as they do."),
				 errhint("Keep the settings that the policies go by with the job: settings => 'app.tenant'.")));
}

/* Some first chunk: it need not be the one that will be carved. */
static void
find_first_chunk(const JobOptions *options, JobPlan *plan)
{
	WalkReader	reader = {0};

	plan->first.after = plan->after;
	plan->first.upto = plan->last;
	reader.output = walk_all_keys(plan->walk);
	reader.limit = options->chunk_size;
	reader.keep_end = true;
	walk_read(plan->walk, &plan->first, &reader);
	if (reader.ended)
		plan->first.upto = reader.end;
}

/* The rows of a walk: what row_count() estimates, else by the planner. */
static double
estimate_rows(Walk *walk, Relation rel, const Range *range)
{
	SPIPlanPtr	plan;
	CachedPlan *cached;
	double		rows = 0;
	double		all = 0;
	bool		bounded = range->after != NULL || range->upto != NULL;
	bool		counted = walk->filter == NULL && count_estimate(rel, walk->key, &all);

	if (counted && !bounded)
		return all;
	plan = SPI_prepare(psprintf("SELECT FROM %s WHERE (%s\n) AND (%s)", walk->relation,
								walk->filter == NULL ? "TRUE" : walk->filter,
								bounded ? range_predicate(walk->key, walk->style, NULL, range) : "TRUE"), 0, NULL);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	cached = SPI_plan_get_cached_plan(plan);
	if (cached != NULL)
	{
		rows = linitial_node(PlannedStmt, cached->stmt_list)->planTree->plan_rows;
		ReleaseCachedPlan(cached, NULL);	/* no owner, since it is not a kept plan */
	}
	SPI_freeplan(plan);
	return counted ? Min(rows, all) : rows;
}

/* A key's columns, as bigint[] for column_reference[]. */
static Datum
column_references(Oid relid, const WalkKey *key)
{
	Datum	   *references = palloc(key->ncolumns * sizeof(Datum));

	for (int i = 0; i < key->ncolumns; i++)
		references[i] = Int64GetDatum(reference_to_column(relid, key->columns[i].attnum));
	return PointerGetDatum(construct_array(references, key->ncolumns, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* The new job's id; 0 if the name is taken. */
static int64
insert(const JobOptions *options, const char *name, const WalkKey *key, Jsonb *high_water, double rows)
{
	Datum		values[21];
	bool		nulls[21] = {false};
	int			i = 0;

#define PUT(is_null, value) \
	(nulls[i] = (is_null), values[i] = nulls[i] ? (Datum) 0 : (value), i++)

	PUT(false, CStringGetTextDatum(name));
	PUT(false, ObjectIdGetDatum(GetUserId()));
	PUT(false, ObjectIdGetDatum(options->relid));
	PUT(options->statement == NULL, CStringGetTextDatum(options->statement));
	PUT(false, Int64GetDatum(options->chunk_size));
	PUT(false, PointerGetDatum(key_elements(key)));
	PUT(options->filter == NULL, PointerGetDatum(options->filter));
	PUT(options->target_time == NULL, IntervalPGetDatum(options->target_time));
	PUT(false, IntervalPGetDatum(options->pause));
	PUT(options->max_lag == NULL, IntervalPGetDatum(options->max_lag));
	PUT(options->throttle == NULL, CStringGetTextDatum(options->throttle));
	PUT(false, Int32GetDatum(options->max_attempts));
	PUT(false, CStringGetTextDatum(options->on_error));
	PUT(false, BoolGetDatum(options->check_plan));
	PUT(false, CStringGetTextDatum(GetConfigOption("search_path", false, false)));
	PUT(false, job_settings_to_keep(options->settings));
	PUT(false, CStringGetTextDatum(key_describe(key, NIL, NIL)));
	PUT(high_water == NULL, JsonbPGetDatum(high_water));
	PUT(false, Int64GetDatum((int64) rint(rows)));
	PUT(false, CStringGetTextDatum(options->foreign_writes ? "at_least_once" : "refuse"));
	PUT(false, column_references(options->relid, key));
#undef PUT

	return ledger_execute(&insert_job, values, nulls) == 0 ? 0 : ledger_int64(1);
}
