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
static const char *element_suffix(const char *element, char **name);

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
ArrayType *
key_elements(const WalkKey *key)
{
	Datum	   *elements = palloc(key->ncolumns * sizeof(Datum));

	for (int i = 0; i < key->ncolumns; i++)
	{
		const KeyColumn *column = &key->columns[i];
		StringInfoData buf;

		initStringInfo(&buf);
		key_column_append(&buf, column, quote_identifier(column->name), column->nulls_first_written);
		elements[i] = CStringGetTextDatum(buf.data);
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

/* What follows the name that such an element begins with. */
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
