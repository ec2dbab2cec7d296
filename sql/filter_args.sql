-- The values of a filter's parameters: typed as PREPARE would, bound, never text in SQL.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/failure.sql
\set ECHO all
\set VERBOSITY terse
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS filter_args_test, filter_args_other CASCADE;
CREATE SCHEMA filter_args_test;
SET search_path = filter_args_test;
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN some_ids AS int[] CHECK (cardinality(VALUE) < 4);
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TABLE event (id int PRIMARY KEY, kind int, big bigint NOT NULL, name text, ok bool, at timestamptz, amount numeric, j jsonb, tags text[], m mood, r int4range, p positive);
INSERT INTO event SELECT i, NULLIF(i % 10, 0), 9007199254740993 + i, 'it''s ' || i % 7, i % 2 = 0, '2020-01-01 00:00:00+00'::timestamptz + i * interval '1 min', i / 3.0, jsonb_build_object('a', i % 3, 'b', '[1]'::jsonb),
	ARRAY['t' || i % 4, 'u "' || i % 2], (enum_range(NULL::mood))[1 + i % 3], int4range(i, i + 5), i
FROM generate_series(1, 100) i;
CREATE INDEX ON event (kind DESC, id);
ANALYZE event;
CREATE FUNCTION ids(filter text, args jsonb, key text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(e.id::text, ' ') FROM chunked.page(NULL::event, 5, key => key, filter => filter, args => args) e
$$;

-- values and types
SELECT f AS filter, a AS args, ids(f, a), pg_temp.failure(format('SELECT FROM chunked.page(NULL::event, 1, filter => %L, args => %L)', f, a)) AS failure FROM (VALUES
	('kind = $1 AND name = $2', '[7, "it''s 3"]'::jsonb),
	('kind = $1 AND name = $2', '["7", "it''s 3"]'),
	('kind = $2 AND name = $1', '["it''s 3", 7]'),
	('kind = $1 OR id = $1', '[3]'),
	('big = $1', '[9007199254740995]'),
	('big = $1', '["9007199254740995"]'),
	('amount < $1', '[1.5]'),
	('amount < $1', '[1e0]'),
	('ok = $1 AND kind = $2', '[true, 6]'),
	('ok AND $1', '["yes"]'),
	('at < $1', '["2020-01-01 00:03:00+00"]'),
	('at < $1::date + 1 AND id > $2', '["2020-01-01", 98]'),
	('m = $1 AND id > 90', '["happy"]'),
	('r @> $1 AND id > 3', '["[7,8)"]'),
	('r = $1', '["[7,12)"]'),
	('p = $1', '[5]'),
	('id = $1::positive', '[5]'),
	-- NULL
	('kind IS NOT DISTINCT FROM $1', '[null]'),
	('kind = $1', '[null]'),
	('$1 IS NULL OR kind = $1', '[null]'),
	('$1 IS NULL OR kind = $1', '[4]'),
	-- JSON's own types take any JSON, as its text
	('j = $1 AND id < 10', '[{"a": 1, "b": [1]}]'),
	('j @> $1 AND id < 10', '["{\"a\": 1}"]'),
	('j -> ''b'' = $1 AND id < 4', '[[1]]'),
	('j -> ''a'' = $1 AND id < 10', '[2]'),
	-- arrays
	('id = ANY ($1)', '[[5, 6, "7", null, 700]]'),
	('id = ANY ($1)', '["{5,6}"]'),
	('id = ANY ($1)', '[[]]'),
	('id <> ALL ($1) AND kind < $2', '[[1, 2, 11], 3]'),
	('tags @> $1', '[["t1", "u \"1"]]'),
	('ARRAY[[id, kind]] = $1', '[[[3, 3]]]'),
	('ARRAY[[id], [kind]] = $1', '[[[3], [3]]]'),
	('ARRAY[j -> ''a''] = $1 AND id < 5', '[[1]]'),
	('id = ANY ($1::some_ids)', '[[1, 2]]'),
	('name = ANY ($1)', '[["it''s 1", "NULL", null, "", "\\", "{}"]]'),
	-- what else is in a filter
	('id > $1 -- $2', '[98]'),
	('name <> ''$1'' AND id > $1', '[98]'),
	('name <> $q$ $2 $q$ AND id > $1', '[98]'),
	('id > (SELECT max(e.id) - $1 FROM filter_args_test.event e WHERE e.kind = $2)', '[1, 9]'),
	('id IN (SELECT i FROM generate_series(1, $1) i) AND (id, kind) > ($2, $3)', '[9, 7, 0]'),
	('true', '[]'),
	('true', NULL)) v(f, a);

-- nothing in a value is SQL
SELECT a AS args, ids('name = $1 OR id = $2', a) FROM (VALUES
	('["'' OR true --", 3]'::jsonb), ('["$2", 3]'), ('["\\'' OR 1=1", 3]'), ('["''); DROP TABLE event; --", 3]'), ('["$1", "3"]'), ('["E''\\x27''", 3]')) v(a);
SELECT count(*) FROM event;

-- what is wrong
SELECT f AS filter, a AS args, pg_temp.failure(format('SELECT FROM chunked.page(NULL::event, filter => %L, args => %L)', f, a)) AS failure FROM (VALUES
	('kind = $1', NULL::jsonb),
	('kind = $1', '[]'),
	('kind = $2', '[1]'),
	('kind = $1 AND id = $3', '[1, 2]'),
	('kind = $1', '[1, 2]'),
	('kind = 1', '[1]'),
	(NULL, '[1]'),
	('kind = $1', '{"1": 1}'),
	('kind = $1', '1'),
	('kind = $1', 'null'),
	('kind = $1', '"[1]"'),
	('kind = $0', '[1]'),
	('kind = $2147483647', '[1]'),
	('kind = $1; DELETE FROM event', '[1]'),
	('kind = $1) OR (true', '[1]'),
	('kind = $1 LIMIT $2', '[1, 1]'),
	-- no type, or not that of the value
	('kind = $2', '[1, 2]'),
	('$1 IS NULL', '[1]'),
	('kind = $1', '[{}]'),
	('kind = $1', '[[1]]'),
	('id = ANY ($1)', '[{"a": 1}]'),
	('id = ANY ($1)', '[[1, {"a": 1}]]'),
	('ARRAY[[id]] = $1', '[[[1, 2], [3]]]'),
	('ARRAY[[id]] = $1', '[[1, [3]]]'),
	('ARRAY[[id]] = $1', '[[[3], 1]]'),
	('ARRAY[[id]] = $1', '[[[[[[[[1]]]]]]]]')) v(f, a);
SELECT f AS filter, a AS args, pg_temp.state(format('SELECT FROM chunked.page(NULL::event, filter => %L, args => %L)', f, a)) AS state FROM (VALUES
	('kind = $1', '["x"]'::jsonb),
	('kind = $1', '[1.5]'),
	('kind = $1', '[true]'),
	('kind = $1', '[2147483648]'),
	('at = $1', '["yesterdaz"]'),
	('at = $1', '["2020-13-01"]'),
	('m = $1', '["cross"]'),
	('p = $1::positive', '[-5]'),
	('id = ANY ($1)', '[[1, "x"]]'),
	('id = ANY ($1::some_ids)', '[[1, 2, 3, 4]]'),
	('j = $1', '["{"]'),
	('$1', '[1]'),
	('kind < $1 AND name < $1', '[1]'),
	('nope = $1', '[1]')) v(f, a);
-- with the place and a way out
\set SHOW_CONTEXT always
\set VERBOSITY default
SELECT FROM chunked.page(NULL::event, filter => 'kind = $1 AND at < $2', args => '[1, "x"]');
\set VERBOSITY terse
\set SHOW_CONTEXT never

-- every function that takes a filter
SELECT chunked.bounds('event', filter => 'kind = $1', args => '[3]'), chunked.row_count('event', filter => 'kind = $1', args => '[3]'), chunked.seek('event', 4, filter => 'kind = $1', args => '[3]'),
	chunked.seek('event', 4, false, 'kind DESC', 'id > $1', '[50]'), chunked.paginator('event', 3, filter => 'kind = $1', args => '[3]');
SELECT number, after, upto, row_count FROM chunked.chunks('event', 4, filter => 'kind = $1', args => '[3]');
SELECT number, after, upto, row_count FROM chunked.chunks('event', 4, filter => 'kind = $1', args => '[3]', scan_limit => 30, key => 'kind DESC');
SELECT number, after, upto, row_count FROM chunked.chunks('event', 4, key => 'name, id', filter => 'kind = $1 AND name < $2', args => '[3, "it''s 5"]');
SELECT upto, row_count FROM chunked.next_chunk('event', 4, filter => 'kind = $1', args => '[3]', after => '{"id": 53}');
SELECT number, upto, row_count FROM chunked.split('event', 3, filter => 'kind = $1', args => '[3]');
SELECT sum(row_count) FROM chunked.split('event', 1, key => 'ctid', filter => 'kind = $1 AND name <> $2', args => '[3, "x"]');
SELECT id FROM chunked.paginate(NULL::event, 2, 3, filter => 'kind = $1', args => '[3]');
SELECT id FROM chunked.paginate(NULL::event, 3, 3, orphans => 1, key => 'kind DESC, id', filter => 'kind = $1', args => '[3]');
SELECT id FROM chunked.page(NULL::event, 3, before => '{}', filter => 'kind = $1', args => '[3]');
SELECT id FROM chunked.page(NULL::event, 3, after => '{"kind": "5", "id": 35}', upto => '{"kind": 4, "id": 14}', key => 'kind DESC, id', filter => 'id < $1', args => '[60]');
SELECT f, pg_temp.failure('SELECT FROM chunked.' || f) AS failure FROM unnest(ARRAY[$$row_count('event', args => '[1]')$$, $$row_count('event', filter => 'kind = $1')$$, $$bounds('event', args => '[1]')$$,
	$$seek('event', 1, filter => 'kind = $2', args => '[1]')$$, $$split('event', 2, key => 'ctid', filter => 'kind = $1')$$, $$split('event', 2, key => 'ctid', filter => 'true', args => '[1]')$$,
	$$chunks('event', filter => 'kind = $1')$$, $$create_job('event', filter => 'kind = $1')$$, $$create_job('event', args => '[1]')$$]) f;

-- views, partitioned tables, and calls within one another with other values
CREATE VIEW seen AS SELECT * FROM event WHERE id > 5;
CREATE TABLE part (id int PRIMARY KEY, kind int) PARTITION BY RANGE (id);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (50);
CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (50) TO (200);
INSERT INTO part SELECT id, kind FROM event;
SELECT (SELECT string_agg(id::text, ' ') FROM chunked.page(NULL::seen, 4, key => 'id', filter => 'kind = $1', args => '[3]')) AS a_view,
	(SELECT string_agg(id::text, ' ') FROM chunked.page(NULL::part, 9, after => '{"id": 13}', filter => 'kind = $1 AND id < $2', args => '[3, 70]')) AS partitioned,
	(SELECT string_agg(id::text, ' ') FROM chunked.page(NULL::part, 4, before => '{"id": 60}', filter => 'kind = $1', args => '[3]')) AS backwards,
	chunked.row_count('part', filter => 'kind = $1', args => '[3]');
SELECT k, string_agg(e.id::text, ' ') FROM generate_series(1, 4) k, chunked.page(NULL::event, 3, filter => 'kind = $1', args => jsonb_build_array(k)) e GROUP BY k ORDER BY k;
SELECT (c.chunk).upto, (SELECT string_agg(e.id::text, ' ') FROM chunked.page(NULL::event, 3, filter => 'kind = $1', args => jsonb_build_array((c.chunk).number)) e)
FROM (SELECT chunked.chunks('event', 5, filter => 'kind = $1', args => '[7]') AS chunk) c;
CREATE FUNCTION in_there(kind int) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN RETURN in_there.kind IN (SELECT e.kind FROM chunked.page(NULL::event, 1, filter => 'kind = $1 AND id > $2', args => '[5, 7]') e); END $$;
SELECT ids('in_there(kind) AND kind = $1 AND id > $2', '[5, 30]');
-- cursors with other values at the same time
BEGIN;
DECLARE a CURSOR FOR SELECT id FROM chunked.page(NULL::event, key => 'kind DESC, id', filter => 'kind = $1 OR kind = $2', args => '[3, 2]');
DECLARE b CURSOR FOR SELECT id FROM chunked.page(NULL::event, key => 'kind DESC, id', filter => 'kind = $1 OR kind = $2', args => '[8, 1]');
FETCH 2 FROM a;
FETCH 2 FROM b;
MOVE 8 FROM a;
MOVE 8 FROM b;
FETCH 2 FROM a;
FETCH 2 FROM b;
COMMIT;

-- types are found again under another search_path, and after a change to the table
CREATE SCHEMA filter_args_other;
CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2';
CREATE FUNCTION filter_args_other.twice(text) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT length($1)';
SELECT string_agg(id::text, ' ') FROM chunked.page(NULL::event, filter => 'id = twice($1)', args => '["21"]');
SET search_path = filter_args_other, filter_args_test;
SELECT string_agg(id::text, ' ') FROM chunked.page(NULL::filter_args_test.event, filter => 'id = filter_args_other.twice($1)', args => '["21"]');
DROP FUNCTION filter_args_test.twice;
SELECT string_agg(id::text, ' ') FROM chunked.page(NULL::filter_args_test.event, filter => 'id = twice($1)', args => '["21"]');
SET search_path = filter_args_test;
DROP VIEW seen;
ALTER TABLE event ALTER kind TYPE text USING 'k' || kind;
SELECT ids('kind = $1', '["k3"]');
ALTER TABLE event ALTER kind TYPE int USING substr(kind, 2)::int;
-- read under the session's settings, as a literal in the filter would be
SET TimeZone = 'Asia/Kolkata';
SET DateStyle = 'SQL, DMY';
SELECT ids('at < $1', '["01/01/2020 05:33"]');
RESET TimeZone;
RESET DateStyle;
SET array_nulls = off;
SELECT ids('id = ANY ($1) OR name = ANY ($2)', '[[3, null], ["NULL", null]]');
RESET array_nulls;



-- a job keeps them
SELECT chunked.create_job('event', 'UPDATE event SET p = p + 1000 WHERE kind = 3 AND name <> ''it''''s $1'' AND at > ''2019-12-31 12:00'' AND {chunk}', name => 'args', chunk_size => 4, filter => 'kind = $1 AND name <> $2 AND at > $3', args => '[3, "it''s $1", "12/31/2019 12:00"]');
SELECT filter, args FROM chunked.jobs WHERE name = 'args';
SET DateStyle = 'SQL, DMY';
CALL chunked.run_job('args');
RESET DateStyle;
SELECT number, upto, row_count, rows_affected FROM chunked.job_chunks WHERE job = 'args' ORDER BY number;
CALL chunked.run('event', 'UPDATE event SET p = p + 1000 WHERE kind = 4 AND {chunk}', name => 'more', chunk_size => 4, filter => 'kind = $1', args => '[4]', upto => '{"id": 54}');
SELECT number, upto, row_count, rows_affected FROM chunked.job_chunks WHERE job = 'more' ORDER BY number;

SET client_min_messages = warning;
SELECT count(chunked.drop_job(name)) FROM chunked.jobs WHERE relation = 'event'::regclass;

-- the catalog's vectors are no arrays, and are read from their own text form
CREATE TABLE vectors (id int PRIMARY KEY, v int2vector, o oidvector);
INSERT INTO vectors VALUES (1, '1 2', '1 2');
SELECT id FROM chunked.page(NULL::vectors, filter => 'v = $1', args => '[[1, 2]]');
SELECT id FROM chunked.page(NULL::vectors, filter => 'o = $1', args => '[[]]');
SELECT id FROM chunked.page(NULL::vectors, filter => 'v = $1 AND o = $2', args => '["1 2", "1 2"]');
-- a domain's digits hold for an array's elements however they are given
CREATE DOMAIN tenths AS numeric(5, 1)[];
SELECT id FROM chunked.page(NULL::vectors, filter => '$1::tenths::text = ''{1.2,3.0}'' AND $2::tenths::text = ''{1.2,3.0}''',
    args => '[[1.23, 3], "{1.23, 3}"]');

-- values show which partitions can have a row, as literals do
CREATE TABLE parts (at int, id int, PRIMARY KEY (at, id)) PARTITION BY RANGE (at);
SELECT format('CREATE TABLE parts_%s PARTITION OF parts FOR VALUES FROM (%s) TO (%s)', i, i * 100, (i + 1) * 100) FROM generate_series(0, 9) i \gexec
CREATE TABLE parts_rest PARTITION OF parts DEFAULT;
INSERT INTO parts SELECT i, i FROM generate_series(-50, 1049) i;
CREATE FUNCTION pg_temp.locked() RETURNS bigint LANGUAGE sql AS $$SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND relation::regclass::text ~ '^parts_.*\d$'$$;
SELECT chunked.position_of(p) FROM chunked.page(NULL::parts, 1, filter => 'at > $1 AND at = id', args => '[555]') p;
BEGIN; SELECT count(*), min(at), max(at) FROM chunked.page(NULL::parts, filter => 'at BETWEEN $1 AND $2', args => '[250, 349]'); SELECT pg_temp.locked(); COMMIT;
BEGIN; SELECT count(*), min(at), max(at) FROM chunked.page(NULL::parts, filter => 'at BETWEEN $1 AND $2', args => '[950, 2000]'); SELECT pg_temp.locked(); COMMIT;
BEGIN; SELECT count(*), min(at), max(at) FROM chunked.page(NULL::parts, filter => 'at BETWEEN $1 AND $2', args => '[950, null]'); SELECT pg_temp.locked(); COMMIT;
BEGIN; SELECT count(*), min(at), max(at) FROM chunked.page(NULL::parts, filter => 'at = ANY ($1) OR at < $2', args => '[[5, 905], -10]'); SELECT pg_temp.locked(); COMMIT;
-- a cursor keeps its own, whatever others are used meanwhile
BEGIN; DECLARE c CURSOR FOR SELECT at FROM chunked.page(NULL::parts, filter => 'at IN ($1, $2)', args => '[50, 650]'); FETCH 1 FROM c;
SELECT count(*), min(at), max(at) FROM chunked.page(NULL::parts, filter => 'at IN ($1, $2)', args => '[450, 851]'); FETCH ALL FROM c; COMMIT;

DROP SCHEMA filter_args_test, filter_args_other CASCADE;
