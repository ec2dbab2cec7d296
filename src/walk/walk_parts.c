/*
 * walk_parts.c
 *		Reading partitions that come one after the other (partition_order.c).
 *
 * Each is read by its index (index_rows.c), or by queries of the whole that are
 * planned for it alone (part_plan.c), and the next when it has no more rows: the
 * others are neither opened nor locked.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"

#include "base/relation.h"
#include "key/direct_read.h"
#include "walk/walk_parts.h"
#include "walk/walk_query.h"

static bool find_next_part(WalkCursor *cursor);

/* Read the partitions one after the other, if they come so. */
void
walk_parts_begin(WalkCursor *cursor)
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
	if (walk_query_filters(walk, cursor->reader) && walk->filter_clauses != NIL)
		partition_order_set_filter(cursor->order, filter_with_values(walk->filter, walk->filter_clauses));
	cursor->one_query = list_length(cursor->queries) == 1;
	cursor->queries = NIL;
}

/* Go on to the next partition, if there is one: lock it, and write its queries. */
bool
walk_parts_next(WalkCursor *cursor)
{
	Walk	   *walk = cursor->walk;
	OrderedPart *part = &cursor->part;
	Range		range = cursor->range;
	IndexRowsPart rows_part;
	RangeQuery *nothing;
	WalkRole	now;
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
	cursor->style = walk_query_style(walk);
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
	walk_query_role_begin(cursor, &now);
	cursor->rows = walk_rows_by_index(cursor, &rows_part, &range);
	walk_query_role_end(&now);
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
bool
walk_parts_row_is_due(WalkCursor *cursor, TupleTableSlot *slot)
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
	position_copy_slot(key, position, slot, walk_cursor_attnums(cursor));
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
