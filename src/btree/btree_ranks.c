/*
 * btree_ranks.c
 *		How many rows of one btree index come before a place in it, by estimate.
 *
 * The children of one index level cut the order into intervals.  A look at some
 * leaves among them shows how many rows each has; between the looks, where
 * items differ in size, the separators show it, which are as long as the items
 * around them.  A rank is found by adding up weights, then by going down to the
 * leaf at the fraction that is left.
 *
 * Ranks and places are in index order, whichever way the walk goes.
 */
#include "postgres.h"

#include <math.h>

#include "optimizer/plancat.h"
#include "utils/rel.h"

#include "btree/btree_ranks.h"

/* Leaves and items of each looked at, and the error that disproves the catalog */
#define SAMPLE_LEAVES 128
#define SAMPLE_ITEMS 8
#define STALE_FRACTION 0.2

/* Looks below which a correlation between neighbours means nothing */
#define MIN_CORRELATED 16

/* A look at one leaf */
typedef struct LeafLook
{
	int64		child;			/* above the leaf */
	double		rows;			/* visible, below that child */
	double		item_size;		/* mean of the leaf's items, 0: it has none */
} LeafLook;

static void weigh_children(BtreeRanks *ranks, double share);
static double *size_units(BtreeRanks *ranks, const LeafLook *looks, int nlooks);
static void draw_to_mean(double *values, int64 n, double mean);
static int64 first_of_look(const BtreeRanks *ranks, int nlooks, int look);
static void look_at_leaf(BtreeRanks *ranks, BtreePage *page, LeafLook *look);
static int64 last_not_after(const double *sums, int64 n, double place);
static double go_to_leaf(BtreeRanks *ranks, BtreePage *page, int64 child, double *fraction);
static int64 rows_on_leaf(const BtreeIndex *btree, const BtreePage *page, OffsetNumber end);
static OffsetNumber offset_on_leaf(const BtreeIndex *btree, const BtreePage *page, double fraction);
static ItemPointer item_of_row(const BtreePage *page, int64 row, OffsetNumber *offset,
							   int64 *before);

/* Set out to read the ranks of an index; ranks->rows is the planner's guess until then. */
void
btree_ranks_begin(BtreeRanks *ranks, const BtreePart *part)
{
	BlockNumber pages;
	double		all_visible;

	ranks->rel = part->rel;
	ranks->btree = part->btree;
	estimate_rel_size(ranks->rel, NULL, &pages, &ranks->rows, &all_visible);
}

/*
 * Read the upper pages, down to the level that has about children_wanted
 * children, at most to that above the leaves.  share: of the looks at leaves for
 * all indexes; separators: btree_ranks_of() will be asked.  In the current
 * memory context.
 */
void
btree_ranks_read(BtreeRanks *ranks, double share, int64 children_wanted, bool separators)
{
	btree_read_level(ranks->btree, children_wanted, separators, &ranks->level);
	ranks->nchildren = Max(ranks->level.nchildren, 1);
	weigh_children(ranks, share);
	btree_unpin(ranks->btree);
}

/* The estimated rows up to a position. */
double
btree_ranks_of(const BtreeRanks *ranks, const Position *position)
{
	int64		low = 0;
	int64		high = ranks->nchildren;
	double		fraction = 0.5;

	/* the last child whose separator is not after the position */
	while (high - low > 1)
	{
		int64		middle = low + (high - low) / 2;
		IndexTuple	separator = ranks->level.separators[middle];

		if (separator == NULL || btree_compare(ranks->btree, separator, position) <= 0)
			low = middle;
		else
			high = middle;
	}
	if (ranks->level.level == 1)
	{
		BtreePage  *page = btree_page_make();
		int64		rows;

		btree_page_read(ranks->btree, page, ranks->level.children[low].block, 0);
		rows = rows_on_leaf(ranks->btree, page, page->last + 1);
		if (rows > 0)
			fraction = (double) rows_on_leaf(ranks->btree, page,
											 btree_search_page(ranks->btree, page, position, true)) / rows;
		btree_page_release(ranks->btree, page);
		pfree(page);
	}
	return ranks->rows_before[low] +
		fraction * (ranks->rows_before[low + 1] - ranks->rows_before[low]);
}

/* Go to the leaf, and its item, at this place; false if the index is empty. */
bool
btree_ranks_go(BtreeRanks *ranks, BtreePage *page, double place, OffsetNumber *offset)
{
	int64		child = last_not_after(ranks->rows_before, ranks->nchildren, place);
	double		rows = ranks->rows_before[child + 1] - ranks->rows_before[child];
	double		fraction = rows > 0 ? (place - ranks->rows_before[child]) / rows : 0;

	fraction = Min(Max(fraction, 0), 1);
	if (ranks->level.level > 0)
		(void) go_to_leaf(ranks, page, child, &fraction);
	else if (!btree_descend(ranks->btree, page, NULL))
		return false;
	*offset = offset_on_leaf(ranks->btree, page, fraction);
	return true;
}

/* ------------------------------------------------------------------ weights */

/*
 * Look at some leaves, spread over the level: how many visible rows each has
 * shows what the children around it weigh.  The rows of the index are those of
 * the catalog's density over the current size, unless the look contradicts it, as
 * after a mass DELETE not yet vacuumed.
 */
static void
weigh_children(BtreeRanks *ranks, double share)
{
	int			nlooks = ranks->level.level == 0 ? 1 :
		(int) Min(Max(SAMPLE_LEAVES * share, 2), ranks->nchildren);
	int			nregular = Max(nlooks - 1, 1);
	LeafLook   *looks = palloc(nlooks * sizeof(LeafLook));
	double	   *weights = palloc(nlooks * sizeof(double));	/* rows by unit */
	BtreePage  *page = btree_page_make();
	double	   *units;
	double		rows = 0;
	double		looked = 0;
	double		sum = 0;

	page->in_place = true;
	btree_pin_visibility(ranks->btree);
	for (int i = 0; i < nlooks; i++)
	{
		looks[i].child = (first_of_look(ranks, nlooks, i) + first_of_look(ranks, nlooks, i + 1)) / 2;
		look_at_leaf(ranks, page, &looks[i]);
	}
	btree_page_release(ranks->btree, page);
	pfree(page);

	units = size_units(ranks, looks, nlooks);
	for (int i = 0; i < nlooks; i++)
	{
		double		unit = units == NULL ? 1 : units[looks[i].child];

		weights[i] = looks[i].rows / unit;
		if (i == nregular)
			break;
		rows += looks[i].rows;
		looked += unit;
	}
	if (nregular >= MIN_CORRELATED)
		draw_to_mean(weights, nregular, rows / looked);
	else
		for (int i = 0; i < nregular; i++)
			weights[i] = rows / looked;

	ranks->rows_before = MemoryContextAllocHuge(CurrentMemoryContext,
												(ranks->nchildren + 1) * sizeof(double));
	for (int i = 0; i < nlooks; i++)
	{
		int64		first = first_of_look(ranks, nlooks, i);
		int64		end = first_of_look(ranks, nlooks, i + 1);

		if (units == NULL)
		{
			for (int64 c = first; c < end; c++)
				ranks->rows_before[c] = sum + weights[i] * (c - first);
			sum += weights[i] * (end - first);
		}
		else
			for (int64 c = first; c < end; c++)
			{
				ranks->rows_before[c] = sum;
				sum += weights[i] * units[c];
			}
	}
	ranks->rows_before[ranks->nchildren] = sum;

	if (ranks->level.level == 0 || ranks->rel->rd_rel->reltuples < 0 ||
		fabs(sum - ranks->rows) > ranks->rows * STALE_FRACTION)
		ranks->rows = sum;
	if (sum > 0 && ranks->rows != sum)
		for (int64 c = 0; c <= ranks->nchildren; c++)
			ranks->rows_before[c] *= ranks->rows / sum;

	if (units != NULL)
		pfree(units);
	pfree(looks);
	pfree(weights);
}

/*
 * How many rows each child has, compared with the others, by the size of the
 * separators at its ends: the larger the items, the fewer a page holds.  NULL if
 * that says nothing.  What else is in the leaves' items, as INCLUDE columns, is
 * taken to be of the same size in all.
 */
static double *
size_units(BtreeRanks *ranks, const LeafLook *looks, int nlooks)
{
	const BtreeChild *children = ranks->level.children;
	int64		n = ranks->nchildren;
	double	   *units;
	double		sum = 0;
	double		other = 0;
	int			nother = 0;
	double		size = 0;

	/* how much longer a posting list is than its key depends on how many rows share it */
	if (ranks->level.level == 0 || ranks->level.even || !ranks->btree->key->unique)
		return NULL;

	units = MemoryContextAllocHuge(CurrentMemoryContext, n * sizeof(double));
	for (int64 c = n - 1; c >= 0; c--)
	{
		/* of those cut short or missing, the next one's */
		if (children[c].size != 0)
			size = children[c].size;
		units[c] = size;
	}
	for (int64 c = 0; c < n; c++)
	{
		if (units[c] == 0)
			units[c] = c > 0 ? units[c - 1] : 1;
		sum += units[c];
	}

	/* single items of a mixed lot say nothing about those around them */
	draw_to_mean(units, n, sum / n);
	for (int i = 0; i < nlooks; i++)
		if (looks[i].item_size > 0)
		{
			other += looks[i].item_size - units[looks[i].child];
			nother++;
		}
	other = (nother > 0 ? Max(other / nother, 0) : 0) + sizeof(ItemIdData);

	for (int64 c = 0; c < n; c++)
	{
		double		unit = 1 / ((units[c] + units[Min(c + 1, n - 1)]) / 2 + other);

		units[c] = 1;
		for (uint32 i = 0; i < ranks->level.level; i++)
			units[c] *= unit;
	}
	return units;
}

/*
 * Believe each value only as far as neighbours agree: draw them towards their
 * mean by the correlation of each with the next.  After random inserts one leaf
 * says nothing about those around it, and all get the same weight; where whole
 * regions differ, the looks stand.
 */
static void
draw_to_mean(double *values, int64 n, double mean)
{
	double		variance = 0;
	double		covariance = 0;
	double		correlation;

	for (int64 i = 0; i < n; i++)
	{
		double		deviation = values[i] - mean;

		variance += deviation * deviation;
		if (i > 0)
			covariance += deviation * (values[i - 1] - mean);
	}
	correlation = variance > 0 ? Max(covariance / variance, 0) : 0;
	for (int64 i = 0; i < n; i++)
		values[i] = mean + correlation * (values[i] - mean);
}

/*
 * The first of the children that a look stands for.  The last look is at the
 * last child alone: that is where rows are added in key order, and as full as
 * it happens to be.
 */
static int64
first_of_look(const BtreeRanks *ranks, int nlooks, int look)
{
	if (nlooks == 1 || look == nlooks)
		return ranks->nchildren * look / nlooks;
	return (ranks->nchildren - 1) * look / (nlooks - 1);
}

/* Set look's rows and item_size by the leaf in the middle of its child. */
static void
look_at_leaf(BtreeRanks *ranks, BtreePage *page, LeafLook *look)
{
	BtreeIndex *btree = ranks->btree;
	int64		most = ranks->level.level == 0 ? PG_INT64_MAX : SAMPLE_ITEMS;
	double		fraction = 0.5;
	double		leaves = 1;
	int64		nrows;
	int64		looked;
	int64		visible = 0;

	look->rows = 0;
	look->item_size = 0;
	if (ranks->level.level > 0)
		leaves = go_to_leaf(ranks, page, look->child, &fraction);
	else if (!btree_descend(btree, page, NULL))
		return;
	if (page->last < page->first)
		return;

	nrows = rows_on_leaf(btree, page, page->last + 1);
	if (btree->key->unique)
	{
		for (looked = 0; looked < Min(nrows, most); looked++)
		{
			OffsetNumber offset = page->first + nrows * looked / Min(nrows, most);

			if (btree_item_known_visible(btree, page, offset))
				visible++;
			else
			{
				btree_page_unlock(page);
				if (btree_item_visible(btree, page, offset))
					visible++;
			}
		}
	}
	else
	{
		OffsetNumber offset = page->first;
		int64		before = 0; /* rows of items before offset */

		btree_page_unlock(page);
		for (looked = 0; looked < Min(nrows, most); looked++)
		{
			int64		row = nrows * looked / Min(nrows, most);
			ItemPointer tids = item_of_row(page, row, &offset, &before);
			BlockNumber block;

			if (!btree_item_is_dead(btree, page, offset) &&
				btree_tid_visible(btree, &tids[row - before], &block))
				visible++;
		}
	}
	look->rows = leaves * nrows * visible / looked;
	look->item_size = (double) (((PageHeader) btree_page_data(page))->pd_special -
								((PageHeader) btree_page_data(page))->pd_upper) / page->last;
}

/* ------------------------------------------------------------------- leaves */

/* The last of n sums, in ascending order, that is not over place; 0 if all are. */
static int64
last_not_after(const double *sums, int64 n, double place)
{
	int64		low = 0;
	int64		high = n;

	while (high - low > 1)
	{
		int64		middle = low + (high - low) / 2;

		if (sums[middle] <= place)
			low = middle;
		else
			high = middle;
	}
	return low;
}

/*
 * Go down from a child to a leaf, taking the downlink at the fraction each time.
 * Returns about how many leaves there are below that child.
 */
static double
go_to_leaf(BtreeRanks *ranks, BtreePage *page, int64 child, double *fraction)
{
	double		leaves = 1;
	BlockNumber block = ranks->level.children[child].block;
	uint32		level = ranks->level.level;

	for (;;)
	{
		double		place;
		int			n;

		level--;
		/* the last one may have led here as well */
		if (!BufferIsValid(page->buffer) || page->block != block || page->level != level)
			btree_page_read(ranks->btree, page, block, level);
		if (level == 0)
			return leaves;
		n = page->last - page->first + 1;
		leaves *= n;
		place = Min(*fraction * n, n - 1);
		*fraction = Min(Max(*fraction * n - (int) place, 0), 1);
		block = btree_page_downlink(page, page->first + (int) place);
	}
}

/* The rows of a leaf's items before one. */
static int64
rows_on_leaf(const BtreeIndex *btree, const BtreePage *page, OffsetNumber end)
{
	int64		rows = 0;

	if (btree->key->unique)
		return (int64) end - page->first;	/* versions share a list, one of them shows */
	for (OffsetNumber offset = page->first; offset < end; offset++)
	{
		int			ntids;

		(void) btree_page_tids(page, offset, &ntids);
		rows += ntids;
	}
	return rows;
}

/* The item at a fraction of a leaf's rows. */
static OffsetNumber
offset_on_leaf(const BtreeIndex *btree, const BtreePage *page, double fraction)
{
	int64		n = (int64) page->last - page->first + 1;
	OffsetNumber offset = page->first;
	int64		before = 0;

	if (btree->key->unique)
		return page->first + Max(Min((int64) (fraction * n), n - 1), 0);
	if (n > 0)
		(void) item_of_row(page, (int64) (fraction * rows_on_leaf(btree, page, page->last + 1)),
						   &offset, &before);
	return offset;
}

/*
 * The rows of the item that has a leaf's row of this number, counted from 0, or
 * of the last item.  The search goes on from *offset, before which there are
 * *before rows.
 */
static ItemPointer
item_of_row(const BtreePage *page, int64 row, OffsetNumber *offset, int64 *before)
{
	for (;;)
	{
		int			ntids;
		ItemPointer tids = btree_page_tids(page, *offset, &ntids);

		if (*offset >= page->last || *before + ntids > row)
			return tids;
		*before += ntids;
		(*offset)++;
	}
}
