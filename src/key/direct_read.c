/*
 * direct_read.c
 *		May a relation be read by an index around the planner and the executor?
 *
 * Only where they would read the same, and would let the caller see all of it.
 * Else whoever asks goes by a query.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_namespace.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/relation.h"
#include "base/settings.h"
#include "key/direct_read.h"
#include "key/redirect.h"

static bool may_select(Relation rel, const WalkKey *key, DirectReadColumns columns);

/*
 * May the caller see these columns of every row of this relation, so that reading
 * around the executor shows nothing more?  And would the executor read the
 * same, under an ordinary snapshot?  SERIALIZABLE is left to it: pages of an index
 * that are looked at here leave no predicate locks.
 */
bool
direct_read_allowed(Relation rel, const WalkKey *key, DirectReadColumns columns)
{
	if (!settings_native || !OidIsValid(key->index) || key->norder != key->ncolumns)
		return false;
	if (IsolationIsSerializable() || compat_snapshots_expire() || !ActiveSnapshotSet() ||
		!IsMVCCSnapshot(GetActiveSnapshot()))
		return false;
	/* a query, which names the relation, needs this as well */
	if (!compat_may_use_schema(RelationGetNamespace(rel), GetUserId()))
		return false;
	if (check_enable_rls(RelationGetRelid(rel), InvalidOid, true) == RLS_ENABLED)
		return false;
	if (!may_select(rel, key, columns))
		return false;
	/* to ask what would be read of a partitioned table, all of it would have to be planned */
	return columns == DIRECT_READ_ROW_OF_PART ? !redirect_is_possible(rel) :
		!redirect_of_direct_read(rel, key);
}

/* Of rows, whoever watches privileges by a hook is to be asked: by a query. */
static bool
may_select(Relation rel, const WalkKey *key, DirectReadColumns columns)
{
	Oid			relid = RelationGetRelid(rel);
	Oid			user = GetUserId();

	if (columns != DIRECT_READ_KEY && ExecutorCheckPerms_hook != NULL)
		return false;
	if (pg_class_aclcheck(relid, user, ACL_SELECT) == ACLCHECK_OK)
		return true;
	if (columns != DIRECT_READ_KEY)
		return pg_attribute_aclcheck_all(relid, user, ACL_SELECT, ACLMASK_ALL) == ACLCHECK_OK;
	for (int i = 0; i < key->ncolumns; i++)
		if (pg_attribute_aclcheck(relid, key->columns[i].attnum, user, ACL_SELECT) != ACLCHECK_OK)
			return false;
	return true;
}

/* Are all rows of this relation in a heap of its own, which can be read at present? */
bool
direct_read_table(Relation rel)
{
	char		relkind = rel->rd_rel->relkind;

	return (relkind == RELKIND_RELATION || relkind == RELKIND_MATVIEW) &&
		rel->rd_tableam == GetHeapamTableAmRoutine() &&
		!relation_has_children(rel) && RelationIsPopulated(rel) &&
		!RELATION_IS_OTHER_TEMP(rel) &&
		(RelationIsPermanent(rel) || !RecoveryInProgress());
}

/* Would the planner use this index at present? */
bool
direct_read_index(Relation index)
{
	Form_pg_index form = index->rd_index;

	if (index->rd_rel->relkind != RELKIND_INDEX || !form->indisvalid || !form->indislive)
		return false;
	/* HOT chains broken when it was built may hide rows from an older snapshot */
	return !form->indcheckxmin ||
		TransactionIdPrecedes(HeapTupleHeaderGetXmin(index->rd_indextuple->t_data), TransactionXmin);
}

/* Is this index, which supports the key's order, in that order when read backwards? */
bool
direct_read_backward(const WalkKey *key, Relation index)
{
	return ((index->rd_indoption[0] & INDOPTION_DESC) != 0) != key->columns[0].descending;
}
