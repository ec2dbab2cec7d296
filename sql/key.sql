-- The key: the default choice, and what a caller may write.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/failure.sql
\i :srcdir/sql/include/walk.sql
\set ECHO all
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS key_test CASCADE;
RESET client_min_messages;
CREATE SCHEMA key_test;
SET search_path = key_test;

--
-- The default key.  The members of a position are its columns.
--
-- the primary key, though a narrower unique index is there
CREATE TABLE d1 (a bigint, b bigint, c smallint NOT NULL UNIQUE, PRIMARY KEY (b, a));
INSERT INTO d1 VALUES (1, 2, 3);
SELECT chunked.position_of(d1) FROM d1;

-- without one, the unique index of the fewest, then the narrowest columns
CREATE TABLE d2 (a int NOT NULL, b int NOT NULL, t text NOT NULL, n bigint NOT NULL, i int NOT NULL);
INSERT INTO d2 VALUES (1, 2, 't', 4, 5);
SELECT pg_temp.failure('SELECT chunked.position_of(d2) FROM d2');
CREATE UNIQUE INDEX ON d2 (a, b);
SELECT chunked.position_of(d2) FROM d2;
CREATE UNIQUE INDEX ON d2 (t);
SELECT chunked.position_of(d2) FROM d2;
CREATE UNIQUE INDEX ON d2 (n) INCLUDE (a);
SELECT chunked.position_of(d2) FROM d2;
CREATE UNIQUE INDEX ON d2 (i);
SELECT chunked.position_of(d2) FROM d2;
ALTER TABLE d2 ADD PRIMARY KEY (t, n);
SELECT chunked.position_of(d2) FROM d2;

-- none of these is a key
CREATE TABLE d3 (a int NOT NULL, b int, c int NOT NULL, d int NOT NULL UNIQUE DEFERRABLE, e int NOT NULL, f text NOT NULL);
INSERT INTO d3 VALUES (1, 2, 3, 4, 5, 'f');
CREATE INDEX ON d3 (a);
CREATE UNIQUE INDEX ON d3 (b);
CREATE UNIQUE INDEX ON d3 (c) WHERE c > 0;
CREATE UNIQUE INDEX ON d3 ((e + 1));
CREATE UNIQUE INDEX ON d3 (a, abs(e));
ALTER TABLE d3 ADD EXCLUDE USING btree (e WITH =);
SELECT pg_temp.failure('SELECT * FROM chunked.page(NULL::d3)');
SELECT pg_temp.failure($$SELECT * FROM chunked.bounds('d3')$$);
SELECT pg_temp.failure($$SELECT * FROM chunked.chunks('d3')$$);
SELECT pg_temp.failure($$SELECT * FROM chunked.next_chunk('d3')$$);
-- and this is one: no two of its nulls are distinct
CREATE UNIQUE INDEX ON d3 (b) NULLS NOT DISTINCT;
SELECT chunked.position_of(d3) FROM d3;

-- an index that is not valid yet
CREATE TABLE d4 (a int NOT NULL, b int NOT NULL) PARTITION BY RANGE (a);
CREATE TABLE d4_1 PARTITION OF d4 FOR VALUES FROM (0) TO (10);
INSERT INTO d4 VALUES (1, 2);
CREATE UNIQUE INDEX d4_a ON ONLY d4 (a);
SELECT pg_temp.failure('SELECT * FROM chunked.page(NULL::d4)');
CREATE UNIQUE INDEX d4_1_a ON d4_1 (a);
ALTER INDEX d4_a ATTACH PARTITION d4_1_a;
SELECT * FROM chunked.bounds('d4');

-- a deferrable primary key is what is meant, but may be violated for a while
CREATE TABLE d5 (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, t text);
INSERT INTO d5 SELECT i, i FROM generate_series(1, 6) i;
SELECT pg_temp.walk('d5', 'id');
BEGIN;
INSERT INTO d5 VALUES (2, 'again');
SELECT pg_temp.failure('SELECT * FROM chunked.page(NULL::d5, 2)');
SELECT count(*) FROM chunked.page(NULL::d5, 3);
ROLLBACK;

-- directions come from the index; the first column ascends
CREATE TABLE d6 (a int NOT NULL, b int NOT NULL);
CREATE UNIQUE INDEX ON d6 (a DESC, b);
INSERT INTO d6 SELECT i / 3, i % 3 FROM generate_series(0, 8) i;
SELECT pg_temp.walk('d6', 'a, b DESC');

--
-- The caller's key
--
CREATE TABLE ev (id int PRIMARY KEY, g int NOT NULL, n int, t text COLLATE "C", "Weird "" Name" int, "select" int);
INSERT INTO ev SELECT i, i % 3, NULLIF(i % 5, 0), chr(97 + i % 4), i % 7, -i FROM generate_series(1, 20) i;

SELECT k AS key, pg_temp.walk('ev', o, k, 3) FROM (VALUES
	('id', 'id'),
	('id DESC', 'id DESC'),
	('ID', 'id'),
	('"id"', 'id'),
	('id asc nulls first', 'id'),
	-- completed by the primary key, ascending
	('g', 'g, id'),
	('g DESC', 'g DESC, id'),
	('g, id DESC', 'g, id DESC'),
	('g DESC, id DESC', 'g DESC, id DESC'),
	('id, g', 'id'),
	-- NULLs, where SQL puts them and where the caller does
	('n', 'n, id'),
	('n DESC', 'n DESC, id'),
	('n NULLS FIRST', 'n NULLS FIRST, id'),
	('n DESC NULLS LAST', 'n DESC NULLS LAST, id'),
	('n DESC NULLS LAST, id DESC', 'n DESC NULLS LAST, id DESC'),
	('g, n DESC NULLS LAST, t NULLS FIRST', 'g, n DESC NULLS LAST, t NULLS FIRST, id'),
	('n NULLS FIRST, g DESC, t', 'n NULLS FIRST, g DESC, t, id'),
	-- collations and operator classes
	('t COLLATE "C" DESC', 't DESC, id'),
	('t COLLATE pg_catalog."C"', 't, id'),
	('t text_pattern_ops', 't USING ~<~, id'),
	('t text_pattern_ops DESC', 't USING ~>~, id'),
	('g pg_catalog.int4_ops DESC NULLS LAST', 'g DESC, id'),
	-- names and whatever else the grammar takes
	('"Weird "" Name"', '"Weird "" Name", id'),
	('"Weird "" Name" DESC NULLS LAST, g', '"Weird "" Name" DESC NULLS LAST, g, id'),
	('"select"', '"select", id'),
	(E'g -- comment, n\n, id /* comment, n */ DESC', 'g, id DESC'),
	(E'\n g\tDESC\n', 'g DESC, id'),
	(E'\tg\n,\nid', 'g, id')) v(k, o);

SELECT k AS key, pg_temp.failure(format('SELECT * FROM chunked.page(NULL::ev, key => %L)', k)) FROM (VALUES
	('nonesuch'),
	('Weird'),
	('Select'),
	('id, id'),
	('g, id, G DESC'),
	('g, "g"'),
	('ctid'),
	('xmin'),
	('tableoid'),
	('oid'),
	('{}'),
	('{NULL}'),
	('{g,NULL}'),
	('{g DESC,id}'),
	('{"g DESC NULLS LAST",id}'),
	(' { "\"Weird \"\" Name\" DESC" , id } '),
	('{"t COLLATE \"C\"",g'),
	('{{g,id},{n,t}}'),
	('id COLLATE "C"'),
	(''),
	(' '),
	('g,'),
	(',g'),
	('g,, id'),
	('g id'),
	('g; id'),
	('g LIMIT 1'),
	('g FOR UPDATE'),
	('(SELECT g)'),
	('(g, id)'),
	('[5:6]={g,id}'),
	('ev.g'),
	('*'),
	('g + 1'),
	('(g + 1)'),
	('(g)'),
	('lower(t)'),
	('NULLS FIRST'),
	('g NULLS FIRST DESC'),
	('g USING <'),
	('t text_ops (x = 1)'),
	('g); DROP TABLE ev; --'),
	(E'g)\n; DROP TABLE ev; --'),
	('g) WHERE (id > 0'),
	('g) INCLUDE (n'),
	('g) WITH (fillfactor = 10'),
	('g) TABLESPACE (x'),
	('g) NULLS NOT DISTINCT --'),
	('g /*'),
	('"g'),
	('""'),
	('''g'''),
	('$1')) v(k);
SELECT k AS key, pg_temp.state(format('SELECT * FROM chunked.page(NULL::ev, key => %L)', k)) FROM (VALUES
	('t COLLATE "nonesuch"'),
	('t nonesuch_ops'),
	('g ASCENDING'),
	('g NULLS'),
	('g text_ops'),
	('t nonesuch.text_ops')) v(k);
-- wherever a key is taken
SELECT pg_temp.failure($$SELECT chunked.position_of(ev, 'nonesuch') FROM ev$$);
SELECT pg_temp.failure($$SELECT chunked.bounds('ev', 'nonesuch')$$);
SELECT pg_temp.failure($$SELECT chunked.chunks('ev', key => 'nonesuch')$$);
SELECT pg_temp.failure($$SELECT chunked.next_chunk('ev', key => 'nonesuch')$$);
SELECT count(*) FROM ev;

-- a dropped column no longer has a name
CREATE TABLE dropped (gone int, id int PRIMARY KEY);
INSERT INTO dropped VALUES (1, 1), (2, 2), (3, 3);
ALTER TABLE dropped DROP COLUMN gone;
SELECT pg_temp.failure($$SELECT * FROM chunked.page(NULL::dropped, key => 'gone')$$);
SELECT pg_temp.failure($$SELECT * FROM chunked.page(NULL::dropped, key => '"........pg.dropped.1........"')$$);
SELECT pg_temp.walk('dropped', 'id');

-- types without an order
CREATE TABLE unordered (id int PRIMARY KEY, j json, p point, x xid);
SELECT c, pg_temp.failure(format('SELECT * FROM chunked.page(NULL::unordered, key => %L)', c))
FROM unnest('{j,p,x}'::text[]) c;

-- a key given may be the only one there is
CREATE TABLE heap (a int, b int);
INSERT INTO heap SELECT i, i % 2 FROM generate_series(1, 9) i;
SELECT pg_temp.walk('heap', 'a', 'a');
SELECT pg_temp.walk('heap', 'b, a DESC', 'b, a DESC', 3);

-- more columns than an index can have
SELECT format('CREATE TABLE wide (%s, PRIMARY KEY (c1))', string_agg('c' || i || ' int NOT NULL', ', '))
FROM generate_series(1, 40) i \gexec
SELECT format('INSERT INTO wide SELECT i, %s FROM generate_series(1, 7) i', string_agg('0', ', '))
FROM generate_series(2, 40) i \gexec
SELECT pg_temp.walk('wide', 'c1', string_agg('c' || i || CASE WHEN i % 2 = 0 THEN ' DESC' ELSE '' END, ', ' ORDER BY i DESC))
FROM generate_series(1, 40) i;

-- equality of the key is that of the index, or the index promises nothing
CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE words (w text COLLATE "C" PRIMARY KEY, n int);
INSERT INTO words VALUES ('a', 1), ('A', 2), ('b', 3), ('B', 4), ('c', 5);
SELECT pg_temp.walk('words', 'w COLLATE key_test.blind, n', 'w COLLATE blind, n');
SELECT pg_temp.state($$SELECT * FROM chunked.page(NULL::words, 1, key => 'w COLLATE blind')$$);
CREATE TABLE traits (w text COLLATE blind NOT NULL, id int PRIMARY KEY);
CREATE UNIQUE INDEX ON traits (w COLLATE "C");
INSERT INTO traits VALUES ('b', 1), ('a', 2), ('B', 3), ('A', 4), ('c', 5);
SELECT pg_temp.walk('traits', 'w, id', 'w', 1);
-- while two that distinguish the same values do promise it
CREATE TABLE names (w text COLLATE "C" NOT NULL, n int);
CREATE UNIQUE INDEX ON names (w COLLATE "POSIX");
INSERT INTO names VALUES ('b', 1), ('a', 2), ('B', 3);
SELECT pg_temp.walk('names', 'w', 'w', 1);
SELECT * FROM chunked.bounds('names');
CREATE TABLE folded (w text COLLATE blind PRIMARY KEY);
INSERT INTO folded VALUES ('a'), ('B'), ('c'), ('D');
SELECT pg_temp.walk('folded', 'w');
SELECT * FROM chunked.page(NULL::folded, after => '{"w": "b"}');
SELECT * FROM chunked.page(NULL::folded, after => '{"w": "A"}', upto => '{"w": "C"}');

--
-- Names that SQL, or a list, might take for something else; and the key as text, there and back
--
CREATE TABLE "order" (position int, "Order" text COLLATE "C" NOT NULL, "a,b" int NOT NULL, "{c}" int NOT NULL, "d DESC" int NOT NULL, key int NOT NULL, PRIMARY KEY (position));
INSERT INTO "order" SELECT i, chr(97 + i % 5), i % 3, i % 2, -i, i / 2 FROM generate_series(1, 20) i;
SELECT k AS key, pg_temp.walk('"order"', o, k, 3) AS walk, chunked.create_job('"order"', key => k) AS job INTO TEMP round_trip
FROM (VALUES
	('position', 'position'),
	('"position" DESC', 'position DESC'),
	('"Order" DESC', '"Order" DESC, position'),
	('"Order" COLLATE "POSIX" NULLS FIRST,"a,b"', '"Order" COLLATE "POSIX" NULLS FIRST, "a,b", position'),
	('"a,b", "{c}" DESC', '"a,b", "{c}" DESC, position'),
	('"{c}","a,b"DESC', '"{c}", "a,b" DESC, position'),
	('"d DESC"', '"d DESC", position'),
	('"d DESC" DESC, key', '"d DESC" DESC, key, position'),
	('"Order" text_pattern_ops DESC', '"Order" USING ~>~, position')) v(k, o);
SELECT r.key, walk, j.key AS kept FROM round_trip r JOIN chunked.jobs j ON j.name = job ORDER BY id;
SELECT j.key, pg_temp.walk('"order"', replace(j.key, 'pg_catalog.text_pattern_ops DESC', 'USING ~>~'), j.key, 3) FROM chunked.jobs j WHERE j.relation = '"order"'::regclass ORDER BY id;
-- the columns are found by what they are, whatever is in their names
ALTER TABLE "order" RENAME "a,b" TO "a"", ""b";
SELECT DISTINCT c.number, c.predicate ~ '"a"", ""b"' AS renamed FROM chunked.jobs j, chunked.claim_chunk(j.name) c WHERE j.relation = '"order"'::regclass ORDER BY 2;
SELECT count(chunked.drop_job(name)) FROM chunked.jobs WHERE relation = '"order"'::regclass;
-- an array is no key
SELECT pg_temp.state($$SELECT * FROM chunked.page(NULL::ev, key => ARRAY['id'])$$);

SET client_min_messages = warning;
DROP SCHEMA key_test CASCADE;
