/*
 * key.h
 *		The key of a walk: the columns that order it, how each is compared, and
 *		what the catalog promises about them.
 *
 * Knows columns, operators, uniqueness and the index that supports the order;
 * nothing of positions in it or of queries.
 */
#ifndef PG_CHUNKED_KEY_H
#define PG_CHUNKED_KEY_H

#include "key/key_column.h"
#include "nodes/pg_list.h"

typedef struct WalkKey
{
	int			ncolumns;
	int			norder;			/* leading columns that order a walk in full; the
								 * rest never decide */
	bool		unique;			/* no two rows share a position: promised by the
								 * catalog, not only true today */
	bool		row_comparable; /* same direction and operator names, not
								 * nullable: (a, b) > (x, y) means the order */
	bool		plain_text;		/* no text form depends on a session's settings */
	bool		plain_output;	/* the same, of what position.c writes */
	char	   *order;			/* its columns as a caller would write them */
	char	   *order_member;	/* of a position, that holds order */
	bool		order_is_written;	/* a position of this key has that member */
	Oid			index;			/* that supports the order, or InvalidOid */
	char	   *create_index;	/* statement that would create such an index */
	KeyColumn	columns[FLEXIBLE_ARRAY_MEMBER];
} WalkKey;

extern char *key_describe(const WalkKey *key, const List *names, const List *as);
extern char *key_text(const WalkKey *key);
extern char *key_with_names(const char *text, List *names, List **former);

#endif							/* PG_CHUNKED_KEY_H */
