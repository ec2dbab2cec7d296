-- Pages that end with the row with which a number of bytes is reached.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/failure.sql
\set ECHO all
\set VERBOSITY terse
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS max_bytes_test CASCADE;
CREATE SCHEMA max_bytes_test;
SET search_path = max_bytes_test;
-- 8 bytes, and 10 for each time: each row has its number's worth of them
CREATE TABLE event (id bigint PRIMARY KEY, v text);
INSERT INTO event SELECT i, repeat('0123456789', i % 4) FROM generate_series(1, 40) i;
CREATE FUNCTION ids(max_bytes bigint, page_size bigint DEFAULT 1000, after jsonb DEFAULT NULL, before jsonb DEFAULT NULL, key text DEFAULT NULL, filter text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(e.id::text, ' ') FROM chunked.page(NULL::event, page_size, after, before => before, key => key, filter => filter, max_bytes => max_bytes) e
$$;

-- 1: 18, 2: 28, 3: 38, 4: 8, ...
SELECT bytes, ids(bytes), ids(bytes, after => '{"id": 3}') AS after_3, ids(bytes, before => '{"id": 5}') AS before_5, ids(bytes, before => '{}') AS from_the_end, ids(bytes, key => 'id DESC') AS descending,
	ids(bytes, filter => 'id % 4 <> 2') AS filtered, ids(bytes, 2) AS two_at_most
FROM unnest('{1,8,18,19,46,47,84,85,92,93}'::bigint[]) bytes;
SELECT ids(9223372036854775807) = ids(NULL) AS no_limit, ids(9223372036854775807, 9223372036854775807, before => '{}') = ids(NULL) AS backwards, count(*) FROM chunked.page(NULL::event, max_bytes => NULL);
-- as a function, through a cursor, and where the plan does not know it
SELECT string_agg(id::text, ' ') FROM (SELECT (chunked.page(NULL::event, max_bytes => 47)).id) e;
PREPARE pages(bigint) AS SELECT string_agg(id::text, ' ') FROM chunked.page(NULL::event, max_bytes => $1) e;
EXECUTE pages(47);
EXECUTE pages(46);
EXECUTE pages(NULL);
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM chunked.page(NULL::event, max_bytes => 47);
FETCH ALL FROM c;
COMMIT;
-- rows of which only some columns are wanted have all their bytes
SELECT count(*) FROM chunked.page(NULL::event, max_bytes => 47);
SELECT count(v) FROM chunked.page(NULL::event, max_bytes => 47);

-- a walk is over when a page is empty, not when it is short
CREATE FUNCTION walk(max_bytes bigint, page_size bigint, filter text DEFAULT NULL, OUT pages int, OUT rows text) LANGUAGE plpgsql AS $$
DECLARE
	ids bigint[];
	done bigint[] := '{}';
	place jsonb;
BEGIN
	pages := 0;
	LOOP
		SELECT array_agg(e.id), (array_agg(chunked.position_of(e)))[count(*)] INTO ids, place
		FROM chunked.page(NULL::event, page_size, place, filter => filter, max_bytes => max_bytes) e;
		EXIT WHEN ids IS NULL;
		pages := pages + 1;
		done := done || ids;
	END LOOP;
	rows := CASE WHEN done = ARRAY(SELECT id FROM event ORDER BY id) THEN 'all' ELSE array_to_string(done, ' ') END;
END
$$;
SELECT bytes, size, w.* FROM unnest('{1,50,100,100000}'::bigint[]) bytes, unnest('{1,7,1000}'::bigint[]) size, walk(bytes, size) w;
SELECT w.* FROM walk(40, 3, 'id % 13 = 0') w;

-- what values are when they are read: out of line, compressed, short, null, dropped, of fixed length, as C strings
CREATE TABLE wide (id int PRIMARY KEY, gone text, stored text, short text, n name, c cidr, t text, u uuid);
ALTER TABLE wide ALTER stored SET STORAGE external;
INSERT INTO wide SELECT i, repeat('x', 1000), repeat('s', 100000), 'short', 'name', '10.0.0.0/8', repeat('compressed', 10000), gen_random_uuid() FROM generate_series(1, 5) i;
INSERT INTO wide VALUES (6, repeat('x', 1000));
ALTER TABLE wide DROP gone;
ALTER TABLE wide ADD later int DEFAULT 7;
-- 4 + 100000 + 5 + 64 + 6 + 100000 + 16 + 4
CREATE FUNCTION of_wide(max_bytes bigint, before jsonb DEFAULT NULL) RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM chunked.page(NULL::wide, max_bytes => max_bytes, before => before)';
SELECT of_wide(200000), of_wide(200099), of_wide(200100), of_wide(400198), of_wide(400199), of_wide(1000000);
-- 4 + 4
SELECT of_wide(8, '{}'), of_wide(9, '{}');
CREATE VIEW seen AS SELECT id, v, v || v AS twice FROM event;
SELECT string_agg(id::text, ' ') FROM chunked.page(NULL::seen, key => 'id', max_bytes => 39) e;
SELECT string_agg(id::text, ' ') FROM chunked.page(NULL::seen, key => 'id', max_bytes => 38) e;
CREATE TABLE part (id bigint PRIMARY KEY, v text) PARTITION BY HASH (id);
CREATE TABLE part_1 PARTITION OF part FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE part_2 PARTITION OF part FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO part SELECT * FROM event;
SELECT string_agg(id::text, ' ') FROM chunked.page(NULL::part, max_bytes => 47) e;
-- rows that share the last one's position are an error there, too
CREATE VIEW doubled AS SELECT id / 2 AS g, id, v FROM event;
SELECT bytes, pg_temp.failure(format('SELECT FROM chunked.page(NULL::doubled, key => ''g'', max_bytes => %s)', bytes)) FROM unnest('{26,27,120}'::int[]) bytes;

SELECT bytes, pg_temp.failure(format('SELECT FROM chunked.page(NULL::event, max_bytes => %s)', bytes)) FROM unnest('{0,-1,-9223372036854775808}'::bigint[]) bytes;

SET client_min_messages = warning;
DROP SCHEMA max_bytes_test CASCADE;
