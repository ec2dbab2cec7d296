/*
 * statement_text.h
 *		The text of a job's statement, and what goes into it in place of {chunk}.
 *
 * Knows the placeholders and where they may stand; nothing of what the rest of
 * the statement means.
 */
#ifndef PG_CHUNKED_STATEMENT_TEXT_H
#define PG_CHUNKED_STATEMENT_TEXT_H

#include "walk/walk.h"

typedef struct StatementText
{
	char	   *text;
	List	   *placeholders;	/* from left to right */
} StatementText;

/* Where a condition that names all columns of the key stands in a text */
typedef struct StatementCondition
{
	int			start;			/* byte offsets */
	int			end;
	const char *placeholder;	/* as the author wrote it */
} StatementCondition;

extern void statement_text_read(StatementText *statement, const char *text);
extern char *statement_text_with_literals(const StatementText *statement, const Walk *walk,
										  const Range *range, double rows);
extern char *statement_text_with_parameters(const StatementText *statement, const Walk *walk,
											const Range *range, double rows, RangeQuery **query);
extern char *statement_text_with_names(const StatementText *statement, const WalkKey *key,
									   List **conditions);
extern void statement_text_hint(void *statement);

#endif							/* PG_CHUNKED_STATEMENT_TEXT_H */
