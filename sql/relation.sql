-- What can be walked, and what cannot.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/failure.sql
\i :srcdir/sql/include/walk.sql
\set ECHO all
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS relation_test CASCADE;
RESET client_min_messages;
CREATE SCHEMA relation_test;
SET search_path = relation_test;

--
-- Every kind that holds rows
--
CREATE TABLE plain (id int PRIMARY KEY, t text);
INSERT INTO plain SELECT i, 'row ' || i FROM generate_series(1, 7) i;
SELECT * FROM chunked.page(NULL::plain, 3);
SELECT * FROM chunked.page(NULL::plain, 3, after => '{"id": 3}');
SELECT pg_temp.walk('plain', 'id');

CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY);
INSERT INTO unlogged SELECT generate_series(1, 5);
SELECT pg_temp.walk('unlogged', 'id');

CREATE TEMP TABLE passing (id int PRIMARY KEY);
INSERT INTO passing SELECT generate_series(1, 5);
SELECT pg_temp.walk('passing', 'id');

CREATE TYPE shape AS (id int, t text);
CREATE TABLE typed OF shape (PRIMARY KEY (id));
INSERT INTO typed SELECT i, 'x' FROM generate_series(1, 5) i;
SELECT pg_temp.walk('typed', 'id');

-- partitions in partitions, and parts of the tree by themselves
CREATE TABLE tree (region text COLLATE "C", id int, t text, PRIMARY KEY (id, region)) PARTITION BY RANGE (id);
CREATE TABLE tree_low PARTITION OF tree FOR VALUES FROM (0) TO (10) PARTITION BY LIST (region);
CREATE TABLE tree_low_eu PARTITION OF tree_low FOR VALUES IN ('eu');
CREATE TABLE tree_low_other PARTITION OF tree_low DEFAULT;
CREATE TABLE tree_high (t text, gone int, region text COLLATE "C" NOT NULL, id int NOT NULL);
ALTER TABLE tree_high DROP COLUMN gone;
ALTER TABLE tree ATTACH PARTITION tree_high FOR VALUES FROM (10) TO (1000);
INSERT INTO tree SELECT r, i, r || i FROM generate_series(1, 20) i, unnest('{eu,us,asia}'::text[]) r;
SELECT pg_temp.walk('tree', 'id, region', size => 7);
SELECT pg_temp.walk('tree', 'region DESC, id', 'region DESC, id', size => 7);
SELECT pg_temp.walk('tree_low', 'id, region', size => 7);
SELECT pg_temp.walk('tree_low_eu', 'id, region', size => 7);
SELECT pg_temp.walk('tree_high', 'id, region', size => 7);
SELECT DISTINCT relation FROM chunked.chunks('tree', 7);
CREATE TABLE bare_tree (id int PRIMARY KEY) PARTITION BY RANGE (id);
SELECT pg_temp.walk('bare_tree', 'id');

-- a materialized view's columns are never NOT NULL: its unique index serves
CREATE MATERIALIZED VIEW mat AS SELECT id, t FROM plain;
SELECT pg_temp.failure($$SELECT * FROM chunked.page(NULL::mat)$$);
SELECT pg_temp.walk('mat', 'id', 'id');
CREATE UNIQUE INDEX ON mat (id);
SELECT pg_temp.walk('mat', 'id');
CREATE MATERIALIZED VIEW unfilled AS SELECT id FROM plain WITH NO DATA;
SELECT pg_temp.state($$SELECT * FROM chunked.page(NULL::unfilled, key => 'id')$$);

-- a view has no key of its own
CREATE VIEW look AS SELECT id, t FROM plain WHERE id <> 4;
SELECT pg_temp.failure($$SELECT * FROM chunked.page(NULL::look)$$);
SELECT pg_temp.failure($$SELECT * FROM chunked.chunks('look')$$);
SELECT pg_temp.walk('look', 'id', 'id');
SELECT pg_temp.walk('look', 't DESC, id', 't DESC, id');
CREATE RECURSIVE VIEW numbers (n) AS VALUES (1) UNION ALL SELECT n + 1 FROM numbers WHERE n < 10;
SELECT pg_temp.walk('numbers', 'n', 'n', 3);

-- the rows of inheriting tables are the parent's, too
CREATE TABLE parent (id int PRIMARY KEY, t text);
CREATE TABLE child (extra int) INHERITS (parent);
INSERT INTO parent SELECT i, 'p' FROM generate_series(1, 9, 2) i;
INSERT INTO child SELECT i, 'c', i FROM generate_series(2, 10, 2) i;
SELECT * FROM chunked.page(NULL::parent, 4);
SELECT pg_temp.walk('parent', 'id', size => 3);
SELECT pg_temp.walk('child', 'id', 'id');
-- which its primary key says nothing about
INSERT INTO child VALUES (3, 'again', 3);
SELECT pg_temp.failure($$SELECT * FROM chunked.page(NULL::parent, 3)$$);
SELECT pg_temp.walk('parent', 'id, t', 'id, t');

-- a foreign table, where the server has file_fdw
CREATE FUNCTION foreign_walk() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'file_fdw') THEN
		RETURN '5 rows in 3 chunks';
	END IF;
	SET LOCAL client_min_messages = warning;
	CREATE EXTENSION IF NOT EXISTS file_fdw SCHEMA relation_test;
	CREATE SERVER relation_test_files FOREIGN DATA WRAPPER file_fdw;
	CREATE FOREIGN TABLE remote (id int, t text) SERVER relation_test_files
		OPTIONS (program 'echo 3,c; echo 1,a; echo 5,e; echo 2,; echo 4,d', format 'csv', null '');
	RETURN pg_temp.walk('remote', 'id', 'id');
END
$$;
SELECT foreign_walk();

-- catalogs and their views
SELECT count(*) = (SELECT count(*) FROM pg_class) AS complete
FROM chunked.chunks('pg_class', 50) c, LATERAL (SELECT generate_series(1, c.row_count)) r;
SELECT oid::regclass FROM chunked.page(NULL::pg_class, 2, after => '{"oid": 1246}');
SELECT name FROM chunked.page(NULL::pg_settings, 1, key => 'name COLLATE "C"', filter => $$name = 'work_mem'$$);

--
-- Everything else
--
CREATE SEQUENCE counter;
CREATE INDEX plain_t ON plain (t);
CREATE TYPE mood AS ENUM ('glad');
CREATE DOMAIN shaped AS shape;
SELECT s AS statement, pg_temp.failure(s)
FROM (VALUES
	($$SELECT * FROM chunked.page(NULL::counter)$$),
	($$SELECT * FROM chunked.page(NULL::shape)$$),
	($$SELECT * FROM chunked.page(NULL::shaped)$$),
	($$SELECT * FROM chunked.page(NULL::chunked.chunk)$$),
	($$SELECT * FROM chunked.page(NULL::int)$$),
	($$SELECT * FROM chunked.page(NULL::mood)$$),
	($$SELECT * FROM chunked.page(NULL::plain[])$$),
	($$SELECT * FROM chunked.page(NULL::text)$$),
	($$SELECT * FROM chunked.page('plain')$$),
	($$SELECT * FROM chunked.page('plain', 10, '{"id": 1}')$$),
	($$SELECT * FROM chunked.page(NULL)$$),
	($$SELECT chunked.position_of(NULL::shape)$$),
	($$SELECT chunked.position_of(ROW(1, 'x')::shape)$$),
	($$SELECT chunked.position_of(1)$$),
	($$SELECT chunked.position_of(id) FROM plain$$),
	($$SELECT chunked.position_of(p) FROM (SELECT * FROM plain) p$$),
	($$SELECT * FROM chunked.page('plain'::regclass)$$),
	($$SELECT * FROM chunked.paginate('plain', 1)$$),
	($$SELECT * FROM chunked.paginate(NULL, 1, 10)$$),
	($$SELECT * FROM chunked.bounds('counter')$$),
	($$SELECT * FROM chunked.bounds('plain_t')$$),
	($$SELECT * FROM chunked.bounds('shape')$$),
	($$SELECT * FROM chunked.bounds('plain_pkey')$$),
	($$SELECT * FROM chunked.bounds('tree_pkey')$$),
	($$SELECT * FROM chunked.bounds(NULL)$$),
	($$SELECT * FROM chunked.chunks(NULL)$$),
	($$SELECT * FROM chunked.next_chunk(NULL)$$),
	($$SELECT * FROM chunked.chunks('counter')$$),
	($$SELECT * FROM chunked.next_chunk('plain_t')$$),
	($$SELECT * FROM chunked.chunks(4294967295::oid)$$),
	($$SELECT * FROM chunked.bounds('-')$$)) v(s);

-- the server's words
SELECT s AS statement, pg_temp.state(s)
FROM (VALUES
	($$SELECT chunked.page(NULL::record)$$),
	($$SELECT chunked.position_of(ROW(1, 2))$$),
	($$SELECT chunked.position_of(NULL)$$),
	($$SELECT * FROM chunked.page(NULL::nonesuch)$$),
	($$SELECT * FROM chunked.chunks('nonesuch')$$)) v(s);

-- a toast table's name is different each time
SELECT pg_temp.state(format('SELECT * FROM chunked.chunks(%s::regclass)', reltoastrelid))
FROM pg_class WHERE oid = 'plain'::regclass;

--
-- Sizes
--
SELECT s AS statement, pg_temp.failure(s)
FROM (VALUES
	($$SELECT * FROM chunked.page(NULL::plain, 0)$$),
	($$SELECT * FROM chunked.page(NULL::plain, -1)$$),
	($$SELECT * FROM chunked.page(NULL::plain, NULL)$$),
	($$SELECT * FROM chunked.chunks('plain', 0)$$),
	($$SELECT * FROM chunked.chunks('plain', -9223372036854775808)$$),
	($$SELECT * FROM chunked.chunks('plain', NULL)$$),
	($$SELECT * FROM chunked.next_chunk('plain', 0)$$),
	($$SELECT * FROM chunked.chunks('plain', scan_limit => 0)$$),
	($$SELECT * FROM chunked.chunks('plain', alias => '')$$),
	($$SELECT * FROM chunked.chunks('plain', alias => 'a.b')$$),
	($$SELECT * FROM chunked.chunks('plain', alias => 'a b; c')$$)) v(s);
SELECT count(*) FROM chunked.page(NULL::plain, 2147483647);
SELECT count(*) FROM chunked.chunks('plain', 9223372036854775807);

-- the only lock is a reader's
BEGIN;
SELECT count(*) FROM chunked.page(NULL::plain, 2), chunked.chunks('plain') c, chunked.bounds('plain') b;
SELECT DISTINCT mode FROM pg_locks
WHERE pid = pg_backend_pid() AND locktype = 'relation' AND
	relation IN ('plain'::regclass, 'plain_pkey'::regclass);
COMMIT;

SET client_min_messages = warning;
DROP SCHEMA relation_test CASCADE;
