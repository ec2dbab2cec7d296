-- What one gets wrong on the first day: each error names the way out.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/failure.sql
\i :srcdir/sql/include/walk.sql
\set ECHO all
\set VERBOSITY terse
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS first_day_test CASCADE;
CREATE SCHEMA first_day_test;
SET search_path = first_day_test;
CREATE TABLE event (id bigint PRIMARY KEY, kind int, created_at timestamptz NOT NULL);
INSERT INTO event SELECT i, i % 3, '2020-01-01 00:00:00+00'::timestamptz + i * interval '1 h' FROM generate_series(1, 9) i;
CREATE TABLE "user" (id text PRIMARY KEY);
CREATE TABLE "order" (id int PRIMARY KEY, position int NOT NULL UNIQUE, "user" text, "limit" int);
INSERT INTO "order" SELECT i, 10 - i, 'u' || i % 3, i % 2 FROM generate_series(1, 9) i;
INSERT INTO "user" SELECT 'u' || i FROM generate_series(1, 3) i;

-- names that are words of SQL
SELECT pg_temp.walk('"order"', 'id'), pg_temp.walk('"order"', 'position', 'position', 2), pg_temp.walk('"order"', '"user" DESC NULLS LAST, "limit", id', '"user" DESC NULLS LAST, "limit"', 2), pg_temp.walk('"user"', 'id');
SELECT p.position, chunked.position_of(p, 'position') AS place FROM chunked.page(NULL::"order", 2, key => 'position', filter => 'position > $1', args => '[3]') AS p;
SELECT chunked.position_of("order", 'position') AS position FROM "order" ORDER BY "order".position LIMIT 1;
SELECT chunked.position_of("user") FROM "user" ORDER BY id LIMIT 1;
CALL chunked.run('"order"', 'UPDATE "order" SET "limit" = position WHERE {chunk:"order"}', key => 'position', chunk_size => 4);
SELECT count(*) FROM "order" WHERE "limit" = position;

-- the relation
SELECT call, pg_temp.failure('SELECT * FROM chunked.' || call) AS failure FROM unnest(ARRAY[$$page('event')$$, $$page('user')$$, $$page('first_day_test.order')$$, $$page('"user"')$$, $$page('Order by')$$, $$page('')$$, $$page(NULL)$$, $$paginate('user', 1)$$,
	$$page('NULL::event')$$, $$paginate('null::User', 1)$$, $$page('event'::regclass)$$, $$page(1)$$]) call;
SELECT call, pg_temp.state('SELECT * FROM chunked.' || call) AS state FROM unnest(ARRAY[$$page(event)$$, $$page(NULL::user)$$, $$page(NULL::no_such_table)$$, $$chunks(event)$$, $$chunks('no_such_table')$$, $$position_of('event')$$]) call;
SELECT call, pg_temp.failure(format('SELECT chunked.%s FROM event e', call)) AS failure FROM unnest(ARRAY['position_of(id)', 'position_of(e.kind)', 'position_of(ROW(e.id))', 'position_of(e.id, ''id'')']) call;

-- an alias that is also a column's name is the column
CREATE TABLE h (id int PRIMARY KEY, p int);
INSERT INTO h VALUES (1, 2);
SELECT pg_temp.failure('SELECT chunked.position_of(p) FROM chunked.page(NULL::h, 3) p');
SELECT q.*, chunked.position_of(q) FROM chunked.page(NULL::h, 3) q;
-- PL/pgSQL's rows
DO $$ DECLARE r record; BEGIN FOR r IN SELECT * FROM chunked.page(NULL::event, 1) LOOP RAISE INFO '%', chunked.position_of(r); END LOOP; EXCEPTION WHEN OTHERS THEN DECLARE hint text; BEGIN GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT; RAISE INFO '% | %', SQLERRM, hint; END; END $$;
DO $$ DECLARE r event; BEGIN FOR r IN SELECT * FROM chunked.page(NULL::event, 1) LOOP RAISE INFO '%', chunked.position_of(r); END LOOP; END $$;

-- a position
SELECT left(p, 25) AS position, k AS key, pg_temp.failure(format('SELECT * FROM chunked.page(NULL::event, after => %L, key => %L)', p, k)) AS failure FROM (VALUES
	('1000', NULL), ('"1000"', NULL), ('[1000]', NULL), ('null', NULL), ('true', NULL), ('12345678901234567890123', NULL), ('"it''s \"1\""', NULL), ('1000', 'created_at, id'), ('"2020-01-01"', 'kind DESC'),
	(format('"%s"', repeat('x', 1000)), NULL), ('{"kind": 1}', NULL)) v(p, k);
SELECT pg_temp.failure($$SELECT * FROM chunked.page(NULL::"user", before => '"u3"')$$), pg_temp.failure($$SELECT * FROM chunked.chunks('"order"', upto => '5', key => 'position')$$), pg_temp.failure($$SELECT chunked.create_job('event', after => '5')$$);

-- JSON in a JSON string, as drivers send it that make JSON of every value
SELECT string_agg(id::text, ' ') FROM chunked.page(NULL::event, 3, after => to_jsonb('{"id": "3"}'::text), upto => to_jsonb(E' \n{"id": 5}'::text));
SELECT string_agg(id::text, ' ') FROM chunked.page(NULL::event, 3, after => to_jsonb('{}'::text), upto => to_jsonb('{}'::text));
SELECT string_agg(id::text, ' ') FROM chunked.page(NULL::event, 2, before => to_jsonb('{}'::text), filter => 'kind = $1', args => to_jsonb('[1]'::text));
SELECT (chunked.page(NULL::event, 1, after => to_jsonb('{"id": "3"}'::text), filter => 'kind = $1', args => to_jsonb('["1"]'::text))).id;
SELECT row_count, after, upto FROM chunked.chunks('event', 3, after => to_jsonb('{"id": "3"}'::text), upto => to_jsonb('{"id": "8"}'::text));
SELECT row_count, after, upto FROM chunked.next_chunk('event', 3, to_jsonb('{"id": "3"}'::text), filter => 'id > $1', args => to_jsonb('[5]'::text));
SELECT sum(row_count) FROM chunked.split('event', 2, exact => true, filter => 'kind = $1', args => to_jsonb('[1]'::text));
SELECT b.*, chunked.seek('event', 2, filter => 'kind = $1', args => to_jsonb('[1]'::text)), chunked.row_count('event', filter => 'kind = $1', args => to_jsonb('[1]'::text)) FROM chunked.bounds('event', filter => 'kind = $1', args => to_jsonb('[1]'::text)) b;
SELECT id FROM chunked.paginate(NULL::event, 2, 1, filter => 'kind = $1', args => to_jsonb('[1]'::text));
CALL chunked.run('event', 'UPDATE event SET kind = kind WHERE kind = 1 AND {chunk}', name => 'strings', after => to_jsonb('{"id": "3"}'::text), upto => to_jsonb('{"id": "8"}'::text), filter => 'kind = $1', args => to_jsonb('[1]'::text));
SELECT c.after, c.upto, j.high_water, j.args FROM chunked.jobs j JOIN chunked.job_chunks c ON c.job = j.name WHERE j.name = 'strings';
-- once, and only where it is an object or an array; what is not JSON is no other error than before
SELECT left(s, 30) AS string, pg_temp.failure(format('SELECT * FROM chunked.page(NULL::event, after => %L)', to_jsonb(s))) AS after, pg_temp.failure(format('SELECT * FROM chunked.page(NULL::event, filter => ''kind = $1'', args => %L)', to_jsonb(s))) AS args
FROM unnest(ARRAY['', ' ', '3', '[1]', '{"id": 3}', '{"id": 3', '[3', '{"id": 3} x', '"{\"id\": 3}"', '{"kind": 3}', '{"id": "\u0000"}', '["\u0000"]', '{"id": 1e200000}', '[1e200000]', '{"id": "\ud800"}', repeat('[', 100000), repeat('{"id":', 100000)]) s;

-- a filter that has a driver's placeholders
SELECT f AS filter, pg_temp.failure(format('SELECT * FROM chunked.page(NULL::event, filter => %L, args => ''[1]'')', f)) AS failure FROM unnest(ARRAY['kind = ?', 'kind = :kind', 'kind = %s', 'kind = @kind', 'WHERE kind = $1', 'kind = $1;']) f;

-- names with a qualifier, and what is no column
DO $$ DECLARE k text; detail text; BEGIN FOREACH k IN ARRAY ARRAY['event.created_at', 'kind[1], id', 'kind + 1 DESC', 'lower(kind)', 'kind LIMIT 1', 'kind; SELECT 1'] LOOP BEGIN PERFORM * FROM chunked.page(NULL::event, key => k); EXCEPTION WHEN syntax_error THEN GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL; RAISE INFO '% | %', SQLERRM, detail; END; END LOOP; END $$;
DO $$ DECLARE hint text; BEGIN PERFORM * FROM chunked.chunks('event', filter => 'e.kind = 1', alias => 'e'); EXCEPTION WHEN undefined_table THEN GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT; RAISE INFO '%', hint; END $$;
DO $$ DECLARE hint text; BEGIN PERFORM * FROM chunked.chunks('event', filter => 'id IN (SELECT 1 FROM nowhere)'); EXCEPTION WHEN undefined_table THEN GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT; RAISE INFO 'no hint: %', hint; END $$;
SELECT sum(row_count), min(predicate) FROM chunked.chunks('event', filter => 'event.kind = 1', alias => 'e');

-- relations without a key, and keys that are not unique
CREATE TABLE bare (doc json, "Kind" int);
INSERT INTO bare SELECT NULL, 1 FROM generate_series(1, 3);
CREATE VIEW seen AS SELECT kind, id FROM event;
SELECT call, pg_temp.failure('SELECT * FROM chunked.' || call) AS failure FROM unnest(ARRAY[$$page(NULL::bare)$$, $$page(NULL::seen)$$, $$page(NULL::bare, 2, key => '"Kind"')$$, $$split('event', 0)$$, $$split('event', NULL)$$, $$paginate(NULL::event, 1, 0)$$]) call;
SELECT sum(row_count) FROM chunked.chunks('bare', 2, key => '"Kind"') UNION ALL SELECT sum(row_count) FROM chunked.chunks('bare', 2, key => 'ctid');

-- options that are not there, and values of another type: what the server says of them is in docs/troubleshooting.md
SELECT call, pg_temp.state('SELECT * FROM chunked.' || call) AS state FROM unnest(ARRAY[$$page(NULL::event, limit => 5)$$, $$page(NULL::event, size => 5)$$, $$page(NULL::event, order_by => 'id')$$, $$page(NULL::event, key => ARRAY['id'])$$,
	$$page(NULL::event, after => 1000)$$, $$page(NULL::event, after => '1000'::text)$$, $$page(NULL::event, args => 7)$$, $$page(NULL::event, page_size => 5.0)$$, $$chunks('event', batch_size => 5)$$, $$create_job('event', pause => 5)$$,
	$$chunks(NULL::event)$$, $$split(NULL::event, 8)$$, $$row_count(NULL::event)$$, $$create_job(NULL::event)$$, $$claim_chunk('q1', 5)$$, $$claim_chunk('q1', lease => 5)$$, $$drop_jobs(30)$$]) call;
SELECT pg_temp.state($$CALL chunked.run(NULL::event, 'UPDATE event SET kind = 0 WHERE {chunk}')$$);
-- parameters of the statement that have no type
SELECT call, pg_temp.state(format('PREPARE no_type AS SELECT id FROM chunked.page(NULL::event, %s)', call)) AS state FROM unnest(ARRAY[$$filter => 'kind = $1', args => jsonb_build_array($1)$$, $$filter => 'kind = $1', args => $2$$, $$filter => 'kind = $1', args => jsonb_build_array($1::int)$$]) call;
-- the filter's text as a parameter
PREPARE filter_text AS SELECT string_agg(id::text, ' ') FROM chunked.page(NULL::event, filter => $1, args => $2);
EXECUTE filter_text('kind = $1', '[1]');
-- what a driver sends without a type is taken
PREPARE untyped AS SELECT string_agg(id::text, ' ') FROM chunked.page(NULL::event, $1, after => $2, upto => $3, before => $4, key => $5, filter => $6, args => $7, max_bytes => $8);
EXECUTE untyped('3', '{"id": 1}', NULL, NULL, 'id', 'kind = $1', '[1]', '1000');
PREPARE untyped_chunks AS SELECT count(*) FROM chunked.chunks($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);
EXECUTE untyped_chunks('event', '3', 'true', NULL, NULL, 'id', 'kind = $1', '[1]', NULL, NULL);
PREPARE untyped_pages AS SELECT count(*) FROM chunked.paginate(NULL::event, $1, $2, $3, $4, $5, $6, $7);
EXECUTE untyped_pages('1', '2', '0', 'true', 'id', 'kind = $1', '[1]');

SET client_min_messages = warning;
SELECT count(chunked.drop_job(name)) FROM chunked.jobs WHERE relation IN ('"order"'::regclass, 'event'::regclass);
DROP SCHEMA first_day_test CASCADE;
