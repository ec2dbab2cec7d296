/*
 * chunk_walk.c
 *		Chunks along a key: counted as the walk goes, or estimated beforehand.
 *
 * A counted chunk ends at its last row, so that the next one starts after that
 * row's position; the last one ends at the high-water mark, the last position
 * when the walk was planned.  Where the key is not unique a chunk takes in all
 * rows that share its end, which its condition holds anyway.  Each step starts
 * again from the last position, under the statement's snapshot: between the calls
 * of a set-returning function nothing but memory can be held.
 *
 * The rows are counted on the index's leaf pages where that is sound
 * (btree_count.c), else by queries; both end the chunk at the same row.
 * Estimated chunks have all their ends before the first is handed out.
 */
#include "postgres.h"

#include <math.h>

#include "access/table.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/relation.h"
#include "btree/btree_estimate.h"
#include "chunk/chunk_walk.h"
#include "chunk/condition.h"
#include "chunk/count.h"
#include "walk/walk_read.h"

/* Children of an index level wanted for each estimated chunk: an error of 1/50 */
#define CHILDREN_PER_CHUNK 50

/* With fewer leaves than this for each part, counting is as quick and exact */
#define LEAVES_PER_PART 4

/*
 * Of a partitioned relation, so many chunks are counted at a time, if as many have
 * been asked for before, and about so many rows
 */
#define CHUNKS_AHEAD 1024
#define ROWS_AHEAD 10000000

/* A chunk that rows of one position make so many times too large is worth a warning */
#define LARGE_BY_TIES 10

/* The end of an estimated chunk */
typedef struct PlannedChunk
{
	Jsonb	   *upto;
	int64		row_count;
} PlannedChunk;

typedef struct ChunkWalk
{
	ChunkSource source;

	/* fixed */
	ChunkRequest request;
	Jsonb	   *high_water;
	int64		total;			/* rows, if they are to be split evenly by count */
	int			nplanned;		/* estimated chunks; 0: count them */
	PlannedChunk *planned;

	/* counted ahead, of a partitioned relation; in a memory context of their own */
	MemoryContext ahead;		/* NULL: none yet */
	BtreeEnds	ends;
	int			next_end;		/* the first that has not been handed out */

	/* changing */
	int64		number;			/* of the last chunk */
	Jsonb	   *after;			/* where the next one starts, or NULL */
	bool		warned;
	bool		warned_large;

	/* after and high_water as datums, good for the walk of this serial */
	uint64		serial;
	Position   *after_position;
	Position   *high_water_position;
	MemoryContext contexts[2];	/* of after_position, in turns */
} ChunkWalk;

/* Counts the rows of one chunk */
typedef struct ChunkCount
{
	int64		chunk_size;
	AttrNumber	match_attnum;	/* of WALK_MATCHES's result; 0: all rows match */
	int64		rows;
} ChunkCount;

static bool next_walk_chunk(ChunkSource *source, Chunk *chunk, char **predicate, MemoryContext keep);
static Walk *open_walk(ChunkWalk *split, Relation *rel);
static void refresh_positions(ChunkWalk *split, Walk *walk);
static void forget_ahead(ChunkWalk *split);
static bool plan_estimated(ChunkWalk *split, Walk *walk, Relation rel, const BtreeParts *parts,
						   MemoryContext keep);
static Jsonb *write_and_keep(const WalkKey *key, const Position *position,
							 MemoryContext scratch, MemoryContext keep);
static bool find_next_end(ChunkWalk *split, Walk *walk, Relation rel, Range *range, int64 *rows);
static bool count_ahead(ChunkWalk *split, Walk *walk, Relation rel, const Range *range,
						WalkReader *reader, ChunkCount *chunk);
static bool find_ends(ChunkWalk *split, Walk *walk, Relation rel, const Range *range);
static int64 size_ahead(void *arg, int number);
static void warn_large(ChunkWalk *split, const Walk *walk, const WalkReader *reader, int64 rows);
static int64 size_of_chunk(const ChunkWalk *split, int64 number);
static bool count_natively(Walk *walk, Relation rel, const Range *range,
						   WalkReader *reader, ChunkCount *chunk);
static void count_remotely(Walk *walk, Relation rel, const Range *range,
						   WalkReader *reader, ChunkCount *chunk);
static bool count_row(WalkReader *reader, TupleTableSlot *slot);

/*
 * Start a split along a key.  The high-water mark is the last position of the
 * range.
 */
ChunkSource *
chunk_walk_begin(const ChunkRequest *request)
{
	MemoryContext keep = CurrentMemoryContext;
	ChunkWalk  *split = palloc0(sizeof(ChunkWalk));
	Relation	rel;
	Walk	   *walk;
	BtreeParts *parts = NULL;
	Position   *last;
	Range		range = {0};

	split->source.next = next_walk_chunk;
	split->request = *request;
	for (int i = 0; i < 2; i++)
		split->contexts[i] = AllocSetContextCreate(keep, "pg_chunked chunk", ALLOCSET_SMALL_SIZES);

	SPI_connect();
	walk = open_walk(split, &rel);
	split->warned = request->quiet;
	walk_warn_unsupported(walk, rel, &split->warned);
	if (request->after != NULL)
		range.after = position_read(walk->key, request->after, "after");
	if (request->upto != NULL)
		range.upto = position_read(walk->key, request->upto, "upto");
	if (request->filter == NULL && !request->exact)
		parts = btree_open_parts(rel, walk->key);
	if (parts != NULL)
		range.upto = btree_last_position(parts, walk->key, range.after, range.upto);
	else if (request->filter != NULL || !btree_find_last(rel, walk->key, range.after, range.upto, &last))
		range.upto = walk_last_position(walk, &range);
	else
		range.upto = last;
	split->source.over = (range.upto == NULL);
	if (range.upto != NULL)
	{
		MemoryContext scratch = MemoryContextSwitchTo(keep);

		if (range.after != NULL)
			split->after = position_write(walk->key, range.after);
		split->high_water = position_write(walk->key, range.upto);
		refresh_positions(split, walk);
		MemoryContextSwitchTo(scratch);

		if (!request->exact && parts != NULL)
			(void) plan_estimated(split, walk, rel, parts, keep);
		if (request->parts > 0 && split->nplanned == 0)
			split->total = count_in_range(walk, rel, &range);
	}
	if (parts != NULL)
		btree_close_parts(parts);
	MemoryContextSwitchTo(keep);
	SPI_finish();
	table_close(rel, NoLock);
	return &split->source;
}

/*
 * ChunkSource.next.  Finding the chunk is done in SPI's memory context, which
 * goes with the call; only the end of the last chunk outlives it, in one of two
 * contexts that take turns.
 */
static bool
next_walk_chunk(ChunkSource *source, Chunk *chunk, char **predicate, MemoryContext keep)
{
	ChunkWalk  *split = (ChunkWalk *) source;
	MemoryContext context = CurrentMemoryContext;
	MemoryContext next = split->contexts[split->number % 2];
	MemoryContext scratch;
	Relation	rel;
	Walk	   *walk;
	Range		range = {0};
	bool		found;

	SPI_connect();
	walk = open_walk(split, &rel);
	MemoryContextReset(next);
	scratch = MemoryContextSwitchTo(keep);
	refresh_positions(split, walk);
	MemoryContextSwitchTo(scratch);
	range.after = split->after_position;
	range.upto = split->high_water_position;

	found = find_next_end(split, walk, rel, &range, &chunk->row_count);
	if (found)
	{
		MemoryContextSwitchTo(context);
		chunk->number = ++split->number;
		chunk->relid = split->request.relid;
		chunk->after = split->after;
		chunk->upto = split->nplanned > 0 ? split->planned[split->number - 1].upto :
			position_write(walk->key, range.upto);
		if (predicate != NULL)
			*predicate = range_predicate(walk->key, condition_style(walk, &range, chunk->row_count),
										 split->request.alias, &range);

		MemoryContextSwitchTo(next);
		split->after = DatumGetJsonbPCopy(JsonbPGetDatum(chunk->upto));
		split->after_position = position_copy(walk->key, range.upto);
	}
	MemoryContextSwitchTo(context);
	SPI_finish();
	table_close(rel, NoLock);
	return found;
}

static Walk *
open_walk(ChunkWalk *split, Relation *rel)
{
	*rel = relation_open_to_walk(split->request.relid);
	return walk_open(*rel, split->request.key, split->request.filter);
}

/*
 * Make the positions datums of this walk, if they are not; it is another after
 * a change to the relation within the statement.  In the current memory
 * context.
 */
static void
refresh_positions(ChunkWalk *split, Walk *walk)
{
	if (split->serial == walk->serial)
		return;
	split->after_position = split->after == NULL ? NULL :
		position_read(walk->key, split->after, "after");
	split->high_water_position = position_read(walk->key, split->high_water, "upto");
	split->serial = walk->serial;
	forget_ahead(split);
}

static void
forget_ahead(ChunkWalk *split)
{
	split->source.at_hand = false;
	split->ends.nends = 0;
	split->ends.over = false;
	split->next_end = 0;
}

/*
 * Set split->planned, in keep, from an estimate.  False, and nothing planned, if the
 * index cannot be read directly or is too small to distinguish the chunks: then
 * counting is quick, or the only sound way.
 */
static bool
plan_estimated(ChunkWalk *split, Walk *walk, Relation rel, const BtreeParts *parts,
			   MemoryContext keep)
{
	const ChunkRequest *request = &split->request;
	Position   *after = split->after_position;
	Position   *upto = split->high_water_position;
	BtreeEstimate *estimate;
	double		first_rank;
	double		rows;
	double		size;
	double		nchunks;
	double		last_rank;
	double		rank = 0;		/* of the last end, from the first on */
	MemoryContext scratch;
	int64		wanted;

	wanted = request->parts > 0 ? request->parts :
		(int64) (relation_estimate_rows(rel) / request->chunk_size) + 1;
	estimate = btree_estimate_make(parts, walk->key, wanted * CHILDREN_PER_CHUNK,
								   after != NULL || request->upto != NULL || !walk->key->unique);

	first_rank = after == NULL ? 0 : btree_estimate_rank(estimate, after);
	last_rank = request->upto == NULL ? btree_estimate_rows(estimate) :
		btree_estimate_rank(estimate, upto);
	rows = Max(last_rank - first_rank, 0);
	size = request->parts > 0 ? rows / request->parts : request->chunk_size;
	nchunks = request->parts > 0 ? request->parts : Max(ceil(rows / size), 1);
	if (btree_estimate_children(estimate) < nchunks ||
		(request->parts > 0 &&
		 btree_estimate_children(estimate) < request->parts * LEAVES_PER_PART))
		return false;

	scratch = AllocSetContextCreate(CurrentMemoryContext, "pg_chunked plan", ALLOCSET_SMALL_SIZES);
	split->planned = MemoryContextAllocHuge(keep, (Size) nchunks * sizeof(PlannedChunk));
	for (int64 i = 1; i <= (int64) nchunks; i++)
	{
		bool		last = (i == (int64) nchunks);
		double		end_rank = last ? rows : size * i;
		Position   *end;

		CHECK_FOR_INTERRUPTS();
		end = last ? upto : btree_estimate_position(estimate, first_rank + size * i, false);

		/* ends that fall together make one chunk */
		if (end == NULL || (after != NULL && position_compare(walk->key, end, after) <= 0) ||
			(!last && position_compare(walk->key, end, upto) >= 0))
			continue;
		split->planned[split->nplanned].upto = write_and_keep(walk->key, end, scratch, keep);
		/* a chunk takes in all rows that share its end */
		if (!last && !walk->key->unique)
			end_rank = Min(Max(btree_estimate_rank(estimate, end) - first_rank, rank), rows);
		split->planned[split->nplanned].row_count = (int64) rint(end_rank - rank);
		split->nplanned++;
		after = end;
		rank = end_rank;
	}

	/* exactly the parts asked for, as long as there are rows for them */
	if (request->parts > 0 && split->nplanned < request->parts)
		split->nplanned = 0;
	return split->nplanned > 0;
}

/* The jsonb of a position in keep, with what is left over from making it freed. */
static Jsonb *
write_and_keep(const WalkKey *key, const Position *position, MemoryContext scratch,
			   MemoryContext keep)
{
	MemoryContext context = MemoryContextSwitchTo(scratch);
	Position	fresh = {.values = position->values,.nulls = position->nulls};
	Jsonb	   *json = position_write(key, &fresh);
	Jsonb	   *kept = MemoryContextAlloc(keep, VARSIZE(json));

	memcpy(kept, json, VARSIZE(json));
	MemoryContextSwitchTo(context);
	MemoryContextReset(scratch);
	return kept;
}

/*
 * Find the chunk that starts the range: set range->upto and its rows.  False if
 * there is none.  Sets source.over with the last one.
 */
static bool
find_next_end(ChunkWalk *split, Walk *walk, Relation rel, Range *range, int64 *rows)
{
	const ChunkRequest *request = &split->request;
	WalkReader	reader = {0};
	ChunkCount	count = {0};

	if (split->nplanned > 0)
	{
		PlannedChunk *planned = &split->planned[split->number];

		range->upto = position_read(walk->key, planned->upto, "upto");
		*rows = planned->row_count;
		split->source.over = (split->number + 1 == split->nplanned);
		return true;
	}

	count.chunk_size = size_of_chunk(split, split->number + 1);
	if (count.chunk_size == 0)
		return false;
	reader.output = WALK_KEYS;
	reader.limit = count.chunk_size;
	reader.boundary = true;
	reader.ties = true;
	reader.keep_end = true;
	reader.row = count_row;
	reader.arg = &count;
	if (request->scan_limit > 0)
	{
		reader.limit = Min(request->scan_limit, count.chunk_size);

		/* an index of just the matching rows bounds what is examined by itself */
		if (walk->filter != NULL &&
			(OidIsValid(walk->key->index) || !OidIsValid(walk->filter_index)))
		{
			reader.output = WALK_MATCHES;
			reader.limit = request->scan_limit;
			count.match_attnum = walk->key->ncolumns + 1;
		}
	}
	if (walk_can_skip(walk))
		count_remotely(walk, rel, range, &reader, &count);
	else if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ?
			 !count_ahead(split, walk, rel, range, &reader, &count) :
			 !count_natively(walk, rel, range, &reader, &count))
		walk_read(walk, range, &reader);

	*rows = count.rows;
	if (count.rows / LARGE_BY_TIES >= count.chunk_size)
		warn_large(split, walk, &reader, count.rows);
	if (reader.ended)
		range->upto = reader.end;
	else
	{
		split->source.over = true;
		if (reader.output == WALK_KEYS && walk->filter != NULL && reader.count > 0)
		{
			Position   *last = walk_end_of_range(walk, range, WALK_KEYS, true);

			/* a volatile filter may match nothing when asked again */
			if (last != NULL)
				range->upto = last;
		}
	}
	return reader.count > 0;
}

/*
 * The next chunk of a partitioned relation, counted on the leaf pages of its
 * partitions together with others, since each time it must open all that may hold
 * a row of it; false if that is not sound.  All see the statement's snapshot,
 * whenever they are counted.
 */
static bool
count_ahead(ChunkWalk *split, Walk *walk, Relation rel, const Range *range,
			WalkReader *reader, ChunkCount *chunk)
{
	BtreeEnds  *ends = &split->ends;

	if (split->next_end == ends->nends && !ends->over && !find_ends(split, walk, rel, range))
		return false;
	reader->ended = split->next_end < ends->nends;
	if (reader->ended)
	{
		const BtreeEnd *end = &ends->ends[split->next_end++];

		reader->end = position_copy(walk->key, end->position);
		chunk->rows = end->rows;
	}
	else
		chunk->rows = ends->rest;
	split->source.at_hand = split->next_end < ends->nends;
	reader->count = chunk->rows;
	return true;
}

static bool
find_ends(ChunkWalk *split, Walk *walk, Relation rel, const Range *range)
{
	const ChunkRequest *request = &split->request;
	BtreeEnds  *ends = &split->ends;
	int64		rows = Max(size_of_chunk(split, split->number + 1), 1);
	MemoryContext before;
	bool		found;

	forget_ahead(split);
	if (split->ahead == NULL)
	{
		split->ahead = AllocSetContextCreate(GetMemoryChunkContext(split), "pg_chunked chunks ahead",
											 ALLOCSET_DEFAULT_SIZES);
		ends->size = size_ahead;
		ends->arg = split;
	}
	MemoryContextReset(split->ahead);

	/* as many as there have been, so that no more than that can turn out not to be wanted */
	ends->most = (int) Min(CHUNKS_AHEAD, Max(ROWS_AHEAD / rows, 1));
	if (request->most_chunks > 0)
		ends->most = (int) Max(Min(ends->most, request->most_chunks - split->number), 1);
	ends->enough = (int) Min(ends->most, Max(split->number, 1));
	before = MemoryContextSwitchTo(split->ahead);
	ends->ends = palloc(ends->most * sizeof(BtreeEnd));
	found = count_ends_by_index(walk, rel, range, ends);
	MemoryContextSwitchTo(before);
	if (!found)
		forget_ahead(split);
	return found;
}

/* BtreeEnds.size: of the chunks after the last one that was handed out. */
static int64
size_ahead(void *arg, int number)
{
	const ChunkWalk *split = arg;
	int64		size = size_of_chunk(split, split->number + 1 + number);

	return split->request.scan_limit > 0 ? Min(split->request.scan_limit, size) : size;
}

/* Once for each walk. */
static void
warn_large(ChunkWalk *split, const Walk *walk, const WalkReader *reader, int64 rows)
{
	if (split->warned_large || !reader->ended)
		return;
	split->warned_large = true;
	ereport(WARNING,
			(errcode(ERRCODE_CARDINALITY_VIOLATION),
			 errmsg("a chunk of %s has " INT64_FORMAT " rows, since so many share the position %s", walk->relation, rows,
					JsonbToCString(NULL, &position_write(walk->key, reader->end)->root, 0)),
			 errhint("Add columns to the key until it is unique.")));
}

/*
 * The rows that a counted chunk is to have, 0 if there is none of this number:
 * the same for all, or an even share.
 */
static int64
size_of_chunk(const ChunkWalk *split, int64 number)
{
	int64		parts = split->request.parts;
	int64		share;
	int64		rest;

	if (parts == 0)
		return split->request.chunk_size;
	share = split->total / parts;
	rest = split->total % parts;
	if (number > parts)
		return 0;
	return number <= rest ? share + 1 : share;
}

/*
 * Read one chunk off the index's leaf pages, with the result that walk_read()
 * would have; false if that is not sound here.
 */
static bool
count_natively(Walk *walk, Relation rel, const Range *range, WalkReader *reader,
			   ChunkCount *chunk)
{
	BtreeCount	count;

	if (!count_by_index(walk, rel, range, (int64) Min(reader->limit, PG_INT64_MAX), &count))
		return false;
	chunk->rows = count.rows;
	reader->count = count.rows;
	reader->ended = count.ended;
	reader->end = count.end;
	return true;
}

/*
 * Find the end of one chunk of a foreign table, or of foreign partitions, and
 * count its rows, with the result that walk_read() would have, but with no rows
 * coming here.
 */
static void
count_remotely(Walk *walk, Relation rel, const Range *range, WalkReader *reader,
			   ChunkCount *chunk)
{
	bool		limited = (reader->output == WALK_MATCHES); /* by all rows as well */
	Range		rest = *range;

	chunk->rows = -1;
	reader->end = walk_nth(walk, rel, &rest, limited ? WALK_KEYS_UNFILTERED : reader->output,
						   (int64) reader->limit, limited ? NULL : &chunk->rows);
	if (reader->end != NULL)
		rest.upto = reader->end;
	if (limited)
	{
		Position   *end = walk_nth(walk, rel, &rest, WALK_KEYS, chunk->chunk_size, &chunk->rows);

		if (end != NULL)
			rest.upto = reader->end = end;
	}
	reader->ended = (reader->end != NULL);
	if (chunk->rows < 0)
		chunk->rows = walk_count(walk, rel, &rest, WALK_KEYS);
	reader->count = chunk->rows;
	if (chunk->rows == 0 && limited)
		reader->count = walk_count(walk, rel, &rest, WALK_KEYS_UNFILTERED);
}

static bool
count_row(WalkReader *reader, TupleTableSlot *slot)
{
	ChunkCount *count = reader->arg;

	if (count->match_attnum > 0)
	{
		bool		isnull;

		if (!DatumGetBool(slot_getattr(slot, count->match_attnum, &isnull)))
			return true;
	}
	return ++count->rows < count->chunk_size;
}
