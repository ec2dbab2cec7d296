/*
 * key_column.c
 *		One column of a key: read from the caller's text or taken from an index,
 *		with all that is needed to compare, print and read its values.
 *
 * The order that a key element names depends on its spelling alone, never on which indexes
 * exist: an index created or dropped in the middle of a walk must not change
 * the order, since positions carry values only.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/nbtree.h"
#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_opclass.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "base/compat.h"
#include "base/quote.h"
#include "base/relation.h"
#include "key/key_column.h"

static AttrNumber find_column(Relation rel, const char *name);
static Oid	default_opclass(const char *name, Oid typid);
static char *collate_text(Oid collation);
static char *opclass_text(Oid opclass);
static char *operator_text(Oid operator_oid);
static char *type_text(Oid typid);

/*
 * Look up one element of a caller's key, a column with options.  Errors: 42703
 * unknown column, 42704 unknown operator class or collation, 42883 a type
 * without an order.
 */
KeyColumn *
key_column_parse(Relation rel, const IndexElem *elem)
{
	AttrNumber	attnum = find_column(rel, elem->name);
	Form_pg_attribute attr = TupleDescAttr(RelationGetDescr(rel), attnum - 1);
	Oid			opclass;
	Oid			collation = attr->attcollation;
	bool		descending = (elem->ordering == SORTBY_DESC);
	bool		nulls_first = descending;

	if (elem->opclass != NIL && !OidIsValid(get_opclass_oid(BTREE_AM_OID, elem->opclass, true)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("\"%s\" in the key is neither a direction nor a btree operator class",
						NameListToString(elem->opclass)),
				 errhint("Write ASC or DESC after the column, or an operator class such as text_pattern_ops.")));
	if (elem->opclass != NIL)
		opclass = ResolveOpClass(elem->opclass, attr->atttypid, "btree", BTREE_AM_OID);
	else
		opclass = default_opclass(elem->name, attr->atttypid);

	if (elem->collation != NIL)
	{
		if (!OidIsValid(get_typcollation(attr->atttypid)))
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("key column \"%s\" of type %s takes no collation",
							elem->name, format_type_be(attr->atttypid)),
					 errhint("Leave COLLATE out of this key element.")));
		collation = get_collation_oid(elem->collation, false);
	}

	if (elem->nulls_ordering != SORTBY_NULLS_DEFAULT)
		nulls_first = (elem->nulls_ordering == SORTBY_NULLS_FIRST);

	return key_column_make(rel, attnum, opclass, collation, descending, nulls_first);
}

/*
 * Build a key column.  opclass InvalidOid: the type's default.  Everything is
 * allocated in the current memory context.
 */
KeyColumn *
key_column_make(Relation rel, AttrNumber attnum, Oid opclass, Oid collation,
				bool descending, bool nulls_first)
{
	Form_pg_attribute attr = TupleDescAttr(RelationGetDescr(rel), attnum - 1);
	KeyColumn  *column = palloc0(sizeof(KeyColumn));
	Oid			default_class;
	Oid			io_type;
	Oid			function;
	bool		is_varlena;

	column->attnum = attnum;
	column->name = pstrdup(NameStr(attr->attname));
	column->typid = getBaseType(attr->atttypid);
	get_typlenbyval(column->typid, &column->typlen, &column->typbyval);
	column->collation = collation;
	column->descending = descending;
	column->nulls_first = column->nulls_first_written = nulls_first;
	column->nullable = relation_has_children(rel) ||
		!compat_attribute_not_null(RelationGetDescr(rel), attnum - 1);

	default_class = GetDefaultOpClass(attr->atttypid, BTREE_AM_OID);
	if (!OidIsValid(opclass))
		opclass = default_opclass(column->name, attr->atttypid);
	column->opfamily = get_opclass_family(opclass);
	column->opcintype = get_opclass_input_type(opclass);
	column->opclass = opclass == default_class ? "" : opclass_text(opclass);

	if (OidIsValid(get_typcollation(column->typid)) && !OidIsValid(collation))
		ereport(ERROR,
				(errcode(ERRCODE_INDETERMINATE_COLLATION),
				 errmsg("could not determine which collation orders key column \"%s\"", column->name),
				 errhint("Name it in the key, for example '%s COLLATE \"C\"'.", quote_identifier(column->name))));

	/*
	 * The column brings its own collation into a comparison, unless the other
	 * side's type brings one too: name's is "C".
	 */
	if (!OidIsValid(collation) || (collation == attr->attcollation &&
		(get_typcollation(column->typid) == DEFAULT_COLLATION_OID ||
		 get_typcollation(column->typid) == collation)))
		column->collate = "";
	else
		column->collate = collate_text(collation);

	/*
	 * Where the operators are declared for another type than the column's, cast
	 * both sides, so that the parser finds just these operators.  A polymorphic
	 * operator takes the column's type as it is, once a domain is taken off.
	 */
	column->value_type = type_text(column->typid);
	if (column->opcintype == column->typid ||
		get_typtype(column->opcintype) == TYPTYPE_PSEUDO)
	{
		column->value_cast = "";
		column->column_cast = attr->atttypid == column->typid ? "" :
			psprintf("::%s", column->value_type);
	}
	else
		column->value_cast = column->column_cast =
			psprintf("::%s", type_text(column->opcintype));

	/*
	 * An equal prefix is found by the equality operator, which must agree with
	 * the comparison; citext's does not under such a collation.
	 */
	if (OidIsValid(collation) && !get_collation_isdeterministic(collation) &&
		column->opcintype >= FirstNormalObjectId)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("key column \"%s\" of type %s cannot be walked under a nondeterministic collation",
						column->name, format_type_be(attr->atttypid)),
				 errhint("Name a deterministic collation in the key, for example '%s COLLATE \"C\"'.",
						 quote_identifier(column->name))));

	for (int strategy = 1; strategy <= BTMaxStrategyNumber; strategy++)
	{
		Oid			member = get_opfamily_member(column->opfamily, column->opcintype,
												 column->opcintype, strategy);

		column->operators[strategy] = operator_text(member);
		column->functions[strategy] = get_opcode(member);
	}

	/* The text of regclass and its like changes with search_path and renames */
	io_type = column->opcintype == OIDOID ? OIDOID : column->typid;
	getTypeOutputInfo(io_type, &function, &is_varlena);
	fmgr_info(function, &column->output);
	getTypeInputInfo(io_type, &function, &column->input_typioparam);
	fmgr_info(function, &column->input);
	fmgr_info(get_opfamily_proc(column->opfamily, column->opcintype,
								column->opcintype, BTORDER_PROC),
			  &column->compare);
	return column;
}

/*
 * Compare two values of a key column in walk order: below zero if a comes
 * first.
 */
int
key_column_compare(const KeyColumn *column, Datum a, bool a_null, Datum b, bool b_null)
{
	int			result;

	if (a_null || b_null)
	{
		if (a_null && b_null)
			return 0;
		return a_null == column->nulls_first ? -1 : 1;
	}
	result = DatumGetInt32(FunctionCall2Coll((FmgrInfo *) &column->compare,
											 column->collation, a, b));
	if (result == 0)
		return 0;
	return (result < 0) != column->descending ? -1 : 1;
}

/*
 * Append the column as an element of a key, or of CREATE INDEX.  quoted_name:
 * how its name is to be written; nulls_first: the placement of nulls, which is
 * left out where it is the direction's default.
 */
void
key_column_append(StringInfo buf, const KeyColumn *column, const char *quoted_name, bool nulls_first)
{
	appendStringInfo(buf, "%s%s%s%s", quoted_name, column->collate, column->opclass,
					 column->descending ? " DESC" : "");
	if (nulls_first != column->descending)
		appendStringInfoString(buf, nulls_first ? " NULLS FIRST" : " NULLS LAST");
}

static AttrNumber
find_column(Relation rel, const char *name)
{
	AttrNumber	attnum = get_attnum(RelationGetRelid(rel), name);

	if (attnum == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("key column \"%s\" of relation \"%s\" does not exist",
						name, RelationGetRelationName(rel)),
				 errhint("Key columns are written as in SQL: a name with upper-case letters or spaces needs double quotes.")));
	if (attnum < 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("system column \"%s\" cannot be a key column here", name),
				 strcmp(name, "ctid") == 0 ?
				 errhint("chunks(), next_chunk() and split() take key => 'ctid', by itself; else name columns of the table.") :
				 errhint("Name columns of the table itself.")));
	return attnum;
}

static Oid
default_opclass(const char *name, Oid typid)
{
	Oid			opclass = GetDefaultOpClass(typid, BTREE_AM_OID);

	if (!OidIsValid(opclass))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("key column \"%s\" of type %s has no order",
						name, format_type_be(typid)),
				 errdetail("The type has no default btree operator class."),
				 errhint("Choose other key columns, or name an operator class after the column.")));
	return opclass;
}

static char *
collate_text(Oid collation)
{
	HeapTuple	tuple = SearchSysCache1(COLLOID, ObjectIdGetDatum(collation));
	Form_pg_collation form;
	char	   *text;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for collation %u", collation);
	form = (Form_pg_collation) GETSTRUCT(tuple);
	text = psprintf(" COLLATE %s",
					quote_name(get_namespace_name(form->collnamespace),
							   NameStr(form->collname)));
	ReleaseSysCache(tuple);
	return text;
}

static char *
opclass_text(Oid opclass)
{
	HeapTuple	tuple = SearchSysCache1(CLAOID, ObjectIdGetDatum(opclass));
	Form_pg_opclass form;
	char	   *text;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator class %u", opclass);
	form = (Form_pg_opclass) GETSTRUCT(tuple);
	text = psprintf(" %s", quote_name(get_namespace_name(form->opcnamespace),
									  NameStr(form->opcname)));
	ReleaseSysCache(tuple);
	return text;
}

static char *
operator_text(Oid operator_oid)
{
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator_oid));
	Form_pg_operator form;
	char	   *text;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator %u", operator_oid);
	form = (Form_pg_operator) GETSTRUCT(tuple);
	text = psprintf("OPERATOR(%s.%s)",
					quote_identifier(get_namespace_name(form->oprnamespace)),
					NameStr(form->oprname));
	ReleaseSysCache(tuple);
	return text;
}

/*
 * A type's name, qualified, for a cast that must not change the value: bpchar
 * and "bit" where character and bit would mean a length of one.
 */
static char *
type_text(Oid typid)
{
	return format_type_extended(typid, -1,
								FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
}
