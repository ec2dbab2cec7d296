/*
 * quote.c
 *		Names and literals in generated SQL.
 *
 * The server's own functions do most of it.  These are for text that must be
 * the same in every session, or that passes through clients.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "base/quote.h"

/*
 * A name, or one with its schema, quoted where SQL needs it, whatever
 * quote_all_identifiers says.
 */
char *
quote_name(const char *schema, const char *name)
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
 * A literal that nothing on its way to the server takes for anything else:
 * drivers and ORMs look for the characters of their placeholders within
 * literals, too.
 */
void
quote_append_literal(StringInfo buf, const char *text)
{
	static const char *const special = "?:%${\\";

	appendStringInfoString(buf, strpbrk(text, special) != NULL ? "E'" : "'");
	for (; *text != '\0'; text++)
	{
		if (strchr(special, *text) != NULL)
			appendStringInfo(buf, "\\x%02x", (unsigned char) *text);
		else if (*text == '\'')
			appendStringInfoString(buf, "''");
		else
			appendStringInfoChar(buf, *text);
	}
	appendStringInfoChar(buf, '\'');
}
