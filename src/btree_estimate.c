/*
 * btree_estimate.c
 *		Where a rank lies in a key's order, and the rank of a position, read off
 *		the upper pages of btree indexes.
 *
 * The children of one index level cut the order into intervals; how many rows
 * each has is told by a look at some leaves among them.  Those of a
 * partitioned relation's indexes are merged in key order, each with its own
 * weight.  A rank is found by adding up weights, then by going down to the leaf
 * at the fraction that is left; the position there is one of a row visible to
 * the snapshot, so that nothing is shown that SELECT would not.
 *
 * Only the ranks are estimates.  A position is a real key whatever happened to
 * the index meanwhile, so ranges between such positions cover the relation.
 */
#include "postgres.h"

#include <math.h>

#include "access/relation.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "miscadmin.h"
#include "optimizer/plancat.h"
#include "utils/rel.h"

#include "btree.h"

/* Leaves and items of each looked at, and the error that disproves the catalog */
#define SAMPLE_LEAVES 128
#define SAMPLE_ITEMS 8
#define STALE_FRACTION 0.2

/* Looks below which a correlation between neighbours means nothing */
#define MIN_CORRELATED 16

/* Leaves searched for a visible row that is near */
#define VISIBLE_LEAVES 16

/* One index: a plain table's, or one of a partition */
typedef struct EstimatePart
{
	Relation	rel;
	BtreeIndex *btree;
	BtreeLevel	level;
	IndexTuple	first;			/* first leaf item, the lower bound that the first
								 * child's separator does not tell; or NULL */
	double		rows;
	int			nsamples;		/* leaves looked at, spread over the level */
	double	   *weights;		/* rows of each child about that leaf */
	double	   *sums;			/* rows ahead of the first of these children */
} EstimatePart;

/* One child page in the merged order (always index order, not walk order) */
typedef struct EstimateChild
{
	int			part;
	int			sample;			/* the look that tells its weight */
	int64		child;			/* in the part's level */
	double		rows_before;	/* estimated rows ahead of it */
} EstimateChild;

struct BtreeEstimate
{
	const WalkKey *key;
	bool		backward;		/* walk order is the reverse of index order */
	double		rows;
	int			nparts;
	EstimatePart *parts;
	int64		nchildren;
	EstimateChild *children;	/* merged, if there are several parts */
};

static List *open_parts(Relation rel, const WalkKey *key);
static void close_parts(List *parts);
static Oid	index_of_part(Relation part, Oid parent_index);
static IndexTuple first_item(EstimatePart *part);
static void weigh_part(EstimatePart *part, int nparts);
static void shrink_weights(EstimatePart *part, double mean);
static int64 first_of_sample(const EstimatePart *part, int sample);
static double child_rows(EstimatePart *part, int sample);
static void merge_children(BtreeEstimate *estimate);
static int	compare_children(const void *a, const void *b, void *arg);
static int	compare_separators(const BtreeEstimate *estimate, const EstimatePart *part_a,
							   IndexTuple a, const EstimatePart *part_b, IndexTuple b);
static IndexTuple separator_of(const BtreeEstimate *estimate, const EstimateChild *child);
static double rows_of(const BtreeEstimate *estimate, const EstimateChild *child);
static EstimateChild child_at(const BtreeEstimate *estimate, int64 i);
static double go_to_leaf(BtreeIndex *btree, BtreePage *page, BlockNumber block, double *fraction);
static Position *visible_position(BtreeIndex *btree, BtreePage *page, double fraction,
								  int64 leaves);
static bool item_visible(BtreeIndex *btree, const BtreePage *page, OffsetNumber offset);

/*
 * Read the upper pages of the index that supports this key, down to the level
 * that has about children_wanted children, at most to that above the leaves;
 * NULL if that is not sound here, as in btree_open().  ranks: the ranks of
 * positions will be asked for.  All in the current memory context.
 */
BtreeEstimate *
btree_estimate_make(Relation rel, const WalkKey *key, int64 children_wanted, bool ranks)
{
	BtreeEstimate *estimate;
	List	   *parts;
	int			i = 0;
	ListCell   *lc;

	if (!btree_caller_may_read(rel, key))
		return NULL;
	parts = open_parts(rel, key);
	if (parts == NIL)
		return NULL;

	estimate = palloc0(sizeof(BtreeEstimate));
	estimate->key = key;
	estimate->nparts = list_length(parts);
	estimate->parts = palloc(estimate->nparts * sizeof(EstimatePart));
	foreach(lc, parts)
	{
		EstimatePart *part = &estimate->parts[i++];

		*part = *(EstimatePart *) lfirst(lc);
		btree_read_level(part->btree, children_wanted, ranks || estimate->nparts > 1,
						 &part->level);
		part->first = estimate->nparts > 1 ? first_item(part) : NULL;
		weigh_part(part, estimate->nparts);
		btree_unpin(part->btree);
		estimate->rows += part->rows;
		estimate->nchildren += Max(part->level.nchildren, 1);
		estimate->backward = part->btree->backward;
	}
	if (estimate->nparts > 1)
		merge_children(estimate);
	return estimate;
}

void
btree_estimate_free(BtreeEstimate *estimate)
{
	for (int i = 0; i < estimate->nparts; i++)
	{
		btree_close(estimate->parts[i].btree);
		relation_close(estimate->parts[i].rel, NoLock);
	}
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
	int64		low = 0;
	int64		high = estimate->nchildren;
	EstimateChild found;
	const EstimatePart *part;
	double		fraction = 0.5;
	double		rank;

	/* the last child whose separator is not after the position */
	while (high - low > 1)
	{
		int64		middle = low + (high - low) / 2;
		EstimateChild child = child_at(estimate, middle);
		IndexTuple	separator = separator_of(estimate, &child);

		if (separator == NULL ||
			btree_compare(estimate->parts[child.part].btree, separator, position) <= 0)
			low = middle;
		else
			high = middle;
	}

	found = child_at(estimate, low);
	part = &estimate->parts[found.part];
	if (part->level.level == 1 && estimate->nparts == 1)
	{
		BtreePage  *page = btree_page_make();

		btree_page_read(part->btree, page,
						part->level.children[found.child].block);
		if (page->level == 0 && page->last >= page->first)
			fraction = (double) (btree_search_page(part->btree, page, position, true) - page->first) /
				(page->last - page->first + 1);
		btree_page_release(part->btree, page);
		pfree(page);
	}
	rank = found.rows_before + fraction * rows_of(estimate, &found);
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
	int64		leaves = far ? MaxBlockNumber : VISIBLE_LEAVES;
	double		place = estimate->backward ? estimate->rows - rank : rank;
	int64		low = 0;
	int64		high = estimate->nchildren;
	EstimateChild child;
	EstimatePart *part;
	double		fraction;
	BtreePage  *page;
	Position   *position = NULL;

	while (high - low > 1)
	{
		int64		middle = low + (high - low) / 2;

		if (child_at(estimate, middle).rows_before <= place)
			low = middle;
		else
			high = middle;
	}
	child = child_at(estimate, low);
	part = &estimate->parts[child.part];
	fraction = rows_of(estimate, &child) > 0 ?
		(place - child.rows_before) / rows_of(estimate, &child) : 0;
	fraction = Min(Max(fraction, 0), 1);

	/* where other partitions' pages lie between, this page is wider than the gap */
	if (low + 1 < estimate->nchildren && child_at(estimate, low + 1).part != child.part)
		fraction = 0;

	page = btree_page_make();
	if (part->level.level > 0)
	{
		go_to_leaf(part->btree, page, part->level.children[child.child].block, &fraction);
		position = visible_position(part->btree, page, fraction, leaves);
	}
	else if (btree_descend(part->btree, page, NULL))
		position = visible_position(part->btree, page, fraction, leaves);
	btree_page_release(part->btree, page);
	pfree(page);
	return position;
}

/* The parts (EstimatePart *) to read, or NIL if one of them cannot be. */
static List *
open_parts(Relation rel, const WalkKey *key)
{
	List	   *parts = NIL;
	bool		partitioned = rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
	ListCell   *lc;

	foreach(lc, partitioned ? find_all_inheritors(RelationGetRelid(rel), AccessShareLock, NULL) :
			list_make1_oid(RelationGetRelid(rel)))
	{
		Relation	part_rel = relation_open(lfirst_oid(lc), AccessShareLock);
		EstimatePart *part;

		if (part_rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		{
			relation_close(part_rel, NoLock);
			continue;
		}
		part = palloc0(sizeof(EstimatePart));
		part->rel = part_rel;
		part->btree = btree_open_part(part_rel,
									  partitioned ? index_of_part(part_rel, key->index) : key->index,
									  key);
		if (part->btree == NULL)
		{
			relation_close(part_rel, NoLock);
			close_parts(parts);
			return NIL;
		}
		parts = lappend(parts, part);
	}
	return parts;
}

static void
close_parts(List *parts)
{
	ListCell   *lc;

	foreach(lc, parts)
	{
		EstimatePart *part = lfirst(lc);

		btree_close(part->btree);
		relation_close(part->rel, NoLock);
	}
}

/* The index of a leaf partition that belongs to an index of the root. */
static Oid
index_of_part(Relation part, Oid parent_index)
{
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(part))
	{
		if (list_member_oid(get_partition_ancestors(lfirst_oid(lc)), parent_index))
			return lfirst_oid(lc);
	}
	return InvalidOid;
}

/* The first item in index order, copied; NULL if the first leaf has none. */
static IndexTuple
first_item(EstimatePart *part)
{
	BtreePage  *page = btree_page_make();
	IndexTuple	tuple = NULL;
	double		fraction = 0;

	if (part->level.level > 0)
		go_to_leaf(part->btree, page, part->level.children[0].block, &fraction);
	else
		(void) btree_descend(part->btree, page, NULL);
	if (page->last >= page->first)
		tuple = CopyIndexTuple(btree_page_item(page, page->first));
	btree_page_release(part->btree, page);
	pfree(page);
	return tuple;
}

/*
 * Look at some leaves, spread over the level: how many visible rows each has
 * tells what the children about it weigh.  Then set the rows of the part: the
 * catalog's density over the current size, unless the look contradicts it, as
 * after a mass DELETE not yet vacuumed.
 */
static void
weigh_part(EstimatePart *part, int nparts)
{
	double		sum = 0;
	double		sampled;
	BlockNumber pages;
	double		rows;
	double		all_visible;

	part->nsamples = part->level.level == 0 ? 1 :
		(int) Min(Max(SAMPLE_LEAVES / nparts, 2), part->level.nchildren);
	part->weights = palloc(part->nsamples * sizeof(double));
	for (int i = 0; i < part->nsamples; i++)
	{
		part->weights[i] = child_rows(part, i);
		sum += part->weights[i];
	}
	sampled = sum / part->nsamples * Max(part->level.nchildren, 1);
	part->rows = sampled;
	shrink_weights(part, sum / part->nsamples);
	if (part->level.level > 0 && part->rel->rd_rel->reltuples >= 0)
	{
		estimate_rel_size(part->rel, NULL, &pages, &rows, &all_visible);
		if (fabs(sampled - rows) <= rows * STALE_FRACTION)
			part->rows = rows;
	}

	/* make the weights of all children add up to the rows */
	sum = 0;
	for (int i = 0; i < part->nsamples; i++)
		sum += part->weights[i] * (first_of_sample(part, i + 1) - first_of_sample(part, i));
	for (int i = 0; i < part->nsamples; i++)
		part->weights[i] = sum > 0 ? part->weights[i] * part->rows / sum : 0;

	part->sums = palloc(part->nsamples * sizeof(double));
	sum = 0;
	for (int i = 0; i < part->nsamples; i++)
	{
		part->sums[i] = sum;
		sum += part->weights[i] * (first_of_sample(part, i + 1) - first_of_sample(part, i));
	}
}

/*
 * Believe each look only as far as neighbours agree: draw the weights towards
 * their mean by the correlation of each with the next.  After random inserts
 * one leaf says nothing of those about it, and all get the same weight; where
 * whole regions differ, the looks stand.
 */
static void
shrink_weights(EstimatePart *part, double mean)
{
	double		variance = 0;
	double		covariance = 0;
	double		correlation = 0;

	for (int i = 0; i < part->nsamples; i++)
	{
		double		deviation = part->weights[i] - mean;

		variance += deviation * deviation;
		if (i > 0)
			covariance += deviation * (part->weights[i - 1] - mean);
	}
	if (part->nsamples >= MIN_CORRELATED && variance > 0)
		correlation = Max(covariance / variance, 0);
	for (int i = 0; i < part->nsamples; i++)
		part->weights[i] = mean + correlation * (part->weights[i] - mean);
}

/* The first of the children that a sample stands for */
static int64
first_of_sample(const EstimatePart *part, int sample)
{
	return Max(part->level.nchildren, 1) * sample / part->nsamples;
}

/* The visible rows below the child in the middle of a sample's range, judged by one leaf. */
static double
child_rows(EstimatePart *part, int sample)
{
	BtreePage  *page = btree_page_make();
	int			most = part->level.level == 0 ? INT_MAX : SAMPLE_ITEMS;
	double		leaves = 1;
	int			n;
	int			looked;
	int			visible = 0;

	if (part->level.level == 0)
		(void) btree_descend(part->btree, page, NULL);
	else
	{
		double		fraction = 0.5;
		int64		child = (first_of_sample(part, sample) + first_of_sample(part, sample + 1)) / 2;

		leaves = go_to_leaf(part->btree, page, part->level.children[child].block, &fraction);
	}
	n = page->last - page->first + 1;
	for (looked = 0; looked < Min(n, most); looked++)
		if (item_visible(part->btree, page, page->first + (int64) n * looked / Min(n, most)))
			visible++;
	btree_page_release(part->btree, page);
	pfree(page);
	return looked == 0 ? 0 : leaves * n * visible / looked;
}

/* Bring all parts' children into one order and add up the rows ahead of each. */
static void
merge_children(BtreeEstimate *estimate)
{
	int64		n = 0;
	double		rows_before = 0;

	estimate->children = MemoryContextAllocHuge(CurrentMemoryContext,
												estimate->nchildren * sizeof(EstimateChild));
	for (int p = 0; p < estimate->nparts; p++)
		for (int sample = 0; sample < estimate->parts[p].nsamples; sample++)
			for (int64 c = first_of_sample(&estimate->parts[p], sample);
				 c < first_of_sample(&estimate->parts[p], sample + 1); c++)
			{
				estimate->children[n].part = p;
				estimate->children[n].sample = sample;
				estimate->children[n].child = c;
				n++;
			}
	qsort_arg(estimate->children, n, sizeof(EstimateChild), compare_children, estimate);
	for (int64 i = 0; i < n; i++)
	{
		estimate->children[i].rows_before = rows_before;
		rows_before += rows_of(estimate, &estimate->children[i]);
	}
}

static int
compare_children(const void *a, const void *b, void *arg)
{
	const BtreeEstimate *estimate = arg;
	const EstimateChild *x = a;
	const EstimateChild *y = b;
	int			order = compare_separators(estimate,
										   &estimate->parts[x->part], separator_of(estimate, x),
										   &estimate->parts[y->part], separator_of(estimate, y));

	if (order != 0)
		return order;
	if (x->part != y->part)
		return x->part < y->part ? -1 : 1;
	return x->child < y->child ? -1 : x->child > y->child ? 1 : 0;
}

/* In index order; what is missing or truncated comes first. */
static int
compare_separators(const BtreeEstimate *estimate, const EstimatePart *part_a,
				   IndexTuple a, const EstimatePart *part_b, IndexTuple b)
{
	int			natts_a = a == NULL ? 0 : BTreeTupleGetNAtts(a, part_a->btree->index);
	int			natts_b = b == NULL ? 0 : BTreeTupleGetNAtts(b, part_b->btree->index);

	for (int i = 0; i < estimate->key->ncolumns; i++)
	{
		bool		null_a;
		bool		null_b;
		Datum		value_a;
		Datum		value_b;
		int			order;

		if (i >= natts_a || i >= natts_b)
			return (i < natts_a) - (i < natts_b);
		value_a = index_getattr(a, i + 1, RelationGetDescr(part_a->btree->index), &null_a);
		value_b = index_getattr(b, i + 1, RelationGetDescr(part_b->btree->index), &null_b);
		order = key_compare_datums(&estimate->key->columns[i], value_a, null_a, value_b, null_b);
		if (order != 0)
			return (order < 0) != estimate->backward ? -1 : 1;
	}
	return 0;
}

/* The lower bound of a child, or NULL if it is not known. */
static IndexTuple
separator_of(const BtreeEstimate *estimate, const EstimateChild *child)
{
	const EstimatePart *part = &estimate->parts[child->part];

	return child->child == 0 ? part->first : part->level.children[child->child].separator;
}

static double
rows_of(const BtreeEstimate *estimate, const EstimateChild *child)
{
	return estimate->parts[child->part].weights[child->sample];
}

/* The i-th child in index order. */
static EstimateChild
child_at(const BtreeEstimate *estimate, int64 i)
{
	const EstimatePart *part = &estimate->parts[0];
	EstimateChild child = {0};

	if (estimate->children != NULL)
		return estimate->children[i];
	child.child = i;
	child.sample = (int) (i * part->nsamples / Max(part->level.nchildren, 1));
	while (first_of_sample(part, child.sample + 1) <= i)
		child.sample++;
	child.rows_before = part->sums[child.sample] +
		part->weights[child.sample] * (i - first_of_sample(part, child.sample));
	return child;
}

/*
 * Go down from a child page to a leaf, taking the downlink at the fraction each
 * time.  Returns about how many leaves there are below that child.
 */
static double
go_to_leaf(BtreeIndex *btree, BtreePage *page, BlockNumber block, double *fraction)
{
	double		leaves = 1;

	for (;;)
	{
		double		place;
		int			n;

		btree_page_read(btree, page, block);
		while (page->ignore && btree_page_step_right(btree, page))
			;
		n = page->last - page->first + 1;
		if (page->level == 0 || n <= 0)
			return leaves;
		leaves *= n;
		place = Min(*fraction * n, n - 1);
		*fraction = Min(Max(*fraction * n - (int) place, 0), 1);
		block = BTreeTupleGetDownLink(btree_page_item(page, page->first + (int) place));
	}
}

/*
 * The position of the first visible row, in walk order, from the fraction of
 * this leaf on; NULL if there is none on that many leaves.
 */
static Position *
visible_position(BtreeIndex *btree, BtreePage *page, double fraction, int64 leaves)
{
	int			n = page->last - page->first + 1;
	int			step = btree->backward ? -1 : 1;
	int			offset = page->first + Max(Min((int) (fraction * n), n - 1), 0);

	for (; leaves > 0; leaves--)
	{
		for (; offset >= page->first && offset <= page->last; offset += step)
			if (item_visible(btree, page, offset))
			{
				Position   *position = position_make(btree->key);

				btree_position(btree, btree_page_item(page, offset), position);
				return position;
			}
		if (!(btree->backward ? btree_page_step_left(btree, page) :
			  btree_page_step_right(btree, page)))
			break;
		offset = btree->backward ? page->last : page->first;
	}
	return NULL;
}

static bool
item_visible(BtreeIndex *btree, const BtreePage *page, OffsetNumber offset)
{
	IndexTuple	tuple = btree_page_item(page, offset);
	ItemPointer tid = &tuple->t_tid;
	int			ntids = 1;
	BlockNumber block;

	if (btree_item_is_dead(btree, page, offset))
		return false;
	if (BTreeTupleIsPosting(tuple))
	{
		tid = BTreeTupleGetPosting(tuple);
		ntids = BTreeTupleGetNPosting(tuple);
	}
	for (int i = 0; i < ntids; i++)
		if (btree_tid_visible(btree, &tid[i], &block))
			return true;
	return false;
}
