/*
 * walk_read.c
 *		Reading a relation in the order of a key, by queries through SPI.
 *
 * Each index range of a walk is one query with a LIMIT, run to its end within
 * the call, on the statement's snapshot; nothing is held when the call is over.
 * Because it is an ordinary query of the caller, privileges, row-level security
 * and security barriers hold by themselves.
 *
 * Where an index supports the order, the queries are planned once, and so that
 * this index is used whatever the statistics say (steer.c): every page costs
 * the same.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "tcop/dest.h"
#include "utils/jsonb.h"
#include "utils/plancache.h"
#include "utils/rel.h"

#include "base/relation.h"
#include "base/settings.h"
#include "walk/remote.h"
#include "walk/steer.h"
#include "walk/walk_read.h"

/*
 * The n-th row of several partitions is looked for until so few rows are left
 * that they come here as quickly, or for so many rounds, of two queries to each
 */
#define NTH_BY_READING 5000
#define NTH_ROUNDS 8

/* Takes the rows of a query and passes them on to the reader */
typedef struct WalkReceiver
{
	DestReceiver pub;
	Walk	   *walk;
	WalkReader *reader;
	MemoryContext context;		/* for reader->end */
} WalkReceiver;

static List *foreign_partitions(const Walk *walk);
static List *partitions_to_read(const Walk *walk, const WalkReader *reader);
static char *read_text(Walk *walk, List *partitions, const RangeQuery *query,
					   WalkReader *reader, int64 limit);
static void append_select(StringInfo buf, Walk *walk, const char *from, const RangeQuery *query,
						  WalkReader *reader);
static void run_query(Walk *walk, List *partitions, const RangeQuery *query, WalkReader *reader);
static bool is_filtered(const Walk *walk, const WalkReader *reader);
static int	begin_generic_plans(void);
static void receiver_startup(DestReceiver *self, int operation, TupleDesc typeinfo);
static bool receiver_row(TupleTableSlot *slot, DestReceiver *self);
static void receiver_shutdown(DestReceiver *self);
static bool is_tie(WalkReceiver *receiver, TupleTableSlot *slot);

/*
 * Read the rows of a range, in walk order or backwards, until the reader has
 * enough.  SPI must be connected.  Results go into the current memory context.
 * Errors: 21000 if reader->boundary, without ties, and the row that follows the
 * last one shares its key.
 */
void
walk_read(Walk *walk, const Range *range, WalkReader *reader)
{
	List	   *queries = range_queries(walk->key, walk->style, walk->qualifier, range);
	List	   *partitions = queries == NIL ? NIL : partitions_to_read(walk, reader);
	int			nqueries;

	if (partitions != NIL)
	{
		RangeStyle	style = {.expand = true};

		queries = range_queries(walk->key, style, walk->qualifier, range);
	}
	nqueries = list_length(queries);
	reader->count = 0;
	reader->ended = false;
	reader->end = NULL;
	for (int i = 0; i < nqueries && !reader->ended; i++)
	{
		CHECK_FOR_INTERRUPTS();
		run_query(walk, partitions, list_nth(queries, reader->backward ? nqueries - 1 - i : i), reader);
	}
}

/* The position of the first or, backwards, the last row of a range, or NULL. */
Position *
walk_end_of_range(Walk *walk, const Range *range, WalkOutput output, bool backward)
{
	WalkReader	reader = {0};

	reader.output = output;
	reader.backward = backward;
	reader.limit = 1;
	reader.keep_end = true;
	walk_read(walk, range, &reader);
	return reader.end;
}

/* Can rows be skipped where they are, so that they need not come here? */
bool
walk_can_skip(const Walk *walk)
{
	return walk->style.expand || foreign_partitions(walk) != NIL;
}

/*
 * The position of the n-th row of a range, counted from 1, or NULL if there are
 * fewer; rows that can be skipped where they are do not come here.  *through,
 * unless that is NULL: the rows up to this position, with those that share it.
 * SPI must be connected.
 *
 * Of k partitions, none has its n/k-th row before the first such row p of all.
 * So no more than n rows are before p, and at least n/k: the search goes on
 * after it.  Where rows are spread evenly, p is nearly the n-th.
 */
Position *
walk_nth(Walk *walk, Relation rel, const Range *range, WalkOutput output, int64 n,
		 int64 *through)
{
	int			npartitions = walk->style.expand ? 1 : list_length(foreign_partitions(walk));
	Range		rest = *range;
	int64		left = n;

	for (int round = 0;; round++)
	{
		bool		last = npartitions <= 1 || left <= Max(NTH_BY_READING, npartitions) ||
			round == NTH_ROUNDS;
		WalkReader	reader = {0};
		Range		passed = rest;
		int64		rows = left;

		reader.output = output;
		reader.limit = 1;
		reader.keep_end = true;
		if (npartitions == 1)
			reader.skip = left - 1;
		else if (last)
			reader.limit = left;
		else
			reader.skip = left / npartitions - 1;
		walk_read(walk, &rest, &reader);
		if (!reader.ended)
			return NULL;

		passed.upto = reader.end;
		passed.upto_exclusive = false;
		if (!last || through != NULL)
			rows = walk_count(walk, rel, &passed, output);
		if (last || rows >= left)
		{
			if (through != NULL)
				*through = n - left + rows;
			return reader.end;
		}
		left -= rows;
		rest.after = reader.end;
	}
}

/*
 * The rows of a range, or those that match the filter, by output: counted where
 * they are if they are not here.  SPI must be connected.
 */
int64
walk_count(Walk *walk, Relation rel, const Range *range, WalkOutput output)
{
	WalkReader	reader = {0};
	RangeStyle	style = walk->style;

	reader.output = output;
	reader.limit = PG_INT64_MAX;
	style.expand |= style.also_expand;	/* a row comparison would be made here */
	if (style.expand || walk->redirected)
		return remote_count(rel, range_condition(walk->key, style, walk->qualifier, range),
							is_filtered(walk, &reader) ? walk->filter : NULL);
	walk_read(walk, range, &reader);
	return (int64) reader.count;
}

/* The last position of a range, by walk_all_keys(), or NULL. */
Position *
walk_last_position(Walk *walk, const Range *range)
{
	return walk_end_of_range(walk, range, walk_all_keys(walk), true);
}

/* The names of the partitions, if all are foreign and the caller may name them; else NIL. */
static List *
foreign_partitions(const Walk *walk)
{
	Relation	rel;
	List	   *partitions;

	if (!walk->all_foreign || (walk->filter != NULL && !walk->filter_in_partitions))
		return NIL;
	rel = relation_open(walk->relid, NoLock);
	partitions = remote_partitions(rel);
	relation_close(rel, NoLock);
	return partitions;
}

/* Those to read each by itself, if that is better; else NIL. */
static List *
partitions_to_read(const Walk *walk, const WalkReader *reader)
{
	if (reader->skip == 0 && (!walk->by_partitions || (reader->ties && !walk->key->unique)))
		return NIL;
	return foreign_partitions(walk);
}

/* The query, of the relation or, put together, of these partitions. */
static char *
read_text(Walk *walk, List *partitions, const RangeQuery *query, WalkReader *reader,
		  int64 limit)
{
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	if (partitions == NIL)
		append_select(&buf, walk, walk->relation, query, reader);
	else
	{
		appendStringInfoString(&buf, "SELECT * FROM (");
		foreach(lc, partitions)
		{
			appendStringInfoString(&buf, foreach_current_index(lc) > 0 ? " UNION ALL (" : "(");
			append_select(&buf, walk, psprintf("%s AS %s", (char *) lfirst(lc), walk->qualifier),
						  query, reader);
			appendStringInfo(&buf, " LIMIT " INT64_FORMAT, limit);
			if (reader->skip > 0)
				appendStringInfo(&buf, " OFFSET " INT64_FORMAT, reader->skip);
			appendStringInfoChar(&buf, ')');
		}
		appendStringInfo(&buf, ") AS %s ORDER BY ", walk->qualifier);
		range_order_by(&buf, walk->key, walk->qualifier, reader->backward);
	}

	/* a limit reaches a remote server only if it is known when planning */
	if (walk->style.expand)
		appendStringInfo(&buf, " LIMIT " INT64_FORMAT, limit);
	if (reader->skip > 0 && partitions == NIL)
		appendStringInfo(&buf, " OFFSET " INT64_FORMAT, reader->skip);
	if (!walk->style.expand)
		appendStringInfo(&buf, " LIMIT $%d", query->nparams + 1);
	return buf.data;
}

static void
append_select(StringInfo buf, Walk *walk, const char *from, const RangeQuery *query,
			  WalkReader *reader)
{
	bool		filtered = is_filtered(walk, reader);

	appendStringInfo(buf, "SELECT %s FROM %s", walk->select_lists[reader->output], from);
	if (query->condition[0] != '\0' || filtered)
		appendStringInfo(buf, " WHERE %s", query->condition);
	if (filtered)
		appendStringInfo(buf, "%s(%s\n)", query->condition[0] != '\0' ? " AND " : "",
						 walk->filter);
	appendStringInfoString(buf, " ORDER BY ");
	range_order_by(buf, walk->key, walk->qualifier, reader->backward);
}

static void
run_query(Walk *walk, List *partitions, const RangeQuery *query, WalkReader *reader)
{
	int			nargs = query->nparams + 1;
	ParamListInfo params = makeParamList(nargs);
	uint64		limit = reader->limit - reader->count;
	SPIPlanPtr	plan;
	SPIExecuteOptions options = {0};
	WalkReceiver receiver = {0};
	Oid			index = is_filtered(walk, reader) && OidIsValid(walk->filter_index) ?
		walk->filter_index : walk->key->index;
	bool		steered = OidIsValid(index) || walk->style.expand || walk->style.also_expand;
	bool		kept;
	int			nest_level;
	int			result;

	if (reader->boundary && !walk->key->unique)
		limit = reader->ties ? PG_INT64_MAX : limit + 1;	/* rows after the last one, to compare */
	limit = Min(limit, PG_INT64_MAX);

	for (int i = 0; i < nargs; i++)
	{
		ParamExternData *param = &params->params[i];

		param->value = i < query->nparams ? query->values[i] :
			Int64GetDatum((int64) limit);
		param->ptype = i < query->nparams ? query->types[i] : INT8OID;
		param->isnull = false;
		param->pflags = PARAM_FLAG_CONST;
	}
	{
		Oid		   *argtypes = palloc(nargs * sizeof(Oid));

		for (int i = 0; i < nargs; i++)
			argtypes[i] = params->params[i].ptype;
		plan = walk_prepare(walk, read_text(walk, partitions, query, reader, (int64) limit), nargs, argtypes, &kept);
	}

	receiver.pub.receiveSlot = receiver_row;
	receiver.pub.rStartup = receiver_startup;
	receiver.pub.rShutdown = receiver_shutdown;
	receiver.pub.rDestroy = receiver_shutdown;
	receiver.pub.mydest = DestTuplestore;	/* with DestNone, SPI says nothing was selected */
	receiver.walk = walk;
	receiver.reader = reader;
	receiver.context = CurrentMemoryContext;

	options.params = params;
	options.read_only = true;
	options.dest = &receiver.pub;

	if (steered && kept)
		steer_plan(walk, index, partitions != NIL, plan);
	nest_level = steered ? begin_generic_plans() : 0;
	result = SPI_execute_plan_extended(plan, &options);
	settings_end(nest_level);
	if (result != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute_plan_extended failed: %s", SPI_result_code_string(result));
}

/* Does the query return only rows that match the filter? */
static bool
is_filtered(const Walk *walk, const WalkReader *reader)
{
	return walk->filter != NULL &&
		(reader->output == WALK_ROWS || reader->output == WALK_KEYS);
}

/*
 * Have the generic plan used even where the session asks for custom ones, which
 * are made when they run.  Returns what settings_end() takes.
 */
static int
begin_generic_plans(void)
{
	static const char *const settings[][2] = {{"plan_cache_mode", "auto"}};

	if (plan_cache_mode != PLAN_CACHE_MODE_FORCE_CUSTOM_PLAN)
		return 0;
	return settings_begin(settings, lengthof(settings));
}

static void
receiver_startup(DestReceiver *self, int operation, TupleDesc typeinfo)
{
	(void) self;
	(void) operation;
	(void) typeinfo;
}

static void
receiver_shutdown(DestReceiver *self)
{
	(void) self;
}

/* Called by the executor for each row; false ends the query. */
static bool
receiver_row(TupleTableSlot *slot, DestReceiver *self)
{
	WalkReceiver *receiver = (WalkReceiver *) self;
	WalkReader *reader = receiver->reader;
	Walk	   *walk = receiver->walk;
	bool		look_further = reader->boundary && !walk->key->unique;
	bool		more = true;

	if (reader->ended)
	{
		if (!is_tie(receiver, slot))
			return false;
		if (!reader->ties)
			walk_report_tie(walk, reader->end);
		CHECK_FOR_INTERRUPTS();
		reader->count++;
		if (reader->row != NULL)
			(void) reader->row(reader, slot);
		return true;
	}

	reader->count++;
	if (reader->row != NULL)
		more = reader->row(reader, slot);
	if (more && reader->count < reader->limit)
		return true;

	reader->ended = true;
	if (reader->keep_end || look_further)
	{
		MemoryContext context = MemoryContextSwitchTo(receiver->context);

		reader->end = position_make(walk->key);
		position_copy_slot(walk->key, reader->end, slot,
						   reader->output == WALK_ROWS ? walk->row_attnums : walk->key_attnums);
		MemoryContextSwitchTo(context);
	}
	return look_further;
}

/* Does the row after the last one share its key? */
static bool
is_tie(WalkReceiver *receiver, TupleTableSlot *slot)
{
	Walk	   *walk = receiver->walk;
	WalkReader *reader = receiver->reader;
	const AttrNumber *attnums = reader->output == WALK_ROWS ? walk->row_attnums : walk->key_attnums;

	for (int i = 0; i < walk->key->ncolumns; i++)
	{
		bool		isnull;
		Datum		value = slot_getattr(slot, attnums[i], &isnull);

		if (key_column_compare(&walk->key->columns[i], value, isnull,
							   reader->end->values[i], reader->end->nulls[i]) != 0)
			return false;
	}
	return true;
}

/* Refuse to go on after a position that several rows share: one would be skipped. */
void
walk_report_tie(const Walk *walk, Position *position)
{
	ereport(ERROR,
			(errcode(ERRCODE_CARDINALITY_VIOLATION),
			 errmsg("several rows of %s are at position %s", walk->relation,
					JsonbToCString(NULL, &position_write(walk->key, position)->root, 0)),
			 errdetail("The walk would skip rows there, since its key is not unique."),
			 errhint("Add columns to the key until it is unique.")));
}
