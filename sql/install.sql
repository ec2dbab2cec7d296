-- What CREATE EXTENSION brings, and DROP EXTENSION takes away.
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_chunked_installer;
DROP EXTENSION pg_chunked;
-- gone without a trace
SELECT count(*) FROM pg_namespace WHERE nspname = 'chunked';

-- a user who may create things in the database may install it, in a session
-- where false operators, functions and types are found before the real ones
CREATE ROLE regress_chunked_installer;
DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO regress_chunked_installer', current_database()); END $$;
SET ROLE regress_chunked_installer;
-- the extension creates its own schema: one that exists is not taken over, whatever it holds
CREATE SCHEMA chunked;
\set VERBOSITY sqlstate
CREATE EXTENSION pg_chunked;
\set VERBOSITY default
DROP SCHEMA chunked;
CREATE SCHEMA install_evil;
CREATE DOMAIN install_evil.jsonb AS pg_catalog.text CHECK (false);
CREATE DOMAIN install_evil.text AS pg_catalog.int4 CHECK (false);
CREATE DOMAIN install_evil.int8 AS pg_catalog.text CHECK (false);
CREATE DOMAIN install_evil.regclass AS pg_catalog.text CHECK (false);
SET search_path = install_evil, pg_catalog, public;
CREATE EXTENSION pg_chunked;
RESET search_path;
SELECT extname, extnamespace::regnamespace AS schema, extrelocatable, extversion IS NOT NULL AS version, extowner::regrole AS owner
FROM pg_extension WHERE extname = 'pg_chunked';
-- nothing of his schema has got in
SELECT count(*) FROM pg_depend d WHERE d.refobjid IN (
		SELECT oid FROM pg_type WHERE typnamespace = 'install_evil'::regnamespace
		UNION ALL SELECT oid FROM pg_proc WHERE pronamespace = 'install_evil'::regnamespace)
	AND d.objid IN (SELECT objid FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e');
-- its schema is a member, and a superuser's
SELECT e.extname, rolsuper FROM pg_namespace n JOIN pg_roles r ON r.oid = nspowner
	JOIN pg_depend d ON d.classid = 'pg_namespace'::regclass AND d.objid = n.oid AND d.deptype = 'e' JOIN pg_extension e ON e.oid = d.refobjid
WHERE nspname = 'chunked';
-- so are all its relations and types
SELECT count(*) > 0, bool_and(rolsuper) FROM (
	SELECT relowner FROM pg_class WHERE relnamespace = 'chunked'::regnamespace
	UNION ALL SELECT typowner FROM pg_type WHERE typnamespace = 'chunked'::regnamespace) o (owner) JOIN pg_roles r ON r.oid = owner;
\set VERBOSITY sqlstate
ALTER SCHEMA chunked RENAME TO mine;
CREATE VIEW chunked.decoy AS SELECT 1;
ALTER TABLE chunked.ledger_jobs RENAME TO mine;
ALTER EXTENSION pg_chunked DROP TABLE chunked.ledger_jobs;
ALTER EXTENSION pg_chunked DROP SCHEMA chunked;
DROP SCHEMA chunked CASCADE;
\set VERBOSITY default
-- nor are its functions his to replace
SELECT count(*) FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
	JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid AND e.extname = 'pg_chunked'
WHERE pg_has_role('regress_chunked_installer', p.proowner, 'MEMBER');
DROP EXTENSION pg_chunked;
RESET ROLE;
DROP SCHEMA install_evil CASCADE;
DO $$ BEGIN EXECUTE format('REVOKE CREATE ON DATABASE %I FROM regress_chunked_installer', current_database()); END $$;
DROP ROLE regress_chunked_installer;

CREATE EXTENSION pg_chunked;
-- it does not move
\set VERBOSITY sqlstate
ALTER EXTENSION pg_chunked SET SCHEMA public;
\set VERBOSITY default

CREATE VIEW pg_temp.member AS
SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'pg_chunked';

-- the interface
SELECT proname AS function, pg_get_function_arguments(p.oid) AS arguments, pg_get_function_result(p.oid) AS result
FROM pg_proc p JOIN pg_temp.member ON classid = 'pg_proc'::regclass AND objid = p.oid
WHERE proname IN ('page', 'position_of', 'bounds', 'chunks', 'next_chunk') ORDER BY proname COLLATE "C", pg_get_function_arguments(p.oid) COLLATE "C";
SELECT proname AS function, provolatile AS volatile, proparallel AS parallel, proisstrict AS strict, prorows AS rows, prosupport::regproc AS support
FROM pg_proc p JOIN pg_temp.member ON classid = 'pg_proc'::regclass AND objid = p.oid
WHERE proname IN ('page', 'position_of', 'bounds', 'chunks', 'next_chunk') ORDER BY proname COLLATE "C", pg_get_function_arguments(p.oid) COLLATE "C";
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'chunked.chunk'::regclass ORDER BY attnum;

-- promises that hold for whatever there is: each of these finds nothing
-- all of it in its own schema
SELECT pg_describe_object(classid, objid, 0) FROM pg_temp.member LEFT JOIN pg_proc p ON classid = 'pg_proc'::regclass AND p.oid = objid
	LEFT JOIN pg_type t ON classid = 'pg_type'::regclass AND t.oid = objid LEFT JOIN pg_class c ON classid = 'pg_class'::regclass AND c.oid = objid
WHERE coalesce(pronamespace, typnamespace, relnamespace) IS DISTINCT FROM 'chunked'::regnamespace
	AND classid NOT IN ('pg_namespace'::regclass, 'pg_cast'::regclass);
-- by the rights of the caller
SELECT oid::regprocedure FROM pg_proc JOIN pg_temp.member ON classid = 'pg_proc'::regclass AND objid = oid WHERE prosecdef;
-- functions that are neither by mistake: volatile and parallel unsafe are the defaults. (Procedures have neither.)
SELECT oid::regprocedure FROM pg_proc JOIN pg_temp.member ON classid = 'pg_proc'::regclass AND objid = oid
WHERE proname IN ('page', 'position_of', 'bounds', 'chunks', 'next_chunk', 'page_support', 'chunks_support') AND (provolatile = 'v' OR proparallel = 'u');
-- a comment on each function, type, table, view, sequence
SELECT pg_describe_object(classid, objid, 0) FROM pg_temp.member
WHERE classid IN ('pg_proc'::regclass, 'pg_type'::regclass, 'pg_class'::regclass)
	AND obj_description(objid, classid::regclass::name) IS NULL
	AND NOT EXISTS (SELECT FROM pg_type t WHERE t.oid = objid AND classid = 'pg_type'::regclass AND (t.typelem <> 0 OR t.typrelid IN (SELECT c.oid FROM pg_class c WHERE c.relkind <> 'c')));
-- names for all arguments, and defaults for all but the first of a function that walks
SELECT oid::regprocedure FROM pg_proc JOIN pg_temp.member ON classid = 'pg_proc'::regclass AND objid = oid
WHERE (proargnames IS NULL OR '' = ANY (proargnames[1:pronargs])) AND prorettype <> 'internal'::regtype;
SELECT oid::regprocedure FROM pg_proc JOIN pg_temp.member ON classid = 'pg_proc'::regclass AND objid = oid
WHERE proname IN ('page', 'position_of', 'bounds', 'chunks', 'next_chunk') AND pronargdefaults <> pronargs - 1;
-- the arguments stand in the comment in their order
SELECT oid::regprocedure, argument FROM pg_proc JOIN pg_temp.member ON classid = 'pg_proc'::regclass AND objid = oid,
	LATERAL (SELECT name, n, lag(regexp_instr(obj_description(oid, 'pg_proc'), format('(\n|, )%s(:|,)', name))) OVER (ORDER BY n) AS before,
			regexp_instr(obj_description(oid, 'pg_proc'), format('(\n|, )%s(:|,)', name)) AS place
		FROM unnest(proargnames[1:pronargs]) WITH ORDINALITY a (name, n)) a (argument, n, before, place)
WHERE proname IN ('page', 'position_of', 'bounds', 'chunks') AND proargtypes[0] <> 'text'::regtype AND (place = 0 OR before > place);
-- all may use it
SELECT oid::regprocedure FROM pg_proc JOIN pg_temp.member ON classid = 'pg_proc'::regclass AND objid = oid
WHERE NOT has_function_privilege('public', oid, 'EXECUTE') AND proname IN ('page', 'position_of', 'bounds', 'chunks', 'next_chunk');
