/*
 * statement_plan.h
 *		Planning a job's statement: by the walk's index, for the chunk's rows.
 *
 * Knows paths and estimates; nothing of what the statement does.
 */
#ifndef PG_CHUNKED_STATEMENT_PLAN_H
#define PG_CHUNKED_STATEMENT_PLAN_H

#include "nodes/params.h"
#include "walk/walk.h"

extern void statement_plan_install(void);
extern void statement_plan_make(SPIPlanPtr plan, const Walk *walk, ParamListInfo params,
								double rows);
extern char *statement_plan_explain(SPIPlanPtr plan, ParamListInfo params);
extern bool statement_plan_reads_most(double rows, double tuples);

#endif							/* PG_CHUNKED_STATEMENT_PLAN_H */
