/*
 * btree_count.c
 *		Counting the visible rows along a btree index, up to the one wanted.
 *
 * What an index-only scan does, without an executor around it: a leaf is copied
 * and stays pinned while the visibility of its items is looked up.  All-visible
 * heap blocks need no further look; rows of the others are judged by the
 * snapshot, so that every row is counted once, by the one entry that leads to
 * its visible version.
 */
#include "postgres.h"

#include "btree.h"

static int64 count_item(BtreeIndex *btree, IndexTuple tuple, BlockNumber *visible_block);
static void count_range(const BtreeIndex *btree, const BtreePage *page,
						const Position *after, const Position *upto,
						OffsetNumber *from, OffsetNumber *to, bool *last_page);

/*
 * Count the visible rows after "after" and up to "upto" (NULL: unbounded) in
 * walk order, limit of them at most.  count->end goes into the current memory
 * context.
 */
void
btree_count(BtreeIndex *btree, const Position *after, const Position *upto,
			int64 limit, BtreeCount *count)
{
	BtreePage  *page = btree_page_make();
	bool		more = btree_descend(btree, page, after);
	int			step = btree->backward ? -1 : 1;

	count->rows = 0;
	count->ended = false;
	count->end = NULL;
	while (more && !count->ended)
	{
		OffsetNumber from;
		OffsetNumber to;
		bool		last_page = false;
		BlockNumber visible_block = InvalidBlockNumber;

		count_range(btree, page, after, upto, &from, &to, &last_page);
		for (int offset = btree->backward ? to : from;
			 offset >= from && offset <= to; offset += step)
		{
			IndexTuple	tuple;

			if (btree_item_is_dead(btree, page, offset))
				continue;
			tuple = btree_page_item(page, offset);
			count->rows += count_item(btree, tuple, &visible_block);
			if (count->rows >= limit)
			{
				count->ended = true;
				count->end = position_make(btree->key);
				btree_position(btree, tuple, count->end);
				break;
			}
		}
		if (count->ended || last_page)
			break;
		more = btree->backward ? btree_page_step_left(btree, page) :
			btree_page_step_right(btree, page);
	}
	btree_page_release(btree, page);
	pfree(page);
}

/*
 * The visible rows of a leaf item: one or none, since a key is unique among
 * visible rows; a posting list holds the places of its versions.
 * *visible_block: the heap block last found all-visible on this page.
 */
static int64
count_item(BtreeIndex *btree, IndexTuple tuple, BlockNumber *visible_block)
{
	ItemPointer tid = &tuple->t_tid;
	int			ntids = 1;
	int64		rows = 0;

	if (BTreeTupleIsPosting(tuple))
	{
		tid = BTreeTupleGetPosting(tuple);
		ntids = BTreeTupleGetNPosting(tuple);
	}
	for (int i = 0; i < ntids; i++, tid++)
	{
		BlockNumber block = ItemPointerGetBlockNumber(tid);

		if (block == *visible_block)
			rows++;
		else if (btree_tid_visible(btree, tid, visible_block))
			rows++;
	}
	return rows;
}

/*
 * The items of a page that are in the range, *from to *to; *last_page: none can
 * follow on the pages behind, in walk order.
 */
static void
count_range(const BtreeIndex *btree, const BtreePage *page,
			const Position *after, const Position *upto,
			OffsetNumber *from, OffsetNumber *to, bool *last_page)
{
	const Position *low = btree->backward ? upto : after;	/* in index order */
	const Position *high = btree->backward ? after : upto;

	*from = page->first;
	*to = page->last;
	if (page->last < page->first)
		return;

	/* one comparison tells for most pages that they are wholly inside */
	if (low != NULL)
	{
		int			order = btree_compare(btree, btree_page_item(page, page->first), low);

		if (order < 0 || (order == 0 && !btree->backward))
			*from = btree_search_page(btree, page, low, !btree->backward);
		if (btree->backward && order < 0)
			*last_page = true;
	}
	if (high != NULL)
	{
		int			order = btree_compare(btree, btree_page_item(page, page->last), high);

		if (order > 0 || (order == 0 && btree->backward))
			*to = btree_search_page(btree, page, high, !btree->backward) - 1;
		if (!btree->backward && order > 0)
			*last_page = true;
	}
}
