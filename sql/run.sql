-- CALL run() and run_job(): each kind of statement, every row once, and where they refuse.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/failure.sql
\set ECHO all
\set SHOW_CONTEXT never
\set VERBOSITY sqlstate
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS run_test CASCADE;
CREATE SCHEMA run_test;
SET search_path = run_test;
-- notices contain times: of those only that they come is shown, and at the end
SET pg_chunked.progress_interval = 0;
CREATE TABLE event (id int PRIMARY KEY, kind int NOT NULL, n int NOT NULL DEFAULT 0);
INSERT INTO event (id, kind) SELECT i, i % 10 FROM generate_series(1, 100) i;
CREATE TABLE copy (id int PRIMARY KEY, kind int, xid xid8 NOT NULL DEFAULT pg_current_xact_id());
CREATE TABLE kind (kind int PRIMARY KEY, name text NOT NULL, "Group" int NOT NULL);
INSERT INTO kind SELECT i, 'kind ' || i, i / 5 FROM generate_series(0, 9) i;
ANALYZE;
-- how the last job ended
CREATE VIEW last AS SELECT j.name, j.status, p.chunks_done, p.rows_done, p.rows_affected, p.retries, p.chunks_failed FROM chunked.jobs j JOIN chunked.progress p ON p.job = j.name ORDER BY j.id DESC LIMIT 1;

--
-- Kinds of statements
--
CALL chunked.run('event', 'UPDATE event SET n = n + 1 WHERE {chunk}', chunk_size => 7);
TABLE last;
SELECT n, count(*) FROM event GROUP BY n;
CALL chunked.run('event', 'INSERT INTO copy (id, kind) SELECT id, kind FROM event WHERE {chunk}', chunk_size => 30);
TABLE last;
-- each chunk by a transaction of its own
SELECT count(*), count(DISTINCT xid), string_agg(DISTINCT (SELECT count(*) FROM copy d WHERE d.xid = c.xid)::text, ' ') FROM copy c;
CALL chunked.run('event', 'DELETE FROM copy USING event e WHERE copy.id = e.id AND e.kind < 3 AND {chunk:e}', chunk_size => 10);
TABLE last;
SELECT count(*), min(kind) FROM copy;
CALL chunked.run('event', 'MERGE INTO copy c USING (SELECT * FROM event WHERE {chunk}) e ON c.id = e.id
	WHEN MATCHED AND e.kind = 9 THEN DELETE WHEN MATCHED THEN UPDATE SET kind = -e.kind WHEN NOT MATCHED THEN INSERT VALUES (e.id, 100)', chunk_size => 9);
TABLE last;
SELECT kind, count(*) FROM copy GROUP BY kind ORDER BY kind;
TRUNCATE copy;
CALL chunked.run('event', 'WITH e AS (UPDATE event SET n = n + 1 WHERE {chunk} RETURNING id, kind) INSERT INTO copy SELECT * FROM e', chunk_size => 40);
TABLE last;
CALL chunked.run('event', 'WITH e AS (DELETE FROM event WHERE id > 95 AND {chunk} RETURNING id, kind, n) UPDATE kind k SET name = name || '' '' || e.id FROM e WHERE k.kind = e.kind');
TABLE last;
SELECT count(*), min(n), max(n) FROM event;
SELECT name FROM kind WHERE kind IN (0, 5, 6) ORDER BY kind;
INSERT INTO event SELECT i, i % 10, 2 FROM generate_series(96, 100) i;
CALL chunked.run('event', 'INSERT INTO copy (id, kind) SELECT id, 7 FROM event WHERE {chunk} ON CONFLICT (id) DO UPDATE SET kind = 7', chunk_size => 25);
TABLE last;
SELECT kind, count(*) FROM copy GROUP BY kind;
-- a function, for every row and for every chunk
CREATE TABLE log (what text, rows bigint);
CREATE FUNCTION row_done(e event) RETURNS void LANGUAGE sql AS 'INSERT INTO log VALUES (''row'', e.id)';
CREATE FUNCTION chunk_done(bigint) RETURNS int LANGUAGE sql AS 'INSERT INTO log VALUES (''chunk'', $1); SELECT 1';
CALL chunked.run('event', 'SELECT row_done(e) FROM event e WHERE {chunk:e}', chunk_size => 10);
TABLE last;
CALL chunked.run('event', 'SELECT chunk_done(count(*)) FROM event WHERE {chunk}', chunk_size => 40);
TABLE last;
SELECT what, count(*), sum(rows), max(rows) FROM log GROUP BY what ORDER BY what;
-- joins, more than one placeholder, aliases that need quotes
CALL chunked.run('event', 'UPDATE event e SET n = "Group" FROM kind k WHERE k.kind = e.kind AND {chunk:e}', chunk_size => 33);
SELECT n, count(*) FROM event GROUP BY n ORDER BY n;
CALL chunked.run('event', 'INSERT INTO log SELECT ''both'', count(*) FROM event a JOIN event "B b" ON a.id + 1 = "B b".id WHERE {chunk:a} AND {chunk:"B b"}', chunk_size => 10);
SELECT count(*), sum(rows) FROM log WHERE what = 'both';
CALL chunked.run('kind', 'UPDATE event SET n = 5 FROM kind WHERE kind.kind = event.kind AND {chunk:kind}', key => 'kind', chunk_size => 3);
TABLE last;
SELECT n, count(*) FROM event GROUP BY n;
-- a statement that finds nothing to do in some chunks, or in all of them
CALL chunked.run('event', 'UPDATE event SET n = 6 WHERE id BETWEEN 11 AND 20 AND {chunk}', chunk_size => 10);
TABLE last;
SELECT number, row_count, rows_affected FROM chunked.job_chunks WHERE job = (SELECT name FROM last) AND number < 4 ORDER BY number;
CALL chunked.run('event', 'DELETE FROM event WHERE false AND {chunk}', chunk_size => 10);
TABLE last;
-- through a view, by a rule that makes two statements of it
CREATE VIEW rules AS SELECT id, n FROM event;
CREATE RULE double AS ON UPDATE TO rules DO INSTEAD (UPDATE event SET n = new.n WHERE id = old.id; INSERT INTO log VALUES ('rule', old.id));
UPDATE event SET n = 0;
CALL chunked.run('event', 'UPDATE rules SET n = n + 1 WHERE {chunk}', chunk_size => 40);
SELECT n, count(*) FROM event GROUP BY n;
SELECT count(*), count(DISTINCT rows) FROM log WHERE what = 'rule';

--
-- Options
--
-- the filter sizes the chunks, and no more than that
UPDATE event SET n = 0;
CALL chunked.run('event', 'UPDATE event SET n = n + 1 WHERE {chunk} AND event.kind IN (3)', filter => 'kind = 3', chunk_size => 5);
TABLE last;
SELECT number, upto, row_count, rows_affected FROM chunked.job_chunks WHERE job = (SELECT name FROM last) ORDER BY number;
SELECT n, count(*), max(id) FROM event GROUP BY n ORDER BY n;
CALL chunked.run('event', 'UPDATE event SET n = n + 1 WHERE kind = 3 AND {chunk}', filter => 'kind = 3', chunk_size => 5, key => 'id DESC');
TABLE last;
SELECT n, kind = 3 AS matching, count(*) FROM event GROUP BY 1, 2 ORDER BY 1, 2;
CALL chunked.run('event', 'UPDATE event SET n = 0 WHERE {chunk}', name => 'by name', chunk_size => 1, pause => '1 us', throttle => 'SELECT false', target_time => '10 s', max_attempts => 1, on_error => 'continue', max_lag => '1 s');
SELECT name, status, chunks_done > 2 AND chunks_done < 10 AS grew, rows_done FROM last;
SELECT string_agg(row_count::text, ' ' ORDER BY number) FROM (SELECT * FROM chunked.job_chunks WHERE job = 'by name' ORDER BY number LIMIT 5) s;
-- the name is taken, and nothing is done
CALL chunked.run('event', 'UPDATE event SET n = 9 WHERE {chunk}', name => 'by name');
SELECT count(*) FROM event WHERE n = 9;

--
-- Again
--
SELECT max(xmin::text::bigint) AS before FROM event \gset
CALL chunked.run_job('by name');
SELECT max(xmin::text::bigint) = :before AS untouched FROM event;
SELECT name, status, rows_done FROM last;
SELECT chunked.create_job('event', name => 'outside');
CALL chunked.run_job('outside');
SELECT chunked.create_job('event', 'UPDATE event SET n = 9 WHERE {chunk}', name => 'cancelled');
SELECT chunked.cancel_job('cancelled');
CALL chunked.run_job('cancelled');
CALL chunked.run_job('missing');
CALL chunked.run_job(NULL);
\set VERBOSITY default
CALL chunked.run_job('outside');
CALL chunked.run_job('cancelled');
CALL chunked.run(NULL, 'SELECT 1 WHERE {chunk}');
CALL chunked.run('event', NULL);
CALL chunked.run('event', 'UPDATE event SET n = 9 WHERE {chunk}', workers => -1);
CALL chunked.run('event', 'UPDATE event SET n = 9 WHERE {chunk}', workers => NULL);
CALL chunked.run('event', 'UPDATE event SET n = 9 WHERE {chunk}', workers => 1025);
CALL chunked.run('event', 'UPDATE event SET n = 9 WHERE {chunk}', dry_run => NULL);
CALL chunked.run('event', 'UPDATE event SET n = 9 WHERE {chunk}', chunk_size => 0);
CALL chunked.run('event', 'UPDATE event SET n = 9 WHERE {chunk}', key => 'ctid');

--
-- Not where it cannot commit
--
BEGIN;
CALL chunked.run('event', 'UPDATE event SET n = 9 WHERE {chunk}');
ROLLBACK;
BEGIN;
CALL chunked.run_job('by name');
ROLLBACK;
\set VERBOSITY sqlstate
-- a DO by itself may commit
DO $$ BEGIN CALL chunked.run('event', 'UPDATE event SET n = 9 WHERE {chunk}', name => 'do'); END $$;
TABLE last;
BEGIN;
DO $$ BEGIN CALL chunked.run('event', 'UPDATE event SET n = 9 WHERE {chunk}'); END $$;
ROLLBACK;
CREATE FUNCTION calls() RETURNS void LANGUAGE plpgsql AS $$ BEGIN CALL chunked.run('event', 'UPDATE event SET n = 10 WHERE {chunk}'); END $$;
SELECT calls();
CREATE FUNCTION calls_sql() RETURNS void LANGUAGE sql AS $$ CALL chunked.run('event', 'UPDATE event SET n = 10 WHERE {chunk}') $$;
SELECT calls_sql();
CREATE PROCEDURE catches() LANGUAGE plpgsql AS $$
BEGIN
	CALL chunked.run('event', 'UPDATE event SET n = 10 WHERE {chunk}');
EXCEPTION WHEN division_by_zero THEN
	NULL;
END
$$;
CALL catches();
SELECT pg_temp.state($$CALL chunked.run('event', 'UPDATE event SET n = 10 WHERE {chunk}')$$);
SELECT count(*) FROM event WHERE n = 10;
TABLE last;
-- a procedure that may commit may call it, and goes on
CREATE PROCEDURE goes_on() LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO log VALUES ('before', 1);
	CALL chunked.run('event', 'UPDATE event SET n = 11 WHERE {chunk}', chunk_size => 30);
	INSERT INTO log SELECT 'after', count(*) FROM event WHERE n = 11;
	COMMIT;
	CALL chunked.run('event', 'UPDATE event SET n = 12 WHERE {chunk}', chunk_size => 30);
END
$$;
CALL goes_on();
TABLE last;
SELECT n, count(*) FROM event GROUP BY n;
SELECT * FROM log WHERE what IN ('before', 'after') ORDER BY what;

--
-- dry_run: everything is shown, nothing is done
--
-- without costs the plan is the same everywhere
SET seq_page_cost = 0; SET random_page_cost = 0; SET cpu_tuple_cost = 0; SET cpu_index_tuple_cost = 0; SET cpu_operator_cost = 0;
SET enable_seqscan = off; SET enable_bitmapscan = off;
UPDATE event SET n = 0;
VACUUM ANALYZE event;
SELECT count(*) AS jobs FROM chunked.jobs \gset
RESET client_min_messages;
\set VERBOSITY default
CALL chunked.run('event', 'UPDATE event e SET n = 13 WHERE {chunk:e}', chunk_size => 30, dry_run => true);
BEGIN;
CALL chunked.run('event', 'DELETE FROM event WHERE {chunk} AND id <= 50', key => 'id DESC', filter => 'id <= 50', chunk_size => 1000, dry_run => true);
COMMIT;
CREATE TABLE nothing (id int PRIMARY KEY);
CALL chunked.run('nothing', 'DELETE FROM nothing WHERE {chunk}', dry_run => true);
-- what would be refused is
CALL chunked.run('event', 'DELETE FROM event', dry_run => true);
CALL chunked.run('event', NULL, dry_run => true);
SET client_min_messages = warning;
\set VERBOSITY sqlstate
CALL chunked.run('event', 'DELETE FROM event WHERE missing AND {chunk}', dry_run => true);
SELECT count(*) - :jobs AS more_jobs FROM chunked.jobs;
SELECT n, count(*) FROM event GROUP BY n;
RESET seq_page_cost; RESET random_page_cost; RESET cpu_tuple_cost; RESET cpu_index_tuple_cost; RESET cpu_operator_cost;
RESET enable_seqscan; RESET enable_bitmapscan;

--
-- A large table read in full, chunk by chunk
--
-- a row a page
CREATE TABLE big (id int PRIMARY KEY, kind int NOT NULL, n int NOT NULL DEFAULT 0, fill text NOT NULL) WITH (fillfactor = 10);
INSERT INTO big SELECT i, i % 50, 0, repeat('x', 800) FROM generate_series(1, 1100) i;
CREATE TABLE few AS SELECT i AS id, i AS kind, 0 AS n FROM generate_series(1, 50) i;
ALTER TABLE few ADD PRIMARY KEY (id);
VACUUM ANALYZE big, few;
CREATE FUNCTION refusal(text) RETURNS text LANGUAGE sql AS $$ SELECT pg_temp.failure('SELECT chunked.create_job(' || $1 || ')') $$;
-- the table that is walked, without an index for its key; a warning says so, too
SELECT refusal($$'big', 'UPDATE big SET n = 1 WHERE {chunk}', key => 'kind', chunk_size => 100$$);
-- one that is joined, by one column and by two
SELECT refusal($$'few', 'UPDATE few SET n = 1 FROM big WHERE big.kind = few.kind AND {chunk:few}', chunk_size => 10$$);
SELECT refusal($$'few', 'INSERT INTO few SELECT 1 FROM few f JOIN big b ON b.kind = f.kind AND f.n = b.n WHERE {chunk:f}', chunk_size => 10$$);
SELECT refusal($$'few', 'UPDATE few SET n = 1 WHERE {chunk} AND EXISTS (SELECT FROM big b WHERE b.kind = few.kind)', chunk_size => 10$$);
-- the condition on another one than the table that is changed
SELECT refusal($$'big', 'UPDATE big b SET n = 1 FROM big e WHERE b.kind = e.id AND {chunk:e}', chunk_size => 100$$);
CALL chunked.run('few', 'UPDATE few SET n = 1 FROM big WHERE big.kind = few.kind AND {chunk:few}', chunk_size => 10);
CALL chunked.run('few', 'UPDATE few SET n = 1 FROM big WHERE big.kind = few.kind AND {chunk:few}', chunk_size => 10, dry_run => true);
SELECT count(*) FROM few WHERE n > 0;
-- made to go on all the same
CALL chunked.run('few', 'UPDATE few SET n = 1 FROM big WHERE big.kind = few.kind AND {chunk:few}', chunk_size => 10, check_plan => false);
SELECT n, count(*) FROM few GROUP BY n ORDER BY n;
-- a few chunks are no matter, nor is a small table
CALL chunked.run('few', 'UPDATE few SET n = 2 FROM big WHERE big.kind = few.kind AND {chunk:few}', chunk_size => 20);
SELECT n, count(*) FROM few GROUP BY n ORDER BY n;
CALL chunked.run('big', 'UPDATE big SET n = few.kind FROM few WHERE few.kind = big.kind AND {chunk:big}', chunk_size => 100);
SELECT count(*) FROM big WHERE n > 0;
-- with the index of the hint
CREATE INDEX CONCURRENTLY ON run_test.big (kind);
CALL chunked.run('few', 'UPDATE few SET n = 3 FROM big WHERE big.kind = few.kind AND {chunk:few}', chunk_size => 10);
SELECT n, count(*) FROM few GROUP BY n ORDER BY n;
-- for a job that is run later, the check comes again
SELECT chunked.create_job('few', 'UPDATE few SET n = 4 FROM big WHERE big.kind = few.kind AND {chunk:few}', name => 'later', chunk_size => 10);
DROP INDEX big_kind_idx;
CALL chunked.run_job('later');
SELECT count(*) FROM few WHERE n = 4;
SELECT chunked.alter_job('later', check_plan => false);
CALL chunked.run_job('later');
SELECT count(*) FROM few WHERE n = 4;

--
-- run() once more while a job with the same statement is not done
--
UPDATE event SET n = 0;
\set VERBOSITY sqlstate
CALL chunked.run('event', 'UPDATE event SET n = n + 100 / (50 - id) WHERE {chunk}', chunk_size => 10, max_attempts => 1);
\set VERBOSITY default
CALL chunked.run('event', 'UPDATE event SET n = n + 100 / (50 - id) WHERE {chunk}', chunk_size => 10, max_attempts => 1);
SELECT chunked.create_job('event', 'UPDATE event SET n = n + 100 / (50 - id) WHERE {chunk}');
SELECT count(*) FROM event WHERE n <> 0;
-- a part of the rows may be others, and who gives a name says that it is another job
SET client_min_messages = notice;
SELECT chunked.create_job('event', 'UPDATE event SET n = n + 100 / (50 - id) WHERE {chunk}', after => '{"id": 50}') LIKE 'event-%';
SELECT chunked.create_job('event', 'UPDATE event SET n = n + 100 / (50 - id) WHERE {chunk}', name => 'once more');
SET client_min_messages = warning;
-- the newest of them need not be the one that has begun
CALL chunked.run('event', 'UPDATE event SET n = n + 100 / (50 - id) WHERE {chunk}', chunk_size => 10);
-- neither one that has done nothing nor one that was cancelled is in the way
SELECT count(chunked.cancel_job(name)) > 0 AS cancelled FROM chunked.jobs WHERE status <> 'done';
SELECT chunked.create_job('event', 'UPDATE event SET n = n + 100 / (50 - id) WHERE {chunk}') LIKE 'event-%';
SELECT chunked.create_job('event', 'UPDATE event SET n = n + 100 / (50 - id) WHERE {chunk}') LIKE 'event-%';
\set VERBOSITY sqlstate

--
-- What it says at its end
--
SET client_min_messages = notice;
CALL chunked.run('event', 'UPDATE event SET n = 0 WHERE {chunk}', chunk_size => 50);
CALL chunked.run_job('by name');
SET client_min_messages = warning;
SELECT count(chunked.drop_job(name)) > 0 AS dropped FROM chunked.jobs;
DROP SCHEMA run_test CASCADE;
