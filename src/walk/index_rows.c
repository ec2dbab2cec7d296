/*
 * index_rows.c
 *		Reading the rows of a range by an index scan, without a query.
 *
 * A page of ten rows costs more to begin than to read: a plan is looked up, its
 * locks are taken, and the executor sets up a tree of nodes.  Where the rows of a
 * range are just what the key's index leads to, the index is scanned as the
 * executor's own node does it, by the server's own functions: the same
 * scan keys, the same snapshot, the same checks of each row's visibility.
 *
 * Where that is not so, or not for the caller to see, the walk reads by a query:
 * where there is a filter, row-level security, a view, or partitions.
 *
 * A partition that is at hand is read so, too: under the privileges of the table that
 * it is of, and its rows are made that table's.
 *
 * Source: what nodeIndexscan.c does with scan keys, ExecIndexBuildScanKeys().
 */
#include "postgres.h"

#include "access/attmap.h"
#include "access/nbtree.h"
#include "access/relation.h"
#include "access/relscan.h"
#include "access/skey.h"
#include "access/tableam.h"
#include "access/tupconvert.h"
#include "miscadmin.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "key/direct_read.h"
#include "walk/index_rows.h"
#include "walk/read_ahead.h"

struct IndexRows
{
	MemoryContext context;		/* all of it lives here */
	const WalkKey *key;
	Relation	rel;
	Relation	index;
	Snapshot	snapshot;		/* registered */
	TupleTableSlot *slot;
	TupleTableSlot *cleared;	/* the row as a query gives it, if that is not as it is stored; or NULL */
	AttrMap    *map;			/* where its columns are stored, if that is a partition's; or NULL */
	bool		backward;		/* the branches are read last to first */
	ScanDirection direction;
	List	   *branches;		/* RangeBranch */
	int			next;			/* branch to begin, counted in the direction of the read */
	IndexScanDesc scan;			/* of the branch at hand, or NULL */
	ReadAhead  *ahead;			/* or NULL */
	int64		rows;			/* that may be wanted */
};

static IndexRows *open_to_read(Relation rel, Oid index_oid, const WalkKey *key);
static bool leads_to_rows(Relation rel, Relation index, const WalkKey *key);
static void set_row_form(IndexRows *read, Relation parent);
static TupleTableSlot *next_of_branches(IndexRows *read);
static void begin_branch(IndexRows *read, const RangeBranch *branch);
static void make_scan_key(ScanKey scan_key, const WalkKey *key, const RangeTest *test);
static ScanKey make_members(const WalkKey *key, const RangeTest *test);
static bool is_stored_otherwise(TupleDesc tupdesc);
static TupleTableSlot *clear_row(TupleTableSlot *cleared, TupleTableSlot *stored);

/*
 * Begin to read the rows of a range of this relation, or of a partition of it, both
 * locked, in walk order or backwards, in the current memory context; nothing is read
 * yet.  rows: so many of them may be wanted.  NULL: they have to be read by a query.
 * The range's positions must stay until index_rows_end().
 */
IndexRows *
index_rows_begin(Oid relid, const IndexRowsPart *part, const WalkKey *key, const Range *range,
				 bool backward, int64 rows)
{
	IndexRows  *read = NULL;
	Relation	rel;
	Relation	table;

	if (!OidIsValid(key->index) || (part != NULL && !OidIsValid(part->index)))
		return NULL;
	rel = relation_open(relid, NoLock);
	if (direct_read_allowed(rel, key, part == NULL ? DIRECT_READ_ROW : DIRECT_READ_ROW_OF_PART))
	{
		table = part == NULL ? rel : relation_open(part->relid, NoLock);
		read = open_to_read(table, part == NULL ? key->index : part->index, key);
		if (read != NULL)
			set_row_form(read, rel);
		else if (part != NULL)
			relation_close(table, NoLock);
	}
	if (read == NULL || part != NULL)
		relation_close(rel, NoLock);
	if (read == NULL)
		return NULL;

	read->backward = backward;
	read->direction = direct_read_backward(key, read->index) != backward ?
		BackwardScanDirection : ForwardScanDirection;
	read->branches = range_branches(key, range);
	read->rows = rows;
	read->ahead = read_ahead_make(read->rel, read->index, ScanDirectionIsBackward(read->direction), rows, rows, 1);
	return read;
}

/* NULL: it must not be read by this index; then rel is left to the caller. */
static IndexRows *
open_to_read(Relation rel, Oid index_oid, const WalkKey *key)
{
	IndexRows  *read;
	Relation	index;

	if (!direct_read_table(rel) || compat_has_virtual_columns(RelationGetDescr(rel)) ||
		(index = try_relation_open(index_oid, AccessShareLock)) == NULL)
		return NULL;
	if (!direct_read_index(index) || !leads_to_rows(rel, index, key))
	{
		relation_close(index, NoLock);
		return NULL;
	}
	read = palloc0(sizeof(IndexRows));
	read->context = CurrentMemoryContext;
	read->key = key;
	read->rel = rel;
	read->index = index;
	read->snapshot = RegisterSnapshot(GetActiveSnapshot());
	return read;
}

/* How a stored row becomes one of the table that the key is of. */
static void
set_row_form(IndexRows *read, Relation parent)
{
	TupleDesc	stored = RelationGetDescr(read->rel);
	TupleDesc	wanted = RelationGetDescr(parent);

	read->slot = table_slot_create(read->rel, NULL);
	if (read->rel != parent)
		read->map = compat_attrmap_by_name_if_needed(stored, wanted);
	if (read->map != NULL)
		read->cleared = MakeSingleTupleTableSlot(wanted, &TTSOpsVirtual);
	else if (is_stored_otherwise(stored))
		read->cleared = MakeSingleTupleTableSlot(stored, &TTSOpsVirtual);
}

/* The next row, good until the next call; NULL after the last. */
TupleTableSlot *
index_rows_next(IndexRows *read)
{
	MemoryContext context = MemoryContextSwitchTo(read->context);
	TupleTableSlot *slot = next_of_branches(read);

	MemoryContextSwitchTo(context);
	return slot;
}

static TupleTableSlot *
next_of_branches(IndexRows *read)
{
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		if (read->scan == NULL)
		{
			int			nbranches = list_length(read->branches);

			if (read->next == nbranches)
				return NULL;
			begin_branch(read, list_nth(read->branches,
										read->backward ? nbranches - 1 - read->next : read->next));
			read->next++;
		}
		if (read->ahead != NULL)
			read_ahead_before_row(read->ahead);
		if (index_getnext_slot(read->scan, read->direction, read->slot))
		{
			if (read->ahead != NULL)
				read_ahead_after_row(read->ahead, read->scan);
			if (read->map != NULL)
				return execute_attr_map_slot(read->map, read->slot, read->cleared);
			return read->cleared == NULL ? read->slot : clear_row(read->cleared, read->slot);
		}
		index_endscan(read->scan);
		read->scan = NULL;
	}
}

void
index_rows_end(IndexRows *read)
{
	if (read->cleared != NULL)
		ExecDropSingleTupleTableSlot(read->cleared);
	ExecDropSingleTupleTableSlot(read->slot);
	if (read->scan != NULL)
		index_endscan(read->scan);
	UnregisterSnapshot(read->snapshot);
	relation_close(read->index, NoLock);
	relation_close(read->rel, NoLock);
}

/*
 * Is it a btree of the key's columns, so that its scan gives each row once, in the key's
 * order?  By name, since a partition may have its columns in another order.
 */
static bool
leads_to_rows(Relation rel, Relation index, const WalkKey *key)
{
	if (index->rd_rel->relam != BTREE_AM_OID || index->rd_index->indrelid != RelationGetRelid(rel) ||
		RelationGetIndexPredicate(index) != NIL ||
		IndexRelationGetNumberOfKeyAttributes(index) < key->ncolumns)
		return false;
	for (int i = 0; i < key->ncolumns; i++)
	{
		AttrNumber	attnum = index->rd_index->indkey.values[i];

		if (attnum <= 0 ||
			strcmp(NameStr(TupleDescAttr(RelationGetDescr(rel), attnum - 1)->attname), key->columns[i].name) != 0 ||
			index->rd_opfamily[i] != key->columns[i].opfamily ||
			index->rd_indcollation[i] != key->columns[i].collation)
			return false;
	}
	return true;
}

static void
begin_branch(IndexRows *read, const RangeBranch *branch)
{
	ScanKey		keys = palloc0(Max(branch->ntests, 1) * sizeof(ScanKeyData));

	for (int i = 0; i < branch->ntests; i++)
		make_scan_key(&keys[i], read->key, &branch->tests[i]);
	read->scan = compat_index_beginscan(read->rel, read->index, read->snapshot, branch->ntests);
	index_rescan(read->scan, keys, branch->ntests, NULL, 0);
}

static void
make_scan_key(ScanKey scan_key, const WalkKey *key, const RangeTest *test)
{
	const KeyColumn *column = &key->columns[test->column];
	StrategyNumber strategy = range_test_strategy(test, column);

	if (test->kind == TEST_NULL || test->kind == TEST_NOT_NULL)
		ScanKeyEntryInitialize(scan_key, SK_ISNULL | (test->kind == TEST_NULL ? SK_SEARCHNULL : SK_SEARCHNOTNULL),
							   test->column + 1, InvalidStrategy, InvalidOid, InvalidOid, InvalidOid, (Datum) 0);
	else if (!test->whole_row)
		ScanKeyEntryInitialize(scan_key, 0, test->column + 1, strategy, column->opcintype, column->collation,
							   column->functions[strategy], test->position->values[test->column]);
	else
	{
		scan_key->sk_flags = SK_ROW_HEADER;
		scan_key->sk_attno = 1;
		scan_key->sk_strategy = strategy;
		scan_key->sk_argument = PointerGetDatum(make_members(key, test));
	}
}

/* A row's columns are compared by the three-way function of each. */
static ScanKey
make_members(const WalkKey *key, const RangeTest *test)
{
	ScanKey		members = palloc0(key->ncolumns * sizeof(ScanKeyData));
	StrategyNumber strategy = range_test_strategy(test, &key->columns[0]);

	for (int i = 0; i < key->ncolumns; i++)
		ScanKeyEntryInitialize(&members[i], SK_ROW_MEMBER | (i == key->ncolumns - 1 ? SK_ROW_END : 0), i + 1,
							   strategy, key->columns[i].opcintype, key->columns[i].collation,
							   key->columns[i].compare.fn_oid, test->position->values[i]);
	return members;
}

/*
 * Are there columns that were dropped, whose old values are still in the rows, or
 * added, which are not in the older rows?
 */
static bool
is_stored_otherwise(TupleDesc tupdesc)
{
	if (tupdesc->constr != NULL && tupdesc->constr->missing != NULL)
		return true;
	for (int i = 0; i < tupdesc->natts; i++)
		if (TupleDescAttr(tupdesc, i)->attisdropped)
			return true;
	return false;
}

static TupleTableSlot *
clear_row(TupleTableSlot *cleared, TupleTableSlot *stored)
{
	TupleDesc	tupdesc = stored->tts_tupleDescriptor;

	ExecClearTuple(cleared);
	slot_getallattrs(stored);
	for (int i = 0; i < tupdesc->natts; i++)
	{
		cleared->tts_values[i] = stored->tts_values[i];
		cleared->tts_isnull[i] = stored->tts_isnull[i] || TupleDescAttr(tupdesc, i)->attisdropped;
	}
	return ExecStoreVirtualTuple(cleared);
}
