/*
 * walk_read.c
 *		Reading a relation in the order of a key: by its index, where that is
 *		sound (index_rows.c), else by queries.
 *
 * Each index range of a walk is one query with a LIMIT, run to its end within
 * the call, on the statement's snapshot; nothing is held when the call is over.
 * Because it is an ordinary query of the caller, privileges, row-level security
 * and security barriers hold by themselves.
 *
 * Where an index supports the order, the queries are planned once, and so that
 * this index is used whatever the statistics say (steer.c): every page costs
 * the same.
 *
 * Where partitions come one after the other (partition_order.c), each is read by
 * queries of the whole that are planned for it alone (part_plan.c), and the next when
 * it has no more rows: the others are neither opened nor locked.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/relation.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/instrument.h"
#include "jit/jit.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "tcop/dest.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/plancache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/relation.h"
#include "base/settings.h"
#include "key/direct_read.h"
#include "key/partition_order.h"
#include "walk/index_rows.h"
#include "walk/part_plan.h"
#include "walk/read_ahead.h"
#include "walk/remote.h"
#include "walk/steer.h"
#include "walk/walk_read.h"

/*
 * The n-th row of several partitions is looked for until so few rows are left
 * that they come here as quickly, or for so many rounds, of two queries to each
 */
#define NTH_BY_READING 5000
#define NTH_ROUNDS 8

/* Besides the settings that a filter's literals depend on, those that names and policies do */
#define NSETTINGS (WALK_NSETTINGS + 2)

/* Whose rights are used */
typedef struct Role
{
	Oid			user;
	int			security_context;
	bool		switched;		/* to another for a moment */
} Role;

/* A read in progress: the queries of a range, one after the other */
struct WalkCursor
{
	Walk	   *walk;
	WalkReader *reader;
	MemoryContext context;		/* all of it lives here, and reader->end */
	IndexRows  *rows;			/* they are read without any query; or NULL */
	List	   *queries;		/* RangeQuery, in walk order */
	RangeStyle	style;			/* that they are written in */
	List	   *partitions;		/* that each query puts together, or NIL */
	int			next;			/* query to run, counted in the direction of the read */

	/* if partitions are read one after the other */
	PartitionOrder *order;		/* or NULL */
	Range		range;			/* over all of them */
	bool		one_query;		/* is enough for it, which can be the same of all */
	OrderedPart part;			/* at hand, whose queries the above are */
	MemoryContext part_context; /* where they are; NULL: no partition yet */
	Position   *default_row;	/* of the default partition's last row so far, or NULL */
	MemoryContext default_context;	/* where that is */
	bool		default_waits;	/* that partition was left for others, to come back to it */

	/* what must stay as it was when the first query was run */
	bool		in_one_call;	/* it does, until the read is over */
	bool		begun;
	Role		begun_as;
	char	   *settings[NSETTINGS];	/* if there may be several queries */

	/* the query that is running, or NULL */
	QueryDesc  *desc;
	MemoryContext query_context;
	CachedPlan *cached;
	ResourceOwner owner;
};

static List *foreign_partitions(const Walk *walk);
static List *partitions_to_read(const Walk *walk, const WalkReader *reader);
static char *read_text(const WalkCursor *cursor, const RangeQuery *query, int64 limit);
static void append_select(StringInfo buf, Walk *walk, const char *from, const RangeQuery *query,
						  WalkReader *reader);
static uint64 row_bytes(TupleTableSlot *slot);
static IndexRows *rows_by_index(const WalkCursor *cursor, const IndexRowsPart *part, const Range *range);
static TupleTableSlot *next_of_range(WalkCursor *cursor);
static RangeStyle style_of_queries(const Walk *walk);
static void begin_parts(WalkCursor *cursor);
static bool begin_next_part(WalkCursor *cursor);
static bool find_next_part(WalkCursor *cursor);
static bool row_is_due(WalkCursor *cursor, TupleTableSlot *slot);
static const AttrNumber *key_attnums(const WalkCursor *cursor);
static TupleTableSlot *next_of_query(QueryDesc *desc);
static void begin_next_query(WalkCursor *cursor);
static void begin_as_begun(const WalkCursor *cursor, Role *now);
static void end_as_begun(const Role *now);
static const char *setting_to_keep(int i);
static void begin_query(WalkCursor *cursor, const RangeQuery *query);
static void end_query(WalkCursor *cursor);
static void free_plan(void *plan);
static bool looks_behind(const WalkCursor *cursor);
static void end_at(WalkCursor *cursor, TupleTableSlot *slot);
static bool is_filtered(const Walk *walk, const WalkReader *reader);
static int	begin_generic_plans(void);
static bool is_tie(const WalkCursor *cursor, TupleTableSlot *slot);

/*
 * Read the rows of a range, in walk order or backwards, until the reader has
 * enough.  Results go into the current memory context.  Errors: those of
 * walk_cursor_next().
 */
void
walk_read(Walk *walk, const Range *range, WalkReader *reader)
{
	WalkCursor *cursor = walk_cursor_open(walk, range, reader);
	TupleTableSlot *slot;

	cursor->in_one_call = true;
	while ((slot = walk_cursor_next(cursor)) != NULL)
	{
		if (reader->row == NULL)
			continue;
		if (!reader->row(reader, slot) && !reader->ended)
			end_at(cursor, slot);
	}
	walk_cursor_close(cursor);
}

/*
 * Begin to read a range, in walk order or backwards, in the current memory
 * context.  Nothing is run yet.  The walk must stay pinned, and reader stay where
 * it is, until walk_cursor_close(); reader->row is not called.
 */
WalkCursor *
walk_cursor_open(Walk *walk, const Range *range, WalkReader *reader)
{
	WalkCursor *cursor = palloc0(sizeof(WalkCursor));

	cursor->walk = walk;
	cursor->reader = reader;
	cursor->context = CurrentMemoryContext;
	reader->count = 0;
	reader->bytes = 0;
	reader->ended = false;
	reader->end = NULL;
	cursor->range = *range;
	if (!walk->style.prune)
		cursor->rows = rows_by_index(cursor, NULL, range);
	if (cursor->rows != NULL)
		return cursor;
	cursor->style = style_of_queries(walk);
	cursor->queries = range_queries(walk->key, cursor->style, walk->qualifier, range);
	cursor->partitions = cursor->queries == NIL ? NIL : partitions_to_read(walk, reader);
	if (cursor->partitions != NIL)
	{
		RangeStyle	expanded = {.expand = true,.params_before = cursor->style.params_before};

		cursor->queries = range_queries(walk->key, expanded, walk->qualifier, range);
	}
	else if (cursor->queries != NIL && walk->in_order && reader->skip == 0)
		begin_parts(cursor);
	return cursor;
}

/* The filter's parameters have the lowest numbers. */
static RangeStyle
style_of_queries(const Walk *walk)
{
	RangeStyle	style = walk->style;

	style.params_before = walk->filter == NULL ? 0 : walk->filter->nargs;
	return style;
}

/* Read the partitions one after the other, if they come so. */
static void
begin_parts(WalkCursor *cursor)
{
	Walk	   *walk = cursor->walk;

	cursor->order = partition_order_begin(walk->relid, walk->key, cursor->range.after, cursor->range.upto,
										  cursor->reader->backward);
	if (cursor->order == NULL)
	{
		/* no longer, or not as this snapshot sees them */
		Relation	rel = relation_open(walk->relid, NoLock);

		relation_check_rewrite(rel);
		relation_close(rel, NoLock);
		return;
	}
	if (is_filtered(walk, cursor->reader) && walk->filter_clauses != NIL)
		partition_order_set_filter(cursor->order, walk->filter_clauses);
	cursor->one_query = list_length(cursor->queries) == 1;
	cursor->queries = NIL;
}

/* Reading a range, of all or of a partition, without a query, or NULL. */
static IndexRows *
rows_by_index(const WalkCursor *cursor, const IndexRowsPart *part, const Range *range)
{
	const Walk *walk = cursor->walk;
	const WalkReader *reader = cursor->reader;

	if (reader->output != WALK_ROWS || walk->filter != NULL || reader->skip > 0 || walk->redirected)
		return NULL;
	return index_rows_begin(walk->relid, part, walk->key, range, reader->backward,
							(int64) Min(reader->limit - reader->count, PG_INT64_MAX));
}

/*
 * The next row, good until the next call, or NULL when the reader has enough or
 * the range is over.  Between two calls, as between the rows of a cursor, role and
 * settings may change: the range's queries are begun as by whoever began it, and
 * mean what they meant then.  Errors: those of the query; 21000 if reader->boundary,
 * without ties, and the row that follows the last one shares its key.
 */
TupleTableSlot *
walk_cursor_next(WalkCursor *cursor)
{
	WalkReader *reader = cursor->reader;
	TupleTableSlot *slot = NULL;

	if (!reader->ended || looks_behind(cursor))
		slot = next_of_range(cursor);
	if (slot != NULL && reader->ended)
	{
		if (!is_tie(cursor, slot))
			slot = NULL;
		else if (!reader->ties)
			walk_report_tie(cursor->walk, reader->end);
	}
	if (slot == NULL)
	{
		walk_cursor_close(cursor);
		return NULL;
	}
	reader->count++;
	if (reader->max_bytes > 0)
		reader->bytes += row_bytes(slot);
	if (!reader->ended &&
		(reader->count >= reader->limit || (reader->max_bytes > 0 && reader->bytes >= reader->max_bytes)))
		end_at(cursor, slot);
	return slot;
}

/*
 * The bytes of a row's values, of those that are not null: what they take up out of
 * line and compressed is not asked for, but what they are when they are read.
 */
static uint64
row_bytes(TupleTableSlot *slot)
{
	uint64		bytes = 0;

	slot_getallattrs(slot);
	for (int i = 0; i < slot->tts_tupleDescriptor->natts; i++)
	{
		int16		length = TupleDescAttr(slot->tts_tupleDescriptor, i)->attlen;
		Datum		value = slot->tts_values[i];

		if (slot->tts_isnull[i])
			continue;
		if (length > 0)
			bytes += length;
		else if (length == -1)
			bytes += toast_raw_datum_size(value) - VARHDRSZ;
		else
			bytes += strlen(DatumGetCString(value));
	}
	return bytes;
}

static TupleTableSlot *
next_of_range(WalkCursor *cursor)
{
	if (!cursor->in_one_call && !cursor->begun)
		GetUserIdAndSecContext(&cursor->begun_as.user, &cursor->begun_as.security_context);
	cursor->begun = true;
	for (;;)
	{
		TupleTableSlot *slot;

		CHECK_FOR_INTERRUPTS();
		if (cursor->rows != NULL)
		{
			slot = index_rows_next(cursor->rows);
			if (slot != NULL && row_is_due(cursor, slot))
				return slot;
			index_rows_end(cursor->rows);
			cursor->rows = NULL;
		}
		if (cursor->desc == NULL)
		{
			if (cursor->reader->ended)
				return NULL;
			if (cursor->next == list_length(cursor->queries))
			{
				if (!begin_next_part(cursor))
					return NULL;
				continue;
			}
			begin_next_query(cursor);
		}
		slot = next_of_query(cursor->desc);
		if (!TupIsNull(slot) && row_is_due(cursor, slot))
			return slot;
		end_query(cursor);
	}
}

/* Go on to the next partition, if there is one: lock it, and write its queries. */
static bool
begin_next_part(WalkCursor *cursor)
{
	Walk	   *walk = cursor->walk;
	OrderedPart *part = &cursor->part;
	Range		range = cursor->range;
	IndexRowsPart rows_part;
	RangeQuery *nothing;
	Role		now;
	MemoryContext context;

	if (cursor->order == NULL)
		return false;
	cursor->queries = NIL;
	cursor->next = 0;
	if (!find_next_part(cursor))
	{
		partition_order_end(cursor->order);
		cursor->order = NULL;
		if (cursor->part_context != NULL)
			return false;
		/* nothing has been read: whether the caller may is found out all the same */
		nothing = palloc0(sizeof(RangeQuery));
		nothing->condition = "FALSE";
		nothing->nbefore = cursor->style.params_before;
		cursor->queries = list_make1(nothing);
		return true;
	}

	if (cursor->part_context == NULL)
		cursor->part_context = AllocSetContextCreate(cursor->context, "pg_chunked partition", ALLOCSET_SMALL_SIZES);
	MemoryContextReset(cursor->part_context);
	context = MemoryContextSwitchTo(cursor->part_context);
	cursor->default_waits = false;
	cursor->style = style_of_queries(walk);
	if (part->relkind != RELKIND_PARTITIONED_TABLE)
		cursor->style.prune = cursor->style.also_expand = false;
	cursor->style.expand = part->relkind == RELKIND_FOREIGN_TABLE;

	if (part->is_default && cursor->default_row != NULL)
	{
		Position   *row = position_copy(walk->key, cursor->default_row);

		if (cursor->reader->backward)
		{
			range.upto = row;
			range.upto_exclusive = true;
		}
		else
			range.after = row;
	}
	else if (!part->is_default && !cursor->one_query)
	{
		/* the one query has a plan that serves for all pages of the partition */
		range.after = part->holds_after ? range.after : NULL;
		range.upto = part->holds_upto ? range.upto : NULL;
	}
	rows_part.relid = part->relid;
	rows_part.index = walk_look_at_part(walk, part->relid);
	begin_as_begun(cursor, &now);
	cursor->rows = rows_by_index(cursor, &rows_part, &range);
	end_as_begun(&now);
	if (cursor->rows == NULL)
		cursor->queries = range_queries(walk->key, cursor->style, walk->qualifier, &range);
	MemoryContextSwitchTo(context);
	return true;
}

/* Lock the next partition that there may be something in; false if there is none. */
static bool
find_next_part(WalkCursor *cursor)
{
	OrderedPart *part = &cursor->part;

	if (cursor->part_context != NULL && part->is_default && !cursor->default_waits)
		partition_order_no_more_default(cursor->order);
	while (partition_order_next(cursor->order, part))
	{
		Relation	rel = relation_open(part->relid, NoLock);
		bool		empty;

		relation_check_rewrite_of_part(rel);
		/* reads are left to the executor where it must note them */
		empty = !IsolationIsSerializable() && direct_read_table(rel) && RelationGetNumberOfBlocks(rel) == 0;
		relation_close(rel, NoLock);
		if (!empty)
			return true;
		if (part->is_default)
			partition_order_no_more_default(cursor->order);
	}
	return false;
}

/*
 * Is it a row to hand out now?  One of the default partition is not if another
 * partition comes before it; then the default one is left, to come back to it.
 */
static bool
row_is_due(WalkCursor *cursor, TupleTableSlot *slot)
{
	const WalkKey *key = cursor->walk->key;
	MemoryContext row;
	MemoryContext context;
	Position   *position;

	if (cursor->order == NULL || !cursor->part.is_default)
		return true;
	row = AllocSetContextCreate(cursor->context, "pg_chunked default partition", ALLOCSET_SMALL_SIZES);
	context = MemoryContextSwitchTo(row);
	position = position_make(key);
	position_copy_slot(key, position, slot, key_attnums(cursor));
	MemoryContextSwitchTo(context);
	cursor->default_waits = !partition_order_is_due(cursor->order, position);
	if (cursor->default_waits)
	{
		cursor->next = list_length(cursor->queries);
		MemoryContextDelete(row);
		return false;
	}
	if (cursor->default_context != NULL)
		MemoryContextDelete(cursor->default_context);
	cursor->default_context = row;
	cursor->default_row = position;
	return true;
}

/* Where the key's columns are in the rows that are read */
static const AttrNumber *
key_attnums(const WalkCursor *cursor)
{
	return cursor->reader->output == WALK_ROWS ? cursor->walk->row_attnums : cursor->walk->key_attnums;
}

/* To be called when no more rows are wanted; again is no harm. */
void
walk_cursor_close(WalkCursor *cursor)
{
	if (cursor->rows != NULL)
		index_rows_end(cursor->rows);
	cursor->rows = NULL;
	cursor->next = list_length(cursor->queries);
	if (cursor->desc != NULL)
		end_query(cursor);
	if (cursor->order != NULL)
		partition_order_end(cursor->order);
	cursor->order = NULL;
}

/* The position of the first or, backwards, the last row of a range, or NULL. */
Position *
walk_end_of_range(Walk *walk, const Range *range, WalkOutput output, bool backward)
{
	WalkReader	reader = {0};

	reader.output = output;
	reader.backward = backward;
	reader.limit = 1;
	reader.keep_end = true;
	walk_read(walk, range, &reader);
	return reader.end;
}

/* Can rows be skipped where they are, so that they need not come here? */
bool
walk_can_skip(const Walk *walk)
{
	return walk->style.expand || foreign_partitions(walk) != NIL;
}

/*
 * The position of the n-th row of a range, counted from 1, or NULL if there are
 * fewer; rows that can be skipped where they are do not come here.  *through,
 * unless that is NULL: the rows up to this position, with those that share it.
 * SPI must be connected.
 *
 * Of k partitions, none has its n/k-th row before the first such row p of all.
 * So no more than n rows are before p, and at least n/k: the search goes on
 * after it.  Where rows are spread evenly, p is nearly the n-th.
 */
Position *
walk_nth(Walk *walk, Relation rel, const Range *range, WalkOutput output, int64 n,
		 int64 *through)
{
	int			npartitions = walk->style.expand ? 1 : list_length(foreign_partitions(walk));
	Range		rest = *range;
	int64		left = n;

	for (int round = 0;; round++)
	{
		bool		last = npartitions <= 1 || left <= Max(NTH_BY_READING, npartitions) ||
			round == NTH_ROUNDS;
		WalkReader	reader = {0};
		Range		passed = rest;
		int64		rows = left;

		reader.output = output;
		reader.limit = 1;
		reader.keep_end = true;
		if (npartitions == 1)
			reader.skip = left - 1;
		else if (last)
			reader.limit = left;
		else
			reader.skip = left / npartitions - 1;
		walk_read(walk, &rest, &reader);
		if (!reader.ended)
			return NULL;

		passed.upto = reader.end;
		passed.upto_exclusive = false;
		if (!last || through != NULL)
			rows = walk_count(walk, rel, &passed, output);
		if (last || rows >= left)
		{
			if (through != NULL)
				*through = n - left + rows;
			return reader.end;
		}
		left -= rows;
		rest.after = reader.end;
	}
}

/*
 * The rows of a range, or those that match the filter, by output: counted where
 * they are if they are not here.  SPI must be connected.
 */
int64
walk_count(Walk *walk, Relation rel, const Range *range, WalkOutput output)
{
	WalkReader	reader = {0};
	RangeStyle	style = walk->style;

	reader.output = output;
	reader.limit = PG_INT64_MAX;
	style.expand |= style.also_expand;	/* a row comparison would be made here */
	if (walk->in_order && style.expand)
		relation_check_rewrite(rel);	/* all are read at once */
	style.params_before = is_filtered(walk, &reader) ? walk->filter->nargs : 0;
	if (style.expand || walk->redirected)
		return remote_count(rel, range_condition(walk->key, style, walk->qualifier, range),
							is_filtered(walk, &reader) ? walk->filter : NULL);
	walk_read(walk, range, &reader);
	return (int64) reader.count;
}

/* The last position of a range, by walk_all_keys(), or NULL. */
Position *
walk_last_position(Walk *walk, const Range *range)
{
	return walk_end_of_range(walk, range, walk_all_keys(walk), true);
}

/* The names of the partitions, if all are foreign and the caller may name them; else NIL. */
static List *
foreign_partitions(const Walk *walk)
{
	Relation	rel;
	List	   *partitions;

	if (!walk->all_foreign || (walk->filter != NULL && !walk->filter_in_partitions))
		return NIL;
	rel = relation_open(walk->relid, NoLock);
	partitions = remote_partitions(rel);
	relation_close(rel, NoLock);
	return partitions;
}

/* Those to read each by itself, if that is better; else NIL. */
static List *
partitions_to_read(const Walk *walk, const WalkReader *reader)
{
	if (reader->skip == 0 && (!walk->by_partitions || (reader->ties && !walk->key->unique)))
		return NIL;
	return foreign_partitions(walk);
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
	bool		filtered = is_filtered(walk, reader);

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
static TupleTableSlot *
next_of_query(QueryDesc *desc)
{
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

/*
 * Run the next of the range's queries under the settings that its first was run
 * under, or a filter would mean something else from here on, and so would the
 * plan that is kept for other calls.
 */
static void
begin_next_query(WalkCursor *cursor)
{
	int			nqueries = list_length(cursor->queries);
	int			next = cursor->next++;
	const char *changed[NSETTINGS][2];
	int			nchanged = 0;
	int			nest_level;
	Role		now;

	for (int i = 0; i < NSETTINGS && (nqueries > 1 || cursor->order != NULL) && !cursor->in_one_call; i++)
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
	begin_as_begun(cursor, &now);
	begin_query(cursor, list_nth(cursor->queries,
								 cursor->reader->backward ? nqueries - 1 - next : next));
	end_as_begun(&now);
	settings_end(nest_level);
}

/*
 * Be the role that the read was begun as: for what is checked and planned when it goes on, not
 * while rows are read (begin_next_query()).  An error undoes this with its (sub)transaction.
 */
static void
begin_as_begun(const WalkCursor *cursor, Role *now)
{
	GetUserIdAndSecContext(&now->user, &now->security_context);
	now->switched = !cursor->in_one_call && now->user != cursor->begun_as.user;
	if (now->switched)
		SetUserIdAndSecContext(cursor->begun_as.user,
							   cursor->begun_as.security_context | SECURITY_LOCAL_USERID_CHANGE);
}

static void
end_as_begun(const Role *now)
{
	if (now->switched)
		SetUserIdAndSecContext(now->user, now->security_context);
}

static const char *
setting_to_keep(int i)
{
	static const char *const others[NSETTINGS - WALK_NSETTINGS] = {"search_path", "row_security"};

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
	Oid			index = is_filtered(walk, reader) && OidIsValid(walk->filter_index) ?
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
	read_ahead_begin(cursor->desc, is_filtered(walk, reader) ? PG_INT64_MAX : (int64) limit,
					 (int64) Min(reader->limit - reader->count, PG_INT64_MAX));
	MemoryContextSwitchTo(context);
}

static void
end_query(WalkCursor *cursor)
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

/* Are rows behind the last one looked at, for whether they share its key? */
static bool
looks_behind(const WalkCursor *cursor)
{
	return cursor->reader->boundary && !cursor->walk->key->unique;
}

/* This row is the last. */
static void
end_at(WalkCursor *cursor, TupleTableSlot *slot)
{
	WalkReader *reader = cursor->reader;
	Walk	   *walk = cursor->walk;

	reader->ended = true;
	if (reader->keep_end || looks_behind(cursor))
	{
		MemoryContext context = MemoryContextSwitchTo(cursor->context);

		reader->end = position_make(walk->key);
		position_copy_slot(walk->key, reader->end, slot, key_attnums(cursor));
		MemoryContextSwitchTo(context);
	}
}

/* Does the query return only rows that match the filter? */
static bool
is_filtered(const Walk *walk, const WalkReader *reader)
{
	return walk->filter != NULL &&
		(reader->output == WALK_ROWS || reader->output == WALK_KEYS);
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

/* Does the row behind the last one share its key? */
static bool
is_tie(const WalkCursor *cursor, TupleTableSlot *slot)
{
	Walk	   *walk = cursor->walk;
	WalkReader *reader = cursor->reader;
	const AttrNumber *attnums = key_attnums(cursor);

	for (int i = 0; i < walk->key->ncolumns; i++)
	{
		bool		isnull;
		Datum		value = slot_getattr(slot, attnums[i], &isnull);

		if (key_column_compare(&walk->key->columns[i], value, isnull,
							   reader->end->values[i], reader->end->nulls[i]) != 0)
			return false;
	}
	return true;
}

/* Refuse to go on after a position that several rows share: one would be skipped. */
void
walk_report_tie(const Walk *walk, Position *position)
{
	ereport(ERROR,
			(errcode(ERRCODE_CARDINALITY_VIOLATION),
			 errmsg("several rows of %s are at position %s", walk->relation,
					JsonbToCString(NULL, &position_write(walk->key, position)->root, 0)),
			 errdetail("The walk would skip rows there, since its key is not unique."),
			 errhint("Add columns to the key until it is unique.")));
}
