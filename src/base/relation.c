/*
 * relation.c
 *		What may be walked: opening it, naming it, guessing its size.
 *
 * Every relation is opened under AccessShareLock, the lock that the SELECT
 * which follows takes anyway, and stays locked to the end of the transaction,
 * so that its columns and indexes cannot change between the moment when the
 * key is worked out and the moment when the query runs.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "optimizer/plancat.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/relation.h"

static void check_rewrite(Relation rel, bool is_part);
static bool is_older(HeapTuple tuple, Snapshot snapshot);
static bool estimate_with_parts(Relation rel, double *here, double *elsewhere);

/*
 * The relation whose row type this is.  row_type: the declared type of an
 * anyelement argument.
 */
Oid
relation_of_row_type(Oid row_type)
{
	Oid			relid;

	relid = OidIsValid(row_type) ? get_typ_typrelid(row_type) : InvalidOid;
	/* a kept plan holds the type's OID, and not all are made again when the table is dropped */
	if (!OidIsValid(relid) && OidIsValid(row_type) && !SearchSysCacheExists1(TYPEOID, ObjectIdGetDatum(row_type)))
		relation_report_changed(NULL);
	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("type %s is not the row type of a table",
						format_type_be(row_type)),
				 errhint("Name the table by a null of its row type, for example NULL::event.")));
	return relid;
}

/*
 * Open relid under AccessShareLock, kept until the end of the transaction.
 * The caller closes it with table_close(rel, NoLock).
 */
Relation
relation_open_to_walk(Oid relid)
{
	Relation	rel;

	/* as for a table that is named in FROM: a partition may have come since it was locked */
	AcceptInvalidationMessages();
	rel = try_relation_open(relid, AccessShareLock);
	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid),
				 errhint("Name an existing table, partitioned table, foreign table, materialized view or view.")));

	switch (rel->rd_rel->relkind)
	{
		case RELKIND_RELATION:
		case RELKIND_PARTITIONED_TABLE:
		case RELKIND_FOREIGN_TABLE:
		case RELKIND_MATVIEW:
		case RELKIND_VIEW:
			break;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("\"%s\" cannot be walked", RelationGetRelationName(rel)),
					 errdetail_relkind_not_supported(rel->rd_rel->relkind),
					 errhint("Name a table, partitioned table, foreign table, materialized view or view.")));
	}
	return rel;
}

/*
 * The statement was parsed for a relation that has changed since, or
 * that is gone (name NULL), and cannot be made to use the one that exists now.
 */
void
relation_report_changed(const char *name)
{
	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the relation that the statement names by its row type no longer exists"),
				 errdetail("It was dropped or renamed after the statement was parsed."),
				 errhint("Execute the statement again: it will be parsed again, and find what has that name now.")));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the columns of relation \"%s\" have changed since the statement was parsed", name),
			 errdetail("A column was dropped or has another type."),
			 errhint("Execute the statement again: it will be parsed again, with the columns as they are now.")));
}

/*
 * ALTER TABLE that rewrites a table, and TRUNCATE, take the rows away from
 * earlier snapshots.  One that was taken before the lock on rel, which then had
 * to wait, or one of an older transaction, would see a table without rows,
 * and the walk would be over.  Error: 40001 if so.
 */
void
relation_check_rewrite(Relation rel)
{
	check_rewrite(rel, false);
}

/*
 * The same of a partition that is reached later than the table it is of.  One that
 * did not exist then has no rows that the snapshot sees.
 */
void
relation_check_rewrite_of_part(Relation part)
{
	check_rewrite(part, true);
}

static void
check_rewrite(Relation rel, bool is_part)
{
	Snapshot	snapshot;
	Relation	pg_class;
	List	   *relids;
	ListCell   *lc;

	/* every snapshot sees a materialized view's rows, and others have none of their own */
	if (!ActiveSnapshotSet() || !IsMVCCSnapshot(GetActiveSnapshot()) ||
		(rel->rd_rel->relkind != RELKIND_RELATION && rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE))
		return;
	snapshot = GetActiveSnapshot();
	relids = rel->rd_rel->relhassubclass ?
		find_all_inheritors(RelationGetRelid(rel), NoLock, NULL) : list_make1_oid(RelationGetRelid(rel));

	pg_class = table_open(RelationRelationId, AccessShareLock);
	foreach(lc, relids)
	{
		ScanKeyData key;
		SysScanDesc scan;
		HeapTuple	then;
		HeapTuple	now = SearchSysCache1(RELOID, ObjectIdGetDatum(lfirst_oid(lc)));
		Oid			file = HeapTupleIsValid(now) ? ((Form_pg_class) GETSTRUCT(now))->relfilenode : InvalidOid;
		bool		is_old = HeapTupleIsValid(now) && is_older(now, snapshot);

		/* the snapshot sees it as it is */
		if (HeapTupleIsValid(now) &&
			TransactionIdPrecedes(HeapTupleHeaderGetXmin(now->t_data), snapshot->xmin))
			file = InvalidOid;
		if (HeapTupleIsValid(now))
			ReleaseSysCache(now);
		if (!OidIsValid(file) || is_old)
			continue;
		ScanKeyInit(&key, Anum_pg_class_oid, BTEqualStrategyNumber, F_OIDEQ,
					ObjectIdGetDatum(lfirst_oid(lc)));
		scan = systable_beginscan(pg_class, ClassOidIndexId, true, snapshot, 1, &key);
		then = systable_getnext(scan);
		if (HeapTupleIsValid(then) ? ((Form_pg_class) GETSTRUCT(then))->relfilenode != file :
			lfirst_oid(lc) == RelationGetRelid(rel) && !is_part)
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("relation \"%s\" was rewritten after the snapshot of this statement was taken",
							RelationGetRelationName(rel)),
					 errdetail("The snapshot sees no rows of it, so that the walk would end too early."),
					 errhint("Execute the statement again, in a new transaction if this one keeps its snapshot.")));
		systable_endscan(scan);
	}
	table_close(pg_class, AccessShareLock);
	list_free(relids);
}

/* Is this row of a catalog from before all that the snapshot does not see? */
static bool
is_older(HeapTuple tuple, Snapshot snapshot)
{
	TransactionId xmin = HeapTupleHeaderGetXmin(tuple->t_data);

	return !TransactionIdIsNormal(xmin) || TransactionIdPrecedes(xmin, snapshot->xmin);
}

/*
 * Does SELECT on this relation also read tables that inherit from it?  Their
 * rows are outside its unique indexes and its NOT NULL constraints.
 */
bool
relation_has_children(Relation rel)
{
	return rel->rd_rel->relkind == RELKIND_RELATION &&
		rel->rd_rel->relhassubclass &&
		has_subclass(RelationGetRelid(rel));
}

/*
 * Do this relation's rows lie in tables of this server, so that its indexes
 * say how they can be read?
 */
bool
relation_is_local_table(Relation rel)
{
	char		relkind = rel->rd_rel->relkind;

	return relkind == RELKIND_RELATION ||
		relkind == RELKIND_PARTITIONED_TABLE ||
		relkind == RELKIND_MATVIEW;
}

/* Is it that table, or a partition of it? */
bool
relation_is_or_is_in(Oid relid, Oid ancestor)
{
	return relid == ancestor ||
		(get_rel_relispartition(relid) &&
		 list_member_oid(get_partition_ancestors(relid), ancestor));
}

/*
 * The planner's guess at the number of rows, over all partitions and children;
 * 0 where nothing is known (views).
 */
double
relation_estimate_rows(Relation rel)
{
	double		here;
	double		elsewhere;

	(void) estimate_with_parts(rel, &here, &elsewhere);
	return here + elsewhere;
}

/* The same of a table by itself, without partitions and children. */
double
relation_estimate_rows_alone(Relation rel)
{
	BlockNumber blocks = RelationGetNumberOfBlocks(rel);
	BlockNumber pages;
	double		tuples;
	double		allvisfrac;

	/* a table never analyzed counts as ten blocks there, even if empty */
	estimate_rel_size(rel, NULL, &pages, &tuples, &allvisfrac);
	return blocks < pages ? tuples * blocks / pages : tuples;
}

/* The same without foreign partitions and children. */
double
relation_estimate_rows_here(Relation rel)
{
	double		here;
	double		elsewhere;

	(void) estimate_with_parts(rel, &here, &elsewhere);
	return here;
}

/* Is there a guess for all of it?  A foreign table must have been analyzed. */
bool
relation_has_estimate(Relation rel)
{
	double		here;
	double		elsewhere;

	return estimate_with_parts(rel, &here, &elsewhere);
}

static bool
estimate_with_parts(Relation rel, double *here, double *elsewhere)
{
	bool		known = true;
	ListCell   *lc;

	*here = 0;
	*elsewhere = 0;
	foreach(lc, find_all_inheritors(RelationGetRelid(rel), AccessShareLock, NULL))
	{
		Relation	part = relation_open(lfirst_oid(lc), NoLock);

		if (RELKIND_HAS_TABLE_AM(part->rd_rel->relkind))
			*here += relation_estimate_rows_alone(part);
		else if (part->rd_rel->relkind == RELKIND_FOREIGN_TABLE)
		{
			if (part->rd_rel->reltuples < 0)
				known = false;
			else
				*elsewhere += part->rd_rel->reltuples;
		}
		relation_close(part, NoLock);
	}
	return known;
}

/* The schema-qualified, quoted name, in the current memory context. */
char *
relation_quoted_name(Relation rel)
{
	return quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
									  RelationGetRelationName(rel));
}
