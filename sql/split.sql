-- split(), and chunks() by estimate: how many, how even, and every row in one.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/failure.sql
\i :srcdir/sql/include/cover.sql
\set ECHO all
\set VERBOSITY sqlstate
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS split_test CASCADE;
RESET client_min_messages;
CREATE SCHEMA split_test;
SET search_path = split_test;
-- one whose index has an upper level, and one whose has none
CREATE TABLE event (id int PRIMARY KEY, kind int NOT NULL, n int, name text NOT NULL, u uuid NOT NULL UNIQUE);
INSERT INTO event SELECT i, i % 10, nullif(i % 7, 0), 'name ' || i % 100, md5(i::text)::uuid FROM generate_series(1, 12000) i;
CREATE INDEX ON event (kind DESC, id);
CREATE INDEX ON event (n, id DESC);
CREATE INDEX ON event (name, id);
CREATE TABLE few (id int PRIMARY KEY, kind int);
INSERT INTO few SELECT i, nullif(i % 3, 0) FROM generate_series(1, 20) i;
ANALYZE event, few;

--
-- Parts
--
SELECT number, relation, after, upto, row_count, predicate FROM chunked.split('few', 3);
SELECT number, relation, after, upto, row_count, predicate FROM chunked.split('few', 3, true);
SELECT number, after, upto, row_count FROM chunked.split('few', 3, true, 'kind DESC', 'id <= 10');
SELECT parts, exact, pg_temp.cover('few', format('chunked.split(''few'', %s, %L, alias => ''t'')', parts, exact), exact => exact)
FROM unnest('{1,2,7,19,20,21,1000}'::int[]) parts, unnest('{t,f}'::bool[]) exact ORDER BY 2 DESC, 1;
SELECT parts, exact, pg_temp.cover('event', format('chunked.split(''event'', %s, %L, alias => ''t'')', parts, exact), exact => exact)
FROM unnest('{1,2,7,40}'::int[]) parts, unnest('{t,f}'::bool[]) exact ORDER BY 2 DESC, 1;
SELECT count(*), min(row_count), max(row_count), sum(row_count) FROM chunked.split('event', 12001);
SELECT count(*), min(row_count), max(row_count), sum(row_count) FROM chunked.split('event', 5000);
SELECT count(*), sum(row_count) FROM chunked.split('event', 2147483648);
SELECT count(*), sum(row_count) FROM chunked.split('event', 9223372036854775807);
SELECT count(*), sum(row_count) FROM chunked.split('event', 9223372036854775807, exact => true, key => 'kind DESC');
SELECT count(DISTINCT relation), sum(row_count) > 0 AS some FROM chunked.split('event', 9223372036854775807, key => 'ctid');
-- bulk-loaded, each part has its share within a tenth
SELECT parts, count(*), bool_and(abs(estimate / (12000.0 / parts) - 1) < 0.1) AS told, bool_and(abs(rows / (12000.0 / parts) - 1) < 0.1) AS had
FROM unnest('{1,2,3,7}'::int[]) parts, LATERAL (SELECT row_count AS estimate, (upto->>'id')::int - coalesce((after->>'id')::int, 0) AS rows
	FROM chunked.split('event', parts)) c GROUP BY parts ORDER BY parts;

-- in the select list, and closed early
SELECT chunked.split('few', 2);
SELECT (c).number FROM (SELECT chunked.split('event', 5) AS c LIMIT 2) s;

--
-- Keys: the default, descending, mixed, with nulls, text, random; without an index
--
SELECT key, exact, pg_temp.cover('event', format('chunked.split(''event'', 7, %L, %L, alias => ''t'')', exact, key), key, exact)
FROM (VALUES ('id'), ('id DESC'), ('kind DESC, id'), ('kind, id DESC'), ('n, id DESC'), ('n DESC, id'), ('name'), ('name DESC, id DESC'), ('u'), ('u DESC')) k (key),
	unnest('{t,f}'::bool[]) exact;
-- too few rows for a warning
SELECT key, exact, pg_temp.cover('few', format('chunked.split(''few'', 3, %L, %L, alias => ''t'')', exact, key), key, exact)
FROM (VALUES ('kind NULLS FIRST'), ('kind DESC, id')) k (key), unnest('{t,f}'::bool[]) exact;

--
-- A filter: the parts of what matches
--
SELECT filter, exact, pg_temp.cover('event', format('chunked.split(''event'', 4, %L, filter => %L, alias => ''t'')', exact, filter), exact => true, filter => filter)
FROM (VALUES ('kind = 3'), ('n IS NULL AND id > 5000'), ('id IN (1, 2, 3)'), ('id BETWEEN 3000 AND 3005')) f (filter), unnest('{t,f}'::bool[]) exact;
SELECT exact, count(*) FROM unnest('{t,f}'::bool[]) exact, LATERAL chunked.split('event', 4, exact, filter => 'false') GROUP BY exact;

--
-- Deleted rows, and rows that nobody else sees yet
--
BEGIN;
DELETE FROM event WHERE id % 2 = 0 OR id BETWEEN 3000 AND 9000;
SELECT parts, exact, pg_temp.cover('event', format('chunked.split(''event'', %s, %L, alias => ''t'')', parts, exact), exact => exact)
FROM unnest('{2,7}'::int[]) parts, unnest('{t,f}'::bool[]) exact;
INSERT INTO event SELECT i, 0, 0, '', md5(i::text)::uuid FROM generate_series(12001, 14000) i;
SELECT key, exact, pg_temp.cover('event', format('chunked.split(''event'', 7, %L, %L, alias => ''t'')', exact, key), key, exact)
FROM (VALUES ('id'), ('n DESC, id'), ('u')) k (key), unnest('{t,f}'::bool[]) exact;
DELETE FROM event;
SELECT exact, pg_temp.cover('event', format('chunked.split(''event'', 7, %L, alias => ''t'')', exact), exact => exact) FROM unnest('{t,f}'::bool[]) exact;
ROLLBACK;
SELECT pg_temp.cover('event', 'chunked.split(''event'', 7, alias => ''t'')', exact => false);

--
-- Partitions of very different sizes, one after the other and between each other
--
CREATE TABLE part (id int NOT NULL, kind int NOT NULL, PRIMARY KEY (kind, id)) PARTITION BY LIST (kind);
CREATE TABLE part_none PARTITION OF part FOR VALUES IN (0);
CREATE TABLE part_one PARTITION OF part FOR VALUES IN (1);
CREATE TABLE part_most PARTITION OF part FOR VALUES IN (2) PARTITION BY RANGE (id);
CREATE TABLE part_most_low PARTITION OF part_most FOR VALUES FROM (MINVALUE) TO (9000);
CREATE TABLE part_most_high PARTITION OF part_most FOR VALUES FROM (9000) TO (MAXVALUE);
CREATE TABLE part_some PARTITION OF part DEFAULT;
CREATE UNIQUE INDEX ON part (id, kind DESC);
INSERT INTO part SELECT i, CASE WHEN i = 77 THEN 1 WHEN i % 8 > 0 THEN 2 ELSE 3 END FROM generate_series(1, 12000) i;
SELECT analyzed, key, exact, pg_temp.cover('part', format('chunked.split(''part'', %s, %L, %L, alias => ''t'')', 7, exact, key), key, exact)
FROM (VALUES ('kind, id'), ('kind DESC, id DESC'), ('id, kind DESC'), ('id DESC, kind')) k (key), unnest('{t,f}'::bool[]) exact, (VALUES (false)) a (analyzed);
ANALYZE part;
SELECT analyzed, key, exact, pg_temp.cover('part', format('chunked.split(''part'', %s, %L, %L, alias => ''t'')', 7, exact, key), key, exact)
FROM (VALUES ('kind, id'), ('kind DESC, id DESC'), ('id, kind DESC'), ('id DESC, kind')) k (key), unnest('{t,f}'::bool[]) exact, (VALUES (true)) a (analyzed);
SELECT pg_temp.cover('part_most', 'chunked.split(''part_most'', 2, alias => ''t'')', exact => false);
-- even over all partitions, not in each
SELECT count(*), bool_and(abs(rows / 3000.0 - 1) < 0.2) AS even
FROM (SELECT (upto->>'id')::int - coalesce((after->>'id')::int, 0) AS rows FROM chunked.split('part', 4, key => 'id, kind DESC')) c;

--
-- Views, materialized views, an inheritance parent
--
CREATE VIEW seen AS SELECT id, name FROM event WHERE kind <> 3;
CREATE MATERIALIZED VIEW made AS SELECT id FROM event;
CREATE UNIQUE INDEX ON made (id);
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent);
INSERT INTO parent SELECT generate_series(1, 50);
INSERT INTO child SELECT generate_series(51, 80);
SELECT exact, pg_temp.cover('seen', format('chunked.split(''seen'', 6, %L, ''id'', alias => ''t'')', exact), 'id') FROM unnest('{t,f}'::bool[]) exact;
SELECT exact, pg_temp.cover('made', format('chunked.split(''made'', 6, %L, ''id'', alias => ''t'')', exact), 'id', exact) FROM unnest('{t,f}'::bool[]) exact;
SELECT exact, pg_temp.cover('parent', format('chunked.split(''parent'', 6, %L, ''id'', alias => ''t'')', exact), 'id', exact) FROM unnest('{t,f}'::bool[]) exact;

--
-- Nothing to split
--
CREATE TABLE nothing (id int PRIMARY KEY);
CREATE TABLE no_part (id int PRIMARY KEY) PARTITION BY RANGE (id);
SELECT relation, exact, (SELECT count(*) FROM chunked.split(relation, 3, exact)) AS parts, (SELECT count(*) FROM chunked.chunks(relation, 3, exact)) AS chunks
FROM unnest('{nothing,no_part}'::regclass[]) relation, unnest('{t,f}'::bool[]) exact;
INSERT INTO nothing VALUES (1);
SELECT * FROM chunked.split('nothing', 3);
DELETE FROM nothing;
SELECT * FROM chunked.split('nothing', 3);

--
-- chunks() by estimate
--
SELECT size, pg_temp.cover('event', format('chunked.chunks(''event'', %s, false, alias => ''t'')', size), exact => false) ~ '^12000 rows in \d+ chunks$' AS covered,
	(SELECT count(*) BETWEEN 12000 / size * 0.8 - 1 AND 12000 / size * 1.2 + 1 FROM chunked.chunks('event', size, false)) AS about
FROM unnest('{40,100,1000,5000,100000}'::int[]) size;
SELECT size, pg_temp.cover('few', format('chunked.chunks(''few'', %s, false, alias => ''t'')', size), exact => false) FROM unnest('{1,7,20,21}'::int[]) size;
SELECT key, pg_temp.cover('event', format('chunked.chunks(''event'', 1000, false, key => %L, alias => ''t'')', key), key, false) ~ '^12000 rows in \d+ chunks$' AS covered
FROM (VALUES ('id'), ('id DESC'), ('kind DESC, id'), ('n, id DESC'), ('n DESC, id'), ('name'), ('u DESC')) k (key);
SELECT after, upto, pg_temp.cover('event', format('chunked.chunks(''event'', 500, false, %L, %L, alias => ''t'')', after, upto), exact => false,
	within => format('id > %s AND id <= %s', coalesce(after->>'id', '0'), coalesce(upto->>'id', '100000'))) ~ ' rows in \d+ chunks$' AS covered
FROM (VALUES (NULL::jsonb, '{"id": 5000}'::jsonb), ('{"id": 5000}', NULL), ('{"id": 3000}', '{"id": 9000}'), ('{"id": 3000}', '{"id": 3001}'), ('{"id": -5}', '{"id": 90000}')) r (after, upto);
SELECT count(*), min(after::text), max(upto::text) FROM chunked.chunks('event', 500, false, '{"id": 3000}', '{"id": 9000}') WHERE number = 1 OR upto = '{"id": "9000"}';
SELECT count(*) FROM chunked.chunks('event', 500, false, '{"id": 12000}');
SELECT count(*) FROM chunked.chunks('event', 500, false, '{"id": 9}', '{"id": 9}');
SELECT count(*) FROM chunked.chunks('event', 500, false, '{"id": 9}', '{"id": 5}');
SELECT pg_temp.cover('event', 'chunked.chunks(''event'', 500, false, ''{"n": "3", "id": "100"}'', ''{"n": null, "id": "6006"}'', ''n, id DESC'', alias => ''t'')', 'n, id DESC', false,
	within => '(n = 3 AND id < 100) OR n > 3 OR (n IS NULL AND id >= 6006)') ~ ' rows in \d+ chunks$' AS covered;
SELECT pg_temp.cover('part', 'chunked.chunks(''part'', 900, false, ''{"id": 100, "kind": 2}'', ''{"id": 11000, "kind": 2}'', ''id, kind DESC'', alias => ''t'')', 'id, kind DESC', false,
	within => 'id > 100 AND id <= 11000') ~ ' rows in \d+ chunks$' AS covered;
-- counted all the same with a filter
SELECT pg_temp.cover('event', 'chunked.chunks(''event'', 500, false, filter => ''kind = 3'', alias => ''t'')', filter => 'kind = 3');

-- an alias qualifies the columns
SELECT predicate FROM chunked.split('few', 2, alias => 'E');
SELECT predicate FROM chunked.split('few', 2, key => 'kind', alias => '"E"') WHERE number = 1;

--
-- Errors
--
\set VERBOSITY default
SELECT call, split_part(pg_temp.failure('SELECT * FROM chunked.split(' || call || ')'), ' | ', 1) AS failure FROM (VALUES
	($$'few', 0$$), ($$'few', -1$$), ($$'few', NULL$$), ($$NULL, 3$$), ($$'few', 3, NULL$$), ($$0, 3$$),
	($$'few', 3, key => 'nope'$$), ($$'few', 3, key => ''$$), ($$'seen', 3$$), ($$'few', 3, alias => ''$$), ($$'few_pkey', 3$$),
	($$'few', 3, filter => 'id >'$$)) c (call);
SELECT call, pg_temp.state('SELECT * FROM chunked.split(' || call || ')') FROM (VALUES ($$'few', 3, filter => 'nope = 1'$$), ($$'no_such_table', 3$$), ($$'few', 3, filter => '1 / (id - 4) > 0'$$)) c (call);

SET client_min_messages = warning;
DROP SCHEMA split_test CASCADE;
