-- Exact boundaries, counts and ranks of partitioned tables: off the leaf pages of
-- all partitions, one after the other or merged, with the results of queries.
\set VERBOSITY sqlstate
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS partition_counts_test CASCADE;
RESET client_min_messages;
CREATE SCHEMA partition_counts_test;
SET search_path = partition_counts_test;
SET extra_float_digits = 0;

-- what chunks(), seek(), row_count() and split() give, read directly; and by queries, if that is something else
CREATE FUNCTION answers(relation regclass, key text, chunk_size int, after jsonb DEFAULT NULL, upto jsonb DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	given text[];
	rows bigint;
BEGIN
	EXECUTE format('SELECT count(*) FROM %s', relation) INTO rows;
	FOR native IN 0 .. 1 LOOP
		PERFORM set_config('pg_chunked.native', native::text, true);
		given[native] := concat_ws(' ',
			(SELECT concat(count(*), ' chunks ', sum(row_count), ' rows ', md5(string_agg(concat(c.after, c.upto, c.row_count, c.predicate), ',' ORDER BY number)))
			 FROM chunked.chunks(relation, chunk_size, after => after, upto => upto, key => key) c),
			(SELECT concat('split ', md5(string_agg(concat(c.upto, c.row_count), ',' ORDER BY number))) FROM chunked.split(relation, 7, true, key => key) c),
			(SELECT concat('seek ', md5(string_agg(chunked.seek(relation, rank, key => key)::text, ',' ORDER BY rank)))
			 FROM generate_series(1, rows + 1, greatest(rows / 5, 1)) rank),
			chunked.row_count(relation, key => key), chunked.bounds(relation, key));
	END LOOP;
	PERFORM set_config('pg_chunked.native', 'on', true);
	IF given[1] = given[0] THEN
		RETURN regexp_replace(given[1], ' [0-9a-f]{32}', '', 'g');
	END IF;
	RETURN concat(given[1], ', but ', given[0], ' by query');
END
$$;

-- how often queries of this session began to scan an index of the tables below this one, which direct reads do not
CREATE FUNCTION index_scans(relation regclass) RETURNS bigint LANGUAGE sql AS $$
	SELECT sum(pg_stat_get_xact_numscans(indexrelid)) FROM pg_partition_tree(relation) t JOIN pg_index i ON i.indrelid = t.relid
$$;

-- how many partitions of it are locked
CREATE FUNCTION locked(relation regclass) RETURNS bigint LANGUAGE sql AS $$
	SELECT count(DISTINCT l.relation) FROM pg_locks l JOIN pg_inherits i ON i.inhrelid = l.relation AND i.inhparent = $1 WHERE pid = pg_backend_pid()
$$;

--
-- By ranges, lists, hashes; two levels; with gaps and a default partition, which has rows between others
--
CREATE TABLE ranges (a int, b int, PRIMARY KEY (a, b)) PARTITION BY RANGE (a);
SELECT format('CREATE TABLE ranges_%s PARTITION OF ranges FOR VALUES FROM (%s) TO (%s)', i, i * 100, i * 100 + 100) FROM generate_series(0, 39) i
\gexec
INSERT INTO ranges SELECT i, i % 7 FROM generate_series(0, 3999) i WHERE i NOT BETWEEN 500 AND 1499;
CREATE TABLE gaps (a int, b int, PRIMARY KEY (a, b)) PARTITION BY RANGE (a);
CREATE TABLE gaps_1 PARTITION OF gaps FOR VALUES FROM (100) TO (200);
CREATE TABLE gaps_2 PARTITION OF gaps FOR VALUES FROM (200) TO (300) PARTITION BY HASH (b);
CREATE TABLE gaps_2_0 PARTITION OF gaps_2 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE gaps_2_1 PARTITION OF gaps_2 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE gaps_3 PARTITION OF gaps FOR VALUES FROM (700) TO (MAXVALUE);
CREATE TABLE gaps_rest PARTITION OF gaps DEFAULT PARTITION BY LIST (b);
CREATE TABLE gaps_rest_1 PARTITION OF gaps_rest FOR VALUES IN (1, 3);
CREATE TABLE gaps_rest_2 PARTITION OF gaps_rest DEFAULT;
INSERT INTO gaps SELECT i, j FROM generate_series(0, 999) i, generate_series(0, 3) j;
CREATE TABLE pairs (a int, b int, PRIMARY KEY (a, b)) PARTITION BY RANGE (a, b);
CREATE TABLE pairs_1 PARTITION OF pairs FOR VALUES FROM (MINVALUE, MINVALUE) TO (2, 100);
CREATE TABLE pairs_2 PARTITION OF pairs FOR VALUES FROM (2, 100) TO (2, 700);
CREATE TABLE pairs_3 PARTITION OF pairs FOR VALUES FROM (2, 700) TO (3, MAXVALUE);
CREATE TABLE pairs_4 PARTITION OF pairs FOR VALUES FROM (3, MAXVALUE) TO (MAXVALUE, MAXVALUE);
INSERT INTO pairs SELECT i % 5, i FROM generate_series(0, 3999) i;
CREATE TABLE lists (a int, b int) PARTITION BY LIST (a);
CREATE TABLE lists_1 PARTITION OF lists FOR VALUES IN (4);
CREATE TABLE lists_2 PARTITION OF lists FOR VALUES IN (NULL);
CREATE TABLE lists_3 PARTITION OF lists FOR VALUES IN (1) PARTITION BY RANGE (b);
CREATE TABLE lists_3_low PARTITION OF lists_3 FOR VALUES FROM (MINVALUE) TO (1500);
CREATE TABLE lists_3_high PARTITION OF lists_3 FOR VALUES FROM (1500) TO (MAXVALUE);
CREATE TABLE lists_4 PARTITION OF lists FOR VALUES IN (0, 2);
CREATE TABLE lists_rest PARTITION OF lists DEFAULT;
CREATE UNIQUE INDEX ON lists (a, b) NULLS NOT DISTINCT;
CREATE UNIQUE INDEX ON lists (a NULLS FIRST, b) NULLS NOT DISTINCT;
INSERT INTO lists SELECT nullif(i % 7, 6), i FROM generate_series(1, 3500) i;
-- no partition in the middle of another's values
CREATE TABLE blocks (a int, b int, PRIMARY KEY (a, b)) PARTITION BY LIST (a);
CREATE TABLE blocks_1 PARTITION OF blocks FOR VALUES IN (6, 7, 8);
CREATE TABLE blocks_2 PARTITION OF blocks FOR VALUES IN (1, 3, 4);
INSERT INTO blocks SELECT (ARRAY[1, 3, 4, 6, 7, 8])[1 + i % 6], i FROM generate_series(1, 3000) i;
CREATE TABLE hashes (a int, b int, PRIMARY KEY (a, b)) PARTITION BY HASH (a, b);
SELECT format('CREATE TABLE hashes_%s PARTITION OF hashes FOR VALUES WITH (MODULUS 23, REMAINDER %1$s)', i) FROM generate_series(0, 22) i
\gexec
INSERT INTO hashes SELECT i / 3, i % 3 FROM generate_series(0, 8999) i;
CREATE INDEX ON hashes (b DESC, a);
CREATE TABLE hash_range (a int, b int, PRIMARY KEY (a, b)) PARTITION BY HASH (b);
CREATE TABLE hash_range_0 PARTITION OF hash_range FOR VALUES WITH (MODULUS 2, REMAINDER 0) PARTITION BY RANGE (a);
CREATE TABLE hash_range_0_low PARTITION OF hash_range_0 FOR VALUES FROM (MINVALUE) TO (500);
CREATE TABLE hash_range_0_high PARTITION OF hash_range_0 FOR VALUES FROM (500) TO (MAXVALUE);
CREATE TABLE hash_range_1 PARTITION OF hash_range FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO hash_range SELECT i, i % 11 FROM generate_series(0, 2999) i;
CREATE TABLE hollow (a int, b int, PRIMARY KEY (a, b)) PARTITION BY HASH (a);
CREATE TABLE hollow_0 PARTITION OF hollow FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE hollow_1 PARTITION OF hollow FOR VALUES WITH (MODULUS 2, REMAINDER 1);

CREATE TABLE cases (relation regclass, keys text[]);
INSERT INTO cases VALUES
	('ranges', '{"a, b","a DESC, b DESC"}'), ('gaps', '{"a, b","a DESC, b DESC"}'), ('pairs', '{"a, b","a DESC, b DESC"}'),
	('lists', '{"a, b","a NULLS FIRST, b","a DESC, b DESC","a DESC NULLS LAST, b DESC"}'), ('blocks', '{"a, b","a DESC, b DESC"}'),
	('hashes', '{"a, b","a DESC, b DESC","b DESC, a","b, a DESC"}'), ('hash_range', '{"a, b","a DESC, b DESC"}'), ('hollow', '{"a, b"}');
SELECT relation, key, chunk_size, answers(relation, key, chunk_size) FROM cases, unnest(keys) key, unnest('{40,333}'::int[]) chunk_size;

-- bounded, from within a partition and a gap, to within another
SELECT relation, key, answers(relation, key, 100, CASE WHEN key ~ 'DESC' THEN upper ELSE lower END, CASE WHEN key ~ 'DESC' THEN lower ELSE upper END)
FROM cases, unnest(keys) key, (VALUES ('{"a": "3", "b": "20"}'::jsonb, '{"a": "750", "b": "2"}'::jsonb)) r (lower, upper) WHERE key ~ '^a';

-- deleted, inserted by this transaction, vacuumed
BEGIN;
DELETE FROM ranges WHERE a % 3 = 0 OR a BETWEEN 2000 AND 2600;
DELETE FROM gaps WHERE b = 1 OR a BETWEEN 150 AND 260;
DELETE FROM hashes WHERE a % 5 <> 0;
INSERT INTO hashes SELECT i, 5 FROM generate_series(1, 5000, 7) i;
SELECT relation, key, answers(relation, key, 100) FROM cases, unnest(keys) key WHERE relation IN ('ranges'::regclass, 'gaps', 'hashes');
COMMIT;
VACUUM ranges, gaps, hashes;
SELECT relation, key, answers(relation, key, 100) FROM cases, unnest(keys) key WHERE relation IN ('ranges'::regclass, 'gaps', 'hashes');

--
-- Without a query, and with no more partitions opened than needed
--
\c -
SET search_path = partition_counts_test;
SELECT relation, (SELECT count(*) > 0 FROM chunked.chunks(relation, 100, key => keys[1])) AS chunks, chunked.seek(relation, 100, key => keys[1]) IS NOT NULL AS seek,
	chunked.row_count(relation, key => keys[1]) > 0 AS rows, index_scans(relation)
FROM cases;

BEGIN;
SELECT row_count, locked('ranges') FROM chunked.next_chunk('ranges', 90, after => '{"a": "1600", "b": "4"}', upto => '{"a": "1999", "b": "4"}');
ROLLBACK;
BEGIN;
SELECT chunked.seek('ranges', 10), locked('ranges');
ROLLBACK;
SELECT chunked.create_job('ranges', name => 'ranges', chunk_size => 10);
BEGIN;
SELECT number, locked('ranges') FROM chunked.claim_chunk('ranges');
ROLLBACK;
SELECT chunked.drop_job('ranges');

--
-- Where reading one of them is not sound: by query
--
-- (a partition's policies do not count when it is read through its parent)
BEGIN;
ALTER TABLE gaps_rest_2 ENABLE ROW LEVEL SECURITY;
ALTER TABLE gaps_rest_2 FORCE ROW LEVEL SECURITY;
SELECT count(*), sum(row_count), index_scans('gaps') FROM chunked.chunks('gaps', 100);
ROLLBACK;
BEGIN;
UPDATE pg_index SET indisvalid = false WHERE indrelid = 'gaps_3'::regclass;
SELECT count(*), sum(row_count), index_scans('gaps') > 0 AS by_query FROM chunked.chunks('gaps', 100);
SELECT chunked.row_count('gaps'), chunked.seek('gaps', 2000);
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT count(*), sum(row_count), index_scans('hashes') > 0 AS by_query FROM chunked.chunks('hashes', 100);
COMMIT;

-- partitions come and go
BEGIN;
ALTER TABLE ranges DETACH PARTITION ranges_20;
SELECT answers('ranges', 'a, b', 100);
ALTER TABLE ranges ATTACH PARTITION ranges_20 FOR VALUES FROM (2000) TO (2100);
DROP TABLE ranges_39;
SELECT answers('ranges', 'a, b', 100);
TRUNCATE ranges_3;
SELECT answers('ranges', 'a DESC, b DESC', 100);
ROLLBACK;

-- a cursor's chunks, some found ahead: the transaction's own changes do not show, nor does it matter what a savepoint took back
BEGIN;
DECLARE found CURSOR FOR SELECT number, row_count FROM (SELECT (chunked.chunks('hashes', 200)).*) c;
FETCH 2 FROM found;
DELETE FROM hashes;
SAVEPOINT later;
FETCH 3 FROM found;
ROLLBACK TO later;
FETCH ALL FROM found;
ROLLBACK;

SET client_min_messages = warning;
DROP SCHEMA partition_counts_test CASCADE;
