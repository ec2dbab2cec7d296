/*
 * statement_check.c
 *		What a job's statement must not do, and what its author should know.
 *
 * A statement processes each row once if its condition picks rows of the walked
 * relation, and if none of them moves in the order of the key.
 *
 * The parser itself answers the first, by its hook for column references:
 * it shows what each name within the condition was resolved to, before anything
 * is made of it.  The names are the same for every range, so that a text with
 * all the key's columns in place of {chunk} is analyzed, not a chunk's own.
 *
 * The statement answers the second as it is written, which may name a view,
 * and of what the rewriter has made of it.  Columns are compared by relation
 * and number, through views down to tables.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/sysattr.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/analyze.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/rel.h"
#include "utils/resowner.h"

#include "base/compat.h"
#include "statement/foreign_key.h"
#include "statement/origin.h"
#include "statement/statement_check.h"
#include "statement/statement_filter.h"
#include "statement/statement_rows.h"

/* What a query does to a relation */
typedef struct Write
{
	Oid			relid;
	bool		inserts;
	bool		deletes;
	Bitmapset  *updated;		/* column numbers */
} Write;

/* A text that is analyzed, and the walk that its conditions belong to */
typedef struct Analysis
{
	const char *text;			/* with names in place of {chunk} */
	List	   *conditions;		/* StatementCondition */
	const Walk *walk;
	List	  **columns;		/* by key column: what it stands for, as Origins */
	Bitmapset  *seen;			/* places of the names that were resolved */
	List	   *bound;			/* RangeTblEntry that they were resolved to */
} Analysis;

static bool writes_foreign(SPIPlanPtr plan);
static Query *analyze_statement(Analysis *analysis, const StatementText *statement, const Walk *walk);
static Node *check_name(ParseState *pstate, ColumnRef *ref, Node *node);
static RangeTblEntry *entry_of(ParseState *pstate, Node *node);
pg_noreturn static void report_binding(ParseState *pstate, ColumnRef *ref, Node *node,
									   const StatementCondition *condition, Oid walked);
static char *bound_to(ParseState *pstate, ColumnRef *ref, Node *node, bool qualified);
static char *alias_of(ParseState *pstate, Oid relid, const char *but);
static void report_place(void *analysis);
static List *add_writes(List *writes, const Query *query);
static List *plan_writes(SPIPlanPtr plan);
static Bitmapset *add_targets(Bitmapset *columns, const List *targets);
static void check_key_unchanged(const List *writes, const Walk *walk);
static void check_set(const Origin *set, const Origin *moved, const Walk *walk, List **sources);
static void check_generated(const Origin *set, const Origin *source, const Walk *walk, List **sources);
static void warn_of_insert(const Write *write, const Walk *walk);
static bool may_route_to_foreign(const Write *write);
static bool sets_partition_key(Relation rel, const Write *write);

/*
 * Check a statement and its plan.  Errors: 42P10 a condition is bound to other
 * columns than the walked relation's; 0A000 it sets a column of the key, or
 * leaves rows out.
 */
void
statement_check(SPIPlanPtr plan, const StatementText *statement, const Walk *walk)
{
	Analysis	analysis = {0};
	Query	   *query = analyze_statement(&analysis, statement, walk);

	statement_refuse_part_of_rows(query, analysis.bound);
	check_key_unchanged(list_concat(add_writes(NIL, query), plan_writes(plan)), walk);
}

/*
 * For the author of a new job: refuse what is not the rows of its filter, and warn
 * of what is allowed but may not be meant: rows that no condition picks, rows
 * inserted where the walk is still to come, and foreign keys that make every row
 * expensive.  Error: 0A000.
 */
void
statement_check_review(SPIPlanPtr plan, const StatementText *statement, const Walk *walk)
{
	Analysis	analysis = {0};
	Query	   *query = analyze_statement(&analysis, statement, walk);
	ListCell   *lc;

	statement_refuse_unfiltered(query, analysis.bound, walk);
	statement_warn_of_other_rows(query, analysis.bound, walk);
	foreach(lc, plan_writes(plan))
	{
		Write	   *write = lfirst(lc);

		warn_of_insert(write, walk);
		foreign_key_warn(write->relid, write->deletes, write->updated);
	}
}

/*
 * A chunk that is written to a foreign server is not processed exactly once: that
 * server may have committed when another, or this one, fails.  Error: 0A000.
 */
void
statement_check_refuse_foreign_writes(SPIPlanPtr plan)
{
	if (writes_foreign(plan))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the statement writes to a foreign table"),
				 errdetail("A chunk that has been committed there may fail here or on another server, and is then processed again."),
				 errhint("Where that does no harm, pass on_foreign_write => 'at_least_once'.")));
}

/*
 * May the statement write to a foreign table, by itself or as a partition?
 * (What triggers and functions do cannot be known.)
 */
static bool
writes_foreign(SPIPlanPtr plan)
{
	CachedPlan *cached = SPI_plan_get_cached_plan(plan);
	bool		found = false;
	ListCell   *lc;

	if (cached != NULL)
	{
		/* partitions and children that the planner has not ruled out */
		foreach(lc, cached->stmt_list)
		{
			PlannedStmt *planned = lfirst_node(PlannedStmt, lc);
			ListCell   *result;

			foreach(result, compat_result_relations(planned))
				if (get_rel_relkind(rt_fetch(lfirst_int(result), planned->rtable)->relid) == RELKIND_FOREIGN_TABLE)
					found = true;
		}
		ReleaseCachedPlan(cached, CurrentResourceOwner);
	}
	foreach(lc, plan_writes(plan))
	{
		Write	   *write = lfirst(lc);

		if (get_rel_relkind(write->relid) == RELKIND_FOREIGN_TABLE || may_route_to_foreign(write))
			found = true;
	}
	return found;
}

/* --------------------------------------------------- what conditions are about */

/* Parse analysis, without the hooks that count it as a statement. */
static Query *
analyze_statement(Analysis *analysis, const StatementText *statement, const Walk *walk)
{
	RawStmt    *parsed;
	ParseState *pstate = make_parsestate(NULL);
	const WalkKey *key = walk->key;
	ErrorContextCallback callback;
	Query	   *query;

	analysis->walk = walk;
	analysis->text = statement_text_with_names(statement, key, &analysis->conditions);
	parsed = linitial_node(RawStmt, raw_parser(analysis->text, RAW_PARSE_DEFAULT));
	analysis->columns = palloc(key->ncolumns * sizeof(List *));
	for (int i = 0; i < key->ncolumns; i++)
		analysis->columns[i] = origin_list(walk->relid, key->columns[i].attnum, false);
	callback.callback = report_place;
	callback.arg = analysis;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	pstate->p_sourcetext = analysis->text;
	pstate->p_post_columnref_hook = check_name;
	pstate->p_ref_hook_state = analysis;
	query = transformTopLevelStmt(pstate, parsed);
	free_parsestate(pstate);
	error_context_stack = callback.previous;
	if (bms_num_members(analysis->seen) != list_length(analysis->conditions) * key->ncolumns)
		elog(ERROR, "%d columns in %d conditions of %d were analyzed",
			 bms_num_members(analysis->seen), list_length(analysis->conditions), key->ncolumns);
	return query;
}

/* An error's position is one in this text, not in the caller's query. */
static void
report_place(void *arg)
{
	int			position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery(((Analysis *) arg)->text);
	}
}

/* The parser's hook: what a name was resolved to, or NULL.  Changes nothing. */
static Node *
check_name(ParseState *pstate, ColumnRef *ref, Node *node)
{
	Analysis   *analysis = pstate->p_ref_hook_state;
	const WalkKey *key = analysis->walk->key;
	ListCell   *lc;

	if (node == NULL)
		return NULL;			/* the parser will say so */
	foreach(lc, analysis->conditions)
	{
		const StatementCondition *condition = lfirst(lc);
		const List *wanted = NIL;

		if (ref->location < condition->start || ref->location >= condition->end)
			continue;
		for (int i = 0; i < key->ncolumns; i++)
			if (strcmp(key->columns[i].name, strVal(llast(ref->fields))) == 0)
				wanted = analysis->columns[i];
		if (!origin_leads_to(pstate, node, wanted))
			report_binding(pstate, ref, node, condition, analysis->walk->relid);
		analysis->seen = bms_add_member(analysis->seen, ref->location);
		analysis->bound = lappend(analysis->bound, entry_of(pstate, node));
	}
	return NULL;
}

/* What is read by a name: an entry of a range table, none of them a join; or NULL. */
static RangeTblEntry *
entry_of(ParseState *pstate, Node *node)
{
	RangeTblEntry *rte = NULL;
	Index		up;

	if (!IsA(node, Var))
		return NULL;
	for (up = ((Var *) node)->varlevelsup; node != NULL && IsA(node, Var); up += ((Var *) node)->varlevelsup)
	{
		rte = GetRTEByRangeTablePosn(pstate, ((Var *) node)->varno, up);
		if (rte->rtekind != RTE_JOIN)
			break;
		node = list_nth(rte->joinaliasvars, ((Var *) node)->varattno - 1);
	}
	return rte;
}

static void
report_binding(ParseState *pstate, ColumnRef *ref, Node *node,
			   const StatementCondition *condition, Oid walked)
{
	const char *written = list_length(ref->fields) > 1 ? strVal(linitial(ref->fields)) : NULL;
	char	   *name = get_rel_name(walked);
	char	   *bound = bound_to(pstate, ref, node, false);
	char	   *alias = alias_of(pstate, walked, written);

	if (strcmp(bound, name) == 0)
	{
		bound = bound_to(pstate, ref, node, true);
		name = psprintf("%s.%s", get_namespace_name(get_rel_namespace(walked)), name);
	}

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
			 errmsg("%s is bound to columns of \"%s\", not of \"%s\"", condition->placeholder,
					bound, name),
			 errdetail("Rows would be processed several times, or not at all."),
			 alias != NULL ?
			 errhint("Write {chunk:%s}.", alias) :
			 errhint("Write {chunk:e} in the WHERE of the query that reads \"%s\", where e is its alias there.", name)));
}

/* The name of the table or the like that a column was found in. */
static char *
bound_to(ParseState *pstate, ColumnRef *ref, Node *node, bool qualified)
{
	if (IsA(node, Var))
	{
		RangeTblEntry *rte = GetRTEByRangeTablePosn(pstate, ((Var *) node)->varno, ((Var *) node)->varlevelsup);

		if (rte->rtekind == RTE_RELATION && rte->relkind != RELKIND_COMPOSITE_TYPE)
		{
			char	   *name = get_rel_name(rte->relid);

			return qualified ? psprintf("%s.%s", get_namespace_name(get_rel_namespace(rte->relid)), name) : name;
		}
		return rte->eref->aliasname;
	}
	return list_length(ref->fields) > 1 ? strVal(linitial(ref->fields)) : "?column?";
}

/* The alias, quoted, by which a relation is seen at this place, or NULL. */
static char *
alias_of(ParseState *pstate, Oid relid, const char *but)
{
	List	   *hidden = but == NULL ? NIL : list_make1(makeString(pstrdup(but)));

	for (; pstate != NULL; pstate = pstate->parentParseState)
	{
		ListCell   *lc;

		foreach(lc, pstate->p_namespace)
		{
			ParseNamespaceItem *item = lfirst(lc);
			String	   *alias = makeString(item->p_rte->eref->aliasname);

			if (!item->p_rel_visible)
				continue;
			if (item->p_rte->rtekind == RTE_RELATION && item->p_rte->relid == relid &&
				item->p_rte->relkind != RELKIND_COMPOSITE_TYPE && !list_member(hidden, alias))
				return pstrdup(quote_identifier(strVal(alias)));
			hidden = lappend(hidden, alias);
		}
	}
	return NULL;
}

/* ----------------------------------------------------------- what is written */

/* Add what a query writes, and the queries in its WITH. */
static List *
add_writes(List *writes, const Query *query)
{
	Write	   *write;
	ListCell   *lc;

	foreach(lc, query->cteList)
	{
		Node	   *cte = lfirst_node(CommonTableExpr, lc)->ctequery;

		if (IsA(cte, Query))
			writes = add_writes(writes, (Query *) cte);
	}
	if (query->resultRelation == 0)
		return writes;

	write = palloc0(sizeof(Write));
	write->relid = rt_fetch(query->resultRelation, query->rtable)->relid;
	write->inserts = query->commandType == CMD_INSERT;
	write->deletes = query->commandType == CMD_DELETE;
	if (query->commandType == CMD_UPDATE)
		write->updated = add_targets(write->updated, query->targetList);
	if (query->onConflict != NULL)
		write->updated = add_targets(write->updated, query->onConflict->onConflictSet);
	foreach(lc, query->mergeActionList)
	{
		MergeAction *action = lfirst_node(MergeAction, lc);

		if (action->commandType == CMD_INSERT)
			write->inserts = true;
		if (action->commandType == CMD_DELETE)
			write->deletes = true;
		if (action->commandType == CMD_UPDATE)
			write->updated = add_targets(write->updated, action->targetList);
	}
	return lappend(writes, write);
}

/* What a kept plan writes, as views and rules make it. */
static List *
plan_writes(SPIPlanPtr plan)
{
	CachedPlanSource *source = linitial(SPI_plan_get_plan_sources(plan));
	List	   *writes = NIL;
	ListCell   *lc;

	foreach(lc, source->query_list)
		writes = add_writes(writes, lfirst_node(Query, lc));
	return writes;
}

static Bitmapset *
add_targets(Bitmapset *columns, const List *targets)
{
	const ListCell *lc;

	foreach(lc, targets)
	{
		const TargetEntry *target = lfirst_node(TargetEntry, lc);

		if (!target->resjunk)
			columns = bms_add_member(columns, target->resno);
	}
	return columns;
}

/*
 * Rows whose key changes may move ahead, into a chunk that is still to come,
 * and be processed again: refuse a statement that sets a column of the key, or
 * one that a column of the key is made of.
 */
static void
check_key_unchanged(const List *writes, const Walk *walk)
{
	List	  **sources = palloc(walk->key->norder * sizeof(List *));
	const ListCell *lc;

	for (int i = 0; i < walk->key->norder; i++)
		sources[i] = origin_list(walk->relid, walk->key->columns[i].attnum, true);
	foreach(lc, writes)
	{
		const Write *write = lfirst(lc);
		int			attnum = 0;

		while ((attnum = bms_next_member(write->updated, attnum)) >= 0)
		{
			Origin		set = {write->relid, attnum};
			ListCell   *below;

			foreach(below, origin_list(write->relid, attnum, false))
			{
				check_set(&set, lfirst(below), walk, sources);
				check_generated(&set, lfirst(below), walk, sources);
			}
		}
	}
}

/* Refuse it if the column that moves by setting another, or itself, is in the key. */
static void
check_set(const Origin *set, const Origin *moved, const Walk *walk, List **sources)
{
	for (int i = 0; i < walk->key->norder; i++)
	{
		const char *column = walk->key->columns[i].name;
		ListCell   *lc;

		foreach(lc, sources[i])
		{
			char	   *name;

			if (!origin_same_column(moved, lfirst(lc)))
				continue;
			name = get_attname(set->relid, set->attnum, false);
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 strcmp(name, column) == 0 ?
					 errmsg("the statement sets column \"%s\", which is in the key of the walk", name) :
					 errmsg("the statement sets column \"%s\", which column \"%s\" in the key of the walk comes from", name, column),
					 errdetail("A row that moves in the order of the key could be processed twice."),
					 errhint("Pass another key, over columns that stay as they are.")));
		}
	}
}

/* The same for the columns that are generated from this one, in children too. */
static void
check_generated(const Origin *set, const Origin *source, const Walk *walk, List **sources)
{
	bool		generated = false;
	char	   *name;
	ListCell   *lc;

	/* a column is generated in all of a relation's parents and children or in none */
	for (int i = 0; i < walk->key->norder; i++)
		foreach(lc, sources[i])
		{
			Origin	   *origin = lfirst(lc);

			if (get_attgenerated(origin->relid, origin->attnum) != '\0')
				generated = true;
		}
	if (!generated || get_rel_relkind(source->relid) == RELKIND_VIEW)
		return;

	name = get_attname(source->relid, source->attnum, false);
	foreach(lc, find_all_inheritors(source->relid, AccessShareLock, NULL))
	{
		Relation	rel = relation_open(lfirst_oid(lc), AccessShareLock);
		AttrNumber	attnum = get_attnum(RelationGetRelid(rel), name);

		for (int i = 1; i <= RelationGetNumberOfAttributes(rel); i++)
		{
			Origin		moved = {RelationGetRelid(rel), i};
			Bitmapset  *used = NULL;

			if (TupleDescAttr(RelationGetDescr(rel), i - 1)->attgenerated == '\0')
				continue;
			pull_varattnos(build_column_default(rel, i), 1, &used);
			if (bms_is_member(attnum - FirstLowInvalidHeapAttributeNumber, used))
				check_set(set, &moved, walk, sources);
		}
		relation_close(rel, NoLock);
	}
}

static void
warn_of_insert(const Write *write, const Walk *walk)
{
	if (!write->inserts || !statement_shares_rows(write->relid, walk))
		return;
	ereport(WARNING,
			(errmsg("the statement inserts into \"%s\", which the walk reads", get_rel_name(write->relid)),
			 errdetail("Rows that it inserts after the current chunk and before the high-water mark are processed as well, by a later chunk."),
			 errhint("Have it give them keys past the high-water mark, or distinguish them by a condition next to {chunk}.")));
}

/* Can a row that is inserted, or moved by an update, end up in a foreign partition? */
static bool
may_route_to_foreign(const Write *write)
{
	bool		foreign = false;
	bool		moves = write->inserts;
	ListCell   *lc;

	if (get_rel_relkind(write->relid) != RELKIND_PARTITIONED_TABLE)
		return false;
	foreach(lc, find_all_inheritors(write->relid, AccessShareLock, NULL))
	{
		Relation	rel = relation_open(lfirst_oid(lc), AccessShareLock);

		if (rel->rd_rel->relkind == RELKIND_FOREIGN_TABLE)
			foreign = true;
		if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE && sets_partition_key(rel, write))
			moves = true;
		relation_close(rel, NoLock);
	}
	return foreign && moves;
}

static bool
sets_partition_key(Relation rel, const Write *write)
{
	Bitmapset  *columns = NULL;
	bool		in_expression;
	int			attnum = 0;

	while ((attnum = bms_next_member(write->updated, attnum)) >= 0)
		columns = bms_add_member(columns,
								 get_attnum(RelationGetRelid(rel), get_attname(write->relid, attnum, false)) -
								 FirstLowInvalidHeapAttributeNumber);
	return has_partition_attrs(rel, columns, &in_expression);
}
