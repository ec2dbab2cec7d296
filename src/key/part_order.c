/*
 * part_order.c
 *		Whether a table's partitions follow each other in the order of a key.
 *
 * They do if they are by range or list of the leading columns of the key,
 * compared as the key compares them, all in one direction: then all rows of one
 * are before all rows of the next.  The same conditions let the planner put an
 * Append in the place of a MergeAppend (partitions_are_ordered() in the server's
 * partbounds.c); but we can do with a default partition as well, whose rows
 * are in the gaps that the others leave.
 *
 * Which partitions there are depends on the active snapshot, as for a query
 * that is planned under it: one being detached concurrently counts for some.
 */
#include "postgres.h"

#include "catalog/partition.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "utils/partcache.h"
#include "utils/rel.h"

#include "key/part_order.h"

static bool follows_key(Relation rel, const WalkKey *key);
static bool have_no_overlap(const PartitionDescData *desc);
static bool is_only_null(const PartitionBoundInfoData *bounds);
static int	place_of(Relation rel, const WalkKey *key, const PartOrder *order,
					 const Position *position, bool first);
static int	number_by_range(PartitionKey partition_key, PartitionBoundInfo bounds, int nparts,
							const Position *position, bool upwards);
static int	number_by_list(PartitionKey partition_key, PartitionBoundInfo bounds, int nparts,
						   Datum value, bool upwards);

/*
 * The order of a partitioned table's partitions, in the current memory context;
 * NULL if their rows may be in any order.  What it says of partitions is good for
 * as long as the table is locked and the snapshot the same.
 */
PartOrder *
part_order(Relation rel, const WalkKey *key)
{
	PartitionDesc desc = RelationGetPartitionDesc(rel, true);
	PartitionBoundInfo bounds = desc->boundinfo;
	PartOrder  *order;
	int			nvalues;		/* partitions that hold anything but nulls alone */

	if (!follows_key(rel, key) || (desc->nparts > 0 && !have_no_overlap(desc)))
		return NULL;
	order = palloc0(sizeof(PartOrder));
	order->desc = desc;
	if (desc->nparts == 0)
		return order;

	/* the server numbers them by their bounds, then the one of nulls, then the default one */
	order->parts = palloc(desc->nparts * sizeof(Oid));
	nvalues = desc->nparts - (partition_bound_has_default(bounds) ? 1 : 0);
	if (partition_bound_has_default(bounds))
		order->default_part = desc->oids[bounds->default_index];
	if (is_only_null(bounds))
	{
		nvalues--;
		if (key->columns[0].nulls_first)
			order->parts[order->nparts++] = desc->oids[bounds->null_index];
	}
	for (int i = 0; i < nvalues; i++)
		order->parts[order->nparts++] = desc->oids[key->columns[0].descending ? nvalues - 1 - i : i];
	if (is_only_null(bounds) && !key->columns[0].nulls_first)
		order->parts[order->nparts++] = desc->oids[bounds->null_index];
	return order;
}

/* Is the partition key a prefix of the key, with the same order? */
static bool
follows_key(Relation rel, const WalkKey *key)
{
	PartitionKey partition_key = RelationGetPartitionKey(rel);

	if ((partition_key->strategy != PARTITION_STRATEGY_RANGE &&
		 partition_key->strategy != PARTITION_STRATEGY_LIST) ||
		partition_key->partnatts > key->ncolumns)
		return false;
	for (int i = 0; i < partition_key->partnatts; i++)
	{
		const KeyColumn *column = &key->columns[i];
		AttrNumber	attnum = partition_key->partattrs[i];

		/* a table's own attribute numbers may differ from its parent's */
		if (attnum <= 0 ||
			strcmp(NameStr(TupleDescAttr(RelationGetDescr(rel), attnum - 1)->attname), column->name) != 0 ||
			partition_key->partopfamily[i] != column->opfamily ||
			partition_key->partcollation[i] != column->collation ||
			column->descending != key->columns[0].descending)
			return false;
	}
	return true;
}

/*
 * Is no value of one partition between two of another?  Of lists, the server
 * marks those that may be so, but for the default one it marks only that itself.
 */
static bool
have_no_overlap(const PartitionDescData *desc)
{
	PartitionBoundInfo bounds = desc->boundinfo;

	if (bounds->strategy != PARTITION_STRATEGY_LIST)
		return true;
	if (partition_bound_has_default(bounds))
		return bounds->ndatums + partition_bound_accepts_nulls(bounds) + 1 == desc->nparts;
	return bms_is_empty(bounds->interleaved_parts);
}

/* Is there a partition that holds nulls alone? */
static bool
is_only_null(const PartitionBoundInfoData *bounds)
{
	if (!partition_bound_accepts_nulls(bounds))
		return false;
	for (int i = 0; i < bounds->nindexes; i++)
		if (bounds->indexes[i] == bounds->null_index)
			return false;
	return true;
}

/*
 * The partitions, but for the default one, that may hold rows after "after" and
 * up to "upto" (NULL: unbounded): from *first to *last; none if *first is
 * greater.
 */
void
part_order_range(Relation rel, const WalkKey *key, const PartOrder *order,
				 const Position *after, const Position *upto, int *first, int *last)
{
	*first = after == NULL || order->nparts == 0 ? 0 : place_of(rel, key, order, after, true);
	*last = upto == NULL || order->nparts == 0 ? order->nparts - 1 :
		place_of(rel, key, order, upto, false);
}

/*
 * The partition, by its place in walk order, that holds this position; else the
 * first after it or, without "first", the last before it.  May name one too far on
 * the safe side.
 */
static int
place_of(Relation rel, const WalkKey *key, const PartOrder *order,
		 const Position *position, bool first)
{
	PartitionKey partition_key = RelationGetPartitionKey(rel);
	PartitionBoundInfo bounds = order->desc->boundinfo;
	const KeyColumn *column = &key->columns[0];
	bool		nulls = is_only_null(bounds);
	int			nvalues = order->nparts - (nulls ? 1 : 0);
	int			before = nulls && column->nulls_first ? 1 : 0;
	bool		upwards = first != column->descending;
	int			number;

	/* of values and nulls together, there can only be one */
	if (partition_bound_accepts_nulls(bounds) && !nulls)
		return first ? 0 : order->nparts - 1;
	if (position->nulls[0])
		return column->nulls_first ? (first || nulls ? 0 : -1) :
			(!first || nulls ? order->nparts - 1 : order->nparts);
	if (nvalues == 0)
		return first ? before : before - 1;
	for (int i = 1; i < partition_key->partnatts; i++)
		if (position->nulls[i])
			return first ? 0 : order->nparts - 1;
	number = partition_key->strategy == PARTITION_STRATEGY_RANGE ?
		number_by_range(partition_key, bounds, nvalues, position, upwards) :
		number_by_list(partition_key, bounds, nvalues, position->values[0], upwards);
	return before + (column->descending ? nvalues - 1 - number : number);
}

/*
 * The number of the partition whose range holds the position; else of the next,
 * upwards or downwards by bound; nparts or -1 if there is none.
 */
static int
number_by_range(PartitionKey partition_key, PartitionBoundInfo bounds, int nparts,
				const Position *position, bool upwards)
{
	bool		is_equal;
	int			at = 1 + partition_range_datum_bsearch(partition_key->partsupfunc,
													   partition_key->partcollation, bounds,
													   partition_key->partnatts,
													   position->values, &is_equal);

	/* the ranges are those below each bound, and one above the last; some are of no partition */
	while (at >= 0 && at < bounds->nindexes && bounds->indexes[at] < 0)
		at += upwards ? 1 : -1;
	return at < 0 ? -1 : at >= bounds->nindexes ? nparts : bounds->indexes[at];
}

/* The same by list, of the value or the next one that is in a list. */
static int
number_by_list(PartitionKey partition_key, PartitionBoundInfo bounds, int nparts,
			   Datum value, bool upwards)
{
	bool		is_equal;
	int			at = partition_list_bsearch(partition_key->partsupfunc,
											partition_key->partcollation, bounds, value, &is_equal);

	if (upwards && (at < 0 || !is_equal))
		at++;
	return at < 0 ? -1 : at >= bounds->nindexes ? nparts : bounds->indexes[at];
}
