-- Estimates: how far the sizes of chunks and the counts of rows are from what is there.
\getenv srcdir PG_ABS_SRCDIR
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS estimate_test CASCADE;
RESET client_min_messages;
CREATE SCHEMA estimate_test;
SET search_path = estimate_test;

-- The rows of each chunk, counted, against the size wanted (all but the last, which is
-- the rest) and against row_count: what 95 of 100 chunks are within, as a fraction.
CREATE FUNCTION off(relation regclass, call text, wanted numeric, OUT rows bigint, OUT chunks bigint, OUT size numeric, OUT row_count numeric) LANGUAGE plpgsql AS $$
DECLARE
	chunk chunked.chunk;
	counted bigint;
	sizes numeric[];
	counts numeric[];
BEGIN
	rows := 0;
	chunks := 0;
	FOR chunk IN EXECUTE 'SELECT * FROM ' || call LOOP
		EXECUTE format('SELECT count(*) FROM %s WHERE %s', relation, chunk.predicate) INTO counted;
		rows := rows + counted;
		chunks := chunks + 1;
		sizes := sizes || abs(counted / wanted - 1);
		counts := counts || abs(chunk.row_count / greatest(counted, 1)::numeric - 1);
	END LOOP;
	SELECT percentile_disc(0.95) WITHIN GROUP (ORDER BY o) INTO size FROM unnest(sizes[:chunks - 1]) o;
	SELECT percentile_disc(0.95) WITHIN GROUP (ORDER BY o) INTO row_count FROM unnest(counts[:chunks - 1]) o;
END
$$;

--
-- Rows that share posting lists
--
CREATE TABLE shared (kind int NOT NULL, part int NOT NULL) WITH (autovacuum_enabled = off);
INSERT INTO shared SELECT i % 500, i % 4 FROM generate_series(1, 200000) i;
CREATE INDEX ON shared (kind);
CREATE INDEX ON shared (kind DESC, part);
VACUUM ANALYZE shared;
SELECT key, chunked.row_count('shared', false, key) BETWEEN 190000 AND 210000 AS counted
FROM unnest(ARRAY['kind', 'kind DESC', 'kind DESC, part']) key;
SELECT key, rows, chunks BETWEEN 45 AND 55 AS about, size < 0.25 AS sized, row_count < 0.25 AS counted
FROM unnest(ARRAY['kind', 'kind DESC', 'kind DESC, part']) key, LATERAL off('shared', format('chunked.chunks(''shared'', 4000, false, key => %L)', key), 4000);
SELECT key, rows, chunks, size < 0.25 AS sized, row_count < 0.25 AS counted
FROM unnest(ARRAY['kind', 'kind DESC']) key, LATERAL off('shared', format('chunked.split(''shared'', 20, key => %L)', key), 10000);
-- half of them deleted, not yet vacuumed
DELETE FROM shared WHERE part < 2;
SELECT chunked.row_count('shared', false, 'kind') BETWEEN 70000 AND 130000 AS counted;
-- more rows than a chunk has share a value: they make one chunk, with a warning
CREATE TABLE tied (kind int NOT NULL) WITH (autovacuum_enabled = off);
INSERT INTO tied SELECT i / 40000 FROM generate_series(0, 199999) i;
CREATE INDEX ON tied (kind);
VACUUM ANALYZE tied;
SELECT number, upto, row_count BETWEEN 38000 AND 42000 AS counted FROM chunked.chunks('tied', 2000, false, key => 'kind');

--
-- Text whose length depends on its beginning: some pages hold three times the rows of others
--
CREATE TABLE lengths (id text COLLATE "C" PRIMARY KEY) WITH (autovacuum_enabled = off);
INSERT INTO lengths SELECT format('%s/%s%s', to_char(i % 300, 'FM000'), repeat('x', abs(hashint4(i % 300)) % 5 * 40), i) FROM generate_series(1, 100000) i ORDER BY 1;
VACUUM ANALYZE lengths;
SELECT rows, chunks, size < 0.25 AS sized, row_count < 0.25 AS counted FROM off('lengths', 'chunked.split(''lengths'', 50)', 2000);
SELECT rows, chunks, size < 0.25 AS sized, row_count < 0.25 AS counted FROM off('lengths', 'chunked.split(''lengths'', 50, key => ''id DESC'')', 2000);
SELECT rows, size < 0.25 AS sized FROM off('lengths', 'chunked.chunks(''lengths'', 2000, false)', 2000);
-- with a column of the same size after each
CREATE TABLE included (id text COLLATE "C", n bigint, UNIQUE (id) INCLUDE (n)) WITH (autovacuum_enabled = off);
INSERT INTO included SELECT id, 1 FROM lengths ORDER BY 1;
ALTER TABLE included ALTER id SET NOT NULL;
VACUUM ANALYZE included;
SELECT rows, chunks, size < 0.25 AS sized, row_count < 0.25 AS counted FROM off('included', 'chunked.split(''included'', 50, key => ''id'')', 2000);

--
-- Numbers: bulk-loaded, and after random changes
--
CREATE TABLE loaded (id bigint PRIMARY KEY) WITH (autovacuum_enabled = off);
INSERT INTO loaded SELECT generate_series(1, 100000);
CREATE TABLE changed (id bigint PRIMARY KEY) WITH (autovacuum_enabled = off);
INSERT INTO changed SELECT hashint8extended(i, 1) FROM generate_series(1, 100000) i;
DELETE FROM changed WHERE abs(hashint8(id)) % 5 < 2;
VACUUM changed;
INSERT INTO changed SELECT hashint8extended(i, 2) FROM generate_series(1, 20000) i;
VACUUM ANALYZE loaded, changed;
SELECT rows, chunks, size < 0.1 AS sized, row_count < 0.1 AS counted FROM off('loaded', 'chunked.split(''loaded'', 20)', 5000);
SELECT rows = (SELECT count(*) FROM changed) AS whole, chunks, size < 0.3 AS sized FROM off('changed', 'chunked.split(''changed'', 10)', (SELECT count(*) / 10.0 FROM changed));

--
-- Hash partitions, all of which overlap each other
--
CREATE TABLE hashed (id int PRIMARY KEY) PARTITION BY HASH (id);
SELECT format('CREATE TABLE hashed_%s PARTITION OF hashed FOR VALUES WITH (MODULUS 100, REMAINDER %1$s)', i) FROM generate_series(0, 99) i
\gexec
INSERT INTO hashed SELECT generate_series(1, 100000);
VACUUM ANALYZE hashed;
SELECT chunked.row_count('hashed', false) BETWEEN 95000 AND 105000 AS counted;
-- the keys are 1, 2, ..., so that their difference is a chunk's rows
SELECT call, count(*) BETWEEN 0.8 * 100000 / wanted AND 1.2 * 100000 / wanted + 1 AS about, sum(rows) AS rows,
	percentile_disc(0.95) WITHIN GROUP (ORDER BY abs(rows / wanted - 1)) < 0.5 AS sized,
	percentile_disc(0.95) WITHIN GROUP (ORDER BY abs(row_count / rows - 1)) < 0.5 AS counted
FROM (SELECT 'split' AS call, 1000.0 AS wanted, row_count, ((upto->>'id')::int - coalesce((after->>'id')::int, 0))::numeric AS rows FROM chunked.split('hashed', 100)
	UNION ALL SELECT 'chunks', 2000, row_count, (upto->>'id')::int - coalesce((after->>'id')::int, 0) FROM chunked.chunks('hashed', 2000, false)
	UNION ALL SELECT 'chunks backwards', 2000, row_count, coalesce((after->>'id')::int, 100001) - (upto->>'id')::int FROM chunked.chunks('hashed', 2000, false, key => 'id DESC')) c
GROUP BY call, wanted ORDER BY call;
-- within a range
SELECT count(*) BETWEEN 18 AND 22 AS about, min(after->>'id') FILTER (WHERE number = 1), max((upto->>'id')::int)
FROM chunked.chunks('hashed', 2000, false, '{"id": 30000}', '{"id": 70000}');

--
-- The high-water mark, read off the indexes: what a query says it is
--
CREATE TABLE piece (a int, b text, id int, PRIMARY KEY (a, id)) PARTITION BY LIST (a);
CREATE TABLE piece_1 PARTITION OF piece FOR VALUES IN (1, 4);
CREATE TABLE piece_2 PARTITION OF piece FOR VALUES IN (2) PARTITION BY RANGE (id);
CREATE TABLE piece_2_low PARTITION OF piece_2 FOR VALUES FROM (0) TO (1000);
CREATE TABLE piece_2_high PARTITION OF piece_2 FOR VALUES FROM (1000) TO (100000);
CREATE TABLE piece_3 PARTITION OF piece FOR VALUES IN (3);
INSERT INTO piece SELECT 1 + i % 4, md5(i::text), i FROM generate_series(1, 20000) i;
DELETE FROM piece WHERE id > 19000 OR (a = 4 AND id > 500) OR id < 100;
CREATE INDEX ON piece (id DESC, a);
CREATE FUNCTION ends(relation regclass, key text, after jsonb, upto jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	direct text;
	by_query text;
BEGIN
	SET LOCAL pg_chunked.native = on;
	SELECT string_agg(c.upto::text, ' ' ORDER BY number DESC) INTO direct FROM chunked.chunks(relation, 100000, after => ends.after, upto => ends.upto, key => ends.key) c;
	SET LOCAL pg_chunked.native = off;
	SELECT string_agg(c.upto::text, ' ' ORDER BY number DESC) INTO by_query FROM chunked.chunks(relation, 100000, after => ends.after, upto => ends.upto, key => ends.key) c;
	SET LOCAL pg_chunked.native = on;
	RETURN CASE WHEN direct IS DISTINCT FROM by_query THEN format('%s, but %s by query', direct, by_query) ELSE coalesce(direct, 'none') END;
END
$$;
SELECT key, after, upto, ends('piece', key, after, upto) FROM (VALUES ('a, id'), ('a DESC, id DESC'), ('id DESC, a'), ('id, a DESC')) k (key),
	(VALUES (NULL::jsonb, NULL::jsonb), (NULL, '{"a": 2, "id": 1000}'), (NULL, '{"a": 2, "id": 1001}'), ('{"a": 4, "id": 470}', NULL), ('{"a": 1, "id": 18998}', '{"a": 3, "id": 7}'),
	('{"a": 3, "id": 18999}', '{"a": 3, "id": 18999}'), (NULL, '{"a": 0, "id": 0}'), ('{"a": 9, "id": 90000}', NULL), (NULL, '{"a": 9, "id": 90000}')) r (after, upto)
ORDER BY key, after, upto;

SET client_min_messages = warning;
DROP SCHEMA estimate_test CASCADE;
