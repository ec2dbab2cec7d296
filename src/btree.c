/*
 * btree.c
 *		Reading a btree index's pages directly: opening, descending, stepping.
 *
 * Each page is copied under a share lock and interpreted from the copy, so that
 * no lock is held over visibility checks or interrupts.  (A caller that only
 * looks at the items can do so in place, as nbtree does.)  What the copy says stays usable however the index changes meanwhile, by the rules of
 * Lehman and Yao that nbtree keeps: keys only move right, a downlink's
 * separator stays a lower bound of what is to be found from its child on, and a
 * deleted page is not reused while our snapshot is live, so that its links can
 * be followed.  Stepping right follows the link that was in the copy: a page
 * split off meanwhile lies between, and its items were in the copy already.
 *
 * The pin on a leaf is kept until its items' visibility has been looked up: it
 * keeps VACUUM from removing their rows, after which an all-visible bit might
 * speak of other rows at the same places (as in an index-only scan).
 *
 * Source of the algorithms: the server's nbtree README, and nbtsearch.c
 * (_bt_search, _bt_walk_left).
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/relation.h"
#include "access/visibilitymap.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "btree.h"
#include "redirect.h"
#include "relation.h"
#include "settings.h"

/* Indexes over this part of shared buffers are read through a ring of buffers */
#define BULK_READ_PART 4

/* Two bits a heap block (visibilitymap.c keeps its macro to itself) */
#define HEAP_BLOCKS_PER_VM_PAGE ((BLCKSZ - MAXALIGN(SizeOfPageHeaderData)) * 4)

static bool may_read_heap(Relation rel);
static bool may_read_index(Relation index);
static bool reads_backward(const WalkKey *key, Relation index);
static Buffer *vm_buffer(BtreeIndex *btree, BlockNumber block);
static void leave_heap(BtreeIndex *btree);
static void page_take(BtreePage *page, Buffer buffer);
static bool read_root(BtreeIndex *btree, BtreePage *page);
static void skip_ignored(BtreeIndex *btree, BtreePage *page);
static void collect_children(BtreeIndex *btree, BtreePage *page, bool separators,
							 BtreeLevel *level);

/* ------------------------------------------------------------------ opening */

/*
 * Open the index that supports this key for direct reading, or NULL if that is
 * not sound here: then SPI is the way, and so it is for a key that may have
 * duplicates, which the walk has to look out for.
 */
BtreeIndex *
btree_open(Relation rel, const WalkKey *key)
{
	if (!key->unique || !btree_caller_may_read(rel, key))
		return NULL;
	return btree_open_part(rel, key->index, key);
}

/*
 * May the caller see the key of every row of this relation, so that reading
 * around the executor shows nothing more?  And would the executor read the
 * same, under an ordinary snapshot?  SERIALIZABLE's predicate locks we would
 * not take.
 */
bool
btree_caller_may_read(Relation rel, const WalkKey *key)
{
	Oid			relid = RelationGetRelid(rel);
	Oid			user = GetUserId();

	if (!settings_native || !OidIsValid(key->index) || key->norder != key->ncolumns)
		return false;
	if (IsolationIsSerializable() || compat_snapshots_expire() || !ActiveSnapshotSet() ||
		!IsMVCCSnapshot(GetActiveSnapshot()))
		return false;
	if (check_enable_rls(relid, InvalidOid, true) == RLS_ENABLED)
		return false;
	if (pg_class_aclcheck(relid, user, ACL_SELECT) != ACLCHECK_OK)
		for (int i = 0; i < key->ncolumns; i++)
			if (pg_attribute_aclcheck(relid, key->columns[i].attnum, user, ACL_SELECT) != ACLCHECK_OK)
				return false;
	return !redirect_of_direct_read(rel, key);
}

/*
 * The same for a partition, whose privileges and policies do not count when it
 * is read through its parent; index is its own.  NULL unless it is a plain heap
 * table with an index that the planner would use.
 */
BtreeIndex *
btree_open_part(Relation part, Oid index_oid, const WalkKey *key)
{
	BtreeIndex *btree;
	Relation	index;

	if (!may_read_heap(part))
		return NULL;
	index = try_relation_open(index_oid, AccessShareLock);
	if (index == NULL)
		return NULL;
	if (!may_read_index(index))
	{
		relation_close(index, AccessShareLock);
		return NULL;
	}

	btree = palloc0(sizeof(BtreeIndex));
	btree->key = key;
	btree->heap = part;
	btree->index = index;
	btree->backward = reads_backward(key, index);
	btree->snapshot = GetActiveSnapshot();
	btree->skip_dead = !btree->snapshot->takenDuringRecovery;
	btree->heap_block = InvalidBlockNumber;
	if (RelationGetNumberOfBlocks(index) > (BlockNumber) NBuffers / BULK_READ_PART)
		btree->strategy = GetAccessStrategy(BAS_BULKREAD);
	return btree;
}

void
btree_close(BtreeIndex *btree)
{
	btree_unpin(btree);
	if (btree->strategy != NULL)
		FreeAccessStrategy(btree->strategy);
	relation_close(btree->index, AccessShareLock);
	pfree(btree);
}

/* Hold no buffer while others are read: there may be fewer than partitions. */
void
btree_unpin(BtreeIndex *btree)
{
	for (int i = 0; i < BTREE_VM_BUFFERS; i++)
		if (BufferIsValid(btree->vm_buffers[i]))
		{
			ReleaseBuffer(btree->vm_buffers[i]);
			btree->vm_buffers[i] = InvalidBuffer;
		}
	leave_heap(btree);
}

static bool
may_read_heap(Relation rel)
{
	char		relkind = rel->rd_rel->relkind;

	return (relkind == RELKIND_RELATION || relkind == RELKIND_MATVIEW) &&
		rel->rd_tableam == GetHeapamTableAmRoutine() &&
		!relation_has_children(rel) && RelationIsPopulated(rel) &&
		!RELATION_IS_OTHER_TEMP(rel) &&
		(RelationIsPermanent(rel) || !RecoveryInProgress());
}

/* As the planner judges an index, at the moment */
static bool
may_read_index(Relation index)
{
	Form_pg_index form = index->rd_index;
	bool		heapkeyspace;
	bool		allequalimage;

	if (index->rd_rel->relkind != RELKIND_INDEX || !form->indisvalid || !form->indislive)
		return false;
	/* HOT chains broken when it was built may hide rows from an older snapshot */
	if (form->indcheckxmin &&
		!TransactionIdPrecedes(HeapTupleHeaderGetXmin(index->rd_indextuple->t_data),
							   TransactionXmin))
		return false;
	/* before version 4, duplicates were in no order */
	_bt_metaversion(index, &heapkeyspace, &allequalimage);
	return heapkeyspace;
}

static bool
reads_backward(const WalkKey *key, Relation index)
{
	return ((index->rd_indoption[0] & INDOPTION_DESC) != 0) != key->columns[0].descending;
}

/* -------------------------------------------------------------------- pages */

/* A page to read into, in the current memory context; pfree when done. */
BtreePage *
btree_page_make(void)
{
	BtreePage  *page = palloc(sizeof(BtreePage));

	page->in_place = false;
	page->buffer = InvalidBuffer;
	page->locked = false;
	page->first = FirstOffsetNumber;
	page->last = InvalidOffsetNumber;	/* no items yet */
	return page;
}

/*
 * Read a block into page, whose last buffer is released.  With page->in_place
 * it stays locked: then neither another page may be locked, nor anything be
 * waited for, before btree_page_unlock() or _release().
 */
void
btree_page_read(BtreeIndex *btree, BtreePage *page, BlockNumber block)
{
	Buffer		buffer;

	btree_page_release(btree, page);
	CHECK_FOR_INTERRUPTS();
	buffer = ReadBufferExtended(btree->index, MAIN_FORKNUM, block, RBM_NORMAL, btree->strategy);
	LockBuffer(buffer, BT_READ);
	_bt_checkpage(btree->index, buffer);
	page_take(page, buffer);
	if (!page->in_place)
		btree_page_unlock(page);
}

/* Take over a buffer that is pinned and share-locked. */
static void
page_take(BtreePage *page, Buffer buffer)
{
	BTPageOpaque opaque = BTPageGetOpaque(BufferGetPage(buffer));

	page->buffer = buffer;
	page->locked = true;
	page->block = BufferGetBlockNumber(buffer);
	page->previous = opaque->btpo_prev;
	page->next = opaque->btpo_next;
	page->ignore = P_IGNORE(opaque);
	page->deleted = P_ISDELETED(opaque);
	page->level = page->deleted ? 0 : opaque->btpo_level;
	if (page->ignore)
	{
		page->first = FirstOffsetNumber;
		page->last = InvalidOffsetNumber;
	}
	else
	{
		page->first = P_FIRSTDATAKEY(opaque);
		page->last = PageGetMaxOffsetNumber(BufferGetPage(buffer));
	}
}

/* Go on with a copy of the page, pinned, if it is still locked. */
void
btree_page_unlock(BtreePage *page)
{
	if (!page->locked)
		return;
	memcpy(page->copy.data, BufferGetPage(page->buffer), BLCKSZ);
	LockBuffer(page->buffer, BUFFER_LOCK_UNLOCK);
	page->locked = false;
}

/* Let go of the page, and of the heap block that its items led to. */
void
btree_page_release(BtreeIndex *btree, BtreePage *page)
{
	leave_heap(btree);
	if (page->locked)
		UnlockReleaseBuffer(page->buffer);
	else if (BufferIsValid(page->buffer))
		ReleaseBuffer(page->buffer);
	page->buffer = InvalidBuffer;
	page->locked = false;
}

/* Go to the next page of the level; false, and page unchanged, at its end. */
bool
btree_page_step_right(BtreeIndex *btree, BtreePage *page)
{
	if (page->next == P_NONE)
		return false;
	btree_page_read(btree, page, page->next);
	return true;
}

/*
 * Go to the page on the left; false at the end of the level.  The left link may
 * be out of date: the page that it names may have split, so that our neighbour
 * is to be found on its right, or been deleted; and so may the page we are on.
 */
bool
btree_page_step_left(BtreeIndex *btree, BtreePage *page)
{
	while (page->previous != P_NONE)
	{
		BlockNumber origin = page->block;
		BlockNumber left = page->previous;

		btree_page_read(btree, page, left);
		for (int tries = 0; tries < 4; tries++)
		{
			if (!page->deleted && page->next == origin)
				return true;
			if (page->next == P_NONE)
				break;
			btree_page_read(btree, page, page->next);
		}

		btree_page_read(btree, page, origin);
		if (page->deleted)
		{
			while (page->deleted && page->next != P_NONE)
				btree_page_read(btree, page, page->next);
			if (page->deleted)
				elog(ERROR, "fell off the end of index \"%s\"",
					 RelationGetRelationName(btree->index));
		}
		else if (page->previous == left)
			elog(ERROR, "could not find left sibling of block %u in index \"%s\"",
				 origin, RelationGetRelationName(btree->index));
	}
	return false;
}

static bool
read_root(BtreeIndex *btree, BtreePage *page)
{
	Buffer		buffer;

	leave_heap(btree);
	buffer = compat_bt_getroot(btree->index, btree->heap);
	if (!BufferIsValid(buffer))
		return false;
	btree_page_release(btree, page);
	page_take(page, buffer);
	btree_page_unlock(page);
	return true;
}

/* Go right to a page that is in use; there always is one. */
static void
skip_ignored(BtreeIndex *btree, BtreePage *page)
{
	while (page->ignore && btree_page_step_right(btree, page))
		;
}

/*
 * Go to the leaf from which on, in walk order, the rows after "after" (NULL:
 * all rows) are to be found; items that are not after it may come first.  False
 * if the index is empty.
 */
bool
btree_descend(BtreeIndex *btree, BtreePage *page, const Position *after)
{
	if (!read_root(btree, page))
		return false;
	for (;;)
	{
		OffsetNumber offset;

		skip_ignored(btree, page);

		/*
		 * Backwards, the items before "after" may go on behind a split that the
		 * parent does not know of.  Forwards, starting too far left only costs
		 * time.
		 */
		while (btree->backward && page->next != P_NONE && !page->ignore &&
			   (after == NULL ||
				btree_compare(btree, btree_page_item(page, P_HIKEY), after) < 0))
			btree_page_read(btree, page, page->next);

		if (page->level == 0 || page->ignore)
			return true;

		if (after == NULL)
			offset = btree->backward ? page->last : page->first;
		else
		{
			/* the last downlink whose separator is before what is sought */
			offset = btree_search_page(btree, page, after, !btree->backward);
			if (offset > page->first)
				offset = OffsetNumberPrev(offset);
		}
		btree_page_read(btree, page, BTreeTupleGetDownLink(btree_page_item(page, offset)));
	}
}

/*
 * The first item of the page, in index order, that is not before the position;
 * with equal_before, those at the position count as before it.  last + 1 if
 * there is none.  A page's leftmost downlink is before everything.
 */
OffsetNumber
btree_search_page(const BtreeIndex *btree, const BtreePage *page,
				  const Position *position, bool equal_before)
{
	OffsetNumber low = page->first;
	OffsetNumber high = page->last + 1;

	if (page->level > 0 && low <= page->last)
		low++;
	while (low < high)
	{
		OffsetNumber middle = low + (high - low) / 2;
		int			order = btree_compare(btree, btree_page_item(page, middle), position);

		if (order < 0 || (order == 0 && equal_before))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/*
 * Compare an index tuple with a position, in index order.  What was truncated
 * from a separator is before everything.
 */
int
btree_compare(const BtreeIndex *btree, IndexTuple tuple, const Position *position)
{
	int			natts = BTreeTupleGetNAtts(tuple, btree->index);

	for (int i = 0; i < btree->key->ncolumns; i++)
	{
		Datum		value;
		bool		isnull;
		int			order;

		if (i >= natts)
			return -1;
		value = index_getattr(tuple, i + 1, RelationGetDescr(btree->index), &isnull);
		order = key_compare_datums(&btree->key->columns[i], value, isnull,
								   position->values[i], position->nulls[i]);
		if (order != 0)
			return (order < 0) != btree->backward ? -1 : 1;
	}
	return 0;
}

/* Set a position from a leaf item; values go into the current memory context. */
void
btree_position(const BtreeIndex *btree, IndexTuple tuple, Position *position)
{
	TupleDesc	tupdesc = RelationGetDescr(btree->index);

	for (int i = 0; i < btree->key->ncolumns; i++)
	{
		const KeyColumn *column = &btree->key->columns[i];
		bool		isnull;
		Datum		value = index_getattr(tuple, i + 1, tupdesc, &isnull);

		/* name is stored as cstring */
		if (!isnull && column->typid == NAMEOID &&
			TupleDescAttr(tupdesc, i)->atttypid == CSTRINGOID)
			value = DirectFunctionCall1(namein, value);
		position_set(position, column, i, value, isnull);
	}
}

/*
 * Is the row of this leaf item visible?  The leaf must be pinned.  If so
 * because its whole heap block is, *all_visible is set to that block, and holds
 * as long as the pin.  The visibility map's pages stay pinned as well, since a
 * random index goes back and forth between them.
 *
 * A block that is not all-visible stays share-locked while the items of one
 * leaf lead to it.  No index page may be locked under that lock, since nbtree
 * locks in the other order: btree_page_release() gives it up.
 */
bool
btree_tid_visible(BtreeIndex *btree, ItemPointer tid, BlockNumber *all_visible)
{
	BlockNumber block = ItemPointerGetBlockNumber(tid);
	ItemPointerData place = *tid;
	HeapTupleData tuple;

	if (block != btree->heap_block)
	{
		leave_heap(btree);
		if (VM_ALL_VISIBLE(btree->heap, block, vm_buffer(btree, block)))
		{
			*all_visible = block;
			return true;
		}
		btree->heap_buffer = ReadBuffer(btree->heap, block);
		LockBuffer(btree->heap_buffer, BUFFER_LOCK_SHARE);
		btree->heap_block = block;
	}
	return heap_hot_search_buffer(&place, btree->heap, btree->heap_buffer, btree->snapshot,
								  &tuple, NULL, true);
}

/*
 * Is this heap block all-visible by a page of the visibility map that is pinned
 * already?  Does no I/O and takes no lock, so the leaf may be locked meanwhile.
 */
bool
btree_block_known_visible(BtreeIndex *btree, BlockNumber block)
{
	Buffer	   *buffer = vm_buffer(btree, block);

	return visibilitymap_pin_ok(block, *buffer) &&
		VM_ALL_VISIBLE(btree->heap, block, buffer);
}

/* The place for the visibility map's page about a heap block */
static Buffer *
vm_buffer(BtreeIndex *btree, BlockNumber block)
{
	return &btree->vm_buffers[(block / HEAP_BLOCKS_PER_VM_PAGE) % BTREE_VM_BUFFERS];
}

static void
leave_heap(BtreeIndex *btree)
{
	if (BufferIsValid(btree->heap_buffer))
		UnlockReleaseBuffer(btree->heap_buffer);
	btree->heap_buffer = InvalidBuffer;
	btree->heap_block = InvalidBlockNumber;
}

/* ------------------------------------------------------------------- levels */

/*
 * Read the children of the highest level that has as many as wanted, else of
 * the level above the leaves; level->level is 0 if the root is a leaf or there
 * is none.  separators: set them, else they are NULL.
 */
void
btree_read_level(BtreeIndex *btree, int64 children_wanted, bool separators,
				 BtreeLevel *level)
{
	BtreePage  *page = btree_page_make();

	level->level = 0;
	level->nchildren = 0;
	level->children = NULL;
	if (!read_root(btree, page) || page->level == 0)
	{
		btree_page_release(btree, page);
		pfree(page);
		return;
	}

	for (;;)
	{
		BlockNumber leftmost_child;

		level->level = page->level;
		level->nchildren = 0;
		leftmost_child = BTreeTupleGetDownLink(btree_page_item(page, page->first));
		collect_children(btree, page, separators, level);
		if (level->nchildren >= children_wanted || level->level == 1)
			break;
		btree_page_read(btree, page, leftmost_child);
		skip_ignored(btree, page);
	}
	btree_page_release(btree, page);
	pfree(page);
}

/* Gather the downlinks from page to the end of its level. */
static void
collect_children(BtreeIndex *btree, BtreePage *page, bool separators, BtreeLevel *level)
{
	int64		room = 0;
	IndexTuple	lower = NULL;	/* of the page's first child: the separator there is
								 * left empty, but the high key on the left is it */

	if (level->children != NULL)
		pfree(level->children);
	level->children = NULL;
	do
	{
		/* separators point into a copy of their page, which is kept */
		BtreePage  *kept = page;

		if (separators)
		{
			kept = palloc(sizeof(BtreePage));
			*kept = *page;
			kept->buffer = InvalidBuffer;
		}
		for (OffsetNumber offset = page->first; offset <= page->last; offset++)
		{
			IndexTuple	tuple = btree_page_item(kept, offset);
			BtreeChild *child;

			if (level->nchildren == room)
			{
				room = Max(4096, room * 4);
				level->children = level->children == NULL ?
					MemoryContextAllocHuge(CurrentMemoryContext, room * sizeof(BtreeChild)) :
					repalloc_huge(level->children, room * sizeof(BtreeChild));
			}
			child = &level->children[level->nchildren++];
			child->block = BTreeTupleGetDownLink(tuple);
			child->separator = !separators ? NULL : offset > page->first ? tuple : lower;
		}
		if (!page->ignore && page->next != P_NONE)
			lower = btree_page_item(kept, P_HIKEY);
	} while (btree_page_step_right(btree, page));
}
