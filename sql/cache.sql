-- What a session keeps between calls is never stale: not after a change to the
-- relation, its names, the role or the search_path; and it does not grow without end.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/failure.sql
\i :srcdir/sql/include/walk.sql
\set ECHO all
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS cache_test, cache_test_2, cache_test_new CASCADE;
DROP ROLE IF EXISTS regress_chunked_a, regress_chunked_b;
RESET client_min_messages;
CREATE SCHEMA cache_test;
SET search_path = cache_test;
CREATE TABLE event (id int PRIMARY KEY, kind int NOT NULL);
INSERT INTO event SELECT i, -i FROM generate_series(1, 6) i;
-- PL/pgSQL's own plan would not outlive the table whose row type it names
CREATE FUNCTION ids(key text DEFAULT NULL, filter text DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	ids text;
BEGIN
	EXECUTE 'SELECT string_agg(p.id::text, '' '') FROM chunked.page(NULL::cache_test.event, 3, key => $1, filter => $2) p'
		INTO ids USING key, filter;
	RETURN ids;
END
$$;

--
-- The relation
--
SELECT * FROM chunked.page(NULL::event, 2);
ALTER TABLE event ADD COLUMN t text DEFAULT 'x';
SELECT * FROM chunked.page(NULL::event, 2);
SELECT id FROM chunked.page(NULL::event, 2, filter => 't = ''x''');
ALTER TABLE event RENAME t TO u;
SELECT * FROM chunked.page(NULL::event, 2);
SELECT pg_temp.state($$SELECT id FROM chunked.page(NULL::event, 2, filter => 't = ''x''')$$);
ALTER TABLE event DROP COLUMN u;
SELECT * FROM chunked.page(NULL::event, 2);
SELECT * FROM chunked.page(NULL::event, 2, key => 'kind');
ALTER TABLE event RENAME kind TO sort;
SELECT pg_temp.state($$SELECT * FROM chunked.page(NULL::event, 2, key => 'kind')$$);
SELECT * FROM chunked.page(NULL::event, 2, key => 'sort');
ALTER TABLE event ALTER sort TYPE text COLLATE "C";
SELECT * FROM chunked.page(NULL::event, 2, after => '{"sort": "-2", "id": 2}', key => 'sort');
ALTER TABLE event ALTER sort TYPE int USING sort::int;
SELECT * FROM chunked.page(NULL::event, 2, after => '{"sort": "-2", "id": 2}', key => 'sort');
-- NULLs from now on
SELECT ids('sort');
ALTER TABLE event ALTER sort DROP NOT NULL;
UPDATE event SET sort = NULL WHERE id = 6;
SELECT pg_temp.walk('event', 'sort, id', 'sort');
ALTER TABLE event RENAME sort TO kind;
-- the default key changes
SELECT chunked.position_of(e) FROM chunked.page(NULL::event, 1) e;
ALTER TABLE event DROP CONSTRAINT event_pkey;
SELECT pg_temp.state($$SELECT * FROM chunked.page(NULL::event)$$);
UPDATE event SET kind = -6 WHERE id = 6;
ALTER TABLE event ADD PRIMARY KEY (kind);
SELECT chunked.position_of(e) FROM chunked.page(NULL::event, 1) e;
ALTER TABLE event DROP CONSTRAINT event_pkey;
CREATE UNIQUE INDEX event_id ON event (id);
SELECT ids();
DROP INDEX event_id;
SELECT pg_temp.state($$SELECT * FROM chunked.page(NULL::event)$$);
ALTER TABLE event ADD PRIMARY KEY (id);
-- an index is created and dropped
SELECT ids('kind DESC');
CREATE INDEX event_kind ON event (kind DESC, id);
SELECT ids('kind DESC');
DROP INDEX event_kind;
SELECT ids('kind DESC');
-- uniqueness is lost
CREATE UNIQUE INDEX event_kind ON event (kind);
ALTER TABLE event ALTER kind SET NOT NULL;
SELECT chunked.position_of(e, 'kind') FROM chunked.page(NULL::event, 1) e;
DROP INDEX event_kind;
SELECT chunked.position_of(e, 'kind') FROM chunked.page(NULL::event, 1) e;
-- in the same transaction, and undone
BEGIN;
ALTER TABLE event RENAME kind TO other;
SELECT * FROM chunked.page(NULL::event, 1);
ROLLBACK;
SELECT * FROM chunked.page(NULL::event, 1);
BEGIN;
SAVEPOINT s;
ALTER TABLE event DROP CONSTRAINT event_pkey;
SELECT pg_temp.state($$SELECT * FROM chunked.page(NULL::event)$$);
ROLLBACK TO s;
SELECT ids();
COMMIT;

-- names
CREATE VIEW look AS SELECT id FROM event;
SELECT ids(filter => 'id > 2');
ALTER SCHEMA cache_test RENAME TO cache_test_new;
SET search_path = cache_test_new;
SELECT string_agg(id::text, ' ') FROM chunked.page(NULL::event, 3, filter => 'id > 2');
SELECT string_agg(id::text, ' ') FROM chunked.page(NULL::look, 3, key => 'id');
SELECT relation, row_count FROM chunked.chunks('event');
ALTER SCHEMA cache_test_new RENAME TO cache_test;
SET search_path = cache_test;
SELECT ids(filter => 'id > 2');
ALTER TABLE event RENAME TO incident;
SELECT string_agg(id::text, ' ') FROM chunked.page(NULL::incident, 3);
ALTER TABLE incident RENAME TO event;
CREATE SCHEMA cache_test_2;
ALTER TABLE event SET SCHEMA cache_test_2;
SELECT string_agg(id::text, ' ') FROM chunked.page(NULL::cache_test_2.event, 3);
ALTER TABLE cache_test_2.event SET SCHEMA cache_test;
SELECT ids();
CREATE COLLATION col (provider = icu, locale = 'und');
ALTER TABLE event ADD s text COLLATE col;
UPDATE event SET s = id % 2;
SELECT ids('s'), (SELECT predicate FROM chunked.next_chunk('event', 2, key => 's COLLATE "col" DESC')) IS NOT NULL;
ALTER COLLATION col RENAME TO "Col 2";
SELECT ids('s');
SELECT pg_temp.walk('event', 's COLLATE "Col 2" DESC, id', 's COLLATE "Col 2" DESC');
SELECT pg_temp.state($$SELECT * FROM chunked.page(NULL::event, key => 's COLLATE col')$$);
CREATE TYPE mood AS ENUM ('sad', 'glad');
ALTER TABLE event ADD m mood;
UPDATE event SET m = CASE WHEN id % 2 = 0 THEN 'sad'::mood ELSE 'glad' END;
SELECT ids('m');
ALTER TYPE mood RENAME TO temper;
SELECT ids('m');
BEGIN;
ALTER TYPE temper ADD VALUE 'angry' BEFORE 'sad';
COMMIT;
UPDATE event SET m = 'angry' WHERE id = 6;
SELECT ids('m');
SELECT pg_temp.walk('event', 'm, id', 'm');

-- another table of the same name
SELECT ids();
DROP VIEW look;
DROP TABLE event;
CREATE TABLE event (k text COLLATE "C" PRIMARY KEY, id int NOT NULL);
INSERT INTO event SELECT 10 - i, i FROM generate_series(1, 6) i;
SELECT ids(), ids('id'), ids(filter => 'id > 2');
-- and a regclass of one that is gone, and a row type
SELECT 'event'::regclass::oid AS gone \gset
PREPARE kept AS SELECT chunked.position_of(NULL::event);
DROP TABLE event;
SELECT pg_temp.state('SELECT * FROM chunked.chunks(' || :gone || ')');
SELECT pg_temp.state('EXECUTE kept');
DEALLOCATE kept;
CREATE TABLE event (id int PRIMARY KEY, kind int NOT NULL);
INSERT INTO event SELECT i, -i FROM generate_series(1, 6) i;
SELECT ids();

-- partitions are attached and detached
CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
INSERT INTO parts SELECT generate_series(1, 5);
SELECT pg_temp.walk('parts', 'id');
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (10) TO (20);
INSERT INTO parts SELECT generate_series(11, 15);
SELECT pg_temp.walk('parts', 'id');
ALTER TABLE parts DETACH PARTITION parts_1;
SELECT pg_temp.walk('parts', 'id');
-- and children
CREATE TABLE parent (id int PRIMARY KEY);
INSERT INTO parent VALUES (1), (2), (3);
SELECT pg_temp.walk('parent', 'id');
CREATE TABLE child () INHERITS (parent);
INSERT INTO child VALUES (2), (4);
SELECT pg_temp.state($$SELECT * FROM chunked.page(NULL::parent, 2)$$);
DROP TABLE child;
SELECT pg_temp.walk('parent', 'id');
-- a view is replaced
CREATE VIEW look AS SELECT id FROM event WHERE id < 4;
SELECT pg_temp.walk('look', 'id', 'id');
CREATE OR REPLACE VIEW look AS SELECT id FROM event WHERE id > 1;
SELECT pg_temp.walk('look', 'id', 'id');
-- a temporary table hides it
CREATE TEMP TABLE event (id int PRIMARY KEY);
INSERT INTO pg_temp.event VALUES (100);
SELECT string_agg(id::text, ' ') FROM chunked.page(NULL::event);
SELECT ids();
DROP TABLE pg_temp.event;

--
-- The names in a filter
--
CREATE FUNCTION chosen(id int) RETURNS bool LANGUAGE sql AS 'SELECT id < 3';
CREATE FUNCTION cache_test_2.chosen(id int) RETURNS bool LANGUAGE sql AS 'SELECT id > 4';
SELECT ids(filter => 'chosen(id)');
SET search_path = cache_test_2, cache_test;
SELECT cache_test.ids(filter => 'chosen(id)');
SELECT row_count, upto FROM chunked.next_chunk('event', filter => 'chosen(id)');
SET search_path = cache_test;
SELECT ids(filter => 'chosen(id)');
SELECT row_count, upto FROM chunked.next_chunk('event', filter => 'chosen(id)');
CREATE OR REPLACE FUNCTION chosen(id int) RETURNS bool LANGUAGE sql AS 'SELECT id = 5';
SELECT ids(filter => 'chosen(id)');
DROP FUNCTION chosen(int);
SELECT pg_temp.state($$SELECT ids(filter => 'chosen(id)')$$);

--
-- The role
--
CREATE ROLE regress_chunked_a;
CREATE ROLE regress_chunked_b;
GRANT USAGE ON SCHEMA cache_test TO regress_chunked_a, regress_chunked_b;
GRANT SELECT ON event TO regress_chunked_a, regress_chunked_b;
ALTER TABLE event ENABLE ROW LEVEL SECURITY;
CREATE POLICY a ON event FOR SELECT TO regress_chunked_a USING (id % 2 = 0);
CREATE POLICY b ON event FOR SELECT TO regress_chunked_b USING (id % 3 = 0);
SELECT ids(), (SELECT row_count FROM chunked.chunks('event')), chunked.bounds('event');
SET ROLE regress_chunked_a;
SELECT ids(), (SELECT row_count FROM chunked.chunks('event')), chunked.bounds('event');
SET ROLE regress_chunked_b;
SELECT ids(), (SELECT row_count FROM chunked.chunks('event')), chunked.bounds('event');
RESET ROLE;
ALTER POLICY b ON event USING (id = 5);
SET ROLE regress_chunked_b;
SELECT ids(), (SELECT row_count FROM chunked.chunks('event')), chunked.bounds('event');
RESET ROLE;
REVOKE SELECT ON event FROM regress_chunked_b;
SET ROLE regress_chunked_b;
SELECT pg_temp.state('SELECT ids()');
RESET ROLE;
SELECT ids();
ALTER TABLE event DISABLE ROW LEVEL SECURITY;
SET ROLE regress_chunked_a;
SELECT ids();
RESET ROLE;

--
-- More walks and more shapes of query than are kept
--
SELECT count(*) AS filters, count(*) FILTER (WHERE got = wanted) AS right FROM (
	SELECT (SELECT string_agg(p.id::text, ' ') FROM chunked.page(NULL::event, filter => 'id <> ' || i) p) AS got,
		(SELECT string_agg(e.id::text, ' ' ORDER BY id) FROM event e WHERE id <> i) AS wanted
	FROM generate_series(1, 80) i, generate_series(1, 2)) f;
SELECT count(*) AS keys, count(*) FILTER (WHERE result = '6 rows in 3 chunks') AS right FROM (
	SELECT pg_temp.walk('event', format('(id + 0) %s, kind', d), 'id ' || d || ', kind' || repeat(' ', i)) AS result
	FROM unnest('{ASC,DESC}'::text[]) d, generate_series(1, 40) i) k;
CREATE TABLE shapes (a int, b int, c int, d int, id int PRIMARY KEY);
INSERT INTO shapes SELECT NULLIF(i % 3, 0), NULLIF(i / 3 % 3, 0), NULLIF(i / 9 % 3, 0), NULLIF(i / 27 % 3, 0), i FROM generate_series(1, 81) i;
SELECT size, pg_temp.walk('shapes', 'a, b DESC, c NULLS FIRST, d DESC NULLS LAST, id', 'a, b DESC, c NULLS FIRST, d DESC NULLS LAST', size) FROM unnest('{1,2,7}'::int[]) size;
-- a thousand statements, and the session's memory no longer grows
CREATE FUNCTION cached() RETURNS bigint LANGUAGE sql AS
	$$SELECT sum(used_bytes)::bigint FROM pg_backend_memory_contexts WHERE name IN ('pg_chunked walk', 'SPI Plan', 'CachedPlan', 'CachedPlanSource', 'CachedPlanQuery')$$;
CREATE FUNCTION churn(n int) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. n LOOP
		PERFORM * FROM chunked.page(NULL::event, filter => 'id <> ' || i);
		PERFORM chunked.chunks('event', 2, filter => 'id <> ' || i) LIMIT 1;
		BEGIN
			PERFORM * FROM chunked.page(NULL::event, filter => 'id <> nonesuch' || i);
		EXCEPTION WHEN undefined_column THEN
			NULL;
		END;
	END LOOP;
	RETURN cached();
END
$$;
SELECT churn(100) AS before \gset
SELECT churn(500) < :before * 1.5 + 100000 AS bounded;

--
-- Calls within calls: the filter walks its own table, by the same key and
-- filter or by others, and drops what the outer call is using
--
CREATE FUNCTION nested(id int) RETURNS bool LANGUAGE plpgsql STABLE AS $$
BEGIN
	RETURN (SELECT count(*) FROM chunked.page(NULL::cache_test.event, 100, after => jsonb_build_object('id', id))) % 2 = 0;
END
$$;
SELECT ids(filter => 'cache_test.nested(id)');
CREATE FUNCTION deeper(n int, depth int) RETURNS bool LANGUAGE plpgsql STABLE AS $$
BEGIN
	RETURN depth = 0 OR (SELECT count(*) FROM chunked.page(NULL::cache_test.event, 100, after => jsonb_build_object('id', n),
		filter => format('cache_test.deeper(id, %s)', depth - 1))) >= 0;
END
$$;
SELECT ids(filter => 'cache_test.deeper(id, 3)');
CREATE FUNCTION many(n int) RETURNS bool LANGUAGE plpgsql STABLE AS $$
DECLARE
	found bigint := 0;
BEGIN
	FOR i IN 1 .. 50 LOOP
		found := found + (SELECT count(*) FROM chunked.page(NULL::cache_test.event, 100, filter => format('id <> %s + 0 * %s', n, i)));
	END LOOP;
	RETURN found = 50 * 5;
END
$$;
SELECT ids(filter => 'cache_test.many(id)');
SELECT row_count FROM chunked.chunks('event', 4, filter => 'cache_test.many(id)');
CREATE FUNCTION changes(n int) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE 'ALTER SCHEMA cache_test_2 RENAME TO cache_test_3';
	EXECUTE 'ALTER SCHEMA cache_test_3 RENAME TO cache_test_2';
	RETURN (SELECT count(*) FROM chunked.page(NULL::cache_test.event)) = 6;
END
$$;
SELECT ids(filter => 'cache_test.changes(id)');
SELECT row_count FROM chunked.chunks('event', 4, filter => 'cache_test.changes(id)');
-- the same key and filter again and again: an endless recursion ends in the
-- server's own error
CREATE FUNCTION forever(n int) RETURNS bool LANGUAGE plpgsql STABLE AS $$
BEGIN
	RETURN EXISTS (SELECT FROM chunked.page(NULL::cache_test.event, filter => 'cache_test.forever(id)'));
END
$$;
SELECT pg_temp.state($$SELECT ids(filter => 'cache_test.forever(id)')$$);
SELECT ids(filter => 'cache_test.nested(id)'), ids();

SET client_min_messages = warning;
DROP SCHEMA cache_test, cache_test_2 CASCADE;
DROP ROLE regress_chunked_a, regress_chunked_b;

-- what a filter's functions are, and give, is not kept: partitions would be passed over by what they were
CREATE SCHEMA cutoff_a CREATE TABLE cutoff (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE cutoff_a.cutoff_1 PARTITION OF cutoff_a.cutoff FOR VALUES FROM (0) TO (100);
CREATE TABLE cutoff_a.cutoff_2 PARTITION OF cutoff_a.cutoff FOR VALUES FROM (100) TO (200);
INSERT INTO cutoff_a.cutoff SELECT generate_series(0, 199);
CREATE SCHEMA cutoff_b;
CREATE FUNCTION cutoff_a.upto() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 50';
CREATE FUNCTION cutoff_b.upto() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 150';
SET search_path = cutoff_a;
SELECT count(*), max(id) FROM chunked.page(NULL::cutoff_a.cutoff, filter => 'id < upto()');
SET search_path = cutoff_b;
SELECT count(*), max(id) FROM chunked.page(NULL::cutoff_a.cutoff, filter => 'id < upto()');
SET search_path = cutoff_a;
CREATE OR REPLACE FUNCTION cutoff_a.upto() RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN 160; END';
SELECT count(*), max(id) FROM chunked.page(NULL::cutoff_a.cutoff, filter => 'id < upto()');
DROP SCHEMA cutoff_a, cutoff_b CASCADE;
