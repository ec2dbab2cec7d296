-- Jobs in the ledger: created, shown, changed, and whose they are.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/failure.sql
\set ECHO all
\set SHOW_CONTEXT never
\set VERBOSITY sqlstate
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS job_test CASCADE;
DROP ROLE IF EXISTS regress_chunked_job_owner, regress_chunked_job_member, regress_chunked_job_other, regress_chunked_job_apart;
CREATE SCHEMA job_test;
SET search_path = job_test;
SET pg_chunked.progress_interval = 0;
CREATE TABLE event (id int PRIMARY KEY, kind int NOT NULL, n int NOT NULL DEFAULT 0);
INSERT INTO event (id, kind) SELECT i, i % 10 FROM generate_series(1, 100) i;
CREATE TABLE nothing (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);
ANALYZE event, nothing;

--
-- Options, as given and by default
--
SELECT chunked.create_job('event', 'UPDATE event SET n = n + 1 WHERE {chunk}');
SELECT chunked.create_job('event');
SELECT chunked.create_job('event', 'UPDATE event e SET n = n + 1 WHERE e.kind < 5 AND {chunk:e}', name => 'all options', chunk_size => 7, key => 'kind DESC, id',
	filter => 'kind < 5', target_time => '200 ms', pause => '1 s', max_lag => '10 s', throttle => 'false', max_attempts => 3, on_error => 'continue', check_plan => false);
\x
SELECT name, owner = current_user::regrole AS owned, relation, statement, status, workers, waiting, chunk_size, key, filter, target_time, pause, max_lag, throttle,
	max_attempts, on_error, check_plan, search_path, high_water, total_rows, created_at <= clock_timestamp() AS created, error_sqlstate, error
FROM chunked.jobs ORDER BY id;
SELECT job, relation, status, chunks_done, rows_done, rows_total, fraction, bar = chunked.progress_bar(0) AS empty_bar, rows_per_second, eta, chunk_size, workers, chunks_failed, retries, rows_affected, waiting,
	regexp_replace(line, '^\S+', '') AS line
FROM chunked.progress WHERE job = 'event-1';
\x
-- the first of those that are claimed are carved at once
SELECT job, number, state, after, upto, row_count, rows_affected, attempts, fence FROM chunked.job_chunks;
-- numbers go on from the highest there is, and a name that only looks similar does not count
SELECT chunked.create_job('event', name => 'event-7');
SELECT chunked.create_job('event', name => 'event-x9');
SELECT chunked.create_job('event', name => 'event-99999999999999999999');
SELECT chunked.create_job('event');
CREATE TABLE "Odd ""name""" ("Key" int PRIMARY KEY, "set" int NOT NULL DEFAULT 0);
INSERT INTO "Odd ""name""" SELECT generate_series(1, 10);
SELECT chunked.create_job('"Odd ""name"""', 'UPDATE "Odd ""name""" AS "t T" SET "set" = "set" + 1 WHERE {chunk:"t T"}', chunk_size => 3);
SELECT chunked.create_job('"Odd ""name"""', 'DELETE FROM "Odd ""name""" WHERE {chunk} AND "set" = 2');
CALL chunked.run_job('Odd "name"-1');
SELECT count(*), min("set"), max("set") FROM "Odd ""name""";
SELECT number, state, upto FROM chunked.job_chunks WHERE job = 'Odd "name"-1' ORDER BY number;
SELECT relation, status FROM chunked.jobs WHERE name LIKE 'Odd%' ORDER BY id;
-- a name may be anything
SELECT chunked.create_job('event', name => 'it''s "this"; DROP');
SELECT chunked.drop_job('it''s "this"; DROP');

--
-- Refused
--
SELECT pg_temp.failure(call) FROM (VALUES
	(1, $$SELECT chunked.create_job(NULL)$$),
	(2, $$SELECT chunked.create_job('event', chunk_size => NULL)$$),
	(3, $$SELECT chunked.create_job('event', chunk_size => 0)$$),
	(4, $$SELECT chunked.create_job('event', chunk_size => -5)$$),
	(5, $$SELECT chunked.create_job('event', pause => NULL)$$),
	(6, $$SELECT chunked.create_job('event', pause => '-1 s')$$),
	(7, $$SELECT chunked.create_job('event', 'DELETE FROM event WHERE {chunk}', target_time => '0')$$),
	(8, $$SELECT chunked.create_job('event', 'DELETE FROM event WHERE {chunk}', target_time => '-1 s')$$),
	(9, $$SELECT chunked.create_job('event', target_time => '1 s')$$),
	(10, $$SELECT chunked.create_job('event', max_lag => '0')$$),
	(11, $$SELECT chunked.create_job('event', max_lag => '-1 day')$$),
	(12, $$SELECT chunked.create_job('event', max_attempts => 0)$$),
	(13, $$SELECT chunked.create_job('event', max_attempts => NULL)$$),
	(14, $$SELECT chunked.create_job('event', on_error => 'ignore')$$),
	(15, $$SELECT chunked.create_job('event', on_error => NULL)$$),
	(16, $$SELECT chunked.create_job('event', check_plan => NULL)$$),
	(17, $$SELECT chunked.create_job('event', name => '')$$),
	(18, $$SELECT chunked.create_job('event', name => 'event-1')$$),
	(19, $$SELECT chunked.create_job('event', key => 'ctid')$$),
	(20, $$SELECT chunked.create_job('event', 'DELETE FROM event')$$),
	(21, $$SELECT chunked.create_job('event', '')$$)) c (n, call) ORDER BY n;
-- as the server has it, or a function of ours that is tested elsewhere
SELECT call, pg_temp.state(call) FROM (VALUES
	(1, $$SELECT chunked.create_job('missing')$$),
	(2, $$SELECT chunked.create_job(1)$$),
	(3, $$SELECT chunked.create_job('event', key => 'missing')$$),
	(4, $$SELECT chunked.create_job('event', filter => 'missing = 1')$$),
	(5, $$SELECT chunked.create_job('event', filter => 'kind =')$$),
	(6, $$SELECT chunked.create_job('event', throttle => 'missing()')$$),
	(7, $$SELECT chunked.create_job('event', throttle => 'true) OR (')$$),
	(8, $$SELECT chunked.create_job('event', throttle => 'now()')$$),
	(9, $$SELECT chunked.create_job('event', 'UPDATE missing SET n = 1 WHERE {chunk}')$$),
	(10, $$SELECT chunked.create_job('event', 'UPDATE event SET missing = 1 WHERE {chunk}')$$),
	(11, $$SELECT chunked.create_job('event', 'UPDATE event SET n = 1 WHERE {chunk:e}')$$),
	(12, $$SELECT chunked.create_job('event_pkey')$$)) c (n, call) ORDER BY n;
-- a query is a throttle, too
SELECT chunked.create_job('event', name => 'query', throttle => 'SELECT count(*) > 1000 FROM event -- why not');
SELECT throttle FROM chunked.jobs WHERE name = 'query';
SELECT chunked.drop_job('query');
-- nothing of them is left
SELECT name FROM chunked.jobs ORDER BY id;
SELECT count(*) = count(j.id) AND count(*) = (SELECT count(*) FROM chunked.ledger_jobs) AS matched FROM chunked.ledger_carving LEFT JOIN chunked.ledger_jobs j ON j.id = job;
-- nor of a transaction that is rolled back; its name is free
BEGIN;
SELECT chunked.create_job('event', name => 'never');
SELECT status FROM chunked.jobs WHERE name = 'never';
SELECT number, upto FROM chunked.job_chunks WHERE job = 'never';
ROLLBACK;
SELECT count(*) FROM chunked.jobs WHERE name = 'never';
SELECT count(*) FROM chunked.job_chunks WHERE job = 'never';
SELECT pg_temp.failure($$SELECT chunked.pause_job('never')$$);
SELECT chunked.create_job('event', name => 'never');
SELECT chunked.drop_job('never');

--
-- Dropped, without a trace
--
SELECT id AS job FROM chunked.jobs WHERE name = 'event-2' \gset
SELECT (SELECT count(*) FROM chunked.ledger_jobs WHERE id = :job) AS jobs, (SELECT count(*) FROM chunked.ledger_carving WHERE job = :job) AS carving,
	(SELECT count(*) FROM chunked.ledger_chunks WHERE job = :job) AS chunks;
SELECT chunked.drop_job('event-2');
SELECT (SELECT count(*) FROM chunked.ledger_jobs WHERE id = :job) AS jobs, (SELECT count(*) FROM chunked.ledger_carving WHERE job = :job) AS carving,
	(SELECT count(*) FROM chunked.ledger_chunks WHERE job = :job) AS chunks;
SELECT count(*) FROM chunked.progress WHERE job = 'event-2';
SELECT chunked.drop_job(name) FROM chunked.jobs;
SELECT (SELECT count(*) FROM chunked.ledger_jobs) AS jobs, (SELECT count(*) FROM chunked.ledger_carving) AS carving, (SELECT count(*) FROM chunked.ledger_chunks) AS chunks;
SELECT pg_temp.failure($$SELECT chunked.drop_job('event-2')$$);
-- undone by a rollback
SELECT chunked.create_job('event', name => 'kept');
BEGIN;
SELECT chunked.drop_job('kept');
SELECT count(*) FROM chunked.jobs;
ROLLBACK;
SELECT name, status FROM chunked.jobs;
SELECT chunked.drop_job('kept');

--
-- Changed
--
SELECT chunked.create_job('event', 'UPDATE event SET n = n + 1 WHERE {chunk}', name => 'j', chunk_size => 10);
CREATE VIEW settings AS SELECT chunk_size, target_time, pause, max_lag, throttle, max_attempts, on_error, check_plan FROM chunked.jobs WHERE name = 'j';
SELECT * FROM settings;
SELECT chunked.alter_job('j');
SELECT * FROM settings;
SELECT chunked.alter_job('j', 20);
SELECT chunked.alter_job('j', target_time => '1 s');
SELECT chunked.alter_job('j', pause => '2 s');
SELECT chunked.alter_job('j', max_lag => '3 s');
SELECT chunked.alter_job('j', throttle => 'EXISTS (SELECT FROM nothing)');
SELECT chunked.alter_job('j', max_attempts => 4);
SELECT chunked.alter_job('j', on_error => 'continue');
SELECT chunked.alter_job('j', check_plan => false);
SELECT * FROM settings;
SELECT chunk_size FROM chunked.progress;
-- null leaves it, 0 and the empty string turn it off
SELECT chunked.alter_job('j', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
SELECT * FROM settings;
SELECT chunked.alter_job('j', target_time => '0', pause => '0', max_lag => '0', throttle => '');
SELECT * FROM settings;
SELECT chunked.alter_job('j', chunk_size => 5, target_time => '1 min', pause => '1 ms', max_lag => '1 h', throttle => 'false', max_attempts => 1, on_error => 'stop', check_plan => true);
SELECT * FROM settings;
SELECT pg_temp.failure(call) FROM (VALUES
	(1, $$SELECT chunked.alter_job(NULL)$$),
	(2, $$SELECT chunked.alter_job('missing')$$),
	(3, $$SELECT chunked.alter_job('j', 0)$$),
	(4, $$SELECT chunked.alter_job('j', -1)$$),
	(5, $$SELECT chunked.alter_job('j', target_time => '-1 s')$$),
	(6, $$SELECT chunked.alter_job('j', pause => '-1 s')$$),
	(7, $$SELECT chunked.alter_job('j', max_lag => '-1 s')$$),
	(8, $$SELECT chunked.alter_job('j', max_attempts => 0)$$),
	(9, $$SELECT chunked.alter_job('j', on_error => 'never')$$)) c (n, call) ORDER BY n;
SELECT pg_temp.state($$SELECT chunked.alter_job('j', throttle => 'missing')$$), pg_temp.state($$SELECT chunked.alter_job('j', chunk_size => 9, throttle => 'now()')$$);
SELECT * FROM settings;
-- as with create_job(), how long others take is not known
SELECT chunked.create_job('event', name => 'outside');
SELECT pg_temp.failure($$SELECT chunked.alter_job('outside', target_time => '1 s')$$);
SELECT chunked.drop_job('outside');
-- what is carved from then on is of the new size
SELECT chunked.alter_job('j', chunk_size => 50, target_time => '0', pause => '0', max_lag => '0', throttle => '');
CALL chunked.run_job('j');
SELECT number, row_count, rows_affected FROM chunked.job_chunks ORDER BY number;

--
-- Paused, cancelled
--
SELECT chunked.create_job('event', 'UPDATE event SET n = n + 1 WHERE {chunk}', name => 'k', chunk_size => 40);
SELECT status FROM chunked.jobs WHERE name = 'k';
SELECT chunked.pause_job('k');
SELECT status FROM chunked.jobs WHERE name = 'k';
SELECT chunked.pause_job('k');
SELECT chunked.resume_job('k');
SELECT status FROM chunked.jobs WHERE name = 'k';
SELECT chunked.resume_job('k');
-- half of it, by a condition that turns true when there is something done, and the pause that it calls for
CREATE FUNCTION pause_when_done(int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	IF $1 = 41 THEN
		PERFORM chunked.pause_job('k');
	END IF;
	RETURN true;
END
$$;
SELECT chunked.drop_job('k');
UPDATE event SET n = 0;
SELECT chunked.create_job('event', 'UPDATE event SET n = n + 1 WHERE {chunk} AND pause_when_done(id)', name => 'k', chunk_size => 40);
CALL chunked.run_job('k');
SELECT status, workers FROM chunked.jobs WHERE name = 'k';
SELECT number, state, upto, row_count, rows_affected, attempts, finished_at >= started_at AS timed FROM chunked.job_chunks WHERE job = 'k' AND number <= 2 ORDER BY number;
SELECT status, chunks_done, rows_done, rows_total, fraction, rows_per_second, eta, chunks_failed, retries, rows_affected, regexp_replace(line, '^\S+', '') AS line FROM chunked.progress WHERE job = 'k';
SELECT n, count(*) FROM event GROUP BY n ORDER BY n;
SELECT chunked.resume_job('k');
SELECT status FROM chunked.jobs WHERE name = 'k';
SELECT chunked.pause_job('k');
-- run_job() ends the pause
CALL chunked.run_job('k');
SELECT status, workers FROM chunked.jobs WHERE name = 'k';
SELECT status, chunks_done, rows_done, rows_total, fraction, rows_per_second, eta, chunks_failed, retries, rows_affected, regexp_replace(line, '^\S+', '') AS line FROM chunked.progress WHERE job = 'k';
SELECT n, count(*) FROM event GROUP BY n ORDER BY n;
SELECT bool_and(created_at <= started_at) FROM chunked.job_chunks JOIN chunked.jobs ON name = job WHERE job = 'k';
SELECT chunked.retry_failed('k');
SELECT chunked.cancel_job('j');
SELECT chunked.cancel_job('j');
SELECT status FROM chunked.jobs WHERE name = 'j';
SELECT pg_temp.failure(format('SELECT chunked.%s(%L)', function, name)) FROM unnest('{pause_job,resume_job,retry_failed,claim_chunk,start_job}'::text[]) function, unnest('{j,missing,NULL}'::text[]) name ORDER BY name, function;
SELECT pg_temp.failure(format('SELECT chunked.%s(%L)', function, name)) FROM unnest('{cancel_job,drop_job,alter_job}'::text[]) function, unnest('{missing,NULL}'::text[]) name ORDER BY name, function;
\set VERBOSITY default
CALL chunked.run_job('missing');
CALL chunked.run_job(NULL);
CALL chunked.run_job('j');
\set VERBOSITY sqlstate
-- cancelled half way
UPDATE event SET n = 0;
CREATE FUNCTION cancel_at(int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	IF $1 = 41 THEN
		PERFORM chunked.cancel_job('c');
	END IF;
	RETURN true;
END
$$;
SELECT chunked.create_job('event', 'UPDATE event SET n = n + 1 WHERE {chunk} AND cancel_at(id)', name => 'c', chunk_size => 40);
CALL chunked.run_job('c');
SELECT status FROM chunked.jobs WHERE name = 'c';
SELECT n, count(*) FROM event GROUP BY n ORDER BY n;
SELECT chunked.drop_job(name) FROM chunked.jobs;
-- begun, and nobody is working on it
SELECT chunked.create_job('event', name => 's', chunk_size => 40);
SELECT number, fence FROM chunked.claim_chunk('s') \gset
SELECT status FROM chunked.jobs;
SELECT chunked.complete_chunk('s', :number, :fence);
SELECT status FROM chunked.jobs;
SELECT chunked.drop_job('s');

--
-- Without rows
--
SELECT chunked.create_job('nothing', 'UPDATE nothing SET n = n + 1 WHERE {chunk}');
SELECT chunked.create_job('nothing', name => 'outside');
-- rows that come later are above the mark
INSERT INTO nothing VALUES (1), (-1);
SELECT name, status, high_water, total_rows FROM chunked.jobs ORDER BY id;
SELECT job, status, chunks_done, rows_done, rows_total, fraction, regexp_replace(line, '^\S+', '') AS line FROM chunked.progress ORDER BY job;
CALL chunked.run_job('nothing-1');
SELECT state, number FROM chunked.claim_chunk('outside');
SELECT * FROM nothing ORDER BY id;
SELECT chunked.drop_job(name) FROM chunked.jobs;

--
-- The high-water mark: what comes after it is not done, what comes before it is
--
DELETE FROM event WHERE id BETWEEN 20 AND 25;
UPDATE event SET n = 0;
SELECT chunked.create_job('event', 'UPDATE event SET n = n + 1 WHERE {chunk}', chunk_size => 30);
SELECT high_water FROM chunked.jobs;
INSERT INTO event SELECT i, i % 10 FROM generate_series(101, 150) i;
INSERT INTO event SELECT i, i % 10 FROM generate_series(20, 25) i;
-- nor does it matter that the row is gone
DELETE FROM event WHERE id = 100;
CALL chunked.run_job('event-1');
SELECT n, count(*), min(id), max(id) FROM event GROUP BY n ORDER BY n;
SELECT max(number), max((upto->>'id')::int), sum(row_count) FROM chunked.job_chunks;
CALL chunked.run_job('event-1');
SELECT n, count(*) FROM event GROUP BY n ORDER BY n;
SELECT chunked.drop_job('event-1');
DELETE FROM event WHERE id > 99;

--
-- Names are found as they were when it was created
--
CREATE SCHEMA job_other;
CREATE TABLE job_other.event (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);
INSERT INTO job_other.event SELECT generate_series(1, 99);
CREATE TABLE job_other.log (id int);
CREATE TABLE log (id int);
CREATE FUNCTION wanted(int) RETURNS boolean LANGUAGE sql AS 'SELECT $1 <= 50';
CREATE FUNCTION job_other.wanted(int) RETURNS boolean LANGUAGE sql AS 'SELECT 1 / ($1 - $1) = 0';
CREATE FUNCTION held() RETURNS boolean LANGUAGE sql AS 'SELECT false';
CREATE FUNCTION job_other.held() RETURNS boolean LANGUAGE sql AS 'SELECT true';
UPDATE event SET n = 0;
SELECT chunked.create_job('event', 'WITH done AS (UPDATE event SET n = n + 1 WHERE {chunk} AND wanted(id) RETURNING id) INSERT INTO log SELECT id FROM done',
	chunk_size => 30, filter => 'wanted(id)', throttle => 'held()');
SET search_path = job_other;
CALL chunked.run_job('event-1');
SHOW search_path;
SELECT n, count(*) FROM event GROUP BY n;
SELECT count(*) FROM log;
SELECT search_path FROM chunked.jobs;
SET search_path = job_test;
SELECT n, count(*) FROM event GROUP BY n ORDER BY n;
SELECT count(*), count(DISTINCT id) FROM log;
-- a throttle is looked for there as well
SET search_path = pg_catalog;
SELECT chunked.alter_job('event-1', throttle => 'NOT wanted(1)');
SET search_path = job_test;
SELECT chunked.drop_job('event-1');
-- claimed under another one
SELECT chunked.create_job('event', chunk_size => 30, filter => 'wanted(id)', throttle => 'held()');
SET search_path = job_other;
SELECT state, number, predicate FROM chunked.claim_chunk('event-1');
SET search_path = job_test;
SELECT chunked.drop_job('event-1');
DROP SCHEMA job_other CASCADE;

--
-- Relations and keys: every row once
--
CREATE TABLE part (a int NOT NULL, b int NOT NULL, n int NOT NULL DEFAULT 0, PRIMARY KEY (a, b)) PARTITION BY LIST (a);
CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1, 3);
CREATE TABLE part_2 PARTITION OF part FOR VALUES IN (2);
INSERT INTO part SELECT i % 3 + 1, i FROM generate_series(1, 100) i;
CREATE TABLE kinds (id int PRIMARY KEY, a int, b text, u uuid, m timestamptz, f float8, "Odd" text, n int NOT NULL DEFAULT 0);
INSERT INTO kinds SELECT i, nullif(i % 7, 0), CASE WHEN i % 5 > 0 THEN 'text ''' || i % 20 END, CASE WHEN i % 3 > 0 THEN md5(i::text)::uuid END,
	CASE WHEN i % 4 > 0 THEN '2020-01-01'::timestamptz + i % 30 * interval '1 us' END,
	CASE i % 6 WHEN 0 THEN NULL WHEN 1 THEN 'NaN' WHEN 2 THEN '-Infinity' ELSE i / 3.0 END, 'x' || i % 2 FROM generate_series(1, 100) i;
CREATE UNIQUE INDEX ON kinds (u, id);
CREATE INDEX ON kinds (a DESC, b);
CREATE VIEW half AS SELECT id, a, n FROM kinds WHERE id > 50;
CREATE MATERIALIZED VIEW copy AS SELECT id, a FROM kinds;
CREATE UNIQUE INDEX ON copy (id);
CREATE MATERIALIZED VIEW keyless AS SELECT a FROM kinds;
CREATE TABLE seen (id int);
-- what is left undone, what is done twice, and chunks of a size that does not divide the rows
CREATE PROCEDURE walk(relation text, key text, statement text DEFAULT NULL, size int DEFAULT 7) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('UPDATE %s SET n = 0', relation);
	PERFORM chunked.create_job(relation::regclass, coalesce(statement, format('UPDATE %s SET n = n + 1 WHERE {chunk}', relation)), name => 'walk', chunk_size => size, key => key);
END
$$;
CREATE FUNCTION outcome(relation text) RETURNS TABLE (key text, status text, chunks bigint, rows_done bigint, rows_affected bigint, rows bigint, never bigint, twice bigint) LANGUAGE plpgsql AS $$
BEGIN
	SELECT j.key, p.status, p.chunks_done, p.rows_done, p.rows_affected INTO key, status, chunks, rows_done, rows_affected FROM chunked.progress p JOIN chunked.jobs j ON j.name = p.job WHERE job = 'walk';
	EXECUTE format('SELECT count(*), count(*) FILTER (WHERE n = 0), count(*) FILTER (WHERE n > 1) FROM %s', relation) INTO rows, never, twice;
	PERFORM chunked.drop_job('walk');
	RETURN NEXT;
END
$$;
CALL walk('part', NULL);
CALL chunked.run_job('walk');
SELECT * FROM outcome('part');
CALL walk('part', 'b DESC, a');
CALL chunked.run_job('walk');
SELECT * FROM outcome('part');
CALL walk('part', 'a DESC, b');
CALL chunked.run_job('walk');
SELECT * FROM outcome('part');
CALL walk('kinds', 'id DESC');
CALL chunked.run_job('walk');
SELECT * FROM outcome('kinds');
CALL walk('kinds', 'a');
CALL chunked.run_job('walk');
SELECT * FROM outcome('kinds');
CALL walk('kinds', 'a DESC, b', size => 1);
CALL chunked.run_job('walk');
SELECT * FROM outcome('kinds');
CALL walk('kinds', 'a NULLS FIRST, b DESC NULLS LAST, u');
CALL chunked.run_job('walk');
SELECT * FROM outcome('kinds');
CALL walk('kinds', 'u');
CALL chunked.run_job('walk');
SELECT * FROM outcome('kinds');
CALL walk('kinds', 'u DESC, b NULLS FIRST');
CALL chunked.run_job('walk');
SELECT * FROM outcome('kinds');
CALL walk('kinds', 'b');
CALL chunked.run_job('walk');
SELECT * FROM outcome('kinds');
CALL walk('kinds', 'm, f DESC');
CALL chunked.run_job('walk');
SELECT * FROM outcome('kinds');
CALL walk('kinds', 'f', 'UPDATE kinds AS "K" SET n = n + 1 WHERE {chunk:"K"}');
CALL chunked.run_job('walk');
SELECT * FROM outcome('kinds');
CALL walk('kinds', '"Odd" DESC, a');
CALL chunked.run_job('walk');
SELECT * FROM outcome('kinds');
-- the same when the session writes dates in another way
SET DateStyle = 'SQL, DMY';
SET TimeZone = 'Asia/Tokyo';
CALL walk('kinds', 'm DESC');
SET DateStyle = 'Postgres, MDY';
SET TimeZone = 'America/Los_Angeles';
CALL chunked.run_job('walk');
SELECT * FROM outcome('kinds');
RESET DateStyle;
RESET TimeZone;
-- a view, and through it the table
CALL walk('half', 'id');
CALL chunked.run_job('walk');
SELECT * FROM outcome('half');
UPDATE kinds SET n = 0;
CALL walk('half', 'a DESC, id', 'UPDATE kinds k SET n = k.n + 1 FROM half WHERE half.id = k.id AND {chunk:half}');
CALL chunked.run_job('walk');
SELECT * FROM outcome('half');
SELECT count(*) FROM kinds WHERE n > 0;
-- a materialized view, for work on something else
SELECT chunked.create_job('copy', 'INSERT INTO seen SELECT id FROM copy WHERE {chunk}', chunk_size => 9);
CALL chunked.run_job('copy-1');
SELECT count(*), count(DISTINCT id) FROM seen;
SELECT chunked.drop_job('copy-1');
SELECT pg_temp.failure($$SELECT chunked.create_job('keyless', 'INSERT INTO seen SELECT a FROM keyless WHERE {chunk}')$$);
SELECT pg_temp.failure($$SELECT chunked.create_job('half', 'UPDATE half SET n = 0 WHERE {chunk}')$$);

--
-- Roles
--
\set superuser :USER
\set path job_test
ALTER SEQUENCE chunked.ledger_fences RESTART;
CREATE ROLE regress_chunked_job_owner LOGIN;
CREATE ROLE regress_chunked_job_member LOGIN IN ROLE regress_chunked_job_owner;
CREATE ROLE regress_chunked_job_apart LOGIN NOINHERIT IN ROLE regress_chunked_job_owner;
CREATE ROLE regress_chunked_job_other LOGIN;
GRANT USAGE, CREATE ON SCHEMA job_test TO regress_chunked_job_owner;
GRANT USAGE ON SCHEMA job_test TO regress_chunked_job_other, regress_chunked_job_apart;
\set role regress_chunked_job_owner
\i :srcdir/sql/include/login.sql
CREATE TABLE theirs (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);
INSERT INTO theirs SELECT generate_series(1, 10);
-- records as whom it runs
CREATE TABLE ran (who name, what text);
GRANT SELECT, INSERT ON ran TO PUBLIC;
CREATE FUNCTION tells(what text) RETURNS boolean LANGUAGE sql AS 'INSERT INTO job_test.ran VALUES (current_user, what); SELECT true';
SELECT chunked.create_job('theirs', 'UPDATE theirs SET n = n + 1 WHERE {chunk} AND tells(''statement'')', name => 'theirs', chunk_size => 4, throttle => 'NOT tells(''throttle'')');
CREATE VIEW tellers AS SELECT id FROM theirs WHERE tells('view');
SELECT chunked.create_job('tellers', name => 'outside', chunk_size => 4, max_attempts => 1, key => 'id');
SELECT number, fence, state FROM chunked.claim_chunk('outside', '1 day') \gset
TRUNCATE ran;
-- all that shows a job, and all that changes or runs one
\set role :superuser
\i :srcdir/sql/include/login.sql
CREATE VIEW shown WITH (security_invoker) AS SELECT (SELECT count(*) FROM chunked.jobs) AS jobs, (SELECT count(*) FROM chunked.job_chunks) > 0 AS chunks, (SELECT count(*) FROM chunked.progress) AS progress,
	(SELECT count(*) FROM chunked.ledger_jobs) AS l_jobs, (SELECT count(*) FROM chunked.ledger_carving) AS l_carving, (SELECT count(*) FROM chunked.ledger_chunks) > 0 AS l_chunks;
CREATE TABLE calls (n int, call text);
INSERT INTO calls VALUES (1, $$SELECT chunked.alter_job('theirs', chunk_size => 3)$$), (2, $$SELECT chunked.pause_job('theirs')$$), (3, $$SELECT chunked.resume_job('theirs')$$),
	(4, $$SELECT chunked.retry_failed('theirs')$$), (5, $$SELECT chunked.start_job('theirs')$$), (6, $$SELECT chunked.claim_chunk('outside')$$),
	(7, format($$SELECT chunked.renew_chunk('outside', %s, %s)$$, :number, :fence)), (8, format($$SELECT chunked.fail_chunk('outside', %s, %s)$$, :number, :fence)),
	(9, format($$SELECT chunked.complete_chunk('outside', %s, %s)$$, :number, :fence)), (10, $$SELECT chunked.cancel_job('theirs')$$), (11, $$SELECT chunked.drop_job('theirs')$$);
GRANT SELECT ON shown, calls TO PUBLIC;
-- what comes of a call, and of the owner's code that it ran as another; undone
CREATE FUNCTION tried(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	ran text;
BEGIN
	EXECUTE call;
	SELECT ' ran ' || string_agg(DISTINCT what || ' as ' || who, ', ') INTO ran FROM job_test.ran WHERE who <> 'regress_chunked_job_owner';
	RAISE 'no error%', coalesce(ran, '') USING ERRCODE = 'UNDO0';
EXCEPTION WHEN OTHERS THEN
	RETURN CASE SQLSTATE WHEN 'UNDO0' THEN SQLERRM ELSE SQLSTATE END;
END
$$;
-- another role: there are none, and it makes none in another's name
\set role regress_chunked_job_other
\i :srcdir/sql/include/login.sql
SELECT * FROM shown;
SELECT call, tried(call) FROM calls ORDER BY n;
CALL chunked.run_job('theirs');
WITH gone AS (DELETE FROM chunked.ledger_jobs RETURNING id) SELECT count(*) FROM gone;
WITH gone AS (DELETE FROM chunked.ledger_chunks RETURNING job) SELECT count(*) FROM gone;
WITH changed AS (UPDATE chunked.ledger_carving SET chunks = 100 RETURNING job) SELECT count(*) FROM changed;
SELECT pg_temp.state($$INSERT INTO chunked.ledger_jobs (name, owner, relation, chunk_size, pause, max_attempts, on_error, check_plan, search_path, total_rows)
	VALUES ('false', 'regress_chunked_job_owner', 'pg_catalog.pg_class', 1, '0', 1, 'stop', false, '', 0)$$);
SELECT pg_temp.state(format($$INSERT INTO chunked.ledger_chunks (job, number, upto, row_count) SELECT %s, 100, '{}', 0$$, id)), pg_temp.state(format($$INSERT INTO chunked.ledger_carving (job, carved_all, chunk_size) VALUES (%s, true, 1)$$, id + 1000))
FROM (SELECT 1 AS id) s;
-- a name is one's own: another role may give it to a job of its own
\set role regress_chunked_job_owner
\i :srcdir/sql/include/login.sql
GRANT SELECT ON theirs TO regress_chunked_job_other;
\set role regress_chunked_job_other
\i :srcdir/sql/include/login.sql
SELECT chunked.create_job('theirs', name => 'theirs');
SELECT pg_temp.failure($$SELECT chunked.create_job('theirs', name => 'theirs')$$);
SELECT chunked.create_job('theirs', 'SELECT n FROM theirs WHERE {chunk}');
SELECT * FROM shown;
-- and which one is meant is clear to all but those who see both
\set role :superuser
\i :srcdir/sql/include/login.sql
SELECT pg_temp.failure($$SELECT chunked.pause_job('theirs')$$);
\set role regress_chunked_job_owner
\i :srcdir/sql/include/login.sql
SELECT chunked.pause_job('theirs');
SELECT chunked.resume_job('theirs');
\set role regress_chunked_job_other
\i :srcdir/sql/include/login.sql
SELECT chunked.drop_job('theirs');
SELECT chunked.drop_job('theirs-1');
-- nothing is left, not even what only a superuser sees
\set role :superuser
\i :srcdir/sql/include/login.sql
SELECT (SELECT count(*) FROM chunked.ledger_carving WHERE job NOT IN (SELECT id FROM chunked.ledger_jobs)) AS carving,
	(SELECT count(*) FROM chunked.ledger_chunks WHERE job NOT IN (SELECT id FROM chunked.ledger_jobs)) AS chunks;
-- a member: sees and changes, but does not run or claim, or do what runs the owner's code
\set role regress_chunked_job_member
\i :srcdir/sql/include/login.sql
SELECT * FROM shown;
SELECT call, tried(call) FROM calls ORDER BY n;
CALL chunked.run_job('theirs');
SELECT chunked.pause_job('theirs');
SELECT status FROM chunked.jobs WHERE name = 'theirs';
SELECT chunked.resume_job('theirs');
-- one that does not inherit the owner's privileges: sees, and changes nothing
\set role regress_chunked_job_apart
\i :srcdir/sql/include/login.sql
SELECT * FROM shown;
SELECT call, tried(call) FROM calls ORDER BY n;
CALL chunked.run_job('theirs');
WITH changed AS (UPDATE chunked.ledger_jobs SET paused = true RETURNING id) SELECT count(*) FROM changed;
WITH changed AS (UPDATE chunked.ledger_chunks SET fence = 100 RETURNING job) SELECT count(*) FROM changed;
SELECT name, status FROM chunked.jobs ORDER BY id;
-- a superuser: sees and changes, and runs nothing of another's
\set role :superuser
\i :srcdir/sql/include/login.sql
SELECT * FROM shown;
SELECT call, tried(call) FROM calls ORDER BY n;
CALL chunked.run_job('theirs');
\set VERBOSITY default
SELECT chunked.claim_chunk('outside');
\set VERBOSITY sqlstate
-- the owner: all of it
\set role regress_chunked_job_owner
\i :srcdir/sql/include/login.sql
SELECT * FROM shown;
SELECT call, tried(call) FROM calls WHERE n <> 5 ORDER BY n;
CALL chunked.run_job('theirs');
SELECT n, count(*) FROM theirs GROUP BY n;
SELECT DISTINCT who, what FROM ran ORDER BY what;
\set role :superuser
\i :srcdir/sql/include/login.sql
-- given to another role by who has the rights of both, if that has none of the name
\set role regress_chunked_job_owner
\i :srcdir/sql/include/login.sql
SELECT pg_temp.failure($$SELECT chunked.alter_job('outside', owner => 'regress_chunked_job_other')$$);
\set role regress_chunked_job_member
\i :srcdir/sql/include/login.sql
SELECT chunked.alter_job('outside', owner => 'regress_chunked_job_member');
SELECT pg_temp.failure($$SELECT chunked.alter_job('outside', throttle => 'false', owner => 'regress_chunked_job_owner')$$);
SELECT name, owner FROM chunked.jobs ORDER BY id;
SELECT chunked.alter_job('outside', owner => 'regress_chunked_job_owner');
-- code is the owner's alone to give
SELECT pg_temp.failure($$SELECT chunked.alter_job('outside', throttle => 'false')$$);
-- what the owner may not, neither may his job
\set role regress_chunked_job_other
\i :srcdir/sql/include/login.sql
SELECT chunked.create_job('theirs', 'UPDATE theirs SET n = 5 WHERE {chunk}', name => 'writes');
CALL chunked.run_job('writes');
SELECT n, count(*) FROM theirs GROUP BY n;
SELECT status FROM chunked.jobs WHERE name = 'writes';
SELECT pg_temp.state($$SELECT chunked.create_job('kinds')$$);
SELECT pg_temp.failure($$SELECT chunked.create_job('theirs', max_lag => '1 s')$$);
\set role :superuser
\i :srcdir/sql/include/login.sql
SELECT chunked.drop_job(name) FROM chunked.jobs;
DROP SCHEMA job_test CASCADE;
DROP OWNED BY regress_chunked_job_owner, regress_chunked_job_member, regress_chunked_job_other, regress_chunked_job_apart;
DROP ROLE regress_chunked_job_member, regress_chunked_job_apart, regress_chunked_job_other, regress_chunked_job_owner;
