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

#include "access/relation.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "optimizer/plancat.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "relation.h"

static bool estimate_rows(Relation rel, double *here, double *elsewhere);

/*
 * The relation whose row type this is.  row_type: the declared type of an
 * anyelement argument.
 */
Oid
relation_of_row_type(Oid row_type)
{
	Oid			relid;

	relid = OidIsValid(row_type) ? get_typ_typrelid(row_type) : InvalidOid;
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
	Relation	rel = try_relation_open(relid, AccessShareLock);

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

	(void) estimate_rows(rel, &here, &elsewhere);
	return here + elsewhere;
}

/* The same without foreign partitions and children. */
double
relation_estimate_rows_here(Relation rel)
{
	double		here;
	double		elsewhere;

	(void) estimate_rows(rel, &here, &elsewhere);
	return here;
}

/* Is there a guess for all of it?  A foreign table must have been analyzed. */
bool
relation_has_estimate(Relation rel)
{
	double		here;
	double		elsewhere;

	return estimate_rows(rel, &here, &elsewhere);
}

static bool
estimate_rows(Relation rel, double *here, double *elsewhere)
{
	bool		known = true;
	ListCell   *lc;

	*here = 0;
	*elsewhere = 0;
	foreach(lc, find_all_inheritors(RelationGetRelid(rel), AccessShareLock, NULL))
	{
		Relation	part = relation_open(lfirst_oid(lc), NoLock);

		if (RELKIND_HAS_TABLE_AM(part->rd_rel->relkind))
		{
			BlockNumber blocks = RelationGetNumberOfBlocks(part);
			BlockNumber pages;
			double		tuples;
			double		allvisfrac;

			/* a table never analyzed counts as ten blocks there, even if empty */
			estimate_rel_size(part, NULL, &pages, &tuples, &allvisfrac);
			*here += blocks < pages ? tuples * blocks / pages : tuples;
		}
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
