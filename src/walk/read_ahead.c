/*
 * read_ahead.c
 *		Having the heap blocks read ahead that an index scan comes to.
 *
 * The server's index scan reads heap blocks one at a time, each when its row is
 * wanted: over a table that is not in memory it waits for every row.  But nbtree
 * takes all that matches from a leaf page at once, into memory of the scan's own
 * (BTScanPosData).  So the places of the next rows are there to be looked at,
 * without reading any page: whenever the scan has handed out a row, some blocks
 * that it comes to next are asked for, and at the end of a leaf the next one.
 * Nothing else changes: the scan is the server's, under the caller's snapshot,
 * locks and privileges; nothing is pinned, opened or kept, and whatever is
 * looked at is within the bounds of the scan's own condition.
 *
 * It stops where it does not pay, and finds out for each leaf in a microsecond or two:
 * where rows follow the heap's order, since the operating system reads ahead
 * itself; and where a read of the scan's own shows that blocks come from memory.
 *
 * Only plain heap tables (partitions, too) by btree indexes.  TOAST is left out:
 * what a row keeps there is not known before the row is read.  So are index-only
 * scans, which need the heap for few rows.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/nbtree.h"
#include "access/relscan.h"
#include "catalog/pg_am.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "lib/ilist.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"

#include "base/prefetch.h"
#include "base/settings.h"
#include "walk/read_ahead.h"

/* Of fewer rows than this, in memory, setting up costs a measurable part of the page */
#define MIN_ROWS 16

/* If so many rows of a leaf are read without a block's being read, the next ones may well be, too */
#define TIMED_ROWS 16

/* Rows of a leaf that show well enough whether they follow the heap's order */
#define ENOUGH_ROWS 64

/* Blocks follow each other unless so great a part of them does not */
#define SCATTERED_PART 4

/* A scan is looked up for each of its rows, and a partitioned table has one for each partition */
#define SCAN_LISTS 512

/* One index scan */
struct ReadAhead
{
	/* fixed */
	Relation	index;
	bool		backward;

	/* changing */
	Prefetch	prefetch;
	int64		rows;			/* that may still be wanted */
	int			reach;			/* blocks to be ahead for now; grows each time */
	bool		over;			/* it does not pay for this scan: leave it alone */

	/* of the leaf that is being read */
	BlockNumber leaf;			/* or InvalidBlockNumber */
	bool		idle;			/* it does not pay there */
	bool		timing;			/* find out whether it does, by a read of the scan's own */
	int			timed;			/* rows since that began */
	bool		next_asked;		/* the next leaf has been asked for */
	int			current;		/* the item whose row was handed out last */
	int			next;			/* the first that has not been looked at */
	int			ahead;			/* blocks from current to next, without current's */
};

/* One that the executor runs */
typedef struct ExecutedScan
{
	dlist_node	node;			/* in scans_like() */
	IndexScanState *scan;
	ExecProcNodeMtd execute;	/* the node's own function */
	ReadAhead  *ahead;
} ExecutedScan;

/* All of this session, by scans_like(), the last used first in each */
static dlist_head scans[SCAN_LISTS];
static const char *expected = NULL; /* queries of this text, at this address, have their blocks read ahead */
static ExecutorStart_hook_type next_start_hook = NULL;

static void start_query(QueryDesc *desc, int eflags);
static void attach(PlanState *node, int64 rows, int64 sure, int share);
static void attach_all(PlanState **nodes, int nnodes, int64 rows, int64 sure, int share);
static void attach_scan(IndexScanState *scan, int64 rows, int64 sure, int share);
static void detach(ExecutedScan *executed);
static void forget(void *executed);
static inline dlist_head *scans_like(const PlanState *node);
static TupleTableSlot *execute_scan(PlanState *node);
static void look_ahead(ReadAhead *ahead, IndexScanDesc scan);
static void begin_leaf(ReadAhead *ahead, const BTScanPosData *position);
static bool is_scattered(const ReadAhead *ahead, const BTScanPosData *position, int *nrows);
static void ask_for_next_leaf(ReadAhead *ahead, const BTScanPosData *position);

/* Called once, when the library is loaded. */
void
read_ahead_install(void)
{
	for (int i = 0; i < SCAN_LISTS; i++)
		dlist_init(&scans[i]);
	next_start_hook = ExecutorStart_hook;
	ExecutorStart_hook = start_query;
}

/*
 * Read ahead in this query, which has been started but not run, as far as rows
 * of each of its index scans.  sure: so many will be wanted; what may be
 * wanted beyond that is asked for in growing numbers, as rows turn out to be read.
 */
void
read_ahead_begin(QueryDesc *desc, int64 rows, int64 sure)
{
	if (settings_native && rows >= MIN_ROWS)
		attach(desc->planstate, rows, sure, 1);
}

/*
 * Read ahead in the queries of a cached plan, for callers that do not start them
 * themselves.  source: its own copy of its text, which tells them from those that
 * run before, in planning, and within.  Returns what was expected before.
 */
const char *
read_ahead_expect(const char *source)
{
	const char *before = expected;

	expected = source;
	return before;
}

static void
start_query(QueryDesc *desc, int eflags)
{
	if (next_start_hook != NULL)
		next_start_hook(desc, eflags);
	else
		standard_ExecutorStart(desc, eflags);
	if (expected != NULL && desc->sourceText == expected && (eflags & EXEC_FLAG_EXPLAIN_ONLY) == 0)
		read_ahead_begin(desc, PG_INT64_MAX, PG_INT64_MAX);
}

/*
 * The index scans below a node.  Not those that a nested loop starts anew for
 * every row, nor those of subqueries in expressions.  share: so many scans are
 * read by turns.
 */
static void
attach(PlanState *node, int64 rows, int64 sure, int share)
{
	if (node == NULL)
		return;
	switch (nodeTag(node))
	{
		case T_IndexScanState:
			attach_scan((IndexScanState *) node, rows, sure, share);
			break;
		case T_AppendState:
			attach_all(((AppendState *) node)->appendplans, ((AppendState *) node)->as_nplans, rows, sure, share);
			break;
		case T_MergeAppendState:
			attach_all(((MergeAppendState *) node)->mergeplans, ((MergeAppendState *) node)->ms_nplans, rows, sure,
					   share * Max(((MergeAppendState *) node)->ms_nplans, 1));
			break;
		case T_SubqueryScanState:
			attach(((SubqueryScanState *) node)->subplan, rows, sure, share);
			break;
		default:
			attach(outerPlanState(node), rows, sure, share);
			if (nodeTag(node) != T_NestLoopState)
				attach(innerPlanState(node), rows, sure, share);
			break;
	}
}

static void
attach_all(PlanState **nodes, int nnodes, int64 rows, int64 sure, int share)
{
	for (int i = 0; i < nnodes; i++)
		attach(nodes[i], rows, sure, share);
}

static void
attach_scan(IndexScanState *scan, int64 rows, int64 sure, int share)
{
	PlanState  *node = &scan->ss.ps;
	ExecutedScan *executed;
	ReadAhead  *ahead;
	MemoryContextCallback *callback;
	MemoryContext context;

	if (scan->iss_RelationDesc == NULL || scan->iss_NumOrderByKeys > 0)
		return;
	context = MemoryContextSwitchTo(node->state->es_query_cxt);
	ahead = read_ahead_make(scan->ss.ss_currentRelation, scan->iss_RelationDesc,
							ScanDirectionIsBackward(((IndexScan *) node->plan)->indexorderdir), rows, sure, share);
	if (ahead != NULL)
	{
		executed = palloc0(sizeof(ExecutedScan));
		executed->scan = scan;
		executed->execute = node->ExecProcNodeReal;
		executed->ahead = ahead;

		/* with the query's memory the scan goes, too, however it ends */
		callback = palloc0(sizeof(MemoryContextCallback));
		callback->func = forget;
		callback->arg = executed;
		MemoryContextRegisterResetCallback(node->state->es_query_cxt, callback);
		dlist_push_head(scans_like(node), &executed->node);
		node->ExecProcNodeReal = execute_scan;
	}
	MemoryContextSwitchTo(context);
}

/* Leave the scan alone from now on. */
static void
detach(ExecutedScan *executed)
{
	PlanState  *node = &executed->scan->ss.ps;

	/* others may have put a function of theirs around ours since */
	if (node->ExecProcNodeReal == execute_scan)
		node->ExecProcNodeReal = executed->execute;
	if (node->ExecProcNode == execute_scan)
		node->ExecProcNode = executed->execute;
}

static void
forget(void *executed)
{
	dlist_delete(&((ExecutedScan *) executed)->node);
}

/* Where a node's scan is, if it has one. */
static inline dlist_head *
scans_like(const PlanState *node)
{
	return &scans[murmurhash32((uint32) ((uintptr_t) node / MAXIMUM_ALIGNOF)) % SCAN_LISTS];
}

/* In place of the node's own function */
static TupleTableSlot *
execute_scan(PlanState *node)
{
	dlist_head *list = scans_like(node);
	ExecutedScan *executed = dlist_head_element(ExecutedScan, node, list);
	TupleTableSlot *slot;

	if (unlikely(&executed->scan->ss.ps != node))
	{
		dlist_iter	iter;

		dlist_foreach(iter, list)
		{
			executed = dlist_container(ExecutedScan, node, iter.cur);
			if (&executed->scan->ss.ps == node)
				break;
		}
		dlist_move_head(list, &executed->node);
	}

	read_ahead_before_row(executed->ahead);
	slot = executed->execute(node);
	/* without a scan, it is a row to be checked again, which comes from elsewhere */
	if (!TupIsNull(slot) && executed->scan->iss_ScanDesc != NULL)
		read_ahead_after_row(executed->ahead, executed->scan->iss_ScanDesc);
	if (executed->ahead->over)
		detach(executed);
	return slot;
}

/*
 * Read ahead in this scan, which the caller makes, in the current memory context.
 * The caller says when it has it read a row.  NULL: that is of no use.
 */
ReadAhead *
read_ahead_make(Relation heap, Relation index, bool backward, int64 rows, int64 sure, int share)
{
	Prefetch	prefetch;
	ReadAhead  *ahead;

	if (!settings_native || rows < MIN_ROWS || index->rd_rel->relam != BTREE_AM_OID ||
		heap->rd_tableam != GetHeapamTableAmRoutine() || !prefetch_begin(&prefetch, heap))
		return NULL;
	ahead = palloc0(sizeof(ReadAhead));
	ahead->index = index;
	ahead->backward = backward;
	ahead->prefetch = prefetch;
	ahead->prefetch.window = Max(prefetch.window / share, 1);
	ahead->rows = rows;
	ahead->reach = (int) Min(sure, ahead->prefetch.window) * 2 / 3;
	ahead->leaf = InvalidBlockNumber;
	return ahead;
}

/* To be called before each row of the scan is read ... */
void
read_ahead_before_row(ReadAhead *ahead)
{
	if (ahead->timing)
		prefetch_before_read(&ahead->prefetch);
}

/* ... and after one has been. */
void
read_ahead_after_row(ReadAhead *ahead, IndexScanDesc scan)
{
	if (ahead->over)
		return;
	if (ahead->timing)
	{
		/* does the scan wait for the disk here? */
		PrefetchSource source = prefetch_after_read(&ahead->prefetch);

		ahead->timed++;
		if (source != PREFETCH_BUFFERS || ahead->timed >= TIMED_ROWS)
		{
			ahead->timing = false;
			ahead->idle = (source != PREFETCH_DISK);
		}
	}
	ahead->rows--;
	look_ahead(ahead, scan);
}

static inline BlockNumber
item_block(const BTScanPosData *position, int item)
{
	return ItemPointerGetBlockNumberNoCheck(&position->items[item].heapTid);
}

/* The scan has handed out a row: have the window filled that follows it. */
static void
look_ahead(ReadAhead *ahead, IndexScanDesc scan)
{
	const int	step = ahead->backward ? -1 : 1;
	const BTScanPosData *position = &((BTScanOpaque) scan->opaque)->currPos;
	int			current;
	int			left;

	if (!BTScanPosIsValid(*position))
		return;
	current = position->itemIndex;
	if (position->currPage != ahead->leaf || (current - ahead->current) * step < 0)
		begin_leaf(ahead, position);
	if (ahead->idle || ahead->timing)
		return;

	/* what the scan has left behind; a filter may have sent it beyond what was looked at */
	if ((current - ahead->next) * step >= 0)
	{
		ahead->next = current + step;
		ahead->ahead = 0;
	}
	else
		for (int i = ahead->current; i != current; i += step)
			if (item_block(position, i) != item_block(position, i + step))
				ahead->ahead--;
	ahead->current = current;

	/* many at a time: each wait ends in more than one block then */
	if (ahead->ahead > ahead->reach / 2)
		return;
	left = (ahead->backward ? current - position->firstItem : position->lastItem - current);
	left = (int) Min(left, ahead->rows);
	if ((ahead->next - current) * step <= left)
		ahead->reach = Min(ahead->reach + ahead->reach / 2 + 1, ahead->prefetch.window);
	for (; (ahead->next - current) * step <= left; ahead->next += step)
	{
		BlockNumber block = item_block(position, ahead->next);

		if (block == item_block(position, ahead->next - step))
			continue;
		if (ahead->ahead >= ahead->reach)
			return;
		ahead->ahead++;
		if (!prefetch_block(&ahead->prefetch, block))
		{
			ahead->idle = true;
			return;
		}
	}
	if (!ahead->next_asked && left < ahead->rows)
		ask_for_next_leaf(ahead, position);
}

/* The scan has come to another leaf, or begun anew. */
static void
begin_leaf(ReadAhead *ahead, const BTScanPosData *position)
{
	int			nrows;

	ahead->leaf = position->currPage;
	ahead->current = position->itemIndex;
	ahead->next = position->itemIndex + (ahead->backward ? -1 : 1);
	ahead->ahead = 0;
	ahead->next_asked = false;
	ahead->idle = !is_scattered(ahead, position, &nrows);
	ahead->timing = !ahead->idle;
	ahead->timed = 0;
	ahead->over = ahead->idle && nrows >= ENOUGH_ROWS;
	prefetch_probe(&ahead->prefetch);
}

/* Do the leaf's rows lead here and there?  *nrows: the rows that tell. */
static bool
is_scattered(const ReadAhead *ahead, const BTScanPosData *position, int *nrows)
{
	const int	step = ahead->backward ? -1 : 1;
	int			item = position->itemIndex;
	BlockNumber block = item_block(position, item);
	int			changes = 0;
	int			jumps = 0;

	*nrows = ahead->backward ? item - position->firstItem : position->lastItem - item;
	*nrows = (int) Min(*nrows, ahead->rows);
	for (int i = 0; i < *nrows; i++)
	{
		BlockNumber next;

		item += step;
		next = item_block(position, item);
		if (next == block)
			continue;
		changes++;
		if (next != block + 1)
			jumps++;
		block = next;
	}
	return jumps > 1 && jumps > changes / SCATTERED_PART;
}

/* Where a leaf on the left is, the scan does not say before 17. */
static void
ask_for_next_leaf(ReadAhead *ahead, const BTScanPosData *position)
{
	ahead->next_asked = true;
	if (!ahead->backward && position->moreRight && position->nextPage != P_NONE)
		(void) PrefetchBuffer(ahead->index, MAIN_FORKNUM, position->nextPage);
}
