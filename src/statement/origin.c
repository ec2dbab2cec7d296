/*
 * origin.c
 *		Where a column comes from: through subqueries, joins and views, down to
 *		the relations that hold it.
 *
 * A Var is looked up in the range table of its query level and, if that entry
 * is a query itself, in that query's target list, and so on.  Only a plain
 * column all the way down is the column; a function of it is something else,
 * with an order of its own.  A column of a UNION is all of its arms' columns.
 *
 * Levels are kept as the parser numbers them: the level above a subquery's is
 * that of the query it stands in, above a WITH query's that of the query that
 * has the WITH.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "miscadmin.h"
#include "optimizer/optimizer.h"
#include "parser/parse_relation.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "statement/origin.h"

/* What the Vars of one query level refer to */
typedef struct Scope
{
	List	   *rtable;
	List	   *ctes;			/* CommonTableExpr */
	const struct Scope *outer;	/* or NULL */
} Scope;

/* Is it this column that is looked for?  If so, nothing below it is looked at. */
typedef bool (*OriginTest) (const Origin *origin, void *arg);

typedef struct Trace
{
	OriginTest	test;
	void	   *arg;
	bool		within_expressions; /* test what expressions are made of, too */
} Trace;

static bool trace_expression(const Scope *scope, Node *expr, const Trace *trace);
static bool trace_var(const Scope *scope, const Var *var, const Trace *trace);
static bool trace_cte(const Scope *scope, const RangeTblEntry *rte, AttrNumber attnum, const Trace *trace);
static bool trace_query(const Scope *outer, const Query *query, AttrNumber attnum, const Trace *trace);
static bool trace_set_operation(const Scope *scope, Node *arm, AttrNumber attnum, const Trace *trace);
static bool trace_column(Oid relid, AttrNumber attnum, const Trace *trace);
static bool is_in_list(const Origin *origin, void *list);
static bool add_to_list(const Origin *origin, void *list);

/*
 * Is this expression, just analyzed in that state of the parser, one of these
 * columns (Origin), whichever arm of a UNION it comes from?
 */
bool
origin_leads_to(ParseState *pstate, Node *expr, const List *origins)
{
	Trace		trace = {.test = is_in_list,.arg = (void *) origins};
	Scope	   *innermost = NULL;
	Scope	  **link = &innermost;

	for (; pstate != NULL; pstate = pstate->parentParseState)
	{
		Scope	   *scope = palloc0(sizeof(Scope));

		scope->rtable = pstate->p_rtable;
		scope->ctes = pstate->p_ctenamespace;
		*link = scope;
		link = (Scope **) &scope->outer;
	}
	return trace_expression(innermost, expr, &trace);
}

/* The same of an expression in queries, the innermost first. */
bool
origin_leads_to_within(const List *queries, Node *expr, const List *origins)
{
	Trace		trace = {.test = is_in_list,.arg = (void *) origins};
	Scope	   *innermost = NULL;
	Scope	  **link = &innermost;
	const ListCell *lc;

	foreach(lc, queries)
	{
		Scope	   *scope = palloc0(sizeof(Scope));

		scope->rtable = lfirst_node(Query, lc)->rtable;
		scope->ctes = lfirst_node(Query, lc)->cteList;
		*link = scope;
		link = (Scope **) &scope->outer;
	}
	return trace_expression(innermost, expr, &trace);
}

/*
 * A relation's column and, if it is a view, those that it stands for, as
 * Origins.  within_expressions: also those that it is computed from.
 */
List *
origin_list(Oid relid, AttrNumber attnum, bool within_expressions)
{
	List	   *origins = NIL;
	Trace		trace = {.test = add_to_list,.arg = &origins,.within_expressions = within_expressions};

	(void) trace_column(relid, attnum, &trace);
	return origins;
}

/* A partition, a parent or a child has the same columns by name. */
bool
origin_same_column(const Origin *a, const Origin *b)
{
	return origin_related(a->relid, b->relid) &&
		strcmp(get_attname(a->relid, a->attnum, false), get_attname(b->relid, b->attnum, false)) == 0;
}

/* May a row of one be a row of the other: is one a partition or child of the other? */
bool
origin_related(Oid a, Oid b)
{
	return a == b ||
		typeInheritsFrom(get_rel_type_id(a), get_rel_type_id(b)) ||
		typeInheritsFrom(get_rel_type_id(b), get_rel_type_id(a));
}

static bool
is_in_list(const Origin *origin, void *list)
{
	const ListCell *lc;

	foreach(lc, (const List *) list)
		if (origin_same_column(origin, lfirst(lc)))
			return true;
	return false;
}

static bool
add_to_list(const Origin *origin, void *list)
{
	Origin	   *copy = palloc(sizeof(Origin));

	*copy = *origin;
	*(List **) list = lappend(*(List **) list, copy);
	return false;				/* go on */
}

static bool
trace_expression(const Scope *scope, Node *expr, const Trace *trace)
{
	check_stack_depth();
	while (expr != NULL && IsA(expr, RelabelType))
		expr = (Node *) ((RelabelType *) expr)->arg;
	if (expr == NULL)
		return false;
	if (IsA(expr, Var))
		return trace_var(scope, (Var *) expr, trace);
	if (trace->within_expressions)
	{
		ListCell   *lc;

		foreach(lc, pull_vars_of_level(expr, 0))
			(void) trace_var(scope, lfirst(lc), trace);
	}
	return false;
}

static bool
trace_var(const Scope *scope, const Var *var, const Trace *trace)
{
	RangeTblEntry *rte;

	for (Index up = 0; up < var->varlevelsup && scope != NULL; up++)
		scope = scope->outer;
	if (scope == NULL || var->varattno <= 0)
		return false;
	rte = rt_fetch(var->varno, scope->rtable);
	if (compat_grouped_columns(rte) != NIL)
		return trace_expression(scope, list_nth(compat_grouped_columns(rte), var->varattno - 1), trace);
	switch (rte->rtekind)
	{
		case RTE_RELATION:
			/* ON CONFLICT's "excluded" is a row that is not in the table */
			return rte->relkind != RELKIND_COMPOSITE_TYPE && trace_column(rte->relid, var->varattno, trace);
		case RTE_SUBQUERY:
			return rte->subquery != NULL && trace_query(scope, rte->subquery, var->varattno, trace);
		case RTE_JOIN:
			return trace_expression(scope, list_nth(rte->joinaliasvars, var->varattno - 1), trace);
		case RTE_CTE:
			return trace_cte(scope, rte, var->varattno, trace);
		default:
			return false;
	}
}

static bool
trace_cte(const Scope *scope, const RangeTblEntry *rte, AttrNumber attnum, const Trace *trace)
{
	ListCell   *lc;

	for (Index up = 0; up < rte->ctelevelsup && scope != NULL; up++)
		scope = scope->outer;
	if (scope == NULL)
		return false;
	foreach(lc, scope->ctes)
	{
		CommonTableExpr *cte = lfirst_node(CommonTableExpr, lc);

		if (strcmp(cte->ctename, rte->ctename) != 0)
			continue;
		if (!IsA(cte->ctequery, Query))
			return false;		/* within its own definition */
		if (rte->self_reference)
			return true;		/* brings what the other arm has brought */
		return trace_query(scope, (Query *) cte->ctequery, attnum, trace);
	}
	return false;
}

/* A query's output column. */
static bool
trace_query(const Scope *outer, const Query *query, AttrNumber attnum, const Trace *trace)
{
	Scope		scope = {query->rtable, query->cteList, outer};
	TargetEntry *target;

	check_stack_depth();
	if (query->setOperations != NULL)
		return trace_set_operation(&scope, query->setOperations, attnum, trace);
	target = get_tle_by_resno(query->commandType == CMD_SELECT ? query->targetList : query->returningList,
							  attnum);
	return target != NULL && !target->resjunk &&
		trace_expression(&scope, (Node *) target->expr, trace);
}

static bool
trace_set_operation(const Scope *scope, Node *arm, AttrNumber attnum, const Trace *trace)
{
	check_stack_depth();
	if (IsA(arm, SetOperationStmt))
	{
		SetOperationStmt *operation = (SetOperationStmt *) arm;
		bool		left = trace_set_operation(scope, operation->larg, attnum, trace);

		/* nothing of EXCEPT's right arm comes out; else both are looked at */
		return (operation->op == SETOP_EXCEPT ||
				trace_set_operation(scope, operation->rarg, attnum, trace)) && left;
	}
	return trace_query(scope, rt_fetch(castNode(RangeTblRef, arm)->rtindex, scope->rtable)->subquery,
					   attnum, trace);
}

static bool
trace_column(Oid relid, AttrNumber attnum, const Trace *trace)
{
	Origin		origin = {relid, attnum};
	Relation	view;
	bool		found;

	if (trace->test(&origin, trace->arg))
		return true;
	if (get_rel_relkind(relid) != RELKIND_VIEW)
		return false;
	view = relation_open(relid, AccessShareLock);
	found = trace_query(NULL, get_view_query(view), attnum, trace);
	relation_close(view, NoLock);
	return found;
}
