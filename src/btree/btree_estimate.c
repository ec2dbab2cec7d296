/*
 * btree_estimate.c
 *		Where a rank lies in a key's order, and the rank of a position, read off
 *		the upper pages of btree indexes.
 *
 * The children of one index level cut the order into intervals.  A look at some
 * leaves among them tells how many rows each has; between the looks, where
 * items differ in size, the separators tell, which are as long as the items
 * about them.  A rank is found by adding up weights, then by going down to the
 * leaf at the fraction that is left; the position there is one of a row visible
 * to the snapshot, so that nothing is shown that SELECT would not.
 *
 * Of a partitioned relation, each index gives keys at regular ranks of its own;
 * merged in key order, each stands for the rows between it and the next of its
 * index.  (The intervals themselves cannot be merged: of hash partitions all
 * lie across each other.)
 *
 * Only the ranks are estimates.  A position is a real key whatever happened to
 * the index meanwhile, so ranges between such positions cover the relation.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "optimizer/plancat.h"
#include "utils/rel.h"

#include "btree/btree.h"

/* Leaves and items of each looked at, and the error that disproves the catalog */
#define SAMPLE_LEAVES 128
#define SAMPLE_ITEMS 8
#define STALE_FRACTION 0.2

/* Looks below which a correlation between neighbours means nothing */
#define MIN_CORRELATED 16

/* Leaves searched for a visible row that is near */
#define VISIBLE_LEAVES 16

/*
 * Keys merged of several partitions, for each child wanted, where there are so
 * many children.  By theory a chunk is off by half the square root of its keys
 * or of the partitions, whichever are fewer: where partitions are many, more
 * keys tell little more.
 */
#define KEYS_PER_CHILD 2
#define MANY_PARTS 128

/* And at most, however small the chunks: there may be more of these than rows */
#define MOST_KEYS_PER_CHILD 8

/* How far the first key of each partition lies in its interval: the golden ratio, by turns */
#define PHASE 0.6180339887498949

/* One index */
typedef struct EstimatePart
{
	Relation	rel;
	BtreeIndex *btree;
	BtreeLevel	level;
	int64		nchildren;		/* of the level; 1 if the root is a leaf */
	double		rows;
	double	   *rows_before;	/* estimated rows ahead of each child, and in all */
} EstimatePart;

/* A look at one leaf */
typedef struct LeafLook
{
	int64		child;			/* above the leaf */
	double		rows;			/* visible, below that child */
	double		item_size;		/* mean of the leaf's items, 0: it has none */
} LeafLook;

/* A key of the merged order (always index order, not walk order) */
typedef struct EstimateKey
{
	int			part;
	IndexTuple	tuple;
	Datum		value;			/* its first column, at hand for sorting */
	bool		isnull;
	double		rows;			/* that it stands for, from "from" of its part on */
	double		from;
	double		rows_before;	/* estimated rows ahead of these, of all parts */
} EstimateKey;

struct BtreeEstimate
{
	const WalkKey *key;
	bool		backward;		/* walk order is the reverse of index order */
	double		rows;
	int			nparts;
	EstimatePart *parts;
	int64		nchildren;
	int64		nwanted;
	int64		nkeys;
	EstimateKey *keys;			/* merged, if there are several parts; NULL: not yet */
};

static void weigh_part(EstimatePart *part, double share);
static double *size_units(EstimatePart *part, const LeafLook *looks, int nlooks);
static void shrink(double *values, int64 n, double mean);
static int64 first_of_look(const EstimatePart *part, int nlooks, int look);
static void look_at_leaf(EstimatePart *part, BtreePage *page, LeafLook *look);
static void merge_keys(BtreeEstimate *estimate);
static void add_keys(BtreeEstimate *estimate, int number, int nkeys, BtreePage *page);
static int	compare_keys(const void *a, const void *b, void *arg);
static TupleDesc tupdesc_of(const BtreeEstimate *estimate, const EstimateKey *key);
static double rank_in_part(const EstimatePart *part, const Position *position);
static double rank_by_keys(const BtreeEstimate *estimate, const Position *position);
static int64 last_not_after(const double *sums, int64 n, double place);
static EstimatePart *find_part(BtreeEstimate *estimate, double *place);
static bool go_to_place(EstimatePart *part, BtreePage *page, double place, OffsetNumber *offset);
static double go_to_leaf(EstimatePart *part, BtreePage *page, int64 child, double *fraction);
static int64 rows_on_leaf(const BtreeIndex *btree, const BtreePage *page, OffsetNumber end);
static OffsetNumber offset_on_leaf(const BtreeIndex *btree, const BtreePage *page, double fraction);
static Position *visible_position(BtreeIndex *btree, BtreePage *page, OffsetNumber offset,
								  int64 leaves);

/*
 * Read the upper pages of the indexes, down to the level that has about
 * children_wanted children, at most to that above the leaves; partitions share
 * in these by their rows.  ranks: the ranks of positions will be asked for.
 * All in the current memory context; good for as long as the parts are open.
 */
BtreeEstimate *
btree_estimate_make(const BtreeParts *parts, const WalkKey *key, int64 children_wanted,
					bool ranks)
{
	BtreeEstimate *estimate = palloc0(sizeof(BtreeEstimate));
	int			nparts = parts->nparts;
	double		tuples = 0;

	estimate->key = key;
	estimate->nparts = nparts;
	estimate->parts = palloc0(nparts * sizeof(EstimatePart));
	estimate->nwanted = children_wanted;
	for (int i = 0; i < nparts; i++)
	{
		EstimatePart *part = &estimate->parts[i];
		BlockNumber pages;
		double		all_visible;

		CHECK_FOR_INTERRUPTS();
		part->rel = parts->parts[i].rel;
		part->btree = parts->parts[i].btree;
		estimate_rel_size(part->rel, NULL, &pages, &part->rows, &all_visible);
		tuples += part->rows;
	}
	for (int i = 0; i < nparts; i++)
	{
		EstimatePart *part = &estimate->parts[i];
		double		share = nparts == 1 ? 1 : part->rows / Max(tuples, 1);

		btree_read_level(part->btree, (int64) ceil(children_wanted * share),
						 ranks && nparts == 1, &part->level);
		part->nchildren = Max(part->level.nchildren, 1);
		weigh_part(part, share);
		btree_unpin(part->btree);
		estimate->rows += part->rows;
		estimate->nchildren += part->nchildren;
		estimate->backward = part->btree->backward;
	}
	return estimate;
}

/* The estimated number of rows. */
double
btree_estimate_rows(const BtreeEstimate *estimate)
{
	return estimate->rows;
}

/* The number of pages between which the estimate can tell ranks apart. */
int64
btree_estimate_children(const BtreeEstimate *estimate)
{
	return estimate->nchildren;
}

/* Is it of several partitions, between whose rows no one index tells the order? */
bool
btree_estimate_is_merged(const BtreeEstimate *estimate)
{
	return estimate->nparts > 1;
}

/* The estimated number of rows up to a position, in walk order. */
double
btree_estimate_rank(BtreeEstimate *estimate, const Position *position)
{
	double		rank;

	if (estimate->nparts == 1)
		rank = rank_in_part(&estimate->parts[0], position);
	else
	{
		merge_keys(estimate);
		rank = rank_by_keys(estimate, position);
	}
	return estimate->backward ? estimate->rows - rank : rank;
}

/*
 * The position of the first visible row, in walk order, from this rank on (0 to
 * the estimated rows); NULL if there is none, without "far", none near.  A
 * higher rank never gives an earlier row, unless partitions are merged, each of
 * which is only searched by itself.
 */
Position *
btree_estimate_position(BtreeEstimate *estimate, double rank, bool far)
{
	double		place = estimate->backward ? estimate->rows - rank : rank;
	EstimatePart *part = find_part(estimate, &place);
	BtreePage  *page;
	OffsetNumber offset;
	Position   *position = NULL;

	if (part == NULL)
		return NULL;
	page = btree_page_make();
	if (go_to_place(part, page, place, &offset))
		position = visible_position(part->btree, page, offset, far ? MaxBlockNumber : VISIBLE_LEAVES);
	btree_page_release(part->btree, page);
	btree_unpin(part->btree);
	pfree(page);
	return position;
}

/* ----------------------------------------------------------- weights of a part */

/*
 * Look at some leaves, spread over the level: how many visible rows each has
 * tells what the children about it weigh.  The rows of the part are the
 * catalog's density over the current size, unless the look contradicts it, as
 * after a mass DELETE not yet vacuumed.  share: of the looks for all parts.
 */
static void
weigh_part(EstimatePart *part, double share)
{
	int			nlooks = part->level.level == 0 ? 1 :
		(int) Min(Max(SAMPLE_LEAVES * share, 2), part->nchildren);
	int			nregular = Max(nlooks - 1, 1);
	LeafLook   *looks = palloc(nlooks * sizeof(LeafLook));
	double	   *weights = palloc(nlooks * sizeof(double));	/* rows by unit */
	BtreePage  *page = btree_page_make();
	double	   *units;
	double		rows = 0;
	double		looked = 0;
	double		sum = 0;

	page->in_place = true;
	btree_pin_visibility(part->btree);
	for (int i = 0; i < nlooks; i++)
	{
		looks[i].child = (first_of_look(part, nlooks, i) + first_of_look(part, nlooks, i + 1)) / 2;
		look_at_leaf(part, page, &looks[i]);
	}
	btree_page_release(part->btree, page);
	pfree(page);

	units = size_units(part, looks, nlooks);
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
		shrink(weights, nregular, rows / looked);
	else
		for (int i = 0; i < nregular; i++)
			weights[i] = rows / looked;

	part->rows_before = MemoryContextAllocHuge(CurrentMemoryContext,
											   (part->nchildren + 1) * sizeof(double));
	for (int i = 0; i < nlooks; i++)
	{
		int64		first = first_of_look(part, nlooks, i);
		int64		end = first_of_look(part, nlooks, i + 1);

		if (units == NULL)
		{
			for (int64 c = first; c < end; c++)
				part->rows_before[c] = sum + weights[i] * (c - first);
			sum += weights[i] * (end - first);
		}
		else
			for (int64 c = first; c < end; c++)
			{
				part->rows_before[c] = sum;
				sum += weights[i] * units[c];
			}
	}
	part->rows_before[part->nchildren] = sum;

	if (part->level.level == 0 || part->rel->rd_rel->reltuples < 0 ||
		fabs(sum - part->rows) > part->rows * STALE_FRACTION)
		part->rows = sum;
	if (sum > 0 && part->rows != sum)
		for (int64 c = 0; c <= part->nchildren; c++)
			part->rows_before[c] *= part->rows / sum;

	if (units != NULL)
		pfree(units);
	pfree(looks);
	pfree(weights);
}

/*
 * How many rows each child has to the others' by the size of the separators at
 * its ends, a page holding the fewer items the larger they are; NULL if that
 * says nothing.  What else is in the leaves' items, as INCLUDE columns, is
 * taken to be of the same size in all.
 */
static double *
size_units(EstimatePart *part, const LeafLook *looks, int nlooks)
{
	const BtreeChild *children = part->level.children;
	int64		n = part->nchildren;
	double	   *units;
	double		sum = 0;
	double		other = 0;
	int			nother = 0;
	double		size = 0;

	/* a posting list is longer than its key by what depends on how many share it */
	if (part->level.level == 0 || part->level.even || !part->btree->key->unique)
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

	/* single items of a mixed lot say nothing of those about them */
	shrink(units, n, sum / n);
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
		for (uint32 i = 0; i < part->level.level; i++)
			units[c] *= unit;
	}
	return units;
}

/*
 * Believe each value only as far as neighbours agree: draw them towards their
 * mean by the correlation of each with the next.  After random inserts one leaf
 * says nothing of those about it, and all get the same weight; where whole
 * regions differ, the looks stand.
 */
static void
shrink(double *values, int64 n, double mean)
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
first_of_look(const EstimatePart *part, int nlooks, int look)
{
	if (nlooks == 1 || look == nlooks)
		return part->nchildren * look / nlooks;
	return (part->nchildren - 1) * look / (nlooks - 1);
}

/* Set look's rows and item_size by the leaf in the middle of its child. */
static void
look_at_leaf(EstimatePart *part, BtreePage *page, LeafLook *look)
{
	BtreeIndex *btree = part->btree;
	int64		most = part->level.level == 0 ? PG_INT64_MAX : SAMPLE_ITEMS;
	double		fraction = 0.5;
	double		leaves = 1;
	int64		nrows;
	int64		looked;
	int64		visible = 0;

	look->rows = 0;
	look->item_size = 0;
	if (part->level.level > 0)
		leaves = go_to_leaf(part, page, look->child, &fraction);
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
		int64		before = 0; /* rows of items ahead of offset */

		btree_page_unlock(page);
		for (looked = 0; looked < Min(nrows, most); looked++)
		{
			int64		row = nrows * looked / Min(nrows, most);
			ItemPointer tids;
			int			ntids;
			BlockNumber block;

			while (tids = btree_page_tids(page, offset, &ntids), before + ntids <= row)
			{
				before += ntids;
				offset++;
			}
			if (!btree_item_is_dead(btree, page, offset) &&
				btree_tid_visible(btree, &tids[row - before], &block))
				visible++;
		}
	}
	look->rows = leaves * nrows * visible / looked;
	look->item_size = (double) (((PageHeader) btree_page_data(page))->pd_special -
								((PageHeader) btree_page_data(page))->pd_upper) / page->last;
}

/* ------------------------------------------------------------- several parts */

/* Take keys of all parts, by their share of the rows, and bring them into one order. */
static void
merge_keys(BtreeEstimate *estimate)
{
	BtreePage  *page;
	int64		room = 0;
	double		wanted = (double) estimate->nwanted;
	double		rows_before = 0;

	if (estimate->keys != NULL)
		return;
	if (estimate->nparts <= MANY_PARTS)
		wanted = Max(wanted, Min(wanted * KEYS_PER_CHILD, (double) estimate->nchildren));
	wanted = Min(wanted, (double) estimate->nchildren * MOST_KEYS_PER_CHILD);
	for (int i = 0; i < estimate->nparts; i++)
		room += (int64) ceil(wanted * estimate->parts[i].rows / Max(estimate->rows, 1)) + 1;
	estimate->keys = MemoryContextAllocHuge(CurrentMemoryContext, room * sizeof(EstimateKey));

	page = btree_page_make();
	page->in_place = true;
	for (int i = 0; i < estimate->nparts; i++)
	{
		double		rows = estimate->parts[i].rows;

		if (rows > 0)
			add_keys(estimate, i, (int) Max(Min(rint(wanted * rows / estimate->rows), rows), 1), page);
	}
	pfree(page);

	qsort_arg(estimate->keys, estimate->nkeys, sizeof(EstimateKey), compare_keys, estimate);
	for (int64 i = 0; i < estimate->nkeys; i++)
	{
		estimate->keys[i].rows_before = rows_before;
		rows_before += estimate->keys[i].rows;
	}
}

/*
 * Add keys of one part, at equal distances.  Those of different parts start at
 * different places: parts that are alike, as hash partitions are, would
 * otherwise all give the same keys.
 */
static void
add_keys(BtreeEstimate *estimate, int number, int nkeys, BtreePage *page)
{
	EstimatePart *part = &estimate->parts[number];
	double		rows = part->rows / nkeys;
	double		phase = fmod((number + 1) * PHASE, 1);

	for (int i = 0; i < nkeys; i++)
	{
		OffsetNumber offset;
		EstimateKey *key = &estimate->keys[estimate->nkeys];

		if (!go_to_place(part, page, (i + phase) * rows, &offset) || offset > page->last)
			continue;
		key->part = number;
		key->tuple = CopyIndexTuple(btree_page_item(page, offset));
		key->value = index_getattr(key->tuple, 1, RelationGetDescr(part->btree->index), &key->isnull);
		key->rows = rows;
		key->from = i * rows;
		estimate->nkeys++;
	}
	btree_page_release(part->btree, page);
}

/* In index order; of equal ones, those of one part stay in theirs. */
static int
compare_keys(const void *a, const void *b, void *arg)
{
	const BtreeEstimate *estimate = arg;
	const EstimateKey *x = a;
	const EstimateKey *y = b;
	int			order = key_column_compare(&estimate->key->columns[0], x->value, x->isnull,
										   y->value, y->isnull);

	for (int i = 1; i < estimate->key->ncolumns && order == 0; i++)
	{
		bool		null_x;
		bool		null_y;
		Datum		value_x = index_getattr(x->tuple, i + 1, tupdesc_of(estimate, x), &null_x);
		Datum		value_y = index_getattr(y->tuple, i + 1, tupdesc_of(estimate, y), &null_y);

		order = key_column_compare(&estimate->key->columns[i], value_x, null_x, value_y, null_y);
	}
	if (order != 0)
		return (order < 0) != estimate->backward ? -1 : 1;
	if (x->part != y->part)
		return x->part < y->part ? -1 : 1;
	return x->from < y->from ? -1 : x->from > y->from ? 1 : 0;
}

static TupleDesc
tupdesc_of(const BtreeEstimate *estimate, const EstimateKey *key)
{
	return RelationGetDescr(estimate->parts[key->part].btree->index);
}

/* --------------------------------------------------------- ranks and positions */

/* The rows up to a position, in index order. */
static double
rank_in_part(const EstimatePart *part, const Position *position)
{
	int64		low = 0;
	int64		high = part->nchildren;
	double		fraction = 0.5;

	/* the last child whose separator is not after the position */
	while (high - low > 1)
	{
		int64		middle = low + (high - low) / 2;
		IndexTuple	separator = part->level.separators[middle];

		if (separator == NULL || btree_compare(part->btree, separator, position) <= 0)
			low = middle;
		else
			high = middle;
	}
	if (part->level.level == 1)
	{
		BtreePage  *page = btree_page_make();
		int64		rows;

		btree_page_read(part->btree, page, part->level.children[low].block, 0);
		rows = rows_on_leaf(part->btree, page, page->last + 1);
		if (rows > 0)
			fraction = (double) rows_on_leaf(part->btree, page,
											 btree_search_page(part->btree, page, position, true)) / rows;
		btree_page_release(part->btree, page);
		pfree(page);
	}
	return part->rows_before[low] +
		fraction * (part->rows_before[low + 1] - part->rows_before[low]);
}

static double
rank_by_keys(const BtreeEstimate *estimate, const Position *position)
{
	int64		low = 0;
	int64		high = estimate->nkeys;

	while (low < high)
	{
		int64		middle = low + (high - low) / 2;
		const EstimateKey *key = &estimate->keys[middle];

		if (btree_compare(estimate->parts[key->part].btree, key->tuple, position) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low < estimate->nkeys ? estimate->keys[low].rows_before : estimate->rows;
}

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
 * The part in which the row at this place lies, and *place in that part; NULL if
 * there are no rows.
 */
static EstimatePart *
find_part(BtreeEstimate *estimate, double *place)
{
	int64		low = 0;
	int64		high;
	const EstimateKey *key;
	double		phase;
	double		beyond;
	int64		neighbour;

	if (estimate->nparts == 1)
		return &estimate->parts[0];
	merge_keys(estimate);
	if (estimate->nkeys == 0)
		return NULL;
	high = estimate->nkeys;
	while (high - low > 1)
	{
		int64		middle = low + (high - low) / 2;

		if (estimate->keys[middle].rows_before <= *place)
			low = middle;
		else
			high = middle;
	}

	/* between two keys of one part, with no other's between them, its own rows tell more */
	key = &estimate->keys[low];
	phase = fmod((key->part + 1) * PHASE, 1);
	beyond = Min(Max(*place - key->rows_before, 0), key->rows);
	neighbour = beyond < phase * key->rows ? low - 1 : low + 1;
	if (neighbour >= 0 && neighbour < estimate->nkeys &&
		estimate->keys[neighbour].part != key->part)
		beyond = phase * key->rows;
	*place = key->from + beyond;
	return &estimate->parts[key->part];
}

/* Go to the leaf, and its item, at this place of a part; false if it is empty. */
static bool
go_to_place(EstimatePart *part, BtreePage *page, double place, OffsetNumber *offset)
{
	int64		child = last_not_after(part->rows_before, part->nchildren, place);
	double		rows = part->rows_before[child + 1] - part->rows_before[child];
	double		fraction = rows > 0 ? (place - part->rows_before[child]) / rows : 0;

	fraction = Min(Max(fraction, 0), 1);
	if (part->level.level > 0)
		(void) go_to_leaf(part, page, child, &fraction);
	else if (!btree_descend(part->btree, page, NULL))
		return false;
	*offset = offset_on_leaf(part->btree, page, fraction);
	return true;
}

/*
 * Go down from a child to a leaf, taking the downlink at the fraction each time.
 * Returns about how many leaves there are below that child.
 */
static double
go_to_leaf(EstimatePart *part, BtreePage *page, int64 child, double *fraction)
{
	double		leaves = 1;
	BlockNumber block = part->level.children[child].block;
	uint32		level = part->level.level;

	for (;;)
	{
		double		place;
		int			n;

		level--;
		/* the last one may have led here as well */
		if (!BufferIsValid(page->buffer) || page->block != block || page->level != level)
			btree_page_read(part->btree, page, block, level);
		if (level == 0)
			return leaves;
		n = page->last - page->first + 1;
		leaves *= n;
		place = Min(*fraction * n, n - 1);
		*fraction = Min(Max(*fraction * n - (int) place, 0), 1);
		block = btree_page_downlink(page, page->first + (int) place);
	}
}

/* The rows of a leaf's items ahead of one. */
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
	int64		n = page->last - page->first + 1;
	double		place;
	OffsetNumber offset;

	if (btree->key->unique)
		return page->first + Max(Min((int64) (fraction * n), n - 1), 0);
	place = fraction * rows_on_leaf(btree, page, page->last + 1);
	for (offset = page->first; offset < page->last; offset++)
	{
		int			ntids;

		(void) btree_page_tids(page, offset, &ntids);
		place -= ntids;
		if (place < 0)
			break;
	}
	return offset;
}

/*
 * The position of the first visible row, in walk order, from this item on; NULL
 * if there is none on that many leaves.
 */
static Position *
visible_position(BtreeIndex *btree, BtreePage *page, OffsetNumber offset, int64 leaves)
{
	int			step = btree->backward ? -1 : 1;
	int			at = offset;

	for (; leaves > 0; leaves--)
	{
		for (; at >= page->first && at <= page->last; at += step)
			if (btree_item_visible(btree, page, at))
			{
				Position   *position = position_make(btree->key);

				btree_position(btree, btree_page_item(page, at), position);
				return position;
			}
		if (!(btree->backward ? btree_page_step_left(btree, page) :
			  btree_page_step_right(btree, page)))
			break;
		at = btree->backward ? page->last : page->first;
	}
	return NULL;
}
