/*
 * btree_estimate.c
 *		Which row is at a rank, and the rank of a position, by estimate.
 *
 * The ranks of one index are read off its upper pages (btree_ranks.c).  The
 * position at a rank is that of a row visible to the snapshot, so that nothing
 * is shown that SELECT would not show.
 *
 * Of a partitioned relation, each index gives keys at regular ranks of its own;
 * merged in key order, each stands for the rows between it and the next of its
 * index.  (The intervals between an index's separators cannot be merged: those
 * of hash partitions all overlap each other.)
 *
 * Only the ranks are estimates.  A position is a real key whatever happened to
 * the index meanwhile, so ranges between such positions cover the relation.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/rel.h"

#include "btree/btree_estimate.h"
#include "btree/btree_ranks.h"

/* Leaves searched for a visible row that is near */
#define VISIBLE_LEAVES 16

/*
 * Keys merged of several partitions, for each child wanted, where there are so
 * many children.  By theory a chunk is off by half the square root of its keys
 * or of the partitions, whichever are fewer: where partitions are many, more
 * keys help little.
 */
#define KEYS_PER_CHILD 2
#define MANY_PARTS 128

/* And at most, however small the chunks: there may be more of these than rows */
#define MOST_KEYS_PER_CHILD 8

/* How far the first key of each partition lies in its interval: the golden ratio, by turns */
#define PHASE 0.6180339887498949

/* A key of the merged order (always index order, not walk order) */
typedef struct EstimateKey
{
	int			part;
	IndexTuple	tuple;
	Datum		value;			/* its first column, at hand for sorting */
	bool		isnull;
	double		rows;			/* that it stands for, from "from" of its part on */
	double		from;
	double		rows_before;	/* estimated rows before these, of all parts */
} EstimateKey;

struct BtreeEstimate
{
	const WalkKey *key;
	bool		backward;		/* walk order is the reverse of index order */
	double		rows;
	int			nparts;
	BtreeRanks *parts;
	int64		nchildren;
	int64		nwanted;
	int64		nkeys;
	EstimateKey *keys;			/* merged, if there are several parts; NULL: not yet */
};

static void merge_keys(BtreeEstimate *estimate);
static void add_keys(BtreeEstimate *estimate, int number, int nkeys, BtreePage *page);
static int	compare_keys(const void *a, const void *b, void *arg);
static TupleDesc tupdesc_of(const BtreeEstimate *estimate, const EstimateKey *key);
static double rank_by_keys(const BtreeEstimate *estimate, const Position *position);
static BtreeRanks *find_part(BtreeEstimate *estimate, double *place);
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
	estimate->parts = palloc0(nparts * sizeof(BtreeRanks));
	estimate->nwanted = children_wanted;
	for (int i = 0; i < nparts; i++)
	{
		CHECK_FOR_INTERRUPTS();
		btree_ranks_begin(&estimate->parts[i], &parts->parts[i]);
		tuples += estimate->parts[i].rows;
	}
	for (int i = 0; i < nparts; i++)
	{
		BtreeRanks *part = &estimate->parts[i];
		double		share = nparts == 1 ? 1 : part->rows / Max(tuples, 1);

		btree_ranks_read(part, share, (int64) ceil(children_wanted * share), ranks && nparts == 1);
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

/* The number of pages between which the estimate can distinguish ranks. */
int64
btree_estimate_children(const BtreeEstimate *estimate)
{
	return estimate->nchildren;
}

/* Is it of several partitions, whose rows no single index puts into order? */
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
		rank = btree_ranks_of(&estimate->parts[0], position);
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
	BtreeRanks *part = find_part(estimate, &place);
	BtreePage  *page;
	OffsetNumber offset;
	Position   *position = NULL;

	if (part == NULL)
		return NULL;
	page = btree_page_make();
	if (btree_ranks_go(part, page, place, &offset))
		position = visible_position(part->btree, page, offset, far ? MaxBlockNumber : VISIBLE_LEAVES);
	btree_page_release(part->btree, page);
	btree_unpin(part->btree);
	pfree(page);
	return position;
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
	BtreeRanks *part = &estimate->parts[number];
	double		rows = part->rows / nkeys;
	double		phase = fmod((number + 1) * PHASE, 1);

	for (int i = 0; i < nkeys; i++)
	{
		OffsetNumber offset;
		EstimateKey *key = &estimate->keys[estimate->nkeys];

		if (!btree_ranks_go(part, page, (i + phase) * rows, &offset) || offset > page->last)
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

/*
 * The part in which the row at this place lies, and *place in that part; NULL if
 * there are no rows.
 */
static BtreeRanks *
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

	/* between two keys of one part, with no other's between them, its own rows say more */
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
