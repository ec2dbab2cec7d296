/*
 * btree_count.c
 *		Counting the visible rows along a btree index, up to the one wanted.
 *
 * What an index-only scan does, without an executor around it: a leaf stays
 * pinned while the visibility of its items is looked up.  All-visible
 * heap blocks need no further look; rows of the others are judged by the
 * snapshot, so that every row is counted once, by the one entry that leads to
 * its visible version.
 */
#include "postgres.h"

#include "base/prefetch.h"
#include "btree/btree_count.h"

/* The items of a leaf whose heap blocks have been asked for */
typedef struct LookAhead
{
	Prefetch	prefetch;
	bool		idle;			/* it does not pay, or not on this leaf */
	bool		timing;			/* find out whether it does, by a read of our own */
	int			next;			/* the first item that has not been looked at */
} LookAhead;

static int64 count_only(BtreeIndex *btree, BtreePage *page, OffsetNumber *offset,
						OffsetNumber end, int64 limit, LookAhead *ahead);
static pg_attribute_always_inline int64 count_items(BtreeIndex *btree, BtreePage *page, OffsetNumber *offset,
								OffsetNumber end, int64 limit, LookAhead *ahead,
								OffsetNumber *visible);
static int64 count_item(BtreeIndex *btree, const BtreePage *page, OffsetNumber offset,
						BlockNumber *visible_block);
static void ask_ahead(BtreeIndex *btree, BtreePage *page, int at, int end,
					   BlockNumber visible_block, LookAhead *ahead);
static void items_in_range(const BtreeIndex *btree, const BtreePage *page,
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
	LookAhead	ahead = {0};

	(void) prefetch_begin(&ahead.prefetch, btree->heap);
	count->rows = 0;
	count->ended = false;
	count->end = NULL;
	page->in_place = true;
	while (more)
	{
		OffsetNumber from;
		OffsetNumber to;
		bool		last_page = false;

		items_in_range(btree, page, after, upto, &from, &to, &last_page);
		if (from <= to)
		{
			OffsetNumber offset = btree->backward ? to : from;

			count->rows += count_only(btree, page, &offset, btree->backward ? from : to,
									  limit - count->rows, &ahead);
			if (count->rows >= limit)
			{
				btree_page_unlock(page);
				count->ended = true;
				count->end = position_make(btree->key);
				btree_position(btree, btree_page_item(page, offset), count->end);
				break;
			}
			after = NULL;		/* all that follows is after it */
		}
		if (last_page)
			break;
		more = btree->backward ? btree_page_step_left(btree, page) :
			btree_page_step_right(btree, page);
	}
	btree_page_release(btree, page);
	pfree(page);
}

/*
 * The items of a leaf after "after" and up to "upto" (NULL: unbounded) that have
 * a visible row, in walk order: their offsets go into "visible", which has room
 * for as many as a page holds.  *last_page: none can be on the pages that follow.
 * The page is pinned, and may be locked; locked or not is how it stays, unless
 * visibility took more than the map's pages that are pinned.
 */
int
btree_visible_items(BtreeIndex *btree, BtreePage *page, const Position *after,
					const Position *upto, OffsetNumber *visible, bool *last_page)
{
	LookAhead	ahead = {0};
	OffsetNumber from;
	OffsetNumber to;
	OffsetNumber offset;

	(void) prefetch_begin(&ahead.prefetch, btree->heap);
	*last_page = false;
	items_in_range(btree, page, after, upto, &from, &to, last_page);
	if (from > to)
		return 0;
	offset = btree->backward ? to : from;
	return (int) count_items(btree, page, &offset, btree->backward ? from : to,
							 PG_INT64_MAX, &ahead, visible);
}

/* A function of its own, which does nothing else for every row. */
static pg_noinline int64
count_only(BtreeIndex *btree, BtreePage *page, OffsetNumber *offset,
		   OffsetNumber end, int64 limit, LookAhead *ahead)
{
	return count_items(btree, page, offset, end, limit, ahead, NULL);
}

/*
 * The visible rows of a leaf's items from *offset to end, in walk order; once
 * there are limit of them, *offset is the item of the last one.  visible: where
 * to put the offsets of items that have one, or NULL, which is known when this is
 * compiled, since it runs for every row.
 *
 * Where the rows' heap blocks are known to be all-visible, the page is read in
 * its place, under its lock; the first item that takes more than that makes us
 * copy it.  (Copying every leaf took a fifth of the time of a count.)
 */
static pg_attribute_always_inline int64
count_items(BtreeIndex *btree, BtreePage *page, OffsetNumber *offset,
			OffsetNumber end, int64 limit, LookAhead *ahead, OffsetNumber *visible)
{
	const bool	skip_dead = btree->skip_dead;
	const int	step = btree->backward ? -1 : 1;
	Page		data = btree_page_data(page);
	BlockNumber visible_block = InvalidBlockNumber;
	int64		rows = 0;
	int			at = *offset;

	ahead->next = at;
	ahead->idle = ahead->prefetch.window == 0;
	ahead->timing = !ahead->idle;
	prefetch_probe(&ahead->prefetch);
	for (;; at += step)
	{
		ItemId		item = PageGetItemId(data, at);

		if (likely(!(skip_dead && ItemIdIsDead(item))))
		{
			IndexTuple	tuple;
			bool		posting;
			BlockNumber block;

			if (unlikely(!btree_item_is_sound(item)))
				btree_report_item(page, at);
			tuple = (IndexTuple) PageGetItem(data, item);
			posting = BTreeTupleIsPosting(tuple);
			block = ItemPointerGetBlockNumberNoCheck(&tuple->t_tid);
			if (likely(block == visible_block && !posting))
			{
				if (visible != NULL)
					visible[rows] = at;
				rows++;
			}
			else if (!posting && page->locked && btree_block_known_visible(btree, block))
			{
				visible_block = block;
				if (visible != NULL)
					visible[rows] = at;
				rows++;
			}
			else
			{
				int64		found;

				btree_page_unlock(page);
				data = btree_page_data(page);
				if (ahead->timing)
					prefetch_before_read(&ahead->prefetch);
				else if (!ahead->idle)
					ask_ahead(btree, page, at, end, visible_block, ahead);
				found = count_item(btree, page, at, &visible_block);
				if (visible != NULL && found > 0)
				{
					visible[rows] = at;
					found = 1;
				}
				rows += found;
				if (ahead->timing)
				{
					PrefetchSource source = prefetch_after_read(&ahead->prefetch);

					ahead->timing = source == PREFETCH_BUFFERS;
					ahead->idle = source == PREFETCH_SYSTEM;
				}
			}
			if (rows >= limit)
				break;
		}
		if (at == end)
			break;
	}
	*offset = at;
	return rows;
}

/*
 * The visible rows of a leaf item: one or none, since a key is unique among
 * visible rows; a posting list holds the places of its versions.
 * *visible_block: the heap block last found all-visible on this page.
 */
static int64
count_item(BtreeIndex *btree, const BtreePage *page, OffsetNumber offset,
		   BlockNumber *visible_block)
{
	int			ntids;
	ItemPointer tid = btree_page_tids(page, offset, &ntids);
	int64		rows = 0;

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
 * Have the heap blocks read ahead that the visibility of the next items depends
 * on.  The page is a copy by now.
 */
static void
ask_ahead(BtreeIndex *btree, BtreePage *page, int at, int end,
		   BlockNumber visible_block, LookAhead *ahead)
{
	const int	step = btree->backward ? -1 : 1;
	const int	window = ahead->prefetch.window;
	int			last = (end - at) * step > window ? at + window * step : end;
	BlockNumber previous = visible_block;

	if ((at - ahead->next) * step > 0)
		ahead->next = at;
	for (; (last - ahead->next) * step >= 0; ahead->next += step)
	{
		int			ntids;
		BlockNumber block;

		if (btree_item_is_dead(btree, page, ahead->next))
			continue;
		block = ItemPointerGetBlockNumberNoCheck(btree_page_tids(page, ahead->next, &ntids));
		if (block == previous || block == btree->heap_block || btree_block_all_visible(btree, block))
			continue;
		previous = block;
		if (!prefetch_block(&ahead->prefetch, block))
		{
			ahead->idle = true;
			return;
		}
	}
}

/*
 * The items of a page that are in the range, *from to *to; *last_page: none can
 * be on the pages that follow in walk order.
 */
static void
items_in_range(const BtreeIndex *btree, const BtreePage *page,
			const Position *after, const Position *upto,
			OffsetNumber *from, OffsetNumber *to, bool *last_page)
{
	const Position *low = btree->backward ? upto : after;	/* in index order */
	const Position *high = btree->backward ? after : upto;

	*from = page->first;
	*to = page->last;
	if (page->last < page->first)
		return;

	/* one comparison shows of most pages that they are wholly inside */
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
