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

#include "btree/btree_parts.h"
#include "key/direct_read.h"

/* An index of a partition, by its table */
typedef struct PartIndex
{
	Oid			table;
	Oid			index;
} PartIndex;

static PartIndex *find_indexes(Oid root_index, int *nindexes);
static int	compare_tables(const void *a, const void *b);
static Oid	index_of_part(Relation part, const PartIndex *indexes, int nindexes);

/*
 * Open what is to be read for this relation's rows by the key's index.  NULL if
 * there is nothing, or the caller may not read it this way, or one of the
 * partitions cannot be.  In the current memory context.
 */
BtreeParts *
btree_open_parts(Relation rel, const WalkKey *key)
{
	BtreeParts *parts;

	if (!direct_read_allowed(rel, key, DIRECT_READ_KEY))
		return NULL;
	parts = btree_open_leaves(rel, key->index, key);
	if (parts == NULL || parts->nparts > 0)
		return parts;
	btree_close_parts(parts);
	return NULL;
}

/*
 * The same, whether the caller may read it or not, of a table or of the partitions
 * below one, index being its own; there may be none.
 */
BtreeParts *
btree_open_leaves(Relation rel, Oid index, const WalkKey *key)
{
	bool		partitioned = rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
	List	   *tables;
	PartIndex  *indexes = NULL;
	int			nindexes = 0;
	BtreeParts *parts;
	ListCell   *lc;

	if (partitioned)
	{
		tables = find_all_inheritors(RelationGetRelid(rel), AccessShareLock, NULL);
		indexes = find_indexes(index, &nindexes);
	}
	else
		tables = list_make1_oid(RelationGetRelid(rel));

	parts = palloc(offsetof(BtreeParts, parts) + list_length(tables) * sizeof(BtreePart));
	parts->nparts = 0;
	foreach(lc, tables)
	{
		BtreePart  *part = &parts->parts[parts->nparts];

		CHECK_FOR_INTERRUPTS();
		part->rel = relation_open(lfirst_oid(lc), AccessShareLock);
		if (part->rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		{
			relation_close(part->rel, NoLock);
			continue;
		}
		part->btree = btree_open_part(part->rel,
									  partitioned ? index_of_part(part->rel, indexes, nindexes) :
									  index,
									  key);
		if (part->btree == NULL)
		{
			relation_close(part->rel, NoLock);
			btree_close_parts(parts);
			return NULL;
		}
		parts->nparts++;
	}
	return parts;
}

void
btree_close_parts(BtreeParts *parts)
{
	for (int i = 0; i < parts->nparts; i++)
	{
		btree_close(parts->parts[i].btree);
		relation_close(parts->parts[i].rel, NoLock);
	}
	pfree(parts);
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
	const PartIndex *found = bsearch(&sought, indexes, nindexes, sizeof(PartIndex), compare_tables);

	return found == NULL ? InvalidOid : found->index;
}

/*
 * The position of the last visible row after "after" and up to "upto" (NULL:
 * unbounded), or NULL if there is none.
 */
Position *
btree_last_position(const BtreeParts *parts, const WalkKey *key,
					const Position *after, const Position *upto)
{
	Position   *last = NULL;

	for (int i = 0; i < parts->nparts; i++)
	{
		BtreeIndex *btree = parts->parts[i].btree;
		Position   *position = btree_last_of_index(btree, after, upto);

		btree_unpin(btree);
		if (position != NULL && (last == NULL || position_compare(key, position, last) > 0))
			last = position;
	}
	return last;
}

/*
 * The same of one index.  Walk order may be the reverse of the index's: then its
 * first row is the last.
 */
Position *
btree_last_of_index(BtreeIndex *btree, const Position *after, const Position *upto)
{
	BtreePage  *page = btree_page_make();
	bool		leftward = !btree->backward;
	int			step = leftward ? -1 : 1;
	bool		more;
	Position   *last = NULL;
	int			offset = 0;

	page->in_place = true;
	btree_pin_visibility(btree);
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
		/* one look at each page shows whether all that is left is too far */
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
