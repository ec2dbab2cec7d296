/*
 * quote.h
 *		Names and literals in generated SQL.
 *
 * Knows how SQL is spelt; nothing of what the names stand for.
 */
#ifndef PG_CHUNKED_QUOTE_H
#define PG_CHUNKED_QUOTE_H

#include "lib/stringinfo.h"

extern char *quote_name(const char *schema, const char *name);
extern void quote_append_literal(StringInfo buf, const char *text);

#endif							/* PG_CHUNKED_QUOTE_H */
