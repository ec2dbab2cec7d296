/*
 * key_resolve.c
 *		The key of a walk, from the caller's text or from the catalog.
 *
 * Every key is made to hold a unique set of NOT NULL columns where the
 * relation has one, by appending the default key's columns: the order is then
 * total, and a position names one row at most.  Where there is none,
 * key->unique is false and the walk itself refuses duplicates at boundaries.
 *
 * Which columns are the default key's, and in what order, is up to the indexes
 * of the moment.  A position that holds the columns of another key is refused
 * for that; of two keys with the same columns it must say which it is of.  So
 * one of them, known from the table alone, is the order that positions need not
 * name: that of the columns in the table, each ascending in its type's default
 * order.  A position of any other order names it, for as much of the key as
 * the caller did not write.
 */
#include "postgres.h"

#include <ctype.h>

#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/parse.h"
#include "base/quote.h"
#include "base/relation.h"
#include "key/key_index.h"
#include "key/key_resolve.h"

static WalkKey *key_from_columns(List *columns);
static List *columns_from_text(Relation rel, const char *text);
static List *parse_elements(const char *text);
static bool is_order_by(const char *text);
pg_noreturn static void report_array(const char *text);
static bool column_is_in(List *columns, AttrNumber attnum);
static bool columns_as_in_table(Relation rel, const WalkKey *key, int from);
static char *order_text(const WalkKey *key);
static char *free_member(const WalkKey *key);
static bool columns_row_comparable(const WalkKey *key);
static bool type_has_plain_text(Oid typid);
static char *create_index_text(Relation rel, const WalkKey *key);
pg_noreturn static void report_no_key(Relation rel);
static char *example_key(Relation rel);

/*
 * Resolve the key of a walk over rel; text is as the caller wrote it, or NULL
 * for the default.  Allocated in the current memory context, functions looked
 * up included, so that it can be kept.
 *
 * Errors: 42P10 no key, 42601 not the columns of a key, 42701 a column twice,
 * and those of key_column_parse().
 */
WalkKey *
key_resolve(Relation rel, const char *text)
{
	List	   *columns;
	int			nwritten = 0;
	WalkKey    *key;

	if (text == NULL)
	{
		columns = key_default_columns(rel);
		if (columns == NIL)
			report_no_key(rel);
		key = key_from_columns(columns);
		key_match_indexes(rel, key);
	}
	else
	{
		columns = columns_from_text(rel, text);
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
	key->order_is_written = !columns_as_in_table(rel, key, nwritten);
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
columns_from_text(Relation rel, const char *text)
{
	List	   *columns = NIL;
	ListCell   *lc;

	foreach(lc, parse_elements(text))
	{
		KeyColumn  *column = key_column_parse(rel, lfirst_node(IndexElem, lc));

		if (column_is_in(columns, column->attnum))
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("key column \"%s\" appears more than once", column->name),
					 errhint("Name each key column once.")));
		columns = lappend(columns, column);
	}
	return columns;
}

/*
 * The key's elements as the grammar of CREATE INDEX reads them, so that quoting,
 * folding and commas are SQL's.  ORDER BY's would leave no place for an operator
 * class.  Nothing of it is executed; anything but plain columns with their options
 * is refused.
 */
static List *
parse_elements(const char *text)
{
	const char *blanks = " \t\n\r\f";
	char	   *complaint;
	List	   *parsed;
	IndexStmt  *stmt = NULL;
	bool		expression = false;
	bool		plain = false;

	if (text[strspn(text, blanks)] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key must name at least one column"),
				 errhint("Leave it out to walk by the primary key.")));
	if (text[strspn(text, blanks)] == '{')
		report_array(text);

	parsed = parse_text(psprintf("CREATE INDEX ON x (%s\n)", text), RAW_PARSE_DEFAULT, &complaint);
	if (list_length(parsed) == 1)
		stmt = castNode(IndexStmt, linitial_node(RawStmt, parsed)->stmt);
	if (stmt != NULL && stmt->indexIncludingParams == NIL && stmt->whereClause == NULL &&
		stmt->options == NIL && stmt->tableSpace == NULL && !stmt->nulls_not_distinct)
	{
		ListCell   *lc;

		plain = true;
		foreach(lc, stmt->indexParams)
		{
			IndexElem  *element = lfirst_node(IndexElem, lc);

			expression |= (element->name == NULL);
			plain &= (element->name != NULL && element->opclassopts == NIL);
		}
	}
	expression |= complaint != NULL && is_order_by(text);
	if (!plain)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("invalid key \"%s\"", text),
				 expression ? errdetail("A key names columns, without their table; expressions cannot be key columns.") :
				 complaint ? errdetail("The parser says: %s.", complaint) : 0,
				 errhint("Write columns as in ORDER BY, each with ASC or DESC and NULLS FIRST or NULLS LAST where wanted: 'created_at DESC, id'.")));
	return stmt->indexParams;
}

/* Would it follow ORDER BY, where qualified names and expressions may be? */
static bool
is_order_by(const char *text)
{
	char	   *complaint;
	List	   *parsed = parse_text(psprintf("SELECT ORDER BY %s\n", text), RAW_PARSE_DEFAULT, &complaint);
	SelectStmt *select = list_length(parsed) != 1 ? NULL :
		castNode(SelectStmt, linitial_node(RawStmt, parsed)->stmt);

	return select != NULL && select->limitOffset == NULL && select->limitCount == NULL &&
		select->lockingClause == NIL;
}

/* The text of an array of columns was taken for a key: say how it is written as text. */
static void
report_array(const char *text)
{
	StringInfoData columns;
	bool		quoted = false;
	bool		separate = true;

	initStringInfo(&columns);
	for (const char *c = text; *c != '\0'; c++)
	{
		if (*c == '"')
			quoted = !quoted;
		else if (!quoted && strchr("{},", *c) != NULL)
			separate = true;
		else if (!quoted && separate && isspace((unsigned char) *c))
			continue;
		else if (*c != '\\' || *++c != '\0')
		{
			if (separate && columns.len > 0)
				appendStringInfoString(&columns, ", ");
			separate = false;
			appendStringInfoChar(&columns, *c);
		}
		else
			break;
	}
	ereport(ERROR,
			(errcode(ERRCODE_SYNTAX_ERROR),
			 errmsg("invalid key \"%s\"", text),
			 errdetail("A key is one text, not an array."),
			 columns.len == 0 ? errhint("Leave it out to walk by the primary key.") :
			 errhint("Write key => %s.", quote_literal_cstr(columns.data))));
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

/* Are the columns from that one on in the order that positions need not name? */
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
 * The key as a caller would write it: what distinguishes it from others that have
 * the same columns, and depends on no setting.
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

		appendStringInfoString(&buf, i > 0 ? ", " : "");
		key_column_append(&buf, column, quote_name(NULL, column->name),
						  column->nullable ? column->nulls_first_written : column->descending);
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

		appendStringInfoString(&buf, i > 0 ? ", " : "");
		key_column_append(&buf, column, quote_identifier(column->name),
						  column->nullable ? column->nulls_first : column->descending);
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
				 errdetail("Views and foreign tables have no indexes that could show one."),
				 errhint("Pass the columns that order its rows uniquely, for example key => %s.", example_key(rel))));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
			 errmsg("relation \"%s\" has no unique key to walk by",
					RelationGetRelationName(rel)),
			 errdetail("It has neither a primary key nor a valid, non-partial, non-deferrable unique index over plain NOT NULL columns."),
			 errhint("Add %s, pass the columns that order its rows uniquely, for example key => %s, or split it physically, under one snapshot, with key => 'ctid'.",
					 rel->rd_rel->relkind == RELKIND_MATVIEW ? "a unique index" : "a primary key", example_key(rel))));
}

/* A column of the relation as a key in a hint: id, or the first one whose type has an order. */
static char *
example_key(Relation rel)
{
	TupleDesc	tupdesc = RelationGetDescr(rel);
	const char *name = "id";

	if (get_attnum(RelationGetRelid(rel), name) == InvalidAttrNumber)
		for (int i = 0; i < tupdesc->natts; i++)
		{
			Form_pg_attribute attr = TupleDescAttr(tupdesc, i);

			if (!attr->attisdropped && OidIsValid(GetDefaultOpClass(attr->atttypid, BTREE_AM_OID)))
			{
				name = quote_identifier(NameStr(attr->attname));
				break;
			}
		}
	return quote_literal_cstr(name);
}
