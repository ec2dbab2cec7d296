-- A job whose rows policies hide: an error, and never "done".
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/failure.sql
\set ECHO all
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS job_rows_hidden_test CASCADE;
DROP ROLE IF EXISTS regress_chunked_tenant;
CREATE ROLE regress_chunked_tenant LOGIN;
CREATE SCHEMA job_rows_hidden_test AUTHORIZATION regress_chunked_tenant;
\set superuser :USER
\set path job_rows_hidden_test
\set role regress_chunked_tenant
\i :srcdir/sql/include/login.sql
CREATE TABLE incident (id int PRIMARY KEY, tenant text NOT NULL, state text NOT NULL);
INSERT INTO incident SELECT i, 't' || i % 3, 'new' FROM generate_series(1, 900) i;
ALTER TABLE incident ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON incident USING (tenant = current_setting('app.tenant', true));
CREATE VIEW seen WITH (security_invoker = true) AS SELECT * FROM incident;
-- does what it is to do up to row 450, and then pauses its job
CREATE FUNCTION pause_at_450(job text, id int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF id = 450 THEN PERFORM chunked.pause_job(job); END IF;
    RETURN true;
END$$;
SET app.tenant = 't0';
SELECT chunked.create_job('incident', $$UPDATE incident SET state = 'done' WHERE {chunk} AND pause_at_450('table', id)$$,
                          name => 'table', chunk_size => 1);
SELECT chunked.create_job('seen', $$UPDATE seen SET state = 'done' WHERE {chunk}$$, name => 'view', key => 'id');
SELECT chunked.create_job('seen', name => 'queue', key => 'id', chunk_size => 300);
-- not a row of it can be seen, through the view either
RESET app.tenant;
\set VERBOSITY default
CALL chunked.run_job('view');
\set VERBOSITY terse
SELECT status FROM chunked.jobs WHERE name = 'view';
-- stopped in the middle, with chunks ahead that are carved, and then with none; resumed without the setting
SET app.tenant = 't0';
CALL chunked.run_job('table');
SELECT count(*) FROM incident WHERE state = 'done';
RESET app.tenant;
CALL chunked.run_job('table');
CALL chunked.run_job('table');
SET app.tenant = 't0';
SELECT chunked.alter_job('table', chunk_size => 100);
RESET app.tenant;
CALL chunked.run_job('table');
SET app.tenant = 't0';
SET client_min_messages = error;
CALL chunked.run_job('table');
CALL chunked.run_job('view');
SELECT state, count(*) FROM incident GROUP BY state;
SELECT name, status FROM chunked.jobs ORDER BY name;
SET client_min_messages = warning;
-- a table that has been emptied, which no policy hides: done, and a warning
SELECT chunked.create_job('incident', $$UPDATE incident SET state = 'new' WHERE {chunk}$$, name => 'emptied');
DROP POLICY tenant ON incident;
ALTER TABLE incident DISABLE ROW LEVEL SECURITY;
TRUNCATE incident;
CALL chunked.run_job('emptied');
SELECT status FROM chunked.jobs WHERE name = 'emptied';
SELECT count(chunked.drop_job(name)) FROM chunked.jobs;
\set role :superuser
\i :srcdir/sql/include/login.sql
DROP SCHEMA job_rows_hidden_test CASCADE;
DROP ROLE regress_chunked_tenant;
