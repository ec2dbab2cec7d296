/*
 * btree.c
 *		Reading a btree index's pages directly: opening, descending, stepping.
 *
 * Each page is copied under a share lock and interpreted from the copy, so that
 * no lock is held over visibility checks or interrupts.  (A caller that only
 * looks at the items can do so in place, as nbtree does.)  What the copy says
 * stays usable however the index changes meanwhile, by the rules of Lehman and
 * Yao that nbtree keeps: keys only move right, a downlink's
 * separator stays a lower bound of what is found from its child on, and a
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
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/relation.h"
#include "base/settings.h"
#include "btree/btree.h"
#include "key/direct_read.h"

/* Indexes over this part of shared buffers are read through a ring of buffers */
#define BULK_READ_PART 4

/* Two bits a heap block (visibilitymap.c keeps its macro to itself) */
#define HEAP_BLOCKS_PER_VM_PAGE ((BLCKSZ - MAXALIGN(SizeOfPageHeaderData)) * 4)

static bool is_ordered_by_heap(Relation index);
static void choose_strategy(BtreeIndex *btree);
static Buffer *vm_buffer(BtreeIndex *btree, BlockNumber block);
static void leave_heap(BtreeIndex *btree);
static void page_take(BtreePage *page, Buffer buffer);
static void read_page(BtreeIndex *btree, BtreePage *page, BlockNumber block, uint32 level);
static void take_step(BtreeIndex *btree, BtreePage *page);
static bool has_pages(BtreeIndex *btree, int64 pages);
static bool read_root(BtreeIndex *btree, BtreePage *page);
static void skip_ignored(BtreeIndex *btree, BtreePage *page);
static bool is_of_fixed_size(Relation index);
static uint16 separator_size(const BtreeIndex *btree, IndexTuple separator);
pg_noreturn static void report_damage(Relation index, BlockNumber block, const char *detail);
static void collect_children(BtreeIndex *btree, BtreePage *page, bool separators,
							 BtreeLevel *level);

/* ------------------------------------------------------------------ opening */

/*
 * Open the index that supports this key for direct reading, or NULL if that is
 * not sound here: then the rows are read through SPI, and so they are for a key that may have
 * duplicates, which the walk has to watch for.
 */
BtreeIndex *
btree_open(Relation rel, const WalkKey *key)
{
	BtreeIndex *btree = NULL;

	if (key->unique && direct_read_allowed(rel, key, DIRECT_READ_KEY))
		btree = btree_open_part(rel, key->index, key);
	if (btree != NULL && btree->strategy == NULL)
	{
		/* all of it may be read, so its size is worth looking up */
		btree->nblocks = RelationGetNumberOfBlocks(btree->index);
		choose_strategy(btree);
	}
	return btree;
}

/*
 * The same for a partition, whose privileges and policies do not count when it
 * is read through its parent, once direct_read_allowed() of that; index is its own.
 * NULL unless it is a plain heap table with an index that the planner would use.
 * Error: that of relation_check_rewrite(), since the lock may have come long after
 * the snapshot.
 */
BtreeIndex *
btree_open_part(Relation part, Oid index_oid, const WalkKey *key)
{
	BtreeIndex *btree;
	Relation	index;

	if (!OidIsValid(index_oid) || !direct_read_table(part))
		return NULL;
	relation_check_rewrite(part);
	index = try_relation_open(index_oid, AccessShareLock);
	if (index == NULL)
		return NULL;
	if (!direct_read_index(index) || !is_ordered_by_heap(index))
	{
		relation_close(index, AccessShareLock);
		return NULL;
	}
	/* a partition is locked later than the table it is of, and than the snapshot */
	relation_check_rewrite_of_part(part);

	btree = palloc0(sizeof(BtreeIndex));
	btree->key = key;
	btree->heap = part;
	btree->index = index;
	btree->backward = direct_read_backward(key, index);
	btree->snapshot = GetActiveSnapshot();
	btree->skip_dead = !btree->snapshot->takenDuringRecovery;
	btree->heap_block = InvalidBlockNumber;
	btree->nblocks = (BlockNumber) Max(index->rd_rel->relpages, 0);
	choose_strategy(btree);
	return btree;
}

static void
choose_strategy(BtreeIndex *btree)
{
	if (btree->nblocks > (BlockNumber) NBuffers / BULK_READ_PART)
		btree->strategy = GetAccessStrategy(BAS_BULKREAD);
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

/* Before version 4 of its format, duplicates were in no order. */
static bool
is_ordered_by_heap(Relation index)
{
	bool		heapkeyspace;
	bool		allequalimage;

	_bt_metaversion(index, &heapkeyspace, &allequalimage);
	return heapkeyspace;
}

/* -------------------------------------------------------------------- pages */

/* A page to read into, in the current memory context; pfree when done. */
BtreePage *
btree_page_make(void)
{
	BtreePage  *page = palloc(sizeof(BtreePage));

	page->in_place = false;
	page->steps = 0;
	page->buffer = InvalidBuffer;
	page->locked = false;
	page->first = FirstOffsetNumber;
	page->last = InvalidOffsetNumber;	/* no items yet */
	return page;
}

/*
 * Read a block of that level into page, whose last buffer is released.  With
 * page->in_place it stays locked: then neither another page may be locked, nor
 * anything be waited for, before btree_page_unlock() or _release().  If the
 * page is no longer in use, go right to one that is.  Errors: XX002.
 */
void
btree_page_read(BtreeIndex *btree, BtreePage *page, BlockNumber block, uint32 level)
{
	page->steps = 0;
	read_page(btree, page, block, level);
	skip_ignored(btree, page);
}

/*
 * Read just this block.  What a link leads to is on the level where the link
 * should lead; otherwise following links might never end.
 */
static void
read_page(BtreeIndex *btree, BtreePage *page, BlockNumber block, uint32 level)
{
	Buffer		buffer;

	btree_page_release(btree, page);
	CHECK_FOR_INTERRUPTS();
	if (!has_pages(btree, (int64) block + 1))
		report_damage(btree->index, block, "A link leads to this block, which the index does not have.");
	buffer = ReadBufferExtended(btree->index, MAIN_FORKNUM, block, RBM_NORMAL, btree->strategy);
	LockBuffer(buffer, BT_READ);
	_bt_checkpage(btree->index, buffer);
	page->level = level;
	page_take(page, buffer);
	page->index = btree->index;
	if (page->level != level || P_ISMETA(BTPageGetOpaque(BufferGetPage(buffer))))
		report_damage(btree->index, block, "A link leads to this block, which is of another level.");
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
	/* one deleted before version 14 has forgotten its level */
	if (!page->deleted)
		page->level = opaque->btpo_level;
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
	take_step(btree, page);
	read_page(btree, page, page->next, page->level);
	return true;
}

/* Go to the next page in walk order; false at the end of the level. */
bool
btree_page_step(BtreeIndex *btree, BtreePage *page)
{
	return btree->backward ? btree_page_step_left(btree, page) :
		btree_page_step_right(btree, page);
}

/*
 * Go on from where another page was read, which has been released, so that its
 * copy stays: only to step on from there.
 */
void
btree_page_resume(BtreePage *page, const BtreePage *from)
{
	memcpy(page, from, offsetof(BtreePage, copy));
	page->buffer = InvalidBuffer;
	page->locked = false;
}

/*
 * Go to the page on the left; false at the end of the level.  The left link may
 * be out of date: the page that it names may have been split, so that our
 * neighbour is to its right, or deleted; and so may the page that we are on.
 */
bool
btree_page_step_left(BtreeIndex *btree, BtreePage *page)
{
	while (page->previous != P_NONE)
	{
		BlockNumber origin = page->block;
		BlockNumber left = page->previous;

		take_step(btree, page);
		read_page(btree, page, left, page->level);
		for (int tries = 0; tries < 4; tries++)
		{
			if (!page->deleted && page->next == origin)
				return true;
			if (page->next == P_NONE)
				break;
			read_page(btree, page, page->next, page->level);
		}

		read_page(btree, page, origin, page->level);
		if (page->deleted)
			skip_ignored(btree, page);
		else if (page->previous == left)
			report_damage(btree->index, origin, "It is not on the right of its left sibling.");
	}
	return false;
}

/*
 * Count a step along a level.  No page is met twice on the way, since a deleted
 * page is not used again while our snapshot is live: links that have led to more
 * pages than there are go in a circle.
 */
static void
take_step(BtreeIndex *btree, BtreePage *page)
{
	if (!has_pages(btree, ++page->steps))
		report_damage(btree->index, page->block, "The links between the pages of a level go in a circle.");
}

/* Does the index have so many pages? */
static bool
has_pages(BtreeIndex *btree, int64 pages)
{
	if (pages > btree->nblocks)
		btree->nblocks = RelationGetNumberOfBlocks(btree->index);
	return pages <= btree->nblocks;
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
	page->index = btree->index;
	page->steps = 0;
	if (!page->in_place)
		btree_page_unlock(page);
	return true;
}

/* Go right to a page that is in use; there always is one. */
static void
skip_ignored(BtreeIndex *btree, BtreePage *page)
{
	while (page->ignore)
		if (!btree_page_step_right(btree, page))
			report_damage(btree->index, page->block, "The last page of a level is deleted.");
}

/*
 * Go to the leaf from which on, in walk order, the rows after "after" (NULL:
 * all rows) are; items that are not after it may come first.  False
 * if the index is empty.
 */
bool
btree_descend(BtreeIndex *btree, BtreePage *page, const Position *after)
{
	return btree_descend_to(btree, page, after, btree->backward, false);
}

/*
 * Go to the leaf from which on, rightwards or leftwards in index order, the
 * items beyond a position (NULL: all) are found; inclusive: those at the position
 * as well.
 */
bool
btree_descend_to(BtreeIndex *btree, BtreePage *page, const Position *position,
				 bool leftward, bool inclusive)
{
	if (!read_root(btree, page))
		return false;
	for (;;)
	{
		OffsetNumber offset;

		skip_ignored(btree, page);

		/*
		 * Leftwards, the items wanted may go on after a split that the parent
		 * does not know of.  Rightwards, starting too far left only costs time.
		 */
		while (leftward && page->next != P_NONE &&
			   (position == NULL || page->ignore ||
				btree_compare(btree, btree_page_item(page, P_HIKEY), position) < (inclusive ? 1 : 0)))
			(void) btree_page_step_right(btree, page);

		if (page->level == 0)
			return true;

		if (position == NULL)
			offset = leftward ? Max(page->first, page->last) : page->first;
		else
		{
			/* the last downlink whose separator is before what is sought */
			offset = btree_search_page(btree, page, position, leftward == inclusive);
			if (offset > page->first)
				offset = OffsetNumberPrev(offset);
		}
		btree_page_read(btree, page, btree_page_downlink(page, offset), page->level - 1);
	}
}

/* Where a data item of an inner page leads. */
BlockNumber
btree_page_downlink(const BtreePage *page, OffsetNumber offset)
{
	if (offset < page->first || offset > page->last)
		report_damage(page->index, page->block, "It leads to no page below.");
	return BTreeTupleGetDownLink(btree_page_item(page, offset));
}

/* The places of the rows of a leaf item: one, or those of its posting list. */
ItemPointer
btree_page_tids(const BtreePage *page, OffsetNumber offset, int *ntids)
{
	IndexTuple	tuple = btree_page_item(page, offset);
	Size		start;

	*ntids = 1;
	if (!BTreeTupleIsPosting(tuple))
		return &tuple->t_tid;
	*ntids = BTreeTupleGetNPosting(tuple);
	start = BTreeTupleGetPostingOffset(tuple);
	if (start < sizeof(IndexTupleData) || *ntids < 1 ||
		start + *ntids * sizeof(ItemPointerData) >
		ItemIdGetLength(PageGetItemId(btree_page_data(page), offset)))
		btree_report_item(page, offset);
	return BTreeTupleGetPosting(tuple);
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
		order = key_column_compare(&btree->key->columns[i], value, isnull,
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

/* Is any row of this leaf item visible?  The leaf must be pinned. */
bool
btree_item_visible(BtreeIndex *btree, const BtreePage *page, OffsetNumber offset)
{
	ItemPointer tids;
	int			ntids;
	BlockNumber block;

	if (btree_item_is_dead(btree, page, offset))
		return false;
	tids = btree_page_tids(page, offset, &ntids);
	for (int i = 0; i < ntids; i++)
		if (btree_tid_visible(btree, &tids[i], &block))
			return true;
	return false;
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

/* Is this heap block all-visible?  The leaf must be pinned, and may not be locked. */
bool
btree_block_all_visible(BtreeIndex *btree, BlockNumber block)
{
	Buffer	   *buffer = vm_buffer(btree, block);

	/* the map may have to be read, for which no heap block should be locked */
	if (!visibilitymap_pin_ok(block, *buffer))
		leave_heap(btree);
	return VM_ALL_VISIBLE(btree->heap, block, buffer);
}

/* Pin the visibility map's first page, all there is of most tables, before a leaf is locked. */
void
btree_pin_visibility(BtreeIndex *btree)
{
	(void) VM_ALL_VISIBLE(btree->heap, 0, vm_buffer(btree, 0));
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
 * is none.  separators: set them.
 */
void
btree_read_level(BtreeIndex *btree, int64 children_wanted, bool separators,
				 BtreeLevel *level)
{
	BtreePage  *page = btree_page_make();

	memset(level, 0, sizeof(BtreeLevel));
	page->in_place = !separators;
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
		level->even = true;
		leftmost_child = btree_page_downlink(page, page->first);
		collect_children(btree, page, separators, level);
		if (level->nchildren >= children_wanted || level->level == 1)
			break;
		btree_page_read(btree, page, leftmost_child, level->level - 1);
	}
	btree_page_release(btree, page);
	pfree(page);
}

/* Gather the downlinks from page to the end of its level. */
static void
collect_children(BtreeIndex *btree, BtreePage *page, bool separators, BtreeLevel *level)
{
	const bool	fixed = is_of_fixed_size(btree->index);
	int64		room = 0;
	uint16		any_size = 0;
	uint16		lower_size = 0; /* of the page's first child: the separator there is
								 * left empty, but the high key on the left is it */
	IndexTuple	lower = NULL;

	if (level->children != NULL)
		pfree(level->children);
	if (level->separators != NULL)
		pfree(level->separators);
	level->children = NULL;
	level->separators = NULL;
	do
	{
		/* separators point into a copy of their page, which is kept */
		BtreePage  *kept = page;
		int64		n = Max((int64) page->last - page->first + 1, 0);

		/* as each page has one parent */
		if (!has_pages(btree, level->nchildren + n))
			report_damage(btree->index, page->block, "Its level leads to more pages than there are.");
		if (level->nchildren + n > room)
		{
			room = Max(level->nchildren + n, room * 4);
			level->children = level->children == NULL ?
				MemoryContextAllocHuge(CurrentMemoryContext, room * sizeof(BtreeChild)) :
				repalloc_huge(level->children, room * sizeof(BtreeChild));
			if (separators)
				level->separators = level->separators == NULL ?
					MemoryContextAllocHuge(CurrentMemoryContext, room * sizeof(IndexTuple)) :
					repalloc_huge(level->separators, room * sizeof(IndexTuple));
		}
		if (separators)
		{
			kept = palloc(sizeof(BtreePage));
			*kept = *page;
			kept->buffer = InvalidBuffer;
		}
		for (OffsetNumber offset = page->first; offset <= page->last; offset++)
		{
			IndexTuple	tuple = btree_page_item(kept, offset);
			bool		leftmost = offset == page->first;
			BtreeChild *child = &level->children[level->nchildren];

			child->block = BTreeTupleGetDownLink(tuple);
			child->size = fixed ? 0 : leftmost ? lower_size : separator_size(btree, tuple);
			if (child->size != 0)
			{
				if (any_size == 0)
					any_size = child->size;
				level->even = level->even && child->size == any_size;
			}
			if (separators)
				level->separators[level->nchildren] = leftmost ? lower : tuple;
			level->nchildren++;
		}
		if (!page->ignore && page->next != P_NONE)
		{
			lower = btree_page_item(kept, P_HIKEY);
			lower_size = fixed ? 0 : separator_size(btree, lower);
		}
	} while (btree_page_step_right(btree, page));
}

/* Do all keys take the same room, except for nulls? */
static bool
is_of_fixed_size(Relation index)
{
	for (int i = 0; i < IndexRelationGetNumberOfKeyAttributes(index); i++)
		if (TupleDescAttr(RelationGetDescr(index), i)->attlen < 0)
			return false;
	return true;
}

/* The size of a leaf item with the separator's key, as far as it goes; 0 if it is cut short. */
static uint16
separator_size(const BtreeIndex *btree, IndexTuple separator)
{
	Size		size = IndexTupleSize(separator);

	if (BTreeTupleGetNAtts(separator, btree->index) <
		IndexRelationGetNumberOfKeyAttributes(btree->index))
		return 0;
	if (BTreeTupleGetHeapTID(separator) != NULL)
		size -= MAXALIGN(sizeof(ItemPointerData));
	return (uint16) Min(size, BLCKSZ);
}

/* ------------------------------------------------------------------- damage */

/* The hint says what to do; pages locked or pinned go with the transaction. */
static void
report_damage(Relation index, BlockNumber block, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INDEX_CORRUPTED),
			 errmsg("index \"%s\" is damaged at block %u", RelationGetRelationName(index), block),
			 errdetail_internal("%s", detail),
			 errhint("Rebuild the index: REINDEX INDEX %s;",
					 quote_qualified_identifier(get_namespace_name(RelationGetNamespace(index)),
												RelationGetRelationName(index)))));
}

/* Report an item that goes beyond its bounds. */
void
btree_report_item(const BtreePage *page, OffsetNumber offset)
{
	report_damage(page->index, page->block,
				  psprintf("Item %u goes beyond its bounds.", offset));
}
