/*
 * count.c
 *		How many rows a relation has: counted on an index's pages, by a query, or
 *		estimated.
 *
 * An estimate shows no more than a query of the caller's would: the index is
 * read, and the catalog's own estimate given, only where the caller may see all
 * rows.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/rls.h"

#include "base/relation.h"
#include "btree/btree_count.h"
#include "btree/btree_estimate.h"
#include "chunk/count.h"
#include "key/key_index.h"
#include "key/redirect.h"
#include "walk/filter.h"
#include "walk/remote.h"
#include "walk/walk_read.h"

static bool estimate_by_index(Relation rel, const WalkKey *key, double *rows);
static bool may_see_catalog_estimate(Relation rel);
static bool count_by_index(Relation rel, bool exact, ArrayType *key, int64 *rows);

/*
 * Count by the index where that is sound, else by a query, unless an estimate
 * will do and the catalog's shows nothing that the caller may not see.
 */
int64
count_relation(Relation rel, bool exact, ArrayType *key, text *filter)
{
	int64		rows;

	if (filter == NULL && count_by_index(rel, exact, key, &rows))
		return rows;
	if (filter == NULL && !exact && may_see_catalog_estimate(rel))
		return (int64) relation_estimate_rows(rel);
	if (remote_has_partitions(rel))
	{
		bool		clock_literal;

		if (filter != NULL)
			filter_check_syntax(text_to_cstring(filter), &clock_literal);
		return remote_count(rel, NULL, filter == NULL ? NULL : text_to_cstring(filter));
	}
	return filter_count_rows(relation_quoted_name(rel), NULL, filter);
}

/*
 * What count_relation() estimates along this key; false if it would have to
 * count.
 */
bool
count_estimate(Relation rel, const WalkKey *key, double *rows)
{
	if (estimate_by_index(rel, key, rows))
		return true;
	if (!may_see_catalog_estimate(rel))
		return false;
	*rows = relation_estimate_rows(rel);
	return true;
}

static bool
estimate_by_index(Relation rel, const WalkKey *key, double *rows)
{
	BtreeParts *parts = btree_open_parts(rel, key);

	if (parts == NULL)
		return false;
	*rows = btree_estimate_rows(btree_estimate_make(parts, key, COUNT_CHILDREN, false));
	btree_close_parts(parts);
	return true;
}

static bool
may_see_catalog_estimate(Relation rel)
{
	return relation_is_local_table(rel) &&
		pg_class_aclcheck(RelationGetRelid(rel), GetUserId(), ACL_SELECT) == ACLCHECK_OK &&
		check_enable_rls(RelationGetRelid(rel), InvalidOid, true) != RLS_ENABLED &&
		relation_has_estimate(rel) && !redirect_of_count(rel);
}

/*
 * Count along the key's index; false if there is none, or it may not be read
 * directly.  A key that is given is checked in any case.
 */
static bool
count_by_index(Relation rel, bool exact, ArrayType *key, int64 *rows)
{
	Walk	   *walk;
	double		estimate;
	bool		counted = false;

	if (key == NULL && key_default_columns(rel) == NIL)
		return false;

	SPI_connect();
	walk = walk_open(rel, key, NULL);
	if (!exact && estimate_by_index(rel, walk->key, &estimate))
	{
		*rows = (int64) rint(estimate);
		counted = true;
	}
	if (!counted)
	{
		BtreeIndex *btree = btree_open(rel, walk->key);

		if (btree != NULL)
		{
			BtreeCount	count;

			btree_count(btree, NULL, NULL, PG_INT64_MAX, &count);
			btree_close(btree);
			*rows = count.rows;
			counted = true;
		}
	}
	SPI_finish();
	return counted;
}
