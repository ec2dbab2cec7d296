-- What the caller could not SELECT, no function shows: not by value, boundary
-- or count.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/failure.sql
\set ECHO all
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS security_test CASCADE;
DROP ROLE IF EXISTS regress_chunked_owner, regress_chunked_user, regress_chunked_none;
RESET client_min_messages;
CREATE ROLE regress_chunked_owner;
CREATE ROLE regress_chunked_user;
CREATE ROLE regress_chunked_none;
CREATE SCHEMA security_test;
GRANT USAGE, CREATE ON SCHEMA security_test TO regress_chunked_owner;
GRANT USAGE ON SCHEMA security_test TO regress_chunked_user;
SET search_path = security_test;
-- a filter that reports every row except those that may be seen
CREATE FUNCTION leak(id int, secret text, visible int[]) RETURNS bool LANGUAGE plpgsql COST 0.0000001 AS $$
BEGIN
	IF id <> ALL (visible) THEN
		RAISE 'seen: %', secret;
	END IF;
	RETURN true;
END
$$;
SET ROLE regress_chunked_owner;
CREATE TABLE event (id int PRIMARY KEY, kind int NOT NULL, secret text);
INSERT INTO event SELECT i, i % 5, 'secret ' || i FROM generate_series(1, 20) i;
-- all that can be asked, as one call
CREATE FUNCTION calls() RETURNS TABLE (call text) LANGUAGE sql AS $$
VALUES ($q$SELECT * FROM chunked.page(NULL::security_test.event, 3)$q$),
	($q$SELECT * FROM chunked.page(NULL::security_test.event, 3, before => '{"id": 9}')$q$),
	($q$SELECT * FROM chunked.page(NULL::security_test.event, 3, key => 'kind')$q$),
	($q$SELECT * FROM chunked.bounds('security_test.event')$q$),
	($q$SELECT * FROM chunked.bounds('security_test.event', 'kind DESC')$q$),
	($q$SELECT * FROM chunked.bounds('security_test.event', filter => 'secret = ''secret 7''')$q$),
	($q$SELECT * FROM chunked.chunks('security_test.event', 6)$q$),
	($q$SELECT * FROM chunked.chunks('security_test.event', 6, key => 'kind')$q$),
	($q$SELECT * FROM chunked.chunks('security_test.event', 6, filter => 'secret > ''secret 2''')$q$),
	($q$SELECT * FROM chunked.chunks('security_test.event', 6, filter => 'secret > ''secret 2''', scan_limit => 3)$q$),
	($q$SELECT * FROM chunked.next_chunk('security_test.event', 6)$q$)
$$;
GRANT EXECUTE ON FUNCTION calls() TO PUBLIC;

--
-- A cursor may go on reading its page after another role was set; policies and functions are evaluated as the role at hand, like in any other cursor
--
BEGIN;
CREATE TABLE mixed (a int, id int PRIMARY KEY);
INSERT INTO mixed SELECT NULLIF(i / 3, 1), i FROM generate_series(1, 8) i;
DECLARE c CURSOR FOR SELECT * FROM chunked.page(NULL::mixed, after => '{"a": "0", "id": "1"}', key => 'a');
FETCH 1 FROM c;
SET LOCAL ROLE regress_chunked_user;
FETCH ALL FROM c;
SELECT current_user;
ROLLBACK;
BEGIN;
CREATE TABLE mixed (a int, id int PRIMARY KEY);
INSERT INTO mixed SELECT NULLIF(i / 3, 1), i FROM generate_series(1, 8) i;
ALTER TABLE mixed ENABLE ROW LEVEL SECURITY;
ALTER TABLE mixed FORCE ROW LEVEL SECURITY;
CREATE POLICY p ON mixed USING (current_user = 'regress_chunked_owner');
DECLARE c CURSOR FOR SELECT * FROM chunked.page(NULL::mixed, after => '{"a": "0", "id": "1"}', key => 'a');
FETCH 1 FROM c;
SET LOCAL ROLE regress_chunked_user;
FETCH ALL FROM c;
SET LOCAL ROLE regress_chunked_owner;
ROLLBACK;

--
-- No rights at all
--
SET ROLE regress_chunked_user;
SELECT call, pg_temp.state(call) FROM calls();
-- nor on the schema
SET ROLE regress_chunked_none;
SELECT pg_temp.state($$SELECT * FROM chunked.page(NULL::security_test.event)$$),
	pg_temp.state($$SELECT * FROM chunked.bounds('security_test.event')$$),
	pg_temp.state($$SELECT * FROM chunked.chunks('security_test.event')$$);
SET ROLE regress_chunked_owner;
GRANT SELECT ON event TO regress_chunked_none;
SET ROLE regress_chunked_none;
SELECT pg_temp.state($$SELECT * FROM chunked.page(NULL::security_test.event)$$);
SELECT pg_temp.state(format('SELECT * FROM chunked.chunks(%s)', oid)),
	pg_temp.state(format('SELECT * FROM chunked.next_chunk(%s)', oid)),
	pg_temp.state(format('SELECT * FROM chunked.bounds(%s)', oid))
FROM pg_class WHERE relname = 'event' AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'security_test');
-- nor by the catalog's estimate, of a table without policies
SET ROLE regress_chunked_owner;
CREATE TABLE estimated AS SELECT generate_series(1, 100) AS id;
ANALYZE estimated;
GRANT SELECT ON estimated TO regress_chunked_none;
SET ROLE regress_chunked_none;
SELECT pg_temp.state(format('SELECT * FROM chunked.row_count(%s, exact => false)', oid))
FROM pg_class WHERE relname = 'estimated' AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'security_test');
-- every role may use the extension, and none may put something into its schema
SELECT has_schema_privilege('chunked', 'USAGE') AS usage, has_schema_privilege('chunked', 'CREATE') AS create;

--
-- Columns: what the key and the filter are made of is enough for boundaries,
-- rows want them all
--
SET ROLE regress_chunked_owner;
GRANT SELECT (id) ON event TO regress_chunked_user;
SET ROLE regress_chunked_user;
SELECT call, pg_temp.state(call) FROM calls();
SELECT * FROM chunked.bounds('event');
SELECT upto, row_count FROM chunked.chunks('event', 8);
SELECT upto, row_count FROM chunked.chunks('event', 8, filter => 'id > 7', scan_limit => 9);
SELECT upto, row_count FROM chunked.next_chunk('event', 8, after => '{"id": 9}');
SET ROLE regress_chunked_owner;
GRANT SELECT (kind) ON event TO regress_chunked_user;
SET ROLE regress_chunked_user;
SELECT call, pg_temp.state(call) FROM calls();
SET ROLE regress_chunked_owner;
GRANT SELECT ON event TO regress_chunked_user;
SET ROLE regress_chunked_user;
SELECT call, pg_temp.state(call) FROM calls();
-- errors do not reveal a relation either, without rights on it
SET ROLE regress_chunked_owner;
CREATE TABLE hidden (id int PRIMARY KEY);
INSERT INTO hidden VALUES (1), (2);
SET ROLE regress_chunked_user;
SELECT pg_temp.state($$SELECT * FROM chunked.page(NULL::hidden, 1, filter => '1 / (id - 1) > 0')$$);
SELECT pg_temp.state($$SELECT * FROM chunked.chunks('hidden', filter => '1 / (id - 1) > 0')$$);
SELECT pg_temp.state($$SELECT * FROM chunked.chunks('hidden', after => '{"id": 5}')$$);

--
-- Row-level security
--
SET ROLE regress_chunked_owner;
ALTER TABLE event ENABLE ROW LEVEL SECURITY;
SET ROLE regress_chunked_user;
SELECT count(*) FROM chunked.page(NULL::event);
SELECT * FROM chunked.bounds('event');
SELECT count(*) FROM chunked.chunks('event');
SELECT count(*) FROM chunked.next_chunk('event', filter => 'true', scan_limit => 5);
SET ROLE regress_chunked_owner;
CREATE POLICY own ON event FOR SELECT TO regress_chunked_user USING (id % 3 = 1 AND kind <> 2);
SELECT count(*) FROM chunked.page(NULL::event);
SET ROLE regress_chunked_user;
SELECT string_agg(id::text, ' ' ORDER BY id) FROM event;
SELECT string_agg(id::text, ' ') FROM chunked.page(NULL::event, 3);
SELECT string_agg(id::text, ' ') FROM chunked.page(NULL::event, 3, after => '{"id": 5}');
SELECT string_agg(id::text, ' ') FROM chunked.page(NULL::event, 3, before => '{"id": 19}');
SELECT string_agg(id::text, ' ') FROM chunked.page(NULL::event, 3, key => 'kind DESC');
SELECT * FROM chunked.bounds('event');
SELECT * FROM chunked.bounds('event', 'kind DESC');
SELECT upto, row_count FROM chunked.chunks('event', 2);
SELECT upto, row_count FROM chunked.chunks('event', 2, filter => 'kind = 4');
-- rows that may not be seen do not count as examined, or it would show how many there are
SELECT upto, row_count FROM chunked.chunks('event', 2, filter => 'false', scan_limit => 2);
SELECT upto, row_count FROM chunked.next_chunk('event', 2, after => '{"id": 7}');
-- and the filter is not run on them
SELECT string_agg(id::text, ' ') FROM chunked.page(NULL::event, 10, filter => 'leak(id, secret, ''{1,4,10,13,16,19}'')');
SELECT sum(row_count) FROM chunked.chunks('event', 10, filter => 'leak(id, secret, ''{1,4,10,13,16,19}'')');
SELECT sum(row_count) FROM chunked.chunks('event', 10, filter => 'leak(id, secret, ''{1,4,10,13,16,19}'')', scan_limit => 3);
SET row_security = off;
SELECT call, pg_temp.state(call) FROM calls();
RESET row_security;
-- the owner is not exempt when it is forced
SET ROLE regress_chunked_owner;
ALTER TABLE event FORCE ROW LEVEL SECURITY;
SELECT count(*) FROM chunked.page(NULL::event);
SELECT count(*) FROM chunked.chunks('event');
ALTER TABLE event NO FORCE ROW LEVEL SECURITY;

--
-- Views: by the owner's rights or the caller's, with a barrier
--
CREATE VIEW by_owner AS SELECT id, secret FROM event WHERE id + 0 > 15;
CREATE VIEW by_caller WITH (security_invoker) AS SELECT id, secret FROM event WHERE id + 0 > 15;
CREATE VIEW behind WITH (security_barrier) AS SELECT id, secret FROM event WHERE id + 0 > 15;
GRANT SELECT ON by_owner, by_caller, behind TO regress_chunked_user;
SET ROLE regress_chunked_user;
SELECT string_agg(id::text, ' ') FROM chunked.page(NULL::by_owner, key => 'id');
SELECT string_agg(id::text, ' ') FROM chunked.page(NULL::by_caller, key => 'id');
SELECT row_count, upto FROM chunked.chunks('by_owner', key => 'id');
SELECT row_count, upto FROM chunked.chunks('by_caller', key => 'id');
-- what it hides from a function that reports rows: nothing without a barrier, everything with one
SELECT pg_temp.state($$SELECT * FROM chunked.page(NULL::by_owner, key => 'id', filter => 'leak(id, secret, ''{16,17,18,19,20}'')')$$);
SELECT string_agg(id::text, ' ') FROM chunked.page(NULL::behind, 2, after => '{"id": 16}', key => 'id', filter => 'leak(id, secret, ''{16,17,18,19,20}'')');
SELECT sum(row_count) FROM chunked.chunks('behind', key => 'id', filter => 'leak(id, secret, ''{16,17,18,19,20}'')');
SELECT sum(row_count) FROM chunked.next_chunk('behind', 2, key => 'id', filter => 'leak(id, secret, ''{16,17,18,19,20}'')', scan_limit => 10);
-- a function that runs with its owner's rights walks with them, and the walk
-- is not the caller's afterwards
SET ROLE regress_chunked_owner;
CREATE FUNCTION definer() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, security_test
	AS 'SELECT count(*) FROM chunked.page(NULL::event)';
GRANT EXECUTE ON FUNCTION definer() TO regress_chunked_user;
SET ROLE regress_chunked_user;
SELECT count(*), definer() FROM chunked.page(NULL::event);
SELECT count(*) FROM chunked.page(NULL::event);

RESET ROLE;
SET client_min_messages = warning;
DROP SCHEMA security_test CASCADE;
DROP ROLE regress_chunked_owner, regress_chunked_user, regress_chunked_none;
