/*
 * key_column.h
 *		One column of a key: how its values are compared, printed and read.
 *
 * Knows the column's type, operator class and collation; nothing of the other
 * columns, and nothing of indexes.
 */
#ifndef PG_CHUNKED_KEY_COLUMN_H
#define PG_CHUNKED_KEY_COLUMN_H

#include "access/attnum.h"
#include "access/stratnum.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "nodes/parsenodes.h"
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
	bool		nullable;		/* may hold nulls, as far as the catalog says */

	/* text for generated queries and predicates, quoted and qualified */
	char	   *column_cast;	/* "::type" after the column, or "" */
	char	   *value_cast;		/* "::type" after a value of typid, or "" */
	char	   *collate;		/* " COLLATE x", or "" */
	char	   *opclass;		/* " schema.opclass" if not the default, or "" */
	char	   *value_type;		/* type name for a literal's cast */
	char	   *operators[BTMaxStrategyNumber + 1];	/* "OPERATOR(s.<)" by strategy */
	RegProcedure functions[BTMaxStrategyNumber + 1];	/* of the same */

	/* text forms; a type ordered as oid is written as the number */
	FmgrInfo	output;
	FmgrInfo	input;
	Oid			input_typioparam;
	FmgrInfo	compare;		/* the operator family's three-way comparison */
} KeyColumn;

extern KeyColumn *key_column_make(Relation rel, AttrNumber attnum, Oid opclass,
								  Oid collation, bool descending, bool nulls_first);
extern KeyColumn *key_column_parse(Relation rel, const IndexElem *element);
extern void key_column_append(StringInfo buf, const KeyColumn *column, const char *quoted_name,
							  bool nulls_first);
extern int	key_column_compare(const KeyColumn *column, Datum a, bool a_null,
							   Datum b, bool b_null);

#endif							/* PG_CHUNKED_KEY_COLUMN_H */
