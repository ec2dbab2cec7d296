/*
 * job_scope.c
 *		What the texts of a job are read under, and its relation and key as they
 *		are now.
 *
 * Names and literals in a job's texts mean what they meant when it was created:
 * the settings that decide that are kept with the job and are in force while its
 * texts are.  Its relation may have changed since.  Columns that were renamed are
 * found by what they were (reference.h), and positions, which the ledger has by
 * the names of then, are read by those of now.  What would make a position mean
 * another place ends the job.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "base/relation.h"
#include "job/job_scope.h"
#include "job/reference.h"
#include "walk/row_security.h"
#include "walk/walk_read.h"

/* What decides how a job's texts are read and what they mean */
static const char *const kept_settings[] = {
	"DateStyle", "IntervalStyle", "TimeZone", "standard_conforming_strings", "array_nulls",
	"transform_null_equals", "bytea_output", "extra_float_digits", "xmloption", "xmlbinary",
	"default_text_search_config", "timezone_abbreviations", "lc_monetary", "lc_numeric", "lc_time",
	"backslash_quote", "quote_all_identifiers", "row_security", "session_replication_role"
};

static void name_filter(void *arg);
static void add_setting_to_keep(ArrayBuildState *pairs, const char *name);
static void use_kept_setting(const Job *job, const char *name, const char *value);
static void find_key_names(const Job *job);
static bool key_names_are_equal(const JobNames *names);
static Jsonb *rename_position_members(Jsonb *position, const List *from, const List *to);

/* ----------------------------------------------------------------- settings */

/*
 * The settings that every job keeps, and those of these names (NULL: none), as
 * text[] for the ledger: name, value, ...  Errors: 42602, 42704, 22023.
 */
ArrayType *
job_scope_settings(const char *names)
{
	ArrayBuildState *pairs = initArrayResult(TEXTOID, CurrentMemoryContext, false);
	List	   *more = NIL;
	ListCell   *lc;

	for (size_t i = 0; i < lengthof(kept_settings); i++)
		add_setting_to_keep(pairs, kept_settings[i]);
	if (names != NULL && !SplitIdentifierString(pstrdup(names), ',', &more))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("settings is not a list of names: %s", names),
				 errhint("Write names of settings with commas between them: 'app.tenant, app.user'.")));
	foreach(lc, more)
		add_setting_to_keep(pairs, lfirst(lc));
	return DatumGetArrayTypeP(makeArrayResult(pairs, CurrentMemoryContext));
}

static void
add_setting_to_keep(ArrayBuildState *pairs, const char *name)
{
	static const char *const not_these[] = {
		"role", "session_authorization", "search_path", "is_superuser",
		"transaction_isolation", "transaction_read_only", "transaction_deferrable"
	};
	const char *value;

	for (size_t i = 0; i < lengthof(not_these); i++)
		if (pg_strcasecmp(name, not_these[i]) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("setting \"%s\" cannot be kept with a job", name),
					 errhint("Jobs run as their owner, in transactions of their own, and keep search_path by themselves.")));
	value = GetConfigOption(name, true, true);
	if (value == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("setting \"%s\" is not set", name),
				 strchr(name, '=') != NULL ?
				 errhint("settings takes names alone; SET their values in this session first.") :
				 errhint("SET it in this session first, to the value that the job is to have.")));
	accumArrayResult(pairs, CStringGetTextDatum(name), false, TEXTOID, CurrentMemoryContext);
	accumArrayResult(pairs, CStringGetTextDatum(value), false, TEXTOID, CurrentMemoryContext);
}

/*
 * Enter the job's texts: names and literals in them are read as when it was
 * created, and code in them has no other rights than the current role's.  Leave by
 * guard_leave().
 */
void
job_scope_enter(const Job *job, GuardKind kind, Guard *guard)
{
	Datum	   *elements;
	int			nelements;

	guard_enter(kind, guard);
	use_kept_setting(job, "search_path", job->search_path);
	deconstruct_array(job->settings, TEXTOID, -1, false, TYPALIGN_INT, &elements, NULL, &nelements);
	for (int i = 0; i + 1 < nelements; i += 2)
		use_kept_setting(job, TextDatumGetCString(elements[i]), TextDatumGetCString(elements[i + 1]));
}

/* Error: 42501, 22023 and others, as the server's warning says. */
static void
use_kept_setting(const Job *job, const char *name, const char *value)
{
	const char *current = GetConfigOption(name, true, false);

	if (current != NULL && strcmp(current, value) == 0)
		return;
	if (set_config_option(name, value, superuser() ? PGC_SUSET : PGC_USERSET, PGC_S_SESSION,
						  GUC_ACTION_SAVE, true, WARNING, false) <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("setting \"%s\" cannot be set to \"%s\", the value that job \"%s\" keeps", name, value, job->name),
				 errhint("A superuser may GRANT SET ON PARAMETER %s to the job's owner; or create the job again without it.", name)));
}

/* --------------------------------------------------------- relation and key */

/*
 * The walk of a job, within job_scope_enter().  SPI must be connected; the caller
 * closes *rel.  Errors: 42P01 the relation is gone; 55000 the key has changed
 * since the job was created, so that its positions mean something else.
 */
Walk *
job_scope_open_walk(const Job *job, Relation *rel)
{
	Walk	   *walk;
	ErrorContextCallback callback = {.callback = name_filter,.arg = unconstify(Job *, job)};

	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(job->relid)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the relation of job \"%s\" is gone", job->name),
				 errhint("Drop the job with chunked.drop_job(%s), and create another for what has taken the relation's place.",
						 quote_literal_cstr(job->name))));
	*rel = relation_open_to_walk(job->relid);
	find_key_names(job);
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	walk = walk_open(*rel, job->names->key, job->filter);
	error_context_stack = callback.previous;
	if (strcmp(key_describe(walk->key, job->names->now, job->names->then), job->key_described) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the key of \"%s\" has changed since job \"%s\" was created",
						RelationGetRelationName(*rel), job->name),
				 errdetail("It was %s and is now %s.", job->key_described,
						   key_describe(walk->key, job->names->now, job->names->then)),
				 errhint("In the order that the key has now, what is done and what is left are not ranges. Change the key back, or create another job whose statement selects the rows that are left.")));
	return walk;
}

static void
name_filter(void *arg)
{
	const Job  *job = arg;

	errcontext("key and filter of job \"%s\"", job->name);
}

/* The range between two positions as the ledger has them; after: NULL for the start. */
void
job_scope_read_range(const Job *job, const Walk *walk, Jsonb *after, Jsonb *upto, Range *range)
{
	memset(range, 0, sizeof(Range));
	if (after != NULL)
		range->after = position_read(walk->key, job_scope_position(job, after), "after");
	range->upto = position_read(walk->key, job_scope_position(job, upto), "upto");
}

/*
 * A job that knew rows up to its high-water mark and sees none after a position
 * (NULL: the start) is not done, where policies decide what it sees.  SPI must be
 * connected, within job_scope_enter(), a snapshot active.  Error: 55000.
 */
void
job_scope_require_rows(const Job *job, Walk *walk, Jsonb *after)
{
	Range		range;

	if (job->high_water == NULL)
		return;
	job_scope_read_range(job, walk, after, job->high_water, &range);
	if ((after != NULL && position_compare(walk->key, range.after, range.upto) >= 0) ||
		walk_last_position(walk, &range) != NULL || !row_security_applies(walk))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("row-level security shows job \"%s\" none of the rows that are left", job->name),
			 errdetail("There were rows up to %s when it was created.",
					   position_for_message(job->high_water)),
			 errhint("SET what the policies depend on as it was then; with settings => 'app.tenant', create_job() and run() keep it with the job. Or cancel the job if its rows are gone.")));
}

/*
 * Find out how the job's key is called now.  Its relation must be locked, or a
 * name may change before it is used.  Error: 55000 a column is gone.
 */
static void
find_key_names(const Job *job)
{
	JobNames   *names = job->names;
	MemoryContext context = MemoryContextSwitchTo(GetMemoryChunkContext(names));
	Datum	   *references;
	int			nreferences;

	names->now = NIL;
	deconstruct_array(job->key_columns, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
					  &references, NULL, &nreferences);
	for (int i = 0; i < nreferences; i++)
	{
		int64		reference = DatumGetInt64(references[i]);
		char	   *name = reference_relation(reference) == job->relid ? reference_column_name(reference) : NULL;

		if (name == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("a column of job \"%s\"'s key is gone from \"%s\"", job->name, get_rel_name(job->relid)),
					 errdetail("The key was %s.", job->key_described),
					 errhint("Drop the job with chunked.drop_job(%s), and create another with another key.",
							 quote_literal_cstr(job->name))));
		names->now = lappend(names->now, name);
	}
	names->key = key_with_names(job->key_then, names->now, &names->then);
	MemoryContextSwitchTo(context);
}

/*
 * A position of the job as the ledger has it, its members named as the columns are
 * now; NULL for NULL.
 */
Jsonb *
job_scope_position(const Job *job, Jsonb *kept)
{
	if (kept == NULL || key_names_are_equal(job->names))
		return kept;
	return rename_position_members(kept, job->names->then, job->names->now);
}

/* The same the other way round. */
Jsonb *
job_scope_position_to_keep(const Job *job, Jsonb *position)
{
	if (position == NULL || key_names_are_equal(job->names))
		return position;
	return rename_position_members(position, job->names->now, job->names->then);
}

static bool
key_names_are_equal(const JobNames *names)
{
	ListCell   *then;
	ListCell   *now;

	forboth(then, names->then, now, names->now)
		if (strcmp(lfirst(then), lfirst(now)) != 0)
			return false;
	return true;
}

static Jsonb *
rename_position_members(Jsonb *position, const List *from, const List *to)
{
	JsonbIterator *iterator = JsonbIteratorInit(&position->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoChar(&buf, '{');
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		char	   *text;
		const ListCell *old;
		const ListCell *new;

		if (token != WJB_KEY && token != WJB_VALUE)
			continue;
		text = value.type == jbvString ? pnstrdup(value.val.string.val, value.val.string.len) : NULL;
		if (token == WJB_KEY)
		{
			if (buf.len > 1)
				appendStringInfoString(&buf, ", ");
			forboth(old, from, new, to)
				if (strcmp(lfirst(old), text) == 0)
				{
					text = lfirst(new);
					break;
				}
		}
		if (text == NULL)
			appendStringInfoString(&buf, "null");	/* a position's values are texts or null */
		else
			escape_json(&buf, text);
		if (token == WJB_KEY)
			appendStringInfoString(&buf, ": ");
	}
	appendStringInfoChar(&buf, '}');
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(buf.data)));
}
