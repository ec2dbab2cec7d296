-- How a job's statement is planned: by the walk's index and for the chunk's rows,
-- whatever statistics say; and what its plan is refused for.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/failure.sql
\set ECHO all
\set SHOW_CONTEXT never
\set VERBOSITY default
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS job_plan_test CASCADE;
CREATE SCHEMA job_plan_test;
SET search_path = job_plan_test;
SET pg_chunked.progress_interval = 0;
-- a chunk's number of rows, and how they are read, must be right without statistics
SET random_page_cost = 10;
SET jit = off;
-- Ends a job's chunks in another session's stead, up to this part of them.
CREATE PROCEDURE complete(job text, chunks int) LANGUAGE plpgsql AS $$
DECLARE
	chunk record;
	kept text := (SELECT statement FROM chunked.ledger_jobs WHERE name = job);
BEGIN
	-- a job that has a statement is not claimed from
	UPDATE chunked.ledger_jobs SET statement = NULL WHERE name = job;
	FOR i IN 1 .. chunks LOOP
		SELECT * INTO chunk FROM chunked.claim_chunk(job);
		PERFORM chunked.complete_chunk(job, chunk.number, chunk.fence, 0);
	END LOOP;
	UPDATE chunked.ledger_jobs SET statement = kept WHERE name = job;
END
$$;
CREATE FUNCTION refusal(options text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	outcome text := pg_temp.failure(format('SELECT chunked.create_job(%s, name => ''refused'')', options));
BEGIN
	IF outcome = 'no error' THEN
		PERFORM chunked.drop_job('refused');
	END IF;
	RETURN outcome;
END
$$;
-- Full scans of tables, and the rows that they brought, between two calls; statistics
-- are written at the end of a statement that asks for it.
CREATE TABLE scanned (relid regclass PRIMARY KEY, scans bigint, rows bigint);
CREATE PROCEDURE scans_before(VARIADIC tables regclass[]) LANGUAGE plpgsql AS $$
BEGIN
	DELETE FROM scanned;
	INSERT INTO scanned SELECT relid, seq_scan, seq_tup_read FROM pg_stat_user_tables WHERE relid = ANY (tables);
END
$$;
CREATE PROCEDURE scans_behind() LANGUAGE plpgsql AS $$
BEGIN
	UPDATE scanned s SET scans = seq_scan - scans, rows = seq_tup_read - rows FROM pg_stat_user_tables u WHERE u.relid = s.relid;
END
$$;

--
-- A composite key, in the middle: not a quarter of the table, and not all of it
--
CREATE TABLE pair (a text, b bigint, n int NOT NULL DEFAULT 0, fill text NOT NULL, PRIMARY KEY (a, b)) WITH (autovacuum_enabled = off);
INSERT INTO pair SELECT 'value-' || i % 97, i, 0, repeat('x', 700) FROM generate_series(1, 11000) i;
CREATE TABLE looked_up (id bigint PRIMARY KEY, fill text NOT NULL) WITH (autovacuum_enabled = off);
INSERT INTO looked_up SELECT i, repeat('x', 700) FROM generate_series(1, 12000) i;
VACUUM ANALYZE pair, looked_up;
SELECT relname, relpages >= 1024 AS large FROM pg_class WHERE oid IN ('pair'::regclass, 'looked_up'::regclass) ORDER BY 1;
SELECT chunked.create_job('pair', 'UPDATE pair SET n = n + 1 WHERE {chunk}', name => 'middle', chunk_size => 100);
CALL complete('middle', 44);
SELECT pg_stat_force_next_flush() \gset
CALL scans_before('pair');
CALL chunked.run_job('middle');
SELECT pg_stat_force_next_flush() \gset
CALL scans_behind();
SELECT * FROM scanned;
SELECT n, count(*) FROM pair GROUP BY n ORDER BY n;
-- and what it is joined with is looked up, for so many rows
SELECT chunked.create_job('pair', 'UPDATE pair p SET n = n + 1 FROM looked_up l WHERE l.id = p.b AND {chunk:p}', name => 'joined', chunk_size => 20);
CALL complete('joined', 220);
SELECT pg_stat_force_next_flush() \gset
CALL scans_before('pair', 'looked_up');
CALL chunked.run_job('joined');
SELECT pg_stat_force_next_flush() \gset
CALL scans_behind();
SELECT * FROM scanned ORDER BY relid::text;
SELECT n, count(*) FROM pair GROUP BY n ORDER BY n;
-- the other way round, the table that is looked up is the one that is changed
SELECT chunked.create_job('pair', 'UPDATE looked_up SET fill = '''' FROM pair p WHERE looked_up.id = p.b AND {chunk:p}', name => 'turned', chunk_size => 20);
CALL complete('turned', 220);
SELECT pg_stat_force_next_flush() \gset
CALL scans_before('pair', 'looked_up');
CALL chunked.run_job('turned');
SELECT pg_stat_force_next_flush() \gset
CALL scans_behind();
SELECT * FROM scanned ORDER BY relid::text;
-- of a view the relation inside, by what is known of the view
CREATE VIEW seen AS SELECT a AS name, b AS number, n FROM pair WHERE n < 100;
SELECT chunked.create_job('seen', 'UPDATE seen SET n = 50 WHERE {chunk}', name => 'view', key => 'number', chunk_size => 100);
CREATE INDEX ON pair (b);
CALL complete('view', 44);
SELECT pg_stat_force_next_flush() \gset
CALL scans_before('pair');
CALL chunked.run_job('view');
SELECT pg_stat_force_next_flush() \gset
CALL scans_behind();
SELECT * FROM scanned;
SELECT n, count(*) FROM pair GROUP BY n ORDER BY n;

--
-- After a purge, before ANALYZE
--
CREATE TABLE purge (id bigint PRIMARY KEY, kind int NOT NULL, body text) WITH (autovacuum_enabled = off);
INSERT INTO purge SELECT i, i % 2, repeat('x', 600) FROM generate_series(1, 20000) i;
VACUUM ANALYZE purge;
DELETE FROM purge WHERE id <= 18000;
-- about 2000 rows, as the estimate says, in chunks of 100
SELECT abs(chunked.row_count('purge', exact => false) - 2000) < 200 AS near;
SELECT pg_stat_force_next_flush() \gset
CALL scans_before('purge');
CALL chunked.run('purge', $$UPDATE purge SET body = 'y' WHERE {chunk}$$, name => 'purged', chunk_size => 100);
SELECT pg_stat_force_next_flush() \gset
CALL scans_behind();
SELECT * FROM scanned;
SELECT body, count(*) FROM purge GROUP BY body;
SELECT chunked.create_job('purge', $$UPDATE purge SET body = 'y' WHERE {chunk}$$, name => 'estimated', chunk_size => 100) AS job;
SELECT total_rows = chunked.row_count('purge', exact => false) AS same FROM chunked.jobs WHERE name = 'estimated';
SELECT chunked.create_job('purge', name => 'of a kind', key => 'kind') AS job;
SELECT total_rows = chunked.row_count('purge', exact => false, key => 'kind') AS same FROM chunked.jobs WHERE name = 'of a kind';
-- with what is joined
SELECT refusal($$'purge', 'UPDATE looked_up SET fill = '''' FROM purge p WHERE looked_up.id = p.id AND {chunk:p}', chunk_size => 10$$);
-- another index that promises little more is not taken at its word
CREATE INDEX ON purge (kind) WHERE body IS NULL;
UPDATE purge SET body = NULL;
SELECT pg_stat_force_next_flush() \gset
CALL scans_before('purge');
CALL chunked.run('purge', $$UPDATE purge SET body = 'z' WHERE body IS NULL AND {chunk}$$, name => 'promised', chunk_size => 100);
SELECT pg_stat_force_next_flush() \gset
CALL scans_behind();
SELECT scans FROM scanned;
SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelid = 'purge_kind_idx'::regclass;

--
-- The plan as it is made, without costs
--
CREATE TABLE small (id int PRIMARY KEY, kind int NOT NULL, n int NOT NULL) WITH (autovacuum_enabled = off);
INSERT INTO small SELECT i, i % 10, 0 FROM generate_series(1, 5000) i;
CREATE TABLE hashed (id int PRIMARY KEY, n int NOT NULL) PARTITION BY HASH (id);
CREATE TABLE hashed_1 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE hashed_2 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 1) PARTITION BY HASH (id);
CREATE TABLE hashed_2a PARTITION OF hashed_2 FOR VALUES WITH (MODULUS 4, REMAINDER 1);
CREATE TABLE hashed_2b PARTITION OF hashed_2 FOR VALUES WITH (MODULUS 4, REMAINDER 3);
INSERT INTO hashed SELECT i, i FROM generate_series(1, 8000) i;
VACUUM ANALYZE small, hashed;
DELETE FROM hashed WHERE id > 4000;
SET seq_page_cost = 0; SET random_page_cost = 0; SET cpu_tuple_cost = 0; SET cpu_index_tuple_cost = 0; SET cpu_operator_cost = 0;
SET enable_bitmapscan = off;
RESET client_min_messages;
CALL chunked.run('small', 'DELETE FROM small WHERE {chunk}', chunk_size => 500, dry_run => true);
-- times what another restriction lets through
CALL chunked.run('small', 'UPDATE small SET n = 1 WHERE kind = 3 AND {chunk}', chunk_size => 500, dry_run => true);
-- among partitions, whatever it was before a purge
CALL chunked.run('hashed', 'SELECT * FROM hashed WHERE {chunk}', key => 'id DESC', chunk_size => 500, dry_run => true);
-- most of a table may be read in full
CALL chunked.run('small', 'UPDATE small SET n = 1 WHERE {chunk}', chunk_size => 4000, dry_run => true);
CALL chunked.run('small', 'UPDATE small SET n = 1 WHERE {chunk}', chunk_size => 2000, dry_run => true);
RESET seq_page_cost; SET random_page_cost = 10; RESET cpu_tuple_cost; RESET cpu_index_tuple_cost; RESET cpu_operator_cost;
RESET enable_bitmapscan;
SET client_min_messages = warning;

--
-- What is refused, and what no index would help
--
-- a partition that a chunk covers
CREATE TABLE days (day int, id int, n int NOT NULL DEFAULT 0, fill text NOT NULL, PRIMARY KEY (day, id)) PARTITION BY LIST (day);
CREATE TABLE days_1 PARTITION OF days FOR VALUES IN (1);
CREATE TABLE days_2 PARTITION OF days FOR VALUES IN (2, 3, 4, 5, 6, 7, 8);
INSERT INTO days SELECT 1, i, 0, repeat('x', 4000) FROM generate_series(1, 2200) i;
INSERT INTO days SELECT 2 + i % 7, i, 0, '' FROM generate_series(1, 22000) i;
ALTER TABLE days_1 ALTER fill SET STORAGE PLAIN;
UPDATE days_1 SET fill = repeat('x', 4000);
VACUUM FULL days_1;
VACUUM ANALYZE days;
SELECT relpages >= 1024 AS large FROM pg_class WHERE oid = 'days_1'::regclass;
SET random_page_cost = 1000;
SELECT refusal($$'days', 'UPDATE days SET n = 1 WHERE {chunk}', chunk_size => 2200$$);
SET random_page_cost = 10;
-- a join for more rows than are worth looking up, by an index that is there, or not
SELECT refusal($$'pair', 'UPDATE pair p SET n = 1 FROM looked_up l WHERE l.id = p.b AND {chunk:p}', chunk_size => 2000$$);
SELECT refusal($$'pair', 'UPDATE pair p SET n = 1 WHERE b IN (SELECT id FROM looked_up) AND {chunk}', chunk_size => 2000$$);
SELECT refusal($$'pair', 'INSERT INTO looked_up SELECT l.id + 100000, '''' FROM looked_up l JOIN pair p ON p.b = l.id WHERE {chunk:p}', chunk_size => 2000$$);
ALTER TABLE looked_up DROP CONSTRAINT looked_up_pkey;
SELECT refusal($$'pair', 'UPDATE pair p SET n = 1 FROM looked_up l WHERE l.id = p.b AND {chunk:p}', chunk_size => 2000$$);
-- an index for something else does not help
CREATE INDEX ON looked_up (fill);
CREATE INDEX ON looked_up (id) WHERE fill = 'x';
SELECT refusal($$'pair', 'UPDATE pair p SET n = 1 FROM looked_up l WHERE l.id = p.b AND l.fill = ''x'' AND {chunk:p}', chunk_size => 2000$$);
-- the walked table itself, without its condition
SELECT refusal($$'pair', 'UPDATE pair p SET n = 1 FROM pair q WHERE p.n = q.b AND {chunk:q}', chunk_size => 100$$);

SELECT count(chunked.drop_job(name)) > 0 AS dropped FROM chunked.jobs;
DROP SCHEMA job_plan_test CASCADE;
