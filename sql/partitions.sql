-- Walks of partitioned tables: one partition after the other, in the key's order,
-- and none of them opened that is not at hand.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/failure.sql
\set ECHO all
\set VERBOSITY sqlstate
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS partitions_test CASCADE;
RESET client_min_messages;
CREATE SCHEMA partitions_test;
SET search_path = partitions_test;

-- All rows by pages, forwards and backwards, and by next_chunk(), against ORDER BY, by queries
-- and without; or what is wrong.  The rows are told apart by their ids.
CREATE FUNCTION walked(relation regclass, page_size int, key text, order_by text, filter text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	native text;
	wanted text[];
	seen text[];
	found text[];
	pages int;
	place jsonb;
	chunk chunked.chunk;
	page text := format('SELECT array_agg(p.id::text ORDER BY n), (array_agg(p.place ORDER BY n))[1], (array_agg(p.place ORDER BY n DESC))[1]'
		' FROM (SELECT e.id, row_number() OVER () AS n, chunked.position_of(e, $4) AS place'
		' FROM chunked.page(NULL::%s, $1, after => $2, before => $3, key => $4, filter => $5) e) p', relation);
	first jsonb;
	last jsonb;
BEGIN
	EXECUTE format('SELECT coalesce(array_agg(id::text ORDER BY %s), ''{}'') FROM %s WHERE %s', order_by, relation, coalesce(filter, 'true')) INTO wanted;
	FOREACH native IN ARRAY '{on,off}'::text[] LOOP
		PERFORM set_config('pg_chunked.native', native, true);
		seen := '{}';
		place := NULL;
		pages := 0;
		LOOP
			EXECUTE page INTO found, first, last USING page_size, place, NULL::jsonb, key, filter;
			EXIT WHEN found IS NULL;
			pages := pages + 1;
			seen := seen || found;
			place := last;
		END LOOP;
		IF seen <> wanted THEN
			RETURN format('native %s, forwards %s, not %s', native, seen, wanted);
		END IF;

		seen := '{}';
		place := '{}';
		LOOP
			EXECUTE page INTO found, first, last USING page_size, NULL::jsonb, place, key, filter;
			EXIT WHEN found IS NULL;
			seen := found || seen;
			place := first;
		END LOOP;
		IF seen <> wanted THEN
			RETURN format('native %s, backwards %s, not %s', native, seen, wanted);
		END IF;

		seen := '{}';
		place := NULL;
		LOOP
			SELECT * INTO chunk FROM chunked.next_chunk(relation, page_size, after => place, key => key, filter => filter);
			EXIT WHEN chunk.upto IS NULL;
			EXECUTE format('SELECT array_agg(e.id::text) FROM chunked.page(NULL::%s, 1000000, after => $1, upto => $2, key => $3, filter => $4) e', relation)
				INTO found USING chunk.after, chunk.upto, key, filter;
			seen := seen || found;
			place := chunk.upto;
		END LOOP;
		IF seen <> wanted THEN
			RETURN format('native %s, chunks %s, not %s', native, seen, wanted);
		END IF;
	END LOOP;
	RETURN format('%s rows in %s pages', cardinality(wanted), pages);
END $$;

-- The partitions that this transaction has locked
CREATE FUNCTION locked(parent regclass) RETURNS text LANGUAGE sql BEGIN ATOMIC
	WITH RECURSIVE parts AS (
		SELECT inhrelid FROM pg_inherits WHERE inhparent = parent
		UNION ALL SELECT i.inhrelid FROM pg_inherits i JOIN parts p ON i.inhparent = p.inhrelid
	)
	SELECT string_agg(c.relname, ' ' ORDER BY c.relname) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
	WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND c.oid IN (TABLE parts);
END;

--
-- Ranges: with a gap, and columns in another order in one of them
--
CREATE TABLE event (at int NOT NULL, id int NOT NULL, gone text, kind text, PRIMARY KEY (at, id)) PARTITION BY RANGE (at);
CREATE TABLE event_1 PARTITION OF event FOR VALUES FROM (MINVALUE) TO (10);
CREATE TABLE event_2 (kind text, old int, id int NOT NULL, gone text, at int NOT NULL);
ALTER TABLE event_2 DROP COLUMN old;
ALTER TABLE event ATTACH PARTITION event_2 FOR VALUES FROM (10) TO (20);
ALTER TABLE event DROP COLUMN gone;
CREATE TABLE event_3 PARTITION OF event FOR VALUES FROM (20) TO (30);
CREATE TABLE event_5 PARTITION OF event FOR VALUES FROM (40) TO (50);
CREATE TABLE event_6 PARTITION OF event FOR VALUES FROM (50) TO (MAXVALUE);
INSERT INTO event SELECT at, at * 10 + i, 'kind ' || i FROM generate_series(0, 59) at, generate_series(0, 2) i WHERE at NOT BETWEEN 30 AND 39;
SELECT page_size, key, walked('event', page_size, key, order_by, filter)
FROM (VALUES ('at, id', 'at, id'), ('at DESC, id DESC', 'at DESC, id DESC'), ('at DESC, id', 'at DESC, id'), ('at, id DESC', 'at, id DESC'),
	('id', 'id'), ('kind, at, id', 'kind COLLATE "C", at, id')) k (key, order_by),
	(VALUES (9, NULL), (30, 'event.at % 3 = 0 AND (event).id > 5'), (4, 'at BETWEEN 17 AND 22')) p (page_size, filter)
ORDER BY key, page_size;

-- where rows come from, and as what: the parent's row type
SELECT e, chunked.position_of(e) FROM chunked.page(NULL::event, 4, after => '{"at": 9, "id": 91}') e;
SELECT e.id FROM chunked.page(NULL::event, filter => $$tableoid = 'event_2'::regclass AND ctid = '(0,2)'$$) e;
CREATE FUNCTION is_third(event) RETURNS boolean LANGUAGE sql RETURN $1.kind = 'kind 2' AND $1.at >= 18;
SELECT e FROM chunked.page(NULL::event, 4, filter => 'is_third(event)') e;
SELECT e FROM chunked.page(NULL::event, 4, filter => 'event::text = ''(12,121,"kind 1")''') e;
SELECT e FROM chunked.page(NULL::event, 4, filter => 'EXISTS (SELECT FROM event other WHERE other.id = event.id + 400 AND (other).kind = event.kind AND event IS NOT NULL)') e;

-- only what is read is locked: from the start, over a boundary, over a gap, to an end, backwards
BEGIN; SELECT count(*) FROM chunked.page(NULL::event, 3); SELECT locked('event'); ROLLBACK;
BEGIN; SELECT count(*) FROM chunked.page(NULL::event, 3, after => '{"at": 3, "id": 30}'); SELECT locked('event'); ROLLBACK;
BEGIN; SELECT count(*) FROM chunked.page(NULL::event, 3, after => '{"at": 9, "id": 91}'); SELECT locked('event'); ROLLBACK;
BEGIN; SELECT count(*) FROM chunked.page(NULL::event, 3, after => '{"at": 29, "id": 290}'); SELECT locked('event'); ROLLBACK;
BEGIN; SELECT count(*) FROM chunked.page(NULL::event, after => '{"at": 12, "id": 0}', upto => '{"at": 13, "id": 0}'); SELECT locked('event'); ROLLBACK;
BEGIN; SELECT count(*) FROM chunked.page(NULL::event, 3, before => '{"at": 22, "id": 0}'); SELECT locked('event'); ROLLBACK;
BEGIN; SELECT count(*) FROM chunked.page(NULL::event, 7, before => '{"at": 40, "id": 401}'); SELECT locked('event'); ROLLBACK;
BEGIN; SELECT count(*) FROM chunked.page(NULL::event, 3, before => '{}', key => 'at DESC, id'); SELECT locked('event'); ROLLBACK;
BEGIN; SELECT count(*) FROM chunked.page(NULL::event, 5, filter => 'at >= 40'); SELECT locked('event'); ROLLBACK;
BEGIN; SELECT count(*) FROM chunked.page(NULL::event, 5, before => '{}', filter => 'at < 12'); SELECT locked('event'); ROLLBACK;
BEGIN; SELECT count(*) FROM chunked.page(NULL::event, 5, filter => 'at > 100 OR at < -100'); SELECT locked('event'); ROLLBACK;
BEGIN; SELECT count(*) FROM chunked.page(NULL::event, 5, key => 'at DESC, id DESC', filter => 'at IN (41, 42)'); SELECT locked('event'); ROLLBACK;
BEGIN; SELECT * FROM chunked.bounds('event'); SELECT locked('event'); ROLLBACK;
BEGIN; SELECT count(*) FROM chunked.page(NULL::event, 3, key => 'id'); SELECT locked('event'); ROLLBACK;
-- also by a cursor, that goes on
BEGIN;
DECLARE walk CURSOR FOR SELECT id FROM chunked.page(NULL::event, 1000, after => '{"at": 9, "id": 90}');
FETCH 2 FROM walk;
SELECT locked('event');
FETCH 1 FROM walk;
SELECT locked('event');
MOVE FORWARD 28 IN walk;
FETCH 2 FROM walk;
SELECT locked('event');
COMMIT;

--
-- A default partition: in the gaps, at both ends, with nulls
--
CREATE TABLE note (at int, id int, kind text) PARTITION BY RANGE (at);
CREATE TABLE note_1 PARTITION OF note FOR VALUES FROM (10) TO (20);
CREATE TABLE note_2 PARTITION OF note FOR VALUES FROM (20) TO (30);
CREATE TABLE note_4 PARTITION OF note FOR VALUES FROM (40) TO (50);
CREATE TABLE note_rest PARTITION OF note DEFAULT;
CREATE UNIQUE INDEX ON note (at, id);
INSERT INTO note SELECT nullif(at, 60), at * 10 + i, 'kind' FROM generate_series(0, 60) at, generate_series(0, 1) i;
SELECT page_size, key, walked('note', page_size, key, order_by, filter)
FROM (VALUES ('at, id', 'at, id'), ('at DESC, id DESC', 'at DESC, id DESC'), ('at NULLS FIRST, id', 'at NULLS FIRST, id'),
	('at DESC NULLS LAST, id', 'at DESC NULLS LAST, id')) k (key, order_by),
	(VALUES (7, NULL), (30, 'coalesce(at, 99) NOT BETWEEN 30 AND 39')) p (page_size, filter)
ORDER BY key, page_size;
BEGIN; SELECT count(*) FROM chunked.page(NULL::note, 3, after => '{"at": 12, "id": 0}', key => 'at, id'); SELECT locked('note'); ROLLBACK;
BEGIN; SELECT count(*) FROM chunked.page(NULL::note, 3, after => '{"at": 29, "id": 290}', key => 'at, id'); SELECT locked('note'); ROLLBACK;
-- empty again
DELETE FROM note WHERE at IS NULL OR at < 10 OR at BETWEEN 30 AND 39 OR at >= 50;
SELECT walked('note', 7, 'at, id', 'at, id');

--
-- Lists: with nulls, alone and beside a value; several values; a default partition
--
CREATE TABLE place (region text COLLATE "C", id int, x int) PARTITION BY LIST (region);
CREATE TABLE place_b PARTITION OF place FOR VALUES IN ('b');
CREATE TABLE place_ac PARTITION OF place FOR VALUES IN ('a');
CREATE TABLE place_de PARTITION OF place FOR VALUES IN ('d', 'e');
CREATE TABLE place_null PARTITION OF place FOR VALUES IN (NULL);
CREATE INDEX ON place (region, id);
INSERT INTO place SELECT (ARRAY['a', 'b', 'd', 'e', NULL])[1 + id % 5], id, id FROM generate_series(1, 40) id;
SELECT key, walked('place', 3, key, order_by)
FROM (VALUES ('region, id', 'region, id'), ('region DESC, id', 'region DESC, id'), ('region NULLS FIRST, id', 'region NULLS FIRST, id'),
	('region DESC NULLS LAST, id DESC', 'region DESC NULLS LAST, id DESC')) k (key, order_by);
BEGIN; SELECT count(*) FROM chunked.page(NULL::place, 3, after => '{"region": "b", "id": 1}', key => 'region, id'); SELECT locked('place'); ROLLBACK;
BEGIN; SELECT count(*) FROM chunked.page(NULL::place, 3, after => '{"region": "c", "id": 1}', key => 'region, id'); SELECT locked('place'); ROLLBACK;
BEGIN; SELECT count(*) FROM chunked.page(NULL::place, 3, before => '{"region": null, "id": 5}', key => 'region, id'); SELECT locked('place'); ROLLBACK;
BEGIN; SELECT count(*) FROM chunked.page(NULL::place, 30, key => 'region, id', filter => $$region = 'b'$$); SELECT locked('place'); ROLLBACK;
BEGIN; SELECT count(*) FROM chunked.page(NULL::place, 30, key => 'region, id', filter => 'region IS NULL'); SELECT locked('place'); ROLLBACK;
-- positions in gaps between the values of one partition: it begins or ends with some of its rows
CREATE TABLE gap (region text COLLATE "C", id int) PARTITION BY LIST (region);
CREATE TABLE gap_bd PARTITION OF gap FOR VALUES IN ('b', 'd');
CREATE TABLE gap_fh PARTITION OF gap FOR VALUES IN ('f', 'h', NULL) PARTITION BY RANGE (id);
CREATE TABLE gap_fh_1 PARTITION OF gap_fh FOR VALUES FROM (MINVALUE) TO (100);
CREATE INDEX ON gap (region, id);
CREATE INDEX ON gap (region DESC NULLS LAST, id);
INSERT INTO gap SELECT region, id FROM unnest(ARRAY['b', 'd', 'f', 'h', NULL]) region, generate_series(1, 2) id;
SELECT key, place ->> 'region' AS place,
	(SELECT string_agg(coalesce(region, '-') || id, ' ') FROM chunked.page(NULL::gap, after => place, key => key)) AS after,
	(SELECT string_agg(coalesce(region, '-') || id, ' ') FROM chunked.page(NULL::gap, upto => place, key => key)) AS upto,
	(SELECT string_agg(coalesce(region, '-') || id, ' ') FROM chunked.page(NULL::gap, before => place, key => key, filter => 'id = 2')) AS before,
	(SELECT sum(row_count) FROM chunked.chunks('gap', 3, after => place, key => key)) AS counted
FROM (VALUES ('region, id'), ('region DESC NULLS LAST, id')) k (key), unnest(ARRAY['a', 'c', 'e', 'g', 'i']) region,
	jsonb_build_object('region', region, 'id', 1) place;
-- one with values on both sides of another's: all are merged
CREATE TABLE place_cf PARTITION OF place FOR VALUES IN ('c', 'f');
INSERT INTO place SELECT (ARRAY['c', 'f'])[1 + id % 2], id, id FROM generate_series(41, 50) id;
SELECT walked('place', 3, 'region, id', 'region, id'), walked('place', 3, 'region DESC, id', 'region DESC, id');
BEGIN; SELECT count(*) FROM chunked.page(NULL::place, 3, after => '{"region": "b", "id": 1}', key => 'region, id'); SELECT locked('place'); ROLLBACK;
DROP TABLE place_cf;
-- a default partition among single values
DROP TABLE place_de;
CREATE TABLE place_rest PARTITION OF place DEFAULT;
INSERT INTO place SELECT chr(96 + id % 9), id, id FROM generate_series(101, 140) id;
SELECT walked('place', 3, 'region, id', 'region, id'), walked('place', 3, 'region DESC, id', 'region DESC, id');
-- and with nulls in it
DROP TABLE place_null;
INSERT INTO place SELECT NULL, id, id FROM generate_series(201, 207) id;
SELECT walked('place', 3, 'region, id', 'region, id'), walked('place', 3, 'region DESC, id', 'region DESC, id');
-- a value and nulls in one: at the end where the nulls are, or not
DROP TABLE place_rest;
CREATE TABLE place_z PARTITION OF place FOR VALUES IN ('z', NULL);
INSERT INTO place SELECT (ARRAY['z', NULL])[1 + id % 2], id, id FROM generate_series(301, 307) id;
SELECT walked('place', 3, 'region, id', 'region, id'), walked('place', 3, 'region NULLS FIRST, id', 'region NULLS FIRST, id'),
	walked('place', 3, 'region DESC, id', 'region DESC, id'), walked('place', 3, 'region DESC NULLS LAST, id', 'region DESC NULLS LAST, id');
BEGIN; SELECT count(*) FROM chunked.page(NULL::place, 3, after => '{"region": "c", "id": 1}', key => 'region, id'); SELECT locked('place'); ROLLBACK;
-- a default partition with values between those of another
CREATE TABLE spot (k int, id int) PARTITION BY LIST (k);
CREATE TABLE spot_1 PARTITION OF spot FOR VALUES IN (1, 3);
CREATE TABLE spot_rest PARTITION OF spot DEFAULT;
INSERT INTO spot SELECT i % 5, i FROM generate_series(1, 30) i;
SELECT walked('spot', 4, 'k, id', 'k, id'), walked('spot', 4, 'k DESC, id', 'k DESC, id');
-- another collation than the partitions': not their order
CREATE TABLE place_upper PARTITION OF place FOR VALUES IN ('B');
INSERT INTO place SELECT 'B', id, id FROM generate_series(401, 404) id;
SELECT walked('place', 3, 'region COLLATE "en-x-icu", id', 'region COLLATE "en-x-icu", id');

--
-- Two columns; bounds that are open from the second on; a key of the first alone
--
CREATE TABLE pair (a int, b int, id int) PARTITION BY RANGE (a, b);
CREATE TABLE pair_1 PARTITION OF pair FOR VALUES FROM (MINVALUE, MINVALUE) TO (3, 5);
CREATE TABLE pair_2 PARTITION OF pair FOR VALUES FROM (3, 5) TO (3, 8);
CREATE TABLE pair_3 PARTITION OF pair FOR VALUES FROM (3, 8) TO (6, MINVALUE);
CREATE TABLE pair_4 PARTITION OF pair FOR VALUES FROM (6, MINVALUE) TO (MAXVALUE, MAXVALUE);
CREATE INDEX ON pair (a, b, id);
INSERT INTO pair SELECT a, b, a * 100 + b FROM generate_series(0, 9) a, generate_series(0, 9) b;
SELECT key, walked('pair', 7, key, order_by)
FROM (VALUES ('a, b, id', 'a, b, id'), ('a DESC, b DESC, id', 'a DESC, b DESC, id'), ('a, b DESC, id', 'a, b DESC, id'), ('a, id', 'a, id'),
	('b, a, id', 'b, a, id')) k (key, order_by);
BEGIN; SELECT count(*) FROM chunked.page(NULL::pair, 2, after => '{"a": 3, "b": 5, "id": 0}', key => 'a, b, id'); SELECT locked('pair'); ROLLBACK;
-- a position with a null where there are none in the table
SELECT e.* FROM chunked.page(NULL::pair, 2, after => '{"a": 3, "b": null, "id": 0}', key => 'a, b, id') e;
SELECT e.* FROM chunked.page(NULL::pair, 2, after => '{"a": 3, "b": null, "id": 0}', key => 'a, b NULLS FIRST, id') e;
SELECT e.* FROM chunked.page(NULL::pair, 2, before => '{"a": 3, "b": null, "id": 0}', key => 'a, b, id') e;
SELECT e.* FROM chunked.page(NULL::pair, 2, before => '{"a": 3, "b": null, "id": 0}', key => 'a, b NULLS FIRST, id') e;
-- a null in the second column is in the default partition, amid others
CREATE TABLE pair_rest PARTITION OF pair DEFAULT;
INSERT INTO pair SELECT a, NULL, 1000 + a FROM generate_series(0, 9) a;
SELECT walked('pair', 7, 'a, b, id', 'a, b, id'), walked('pair', 7, 'a DESC, b DESC, id', 'a DESC, b DESC, id');
DROP TABLE pair_1, pair_2, pair_3, pair_4, pair_rest;
CREATE TABLE pair_1 PARTITION OF pair FOR VALUES FROM (MINVALUE, MINVALUE) TO (3, MINVALUE);
CREATE TABLE pair_2 PARTITION OF pair FOR VALUES FROM (3, MINVALUE) TO (3, MAXVALUE);
CREATE TABLE pair_3 PARTITION OF pair FOR VALUES FROM (3, MAXVALUE) TO (MAXVALUE, MAXVALUE);
CREATE INDEX ON pair (a, id);
INSERT INTO pair SELECT a, b, a * 100 + b FROM generate_series(0, 9) a, generate_series(0, 9) b;
SELECT walked('pair', 7, 'a, id', 'a, id'), walked('pair', 7, 'a DESC, id DESC', 'a DESC, id DESC'), walked('pair', 7, 'a, b DESC, id', 'a, b DESC, id');
BEGIN; SELECT count(*) FROM chunked.page(NULL::pair, 2, after => '{"a": 3, "id": 303}', key => 'a, id'); SELECT locked('pair'); ROLLBACK;

--
-- Partitions of partitions, each level by itself
--
CREATE TABLE deep (region text COLLATE "C" NOT NULL, at int NOT NULL, id int NOT NULL, PRIMARY KEY (region, at, id)) PARTITION BY LIST (region);
CREATE TABLE deep_a PARTITION OF deep FOR VALUES IN ('a') PARTITION BY RANGE (at);
CREATE TABLE deep_a_1 PARTITION OF deep_a FOR VALUES FROM (0) TO (10);
CREATE TABLE deep_a_2 PARTITION OF deep_a FOR VALUES FROM (10) TO (20);
CREATE TABLE deep_a_rest PARTITION OF deep_a DEFAULT;
CREATE TABLE deep_b PARTITION OF deep FOR VALUES IN ('b') PARTITION BY HASH (id);
CREATE TABLE deep_b_0 PARTITION OF deep_b FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE deep_b_1 PARTITION OF deep_b FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE deep_cd PARTITION OF deep FOR VALUES IN ('c', 'd') PARTITION BY RANGE (at);
CREATE TABLE deep_cd_1 PARTITION OF deep_cd FOR VALUES FROM (0) TO (10);
CREATE TABLE deep_cd_2 PARTITION OF deep_cd FOR VALUES FROM (10) TO (30);
CREATE TABLE deep_e PARTITION OF deep FOR VALUES IN ('e') PARTITION BY LIST (region);
CREATE TABLE deep_e_e PARTITION OF deep_e FOR VALUES IN ('e') PARTITION BY RANGE (at);
CREATE TABLE deep_e_1 PARTITION OF deep_e_e FOR VALUES FROM (0) TO (15);
CREATE TABLE deep_e_2 PARTITION OF deep_e_e FOR VALUES FROM (15) TO (30);
CREATE TABLE deep_f PARTITION OF deep FOR VALUES IN ('f') PARTITION BY RANGE (at);
INSERT INTO deep SELECT region, at, at * 10 + i FROM unnest('{a,b,c,d,e}'::text[]) region, generate_series(0, 24) at, generate_series(0, 1) i;
SELECT key, page_size, walked('deep', page_size, key, order_by)
FROM (VALUES ('region, at, id', 'region, at, id'), ('region DESC, at DESC, id DESC', 'region DESC, at DESC, id DESC'),
	('region, at DESC, id', 'region, at DESC, id'), ('at, region, id', 'at, region, id')) k (key, order_by), (VALUES (3), (40)) p (page_size);
BEGIN; SELECT count(*) FROM chunked.page(NULL::deep, 2, after => '{"region": "a", "at": 12, "id": 0}'); SELECT locked('deep'); ROLLBACK;
BEGIN; SELECT count(*) FROM chunked.page(NULL::deep, 2, after => '{"region": "b", "at": 12, "id": 0}'); SELECT locked('deep'); ROLLBACK;
BEGIN; SELECT count(*) FROM chunked.page(NULL::deep, 2, after => '{"region": "c", "at": 12, "id": 0}'); SELECT locked('deep'); ROLLBACK;
BEGIN; SELECT count(*) FROM chunked.page(NULL::deep, 2, after => '{"region": "e", "at": 12, "id": 0}'); SELECT locked('deep'); ROLLBACK;
BEGIN; SELECT count(*) FROM chunked.page(NULL::deep, 6, before => '{"region": "e", "at": 1, "id": 0}'); SELECT locked('deep'); ROLLBACK;

--
-- Without an index that gives the order; rows that share a position
--
CREATE TABLE loose (at int, id int) PARTITION BY RANGE (at);
CREATE TABLE loose_1 PARTITION OF loose FOR VALUES FROM (0) TO (10);
CREATE TABLE loose_2 PARTITION OF loose FOR VALUES FROM (10) TO (20);
INSERT INTO loose SELECT i % 20, i FROM generate_series(1, 100) i;
SELECT walked('loose', 7, 'at, id', 'at, id');
BEGIN; SELECT count(*) FROM chunked.page(NULL::loose, 2, after => '{"at": 12, "id": 0}', key => 'at, id'); SELECT locked('loose'); ROLLBACK;
SELECT count(*) FROM chunked.page(NULL::loose, 3, key => 'at');
SELECT count(*) FROM chunked.page(NULL::loose, 50, key => 'at');
SELECT count(*) FROM chunked.page(NULL::loose, 52, key => 'at');
SELECT row_count, upto FROM chunked.chunks('loose', 12, key => 'at');

--
-- Privileges and policies are those of the parent
--
SET client_min_messages = error;
DROP ROLE IF EXISTS partitions_test_reader;
CREATE ROLE partitions_test_reader;
RESET client_min_messages;
GRANT USAGE ON SCHEMA partitions_test TO partitions_test_reader;
CREATE TABLE seen (at int, id int, secret int, PRIMARY KEY (at, id)) PARTITION BY RANGE (at);
CREATE TABLE seen_1 PARTITION OF seen FOR VALUES FROM (0) TO (10);
CREATE TABLE seen_2 PARTITION OF seen FOR VALUES FROM (10) TO (20);
INSERT INTO seen SELECT i, i, i FROM generate_series(0, 19) i;
SET ROLE partitions_test_reader;
SELECT count(*) FROM chunked.page(NULL::seen);
-- also where no partition is read: beyond the last one, in an empty one, without any
SELECT count(*) FROM chunked.page(NULL::seen, after => '{"at": 30, "id": 30}');
SELECT count(*) FROM chunked.page(NULL::seen, before => '{"at": 0, "id": 0}');
RESET ROLE;
SELECT count(*) FROM chunked.page(NULL::seen, after => '{"at": 30, "id": 30}', filter => 'id > $1', args => '[3]');
CREATE TABLE unseen (at int, id int, PRIMARY KEY (at, id)) PARTITION BY RANGE (at);
SELECT count(*) FROM chunked.page(NULL::unseen);
SET ROLE partitions_test_reader;
SELECT count(*) FROM chunked.page(NULL::unseen);
RESET ROLE;
CREATE TABLE unseen_1 PARTITION OF unseen FOR VALUES FROM (0) TO (10);
CREATE TABLE unseen_rest PARTITION OF unseen DEFAULT;
SELECT count(*) FROM chunked.page(NULL::unseen);
BEGIN; SELECT * FROM chunked.bounds('unseen'); SELECT locked('unseen'); ROLLBACK;
SET ROLE partitions_test_reader;
SELECT count(*) FROM chunked.page(NULL::unseen);
SELECT * FROM chunked.bounds('unseen');
RESET ROLE;
GRANT SELECT ON seen_1, seen_2 TO partitions_test_reader;
SET ROLE partitions_test_reader;
SELECT count(*) FROM chunked.page(NULL::seen);
RESET ROLE;
REVOKE SELECT ON seen_1, seen_2 FROM partitions_test_reader;
GRANT SELECT ON seen TO partitions_test_reader;
SET ROLE partitions_test_reader;
SELECT count(*) FROM chunked.page(NULL::seen);
SELECT count(*) FROM chunked.page(NULL::seen_1);
RESET ROLE;
REVOKE SELECT ON seen FROM partitions_test_reader;
GRANT SELECT (at, id) ON seen TO partitions_test_reader;
SET ROLE partitions_test_reader;
SELECT count(*) FROM chunked.page(NULL::seen);
SELECT * FROM chunked.bounds('seen');
SELECT * FROM chunked.bounds('seen', filter => 'secret = 3');
RESET ROLE;
GRANT SELECT ON seen TO partitions_test_reader;
-- a partition's policies do not count, the parent's do
ALTER TABLE seen_1 ENABLE ROW LEVEL SECURITY;
SET ROLE partitions_test_reader;
SELECT count(*) FROM chunked.page(NULL::seen);
RESET ROLE;
ALTER TABLE seen ENABLE ROW LEVEL SECURITY;
CREATE POLICY even ON seen USING (id % 2 = 0 AND (seen).secret <> 4 AND at IN (SELECT b.at FROM seen_2 b UNION ALL VALUES (2), (4), (6)));
GRANT SELECT ON seen_2 TO partitions_test_reader;
SET ROLE partitions_test_reader;
SELECT array_agg(id) FROM chunked.page(NULL::seen);
SELECT array_agg(id) FROM chunked.page(NULL::seen, 3, before => '{}');
BEGIN; SELECT array_agg(id) FROM chunked.page(NULL::seen, 2, after => '{"at": 2, "id": 1}', filter => 'id > 3'); ROLLBACK;
RESET ROLE;
SELECT count(*) FROM chunked.page(NULL::seen);

--
-- Changes between two calls, and many partitions
--
CREATE TABLE many (at int, id int, PRIMARY KEY (at, id)) PARTITION BY RANGE (at);
DO $$ BEGIN
	FOR i IN 0..99 LOOP
		EXECUTE format('CREATE TABLE many_%s PARTITION OF many FOR VALUES FROM (%s) TO (%s)', i, i * 10, i * 10 + 10);
	END LOOP;
END $$;
INSERT INTO many SELECT i, i FROM generate_series(0, 999) i;
PREPARE page(jsonb) AS SELECT array_agg(id) FROM chunked.page(NULL::many, 4, after => $1);
EXECUTE page('{"at": 17, "id": 17}');
ALTER TABLE many DETACH PARTITION many_2;
EXECUTE page('{"at": 17, "id": 17}');
INSERT INTO many_2 VALUES (25, 26);
ALTER TABLE many ATTACH PARTITION many_2 FOR VALUES FROM (20) TO (30);
EXECUTE page('{"at": 24, "id": 24}');
DROP TABLE many_3;
EXECUTE page('{"at": 28, "id": 28}');
TRUNCATE many_4;
EXECUTE page('{"at": 28, "id": 28}');
ALTER TABLE many ADD COLUMN more int DEFAULT 7;
SELECT * FROM chunked.page(NULL::many, 2, after => '{"at": 69, "id": 69}');
ALTER TABLE many ALTER more TYPE text USING more || 'x';
SELECT * FROM chunked.page(NULL::many, 2, after => '{"at": 69, "id": 69}');
SELECT walked('many', 50, 'at, id', 'at, id'), walked('many', 300, 'at DESC, id DESC', 'at DESC, id DESC');
BEGIN; SELECT count(*) FROM chunked.page(NULL::many, 4, after => '{"at": 777, "id": 777}'); SELECT locked('many');
SELECT count(*) <= 10 FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation'; ROLLBACK;

-- dropped between two fetches, which a cursor over the table itself would not allow
CREATE TABLE dropped_ahead (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE dropped_ahead_1 PARTITION OF dropped_ahead FOR VALUES FROM (0) TO (10);
CREATE TABLE dropped_ahead_2 PARTITION OF dropped_ahead FOR VALUES FROM (10) TO (20);
INSERT INTO dropped_ahead SELECT generate_series(0, 19);
BEGIN;
DECLARE pages CURSOR FOR SELECT id FROM chunked.page(NULL::dropped_ahead);
FETCH 1 FROM pages;
DROP TABLE dropped_ahead_2;
MOVE ALL FROM pages;
ROLLBACK;

SET client_min_messages = warning;
DROP SCHEMA partitions_test CASCADE;
DROP ROLE partitions_test_reader;
