/*
 * walk.c
 *		The walks of a session, built once for each relation, key and filter.
 *
 * An entry is dropped when the server reports a change to its relation (ALTER,
 * DROP, CREATE INDEX, ATTACH PARTITION all do) or to what names are made of
 * (schemas, types, operators, collations; with a filter, functions).  It is linked in before it is built,
 * so that a change reported meanwhile is not lost.  The call that uses an
 * entry pins it, and may finish with it after such a report, since the
 * relation is locked; it is freed by a later call.  At most MAX_WALKS entries
 * with MAX_PLANS queries each are kept, the least recently used going first.
 *
 * Prepared queries revalidate themselves on top of that, for changes of role,
 * row security and search_path.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_class.h"
#include "common/hashfn.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/prep.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/pin.h"
#include "base/relation.h"
#include "key/key_index.h"
#include "key/key_resolve.h"
#include "key/partition_order.h"
#include "key/redirect.h"
#include "walk/filter.h"
#include "walk/remote.h"
#include "walk/walk.h"

/* Relations under this many rows are read in a moment without any index */
#define WARN_MIN_ROWS 10000

#define MAX_WALKS 32
#define MAX_PLANS 64

/* Of those, for partitions */
#define MAX_PART_PLANS WALK_MAX_PARTS

const char *const walk_settings[WALK_NSETTINGS] =
{"DateStyle", "IntervalStyle", "TimeZone", "timezone_abbreviations", "array_nulls",
	"lc_monetary", "standard_conforming_strings", "transform_null_equals", "xmloption"};

static dlist_head walks = DLIST_STATIC_INIT(walks);	/* most recent first */
static int	nwalks = 0;
static uint64 last_serial = 0;
static uint64 generation = 0;	/* redirect_generation() when they were built */

static void register_callbacks(void);
static void invalidate_walks(Datum arg, Oid relid);
static void invalidate_all_walks(Datum arg, int cacheid, uint32 hashvalue);
static void invalidate_filtered_walks(Datum arg, int cacheid, uint32 hashvalue);
static void make_identity(StringInfo buf, Oid relid, const char *key, const Filter *filter);
static void append_with_end(StringInfo buf, const char *text);
static Walk *cache_find(const StringInfo identity, uint32 hash);
static void cache_make_room(void);
static void cache_drop(Walk *walk);
static void cache_drop_plans(Walk *walk);
static void cache_build(Walk *walk, Relation rel, const char *key, const Filter *filter);
static List *check_filter(Walk *walk, const Filter *filter);
static Walk *with_values(Walk *walk, const Filter *filter);
static void cache_drop_plan(Walk *walk, int i);
static bool cache_plan_fits(Walk *walk, Oid part);
static void make_select_lists(Walk *walk, Relation rel);

/*
 * The walk over rel by this key (NULL: the default) and filter (NULL: none).
 * It stays pinned until the current memory context is reset.
 */
Walk *
walk_open(Relation rel, const char *key, const Filter *filter)
{
	StringInfoData identity;
	uint32		hash;
	Walk	   *walk;
	MemoryContext context;

	register_callbacks();
	if (generation != redirect_generation())
	{
		/* somebody may redirect queries from now on, or no longer */
		invalidate_walks((Datum) 0, InvalidOid);
		generation = redirect_generation();
	}

	make_identity(&identity, RelationGetRelid(rel), key, filter);
	hash = hash_bytes((unsigned char *) identity.data, identity.len);
	walk = cache_find(&identity, hash);
	if (walk != NULL)
	{
		dlist_move_head(&walks, &walk->node);
		pin_until_reset(&walk->pins);
		return with_values(walk, filter);
	}

	cache_make_room();
	context = AllocSetContextCreate(CacheMemoryContext, "pg_chunked walk",
									ALLOCSET_SMALL_SIZES);
	walk = MemoryContextAllocZero(context, sizeof(Walk));
	walk->context = context;
	walk->kept = walk;
	walk->serial = ++last_serial;
	walk->hash = hash;
	walk->identity_length = identity.len;
	walk->identity = MemoryContextAlloc(context, identity.len);
	memcpy(walk->identity, identity.data, identity.len);
	walk->relid = RelationGetRelid(rel);
	walk->valid = true;
	dlist_push_head(&walks, &walk->node);
	nwalks++;
	pin_until_reset(&walk->pins);

	SPI_connect();				/* a filter is prepared, to be checked */
	context = MemoryContextSwitchTo(walk->context);
	cache_build(walk, rel, key, filter);
	MemoryContextSwitchTo(context);
	SPI_finish();
	/* partitions that come one after the other are looked at when they are reached */
	if (!walk->in_order)
		relation_check_rewrite(rel);
	walk->ready = true;
	return with_values(walk, filter);
}

/*
 * The walk with the values of its filter's parameters: a copy in the current memory
 * context, since the same walk may be in use with others.
 */
static Walk *
with_values(Walk *walk, const Filter *filter)
{
	Walk	   *copy;

	if (filter == NULL)
		return walk;
	if (walk->filter->nargs == 0)
	{
		filter_bind(walk->filter, filter->args);
		return walk;
	}
	copy = palloc(sizeof(Walk));
	*copy = *walk;
	copy->filter = palloc(sizeof(BoundFilter));
	*copy->filter = *walk->filter;
	filter_bind(copy->filter, filter->args);
	return copy;
}

/*
 * To be called whenever the walk comes to a partition, which is locked.  Returns its
 * part of the key's index, or InvalidOid.  Error: that of relation_check_rewrite_of_part().
 */
Oid
walk_look_at_part(Walk *walk, Oid relid)
{
	WalkPart   *part = &walk->parts[0];
	Relation	rel;

	for (int i = 0; i < WALK_MAX_PARTS; i++)
	{
		if (walk->parts[i].relid == relid)
		{
			part = &walk->parts[i];
			break;
		}
		if (walk->parts[i].used < part->used)
			part = &walk->parts[i];
	}
	part->used = ++walk->part_uses;
	if (part->relid == relid && part->valid)
		return part->index;

	part->relid = InvalidOid;
	rel = relation_open(relid, NoLock);
	relation_check_rewrite_of_part(rel);
	/* another index makes it invalid again from here on */
	part->relid = relid;
	part->valid = true;
	part->index = OidIsValid(walk->key->index) && rel->rd_rel->relkind == RELKIND_RELATION ?
		key_index_of_part(rel, walk->key->index) : InvalidOid;
	relation_close(rel, NoLock);
	return part->index;
}

/*
 * The prepared plan of a query of this walk, for as long as the walk is pinned; of
 * one to be planned for this partition, which is locked, or InvalidOid.
 * *kept: it is kept for later calls; if not, the caller frees it.
 */
SPIPlanPtr
walk_prepare(Walk *walk, Oid part, const char *sql, int nargs, Oid *argtypes, bool *kept)
{
	uint32		hash = hash_bytes((const unsigned char *) sql, strlen(sql));
	SPIPlanPtr	plan;

	walk = walk->kept;
	*kept = true;
	for (int i = 0; i < walk->nplans; i++)
		if (walk->plans[i].hash == hash && walk->plans[i].part == part &&
			strcmp(walk->plans[i].sql, sql) == 0)
		{
			walk->plans[i].used = ++walk->part_uses;
			return walk->plans[i].plan;
		}

	SPI_connect();
	plan = SPI_prepare_cursor(sql, nargs, argtypes,
							  walk->planned_by_value ? CURSOR_OPT_CUSTOM_PLAN : CURSOR_OPT_GENERIC_PLAN);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare_cursor failed: %s", SPI_result_code_string(SPI_result));
	SPI_keepplan(plan);
	SPI_finish();

	/* if an outer call uses these plans too, this one lasts only for the call */
	*kept = cache_plan_fits(walk, part);
	if (!*kept)
		return plan;

	{
		WalkPlan   *slot = &walk->plans[walk->nplans];

		slot->hash = hash;
		slot->part = part;
		slot->used = ++walk->part_uses;
		slot->sql = MemoryContextStrdup(walk->context, sql);
		slot->plan = plan;
		walk->nplans++;
		if (OidIsValid(part))
			walk->npart_plans++;
	}
	return plan;
}

/*
 * The output to look for positions by: of any row, whether the filter is true
 * there or not, since looking for the next match might read everything; unless
 * there is only an index of the matches.
 */
WalkOutput
walk_all_keys(const Walk *walk)
{
	return OidIsValid(walk->filter_index) && !OidIsValid(walk->key->index) ? WALK_KEYS : WALK_KEYS_UNFILTERED;
}

/*
 * Warn, unless *warned, that no index gives the order of this walk, with the
 * index to create; and set *warned.  Silent for small relations, and for those
 * (foreign partitions, too) whose indexes we cannot know.
 */
void
walk_warn_unsupported(const Walk *walk, Relation rel, bool *warned)
{
	if (*warned || OidIsValid(walk->key->index) || OidIsValid(walk->filter_index) ||
		walk->redirected || !relation_is_local_table(rel))
		return;
	*warned = true;
	if (relation_estimate_rows_here(rel) < WARN_MIN_ROWS)
		return;
	ereport(WARNING,
			(walk->style.also_expand ?
			 errmsg("no index of \"%s\" supports the order of this walk, so every page or chunk reads and sorts all of its partitions that are not foreign",
					RelationGetRelationName(rel)) :
			 errmsg("no index of \"%s\" supports the order of this walk, so every page or chunk reads and sorts the whole relation",
					RelationGetRelationName(rel)),
			 errhint("Create an index: %s", walk->key->create_index)));
}

static void
register_callbacks(void)
{
	static bool registered = false;

	if (registered)
		return;
	CacheRegisterRelcacheCallback(invalidate_walks, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, invalidate_all_walks, (Datum) 0);
	CacheRegisterSyscacheCallback(TYPEOID, invalidate_all_walks, (Datum) 0);
	CacheRegisterSyscacheCallback(OPEROID, invalidate_all_walks, (Datum) 0);
	CacheRegisterSyscacheCallback(COLLOID, invalidate_all_walks, (Datum) 0);
	CacheRegisterSyscacheCallback(CLAOID, invalidate_all_walks, (Datum) 0);
	CacheRegisterSyscacheCallback(PROCOID, invalidate_filtered_walks, (Datum) 0);
	registered = true;
}

static void
invalidate_walks(Datum arg, Oid relid)
{
	dlist_iter	iter;

	(void) arg;
	dlist_foreach(iter, &walks)
	{
		Walk	   *walk = dlist_container(Walk, node, iter.cur);

		if (!OidIsValid(relid) || walk->relid == relid)
			walk->valid = false;
		for (int i = 0; i < WALK_MAX_PARTS; i++)
			if (!OidIsValid(relid) || walk->parts[i].relid == relid)
				walk->parts[i].valid = false;
	}
}

static void
invalidate_all_walks(Datum arg, int cacheid, uint32 hashvalue)
{
	(void) cacheid;
	(void) hashvalue;
	invalidate_walks(arg, InvalidOid);
}

/*
 * What functions a filter calls is known from when the walk was built, and the
 * results of those that are immutable.  Another function of that name would do to make
 * this wrong, so any change to any function counts.
 */
static void
invalidate_filtered_walks(Datum arg, int cacheid, uint32 hashvalue)
{
	dlist_iter	iter;

	(void) arg;
	(void) cacheid;
	(void) hashvalue;
	dlist_foreach(iter, &walks)
	{
		Walk	   *walk = dlist_container(Walk, node, iter.cur);

		if (walk->filter != NULL || !walk->ready)
			walk->valid = false;
	}
}

/*
 * What distinguishes walks.  Collations and operator classes in a key are looked
 * up along search_path, as are the operators and functions in a filter, and the
 * literals in a filter are read under the session's settings when its query is
 * parsed, so these belong to it.
 */
static void
make_identity(StringInfo buf, Oid relid, const char *key, const Filter *filter)
{
	Oid			user = GetUserId();

	initStringInfo(buf);
	appendBinaryStringInfo(buf, (char *) &relid, sizeof(relid));
	appendStringInfoChar(buf, key != NULL);
	if (key != NULL)
		append_with_end(buf, key);
	if (key != NULL || filter != NULL)
	{
		append_with_end(buf, GetConfigOption("search_path", false, false));
		appendBinaryStringInfo(buf, (char *) &user, sizeof(user));	/* "$user" */
	}
	if (filter != NULL)
	{
		appendStringInfoString(buf, filter->text);
		for (int i = 0; i < WALK_NSETTINGS; i++)
		{
			appendStringInfoChar(buf, '\0');
			appendStringInfoString(buf, GetConfigOption(walk_settings[i], false, false));
		}
	}
}

/* With its terminating zero, so that no other texts are alike put together. */
static void
append_with_end(StringInfo buf, const char *text)
{
	appendBinaryStringInfo(buf, text, strlen(text) + 1);
}

static Walk *
cache_find(const StringInfo identity, uint32 hash)
{
	dlist_iter	iter;

	dlist_foreach(iter, &walks)
	{
		Walk	   *walk = dlist_container(Walk, node, iter.cur);

		if (walk->hash == hash && walk->valid && walk->ready &&
			walk->identity_length == identity->len &&
			memcmp(walk->identity, identity->data, identity->len) == 0)
			return walk;
	}
	return NULL;
}

/* Free what can no longer be used, and the oldest entry if there are too many. */
static void
cache_make_room(void)
{
	dlist_mutable_iter iter;
	Walk	   *oldest = NULL;

	dlist_foreach_modify(iter, &walks)
	{
		Walk	   *walk = dlist_container(Walk, node, iter.cur);

		if (walk->pins > 0)
			continue;
		if (!walk->valid || !walk->ready)
			cache_drop(walk);
		else
			oldest = walk;
	}
	if (nwalks >= MAX_WALKS && oldest != NULL)
		cache_drop(oldest);
}

static void
cache_drop(Walk *walk)
{
	dlist_delete(&walk->node);
	nwalks--;
	cache_drop_plans(walk);
	MemoryContextDelete(walk->context);
}

static void
cache_drop_plans(Walk *walk)
{
	while (walk->nplans > 0)
		cache_drop_plan(walk, walk->nplans - 1);
}

static void
cache_drop_plan(Walk *walk, int i)
{
	WalkPlan   *slot = &walk->plans[i];

	SPI_freeplan(slot->plan);
	pfree(slot->sql);
	if (OidIsValid(slot->part))
		walk->npart_plans--;
	*slot = walk->plans[--walk->nplans];
}

/* Make room for one more plan; false if none of them may go. */
static bool
cache_plan_fits(Walk *walk, Oid part)
{
	int			oldest = -1;

	if (walk->nplans < MAX_PLANS && (!OidIsValid(part) || walk->npart_plans < MAX_PART_PLANS))
		return true;
	if (walk->pins > 1)
		return false;
	if (!OidIsValid(part))
	{
		cache_drop_plans(walk);
		return true;
	}
	for (int i = 0; i < walk->nplans; i++)
		if (OidIsValid(walk->plans[i].part) && (oldest < 0 || walk->plans[i].used < walk->plans[oldest].used))
			oldest = i;
	if (oldest < 0)
		cache_drop_plans(walk);
	else
		cache_drop_plan(walk, oldest);
	return true;
}

/* Fill in a new walk, in its own memory context. */
static void
cache_build(Walk *walk, Relation rel, const char *key, const Filter *filter)
{
	char		relkind = rel->rd_rel->relkind;

	walk->key = key_resolve(rel, key);
	walk->relation = relation_quoted_name(rel);
	walk->qualifier = pstrdup(quote_identifier(RelationGetRelationName(rel)));
	walk->style.expand = (relkind == RELKIND_FOREIGN_TABLE);
	walk->style.prune = (relkind == RELKIND_PARTITIONED_TABLE);
	walk->redirected = relation_is_local_table(rel) && redirect_of_walk(rel, walk->key);
	/* columns that are computed when they are read might be computed otherwise there */
	walk->in_order = !walk->redirected && !compat_has_virtual_columns(RelationGetDescr(rel)) &&
		partition_order_is_known(rel, walk->key);
	walk->style.also_expand = remote_has_partitions(rel);
	walk->all_foreign = walk->style.also_expand && remote_has_all_partitions(rel);
	walk->by_partitions = walk->all_foreign && remote_is_merged(rel, walk->key);
	walk->inherited = relation_has_children(rel);
	/* whoever redirects queries may refuse to plan them without their values */
	walk->planned_by_value = (relkind == RELKIND_VIEW) || walk->redirected;
	if (walk->redirected)
	{
		/* nothing that an index promises, or can be read by */
		walk->key->index = InvalidOid;
		walk->key->unique = false;
		walk->key->norder = walk->key->ncolumns;
	}
	walk->plans = palloc(MAX_PLANS * sizeof(WalkPlan));

	if (filter != NULL)
	{
		ListCell   *lc;

		walk->filter_quals = check_filter(walk, filter);
		foreach(lc, walk->filter_quals)
			if (!contain_mutable_functions(lfirst(lc)))
				walk->filter_clauses = lappend(walk->filter_clauses, lfirst(lc));
		walk->filter_in_partitions = walk->all_foreign && remote_takes_filter(rel, walk->filter->text);
		walk->filter_index = walk->redirected ? InvalidOid :
			key_filter_index(rel, walk->key, walk->filter_quals);
		/* where all is read and sorted, the values may show a better way */
		if (walk->filter->nargs > 0 && !OidIsValid(walk->key->index) && !OidIsValid(walk->filter_index) &&
			!walk->style.expand && !walk->style.also_expand)
			walk->planned_by_value = true;
	}
	make_select_lists(walk, rel);
}

/*
 * Refuse a filter that is not one boolean expression over the relation's
 * columns, and do not keep the walk if the filter reads the clock when parsed.
 * Returns its clauses as an implicit AND, the relation being number 1.
 */
static List *
check_filter(Walk *walk, const Filter *filter)
{
	Node	   *quals;

	walk->filter = filter_parse(filter);
	if (walk->filter->clock_literal)
		walk->valid = false;
	quals = filter_find_types(walk->filter, walk->relation);
	return make_ands_implicit((Expr *) canonicalize_qual((Expr *) eval_const_expressions(NULL, quals),
														 false));
}

static void
make_select_lists(Walk *walk, Relation rel)
{
	const WalkKey *key = walk->key;
	TupleDesc	tupdesc = RelationGetDescr(rel);
	StringInfoData rows;
	StringInfoData keys;

	initStringInfo(&rows);
	for (int i = 0; i < tupdesc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(tupdesc, i);

		appendStringInfoString(&rows, i > 0 ? ", " : "");
		if (attr->attisdropped)
			appendStringInfoString(&rows, "NULL");
		else
			appendStringInfo(&rows, "%s.%s", walk->qualifier,
							 quote_identifier(NameStr(attr->attname)));
	}

	walk->row_attnums = palloc(key->ncolumns * sizeof(AttrNumber));
	walk->key_attnums = palloc(key->ncolumns * sizeof(AttrNumber));
	initStringInfo(&keys);
	for (int i = 0; i < key->ncolumns; i++)
	{
		appendStringInfo(&keys, "%s%s.%s", i > 0 ? ", " : "", walk->qualifier,
						 quote_identifier(key->columns[i].name));
		walk->row_attnums[i] = key->columns[i].attnum;
		walk->key_attnums[i] = i + 1;
	}

	walk->select_lists[WALK_ROWS] = rows.data;
	walk->select_lists[WALK_KEYS] = keys.data;
	walk->select_lists[WALK_KEYS_UNFILTERED] = keys.data;
	walk->select_lists[WALK_MATCHES] = walk->filter == NULL ? NULL :
		psprintf("%s, (%s\n) IS TRUE", keys.data, walk->filter->text);
}
