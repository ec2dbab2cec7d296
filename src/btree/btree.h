/*
 * btree.h
 *		Reading a btree index's pages directly: what is where in its order.
 *
 * Knows pages, descents and visibility; nothing of chunks.  Whether a caller
 * may read an index this way at all is decided in one place, btree_open() and
 * key/direct_read.c.
 */
#ifndef PG_CHUNKED_BTREE_H
#define PG_CHUNKED_BTREE_H

#include "base/compat.h"
#include "key/position.h"
#include "storage/bufmgr.h"

/* Visibility-map pages kept pinned; one covers 32,672 heap blocks, 255 MB */
#define BTREE_VM_BUFFERS 64

typedef struct BtreeIndex
{
	const WalkKey *key;
	Relation	heap;
	Relation	index;
	bool		backward;		/* walk order is this index's, read backwards */
	Snapshot	snapshot;
	BlockNumber nblocks;		/* of the index, by the catalog, or when last asked */
	BufferAccessStrategy strategy;	/* NULL: ordinary */
	bool		skip_dead;		/* items marked dead are dead to the snapshot */
	Buffer		heap_buffer;	/* of a block not all-visible, share-locked */
	BlockNumber heap_block;		/* that block, or InvalidBlockNumber */
	Buffer		vm_buffers[BTREE_VM_BUFFERS];
} BtreeIndex;

/* An index page, read under share lock: a copy, or for a while in its place */
typedef struct BtreePage
{
	bool		in_place;		/* leave pages that are read next locked, not copied */
	BlockNumber steps;			/* to siblings, since a page was read by its number */

	/* of the current page */
	Relation	index;
	Buffer		buffer;			/* pinned */
	bool		locked;			/* share-locked, and not copied yet */
	BlockNumber block;
	BlockNumber previous;
	BlockNumber next;
	uint32		level;			/* 0: leaf; that of the links followed, if deleted */
	bool		ignore;			/* deleted or half dead */
	bool		deleted;
	OffsetNumber first;			/* data items, the leftmost downlink included */
	OffsetNumber last;
	PGAlignedBlock copy;		/* unless it is locked */
} BtreePage;

/* One child page seen from its parent's level, in index order */
typedef struct BtreeChild
{
	BlockNumber block;
	uint16		size;			/* of the separator as an item; 0: not a whole key */
} BtreeChild;

/* All children of one level */
typedef struct BtreeLevel
{
	uint32		level;			/* of the parents, at least 1; 0: the root is a leaf */
	int64		nchildren;
	BtreeChild *children;
	IndexTuple *separators;		/* lower bound of what is below each, NULL if it has
								 * none; or NULL, if not wanted */
	bool		even;			/* all separators are of one size */
} BtreeLevel;

extern BtreeIndex *btree_open(Relation rel, const WalkKey *key);
extern BtreeIndex *btree_open_part(Relation part, Oid index, const WalkKey *key);
extern void btree_close(BtreeIndex *btree);
extern void btree_unpin(BtreeIndex *btree);
extern BtreePage *btree_page_make(void);
extern void btree_page_read(BtreeIndex *btree, BtreePage *page, BlockNumber block,
							uint32 level);
extern void btree_page_unlock(BtreePage *page);
extern void btree_page_release(BtreeIndex *btree, BtreePage *page);
extern void btree_page_resume(BtreePage *page, const BtreePage *from);
extern bool btree_page_step(BtreeIndex *btree, BtreePage *page);
extern bool btree_page_step_right(BtreeIndex *btree, BtreePage *page);
extern bool btree_page_step_left(BtreeIndex *btree, BtreePage *page);
extern bool btree_descend(BtreeIndex *btree, BtreePage *page, const Position *after);
extern bool btree_descend_to(BtreeIndex *btree, BtreePage *page, const Position *position,
							 bool leftward, bool inclusive);
extern BlockNumber btree_page_downlink(const BtreePage *page, OffsetNumber offset);
extern ItemPointer btree_page_tids(const BtreePage *page, OffsetNumber offset, int *ntids);
extern void btree_read_level(BtreeIndex *btree, int64 children_wanted, bool separators,
							 BtreeLevel *level);
extern int	btree_compare(const BtreeIndex *btree, IndexTuple tuple, const Position *position);
extern OffsetNumber btree_search_page(const BtreeIndex *btree, const BtreePage *page,
									  const Position *position, bool equal_before);
extern void btree_position(const BtreeIndex *btree, IndexTuple tuple, Position *position);
extern void btree_pin_visibility(BtreeIndex *btree);
extern bool btree_block_known_visible(BtreeIndex *btree, BlockNumber block);
extern bool btree_block_all_visible(BtreeIndex *btree, BlockNumber block);
extern bool btree_tid_visible(BtreeIndex *btree, ItemPointer tid, BlockNumber *all_visible);
extern bool btree_item_visible(BtreeIndex *btree, const BtreePage *page, OffsetNumber offset);
pg_noreturn extern void btree_report_item(const BtreePage *page, OffsetNumber offset);

static inline Page
btree_page_data(const BtreePage *page)
{
	return page->locked ? BufferGetPage(page->buffer) : (Page) page->copy.data;
}

/* Does a line pointer lead to something within its page? */
static inline bool
btree_item_is_sound(ItemId item)
{
	return ItemIdGetOffset(item) + ItemIdGetLength(item) <= BLCKSZ &&
		ItemIdGetLength(item) >= sizeof(IndexTupleData);
}

static inline IndexTuple
btree_page_item(const BtreePage *page, OffsetNumber offset)
{
	Page		data = btree_page_data(page);
	ItemId		item = PageGetItemId(data, offset);
	IndexTuple	tuple = (IndexTuple) ((char *) data + ItemIdGetOffset(item));

	if (unlikely(!btree_item_is_sound(item) || IndexTupleSize(tuple) > ItemIdGetLength(item)))
		btree_report_item(page, offset);
	return tuple;
}

/*
 * May this leaf item be skipped?  A standby's snapshot may see rows
 * that the primary, where items are marked, holds dead.
 */
static inline bool
btree_item_is_dead(const BtreeIndex *btree, const BtreePage *page, OffsetNumber offset)
{
	return btree->skip_dead && ItemIdIsDead(PageGetItemId(btree_page_data(page), offset));
}

/* Is a leaf item's one row known to be visible, by btree_block_known_visible() alone? */
static inline bool
btree_item_known_visible(BtreeIndex *btree, const BtreePage *page, OffsetNumber offset)
{
	IndexTuple	tuple = btree_page_item(page, offset);

	return !BTreeTupleIsPosting(tuple) && !btree_item_is_dead(btree, page, offset) &&
		btree_block_known_visible(btree, ItemPointerGetBlockNumberNoCheck(&tuple->t_tid));
}

#endif							/* PG_CHUNKED_BTREE_H */
