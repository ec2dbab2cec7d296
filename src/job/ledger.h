/*
 * ledger.h
 *		Queries on the ledger, the tables in which jobs are kept.
 *
 * Knows how such a query is prepared and run; nothing of what it says.
 */
#ifndef PG_CHUNKED_LEDGER_H
#define PG_CHUNKED_LEDGER_H

#include "executor/spi.h"

#define LEDGER_MAX_ARGS 24

/* Its tables, in the schema chunked */
#define LEDGER_JOBS "ledger_jobs"
#define LEDGER_CARVING "ledger_carving"
#define LEDGER_CHUNKS "ledger_chunks"
#define LEDGER_FENCES "ledger_fences"

/* One statement with its plan, which is kept for the session; static storage */
typedef struct LedgerQuery
{
	const char *sql;
	Oid			argtypes[LEDGER_MAX_ARGS + 1];	/* ended by InvalidOid */
	SPIPlanPtr	plan;			/* NULL at first */
} LedgerQuery;

/* The InvalidOid is one element too many, which the compiler tells, where there are more arguments than LEDGER_MAX_ARGS */
#define LEDGER_QUERY(text, ...) {.sql = text, .argtypes = {__VA_ARGS__, InvalidOid}}

extern uint64 ledger_execute(LedgerQuery *query, Datum *values, const bool *nulls);
extern Datum ledger_value(int column, bool *isnull);
extern int64 ledger_int64(int column);
extern bool ledger_bool(int column);
extern char *ledger_text(int column);
extern int	ledger_sqlstate(int column);
extern Oid	ledger_jobs_relid(void);
extern Oid	ledger_fences_relid(void);
extern void ledger_install(void);

#endif							/* PG_CHUNKED_LEDGER_H */
