/*
 * parse.c
 *		The server's grammar, asked about a piece of the caller's text.
 *
 * Only the grammar runs: no name is looked up and nothing is executed.
 */
#include "postgres.h"

#include "base/parse.h"

/*
 * Parse text in this mode into raw parse trees.  After a syntax error the
 * result is NIL and *complaint is the parser's message; other errors are thrown.
 */
List *
parse_text(const char *text, RawParseMode mode, char **complaint)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *volatile parsed = NIL;

	*complaint = NULL;
	PG_TRY();
	{
		parsed = raw_parser(text, mode);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (error->sqlerrcode != ERRCODE_SYNTAX_ERROR)
			PG_RE_THROW();
		FlushErrorState();
		*complaint = error->message;
	}
	PG_END_TRY();
	return parsed;
}
