/*
 * btree_merge.c
 *		The visible rows of several btree indexes in one order: which is the n-th.
 *
 * What a MergeAppend of index-only scans does to reach the n-th row, but rows are
 * not put into order one by one: only the place of the n-th among them is looked
 * for.  Of each index, one leaf's visible items are at hand, more where that is
 * needed; all come from copies, so that one leaf is pinned at a time, however many
 * indexes there are.
 *
 * The horizon is the first, in walk order, of the indexes' last items at hand.
 * Up to it nothing is missing: what has not been read is after the last item of its
 * own index.  From this follows all else:
 *
 * - No more rows are up to the horizon than are at hand.  While n is more than
 *	 these, the leaf that ends at the horizon lies wholly before the n-th row, and is
 *	 counted as a whole.
 * - A leaf that once ended at the horizon is up to every later one.  When the
 *	 items of such leaves, still at hand, are n or more, the n-th row is not after the
 *	 horizon, and so is the n-th of the items at hand.
 *
 * That one is found by selection: an item is chosen, each index searched for its
 * place, and what is on the wrong side left out, until few are left, which
 * are sorted.  An index takes part in it with a few comparisons, however many
 * rows of it are passed.  Where n is small beside the indexes, more than n rows
 * are passed in this way, and sorted: they wait until it is their turn.
 *
 * Keys are unique among visible rows, so that no two items are equal; if they are,
 * in a damaged index, they stand in any order.
 */
#include "postgres.h"

#include "lib/binaryheap.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "btree/btree_count.h"
#include "btree/btree_merge.h"

/* Candidates are sorted when there are no more than these */
#define FEW_CANDIDATES 32

/*
 * For each index: a step of no more rows than these is taken from rows that are
 * sorted, and so many are sorted at a time
 */
#define SMALL_STEP 2
#define SORTED_ROWS 16

/* Items looked at to choose one that is near the place sought */
#define SAMPLE_MAX 32

/* A leaf whose items are at hand */
typedef struct MergeLeaf
{
	BtreePage  *page;			/* a copy */
	int			end;			/* of its items, among those of its index */
} MergeLeaf;

/* One index */
typedef struct MergePart
{
	BtreeIndex *btree;

	/* leaves at hand, in walk order */
	int			nleaves;
	int			leaf_room;
	MergeLeaf  *leaves;

	/* items at hand, in walk order, in those leaves; those before first are passed */
	int			first;
	int			nitems;
	int			room;
	IndexTuple *items;

	Position	last;			/* the last of them; points into its leaf */
	bool		over;			/* no leaves come after it */
	int			sure;			/* from first on, those that are up to the horizon for sure */

	/* while the n-th is looked for: it may be one of these, or before low */
	int			low;
	int			high;
	int			middle;			/* up to the pivot are those before this one */
} MergePart;

/* One item */
typedef struct MergeItem
{
	MergePart  *part;
	int			number;
} MergeItem;

/* A row that has been passed by its index and waits for its turn */
typedef struct MergeRow
{
	IndexTuple	tuple;
	const MergePart *part;
	Datum		value;			/* of the first column */
	bool		isnull;
} MergeRow;

struct BtreeMerge
{
	/* fixed */
	MemoryContext context;
	const WalkKey *key;
	const Position *after;
	const Position *upto;
	int			nparts;
	MergePart  *parts;

	/* changing */
	binaryheap *unread;			/* indexes with leaves to come, the one whose last
								 * item is the horizon on top */
	int64		at_hand;		/* items of all indexes, from first on */
	int64		sure;			/* of these, up to the horizon for sure */
	List	   *free;			/* pages that are passed */
	int		   *active;			/* indexes with candidates */
	Position	scratch;		/* points to an item that others are compared with */
	uint32		random;
	MergeRow	end;			/* the last row passed: what it is and whose */

	/* rows in order, all before what is at hand */
	int			next_sorted;
	int			nsorted;
	MergeRow   *sorted;
};

static int64 take_sorted(BtreeMerge *merge, int64 n);
static void sort_rows(BtreeMerge *merge);
static int64 pass_rows(BtreeMerge *merge, int64 n);
static void read_leaf(BtreeMerge *merge, MergePart *part);
static bool read_visible(BtreeMerge *merge, MergePart *part, BtreePage *page);
static void add_leaf(BtreeMerge *merge, MergePart *part, BtreePage *page,
					 const OffsetNumber *visible, int nvisible);
static void drop_passed_leaves(BtreeMerge *merge, MergePart *part);
static void read_at_horizon(BtreeMerge *merge);
static void pass_items(BtreeMerge *merge, MergePart *part, int upto);
static MergeItem select_nth(BtreeMerge *merge, int64 n);
static MergeItem choose_pivot(BtreeMerge *merge, int nactive, int64 n, int64 candidates, int round);
static int	items_up_to(const MergePart *part, const Position *position, int64 guess);
static int64 keep_candidates(BtreeMerge *merge, int *nactive);
static MergeItem select_among_few(BtreeMerge *merge, int nactive, int64 n);
static uint32 random_below(BtreeMerge *merge, uint32 limit);
static int	compare_last(Datum a, Datum b, void *arg);
static int	compare_rows(const void *a, const void *b, void *arg);
static int	compare_items(const void *a, const void *b, void *arg);
static void point_to(const BtreeMerge *merge, MergeItem item, Position *position);

static inline int
compare_with(const MergePart *part, int number, const Position *position)
{
	int			order = btree_compare(part->btree, part->items[number], position);

	return part->btree->backward ? -order : order;
}

/*
 * Set out to pass the visible rows after "after" and up to "upto" (NULL:
 * unbounded) in walk order.  In a memory context of its own below the current
 * one; parts and positions must stay.
 */
BtreeMerge *
btree_merge_begin(const BtreeParts *parts, const WalkKey *key,
				  const Position *after, const Position *upto)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pg_chunked merge",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext before = MemoryContextSwitchTo(context);
	BtreeMerge *merge = palloc0(sizeof(BtreeMerge));

	merge->context = context;
	merge->key = key;
	merge->after = after;
	merge->upto = upto;
	merge->nparts = parts->nparts;
	merge->parts = MemoryContextAllocHuge(context, parts->nparts * sizeof(MergePart));
	memset(merge->parts, 0, parts->nparts * sizeof(MergePart));
	merge->active = palloc(parts->nparts * sizeof(int));
	merge->unread = binaryheap_allocate(parts->nparts, compare_last, merge);
	merge->scratch.values = palloc(key->ncolumns * sizeof(Datum));
	merge->scratch.nulls = palloc(key->ncolumns * sizeof(bool));
	merge->random = 1;
	for (int i = 0; i < parts->nparts; i++)
	{
		MergePart  *part = &merge->parts[i];

		part->btree = parts->parts[i].btree;
		part->last.values = palloc(key->ncolumns * sizeof(Datum));
		part->last.nulls = palloc(key->ncolumns * sizeof(bool));
		read_leaf(merge, part);
		if (!part->over)
			binaryheap_add_unordered(merge->unread, PointerGetDatum(part));
	}
	binaryheap_build(merge->unread);
	MemoryContextSwitchTo(before);
	return merge;
}

void
btree_merge_end(BtreeMerge *merge)
{
	MemoryContextDelete(merge->context);
}

/*
 * Pass n rows, at least one, or all that are left; *rows are those passed.
 * False: there were fewer.
 */
bool
btree_merge_go(BtreeMerge *merge, int64 n, int64 *rows)
{
	MemoryContext before = MemoryContextSwitchTo(merge->context);
	int64		left = n - take_sorted(merge, n);

	if (left > 0 && left <= (int64) merge->nparts * SMALL_STEP)
	{
		sort_rows(merge);
		left -= take_sorted(merge, left);
	}
	else if (left > 0)
		left -= pass_rows(merge, left);
	MemoryContextSwitchTo(before);
	*rows = n - left;
	return left == 0;
}

/* Take rows, n at most, from those that wait; returns how many there were. */
static int64
take_sorted(BtreeMerge *merge, int64 n)
{
	int			taken = (int) Min(n, merge->nsorted - merge->next_sorted);

	if (taken > 0)
	{
		merge->next_sorted += taken;
		merge->end = merge->sorted[merge->next_sorted - 1];
	}
	return taken;
}

/* Sort the rows that come next; none wait. */
static void
sort_rows(BtreeMerge *merge)
{
	int64		most = (int64) merge->nparts * SORTED_ROWS;
	int64		n;

	if (merge->sorted == NULL)
		merge->sorted = MemoryContextAllocHuge(merge->context, most * sizeof(MergeRow));
	merge->next_sorted = merge->nsorted = 0;
	while (merge->sure < most && !binaryheap_empty(merge->unread))
		read_at_horizon(merge);
	n = Min(binaryheap_empty(merge->unread) ? merge->at_hand : merge->sure, most);
	if (n == 0)
		return;
	(void) select_nth(merge, n);
	for (int i = 0; i < merge->nparts; i++)
	{
		MergePart  *part = &merge->parts[i];
		TupleDesc	tupdesc = RelationGetDescr(part->btree->index);

		for (int number = part->first; number < part->low; number++)
		{
			MergeRow   *row = &merge->sorted[merge->nsorted++];

			row->part = part;
			row->tuple = part->items[number];
			row->value = index_getattr(row->tuple, 1, tupdesc, &row->isnull);
		}
		pass_items(merge, part, part->low);
	}
	qsort_arg(merge->sorted, merge->nsorted, sizeof(MergeRow), compare_rows, merge);
}

/* Pass n rows, or all that are left; returns how many.  None wait. */
static int64
pass_rows(BtreeMerge *merge, int64 n)
{
	int64		left = n;
	MergeItem	end;

	while (left > merge->at_hand && !binaryheap_empty(merge->unread))
	{
		MergePart  *part = (MergePart *) DatumGetPointer(binaryheap_first(merge->unread));

		left -= part->nitems - part->first;
		pass_items(merge, part, part->nitems);
		read_at_horizon(merge);
	}
	if (left > merge->at_hand)
	{
		left -= merge->at_hand;
		for (int i = 0; i < merge->nparts; i++)
			pass_items(merge, &merge->parts[i], merge->parts[i].nitems);
		return n - left;
	}
	while (merge->sure < left && !binaryheap_empty(merge->unread))
		read_at_horizon(merge);
	end = select_nth(merge, left);
	merge->end.part = end.part;
	merge->end.tuple = end.part->items[end.number];
	for (int i = 0; i < merge->nparts; i++)
		pass_items(merge, &merge->parts[i], merge->parts[i].low);
	return n;
}

/* The rows that can be passed without reading another leaf, or a few more. */
int64
btree_merge_at_hand(const BtreeMerge *merge)
{
	return merge->at_hand + merge->nsorted - merge->next_sorted;
}

/* The position of the n-th of the rows just passed, in the current memory context. */
Position *
btree_merge_position(const BtreeMerge *merge)
{
	Position   *position = position_make(merge->key);

	btree_position(merge->end.part->btree, merge->end.tuple, position);
	return position;
}

/* ------------------------------------------------------------------- leaves */

/*
 * Have the visible items of the index's next leaf that has any at hand, besides
 * those that are there already; if there is none, the index is over.
 */
static void
read_leaf(BtreeMerge *merge, MergePart *part)
{
	BtreePage  *page;

	if (merge->free != NIL)
	{
		page = llast(merge->free);
		merge->free = list_delete_last(merge->free);
	}
	else
		page = btree_page_make();
	if (!read_visible(merge, part, page))
	{
		part->over = true;
		merge->free = lappend(merge->free, page);
	}
	/* there may be fewer buffers than indexes */
	btree_page_release(part->btree, page);
	btree_unpin(part->btree);
}

static bool
read_visible(BtreeMerge *merge, MergePart *part, BtreePage *page)
{
	BtreeIndex *btree = part->btree;
	const Position *after = NULL;
	bool		more;

	page->in_place = true;
	btree_pin_visibility(btree);
	if (part->nleaves == 0)
	{
		after = merge->after;
		more = btree_descend(btree, page, after);
	}
	else
	{
		btree_page_resume(page, part->leaves[part->nleaves - 1].page);
		more = btree_page_step(btree, page);
	}
	for (; more; more = btree_page_step(btree, page))
	{
		OffsetNumber visible[MaxIndexTuplesPerPage];
		bool		last_page;
		int			nvisible = btree_visible_items(btree, page, after, merge->upto,
												   visible, &last_page);

		if (nvisible > 0)
		{
			btree_page_unlock(page);
			add_leaf(merge, part, page, visible, nvisible);
			part->over = last_page;
			return true;
		}
		if (last_page)
			break;
	}
	return false;
}

static void
add_leaf(BtreeMerge *merge, MergePart *part, BtreePage *page,
		 const OffsetNumber *visible, int nvisible)
{
	MergeItem	last;

	drop_passed_leaves(merge, part);
	if (part->nitems + nvisible > part->room)
	{
		part->room = Max(part->nitems + nvisible, part->room * 2);
		part->items = part->items == NULL ? palloc(part->room * sizeof(IndexTuple)) :
			repalloc_huge(part->items, part->room * sizeof(IndexTuple));
	}
	for (int i = 0; i < nvisible; i++)
		part->items[part->nitems + i] = btree_page_item(page, visible[i]);
	part->nitems += nvisible;
	merge->at_hand += nvisible;

	if (part->nleaves == part->leaf_room)
	{
		part->leaf_room = Max(2, part->leaf_room * 2);
		part->leaves = part->leaves == NULL ? palloc(part->leaf_room * sizeof(MergeLeaf)) :
			repalloc(part->leaves, part->leaf_room * sizeof(MergeLeaf));
	}
	part->leaves[part->nleaves].page = page;
	part->leaves[part->nleaves].end = part->nitems;
	part->nleaves++;

	last.part = part;
	last.number = part->nitems - 1;
	point_to(merge, last, &part->last);
}

/* Make room for what comes next: of items and leaves that are passed. */
static void
drop_passed_leaves(BtreeMerge *merge, MergePart *part)
{
	int			ndropped = 0;

	if (part->nleaves == 0)		/* and no memory for any yet */
		return;
	while (ndropped < part->nleaves && part->leaves[ndropped].end <= part->first)
		merge->free = lappend(merge->free, part->leaves[ndropped++].page);
	part->nleaves -= ndropped;
	memmove(part->leaves, part->leaves + ndropped, part->nleaves * sizeof(MergeLeaf));
	for (int i = 0; i < part->nleaves; i++)
		part->leaves[i].end -= part->first;

	part->nitems -= part->first;
	memmove(part->items, part->items + part->first, part->nitems * sizeof(IndexTuple));
	part->first = 0;
}

/* Move the horizon: read on in the index whose last item it is. */
static void
read_at_horizon(BtreeMerge *merge)
{
	MergePart  *part = (MergePart *) DatumGetPointer(binaryheap_first(merge->unread));

	merge->sure += part->nitems - part->first - part->sure;
	part->sure = part->nitems - part->first;
	read_leaf(merge, part);
	if (part->over)
		(void) binaryheap_remove_first(merge->unread);
	else
		binaryheap_replace_first(merge->unread, PointerGetDatum(part));
}

static void
pass_items(BtreeMerge *merge, MergePart *part, int upto)
{
	int			npassed = upto - part->first;
	int			nsure = Min(npassed, part->sure);

	part->first = upto;
	part->sure -= nsure;
	merge->sure -= nsure;
	merge->at_hand -= npassed;
}

/* ---------------------------------------------------------------- selection */

/*
 * The n-th of the items at hand, which are no fewer.  In each index, those up to
 * it are those from first to low.
 */
static MergeItem
select_nth(BtreeMerge *merge, int64 n)
{
	MergeItem	end = {NULL, 0};
	int			nactive = 0;
	int64		candidates;

	for (int i = 0; i < merge->nparts; i++)
	{
		merge->parts[i].low = merge->parts[i].first;
		merge->parts[i].high = merge->parts[i].nitems;
		merge->active[nactive++] = i;
	}
	candidates = keep_candidates(merge, &nactive);
	for (int round = 0; candidates > FEW_CANDIDATES && n > 0; round++)
	{
		MergeItem	pivot = choose_pivot(merge, nactive, n, candidates, round);
		int64		guess = n / nactive;
		int64		up_to_pivot = 0;

		CHECK_FOR_INTERRUPTS();
		point_to(merge, pivot, &merge->scratch);
		for (int i = 0; i < nactive; i++)
		{
			MergePart  *part = &merge->parts[merge->active[i]];

			part->middle = items_up_to(part, &merge->scratch, guess);
			up_to_pivot += part->middle - part->low;
		}
		for (int i = 0; i < nactive; i++)
		{
			MergePart  *part = &merge->parts[merge->active[i]];

			if (up_to_pivot <= n)
				part->low = part->middle;
			else
				part->high = part->middle;
		}
		if (up_to_pivot <= n)
		{
			end = pivot;		/* if nothing is left */
			n -= up_to_pivot;
		}
		else
			pivot.part->high = pivot.number;
		candidates = keep_candidates(merge, &nactive);
	}
	return n > 0 && candidates > 0 ? select_among_few(merge, nactive, n) : end;
}

/* Leave out the indexes without candidates; returns how many candidates there are. */
static int64
keep_candidates(BtreeMerge *merge, int *nactive)
{
	int64		candidates = 0;
	int			kept = 0;

	for (int i = 0; i < *nactive; i++)
	{
		const MergePart *part = &merge->parts[merge->active[i]];

		if (part->low >= part->high)
			continue;
		candidates += part->high - part->low;
		merge->active[kept++] = merge->active[i];
	}
	*nactive = kept;
	return candidates;
}

/*
 * A candidate that may be near the n-th: of a sample, the one in the middle if each
 * index had as many of them as the others.  That is often so, but every other
 * time the sample is drawn at random, which converges whatever the rows are.
 */
static MergeItem
choose_pivot(BtreeMerge *merge, int nactive, int64 n, int64 candidates, int round)
{
	MergeItem	sample[SAMPLE_MAX];
	int			nsample = Min(Max(nactive / 4, 3), SAMPLE_MAX);
	int64		guess = (n - 1) / nactive;
	bool		even = round % 2 == 0;

	for (int i = 0; i < nsample; i++)
	{
		MergePart  *part = &merge->parts[merge->active[random_below(merge, nactive)]];
		int			size = part->high - part->low;

		sample[i].part = part;
		sample[i].number = part->low +
			(even ? (int) Min(guess, size - 1) : (int) random_below(merge, size));
	}
	qsort_arg(sample, nsample, sizeof(MergeItem), compare_items, merge);
	return sample[even ? nsample / 2 : (int) ((double) (n - 1) / candidates * nsample)];
}

/* Where the index's candidates that are up to the position end.  guess: how many there are. */
static int
items_up_to(const MergePart *part, const Position *position, int64 guess)
{
	int			low = part->low;
	int			high = part->high;

	if (guess * 2 < high - low - 1)
	{
		int			probe = low + (int) guess * 2;

		if (compare_with(part, probe, position) <= 0)
			low = probe + 1;
		else
			high = probe;
	}
	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (compare_with(part, middle, position) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The n-th candidate, or the last if, in a damaged index, there are fewer. */
static MergeItem
select_among_few(BtreeMerge *merge, int nactive, int64 n)
{
	MergeItem	items[FEW_CANDIDATES];
	int			nitems = 0;

	for (int i = 0; i < nactive; i++)
	{
		MergePart  *part = &merge->parts[merge->active[i]];

		for (int number = part->low; number < part->high; number++)
		{
			items[nitems].part = part;
			items[nitems++].number = number;
		}
	}
	qsort_arg(items, nitems, sizeof(MergeItem), compare_items, merge);
	n = Min(n, nitems);
	for (int i = 0; i < n; i++)
		items[i].part->low = Max(items[i].part->low, items[i].number + 1);
	return items[n - 1];
}

/* Good enough to sample by, and the same whenever the same rows are counted. */
static uint32
random_below(BtreeMerge *merge, uint32 limit)
{
	merge->random = merge->random * 1664525 + 1013904223;
	return (uint32) (((uint64) merge->random * limit) >> 32);
}

/* --------------------------------------------------------------- comparison */

/* The heap has the greatest on top, we want the first in walk order there. */
static int
compare_last(Datum a, Datum b, void *arg)
{
	const BtreeMerge *merge = arg;
	const MergePart *x = (const MergePart *) DatumGetPointer(a);
	const MergePart *y = (const MergePart *) DatumGetPointer(b);

	return position_compare(merge->key, &y->last, &x->last);
}

static int
compare_rows(const void *a, const void *b, void *arg)
{
	const BtreeMerge *merge = arg;
	const MergeRow *x = a;
	const MergeRow *y = b;
	int			order = key_column_compare(&merge->key->columns[0], x->value, x->isnull,
										   y->value, y->isnull);

	for (int i = 1; i < merge->key->ncolumns && order == 0; i++)
	{
		bool		null_x;
		bool		null_y;
		Datum		value_x = index_getattr(x->tuple, i + 1,
											RelationGetDescr(x->part->btree->index), &null_x);
		Datum		value_y = index_getattr(y->tuple, i + 1,
											RelationGetDescr(y->part->btree->index), &null_y);

		order = key_column_compare(&merge->key->columns[i], value_x, null_x, value_y, null_y);
	}
	return order;
}

static int
compare_items(const void *a, const void *b, void *arg)
{
	BtreeMerge *merge = arg;
	const MergeItem *x = a;
	const MergeItem *y = b;

	point_to(merge, *y, &merge->scratch);
	return compare_with(x->part, x->number, &merge->scratch);
}

/* Set a position to the item's values, where they are. */
static void
point_to(const BtreeMerge *merge, MergeItem item, Position *position)
{
	IndexTuple	tuple = item.part->items[item.number];
	TupleDesc	tupdesc = RelationGetDescr(item.part->btree->index);

	for (int i = 0; i < merge->key->ncolumns; i++)
		position->values[i] = index_getattr(tuple, i + 1, tupdesc, &position->nulls[i]);
}
