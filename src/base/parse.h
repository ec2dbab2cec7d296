/*
 * parse.h
 *		The server's grammar, asked about a piece of the caller's text.
 *
 * Knows grammar; nothing of what names mean.
 */
#ifndef PG_CHUNKED_PARSE_H
#define PG_CHUNKED_PARSE_H

#include "nodes/pg_list.h"
#include "parser/parser.h"

extern List *parse_text(const char *text, RawParseMode mode, char **complaint);

#endif							/* PG_CHUNKED_PARSE_H */
