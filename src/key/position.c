/*
 * position.c
 *		Positions: between jsonb and datums, and compared.
 *
 * A value is written by its type's output function and read by its input
 * function, both under the same fixed settings whatever the session's are, so
 * that a position made by one client means the same to another.  Type modifiers
 * are not applied on input: they round or pad, and a position must not move.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/quote.h"
#include "base/settings.h"
#include "key/position.h"

/* Bytes of a position in a message */
#define MOST_OF_POSITION 300

/* Bytes of a value in the example of one */
#define EXAMPLE_MOST 100

/* The settings under which positions are written and read */
static const char *const text_settings[][2] = {
	{"DateStyle", "ISO, MDY"},
	{"IntervalStyle", "postgres"},
	{"TimeZone", "UTC"},
	{"extra_float_digits", "1"},
	{"bytea_output", "hex"},
	{"array_nulls", "on"},
	{"lc_monetary", "C"},
	{"search_path", "pg_catalog"},	/* for regclass and its like within arrays or rows */
};

static int	begin_text_settings(const WalkKey *key);
static void push_member(CompatJsonb *json, char *name, char *text);
static char *value_text(const KeyColumn *column, Datum value);
static char *literal_text(const KeyColumn *column, Datum value, const char *text);
static void append_elements(StringInfo buf, ArrayType *array, int dimension, int *next,
							const Datum *elements, const bool *nulls, FmgrInfo *output,
							const char *type);
static char *json_string(const char *text);
static char *json_value_text(const KeyColumn *column, const JsonbValue *value,
							 const char *argument);
static void read_value(const KeyColumn *column, const char *text,
					   const char *argument, Datum *result);
static void check_members(const WalkKey *key, Jsonb *json, const char *argument);
static char *example_text(const WalkKey *key, Jsonb *json);
static void check_order(const WalkKey *key, Jsonb *json, const char *argument);

/* An empty position for this key, in the current memory context. */
Position *
position_make(const WalkKey *key)
{
	Position   *position = palloc(sizeof(Position));

	position->values = palloc0(key->ncolumns * sizeof(Datum));
	position->nulls = palloc0(key->ncolumns * sizeof(bool));
	position->texts = NULL;
	position->literals = NULL;
	return position;
}

/*
 * Read a position from its jsonb form.  argument names the SQL argument in
 * errors: 22023 not an object, missing or unknown columns, columns of another
 * key, or a value of the wrong JSON type; 23502 a null for a column without
 * nulls; else the SQLSTATE of the type's input function.
 */
Position *
position_read(const WalkKey *key, Jsonb *json, const char *argument)
{
	Position   *position = position_make(key);
	int			nest_level;

	check_members(key, json, argument);
	check_order(key, json, argument);

	nest_level = begin_text_settings(key);
	for (int i = 0; i < key->ncolumns; i++)
	{
		const KeyColumn *column = &key->columns[i];
		JsonbValue	buffer;
		JsonbValue *value = getKeyJsonValueFromContainer(&json->root, column->name,
														 strlen(column->name), &buffer);
		char	   *text = json_value_text(column, value, argument);

		position->nulls[i] = (text == NULL);
		if (text != NULL)
			read_value(column, text, argument, &position->values[i]);
	}
	settings_end(nest_level);
	return position;
}

/*
 * The jsonb form of a position: column name to text form, null for null; and
 * the order of the columns where it must be named.
 */
Jsonb *
position_write(const WalkKey *key, Position *position)
{
	char	  **texts = position_texts(key, position);
	CompatJsonb json = {0};

	compat_push_jsonb(&json, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < key->ncolumns; i++)
		push_member(&json, key->columns[i].name, texts[i]);
	if (key->order_is_written)
		push_member(&json, key->order_member, key->order);
	compat_push_jsonb(&json, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(json.result);
}

static void
push_member(CompatJsonb *json, char *name, char *text)
{
	JsonbValue	value = {.type = jbvString, .val.string = {.len = strlen(name), .val = name}};

	compat_push_jsonb(json, WJB_KEY, &value);
	if (text == NULL)
		value.type = jbvNull;
	else
	{
		value.val.string.len = strlen(text);
		value.val.string.val = text;
	}
	compat_push_jsonb(json, WJB_VALUE, &value);
}

/* A position's jsonb form as text, cut short where it is long. */
char *
position_for_message(Jsonb *json)
{
	char	   *text = JsonbToCString(NULL, &json->root, VARSIZE(json));
	int			length = strlen(text);
	int			shown = pg_mbcliplen(text, length, MOST_OF_POSITION);

	return shown == length ? text : psprintf("%s...", pnstrdup(text, shown));
}

/* The text form of each value, NULL for a null; kept in the position. */
char	  **
position_texts(const WalkKey *key, Position *position)
{
	int			nest_level;

	if (position->texts != NULL)
		return position->texts;

	position->texts = palloc0(key->ncolumns * sizeof(char *));
	nest_level = key->plain_output ? 0 : begin_text_settings(key);
	for (int i = 0; i < key->ncolumns; i++)
		if (!position->nulls[i])
			position->texts[i] = value_text(&key->columns[i], position->values[i]);
	settings_end(nest_level);
	return position->texts;
}

/*
 * A value's text form, within the text settings unless the key has plain_output.
 * Dates and timestamps are so often in keys that they are written here as their
 * output functions would under these settings, which take microseconds to set.
 */
static char *
value_text(const KeyColumn *column, Datum value)
{
	char		buf[MAXDATELEN + 1];
	struct pg_tm tm;
	fsec_t		fsec;

	if (column->typid == DATEOID)
	{
		DateADT		date = DatumGetDateADT(value);

		if (DATE_NOT_FINITE(date))
			EncodeSpecialDate(date, buf);
		else
		{
			j2date(date + POSTGRES_EPOCH_JDATE, &tm.tm_year, &tm.tm_mon, &tm.tm_mday);
			EncodeDateOnly(&tm, USE_ISO_DATES, buf);
		}
		return pstrdup(buf);
	}
	if (column->typid == TIMESTAMPOID || column->typid == TIMESTAMPTZOID)
	{
		Timestamp	timestamp = DatumGetTimestamp(value);

		if (TIMESTAMP_NOT_FINITE(timestamp))
			EncodeSpecialTimestamp(timestamp, buf);
		else if (timestamp2tm(timestamp, NULL, &tm, &fsec, NULL, NULL) == 0)
		{
			tm.tm_isdst = 0;	/* or the zone, which is UTC's, is left out */
			EncodeDateTime(&tm, fsec, column->typid == TIMESTAMPTZOID, 0, NULL, USE_ISO_DATES, buf);
		}
		else
			ereport(ERROR,
					(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
					 errmsg("timestamp out of range")));
		return pstrdup(buf);
	}
	return OutputFunctionCall((FmgrInfo *) &column->output, value);
}

/* Each value as SQL, to be cast to its type, NULL for a null; kept in the position. */
char	  **
position_literals(const WalkKey *key, Position *position)
{
	char	  **texts = position_texts(key, position);
	int			nest_level;

	if (position->literals != NULL)
		return position->literals;
	position->literals = palloc0(key->ncolumns * sizeof(char *));
	nest_level = begin_text_settings(key);
	for (int i = 0; i < key->ncolumns; i++)
		if (!position->nulls[i])
			position->literals[i] = literal_text(&key->columns[i], position->values[i], texts[i]);
	settings_end(nest_level);
	return position->literals;
}

/*
 * A value as SQL, to be cast to its type.  Within the text settings.
 * An array that holds nulls is spelt out, since array_nulls may be off where it is
 * read; except one that does not start at 1, whose bounds would be lost.
 */
static char *
literal_text(const KeyColumn *column, Datum value, const char *text)
{
	StringInfoData buf;

	initStringInfo(&buf);
	if (OidIsValid(get_element_type(column->typid)) && column->typlen == -1)
	{
		ArrayType  *array = DatumGetArrayTypeP(value);
		bool		plain = ARR_HASNULL(array) && ARR_NDIM(array) > 0;

		for (int i = 0; i < ARR_NDIM(array); i++)
			if (ARR_LBOUND(array)[i] != 1)
				plain = false;
		if (plain)
		{
			Oid			type = ARR_ELEMTYPE(array);
			FmgrInfo	output;
			Oid			function;
			bool		is_varlena;
			int16		typlen;
			bool		typbyval;
			char		typalign;
			Datum	   *elements;
			bool	   *nulls;
			int			nelements;
			int			next = 0;

			getTypeOutputInfo(type, &function, &is_varlena);
			fmgr_info(function, &output);
			get_typlenbyvalalign(type, &typlen, &typbyval, &typalign);
			deconstruct_array(array, type, typlen, typbyval, typalign, &elements, &nulls, &nelements);
			appendStringInfoString(&buf, "ARRAY");
			append_elements(&buf, array, 0, &next, elements, nulls, &output, format_type_extended(type, -1, FORMAT_TYPE_FORCE_QUALIFY));
			return buf.data;
		}
	}
	quote_append_literal(&buf, text);
	return buf.data;
}

/* One dimension of an array and those within it. */
static void
append_elements(StringInfo buf, ArrayType *array, int dimension, int *next, const Datum *elements,
				const bool *nulls, FmgrInfo *output, const char *type)
{
	appendStringInfoChar(buf, '[');
	for (int i = 0; i < ARR_DIMS(array)[dimension]; i++)
	{
		if (i > 0)
			appendStringInfoString(buf, ", ");
		if (dimension < ARR_NDIM(array) - 1)
			append_elements(buf, array, dimension + 1, next, elements, nulls, output, type);
		else if (nulls[(*next)++])
			appendStringInfoString(buf, "NULL");
		else
		{
			appendStringInfoString(buf, "CAST(");
			quote_append_literal(buf, OutputFunctionCall(output, elements[*next - 1]));
			appendStringInfo(buf, " AS %s)", type);
		}
	}
	appendStringInfoChar(buf, ']');
}


/* A copy in the current memory context, text forms included. */
Position *
position_copy(const WalkKey *key, const Position *position)
{
	Position   *copy = position_make(key);

	for (int i = 0; i < key->ncolumns; i++)
		position_set(copy, &key->columns[i], i, position->values[i], position->nulls[i]);
	if (position->texts != NULL)
	{
		copy->texts = palloc0(key->ncolumns * sizeof(char *));
		for (int i = 0; i < key->ncolumns; i++)
			if (position->texts[i] != NULL)
				copy->texts[i] = pstrdup(position->texts[i]);
	}
	return copy;
}

/*
 * Set a position's value for the i-th key column, copied into the current
 * memory context.
 */
void
position_set(Position *position, const KeyColumn *column, int i, Datum value, bool isnull)
{
	position->nulls[i] = isnull;
	if (isnull)
		position->values[i] = (Datum) 0;
	else if (column->typlen == -1)
		position->values[i] = PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
	else
		position->values[i] = datumCopy(value, column->typbyval, column->typlen);
	position->texts = NULL;
	position->literals = NULL;
}

/* Set a position from a tuple, key column i being attnums[i] of the slot. */
void
position_copy_slot(const WalkKey *key, Position *position, TupleTableSlot *slot,
				   const AttrNumber *attnums)
{
	for (int i = 0; i < key->ncolumns; i++)
	{
		bool		isnull;
		Datum		value = slot_getattr(slot, attnums[i], &isnull);

		position_set(position, &key->columns[i], i, value, isnull);
	}
}

/* Compare in walk order: below zero if a comes first. */
int
position_compare(const WalkKey *key, const Position *a, const Position *b)
{
	int			i = position_common_prefix(key, a, b);

	if (i == key->ncolumns)
		return 0;
	return key_column_compare(&key->columns[i], a->values[i], a->nulls[i],
							  b->values[i], b->nulls[i]);
}

/* The number of leading key columns in which a and b are equal. */
int
position_common_prefix(const WalkKey *key, const Position *a, const Position *b)
{
	for (int i = 0; i < key->ncolumns; i++)
		if (key_column_compare(&key->columns[i], a->values[i], a->nulls[i],
							   b->values[i], b->nulls[i]) != 0)
			return i;
	return key->ncolumns;
}

/* Enter the fixed settings, unless no type of this key depends on them. */
static int
begin_text_settings(const WalkKey *key)
{
	return key->plain_text ? 0 : settings_begin(text_settings, lengthof(text_settings));
}

/* What a position of this key looks like, with the value that is given for it if there is one of a single column. */
static char *
example_text(const WalkKey *key, Jsonb *json)
{
	StringInfoData buf;
	JsonbValue	value;
	char	   *text = NULL;

	if (key->ncolumns == 1 && JB_ROOT_IS_SCALAR(json) && JsonbExtractScalar(&json->root, &value))
	{
		if (value.type == jbvString && value.val.string.len > 0 && value.val.string.len <= EXAMPLE_MOST)
			text = pnstrdup(value.val.string.val, value.val.string.len);
		else if (value.type == jbvNumeric)
			text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value.val.numeric)));
	}
	initStringInfo(&buf);
	for (int i = 0; i < key->ncolumns; i++)
	{
		appendStringInfoString(&buf, i > 0 ? ", " : "{");
		escape_json(&buf, key->columns[i].name);
		appendStringInfoString(&buf, ": ");
		escape_json(&buf, text == NULL || strlen(text) > EXAMPLE_MOST ? "..." : text);
	}
	appendStringInfoChar(&buf, '}');
	return buf.data;
}

/* Is it an object with just the key's columns? */
static void
check_members(const WalkKey *key, Jsonb *json, const char *argument)
{
	JsonbIterator *it;
	JsonbValue	value;
	JsonbIteratorToken token;

	if (!JB_ROOT_IS_OBJECT(json))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be a JSON object", argument),
				 errhint("A position maps each key column to its value's text: %s.", example_text(key, json))));

	it = JsonbIteratorInit(&json->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		bool		known;

		if (token != WJB_KEY)
			continue;
		known = (int) strlen(key->order_member) == value.val.string.len &&
			memcmp(key->order_member, value.val.string.val, value.val.string.len) == 0;
		for (int i = 0; i < key->ncolumns && !known; i++)
			known = (int) strlen(key->columns[i].name) == value.val.string.len &&
				memcmp(key->columns[i].name, value.val.string.val, value.val.string.len) == 0;
		if (!known)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("\"%.*s\" in %s is not a column of the walk's key",
							value.val.string.len, value.val.string.val, argument),
					 errhint("Use a position of the same table and the same key.")));
	}

	for (int i = 0; i < key->ncolumns; i++)
	{
		const char *name = key->columns[i].name;

		if (getKeyJsonValueFromContainer(&json->root, name, strlen(name), &value) == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("%s lacks key column \"%s\"", argument, name),
					 errhint("A position holds a value for every key column; position_of() makes one from a row.")));
	}
}

/*
 * Is it of this key, and not of another with the same columns?  Else the walk
 * would silently go on elsewhere when the default key has changed.
 */
static void
check_order(const WalkKey *key, Jsonb *json, const char *argument)
{
	JsonbValue	buffer;
	JsonbValue *value = getKeyJsonValueFromContainer(&json->root, key->order_member,
													 strlen(key->order_member), &buffer);

	if (value == NULL && key->order_is_written)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s does not say in which order its columns are the key", argument),
				 errdetail("The walk's key is (%s), which is not the order of the columns in the table.", key->order),
				 errhint("If the position is of this key, add the member \"%s\": %s to it, or name all columns in the argument key.",
						 key->order_member, json_string(key->order))));
	if (value != NULL && (value->type != jbvString ||
						  value->val.string.len != (int) strlen(key->order) ||
						  memcmp(value->val.string.val, key->order, value->val.string.len) != 0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is a position of another key", argument),
				 value->type == jbvString ?
				 errdetail("It is of the key (%.*s); the walk's key is (%s).",
						   value->val.string.len, value->val.string.val, key->order) : 0,
				 errhint("In the argument key, name the columns of the position's key as it has them. The default key may have changed since.")));
}

static char *
json_string(const char *text)
{
	StringInfoData buf;

	initStringInfo(&buf);
	escape_json(&buf, text);
	return buf.data;
}

/* The text of a JSON scalar, or NULL for JSON null. */
static char *
json_value_text(const KeyColumn *column, const JsonbValue *value, const char *argument)
{
	switch (value->type)
	{
		case jbvNull:
			if (!column->nullable)
				ereport(ERROR,
						(errcode(ERRCODE_NOT_NULL_VIOLATION),
						 errmsg("%s has a null for key column \"%s\", which holds no nulls",
								argument, column->name),
						 errhint("Use a position of the same table and the same key.")));
			return NULL;
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out,
													   NumericGetDatum(value->val.numeric)));
		case jbvBool:
			return value->val.boolean ? "true" : "false";
		default:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("%s has a JSON object or array for key column \"%s\"",
							argument, column->name),
					 errhint("Write the value's text form as a JSON string.")));
	}
}

/* Call the type's input function; its errors get the column's name. */
static void
read_value(const KeyColumn *column, const char *text, const char *argument, Datum *result)
{
	MemoryContext context = CurrentMemoryContext;
	FmgrInfo	input;

	/* a domain within a record has functions called, which may come here again */
	fmgr_info_copy(&input, (FmgrInfo *) &column->input, context);
	PG_TRY();
	{
		*result = InputFunctionCall(&input, (char *) text, column->input_typioparam, -1);
	}
	PG_CATCH();
	{
		ErrorData  *error;
		int			category;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		category = ERRCODE_TO_CATEGORY(error->sqlerrcode);
		if (category != ERRCODE_DATA_EXCEPTION &&
			category != ERRCODE_TO_CATEGORY(ERRCODE_SYNTAX_ERROR))
			PG_RE_THROW();
		FlushErrorState();
		ereport(ERROR,
				(errcode(error->sqlerrcode),
				 errmsg("%s has an invalid value for key column \"%s\": %s",
						argument, column->name, error->message),
				 errhint("Use a position of the same table and the same key.")));
	}
	PG_END_TRY();
}
