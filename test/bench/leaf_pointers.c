/*
 * leaf_pointers.c
 *		The least that counting a btree index's entries can cost.
 *
 * Neither the table nor visibility is looked at, and nothing is kept: every
 * page of the index is pinned and share-locked once.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/nbtree.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/rel.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(leaf_pointers);
PG_FUNCTION_INFO_V1(level_pages);

static int64 count_page(Page page, BTPageOpaque opaque, bool entries);

/*
 * leaf_pointers(index regclass, entries boolean) RETURNS bigint
 *
 * The line pointers of all leaf pages that are not dead; with entries, the row
 * references of the tuples that they point to, which is what a count takes,
 * since a tuple may stand for many rows.  In physical order.
 */
Datum
leaf_pointers(PG_FUNCTION_ARGS)
{
	Relation	index = index_open(PG_GETARG_OID(0), AccessShareLock);
	bool		entries = PG_GETARG_BOOL(1);
	BlockNumber nblocks = RelationGetNumberOfBlocks(index);
	int64		count = 0;

	for (BlockNumber block = BTREE_METAPAGE + 1; block < nblocks; block++)
	{
		Buffer		buffer = ReadBuffer(index, block);
		Page		page;
		BTPageOpaque opaque;

		CHECK_FOR_INTERRUPTS();
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		page = BufferGetPage(buffer);
		opaque = BTPageGetOpaque(page);
		if (P_ISLEAF(opaque) && !P_IGNORE(opaque))
			count += count_page(page, opaque, entries);
		UnlockReleaseBuffer(buffer);
	}
	index_close(index, AccessShareLock);
	PG_RETURN_INT64(count);
}

/* level_pages(index regclass) RETURNS bigint[], the number of pages of each level, leaves first */
Datum
level_pages(PG_FUNCTION_ARGS)
{
	Relation	index = index_open(PG_GETARG_OID(0), AccessShareLock);
	BlockNumber nblocks = RelationGetNumberOfBlocks(index);
	Datum		counts[32];
	int			nlevels = 0;

	for (BlockNumber block = BTREE_METAPAGE + 1; block < nblocks; block++)
	{
		Buffer		buffer = ReadBuffer(index, block);
		BTPageOpaque opaque;

		CHECK_FOR_INTERRUPTS();
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		opaque = BTPageGetOpaque(BufferGetPage(buffer));
		if (!P_IGNORE(opaque) && opaque->btpo_level < lengthof(counts))
		{
			while (nlevels <= opaque->btpo_level)
				counts[nlevels++] = Int64GetDatum(0);
			counts[opaque->btpo_level] = Int64GetDatum(DatumGetInt64(counts[opaque->btpo_level]) + 1);
		}
		UnlockReleaseBuffer(buffer);
	}
	index_close(index, AccessShareLock);
	PG_RETURN_ARRAYTYPE_P(construct_array(counts, nlevels, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

static int64
count_page(Page page, BTPageOpaque opaque, bool entries)
{
	OffsetNumber last = PageGetMaxOffsetNumber(page);
	int64		count = 0;

	for (OffsetNumber offset = P_FIRSTDATAKEY(opaque); offset <= last; offset++)
	{
		ItemId		item = PageGetItemId(page, offset);
		IndexTuple	tuple;

		if (ItemIdIsDead(item))
			continue;
		tuple = entries ? (IndexTuple) PageGetItem(page, item) : NULL;
		count += tuple != NULL && BTreeTupleIsPosting(tuple) ? BTreeTupleGetNPosting(tuple) : 1;
	}
	return count;
}
