-- Errors of a job: whose they are, and that what is said of them is true.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/failure.sql
\set ECHO all
\set VERBOSITY default
\set SHOW_CONTEXT never
SET client_min_messages = error;
DROP SCHEMA IF EXISTS job_errors_test CASCADE;
DROP ROLE IF EXISTS regress_chunked_errors;
CREATE SCHEMA job_errors_test;
SET search_path = job_errors_test;
CREATE TABLE event (id int PRIMARY KEY, kind int NOT NULL DEFAULT 0, n int NOT NULL DEFAULT 0);
INSERT INTO event (id) SELECT generate_series(1, 200);
CREATE VIEW outcome AS SELECT job, count(*) FILTER (WHERE state = 'done') AS done, count(*) FILTER (WHERE state = 'failed') AS failed, sum(attempts) AS attempts,
	max(failed_key ->> 'id') AS key, max(error_sqlstate) AS sqlstate FROM chunked.job_chunks GROUP BY job;
-- does what its name says for one row, or for all
CREATE FUNCTION fails(id int, at int, state text) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	IF id = at OR at = 0 THEN
		RAISE 'as told' USING ERRCODE = state, DETAIL = 'A detail.', HINT = 'A hint.';
	END IF;
	RETURN 1;
END
$$;

--
-- Errors that may be of rows or of the statement: evidence decides
--
-- of one row, in the middle of the job: its chunk's, divided down to it
SELECT state, pg_temp.failure(format('SELECT chunked.create_job(''event'', $s$UPDATE event SET n = n + fails(id, 150, %L) WHERE {chunk}$s$, name => %1$L, chunk_size => 20, max_attempts => 1, on_error => ''continue'')', state)) AS failure
FROM unnest('{42501,42883,42P01,0A000,55000,57014,3F000}'::text[]) state;
CALL chunked.run_job('42501');
CALL chunked.run_job('42883');
CALL chunked.run_job('42P01');
CALL chunked.run_job('0A000');
CALL chunked.run_job('55000');
CALL chunked.run_job('57014');
CALL chunked.run_job('3F000');
SELECT * FROM outcome ORDER BY job;
SELECT error, error_detail, error_hint FROM chunked.job_chunks WHERE job = '42501' AND state = 'failed';
SELECT n, count(*) FROM event GROUP BY n ORDER BY n;
SELECT count(chunked.drop_job(name)) FROM chunked.jobs;
-- of the first row, before any chunk has been done
CALL chunked.run('event', 'UPDATE event SET n = n + fails(id, 1, ''55000'') WHERE {chunk}', name => 'first', chunk_size => 20, max_attempts => 1, on_error => 'continue');
SELECT * FROM outcome;
-- of a job of a single chunk, and of a single row
CALL chunked.run('event', 'UPDATE event SET n = n + fails(id, 7, ''42501'') WHERE {chunk}', name => 'one chunk', max_attempts => 1, on_error => 'continue');
SELECT job, failed, key FROM outcome ORDER BY job;
SELECT count(chunked.drop_job(name)) FROM chunked.jobs;
-- of all rows: the statement's; the run ends at once, no row is to blame, and it is the server's own error
SELECT chunked.create_job('event', format('UPDATE event SET n = n + fails(id, 0, %L) WHERE {chunk}', state), name => state, chunk_size => 20, on_error => 'continue') FROM unnest('{42501,55000,0A000,57014}'::text[]) state;
CALL chunked.run_job('42501');
\set SHOW_CONTEXT errors
CALL chunked.run_job('55000');
\set SHOW_CONTEXT never
CALL chunked.run_job('0A000');
CALL chunked.run_job('57014');
SELECT job, state, attempts FROM chunked.job_chunks WHERE number = 1 ORDER BY job;
SELECT count(chunked.drop_job(name)) FROM chunked.jobs;
-- of all rows from some time on: the same, though chunks have been done
CREATE SEQUENCE calls_of_late;
CREATE FUNCTION fails_late(state text) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	IF nextval('calls_of_late') > 50 THEN
		RAISE 'no longer' USING ERRCODE = state;
	END IF;
	RETURN 1;
END
$$;
CALL chunked.run('event', 'UPDATE event SET n = n + fails_late(''42501'') WHERE {chunk}', name => 'late', chunk_size => 20, on_error => 'continue');
SELECT * FROM outcome;
SELECT chunked.drop_job('late');
-- and where the rows that were done are gone
ALTER SEQUENCE calls_of_late RESTART;
CREATE TABLE gone AS TABLE event;
ALTER TABLE gone ADD PRIMARY KEY (id);
CALL chunked.run('gone', 'DELETE FROM gone WHERE fails_late(''42501'') = 1 AND {chunk}', name => 'gone', chunk_size => 20, on_error => 'continue', max_attempts => 1);
SELECT * FROM outcome;
SELECT chunked.drop_job('gone');
-- of a row, with on_error => 'stop': it stays stopped, whoever calls it, until that row is tried again or left
CALL chunked.run('event', 'UPDATE event SET n = n + fails(id, 30, ''22012'') WHERE {chunk}', name => 'stop', chunk_size => 20, max_attempts => 1);
CALL chunked.run_job('stop');
SELECT chunked.start_job('stop');
SELECT * FROM outcome;
SELECT status, error_sqlstate, error, error_detail, error_hint FROM chunked.jobs WHERE name = 'stop';
SELECT chunked.retry_failed('stop');
SELECT status, error FROM chunked.jobs WHERE name = 'stop';
CALL chunked.run_job('stop');
SELECT chunked.alter_job('stop', on_error => 'continue');
CALL chunked.run_job('stop');
SELECT job, done, failed, key FROM outcome;
SELECT chunked.drop_job('stop');
-- where what is done is not done again, or fails for being done
ALTER SEQUENCE calls_of_late RESTART;
UPDATE event SET kind = 0;
CALL chunked.run('event', 'UPDATE event SET kind = 1 WHERE fails_late(''42P01'') = 1 AND {chunk} AND kind = 0', name => 'once', chunk_size => 20, on_error => 'continue');
SELECT * FROM outcome;
SELECT chunked.drop_job('once');
CREATE FUNCTION keeps() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF OLD.kind = 7 THEN
		RAISE 'kept as it is' USING ERRCODE = '42501';
	END IF;
	RETURN NEW;
END
$$;
UPDATE event SET kind = CASE WHEN id = 111 THEN 7 ELSE 0 END;
CREATE TRIGGER keeps BEFORE UPDATE ON event FOR EACH ROW EXECUTE FUNCTION keeps();
CALL chunked.run('event', 'UPDATE event SET kind = 7 WHERE {chunk}', name => 'kept', chunk_size => 20, on_error => 'continue', max_attempts => 1);
SELECT job, done, failed, key FROM outcome;
DROP TRIGGER keeps ON event;
SELECT chunked.drop_job('kept');
-- rows that are not the job's are not tried
CREATE SEQUENCE outside;
CREATE FUNCTION tells(id int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	IF id > 60 THEN
		PERFORM setval('outside', id);
	END IF;
	RAISE 'for every row' USING ERRCODE = '42501';
END
$$;
CALL chunked.run('event', 'UPDATE event SET n = tells(id) WHERE {chunk}', name => 'bounds', chunk_size => 20, upto => '{"id": 60}', on_error => 'continue', max_attempts => 1);
SELECT done, failed, (SELECT last_value FROM outside) AS tried FROM outcome;
SELECT chunked.drop_job('bounds');
-- of two rows, the job's last among them
CALL chunked.run('event', 'UPDATE event SET n = n + fails(id, CASE WHEN id IN (150, 200) THEN id ELSE -1 END, ''42501'') WHERE {chunk}', name => 'two', chunk_size => 20, max_attempts => 1, on_error => 'continue');
SELECT job, done, failed, key FROM outcome;
SELECT chunked.drop_job('two');
-- data errors are always rows'
CALL chunked.run('event', 'UPDATE event SET n = 1 / (id % 2) WHERE {chunk}', name => 'half', chunk_size => 50, max_attempts => 1, on_error => 'continue');
SELECT * FROM outcome;
-- no replica identity: 20,000 rows would all fail
CREATE TABLE published (a int NOT NULL, b int NOT NULL, note text);
INSERT INTO published SELECT i / 10, i % 10, 'n' FROM generate_series(1, 2000) i;
CREATE UNIQUE INDEX ON published (a, b);
CREATE PUBLICATION job_errors_test FOR TABLE published;
CALL chunked.run('published', 'UPDATE published SET note = upper(note) WHERE {chunk}', name => 'published', on_error => 'continue', key => 'a, b');

SELECT state, count(*), sum(attempts) FROM chunked.job_chunks WHERE job = 'published' GROUP BY 1;
DROP PUBLICATION job_errors_test;

--
-- Errors that no other row cures
--
CREATE PROCEDURE commits() LANGUAGE plpgsql AS 'BEGIN COMMIT; END';
CREATE FUNCTION calls(id int) RETURNS int LANGUAGE plpgsql AS 'BEGIN CALL job_errors_test.commits(); RETURN id; END';
CALL chunked.run('event', 'UPDATE event SET n = calls(id) WHERE {chunk}', name => 'commits');
SELECT * FROM outcome WHERE job = 'commits';
-- a connection that is lost, such as to a foreign server
CALL chunked.run('event', 'UPDATE event SET n = n + fails(id, 150, ''08006'') WHERE {chunk}', name => 'lost', chunk_size => 20, on_error => 'continue');
SELECT done, failed, attempts FROM outcome WHERE job = 'lost';
-- the same row twice in a chunk: as plain SQL does, whatever the chunks
CREATE TABLE target (kind int PRIMARY KEY, n int);
CALL chunked.run('event', 'INSERT INTO target SELECT kind, n FROM event WHERE {chunk} ON CONFLICT (kind) DO UPDATE SET n = excluded.n', name => 'twice');
SELECT * FROM outcome WHERE job = 'twice';
-- but a subquery of several rows is a row's
CALL chunked.run('event', 'UPDATE event SET n = (SELECT i FROM generate_series(1, CASE WHEN id = 33 THEN 2 ELSE 1 END) i) WHERE {chunk}', name => 'subquery', max_attempts => 1, on_error => 'continue');
SELECT failed, key, sqlstate FROM outcome WHERE job = 'subquery';

--
-- A job's own code does not change the job under it
--
CREATE FUNCTION tries(call text) RETURNS int LANGUAGE plpgsql AS 'BEGIN EXECUTE call; RETURN 1; END';
CALL chunked.run('event', $$UPDATE event SET n = tries('SELECT chunked.drop_job(''own'')') WHERE {chunk}$$, name => 'own');
CALL chunked.run('event', $$UPDATE event SET n = tries('SELECT chunked.alter_job(''own 2'', chunk_size => 1)') WHERE {chunk}$$, name => 'own 2');
CALL chunked.run('event', $$UPDATE event SET n = tries('SELECT chunked.retry_failed(''own 3'')') WHERE {chunk}$$, name => 'own 3');
CALL chunked.run('event', $$UPDATE event SET n = tries('SELECT pg_advisory_unlock_all()') WHERE {chunk}$$, name => 'unlocks', chunk_size => 100);
SELECT status FROM chunked.jobs WHERE name = 'unlocks';

--
-- What is over returns, whatever holds it
--
CREATE TABLE held (yes boolean);
INSERT INTO held VALUES (false);
SELECT chunked.create_job('event', 'UPDATE event SET n = 0 WHERE {chunk}', name => 'held', throttle => 'SELECT yes FROM held');
CALL chunked.run_job('held');
UPDATE held SET yes = true;
CALL chunked.run_job('held');
SELECT status FROM chunked.jobs WHERE name = 'held';

--
-- Timeouts
--
-- a chunk that takes too long is halved
CALL chunked.run('event', 'SELECT pg_sleep(0.002) FROM event WHERE {chunk}', name => 'slow', chunk_size => 200);
SET statement_timeout = '200ms';
CALL chunked.run('event', 'SELECT pg_sleep(0.002) FROM event WHERE {chunk}', name => 'slow 2', chunk_size => 200);
RESET statement_timeout;
-- one row that takes too long by itself is a row that fails
SET statement_timeout = '50ms';
CALL chunked.run('event', 'SELECT CASE WHEN id = 77 THEN pg_sleep(5) END FROM event WHERE {chunk}', name => 'slow row', chunk_size => 20, max_attempts => 2, on_error => 'continue');
RESET statement_timeout;
SELECT done > 10 AS done, failed, key, sqlstate FROM outcome WHERE job = 'slow row';
SELECT job, status, retries > 0 AS retried, chunks_failed FROM chunked.progress WHERE job LIKE 'slow%' ORDER BY job;
SELECT DISTINCT state FROM chunked.job_chunks WHERE job = 'slow 2';
-- a cancel is none, even where a timeout is set: by code, so that it is the statement's
SET statement_timeout = '1min';
CREATE FUNCTION cancels(id int) RETURNS int LANGUAGE sql AS 'SELECT 1 FROM pg_cancel_backend(pg_backend_pid()), pg_sleep(60)';
CALL chunked.run('event', 'UPDATE event SET n = cancels(id) WHERE {chunk}', name => 'cancelled');
SELECT status, (SELECT sum(attempts) FROM chunked.job_chunks WHERE job = 'cancelled') AS attempts FROM chunked.jobs WHERE name = 'cancelled';
RESET statement_timeout;

-- what a filter names may be gone: the error says whose filter it is
CREATE TABLE renamed (id int PRIMARY KEY, n int);
INSERT INTO renamed SELECT i, i FROM generate_series(1, 10) i;
SELECT chunked.create_job('renamed', 'DELETE FROM renamed WHERE n > 5 AND {chunk}', name => 'its filter', filter => 'n > 5');
ALTER TABLE renamed RENAME n TO m;
\set SHOW_CONTEXT errors
CALL chunked.run_job('its filter');
\set SHOW_CONTEXT never
ALTER TABLE renamed RENAME m TO n;
CALL chunked.run_job('its filter');
SELECT count(chunked.drop_job(name)) > 0 FROM chunked.jobs;
DROP SCHEMA job_errors_test CASCADE;
