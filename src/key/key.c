/*
 * key.c
 *		The key of a walk, from the caller's elements or from the catalog.
 *
 * Every key is made to hold a unique set of NOT NULL columns where the
 * relation has one, by appending the default key's columns: the order is then
 * total, and a position names one row at most.  Where there is none,
 * key->unique is false and the walk itself refuses duplicates at boundaries.
 *
 * Which columns are the default key's, and in what order, is up to the indexes
 * of the moment.  A position that holds the columns of another key is refused
 * for that; of two keys with the same columns it must say which it is of.  So
 * one of them, told from the table alone, is the order that positions need not
 * name: that of the columns in the table, each ascending as its type is by
 * itself.  A position of any other order names it, for as much of the key as
 * the caller did not write.
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "base/relation.h"
#include "key/key.h"

static WalkKey *key_from_columns(List *columns);
static List *columns_from_elements(Relation rel, ArrayType *elements);
static bool column_is_in(List *columns, AttrNumber attnum);
static bool columns_as_in_table(Relation rel, const WalkKey *key, int from);
static char *order_text(const WalkKey *key);
static char *free_member(const WalkKey *key);
static bool columns_row_comparable(const WalkKey *key);
static bool type_has_plain_text(Oid typid);
static char *create_index_text(Relation rel, const WalkKey *key);
pg_noreturn static void report_no_key(Relation rel);
static const char *described_type(const KeyColumn *column);
static const char *element_suffix(const char *element, char **name);

/*
 * Resolve the key of a walk over rel; elements is the caller's text[], or NULL
 * for the default.  Allocated in the current memory context, functions looked
 * up included, so that it can be kept.
 *
 * Errors: 42P10 no key, 2202E or 22023 a malformed array, and those of
 * key_column_parse().
 */
WalkKey *
key_resolve(Relation rel, ArrayType *elements)
{
	List	   *columns;
	int			nwritten = 0;
	WalkKey    *key;

	if (elements == NULL)
	{
		columns = key_default_columns(rel);
		if (columns == NIL)
			report_no_key(rel);
		key = key_from_columns(columns);
		key_match_indexes(rel, key);
	}
	else
	{
		columns = columns_from_elements(rel, elements);
		nwritten = list_length(columns);
		key = key_from_columns(columns);
		key_match_indexes(rel, key);
		if (!key->unique)
		{
			ListCell   *lc;

			foreach(lc, key_default_columns(rel))
			{
				KeyColumn  *column = lfirst(lc);

				if (!column_is_in(columns, column->attnum))
					columns = lappend(columns,
									  key_column_make(rel, column->attnum, InvalidOid,
													  column->collation, false, false));
			}
			key = key_from_columns(columns);
			key_match_indexes(rel, key);
		}
	}

	key->row_comparable = columns_row_comparable(key);
	key->order = order_text(key);
	key->create_index = create_index_text(rel, key);
	key->order_member = free_member(key);
	key->order_is_told = !columns_as_in_table(rel, key, nwritten);
	key->plain_text = key->plain_output = true;
	for (int i = 0; i < key->ncolumns; i++)
		if (!type_has_plain_text(key->columns[i].typid))
		{
			key->plain_text = false;
			if (key->columns[i].typid != DATEOID && key->columns[i].typid != TIMESTAMPOID &&
				key->columns[i].typid != TIMESTAMPTZOID)
				key->plain_output = false;
		}
	return key;
}

/*
 * Compare two values of a key column in walk order: below zero if a comes
 * first.
 */
int
key_compare_datums(const KeyColumn *column, Datum a, bool a_null, Datum b, bool b_null)
{
	int			result;

	if (a_null || b_null)
	{
		if (a_null && b_null)
			return 0;
		return a_null == column->nulls_first ? -1 : 1;
	}
	result = DatumGetInt32(FunctionCall2Coll((FmgrInfo *) &column->compare,
											 column->collation, a, b));
	if (result == 0)
		return 0;
	return (result < 0) != column->descending ? -1 : 1;
}

static WalkKey *
key_from_columns(List *columns)
{
	WalkKey    *key = palloc0(offsetof(WalkKey, columns) +
							  list_length(columns) * sizeof(KeyColumn));

	key->ncolumns = list_length(columns);
	for (int i = 0; i < key->ncolumns; i++)
		key->columns[i] = *(KeyColumn *) list_nth(columns, i);
	return key;
}

static List *
columns_from_elements(Relation rel, ArrayType *elements)
{
	List	   *columns = NIL;
	Datum	   *datums;
	bool	   *nulls;
	int			count;

	if (ARR_NDIM(elements) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("key must be a one-dimensional array"),
				 errhint("Write the key columns as one list: '{created_at DESC, id}'.")));
	deconstruct_array(elements, TEXTOID, -1, false, TYPALIGN_INT, &datums, &nulls, &count);
	if (count == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key must name at least one column"),
				 errhint("Leave it out to walk by the primary key.")));

	for (int i = 0; i < count; i++)
	{
		KeyColumn  *column;

		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("key must not contain nulls"),
					 errhint("Write the key columns as text: '{created_at DESC, id}'.")));
		column = key_column_parse(rel, TextDatumGetCString(datums[i]));
		if (column_is_in(columns, column->attnum))
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("key column \"%s\" appears more than once", column->name),
					 errhint("Name each key column once.")));
		columns = lappend(columns, column);
	}
	return columns;
}

static bool
column_is_in(List *columns, AttrNumber attnum)
{
	ListCell   *lc;

	foreach(lc, columns)
	{
		if (((KeyColumn *) lfirst(lc))->attnum == attnum)
			return true;
	}
	return false;
}

/* Are the columns from that one on in the order that goes without saying? */
static bool
columns_as_in_table(Relation rel, const WalkKey *key, int from)
{
	for (int i = from; i < key->ncolumns; i++)
	{
		const KeyColumn *column = &key->columns[i];

		if (column->descending || (column->nullable && column->nulls_first_written) ||
			column->opclass[0] != '\0' ||
			column->collation != TupleDescAttr(RelationGetDescr(rel), column->attnum - 1)->attcollation)
			return false;
		if (i > from && column->attnum < key->columns[i - 1].attnum)
			return false;
	}
	return true;
}

/*
 * The key as a caller would write it: what tells it from others that have the
 * same columns, and depends on no setting.
 */
static char *
order_text(const WalkKey *key)
{
	StringInfoData buf;
	char	   *text;

	initStringInfo(&buf);
	for (int i = 0; i < key->ncolumns; i++)
	{
		const KeyColumn *column = &key->columns[i];

		appendStringInfo(&buf, "%s%s%s%s%s", i > 0 ? ", " : "",
						 key_quote_name(NULL, column->name), column->collate, column->opclass,
						 column->descending ? " DESC" : "");
		if (column->nullable && column->nulls_first_written != column->descending)
			appendStringInfoString(&buf, column->nulls_first_written ? " NULLS FIRST" : " NULLS LAST");
	}
	text = pstrdup(buf.data);
	pfree(buf.data);			/* keys are kept */
	return text;
}

/* As many dots as it takes, one as a rule, to be the name of no key column. */
static char *
free_member(const WalkKey *key)
{
	char	   *member = pstrdup(".");

	for (int i = 0; i < key->ncolumns; i++)
	{
		if (strcmp(key->columns[i].name, member) == 0)
		{
			member = psprintf("%s.", member);
			i = -1;
		}
	}
	return member;
}

/*
 * A name, or with its schema, quoted where SQL needs it, whatever
 * quote_all_identifiers says.
 */
char *
key_quote_name(const char *schema, const char *name)
{
	bool		quote_all = quote_all_identifiers;
	char	   *text;

	quote_all_identifiers = false;
	PG_TRY();
	{
		text = schema == NULL ? pstrdup(quote_identifier(name)) :
			quote_qualified_identifier(schema, name);
	}
	PG_FINALLY();
	{
		quote_all_identifiers = quote_all;
	}
	PG_END_TRY();
	return text;
}

/*
 * A row comparison is written with one operator name, means one direction for
 * all columns, and is never true of a null.
 */
static bool
columns_row_comparable(const WalkKey *key)
{
	const KeyColumn *first = &key->columns[0];

	for (int i = 0; i < key->ncolumns; i++)
	{
		const KeyColumn *column = &key->columns[i];

		if (column->nullable || column->descending != first->descending)
			return false;
		for (int strategy = 1; strategy <= BTMaxStrategyNumber; strategy++)
			if (strcmp(column->operators[strategy], first->operators[strategy]) != 0)
				return false;
	}
	return true;
}

/* Is the text form of this type the same under any settings of a session? */
static bool
type_has_plain_text(Oid typid)
{
	switch (typid)
	{
		case BOOLOID:
		case CHAROID:
		case NAMEOID:
		case INT8OID:
		case INT2OID:
		case INT4OID:
		case TEXTOID:
		case OIDOID:
		case BPCHAROID:
		case VARCHAROID:
		case BITOID:
		case VARBITOID:
		case NUMERICOID:
		case UUIDOID:
		case INETOID:
		case CIDROID:
		case MACADDROID:
			return true;
		default:
			return get_typtype(typid) == TYPTYPE_ENUM;
	}
}

/* The statement that creates an index for this order. */
static char *
create_index_text(Relation rel, const WalkKey *key)
{
	StringInfoData buf;
	bool		partitioned = rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;

	initStringInfo(&buf);
	appendStringInfo(&buf, "CREATE INDEX %sON %s (", partitioned ? "" : "CONCURRENTLY ",
					 relation_quoted_name(rel));
	for (int i = 0; i < key->norder; i++)
	{
		const KeyColumn *column = &key->columns[i];

		appendStringInfo(&buf, "%s%s%s%s", i > 0 ? ", " : "",
						 quote_identifier(column->name), column->collate, column->opclass);
		if (column->descending)
			appendStringInfoString(&buf, " DESC");
		if (column->nullable && column->nulls_first != column->descending)
			appendStringInfoString(&buf, column->nulls_first ? " NULLS FIRST" : " NULLS LAST");
	}
	appendStringInfoChar(&buf, ')');
	return buf.data;
}

static void
report_no_key(Relation rel)
{
	if (!relation_is_local_table(rel))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
				 errmsg("relation \"%s\" has no unique key to walk by",
						RelationGetRelationName(rel)),
				 errdetail("Views and foreign tables have no indexes that could tell."),
				 errhint("Pass the columns that order its rows uniquely, for example key => '{id}'.")));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
			 errmsg("relation \"%s\" has no unique key to walk by",
					RelationGetRelationName(rel)),
			 errdetail("It has neither a primary key nor a valid, non-partial, non-deferrable unique index over plain NOT NULL columns."),
			 errhint("Add %s, pass the columns that order its rows uniquely, for example key => '{id}', or split it physically, under one snapshot, with key => '{ctid}'.",
					 rel->rd_rel->relkind == RELKIND_MATVIEW ? "a unique index" : "a primary key")));
}

static const char *
described_type(const KeyColumn *column)
{
	switch (column->typid)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case NUMERICOID:
			return "number";
		case VARCHAROID:
			return "text";
		default:
			return column->value_type;
	}
}

/*
 * What decides the order of a key and the meaning of its positions, as text
 * that does not depend on OIDs: two keys of the same description are alike.
 * Whole numbers of all sizes and decimals are, and texts of limited length and of
 * any, so that a column may be made wider: the order is the same, and a value that
 * cannot be read is an error.  Columns of certain names (char *) are told as of
 * others.
 */
char *
key_describe(const WalkKey *key, const List *names, const List *as)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < key->ncolumns; i++)
	{
		const KeyColumn *column = &key->columns[i];
		const char *name = column->name;
		const ListCell *here;
		const ListCell *there;

		forboth(here, names, there, as)
			if (strcmp(lfirst(here), column->name) == 0)
				name = lfirst(there);
		appendStringInfo(&buf, "%s%s %s%s USING %s%s", i > 0 ? ", " : "", quote_identifier(name),
						 described_type(column), column->collate,
						 column->operators[column->descending ? BTGreaterStrategyNumber : BTLessStrategyNumber],
						 column->nulls_first_written ? " NULLS FIRST" : "");
		/* whether it is written or the column's own */
		if (OidIsValid(column->collation) && column->collation != DEFAULT_COLLATION_OID)
			appendStringInfo(&buf, " BY %s", get_collation_name(column->collation));
	}

	/* what is quoted depends on quote_all_identifiers */
	{
		char	   *to = buf.data;

		for (const char *from = buf.data; *from != '\0'; from++)
			if (*from != '"')
				*to++ = *from;
		*to = '\0';
	}
	return buf.data;
}

/* The key as a caller would write it, all of its columns named. */
ArrayType *
key_elements(const WalkKey *key)
{
	Datum	   *elements = palloc(key->ncolumns * sizeof(Datum));

	for (int i = 0; i < key->ncolumns; i++)
	{
		const KeyColumn *column = &key->columns[i];

		elements[i] = CStringGetTextDatum(psprintf("%s%s%s%s%s", quote_identifier(column->name),
												   column->collate, column->opclass,
												   column->descending ? " DESC" : "",
												   column->nulls_first_written == column->descending ? "" :
												   column->nulls_first_written ? " NULLS FIRST" : " NULLS LAST"));
	}
	return construct_array(elements, key->ncolumns, TEXTOID, -1, false, TYPALIGN_INT);
}

/*
 * Elements that key_elements() made, with the names that their columns have by
 * now (char *; NULL: the column is gone); *former gets those that they are
 * written with.
 */
ArrayType *
key_with_names(ArrayType *elements, List *names, List **former)
{
	Datum	   *texts;
	int			ntexts;

	deconstruct_array(elements, TEXTOID, -1, false, TYPALIGN_INT, &texts, NULL, &ntexts);
	*former = NIL;
	for (int i = 0; i < ntexts; i++)
	{
		char	   *name;
		const char *suffix = element_suffix(TextDatumGetCString(texts[i]), &name);
		char	   *now = i < list_length(names) ? list_nth(names, i) : NULL;

		*former = lappend(*former, name);
		if (now != NULL)
			texts[i] = CStringGetTextDatum(psprintf("%s%s", quote_identifier(now), suffix));
	}
	return construct_array(texts, ntexts, TEXTOID, -1, false, TYPALIGN_INT);
}

/* What stands behind the name that such an element begins with. */
static const char *
element_suffix(const char *element, char **name)
{
	char	   *to = *name = palloc(strlen(element) + 1);
	bool		quoted = *element == '"';

	for (element += quoted; *element != '\0'; element++)
	{
		if (quoted ? *element == '"' : *element == ' ')
		{
			if (!quoted || element[1] != '"')
				break;
			element++;
		}
		*to++ = *element;
	}
	*to = '\0';
	return quoted && *element == '"' ? element + 1 : element;
}
