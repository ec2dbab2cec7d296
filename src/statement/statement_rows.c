/*
 * statement_rows.c
 *		Does a statement go over the rows of its chunk, all of them and no others?
 *
 * A chunk counts as done when its statement has been executed.  So nothing may
 * leave out some of the rows that the condition picks: that is refused.  And the
 * rows that a query goes over should be those of the mention of the relation that
 * the condition picks from, or be joined to them by the key: else a row may be
 * processed for several chunks; that is warned of, not refused, since it may be
 * meant.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/stratnum.h"
#include "catalog/pg_class.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_coerce.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "statement/origin.h"
#include "statement/statement_rows.h"

/* What holds a chunk's condition */
typedef struct Holders
{
	List	   *bound;			/* RangeTblEntry */
	List	   *ctes;			/* names of WITH queries, as String */
} Holders;

typedef struct Search
{
	Holders		holders;
	const Walk *walk;
	List	  **columns;		/* by key column: what it stands for, as Origins */
	RangeTblEntry *entry;		/* that no condition picks rows of */
	bool		written;		/* to it; else it is read */
} Search;

static void find_holders(Query *query, Holders *holders);
static bool add_ctes(Node *node, void *context);
static bool holds_condition(Node *node, void *context);
static bool refuse_part(Node *node, void *context);
static bool find_others(Query *query, List *outer, Search *search);
static bool find_others_below(Query *query, List *outer, Search *search);
static CommonTableExpr *find_cte(const RangeTblEntry *rte, List *queries, List **rest);
static bool is_of_walk(const RangeTblEntry *rte, const Walk *walk);
static bool is_joined_by_key(Query *query, List *outer, Index varno, Search *search);
static List *joined_conditions(Node *jointree);
static bool equates_key(Node *condition, Query *query, List *outer, Index varno, int column, Search *search);
static bool leads_to_key(Node *arg, Query *query, List *outer, int column, Search *search);

/* Error: 0A000. */
void
statement_refuse_part_of_rows(Query *query, List *bound)
{
	Holders		holders = {.bound = bound};

	find_holders(query, &holders);
	(void) refuse_part((Node *) query, &holders);
}

void
statement_warn_of_other_rows(Query *query, List *bound, const Walk *walk)
{
	Search		search = {.holders.bound = bound,.walk = walk};
	const char *name;

	find_holders(query, &search.holders);
	search.columns = palloc(walk->key->norder * sizeof(List *));
	for (int i = 0; i < walk->key->norder; i++)
		search.columns[i] = origin_list(walk->relid, walk->key->columns[i].attnum, false);
	if (!find_others(query, NIL, &search))
		return;
	name = search.entry->eref->aliasname;
	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 search.written ?
			 errmsg("{chunk} does not pick the rows of \"%s\" that the statement writes", name) :
			 errmsg("{chunk} does not pick the rows of \"%s\" that the statement reads", name),
			 errdetail("It picks rows of another mention of the relation. A row that goes with the rows of several chunks is processed several times."),
			 errhint("To have each row processed once, let {chunk:%s} be the only one, in the WHERE of the query that has \"%s\".",
					 quote_identifier(name), name)));
}

/* May a row of this relation, by any name, be one of the walk's? */
bool
statement_shares_rows(Oid relid, const Walk *walk)
{
	List	   *tables = list_make1_oid(relid);
	ListCell   *lc;

	if (get_rel_relkind(relid) == RELKIND_VIEW)
	{
		Relation	view = relation_open(relid, AccessShareLock);

		for (int attnum = 1; attnum <= RelationGetNumberOfAttributes(view); attnum++)
			foreach(lc, origin_list(relid, attnum, false))
				tables = list_append_unique_oid(tables, ((Origin *) lfirst(lc))->relid);
		relation_close(view, NoLock);
	}
	foreach(lc, tables)
		for (int i = 0; i < walk->key->norder; i++)
		{
			ListCell   *source;

			foreach(source, origin_list(walk->relid, walk->key->columns[i].attnum, true))
				if (origin_related(lfirst_oid(lc), ((Origin *) lfirst(source))->relid))
					return true;
		}
	return false;
}

/* ------------------------------------------------------- who holds a condition */

/* Whatever queries of WITH hold one, by themselves or by others. */
static void
find_holders(Query *query, Holders *holders)
{
	int			known;

	do
	{
		known = list_length(holders->ctes);
		(void) add_ctes((Node *) query, holders);
	} while (list_length(holders->ctes) > known);
}

static bool
add_ctes(Node *node, void *context)
{
	Holders    *holders = context;
	ListCell   *lc;

	if (node == NULL)
		return false;
	if (!IsA(node, Query))
		return expression_tree_walker(node, add_ctes, context);
	foreach(lc, ((Query *) node)->cteList)
	{
		CommonTableExpr *cte = lfirst_node(CommonTableExpr, lc);
		String	   *name = makeString(cte->ctename);

		if (!list_member(holders->ctes, name) && holds_condition(cte->ctequery, holders))
			holders->ctes = lappend(holders->ctes, name);
	}
	return query_tree_walker((Query *) node, add_ctes, context, 0);
}

/* Does this query, one within it or one of WITH that they read hold a condition? */
static bool
holds_condition(Node *node, void *context)
{
	Holders    *holders = context;
	ListCell   *lc;

	if (node == NULL)
		return false;
	if (!IsA(node, Query))
		return expression_tree_walker(node, holds_condition, context);
	foreach(lc, ((Query *) node)->rtable)
	{
		RangeTblEntry *rte = lfirst(lc);

		if (list_member_ptr(holders->bound, rte) ||
			(rte->rtekind == RTE_CTE && list_member(holders->ctes, makeString(rte->ctename))))
			return true;
	}
	return query_tree_walker((Query *) node, holds_condition, context, 0);
}

/* ----------------------------------------------------------- rows that are left out */

static bool
refuse_part(Node *node, void *context)
{
	const Query *query = (const Query *) node;
	const char *what = NULL;
	ListCell   *lc;

	if (node == NULL)
		return false;
	if (IsA(node, SubLink) && ((SubLink *) node)->subLinkType == EXISTS_SUBLINK)
	{
		/* how many rows there are does not matter there */
		return refuse_part(((SubLink *) node)->testexpr, context) ||
			query_tree_walker(castNode(Query, ((SubLink *) node)->subselect), refuse_part, context, 0);
	}
	if (!IsA(node, Query))
		return expression_tree_walker(node, refuse_part, context);
	if (holds_condition(node, context))
	{
		if (query->limitCount != NULL &&
			!(IsA(query->limitCount, Const) && ((Const *) query->limitCount)->constisnull))
			what = "LIMIT";
		else if (query->limitOffset != NULL)
			what = "OFFSET";
		foreach(lc, query->rowMarks)
			if (lfirst_node(RowMarkClause, lc)->waitPolicy == LockWaitSkip)
				what = "SKIP LOCKED";
		if (what != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("%s would leave out rows of a chunk", what),
					 errdetail("The chunk counts as done when its statement has been executed."),
					 errhint("Leave it out; chunk_size says how many rows are processed at a time.")));
	}
	return query_tree_walker((Query *) query, refuse_part, context, 0);
}

/* -------------------------------------------------------------------- other rows */

/*
 * Find a mention of the walked relation that a query goes over, and no condition
 * picks rows of; outer: the queries around it, the innermost first.  Sub-selects
 * of expressions give values, not rows.
 */
static bool
find_others(Query *query, List *outer, Search *search)
{
	bool		restricted = false;
	ListCell   *lc;

	foreach(lc, query->cteList)
	{
		CommonTableExpr *cte = lfirst_node(CommonTableExpr, lc);

		if (IsA(cte->ctequery, Query) && ((Query *) cte->ctequery)->commandType != CMD_SELECT &&
			find_others((Query *) cte->ctequery, lcons(query, outer), search))
			return true;
	}
	foreach(lc, query->rtable)
		if (list_member_ptr(search->holders.bound, lfirst(lc)))
			restricted = true;

	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst(lc);
		Index		varno = foreach_current_index(lc) + 1;
		bool		target = (int) varno == query->resultRelation;

		if (!is_of_walk(rte, search->walk) || list_member_ptr(search->holders.bound, rte) ||
			(target ? query->commandType == CMD_INSERT : restricted))
			continue;
		if (is_joined_by_key(query, outer, varno, search))
			restricted = true;
		else
		{
			search->entry = rte;
			search->written = target;
			return true;
		}
	}
	return !restricted && find_others_below(query, outer, search);
}

/* The same of the queries that its rows come from. */
static bool
find_others_below(Query *query, List *outer, Search *search)
{
	ListCell   *lc;

	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst(lc);
		List	   *rest = lcons(query, outer);
		Query	   *below = NULL;

		if (rte->rtekind == RTE_SUBQUERY)
			below = rte->subquery;
		else if (rte->rtekind == RTE_CTE && !rte->self_reference)
		{
			CommonTableExpr *cte = find_cte(rte, rest, &rest);

			if (cte != NULL && IsA(cte->ctequery, Query))
				below = (Query *) cte->ctequery;
		}
		/* what a query writes has been looked at; what it sums up is not a row */
		if (below != NULL && below->commandType == CMD_SELECT && !below->hasAggs &&
			find_others(below, rest, search))
			return true;
	}
	return false;
}

/* A query of WITH that is read here, and *rest, the queries around it. */
static CommonTableExpr *
find_cte(const RangeTblEntry *rte, List *queries, List **rest)
{
	ListCell   *lc;

	if ((int) rte->ctelevelsup >= list_length(queries))
		return NULL;
	*rest = list_copy_tail(queries, rte->ctelevelsup);
	foreach(lc, linitial_node(Query, *rest)->cteList)
		if (strcmp(lfirst_node(CommonTableExpr, lc)->ctename, rte->ctename) == 0)
			return lfirst(lc);
	return NULL;
}

/* Is this the walked relation, or a view of it, or of what it is a view of? */
static bool
is_of_walk(const RangeTblEntry *rte, const Walk *walk)
{
	return rte->rtekind == RTE_RELATION && rte->relkind != RELKIND_COMPOSITE_TYPE &&
		statement_shares_rows(rte->relid, walk);
}

/*
 * Does a query have, for each column of the key, "this entry's = that of rows which
 * a condition picks" among the conditions that all must hold?
 */
static bool
is_joined_by_key(Query *query, List *outer, Index varno, Search *search)
{
	List	   *conditions = statement_joined_conditions(query);
	int			norder = search->walk->key->norder;
	int			joined = 0;
	ListCell   *lc;

	for (int i = 0; i < norder; i++)
		foreach(lc, conditions)
			if (equates_key(lfirst(lc), query, outer, varno, i, search))
			{
				joined++;
				break;
			}
	return joined == norder;
}

/* The conditions that all must hold of a query's rows: those of WHERE, of inner joins and of MERGE's ON. */
List *
statement_joined_conditions(const Query *query)
{
	return list_concat_copy(joined_conditions((Node *) query->jointree),
					   make_ands_implicit((Expr *) compat_merge_condition(query)));
}

/* New lists, since those of a query are parts of it. */
static List *
joined_conditions(Node *jointree)
{
	List	   *conditions = NIL;
	ListCell   *lc;

	if (jointree == NULL)
		return NIL;
	if (IsA(jointree, FromExpr))
	{
		foreach(lc, ((FromExpr *) jointree)->fromlist)
			conditions = list_concat_copy(conditions, joined_conditions(lfirst(lc)));
		return list_concat_copy(conditions, make_ands_implicit((Expr *) ((FromExpr *) jointree)->quals));
	}
	if (!IsA(jointree, JoinExpr) || ((JoinExpr *) jointree)->jointype != JOIN_INNER)
		return NIL;
	conditions = list_concat_copy(joined_conditions(((JoinExpr *) jointree)->larg),
							 joined_conditions(((JoinExpr *) jointree)->rarg));
	return list_concat_copy(conditions, make_ands_implicit((Expr *) ((JoinExpr *) jointree)->quals));
}

/* Is it "a column of the key of this entry = the same of rows that a condition picks"? */
static bool
equates_key(Node *condition, Query *query, List *outer, Index varno, int column, Search *search)
{
	const KeyColumn *key = &search->walk->key->columns[column];
	Query	   *picked = NULL;
	OpExpr	   *equal = (OpExpr *) condition;
	bool		ours = false;
	bool		theirs = false;

	if (IsA(condition, SubLink) && ((SubLink *) condition)->subLinkType == ANY_SUBLINK &&
		search->walk->key->norder == 1 && holds_condition(((SubLink *) condition)->subselect, &search->holders))
	{
		picked = castNode(Query, ((SubLink *) condition)->subselect);
		equal = (OpExpr *) ((SubLink *) condition)->testexpr;
		theirs = picked->targetList != NIL &&
			leads_to_key((Node *) linitial_node(TargetEntry, picked->targetList)->expr, picked,
						 lcons(query, outer), column, search);
	}
	if (equal == NULL || !IsA(equal, OpExpr) || list_length(equal->args) != 2 ||
		!op_in_opfamily(equal->opno, key->opfamily) ||
		get_op_opfamily_strategy(equal->opno, key->opfamily) != BTEqualStrategyNumber)
		return false;
	for (int side = 0; side < 2; side++)
	{
		Node	   *arg = strip_implicit_coercions(list_nth(equal->args, side));
		RangeTblEntry *rte;

		if (!IsA(arg, Var) || ((Var *) arg)->varlevelsup > 0 || !leads_to_key(arg, query, outer, column, search))
			continue;
		rte = rt_fetch(((Var *) arg)->varno, query->rtable);
		if (((Var *) arg)->varno == (int) varno)
			ours = true;
		else if (list_member_ptr(search->holders.bound, rte) ||
				 (rte->rtekind == RTE_SUBQUERY && holds_condition((Node *) rte->subquery, &search->holders)) ||
				 (rte->rtekind == RTE_CTE && list_member(search->holders.ctes, makeString(rte->ctename))))
			theirs = true;
	}
	return ours && theirs;
}

static bool
leads_to_key(Node *arg, Query *query, List *outer, int column, Search *search)
{
	return origin_leads_to_within(lcons(query, outer), arg, search->columns[column]);
}
