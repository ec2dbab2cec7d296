-- What the owner of a job, or another role, could try with it.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/failure.sql
\set ECHO all
\set SHOW_CONTEXT never
\set VERBOSITY default
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS job_security_test CASCADE;
DROP ROLE IF EXISTS regress_chunked_owner, regress_chunked_other;
CREATE SCHEMA job_security_test;
SET search_path = job_security_test;
\set superuser :USER
\set path job_security_test
CREATE ROLE regress_chunked_owner LOGIN;
CREATE ROLE regress_chunked_other LOGIN;
GRANT ALL ON SCHEMA job_security_test TO PUBLIC;

--
-- Code in a job's statement, throttle or filter cannot leave the role that runs it
--
\set role regress_chunked_owner
\i :srcdir/sql/include/login.sql
CREATE TABLE mine (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);
INSERT INTO mine SELECT generate_series(1, 10);
CALL chunked.run('mine', $$SELECT set_config('role', 'none', false) FROM mine WHERE {chunk}$$, max_attempts => 1, chunk_size => 10);
CALL chunked.run('mine', $$UPDATE mine SET n = n + 1 WHERE set_config('role', 'none', false) IS NOT NULL AND {chunk}$$, filter => $$set_config('role', 'none', false) IS NOT NULL$$);
SELECT chunked.create_job('mine', name => 'throttled', throttle => $$SELECT set_config('role', 'none', false) IS NULL$$);
SELECT state, reason FROM chunked.claim_chunk('throttled');
SELECT current_user, sum(n) FROM mine;
-- more than one statement
SELECT chunked.create_job('mine', throttle => '1 = 1) IS TRUE; DROP TABLE mine; SELECT (true');

--
-- Nobody writes to the ledger by hand, nor looks as if he ran a job
--
SELECT chunked.create_job('mine', $$UPDATE mine SET n = n + 1 WHERE {chunk}$$, name => 'job');
UPDATE chunked.ledger_jobs SET statement = 'DELETE FROM mine WHERE {chunk}';
INSERT INTO chunked.ledger_chunks (job, number, upto, row_count) SELECT id, 1, '{"id": 10}', 1 FROM chunked.ledger_jobs;
DELETE FROM chunked.ledger_carving;
BEGIN;
LOCK TABLE chunked.ledger_jobs IN ACCESS EXCLUSIVE MODE;
ROLLBACK;
\set role regress_chunked_other
\i :srcdir/sql/include/login.sql
SELECT count(*) FROM chunked.ledger_jobs;
SELECT chunked.pause_job('job');
\set role :superuser
\i :srcdir/sql/include/login.sql
SELECT pg_advisory_lock_shared('chunked.ledger_jobs'::regclass::oid::int, id::int) FROM chunked.ledger_jobs WHERE name = 'job';
SELECT status, workers FROM chunked.jobs WHERE name = 'job';
SELECT pg_advisory_unlock_all();

--
-- A key that is not what it was: positions would mean something else
--
\set role regress_chunked_owner
\i :srcdir/sql/include/login.sql
SELECT chunked.create_job('mine', name => 'claims', chunk_size => 5);
SELECT number, fence, state FROM chunked.claim_chunk('claims') \gset
ALTER TABLE mine ALTER id TYPE text USING id::text;
CALL chunked.run_job('job');
SELECT number, state FROM chunked.claim_chunk('claims');
ALTER TABLE mine ALTER id TYPE int USING id::int;
CALL chunked.run_job('job');
SELECT min(n), max(n) FROM mine;
-- numbers that no sum may overflow
SELECT chunked.complete_chunk('claims', number, fence, 9000000000000000000), number FROM chunked.claim_chunk('claims');
SELECT chunked.complete_chunk('claims', :number, :fence, 9000000000000000000);
\set role :superuser
\i :srcdir/sql/include/login.sql
SELECT job, rows_affected FROM chunked.progress WHERE job = 'claims';
SELECT chunked.drop_job(name) FROM chunked.jobs;
DROP SCHEMA job_security_test CASCADE;
DROP OWNED BY regress_chunked_owner, regress_chunked_other;
DROP ROLE regress_chunked_owner, regress_chunked_other;
