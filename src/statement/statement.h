/*
 * statement.h
 *		A job's statement: SQL with {chunk} where a chunk's condition belongs.
 *
 * Knows how it is read, checked, planned and executed for a range; nothing of
 * jobs.
 */
#ifndef PG_CHUNKED_STATEMENT_H
#define PG_CHUNKED_STATEMENT_H

#include "walk/walk.h"

typedef struct Statement Statement;

extern Statement *statement_parse(const char *text);
extern void statement_free(Statement *statement);
extern char *statement_with_literals(const Statement *statement, const Walk *walk,
									 const Range *range, double rows);
extern void statement_prepare(Statement *statement, const Walk *walk, const Range *range,
							  double rows);
extern char *statement_explain(Statement *statement);
extern void statement_check_plan(Statement *statement, const Walk *walk, double nchunks);
extern void statement_review(const Statement *statement, const Walk *walk);
extern void statement_refuse_foreign_writes(const Statement *statement);
extern SPIPlanPtr statement_plan(const Statement *statement);
extern int64 statement_execute(Statement *statement);

#endif							/* PG_CHUNKED_STATEMENT_H */
