-- Options of a job that decide what it is about: after, upto, settings; and what
-- a job does when what it is about has changed.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/failure.sql
\set ECHO all
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET client_min_messages = error;
DROP SCHEMA IF EXISTS job_options_test CASCADE;
DROP ROLE IF EXISTS regress_chunked_options;
CREATE SCHEMA job_options_test;
SET search_path = job_options_test;
CREATE TABLE event (id int PRIMARY KEY, tenant text NOT NULL, n int NOT NULL DEFAULT 0);
INSERT INTO event SELECT i, 't' || i % 3 FROM generate_series(1, 100) i;
ANALYZE event;
\set counts 'SELECT n, count(*), min(id), max(id) FROM event GROUP BY n ORDER BY n'

--
-- A range of the relation
--
CALL chunked.run('event', 'UPDATE event SET n = n + 1 WHERE {chunk}', after => '{"id": 20}', upto => '{"id": 50}', chunk_size => 7, name => 'part');
:counts;
SELECT number, after, upto, row_count FROM chunked.job_chunks WHERE job = 'part' ORDER BY number;
SELECT high_water, total_rows BETWEEN 10 AND 100 AS about FROM chunked.jobs WHERE name = 'part';
-- upto beyond what there is, after the end, between rows, and wrong
UPDATE event SET n = 0;
CALL chunked.run('event', 'UPDATE event SET n = n + 1 WHERE {chunk}', after => '{"id": "90"}', upto => '{"id": 5000}', chunk_size => 7);
:counts;
CALL chunked.run('event', 'UPDATE event SET n = n + 1 WHERE {chunk}', after => '{"id": 100}');
-- the empty position is the open end
UPDATE event SET n = 0;
CALL chunked.run('event', 'UPDATE event SET n = n + 1 WHERE {chunk}', after => '{}', upto => '{"id": 9}');
CALL chunked.run('event', 'UPDATE event SET n = n + 2 WHERE {chunk}', after => '{"id": 95}', upto => '{}');
:counts;
SELECT chunked.create_job('event', name => 'all of it', after => '{}', upto => '{}');
SELECT high_water, (SELECT after FROM chunked.job_chunks WHERE job = 'all of it' AND number = 1) FROM chunked.jobs WHERE name = 'all of it';
CALL chunked.run('event', 'UPDATE event SET n = n + 1 WHERE {chunk}', after => '{"id": 50}', upto => '{"id": 40}');
:counts;
SELECT pg_temp.failure($$SELECT chunked.create_job('event', after => '{"n": 1}')$$);
SELECT pg_temp.failure($$SELECT chunked.create_job('event', upto => '{"id": "x"}')$$);
SELECT pg_temp.failure($$SELECT chunked.create_job('event', max_attempts => 3000000000)$$), pg_temp.failure($$SELECT chunked.start_job('event', workers => 3000000000)$$);
-- claimed, and taken back to be carved again, it starts where it starts
SELECT chunked.create_job('event', name => 'claimed', after => '{"id": 95}', chunk_size => 2);
SELECT chunked.alter_job('claimed', chunk_size => 3);
SELECT number, after, upto FROM chunked.claim_chunk('claimed');
-- a dry run is about the range
SET client_min_messages = notice;
CALL chunked.run('event', 'UPDATE event SET n = n + 1 WHERE {chunk}', after => '{"id": 97}', dry_run => true);
SET client_min_messages = error;

--
-- Keys that are not unique: a chunk holds all of its ties
--
CREATE TABLE keyless (a int, n int NOT NULL DEFAULT 0);
INSERT INTO keyless SELECT i / 7 FROM generate_series(1, 100) i;
INSERT INTO keyless VALUES (NULL), (NULL), (NULL);
CALL chunked.run('keyless', 'UPDATE keyless SET n = n + 1 WHERE {chunk}', key => 'a', chunk_size => 5, check_plan => false);
SELECT n, count(*) FROM keyless GROUP BY n;
-- a row that fails: its ties fail with it
CALL chunked.run('keyless', 'UPDATE keyless SET n = n + 1 / (a - 5) WHERE {chunk}', name => 'ties', key => 'a', chunk_size => 30, check_plan => false, max_attempts => 1, on_error => 'continue');
SELECT failed_key, row_count FROM chunked.job_chunks WHERE job = 'ties' AND state = 'failed' ORDER BY 2;
SELECT count(*) FROM keyless WHERE n = 1 AND a <> 4 AND a <> 6 AND abs(a - 5) = 1;

-- but no more than its ties, though these are most of the chunk
CREATE TABLE most (a int, n int NOT NULL DEFAULT 0);
INSERT INTO most SELECT CASE WHEN i <= 3 THEN i ELSE 4 END FROM generate_series(1, 20) i;
CALL chunked.run('most', 'UPDATE most SET n = 1 / (a - 4) + 2 WHERE {chunk}', name => 'most', key => 'a', check_plan => false, max_attempts => 1, on_error => 'continue');
SELECT a, n, count(*) FROM most GROUP BY 1, 2 ORDER BY 1;
SELECT failed_key, row_count FROM chunked.job_chunks WHERE job = 'most' AND state = 'failed';

--
-- A column that is made wider; one that has another name
--
SELECT chunked.create_job('event', 'UPDATE event SET n = -1 WHERE {chunk}', name => 'wider', chunk_size => 40);
SELECT chunked.create_job('event', 'UPDATE event SET n = -2 WHERE {chunk}', name => 'widest', chunk_size => 40);
SELECT chunked.create_job('event', name => 'renamed', chunk_size => 40);
SELECT chunked.complete_chunk('renamed', number, fence) FROM chunked.claim_chunk('renamed');
ALTER TABLE event ALTER id TYPE bigint;
CALL chunked.run_job('wider');
:counts;
ALTER TABLE event ALTER id TYPE numeric;
CALL chunked.run_job('widest');
:counts;
ALTER TABLE event ALTER id TYPE bigint;
-- it goes on by the new name, and the ledger keeps the old one
ALTER TABLE event RENAME id TO "Ident ""1""";
SELECT number, after, upto, predicate FROM chunked.claim_chunk('renamed');
SELECT number, after, upto FROM chunked.job_chunks WHERE job = 'renamed' ORDER BY number;
SELECT chunked.create_job('event', 'UPDATE event SET n = n + 1 WHERE {chunk}', name => 'twice renamed', chunk_size => 7, key => '"Ident ""1""" DESC');
ALTER TABLE event RENAME "Ident ""1""" TO id;
CALL chunked.run_job('twice renamed');
:counts;
-- two of one type that change their names with each other
CREATE TABLE pair (a int, b int, n int NOT NULL DEFAULT 0, PRIMARY KEY (a, b));
INSERT INTO pair SELECT i / 10, 99 - i FROM generate_series(1, 99) i;
CREATE FUNCTION pauses(job text) RETURNS int LANGUAGE plpgsql AS 'BEGIN PERFORM chunked.pause_job(job); RETURN 1; END';
SELECT chunked.create_job('pair', 'UPDATE pair SET n = n + CASE WHEN n = 0 AND 45 IN (a * 10 + 5, b * 10 + 5) THEN pauses(''pair'') ELSE 1 END WHERE {chunk}', name => 'pair', chunk_size => 10);
CALL chunked.run_job('pair');
SELECT count(*) FROM pair WHERE n = 1;
ALTER TABLE pair RENAME a TO c;
ALTER TABLE pair RENAME b TO a;
ALTER TABLE pair RENAME c TO b;
CALL chunked.run_job('pair');
CALL chunked.run_job('pair');
SELECT status FROM chunked.jobs WHERE name = 'pair';
SELECT n, count(*) FROM pair GROUP BY n;
-- a key that is gone, and a relation that is gone
CREATE TABLE goes (id int PRIMARY KEY, n int NOT NULL UNIQUE);
INSERT INTO goes SELECT i, i FROM generate_series(1, 10) i;
SELECT chunked.create_job('goes', 'UPDATE goes SET n = n WHERE {chunk}', name => 'goes');
ALTER TABLE goes DROP id;
CALL chunked.run_job('goes');
DROP TABLE goes;
CALL chunked.run_job('goes');
CALL chunked.run_job('goes', workers => 1);
SELECT status FROM chunked.jobs WHERE name = 'goes';
SELECT chunked.drop_job('goes');

--
-- The same again, by one who may mean to go on; and rows that are looked at only
--
SELECT chunked.create_job('pair', 'UPDATE pair SET n = n + 1 WHERE {chunk} AND n > 5', chunk_size => 50);
SET client_min_messages = notice;
SELECT chunked.create_job('pair', 'UPDATE pair SET n = n + 1 WHERE {chunk} AND n > 5', chunk_size => 50);
SELECT chunked.create_job('pair', 'UPDATE pair SET n = n + 2 WHERE {chunk} AND n > 5');
SET client_min_messages = error;

--
-- What cannot be done is an error before there is a job
--
SELECT pg_temp.failure($$SELECT chunked.create_job('event', throttle => 'SELECT 1')$$);
SELECT pg_temp.failure($$SELECT chunked.create_job('event', throttle => 'nonsense')$$);
CREATE TABLE empty (id int PRIMARY KEY, n int);
SELECT pg_temp.failure($$SELECT chunked.create_job('empty', 'UPDATE empty SET id = 1 WHERE {chunk}')$$);
SELECT pg_temp.failure($$SELECT chunked.create_job('empty', 'UPDATE empty SET nothing = 1 WHERE {chunk}')$$);
CREATE TEMP TABLE temporary (id int PRIMARY KEY);
CALL chunked.run('temporary', 'DELETE FROM temporary WHERE {chunk}', name => 'temporary', workers => 1);
SELECT count(*) FROM chunked.jobs WHERE name = 'temporary';
SET default_transaction_read_only = on;
SELECT pg_temp.failure($$SELECT chunked.create_job('event')$$);
SELECT pg_temp.failure($$SELECT chunked.pause_job('renamed')$$);
SELECT pg_temp.failure($$SELECT chunked.claim_chunk('renamed')$$);
RESET default_transaction_read_only;

-- a column in another order
CREATE TABLE collated (k text COLLATE "C" PRIMARY KEY);
INSERT INTO collated SELECT i::text FROM generate_series(1, 20) i;
SELECT chunked.create_job('collated', 'SELECT FROM collated WHERE {chunk}', name => 'collated');
ALTER TABLE collated ALTER k TYPE text COLLATE "POSIX";
SELECT pg_temp.state($$SELECT chunked.claim_chunk('collated')$$);
ALTER TABLE collated ALTER k TYPE text COLLATE "C";
CALL chunked.run_job('collated');

--
-- Settings that the texts go by
--
SET TimeZone = 'Asia/Tokyo';
SET app.who = 'first';
CREATE TABLE told (zone text, who text, nulls text);
SELECT chunked.create_job('event', $$INSERT INTO told SELECT current_setting('TimeZone'), current_setting('app.who'), current_setting('transform_null_equals') FROM event WHERE {chunk}$$, name => 'told', settings => 'app.who');
SET TimeZone = 'UTC';
SET app.who = 'second';
SET transform_null_equals = on;
CALL chunked.run_job('told');
SELECT *, count(*) FROM told GROUP BY 1, 2, 3;
SELECT current_setting('TimeZone'), current_setting('app.who'), current_setting('transform_null_equals');
RESET transform_null_equals;
SELECT pg_temp.failure($$SELECT chunked.create_job('event', settings => 'app.none')$$);
SELECT pg_temp.failure($$SELECT chunked.create_job('event', settings => 'Role')$$);
SELECT pg_temp.failure($$SELECT chunked.create_job('event', settings => 'transaction_read_only')$$);
SELECT pg_temp.failure($$SELECT chunked.create_job('event', settings => 'app.who,,')$$);
-- what triggers do
CREATE FUNCTION notes() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO told VALUES (''trigger''); RETURN NULL; END';
CREATE TRIGGER notes AFTER UPDATE ON event EXECUTE FUNCTION notes();
TRUNCATE told;
SET session_replication_role = replica;
SELECT chunked.create_job('event', 'UPDATE event SET n = 5 WHERE {chunk}', name => 'replica');
RESET session_replication_role;
CALL chunked.run_job('replica');
SELECT count(*) FROM told;
DROP TRIGGER notes ON event;

--
-- Row-level security
--
\set superuser :USER
\set path job_options_test
CREATE ROLE regress_chunked_options LOGIN;
GRANT ALL ON SCHEMA job_options_test TO regress_chunked_options;
ALTER TABLE event OWNER TO regress_chunked_options;
ALTER TABLE event ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY p ON event USING (tenant = current_setting('app.tenant', true));
UPDATE event SET n = 0;
SET session_replication_role = replica;
SELECT chunked.create_job('event', 'UPDATE event SET n = 5 WHERE {chunk}', name => 'given away');
RESET session_replication_role;
SELECT chunked.alter_job('given away', owner => 'regress_chunked_options');
\set role regress_chunked_options
\i :srcdir/sql/include/login.sql
-- a setting that was the former owner's to set
CALL chunked.run_job('given away');
SELECT chunked.drop_job('given away');
\set VERBOSITY default
SET app.tenant = 't1';
SELECT chunked.create_job('event', 'UPDATE event SET n = 1 WHERE {chunk}', name => 'seen');
SELECT chunked.create_job('event', 'UPDATE event SET n = n + 10 WHERE {chunk}', name => 'kept', settings => 'app.tenant');
RESET app.tenant;
SET client_min_messages = error;
-- it is not done by not seeing its rows
CALL chunked.run_job('seen');
SELECT name, status FROM chunked.jobs ORDER BY id;
CALL chunked.run_job('kept');
SET app.tenant = 't1';
CALL chunked.run_job('seen');
SELECT name, status FROM chunked.jobs ORDER BY id;
SELECT tenant, n, count(*) FROM event GROUP BY 1, 2;
SELECT chunked.drop_jobs('1 day'), chunked.drop_jobs('0'), (SELECT count(*) FROM chunked.jobs);
SELECT pg_temp.failure($$SELECT chunked.drop_jobs('-1 day')$$), pg_temp.failure($$SELECT chunked.drop_jobs(NULL)$$);
\set role :superuser
\i :srcdir/sql/include/login.sql
SET client_min_messages = error;
SELECT count(chunked.drop_job(name)) > 0 FROM chunked.jobs;
DROP SCHEMA job_options_test CASCADE;
DROP OWNED BY regress_chunked_options;
DROP ROLE regress_chunked_options;
