-- Positions: what is written, that it is read back to the last digit under any
-- settings, and what is refused.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/failure.sql
\set ECHO all
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS position_test CASCADE;
RESET client_min_messages;
CREATE SCHEMA position_test;
SET search_path = position_test;

CREATE TYPE mood AS ENUM ('sad', 'glad', 'very "glad"');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TYPE pair AS (a int, b text);
CREATE TYPE spans AS RANGE (subtype = timestamptz);

-- A table with values of one type as its primary key.  Ends with its walk
-- under one set of settings after the other, each page by a session with other
-- settings than the one before: exact to the last digit, or rows come twice or
-- not at all.
CREATE FUNCTION round_trip(type text, VARIADIC vals text[]) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	settings text[] := '{
		"ISO, MDY|postgres|UTC|1|hex|on",
		"SQL, DMY|sql_standard|Asia/Kolkata|0|escape|off",
		"German|iso_8601|America/St_Johns|-15|escape|on",
		"Postgres, YMD|postgres_verbose|Australia/Lord_Howe|3|hex|off"}';
	names text[] := '{DateStyle,IntervalStyle,TimeZone,extra_float_digits,bytea_output,array_nulls}';
	turn int := 0;
	place jsonb;
	first jsonb;
	found bool;
	seen int := 0;
	total int;
BEGIN
	SET LOCAL client_min_messages = warning;
	DROP TABLE IF EXISTS trip;
	EXECUTE format('CREATE TABLE trip (k %s PRIMARY KEY)', type);
	EXECUTE format('INSERT INTO trip SELECT v::%s FROM unnest($1) v', type) USING vals;
	SELECT count(*) INTO total FROM trip;
	LOOP
		FOR i IN 1 .. cardinality(names) LOOP
			PERFORM set_config(names[i], split_part(settings[1 + turn % 4], '|', i), true);
		END LOOP;
		EXECUTE 'SELECT chunked.position_of(p), chunked.position_of(p) = $1 FROM chunked.page(NULL::trip, 1, $1) p'
			INTO place, found USING place;
		EXIT WHEN place IS NULL;
		seen := seen + 1;
		first := coalesce(first, place);
		IF seen > total THEN
			RETURN 'came again: ' || place::text;
		END IF;
		turn := turn + 1;
		-- the same position from a session with these settings
		FOR i IN 1 .. cardinality(names) LOOP
			PERFORM set_config(names[i], split_part(settings[1 + turn % 4], '|', i), true);
		END LOOP;
		EXECUTE 'SELECT chunked.position_of(p) = $1 FROM chunked.page(NULL::trip, upto => $1) p OFFSET $2 - 1'
			INTO found USING place, seen;
		IF found IS NOT TRUE THEN
			RETURN 'is not the same in another session: ' || place::text;
		END IF;
		turn := turn + 1;
	END LOOP;
	RETURN seen || ' of ' || total || ', first ' || CASE WHEN length(first::text) < 80 THEN first::text ELSE length(first::text)::text END;
END
$$;
-- by other settings in each call, though the plans are the same session's
SELECT round_trip('boolean', 'f', 't');
SELECT round_trip('smallint', '-32768', '0', '32767');
SELECT round_trip('bigint', '-9223372036854775808', '-9223372036854775807', '9007199254740993', '9223372036854775806', '9223372036854775807');
SELECT round_trip('numeric', '-Infinity', '0', '0.' || repeat('0', 999) || '1', '0.' || repeat('0', 999) || '2', repeat('9', 1000), repeat('9', 1000) || '.5', 'Infinity', 'NaN');
SELECT round_trip('real', '-Infinity', '-1.17549435e-38', '-0', '1.1', '16777216', '3.4028235e+38', 'Infinity', 'NaN');
SELECT round_trip('double precision', '-Infinity', '-2.2250738585072014e-308', '0', '0.1', '0.30000000000000004', '0.3', '1.7976931348623157e+308', 'NaN');
SELECT round_trip('text COLLATE "C"', '', ' ', '''', '"', '\', '\n', E'line\nbreak\ttab\r', '{"id": 1}', 'null', '$1', E'\x01', repeat('long', 500));
SELECT round_trip('text COLLATE "C"', convert_from('\xc3a9', 'UTF8'), convert_from('\xc3a8', 'UTF8'), 'e');
SELECT round_trip('varchar(5) COLLATE "C"', 'a', 'a ', 'b');
SELECT round_trip('char(5) COLLATE "C"', 'a', 'ab', 'b');
SELECT round_trip('"char"', 'a', 'b');
SELECT round_trip('name', 'a', 'B c', repeat('x', 63));
SELECT round_trip('bytea', '\x', '\x00', '\x5c', '\x275c22', '\xff00');
SELECT round_trip('bit(5)', '00000', '00101', '11111');
SELECT round_trip('varbit', '', '0', '00', '1');
SELECT round_trip('uuid', '00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff');
SELECT round_trip('date', '-infinity', '4713-01-01 BC', '2020-02-03', '2020-03-02', '5874897-12-31', 'infinity');
SELECT round_trip('timestamp', '-infinity', '4713-01-01 00:00:00 BC', '2020-01-02 03:04:05.678901', '2020-01-02 03:04:05.678902', 'infinity');
SELECT round_trip('timestamptz', '-infinity', '1880-01-01 00:00:00.1 BC', '2020-01-01 00:00:01+00', '2020-10-25 01:30:00.000001+02', '2020-10-25 01:30:00.000001+01', '2020-11-12 10:11:12.999999+00', 'infinity');
SELECT round_trip('time', '00:00', '03:04:05.678901', '24:00');
SELECT round_trip('timetz', '00:00+14', '00:00-12', '12:00:00.000001+05:30', '12:00:00.000001+05');
SELECT round_trip('interval', '-1 year', '-1 day 2 hours', '0.000001 seconds', '1 mon 2 days 03:04:05.678901', '1 year 2 mons -3 days');
SELECT round_trip('money', '-1.25', '0', '1000000.01');
SELECT round_trip('inet', '10.0.0.1', '10.0.0.1/8', '::1');
SELECT round_trip('cidr', '10.0.0.0/8', '10.0.0.0/16', '::/0');
SELECT round_trip('macaddr', '08:00:2b:01:02:03', '08:00:2b:01:02:04');
SELECT round_trip('oid', '0', '4294967295');
SELECT round_trip('pg_lsn', '1/F0000000', 'FFFFFFFF/FFFFFFFF');
SELECT round_trip('tsvector', 'a', 'b:1A c');
SELECT round_trip('jsonb', '1', '"a"', '{"a": [1, null]}', 'null');
SELECT round_trip('mood', 'sad', 'glad', 'very "glad"');
SELECT round_trip('positive', '1', '2147483647');
SELECT round_trip('pair', '(1,a)', '(1,"b,""c\\")', '(2,)');
SELECT round_trip('int[]', '{}', '{1,NULL}', '{1,2}', '[0:1]={1,2}', '{{1},{2}}');
SELECT round_trip('timestamptz[]', '{"2020-01-02 03:04:05.678901+00"}', '{"2020-11-12 03:04:05+00",NULL}');
SELECT round_trip('int4range', 'empty', '[1,5)', '(,)', '[1,)');
SELECT round_trip('spans', '[2020-01-02 00:00:00.000001+00,2020-11-12 00:00:00+00)', '(,2020-01-02 00:00:00+00]');
SELECT round_trip('datemultirange', '{}', '{[2020-01-02,2020-01-03),[2020-05-06,)}');

-- as it is written, in a session of any habits
CREATE TABLE form (b bool, i bigint, f float8, ts timestamptz, d date, v interval, y bytea, a timestamptz[], t text COLLATE "C", n int NOT NULL);
INSERT INTO form VALUES (true, 9007199254740993, 0.1, '2020-01-01 00:00:01+00', '2020-02-03', '1 mon -2 days', '\xff', '{2020-02-03 04:05:06.789+02}', E'quo"te\\ \n', 1);
SET DateStyle = 'SQL, DMY';
SET IntervalStyle = 'sql_standard';
SET TimeZone = 'Asia/Kolkata';
SET extra_float_digits = -3;
SET bytea_output = 'escape';
SELECT jsonb_pretty(chunked.position_of(form, 'b, i, f, ts, d, v, y, a, t, n')) FROM form;
-- the session's own settings are as before, after an error as well
SELECT pg_temp.state($$SELECT * FROM chunked.page(NULL::form, after => '{"ts": "x"}', key => 'ts')$$);
SELECT current_setting('DateStyle'), current_setting('IntervalStyle'), current_setting('TimeZone'), current_setting('extra_float_digits'), current_setting('bytea_output');
RESET DateStyle;
RESET IntervalStyle;
RESET TimeZone;
RESET extra_float_digits;
RESET bytea_output;
-- a null row has no position, a row of nulls has one
SELECT chunked.position_of(NULL::form, 'n'), chunked.position_of(ROW(NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL)::form, 'i, t');
-- a position names no row: one need not be there
SELECT chunked.position_of(ROW(true,2,3,NULL,NULL,NULL,NULL,NULL,'t',4)::form, 'i, n');

--
-- What is read
--
CREATE TABLE event (id bigint PRIMARY KEY, b bool NOT NULL, f float8 NOT NULL, x numeric NOT NULL, t text COLLATE "C" NOT NULL, n int);
INSERT INTO event SELECT i, i % 2 = 0, i / 10.0, i / 100.0, i, NULLIF(i % 3, 0) FROM generate_series(1, 9) i;
INSERT INTO event SELECT 9223372036854775807 - i, true, i * 1e300, i, 'last', i FROM generate_series(0, 2) i;
SELECT p AS after, (SELECT string_agg(e.id::text, ' ') FROM chunked.page(NULL::event, 2, p::jsonb, key => k) e) AS page
FROM (VALUES
	('{"id": "5"}', NULL),
	('{"id": 5}', NULL),
	('{"id": 5e0}', NULL),
	('{"id": 9223372036854775805}', NULL),
	('{"id": "9223372036854775806"}', NULL),
	('{"id": " 5 "}', NULL),
	('{"b": false, "id": 7}', 'b'),
	('{"b": "f", "id": 7}', 'b'),
	('{"b": "no", "id": "7"}', 'b'),
	('{"id": 7, "b": false}', 'b'),
	('{"f": 0.3, "id": 3}', 'f'),
	('{"f": 0.30, "id": 2}', 'f'),
	('{"f": 1e300, "id": 0}', 'f'),
	('{"x": 0.03, "id": 3}', 'x'),
	('{"x": 0.0300, "id": 3}', 'x'),
	('{"t": 5, "id": 5}', 't'),
	('{"t": "5", "id": 5}', 't'),
	('{"n": null, "id": 3}', 'n'),
	('{"n": null, "id": 3}', 'n NULLS FIRST'),
	-- of two members of one name, jsonb keeps the last
	('{"id": 5, "id": 6}', NULL)) v(p, k);

-- a float's digits and an integer's fractions
SELECT s AS position, pg_temp.state(format('SELECT * FROM chunked.page(NULL::event, after => %L)', s))
FROM unnest('{"{\"id\": 5.5}","{\"id\": 1e30}","{\"id\": \"5.0\"}","{\"id\": \"\"}","{\"id\": \"NaN\"}","{\"id\": true}"}'::text[]) s;

--
-- What is refused, by after, upto and before alike
--
SELECT s AS position, pg_temp.failure(format('SELECT * FROM chunked.page(NULL::event, after => %L, key => %L)', s, k))
FROM (VALUES
	('{"ID": 5}', NULL),
	('{"id ": 5}', NULL),
	('{"nonesuch": 5}', NULL),
	('{"id": 5, "nonesuch": 1}', NULL),
	('{"id": 5, "b": true}', NULL),
	('{"id": 5}', 'b'),
	('{"b": true}', 'b'),
	('{"n": 1}', 'n'),
	('{"id": null}', NULL),
	('{"n": 1, "id": null}', 'n'),
	('{"id": {}}', NULL),
	('{"id": {"id": 5}}', NULL),
	('{"id": []}', NULL),
	('{"id": [5]}', NULL),
	('{"id": "five"}', NULL),
	('{"id": ""}', NULL),
	('{"id": "9223372036854775808"}', NULL),
	('{"id": 9223372036854775808}', NULL),
	('{"n": 2147483648, "id": 1}', 'n'),
	('{"b": 7, "id": 1}', 'b'),
	('{"b": "maybe", "id": 1}', 'b'),
	('{"f": "1e999", "id": 1}', 'f'),
	('null', NULL),
	('5', NULL),
	('"5"', NULL),
	('true', NULL),
	('[]', NULL),
	('[{"id": 5}]', NULL)) v(s, k);
SELECT s AS statement, pg_temp.failure(s)
FROM (VALUES
	($$SELECT * FROM chunked.page(NULL::event, upto => '{"x": 1}')$$),
	($$SELECT * FROM chunked.page(NULL::event, before => '{"x": 1}')$$),
	($$SELECT * FROM chunked.page(NULL::event, before => '{"id": "five"}')$$),
	($$SELECT * FROM chunked.chunks('event', after => '{"x": 1}')$$),
	($$SELECT * FROM chunked.chunks('event', upto => '{"id": null}')$$),
	($$SELECT * FROM chunked.next_chunk('event', after => '[]')$$),
	($$SELECT * FROM chunked.next_chunk('event', upto => '{"id": "five"}')$$)) v(s);
-- other types' words
CREATE TABLE typed (ts timestamptz PRIMARY KEY, m mood, p positive, u uuid, y bytea, v int[]);
SELECT k, v, pg_temp.state(format('SELECT * FROM chunked.page(NULL::typed, after => %L, key => %L)',
	jsonb_build_object('ts', '2020-01-01', k, v), k))
FROM (VALUES ('ts', 'yesterday noon'), ('ts', '2020-13-01'), ('ts', 'infinity and beyond'), ('m', 'cross'), ('u', '0'), ('y', '\xf'), ('v', '{1'),
	('p', '1')) v(k, v);
-- an error is caught, and the session goes on
DO $$
BEGIN
	FOR i IN 1 .. 100 LOOP
		BEGIN
			PERFORM * FROM chunked.page(NULL::event, after => '{"id": "five"}');
		EXCEPTION WHEN invalid_text_representation THEN
			NULL;
		END;
	END LOOP;
END
$$;
SELECT count(*) FROM chunked.page(NULL::event);

-- of a row of FROM, only the key's columns are read; what it says is the same
CREATE FUNCTION pg_temp.reads(statement text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (VERBOSE, COSTS OFF) ' || statement LOOP
		RETURN QUERY SELECT (regexp_matches(line, 'position_of[^()]*\(.*?\)+(?=,|$)', 'g'))[1];
	END LOOP;
END
$$;
CREATE TABLE plain (a int, gone int, b text COLLATE "C" NOT NULL, n int, u positive NOT NULL, PRIMARY KEY (b, a), UNIQUE (u));
ALTER TABLE plain DROP COLUMN gone;
INSERT INTO plain SELECT i, 'b' || i % 3, nullif(i % 4, 0), i FROM generate_series(1, 10) i;
CREATE VIEW seen AS SELECT * FROM plain;
SELECT s AS statement, pg_temp.reads(s) AS reads
FROM (VALUES
	('SELECT chunked.position_of(p) FROM plain p'),
	('SELECT chunked.position_of(p) FROM chunked.page(NULL::plain) p'),
	('SELECT chunked.position_of(p, $$u DESC$$) FROM plain p'),
	('SELECT chunked.position_of(p, $$n$$) FROM plain p'),
	('SELECT chunked.position_of(v, $$b$$) FROM seen v'),
	('SELECT chunked.position_of(p, b) FROM plain p'),
	('SELECT (SELECT chunked.position_of(p)) FROM plain p')) v(s);
SELECT k, count(*), count(*) FILTER (WHERE chunked.position_of(p, k) IS DISTINCT FROM here)
FROM (VALUES (NULL), ('u'), ('u DESC'), ('n'), ('b, u'), ('a')) v(k),
	LATERAL (SELECT r, here FROM plain r, LATERAL (SELECT chunked.position_of(r, v.k)) h(here)) x(p, here)
GROUP BY k ORDER BY k;
SELECT chunked.position_of(p), chunked.position_of(p, 'u DESC') FROM plain p WHERE a < 3 ORDER BY a;
SELECT x, chunked.position_of(p) FROM (VALUES (1), (20)) v(x) LEFT JOIN plain p ON p.a = x ORDER BY x;
SELECT chunked.position_of(p) FROM plain p FULL JOIN (VALUES (9), (30)) v(x) ON p.a = v.x WHERE coalesce(x, 0) > 0 ORDER BY x;
SELECT max(chunked.position_of(p) ->> 'a') FROM plain p GROUP BY p.b HAVING chunked.position_of(max(p.*::text)::plain) IS NOT NULL ORDER BY 1;
-- the key changes between two executions
PREPARE positions AS SELECT chunked.position_of(p) FROM plain p WHERE a = 1;
EXECUTE positions;
ALTER TABLE plain DROP CONSTRAINT plain_pkey;
EXECUTE positions;
ALTER TABLE plain ADD PRIMARY KEY (a);
EXECUTE positions;
DROP VIEW seen;
ALTER TABLE plain ALTER a TYPE bigint;
EXECUTE positions;
DEALLOCATE positions;
-- what the planner makes of it takes nothing else
SELECT s AS statement, pg_temp.state(s)
FROM (VALUES
	('SELECT chunked.position_of_columns(NULL::plain, NULL, $${1}$$, 7::bigint)'),
	('SELECT chunked.position_of_columns(NULL::plain, NULL, $${1}$$, NULL::bigint)'),
	('SELECT chunked.position_of_columns(NULL::plain, NULL, $${1}$$, 7::int)'),
	('SELECT chunked.position_of_columns(NULL::plain, NULL, $${3}$$, 7::bigint)'),
	('SELECT chunked.position_of_columns(NULL::plain, NULL, NULL, 7::bigint)'),
	('SELECT chunked.position_of_columns(NULL::plain, NULL, $${1,3}$$, 7::bigint, $$x$$::text)'),
	('SELECT chunked.position_of_columns(NULL::plain, NULL, $${1}$$, VARIADIC ARRAY[7::bigint])'),
	('SELECT chunked.position_of_columns(NULL::plain, $$n$$, $${4,1}$$, 7, 7::bigint)'),
	('SELECT chunked.position_of_columns(5, NULL, $${1}$$, 7::bigint)')) v(s);

SET client_min_messages = warning;
DROP SCHEMA position_test CASCADE;
