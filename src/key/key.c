/*
 * key.c
 *		A key as text: what makes it this key, and as a caller would write it.
 *
 * Both forms are kept where a walk goes on in another session: whether the key
 * is still the same there, the first form shows; the second gives the key again,
 * whatever the relation's default key has become and its columns are called.
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "key/key.h"

static const char *described_type(const KeyColumn *column);
static const char *skip_name(const char *text, char **name);

/*
 * What decides the order of a key and the meaning of its positions, as text
 * that does not depend on OIDs: two keys of the same description are alike.
 * Whole numbers of all sizes and decimals are, and texts of limited length and of
 * any, so that a column may be made wider: the order is the same, and a value that
 * cannot be read is an error.  Columns that have one of these names (char *) are
 * described by the name that is at the same place in the list "as".
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

/* The key as a caller would write it, all of its columns named. */
char *
key_text(const WalkKey *key)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < key->ncolumns; i++)
	{
		const KeyColumn *column = &key->columns[i];

		appendStringInfoString(&buf, i > 0 ? ", " : "");
		key_column_append(&buf, column, quote_identifier(column->name), column->nulls_first_written);
	}
	return buf.data;
}

/*
 * A text that key_text() made, with the names that its columns have by now
 * (char *); *former gets those that it is written with.
 */
char *
key_with_names(const char *text, List *names, List **former)
{
	StringInfoData buf;
	ListCell   *lc;

	*former = NIL;
	initStringInfo(&buf);
	foreach(lc, names)
	{
		char	   *name;
		const char *options = skip_name(text, &name);
		const char *next = options;

		for (bool quoted = false; *next != '\0' && (quoted || *next != ','); next++)
			quoted ^= (*next == '"');
		*former = lappend(*former, name);
		appendStringInfo(&buf, "%s%s%.*s", buf.len > 0 ? ", " : "", quote_identifier(lfirst(lc)),
						 (int) (next - options), options);
		text = next + strspn(next, ", ");
	}
	return buf.data;
}

/* What follows the name that the text begins with. */
static const char *
skip_name(const char *text, char **name)
{
	char	   *to = *name = palloc(strlen(text) + 1);
	bool		quoted = *text == '"';

	for (text += quoted; *text != '\0'; text++)
	{
		if (quoted ? *text == '"' : *text == ' ' || *text == ',')
		{
			if (!quoted || text[1] != '"')
				break;
			text++;
		}
		*to++ = *text;
	}
	*to = '\0';
	return quoted && *text == '"' ? text + 1 : text;
}
