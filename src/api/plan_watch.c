/*
 * plan_watch.c
 *		Has statements over page() and paginate() analyzed again when their
 *		relation changes.
 *
 * Such a statement names its relation by a row type, and the server keeps no
 * dependency of a prepared statement on that: it would go on reading the table
 * of that OID after another one took its name, and have its columns as they
 * were.  What it depends on is the function.  So when the server reports a
 * change to a relation that was planned for, this session's kept statements are
 * invalidated as if the function had changed: they are analyzed again, from their text,
 * when they are used next, just as statements are that name the table in FROM.
 *
 * Too late for that is a change between a statement's analysis and its lock on
 * the relation, while it waited for the lock or was prepared and not planned.
 * So the first call after a change, and after the first planning, is compared
 * with its statement's text: does the name there still mean the relation?
 */
#include "postgres.h"

#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "parser/parse_type.h"
#include "parser/scansup.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "api/plan_watch.h"
#include "base/relation.h"

typedef struct WatchedRelation
{
	Oid			relid;
	bool		changed;		/* since a call was last compared with its text,
								 * or perhaps before it was watched */
	Oid			schema;			/* where it was, and its name, when a statement */
	NameData	name;			/* was last planned for it */
} WatchedRelation;

/* One for each function that takes a row type; more only if one is created again */
#define MAX_FUNCTIONS 16

/* A session may page through temporary tables without end */
#define MAX_RELATIONS 1024

static HTAB *relations = NULL;	/* of WatchedRelation */
static uint32 functions[MAX_FUNCTIONS];	/* as invalidation messages have them */
static int	nfunctions = 0;

static void note_name(WatchedRelation *watched);
static bool has_other_name(const WatchedRelation *watched);
static bool is_watched(uint32 function);
static const char *type_name_at(const char *text, int location);
static const char *skip_space(const char *text);
static const char *skip_word(const char *text, const char *word);
static void note_relation_change(Datum arg, Oid relid);
static void invalidate_statements(void);

/*
 * From now on, relid's changes concern the statements that call this function.
 * If that is new, all of them are analyzed again once.
 */
void
plan_watch(Oid relid, Oid function)
{
	uint32		hash = GetSysCacheHashValue1(PROCOID, ObjectIdGetDatum(function));
	WatchedRelation *watched;
	bool		known;

	if (relations == NULL)
		CacheRegisterRelcacheCallback(note_relation_change, (Datum) 0);
	else if (hash_get_num_entries(relations) >= MAX_RELATIONS &&
			 hash_search(relations, &relid, HASH_FIND, NULL) == NULL)
	{
		/* those in use come back, as below all statements are analyzed again */
		hash_destroy(relations);
		relations = NULL;
	}
	if (relations == NULL)
	{
		HASHCTL		info = {0};

		info.keysize = sizeof(Oid);
		info.entrysize = sizeof(WatchedRelation);
		info.hcxt = CacheMemoryContext;
		relations = hash_create("pg_chunked relations planned for", 32, &info,
								HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	watched = hash_search(relations, &relid, HASH_ENTER, &known);
	note_name(watched);
	if (known && is_watched(hash))
		return;
	watched->changed = true;
	if (!is_watched(hash))
	{
		if (nfunctions == MAX_FUNCTIONS)
			nfunctions = 0;		/* those in use come back when they are planned */
		functions[nfunctions++] = hash;
	}
	invalidate_statements();
}

/*
 * To be called when a call of page() or paginate() begins, its relation locked.
 *
 * Error: 42P01 if what the statement names is another relation by now.
 */
void
plan_watch_check_name(FunctionCallInfo fcinfo, Oid relid)
{
	WatchedRelation *watched = relations == NULL ? NULL : hash_search(relations, &relid, HASH_FIND, NULL);
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	FuncExpr   *call = (FuncExpr *) fcinfo->flinfo->fn_expr;
	Const	   *row;
	const char *name;

	if (watched == NULL || !watched->changed)
		return;
	watched->changed = false;
	if (has_other_name(watched))
		relation_report_changed(NULL);
	if (call == NULL || !IsA(call, FuncExpr) || !IsA(linitial(call->args), Const) ||
		rsinfo == NULL || !IsA(rsinfo, ReturnSetInfo) || rsinfo->econtext->ecxt_estate == NULL ||
		rsinfo->econtext->ecxt_estate->es_sourceText == NULL)
		return;
	row = linitial_node(Const, call->args);
	name = type_name_at(rsinfo->econtext->ecxt_estate->es_sourceText, row->location);
	if (name != NULL &&
		LookupTypeNameOid(NULL, makeTypeNameFromNameList(textToQualifiedNameList(cstring_to_text(name))),
						  true) != row->consttype)
		relation_report_changed(NULL);
}

/* Its name, as statements that are planned now mean it */
static void
note_name(WatchedRelation *watched)
{
	char	   *name = get_rel_name(watched->relid);

	watched->schema = get_rel_namespace(watched->relid);
	namestrcpy(&watched->name, name == NULL ? "" : name);
}

/*
 * Has it been renamed since statements were last planned, so that what they name
 * may be another?  Wherever the text of a statement is, and however it says it.
 */
static bool
has_other_name(const WatchedRelation *watched)
{
	char	   *name = get_rel_name(watched->relid);

	return name == NULL || strcmp(name, NameStr(watched->name)) != 0 ||
		get_rel_namespace(watched->relid) != watched->schema;
}

static bool
is_watched(uint32 function)
{
	for (int i = 0; i < nfunctions; i++)
		if (functions[i] == function)
			return true;
	return false;
}

/*
 * The type's name where text has "NULL::name" or "NULL AS name" at location;
 * else NULL: a call in a view or an inlined function has its text elsewhere.
 */
static const char *
type_name_at(const char *text, int location)
{
	const char *start;
	const char *end;

	if (location < 0 || (size_t) location >= strlen(text))
		return NULL;
	start = skip_word(text + location, "null");
	if (start == NULL)
		return NULL;
	if (strncmp(start, "::", 2) == 0)
		start = skip_space(start + 2);
	else if ((start = skip_word(start, "as")) == NULL)
		return NULL;

	for (end = start;; end = skip_space(end + 1))
	{
		if (*end == '"')
		{
			for (end++; *end != '"' || end[1] == '"'; end++)
			{
				if (*end == '\0')
					return NULL;
				if (*end == '"')
					end++;
			}
			end++;
		}
		else if (isalpha((unsigned char) *end) || *end == '_' || IS_HIGHBIT_SET(*end))
			while (isalnum((unsigned char) *end) || *end == '_' || *end == '$' || IS_HIGHBIT_SET(*end))
				end++;
		else
			return NULL;
		if (*end == '&' || *end == '"') /* U&"name" */
			return NULL;
		if (*skip_space(end) != '.')
			return pnstrdup(start, end - start);
		end = skip_space(end);
	}
}

static const char *
skip_space(const char *text)
{
	while (scanner_isspace(*text))
		text++;
	return text;
}

/* What follows this word and white space, or NULL if text begins otherwise. */
static const char *
skip_word(const char *text, const char *word)
{
	size_t		length = strlen(word);

	if (pg_strncasecmp(text, word, length) != 0 || isalnum((unsigned char) text[length]) ||
		text[length] == '_' || text[length] == '$' || IS_HIGHBIT_SET(text[length]))
		return NULL;
	return skip_space(text + length);
}

static void
note_relation_change(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS status;
	WatchedRelation *watched;

	(void) arg;
	if (relations == NULL)
		return;
	if (OidIsValid(relid))
	{
		watched = hash_search(relations, &relid, HASH_FIND, NULL);
		if (watched == NULL)
			return;
		watched->changed = true;
	}
	else
	{
		hash_seq_init(&status, relations);
		while ((watched = hash_seq_search(&status)) != NULL)
			watched->changed = true;
	}
	invalidate_statements();
}

static void
invalidate_statements(void)
{
	for (int i = 0; i < nfunctions; i++)
		CallSyscacheCallbacks(PROCOID, functions[i]);
}
