/*
 * ledger.c
 *		Queries on the ledger, the tables in which jobs are kept.
 *
 * Every role may have jobs, and none may write to these tables: who could forge
 * a chunk could have another's statement run twice, and who may UPDATE or DELETE
 * may lock them against everybody.  So the queries here, all of them constant
 * texts, are let through where their callers have no privileges.  Why that is
 * safe:
 *
 * - Nobody's rights are taken on.  A query runs as the role that calls, from
 *   its first function to its last; only the permission to read and write the
 *   tables is checked as that of their owner, which is how the server treats
 *   the relations of a view (checkAsUser).  Code that somebody managed to have
 *   evaluated here would have the rights that it had anyway.
 * - That permission is for relations, not for names.  When the text of a query
 *   has been analysed, and each time it is analysed again, every relation in it
 *   is held by its lock and must be one of the ledger's tables: a member of the
 *   extension, in a schema that is one, both owned by a superuser.  The plan
 *   then goes by oid.  A text that somebody else sends is never let through.
 * - Nothing of a user's is called: names are found in pg_catalog alone, a
 *   function that did not come with the server is an error, and values are
 *   parameters of built-in types, computed before.
 *
 * Whose jobs a caller may see and change is checked by those who call (job.c).
 * What is read is input like any other, since a dump may bring anything.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "parser/parse_relation.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/settings.h"
#include "job/ledger.h"

#define EXTENSION "pg_chunked"
#define SCHEMA "chunked"

/* So that queries go by the ledger's indexes, even if its statistics say that it is empty */
static const char *const settings[][2] = {
	{"search_path", "pg_catalog, pg_temp"},
	{"enable_seqscan", "off"},
	{"enable_bitmapscan", "off"},
	{"plan_cache_mode", "force_generic_plan"},
	{"jit", "off"},
};

static const char *const tables[] = {LEDGER_JOBS, LEDGER_CARVING, LEDGER_CHUNKS};

static post_parse_analyze_hook_type next_analyze_hook = NULL;

/* The query that is being executed, which the hook lets through */
static const LedgerQuery *executing = NULL;

static int	execute_ledger_plan(LedgerQuery *query, Datum *values, const char *nulls);
static void require_may_write(const LedgerQuery *query);
static void let_ledger_through(COMPAT_ANALYZE_HOOK_PARAMS);
static bool bind_ledger_node(Node *node, void *context);
static void bind_ledger_relation(Query *query, RangeTblEntry *rte);
static Oid	schema_owner(Oid schema);
static bool is_not_builtin(Oid function, void *context);
static bool is_of_extension(Oid class, Oid object, Oid owner);
static Oid	find_ledger_relation(const char *name);
static void report_not_ledger(const char *relation);

/*
 * Run a query; returns the number of rows that it returned or changed, of which
 * ledger_value() and the others read the first.  nulls: NULL if there are none.
 * SPI must be connected; what they return is good until SPI_finish().
 */
uint64
ledger_execute(LedgerQuery *query, Datum *values, const bool *nulls)
{
	char		null_flags[LEDGER_MAX_ARGS];
	int			nest_level = settings_begin(settings, lengthof(settings));
	int			result = 0;

	for (int i = 0; OidIsValid(query->argtypes[i]); i++)
		null_flags[i] = nulls != NULL && nulls[i] ? 'n' : ' ';
	executing = query;
	PG_TRY();
	{
		result = execute_ledger_plan(query, values, null_flags);
	}
	PG_FINALLY();
	{
		executing = NULL;
	}
	PG_END_TRY();
	settings_end(nest_level);
	if (result < 0)
		elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(result));
	return SPI_processed;
}

static int
execute_ledger_plan(LedgerQuery *query, Datum *values, const char *nulls)
{
	if (query->plan == NULL)
	{
		SPIPlanPtr	plan;
		int			nargs = 0;

		while (OidIsValid(query->argtypes[nargs]))
			nargs++;
		plan = SPI_prepare(query->sql, nargs, query->argtypes);
		if (plan == NULL)
			elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
		SPI_keepplan(plan);
		query->plan = plan;
	}
	if (XactReadOnly)
		require_may_write(query);
	return SPI_execute_plan(query->plan, values, nulls, false, 0);
}

/* In a transaction that writes nothing.  Error: 25006 the query does. */
static void
require_may_write(const LedgerQuery *query)
{
	ListCell   *lc;

	foreach(lc, ((CachedPlanSource *) linitial(SPI_plan_get_plan_sources(query->plan)))->query_list)
	{
		Query	   *written = lfirst_node(Query, lc);

		if (written->commandType != CMD_SELECT || written->rowMarks != NIL || written->hasModifyingCTE)
			ereport(ERROR,
					(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
					 errmsg("jobs cannot be changed in a read-only transaction"),
					 RecoveryInProgress() ?
					 errhint("This server is a standby: do it on the primary. Walks, chunks() and the views work here.") :
					 errhint("SET default_transaction_read_only = off, or BEGIN READ WRITE.")));
	}
}

/* ------------------------------------------------------------- letting through */

/* Called once, when the library is loaded. */
void
ledger_install(void)
{
	next_analyze_hook = post_parse_analyze_hook;
	post_parse_analyze_hook = let_ledger_through;
}

/*
 * post_parse_analyze_hook: has the permissions of the query that is being
 * executed checked as the ledger's owner.  It comes ahead of the rewriter, which
 * thus applies no policies, and again whenever the plan is made again.
 */
static void
let_ledger_through(COMPAT_ANALYZE_HOOK_PARAMS)
{
	if (next_analyze_hook != NULL)
		next_analyze_hook(COMPAT_ANALYZE_HOOK_ARGS);
	if (executing != NULL && strcmp(pstate->p_sourcetext, executing->sql) == 0)
		(void) bind_ledger_node((Node *) query, NULL);
}

static bool
bind_ledger_node(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		Query	   *query = (Query *) node;
		ListCell   *lc;

		foreach(lc, query->rtable)
		{
			RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

			if (rte->rtekind == RTE_RELATION)
				bind_ledger_relation(query, rte);
		}
		return query_tree_walker(query, bind_ledger_node, context, 0);
	}
	if (check_functions_in_node(node, is_not_builtin, NULL))
		elog(ERROR, "a query on the ledger calls a function that is not the server's");
	return expression_tree_walker(node, bind_ledger_node, context);
}

static void
bind_ledger_relation(Query *query, RangeTblEntry *rte)
{
	Relation	rel = table_open(rte->relid, NoLock);
	Oid			owner = rel->rd_rel->relowner;
	bool		found = false;

	for (size_t i = 0; i < lengthof(tables) && !found; i++)
		found = strcmp(RelationGetRelationName(rel), tables[i]) == 0;
	if (!found || rel->rd_rel->relkind != RELKIND_RELATION ||
		!is_of_extension(RelationRelationId, rte->relid, owner) ||
		!is_of_extension(NamespaceRelationId, RelationGetNamespace(rel),
						 schema_owner(RelationGetNamespace(rel))))
		report_not_ledger(RelationGetRelationName(rel));
	compat_check_as_user(query, rte, owner);
	table_close(rel, NoLock);
}

static Oid
schema_owner(Oid schema)
{
	HeapTuple	tuple = SearchSysCache1(NAMESPACEOID, ObjectIdGetDatum(schema));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for schema %u", schema);
	owner = ((Form_pg_namespace) GETSTRUCT(tuple))->nspowner;
	ReleaseSysCache(tuple);
	return owner;
}

static bool
is_not_builtin(Oid function, void *context)
{
	(void) context;
	return function >= FirstNormalObjectId;
}

/* A plain user who owns the extension may make objects of that user members of it. */
static bool
is_of_extension(Oid class, Oid object, Oid owner)
{
	Oid			extension = get_extension_oid(EXTENSION, true);

	return OidIsValid(extension) && superuser_arg(owner) &&
		getExtensionOfObject(class, object) == extension;
}

static void
report_not_ledger(const char *relation)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("relation \"%s\" is not the ledger of %s", relation, EXTENSION),
			 errdetail("It and the schema \"%s\" must be members of the extension and belong to a superuser.", SCHEMA),
			 errhint("Have a superuser look into the schema, and create the extension again or ALTER ... OWNER.")));
}

/* The table that the jobs are in.  Error: 55000 there is no ledger. */
Oid
ledger_jobs_relid(void)
{
	return find_ledger_relation(LEDGER_JOBS);
}

/* The sequence of fences, looked up once.  Error: 55000 there is no ledger. */
Oid
ledger_fences_relid(void)
{
	static Oid	relid = InvalidOid;

	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
		relid = find_ledger_relation(LEDGER_FENCES);
	return relid;
}

static Oid
find_ledger_relation(const char *name)
{
	Oid			schema = get_namespace_oid(SCHEMA, true);
	Oid			relid = OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;
	Oid			extension = get_extension_oid(EXTENSION, true);

	if (!OidIsValid(relid) || !OidIsValid(extension) ||
		getExtensionOfObject(RelationRelationId, relid) != extension)
		report_not_ledger(name);
	return relid;
}

/* -------------------------------------------------------------------- reading */

/* A column, counted from 1, of the first row. */
Datum
ledger_value(int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, isnull);
}

/* The same of a bigint, 0 if null. */
int64
ledger_int64(int column)
{
	bool		isnull;
	Datum		value = ledger_value(column, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

/* The same of an int, 0 if null. */
int32
ledger_int32(int column)
{
	bool		isnull;
	Datum		value = ledger_value(column, &isnull);

	return isnull ? 0 : DatumGetInt32(value);
}

/* The same of a double precision, 0 if null. */
double
ledger_float8(int column)
{
	bool		isnull;
	Datum		value = ledger_value(column, &isnull);

	return isnull ? 0 : DatumGetFloat8(value);
}

/* The same of a timestamptz, 0 if null. */
TimestampTz
ledger_timestamp(int column)
{
	bool		isnull;
	Datum		value = ledger_value(column, &isnull);

	return isnull ? 0 : DatumGetTimestampTz(value);
}

/* The same of a boolean, false if null. */
bool
ledger_bool(int column)
{
	bool		isnull;
	Datum		value = ledger_value(column, &isnull);

	return !isnull && DatumGetBool(value);
}

/* The same of a text, NULL if null. */
char *
ledger_text(int column)
{
	bool		isnull;
	Datum		value = ledger_value(column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/* The same of a jsonb, a copy; NULL if null. */
Jsonb *
ledger_jsonb(int column)
{
	bool		isnull;
	Datum		value = ledger_value(column, &isnull);

	return isnull ? NULL : DatumGetJsonbPCopy(value);
}

/* The same of the columns of an error, from this one on. */
void
ledger_error(int column, LedgerError *error)
{
	error->sqlstate = ledger_text(column);
	error->message = ledger_text(column + 1);
	error->detail = ledger_text(column + 2);
	error->hint = ledger_text(column + 3);
}

/* Its SQLSTATE as ereport() takes it; that of an internal error where the text is none. */
int
ledger_sqlstate(const LedgerError *error)
{
	const char *text = error->sqlstate;

	if (text == NULL || strlen(text) != 5 ||
		strspn(text, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 5)
		return ERRCODE_INTERNAL_ERROR;
	return MAKE_SQLSTATE(text[0], text[1], text[2], text[3], text[4]);
}

/* -------------------------------------------------------------------- writing */

/* An error as LEDGER_ERROR_COLUMNS arguments of a query. */
void
ledger_put_error(const LedgerError *error, Datum *values, bool *nulls)
{
	const char *texts[LEDGER_ERROR_COLUMNS] = {
		error->sqlstate, error->message, error->detail, error->hint
	};

	for (int i = 0; i < LEDGER_ERROR_COLUMNS; i++)
	{
		nulls[i] = (texts[i] == NULL);
		values[i] = nulls[i] ? (Datum) 0 : CStringGetTextDatum(texts[i]);
	}
}
