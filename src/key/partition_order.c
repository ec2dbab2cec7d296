/*
 * partition_order.c
 *		The partitions of a table in the order of a key, one after the other.
 *
 * Where the leading columns of a key are those by which a table is partitioned, in
 * ranges or lists of the same operator family and collation, the values of the
 * key's order fall into a row of slots: for ranges one for each, and one for each gap
 * between two; for lists one for each value and one for each gap; and one for
 * nulls, at the end where the key has them.  All rows of a slot are in one
 * partition, and no row of it shares its leading columns with one of another slot.  So a
 * walk goes from slot to slot, and meets one partition at a time.  A gap belongs
 * to the default partition, if there is one.
 *
 * Each level of partitions is judged by itself.  One whose slots the key does not
 * see (hash, other columns, a list partition with values on both sides of another's)
 * is handed out whole, to be merged by whoever reads it.  Within a list partition of
 * one value the key's next column leads.
 *
 * The descriptors are those of the active snapshot when a level is reached, and stay.
 * Locks: a level before its partitions, each when it is handed out.  Since a table is
 * locked when its descriptor is read, none of the partitions in that can
 * be dropped or wholly detached before the transaction ends.
 *
 * Source: partition_range_datum_bsearch() and create_list_bounds() in partbounds.c.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/resowner.h"

#include "base/compat.h"
#include "key/partition_order.h"

/* Partitioned tables below each other; those further down are handed out whole */
#define MAX_LEVELS 8

/* A partitioned table on the way; its slots are numbered in walk order */
typedef struct Level
{
	PartitionKey key;
	PartitionDesc desc;
	int			column;			/* of the walk's key, that is the partition key's first */
	int			ncolumns;		/* leading ones that are the walk's, too */
	bool		reverse;		/* walk order is against that of the bounds */
	bool		nulls_first;	/* in walk order */
	bool		has_nulls;		/* the first column may hold them */

	/* what of it is to be visited */
	bool		holds_after;
	bool		holds_upto;
	bool		after_vague;	/* nulls in "after" leave open which slot it is in; */
	bool		upto_vague;		/* those are the first and last that it may be in */
	int			first_slot;
	int			last_slot;

	/* changing */
	int			slot;			/* at hand */
	int			given;			/* partition that was handed out last, or -1 */
	bool		default_known;	/* the default partition has no row that is due */
	int			default_slot;	/* before this one */
} Level;

struct PartitionOrder
{
	ResourceOwner owner;		/* of the directory's pins */
	PartitionDirectory directory;
	const WalkKey *walk_key;
	const Position *after;
	const Position *upto;
	bool		backward;
	List	   *filter;			/* see partition_order_set_filter() */
	MemoryContext scratch;		/* with that */
	int			nlevels;
	Level		levels[MAX_LEVELS];
};

static bool judge_level(Level *level, Relation rel, const WalkKey *walk_key, int column);
static bool prefix_tells_bounds(const Level *level);
static bool list_is_ordered(const Level *level);
static bool default_is_ordered(const Level *level, Relation rel);
static bool enter_level(PartitionOrder *order, Relation rel, int column, bool holds_after,
						bool holds_upto);
static int	bound_slots(const Level *level);
static int	null_slot(const Level *level);
static int	slot_of_bound(const Level *level, int bound);
static int	partition_of_slot(const Level *level, int slot);
static int	partition_around(const Level *level, int slot);
static bool is_vague(const Level *level, const Position *position);
static int	slot_of(const Level *level, const Position *position, bool earliest);
static int	range_bound(const Level *level, const Datum *values, int nvalues, bool lowest);
static bool has_one_value(const Level *level, int partition);
static bool step(const PartitionOrder *order, Level *level);
static bool bounds_refute_filter(PartitionOrder *order, const Level *level);
static List *slot_clauses(const WalkKey *walk_key, const Level *level);
static NullTest *make_null_test(Var *var, NullTestType type);
static Expr *compare_column(const Level *level, const KeyColumn *column, Var *var,
							StrategyNumber strategy, Datum value);
static bool descend(PartitionOrder *order, const Level *level, Relation rel, const OrderedPart *part);

/* Do the partitions of this table, which is locked, come one after the other? */
bool
partition_order_is_known(Relation rel, const WalkKey *key)
{
	Level		level = {0};
	MemoryContext scratch;		/* for a descriptor that is made */
	MemoryContext context;
	bool		known;

	if (rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		return false;
	scratch = AllocSetContextCreate(CurrentMemoryContext, "pg_chunked partitions", ALLOCSET_DEFAULT_SIZES);
	context = MemoryContextSwitchTo(scratch);
	level.desc = RelationGetPartitionDesc(rel, true);
	known = judge_level(&level, rel, key, 0);
	MemoryContextSwitchTo(context);
	MemoryContextDelete(scratch);
	return known;
}

/*
 * Begin to go through the partitions of this table, which is locked, that may hold
 * rows after "after" and up to "upto" (or sharing its position), in walk order or
 * backwards.  In the current memory context; key and positions must stay.
 * NULL: they do not come one after the other.
 */
PartitionOrder *
partition_order_begin(Oid relid, const WalkKey *key, const Position *after,
					  const Position *upto, bool backward)
{
	PartitionOrder *order = palloc0(sizeof(PartitionOrder));
	Relation	rel = relation_open(relid, NoLock);
	bool		entered;

	order->owner = CurrentResourceOwner;
	order->directory = CreatePartitionDirectory(CurrentMemoryContext, true);
	order->walk_key = key;
	order->after = after;
	order->upto = upto;
	order->backward = backward;
	entered = rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE &&
		enter_level(order, rel, 0, after != NULL, upto != NULL);
	relation_close(rel, NoLock);
	if (entered)
		return order;
	partition_order_end(order);
	return NULL;
}

/*
 * Pass over those whose bounds show that no row in them satisfies this filter: immutable
 * clauses of an AND about relation number 1, which must stay.
 */
void
partition_order_set_filter(PartitionOrder *order, List *filter)
{
	order->filter = filter;
	order->scratch = AllocSetContextCreate(CurrentMemoryContext, "pg_chunked partition bounds", ALLOCSET_SMALL_SIZES);
}

/* Lock the next partition; false if there is none.  Error: 55000 it has been dropped meanwhile. */
bool
partition_order_next(PartitionOrder *order, OrderedPart *part)
{
	while (order->nlevels > 0)
	{
		Level	   *level = &order->levels[order->nlevels - 1];
		Relation	rel;
		bool		entered;

		CHECK_FOR_INTERRUPTS();
		if (!step(order, level))
		{
			order->nlevels--;
			continue;
		}
		if (order->filter != NIL && bounds_refute_filter(order, level))
			continue;
		part->relid = level->desc->oids[level->given];
		part->is_default = level->given == level->desc->boundinfo->default_index;
		part->holds_after = level->holds_after && (level->after_vague || part->is_default ||
												   level->given == partition_around(level, level->first_slot));
		part->holds_upto = level->holds_upto && (level->upto_vague || part->is_default ||
												 level->given == partition_around(level, level->last_slot));
		rel = try_relation_open(part->relid, AccessShareLock);
		/* with its parent locked, nobody else can */
		if (rel == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("a partition has been dropped by this transaction while its table was being read"),
					 errhint("Close the cursor first, or read on after the transaction.")));
		part->relkind = rel->rd_rel->relkind;
		entered = part->relkind == RELKIND_PARTITIONED_TABLE && descend(order, level, rel, part);
		relation_close(rel, NoLock);
		if (!entered)
			return true;
	}
	return false;
}

/*
 * Is this position, of a row of the default partition that was handed out last, before
 * the next partition?  If not, the default one is handed out again when the place
 * of that row is reached.
 */
bool
partition_order_is_due(PartitionOrder *order, const Position *position)
{
	Level	   *level = &order->levels[order->nlevels - 1];
	int			slot = slot_of(level, position, true);

	if (slot == level->slot)
		return true;
	level->default_known = true;
	level->default_slot = slot;
	return false;
}

/* The default partition that was handed out last has no more rows in the range. */
void
partition_order_no_more_default(PartitionOrder *order)
{
	Level	   *level = &order->levels[order->nlevels - 1];

	level->default_known = true;
	level->default_slot = order->backward ? -1 : INT_MAX;
}

void
partition_order_end(PartitionOrder *order)
{
	ResourceOwner owner = CurrentResourceOwner;

	CurrentResourceOwner = order->owner;
	DestroyPartitionDirectory(order->directory);
	CurrentResourceOwner = owner;
	pfree(order);
}

/* Go down into a partition that is partitioned itself, if its own ones come one after the other. */
static bool
descend(PartitionOrder *order, const Level *level, Relation rel, const OrderedPart *part)
{
	return !part->is_default &&
		enter_level(order, rel, level->column + (has_one_value(level, level->given) ? 1 : 0),
					part->holds_after, part->holds_upto);
}

static bool
enter_level(PartitionOrder *order, Relation rel, int column, bool holds_after, bool holds_upto)
{
	Level	   *level = &order->levels[order->nlevels];
	ResourceOwner owner = CurrentResourceOwner;

	if (order->nlevels == MAX_LEVELS)
		return false;
	memset(level, 0, sizeof(Level));
	CurrentResourceOwner = order->owner;
	level->desc = PartitionDirectoryLookup(order->directory, rel);
	CurrentResourceOwner = owner;
	if (!judge_level(level, rel, order->walk_key, column))
		return false;

	level->holds_after = holds_after;
	level->holds_upto = holds_upto;
	level->after_vague = holds_after && is_vague(level, order->after);
	level->upto_vague = holds_upto && is_vague(level, order->upto);
	level->given = -1;
	level->first_slot = holds_after ? slot_of(level, order->after, true) : 0;
	level->last_slot = holds_upto ? slot_of(level, order->upto, false) : bound_slots(level);
	level->slot = order->backward ? level->last_slot + 1 : level->first_slot - 1;
	order->nlevels++;
	return true;
}

/* Does the key's order, from this column on, show in the partitions of rel? */
static bool
judge_level(Level *level, Relation rel, const WalkKey *walk_key, int column)
{
	PartitionKey key = RelationGetPartitionKey(rel);
	const KeyColumn *first = &walk_key->columns[column];
	int			n = 0;

	if (level->desc->nparts == 0 ||
		(key->strategy != PARTITION_STRATEGY_RANGE && key->strategy != PARTITION_STRATEGY_LIST))
		return false;
	for (; n < key->partnatts && column + n < walk_key->ncolumns; n++)
	{
		const KeyColumn *key_column = &walk_key->columns[column + n];
		AttrNumber	attnum = key->partattrs[n];

		/* by name, since a partition may have its columns in another order */
		if (attnum == 0 ||
			strcmp(NameStr(TupleDescAttr(RelationGetDescr(rel), attnum - 1)->attname), key_column->name) != 0 ||
			key->partopfamily[n] != key_column->opfamily ||
			key->partcollation[n] != key_column->collation ||
			key_column->descending != first->descending)
			break;
	}
	if (n == 0)
		return false;

	level->key = key;
	level->column = column;
	level->ncolumns = n;
	level->reverse = first->descending;
	level->nulls_first = first->nulls_first;
	level->has_nulls = first->nullable;
	if (key->strategy == PARTITION_STRATEGY_LIST ? !list_is_ordered(level) : !prefix_tells_bounds(level))
		return false;
	return !partition_bound_has_default(level->desc->boundinfo) || default_is_ordered(level, rel);
}

/*
 * Does no range end amid rows that share the columns that are the walk's?  Not if
 * all bounds are open from the next column on.
 */
static bool
prefix_tells_bounds(const Level *level)
{
	PartitionBoundInfo bounds = level->desc->boundinfo;

	if (level->ncolumns == level->key->partnatts)
		return true;
	for (int i = 0; i < bounds->ndatums; i++)
		if (bounds->kind[i][level->ncolumns] == PARTITION_RANGE_DATUM_VALUE)
			return false;
	return true;
}

/*
 * Has no partition values on both sides of another's?  Partitions are numbered
 * by their first values.  One with nulls and values as well must have the last ones
 * before the nulls, or the first after them.
 */
static bool
list_is_ordered(const Level *level)
{
	PartitionBoundInfo bounds = level->desc->boundinfo;
	bool		nulls_and_values = false;

	for (int i = 0; i < bounds->ndatums; i++)
	{
		if (i > 0 && bounds->indexes[i] < bounds->indexes[i - 1])
			return false;
		if (bounds->indexes[i] == bounds->null_index)
			nulls_and_values = true;
	}
	return !nulls_and_values ||
		bounds->null_index == bounds->indexes[level->nulls_first == level->reverse ? bounds->ndatums - 1 : 0];
}

/*
 * Are the rows of the default partition between others, and never among those
 * of one?  A list partition of several values may have some of them in between; in a
 * range, a row whose second column is null is in the default partition.
 */
static bool
default_is_ordered(const Level *level, Relation rel)
{
	PartitionBoundInfo bounds = level->desc->boundinfo;
	PartitionKey key = level->key;

	if (key->strategy == PARTITION_STRATEGY_LIST)
	{
		for (int i = 0; i < bounds->ndatums; i++)
			if ((i > 0 && bounds->indexes[i] == bounds->indexes[i - 1]) ||
				bounds->indexes[i] == bounds->null_index)
				return false;
		return true;
	}
	for (int i = 1; i < key->partnatts; i++)
		if (key->partattrs[i] == 0 ||
			!compat_attribute_not_null(RelationGetDescr(rel), key->partattrs[i] - 1))
			return false;
	return true;
}

/* Go on to the next slot that is another partition's, or is one the default one may have rows in. */
static bool
step(const PartitionOrder *order, Level *level)
{
	int			direction = order->backward ? -1 : 1;

	for (level->slot += direction; level->slot >= level->first_slot && level->slot <= level->last_slot;
		 level->slot += direction)
	{
		int			partition = partition_of_slot(level, level->slot);

		if (partition < 0)
			continue;
		if (partition == level->desc->boundinfo->default_index)
		{
			if (level->default_known && (level->default_slot - level->slot) * direction > 0)
				continue;
		}
		else if (partition == level->given)
			continue;
		level->given = partition;
		return true;
	}
	return false;
}

/* Can no row of the slot at hand satisfy the filter? */
static bool
bounds_refute_filter(PartitionOrder *order, const Level *level)
{
	MemoryContext context = MemoryContextSwitchTo(order->scratch);
	List	   *clauses = slot_clauses(order->walk_key, level);
	bool		refuted = clauses != NIL && predicate_refuted_by(clauses, order->filter, false);

	MemoryContextSwitchTo(context);
	MemoryContextReset(order->scratch);
	return refuted;
}

/* What is true of the first column of all rows in the partition at hand, as far as that is simple. */
static List *
slot_clauses(const WalkKey *walk_key, const Level *level)
{
	PartitionBoundInfo bounds = level->desc->boundinfo;
	const KeyColumn *column = &walk_key->columns[level->column];
	PartitionKey key = level->key;
	Var		   *var = makeVar(1, column->attnum, key->parttypid[0], key->parttypmod[0], key->parttypcoll[0], 0);
	bool		list = key->strategy == PARTITION_STRATEGY_LIST;
	int			low = -1;
	int			high = -1;
	List	   *clauses;

	if (level->given == bounds->default_index || key->parttypid[0] != column->opcintype)
		return NIL;
	if (list && level->given == bounds->null_index)
		return has_one_value(level, level->given) ? list_make1(make_null_test(var, IS_NULL)) : NIL;
	for (int i = 0; i < bounds->nindexes; i++)
		if (bounds->indexes[i] == level->given)
		{
			low = low < 0 ? i : low;
			high = i;
		}
	if (!list)
		low--;					/* the bound under the one that it is numbered by */

	clauses = list_make1(make_null_test(var, IS_NOT_NULL));
	if (low >= 0 && (list || bounds->kind[low][0] == PARTITION_RANGE_DATUM_VALUE))
		clauses = lappend(clauses, compare_column(level, column, var, BTGreaterEqualStrategyNumber,
												  bounds->datums[low][0]));
	if (high < bounds->ndatums && (list || bounds->kind[high][0] == PARTITION_RANGE_DATUM_VALUE))
		clauses = lappend(clauses, compare_column(level, column, var,
												  list || key->partnatts > 1 ? BTLessEqualStrategyNumber : BTLessStrategyNumber,
												  bounds->datums[high][0]));
	return clauses;
}

static NullTest *
make_null_test(Var *var, NullTestType type)
{
	NullTest   *test = makeNode(NullTest);

	test->arg = (Expr *) var;
	test->nulltesttype = type;
	test->location = -1;
	return test;
}

static Expr *
compare_column(const Level *level, const KeyColumn *column, Var *var, StrategyNumber strategy,
			   Datum value)
{
	PartitionKey key = level->key;
	Oid			operator = get_opfamily_member(column->opfamily, column->opcintype, column->opcintype, strategy);

	return make_opclause(operator, BOOLOID, false, (Expr *) var,
						 (Expr *) makeConst(key->parttypid[0], key->parttypmod[0], key->parttypcoll[0],
											key->parttyplen[0], value, false, key->parttypbyval[0]),
						 InvalidOid, key->partcollation[0]);
}

/* Slots that are not for nulls: in the order of the bounds these are numbered from 0. */
static int
bound_slots(const Level *level)
{
	int			ndatums = level->desc->boundinfo->ndatums;

	return level->key->strategy == PARTITION_STRATEGY_LIST ? 2 * ndatums + 1 : ndatums + 1;
}

static int
null_slot(const Level *level)
{
	return level->nulls_first ? 0 : bound_slots(level);
}

static int
slot_of_bound(const Level *level, int bound)
{
	return (level->reverse ? bound_slots(level) - 1 - bound : bound) + (level->nulls_first ? 1 : 0);
}

/* The partition whose rows are in this slot; -1: there can be none. */
static int
partition_of_slot(const Level *level, int slot)
{
	PartitionBoundInfo bounds = level->desc->boundinfo;
	int			bound;
	int			partition = -1;

	if (slot == null_slot(level))
	{
		if (!level->has_nulls)
			return -1;
		return bounds->null_index >= 0 ? bounds->null_index : bounds->default_index;
	}
	bound = slot_of_bound(level, slot - (level->nulls_first ? 1 : 0)) - (level->nulls_first ? 1 : 0);
	if (level->key->strategy == PARTITION_STRATEGY_RANGE)
		partition = bounds->indexes[bound];
	else if (bound % 2 == 1)
		partition = bounds->indexes[bound / 2];
	return partition >= 0 ? partition : bounds->default_index;
}

/*
 * The partition that has rows in this slot or, if it is a gap that none has, on both
 * sides of it: a list partition's, between two of its values.  -1: there is none.
 */
static int
partition_around(const Level *level, int slot)
{
	int			partition = partition_of_slot(level, slot);

	if (partition < 0 && slot > 0 && slot < bound_slots(level) &&
		partition_of_slot(level, slot - 1) == partition_of_slot(level, slot + 1))
		partition = partition_of_slot(level, slot - 1);
	return partition;
}

/* Do nulls in this position leave open which slot it is in? */
static bool
is_vague(const Level *level, const Position *position)
{
	for (int i = 1; i < level->ncolumns; i++)
		if (position->nulls[level->column + i])
			return !position->nulls[level->column];
	return false;
}

/*
 * The slot of rows at this position.  If nulls in it leave that open: the earliest in
 * walk order, or the latest.
 */
static int
slot_of(const Level *level, const Position *position, bool earliest)
{
	const Datum *values = &position->values[level->column];
	const bool *nulls = &position->nulls[level->column];
	int			nvalues = 0;

	if (nulls[0])
		return null_slot(level);
	if (level->key->strategy == PARTITION_STRATEGY_LIST)
	{
		bool		equal;
		int			datum = partition_list_bsearch(level->key->partsupfunc, level->key->partcollation,
												   level->desc->boundinfo, values[0], &equal);

		return slot_of_bound(level, datum >= 0 && equal ? 2 * datum + 1 : 2 * (datum + 1));
	}
	while (nvalues < level->ncolumns && !nulls[nvalues])
		nvalues++;
	return slot_of_bound(level, range_bound(level, values, nvalues, earliest != level->reverse));
}

/* The number of bounds that are not over these values; those of which that cannot be said, unless lowest. */
static int
range_bound(const Level *level, const Datum *values, int nvalues, bool lowest)
{
	PartitionBoundInfo bounds = level->desc->boundinfo;
	int			low = 0;
	int			high = bounds->ndatums;

	while (low < high)
	{
		int			middle = (low + high) / 2;
		const PartitionRangeDatumKind *kind = bounds->kind[middle];
		int			cmp = partition_rbound_datum_cmp(level->key->partsupfunc, level->key->partcollation,
													 bounds->datums[middle], bounds->kind[middle],
													 unconstify(Datum *, values), nvalues);

		if (cmp == 0 && nvalues < level->key->partnatts)
		{
			if (kind[nvalues] == PARTITION_RANGE_DATUM_MAXVALUE ||
				(kind[nvalues] == PARTITION_RANGE_DATUM_VALUE && lowest))
				cmp = 1;
		}
		if (cmp <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Is this list partition one of a single value, or of nulls alone? */
static bool
has_one_value(const Level *level, int partition)
{
	PartitionBoundInfo bounds = level->desc->boundinfo;
	int			values = bounds->null_index == partition ? 1 : 0;

	if (level->key->strategy != PARTITION_STRATEGY_LIST)
		return false;
	for (int i = 0; i < bounds->ndatums && values < 2; i++)
		if (bounds->indexes[i] == partition)
			values++;
	return values == 1;
}
