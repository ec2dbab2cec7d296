-- key => 'ctid': chunks by block ranges.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/failure.sql
\i :srcdir/sql/include/cover.sql
\set ECHO all
\set VERBOSITY sqlstate
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS physical_test CASCADE;
RESET client_min_messages;
CREATE SCHEMA physical_test;
SET search_path = physical_test;
-- a table that has no other key
CREATE TABLE log (id int, kind int, line text);
INSERT INTO log SELECT i, i % 10, 'line ' || i FROM generate_series(1, 5000) i;
VACUUM ANALYZE log;
CREATE FUNCTION blocks(relation regclass) RETURNS bigint LANGUAGE sql AS $$SELECT pg_relation_size(relation) / current_setting('block_size')::int$$;

SELECT number, relation, after, upto, predicate FROM chunked.split('log', 2, key => 'ctid') WHERE number = 1;
SELECT number, relation, after = c.first_upto AS follows, predicate LIKE 'l.ctid OPERATOR(pg_catalog.>) ''(%,65535)''::pg_catalog.tid AND l.ctid OPERATOR(pg_catalog.<=) ''(%,65535)''::pg_catalog.tid' AS predicate
FROM (SELECT *, first_value(upto) OVER (ORDER BY number) AS first_upto FROM chunked.split('log', 2, key => 'CTID', alias => 'l')) c WHERE number = 2;
-- chunks hold what was asked for, about
SELECT size, exact, pg_temp.cover('log', format('chunked.chunks(''log'', %s, %L, key => ''ctid'', alias => ''t'')', size, exact), 'ctid', exact => exact) ~ '^5000 rows' AS covered,
	(SELECT count(*) BETWEEN 5000 / size AND 5000 / size + 2 AND bool_and(row_count BETWEEN 0.5 * size AND 1.5 * size OR row_count > 4500) FROM chunked.chunks('log', size, exact, key => 'ctid')) AS about
FROM unnest('{500,1000,2500,100000}'::int[]) size, unnest('{t,f}'::bool[]) exact;
-- one chunk a block at most
SELECT count(*) = blocks('log') AS a_chunk_each, sum(row_count) FROM chunked.chunks('log', 1, key => 'ctid');
SELECT parts, exact, pg_temp.cover('log', format('chunked.split(''log'', %s, %L, key => ''ctid'', alias => ''t'')', parts, exact), 'ctid', exact => exact) ~ format('^5000 rows in %s chunks', least(parts, blocks('log'))) AS covered
FROM unnest('{1,2,7,1000}'::int[]) parts, unnest('{t,f}'::bool[]) exact;
-- counts are counts, estimates are estimates
SELECT sum(row_count), bool_and(row_count > 0) FROM chunked.split('log', 5, true, 'ctid');
SELECT sum(row_count) BETWEEN 4900 AND 5100 AS about FROM chunked.split('log', 5, false, 'ctid');

-- each is read by a TID range scan
CREATE FUNCTION plan(statement text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE 'EXPLAIN (COSTS OFF) ' || statement;
END
$$;
SELECT bool_and(plan ~ 'Tid Range Scan on log') AS by_range FROM chunked.split('log', 3, key => 'ctid') c, LATERAL (SELECT plan('SELECT * FROM log WHERE ' || c.predicate) LIMIT 1) p (plan);

-- from and up to positions: the ends of blocks
SELECT pg_temp.cover('log', 'chunked.chunks(''log'', 500, after => ''{"ctid": "(3,65535)"}'', upto => ''{"ctid": "(9,65535)"}'', key => ''ctid'', alias => ''t'')', 'ctid',
	within => $$t.ctid > '(3,65535)' AND t.ctid <= '(9,65535)'$$) ~ ' rows in \d chunks' AS covered;
SELECT after, upto FROM chunked.chunks('log', 100000, after => '{"ctid": "(3,65535)"}', upto => '{"ctid": "(9,65535)"}', key => 'ctid');
SELECT after, upto FROM chunked.chunks('log', 100000, upto => '{"ctid": "(9,65535)"}', key => 'ctid');
SELECT after, upto FROM chunked.chunks('log', 100000, after => '{}', upto => '{"ctid": "(9,65535)"}', key => 'ctid');
SELECT after, upto = format('{"ctid": "(%s,65535)"}', blocks('log') - 1)::jsonb AS to_the_end FROM chunked.chunks('log', 100000, after => '{"ctid": "(9,65535)"}', upto => '{}', key => 'ctid');
SELECT after, upto = format('{"ctid": "(%s,65535)"}', blocks('log') - 1)::jsonb AS to_the_end FROM chunked.chunks('log', 100000, after => '{"ctid": "(9,65535)"}', upto => '{"ctid": "(100000,65535)"}', key => 'ctid');
SELECT count(*) FROM chunked.chunks('log', after => '{"ctid": "(9,65535)"}', upto => '{"ctid": "(9,65535)"}', key => 'ctid');
SELECT count(*) FROM chunked.chunks('log', after => '{"ctid": "(9,65535)"}', upto => '{"ctid": "(3,65535)"}', key => 'ctid');
SELECT count(*) FROM chunked.chunks('log', after => '{"ctid": "(100000,65535)"}', key => 'ctid');
-- step by step
SELECT number, after, upto IS NOT NULL AS more FROM chunked.next_chunk('log', 300, after => '{"ctid": "(3,65535)"}', key => 'ctid');
CREATE FUNCTION steps(size int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	place jsonb;
	c chunked.chunk;
	rows bigint := 0;
BEGIN
	LOOP
		SELECT * INTO c FROM chunked.next_chunk('log', size, place, key => 'ctid');
		EXIT WHEN NOT FOUND;
		rows := rows + c.row_count;
		place := c.upto;
	END LOOP;
	RETURN rows;
END
$$;
SELECT steps(1), steps(700), steps(100000);

-- a filter counts what matches
SELECT pg_temp.cover('log', 'chunked.split(''log'', 4, key => ''ctid'', filter => ''kind = 3'', alias => ''t'')', 'ctid', filter => 'kind = 3') ~ '^500 rows in 4 chunks' AS covered;
SELECT sum(row_count) FROM chunked.chunks('log', 900, false, key => 'ctid', filter => 'kind = 3 OR id < 3 -- or so');

-- deleted, updated and uncommitted rows
BEGIN;
DELETE FROM log WHERE id BETWEEN 1000 AND 3000;
UPDATE log SET line = line || '!' WHERE id % 2 = 0;
INSERT INTO log SELECT i, 0, repeat('new', 100) FROM generate_series(5001, 6000) i;
SELECT pg_temp.cover('log', 'chunked.split(''log'', 7, true, ''ctid'', alias => ''t'')', 'ctid') ~ '^3999 rows in 7 chunks' AS covered;
SELECT pg_temp.cover('log', 'chunked.chunks(''log'', 100, false, key => ''ctid'', alias => ''t'')', 'ctid', exact => false) ~ '^3999 rows' AS covered;
ROLLBACK;

--
-- Long values out of line: parts are even by all the bytes, not by the heap's alone
--
CREATE TABLE attached (id int, body text) PARTITION BY RANGE (id);
CREATE TABLE attached_short PARTITION OF attached FOR VALUES FROM (0) TO (1000);
CREATE TABLE attached_long PARTITION OF attached FOR VALUES FROM (1000) TO (MAXVALUE);
ALTER TABLE attached_long ALTER body SET STORAGE EXTERNAL;
INSERT INTO attached SELECT i, 'short' FROM generate_series(1, 999) i;
INSERT INTO attached SELECT i, repeat('x', 8000) FROM generate_series(1000, 1999) i;
VACUUM ANALYZE attached;
SELECT relation, count(*) > 1 AS in_several FROM chunked.split('attached', 4, key => 'ctid') GROUP BY relation ORDER BY relation;
SELECT pg_temp.cover('attached', 'chunked.split(''attached'', 4, true, ''ctid'', alias => ''t'')', 'ctid') ~ '^1999 rows in 4 chunks' AS covered;

--
-- Partitions: each by its own name
--
CREATE TABLE part (id int, kind int) PARTITION BY LIST (kind);
CREATE TABLE part_none PARTITION OF part FOR VALUES IN (0);
CREATE TABLE part_one PARTITION OF part FOR VALUES IN (1);
CREATE TABLE part_some PARTITION OF part FOR VALUES IN (2, 3) PARTITION BY RANGE (id);
CREATE TABLE part_low PARTITION OF part_some FOR VALUES FROM (MINVALUE) TO (500);
CREATE TABLE part_high PARTITION OF part_some FOR VALUES FROM (500) TO (MAXVALUE);
INSERT INTO part SELECT i, CASE WHEN i = 9 THEN 1 ELSE 2 + i % 2 END FROM generate_series(1, 9000) i;
SELECT pg_temp.cover('part', 'chunked.chunks(''part'', 1000, key => ''ctid'', alias => ''t'')', 'ctid') ~ '^9000 rows' AS never_analyzed;
VACUUM ANALYZE part;
SELECT relation, count(*) > 1 AS in_several, sum(row_count) FROM chunked.chunks('part', 1000, key => 'ctid') GROUP BY relation ORDER BY relation;
SELECT count(DISTINCT relation), sum(row_count) FROM chunked.chunks('part', 1000, after => '{}', upto => '{}', key => 'ctid');
SELECT count(*), pg_temp.cover('part', 'chunked.split(''part'', 12, true, ''ctid'', alias => ''t'')', 'ctid') ~ '^9000 rows in 12 chunks' AS covered FROM chunked.split('part', 12, key => 'ctid');
SELECT relation, row_count FROM chunked.split('part', 1, true, 'ctid') ORDER BY relation;
SELECT relation, sum(row_count) FROM chunked.split('part_some', 3, true, 'ctid') GROUP BY relation ORDER BY relation;
SELECT pg_temp.cover('part', 'chunked.chunks(''part'', 1000, false, key => ''ctid'', alias => ''t'')', 'ctid', exact => false) ~ '^9000 rows' AS covered;
-- as many parts as asked for, where one partition has most of the bytes and few blocks
CREATE TABLE uneven (id int, body text) PARTITION BY LIST (id);
CREATE TABLE uneven_1 PARTITION OF uneven FOR VALUES IN (1);
CREATE TABLE uneven_2 PARTITION OF uneven FOR VALUES IN (2);
CREATE TABLE uneven_3 PARTITION OF uneven FOR VALUES IN (3);
ALTER TABLE uneven_1 ALTER body SET STORAGE EXTERNAL;
INSERT INTO uneven SELECT 1, repeat('x', 30000) FROM generate_series(1, 20);
INSERT INTO uneven SELECT 2, repeat('x', 500) FROM generate_series(1, 200);
INSERT INTO uneven VALUES (3, 'x');
VACUUM ANALYZE uneven;
SELECT parts, count(*) FROM unnest('{1,3,4,7,10,16,17}'::int[]) parts, LATERAL chunked.split('uneven', parts, key => 'ctid') GROUP BY parts ORDER BY parts;
CREATE TABLE parent (id int);
CREATE TABLE child () INHERITS (parent);
INSERT INTO parent SELECT generate_series(1, 5);
INSERT INTO child SELECT generate_series(6, 9);
SELECT relation, row_count FROM chunked.split('parent', 2, true, 'ctid') ORDER BY relation;
-- a parent's chunks are its own rows', not its children's
CREATE TABLE "Grand child" () INHERITS (child);
INSERT INTO parent SELECT i FROM generate_series(10, 2000) i;
INSERT INTO child SELECT i FROM generate_series(2001, 5000) i;
INSERT INTO "Grand child" SELECT i FROM generate_series(5001, 9000) i;
VACUUM ANALYZE parent, child, "Grand child";
SELECT relation, predicate FROM chunked.split('parent', 3, key => 'ctid', alias => 'p') WHERE after IS NULL ORDER BY number;
SELECT call, pg_temp.cover('parent', 'chunked.' || call, 'ctid', exact => call ~ 'true') ~ '^9000 rows' AS covered
FROM unnest(ARRAY[$$split('parent', 9, true, 'ctid', alias => 't')$$, $$split('parent', 3, key => 'ctid', alias => 't')$$, $$chunks('parent', 700, true, key => 'ctid', alias => 't')$$, $$chunks('parent', 700, false, key => 'ctid', alias => 't')$$]) call;
SELECT relation, sum(row_count) FROM chunked.chunks('child', 700, true, key => 'ctid', filter => 'id % 2 = 0') GROUP BY relation ORDER BY relation;
SELECT bool_or(plan ~ 'Tid Range Scan on child') AS by_range FROM chunked.split('child', 3, key => 'ctid') c, LATERAL plan('SELECT * FROM child WHERE ' || c.predicate) p (plan);

--
-- Nothing
--
CREATE TABLE nothing (id int);
SELECT count(*) FROM chunked.split('nothing', 3, key => 'ctid');
SELECT count(*) FROM chunked.chunks('nothing', 3, key => 'ctid');
SELECT count(*) FROM chunked.chunks('part_none', 3, key => 'ctid');
CREATE TABLE no_part (id int) PARTITION BY RANGE (id);
SELECT count(*) FROM chunked.split('no_part', 3, key => 'ctid');
CREATE MATERIALIZED VIEW made AS SELECT id FROM log;
SELECT pg_temp.cover('made', 'chunked.split(''made'', 3, true, ''ctid'', alias => ''t'')', 'ctid') ~ '^5000 rows in 3 chunks' AS covered;

--
-- Errors
--
CREATE VIEW seen AS SELECT * FROM log;
CREATE FOREIGN DATA WRAPPER physical_test;
CREATE SERVER physical_test FOREIGN DATA WRAPPER physical_test;
CREATE FOREIGN TABLE afar (id int) SERVER physical_test;
CREATE TABLE mixed (id int) PARTITION BY RANGE (id);
CREATE TABLE mixed_near PARTITION OF mixed FOR VALUES FROM (0) TO (10);
CREATE FOREIGN TABLE mixed_afar PARTITION OF mixed FOR VALUES FROM (10) TO (20) SERVER physical_test;
\set VERBOSITY default
SELECT call, split_part(pg_temp.failure('SELECT * FROM chunked.' || call), ' | ', 1) AS failure FROM unnest(ARRAY[
	$$split('seen', 3, key => 'ctid')$$, $$split('afar', 3, key => 'ctid')$$, $$split('mixed', 3, key => 'ctid')$$, $$chunks('seen', key => 'ctid')$$,
	$$chunks('log', key => 'ctid', scan_limit => 5)$$, $$chunks('log', key => 'ctid DESC')$$, $$chunks('log', key => 'id, ctid')$$,
	$$chunks('part', key => 'ctid', after => '{"ctid": "(3,65535)"}')$$, $$chunks('part', key => 'ctid', upto => '{"ctid": "(3,65535)"}')$$,
	$$chunks('log', key => 'ctid', after => '{"ctid": "(3,7)"}')$$, $$chunks('log', key => 'ctid', upto => '{"ctid": "(3,7)"}')$$,
	$$chunks('log', key => 'ctid', after => '{"id": "3"}')$$, $$chunks('log', key => 'ctid', after => '{"ctid": null}')$$, $$chunks('log', key => 'ctid', after => '{"ctid": 3}')$$,
	$$chunks('log', key => 'ctid', after => '[]')$$, $$chunks('log', key => 'ctid', after => '{"ctid": "(3,65535)", "id": "1"}')$$,
	$$chunks('log', key => 'ctid', filter => 'id =')$$, $$chunks('log', key => 'ctid', filter => 'true) OR (true')$$, $$chunks('log', 0, key => 'ctid')$$,
	$$row_count('log', key => 'ctid')$$, $$seek('log', 1, key => 'ctid')$$, $$paginator('log', key => 'ctid')$$, $$page(NULL::log, key => 'ctid')$$, $$paginate(NULL::log, 1, key => 'ctid')$$, $$bounds('log', 'ctid')$$]) call;
SELECT pg_temp.state($$SELECT * FROM chunked.chunks('log', key => 'ctid', after => '{"ctid": "somewhere"}')$$), pg_temp.state($$SELECT * FROM chunked.split('log', 3, key => 'ctid', filter => 'nope')$$);

-- a parent that has few rows itself is not as dense as all of its tree
CREATE TABLE few_here (id int, v text);
CREATE TABLE many_below () INHERITS (few_here);
INSERT INTO few_here SELECT i, repeat('x', 50) FROM generate_series(1, 2000) i;
INSERT INTO many_below SELECT i, repeat('x', 50) FROM generate_series(1, 40000) i;
ANALYZE few_here, many_below;
SELECT relation, count(*) BETWEEN 1 AND 3 AS few, sum(row_count) BETWEEN 1900 AND 2100 AS about FROM chunked.chunks('few_here', 1000, exact => false, key => 'ctid') WHERE relation = 'few_here'::regclass GROUP BY 1;
SELECT count(*) BETWEEN 1 AND 3 AS few, sum(row_count) FROM chunked.chunks('few_here', 1000, key => 'ctid') WHERE relation = 'few_here'::regclass;

SET client_min_messages = warning;
DROP SCHEMA physical_test CASCADE;
DROP FOREIGN DATA WRAPPER physical_test CASCADE;
