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

#include "access/attnum.h"
#include "access/stratnum.h"
#include "fmgr.h"
#include "nodes/pg_list.h"
#include "utils/array.h"
#include "utils/relcache.h"

typedef struct KeyColumn
{
	AttrNumber	attnum;
	char	   *name;			/* as in pg_attribute, not quoted */
	Oid			typid;			/* the column's type, a domain's base type */
	int16		typlen;
	bool		typbyval;
	Oid			collation;		/* that orders it; InvalidOid if not collatable */
	Oid			opfamily;
	Oid			opcintype;		/* the type that the operators take */
	bool		descending;
	bool		nulls_first;	/* in walk order */
	bool		nulls_first_written;	/* the same before it was made to fit an
										 * index, which matters without nulls only */
	bool		nullable;		/* may hold nulls as far as the catalog tells */

	/* text for generated queries and predicates, quoted and qualified */
	char	   *column_cast;	/* "::type" behind the column, or "" */
	char	   *value_cast;		/* "::type" behind a value of typid, or "" */
	char	   *collate;		/* " COLLATE x", or "" */
	char	   *opclass;		/* " schema.opclass" if not the default, or "" */
	char	   *value_type;		/* type name for a literal's cast */
	char	   *operators[BTMaxStrategyNumber + 1];	/* "OPERATOR(s.<)" by strategy */

	/* text forms; a type ordered as oid is written as the number */
	FmgrInfo	output;
	FmgrInfo	input;
	Oid			input_typioparam;
	FmgrInfo	compare;		/* the operator family's three-way comparison */
} KeyColumn;

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
	bool		order_is_told;	/* a position of this key has that member */
	Oid			index;			/* that supports the order, or InvalidOid */
	char	   *create_index;	/* statement that would create such an index */
	KeyColumn	columns[FLEXIBLE_ARRAY_MEMBER];
} WalkKey;

/* key.c */
extern WalkKey *key_resolve(Relation rel, ArrayType *elements);
extern char *key_describe(const WalkKey *key, const List *names, const List *as);
extern ArrayType *key_elements(const WalkKey *key);
extern ArrayType *key_with_names(ArrayType *elements, List *names, List **former);
extern char *key_quote_name(const char *schema, const char *name);
extern int	key_compare_datums(const KeyColumn *column, Datum a, bool a_null,
							   Datum b, bool b_null);

/* key_index.c: what the relation's indexes say of a key */
extern List *key_default_columns(Relation rel);
extern void key_match_indexes(Relation rel, WalkKey *key);
extern Oid	key_partial_index(Relation rel, WalkKey *key, List *clauses);

/* key_column.c: one column of a key */
extern KeyColumn *key_column_make(Relation rel, AttrNumber attnum, Oid opclass,
								  Oid collation, bool descending, bool nulls_first);
extern KeyColumn *key_column_parse(Relation rel, const char *element);

#endif							/* PG_CHUNKED_KEY_H */
