/*
 * walk_query.c
 *		A query of a walk: its text, its plan, and its rows one by one.
 *
 * It is an ordinary query of the caller, so that privileges, row-level security and
 * security barriers hold by themselves.  Where an index supports the order, it is
 * planned once, and so that this index is used whatever the statistics say
 * (steer.c), or for one partition (part_plan.c): every page costs the same.
 */
#include "postgres.h"

#include "executor/executor.h"
#include "executor/instrument.h"
#include "jit/jit.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "tcop/dest.h"
#include "utils/guc.h"
#include "utils/plancache.h"
#include "utils/snapmgr.h"

#include "base/settings.h"
#include "walk/index_rows.h"
#include "walk/part_plan.h"
#include "walk/read_ahead.h"
#include "walk/steer.h"
#include "walk/walk_query.h"

static void begin_query(WalkCursor *cursor, const RangeQuery *query);
static char *read_text(const WalkCursor *cursor, const RangeQuery *query, int64 limit);
static void append_select(StringInfo buf, Walk *walk, const char *from, const RangeQuery *query, WalkReader *reader);
static const char *setting_to_keep(int i);
static void free_plan(void *plan);
static int begin_generic_plans(void);

/* Reading a range, of all or of a partition, without a query, or NULL. */
IndexRows *
walk_rows_by_index(const WalkCursor *cursor, const IndexRowsPart *part, const Range *range)
{
	const Walk *walk = cursor->walk;
	const WalkReader *reader = cursor->reader;

	if (reader->output != WALK_ROWS || walk->filter != NULL || reader->skip > 0 || walk->redirected)
		return NULL;
	return index_rows_begin(walk->relid, part, walk->key, range, reader->backward,
							(int64) Min(reader->limit - reader->count, PG_INT64_MAX));
}

/* Where the key's columns are in the rows that are read */
const AttrNumber *
walk_cursor_attnums(const WalkCursor *cursor)
{
	return cursor->reader->output == WALK_ROWS ? cursor->walk->row_attnums : cursor->walk->key_attnums;
}

/* Does the query return only rows that match the filter? */
bool
walk_query_filters(const Walk *walk, const WalkReader *reader)
{
	return walk->filter != NULL &&
		(reader->output == WALK_ROWS || reader->output == WALK_KEYS);
}

/* The filter's parameters have the lowest numbers. */
RangeStyle
walk_query_style(const Walk *walk)
{
	RangeStyle	style = walk->style;

	style.params_before = walk->filter == NULL ? 0 : walk->filter->nargs;
	return style;
}

/*
 * Run the next of the range's queries under the settings that its first was run
 * under, or a filter would mean something else from here on, and so would the
 * plan that is kept for other calls.
 */
void
walk_query_begin(WalkCursor *cursor)
{
	int			nqueries = list_length(cursor->queries);
	int			next = cursor->next++;
	const char *changed[WALK_CURSOR_NSETTINGS][2];
	int			nchanged = 0;
	int			nest_level;
	WalkRole	now;

	for (int i = 0; i < WALK_CURSOR_NSETTINGS && (nqueries > 1 || cursor->order != NULL) && !cursor->in_one_call; i++)
	{
		const char *value = GetConfigOption(setting_to_keep(i), false, false);

		if (cursor->settings[i] == NULL)
			cursor->settings[i] = MemoryContextStrdup(cursor->context, value);
		else if (strcmp(value, cursor->settings[i]) != 0)
		{
			changed[nchanged][0] = setting_to_keep(i);
			changed[nchanged++][1] = cursor->settings[i];
		}
	}
	nest_level = nchanged == 0 ? 0 : settings_begin(changed, nchanged);

	/*
	 * Only to begin it, under these settings: whoever fetches rows later has
	 * them read with his own rights, as of any cursor, or a search_path of his
	 * would decide what code of a filter's functions runs with another's.  An
	 * error undoes this with its (sub)transaction.
	 */
	walk_query_role_begin(cursor, &now);
	begin_query(cursor, list_nth(cursor->queries,
								 cursor->reader->backward ? nqueries - 1 - next : next));
	walk_query_role_end(&now);
	settings_end(nest_level);
}

/*
 * Be the role that the read was begun as: for what is checked and planned when it goes on, not
 * while rows are read (walk_query_begin()).  An error undoes this with its (sub)transaction.
 */
void
walk_query_role_begin(const WalkCursor *cursor, WalkRole *now)
{
	GetUserIdAndSecContext(&now->user, &now->security_context);
	now->switched = !cursor->in_one_call && now->user != cursor->begun_as.user;
	if (now->switched)
		SetUserIdAndSecContext(cursor->begun_as.user,
							   cursor->begun_as.security_context | SECURITY_LOCAL_USERID_CHANGE);
}

void
walk_query_role_end(const WalkRole *now)
{
	/* whoever it was before, as walk_query_role_begin() found it */
	if (now->switched)
		SetUserIdAndSecContext(now->user, now->security_context);
}

static const char *
setting_to_keep(int i)
{
	static const char *const others[WALK_CURSOR_NSETTINGS - WALK_NSETTINGS] = {"search_path", "row_security"};

	return i < WALK_NSETTINGS ? walk_settings[i] : others[i - WALK_NSETTINGS];
}

/*
 * Run the query on the active snapshot, as SPI would, but row by row, and without
 * a tuple store or a portal between: a page of ten rows costs little else.
 */
static void
begin_query(WalkCursor *cursor, const RangeQuery *query)
{
	Walk	   *walk = cursor->walk;
	WalkReader *reader = cursor->reader;
	int			nbefore = query->nbefore;
	int			nargs = nbefore + query->nparams + 1;
	ParamListInfo params;
	Oid		   *argtypes;
	uint64		limit = reader->limit - reader->count;
	SPIPlanPtr	plan;
	CachedPlanSource *source;
	Oid			index = walk_query_filters(walk, reader) && OidIsValid(walk->filter_index) ?
		walk->filter_index : walk->key->index;
	bool		steered = OidIsValid(index) || cursor->style.expand || cursor->style.also_expand;
	const OrderedPart *part = cursor->order != NULL ? &cursor->part : NULL;
	Oid			part_relid = part != NULL ? part->relid : InvalidOid;
	bool		kept;
	int			nest_level;
	MemoryContext context;

	if (reader->boundary && !walk->key->unique)
		limit = reader->ties ? PG_INT64_MAX : limit + 1;	/* rows after the last one, to compare */
	limit = Min(limit, PG_INT64_MAX);

	cursor->query_context = AllocSetContextCreate(cursor->context, "pg_chunked query", ALLOCSET_SMALL_SIZES);
	context = MemoryContextSwitchTo(cursor->query_context);
	params = makeParamList(nargs);
	argtypes = palloc(nargs * sizeof(Oid));
	for (int i = 0; i < nargs; i++)
	{
		ParamExternData *param = &params->params[i];

		if (i < nbefore)
		{
			param->value = walk->filter->values[i];
			param->ptype = walk->filter->types[i];
		}
		else
		{
			param->value = i < nargs - 1 ? query->values[i - nbefore] : Int64GetDatum((int64) limit);
			param->ptype = i < nargs - 1 ? query->types[i - nbefore] : INT8OID;
		}
		param->isnull = i < nbefore && walk->filter->nulls[i];
		param->pflags = PARAM_FLAG_CONST;
		argtypes[i] = param->ptype;
	}
	plan = walk_prepare(walk, part_relid, read_text(cursor, query, (int64) limit), nargs, argtypes, &kept);
	if (!kept)
	{
		MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));

		callback->func = free_plan;
		callback->arg = plan;
		MemoryContextRegisterResetCallback(cursor->query_context, callback);
	}
	cursor->owner = CurrentResourceOwner;

	source = linitial(SPI_plan_get_plan_sources(plan));
	if (steered && kept)
		cursor->cached = steer_plan(walk, part, index, cursor->partitions != NIL, source);
	else
	{
		nest_level = steered ? begin_generic_plans() : 0;
		cursor->cached = part_plan_get(source, params, walk->relid, part_relid);
		settings_end(nest_level);
		/* as steer_plan(): a page is not worth compiling */
		linitial_node(PlannedStmt, cursor->cached->stmt_list)->jitFlags = PGJIT_NONE;
	}
	cursor->desc = CreateQueryDesc(linitial_node(PlannedStmt, cursor->cached->stmt_list), source->query_string,
								   GetActiveSnapshot(), InvalidSnapshot, None_Receiver, params, NULL, 0);
	ExecutorStart(cursor->desc, 0);
	/* of what a filter leaves out there may be any number */
	read_ahead_begin(cursor->desc, walk_query_filters(walk, reader) ? PG_INT64_MAX : (int64) limit,
					 (int64) Min(reader->limit - reader->count, PG_INT64_MAX));
	MemoryContextSwitchTo(context);
}

/*
 * Have the generic plan used even where the session asks for custom ones, which
 * are made when they run.  Returns what settings_end() takes.
 */
static int
begin_generic_plans(void)
{
	static const char *const settings[][2] = {{"plan_cache_mode", "auto"}};

	if (plan_cache_mode != PLAN_CACHE_MODE_FORCE_CUSTOM_PLAN)
		return 0;
	return settings_begin(settings, lengthof(settings));
}

/* The query, of the relation or, put together, of these partitions. */
static char *
read_text(const WalkCursor *cursor, const RangeQuery *query, int64 limit)
{
	Walk	   *walk = cursor->walk;
	WalkReader *reader = cursor->reader;
	List	   *partitions = cursor->partitions;
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	if (partitions == NIL)
		append_select(&buf, walk, walk->relation, query, reader);
	else
	{
		appendStringInfoString(&buf, "SELECT * FROM (");
		foreach(lc, partitions)
		{
			appendStringInfoString(&buf, foreach_current_index(lc) > 0 ? " UNION ALL (" : "(");
			append_select(&buf, walk, psprintf("%s AS %s", (char *) lfirst(lc), walk->qualifier),
						  query, reader);
			appendStringInfo(&buf, " LIMIT " INT64_FORMAT, limit);
			if (reader->skip > 0)
				appendStringInfo(&buf, " OFFSET " INT64_FORMAT, reader->skip);
			appendStringInfoChar(&buf, ')');
		}
		appendStringInfo(&buf, ") AS %s ORDER BY ", walk->qualifier);
		range_order_by(&buf, walk->key, walk->qualifier, reader->backward);
	}

	/* a limit reaches a remote server only if it is known when planning */
	if (cursor->style.expand)
		appendStringInfo(&buf, " LIMIT " INT64_FORMAT, limit);
	if (reader->skip > 0 && partitions == NIL)
		appendStringInfo(&buf, " OFFSET " INT64_FORMAT, reader->skip);
	if (!cursor->style.expand)
		appendStringInfo(&buf, " LIMIT $%d", query->nbefore + query->nparams + 1);
	return buf.data;
}

static void
append_select(StringInfo buf, Walk *walk, const char *from, const RangeQuery *query,
			  WalkReader *reader)
{
	bool		filtered = walk_query_filters(walk, reader);

	appendStringInfo(buf, "SELECT %s FROM %s", walk->select_lists[reader->output], from);
	if (query->condition[0] != '\0' || filtered)
		appendStringInfo(buf, " WHERE %s", query->condition);
	if (filtered)
		appendStringInfo(buf, "%s(%s\n)", query->condition[0] != '\0' ? " AND " : "",
						 walk->filter->text);
	appendStringInfoString(buf, " ORDER BY ");
	range_order_by(buf, walk->key, walk->qualifier, reader->backward);
}

/* As ExecutorRun() takes a row, its time for those who watch queries included. */
TupleTableSlot *
walk_query_next(WalkCursor *cursor)
{
	QueryDesc  *desc = cursor->desc;
	EState	   *estate = desc->estate;
	MemoryContext context = MemoryContextSwitchTo(estate->es_query_cxt);
	TupleTableSlot *slot;

	if (compat_query_timed(desc))
		compat_query_start(desc);
	ResetPerTupleExprContext(estate);
	slot = ExecProcNode(desc->planstate);
	if (!TupIsNull(slot))
		compat_count_row(estate);
	if (compat_query_timed(desc))
		compat_query_stop(desc);
	MemoryContextSwitchTo(context);
	return slot;
}

void
walk_query_end(WalkCursor *cursor)
{
	QueryDesc  *desc = cursor->desc;

	cursor->desc = NULL;
	ExecutorFinish(desc);
	ExecutorEnd(desc);
	FreeQueryDesc(desc);
	ReleaseCachedPlan(cursor->cached, cursor->owner);
	MemoryContextDelete(cursor->query_context);
}

static void
free_plan(void *plan)
{
	SPI_freeplan((SPIPlanPtr) plan);
}
