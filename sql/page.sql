-- page(): which rows come, from what kind of table, wherever it is called.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/failure.sql
\i :srcdir/sql/include/walk.sql
\set ECHO all
\set VERBOSITY sqlstate
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS page_test CASCADE;
RESET client_min_messages;
CREATE SCHEMA page_test;
SET search_path = page_test;
-- a position of n
CREATE FUNCTION at(n int) RETURNS jsonb LANGUAGE sql IMMUTABLE STRICT RETURN jsonb_build_object('id', n);

--
-- after, upto and before: even ids from 2 to 20, so that odd ones are positions
-- without a row
--
CREATE TABLE event (id int PRIMARY KEY);
INSERT INTO event SELECT generate_series(2, 20, 2);
SELECT after, upto, before, (SELECT string_agg(e.id::text, ' ') FROM chunked.page(NULL::event, 3, at(after), at(upto), at(before)) e) AS page
FROM (VALUES
	(NULL::int, NULL::int, NULL::int),
	(8, NULL, NULL),
	(9, NULL, NULL),
	(0, NULL, NULL),
	(-2147483648, NULL, NULL),
	(16, NULL, NULL),
	(18, NULL, NULL),
	-- at and beyond the end
	(20, NULL, NULL),
	(21, NULL, NULL),
	(2147483647, NULL, NULL),
	(NULL, 3, NULL),
	(NULL, 4, NULL),
	(NULL, 2, NULL),
	(NULL, 1, NULL),
	(NULL, 100, NULL),
	(8, 12, NULL),
	(8, 13, NULL),
	(8, 10, NULL),
	-- after at or beyond upto
	(8, 8, NULL),
	(8, 4, NULL),
	-- before: the last rows before it, still in walk order
	(NULL, NULL, 12),
	(NULL, NULL, 13),
	(NULL, NULL, 6),
	(NULL, NULL, 5),
	(NULL, NULL, 2),
	(NULL, NULL, 1),
	(NULL, NULL, 100),
	(8, NULL, 20),
	(8, NULL, 12),
	(8, NULL, 10),
	(8, NULL, 8),
	(8, NULL, 4),
	(NULL, 10, 20),
	(NULL, 12, 12),
	(NULL, 12, 8),
	(4, 12, 20),
	(8, 12, 20),
	(4, 20, 12)) v(after, upto, before);
-- the same in a descending walk
SELECT after, upto, before, (SELECT string_agg(e.id::text, ' ') FROM chunked.page(NULL::event, 3, at(after), at(upto), at(before), 'id DESC') e) AS page
FROM (VALUES (NULL::int, NULL::int, NULL::int), (8, NULL, NULL), (8, 4, NULL), (4, 8, NULL), (NULL, NULL, 8), (14, NULL, 8)) v(after, upto, before);
-- the empty position is the open end: the start as after, the end as before and as upto
SELECT after, upto, before, (SELECT string_agg(e.id::text, ' ') FROM chunked.page(NULL::event, 3, after, upto, before) e) AS page,
	(SELECT string_agg(e.id::text, ' ') FROM chunked.page(NULL::event, 3, after, upto, before, 'id DESC') e) AS descending
FROM (VALUES ('{}'::jsonb, NULL::jsonb, NULL::jsonb), ('{}', '{}', NULL), (NULL, '{}', NULL), (at(16), '{}', NULL), ('{}', at(4), NULL), (NULL, NULL, '{}'), ('{}', '{}', '{}'), (at(16), NULL, '{}'),
	(at(18), NULL, '{}'), (NULL, at(8), '{}'), (at(4), at(8), '{}'), ('{}', '{}', at(6))) v(after, upto, before);
-- as an argument that the plan does not know, too
PREPARE at_the_end(jsonb, jsonb) AS SELECT string_agg(e.id::text, ' ') FROM chunked.page(NULL::event, 3, after => $2, before => $1) e;
EXECUTE at_the_end('{}', '{}');
EXECUTE at_the_end(NULL, '{}');
EXECUTE at_the_end('{}', at(18));
DEALLOCATE at_the_end;
SELECT count(*) FROM (SELECT chunked.page(NULL::event, 3, before => '{}')) e;
CREATE TABLE empty_page (id int PRIMARY KEY);
SELECT count(*) FROM chunked.page(NULL::empty_page, before => '{}');
-- only the empty object
SELECT p AS position, pg_temp.failure(format('SELECT * FROM chunked.page(NULL::event, before => %L)', p)) FROM unnest(ARRAY['[]', 'null', '""', '"{}"', '[{}]', '{"": 1}']::jsonb[]) p;
-- and over ranges that are several queries: pages that end in each of them
CREATE TABLE ladder (a int, b int NOT NULL, id int PRIMARY KEY);
INSERT INTO ladder SELECT NULLIF(i / 4 % 4, 0), i % 3, i FROM generate_series(1, 24) i;
SELECT size, pg_temp.walk('ladder', 'a, b DESC, id', 'a, b DESC', size) FROM generate_series(1, 25) size;
SELECT count(*) AS ranges, count(*) FILTER (WHERE
	ARRAY(SELECT p.id FROM chunked.page(NULL::ladder, 30, chunked.position_of(l, key), chunked.position_of(u, key), key => key) p)
	= ARRAY(SELECT w.id FROM ladder w WHERE (coalesce(w.a, 9), -w.b, w.id) > (coalesce(l.a, 9), -l.b, l.id)
			AND (coalesce(w.a, 9), -w.b, w.id) <= (coalesce(u.a, 9), -u.b, u.id) ORDER BY a, b DESC, id)
	AND ARRAY(SELECT p.id FROM chunked.page(NULL::ladder, 30, chunked.position_of(l, key), before => chunked.position_of(u, key), key => key) p)
	= ARRAY(SELECT w.id FROM ladder w WHERE (coalesce(w.a, 9), -w.b, w.id) > (coalesce(l.a, 9), -l.b, l.id)
			AND (coalesce(w.a, 9), -w.b, w.id) < (coalesce(u.a, 9), -u.b, u.id) ORDER BY a, b DESC, id)) AS right
FROM ladder l, ladder u, (VALUES ('a, b DESC')) k (key);

-- nothing to walk
CREATE TABLE empty (id int PRIMARY KEY, n int);
SELECT * FROM chunked.page(NULL::empty);
SELECT * FROM chunked.page(NULL::empty, before => '{"id": 1}');
SELECT * FROM chunked.page(NULL::empty, after => '{"id": 1, "n": null}', key => 'n');
SELECT * FROM chunked.bounds('empty');
SELECT * FROM chunked.chunks('empty');

--
-- Deleted rows, the boundary's among them
--
BEGIN;
DELETE FROM event WHERE id BETWEEN 6 AND 12;
SELECT string_agg(id::text, ' ') FROM chunked.page(NULL::event, 3, after => '{"id": 6}');
SELECT string_agg(id::text, ' ') FROM chunked.page(NULL::event, 3, before => '{"id": 12}');
-- own changes are seen, as in any query
INSERT INTO event VALUES (7);
SELECT string_agg(id::text, ' ') FROM chunked.page(NULL::event, 3, after => '{"id": 6}');
ROLLBACK;

--
-- Shapes of rows
--
CREATE TABLE altered (gone1 int, id int PRIMARY KEY, gone2 text, t text, gone3 int);
INSERT INTO altered SELECT i, i, 'x', 'row ' || i, i FROM generate_series(1, 3) i;
ALTER TABLE altered DROP COLUMN gone1, DROP COLUMN gone2;
ALTER TABLE altered ADD COLUMN added int DEFAULT 7, ADD COLUMN later text;
ALTER TABLE altered DROP COLUMN gone3;
INSERT INTO altered VALUES (4, 'row 4', 8, 'late');
SELECT * FROM chunked.page(NULL::altered, 2, after => '{"id": 2}');
SELECT p, p IS NOT DISTINCT FROM (SELECT a FROM altered a WHERE id = 4) AS same FROM chunked.page(NULL::altered, 1, after => '{"id": 3}') p;
SELECT pg_temp.walk('altered', 'id');
SELECT pg_temp.walk('altered', 'added DESC, later NULLS FIRST, id', 'added DESC, later NULLS FIRST');

CREATE TABLE computed (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED NOT NULL, at int GENERATED ALWAYS AS IDENTITY);
INSERT INTO computed SELECT i FROM generate_series(1, 5) i;
SELECT * FROM chunked.page(NULL::computed, 2, after => '{"twice": 4, "id": 2}', key => 'twice');
SELECT pg_temp.walk('computed', 'twice DESC, id', 'twice DESC');

-- as many columns as a table can have
DO $$
BEGIN
	EXECUTE (SELECT format('CREATE TABLE wide (id int PRIMARY KEY, %s)', string_agg('c' || i || ' bool', ', ')) FROM generate_series(2, 1600) i);
END
$$;
INSERT INTO wide (id, c2, c1600) SELECT i, i % 2 = 0, i % 3 = 0 FROM generate_series(1, 7) i;
SELECT id, c2, c1599, c1600 FROM chunked.page(NULL::wide, 3, after => '{"id": 4}');
SELECT id FROM chunked.page(NULL::wide, 3, after => '{"c2": true, "c1600": false, "id": 2}', key => 'c2, c1600');
SELECT pg_temp.walk('wide', 'c1600, id', 'c1600', 3);

-- values out of line, in the key as well
CREATE TABLE toasted (id int PRIMARY KEY, big text, k text COLLATE "C");
ALTER TABLE toasted ALTER big SET STORAGE EXTERNAL;
INSERT INTO toasted SELECT i, repeat(md5(i::text), 5000), repeat('long ', 1000) || i FROM generate_series(1, 5) i;
SELECT id, length(big), big = repeat(md5(id::text), 5000) AS same FROM chunked.page(NULL::toasted, 3, before => '{"id": 5}');
SELECT pg_temp.walk('toasted', 'k DESC, id', 'k DESC');
SELECT sum(length(p.big)) FROM chunked.page(NULL::toasted) p;

CREATE TABLE "Weird "" Name" ("Col "" umn" int PRIMARY KEY, "%s" int);
INSERT INTO "Weird "" Name" SELECT i, i % 3 FROM generate_series(1, 7) i;
SELECT * FROM chunked.page(NULL::"Weird "" Name", 2, after => '{"Col \" umn": 2}');
SELECT pg_temp.walk('"Weird "" Name"', '"%s", "Col "" umn"', '"%s"');
-- whose columns have the names of the function's arguments
CREATE TABLE page (relation int, page_size int, after jsonb, key text COLLATE "C" PRIMARY KEY, filter text);
INSERT INTO page SELECT i, i, '{}', i FROM generate_series(1, 5) i;
SELECT pg_temp.walk('page', 'key', filter => 'page_size > 1');

--
-- Where it is called
--
SELECT chunked.page(NULL::event, 2);
SELECT (chunked.page(NULL::event, 2, after => '{"id": 2}')).id;
SELECT chunked.page(NULL::event, 2), generate_series(1, 3);
SELECT e.id, p.id FROM event e, LATERAL chunked.page(NULL::event, 2, after => at(e.id)) p WHERE e.id > 14 ORDER BY 1, 2;
SELECT e.id, (SELECT max(p.id) FROM chunked.page(NULL::event, 2, before => chunked.position_of(e)) p) FROM event e WHERE e.id < 8 ORDER BY 1;
SELECT count(*) FROM event e JOIN chunked.page(NULL::event, 4) p USING (id);
SELECT id, ordinality FROM chunked.page(NULL::event, 2, after => '{"id": 10}') WITH ORDINALITY;
SELECT * FROM ROWS FROM (chunked.page(NULL::event, 2), chunked.page(NULL::ladder, 1));
SELECT p.* FROM chunked.page(NULL::event, 2) p UNION ALL SELECT p.* FROM chunked.page(NULL::event, 2, before => '{"id": 8}') p;
INSERT INTO empty SELECT id FROM chunked.page(NULL::event, 3) RETURNING id;
DELETE FROM empty WHERE id IN (SELECT id FROM chunked.page(NULL::empty, 2)) RETURNING id;
CREATE VIEW first_page AS SELECT * FROM chunked.page(NULL::event, 2);
SELECT * FROM first_page;

PREPARE next (jsonb, int) AS SELECT string_agg(id::text, ' ') FROM chunked.page(NULL::event, $2, $1);
SET plan_cache_mode = force_generic_plan;
EXECUTE next (NULL, 3);
EXECUTE next ('{"id": 6}', 3);
EXECUTE next ('{"id": 6}', 1);
SET plan_cache_mode = force_custom_plan;
EXECUTE next ('{"id": 12}', 10);
RESET plan_cache_mode;

-- a whole walk in a function, with and without changes on the way
CREATE FUNCTION walk_all(size int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	last jsonb;
	row event;
	ids int[] := '{}';
	n int;
BEGIN
	LOOP
		n := 0;
		FOR row IN SELECT * FROM chunked.page(NULL::event, size, last) LOOP
			ids := ids || row.id;
			n := n + 1;
			last := chunked.position_of(row);
		END LOOP;
		EXIT WHEN n = 0;
	END LOOP;
	RETURN ids;
END
$$;
SELECT walk_all(1), walk_all(4), walk_all(100);
CREATE FUNCTION drain() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	n bigint := 0;
	last jsonb;
	ids int[];
BEGIN
	LOOP
		SELECT array_agg(id), (array_agg(chunked.position_of(p) ORDER BY id DESC))[1] INTO ids, last
		FROM chunked.page(NULL::event, 3, last) p;
		EXIT WHEN ids IS NULL;
		DELETE FROM event WHERE id = ANY (ids);
		n := n + cardinality(ids);
	END LOOP;
	RETURN n;
END
$$;
BEGIN;
SELECT drain(), count(*) FROM event;
SELECT count(*) FROM event;
ROLLBACK;
-- cursors, savepoints, an error in the middle
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT * FROM chunked.page(NULL::event, 5);
FETCH 2 FROM c;
SAVEPOINT s;
SELECT string_agg(id::text, ' ') FROM chunked.page(NULL::event, 3, after => '{"id": 6}');
SELECT * FROM chunked.page(NULL::event, 3, filter => '1 / (id - 4) > 0');
ROLLBACK TO s;
FETCH 2 FROM c;
FETCH BACKWARD 1 FROM c;
SELECT string_agg(id::text, ' ') FROM chunked.page(NULL::event, 3, after => '{"id": 6}');
COMMIT;
-- columns that are added before a cursor's first row are in whole rows of it
BEGIN;
CREATE TABLE grown (id int PRIMARY KEY);
INSERT INTO grown VALUES (1), (2);
DECLARE c CURSOR FOR SELECT p, p.id FROM chunked.page(NULL::grown) p;
ALTER TABLE grown ADD COLUMN late text, ADD COLUMN later int;
FETCH ALL FROM c;
ROLLBACK;
-- a filter means what it did when the first row was fetched, to the end; and nothing else to others
BEGIN;
SET LOCAL DateStyle = 'ISO, DMY';
CREATE FUNCTION seen(int) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE SCHEMA other;
CREATE FUNCTION other.seen(int) RETURNS boolean LANGUAGE sql AS 'SELECT false';
DECLARE c CURSOR FOR SELECT * FROM chunked.page(NULL::ladder, 9, '{"a": "2", "b": "1", "id": "10"}', key => 'a, b DESC',
	filter => 'seen(id) AND date ''02/01/2024'' = ''2024-01-02''');
FETCH 1 FROM c;
SET LOCAL DateStyle = 'ISO, MDY';
SET LOCAL search_path = other, page_test;
FETCH ALL FROM c;
SHOW DateStyle;
SET LOCAL DateStyle = 'ISO, DMY';
SET LOCAL search_path = page_test;
SELECT count(*) FROM chunked.page(NULL::ladder, 9, '{"a": "2", "b": "1", "id": "10"}', key => 'a, b DESC',
	filter => 'seen(id) AND date ''02/01/2024'' = ''2024-01-02''');
ROLLBACK;
-- read again and again, it is one page: as its arguments were, whatever they were computed by
BEGIN;
CREATE SEQUENCE calls;
SET LOCAL enable_material = off;
SET LOCAL enable_hashjoin = off;
SET LOCAL enable_mergejoin = off;
SELECT g, string_agg(p.id::text, ' ' ORDER BY p.id) FROM generate_series(2, 6, 2) g LEFT JOIN chunked.page(NULL::event, nextval('calls') + 1) p ON p.id <= g GROUP BY g ORDER BY g;
SELECT g, (SELECT string_agg(p.id::text, ' ') FROM chunked.page(NULL::event, 2, filter => 'nextval(''calls'') > 0') p WHERE p.id < g) FROM generate_series(2, 6, 2) g;
SELECT last_value FROM calls;
SELECT g, (SELECT string_agg(p.id::text, ' ') FROM chunked.page(NULL::event, 2, at(g)) p WHERE p.id <> g + 2) FROM generate_series(6, 18, 6) g;
ROLLBACK;
-- read only is enough
BEGIN READ ONLY;
SELECT count(*) FROM chunked.page(NULL::event, 5);
COMMIT;

--
-- Where the catalog does not promise that a key is unique: several rows at a
-- page's end are an error, elsewhere they all come
--
CREATE VIEW doubled AS SELECT id / 6 AS g, id FROM event;
SELECT size, pg_temp.failure(format('SELECT * FROM chunked.page(NULL::doubled, %s, key => ''g'')', size)) FROM generate_series(1, 10) size;
SELECT g, count(*) FROM chunked.page(NULL::doubled, 8, key => 'g') GROUP BY g ORDER BY g;
SELECT size, pg_temp.failure(format('SELECT * FROM chunked.page(NULL::doubled, %s, before => ''{"g": 3}'', key => ''g'')', size)) FROM generate_series(1, 9) size;
SELECT size, pg_temp.failure(format('SELECT * FROM chunked.page(NULL::doubled, %s, upto => ''{"g": 1}'', key => ''g'')', size)) FROM generate_series(1, 6) size;
SELECT pg_temp.failure($$SELECT * FROM chunked.page(NULL::doubled, 3, key => 'g', filter => 'id <> 8')$$),
	pg_temp.failure($$SELECT * FROM chunked.page(NULL::doubled, 3, key => 'g', filter => 'id NOT IN (8, 10)')$$);
-- duplicates of null, and of null beside a value
CREATE VIEW nulls AS SELECT NULLIF(id / 8, 1) AS g, NULLIF(id / 10, 1) AS h, id FROM event;
SELECT size, pg_temp.state(format('SELECT * FROM chunked.page(NULL::nulls, %s, key => ''g, h'')', size)) FROM generate_series(1, 10) size;

-- sizes of any whole number's type, and as large as they get
CREATE TABLE sized AS SELECT generate_series(1, 5) AS id;
ALTER TABLE sized ADD PRIMARY KEY (id);
SELECT (SELECT count(*) FROM chunked.page(NULL::sized, 2::smallint)) AS smallint, (SELECT count(*) FROM chunked.page(NULL::sized, 2::bigint)) AS bigint,
	(SELECT count(*) FROM chunked.page(NULL::sized, 9223372036854775807)) AS most, (SELECT count(*) FROM chunked.page(NULL::sized, 9223372036854775807, before => '{"id": 3}')) AS back;
SELECT (SELECT count(*) FROM chunked.paginate(NULL::sized, 2, 2::bigint, 1::bigint)) AS bigint,
	(SELECT count(*) FROM chunked.paginate(NULL::sized, 1, 9223372036854775807, 9223372036854775807)) AS most, chunked.paginator('sized', 9223372036854775807, 9223372036854775807);
SELECT pg_temp.failure('SELECT * FROM chunked.page(NULL::sized, -9223372036854775808)');

-- columns that are computed when they are read (from 18 on) are not in the heap
SELECT CASE WHEN current_setting('server_version_num')::int >= 180000 THEN 'VIRTUAL' ELSE 'STORED' END AS kind \gset
CREATE TABLE on_reading (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) :kind, v text);
INSERT INTO on_reading (id, v) SELECT i, 'v' || i FROM generate_series(1, 5) i;
SELECT * FROM chunked.page(NULL::on_reading, 3, after => '{"id": 1}');
SELECT * FROM chunked.page(NULL::on_reading, 2, before => '{}');

-- the rows of a cursor over a page are those of its snapshot, whatever happens between two of them
CREATE TABLE moving (id int PRIMARY KEY, v int);
INSERT INTO moving SELECT i, 0 FROM generate_series(1, 6) i;
BEGIN;
DECLARE pages CURSOR FOR SELECT id, v FROM chunked.page(NULL::moving);
FETCH 2 FROM pages;
UPDATE moving SET v = 1;
DELETE FROM moving WHERE id = 4;
INSERT INTO moving VALUES (7, 7);
SAVEPOINT s;
FETCH 1 FROM pages;
SELECT pg_temp.state('TRUNCATE moving');
ROLLBACK TO s;
FETCH ALL FROM pages;
COMMIT;
SELECT * FROM chunked.page(NULL::moving);

SET client_min_messages = warning;
DROP SCHEMA page_test CASCADE;
