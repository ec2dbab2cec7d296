/*
 * ledger.h
 *		Queries on the ledger, the tables in which jobs are kept.
 *
 * Knows how such a query is prepared and run; nothing of what it says.
 */
#ifndef PG_CHUNKED_LEDGER_H
#define PG_CHUNKED_LEDGER_H

#include "datatype/timestamp.h"
#include "executor/spi.h"
#include "utils/jsonb.h"

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

/*
 * Declares one: its name, its text, the types of its arguments.  With more of
 * these than LEDGER_MAX_ARGS the InvalidOid is one element too many, and an error
 * of the compiler's.
 */
#define LEDGER_QUERY(name, text, ...) \
	static LedgerQuery name = {.sql = text, .argtypes = {__VA_ARGS__, InvalidOid}}

/* An error as the ledger has it, in the columns error_sqlstate, error, error_detail, error_hint */
typedef struct LedgerError
{
	const char *sqlstate;
	const char *message;
	const char *detail;			/* or NULL */
	const char *hint;			/* or NULL */
} LedgerError;

#define LEDGER_ERROR_COLUMNS 4

extern uint64 ledger_execute(LedgerQuery *query, Datum *values, const bool *nulls);
extern Datum ledger_value(int column, bool *isnull);
extern int64 ledger_int64(int column);
extern int32 ledger_int32(int column);
extern double ledger_float8(int column);
extern TimestampTz ledger_timestamp(int column);
extern bool ledger_bool(int column);
extern char *ledger_text(int column);
extern Jsonb *ledger_jsonb(int column);
extern void ledger_error(int column, LedgerError *error);
extern int	ledger_sqlstate(const LedgerError *error);
extern void ledger_put_error(const LedgerError *error, Datum *values, bool *nulls);
extern Oid	ledger_jobs_relid(void);
extern Oid	ledger_fences_relid(void);
extern void ledger_install(void);

#endif							/* PG_CHUNKED_LEDGER_H */
