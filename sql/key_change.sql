-- The key stays the key: a walk goes on in the order in which it began, or ends with an error.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/failure.sql
\i :srcdir/sql/include/walk.sql

-- Half of a walk, then the rest after what was done to the table: how many of
-- its rows came, how many of them twice, or how the walk failed.
CREATE FUNCTION pg_temp.halves(relation regclass, ddl text, key text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	half bigint;
	place jsonb;
	first_rows text[];
	rest text[];
	state text;
	message text;
	hint text;
BEGIN
	EXECUTE format('SELECT count(*) / 2 FROM %s', relation) INTO half;
	EXECUTE format('SELECT array_agg(p.line), (array_agg(p.place))[count(*)]
					FROM (SELECT p::text AS line, chunked.position_of(p, $1) AS place
						  FROM chunked.page(NULL::%s, $2, key => $1) p) p', relation)
		INTO first_rows, place USING key, half;
	EXECUTE ddl;
	BEGIN
		EXECUTE format('SELECT array_agg(p::text) FROM chunked.page(NULL::%s, 1000000, $1, key => $2) p', relation)
			INTO rest USING place, key;
	EXCEPTION WHEN OTHERS THEN
		GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
		RETURN concat_ws(' ', state, message, '| ' || NULLIF(hint, ''));
	END;
	RETURN (SELECT format('%s rows, %s twice', count(DISTINCT r), count(*) - count(DISTINCT r))
			FROM unnest(first_rows || rest) r);
END
$$;
\set ECHO all
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS key_change_test CASCADE;
RESET client_min_messages;
CREATE SCHEMA key_change_test;
SET search_path = key_change_test;

--
-- Of indexes that serve equally, the same one always: a new OID means nothing.
--
CREATE TABLE pair (grp int NOT NULL, usr int NOT NULL, n int);
INSERT INTO pair SELECT i % 10, (i * 7919) % 1000, i FROM generate_series(0, 999) i;
CREATE UNIQUE INDEX pair_gu ON pair (grp, usr);
CREATE UNIQUE INDEX pair_ug ON pair (usr, grp);
SELECT chunked.position_of(p), p FROM chunked.page(NULL::pair, 2) p;
SELECT chunked.position_of(p) AS place, grp, usr FROM chunked.page(NULL::pair, 500) p OFFSET 499 \gset
REINDEX INDEX CONCURRENTLY pair_gu;
SELECT count(*) FROM chunked.page(NULL::pair, 1000, :'place');
SELECT count(*) FROM pair WHERE (grp, usr) > (:grp, :usr);
REINDEX INDEX CONCURRENTLY pair_ug;
SELECT count(*) FROM chunked.page(NULL::pair, 1000, :'place');
-- nor the name, while the columns differ
ALTER INDEX pair_gu RENAME TO z;
SELECT count(*) FROM chunked.page(NULL::pair, 1000, :'place');
ALTER INDEX z RENAME TO pair_gu;
-- by directions
CREATE TABLE turned (a int NOT NULL, b int NOT NULL);
INSERT INTO turned SELECT i % 10, i FROM generate_series(0, 99) i;
CREATE UNIQUE INDEX turned_down ON turned (a, b DESC);
CREATE UNIQUE INDEX turned_up ON turned (a, b);
SELECT chunked.bounds('turned');
REINDEX INDEX CONCURRENTLY turned_up;
SELECT chunked.bounds('turned');
REINDEX INDEX CONCURRENTLY turned_down;
SELECT chunked.bounds('turned');

--
-- Where the default key changes to another of the same columns, the walk ends.
--
SELECT pg_temp.halves('pair', 'DROP INDEX pair_gu');
SELECT pg_temp.walk('pair', 'usr, grp', size => 100);
SELECT chunked.bounds('pair');
-- and back
SELECT pg_temp.halves('pair', 'CREATE UNIQUE INDEX pair_gu ON pair (grp, usr)');
-- one takes the other's place, and there is no moment with both
SELECT pg_temp.halves('pair', 'DROP INDEX pair_ug; DROP INDEX pair_gu; CREATE UNIQUE INDEX pair_ug ON pair (usr, grp)');
SELECT pg_temp.halves('pair', 'DROP INDEX pair_ug; CREATE UNIQUE INDEX pair_gu ON pair (grp, usr DESC)');
SELECT pg_temp.halves('pair', 'DROP INDEX pair_gu; CREATE UNIQUE INDEX pair_ug ON pair (usr, grp DESC)');
SELECT pg_temp.halves('pair', 'DROP INDEX pair_ug; ALTER TABLE pair ADD PRIMARY KEY (grp, usr)');
SELECT pg_temp.halves('pair', 'ALTER TABLE pair DROP CONSTRAINT pair_pkey, ADD PRIMARY KEY (usr, grp)');
-- of narrower columns
SELECT pg_temp.halves('pair', 'ALTER TABLE pair DROP CONSTRAINT pair_pkey; ALTER TABLE pair ALTER n SET NOT NULL;
	CREATE UNIQUE INDEX pair_gu ON pair (grp, usr); CREATE UNIQUE INDEX pair_n ON pair (n)');
SELECT pg_temp.halves('pair', 'DROP INDEX pair_n');
-- what comes in the middle and serves no better changes nothing
SELECT pg_temp.halves('pair', 'CREATE UNIQUE INDEX pair_ug ON pair (usr, grp)');
SELECT pg_temp.halves('pair', 'CREATE UNIQUE INDEX pair_more ON pair (grp, usr, n)');
SELECT pg_temp.halves('pair', 'REINDEX TABLE pair; ALTER INDEX pair_gu RENAME TO zz');
-- all the walks of one call's kind
SELECT a AS after, pg_temp.failure(format('SELECT * FROM %s', c)) FROM (VALUES
	('{"grp": 1, "usr": 2}'), ('{"grp": 1, "usr": 2, ".": "grp, usr"}'), ('{"grp": 1, "usr": 2, ".": "usr, grp"}'),
	('{"grp": 1, "usr": 2, ".": null}'), ('{"grp": 1, "usr": 2, ".": ["grp", "usr"]}'), ('{"grp": 1, "usr": 2, ".": "grp, us"}'),
	('{"grp": 1, "usr": 2, "..": "grp, usr"}')) v(a),
	LATERAL (VALUES (format('chunked.page(NULL::pair, after => %L)', a)), (format('chunked.chunks(''pair'', after => %L)', a))) w(c);
ALTER TABLE pair ADD PRIMARY KEY (usr, grp);
SELECT a AS after, pg_temp.failure(format('SELECT * FROM %s', c)) FROM (VALUES
	('{"grp": 1, "usr": 2}'), ('{"grp": 1, "usr": 2, ".": "grp, usr"}'), ('{"grp": 1, "usr": 2, ".": "usr, grp"}')) v(a),
	LATERAL (VALUES (format('chunked.page(NULL::pair, before => %L)', a)), (format('chunked.next_chunk(''pair'', upto => %L)', a)),
		-- a caller who writes the key need not say it again, but must not say another
		(format('chunked.page(NULL::pair, after => %L, key => ''usr, grp'')', a)),
		(format('chunked.page(NULL::pair, after => %L, key => ''grp, usr'')', a))) w(c);
SELECT chunked.position_of(p) AS by_default, chunked.position_of(p, 'usr, grp') AS written, chunked.position_of(p, 'n') AS partly
FROM chunked.page(NULL::pair, 1) p;
SELECT pg_temp.walk('pair', 'usr, grp', size => 100);

--
-- The columns that are appended are the default key's, as they are by then.
--
SELECT pg_temp.walk('pair', 'n, usr, grp', 'n', 100);
SELECT pg_temp.halves('pair', 'ALTER TABLE pair DROP CONSTRAINT pair_pkey, ADD PRIMARY KEY (grp, usr)', 'n');
SELECT pg_temp.halves('pair', 'ALTER TABLE pair DROP CONSTRAINT pair_pkey, ADD PRIMARY KEY (usr, grp)', 'n DESC');
SELECT pg_temp.halves('pair', 'ALTER TABLE pair DROP CONSTRAINT pair_pkey', 'n, usr DESC, grp');
SELECT pg_temp.halves('pair', 'CREATE UNIQUE INDEX pair_n ON pair (n)', 'n');
SELECT pg_temp.halves('pair', 'DROP INDEX pair_n', 'n');

--
-- What else an order is made of, and names that are awkward.
--
CREATE TABLE word (w text NOT NULL);
INSERT INTO word SELECT chr(65 + i) || i FROM generate_series(0, 25) i UNION ALL SELECT chr(97 + i) || i FROM generate_series(0, 25) i;
CREATE UNIQUE INDEX word_own ON word (w);
SELECT chunked.bounds('word');
SELECT pg_temp.halves('word', 'DROP INDEX word_own; CREATE UNIQUE INDEX word_c ON word (w COLLATE "C")');
SELECT chunked.bounds('word');
SELECT pg_temp.halves('word', 'DROP INDEX word_c; CREATE UNIQUE INDEX word_p ON word (w text_pattern_ops)');
SELECT chunked.bounds('word');
SELECT pg_temp.halves('word', 'DROP INDEX word_p; CREATE UNIQUE INDEX ON word (w)');
CREATE TABLE nulls (a int, b int);
INSERT INTO nulls SELECT NULLIF(i % 5, 0), i FROM generate_series(1, 20) i;
CREATE UNIQUE INDEX nulls_last ON nulls (a, b) NULLS NOT DISTINCT;
SELECT pg_temp.halves('nulls', 'DROP INDEX nulls_last; CREATE UNIQUE INDEX nulls_first ON nulls (a NULLS FIRST, b) NULLS NOT DISTINCT');
SELECT pg_temp.walk('nulls', 'a NULLS FIRST, b');
SELECT chunked.bounds('nulls');
CREATE TABLE dots ("." int, "select" int, "a, b" int, PRIMARY KEY ("select", "a, b", "."));
INSERT INTO dots SELECT i % 3, i % 2, i FROM generate_series(1, 12) i;
SELECT pg_temp.walk('dots', '"select", "a, b", "."');
SELECT chunked.bounds('dots');
SET quote_all_identifiers = on;
ALTER TABLE dots SET (fillfactor = 90);
SELECT chunked.bounds('dots');
RESET quote_all_identifiers;
-- a job holds to its key as well, by such positions
ALTER TABLE dots ADD n int DEFAULT 0;
SELECT chunked.create_job('dots', 'UPDATE dots SET n = n + 1 WHERE {chunk}', 'dots', chunk_size => 5);
SELECT high_water FROM chunked.jobs WHERE name = 'dots';
ALTER TABLE dots RENAME "a, b" TO c;
SET client_min_messages = warning;
CALL chunked.run_job('dots');
RESET client_min_messages;
SELECT status, chunks_done, rows_done FROM chunked.progress WHERE job = 'dots';
SELECT n, count(*) FROM dots GROUP BY n;
SELECT chunked.drop_job('dots');

--
-- A position whose column now has another type: what the type cannot read
-- is an error, what it reads alike is the same place.
--
CREATE TABLE typed (id int PRIMARY KEY, at date);
INSERT INTO typed SELECT i, date '2020-01-01' + i FROM generate_series(1, 100) i;
SELECT pg_temp.halves('typed', 'ALTER TABLE typed ALTER id TYPE bigint');
SELECT pg_temp.halves('typed', 'ALTER TABLE typed ALTER id TYPE numeric');
SELECT pg_temp.halves('typed', $$ALTER TABLE typed ALTER id TYPE date USING date '2020-01-01' + id::int$$);
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TABLE felt (m mood, id int, PRIMARY KEY (m, id));
INSERT INTO felt SELECT (enum_range(NULL::mood))[1 + i % 3], i FROM generate_series(1, 30) i;
SELECT pg_temp.halves('felt', 'ALTER TYPE mood RENAME VALUE ''ok'' TO ''fine''');
SELECT pg_temp.halves('felt', 'ALTER TYPE mood ADD VALUE ''meh'' BEFORE ''fine''');
SELECT pg_temp.halves('felt', 'ALTER TABLE felt RENAME m TO o');

SET client_min_messages = warning;
DROP SCHEMA key_change_test CASCADE;
