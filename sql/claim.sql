-- Chunks for workers outside the server: claimed, renewed, completed, failed and lost.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/failure.sql
\set ECHO all
\set SHOW_CONTEXT never
\set VERBOSITY sqlstate
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS claim_test CASCADE;
DROP ROLE IF EXISTS regress_chunked_claimer;
CREATE SCHEMA claim_test;
SET search_path = claim_test;
CREATE TABLE event (id int PRIMARY KEY, kind int NOT NULL, n int NOT NULL DEFAULT 0);
INSERT INTO event (id, kind) SELECT i, i % 10 FROM generate_series(1, 10) i;
CREATE VIEW chunks AS SELECT number, state, after, upto, row_count, rows_affected, attempts, fence, lease_until > clock_timestamp() AS leased, retry_at IS NOT NULL AS waits, failed_key, error_sqlstate, error
FROM chunked.job_chunks WHERE job = 'job' ORDER BY number;

--
-- From the first claim to the last
--
ALTER SEQUENCE chunked.ledger_fences RESTART;
SELECT chunked.create_job('event', name => 'job', chunk_size => 4);
SELECT number, fence, after, upto, predicate, state, reason FROM chunked.claim_chunk('job');
SELECT status FROM chunked.jobs;
SELECT * FROM chunks;
SELECT number, fence, after, upto, predicate, state, reason FROM chunked.claim_chunk('job', '1 hour');
SELECT number, fence, after, upto, predicate, state, reason FROM chunked.claim_chunk(name => 'job', lease => '1 day');
SELECT lease_until - clock_timestamp() BETWEEN '4 min' AND '5 min' AS five_minutes FROM chunked.job_chunks WHERE number = 1;
SELECT lease_until - clock_timestamp() BETWEEN '59 min' AND '1 hour' AS hour FROM chunked.job_chunks WHERE number = 2;
-- all are claimed, none is done
SELECT number, fence, after, upto, predicate, state, reason FROM chunked.claim_chunk('job');
SELECT chunked.complete_chunk('job', 1, 1, 4);
SELECT chunked.complete_chunk('job', 2, 2);
SELECT * FROM chunks;
SELECT number, fence, after, upto, predicate, state, reason FROM chunked.claim_chunk('job');
SELECT chunked.complete_chunk('job', number => 3, fence => 3, row_count => 0);
SELECT number, fence, after, upto, predicate, state, reason FROM chunked.claim_chunk('job');
SELECT number, fence, after, upto, predicate, state, reason FROM chunked.claim_chunk('job');
SELECT * FROM chunks;
SELECT status FROM chunked.jobs;
SELECT status, chunks_done, rows_done, rows_total, rows_affected, fraction FROM chunked.progress;
SELECT chunked.drop_job('job');

--
-- The condition is the chunk: to update by, for keys of all kinds
--
CREATE TABLE kinds (id int PRIMARY KEY, a int, b text, "C c" timestamptz, u uuid, n int NOT NULL DEFAULT 0);
INSERT INTO kinds SELECT i, nullif(i % 7, 0), CASE WHEN i % 5 > 0 THEN 'text ''' || i % 20 END, CASE WHEN i % 4 > 0 THEN '2020-01-01 00:00:00+00'::timestamptz + i % 30 * interval '1 us' END,
	CASE WHEN i % 3 > 0 THEN md5(i::text)::uuid END FROM generate_series(1, 100) i;
CREATE FUNCTION work(size int, key text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	chunk record;
	chunks int := 0;
	done bigint;
	unlike int := 0;
BEGIN
	UPDATE kinds SET n = 0;
	PERFORM chunked.create_job('kinds', name => 'work', chunk_size => size, key => key);
	LOOP
		SELECT * INTO chunk FROM chunked.claim_chunk('work');
		EXIT WHEN chunk.state <> 'claimed';
		EXECUTE 'UPDATE kinds SET n = n + 1 WHERE ' || chunk.predicate;
		GET DIAGNOSTICS done = ROW_COUNT;
		PERFORM chunked.complete_chunk('work', chunk.number, chunk.fence, done);
		chunks := chunks + 1;
	END LOOP;
	SELECT count(*) INTO unlike FROM chunked.job_chunks WHERE job = 'work' AND row_count <> rows_affected;
	PERFORM chunked.drop_job('work');
	RETURN format('%s: %s chunks, %s rows once, %s not, %s chunks of another size', chunk.state, chunks, count(*) FILTER (WHERE n = 1), count(*) FILTER (WHERE n <> 1), unlike) FROM kinds;
END
$$;
SELECT key, work(7, key) FROM (VALUES ('id'), ('id DESC'), ('a'), ('a DESC, b'), ('b'), ('b DESC NULLS LAST, u'), ('u'), ('"C c" DESC, a NULLS FIRST')) k (key);
-- more chunks than are carved at a time
SELECT size, work(size, NULL) FROM unnest('{1,1000}'::int[]) size;
-- a claim and its work in one transaction that is rolled back: neither has happened
ALTER SEQUENCE chunked.ledger_fences RESTART;
SELECT chunked.create_job('event', name => 'job', chunk_size => 4);
BEGIN;
SELECT number, fence, state FROM chunked.claim_chunk('job');
SELECT chunked.complete_chunk('job', 1, 1);
ROLLBACK;
SELECT number, fence, state FROM chunked.claim_chunk('job');
SELECT chunked.drop_job('job');

--
-- What is refused
--
ALTER SEQUENCE chunked.ledger_fences RESTART;
SELECT chunked.create_job('event', name => 'job', chunk_size => 4);
SELECT number, fence FROM chunked.claim_chunk('job');
SELECT pg_temp.failure('SELECT chunked.' || call) FROM (VALUES
	(1, $$claim_chunk(NULL)$$),
	(2, $$claim_chunk('missing')$$),
	(3, $$claim_chunk('job', NULL)$$),
	(4, $$claim_chunk('job', '0')$$),
	(5, $$claim_chunk('job', '-1 s')$$),
	(6, $$renew_chunk(NULL, 1, 1)$$),
	(7, $$renew_chunk('missing', 1, 1)$$),
	(8, $$renew_chunk('job', NULL, 1)$$),
	(9, $$renew_chunk('job', 1, NULL)$$),
	(10, $$renew_chunk('job', 1, 1, NULL)$$),
	(11, $$renew_chunk('job', 1, 1, '0')$$),
	(12, $$renew_chunk('job', 1, 1, '-5 min')$$),
	(13, $$renew_chunk('job', 4, 1)$$),
	(14, $$renew_chunk('job', 1, 0)$$),
	(15, $$renew_chunk('job', 1, 2)$$),
	(16, $$renew_chunk('job', 2, 0)$$),
	(17, $$renew_chunk('job', 2, 1)$$),
	(20, $$complete_chunk(NULL, 1, 1)$$),
	(21, $$complete_chunk('missing', 1, 1)$$),
	(22, $$complete_chunk('job', NULL, 1)$$),
	(23, $$complete_chunk('job', 1, NULL)$$),
	(24, $$complete_chunk('job', 1, 1, -1)$$),
	(25, $$complete_chunk('job', 0, 1)$$),
	(26, $$complete_chunk('job', 1, 2)$$),
	(27, $$complete_chunk('job', 2, 0)$$),
	(30, $$fail_chunk(NULL, 1, 1)$$),
	(31, $$fail_chunk('missing', 1, 1)$$),
	(32, $$fail_chunk('job', NULL, 1)$$),
	(33, $$fail_chunk('job', 1, NULL)$$),
	(34, $$fail_chunk('job', 99, 1)$$),
	(35, $$fail_chunk('job', 1, -1)$$),
	(36, $$fail_chunk('job', 3, 0)$$)) c (n, call) ORDER BY n;
-- nothing came of it
SELECT * FROM chunks;
\set VERBOSITY default
SELECT chunked.complete_chunk('job', 2, 2);
-- done, and done again
SELECT chunked.complete_chunk('job', 1, 1);
SELECT chunked.complete_chunk('job', 1, 1);
SELECT chunked.complete_chunk('job', 1, 2);
SELECT chunked.renew_chunk('job', 1, 1);
SELECT chunked.fail_chunk('job', 1, 1);
\set VERBOSITY sqlstate

--
-- Failed by its worker
--
SELECT number, fence FROM chunked.claim_chunk('job');
SELECT chunked.fail_chunk('job', 2, 2, 'no route to host');
SELECT * FROM chunks;
\set VERBOSITY default
SELECT chunked.complete_chunk('job', 2, 2);
\set VERBOSITY sqlstate
-- it comes again, with the next fence, when it has waited
SELECT number FROM chunked.claim_chunk('job');
CREATE FUNCTION claim_patiently(name text, lease interval DEFAULT '5 min', OUT number bigint, OUT fence bigint, OUT state text, OUT predicate text) LANGUAGE plpgsql AS $$
DECLARE
	deadline timestamptz := clock_timestamp() + interval '3 min';
BEGIN
	LOOP
		SELECT c.number, c.fence, c.state, c.predicate INTO number, fence, state, predicate FROM chunked.claim_chunk(name, lease) c;
		EXIT WHEN state <> 'wait' OR clock_timestamp() > deadline;
		PERFORM pg_sleep(0.02);
	END LOOP;
END
$$;
SELECT * FROM claim_patiently('job');
SELECT chunked.complete_chunk('job', 2, 4);
SELECT number, state, attempts, error FROM chunks;
SELECT chunked.drop_job('job');
-- divided down to the row that fails: 7
CREATE FUNCTION fail_on(bad int[], OUT state text, OUT claims int, OUT chunks text) LANGUAGE plpgsql AS $$
DECLARE
	chunk record;
	hit boolean;
BEGIN
	claims := 0;
	LOOP
		SELECT * INTO chunk FROM claim_patiently('job');
		state := chunk.state;
		EXIT WHEN chunk.state <> 'claimed';
		claims := claims + 1;
		EXECUTE format('SELECT EXISTS (SELECT FROM event WHERE id = ANY ($1) AND %s)', chunk.predicate) INTO hit USING bad;
		IF hit THEN
			PERFORM chunked.fail_chunk('job', chunk.number, chunk.fence);
		ELSE
			PERFORM chunked.complete_chunk('job', chunk.number, chunk.fence);
		END IF;
	END LOOP;
END
$$;
ALTER SEQUENCE chunked.ledger_fences RESTART;
SELECT chunked.create_job('event', name => 'job', chunk_size => 10, max_attempts => 2);
SELECT state, claims FROM fail_on('{7}');
SELECT number, state, after, upto, row_count, attempts, failed_key, error_sqlstate, error FROM chunks;
SELECT status FROM chunked.jobs;
SELECT state, number FROM chunked.claim_chunk('job');
-- tried again, with all its attempts, and the job goes on
SELECT chunked.retry_failed('job');
SELECT status FROM chunked.jobs;
SELECT number, state, attempts, failed_key, error FROM chunks WHERE state <> 'done';
SELECT state, claims FROM fail_on('{}');
SELECT state, count(*), sum(row_count) FROM chunks GROUP BY state;
SELECT status, chunks_failed, rows_done FROM chunked.progress;
SELECT chunked.drop_job('job');
-- two of them, and it goes on with the rest
ALTER SEQUENCE chunked.ledger_fences RESTART;
SELECT chunked.create_job('event', name => 'job', chunk_size => 10, max_attempts => 1, on_error => 'continue');
SELECT state, claims > 5 AS divided FROM fail_on('{2,9}');
SELECT state, count(*), sum(row_count), string_agg(failed_key->>'id', ' ' ORDER BY upto->'id') FROM chunks GROUP BY state ORDER BY state;
SELECT status, chunks_failed, rows_done FROM chunked.progress;
SELECT chunked.retry_failed('job');
SELECT state FROM fail_on('{9}');
SELECT state, count(*), sum(row_count) FROM chunks GROUP BY state ORDER BY state;
SELECT pg_temp.failure(format('SELECT chunked.complete_chunk(''job'', %s, %s)', number, fence)) = format('55000 fence %s does not hold chunk %s of job "job" | Undo the work on it or let it be done again, and claim another; a longer lease or renew_chunk() avoids this.', fence, number) AS refused
FROM chunks WHERE state = 'failed';
SELECT chunked.drop_job('job');

--
-- Lost: the lease ran out
--
ALTER SEQUENCE chunked.ledger_fences RESTART;
SELECT chunked.create_job('event', name => 'job', chunk_size => 10);
-- how a late call is answered; the times in it are not for comparison
CREATE FUNCTION late(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	message text;
	detail text;
BEGIN
	EXECUTE 'SELECT chunked.' || call;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(' ', SQLSTATE, message, '|', regexp_replace(detail, '[0-9]+-[0-9]+-[0-9]+ [0-9:.]+ ?\S+?(;|\.$)', 'TIME\1'));
END
$$;
SET DateStyle = 'ISO';
SELECT number, fence, state FROM chunked.claim_chunk('job', '1 ms');
SELECT pg_sleep(0.05);
SELECT state, leased FROM chunks;
SELECT status FROM chunked.jobs;
SELECT late(call) FROM unnest('{"complete_chunk(''job'', 1, 1)","renew_chunk(''job'', 1, 1)","fail_chunk(''job'', 1, 1)"}'::text[]) call;
-- another has it now
SELECT number, fence, state FROM claim_patiently('job', '1 hour') AS c \gset second_
SELECT :second_number AS number, :second_fence > 1 AS later;
SELECT replace(late(call), :'second_fence', 'SECOND') FROM unnest('{"complete_chunk(''job'', 1, 1)","renew_chunk(''job'', 1, 1)","fail_chunk(''job'', 1, 1)"}'::text[]) call;
SELECT state, attempts, error_sqlstate, error FROM chunks;
-- renewed, it lasts; and shorter, if that is asked for
SELECT chunked.renew_chunk('job', 1, :second_fence, '2 hours');
SELECT lease_until - clock_timestamp() BETWEEN '119 min' AND '2 hours' AS renewed FROM chunked.job_chunks;
SELECT chunked.renew_chunk('job', 1, :second_fence);
SELECT lease_until - clock_timestamp() BETWEEN '4 min' AND '5 min' AS renewed, fence = :second_fence AS same_fence FROM chunked.job_chunks;
SELECT chunked.complete_chunk('job', 1, :second_fence, 10);
SELECT late('complete_chunk(''job'', 1, 1)');
SELECT state, rows_affected, attempts, error FROM chunks;
SELECT status, retries FROM chunked.progress;
SELECT chunked.drop_job('job');
-- time and again, and it counts as what kills its worker: divided, then failed
CREATE FUNCTION lose(OUT states text, OUT claims int) LANGUAGE plpgsql AS $$
DECLARE
	chunk record;
BEGIN
	claims := 0;
	LOOP
		SELECT * INTO chunk FROM claim_patiently('job', '1 ms');
		EXIT WHEN chunk.state <> 'claimed' OR claims > 100;
		claims := claims + 1;
		PERFORM pg_sleep(0.005);
	END LOOP;
	states := chunk.state;
END
$$;
CREATE TABLE single AS SELECT 5 AS id;
ALTER TABLE single ADD PRIMARY KEY (id);
ALTER SEQUENCE chunked.ledger_fences RESTART;
SELECT chunked.create_job('single', name => 'job', max_attempts => 3);
SELECT * FROM lose();
SELECT number, state, attempts, failed_key, error_sqlstate, error FROM chunks WHERE state = 'failed';
SELECT status FROM chunked.jobs;
SELECT chunked.drop_job('job');
ALTER SEQUENCE chunked.ledger_fences RESTART;
SELECT chunked.create_job('event', name => 'job', chunk_size => 10, max_attempts => 1, on_error => 'continue');
SELECT states FROM lose();
SELECT state, count(*), sum(row_count), count(DISTINCT failed_key), min(error) FROM chunks GROUP BY state;
SELECT chunked.drop_job('job');

--
-- Why there is none to claim
--
ALTER SEQUENCE chunked.ledger_fences RESTART;
SELECT chunked.create_job('event', name => 'job', chunk_size => 4);
SELECT number, fence FROM chunked.claim_chunk('job');
SELECT chunked.pause_job('job');
SELECT number, fence, after, upto, predicate, state, reason FROM chunked.claim_chunk('job');
-- what is in hand may be ended
SELECT chunked.renew_chunk('job', 1, 1);
SELECT chunked.complete_chunk('job', 1, 1);
SELECT chunked.resume_job('job');
SELECT number, state FROM chunked.claim_chunk('job');
SELECT chunked.alter_job('job', throttle => 'EXISTS (SELECT FROM event WHERE n > 0)');
UPDATE event SET n = 1 WHERE id = 1;
SELECT number, fence, after, upto, predicate, state, reason FROM chunked.claim_chunk('job');
SELECT chunked.alter_job('job', throttle => '1 / (SELECT min(n) FROM event) > 5');
SELECT number, state, reason LIKE 'throttle fails: %' AS told FROM chunked.claim_chunk('job');
UPDATE event SET n = 1;
SELECT number, state FROM chunked.claim_chunk('job');
SELECT chunked.cancel_job('job');
SELECT number, fence, after, upto, predicate, state, reason FROM chunked.claim_chunk('job');
SELECT chunked.complete_chunk('job', 2, 2);
SELECT number, state FROM chunks;
SELECT status FROM chunked.jobs;
SELECT chunked.drop_job('job');
SELECT pg_temp.failure($$SELECT chunked.complete_chunk('job', 3, 3)$$);
-- a job with a statement is not claimed from, which would leave the statement out
SELECT chunked.create_job('event', 'UPDATE event SET n = 2 WHERE {chunk}', name => 'job', chunk_size => 4);
SELECT pg_temp.failure($$SELECT number, state FROM chunked.claim_chunk('job')$$);
SELECT status FROM chunked.jobs;
SELECT chunked.drop_job('job');
-- the table is gone
CREATE TABLE gone (id int PRIMARY KEY);
INSERT INTO gone SELECT generate_series(1, 10);
ALTER SEQUENCE chunked.ledger_fences RESTART;
SELECT chunked.create_job('gone', name => 'job', chunk_size => 4);
SELECT number, fence FROM chunked.claim_chunk('job');
DROP TABLE gone;
SELECT pg_temp.state($$SELECT chunked.claim_chunk('job')$$);
SELECT chunked.complete_chunk('job', 1, 1);
SELECT status FROM chunked.jobs;
SELECT chunked.drop_job('job');

--
-- Halves of a divided chunk stay when the rest is carved again in another size
--
ALTER SEQUENCE chunked.ledger_fences RESTART;
SELECT chunked.create_job('event', name => 'job', chunk_size => 4, max_attempts => 1);
SELECT number, fence FROM chunked.claim_chunk('job');
SELECT chunked.fail_chunk('job', 1, 1, 'no');
SELECT chunked.alter_job('job', chunk_size => 3);
CREATE TEMP TABLE seen (id int);
DO $$
DECLARE
    c record;
BEGIN
    LOOP
        SELECT * INTO c FROM chunked.claim_chunk('job');
        EXIT WHEN c.state <> 'claimed';
        EXECUTE format('INSERT INTO seen SELECT id FROM event WHERE %s', c.predicate);
        PERFORM chunked.complete_chunk('job', c.number, c.fence);
    END LOOP;
END $$;
SELECT count(*), count(DISTINCT id), (SELECT count(*) FROM event) FROM seen;
SELECT number, state, upto, row_count, fence FROM chunks;
SELECT chunked.drop_job('job');

--
-- Of another role
--
\set superuser :USER
\set path claim_test
CREATE ROLE regress_chunked_claimer LOGIN;
GRANT USAGE ON SCHEMA claim_test TO regress_chunked_claimer;
ALTER SEQUENCE chunked.ledger_fences RESTART;
SELECT chunked.create_job('event', name => 'job', chunk_size => 4);
SELECT number, fence FROM chunked.claim_chunk('job');
\set role regress_chunked_claimer
\i :srcdir/sql/include/login.sql
SELECT pg_temp.failure('SELECT chunked.' || call) FROM unnest('{"claim_chunk(''job'')","renew_chunk(''job'', 1, 1)","complete_chunk(''job'', 1, 1)","fail_chunk(''job'', 1, 1)"}'::text[]) call;
\set role :superuser
\i :srcdir/sql/include/login.sql
SELECT number, state, fence FROM chunks;
-- rows that it may no longer read
ALTER TABLE event OWNER TO regress_chunked_claimer;
\set role regress_chunked_claimer
\i :srcdir/sql/include/login.sql
SELECT chunked.create_job('event', name => 'mine', chunk_size => 4);
\set role :superuser
\i :srcdir/sql/include/login.sql
ALTER TABLE event OWNER TO CURRENT_USER;
\set role regress_chunked_claimer
\i :srcdir/sql/include/login.sql
SELECT number, state, predicate FROM chunked.claim_chunk('mine');
SELECT pg_temp.state('SELECT * FROM event');
\set role :superuser
\i :srcdir/sql/include/login.sql
SELECT chunked.drop_job(name) FROM chunked.jobs;
DROP SCHEMA claim_test CASCADE;
DROP OWNED BY regress_chunked_claimer;
DROP ROLE regress_chunked_claimer;
