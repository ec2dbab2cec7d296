/*
 * arguments.c
 *		Arguments that several SQL functions take, read and checked alike.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/varlena.h"

#include "api/arguments.h"
#include "base/relation.h"
#include "job/job.h"

static Jsonb *argument_jsonb(FunctionCallInfo fcinfo, int argno, char bracket);
static Jsonb *json_within(const char *text);

/* Error: 22004, with this hint, if the argument is null. */
void
argument_require(FunctionCallInfo fcinfo, int argno, const char *name, const char *hint)
{
	if (PG_ARGISNULL(argno))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name),
				 errhint("%s", hint)));
}

/* A regclass that must be there.  Error: 22004. */
Oid
argument_relation(FunctionCallInfo fcinfo, int argno)
{
	argument_require(fcinfo, argno, "relation", "Name a table, for example 'event'.");
	return PG_GETARG_OID(argno);
}

/* The same, opened as relation_open_to_walk() does. */
Relation
argument_open_relation(FunctionCallInfo fcinfo, int argno)
{
	return relation_open_to_walk(argument_relation(fcinfo, argno));
}

/* The relation that a null of its row type names, opened likewise. */
Relation
argument_open_row_type(FunctionCallInfo fcinfo, int argno)
{
	return relation_open_to_walk(relation_of_row_type(get_fn_expr_argtype(fcinfo->flinfo, argno)));
}

/* A key as it is written, or NULL; in the current memory context. */
char *
argument_key(FunctionCallInfo fcinfo, int argno)
{
	return argument_text(fcinfo, argno);
}

/*
 * A filter and, in the argument after it, the values of its parameters; or NULL.  In
 * the current memory context.  Error: 22023 values without a filter.
 */
Filter *
argument_filter(FunctionCallInfo fcinfo, int argno)
{
	Jsonb	   *args = argument_jsonb(fcinfo, argno + 1, '[');
	Filter	   *filter;

	if (PG_ARGISNULL(argno))
	{
		if (args != NULL && JB_ROOT_COUNT(args) > 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("args is given, but no filter"),
					 errhint("Give a filter that has the values as $1, $2 and so on: filter => 'kind = $1 AND name = $2'.")));
		return NULL;
	}
	filter = palloc(sizeof(Filter));
	filter->text = text_to_cstring(PG_GETARG_TEXT_PP(argno));
	filter->args = args;
	return filter;
}

/*
 * A position as it is written, or NULL for an open end: not given, or the empty
 * position.
 */
Jsonb *
argument_end(FunctionCallInfo fcinfo, int argno)
{
	Jsonb	   *position = argument_jsonb(fcinfo, argno, '{');

	return position != NULL && JB_ROOT_IS_OBJECT(position) && JB_ROOT_COUNT(position) == 0 ? NULL : position;
}

/*
 * A jsonb, or NULL; a copy.  It should be an object or an array, as bracket says; what
 * it is is for the caller to check.  Drivers that send their values as JSON make a
 * string of a text that is JSON already: then it is what the string holds.  A string
 * within that one remains a string.
 */
static Jsonb *
argument_jsonb(FunctionCallInfo fcinfo, int argno, char bracket)
{
	Jsonb	   *given = PG_ARGISNULL(argno) ? NULL : PG_GETARG_JSONB_P_COPY(argno);
	JsonbValue	value;

	if (given != NULL && JB_ROOT_IS_SCALAR(given) && JsonbExtractScalar(&given->root, &value) &&
		value.type == jbvString)
	{
		char	   *text = pnstrdup(value.val.string.val, value.val.string.len);
		Jsonb	   *held = text[strspn(text, " \t\n\r")] == bracket ? json_within(text) : NULL;

		if (held != NULL)
			return held;
	}
	return given;
}

/*
 * The jsonb that a text is, or NULL if it is none or too large to be one.  Reading it
 * touches nothing but memory, so that the error can be dropped without a subtransaction.
 */
static Jsonb *
json_within(const char *text)
{
	MemoryContext context = CurrentMemoryContext;
	Jsonb	   *volatile json = NULL;

	PG_TRY();
	{
		json = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
	}
	PG_CATCH();
	{
		int			category;

		MemoryContextSwitchTo(context);
		category = ERRCODE_TO_CATEGORY(geterrcode());
		if (category != ERRCODE_DATA_EXCEPTION && category != ERRCODE_PROGRAM_LIMIT_EXCEEDED)
			PG_RE_THROW();
		FlushErrorState();
	}
	PG_END_TRY();
	return json;
}

/* A bigint that must be there and over 0; example: one to put into the hint.  Errors: 22004, 22023. */
int64
argument_positive(FunctionCallInfo fcinfo, int argno, const char *name, int example)
{
	int64		value;

	if (PG_ARGISNULL(argno))
		argument_require(fcinfo, argno, name, psprintf("Give a number, such as %d.", example));
	value = PG_GETARG_INT64(argno);
	if (value <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be greater than zero, not " INT64_FORMAT, name, value),
				 errhint("Give a number, such as %d.", example)));
	return value;
}

/* A boolean that must be there.  Error: 22004. */
bool
argument_boolean(FunctionCallInfo fcinfo, int argno, const char *name)
{
	argument_require(fcinfo, argno, name, "Leave it out for the default, or give true or false.");
	return PG_GETARG_BOOL(argno);
}

/* The same as a position of this key.  Errors: those of position_read(). */
Position *
argument_position(FunctionCallInfo fcinfo, int argno, const WalkKey *key, const char *name)
{
	Jsonb	   *position = argument_end(fcinfo, argno);

	return position == NULL ? NULL : position_read(key, position, name);
}

/* An SQL identifier, quoted where it must be; NULL if not given.  Error: 42602. */
char *
argument_alias(FunctionCallInfo fcinfo, int argno)
{
	List	   *names;

	if (PG_ARGISNULL(argno))
		return NULL;
	if (!SplitIdentifierString(text_to_cstring(PG_GETARG_TEXT_PP(argno)), '.', &names) ||
		list_length(names) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("invalid alias \"%s\"", text_to_cstring(PG_GETARG_TEXT_PP(argno))),
				 errhint("Give the table's alias as the statement writes it, one identifier.")));
	return pstrdup(quote_identifier(linitial(names)));
}

/* A page number from 1 on.  Errors: 22004, 22023. */
int64
argument_page_number(FunctionCallInfo fcinfo, int argno)
{
	argument_require(fcinfo, argno, "page_number", "The first page is number 1.");
	if (PG_GETARG_INT64(argno) < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("page_number must be 1 or more"),
				 errhint("The first page is number 1.")));
	return PG_GETARG_INT64(argno);
}

/* Whether this statement has been warned: lives as long as the call's FmgrInfo. */
bool *
argument_warned(FunctionCallInfo fcinfo)
{
	if (fcinfo->flinfo->fn_extra == NULL)
		fcinfo->flinfo->fn_extra = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(bool));
	return (bool *) fcinfo->flinfo->fn_extra;
}

/* A job's name.  Error: 22004. */
char *
argument_name(FunctionCallInfo fcinfo, int argno)
{
	argument_require(fcinfo, argno, "name", "Name a job; the view chunked.jobs lists them.");
	return text_to_cstring(PG_GETARG_TEXT_PP(argno));
}

/* A text, or NULL. */
char *
argument_text(FunctionCallInfo fcinfo, int argno)
{
	return PG_ARGISNULL(argno) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(argno));
}

/* An interval, or NULL.  zero: it may be 0.  Error: 22023. */
Interval *
argument_interval(FunctionCallInfo fcinfo, int argno, const char *name, bool zero)
{
	Interval   *interval;
	double		ms;

	if (PG_ARGISNULL(argno))
		return NULL;
	interval = PG_GETARG_INTERVAL_P(argno);
	ms = job_interval_ms(interval);
	if (ms < 0 || (ms == 0 && !zero))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 zero ? errmsg("%s must be zero or more", name) :
				 errmsg("%s must be greater than zero", name),
				 errhint("Give an interval, such as '500 ms'.")));
	return interval;
}
