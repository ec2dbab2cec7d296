/*
 * reference_io.c
 *		How the types role_reference, relation_reference and column_reference of
 *		the ledger's columns are read and written.
 *
 * An oid would mean something else in a database that a dump is restored into;
 * regrole and regclass are written by name, but one name that is missing there
 * makes the COPY of the whole table fail.  These are written by name as well,
 * and read as 0, with a warning, where the name is missing.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/varlena.h"

#include "job/reference.h"

/* Written for what is missing; no name, for it would be quoted */
#define NOTHING "-"

PG_FUNCTION_INFO_V1(chunked_role_reference_in);
PG_FUNCTION_INFO_V1(chunked_role_reference_out);
PG_FUNCTION_INFO_V1(chunked_relation_reference_in);
PG_FUNCTION_INFO_V1(chunked_relation_reference_out);
PG_FUNCTION_INFO_V1(chunked_column_reference_in);
PG_FUNCTION_INFO_V1(chunked_column_reference_out);

static List *split_reference_name(const char *text);
static Oid	warn_reference_missing(bool is_role, const char *text);

/*
 * chunked.role_reference_in(cstring) RETURNS chunked.role_reference
 *
 * WARNING 42704 for a role that does not exist.  Error: 42602 it is no name.
 */
Datum
chunked_role_reference_in(PG_FUNCTION_ARGS)
{
	char	   *text = PG_GETARG_CSTRING(0);
	List	   *names;
	Oid			role;

	if (strcmp(text, NOTHING) == 0)
		PG_RETURN_OID(InvalidOid);
	names = split_reference_name(text);
	role = list_length(names) == 1 ? get_role_oid(linitial(names), true) : InvalidOid;
	PG_RETURN_OID(OidIsValid(role) ? role : warn_reference_missing(true, text));
}

/* chunked.role_reference_out(chunked.role_reference) RETURNS cstring */
Datum
chunked_role_reference_out(PG_FUNCTION_ARGS)
{
	char	   *name = GetUserNameFromId(PG_GETARG_OID(0), true);

	PG_RETURN_CSTRING(name == NULL ? pstrdup(NOTHING) : pstrdup(quote_identifier(name)));
}

/*
 * chunked.relation_reference_in(cstring) RETURNS chunked.relation_reference
 *
 * WARNING 42704 for a relation that does not exist.  Error: 42602 it is no name.
 * Takes no lock: it may be dropped at once.
 */
Datum
chunked_relation_reference_in(PG_FUNCTION_ARGS)
{
	char	   *text = PG_GETARG_CSTRING(0);
	List	   *names;
	Oid			relid = InvalidOid;

	if (strcmp(text, NOTHING) == 0)
		PG_RETURN_OID(InvalidOid);
	names = split_reference_name(text);
	if (list_length(names) == 2)
	{
		Oid			schema = get_namespace_oid(linitial(names), true);

		if (OidIsValid(schema))
			relid = get_relname_relid(lsecond(names), schema);
	}
	PG_RETURN_OID(OidIsValid(relid) ? relid : warn_reference_missing(false, text));
}

/* chunked.relation_reference_out(chunked.relation_reference) RETURNS cstring */
Datum
chunked_relation_reference_out(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	char	   *name = get_rel_name(relid);
	char	   *schema = name == NULL ? NULL : get_namespace_name(get_rel_namespace(relid));

	PG_RETURN_CSTRING(schema == NULL ? pstrdup(NOTHING) : quote_qualified_identifier(schema, name));
}

/*
 * chunked.column_reference_in(cstring) RETURNS chunked.column_reference
 *
 * As for relations; 0 for what is missing, without a warning of its own.
 */
Datum
chunked_column_reference_in(PG_FUNCTION_ARGS)
{
	char	   *text = PG_GETARG_CSTRING(0);
	List	   *names;
	Oid			schema;
	Oid			relid = InvalidOid;
	AttrNumber	attnum = InvalidAttrNumber;

	if (strcmp(text, NOTHING) == 0)
		PG_RETURN_INT64(0);
	names = split_reference_name(text);
	schema = list_length(names) == 3 ? get_namespace_oid(linitial(names), true) : InvalidOid;
	if (OidIsValid(schema))
		relid = get_relname_relid(lsecond(names), schema);
	if (OidIsValid(relid))
		attnum = get_attnum(relid, lthird(names));
	PG_RETURN_INT64(attnum > 0 ? reference_to_column(relid, attnum) : 0);
}

/* chunked.column_reference_out(chunked.column_reference) RETURNS cstring */
Datum
chunked_column_reference_out(PG_FUNCTION_ARGS)
{
	int64		reference = PG_GETARG_INT64(0);
	Oid			relid = reference_relation(reference);
	char	   *column = reference_column_name(reference);
	char	   *name = column == NULL ? NULL : get_rel_name(relid);
	char	   *schema = name == NULL ? NULL : get_namespace_name(get_rel_namespace(relid));

	if (schema == NULL)
		PG_RETURN_CSTRING(pstrdup(NOTHING));
	PG_RETURN_CSTRING(psprintf("%s.%s", quote_qualified_identifier(schema, name), quote_identifier(column)));
}

/* The parts of a dotted name, as they are stored. */
static List *
split_reference_name(const char *text)
{
	List	   *names;

	if (!SplitIdentifierString(pstrdup(text), '.', &names) || names == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("invalid name \"%s\"", text),
				 errhint("Quote it as in SQL.")));
	return names;
}

/* InvalidOid, with a warning. */
static Oid
warn_reference_missing(bool is_role, const char *text)
{
	ereport(WARNING,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 is_role ?
			 errmsg("role %s does not exist, and jobs that refer to it are kept without it", text) :
			 errmsg("relation %s does not exist, and jobs that refer to it are kept without it", text),
			 is_role ?
			 errhint("A superuser can give such a job to another role: chunked.alter_job(..., owner => ...).") :
			 errhint("Without its relation, a job can only be dropped.")));
	return InvalidOid;
}
