-- chunks() and next_chunk(): boundaries, counts, and where they end.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/failure.sql
\i :srcdir/sql/include/walk.sql
\set ECHO all
\set VERBOSITY sqlstate
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS chunks_test CASCADE;
RESET client_min_messages;
CREATE SCHEMA chunks_test;
SET search_path = chunks_test;
CREATE TABLE event (id int PRIMARY KEY, kind int NOT NULL);
INSERT INTO event SELECT i, i % 10 FROM generate_series(1, 100) i;
ANALYZE event;

-- sizes that divide the table, leave a rest, are one row, and are all of it
SELECT size, count(*), min(row_count), max(row_count), sum(row_count), max(number),
	(array_agg(row_count ORDER BY number DESC))[1] AS last
FROM unnest('{1,3,10,99,100,101,1000}'::int[]) size, chunked.chunks('event', size) c GROUP BY size ORDER BY size;
SELECT count(*) FROM chunked.chunks('event');
SELECT * FROM chunked.chunks('event', 40);
SELECT * FROM chunked.next_chunk('event', 40);
SELECT * FROM chunked.next_chunk('event', 40, after => '{"id": "80"}');
SELECT * FROM chunked.next_chunk('event', 40, after => '{"id": "100"}');
SELECT * FROM chunked.next_chunk('event', 40, after => '{"id": "1000"}');

-- from and up to positions, of rows or not
SELECT number, after, upto, row_count FROM chunked.chunks('event', 20, after => '{"id": 33}', upto => '{"id": 80}');
SELECT number, after, upto, row_count FROM chunked.chunks('event', 20, upto => '{"id": 1000}') WHERE number = 5;
SELECT number, after, upto, row_count FROM chunked.chunks('event', 20, after => '{"id": 60}', upto => '{"id": 60}');
-- the empty position is the open end
SELECT number, after, upto, row_count FROM chunked.chunks('event', 50, after => '{}', upto => '{}');
SELECT number, after, upto, row_count FROM chunked.chunks('event', 50, after => '{"id": 60}', upto => '{}', exact => false);
SELECT number, after, upto, row_count FROM chunked.next_chunk('event', 50, after => '{}', upto => '{}', filter => 'id > 10');
SELECT number, after, upto, row_count FROM chunked.chunks('event', 20, after => '{"id": 80}', upto => '{"id": 60}');
SELECT number, after, upto, row_count FROM chunked.chunks('event', 20, upto => '{"id": 0}');
SELECT number, after, upto, row_count FROM chunked.chunks('event', 40, key => 'id DESC', after => '{"id": 90}', upto => '{"id": 20}');
DELETE FROM event WHERE id BETWEEN 41 AND 59;
SELECT number, after, upto, row_count FROM chunked.chunks('event', 20, after => '{"id": 30}', upto => '{"id": 65}');
INSERT INTO event SELECT i, i % 10 FROM generate_series(41, 59) i;

--
-- Filters: only matching rows count, the others go with the chunk they are in
--
SELECT number, after, upto, row_count FROM chunked.chunks('event', 4, filter => 'kind = 5');
SELECT number, after, upto, row_count FROM chunked.chunks('event', 4, filter => 'kind IS NULL');
SELECT number, after, upto, row_count FROM chunked.chunks('event', 40, filter => 'id > 50');
SELECT pg_temp.walk('event', 'id', filter => 'kind IN (3, 4)', size => 3);
SELECT pg_temp.walk('event', 'kind DESC, id', 'kind DESC', 7, 'id % 7 = 0');
-- the predicate does not repeat the filter
SELECT predicate FROM chunked.next_chunk('event', 4, filter => 'kind = 5');

-- scan_limit: chunks of few matches or none still advance
SELECT number, after, upto, row_count FROM chunked.chunks('event', 4, filter => 'kind = 5', scan_limit => 17);
SELECT number, after, upto, row_count FROM chunked.chunks('event', 4, filter => 'id = 55', scan_limit => 30);
SELECT number, after, upto, row_count FROM chunked.chunks('event', 4, filter => 'false', scan_limit => 50);
SELECT number, after, upto, row_count FROM chunked.chunks('event', 4, filter => 'NULL', scan_limit => 50);
SELECT number, after, upto, row_count FROM chunked.chunks('event', 2, filter => 'true', scan_limit => 60) WHERE number > 49;
SELECT number, after, upto, row_count FROM chunked.chunks('event', 50, scan_limit => 30);
SELECT number, after, upto, row_count FROM chunked.chunks('event', 4, filter => 'kind = 5', scan_limit => 1000);
SELECT * FROM chunked.next_chunk('event', 4, filter => 'false', scan_limit => 10);
SELECT * FROM chunked.next_chunk('event', 4, after => '{"id": 95}', filter => 'false', scan_limit => 10);
SELECT * FROM chunked.next_chunk('event', 4, after => '{"id": 100}', filter => 'false', scan_limit => 10);
SELECT sum(row_count), count(*) > 10 AS closed_early FROM chunked.chunks('event', 10, filter => 'kind < 3', scan_limit => 9);

--
-- The stateless walk
--
CREATE FUNCTION steps(size int, key text DEFAULT NULL, filter text DEFAULT NULL, scan_limit int DEFAULT NULL, grow int DEFAULT 0)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	mark jsonb := (SELECT last FROM chunked.bounds('event', key));
	last jsonb;
	c chunked.chunk;
	n int := 0;
	rows bigint := 0;
	top int;
BEGIN
	LOOP
		SELECT * INTO c FROM chunked.next_chunk('event', size, last, mark, key, filter, scan_limit => scan_limit);
		EXIT WHEN NOT FOUND;
		n := n + 1;
		rows := rows + c.row_count;
		last := c.upto;
		IF n > 1000 THEN
			RETURN 'does not end';
		END IF;
		-- the table grows faster than the walk
		IF grow > 0 THEN
			SELECT max(id) INTO top FROM event;
			INSERT INTO event SELECT i, i % 10 FROM generate_series(top + 1, top + grow) i;
		END IF;
	END LOOP;
	RETURN format('%s rows in %s chunks up to %s', rows, n, last);
END
$$;
SELECT steps(30);
SELECT steps(30, 'kind DESC, id');
SELECT steps(3, filter => 'kind = 5');
SELECT steps(3, filter => 'kind = 5', scan_limit => 20);
SELECT steps(3, filter => 'false', scan_limit => 20);
-- up to the high-water mark, though rows are inserted beyond it all the time
BEGIN;
SELECT steps(10, grow => 30);
SELECT count(*) FROM event;
ROLLBACK;
-- without one it would not end
SELECT count(*) FROM chunked.next_chunk('event', 10, after => '{"id": 100}', upto => '{"id": 100}');

-- chunks() fixes its own when it starts
BEGIN;
DECLARE c CURSOR FOR SELECT (chunked.chunks('event', 40)).*;
FETCH 1 FROM c;
INSERT INTO event VALUES (101, 1), (102, 2);
DELETE FROM event WHERE id = 40;
FETCH ALL FROM c;
ROLLBACK;

--
-- In the select list chunks come one at a time
--
CREATE SEQUENCE examined;
CREATE FUNCTION counted(int) RETURNS bool LANGUAGE plpgsql COST 1 AS $$ BEGIN RETURN nextval('chunks_test.examined') > 0; END $$;
CREATE FUNCTION reset() RETURNS bigint LANGUAGE sql RETURN setval('chunks_test.examined', 1, false);
SELECT reset();
SELECT (chunked.chunks('event', 10, filter => 'chunks_test.counted(id)')).number LIMIT 1;
SELECT last_value BETWEEN 1 AND 20 AS streamed FROM examined;
SELECT reset();
SELECT count(*) FROM (SELECT chunked.chunks('event', 10, filter => 'chunks_test.counted(id)') LIMIT 3) c;
SELECT last_value BETWEEN 21 AND 40 AS streamed FROM examined;
SELECT chunked.chunks('event', 50);
SELECT (c).upto, (c).row_count FROM (SELECT chunked.chunks('event', 50) AS c) s;
-- closed early, again and again, and in a subtransaction that fails
DO $$
BEGIN
	FOR i IN 1 .. 200 LOOP
		PERFORM chunked.chunks('event', 10) LIMIT 2;
		BEGIN
			PERFORM chunked.chunks('event', 10), 1 / 0;
		EXCEPTION WHEN division_by_zero THEN
			NULL;
		END;
	END LOOP;
END
$$;
-- under a savepoint that is rolled back
BEGIN;
DECLARE c CURSOR FOR SELECT (chunked.chunks('event', 30)).number, (chunked.chunks('event', 30)).upto;
SAVEPOINT s;
FETCH 1 FROM c;
RELEASE s;
FETCH 1 FROM c;
SAVEPOINT s;
SELECT 1 / 0;
ROLLBACK TO s;
FETCH ALL FROM c;
COMMIT;
BEGIN;
DECLARE h CURSOR WITH HOLD FOR SELECT (chunked.chunks('event', 30)).number;
FETCH 1 FROM h;
COMMIT;
FETCH ALL FROM h;
CLOSE h;

-- a chunk is a piece of work: its predicate, with and without an alias
CREATE FUNCTION work() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	c chunked.chunk;
	n bigint;
	total bigint := 0;
BEGIN
	FOR c IN SELECT * FROM chunked.chunks('event', 30, key => 'kind, id DESC', alias => 'e') LOOP
		EXECUTE format('UPDATE %s e SET kind = e.kind FROM event other WHERE other.id = e.id AND %s', c.relation, c.predicate);
		GET DIAGNOSTICS n = ROW_COUNT;
		total := total + n;
	END LOOP;
	RETURN total;
END
$$;
SELECT work();
SELECT predicate FROM chunked.next_chunk('event', 30, alias => 'E');
SELECT predicate FROM chunked.next_chunk('event', 30, alias => '"E"');
SELECT predicate FROM chunked.next_chunk('event', 30, alias => '"select"');
SELECT predicate FROM chunked.next_chunk('event', 30, alias => ' e ');

-- duplicates at a boundary, where the catalog allows them
CREATE VIEW doubled AS SELECT id / 5 AS g, id FROM event WHERE id < 20;
-- ties belong to the chunk that they end: its condition holds them anyway
CREATE FUNCTION coverage(size bigint, options text DEFAULT NULL, condition text DEFAULT 'true') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	chunk chunked.chunk;
	held bigint;
	sizes bigint[];
	wrong int := 0;
BEGIN
	FOR chunk IN EXECUTE format('SELECT * FROM chunked.chunks(''doubled'', %s, key => ''g''%s)', size, concat(', ' || options)) LOOP
		EXECUTE format('SELECT count(*) FROM doubled WHERE (%s) AND %s', condition, chunk.predicate) INTO held;
		sizes := sizes || held;
		wrong := wrong + (held <> chunk.row_count)::int;
	END LOOP;
	RETURN format('%s rows in %s chunks: %s, %s of them counted otherwise', (SELECT sum(s) FROM unnest(sizes) s), cardinality(sizes), sizes, wrong);
END
$$;
SELECT size, coverage(size) FROM unnest('{1,4,5,6,9,19,20}'::int[]) size;
SELECT size, coverage(size, $$filter => 'id % 2 = 0'$$, 'id % 2 = 0') FROM unnest('{1,2,3,9,10}'::int[]) size;
SELECT coverage(100, $$filter => 'id = 7', scan_limit => 4$$, 'id = 7'), coverage(100, $$filter => 'id = 7', scan_limit => 5$$, 'id = 7');
SELECT number, upto, row_count FROM chunked.next_chunk('doubled', 7, key => 'g');
-- for far more than asked for there is a warning
SET client_min_messages = warning;
SELECT count(*) FROM chunked.chunks('doubled', 1, key => 'g', filter => 'g < 0 OR true');
CREATE TABLE one_value AS SELECT 1 AS a FROM generate_series(1, 100);
SELECT number, upto, row_count FROM chunked.chunks('one_value', 10, key => 'a');
SELECT number, upto, row_count, predicate FROM chunked.chunks('doubled', 9, key => 'g, id');

SET client_min_messages = warning;
DROP SCHEMA chunks_test CASCADE;
