-- A job's statement: where {chunk} is found, and what is refused before anything runs.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/failure.sql
\set ECHO all
\set SHOW_CONTEXT never
\set VERBOSITY sqlstate
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS statement_test CASCADE;
CREATE SCHEMA statement_test;
SET search_path = statement_test;
SET pg_chunked.progress_interval = 0;
CREATE TABLE event (id int PRIMARY KEY, kind int NOT NULL, n int NOT NULL DEFAULT 0, note text NOT NULL DEFAULT '', "{chunk}" int, "Odd ""col" int);
CREATE UNIQUE INDEX ON event (kind, id);
INSERT INTO event (id, kind) SELECT i, i % 3 FROM generate_series(1, 10) i;
CREATE TABLE part (id int PRIMARY KEY, n int NOT NULL DEFAULT 0) PARTITION BY RANGE (id);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (100);
INSERT INTO part SELECT generate_series(1, 10);
CREATE TABLE other (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);
-- the job for a statement, dropped at once: how it is refused, or that it is not
CREATE FUNCTION refusal(statement text, key text DEFAULT NULL, relation regclass DEFAULT 'event') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	outcome text := pg_temp.failure(format('SELECT chunked.create_job(%L, %L, name => ''refused'', key => %L)', relation, statement, key));
BEGIN
	IF outcome = 'no error' THEN
		PERFORM chunked.drop_job('refused');
	END IF;
	RETURN outcome;
END
$$;
CREATE FUNCTION state(statement text, key text DEFAULT NULL, relation regclass DEFAULT 'event') RETURNS text LANGUAGE sql AS $$
SELECT CASE left(refusal(statement, key, relation), 8) WHEN 'no error' THEN 'no error' ELSE left(refusal(statement, key, relation), 5) END
$$;

--
-- Found, and left alone
--
CALL chunked.run('event', 'UPDATE event SET n = n + 1 WHERE {chunk}', chunk_size => 3);
CALL chunked.run('event', 'UPDATE event SET n = n + 1 WHERE{chunk}', chunk_size => 3);
CALL chunked.run('event', 'UPDATE event SET n = n + 1 WHERE { chunk }', chunk_size => 3);
CALL chunked.run('event', 'UPDATE event SET n = n + 1 WHERE {CHUNK}', chunk_size => 3);
CALL chunked.run('event', 'UPDATE event e SET n = n + 1 WHERE {chunk:e}', chunk_size => 3);
CALL chunked.run('event', 'UPDATE event E SET n = n + 1 WHERE { chunk : E }', chunk_size => 3);
CALL chunked.run('event', 'UPDATE event "Odd ""Alias" SET n = n + 1 WHERE {chunk:"Odd ""Alias"}', chunk_size => 3);
CALL chunked.run('event', 'UPDATE event "select" SET n = n + 1 WHERE {chunk:"select"}', chunk_size => 3);
-- between other conditions it stays one
CALL chunked.run('event', 'UPDATE event SET n = n + 1 WHERE NOT {chunk} IS NOT TRUE OR false', chunk_size => 3);
CALL chunked.run('event', 'UPDATE event SET n = n + 1 WHERE ({chunk}) AND {chunk} AND NOT (NOT {chunk})', chunk_size => 3);
SELECT n, count(*) FROM event GROUP BY n;
-- as text it is text
CALL chunked.run('event', 'UPDATE event SET note = ''{chunk}'' || $$ {chunk} $$ || $a$ {chunk:e} {nonsense} $a$ || E''\'' {x'' || U&''{chunk}'' WHERE {chunk}', chunk_size => 3);
SELECT note, count(*) FROM event GROUP BY note;
CALL chunked.run('event', 'UPDATE event SET "{chunk}" = 5, note = ''{'' -- {nonsense} ''
	/* {chunk:} /* { */ } */ WHERE {chunk} -- {chunk', chunk_size => 3);
SELECT "{chunk}", note, count(*) FROM event GROUP BY 1, 2;
CALL chunked.run('event', 'UPDATE event "{chunk:e}" SET note = ''alias'' WHERE {chunk:"{chunk:e}"}', chunk_size => 3);
SELECT note, count(*) FROM event GROUP BY 1;
-- what ends the statement
CALL chunked.run('event', 'UPDATE event SET note = ''1'' WHERE {chunk};', chunk_size => 3);
CALL chunked.run('event', 'UPDATE event SET note = note || ''2'' WHERE {chunk} ; ; -- done', chunk_size => 3);
CALL chunked.run('event', 'UPDATE event SET note = note || ''3'' WHERE {chunk} /* done */', chunk_size => 3);
CALL chunked.run('event', E'-- first\n;UPDATE event SET note = note || ''4'' WHERE {chunk} RETURNING id', chunk_size => 3);
SELECT note, count(*) FROM event GROUP BY note;
-- with standard strings or without, which PostgreSQL 19 no longer has
DO $$ BEGIN SET standard_conforming_strings = off; EXCEPTION WHEN feature_not_supported THEN END $$;
SELECT current_setting('standard_conforming_strings') AS standard \gset
SET client_min_messages = error;
\if :standard
CALL chunked.run('event', $u$UPDATE event SET note = E'\' {chunk' WHERE {chunk}$u$, chunk_size => 3);
\else
CALL chunked.run('event', 'UPDATE event SET note = ''\\'' {chunk'' WHERE {chunk}', chunk_size => 3);
\endif
RESET standard_conforming_strings;
SET client_min_messages = warning;
SELECT note, count(*) FROM event GROUP BY note;

--
-- Refused
--
SELECT statement, refusal(statement) FROM (VALUES
	(1, 'UPDATE event SET n = 1'),
	(2, 'UPDATE event SET n = 1 WHERE ''{chunk}'' = '''''),
	(3, 'UPDATE event SET n = 1 -- WHERE {chunk}'),
	(4, ''),
	(5, ' -- nothing'),
	(10, 'UPDATE event SET n = 1 WHERE {}'),
	(11, 'UPDATE event SET n = 1 WHERE {chunks}'),
	(12, 'UPDATE event SET n = 1 WHERE {chunk'),
	(13, 'UPDATE event SET n = 1 WHERE {chunk:}'),
	(14, 'UPDATE event SET n = 1 WHERE {chunk:a b}'),
	(15, 'UPDATE event SET n = 1 WHERE {chunk:a.b}'),
	(17, 'UPDATE event SET n = 1 WHERE {chunk,chunk}'),
	(18, 'UPDATE event SET n = 1 WHERE {{chunk}}'),
	(19, 'UPDATE event SET n = 1 WHERE {chunk} AND {key}'),
	(21, 'UPDATE event SET n = 1 WHERE {"CHUNK"}'),
	(30, 'UPDATE event SET n = $1 WHERE {chunk}'),
	(31, 'UPDATE event SET n = 1 WHERE {chunk} AND id < $2'),
	(40, 'UPDATE event SET n = 1 WHERE {chunk}; UPDATE event SET n = 2 WHERE {chunk}'),
	(41, 'UPDATE event SET n = 1 WHERE {chunk}; COMMIT'),
	(50, 'CREATE TABLE more AS SELECT * FROM event WHERE {chunk}'),
	(51, 'EXPLAIN UPDATE event SET n = 1 WHERE {chunk}'),
	(52, 'COPY (SELECT * FROM event WHERE {chunk}) TO STDOUT'),
	(53, 'PREPARE p AS SELECT * FROM event WHERE {chunk}'),
	(54, 'DECLARE c CURSOR FOR SELECT * FROM event WHERE {chunk}'),
	(55, 'CREATE VIEW more AS SELECT * FROM event WHERE {chunk}')) s (n, statement) ORDER BY n;
-- malformed: in the server's words, which change
SELECT statement, left(refusal(statement), 38) FROM (VALUES
	(1, 'UPDATE event SET n = 1 {chunk}'),
	(2, 'UPDATE {chunk} SET n = 1'),
	(3, 'UPDATE event SET WHERE {chunk}'),
	(4, 'VACUUM {chunk}'),
	(5, 'CALL f() WHERE {chunk}'),
	(6, 'UPDATE event SET n = 1 WHERE {chunk} AND'),
	(7, 'UPDATE event SET n = 1 WHERE {chunk} }')) s (n, statement) ORDER BY n;
SELECT statement, state(statement) FROM (VALUES
	(1, 'UPDATE event SET n = 1 WHERE {chunk} AND note = ''x'),
	(2, 'UPDATE event SET n = ''x'' WHERE {chunk}'),
	(3, 'SELECT {chunk}'),
	(4, 'SELECT * FROM event INTO more WHERE {chunk}'),
	(5, 'SELECT * INTO more FROM event WHERE {chunk}'),
	(6, 'UPDATE event SET n = 1 WHERE {chunk:a:b}'),
	(7, 'UPDATE event SET n = 1 WHERE {chunk:''e''}')) s (n, statement) ORDER BY n;
-- nothing of it was run, or is left
SELECT to_regclass('more'), (SELECT count(*) FROM event WHERE n IN (1, 2)) AS changed, (SELECT count(*) FROM chunked.jobs WHERE name = 'refused') AS jobs;

--
-- The key stays as it is
--
SELECT statement, refusal(statement) FROM (VALUES
	(1, 'UPDATE event SET id = id + 1 WHERE {chunk}'),
	(2, 'UPDATE event SET n = 1, (note, id) = (SELECT '''', 5) WHERE {chunk}'),
	(3, 'UPDATE event e SET id = DEFAULT WHERE {chunk:e}'),
	(4, 'WITH c AS (UPDATE event SET id = -id WHERE {chunk} RETURNING id) SELECT * FROM c'),
	(5, 'WITH c AS (SELECT 1) INSERT INTO event (id, kind) SELECT id, 1 FROM event WHERE {chunk} ON CONFLICT (id) DO UPDATE SET id = excluded.id'),
	(6, 'MERGE INTO event e USING (SELECT id FROM event WHERE {chunk}) s ON s.id = e.id WHEN MATCHED AND e.n > 5 THEN DELETE WHEN MATCHED THEN UPDATE SET n = 1, id = 5')) s (n, statement) ORDER BY n;
-- other columns may change, and other tables
SELECT statement, refusal(statement) FROM (VALUES
	(1, 'UPDATE event SET kind = 1, n = id, note = ''id'' WHERE {chunk}'),
	(2, 'INSERT INTO event (id, kind) SELECT id + 100, 1 FROM event WHERE {chunk}'),
	(3, 'INSERT INTO event (id, kind) SELECT id, 1 FROM event WHERE {chunk} ON CONFLICT (id) DO UPDATE SET n = excluded.id'),
	(4, 'MERGE INTO event e USING (SELECT id FROM event WHERE {chunk}) s ON s.id = e.id WHEN MATCHED THEN UPDATE SET n = 1 WHEN NOT MATCHED THEN INSERT (id, kind) VALUES (s.id, 0)'),
	(5, 'UPDATE other SET id = -event.id FROM event WHERE other.id = event.id AND {chunk:event}'),
	(6, 'INSERT INTO other SELECT id FROM event WHERE {chunk} ON CONFLICT (id) DO UPDATE SET id = -excluded.id'),
	(7, 'DELETE FROM event WHERE {chunk} AND false')) s (n, statement) ORDER BY n;
-- another key, with the columns that were added to make it unique
SELECT key, statement, left(refusal(statement, key), 72) FROM (VALUES
	(1, 'kind', 'UPDATE event SET kind = 1 WHERE {chunk}'),
	(2, 'kind', 'UPDATE event SET id = 1 WHERE {chunk}'),
	(3, 'kind', 'UPDATE event SET n = 1 WHERE {chunk}'),
	(4, '"Odd ""col" DESC', 'UPDATE event SET "Odd ""col" = 1 WHERE {chunk}'),
	(5, '"Odd ""col" DESC', 'UPDATE event SET kind = 1 WHERE {chunk}')) s (n, key, statement) ORDER BY n;
-- a partition is the table, too, and so is a table below it
SELECT statement, left(refusal(statement, relation => 'part'), 72) FROM (VALUES
	(1, 'UPDATE part SET id = id WHERE {chunk}'),
	(2, 'UPDATE part_1 SET id = id WHERE {chunk}'),
	(3, 'UPDATE part_1 SET n = id WHERE {chunk}'),
	(4, 'MERGE INTO part_1 p USING part s ON s.id = p.id AND {chunk:s} WHEN MATCHED THEN UPDATE SET id = 1')) s (n, statement) ORDER BY n;
-- of a view, by the names that the view has
CREATE VIEW seen AS SELECT id AS number, n FROM event;
SELECT statement, left(refusal(statement, 'number', 'seen'), 72) FROM (VALUES
	(1, 'UPDATE seen SET number = number + 1 WHERE {chunk}'),
	(2, 'UPDATE seen SET n = 1 WHERE {chunk}')) s (n, statement) ORDER BY n;
-- what its planning reads, which comes before it, is no part of it, even if it has to be planned again at the last moment
CREATE TABLE planned (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);
INSERT INTO planned SELECT generate_series(1, 1000);
ANALYZE planned;
CREATE FUNCTION same(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN $1; END';
CREATE FUNCTION replace_same() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	CREATE OR REPLACE FUNCTION same(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN $1; END';
	RETURN 1;
END
$$;
CREATE FUNCTION of_rank_500() RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$
DECLARE
	replaced int := replace_same();
	place jsonb := chunked.seek('planned', 500, filter => 'n >= 0');
BEGIN
	RETURN place->>'id';
END
$$;
CALL chunked.run('planned', 'UPDATE planned SET n = same(id) WHERE {chunk} AND id <= of_rank_500()', chunk_size => 400);
SELECT count(*), sum(n) FROM planned WHERE n > 0;
SELECT count(chunked.drop_job(name)) > 0 AS dropped FROM chunked.jobs;
DROP SCHEMA statement_test CASCADE;
