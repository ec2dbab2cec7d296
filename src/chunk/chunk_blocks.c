/*
 * chunk_blocks.c
 *		Chunks by block ranges: key => 'ctid'.
 *
 * For tables without a usable key.  A chunk is a range of heap blocks of one
 * table or leaf partition (or inheritance parent without its children), read by
 * a TID range scan; its positions are TIDs,
 * (block, 65535) being the end of a block.  The number of blocks is taken after
 * the snapshot, so that every row of the snapshot lies in one of the ranges.
 *
 * Rows move between blocks when they are updated, so the ranges are exact only
 * for readers that share one snapshot.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/tableam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "parser/scansup.h"
#include "storage/bufmgr.h"
#include "storage/itemptr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/rel.h"
#include "utils/rls.h"

#include "base/quote.h"
#include "base/relation.h"
#include "chunk/chunk_blocks.h"
#include "chunk/count.h"
#include "key/position.h"
#include "key/redirect.h"
#include "walk/filter.h"

/* The highest offset that a TID can have: after every row of its block */
#define END_OF_BLOCK PG_UINT16_MAX

/* One table or leaf partition to read */
typedef struct BlockPart
{
	Oid			relid;
	char	   *name;			/* if a condition must exclude its children: quoted */
	int64		first_block;	/* the range that was asked for */
	int64		end_block;		/* one past it */
	double		rows_per_block; /* estimated */
	bool		count;			/* estimates must not be shown: policies hide rows */
	double		weight;			/* bytes, TOAST counted */
	int64		nchunks;
} BlockPart;

typedef struct ChunkBlocks
{
	ChunkSource source;
	ChunkRequest request;
	int			nparts;
	BlockPart  *parts;

	int64		number;			/* of the last chunk */
	int			part;			/* the current one */
	int64		chunk;			/* in that part, from 0 */
} ChunkBlocks;

static bool next_block_chunk(ChunkSource *source, Chunk *chunk, char **predicate, MemoryContext keep);
static void open_parts(ChunkBlocks *split, Relation rel);
static BlockPart read_part(const ChunkRequest *request, Relation rel);
static void bound_part(const ChunkRequest *request, BlockPart *part);
static int64 position_block(Jsonb *position, const char *argument);
static Jsonb *block_position(int64 block);
static void share_out(ChunkBlocks *split);
static char *block_predicate(const char *qualifier, const char *name, int64 from, int64 to);
static int64 count_in_blocks(const ChunkRequest *request, Oid relid, int64 from, int64 to);

/* Is this key the physical one, 'ctid'? */
bool
chunk_blocks_is_key(const char *key)
{
	const char *const blanks = " \t\n\r\f";
	size_t		length;

	if (key == NULL)
		return false;
	key += strspn(key, blanks);
	length = strcspn(key, blanks);
	return length == strlen("ctid") && pg_strncasecmp(key, "ctid", length) == 0 &&
		key[length + strspn(key + length, blanks)] == '\0';
}

/*
 * Start a split by blocks.  Errors: 0A000 a relation that has no blocks to read
 * by, scan_limit, or a range over several partitions; 42501 no SELECT on one.
 */
ChunkSource *
chunk_blocks_begin(const ChunkRequest *request)
{
	ChunkBlocks *split = palloc0(sizeof(ChunkBlocks));
	Relation	rel = relation_open_to_walk(request->relid);

	if (request->scan_limit > 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("scan_limit does not apply to chunks by ctid"),
				 errhint("Leave it out: a range of blocks limits the rows examined by itself.")));
	if (request->filter != NULL)
		(void) filter_parse(request->filter);

	split->source.next = next_block_chunk;
	split->request = *request;
	open_parts(split, rel);
	share_out(split);
	relation_close(rel, NoLock);
	return &split->source;
}

static bool
next_block_chunk(ChunkSource *source, Chunk *chunk, char **predicate, MemoryContext keep)
{
	ChunkBlocks *split = (ChunkBlocks *) source;
	const ChunkRequest *request = &split->request;
	BlockPart  *part;
	int64		blocks;
	int64		from;
	int64		to;

	(void) keep;
	while (split->part < split->nparts &&
		   split->chunk >= split->parts[split->part].nchunks)
	{
		split->part++;
		split->chunk = 0;
	}
	if (split->part >= split->nparts)
		return false;

	part = &split->parts[split->part];
	blocks = part->end_block - part->first_block;
	from = part->first_block + blocks * split->chunk / part->nchunks;
	to = part->first_block + blocks * (split->chunk + 1) / part->nchunks;
	split->chunk++;

	chunk->number = ++split->number;
	chunk->relid = part->relid;
	chunk->after = from > 0 ? block_position(from - 1) : NULL;
	chunk->upto = block_position(to - 1);
	chunk->row_count = request->exact || request->filter != NULL || part->count ?
		count_in_blocks(request, part->relid, from, to) :
		(int64) rint((to - from) * part->rows_per_block);
	if (predicate != NULL)
		*predicate = block_predicate(request->alias, part->name, from, to);
	return true;
}

/* List the tables to read, in the order of the partitions' OIDs. */
static void
open_parts(ChunkBlocks *split, Relation rel)
{
	const ChunkRequest *request = &split->request;
	List	   *relids = list_make1_oid(RelationGetRelid(rel));
	ListCell   *lc;

	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE || relation_has_children(rel))
	{
		if (request->after != NULL || request->upto != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("after and upto cannot distinguish the partitions of \"%s\" by ctid",
							RelationGetRelationName(rel)),
					 errhint("Leave them out, so that one call splits all of it, or split a partition by its own name.")));
		relids = find_all_inheritors(RelationGetRelid(rel), AccessShareLock, NULL);
	}

	split->parts = palloc0(list_length(relids) * sizeof(BlockPart));
	foreach(lc, relids)
	{
		Relation	part_rel = relation_open(lfirst_oid(lc), AccessShareLock);

		if (part_rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
			split->parts[split->nparts++] = read_part(request, part_rel);
		relation_close(part_rel, NoLock);
	}
}

static BlockPart
read_part(const ChunkRequest *request, Relation rel)
{
	BlockPart	part = {0};
	AclResult	acl = pg_class_aclcheck(RelationGetRelid(rel), GetUserId(), ACL_SELECT);

	/* the chunks name the part itself, so that its own privileges count */
	if (acl != ACLCHECK_OK)
		aclcheck_error(acl, OBJECT_TABLE, RelationGetRelationName(rel));

	if (!RELKIND_HAS_TABLE_AM(rel->rd_rel->relkind) ||
		rel->rd_tableam->scan_set_tidrange == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("relation \"%s\" cannot be split by ctid", RelationGetRelationName(rel)),
				 errdetail("Only tables whose access method scans ranges of row identifiers can."),
				 errhint("Pass the columns of a key instead.")));
	if (redirect_of_blocks(rel))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("relation \"%s\" cannot be split by ctid", RelationGetRelationName(rel)),
				 errdetail("An extension has the server read its rows elsewhere."),
				 errhint("Pass the columns of a key instead.")));

	part.relid = RelationGetRelid(rel);
	part.name = relation_has_children(rel) ? relation_quoted_name(rel) : NULL;
	part.count = check_enable_rls(part.relid, InvalidOid, true) == RLS_ENABLED;
	part.end_block = RelationGetNumberOfBlocks(rel);
	part.rows_per_block = part.end_block > 0 ? relation_estimate_rows_alone(rel) / part.end_block : 0;
	part.weight = (double) DatumGetInt64(DirectFunctionCall1(pg_table_size,
															 ObjectIdGetDatum(part.relid)));
	bound_part(request, &part);
	return part;
}

/* Cut a part to the positions asked for. */
static void
bound_part(const ChunkRequest *request, BlockPart *part)
{
	int64		blocks = part->end_block;

	if (request->after != NULL)
		part->first_block = position_block(request->after, "after") + 1;
	if (request->upto != NULL)
		part->end_block = Min(blocks, position_block(request->upto, "upto") + 1);
	part->first_block = Min(part->first_block, part->end_block);
	if (blocks > 0)
		part->weight *= (double) (part->end_block - part->first_block) / blocks;
}

/* The block that a position {"ctid": "(block,65535)"} ends. */
static int64
position_block(Jsonb *position, const char *argument)
{
	JsonbValue	buffer;
	JsonbValue *value = !JB_ROOT_IS_OBJECT(position) || JB_ROOT_COUNT(position) != 1 ? NULL :
		getKeyJsonValueFromContainer(&position->root, "ctid", 4, &buffer);
	ItemPointer tid;

	if (value == NULL || value->type != jbvString)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is not a position by ctid", argument),
				 errhint("Use the upto of a chunk of this table: {\"ctid\": \"(99,65535)\"}.")));
	tid = (ItemPointer) DatumGetPointer(DirectFunctionCall1(tidin,
															CStringGetDatum(pnstrdup(value->val.string.val,
																					 value->val.string.len))));
	if (ItemPointerGetOffsetNumberNoCheck(tid) != END_OF_BLOCK)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is not at the end of a block", argument),
				 errhint("Use the upto of a chunk of this table: {\"ctid\": \"(99,65535)\"}.")));
	return ItemPointerGetBlockNumberNoCheck(tid);
}

static Jsonb *
block_position(int64 block)
{
	char	   *text = psprintf("{\"ctid\": \"(" INT64_FORMAT ",%d)\"}", block, END_OF_BLOCK);

	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
}

/*
 * Decide how many chunks each part gives: by rows where a chunk's size is asked
 * for; by bytes, heap and TOAST, where their number is: one for each part that
 * has blocks, and each further one to the part whose chunks are largest.
 */
static void
share_out(ChunkBlocks *split)
{
	const ChunkRequest *request = &split->request;
	int64		left = request->parts;

	for (int i = 0; i < split->nparts; i++)
	{
		BlockPart  *part = &split->parts[i];
		int64		blocks = part->end_block - part->first_block;

		part->nchunks = Min(blocks, 1);
		if (request->parts == 0)
			part->nchunks = Min(blocks, Max(1, (int64) ceil(blocks * part->rows_per_block / request->chunk_size)));
		left -= part->nchunks;
	}

	/* most of them at once, by proportion rounded down; then one by one */
	if (left > 0)
	{
		double		weight = 0;
		int64		to_share = left;

		for (int i = 0; i < split->nparts; i++)
			weight += split->parts[i].weight;
		for (int i = 0; i < split->nparts && weight > 0; i++)
		{
			BlockPart  *part = &split->parts[i];
			int64		blocks = part->end_block - part->first_block;
			int64		more = Min(blocks - part->nchunks,
								   Max((int64) (request->parts * part->weight / weight) - part->nchunks, 0));

			more = Min(more, to_share);
			part->nchunks += more;
			to_share -= more;
		}
		left = to_share;
	}
	for (; left > 0; left--)
	{
		BlockPart  *largest = NULL;

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < split->nparts; i++)
		{
			BlockPart  *part = &split->parts[i];

			if (part->nchunks > 0 && part->nchunks < part->end_block - part->first_block &&
				(largest == NULL ||
				 part->weight / part->nchunks > largest->weight / largest->nchunks))
				largest = part;
		}
		if (largest == NULL)
			break;
		largest->nchunks++;
	}
}

/*
 * Blocks from..to - 1 as a condition on ctid; name: the parent to which the
 * rows must belong, since its children have such blocks as well.
 */
static char *
block_predicate(const char *qualifier, const char *name, int64 from, int64 to)
{
	char	   *prefix = qualifier == NULL ? "" : psprintf("%s.", qualifier);
	StringInfoData buf;

	initStringInfo(&buf);
	if (name != NULL)
	{
		appendStringInfo(&buf, "%stableoid OPERATOR(pg_catalog.=) CAST(", prefix);
		quote_append_literal(&buf, name);
		appendStringInfoString(&buf, " AS pg_catalog.regclass) AND ");
	}
	if (from > 0)
		appendStringInfo(&buf, "%sctid OPERATOR(pg_catalog.>) CAST('(" INT64_FORMAT ",%d)' AS pg_catalog.tid) AND ",
						 prefix, from - 1, END_OF_BLOCK);
	appendStringInfo(&buf, "%sctid OPERATOR(pg_catalog.<=) CAST('(" INT64_FORMAT ",%d)' AS pg_catalog.tid)",
					 prefix, to - 1, END_OF_BLOCK);
	return buf.data;
}

/* The matching rows of a block range, on the statement's snapshot. */
static int64
count_in_blocks(const ChunkRequest *request, Oid relid, int64 from, int64 to)
{
	Relation	rel = relation_open(relid, NoLock);
	int64		rows = count_by_query(psprintf("ONLY %s", relation_quoted_name(rel)),
									  block_predicate(NULL, NULL, from, to),
									  request->filter);

	relation_close(rel, NoLock);
	return rows;
}
