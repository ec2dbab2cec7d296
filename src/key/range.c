/*
 * range.c
 *		A range of positions as SQL: conditions for index scans, and predicates.
 *
 * Two forms say what follows a position.  A row comparison, (a, b) > (x, y), is
 * one index range, but means the walk's order only where all columns run in one
 * direction and hold no nulls.  Otherwise the range is cut into branches that
 * are each one index range: at the longest prefix equal to the position, then
 * the next shorter one, and so on: the ladder.  Read in that order the branches
 * are disjoint, give the rows in walk order, and together are the range.
 *
 * Between two positions the ladder goes up from the lower one to the column in
 * which they first differ, crosses there, and goes down to the upper one:
 *
 *		after (1, 5), upto (4, 7):	a = 1 AND b > 5
 *									a > 1 AND a < 4
 *									a = 4 AND b <= 7
 *
 * A condition for others to run has that form, with its equal prefix written once,
 * or the bounded one: condition.c decides which.  The queries of pages have the
 * row comparison, since their plans are steered (steer.c).
 *
 * Every comparison is the operator of the key's own operator family, named with
 * its schema, between values of the column's own type.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "key/range.h"

/* Where the text goes, and how values are written: as parameters or as literals */
typedef struct RangeWriter
{
	const WalkKey *key;
	const char *qualifier;		/* quoted, or NULL */
	StringInfoData buf;
	RangeQuery *params;			/* NULL: literals */
} RangeWriter;

static char *write_condition(RangeWriter *writer, RangeStyle style, const Range *range);
static bool range_is_empty(const WalkKey *key, RangeStyle style, const Range *range);
static List *ladder(const WalkKey *key, const Range *range);
static List *add_rungs(const WalkKey *key, List *branches, const Position *prefix,
					   int column, const Position *after, const Position *upto,
					   RangeTestKind upto_kind);
static List *row_comparison(const WalkKey *key, const Range *range);
static RangeBranch *branch_make(const WalkKey *key, const Position *prefix, int ncolumns);
static void branch_add(RangeBranch *branch, RangeTestKind kind, int column,
					   const Position *position);
static void add_leading_bounds(RangeBranch *branch, const Range *range);
static void write_bounded(RangeWriter *writer, const Range *range, int prefix);
static void write_prefix(RangeWriter *writer, const RangeBranch *branch, int ntests);
static void write_alternatives(RangeWriter *writer, List *branches, int skip, const RangeTest *test);
static void write_branch(RangeWriter *writer, const RangeBranch *branch, int from);
static void write_and_test(RangeWriter *writer, const RangeTest *test);
static void write_expanded(RangeWriter *writer, const Range *range, List *branches);
static bool write_bounds(RangeWriter *writer, const Range *range);
static void write_test(RangeWriter *writer, const RangeTest *test);
static const char *null_test_text(const KeyColumn *column, bool is_null);
static void write_column(RangeWriter *writer, int column);
static void write_value(RangeWriter *writer, const Position *position, int column);
static RangeWriter *writer_make(const WalkKey *key, const char *qualifier, bool literals);

/*
 * The range as index ranges (RangeBranch *), to be read in this order (or, backwards,
 * in the reverse); NIL if it is empty.  They point into the range's positions.
 */
List *
range_branches(const WalkKey *key, const Range *range)
{
	RangeStyle	style = {0};

	if (range_is_empty(key, style, range))
		return NIL;
	if (key->row_comparable && key->ncolumns > 1)
		return row_comparison(key, range);
	return ladder(key, range);
}

/*
 * The range as queries (RangeQuery *), to be run in this order (or, backwards,
 * in the reverse); NIL if it is empty.  Parameters are numbered in each from
 * the first that style leaves free, and point into the range's positions.
 */
List *
range_queries(const WalkKey *key, RangeStyle style, const char *qualifier,
			  const Range *range)
{
	List	   *queries = NIL;
	List	   *branches;
	ListCell   *lc;

	if (style.expand)
	{
		RangeWriter *writer = writer_make(key, qualifier, false);

		writer->params->nbefore = style.params_before;
		if (!write_bounds(writer, range))
			return NIL;
		writer->params->condition = writer->buf.data;
		return list_make1(writer->params);
	}

	branches = range_branches(key, range);
	foreach(lc, branches)
	{
		RangeBranch *branch = lfirst(lc);
		RangeWriter *writer = writer_make(key, qualifier, false);

		writer->params->nbefore = style.params_before;
		if (style.prune && branch->ntests > 0 && branch->tests[0].whole_row)
			add_leading_bounds(branch, range);
		write_branch(writer, branch, 0);
		if (style.also_expand && branch->ntests > 0 && branch->tests[0].whole_row)
			(void) write_bounds(writer, range);
		writer->params->condition = writer->buf.data;
		queries = lappend(queries, writer->params);
	}
	return queries;
}

/*
 * The range as one condition with literals, right in any session: TRUE if it
 * has no bounds, FALSE if it is empty.
 */
char *
range_predicate(const WalkKey *key, RangeStyle style, const char *qualifier,
				const Range *range)
{
	if (range->after != NULL)
		(void) position_literals(key, range->after);
	if (range->upto != NULL)
		(void) position_literals(key, range->upto);
	return write_condition(writer_make(key, qualifier, true), style, range);
}

/*
 * The same with parameters, which point into the range's positions.  Whatever
 * the qualifier, they are the same in the same order.
 */
RangeQuery *
range_condition(const WalkKey *key, RangeStyle style, const char *qualifier,
				const Range *range)
{
	RangeWriter *writer = writer_make(key, qualifier, false);

	writer->params->nbefore = style.params_before;
	writer->params->condition = write_condition(writer, style, range);
	return writer->params;
}

static char *
write_condition(RangeWriter *writer, RangeStyle style, const Range *range)
{
	const WalkKey *key = writer->key;
	bool		open = range->after == NULL || range->upto == NULL;
	int			prefix;

	if (range_is_empty(key, style, range))
		return "FALSE";
	if (range->after == NULL && range->upto == NULL)
		return "TRUE";
	if (style.expand)
	{
		if (!write_bounds(writer, range))
			return "FALSE";
		return writer->buf.len > 0 ? writer->buf.data : "TRUE";
	}

	prefix = open ? 0 : position_common_prefix(key, range->after, range->upto);
	if (style.bounded && prefix < key->ncolumns - 1 && !key->columns[prefix].nullable)
		write_bounded(writer, range, prefix);
	else
	{
		List	   *branches = ladder(key, range);

		if (branches == NIL)
			return "FALSE";
		write_prefix(writer, linitial(branches), prefix);
		write_alternatives(writer, branches, prefix, NULL);
	}

	/* a range that every row is in, though it has bounds: upto the last NULL */
	return writer->buf.len > 0 ? writer->buf.data : "TRUE";
}

/*
 * A range of the column after an equal prefix and, where the rows that share an
 * end's value are not all in it, which of them are.
 */
static void
write_bounded(RangeWriter *writer, const Range *range, int prefix)
{
	const WalkKey *key = writer->key;
	const Position *ends[] = {range->after, range->upto};
	RangeBranch *bounds = branch_make(key, ends[0] != NULL ? ends[0] : ends[1], prefix);

	if (range->after != NULL)
		branch_add(bounds, TEST_FROM, prefix, range->after);
	if (range->upto != NULL)
		branch_add(bounds, TEST_UPTO, prefix, range->upto);
	write_branch(writer, bounds, 0);
	for (size_t i = 0; i < lengthof(ends); i++)
	{
		List	   *branches = NIL;
		RangeTest	differs = {.kind = TEST_DIFFERENT,.column = prefix,.position = ends[i]};

		if (ends[i] == NULL)
			continue;
		for (int column = prefix + 1; column < key->ncolumns; column++)
			branches = i == 0 ?
				list_concat(add_rungs(key, NIL, ends[i], column, ends[i], NULL, TEST_BEFORE), branches) :
				add_rungs(key, branches, ends[i], column, NULL, ends[i],
						  column < key->ncolumns - 1 || range->upto_exclusive ? TEST_BEFORE : TEST_UPTO);
		write_alternatives(writer, branches, prefix + 1, &differs);
	}
}

/* The first tests of a branch, which others share. */
static void
write_prefix(RangeWriter *writer, const RangeBranch *branch, int ntests)
{
	for (int i = 0; i < ntests; i++)
		write_and_test(writer, &branch->tests[i]);
}

/*
 * One test, if not null, or any of the branches, without their first tests; as one
 * more condition, unless that is always true.
 */
static void
write_alternatives(RangeWriter *writer, List *branches, int skip, const RangeTest *test)
{
	StringInfo	buf = &writer->buf;
	bool		alone = test == NULL && list_length(branches) == 1;
	ListCell   *lc;

	foreach(lc, branches)
		if (((RangeBranch *) lfirst(lc))->ntests == skip)
			return;
	if (buf->len > 0)
		appendStringInfoString(buf, " AND ");
	if (alone)
	{
		write_branch(writer, linitial(branches), skip);
		return;
	}
	appendStringInfoChar(buf, '(');
	if (test != NULL)
		write_test(writer, test);
	foreach(lc, branches)
	{
		const RangeBranch *branch = lfirst(lc);
		bool		several = branch->ntests > skip + 1;

		if (test != NULL || foreach_current_index(lc) > 0)
			appendStringInfoString(buf, " OR ");
		appendStringInfoString(buf, several ? "(" : "");
		write_branch(writer, branch, skip);
		appendStringInfoString(buf, several ? ")" : "");
	}
	appendStringInfoChar(buf, ')');
}

/* Append "col ASC NULLS LAST, ..." for the columns that decide the order. */
void
range_order_by(StringInfo buf, const WalkKey *key, const char *qualifier, bool backward)
{
	for (int i = 0; i < key->norder; i++)
	{
		const KeyColumn *column = &key->columns[i];
		bool		descending = (column->descending != backward);

		appendStringInfo(buf, "%s%s.%s%s", i > 0 ? ", " : "", qualifier,
						 quote_identifier(column->name), column->collate);
		if (column->opclass[0] == '\0')
			appendStringInfoString(buf, descending ? " DESC" : " ASC");
		else
			appendStringInfo(buf, " USING %s",
							 column->operators[descending ? BTGreaterStrategyNumber : BTLessStrategyNumber]);
		appendStringInfoString(buf, column->nulls_first != backward ? " NULLS FIRST" : " NULLS LAST");
	}
}

/* A remote server may order text differently: it finds out itself. */
static bool
range_is_empty(const WalkKey *key, RangeStyle style, const Range *range)
{
	return range->after != NULL && range->upto != NULL && !style.expand &&
		position_compare(key, range->after, range->upto) >= 0;
}

/* The branches (RangeBranch *) of a range that is not empty, in walk order. */
static List *
ladder(const WalkKey *key, const Range *range)
{
	List	   *branches = NIL;
	const Position *after = range->after;
	const Position *upto = range->upto;
	RangeTestKind last_kind = range->upto_exclusive ? TEST_BEFORE : TEST_UPTO;
	int			last = key->ncolumns - 1;
	int			split = 0;

	if (after != NULL && upto != NULL)
		split = position_common_prefix(key, after, upto);

	if (after != NULL)
		for (int column = last; column > split; column--)
			branches = add_rungs(key, branches, after, column, after, NULL, TEST_BEFORE);

	branches = add_rungs(key, branches, after ? after : upto, split, after, upto,
						 split == last ? last_kind : TEST_BEFORE);

	if (upto != NULL)
		for (int column = split + 1; column <= last; column++)
			branches = add_rungs(key, branches, upto, column, NULL, upto,
								 column == last ? last_kind : TEST_BEFORE);
	return branches;
}

/*
 * Add the branches whose columns before this one equal the prefix's and whose
 * value in this one is after that of "after" and before (or up to) that of
 * "upto".  Nulls are a block of their own at one end of the column's order.
 */
static List *
add_rungs(const WalkKey *key, List *branches, const Position *prefix, int column,
		  const Position *after, const Position *upto, RangeTestKind upto_kind)
{
	const KeyColumn *col = &key->columns[column];
	bool		after_null = after != NULL && after->nulls[column];
	bool		upto_null = upto != NULL && upto->nulls[column];
	bool		with_nulls = col->nullable;
	bool		with_values = true;
	RangeBranch *nulls = NULL;
	RangeBranch *values = NULL;
	RangeBranch *first;
	RangeBranch *second;

	if (after != NULL && (col->nulls_first || after_null))
		with_nulls = false;
	if (upto != NULL && !(upto_null ? upto_kind == TEST_UPTO : col->nulls_first))
		with_nulls = false;
	if (after_null && !col->nulls_first)
		with_values = false;
	if (upto_null && col->nulls_first)
		with_values = false;

	if (with_values)
	{
		bool		bounded = false;

		values = branch_make(key, prefix, column);
		if (after != NULL && !after_null)
		{
			branch_add(values, TEST_AFTER, column, after);
			bounded = true;
		}
		if (upto != NULL && !upto_null)
		{
			branch_add(values, upto_kind, column, upto);
			bounded = true;
		}
		if (!bounded && with_nulls)
			with_nulls = false; /* all there is: one branch, no test */
		else if (!bounded && col->nullable)
			branch_add(values, TEST_NOT_NULL, column, NULL);
	}
	if (with_nulls)
	{
		nulls = branch_make(key, prefix, column);
		branch_add(nulls, TEST_NULL, column, NULL);
	}

	first = col->nulls_first ? nulls : values;
	second = col->nulls_first ? values : nulls;
	if (first != NULL)
		branches = lappend(branches, first);
	if (second != NULL)
		branches = lappend(branches, second);
	return branches;
}

static List *
row_comparison(const WalkKey *key, const Range *range)
{
	RangeBranch *branch = branch_make(key, NULL, 0);

	if (range->after != NULL)
		branch_add(branch, TEST_AFTER, 0, range->after);
	if (range->upto != NULL)
		branch_add(branch, range->upto_exclusive ? TEST_BEFORE : TEST_UPTO, 0, range->upto);
	for (int i = 0; i < branch->ntests; i++)
		branch->tests[i].whole_row = true;
	return list_make1(branch);
}

/* A branch whose first ncolumns columns equal those of prefix. */
static RangeBranch *
branch_make(const WalkKey *key, const Position *prefix, int ncolumns)
{
	/* an equality a column, two bounds on the next, two on the leading one */
	RangeBranch *branch = palloc0(offsetof(RangeBranch, tests) +
								  (key->ncolumns + 4) * sizeof(RangeTest));

	for (int i = 0; i < ncolumns; i++)
		branch_add(branch, prefix->nulls[i] ? TEST_NULL : TEST_EQUAL, i, prefix);
	return branch;
}

static void
branch_add(RangeBranch *branch, RangeTestKind kind, int column, const Position *position)
{
	RangeTest  *test = &branch->tests[branch->ntests++];

	test->kind = kind;
	test->column = column;
	test->position = position;
}

/* Bound the leading column alone; only for one that holds no nulls. */
static void
add_leading_bounds(RangeBranch *branch, const Range *range)
{
	if (range->after != NULL)
		branch_add(branch, TEST_FROM, 0, range->after);
	if (range->upto != NULL)
		branch_add(branch, TEST_UPTO, 0, range->upto);
}

/* The tests of a branch from this one on, joined by AND. */
static void
write_branch(RangeWriter *writer, const RangeBranch *branch, int from)
{
	for (int i = from; i < branch->ntests; i++)
	{
		if (i > from)
			appendStringInfoString(&writer->buf, " AND ");
		write_test(writer, &branch->tests[i]);
	}
}

/* One more test of all that is written. */
static void
write_and_test(RangeWriter *writer, const RangeTest *test)
{
	if (writer->buf.len > 0)
		appendStringInfoString(&writer->buf, " AND ");
	write_test(writer, test);
}

/*
 * All branches as one condition.  Where the leading column holds no nulls its
 * bounds are written first, so that one index range or one partition is enough.
 */
static void
write_expanded(RangeWriter *writer, const Range *range, List *branches)
{
	StringInfo	buf = &writer->buf;
	ListCell   *lc;

	if (list_length(branches) == 1)
	{
		write_branch(writer, linitial(branches), 0);
		return;
	}

	if (!writer->key->columns[0].nullable)
	{
		RangeBranch *bounds = branch_make(writer->key, NULL, 0);

		add_leading_bounds(bounds, range);
		write_branch(writer, bounds, 0);
		appendStringInfoString(buf, " AND ");
	}
	appendStringInfoChar(buf, '(');
	foreach(lc, branches)
	{
		const RangeBranch *branch = lfirst(lc);

		if (foreach_current_index(lc) > 0)
			appendStringInfoString(buf, " OR ");
		appendStringInfoString(buf, branch->ntests > 1 ? "(" : "");
		write_branch(writer, branch, 0);
		appendStringInfoString(buf, branch->ntests > 1 ? ")" : "");
	}
	appendStringInfoChar(buf, ')');
}

/*
 * The bounds of a range each by itself, so that nothing depends on our notion
 * of which comes first.  False if no row can satisfy one of them.
 */
static bool
write_bounds(RangeWriter *writer, const Range *range)
{
	Range		bounds[] = {
		{.after = range->after},
		{.upto = range->upto,.upto_exclusive = range->upto_exclusive},
		{.upto = range->also_before,.upto_exclusive = true},
	};

	for (size_t i = 0; i < lengthof(bounds); i++)
	{
		List	   *branches = ladder(writer->key, &bounds[i]);

		if (branches == NIL)
			return false;
		if (((RangeBranch *) linitial(branches))->ntests == 0)
			continue;			/* every row is in it */
		if (writer->buf.len > 0)
			appendStringInfoString(&writer->buf, " AND ");
		write_expanded(writer, &bounds[i], branches);
	}
	return true;
}

static void
write_test(RangeWriter *writer, const RangeTest *test)
{
	const WalkKey *key = writer->key;
	const KeyColumn *column = &key->columns[test->column];
	StringInfo	buf = &writer->buf;
	StrategyNumber strategy;

	if (test->kind == TEST_NULL || test->kind == TEST_NOT_NULL)
	{
		write_column(writer, test->column);
		appendStringInfoString(buf, null_test_text(column, test->kind == TEST_NULL));
		return;
	}
	if (test->kind == TEST_DIFFERENT)
		appendStringInfoString(buf, "NOT ");
	strategy = range_test_strategy(test, column);

	if (!test->whole_row)
	{
		write_column(writer, test->column);
		appendStringInfo(buf, " %s ", column->operators[strategy]);
		write_value(writer, test->position, test->column);
		return;
	}

	for (int i = 0; i < key->ncolumns; i++)
	{
		appendStringInfoString(buf, i == 0 ? "(" : ", ");
		write_column(writer, i);
	}
	appendStringInfo(buf, ") %s (", column->operators[strategy]);
	for (int i = 0; i < key->ncolumns; i++)
	{
		appendStringInfoString(buf, i == 0 ? "" : ", ");
		write_value(writer, test->position, i);
	}
	appendStringInfoChar(buf, ')');
}

/* The operator that a test of values is made with; that of a row's first column for all. */
StrategyNumber
range_test_strategy(const RangeTest *test, const KeyColumn *column)
{
	switch (test->kind)
	{
		case TEST_AFTER:
			return column->descending ? BTLessStrategyNumber : BTGreaterStrategyNumber;
		case TEST_BEFORE:
			return column->descending ? BTGreaterStrategyNumber : BTLessStrategyNumber;
		case TEST_UPTO:
			return column->descending ? BTGreaterEqualStrategyNumber : BTLessEqualStrategyNumber;
		case TEST_FROM:
			return column->descending ? BTLessEqualStrategyNumber : BTGreaterEqualStrategyNumber;
		default:
			return BTEqualStrategyNumber;
	}
}

/*
 * Is the value itself null?  IS NULL is also true of a row whose fields are
 * all null, which btree orders as a value; the parser turns the longer form
 * into the plain test.
 */
static const char *
null_test_text(const KeyColumn *column, bool is_null)
{
	if (type_is_rowtype(column->typid))
		return is_null ? " IS NOT DISTINCT FROM NULL" : " IS DISTINCT FROM NULL";
	return is_null ? " IS NULL" : " IS NOT NULL";
}

static void
write_column(RangeWriter *writer, int column)
{
	const KeyColumn *col = &writer->key->columns[column];

	if (writer->params == NULL && col->column_cast[0] != '\0')
		appendStringInfo(&writer->buf, "CAST(%s%s%s AS %s)%s", writer->qualifier == NULL ? "" : writer->qualifier,
						 writer->qualifier == NULL ? "" : ".", quote_identifier(col->name),
						 col->column_cast + strlen("::"), col->collate);
	else
		appendStringInfo(&writer->buf, "%s%s%s%s%s", writer->qualifier == NULL ? "" : writer->qualifier,
						 writer->qualifier == NULL ? "" : ".", quote_identifier(col->name),
						 col->column_cast, col->collate);
}

static void
write_value(RangeWriter *writer, const Position *position, int column)
{
	const KeyColumn *col = &writer->key->columns[column];
	RangeQuery *params = writer->params;

	if (params == NULL)
	{
		bool		cast = col->value_cast[0] != '\0';

		appendStringInfoString(&writer->buf, cast ? "CAST(CAST(" : "CAST(");
		appendStringInfoString(&writer->buf, position->literals[column]);
		appendStringInfo(&writer->buf, " AS %s)", col->value_type);
		if (cast)
			appendStringInfo(&writer->buf, " AS %s)", col->value_cast + strlen("::"));
		return;
	}
	params->types[params->nparams] = col->typid;
	params->values[params->nparams] = position->values[column];
	params->nparams++;
	appendStringInfo(&writer->buf, "$%d%s", params->nbefore + params->nparams, col->value_cast);
}

static RangeWriter *
writer_make(const WalkKey *key, const char *qualifier, bool literals)
{
	RangeWriter *writer = palloc0(sizeof(RangeWriter));

	writer->key = key;
	writer->qualifier = qualifier;
	initStringInfo(&writer->buf);
	if (!literals)
	{
		/* the expanded form says each value at most once a column and rung */
		int			most = 4 * (key->ncolumns + 1) * (key->ncolumns + 2);

		writer->params = palloc0(sizeof(RangeQuery));
		writer->params->types = palloc(most * sizeof(Oid));
		writer->params->values = palloc(most * sizeof(Datum));
	}
	return writer;
}
