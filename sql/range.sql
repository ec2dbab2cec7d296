-- Ranges: chunk predicates are right in any session, whatever the key.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/failure.sql
\i :srcdir/sql/include/walk.sql
\set ECHO all
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS range_test CASCADE;
RESET client_min_messages;
CREATE SCHEMA range_test;
SET search_path = range_test;
SET TimeZone = 'UTC';

--
-- As they read
--
CREATE TABLE event (id bigint PRIMARY KEY, at timestamptz NOT NULL, kind text COLLATE "C", "Weird "" Name" int);
INSERT INTO event SELECT i, '2020-01-01 00:00:00+00'::timestamptz + i * interval '1 s', NULLIF(i % 3, 0), -i FROM generate_series(1, 9) i;
SELECT number, after, upto, row_count, predicate FROM chunked.chunks('event', 4);
SELECT predicate FROM chunked.chunks('event', 4, key => 'at, id');
SELECT predicate FROM chunked.chunks('event', 4, key => 'at DESC, id', alias => 'e');
SELECT predicate FROM chunked.chunks('event', 4, key => 'kind');
SELECT predicate FROM chunked.chunks('event', 4, key => '"Weird "" Name"', alias => '"E x"');

--
-- A predicate is all of a chunk and nothing else: for a nullable column in all
-- four orders, for chunks that begin or end within its NULLs, and with the
-- NULLs of a second and a third column in every direction beside it
--
CREATE TABLE nulls (id int PRIMARY KEY, a int, b int, c int NOT NULL);
INSERT INTO nulls SELECT i, NULLIF(i % 4, 0), NULLIF(i / 4 % 3, 0), i % 2 FROM generate_series(1, 36) i;
CREATE TABLE ways AS
SELECT d || n AS way FROM unnest('{"",DESC}'::text[]) d, unnest('{" NULLS FIRST"," NULLS LAST"}'::text[]) n;
SELECT w.way, size, pg_temp.walk('nulls', format('a %s, id', way), 'a ' || way, size)
FROM ways w, unnest('{1,2,5,9,36}'::int[]) size ORDER BY way, size;
SELECT result, count(*) FROM (
	SELECT pg_temp.walk('nulls', format('a %s, b %s, c %s, id', v.way, w.way, d),
						format('a %s, b %s, c %s', v.way, w.way, d), 4)
	FROM ways v, ways w, unnest('{ASC,DESC}'::text[]) d) r (result) GROUP BY 1;
-- an index in the one order or the other may serve, and must not change it
CREATE INDEX ON nulls (a DESC NULLS LAST, b, c DESC, id);
CREATE INDEX ON nulls (a, b DESC, c, id);
CREATE INDEX ON nulls (b NULLS FIRST, id DESC);
SELECT result, count(*) FROM (
	SELECT pg_temp.walk('nulls', format('a %s, b %s, c %s, id', v.way, w.way, d),
						format('a %s, b %s, c %s', v.way, w.way, d), 4)
	FROM ways v, ways w, unnest('{ASC,DESC}'::text[]) d) r (result) GROUP BY 1;
SELECT pg_temp.walk('nulls', 'b NULLS FIRST, id DESC', 'b NULLS FIRST, id DESC', 5);
SELECT pg_temp.walk('nulls', 'b DESC, id', 'b DESC, id', 5);

-- NULLs only, and values only, in a nullable column
CREATE TABLE blanks (id int PRIMARY KEY, a int);
INSERT INTO blanks SELECT i, NULL FROM generate_series(1, 7) i;
SELECT way, pg_temp.walk('blanks', format('a %s, id', way), 'a ' || way, 3) FROM ways ORDER BY way;
UPDATE blanks SET a = id % 3;
SELECT way, pg_temp.walk('blanks', format('a %s, id', way), 'a ' || way, 3) FROM ways ORDER BY way;

-- partitions: one key in one direction, mixed, and nullable
CREATE TABLE parts (at timestamptz NOT NULL, id int NOT NULL, a int, PRIMARY KEY (at, id)) PARTITION BY RANGE (at);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2020-01-01') TO ('2020-02-01');
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM ('2020-02-01') TO ('2020-03-01');
CREATE TABLE parts_3 PARTITION OF parts FOR VALUES FROM ('2020-03-01') TO ('2020-04-01');
INSERT INTO parts SELECT '2020-01-01'::timestamptz + i % 30 * interval '3 days', i, NULLIF(i % 4, 0) FROM generate_series(1, 60) i;
SELECT pg_temp.walk('parts', 'at, id', size => 7);
SELECT pg_temp.walk('parts', 'at DESC, id DESC', 'at DESC, id DESC', 7);
SELECT pg_temp.walk('parts', 'at, id DESC', 'at, id DESC', 7);
SELECT pg_temp.walk('parts', 'a DESC NULLS LAST, at, id', 'a DESC NULLS LAST', 7);
-- a chunk's predicate leaves alone the partitions that it has no rows of
CREATE FUNCTION scanned(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	line text;
	found text[] := '{}';
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		found := found || substring(line FROM 'parts_[0-9]+(?=$| )');
	END LOOP;
	RETURN (SELECT string_agg(DISTINCT f, ' ' ORDER BY f) FROM unnest(found) f);
END
$$;
SELECT number, scanned('SELECT * FROM parts WHERE ' || predicate)
FROM chunked.chunks('parts', 15) ORDER BY number;
SELECT scanned('SELECT * FROM parts WHERE ' || predicate)
FROM chunked.next_chunk('parts', 20, after => '{"at": "2020-02-20 00:00:00+00", "id": 0}', key => 'at DESC, id');

--
-- Unbounded, and empty
--
SELECT after, upto, row_count, predicate FROM chunked.chunks('event', 100);
CREATE TABLE one (id int, a int);
INSERT INTO one VALUES (1, NULL);
SELECT upto, row_count, predicate FROM chunked.chunks('one', key => 'a');
SELECT count(*) FROM chunked.chunks('one', after => '{"a": null}', key => 'a');
INSERT INTO one VALUES (2, 2);
SELECT upto, row_count, predicate FROM chunked.chunks('one', 1, key => 'a NULLS FIRST');

--
-- Names and types that need quoting or a cast
--
CREATE SCHEMA "Odd ""Schema""";
CREATE TYPE "Odd ""Schema""".mood AS ENUM ('sad', 'it''s "ok"', 'glad');
CREATE DOMAIN "Odd ""Schema"""."Posi tive" AS int CHECK (VALUE > 0);
CREATE TYPE "Odd ""Schema""".pair AS (a int, b text COLLATE "C");
CREATE TABLE "Odd ""Schema"""."Ta.ble" ("The ""Id""" "Odd ""Schema"""."Posi tive" PRIMARY KEY, m "Odd ""Schema""".mood NOT NULL,
	p "Odd ""Schema""".pair, "user" char(3) COLLATE "C" NOT NULL, r regclass NOT NULL, "%s $1" bit(4) NOT NULL, v varchar(4) COLLATE "C" NOT NULL);
INSERT INTO "Odd ""Schema"""."Ta.ble"
SELECT i, (enum_range(NULL::"Odd ""Schema""".mood))[1 + i % 3], CASE WHEN i % 4 > 0 THEN ROW(i % 4, 'x')::"Odd ""Schema""".pair END,
	i % 3, (ARRAY['pg_class','pg_proc','range_test.event'])[1 + i % 3]::regclass, (i % 3)::bit(4), 'v' || i % 3
FROM generate_series(1, 9) i;
SELECT pg_temp.walk('"Odd ""Schema"""."Ta.ble"', o, k, 2)
FROM (VALUES
	('"The ""Id"""', NULL),
	('m, "The ""Id"""', 'm'),
	('p DESC, "The ""Id"""', 'p DESC'),
	('"user", "The ""Id""" DESC', '"user", "The ""Id""" DESC'),
	('r, "The ""Id"""', 'r'),
	('"%s $1", "The ""Id"""', '"%s $1"'),
	('v DESC, "The ""Id"""', 'v DESC')) w(o, k);
-- the literal of a fixed-length type is not cut to one character or bit
SELECT DISTINCT substring(predicate FROM 'CAST\(''[^'']*'' AS [a-z_.]*') FROM chunked.chunks('"Odd ""Schema"""."Ta.ble"', 1, key => '"user", "The ""Id""" DESC') WHERE number = 1;
-- regclass as its OID, whatever the relation is called tomorrow
SELECT upto ->> 'r' AS r FROM chunked.next_chunk('"Odd ""Schema"""."Ta.ble"', 3, key => 'r');

--
-- In any session: the predicates of a few chunks, run under hostile settings
--
CREATE TABLE texts (t text COLLATE "C", at timestamptz, v interval, y bytea, f float8, d date, n numeric NOT NULL, id int PRIMARY KEY);
INSERT INTO texts SELECT E'it''s \\ "' || i, '2020-10-11 12:13:14.000001+00'::timestamptz + i % 4 * interval '0.000001 s',
	i % 3 * interval '1 mon -1 day', decode('5c27' || '0' || i % 5, 'hex'), 0.1 * i + 0.1, '2020-03-04'::date + i % 2, i / 7.0, i
FROM generate_series(1, 9) i;
CREATE TABLE saved AS
SELECT k, c.number, c.row_count, c.predicate
FROM unnest('{t,at,v,y,f,d,n,id}'::text[]) k, chunked.chunks('texts', 2, key => k || ' DESC, id') c
WHERE k <> 'id'
UNION ALL
SELECT 'id', c.number, c.row_count, c.predicate FROM chunked.chunks('texts', 2) c;
CREATE FUNCTION wrong() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	chunk record;
	found bigint;
	wrong bigint := 0;
BEGIN
	FOR chunk IN SELECT * FROM range_test.saved LOOP
		EXECUTE 'SELECT pg_catalog.count(*) FROM range_test.texts WHERE ' || chunk.predicate INTO found;
		IF found IS DISTINCT FROM chunk.row_count THEN
			wrong := wrong + 1;
		END IF;
	END LOOP;
	RETURN wrong;
END
$$;
SELECT count(*) AS predicates, sum(row_count) AS rows, wrong() FROM saved;
SET DateStyle = 'SQL, DMY';
SET IntervalStyle = 'sql_standard';
SET TimeZone = 'Asia/Kolkata';
SET extra_float_digits = -15;
SET bytea_output = 'escape';
SELECT wrong();
-- PostgreSQL 19 has standard strings alone
DO $$ BEGIN SET standard_conforming_strings = off; EXCEPTION WHEN feature_not_supported THEN END $$;
SET client_min_messages = error;
SET backslash_quote = off;
SELECT wrong();
-- and made under them
CREATE TABLE saved_hostile AS
SELECT k, c.number, c.row_count, c.predicate
FROM unnest('{t,at,v,y,f,d,n,id}'::text[]) k, chunked.chunks('texts', 2, key => k || ' DESC, id') c
WHERE k <> 'id'
UNION ALL
SELECT 'id', c.number, c.row_count, c.predicate FROM chunked.chunks('texts', 2) c;
RESET standard_conforming_strings;
RESET client_min_messages;
RESET backslash_quote;
RESET DateStyle;
RESET IntervalStyle;
SET TimeZone = 'UTC';
RESET extra_float_digits;
RESET bytea_output;
SELECT count(*) FROM (TABLE saved EXCEPT TABLE saved_hostile) d;

--
-- A search_path with false operators, types and collations before the real
-- ones: none of them may be used, in a predicate or by the extension itself
--
CREATE SCHEMA evil;
DO $do$
DECLARE
	type text;
	operator text;
BEGIN
	FOREACH type IN ARRAY '{int4,int8,text,timestamptz,interval,bytea,float8,date,numeric,record,oid,bpchar,name}'::text[] LOOP
		EXECUTE format('CREATE FUNCTION evil.trap(%s, %1$s) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE ''a false operator was used''; END $$', type);
		FOREACH operator IN ARRAY '{=,<>,<,<=,>,>=}'::text[] LOOP
			EXECUTE format('CREATE OPERATOR evil.%s (FUNCTION = evil.trap, LEFTARG = %s, RIGHTARG = %2$s)', operator, type);
		END LOOP;
	END LOOP;
	FOREACH type IN ARRAY '{int4,int8,text,timestamptz,bytea,float8,date,numeric,jsonb}'::text[] LOOP
		EXECUTE format('CREATE DOMAIN evil.%I AS pg_catalog.%1$I CHECK (false)', type);
	END LOOP;
END
$do$;
CREATE TABLE evil.texts (id int);
CREATE COLLATION evil."C" (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
-- the comparison of counts is the caller's: it names its operator, too
CREATE OR REPLACE FUNCTION wrong() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	chunk record;
	found bigint;
	wrong bigint := 0;
BEGIN
	FOR chunk IN SELECT * FROM range_test.saved LOOP
		EXECUTE 'SELECT pg_catalog.count(*) FROM range_test.texts WHERE ' || chunk.predicate INTO found;
		IF found OPERATOR(pg_catalog.<>) chunk.row_count THEN
			wrong := wrong + 1;
		END IF;
	END LOOP;
	RETURN wrong;
END
$$;
SET search_path = evil, pg_catalog, range_test;
-- the trap is set
DO $$
BEGIN
	PERFORM 2 > 1;
	RAISE 'no trap';
EXCEPTION WHEN raise_exception THEN
	RAISE NOTICE '%', SQLERRM;
END
$$;
DO $$
BEGIN
	PERFORM 'x'::text;
	RAISE 'no trap';
EXCEPTION WHEN check_violation THEN
	RAISE NOTICE 'a false type was used';
END
$$;
RESET search_path;
SET search_path = evil, pg_catalog, range_test;
SELECT range_test.wrong();
SELECT id FROM chunked.page(NULL::range_test.texts, 3, after => '{"id": 4}'::pg_catalog.jsonb);
SELECT id FROM chunked.page(NULL::range_test.texts, 3, before => '{"id": 4, "t": "it''s \\ \"4"}'::pg_catalog.jsonb, key => 't, id DESC');
SELECT number, row_count, predicate FROM chunked.chunks('range_test.texts', 4, key => 'at, id');
SELECT * FROM chunked.bounds('range_test.texts', 'n DESC');
SELECT number, row_count FROM chunked.next_chunk('range_test.texts', 4, key => 'y', filter => 'id OPERATOR(pg_catalog.>) 3', scan_limit => 5);
RESET search_path;

SET client_min_messages = warning;
DROP SCHEMA range_test, evil, "Odd ""Schema""" CASCADE;
