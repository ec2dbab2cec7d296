/*
 * count.c
 *		How many rows there are, and which is the n-th: by an index's pages, by
 *		queries, or by estimate.
 *
 * An estimate shows no more than a query of the caller's would: the index is
 * read, and the catalog's own estimate given, only where the caller may see all
 * rows.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/plancache.h"
#include "utils/rel.h"
#include "utils/rls.h"

#include "base/compat.h"
#include "base/relation.h"
#include "btree/btree_estimate.h"
#include "chunk/count.h"
#include "key/key_index.h"
#include "key/redirect.h"
#include "walk/filter.h"
#include "walk/remote.h"
#include "walk/walk_read.h"

/* Children of an index level wanted to distinguish ranks */
#define CHILDREN_WANTED 10000

/* Rows of a range that are counted where an estimate is wanted */
#define COUNTED_AT_ONCE 100000

/* With fewer leaves than this, counting is as quick */
#define MIN_CHILDREN 4

static bool estimate_relation(Relation rel, const WalkKey *key, double *rows);
static bool estimate_range_by_index(Relation rel, const WalkKey *key, const Range *range, double *rows);
static bool estimate_by_index(Relation rel, const WalkKey *key, double *rows);
static bool may_see_catalog_estimate(Relation rel);
static BoundFilter *bind_filter(const Filter *filter, const char *from);
static bool count_in_partitions(Walk *walk, Relation rel, const Range *range, int64 limit,
								BtreeCount *count);
static int64 size_of_count(void *arg, int number);
static bool count_along_key(Relation rel, bool exact, const char *key, int64 *rows);

/* -------------------------------------------------------------- of a relation */

/*
 * Count by the index where that is sound, else by a query, unless an estimate
 * will do and the catalog's shows nothing that the caller may not see.
 */
int64
count_relation(Relation rel, bool exact, const char *key, const Filter *filter)
{
	int64		rows;

	if (filter == NULL && count_along_key(rel, exact, key, &rows))
		return rows;
	if (filter == NULL && !exact && may_see_catalog_estimate(rel))
		return (int64) relation_estimate_rows(rel);
	if (remote_has_partitions(rel))
	{
		SPI_connect();
		rows = remote_count(rel, NULL, bind_filter(filter, relation_quoted_name(rel)));
		SPI_finish();
		return rows;
	}
	return count_by_query(relation_quoted_name(rel), NULL, filter);
}

/*
 * Count rows by a query: those of "from", generated text, that satisfy the
 * condition, generated too, and the filter; either may be NULL.  The server
 * checks privileges and policies.  Errors: those of filter_parse()
 * and filter_bind().
 */
int64
count_by_query(const char *from, const char *condition, const Filter *filter)
{
	StringInfoData query;
	BoundFilter *bound;
	bool		isnull;
	int64		rows;

	SPI_connect();
	bound = bind_filter(filter, from);
	initStringInfo(&query);
	appendStringInfo(&query, "SELECT pg_catalog.count(*) FROM %s WHERE %s", from,
					 condition != NULL ? condition : "TRUE");
	if (bound != NULL)
		appendStringInfo(&query, " AND (%s\n)", bound->text);
	if (SPI_execute_with_args(query.data, bound == NULL ? 0 : bound->nargs, bound == NULL ? NULL : bound->types,
							  bound == NULL ? NULL : bound->values, filter_spi_nulls(bound, 0), true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not count rows of %s", from);
	rows = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	return rows;
}

/* A filter with its values, for a query of this relation, or NULL.  SPI must be connected. */
static BoundFilter *
bind_filter(const Filter *filter, const char *from)
{
	BoundFilter *bound;

	if (filter == NULL)
		return NULL;
	bound = filter_parse(filter);
	if (bound->nargs > 0)
		(void) filter_find_types(bound, from);
	filter_bind(bound, filter->args);
	return bound;
}

/*
 * What count_relation() estimates along this key; false if it would have to
 * count.
 */
static bool
estimate_relation(Relation rel, const WalkKey *key, double *rows)
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
	*rows = btree_estimate_rows(btree_estimate_make(parts, key, CHILDREN_WANTED, false));
	btree_close_parts(parts);
	return true;
}

/* By the ranks of its ends. */
static bool
estimate_range_by_index(Relation rel, const WalkKey *key, const Range *range, double *rows)
{
	BtreeParts *parts = btree_open_parts(rel, key);
	BtreeEstimate *estimate;

	if (parts == NULL)
		return false;
	estimate = btree_estimate_make(parts, key, CHILDREN_WANTED, true);
	*rows = range->upto == NULL ? btree_estimate_rows(estimate) : btree_estimate_rank(estimate, range->upto);
	if (range->after != NULL)
		*rows -= btree_estimate_rank(estimate, range->after);
	*rows = Max(*rows, 1);		/* more have been counted */
	btree_close_parts(parts);
	return true;
}

static bool
may_see_catalog_estimate(Relation rel)
{
	return relation_is_local_table(rel) &&
		compat_may_use_schema(RelationGetNamespace(rel), GetUserId()) &&
		pg_class_aclcheck(RelationGetRelid(rel), GetUserId(), ACL_SELECT) == ACLCHECK_OK &&
		check_enable_rls(RelationGetRelid(rel), InvalidOid, true) != RLS_ENABLED &&
		relation_has_estimate(rel) && !redirect_of_count(rel);
}

/*
 * Count, or estimate, along the key's index; false if there is none, or it may
 * not be read directly.  A key that is given is checked in any case.
 */
static bool
count_along_key(Relation rel, bool exact, const char *key, int64 *rows)
{
	static const Range all = {0};
	Walk	   *walk;
	double		estimate;
	BtreeCount	count;
	bool		counted = true;

	if (key == NULL && key_default_columns(rel) == NIL)
		return false;

	SPI_connect();
	walk = walk_open(rel, key, NULL);
	if (!exact && estimate_by_index(rel, walk->key, &estimate))
		*rows = (int64) rint(estimate);
	else if (count_by_index(walk, rel, &all, PG_INT64_MAX, &count))
		*rows = count.rows;
	else
		counted = false;
	SPI_finish();
	return counted;
}

/* ------------------------------------------------------------------ of a walk */

/*
 * Count the rows of a range, limit of them at most, on the index's leaf pages;
 * false if that is not sound here, or there is a filter.
 */
bool
count_by_index(Walk *walk, Relation rel, const Range *range, int64 limit, BtreeCount *count)
{
	BtreeIndex *btree;

	if (walk->filter != NULL)
		return false;
	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		return count_in_partitions(walk, rel, range, limit, count);
	btree = btree_open(rel, walk->key);
	if (btree == NULL)
		return false;
	btree_count(btree, range->after, range->upto, limit, count);
	btree_close(btree);
	return true;
}

static bool
count_in_partitions(Walk *walk, Relation rel, const Range *range, int64 limit, BtreeCount *count)
{
	BtreeEnd	end;
	BtreeEnds	ends = {.enough = 1,.most = 1,.size = size_of_count,.arg = &limit,.ends = &end};

	count->ended = false;
	count->end = NULL;
	if (limit == PG_INT64_MAX)
		return btree_count_rows(rel, walk->key, range->after, range->upto, &count->rows);
	if (!btree_find_ends(rel, walk->key, range->after, range->upto, &ends))
		return false;
	count->ended = ends.nends > 0;
	count->end = count->ended ? end.position : NULL;
	count->rows = count->ended ? end.rows : ends.rest;
	return true;
}

static int64
size_of_count(void *arg, int number)
{
	(void) number;
	return *(const int64 *) arg;
}

/*
 * Count off the rows of a range of a partitioned relation, as often as wanted;
 * opening its partitions once for several ends.  False as above, and for
 * other relations.
 */
bool
count_ends_by_index(Walk *walk, Relation rel, const Range *range, BtreeEnds *ends)
{
	return walk->filter == NULL && rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE &&
		btree_find_ends(rel, walk->key, range->after, range->upto, ends);
}

/* The matching rows of a range. */
int64
count_in_range(Walk *walk, Relation rel, const Range *range)
{
	BtreeCount	count;

	if (count_by_index(walk, rel, range, PG_INT64_MAX, &count))
		return count.rows;
	return walk_count(walk, rel, range, WALK_KEYS);
}

/* The matching rows of a range, or limit if there are more; by queries. */
int64
count_at_most(Walk *walk, Relation rel, const Range *range, int64 limit)
{
	WalkReader	reader = {0};

	if (walk_can_skip(walk))
		return walk_nth(walk, rel, range, WALK_KEYS, limit, NULL) != NULL ? limit :
			walk_count(walk, rel, range, WALK_KEYS);
	reader.output = WALK_KEYS;
	reader.limit = limit;
	walk_read(walk, range, &reader);
	return (int64) reader.count;
}

/*
 * The matching rows of a range, by estimate: few are counted; else it is what the
 * index's upper pages tell, or what row_count() estimates, else what the planner does.
 */
double
count_estimate_range(Walk *walk, Relation rel, const Range *range)
{
	BtreeCount	count;
	SPIPlanPtr	plan;
	CachedPlan *cached;
	double		rows = 0;
	double		all = 0;
	bool		bounded = range->after != NULL || range->upto != NULL;
	bool		counted = walk->filter == NULL && estimate_relation(rel, walk->key, &all);

	if (counted && !bounded)
		return all;
	if (bounded && count_by_index(walk, rel, range, COUNTED_AT_ONCE, &count) && !count.ended)
		return (double) count.rows;
	if (bounded && walk->filter == NULL && estimate_range_by_index(rel, walk->key, range, &rows))
		return rows;
	plan = SPI_prepare(psprintf("SELECT FROM %s WHERE (%s\n) AND (%s)", walk->relation,
								walk->filter == NULL ? "TRUE" : walk->filter->text,
								bounded ? range_predicate(walk->key, walk->style, NULL, range) : "TRUE"),
					   walk->filter == NULL ? 0 : walk->filter->nargs, walk->filter == NULL ? NULL : walk->filter->types);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	cached = SPI_plan_get_cached_plan(plan);
	if (cached != NULL)
	{
		rows = linitial_node(PlannedStmt, cached->stmt_list)->planTree->plan_rows;
		ReleaseCachedPlan(cached, NULL);	/* no owner, since it is not a kept plan */
	}
	SPI_freeplan(plan);
	return counted ? Min(rows, all) : rows;
}

/*
 * The position of the walk's n-th row, counted from 1, or NULL if there are
 * fewer.  paging: a higher n must not give an earlier row.
 */
Position *
count_nth(Walk *walk, Relation rel, int64 n, bool exact, bool paging)
{
	static const Range all = {0};
	WalkReader	reader = {0};
	BtreeCount	count;

	if (!exact)
	{
		bool		known;
		Position   *position = count_nth_estimated(walk, rel, n, paging, &known);

		if (known)
			return position;
	}
	if (count_by_index(walk, rel, &all, n, &count))
		return count.end;
	if (walk_can_skip(walk) && !walk->style.expand)
	{
		int64		through;
		Position   *position = walk_nth(walk, rel, &all, WALK_KEYS, n, &through);

		if (position != NULL && through > n && !walk->key->unique)
			walk_report_tie(walk, position);
		return position;
	}

	/* not by walk_nth(), which would count to see whether another row is there */
	reader.output = WALK_KEYS;
	reader.limit = n;
	if (walk->style.expand)
	{
		reader.limit = 1;
		reader.skip = n - 1;
	}
	reader.boundary = true;
	reader.keep_end = true;
	walk_read(walk, &all, &reader);
	return reader.ended ? reader.end : NULL;
}

/*
 * The same from the index's upper pages; *known is false if they cannot be read
 * directly, do not say, or are so few that counting is as quick.
 */
Position *
count_nth_estimated(Walk *walk, Relation rel, int64 n, bool paging, bool *known)
{
	BtreeParts *parts = walk->filter != NULL ? NULL : btree_open_parts(rel, walk->key);
	BtreeEstimate *estimate;
	Position   *position = NULL;

	*known = false;
	if (parts == NULL)
		return NULL;
	estimate = btree_estimate_make(parts, walk->key, CHILDREN_WANTED, false);
	if (btree_estimate_children(estimate) >= MIN_CHILDREN &&
		!(paging && btree_estimate_is_merged(estimate)))
	{
		bool		within = n <= btree_estimate_rows(estimate);

		if (within)
			position = btree_estimate_position(estimate, (double) n, true);
		*known = position != NULL || !within || !btree_estimate_is_merged(estimate);
	}
	btree_close_parts(parts);
	return position;
}
