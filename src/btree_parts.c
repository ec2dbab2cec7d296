/*
 * btree_parts.c
 *		The btree indexes of a relation, one for each leaf partition, and the last
 *		position that they hold.
 *
 * Of partitions whose rows lie anywhere in the key's order, the last position
 * is the last of their last ones.  They are asked one after the other, so that
 * no more than a few buffers are pinned however many there are; a query would
 * have a scan of each open at once.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/index.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "miscadmin.h"
#include "utils/rel.h"

#include "btree.h"

/* An index of a partition, by its table */
typedef struct PartIndex
{
	Oid			table;
	Oid			index;
} PartIndex;

static PartIndex *find_indexes(Oid root_index, int *nindexes);
static int	compare_tables(const void *a, const void *b);
static Oid	index_of_part(Relation part, const PartIndex *indexes, int nindexes);
static Position *last_of_part(BtreeIndex *btree, const Position *after, const Position *upto);

/*
 * Open what is to be read for this relation's rows by the key's index: itself,
 * or its leaf partitions.  NULL if there is none, or one that cannot be read
 * directly.  In the current memory context; to be closed by btree_close_parts().
 */
BtreePart *
btree_open_parts(Relation rel, const WalkKey *key, int *nparts)
{
	bool		partitioned = rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
	List	   *tables = partitioned ?
		find_all_inheritors(RelationGetRelid(rel), AccessShareLock, NULL) :
		list_make1_oid(RelationGetRelid(rel));
	int			nindexes = 0;
	PartIndex  *indexes = partitioned ? find_indexes(key->index, &nindexes) : NULL;
	BtreePart  *parts = palloc(list_length(tables) * sizeof(BtreePart));
	ListCell   *lc;

	*nparts = 0;
	foreach(lc, tables)
	{
		Relation	part_rel = relation_open(lfirst_oid(lc), AccessShareLock);
		BtreePart  *part = &parts[*nparts];

		CHECK_FOR_INTERRUPTS();
		if (part_rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		{
			relation_close(part_rel, NoLock);
			continue;
		}
		part->rel = part_rel;
		part->btree = btree_open_part(part_rel,
									  partitioned ? index_of_part(part_rel, indexes, nindexes) :
									  key->index,
									  key);
		if (part->btree == NULL)
		{
			relation_close(part_rel, NoLock);
			btree_close_parts(parts, *nparts);
			return NULL;
		}
		(*nparts)++;
	}
	return *nparts > 0 ? parts : NULL;
}

void
btree_close_parts(BtreePart *parts, int nparts)
{
	for (int i = 0; i < nparts; i++)
	{
		btree_close(parts[i].btree);
		relation_close(parts[i].rel, NoLock);
	}
}

/* All indexes below that of the root, by the tables that they are of. */
static PartIndex *
find_indexes(Oid root_index, int *nindexes)
{
	List	   *oids = find_all_inheritors(root_index, AccessShareLock, NULL);
	PartIndex  *indexes = palloc(list_length(oids) * sizeof(PartIndex));
	ListCell   *lc;

	*nindexes = 0;
	foreach(lc, oids)
	{
		indexes[*nindexes].index = lfirst_oid(lc);
		indexes[*nindexes].table = IndexGetRelation(lfirst_oid(lc), true);
		(*nindexes)++;
	}
	qsort(indexes, *nindexes, sizeof(PartIndex), compare_tables);
	return indexes;
}

static int
compare_tables(const void *a, const void *b)
{
	Oid			x = ((const PartIndex *) a)->table;
	Oid			y = ((const PartIndex *) b)->table;

	return x < y ? -1 : x > y ? 1 : 0;
}

static Oid
index_of_part(Relation part, const PartIndex *indexes, int nindexes)
{
	PartIndex	sought = {RelationGetRelid(part), InvalidOid};
	PartIndex  *found = bsearch(&sought, indexes, nindexes, sizeof(PartIndex), compare_tables);

	return found == NULL ? InvalidOid : found->index;
}

/*
 * Set *last to the position of the last visible row after "after" and up to
 * "upto" (NULL: unbounded), NULL if there is none; false if the indexes cannot
 * be read directly.
 */
bool
btree_last_position(Relation rel, const WalkKey *key, const Position *after,
					const Position *upto, Position **last)
{
	BtreePart  *parts;
	int			nparts;

	*last = NULL;
	if (!btree_caller_may_read(rel, key))
		return false;
	parts = btree_open_parts(rel, key, &nparts);
	if (parts == NULL)
		return false;
	for (int i = 0; i < nparts; i++)
	{
		Position   *position = last_of_part(parts[i].btree, after, upto);

		btree_unpin(parts[i].btree);
		if (position != NULL &&
			(*last == NULL || position_compare(key, position, *last) > 0))
			*last = position;
	}
	btree_close_parts(parts, nparts);
	return true;
}

/* Walk order may be the reverse of the index's: then its first row is the last. */
static Position *
last_of_part(BtreeIndex *btree, const Position *after, const Position *upto)
{
	BtreePage  *page = btree_page_make();
	bool		leftward = !btree->backward;
	int			step = leftward ? -1 : 1;
	bool		more;
	Position   *last = NULL;
	int			offset = 0;

	page->in_place = true;
	more = btree_descend_to(btree, page, upto, leftward, true);
	if (more && upto != NULL)
	{
		offset = btree_search_page(btree, page, upto, leftward);
		if (leftward)
			offset--;
	}
	else if (more)
		offset = leftward ? page->last : page->first;
	while (more && last == NULL)
	{
		/* one look a page shows whether all that is left is too far */
		if (after != NULL && offset >= page->first && offset <= page->last &&
			btree_compare(btree, btree_page_item(page, offset), after) * step >= 0)
			break;
		for (; offset >= page->first && offset <= page->last; offset += step)
			if (btree_item_known_visible(btree, page, offset) ||
				(btree_page_unlock(page), btree_item_visible(btree, page, offset)))
			{
				btree_page_unlock(page);
				last = position_make(btree->key);
				btree_position(btree, btree_page_item(page, offset), last);
				break;
			}
		if (last == NULL)
		{
			more = leftward ? btree_page_step_left(btree, page) :
				btree_page_step_right(btree, page);
			offset = leftward ? page->last : page->first;
		}
	}
	btree_page_release(btree, page);
	pfree(page);
	if (last != NULL && after != NULL && position_compare(btree->key, last, after) <= 0)
		last = NULL;
	return last;
}
