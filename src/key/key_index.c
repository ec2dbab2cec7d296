/*
 * key_index.c
 *		What a relation's indexes say about a key: which columns make the default
 *		key, whether a key is unique, and which index supports its order.
 *
 * A unique index promises something about a key only if its equality is the
 * key's equality: two collations agree on it when both are deterministic (then
 * it is that of the bytes), else only when they are the same.
 */
#include "postgres.h"

#include "access/genam.h"
#include "catalog/partition.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_opclass.h"
#include "catalog/pg_opfamily.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/relation.h"
#include "key/key_index.h"

/* How well a unique index serves as the default key; lower is better. */
typedef struct DefaultRank
{
	bool		not_primary;
	int			ncolumns;
	int			width;			/* bytes, variable-length columns at 32 */
	AttrNumber	attnums[INDEX_MAX_KEYS];
	int16		options[INDEX_MAX_KEYS];
	NameData	name;
} DefaultRank;

static bool index_column_is_fixed(Relation index, int column, List *clauses);
static bool is_column(Node *node, AttrNumber attnum);
static bool is_one_value(Node *node);
static bool index_is_usable(Relation index);
static bool index_is_finished(Relation index);
static bool index_is_unique_set(Relation rel, Relation index);
static bool index_may_be_default(Relation rel, Relation index);
static DefaultRank default_rank(Relation rel, Relation index);
static int	compare_ranks(const DefaultRank *a, const DefaultRank *b);
static List *columns_of_index(Relation rel, Relation index);
static int	unique_prefix(Relation index, const WalkKey *key);
static bool collations_agree(Oid a, Oid b);
static bool index_supports(Relation index, int from, const WalkKey *key, bool any_nulls, bool *backward);
static void take_nulls_placement(WalkKey *key, Relation index, int from, bool backward);
static Oid	index_opclass(Relation index, int i);

/*
 * The columns (KeyColumn *) of the default key: the primary key, else the
 * narrowest unique index over plain NOT NULL columns; NIL if there is neither.
 * The first column is always ascending, since any index can be read backwards.
 */
List *
key_default_columns(Relation rel)
{
	List	   *columns = NIL;
	Oid			best = InvalidOid;
	DefaultRank best_rank = {0};
	ListCell   *lc;

	if (!relation_is_local_table(rel))
		return NIL;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		if (index_may_be_default(rel, index))
		{
			DefaultRank rank = default_rank(rel, index);

			if (!OidIsValid(best) || compare_ranks(&rank, &best_rank) < 0)
			{
				best = RelationGetRelid(index);
				best_rank = rank;
			}
		}
		index_close(index, AccessShareLock);
	}

	if (OidIsValid(best))
	{
		Relation	index = index_open(best, AccessShareLock);

		columns = columns_of_index(rel, index);
		index_close(index, AccessShareLock);
	}
	return columns;
}

/*
 * Fill in what depends on the indexes: unique, norder, index.
 */
void
key_match_indexes(Relation rel, WalkKey *key)
{
	List	   *indexes;
	ListCell   *lc;
	int			best_ncolumns = INT_MAX;

	key->unique = false;
	key->norder = key->ncolumns;
	key->index = InvalidOid;
	if (!relation_is_local_table(rel))
		return;
	indexes = RelationGetIndexList(rel);

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		if (index_is_unique_set(rel, index))
		{
			int			prefix = unique_prefix(index, key);

			if (prefix > 0)
			{
				key->unique = true;
				key->norder = Min(key->norder, prefix);
			}
		}
		index_close(index, AccessShareLock);
	}

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		int			ncolumns = IndexRelationGetNumberOfKeyAttributes(index);
		bool		backward;

		if (ncolumns < best_ncolumns && index_is_usable(index) &&
			index_supports(index, 0, key, true, &backward))
		{
			best_ncolumns = ncolumns;
			key->index = RelationGetRelid(index);
			take_nulls_placement(key, index, 0, backward);
		}
		index_close(index, AccessShareLock);
	}
}

/* The index of a partition that is a part of this index of a table above it, or InvalidOid. */
Oid
key_index_of_part(Relation part, Oid index)
{
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(part))
	{
		if (get_rel_relispartition(lfirst_oid(lc)) &&
			list_member_oid(get_partition_ancestors(lfirst_oid(lc)), index))
			return lfirst_oid(lc);
	}
	return InvalidOid;
}

/*
 * An index by which the rows that satisfy these clauses (an implicit AND, the relation being
 * number 1) are read in the key's order without the others between them: a partial index of
 * such rows, or one whose first columns the clauses fix to one value each, or both.
 * The one that more columns are fixed of, or InvalidOid.
 */
Oid
key_filter_index(Relation rel, WalkKey *key, List *clauses)
{
	Oid			best = InvalidOid;
	int			best_fixed = -1;
	bool		any_nulls = !OidIsValid(key->index);
	ListCell   *lc;

	if (!relation_is_local_table(rel) || relation_has_children(rel))
		return InvalidOid;
	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		List	   *predicate = RelationGetIndexPredicate(index);
		bool		backward;
		int			fixed = 0;

		if (index_is_finished(index) && (predicate == NIL || predicate_implied_by(predicate, clauses, false)))
		{
			while (fixed < IndexRelationGetNumberOfKeyAttributes(index) && index_column_is_fixed(index, fixed, clauses))
				fixed++;
			/* a column that is fixed may be one of the key's, too */
			while (fixed > 0 && !index_supports(index, fixed, key, any_nulls, &backward))
				fixed--;
			if ((predicate != NIL || fixed > 0) && fixed > best_fixed &&
				index_supports(index, fixed, key, any_nulls, &backward))
			{
				best = RelationGetRelid(index);
				best_fixed = fixed;
				if (!OidIsValid(key->index))
					take_nulls_placement(key, index, fixed, backward);
			}
		}
		index_close(index, AccessShareLock);
	}
	return best;
}

/* Does one of the clauses fix this column of the index to one value, so that the planner sees it? */
static bool
index_column_is_fixed(Relation index, int column, List *clauses)
{
	AttrNumber	attnum = index->rd_index->indkey.values[column];
	ListCell   *lc;

	if (attnum == 0)
		return false;
	foreach(lc, clauses)
	{
		Node	   *clause = lfirst(lc);

		/* a boolean column is a clause by itself */
		if (index->rd_opfamily[column] == BOOL_BTREE_FAM_OID && is_notclause(clause) &&
			is_column((Node *) get_notclausearg(clause), attnum))
			return true;
		if (index->rd_opfamily[column] == BOOL_BTREE_FAM_OID && is_column(clause, attnum))
			return true;
		if (is_opclause(clause) && list_length(((OpExpr *) clause)->args) == 2 &&
			get_op_opfamily_strategy(((OpExpr *) clause)->opno, index->rd_opfamily[column]) == BTEqualStrategyNumber &&
			((OpExpr *) clause)->inputcollid == index->rd_indcollation[column] &&
			/* below a policy of the table, the planner uses no other operator */
			get_func_leakproof(get_opcode(((OpExpr *) clause)->opno)) &&
			((is_column(get_leftop(clause), attnum) && is_one_value(get_rightop(clause))) ||
			 (is_column(get_rightop(clause), attnum) && is_one_value(get_leftop(clause)))))
			return true;
	}
	return false;
}

static bool
is_column(Node *node, AttrNumber attnum)
{
	while (node != NULL && IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	return node != NULL && IsA(node, Var) && ((Var *) node)->varno == 1 &&
		((Var *) node)->varlevelsup == 0 && ((Var *) node)->varattno == attnum;
}

/* Is it the same for all rows? */
static bool
is_one_value(Node *node)
{
	return !contain_var_clause(node) && !contain_volatile_functions(node) && !contain_subplans(node);
}

/* A finished btree index over all rows */
static bool
index_is_usable(Relation index)
{
	return index_is_finished(index) && RelationGetIndexPredicate(index) == NIL;
}

static bool
index_is_finished(Relation index)
{
	Form_pg_index form = index->rd_index;

	return form->indisvalid && form->indisready && form->indislive &&
		index->rd_rel->relam == BTREE_AM_OID;
}

/*
 * For columns without nulls their placement means nothing to the walk, but must
 * be the index's, or the planner would not see that it can be used.
 */
static void
take_nulls_placement(WalkKey *key, Relation index, int from, bool backward)
{
	for (int i = 0; i < key->norder; i++)
	{
		bool		nulls_first = (index->rd_indoption[from + i] & INDOPTION_NULLS_FIRST) != 0;

		if (!key->columns[i].nullable)
			key->columns[i].nulls_first = (nulls_first != backward);
	}
}

/*
 * Does this index promise that no two rows of rel, at any moment, agree in its
 * columns?
 */
static bool
index_is_unique_set(Relation rel, Relation index)
{
	Form_pg_index form = index->rd_index;

	if (!form->indisunique || !form->indimmediate || !index_is_usable(index) ||
		relation_has_children(rel))
		return false;

	for (int i = 0; i < form->indnkeyatts; i++)
	{
		AttrNumber	attnum = form->indkey.values[i];

		if (attnum <= 0)
			return false;
		if (!form->indnullsnotdistinct &&
			!compat_attribute_not_null(RelationGetDescr(rel), attnum - 1))
			return false;
	}
	return true;
}

/*
 * Besides true unique sets, the primary key of an inheritance parent or a
 * deferrable one, and a materialized view's unique index (its columns are
 * never marked NOT NULL) are what a user means; the walk then watches for
 * duplicates itself, since key->unique stays false.
 */
static bool
index_may_be_default(Relation rel, Relation index)
{
	Form_pg_index form = index->rd_index;

	/* not one that distinguishes what the column's own collation holds equal */
	for (int i = 0; i < form->indnkeyatts; i++)
	{
		AttrNumber	attnum = form->indkey.values[i];

		if (attnum > 0 &&
			!collations_agree(index->rd_indcollation[i],
							  TupleDescAttr(RelationGetDescr(rel), attnum - 1)->attcollation))
			return false;
	}
	if (index_is_unique_set(rel, index))
		return true;
	if (!form->indisunique || !index_is_usable(index) ||
		RelationGetIndexExpressions(index) != NIL)
		return false;
	return form->indisprimary || rel->rd_rel->relkind == RELKIND_MATVIEW;
}

static DefaultRank
default_rank(Relation rel, Relation index)
{
	DefaultRank rank = {0};

	rank.not_primary = !index->rd_index->indisprimary;
	rank.ncolumns = index->rd_index->indnkeyatts;
	rank.width = 0;
	for (int i = 0; i < rank.ncolumns; i++)
	{
		AttrNumber	attnum = index->rd_index->indkey.values[i];
		int			attlen = TupleDescAttr(RelationGetDescr(rel), attnum - 1)->attlen;

		rank.width += attlen > 0 ? attlen : 32;
		rank.attnums[i] = attnum;
		rank.options[i] = index->rd_indoption[i];
	}
	namestrcpy(&rank.name, RelationGetRelationName(index));
	return rank;
}

/* Among equals, by what REINDEX CONCURRENTLY keeps, which an OID is not. */
static int
compare_ranks(const DefaultRank *a, const DefaultRank *b)
{
	if (a->not_primary != b->not_primary)
		return a->not_primary ? 1 : -1;
	if (a->ncolumns != b->ncolumns)
		return a->ncolumns < b->ncolumns ? -1 : 1;
	if (a->width != b->width)
		return a->width < b->width ? -1 : 1;
	for (int i = 0; i < a->ncolumns; i++)
		if (a->attnums[i] != b->attnums[i])
			return a->attnums[i] < b->attnums[i] ? -1 : 1;
	for (int i = 0; i < a->ncolumns; i++)
		if (a->options[i] != b->options[i])
			return a->options[i] < b->options[i] ? -1 : 1;
	return strcmp(NameStr(a->name), NameStr(b->name));
}

static List *
columns_of_index(Relation rel, Relation index)
{
	List	   *columns = NIL;
	bool		reverse = (index->rd_indoption[0] & INDOPTION_DESC) != 0;

	for (int i = 0; i < index->rd_index->indnkeyatts; i++)
	{
		bool		descending = (index->rd_indoption[i] & INDOPTION_DESC) != 0;
		bool		nulls_first = (index->rd_indoption[i] & INDOPTION_NULLS_FIRST) != 0;

		columns = lappend(columns,
						  key_column_make(rel, index->rd_index->indkey.values[i],
										  index_opclass(index, i),
										  index->rd_indcollation[i],
										  descending != reverse,
										  nulls_first != reverse));
	}
	return columns;
}

/*
 * The number of leading key columns that hold all columns of this unique
 * index, compared by its equality; 0 if the key does not hold them.
 */
static int
unique_prefix(Relation index, const WalkKey *key)
{
	int			prefix = 0;

	for (int i = 0; i < index->rd_index->indnkeyatts; i++)
	{
		Oid			equality = get_opfamily_member(index->rd_opfamily[i],
												   index->rd_opcintype[i],
												   index->rd_opcintype[i],
												   BTEqualStrategyNumber);
		int			found = 0;

		for (int k = 0; k < key->ncolumns && found == 0; k++)
		{
			const KeyColumn *column = &key->columns[k];
			Oid			collation = index->rd_indcollation[i];

			if (column->attnum == index->rd_index->indkey.values[i] &&
				get_opfamily_member(column->opfamily, column->opcintype,
									column->opcintype, BTEqualStrategyNumber) == equality &&
				collations_agree(column->collation, collation))
				found = k + 1;
		}
		if (found == 0)
			return 0;
		prefix = Max(prefix, found);
	}
	return prefix;
}

/* Is equality the same under both collations?  InvalidOid: not collatable. */
static bool
collations_agree(Oid a, Oid b)
{
	return a == b ||
		(get_collation_isdeterministic(a) && get_collation_isdeterministic(b));
}

/*
 * Does reading this index, forwards or backwards, give the key's order, if its columns
 * before this one have one value each?  any_nulls: the placement of nulls is still
 * free where there are none.
 */
static bool
index_supports(Relation index, int from, const WalkKey *key, bool any_nulls, bool *backward)
{
	*backward = false;
	if (index->rd_rel->relam != BTREE_AM_OID ||
		IndexRelationGetNumberOfKeyAttributes(index) < from + key->norder)
		return false;

	for (int i = 0; i < key->norder; i++)
	{
		const KeyColumn *column = &key->columns[i];
		bool		descending = (index->rd_indoption[from + i] & INDOPTION_DESC) != 0;
		bool		nulls_first = (index->rd_indoption[from + i] & INDOPTION_NULLS_FIRST) != 0;

		if (index->rd_index->indkey.values[from + i] != column->attnum ||
			index->rd_opfamily[from + i] != column->opfamily ||
			index->rd_indcollation[from + i] != column->collation)
			return false;
		if (i == 0)
			*backward = (descending != column->descending);
		else if (*backward != (descending != column->descending))
			return false;
		if ((column->nullable || !any_nulls) && *backward != (nulls_first != column->nulls_first))
			return false;
	}
	return true;
}

static Oid
index_opclass(Relation index, int i)
{
	bool		isnull;
	Datum		datum = SysCacheGetAttr(INDEXRELID, index->rd_indextuple,
										Anum_pg_index_indclass, &isnull);

	Assert(!isnull);
	return ((oidvector *) DatumGetPointer(datum))->values[i];
}
