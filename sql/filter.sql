-- The filter: one boolean expression, read again wherever its meaning changes.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/failure.sql
\i :srcdir/sql/include/walk.sql
\set ECHO all
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS filter_test CASCADE;
RESET client_min_messages;
CREATE SCHEMA filter_test;
SET search_path = filter_test;
CREATE TABLE event (id int PRIMARY KEY, kind int, ok bool, t text COLLATE "C", at timestamptz NOT NULL);
INSERT INTO event SELECT i, NULLIF(i % 4, 0), i % 3 = 0, 'it''s ' || i, '2020-01-01 00:00:00+00'::timestamptz + i * interval '1 hour'
FROM generate_series(1, 20) i;

-- what may be written: anything that may follow WHERE
SELECT f AS filter, pg_temp.walk('event', 'id', size => 3, filter => f) FROM (VALUES
	('true'), ('false'), ('NULL'), ('ok'), ('NOT ok'), ('kind IS NULL'), ('kind = 1 AND id > 5'), ('kind = 1 OR id > 15'),
	('id IN (1, 2, 3, 17)'), ('t LIKE ''it''''s 1%'''), ('t = $q$it''s 7$q$'), ('at >= ''2020-01-01 10:00:00+00'''),
	('id = ANY (ARRAY(SELECT max(id) FROM filter_test.event))'),
	('CASE WHEN ok THEN kind = 3 ELSE id < 4 END'), ('kind IS DISTINCT FROM 1'), ('(id, kind) > (10, 2)'),
	('id > 5 -- comment'), ('/* comment */ id > 5'), (E'id\n>\n5'), ('ctid IS NOT NULL'), ('  ok  '),
	('''t''::bool'), ('''t'''), ('"kind" = 1'), ('id BETWEEN 3 AND 9')) v(f);

-- the relation by its name, in filters that come out of a tuple
SELECT f AS filter, (SELECT string_agg(e.id::text, ' ') FROM chunked.page(NULL::event, filter => f) e),
	(SELECT sum(row_count) FROM chunked.chunks('event', 2, filter => f, scan_limit => 7))
FROM unnest(ARRAY['true -- ) ;', 'event.kind = 2', 'filter_test.event.kind = 2', '(event).kind = 2', 'event IS NULL', 'event = (SELECT e FROM filter_test.event e WHERE id = 5)',
	'EXISTS (SELECT FROM filter_test.event e WHERE e.id = event.id + 1 AND e.ok)']) f;

-- what is refused
SELECT f AS filter, pg_temp.failure(format('SELECT * FROM chunked.page(NULL::event, filter => %L)', f)) FROM (VALUES
	(''),
	('  '),
	('-- comment'),
	('true;'),
	('true; DROP TABLE event'),
	('true) OR (true'),
	('true)'),
	('(true'),
	('true) UNION SELECT * FROM (SELECT'),
	('true, false'),
	('true AS x'),
	('id > 5 ORDER BY id'),
	('id > 5 LIMIT 1'),
	('id > 5 GROUP BY id'),
	('true FROM event'),
	('true WHERE true'),
	('DISTINCT ok'),
	('SELECT true'),
	('WHERE true'),
	('id = $1'),
	('id = $2'),
	('ok AND'),
	('true FOR UPDATE'),
	('DROP TABLE event')) v(f);
-- the server's words
SELECT f AS filter, pg_temp.state(format('SELECT * FROM chunked.page(NULL::event, filter => %L)', f)) FROM (VALUES
	('*'), ('event.*'), ('id'), ('id + 1'), ('t'), ('1'), ('''x'''), ('nonesuch = 1'), ('other.id = 1'), ('nonesuch(id)'), ('count(*) > 1'), ('row_number() OVER () = 1'),
	('generate_series(1, 2) = 1'), ('t > 5'), ('id = ''x'''), ('ROW(1, 2)'), ('(SELECT 1, 2)'), ('event'), ('t = ''unfinished'), ('"unfinished'),
	('DEFAULT'), ('id = CURRENT_CATALOG.x.y.z.w')) v(f);
-- wherever a filter is taken, and before anything is read
SELECT pg_temp.failure($$SELECT * FROM chunked.bounds('event', filter => 'true; SELECT 1')$$);
SELECT pg_temp.failure($$SELECT * FROM chunked.chunks('event', filter => 'true) OR (true')$$);
SELECT pg_temp.failure($$SELECT * FROM chunked.next_chunk('event', filter => 'id = $1')$$);
SELECT pg_temp.state($$SELECT * FROM chunked.next_chunk('event', filter => 'id', scan_limit => 5)$$);
SELECT pg_temp.state($$SELECT * FROM chunked.page(NULL::event, after => '{"id": 100}', filter => 'nonesuch')$$);
-- nothing of it was run
SELECT count(*) FROM event;

-- nothing may be written by it either
CREATE TABLE log (id int);
CREATE FUNCTION writes(id int) RETURNS bool LANGUAGE sql VOLATILE AS 'INSERT INTO filter_test.log VALUES (id) RETURNING true';
SELECT pg_temp.state($$SELECT * FROM chunked.page(NULL::event, filter => 'true AND (WITH w AS (INSERT INTO filter_test.log VALUES (1) RETURNING 1) SELECT true FROM w)')$$);
SELECT count(*) FROM log;

--
-- A literal means what the session's settings say now, not what they said when
-- the filter was first seen
--
CREATE FUNCTION matches(filter text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(id::text, ' ' ORDER BY id) FROM chunked.page(NULL::event, filter => filter)
$$;
SET TimeZone = 'UTC';
SELECT matches('at = ''2020-01-01 10:00''');
SET TimeZone = 'Etc/GMT+5';
SELECT matches('at = ''2020-01-01 10:00''');
SET TimeZone = 'Etc/GMT-5';
SELECT matches('at = ''2020-01-01 10:00'''), matches('at = ''2020-01-01 10:00'' AND true');
SET TimeZone = 'UTC';
SELECT matches('at = ''2020-01-01 10:00''');
SELECT row_count, upto FROM chunked.next_chunk('event', filter => 'at < ''2020-01-01 10:00''');
SET TimeZone = 'Etc/GMT-5';
SELECT row_count, upto FROM chunked.next_chunk('event', filter => 'at < ''2020-01-01 10:00''');
SELECT first FROM chunked.bounds('event', filter => 'at >= ''2020-01-01 10:00''');
SET TimeZone = 'UTC';
SELECT first FROM chunked.bounds('event', filter => 'at >= ''2020-01-01 10:00''');
INSERT INTO event VALUES (101, 1, true, 'a', '2020-03-02'), (102, 1, true, 'a', '2020-02-03');
SET DateStyle = 'ISO, MDY';
SELECT matches('at = ''02/03/2020''');
SET DateStyle = 'ISO, DMY';
SELECT matches('at = ''02/03/2020''');
RESET DateStyle;
ALTER TABLE event ADD v interval;
UPDATE event SET v = CASE id WHEN 1 THEN interval '-1 day -2 hours' WHEN 2 THEN interval '-1 day +2 hours' END WHERE id < 3;
SET IntervalStyle = 'postgres';
SELECT matches('v = ''-1 2:00:00''');
SET IntervalStyle = 'sql_standard';
SELECT matches('v = ''-1 2:00:00''');
RESET IntervalStyle;
SET standard_conforming_strings = on;
SET client_min_messages = error;
INSERT INTO event VALUES (201, 1, true, 'a\x62', '2021-01-01'), (202, 1, true, 'ab', '2021-01-01');
SELECT matches('t = ''a\x62''');
-- PostgreSQL 19 has no others
DO $$ BEGIN SET standard_conforming_strings = off; EXCEPTION WHEN feature_not_supported THEN END $$;
SELECT matches('t = ''a\x62''') = CASE current_setting('standard_conforming_strings') WHEN 'off' THEN '202' ELSE '201' END AS as_read;
RESET standard_conforming_strings;
RESET client_min_messages;

-- the clock is read by each call, though 'now' is a constant once it is parsed:
-- three transactions in three moments, all by one function with one filter
CREATE TABLE tick (id int PRIMARY KEY, at timestamptz NOT NULL);
CREATE PROCEDURE tick(filter text, INOUT missed int DEFAULT 0) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 3 LOOP
		DELETE FROM tick;
		INSERT INTO tick VALUES (i, now());
		missed := missed + 1 - (SELECT count(*) FROM chunked.page(NULL::tick, filter => filter));
		missed := missed + 1 - (SELECT count(*) FROM chunked.chunks('tick', filter => filter));
		COMMIT;
		PERFORM pg_sleep(0.002);
	END LOOP;
END
$$;
CALL tick('at = ''now''');
CALL tick('at = now()');
CALL tick('at = ''NOW''::timestamptz');
CALL tick('tstzrange(''-infinity'', ''now'', ''[]'') @> at');
CALL tick('''[now,infinity]''::tstzrange @> at');
CALL tick('at::date = ''today''::timestamptz::date');

SET client_min_messages = warning;
DROP SCHEMA filter_test CASCADE;
