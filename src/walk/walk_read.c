/*
 * walk_read.c
 *		Reading a relation in the order of a key: by its index, where that is
 *		sound (index_rows.c), else by queries.
 *
 * Each index range of a walk is one query with a LIMIT (walk_query.c), run to its
 * end within the call, on the statement's snapshot; nothing is held when the call
 * is over.  Where partitions come one after the other, each is read by itself, and
 * the others are neither opened nor locked (walk_parts.c).
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/relation.h"
#include "miscadmin.h"
#include "utils/jsonb.h"

#include "base/relation.h"
#include "walk/remote.h"
#include "walk/walk_parts.h"
#include "walk/walk_query.h"
#include "walk/walk_read.h"

/*
 * The n-th row of several partitions is looked for until so few rows are left
 * that they come here as quickly, or for so many rounds, of two queries to each
 */
#define NTH_BY_READING 5000
#define NTH_ROUNDS 8

static List *foreign_partitions(const Walk *walk);
static List *partitions_to_read(const Walk *walk, const WalkReader *reader);
static uint64 row_bytes(TupleTableSlot *slot);
static TupleTableSlot *next_of_range(WalkCursor *cursor);
static bool looks_behind(const WalkCursor *cursor);
static void end_at(WalkCursor *cursor, TupleTableSlot *slot);
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
		cursor->rows = walk_rows_by_index(cursor, NULL, range);
	if (cursor->rows != NULL)
		return cursor;
	cursor->style = walk_query_style(walk);
	cursor->queries = range_queries(walk->key, cursor->style, walk->qualifier, range);
	cursor->partitions = cursor->queries == NIL ? NIL : partitions_to_read(walk, reader);
	if (cursor->partitions != NIL)
	{
		RangeStyle	expanded = {.expand = true,.params_before = cursor->style.params_before};

		cursor->queries = range_queries(walk->key, expanded, walk->qualifier, range);
	}
	else if (cursor->queries != NIL && walk->in_order && reader->skip == 0)
		walk_parts_begin(cursor);
	return cursor;
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
			if (slot != NULL && walk_parts_row_is_due(cursor, slot))
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
				if (!walk_parts_next(cursor))
					return NULL;
				continue;
			}
			walk_query_begin(cursor);
		}
		slot = walk_query_next(cursor);
		if (!TupIsNull(slot) && walk_parts_row_is_due(cursor, slot))
			return slot;
		walk_query_end(cursor);
	}
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
		walk_query_end(cursor);
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
	style.params_before = walk_query_filters(walk, &reader) ? walk->filter->nargs : 0;
	if (style.expand || walk->redirected)
		return remote_count(rel, range_condition(walk->key, style, walk->qualifier, range),
							walk_query_filters(walk, &reader) ? walk->filter : NULL);
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
		position_copy_slot(walk->key, reader->end, slot, walk_cursor_attnums(cursor));
		MemoryContextSwitchTo(context);
	}
}

/* Does the row behind the last one share its key? */
static bool
is_tie(const WalkCursor *cursor, TupleTableSlot *slot)
{
	Walk	   *walk = cursor->walk;
	WalkReader *reader = cursor->reader;
	const AttrNumber *attnums = walk_cursor_attnums(cursor);

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
			 errhint("Add columns to the key until it is unique, or use chunks(): it takes keys that are not and, for a plain table, key => 'ctid'.")));
}
