/*
 * range.h
 *		A range of positions: as index scans, as conditions of queries, and as predicates.
 *
 * Knows how the order of a key is written in WHERE; nothing of running it.
 */
#ifndef PG_CHUNKED_RANGE_H
#define PG_CHUNKED_RANGE_H

#include "nodes/pg_list.h"
#include "key/position.h"

/* The positions after one and up to another; NULL: no bound on that side. */
typedef struct Range
{
	Position   *after;
	Position   *upto;
	bool		upto_exclusive; /* leave upto itself out */
	Position   *also_before;	/* a second, exclusive, upper bound; only in the
								 * expanded style, where the remote server alone
								 * knows which of the two comes first */
} Range;

/* How a range of a relation is to be written */
typedef struct RangeStyle
{
	bool		prune;			/* bound the leading column alone as well, which
								 * is what partition pruning looks at */
	bool		expand;			/* one condition of plain comparisons with AND
								 * and OR, for a remote server to evaluate */
	bool		bounded;		/* of conditions: one range of the column in
								 * which the ends differ, if it holds no nulls,
								 * rather than a ladder (condition.c) */
	int			params_before;	/* parameters of queries that have lower numbers */
	bool		also_expand;	/* that besides a row comparison, in queries, for the
								 * remote servers of foreign partitions */
} RangeStyle;

typedef enum RangeTestKind
{
	TEST_EQUAL,
	TEST_DIFFERENT,				/* not in a branch */
	TEST_AFTER,
	TEST_BEFORE,
	TEST_UPTO,
	TEST_FROM,
	TEST_NULL,
	TEST_NOT_NULL
} RangeTestKind;

typedef struct RangeTest
{
	RangeTestKind kind;
	bool		whole_row;		/* compare all key columns as rows */
	int			column;			/* else the one */
	const Position *position;
} RangeTest;

/* One index range of a walk: tests joined by AND; at most one for each column and one more */
typedef struct RangeBranch
{
	int			ntests;
	RangeTest	tests[FLEXIBLE_ARRAY_MEMBER];
} RangeBranch;

/* The same as a query: its condition and the parameters in it. */
typedef struct RangeQuery
{
	char	   *condition;		/* "" if every row qualifies */
	int			nbefore;		/* numbers that come before those of its own */
	int			nparams;
	Oid		   *types;
	Datum	   *values;
} RangeQuery;

extern List *range_branches(const WalkKey *key, const Range *range);
extern StrategyNumber range_test_strategy(const RangeTest *test, const KeyColumn *column);
extern List *range_queries(const WalkKey *key, RangeStyle style,
						   const char *qualifier, const Range *range);
extern char *range_predicate(const WalkKey *key, RangeStyle style,
							 const char *qualifier, const Range *range);
extern RangeQuery *range_condition(const WalkKey *key, RangeStyle style,
								   const char *qualifier, const Range *range);
extern void range_order_by(StringInfo buf, const WalkKey *key,
						   const char *qualifier, bool backward);

#endif							/* PG_CHUNKED_RANGE_H */
