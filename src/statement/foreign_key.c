/*
 * foreign_key.c
 *		Foreign keys whose check reads a large table for every row.
 *
 * No plan shows them: a row that is deleted, or whose referenced columns change,
 * fires a constraint trigger that looks for the rows that refer to it.  So the
 * triggers of the relation that is written are looked at, which partitions have
 * of their own, and those that a cascade fires in turn.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/syscache.h"

#include "base/relation.h"
#include "statement/foreign_key.h"
#include "statement/full_scan.h"

/* Rows of a relation that are written: given by the statement, or by a cascade */
typedef struct Change
{
	Oid			relid;
	bool		deletes;
	List	   *updated;		/* String: names of columns */
} Change;

/* A foreign key from the side that refers */
typedef struct Reference
{
	Oid			relid;
	Oid			referenced_relid;
	int			ncolumns;
	AttrNumber	columns[INDEX_MAX_KEYS];
	AttrNumber	referenced[INDEX_MAX_KEYS];
	char		on_delete;		/* pg_constraint.confdeltype */
	char		on_update;
	int			nset;			/* columns that ON DELETE sets, or 0 for all */
	AttrNumber	set[INDEX_MAX_KEYS];
} Reference;

typedef struct Search
{
	List	   *changes;		/* Change, each looked at once */
	List	   *warned;			/* Reference */
} Search;

static void add_change(Search *search, Oid relid, bool deletes, List *updated);
static void look_at_triggers(Search *search, const Change *change, Oid relid);
static void follow_constraint(Search *search, Oid constraint, const Change *change, bool deletion);
static void read_reference(HeapTuple tuple, Reference *reference);
static List *column_names(Oid relid, int ncolumns, const AttrNumber *columns);
static void warn_unless_indexed(Search *search, const Reference *reference, Oid constraint,
								bool deletion);
static bool was_warned(const Search *search, const Reference *reference);
static double unindexed_pages(const Reference *reference);
static bool has_index(Relation rel, const List *names);
static char *topmost_name(Oid constraint);

/*
 * Warn of foreign keys that make it read a large table for every row that is
 * deleted from this relation, or has these columns (by number) set; with the
 * index to create.  Locks the relations that refer to it for reading.
 */
void
foreign_key_warn(Oid relid, bool deletes, Bitmapset *updated)
{
	Search		search = {0};
	List	   *names = NIL;
	int			attnum = 0;
	ListCell   *lc;

	while ((attnum = bms_next_member(updated, attnum)) >= 0)
		names = lappend(names, makeString(get_attname(relid, attnum, false)));
	add_change(&search, relid, deletes, names);

	/* the list grows meanwhile */
	foreach(lc, search.changes)
	{
		Change	   *change = lfirst(lc);
		ListCell   *member;

		CHECK_FOR_INTERRUPTS();
		foreach(member, find_all_inheritors(change->relid, AccessShareLock, NULL))
			look_at_triggers(&search, change, lfirst_oid(member));
	}
}

/* Note a change to be looked at, unless one that is noted covers it. */
static void
add_change(Search *search, Oid relid, bool deletes, List *updated)
{
	Change	   *change;
	ListCell   *lc;

	if (!deletes && updated == NIL)
		return;
	foreach(lc, search->changes)
	{
		Change	   *other = lfirst(lc);

		if (other->relid == relid && (other->deletes || !deletes) &&
			list_difference(updated, other->updated) == NIL)
			return;
	}
	change = palloc(sizeof(Change));
	change->relid = relid;
	change->deletes = deletes;
	change->updated = updated;
	search->changes = lappend(search->changes, change);
}

/* The constraint triggers of one of the relations that hold the changed rows. */
static void
look_at_triggers(Search *search, const Change *change, Oid relid)
{
	Relation	rel = relation_open(relid, AccessShareLock);
	TriggerDesc *triggers = rel->trigdesc;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (trigger->tgenabled == TRIGGER_DISABLED ||
			RI_FKey_trigger_type(trigger->tgfoid) != RI_TRIGGER_PK)
			continue;
		if (TRIGGER_FOR_DELETE(trigger->tgtype) && change->deletes)
			follow_constraint(search, trigger->tgconstraint, change, true);
		if (TRIGGER_FOR_UPDATE(trigger->tgtype) && change->updated != NIL)
			follow_constraint(search, trigger->tgconstraint, change, false);
	}
	relation_close(rel, NoLock);
}

/* What a constraint does when rows that are referred to are deleted or updated. */
static void
follow_constraint(Search *search, Oid constraint, const Change *change, bool deletion)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	Reference	reference = {0};
	char		action;

	if (!HeapTupleIsValid(tuple))
		return;
	read_reference(tuple, &reference);
	ReleaseSysCache(tuple);
	if (!deletion &&
		list_intersection(column_names(reference.referenced_relid, reference.ncolumns, reference.referenced),
						  change->updated) == NIL)
		return;
	LockRelationOid(reference.relid, AccessShareLock);
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(reference.relid)))
		return;

	warn_unless_indexed(search, &reference, constraint, deletion);
	action = deletion ? reference.on_delete : reference.on_update;
	if (deletion && action == FKCONSTR_ACTION_CASCADE)
		add_change(search, reference.relid, true, NIL);
	else if (action == FKCONSTR_ACTION_CASCADE || action == FKCONSTR_ACTION_SETNULL ||
			 action == FKCONSTR_ACTION_SETDEFAULT)
		add_change(search, reference.relid, false, deletion && reference.nset > 0 ?
				   column_names(reference.relid, reference.nset, reference.set) :
				   column_names(reference.relid, reference.ncolumns, reference.columns));
}

static void
read_reference(HeapTuple tuple, Reference *reference)
{
	Form_pg_constraint constraint = (Form_pg_constraint) GETSTRUCT(tuple);
	Oid			unused[INDEX_MAX_KEYS];

	reference->relid = constraint->conrelid;
	reference->referenced_relid = constraint->confrelid;
	reference->on_delete = constraint->confdeltype;
	reference->on_update = constraint->confupdtype;
	DeconstructFkConstraintRow(tuple, &reference->ncolumns, reference->columns, reference->referenced,
							   unused, NULL, NULL, &reference->nset, reference->set);
}

static List *
column_names(Oid relid, int ncolumns, const AttrNumber *columns)
{
	List	   *names = NIL;

	for (int i = 0; i < ncolumns; i++)
		names = lappend(names, makeString(get_attname(relid, columns[i], false)));
	return names;
}

static void
warn_unless_indexed(Search *search, const Reference *reference, Oid constraint, bool deletion)
{
	double		pages;
	Reference  *warned;
	Relation	rel;
	StringInfoData columns;
	ListCell   *lc;

	if (was_warned(search, reference))
		return;
	warned = palloc(sizeof(Reference));
	*warned = *reference;
	search->warned = lappend(search->warned, warned);
	pages = unindexed_pages(reference);
	if (pages <= LARGE_PAGES)
		return;

	initStringInfo(&columns);
	foreach(lc, column_names(reference->relid, reference->ncolumns, reference->columns))
		appendStringInfo(&columns, "%s%s", foreach_current_index(lc) > 0 ? ", " : "",
						 quote_identifier(strVal(lfirst(lc))));
	rel = relation_open(reference->relid, NoLock);
	ereport(WARNING,
			(deletion ?
			 errmsg("foreign key \"%s\" reads all of \"%s\" for every row that is deleted",
					topmost_name(constraint), RelationGetRelationName(rel)) :
			 errmsg("foreign key \"%s\" reads all of \"%s\" for every row that is updated",
					topmost_name(constraint), RelationGetRelationName(rel)),
			 errdetail("It has %.0f pages without an index that leads with (%s).", pages, columns.data),
			 errhint("Create an index: CREATE INDEX %sON %s (%s)",
					 rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ? "" : "CONCURRENTLY ",
					 relation_quoted_name(rel), columns.data)));
	relation_close(rel, NoLock);
}

/* Once is enough: a partition has the constraint of its parent again. */
static bool
was_warned(const Search *search, const Reference *reference)
{
	const ListCell *lc;

	foreach(lc, search->warned)
	{
		const Reference *other = lfirst(lc);

		if (other->relid == reference->relid && other->ncolumns == reference->ncolumns &&
			memcmp(other->columns, reference->columns, reference->ncolumns * sizeof(AttrNumber)) == 0)
			return true;
	}
	return false;
}

/* How much of the referring table, over all its partitions, has no index for it. */
static double
unindexed_pages(const Reference *reference)
{
	List	   *names = column_names(reference->relid, reference->ncolumns, reference->columns);
	bool		partitioned = get_rel_relkind(reference->relid) == RELKIND_PARTITIONED_TABLE;
	double		pages = 0;
	ListCell   *lc;

	/* children that are not partitions are not in the constraint */
	foreach(lc, partitioned ? find_all_inheritors(reference->relid, AccessShareLock, NULL) :
			list_make1_oid(reference->relid))
	{
		Relation	rel = relation_open(lfirst_oid(lc), NoLock);

		if (RELKIND_HAS_TABLE_AM(rel->rd_rel->relkind) && !has_index(rel, names))
			pages += RelationGetNumberOfBlocks(rel);
		relation_close(rel, NoLock);
	}
	return pages;
}

/*
 * Is there an index whose first columns are these, in whatever order?  GiST and
 * the like are for keys with a period.
 */
static bool
has_index(Relation rel, const List *names)
{
	bool		found = false;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = relation_open(lfirst_oid(lc), AccessShareLock);
		Form_pg_index form = index->rd_index;
		int			leading = 0;

		if (form->indisvalid && RelationGetIndexPredicate(index) == NIL &&
			(index->rd_rel->relam == BTREE_AM_OID || index->rd_rel->relam == HASH_AM_OID ||
			 index->rd_rel->relam == GIST_AM_OID))
			while (leading < form->indnkeyatts && form->indkey.values[leading] > 0 &&
				   list_member(names, makeString(get_attname(RelationGetRelid(rel),
															  form->indkey.values[leading], false))))
				leading++;
		relation_close(index, NoLock);
		if (leading >= list_length(names))
			found = true;
	}
	return found;
}

/* The name that the author gave: partitions' constraints have names of their own. */
static char *
topmost_name(Oid constraint)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	Form_pg_constraint form;
	char	   *name;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for constraint %u", constraint);
	form = (Form_pg_constraint) GETSTRUCT(tuple);
	name = OidIsValid(form->conparentid) ? topmost_name(form->conparentid) : pstrdup(NameStr(form->conname));
	ReleaseSysCache(tuple);
	return name;
}
