-- What the planner learns, what it does, and the warning when no index serves.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/failure.sql
\set ECHO all
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS planner_test CASCADE;
RESET client_min_messages;
CREATE SCHEMA planner_test;
SET search_path = planner_test;
CREATE TABLE big (id int PRIMARY KEY, kind int NOT NULL, n int, t text COLLATE "C");
INSERT INTO big SELECT i, i % 100, NULLIF(i % 7, 0), i % 1000 FROM generate_series(1, 20000) i;
CREATE TABLE small (id int PRIMARY KEY, kind int NOT NULL);
INSERT INTO small SELECT i, i % 10 FROM generate_series(1, 50) i;
ANALYZE big, small;

--
-- How many rows are expected
--
CREATE FUNCTION expected(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	plan json;
BEGIN
	EXECUTE 'EXPLAIN (FORMAT JSON) ' || query INTO plan;
	RETURN plan -> 0 -> 'Plan' ->> 'Plan Rows';
END
$$;
SELECT q AS query, expected(q) FROM (VALUES
	($$SELECT * FROM chunked.page(NULL::big)$$),
	($$SELECT * FROM chunked.page(NULL::big, 10)$$),
	($$SELECT * FROM chunked.page(NULL::big, 5 + 5, after => '{"id": 5}')$$),
	($$SELECT * FROM chunked.page(NULL::big, 1000000)$$),
	($$SELECT * FROM chunked.page(NULL::small)$$),
	($$SELECT * FROM chunked.page(NULL::small, 10)$$),
	($$SELECT * FROM chunked.page(NULL::big, page_size => (SELECT 5))$$),
	($$SELECT * FROM chunked.page(NULL::big, NULL)$$),
	($$SELECT chunked.page(NULL::big, 10)$$),
	($$SELECT * FROM chunked.chunks('big')$$),
	($$SELECT * FROM chunked.chunks('big', 100)$$),
	($$SELECT * FROM chunked.chunks('big', 1000000)$$),
	($$SELECT * FROM chunked.chunks('small', 10)$$),
	($$SELECT * FROM chunked.next_chunk('big', 100)$$),
	($$SELECT * FROM chunked.chunks((SELECT 'big'::regclass))$$),
	($$SELECT * FROM chunked.chunks(4294967295::oid)$$)) v(q);
-- as an argument of a prepared statement, in its custom and its generic plan
PREPARE p (int) AS SELECT * FROM chunked.page(NULL::big, $1);
SET plan_cache_mode = force_custom_plan;
SELECT expected('EXECUTE p (7)');
SET plan_cache_mode = force_generic_plan;
SELECT expected('EXECUTE p (7)');
RESET plan_cache_mode;
-- so that a join with a page looks its rows up
CREATE FUNCTION nodes(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	line text;
	found text := '';
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		found := concat_ws(', ', NULLIF(found, ''), substring(line FROM '(?:Nested Loop|Hash Join|Merge Join|Seq Scan)'));
	END LOOP;
	RETURN found;
END
$$;
SELECT nodes('SELECT * FROM chunked.page(NULL::big, 5) p JOIN big b ON b.id = p.kind');

--
-- The warning: once a statement, with the index to create
--
SELECT count(*) FROM chunked.page(NULL::big, 10, key => 'kind');
SELECT count(*) FROM chunked.page(NULL::big, 10, key => 'kind DESC, t');
SELECT count(*) FROM chunked.page(NULL::big, 10, key => 'n');
SELECT count(*) FROM chunked.page(NULL::big, 10, key => 'n NULLS FIRST, kind DESC NULLS LAST');
SELECT count(*) FROM chunked.page(NULL::big, 10, key => 'n DESC, id DESC');
SELECT count(*) FROM chunked.page(NULL::big, 10, key => 'n DESC NULLS LAST');
SELECT count(*) FROM chunked.page(NULL::big, 10, key => 't COLLATE "POSIX"');
SELECT count(*) FROM chunked.page(NULL::big, 10, key => 't text_pattern_ops');
SELECT count(*) FROM chunked.page(NULL::big, 10, before => '{"kind": 5, "id": 1}', key => 'kind');
SELECT count(*) FROM chunked.chunks('big', 10000, key => 'kind');
SELECT count(*) FROM chunked.next_chunk('big', 10000, key => 'kind');
SELECT first FROM chunked.bounds('big', 'kind');
SELECT count(*) FROM (SELECT chunked.chunks('big', 10000, key => 'kind')) c;
SELECT count(*) FROM small s, LATERAL chunked.page(NULL::big, 1, after => jsonb_build_object('kind', s.kind, 'id', 0), key => 'kind') WHERE s.id < 5;
SELECT count(chunked.bounds('big', 'kind', 'id > ' || id)) FROM small WHERE id < 5;
-- a second statement gets the warning again, also within one function
DO $$
BEGIN
	FOR i IN 1 .. 2 LOOP
		EXECUTE $q$SELECT * FROM chunked.page(NULL::big, 10, key => 'kind')$q$;
	END LOOP;
END
$$;
-- the statement in the hint is one that serves
CREATE INDEX CONCURRENTLY ON planner_test.big (kind, id);
CREATE INDEX CONCURRENTLY ON planner_test.big (n NULLS FIRST, kind DESC, id);
CREATE INDEX CONCURRENTLY ON planner_test.big (t pg_catalog.text_pattern_ops, id);
CREATE INDEX CONCURRENTLY ON planner_test.big (t COLLATE pg_catalog."POSIX", id);
SELECT count(*) FROM chunked.page(NULL::big, 10, key => 'kind');
SELECT count(*) FROM chunked.page(NULL::big, 10, key => 'kind DESC, id DESC');
SELECT count(*) FROM chunked.page(NULL::big, 10, key => 'n NULLS FIRST, kind DESC NULLS LAST');
SELECT count(*) FROM chunked.page(NULL::big, 10, key => 'n DESC NULLS LAST, kind, id DESC');
SELECT count(*) FROM chunked.page(NULL::big, 10, key => 't text_pattern_ops');
SELECT count(*) FROM chunked.page(NULL::big, 10, key => 't COLLATE "POSIX"');
SELECT count(*) FROM chunked.chunks('big', 10000, key => 'kind');
-- not by an index of another order, of fewer columns, of some rows, or of another kind
CREATE INDEX ON big (n);
CREATE INDEX ON big (n, id DESC);
CREATE INDEX ON big (n, id) WHERE id > 5;
CREATE INDEX ON big USING hash (n);
SELECT count(*) FROM chunked.page(NULL::big, 10, key => 'n');
-- but by a partial one that the filter implies
SELECT count(*) FROM chunked.page(NULL::big, 10, key => 'n', filter => 'id > 5');
-- none for the default key, a small table, a view, or what cannot have an index
SELECT count(*) FROM chunked.page(NULL::big, 10);
SELECT count(*) FROM chunked.page(NULL::big, 10, key => 'id DESC');
SELECT count(*) FROM chunked.page(NULL::big, 10, key => 'id, n DESC');
SELECT count(*) FROM chunked.page(NULL::small, 10, key => 'kind');
CREATE VIEW look AS SELECT * FROM big;
SELECT count(*) FROM chunked.page(NULL::look, 10, key => 'n, id');
-- position_of() reads nothing, and warns of nothing
SELECT chunked.position_of(b, 'n') FROM big b WHERE id = 1;
-- names are quoted
CREATE TABLE "Big ""Table" ("Kind of" int, id int PRIMARY KEY);
INSERT INTO "Big ""Table" SELECT i, i FROM generate_series(1, 12000) i;
ANALYZE "Big ""Table";
SELECT count(*) FROM chunked.page(NULL::"Big ""Table", 10, key => '"Kind of" DESC');
-- a partitioned table's index is not made concurrently
CREATE TABLE parts (id int, kind int, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (8000);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (8000) TO (20000);
INSERT INTO parts SELECT i, i % 10 FROM generate_series(1, 16000) i;
ANALYZE parts;
SELECT count(*) FROM chunked.page(NULL::parts, 10, key => 'kind DESC');
SELECT count(*) FROM chunked.page(NULL::parts_1, 10, key => 'kind DESC');
CREATE INDEX ON planner_test.parts (kind DESC, id);
SELECT count(*) FROM chunked.page(NULL::parts, 10, key => 'kind DESC');
-- a materialized view may have an index, and a temporary table
CREATE MATERIALIZED VIEW mat AS SELECT * FROM big;
ANALYZE mat;
SELECT count(*) FROM chunked.page(NULL::mat, 10, key => 'id');
CREATE UNIQUE INDEX ON mat (id);
SELECT count(*) FROM chunked.page(NULL::mat, 10, key => 'id');

--
-- A page reads a page: by the index whatever statistics say, wherever it starts
--
CREATE TABLE lying (id int PRIMARY KEY, a int NOT NULL, b int);
-- rows and index entries that a query reads
CREATE FUNCTION counted() RETURNS bigint LANGUAGE sql AS $$
	SELECT sum(pg_stat_get_xact_tuples_returned(r))
	FROM (SELECT 'lying'::regclass::oid UNION ALL SELECT indexrelid FROM pg_index WHERE indrelid = 'lying'::regclass) r (r)
$$;
CREATE FUNCTION read(query text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	before bigint := counted();
BEGIN
	EXECUTE query;
	RETURN counted() - before;
END
$$;
ALTER TABLE lying SET (autovacuum_enabled = off);
-- and costs that favour a sequential scan and a sort
SET random_page_cost = 1000000;
SET cpu_index_tuple_cost = 1000000;
-- statistics of an empty table, then 20,000 rows
ANALYZE lying;
SELECT count(*) FROM chunked.page(NULL::lying, 10, key => 'a DESC, b');
CREATE INDEX ON lying (a DESC, b, id);
INSERT INTO lying SELECT i, i % 3, NULLIF(i % 5000, 0) FROM generate_series(1, 20000) i;
SELECT count(*), sum(rows) FROM (SELECT row_count FROM chunked.chunks('lying', 5000)) c (rows);
SELECT read('SELECT * FROM lying') AS all;
SELECT q AS query, read(q) <= 40 AS a_page FROM (VALUES
	($$SELECT * FROM chunked.page(NULL::lying, 10)$$),
	($$SELECT * FROM chunked.page(NULL::lying, 10, after => '{"id": 10000}')$$),
	($$SELECT * FROM chunked.page(NULL::lying, 10, after => '{"id": 10000}', upto => '{"id": 15000}')$$),
	($$SELECT * FROM chunked.page(NULL::lying, 10, before => '{"id": 10000}')$$),
	($$SELECT * FROM chunked.page(NULL::lying, 10, key => 'id DESC', after => '{"id": 10000}')$$),
	($$SELECT * FROM chunked.page(NULL::lying, 10, key => 'a DESC, b')$$),
	($$SELECT * FROM chunked.page(NULL::lying, 10, after => '{"a": 1, "b": null, "id": 5000}', key => 'a DESC, b')$$),
	($$SELECT * FROM chunked.page(NULL::lying, 10, after => '{"a": 1, "b": 2500, "id": 5000}', key => 'a DESC, b')$$),
	($$SELECT * FROM chunked.page(NULL::lying, 10, before => '{"a": 1, "b": null, "id": 5000}', key => 'a DESC, b')$$),
	($$SELECT * FROM chunked.page(NULL::lying, 10, before => '{"a": 1, "b": 2500, "id": 5000}', key => 'a, b DESC, id DESC')$$),
	($$SELECT * FROM chunked.bounds('lying')$$),
	($$SELECT * FROM chunked.bounds('lying', 'a DESC, b')$$),
	($$SELECT * FROM chunked.next_chunk('lying', 10, after => '{"id": 10000}')$$),
	($$SELECT * FROM chunked.next_chunk('lying', 10, after => '{"a": 1, "b": 2500, "id": 5000}', key => 'a DESC, b')$$),
	($$SELECT chunked.chunks('lying', 10) LIMIT 1$$)) v(q);
SET enable_indexscan = off;
SET enable_indexonlyscan = off;
DISCARD PLANS;
SELECT read($$SELECT * FROM chunked.page(NULL::lying, 10, after => '{"id": 10000}')$$) <= 40 AS a_page,
	read($$SELECT * FROM chunked.page(NULL::lying, 10, key => 'a DESC, b')$$) <= 40 AS a_page;
-- the caller's settings are the caller's again
SELECT name, setting FROM pg_settings WHERE name IN ('enable_seqscan', 'enable_sort', 'enable_bitmapscan', 'enable_indexscan', 'enable_indexonlyscan', 'enable_incremental_sort') ORDER BY name COLLATE "C";
RESET enable_indexscan;
RESET enable_indexonlyscan;
RESET random_page_cost;
RESET cpu_index_tuple_cost;

SET client_min_messages = warning;
DROP SCHEMA planner_test CASCADE;
