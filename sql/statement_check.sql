-- What a job's statement must not do: have its condition on another relation than the walked one, or move
-- rows in the order of the key. And what its author is warned of.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/failure.sql
\set ECHO all
\set SHOW_CONTEXT never
\set VERBOSITY sqlstate
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS statement_check_test, statement_check_else CASCADE;
CREATE SCHEMA statement_check_test;
SET search_path = statement_check_test;
SET pg_chunked.progress_interval = 0;
\set VERBOSITY default
-- the job for a statement, dropped at once: how it is refused, or that it is not
CREATE FUNCTION refusal(statement text, relation text DEFAULT 'a', key text DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	outcome text := pg_temp.failure(format('SELECT chunked.create_job(%L, %L, name => ''refused'', key => %L)', relation, statement, key));
BEGIN
	IF outcome = 'no error' THEN
		PERFORM chunked.drop_job('refused');
	END IF;
	RETURN outcome;
END
$$;

--
-- {chunk} is about the walked relation
--
CREATE TABLE a (id int PRIMARY KEY, k int NOT NULL, n int NOT NULL DEFAULT 0);
INSERT INTO a SELECT i, i % 10 FROM generate_series(1, 100) i;
CREATE TABLE b (id int PRIMARY KEY, k int NOT NULL, n int NOT NULL DEFAULT 0);
INSERT INTO b SELECT i, i % 10 FROM generate_series(1, 100) i;
CREATE TABLE c (number int PRIMARY KEY, a_id int);
INSERT INTO c SELECT i, i FROM generate_series(1, 100) i;
CREATE SCHEMA statement_check_else CREATE TABLE a (id int);
CREATE VIEW a_view AS SELECT id, k, n FROM a;
CREATE VIEW a_filtered AS SELECT * FROM a_view WHERE n >= 0 OFFSET 0;
CREATE VIEW a_joined AS SELECT a.id, b.id AS b_id, a.n FROM a JOIN b USING (k);
CREATE VIEW ab_union AS SELECT id, n FROM a UNION ALL SELECT id, n FROM b;
CREATE VIEW a_computed AS SELECT id + 0 AS id, n FROM a;
CREATE VIEW a_swapped AS SELECT k AS id, id AS k, n FROM a;
CREATE MATERIALIZED VIEW a_stored AS SELECT id, n FROM a;
CREATE UNIQUE INDEX ON a_stored (id);
CREATE VIEW a_grouped AS SELECT id, count(*) AS n FROM a GROUP BY id;
-- every row ten times
CALL chunked.run('a', 'UPDATE a SET n = n + 1 WHERE EXISTS (SELECT FROM b WHERE b.k = a.k AND {chunk})', chunk_size => 10);
SELECT n, count(*) FROM a GROUP BY n;
CALL chunked.run('a', 'UPDATE a SET n = n + 1 WHERE EXISTS (SELECT FROM b WHERE b.k = a.k AND {chunk:a})', chunk_size => 10);
SELECT n, count(*) FROM a GROUP BY n;
SELECT statement, refusal(statement) FROM (VALUES
	(1, 'DELETE FROM a WHERE EXISTS (SELECT FROM b WHERE b.k = a.k AND {chunk})'),
	(2, 'DELETE FROM a WHERE EXISTS (SELECT FROM b x WHERE x.k = a.k AND {chunk:x})'),
	(3, 'DELETE FROM a "A b" WHERE EXISTS (SELECT FROM b WHERE b.k = "A b".k AND { chunk })'),
	(4, 'DELETE FROM a WHERE k IN (SELECT k FROM b WHERE {chunk})'),
	(5, 'DELETE FROM a WHERE id = (SELECT max(id) FROM b WHERE NOT (b.k > 5 OR {chunk}))'),
	(6, 'UPDATE a SET n = 1 FROM b WHERE a.k = b.k AND {chunk:b}'),
	(7, 'DELETE FROM a USING b WHERE a.k = b.k AND {chunk:b}'),
	(8, 'DELETE FROM b WHERE {chunk}'),
	(9, 'INSERT INTO c SELECT b.id FROM b WHERE {chunk}'),
	(10, 'INSERT INTO c SELECT id FROM a WHERE {chunk} UNION ALL SELECT id FROM b WHERE {chunk}'),
	(11, 'WITH gone AS (DELETE FROM b WHERE {chunk} RETURNING id) DELETE FROM a USING gone WHERE a.id = gone.id'),
	(12, 'WITH s AS (SELECT * FROM b) DELETE FROM a USING s WHERE a.id = s.id AND {chunk:s}'),
	(13, 'DELETE FROM a USING (SELECT k AS id FROM a) s WHERE a.k = s.id AND {chunk:s}'),
	(14, 'DELETE FROM a USING (SELECT id + 0 AS id FROM a) s WHERE a.id = s.id AND {chunk:s}'),
	(15, 'DELETE FROM a USING (SELECT id FROM a UNION SELECT id FROM b) s WHERE a.id = s.id AND {chunk:s}'),
	(16, 'DELETE FROM a USING generate_series(1, 10) id WHERE a.id = id.id AND {chunk:id}'),
	(17, 'DELETE FROM a USING (VALUES (1)) v (id) WHERE a.id = v.id AND {chunk:v}'),
	(18, 'SELECT a.n FROM a, LATERAL (SELECT n FROM b WHERE b.k = a.k AND {chunk}) s'),
	(19, 'SELECT FROM a FULL JOIN b USING (id) WHERE {chunk}'),
	(20, 'SELECT CASE WHEN {chunk} THEN 1 END FROM b'),
	(21, 'SELECT count(*) FROM b GROUP BY id HAVING {chunk}'),
	(22, 'SELECT x.id FROM b x JOIN a ON {chunk:x}'),
	(23, 'MERGE INTO a USING (SELECT id FROM b WHERE {chunk}) s ON s.id = a.id WHEN MATCHED THEN UPDATE SET n = 1'),
	(24, 'MERGE INTO a USING b ON b.id = a.id AND {chunk:b} WHEN MATCHED THEN UPDATE SET n = 1'),
	(25, 'INSERT INTO a (id, k) SELECT 5, 5 ON CONFLICT (id) DO UPDATE SET n = 1 WHERE {chunk:excluded}'),
	(26, 'WITH RECURSIVE r AS (SELECT id FROM a UNION ALL SELECT r.id FROM r WHERE {chunk}) DELETE FROM a USING r WHERE a.id = r.id'),
	(27, 'DELETE FROM a_swapped WHERE {chunk}'),
	(34, 'SELECT FROM a_stored WHERE {chunk}'),
	(28, 'DELETE FROM a USING a_computed s WHERE a.id = s.id AND {chunk:s}'),
	(29, 'SELECT FROM ab_union WHERE {chunk}'),
	(30, 'WITH a AS (SELECT * FROM b) SELECT FROM a WHERE {chunk}'),
	(31, 'DELETE FROM a WHERE EXISTS (SELECT FROM b a WHERE {chunk:a})'),
	(33, 'SELECT FROM statement_check_else.a WHERE {chunk}'),
	(32, 'SELECT FROM a WHERE {chunk} AND k IN (SELECT k FROM b WHERE {chunk})')) s (n, statement) ORDER BY n;
-- right uses
SELECT statement, refusal(statement) FROM (VALUES
	(1, 'DELETE FROM a WHERE {chunk}'),
	(2, 'DELETE FROM a WHERE EXISTS (SELECT FROM b WHERE b.k = a.k AND {chunk:a})'),
	(3, 'DELETE FROM a WHERE EXISTS (SELECT FROM c WHERE c.a_id = a.k AND {chunk})'),
	(4, 'DELETE FROM a WHERE EXISTS (SELECT FROM c WHERE EXISTS (SELECT WHERE c.a_id = a.k AND {chunk}))'),
	(5, 'DELETE FROM b USING a WHERE a.id = b.id AND {chunk:a}'),
	(6, 'UPDATE b SET n = 1 WHERE id IN (SELECT id FROM a WHERE {chunk})'),
	(7, 'INSERT INTO c SELECT id FROM a WHERE {chunk}'),
	(8, 'INSERT INTO c SELECT id FROM a WHERE {chunk} AND k = 1 UNION ALL SELECT -id FROM a WHERE {chunk} AND k = 2'),
	(9, 'WITH gone AS (DELETE FROM a WHERE {chunk} RETURNING *) INSERT INTO b SELECT * FROM gone'),
	(10, 'WITH s AS (SELECT * FROM a) DELETE FROM b USING s WHERE b.id = s.id AND {chunk:s}'),
	(11, 'WITH gone AS (DELETE FROM b USING a WHERE a.id = b.id RETURNING a.id) SELECT FROM gone WHERE {chunk}'),
	(12, 'DELETE FROM b USING (SELECT n, id FROM a) s WHERE b.id = s.id AND {chunk:s}'),
	(13, 'DELETE FROM b USING (SELECT id FROM a WHERE k = 1 UNION SELECT id FROM a WHERE k = 2) s WHERE b.id = s.id AND {chunk:s}'),
	(14, 'SELECT FROM (SELECT id FROM a EXCEPT SELECT id FROM b) s WHERE {chunk}'),
	(15, 'SELECT FROM a, LATERAL (SELECT a.id OFFSET 0) s WHERE {chunk:s}'),
	(16, 'SELECT FROM a LEFT JOIN b USING (id) WHERE {chunk}'),
	(17, 'SELECT FROM (a x JOIN b USING (k)) WHERE {chunk:x}'),
	(18, 'SELECT FROM (a JOIN c ON a.id = c.a_id) j WHERE {chunk:j}'),
	(19, 'SELECT id FROM a GROUP BY id HAVING {chunk}'),
	(20, 'SELECT FROM (SELECT id, max(n) FROM a GROUP BY id) s WHERE {chunk}'),
	(21, 'SELECT FROM a_grouped WHERE {chunk}'),
	(22, 'SELECT CASE WHEN {chunk} THEN 1 END FROM a'),
	(23, 'SELECT sum(n) FILTER (WHERE {chunk}) FROM a'),
	(24, 'MERGE INTO a USING b ON b.id = a.id AND {chunk:a} WHEN MATCHED THEN UPDATE SET n = 1'),
	(25, 'MERGE INTO b USING (SELECT id FROM a WHERE {chunk}) s ON s.id = b.id WHEN MATCHED THEN UPDATE SET n = 1'),
	(26, 'UPDATE a_view SET n = 1 WHERE {chunk}'),
	(27, 'UPDATE b SET n = 1 FROM a_filtered f WHERE f.id = b.id AND {chunk:f}'),
	(28, 'WITH RECURSIVE r AS (SELECT id FROM a WHERE k = 1 UNION ALL SELECT r.id FROM r JOIN c ON c.a_id = -r.id) SELECT FROM r WHERE {chunk}'),
	(29, 'WITH RECURSIVE r AS (SELECT id, k FROM a WHERE {chunk} UNION SELECT b.id, b.k FROM b JOIN r ON r.id = -b.k) SELECT FROM r'),
	(30, 'INSERT INTO b SELECT * FROM a WHERE {chunk} ON CONFLICT (id) DO UPDATE SET n = excluded.n'),
	(31, 'SELECT FROM a a1 JOIN a a2 ON a2.id = a1.k AND {chunk:a2}'),
	(32, 'SELECT FROM (SELECT * FROM (SELECT id AS i FROM a) x (id)) y WHERE {chunk:y}')) s (n, statement) ORDER BY n;
-- all of the key's columns, whichever the first chunk's condition has
-- where every chunk would process other rows as well, for want of parentheses or otherwise
SELECT n, statement, refusal(statement) FROM (VALUES
	(1, 'UPDATE a SET n = n + 1 WHERE k = 1 OR k = 2 AND {chunk}'),
	(2, 'DELETE FROM a WHERE NOT ({chunk})'),
	(3, 'SELECT a.id FROM a LEFT JOIN a b ON b.id = a.id AND {chunk:a}'),
	(4, 'SELECT {chunk} FROM a'),
	(5, 'DELETE FROM a WHERE NOT EXISTS (SELECT FROM b WHERE b.k = a.k AND {chunk:a})'),
	(6, 'MERGE INTO b USING a ON b.id = a.id AND {chunk:a} WHEN MATCHED THEN DO NOTHING WHEN NOT MATCHED THEN INSERT VALUES (a.id)'),
	(7, 'UPDATE a SET n = n + 1 WHERE (k = 1 OR k = 2) AND {chunk}'),
	(8, 'SELECT a.id FROM a JOIN b ON b.id = a.id AND {chunk:a}'),
	(9, 'DELETE FROM a WHERE {chunk} AND (k = 1 OR NOT {chunk})'),
	(10, 'WITH d AS (DELETE FROM a WHERE k = 1 AND ({chunk}) RETURNING *) SELECT count(*) FROM d')) s (n, statement) ORDER BY n;
SELECT refusal('DELETE FROM a WHERE EXISTS (SELECT FROM b x (i) WHERE x.i = a.id AND {chunk})', 'a', 'n, id');
SELECT refusal('DELETE FROM a WHERE EXISTS (SELECT FROM b x (i) WHERE x.i = a.id AND {chunk:a})', 'a', 'n, id');
-- walks over views, and statements over the tables below
SELECT relation, statement, refusal(statement, relation, 'id') FROM (VALUES
	(1, 'a_view', 'DELETE FROM a WHERE {chunk}'),
	(2, 'a_view', 'DELETE FROM a_view WHERE {chunk}'),
	(3, 'a_view', 'DELETE FROM b WHERE {chunk}'),
	(4, 'a_filtered', 'DELETE FROM a WHERE {chunk}'),
	(5, 'a_filtered', 'DELETE FROM a_view WHERE {chunk}'),
	(6, 'a_joined', 'DELETE FROM a WHERE {chunk}'),
	(7, 'a_joined', 'DELETE FROM b WHERE {chunk}'),
	(8, 'a_joined', 'DELETE FROM b USING a_joined j WHERE j.b_id = b.id AND {chunk:j}'),
	(9, 'ab_union', 'SELECT FROM ab_union WHERE {chunk}'),
	(10, 'ab_union', 'DELETE FROM b WHERE {chunk}'),
	(11, 'a_computed', 'DELETE FROM a WHERE {chunk}'),
	(12, 'a_computed', 'DELETE FROM a USING a_computed v WHERE v.id = a.id AND {chunk:v}'),
	(13, 'a_swapped', 'DELETE FROM a WHERE {chunk}'),
	(14, 'a_grouped', 'DELETE FROM a WHERE {chunk}'),
	(15, 'a_stored', 'DELETE FROM a USING a_stored s WHERE s.id = a.id AND {chunk:s}')) s (n, relation, statement) ORDER BY n;
-- partitions and children, and what they are part of
CREATE TABLE p (id int, n int NOT NULL DEFAULT 0, region text DEFAULT 'x', PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE p_1 (region text, n int NOT NULL DEFAULT 0, id int NOT NULL);
ALTER TABLE p ATTACH PARTITION p_1 FOR VALUES FROM (0) TO (50);
CREATE TABLE p_2 PARTITION OF p FOR VALUES FROM (50) TO (150);
INSERT INTO p SELECT generate_series(1, 100);
CREATE TABLE parent (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);
CREATE TABLE child (extra int) INHERITS (parent);
INSERT INTO parent SELECT generate_series(1, 100);
INSERT INTO child SELECT generate_series(101, 200);
SELECT relation, statement, refusal(statement, relation, 'id') FROM (VALUES
	(1, 'p', 'UPDATE p_1 SET n = 1 WHERE {chunk}'),
	(2, 'p_1', 'UPDATE p SET n = 1 WHERE {chunk}'),
	(3, 'p_1', 'UPDATE p_2 SET n = 1 WHERE {chunk}'),
	(4, 'p', 'UPDATE p SET n = 1 FROM p_2 WHERE p.id = p_2.id AND {chunk:p_2}'),
	(5, 'parent', 'UPDATE child SET n = 1 WHERE {chunk}'),
	(6, 'child', 'UPDATE parent SET n = 1 WHERE {chunk}'),
	(7, 'child', 'UPDATE p SET n = 1 WHERE {chunk}')) s (n, relation, statement) ORDER BY n;

--
-- The key stays as it is, whatever the name
--
CREATE VIEW renamed AS SELECT id AS ident, n AS id, k FROM a;
CREATE VIEW renamed_again AS SELECT ident AS x, k AS y, id AS z FROM renamed;
CREATE VIEW by_trigger AS SELECT id AS ident, n, count(*) OVER () AS rows FROM a;
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER t INSTEAD OF UPDATE OR INSERT ON by_trigger FOR EACH ROW EXECUTE FUNCTION nothing();
CREATE VIEW by_rule AS SELECT id AS ident, n FROM a;
CREATE RULE r AS ON UPDATE TO by_rule DO INSTEAD UPDATE a SET id = new.ident WHERE id = old.ident;
CREATE TABLE g (id int PRIMARY KEY, source int NOT NULL, other int NOT NULL DEFAULT 0, made int GENERATED ALWAYS AS (source % 100) STORED);
CREATE INDEX ON g (made, id);
INSERT INTO g SELECT i, i FROM generate_series(1, 100) i;
CREATE VIEW g_view AS SELECT made AS m, id, source AS s, other FROM g;
CREATE VIEW computed_key AS SELECT k * 1000 + id AS place, n, k FROM a;
CREATE TABLE gp (id int, source int NOT NULL, other int, made int GENERATED ALWAYS AS (source % 100) STORED, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE gp_1 (other int, made int GENERATED ALWAYS AS (source % 100) STORED, source int NOT NULL, id int NOT NULL);
ALTER TABLE gp ATTACH PARTITION gp_1 FOR VALUES FROM (0) TO (1000);
CREATE INDEX ON gp (made, id);
INSERT INTO gp SELECT i, i FROM generate_series(1, 100) i;
-- rows would be processed twice
CALL chunked.run('g', 'UPDATE g SET source = source + 5, other = other + 1 WHERE {chunk}', key => 'made', chunk_size => 3);
SELECT other, count(*) FROM g GROUP BY other;
CALL chunked.run('a', 'UPDATE renamed r SET ident = ident + 1000 FROM a WHERE a.id = r.ident AND {chunk:a}', chunk_size => 10);
SELECT max(id) FROM a;
SELECT relation, key, statement, refusal(statement, relation, key) FROM (VALUES
	(1, 'a', 'id', 'UPDATE a SET id = 1 WHERE {chunk}'),
	(2, 'a', 'id', 'UPDATE a_view SET id = 1 WHERE {chunk}'),
	(3, 'a', 'id', 'UPDATE renamed SET ident = 1 FROM a WHERE {chunk:a} AND a.id = ident'),
	(4, 'a', 'id', 'UPDATE renamed_again SET x = 1 FROM a WHERE {chunk:a} AND a.id = x'),
	(5, 'a', 'id', 'UPDATE by_trigger SET ident = 1 FROM a WHERE {chunk:a} AND a.id = ident'),
	(6, 'a', 'id', 'UPDATE by_rule SET n = 1 FROM a WHERE {chunk:a} AND a.id = ident'),
	(7, 'renamed', 'ident', 'UPDATE a SET id = 1 FROM renamed r WHERE {chunk:r} AND a.id = ident'),
	(8, 'renamed', 'ident', 'UPDATE renamed SET ident = 1 WHERE {chunk}'),
	(9, 'renamed_again', 'x', 'UPDATE renamed r SET ident = 1 FROM renamed_again WHERE {chunk:renamed_again} AND x = ident'),
	(10, 'computed_key', 'place', 'UPDATE a SET k = 1 FROM computed_key c WHERE {chunk:c} AND a.id = c.n'),
	(11, 'g', 'made', 'UPDATE g SET source = 1 WHERE {chunk}'),
	(12, 'g', 'made', 'UPDATE g_view SET s = 1 FROM g WHERE {chunk:g} AND g.id = g_view.id'),
	(13, 'g_view', 'm, id', 'UPDATE g SET source = 1 FROM g_view v WHERE {chunk:v} AND g.id = v.id'),
	(14, 'g', 'made', 'WITH u AS (UPDATE g SET source = 1 WHERE {chunk}) SELECT'),
	(15, 'g', 'made', 'INSERT INTO g SELECT * FROM (SELECT id, source FROM g WHERE {chunk}) s ON CONFLICT (id) DO UPDATE SET source = 1'),
	(16, 'g', 'made', 'MERGE INTO g USING (SELECT id FROM g WHERE {chunk}) s ON s.id = g.id WHEN MATCHED THEN UPDATE SET source = 1'),
	(17, 'a', 'id', 'INSERT INTO renamed (ident, k) SELECT id, k FROM a WHERE {chunk} ON CONFLICT (ident) DO UPDATE SET ident = -1'),
	(18, 'gp', 'made', 'UPDATE gp SET source = 1 WHERE {chunk}'),
	(19, 'gp', 'made', 'UPDATE gp_1 SET source = 1 WHERE {chunk}'),
	(20, 'gp_1', 'made, id', 'UPDATE gp SET source = 1 WHERE {chunk}'),
	(21, 'p_1', 'id', 'UPDATE p SET id = 1 WHERE {chunk}'),
	(22, 'child', 'id', 'UPDATE parent SET id = 1 WHERE {chunk}'),
	(23, 'parent', 'id', 'UPDATE child SET id = 1 WHERE {chunk}')) s (n, relation, key, statement) ORDER BY n;
-- other columns and other tables may change
SELECT relation, key, statement, refusal(statement, relation, key) FROM (VALUES
	(1, 'a', 'id', 'UPDATE renamed SET id = 1 FROM a WHERE {chunk:a} AND a.id = ident'),
	(2, 'renamed', 'ident', 'UPDATE renamed SET id = 1, k = 2 WHERE {chunk}'),
	(3, 'renamed', 'ident', 'UPDATE a SET n = 1 FROM renamed r WHERE {chunk:r} AND a.id = ident'),
	(4, 'by_trigger', 'ident', 'UPDATE by_trigger SET n = 1 WHERE {chunk}'),
	(5, 'computed_key', 'place', 'UPDATE a SET n = 1 FROM computed_key c WHERE {chunk:c} AND a.id = c.n'),
	(6, 'g', 'made', 'UPDATE g SET other = 1 WHERE {chunk}'),
	(7, 'g', 'id', 'UPDATE g SET source = 1 WHERE {chunk}'),
	(8, 'gp', 'made', 'UPDATE gp SET other = 1 WHERE {chunk}'),
	(9, 'gp', 'made', 'UPDATE gp_1 SET other = 1 WHERE {chunk}'),
	(10, 'a', 'id', 'UPDATE b SET id = -a.id FROM a WHERE a.id = b.id AND {chunk:a}'),
	(11, 'p_1', 'id', 'UPDATE p_2 SET id = p_2.id FROM p_1 WHERE {chunk:p_1} AND p_1.id = p_2.n')) s (n, relation, key, statement) ORDER BY n;

--
-- Rows inserted where the walk is still to come: one warning
--
SELECT chunked.create_job('a', 'INSERT INTO a SELECT id + 100000, k FROM a WHERE {chunk}', name => 'insert');
SELECT chunked.drop_job('insert');
CALL chunked.run('a', 'INSERT INTO a_view SELECT id + 100000, k FROM a WHERE {chunk} AND id <= 2', chunk_size => 1);
DELETE FROM a WHERE id > 100000;
SELECT relation, statement, refusal(statement, relation, key) FROM (VALUES
	(1, 'a_view', 'id', 'INSERT INTO a SELECT id + 100000, k FROM a WHERE {chunk}'),
	(2, 'a', 'id', 'WITH i AS (INSERT INTO renamed (ident, k) SELECT id + 100000, k FROM a WHERE {chunk}) SELECT'),
	(3, 'a', 'id', 'INSERT INTO by_trigger SELECT id, k FROM a WHERE {chunk}'),
	(4, 'p', 'id', 'INSERT INTO p_2 SELECT id + 100000, n FROM p WHERE {chunk}'),
	(5, 'p_1', 'id', 'INSERT INTO p SELECT id + 100000, n FROM p_1 WHERE {chunk}'),
	(6, 'a', 'id', 'MERGE INTO a USING (SELECT * FROM a WHERE {chunk}) s ON s.id = -a.id WHEN NOT MATCHED THEN INSERT (id, k) VALUES (-s.id, 1)')) s (n, relation, key, statement) ORDER BY n;
-- no warning
SELECT relation, statement, refusal(statement, relation, key) FROM (VALUES
	(1, 'a', 'id', 'INSERT INTO b SELECT id + 100000, k FROM a WHERE {chunk}'),
	(2, 'a', 'id', 'MERGE INTO a USING (SELECT * FROM a WHERE {chunk}) s ON s.id = a.id WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN DO NOTHING'),
	(3, 'p_1', 'id', 'INSERT INTO p_2 SELECT id + 100000, n FROM p_1 WHERE {chunk}')) s (n, relation, key, statement) ORDER BY n;

--
-- A foreign key without an index
--
CREATE TABLE person (id int PRIMARY KEY, country int NOT NULL DEFAULT 1, code int NOT NULL, note text, UNIQUE (country, code));
INSERT INTO person SELECT i, 1, i FROM generate_series(1, 10) i;
CREATE TABLE advert (id int, author int CONSTRAINT advert_author REFERENCES person ON DELETE SET NULL,
	country int, "Code" int, filler text, CONSTRAINT advert_code FOREIGN KEY ("Code", country) REFERENCES person (code, country));
ALTER TABLE advert ALTER filler SET STORAGE PLAIN;
INSERT INTO advert SELECT i, 1, 1, 1, repeat('x', 7000) FROM generate_series(1, 1025) i;
CREATE TABLE small (author int REFERENCES person);
SELECT refusal('DELETE FROM person WHERE {chunk}', 'person');
SELECT refusal('UPDATE person SET code = code WHERE {chunk}', 'person');
SELECT refusal('MERGE INTO person USING (SELECT * FROM person WHERE {chunk}) s ON s.id = person.id WHEN MATCHED AND s.id > 5 THEN DELETE WHEN MATCHED THEN UPDATE SET note = s.note', 'person');
CALL chunked.run('person', 'DELETE FROM person WHERE {chunk} AND id = 10', dry_run => true);
-- what is not referred to, and what has no rows deleted
SELECT refusal('UPDATE person SET note = ''x'' WHERE {chunk}', 'person');
SELECT refusal('INSERT INTO b SELECT id, id FROM person WHERE {chunk}', 'person');
-- indexes that are of no use
CREATE INDEX ON advert (author) WHERE author > 100;
CREATE INDEX ON advert ((author + 0));
CREATE INDEX ON advert (id, author);
CREATE INDEX ON advert USING brin (author);
CREATE INDEX not_valid ON advert (author);
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'not_valid'::regclass;
CREATE INDEX ON advert (country, id, "Code");
SELECT refusal('DELETE FROM person WHERE {chunk}', 'person');
-- and those that are
CREATE INDEX ON advert USING hash (author);
SELECT refusal('DELETE FROM person WHERE {chunk}', 'person');
CREATE INDEX ON advert (country, "Code", id);
SELECT refusal('DELETE FROM person WHERE {chunk}', 'person');
DROP INDEX not_valid;
-- as far as a cascade goes
CREATE TABLE reader (id int PRIMARY KEY, person int UNIQUE REFERENCES person ON DELETE CASCADE);
INSERT INTO reader SELECT i, i FROM generate_series(1, 10) i;
CREATE TABLE visit (id int, reader int CONSTRAINT visit_reader REFERENCES reader, filler text);
ALTER TABLE visit ALTER filler SET STORAGE PLAIN;
INSERT INTO visit SELECT i, 1, repeat('x', 7000) FROM generate_series(1, 1025) i;
SELECT refusal('DELETE FROM person WHERE {chunk}', 'person');
DROP TABLE visit;
ALTER TABLE person ADD boss int CONSTRAINT person_boss REFERENCES person ON DELETE CASCADE;
SELECT refusal('DELETE FROM person WHERE {chunk}', 'person');
-- partitions on both sides: those without an index count together
CREATE TABLE owner (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
CREATE TABLE owner_1 PARTITION OF owner FOR VALUES FROM (0) TO (5);
CREATE TABLE owner_2 PARTITION OF owner FOR VALUES FROM (5) TO (100);
INSERT INTO owner SELECT generate_series(1, 10);
CREATE TABLE thing (filler text, id int NOT NULL, owner int CONSTRAINT thing_owner REFERENCES owner) PARTITION BY RANGE (id);
ALTER TABLE thing ALTER filler SET STORAGE PLAIN;
CREATE TABLE thing_1 PARTITION OF thing FOR VALUES FROM (0) TO (513);
CREATE TABLE thing_2 PARTITION OF thing FOR VALUES FROM (513) TO (10000);
INSERT INTO thing SELECT repeat('x', 7000), i, 1 FROM generate_series(1, 1025) i;
SELECT refusal('DELETE FROM owner WHERE {chunk}', 'owner');
SELECT refusal('DELETE FROM owner_2 WHERE {chunk}', 'owner_2');
SELECT refusal('UPDATE owner SET n = 1 WHERE {chunk}', 'owner');
CREATE TABLE owner_3 (extra int, n int, id int NOT NULL);
ALTER TABLE owner_3 DROP COLUMN extra;
ALTER TABLE owner ATTACH PARTITION owner_3 FOR VALUES FROM (100) TO (200);
INSERT INTO owner VALUES (100);
SELECT refusal('UPDATE owner_3 SET n = 1 WHERE {chunk}', 'owner_3');
SELECT refusal('UPDATE owner o SET id = o.id FROM a WHERE a.id = o.id AND {chunk:a}');
CREATE INDEX ON thing_1 (owner);
SELECT refusal('DELETE FROM owner WHERE {chunk}', 'owner');
--
-- {chunk} picks rows of one mention of the relation, and the statement goes over another
--
CREATE TABLE twice (id int PRIMARY KEY, v int, parent int);
INSERT INTO twice SELECT i, 0, i / 2 FROM generate_series(1, 10) i;
CREATE VIEW twice_view AS SELECT id AS number, v FROM twice;
CREATE TABLE copied (id int, v int);
SELECT refusal('WITH c AS (SELECT id FROM twice WHERE {chunk}) UPDATE twice t SET v = 1 FROM c', 'twice');
SELECT refusal('UPDATE twice SET v = 1 WHERE EXISTS (SELECT FROM twice x WHERE x.id = twice.id AND {chunk:x})', 'twice');
SELECT refusal('INSERT INTO copied SELECT id, v FROM twice WHERE EXISTS (SELECT FROM twice x WHERE {chunk:x})', 'twice');
SELECT refusal('INSERT INTO copied SELECT number, v FROM twice_view WHERE EXISTS (SELECT FROM twice x WHERE {chunk:x})', 'twice');
SELECT refusal('INSERT INTO copied SELECT id, v FROM twice WHERE {chunk} UNION ALL SELECT id, v FROM twice', 'twice');
SELECT refusal('WITH d AS (DELETE FROM twice WHERE v = 9 RETURNING id) INSERT INTO copied SELECT id, v FROM twice t WHERE {chunk:t}', 'twice');
SELECT refusal('UPDATE twice SET v = 1 FROM twice_view WHERE {chunk:twice_view}', 'twice_view', 'number');
SELECT refusal('WITH x AS (SELECT id FROM twice WHERE {chunk}) INSERT INTO copied SELECT twice.id, 1 FROM twice', 'twice');
SELECT refusal('WITH d AS (DELETE FROM twice WHERE {chunk} RETURNING *), a AS (SELECT * FROM twice) INSERT INTO copied SELECT a.id, a.v FROM a', 'twice');
SELECT refusal('INSERT INTO copied SELECT id, v FROM twice WHERE {chunk} UNION ALL SELECT id, v FROM (SELECT * FROM twice) x', 'twice');
SELECT refusal('UPDATE twice SET v = 1 FROM twice p WHERE twice.parent = p.id AND {chunk:p}', 'twice');
-- where it picks those as well, or the other mention does not decide which rows are processed
SELECT refusal('UPDATE twice SET v = 1 WHERE EXISTS (SELECT FROM twice x WHERE x.id = twice.id AND {chunk:twice})', 'twice');
SELECT refusal('UPDATE twice t SET v = 1 FROM (SELECT id FROM twice WHERE {chunk} FOR UPDATE) s WHERE s.id = t.id AND {chunk:t}', 'twice');
SELECT refusal('INSERT INTO copied SELECT y.id, x.v FROM twice x JOIN twice y ON y.parent = x.id WHERE {chunk:x}', 'twice');
SELECT refusal('WITH c AS (SELECT id FROM twice WHERE {chunk}) INSERT INTO copied SELECT id, (SELECT count(*) FROM twice) FROM c', 'twice');
SELECT refusal('INSERT INTO copied SELECT id, v FROM twice WHERE {chunk} UNION ALL SELECT id, v FROM twice WHERE {chunk}', 'twice');
SELECT refusal('UPDATE twice_view SET v = 1 WHERE {chunk}', 'twice_view', 'number');
SELECT refusal('WITH c AS (SELECT id FROM twice WHERE {chunk}) UPDATE twice t SET v = 1 FROM c WHERE t.id = c.id', 'twice');
SELECT refusal('UPDATE twice SET v = 1 WHERE id IN (SELECT id FROM twice x WHERE {chunk:x})', 'twice');
SELECT refusal('INSERT INTO copied SELECT b.id, b.v FROM (SELECT * FROM twice WHERE {chunk}) a JOIN twice b ON b.id = a.id', 'twice');
SELECT refusal('WITH total AS (SELECT * FROM twice) UPDATE twice t SET v = (SELECT count(*) FROM total) WHERE {chunk:t}', 'twice');
SELECT refusal('UPDATE twice t SET v = 1 FROM twice_view WHERE twice_view.number = t.id AND t.v = 0 AND {chunk:twice_view}', 'twice_view', 'number');
SELECT refusal('SELECT FROM twice x JOIN twice y USING (id) WHERE {chunk}', 'twice');

--
-- What would leave out rows of a chunk
--
SELECT refusal('WITH b AS (SELECT id FROM twice WHERE {chunk} LIMIT 10) UPDATE twice t SET v = 1 FROM b WHERE t.id = b.id AND {chunk:t}', 'twice');
SELECT refusal('INSERT INTO copied SELECT id, v FROM twice WHERE {chunk} OFFSET 1', 'twice');
SELECT refusal('INSERT INTO copied SELECT * FROM (SELECT id, v FROM twice WHERE {chunk}) s LIMIT 5', 'twice');
SELECT refusal('UPDATE twice SET v = 1 WHERE id IN (SELECT id FROM twice x WHERE {chunk:x} FOR UPDATE SKIP LOCKED) AND {chunk:twice}', 'twice');
SELECT refusal('WITH x AS (SELECT id FROM twice WHERE {chunk}) INSERT INTO copied SELECT x.id, 1 FROM x LIMIT 3', 'twice');
SELECT refusal('WITH x AS (SELECT id FROM twice WHERE {chunk}), y AS (SELECT id FROM x LIMIT 5) UPDATE twice t SET v = 1 FROM y WHERE y.id = t.id AND {chunk:t}', 'twice');
SELECT refusal('WITH x AS (SELECT id FROM twice WHERE {chunk}), y AS (SELECT t.id FROM twice t JOIN x ON x.id = t.id FOR UPDATE OF t SKIP LOCKED) UPDATE twice t SET v = 1 FROM y WHERE y.id = t.id AND {chunk:t}', 'twice');
-- and what would not
SELECT refusal('UPDATE copied SET v = 1 WHERE EXISTS (SELECT FROM twice WHERE {chunk} AND twice.id = copied.id LIMIT 1)', 'twice');
SELECT refusal('INSERT INTO copied SELECT id, v FROM twice WHERE {chunk} LIMIT ALL', 'twice');
SELECT refusal('INSERT INTO copied SELECT id, (SELECT c.v FROM copied c WHERE c.id = t.id LIMIT 1) FROM twice t WHERE {chunk:t}', 'twice');
SELECT refusal('UPDATE twice SET v = 1 WHERE EXISTS (SELECT FROM copied c WHERE c.id = twice.id AND {chunk:twice} LIMIT 1)', 'twice');
SELECT refusal('INSERT INTO copied SELECT max(id), count(*) FROM twice WHERE {chunk} GROUP BY v', 'twice');
-- names that {chunk} makes ambiguous, or an alias that is not there
SELECT refusal('UPDATE twice t SET v = 1 FROM copied c WHERE c.id = t.id AND {chunk}', 'twice');
SELECT refusal('UPDATE twice AS "T" SET v = 1 WHERE {chunk:T}', 'twice');
SELECT refusal('UPDTE twice SET v = 1 WHERE {chunk}', 'twice'), refusal('UPDATE twice SET v = 1 {chunk}', 'twice');
--
-- Rows that the job's filter leaves out
--
CREATE FUNCTION unfiltered(statement text, filter text, args jsonb DEFAULT NULL, relation text DEFAULT 'twice', key text DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	outcome text := pg_temp.failure(format('SELECT chunked.create_job(%L, %L, name => ''refused'', filter => %L, args => %L, key => %L)', relation, statement, filter, args, key));
BEGIN
	IF outcome = 'no error' THEN
		PERFORM chunked.drop_job('refused');
	END IF;
	RETURN split_part(outcome, E'\n', 1);
END
$$;
SELECT unfiltered('DELETE FROM twice WHERE {chunk}', 'v = 7');
SELECT unfiltered('DELETE FROM twice WHERE v = 8 AND {chunk}', 'v = 7');
SELECT unfiltered('DELETE FROM twice WHERE (v = 7 OR v = 8) AND {chunk}', 'v = 7');
SELECT unfiltered('DELETE FROM twice WHERE v >= 7 AND {chunk}', 'v > 7');
SELECT unfiltered('DELETE FROM twice WHERE v = 7 AND {chunk}', 'v = 7 AND parent IS NULL');
SELECT unfiltered('UPDATE twice SET v = CASE v WHEN 7 THEN 8 ELSE v END WHERE {chunk}', 'v = 7');
SELECT unfiltered('UPDATE twice t SET v = 1 FROM twice o WHERE o.v = 7 AND o.id = t.id AND {chunk:t}', 'v = 7');
SELECT unfiltered('DELETE FROM twice USING (SELECT id FROM twice WHERE v = 7) s WHERE s.id = twice.id AND {chunk:twice}', 'v = 7');
SELECT unfiltered('INSERT INTO copied SELECT id, v FROM twice WHERE v = 7 AND {chunk} UNION ALL SELECT id, v FROM twice WHERE {chunk}', 'v = 7');
SELECT unfiltered('DELETE FROM twice WHERE v = 8 AND {chunk}', 'v = $1', '[7]');
SELECT unfiltered('DELETE FROM twice WHERE v = 7 AND {chunk}', 'v = $1', '[null]');
-- and those that it does not: the same conditions, stronger ones, on the same rows by another name
SELECT unfiltered('DELETE FROM twice WHERE v = 7 AND {chunk}', 'v = 7');
SELECT unfiltered('DELETE FROM twice WHERE {chunk} AND twice.v IN (7) AND parent IS NULL', 'v = 7');
SELECT unfiltered('DELETE FROM twice t WHERE t.v = 7 AND {chunk:t}', 'twice.v = 7');
SELECT unfiltered('DELETE FROM twice WHERE v > 8 AND {chunk}', 'v > 7');
SELECT unfiltered('DELETE FROM twice WHERE v = 7 AND {chunk}', 'v = 7 OR v = 8');
SELECT unfiltered('DELETE FROM twice WHERE v = 7 AND {chunk}', 'v = $1', '["7"]');
SELECT unfiltered('DELETE FROM twice WHERE v = ANY (''{7,8}'') AND {chunk}', 'v = ANY ($1)', '[[7, 8]]');
SELECT unfiltered('DELETE FROM twice WHERE now() > ''2020-01-01'' AND {chunk}', 'now() > ''2020-01-01''');
SELECT unfiltered('DELETE FROM twice WHERE v IN (SELECT v FROM copied) AND {chunk}', 'v IN (SELECT v FROM copied)');
SELECT unfiltered('UPDATE copied c SET v = 1 FROM twice t WHERE t.v = 7 AND t.id = c.id AND {chunk:t}', 'v = 7');
SELECT unfiltered('INSERT INTO copied SELECT t.id, t.v FROM twice t JOIN copied c ON c.id = t.id AND t.v = 7 AND {chunk:t}', 'v = 7');
SELECT unfiltered('WITH s AS (SELECT id FROM twice WHERE v = 7 AND {chunk}) UPDATE copied c SET v = 1 FROM s WHERE s.id = c.id', 'v = 7');
SELECT unfiltered('MERGE INTO copied c USING (SELECT * FROM twice WHERE v = 7 AND {chunk}) t ON t.id = c.id WHEN MATCHED THEN DELETE', 'v = 7');
SELECT unfiltered('MERGE INTO twice t USING copied c ON t.id = c.id AND t.v = 7 AND {chunk:t} WHEN MATCHED THEN DELETE', 'v = 7');
SELECT unfiltered('UPDATE twice_view SET v = 1 WHERE v = 7 AND {chunk}', 'v = 7', relation => 'twice_view', key => 'number');
SELECT unfiltered('DELETE FROM twice WHERE {chunk}', 'true');
SELECT unfiltered('DELETE FROM twice WHERE {chunk} AND NULL::bool', 'NULL::bool'), unfiltered('DELETE FROM twice WHERE {chunk} AND false', 'v = 7');
SELECT unfiltered('MERGE INTO copied c USING twice t ON c.id = t.id AND t.v = 7 AND {chunk:t} AND EXISTS (SELECT FROM twice o WHERE {chunk:o} AND o.v = 7) WHEN NOT MATCHED THEN INSERT VALUES (t.id, t.v)', 'v = 7');
SELECT unfiltered('MERGE INTO copied c USING (SELECT * FROM twice WHERE v = 7 AND {chunk}) t ON t.id = c.id WHEN NOT MATCHED THEN INSERT VALUES (t.id, t.v)', 'v = 7');
SELECT refusal('MERGE INTO copied c USING twice t ON c.id = t.id AND {chunk:t} AND EXISTS (SELECT FROM twice o WHERE {chunk:o}) WHEN NOT MATCHED THEN INSERT VALUES (t.id, t.v)', 'twice');
\set VERBOSITY default
SELECT chunked.create_job('twice', 'DELETE FROM twice WHERE {chunk}', filter => 'v = $1', args => '[7]');
SELECT count(*) AS left_over FROM chunked.jobs WHERE name = 'refused';
SELECT count(chunked.drop_job(name)) > 0 AS dropped FROM chunked.jobs;
DROP SCHEMA statement_check_test, statement_check_else CASCADE;
