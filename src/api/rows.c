/*
 * rows.c
 *		Rows of a walk as the result of a set-returning function.
 *
 * The rows go straight from the executor into a tuplestore, of work_mem at
 * most in memory.  Read backwards, they go through a second one, which reverses them.
 */
#include "postgres.h"

#include "executor/executor.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/rel.h"

#include "api/rows.h"
#include "base/relation.h"

static bool put_row(WalkReader *reader, TupleTableSlot *slot);
static void put_reversed(RowSink *sink, uint64 count);

/*
 * Make the function's result a tuplestore of rel's rows.  To be called before
 * SPI_connect().
 *
 * The executor expects the columns that there were when it began, which was
 * before the lock on rel.  Columns that were added since come at the end of each
 * row, and are not looked at.  Error: 55000 for any other change.
 */
void
rows_begin(RowSink *sink, FunctionCallInfo fcinfo, Relation rel, bool backward)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	rows_check_shape(rsinfo->setDesc, rsinfo->setDesc->natts, rel);

	sink->tupdesc = CreateTupleDescCopy(rsinfo->setDesc);
	sink->wider = RelationGetDescr(rel)->natts > sink->tupdesc->natts;
	sink->result = rsinfo->setResult;
	sink->reversed = backward ? tuplestore_begin_heap(true, false, work_mem) : NULL;
}

/*
 * Read a range into the result, in walk order whichever way it is read.
 * reader->output must be WALK_ROWS.
 */
void
rows_read(RowSink *sink, Walk *walk, const Range *range, WalkReader *reader)
{
	Assert(reader->output == WALK_ROWS);
	reader->backward = (sink->reversed != NULL);
	reader->row = put_row;
	reader->arg = sink;
	walk_read(walk, range, reader);
	if (reader->backward)
		put_reversed(sink, reader->count);
}

/*
 * Does rel still have the first ncolumns columns that a statement expects?  Error: 55000.
 */
void
rows_check_shape(TupleDesc expected, int ncolumns, Relation rel)
{
	TupleDesc	actual = RelationGetDescr(rel);

	for (int i = 0; i < ncolumns; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(expected, i);

		if (!attr->attisdropped &&
			(i >= actual->natts || TupleDescAttr(actual, i)->attisdropped ||
			 TupleDescAttr(actual, i)->atttypid != attr->atttypid))
			relation_report_changed(RelationGetRelationName(rel));
	}
}

static bool
put_row(WalkReader *reader, TupleTableSlot *slot)
{
	RowSink    *sink = (RowSink *) reader->arg;
	Tuplestorestate *store = reader->backward ? sink->reversed : sink->result;

	if (!sink->wider)
		tuplestore_puttupleslot(store, slot);
	else
	{
		slot_getsomeattrs(slot, sink->tupdesc->natts);
		tuplestore_putvalues(store, sink->tupdesc, slot->tts_values, slot->tts_isnull);
	}
	return true;
}

/* Put the count rows that were read into the result from last to first. */
static void
put_reversed(RowSink *sink, uint64 count)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(sink->tupdesc, &TTSOpsMinimalTuple);

	if (count > 0)
		(void) tuplestore_skiptuples(sink->reversed, (int64) count, true);
	(void) tuplestore_advance(sink->reversed, true);	/* go to the end, to turn there */
	while (tuplestore_gettupleslot(sink->reversed, false, false, slot))
	{
		CHECK_FOR_INTERRUPTS();
		tuplestore_puttupleslot(sink->result, slot);
	}
	ExecDropSingleTupleTableSlot(slot);
	tuplestore_end(sink->reversed);
}
