/*
 * remote.c
 *		What remote servers do by themselves, so that few rows travel.
 *
 * Of a foreign table the server has WHERE, ORDER BY, LIMIT and count(*) done at
 * the other end; of a partitioned table with foreign partitions, neither LIMIT
 * nor count: rows come here to be cut off or counted.  So partitions are queried
 * one by one, each by its own name, and what they give is put together.  Only
 * where that shows the caller no more, since a partition that is named is
 * read under its own privileges and policies.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_foreign_table.h"
#include "catalog/pg_inherits.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/rls.h"

#include "base/parse.h"
#include "base/relation.h"
#include "walk/remote.h"

static bool may_read(Oid relid);
static bool find_other_name(Node *node, void *relid);

/* Is it a partitioned table some of whose partitions are foreign tables? */
bool
remote_has_partitions(Relation rel)
{
	Relation	catalog;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;

	if (rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		return false;
	/* usually there are fewer foreign tables, if any, than partitions */
	catalog = table_open(ForeignTableRelationId, AccessShareLock);
	scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
		found = relation_is_or_is_in(((Form_pg_foreign_table) GETSTRUCT(tuple))->ftrelid,
									 RelationGetRelid(rel));
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return found;
}

/* Are all of them? */
bool
remote_has_all_partitions(Relation rel)
{
	ListCell   *lc;

	foreach(lc, find_all_inheritors(RelationGetRelid(rel), AccessShareLock, NULL))
	{
		char		relkind = get_rel_relkind(lfirst_oid(lc));

		if (relkind != RELKIND_PARTITIONED_TABLE && relkind != RELKIND_FOREIGN_TABLE)
			return false;
	}
	return true;
}

/*
 * Must the rows of a partitioned table's partitions be merged in the key's
 * order?  Where they are ranges of its leading column, the server reads one
 * after the other.
 */
bool
remote_is_merged(Relation rel, const WalkKey *key)
{
	PartitionKey partition_key = RelationGetPartitionKey(rel);

	return get_partition_strategy(partition_key) != PARTITION_STRATEGY_RANGE ||
		get_partition_col_attnum(partition_key, 0) != key->columns[0].attnum;
}

/*
 * Does the filter, which has been checked, mean the same for a partition under
 * the name of the parent?  It does if all its names are those of columns; NULL
 * does.
 */
bool
remote_takes_filter(Relation rel, const char *filter)
{
	char	   *complaint;
	List	   *parsed;
	Oid			relid = RelationGetRelid(rel);

	if (filter == NULL)
		return true;
	parsed = parse_text(filter, RAW_PARSE_PLPGSQL_EXPR, &complaint);
	return complaint == NULL &&
		!raw_expression_tree_walker(linitial_node(RawStmt, parsed)->stmt, find_other_name, &relid);
}

/*
 * The names of the leaf partitions of a table that has foreign ones, if the
 * caller might as well name each of them, else NIL.
 */
List *
remote_partitions(Relation rel)
{
	List	   *names = NIL;
	ListCell   *lc;

	if (!remote_has_partitions(rel) || !may_read(RelationGetRelid(rel)))
		return NIL;
	foreach(lc, find_all_inheritors(RelationGetRelid(rel), AccessShareLock, NULL))
	{
		Relation	leaf = relation_open(lfirst_oid(lc), NoLock);
		bool		partitioned = leaf->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;

		if (!partitioned)
			names = lappend(names, relation_quoted_name(leaf));
		relation_close(leaf, NoLock);
		if (!partitioned && !may_read(lfirst_oid(lc)))
			return NIL;
	}
	return names;
}

/*
 * Count the rows that satisfy the condition, whose columns are qualified by the
 * relation's name, and the filter, which has been checked and bound; either may be
 * NULL.  The condition's parameters are numbered after the filter's.
 */
int64
remote_count(Relation rel, const RangeQuery *condition, const BoundFilter *filter)
{
	const char *qualifier = quote_identifier(RelationGetRelationName(rel));
	List	   *leaves = remote_takes_filter(rel, filter == NULL ? NULL : filter->text) ? remote_partitions(rel) : NIL;
	int			nbefore = filter == NULL ? 0 : filter->nargs;
	int			nargs = nbefore + (condition == NULL ? 0 : condition->nparams);
	Oid		   *types = palloc(Max(nargs, 1) * sizeof(Oid));
	Datum	   *values = palloc(Max(nargs, 1) * sizeof(Datum));
	StringInfoData query;
	ListCell   *lc;
	bool		isnull;
	int64		rows;

	initStringInfo(&query);
	if (leaves != NIL)
		appendStringInfoString(&query, "SELECT pg_catalog.sum(rows)::pg_catalog.int8 FROM (");
	foreach(lc, leaves != NIL ? leaves : list_make1(relation_quoted_name(rel)))
	{
		appendStringInfo(&query, "%sSELECT pg_catalog.count(*) AS rows FROM %s",
						 foreach_current_index(lc) > 0 ? " UNION ALL " : "", (char *) lfirst(lc));
		if (leaves != NIL)
			appendStringInfo(&query, " AS %s", qualifier);
		appendStringInfo(&query, " WHERE %s", condition != NULL ? condition->condition : "TRUE");
		if (filter != NULL)
			appendStringInfo(&query, " AND (%s\n)", filter->text);
	}
	if (leaves != NIL)
		appendStringInfoString(&query, ") AS counts");

	for (int i = 0; i < nargs; i++)
	{
		types[i] = i < nbefore ? filter->types[i] : condition->types[i - nbefore];
		values[i] = i < nbefore ? filter->values[i] : condition->values[i - nbefore];
	}
	SPI_connect();
	if (SPI_execute_with_args(query.data, nargs, types, values, filter_spi_nulls(filter, nargs - nbefore), true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not count rows of %s", RelationGetRelationName(rel));
	rows = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	return rows;
}

/* All rows and columns of it */
static bool
may_read(Oid relid)
{
	return pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) == ACLCHECK_OK &&
		check_enable_rls(relid, InvalidOid, true) != RLS_ENABLED;
}

static bool
find_other_name(Node *node, void *relid)
{
	if (node == NULL)
		return false;
	if (IsA(node, SubLink))
		return true;
	if (IsA(node, ColumnRef))
	{
		ColumnRef  *ref = (ColumnRef *) node;

		return list_length(ref->fields) != 1 || !IsA(linitial(ref->fields), String) ||
			get_attnum(*(Oid *) relid, strVal(linitial(ref->fields))) == InvalidAttrNumber;
	}
	return raw_expression_tree_walker(node, find_other_name, relid);
}
