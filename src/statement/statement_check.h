/*
 * statement_check.h
 *		What a job's statement must not do, and what its author should know.
 */
#ifndef PG_CHUNKED_STATEMENT_CHECK_H
#define PG_CHUNKED_STATEMENT_CHECK_H

#include "statement/statement.h"

/* Where a condition that names all columns of the key stands in a text */
typedef struct StatementCondition
{
	int			start;			/* byte offsets */
	int			end;
	const char *placeholder;	/* as the author wrote it */
} StatementCondition;

/* statement.c */
extern char *statement_with_names(const Statement *statement, const WalkKey *key, List **conditions);

/* statement_check.c */
extern void statement_check(SPIPlanPtr plan, const char *text, const List *conditions,
							const Walk *walk);

/* of a statement that is prepared; SPI must be connected */
extern void statement_warn(const Statement *statement, const Walk *walk);
extern void statement_refuse_foreign_writes(const Statement *statement);

#endif							/* PG_CHUNKED_STATEMENT_CHECK_H */
