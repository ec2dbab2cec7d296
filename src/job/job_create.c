/*
 * job_create.c
 *		Creating a job: its statement tried out, its end fixed.
 *
 * All that can be known to be wrong is an error here, before anything runs: the
 * statement is prepared for the job's first chunk, and its plan looked at.
 */
#include "postgres.h"

#include <math.h>

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/relation.h"
#include "base/subtransaction.h"
#include "chunk/count.h"
#include "job/job_carve.h"
#include "job/job_create.h"
#include "job/job_scope.h"
#include "job/reference.h"
#include "job/throttle.h"
#include "statement/statement.h"
#include "walk/row_security.h"
#include "walk/walk_read.h"

/* How often the draft is begun anew, since others were in its way */
#define MOST_DRAFTS 10

/* What is found out about a job before it is there */
typedef struct JobDraft
{
	Walk	   *walk;
	Position   *after;			/* where it starts; NULL: from the start */
	Position   *last;			/* the high-water mark; NULL: no rows */
	double		rows;			/* estimate */
	Range		first;			/* the first chunk, if there are rows */
	Statement  *statement;		/* or NULL */
} JobDraft;

typedef struct Drafting
{
	const JobOptions *options;
	Relation	rel;
	JobDraft   *draft;
} Drafting;

static void draft_again(const JobOptions *options, Relation rel, JobDraft *draft);
static void draft_in_new_snapshot(void *arg);
static void draft_job(const JobOptions *options, Relation rel, JobDraft *draft);
static void hint_at_job_key(void *arg);
static void warn_row_security(const Walk *walk, Relation rel);
static void find_first_chunk(const JobOptions *options, JobDraft *draft);
static void find_last_chunk(const JobOptions *options, const JobDraft *draft, Range *range);
static Job *insert_draft(const JobOptions *options, Relation rel, const JobDraft *draft,
						 Jsonb *high_water, MemoryContext context);
static Job *insert_numbered(const JobOptions *options, Relation rel, Job *fixed,
							MemoryContext context);
static void check_unfinished(const JobOptions *options);
static ArrayType *column_references(Oid relid, const WalkKey *key);

/*
 * Create a job; returns it, in the current memory context.  Errors: 42710 the name
 * is taken, and those of draft_job().
 */
Job *
job_create(const JobOptions *options)
{
	MemoryContext context = CurrentMemoryContext;
	Relation	rel = relation_open_to_walk(options->relid);
	JobDraft	draft = {0};
	Jsonb	   *high_water = NULL;
	Job		   *job;
	Guard		guard;

	SPI_connect();
	guard_enter(GUARD_CONDITION, &guard);
	draft_again(options, rel, &draft);
	if (draft.last != NULL)
		high_water = position_write(draft.walk->key, draft.last);
	guard_leave(&guard);

	job = insert_draft(options, rel, &draft, high_water, context);
	job_carve_begin(job, draft.after == NULL ? NULL : position_write(draft.walk->key, draft.after));
	if (job->statement == NULL)
		(void) job_carve(job, 0, true);
	if (draft.statement != NULL)
		statement_free(draft.statement);
	SPI_finish();
	table_close(rel, NoLock);
	return job;
}

/*
 * Show what a job would do, as notices: the first and the last statement, how
 * many chunks and rows there are, and the plan.  Errors: as for job_create().
 */
void
job_create_dry_run(const JobOptions *options)
{
	Relation	rel = relation_open_to_walk(options->relid);
	JobDraft	draft = {0};
	Guard		guard;

	SPI_connect();
	guard_enter(GUARD_CONDITION, &guard);
	draft_again(options, rel, &draft);
	PushActiveSnapshot(GetTransactionSnapshot());
	if (draft.last == NULL)
		ereport(NOTICE, (errmsg("there are no rows, so nothing would be done")));
	else
	{
		Range		last;

		find_last_chunk(options, &draft, &last);
		ereport(NOTICE, (errmsg("about %.0f rows in %.0f chunks would be processed", draft.rows,
								Max(1, ceil(draft.rows / options->chunk_size)))));
		ereport(NOTICE,
				(errmsg(options->filter == NULL ? "the first statement: %s" : "roughly the first statement: %s",
						statement_with_literals(draft.statement, draft.walk, &draft.first,
												options->chunk_size))));
		ereport(NOTICE,
				(errmsg("roughly the last statement: %s",
						statement_with_literals(draft.statement, draft.walk, &last,
												options->chunk_size))));
		ereport(NOTICE, (errmsg("the plan of the first: \n%s", statement_explain(draft.statement))));
	}
	PopActiveSnapshot();
	statement_free(draft.statement);
	guard_leave(&guard);
	SPI_finish();
	table_close(rel, NoLock);
}

/* ----------------------------------------------------------------- the draft */

/*
 * draft_job(), again in a new snapshot where another session's change ended it: a
 * partition that is truncated or rewritten just then is no reason that a job
 * cannot be created.  SPI must be connected.
 */
static void
draft_again(const JobOptions *options, Relation rel, JobDraft *draft)
{
	Drafting	drafting = {options, rel, draft};

	for (int attempt = 1;; attempt++)
	{
		ErrorData  *error = subtransaction_run(draft_in_new_snapshot, &drafting);

		if (error == NULL)
			return;
		if (error->sqlerrcode != ERRCODE_T_R_SERIALIZATION_FAILURE || IsolationUsesXactSnapshot() ||
			attempt == MOST_DRAFTS)
			ReThrowError(error);
		FreeErrorData(error);
	}
}

/* A step in a subtransaction. */
static void
draft_in_new_snapshot(void *arg)
{
	Drafting   *drafting = arg;

	memset(drafting->draft, 0, sizeof(JobDraft));
	PushActiveSnapshot(GetTransactionSnapshot());
	draft_job(drafting->options, drafting->rel, drafting->draft);
	PopActiveSnapshot();
}

/* Find out what there is to know.  SPI must be connected, a snapshot active. */
static void
draft_job(const JobOptions *options, Relation rel, JobDraft *draft)
{
	Range		all = {0};
	bool		warned = false;
	ErrorContextCallback callback = {.callback = hint_at_job_key};

	if (options->statement != NULL)
		draft->statement = statement_parse(options->statement);
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	draft->walk = walk_open(rel, options->key, options->filter);
	error_context_stack = callback.previous;
	walk_warn_unsupported(draft->walk, rel, &warned);
	if (options->throttle != NULL)
		throttle_check(options->throttle);
	if (options->max_lag != NULL)
		throttle_check_lag_visible();

	if (options->after != NULL)
		all.after = draft->after = position_read(draft->walk->key, options->after, "after");
	if (options->upto != NULL)
		all.upto = position_read(draft->walk->key, options->upto, "upto");

	/* from here on by the key as the job keeps it, whose positions need not name it */
	draft->walk = walk_open(rel, key_text(draft->walk->key), options->filter);
	draft->last = walk_last_position(draft->walk, &all);
	if (options->settings == NULL)
		warn_row_security(draft->walk, rel);
	if (draft->last == NULL)
	{
		/* nothing will be done, but what is wrong is an error all the same */
		if (draft->statement != NULL)
		{
			statement_prepare(draft->statement, draft->walk, &all, 0);
			if (!options->foreign_writes)
				statement_refuse_foreign_writes(draft->statement);
			statement_review(draft->statement, draft->walk);
		}
		return;
	}
	all.upto = options->upto == NULL ? NULL : draft->last;
	draft->rows = count_estimate_range(draft->walk, rel, &all);
	if (draft->statement != NULL)
	{
		find_first_chunk(options, draft);
		statement_prepare(draft->statement, draft->walk, &draft->first,
						  Min(options->chunk_size, Max(draft->rows, 1)));
		if (*options->check_plan)
			statement_check_plan(draft->statement, draft->walk, draft->rows / options->chunk_size);
		if (!options->foreign_writes)
			statement_refuse_foreign_writes(draft->statement);
		statement_review(draft->statement, draft->walk);
	}
}

/* A job may go by columns that are not unique, but not by ctid. */
static void
hint_at_job_key(void *arg)
{
	(void) arg;
	if (geterrcode() == ERRCODE_INVALID_COLUMN_REFERENCE)
		errhint("Add a primary key, or pass columns to order by, for example key => 'created_at': rows with the same values then share a chunk.");
}

/* The policies may show something else when the job runs. */
static void
warn_row_security(const Walk *walk, Relation rel)
{
	if (row_security_applies(walk))
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("row-level security applies to you on \"%s\"", RelationGetRelationName(rel)),
				 errdetail("The job covers the rows that the policies show, as long as they show them."),
				 errhint("Keep the settings that the policies depend on with the job: settings => 'app.tenant'.")));
}

/* Some first chunk: it need not be the one that will be carved. */
static void
find_first_chunk(const JobOptions *options, JobDraft *draft)
{
	WalkReader	reader = {0};

	draft->first.after = draft->after;
	draft->first.upto = draft->last;
	reader.output = walk_all_keys(draft->walk);
	reader.limit = options->chunk_size;
	reader.keep_end = true;
	walk_read(draft->walk, &draft->first, &reader);
	if (reader.ended)
		draft->first.upto = reader.end;
}

/* About the last one: as long as the others. */
static void
find_last_chunk(const JobOptions *options, const JobDraft *draft, Range *range)
{
	WalkReader	reader = {0};

	memset(range, 0, sizeof(Range));
	range->after = draft->after;
	range->upto = draft->last;
	reader.output = walk_all_keys(draft->walk);
	reader.backward = true;
	reader.limit = options->chunk_size + 1;
	reader.keep_end = true;
	walk_read(draft->walk, range, &reader);
	if (reader.ended)
		range->after = reader.end;
}

/* ------------------------------------------------------------ in the ledger */

/* The new job, in this memory context.  Error: 42710 the name is taken. */
static Job *
insert_draft(const JobOptions *options, Relation rel, const JobDraft *draft,
			 Jsonb *high_water, MemoryContext context)
{
	const WalkKey *key = draft->walk->key;
	Job			fixed = {0};
	Job		   *job;

	fixed.name = options->name;
	fixed.key_then = key_text(key);
	fixed.key_columns = column_references(options->relid, key);
	fixed.key_described = key_describe(key, NIL, NIL);
	fixed.search_path = pstrdup(GetConfigOption("search_path", false, false));
	fixed.settings = job_scope_settings(options->settings);
	fixed.high_water = high_water;
	fixed.total_rows = (int64) rint(draft->rows);

	job = options->name == NULL ? insert_numbered(options, rel, &fixed, context) :
		job_insert(options, &fixed, context);
	if (job == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("job \"%s\" already exists", options->name),
				 job_by_name(options->name)->statement == NULL ?
				 errhint("claim_chunk() goes on with it; drop_job() removes it.") :
				 errhint("CALL chunked.run_job(%s) goes on with it; drop_job() removes it.",
						 quote_literal_cstr(options->name))));
	return job;
}

/* By the name of its relation, with the next number. */
static Job *
insert_numbered(const JobOptions *options, Relation rel, Job *fixed, MemoryContext context)
{
	int64		number;
	Job		   *job;

	if (options->statement != NULL)
		check_unfinished(options);
	number = job_last_number(RelationGetRelationName(rel), GetUserId());
	do
	{
		CHECK_FOR_INTERRUPTS();
		fixed->name = psprintf("%s-" INT64_FORMAT, RelationGetRelationName(rel), ++number);
		job = job_insert(options, fixed, context);
	} while (job == NULL);
	return job;
}

/*
 * Someone who lost the connection may mean to go on when calling run() again, and
 * rows that are done would be processed once more.  Error: 55000, where the new job
 * is over all rows and the other has done some.
 */
static void
check_unfinished(const JobOptions *options)
{
	ArrayType  *like = DatumGetArrayTypeP(job_ids_like(options, GetUserId()));
	Job		   *job = NULL;		/* the last that is not done, or one that has done a part */
	bool		begun = false;
	Datum	   *ids;
	int			nids;
	char	   *name;

	deconstruct_array(like, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &ids, NULL, &nids);
	for (int i = nids - 1; i >= 0 && !begun; i--)
	{
		ArrayType  *one = construct_array(&ids[i], 1, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
		int64		id = job_last_not_over(PointerGetDatum(one));
		Job		   *other = id == 0 ? NULL : job_by_id(id);

		if (other == NULL)
			continue;
		begun = job_has_done(other);
		if (begun || job == NULL || other->id > job->id)
			job = other;
	}
	if (job == NULL)
		return;
	name = quote_literal_cstr(job->name);
	if (options->after == NULL && options->upto == NULL && begun)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("job \"%s\", which has the same statement, is not done", job->name),
				 errdetail("A new job would process again what it has done."),
				 errhint("CALL chunked.run_job(%s) goes on with it. For a new one all the same, give it a name, or SELECT chunked.cancel_job(%s) first.",
						 name, name)));
	ereport(NOTICE,
			(errmsg("this is a different job from \"%s\", which has the same statement and is not done", job->name),
			 errhint("To go on with that one, CALL chunked.run_job(%s).", name)));
}

/* A key's columns, as bigint[] for column_reference[]. */
static ArrayType *
column_references(Oid relid, const WalkKey *key)
{
	Datum	   *references = palloc(key->ncolumns * sizeof(Datum));

	for (int i = 0; i < key->ncolumns; i++)
		references[i] = Int64GetDatum(reference_to_column(relid, key->columns[i].attnum));
	return construct_array(references, key->ncolumns, INT8OID, sizeof(int64), FLOAT8PASSBYVAL,
						   TYPALIGN_DOUBLE);
}
