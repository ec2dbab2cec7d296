/*
 * btree_partitions.c
 *		Counting along a relation's indexes, those of its partitions if it has any.
 *
 * Where partitions follow each other in the key's order, they are opened and
 * counted one after the other, from the one that the range starts in to the one
 * where enough has been counted; of a default partition, what lies between two of
 * the others comes when the second of them is reached.  Where they do
 * not, those below are merged (btree_merge.c).  Only to count them all, no order
 * is needed.
 *
 * Locks are taken from the top down, as a query takes them: the parent is locked
 * by the caller, a partition when it is reached; all are held until the
 * transaction ends.  Which partitions there are, the active snapshot decides.
 * One that is gone all the same, or cannot be read directly, ends the attempt: a
 * query will say what becomes of it.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "partitioning/partdesc.h"
#include "utils/rel.h"

#include "btree/btree_merge.h"
#include "btree/btree_partitions.h"
#include "key/direct_read.h"
#include "key/partition_order.h"

/* A count in progress */
typedef struct Counter
{
	/* fixed */
	const WalkKey *key;
	BtreeEnds  *ends;			/* NULL: only count */

	/* changing */
	int64		rows;			/* since the last end */
	int64		size;			/* rows up to the next end; 0: none is wanted */
} Counter;

/* What became of a part of the count */
typedef enum Counted
{
	COUNTED_ALL,
	COUNTED_ENOUGH,				/* there are no more ends wanted */
	CANNOT_COUNT				/* by reading indexes directly */
} Counted;

static Counted count_one(Counter *counter, Relation rel, Oid index, const Position *after,
						 const Position *upto);
static Counted count_table(Counter *counter, BtreeIndex *btree, const Position *after,
						   const Position *upto);
static Counted count_each(Counter *counter, Relation rel, Oid index, PartitionOrder *order,
						  const Position *after, const Position *upto);
static Counted count_ordered(Counter *counter, Relation rel, Oid index, PartitionOrder *order,
							 const Position *after, const Position *upto);
static Counted count_merged(Counter *counter, Relation rel, Oid index, const Position *after,
							const Position *upto);
static Counted count_part(Counter *counter, Oid part, Relation root, Oid root_index,
						  const Position *after, const Position *upto);
static Counted first_of_part(const Counter *counter, Oid part, Relation root, Oid root_index,
							 const Position *after, const Position *upto, Position **first);
static int64 size_one(void *arg, int number);
static void begin_ends(Counter *counter, BtreeEnds *ends);
static bool add_end(Counter *counter, Position *position, bool go_on);
static bool find_last(const WalkKey *key, Relation rel, Oid index, const Position *after,
					  const Position *upto, Position **last);
static bool find_last_of_part(const WalkKey *key, Oid part, Relation root, Oid root_index,
							  const Position *after, const Position *upto, Position **last);
static Relation open_part(Oid part, Relation root, Oid root_index, Oid *index);

/*
 * Count off the visible rows after "after" and up to "upto" (NULL: unbounded) in
 * walk order.  False if reading indexes directly is not sound here, or, in a
 * partition, found not to be so before the first end.  Ends go into the current
 * memory context; ends->ends has room for ends->most.
 */
bool
btree_find_ends(Relation rel, const WalkKey *key, const Position *after,
				const Position *upto, BtreeEnds *ends)
{
	Counter		counter = {.key = key};
	Counted		counted;

	ends->nends = 0;
	ends->rest = 0;
	ends->over = false;
	if (!key->unique || !direct_read_allowed(rel, key, DIRECT_READ_KEY))
		return false;
	begin_ends(&counter, ends);
	counted = count_one(&counter, rel, key->index, after, upto);
	ends->over = (counted == COUNTED_ALL);
	ends->rest = counter.rows;
	return counted != CANNOT_COUNT || ends->nends > 0;
}

/* The number of those rows; false as above. */
bool
btree_count_rows(Relation rel, const WalkKey *key, const Position *after,
				 const Position *upto, int64 *rows)
{
	Counter		counter = {.key = key};

	if (!key->unique || !direct_read_allowed(rel, key, DIRECT_READ_KEY) ||
		count_one(&counter, rel, key->index, after, upto) == CANNOT_COUNT)
		return false;
	*rows = counter.rows;
	return true;
}

/* The position of the last of them, NULL if there is none; false as above, but the key need not be unique. */
bool
btree_find_last(Relation rel, const WalkKey *key, const Position *after,
				const Position *upto, Position **last)
{
	*last = NULL;
	return direct_read_allowed(rel, key, DIRECT_READ_KEY) && find_last(key, rel, key->index, after, upto, last);
}

/* ----------------------------------------------------------------- counting */

/* Count a table, or the partitions of one. */
static Counted
count_one(Counter *counter, Relation rel, Oid index, const Position *after, const Position *upto)
{
	PartitionOrder *order;
	BtreeIndex *btree;
	Counted		counted;

	check_stack_depth();
	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
	{
		order = partition_order_begin(RelationGetRelid(rel), counter->key, after, upto, false);
		counted = counter->ends == NULL ? count_each(counter, rel, index, order, after, upto) :
			order != NULL ? count_ordered(counter, rel, index, order, after, upto) :
			count_merged(counter, rel, index, after, upto);
		if (order != NULL)
			partition_order_end(order);
		return counted;
	}
	btree = btree_open_part(rel, index, counter->key);
	if (btree == NULL)
		return CANNOT_COUNT;
	counted = count_table(counter, btree, after, upto);
	btree_close(btree);
	return counted;
}

static Counted
count_table(Counter *counter, BtreeIndex *btree, const Position *after, const Position *upto)
{
	for (;;)
	{
		BtreeCount	count;

		btree_count(btree, after, upto,
					counter->ends == NULL ? PG_INT64_MAX : counter->size - counter->rows, &count);
		counter->rows += count.rows;
		if (!count.ended)
			return COUNTED_ALL;
		if (!add_end(counter, count.end, false))
			return COUNTED_ENOUGH;
		after = count.end;
	}
}

/* Add up the partitions' rows, those in the range; order: that they are in, or NULL. */
static Counted
count_each(Counter *counter, Relation rel, Oid index, PartitionOrder *order,
		   const Position *after, const Position *upto)
{
	List	   *parts = NIL;
	ListCell   *lc;
	Counted		counted = COUNTED_ALL;

	if (order != NULL)
	{
		OrderedPart part;

		/* a default partition may come several times */
		while (partition_order_next(order, &part))
			parts = part.is_default ? list_append_unique_oid(parts, part.relid) :
				lappend_oid(parts, part.relid);
	}
	else
	{
		PartitionDesc desc = RelationGetPartitionDesc(rel, true);

		for (int i = 0; i < desc->nparts; i++)
			parts = lappend_oid(parts, desc->oids[i]);
	}
	foreach(lc, parts)
	{
		counted = count_part(counter, lfirst_oid(lc), rel, index, after, upto);
		if (counted != COUNTED_ALL)
			break;
	}
	list_free(parts);
	return counted;
}

/*
 * Count partitions that follow each other.  Rows of a default partition that
 * come now are counted when it is seen where they end: before the first row of the
 * partition that comes next.
 */
static Counted
count_ordered(Counter *counter, Relation rel, Oid index, PartitionOrder *order,
			  const Position *after, const Position *upto)
{
	const Position *passed = after; /* of default partitions, all up to here */
	Oid			pending = InvalidOid;	/* one that has rows before what comes next */
	OrderedPart part;
	Counted		counted = COUNTED_ALL;

	while (counted == COUNTED_ALL && partition_order_next(order, &part))
	{
		Position   *first = NULL;

		if (part.relid == pending)
			continue;
		if (part.is_default || OidIsValid(pending))
		{
			counted = first_of_part(counter, part.relid, rel, index,
									part.is_default ? passed : after, upto, &first);
			if (first == NULL)
			{
				if (part.is_default && counted == COUNTED_ALL)
					partition_order_no_more_default(order);
				continue;
			}
			if (part.is_default && !partition_order_is_due(order, first))
				continue;
			if (OidIsValid(pending))
			{
				counted = count_part(counter, pending, rel, index, passed, first);
				pending = InvalidOid;
				if (!part.is_default)
					passed = first;
			}
			if (part.is_default)
			{
				pending = part.relid;
				continue;
			}
		}
		if (counted == COUNTED_ALL)
			counted = count_part(counter, part.relid, rel, index, after, upto);
	}
	if (counted == COUNTED_ALL && OidIsValid(pending))
		counted = count_part(counter, pending, rel, index, passed, upto);
	return counted;
}

/* Count off rows of all partitions below. */
static Counted
count_merged(Counter *counter, Relation rel, Oid index, const Position *after, const Position *upto)
{
	BtreeParts *parts = btree_open_leaves(rel, index, counter->key);
	BtreeMerge *merge;
	int64		passed = 0;
	int64		read;
	Counted		counted;

	if (parts == NULL)
		return CANNOT_COUNT;
	merge = btree_merge_begin(parts, counter->key, after, upto);

	/* the next attempt would read these again, and from there on */
	read = btree_merge_at_hand(merge);
	for (;;)
	{
		int64		rows;
		bool		ended = btree_merge_go(merge, counter->size - counter->rows, &rows);

		counter->rows += rows;
		passed += rows;
		if (!ended || !add_end(counter, btree_merge_position(merge), passed < read))
		{
			counted = ended ? COUNTED_ENOUGH : COUNTED_ALL;
			break;
		}
	}
	btree_merge_end(merge);
	btree_close_parts(parts);
	return counted;
}

/* Count what is below a table, of whose index its own is part. */
static Counted
count_part(Counter *counter, Oid part, Relation root, Oid root_index,
		   const Position *after, const Position *upto)
{
	Oid			index;
	Relation	rel = open_part(part, root, root_index, &index);
	Counted		counted;

	if (rel == NULL)
		return CANNOT_COUNT;
	counted = count_one(counter, rel, index, after, upto);
	relation_close(rel, NoLock);
	return counted;
}

/* The first row of a partition in the range, NULL if there is none; never COUNTED_ENOUGH. */
static Counted
first_of_part(const Counter *counter, Oid part, Relation root, Oid root_index,
			  const Position *after, const Position *upto, Position **first)
{
	Counter		one = {.key = counter->key};
	BtreeEnd	end;
	BtreeEnds	ends = {.enough = 1,.most = 1,.size = size_one,.ends = &end};
	Counted		counted;

	begin_ends(&one, &ends);
	counted = count_part(&one, part, root, root_index, after, upto);
	*first = ends.nends > 0 ? end.position : NULL;
	return counted == CANNOT_COUNT ? CANNOT_COUNT : COUNTED_ALL;
}

static int64
size_one(void *arg, int number)
{
	(void) arg;
	(void) number;
	return 1;
}

static void
begin_ends(Counter *counter, BtreeEnds *ends)
{
	counter->ends = ends;
	counter->size = ends->size(ends->arg, 0);
}

/* The row counted last is an end.  False: no more are wanted.  go_on: though there are enough. */
static bool
add_end(Counter *counter, Position *position, bool go_on)
{
	BtreeEnds  *ends = counter->ends;

	ends->ends[ends->nends].position = position;
	ends->ends[ends->nends].rows = counter->rows;
	counter->rows = 0;
	ends->nends++;
	if (ends->nends >= ends->most || (ends->nends >= ends->enough && !go_on))
		return false;
	counter->size = ends->size(ends->arg, ends->nends);
	return counter->size > 0;
}

/* ------------------------------------------------------------------ the last */

static bool
find_last(const WalkKey *key, Relation rel, Oid index, const Position *after,
		  const Position *upto, Position **last)
{
	PartitionOrder *order;
	BtreeIndex *btree;
	bool		sound = true;

	check_stack_depth();
	*last = NULL;
	if (rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
	{
		btree = btree_open_part(rel, index, key);
		if (btree == NULL)
			return false;
		*last = btree_last_of_index(btree, after, upto);
		btree_close(btree);
		return true;
	}
	order = partition_order_begin(RelationGetRelid(rel), key, after, upto, true);
	if (order != NULL)
	{
		OrderedPart part;

		while (sound && *last == NULL && partition_order_next(order, &part))
		{
			sound = find_last_of_part(key, part.relid, rel, index, after, upto, last);
			if (!part.is_default)
				continue;
			if (*last == NULL)
				partition_order_no_more_default(order);
			else if (!partition_order_is_due(order, *last))
				*last = NULL;
		}
		partition_order_end(order);
	}
	else
	{
		PartitionDesc desc = RelationGetPartitionDesc(rel, true);

		for (int i = 0; i < desc->nparts && sound; i++)
		{
			Position   *found;

			sound = find_last_of_part(key, desc->oids[i], rel, index, after, upto, &found);
			if (found != NULL && (*last == NULL || position_compare(key, found, *last) > 0))
				*last = found;
		}
	}
	return sound;
}

static bool
find_last_of_part(const WalkKey *key, Oid part, Relation root, Oid root_index,
				  const Position *after, const Position *upto, Position **last)
{
	Oid			index;
	Relation	rel = open_part(part, root, root_index, &index);
	bool		sound;

	*last = NULL;
	if (rel == NULL)
		return false;
	sound = find_last(key, rel, index, after, upto, last);
	relation_close(rel, NoLock);
	return sound;
}

/* ------------------------------------------------------------------ opening */

/*
 * Open what is below a partitioned table, and find its part of that table's
 * index, or InvalidOid; NULL if it is gone.
 */
static Relation
open_part(Oid part, Relation root, Oid root_index, Oid *index)
{
	Relation	rel;

	CHECK_FOR_INTERRUPTS();
	rel = try_relation_open(part, AccessShareLock);
	if (rel == NULL)
		return NULL;
	*index = index_get_partition(rel, root_index);
	if (!OidIsValid(*index) && rel->rd_rel->relispartition)
	{
		Oid			parent = get_partition_parent(part, true);

		/* it is further below, and what lies between is locked by now */
		if (parent != RelationGetRelid(root))
		{
			Oid			parent_index;
			Relation	parent_rel = open_part(parent, root, root_index, &parent_index);

			if (parent_rel != NULL)
			{
				if (OidIsValid(parent_index))
					*index = index_get_partition(rel, parent_index);
				relation_close(parent_rel, NoLock);
			}
		}
	}
	return rel;
}
