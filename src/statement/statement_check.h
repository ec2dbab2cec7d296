/*
 * statement_check.h
 *		What a job's statement must not do, and what its author should know.
 *
 * Knows what its names mean and what it writes; nothing of executing it.
 */
#ifndef PG_CHUNKED_STATEMENT_CHECK_H
#define PG_CHUNKED_STATEMENT_CHECK_H

#include "statement/statement_text.h"

extern void statement_check(SPIPlanPtr plan, const StatementText *statement, const Walk *walk);
extern void statement_check_review(SPIPlanPtr plan, const StatementText *statement, const Walk *walk);
extern void statement_check_refuse_foreign_writes(SPIPlanPtr plan);

#endif							/* PG_CHUNKED_STATEMENT_CHECK_H */
