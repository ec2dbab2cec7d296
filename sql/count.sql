-- row_count(), seek(), paginator(), paginate(): by index and by query, counted
-- and estimated; and what they show to whom.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/failure.sql
\set ECHO all
\set VERBOSITY sqlstate
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS count_test CASCADE;
DROP ROLE IF EXISTS regress_chunked_owner, regress_chunked_user;
RESET client_min_messages;
CREATE SCHEMA count_test;
SET search_path = count_test;
CREATE TABLE event (id int PRIMARY KEY, kind int NOT NULL, n int, u uuid NOT NULL UNIQUE);
INSERT INTO event SELECT i * 10, i % 10, nullif(i % 7, 0), md5(i::text)::uuid FROM generate_series(1, 5000) i;
CREATE INDEX ON event (kind DESC, id);
CREATE INDEX ON event (n, id DESC);
CREATE TABLE few (id int PRIMARY KEY, name text);
INSERT INTO few SELECT i, 'row ' || i FROM generate_series(1, 23) i;
CREATE TABLE nothing (id int PRIMARY KEY);
CREATE TABLE keyless AS SELECT i FROM generate_series(1, 30) i, generate_series(1, 2);
CREATE TABLE part (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE part_low PARTITION OF part FOR VALUES FROM (0) TO (100);
CREATE TABLE part_high PARTITION OF part FOR VALUES FROM (100) TO (10000);
INSERT INTO part SELECT generate_series(1, 6000);
CREATE TABLE hashed (id int PRIMARY KEY) PARTITION BY HASH (id);
CREATE TABLE hashed_0 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE hashed_1 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO hashed SELECT generate_series(1, 8000);
CREATE VIEW seen AS SELECT id, kind FROM event WHERE kind < 3;
CREATE MATERIALIZED VIEW made AS SELECT id FROM few;
CREATE UNIQUE INDEX ON made (id);
ANALYZE;

-- the answer to a question by direct reads, and whether queries give the same
CREATE FUNCTION asked(question text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	direct text;
	by_query text;
BEGIN
	SET LOCAL pg_chunked.native = on;
	EXECUTE 'SELECT (' || question || ')::text' INTO direct;
	SET LOCAL pg_chunked.native = off;
	EXECUTE 'SELECT (' || question || ')::text' INTO by_query;
	SET LOCAL pg_chunked.native = on;
	RETURN CASE WHEN direct IS NOT DISTINCT FROM by_query THEN coalesce(direct, 'null') ELSE format('%s, but %s by query', direct, by_query) END;
END
$$;

--
-- row_count()
--
SELECT relation, asked(format('chunked.row_count(%L)', relation)) FROM unnest('{event,few,nothing,keyless,part,hashed,made}'::regclass[]) relation;
SELECT key, asked(format('chunked.row_count(''event'', key => %L)', key)) FROM unnest(ARRAY['id', 'id DESC', 'kind DESC, id', 'n', 'n DESC, id', 'u', 'kind']) key;
SELECT filter, asked(format('chunked.row_count(''event'', filter => %L)', filter)), asked(format('chunked.row_count(''event'', false, filter => %L)', filter)) AS estimate
FROM unnest(ARRAY['true', 'false', 'NULL', 'kind = 3', 'n IS NULL', 'id > 25000 AND kind IN (1, 2) -- two']) filter;
SELECT asked('chunked.row_count(''seen'', key => ''id'')'), asked('chunked.row_count(''seen'')') AS without_key, asked('chunked.row_count(''seen'', false)') AS estimate;
SELECT relation, chunked.row_count(relation, false) BETWEEN 0.9 * n AND 1.1 * n AS about
FROM (VALUES ('event'::regclass, 5000), ('few', 23), ('nothing', 0), ('keyless', 60), ('part', 6000), ('hashed', 8000), ('made', 23)) r (relation, n);
-- rows that were deleted, and rows that only this transaction sees
BEGIN;
DELETE FROM event WHERE id <= 1000 OR kind = 3;
INSERT INTO event VALUES (1, 0, 0, md5('1')::uuid), (2, 0, NULL, md5('2')::uuid);
UPDATE event SET n = n + 1 WHERE kind = 4;
UPDATE event SET id = -id WHERE kind = 5;
SELECT key, asked(format('chunked.row_count(''event'', key => %L)', key)), (SELECT count(*) FROM event) FROM unnest(ARRAY['id', 'n DESC, id', 'u']) key;
SAVEPOINT s;
DELETE FROM event;
SELECT asked('chunked.row_count(''event'')'), asked('chunked.seek(''event'', 1)');
ROLLBACK TO s;
SELECT asked('chunked.row_count(''event'')'), asked('chunked.seek(''event'', 1)'), asked('chunked.seek(''event'', 1, key => ''id DESC'')');
ROLLBACK;
VACUUM event;
SELECT key, asked(format('chunked.row_count(''event'', key => %L)', key)) FROM unnest(ARRAY['id', 'n DESC, id', 'u']) key;

--
-- seek()
--
SELECT rank, asked(format('chunked.seek(''event'', %s)', rank)), asked(format('chunked.seek(''event'', %s, key => ''id DESC'')', rank)) AS descending,
	asked(format('chunked.seek(''event'', %s, key => ''n, id DESC'')', rank)) AS nulls_last, asked(format('chunked.seek(''event'', %s, key => ''n DESC, id'')', rank)) AS nulls_first
FROM unnest('{1,2,714,715,4286,4287,4999,5000,5001,9223372036854775807}'::bigint[]) rank;
SELECT rank, asked(format('chunked.seek(''event'', %s, filter => ''kind = 3'')', rank)), asked(format('chunked.seek(''event'', %s, false, filter => ''kind = 3'')', rank)) AS estimate,
	asked(format('chunked.seek(''seen'', %s, key => ''id'')', rank)) AS a_view, asked(format('chunked.seek(''part'', %s)', rank)) AS partitioned, asked(format('chunked.seek(''nothing'', %s)', rank)) AS nothing
FROM unnest('{1,2,99,100,500,501,1500,1501,6001}'::bigint[]) rank;
-- every rank, against ORDER BY
SELECT key, count(*), bool_and(chunked.seek('event', rank, key => key) = place) AS same FROM
	(SELECT 'id' AS key, row_number() OVER (ORDER BY id) AS rank, chunked.position_of(e, 'id') AS place FROM event e UNION ALL
	SELECT 'kind DESC, id', row_number() OVER (ORDER BY kind DESC, id), chunked.position_of(e, 'kind DESC, id') FROM event e UNION ALL
	SELECT 'kind, id DESC', row_number() OVER (ORDER BY kind, id DESC), chunked.position_of(e, 'kind, id DESC') FROM event e UNION ALL
	SELECT 'n, id DESC', row_number() OVER (ORDER BY n, id DESC), chunked.position_of(e, 'n, id DESC') FROM event e UNION ALL
	SELECT 'u', row_number() OVER (ORDER BY u), chunked.position_of(e, 'u') FROM event e) ranked
WHERE rank % 97 = 1 OR rank > 4990 GROUP BY key ORDER BY key;
-- by estimate: a row near there
SELECT relation, count(*), bool_and((chunked.seek(relation, rank, false)->>'id')::int BETWEEN (rank - 0.1 * n) * step AND (rank + 0.1 * n) * step) AS about
FROM (VALUES ('event'::regclass, 5000, 10), ('part', 6000, 1), ('hashed', 8000, 1), ('few', 23, 1)) r (relation, n, step), generate_series(1, n, n / 10) rank GROUP BY relation ORDER BY relation;
SELECT chunked.seek('event', 100000, false), chunked.seek('nothing', 1, false);
-- a page from there on is a page by its number
SELECT id FROM chunked.page(NULL::event, 3, after => chunked.seek('event', 3000));

\set VERBOSITY default
SELECT call, split_part(pg_temp.failure('SELECT chunked.' || call), ' | ', 1) AS failure FROM unnest(ARRAY[
	$$seek('event', 0)$$, $$seek('event', -1)$$, $$seek('event', NULL)$$, $$seek(NULL, 1)$$, $$seek('event', 1, NULL)$$, $$seek('event', 0, false)$$, $$seek('keyless', 1)$$,
	$$seek('seen', 1)$$, $$seek('event', 1, key => 'nope')$$, $$seek('event_pkey', 1)$$, $$row_count(NULL)$$, $$row_count('event', NULL)$$, $$row_count('event', key => 'nope')$$,
	$$row_count('event_pkey')$$, $$row_count('event', filter => 'kind =')$$, $$row_count('event', filter => 'true; SELECT 1')$$, $$row_count('event', filter => 'true) OR (true')$$]) call;
SELECT call, pg_temp.state('SELECT chunked.' || call) FROM unnest(ARRAY[$$row_count('event', filter => 'nope')$$, $$row_count('event', filter => 'kind')$$, $$row_count('no_such_table')$$]) call;
\set VERBOSITY sqlstate

--
-- paginator(): as Django's Paginator counts
--
SELECT per_page, orphans, p.* FROM unnest('{1,5,11,22,23,24}'::int[]) per_page, unnest('{0,1,3,30}'::int[]) orphans, LATERAL chunked.paginator('few', per_page, orphans) p ORDER BY 1, 2;
SELECT relation, allow, p.* FROM unnest('{nothing,few}'::regclass[]) relation, unnest('{t,f}'::bool[]) allow, LATERAL chunked.paginator(relation, 10, 0, allow) p;
SELECT orphans, allow, p.* FROM unnest('{0,5}'::int[]) orphans, unnest('{t,f}'::bool[]) allow, LATERAL chunked.paginator('few', 10, orphans, allow, filter => 'id > 20') p;
SELECT orphans, allow, p.* FROM unnest('{0,5}'::int[]) orphans, unnest('{t,f}'::bool[]) allow, LATERAL chunked.paginator('few', 10, orphans, allow, filter => 'false') p;
SELECT * FROM chunked.paginator('event');
SELECT * FROM chunked.paginator('seen', 7);
SELECT asked('SELECT p FROM chunked.paginator(''part'', 9, 6) p'), asked('SELECT p FROM chunked.paginator(''event'', 2147483647, 2147483647) p') AS large;
SELECT page_count BETWEEN 45 AND 55 AS about FROM chunked.paginator('event', 100, exact => false);

--
-- paginate(): each page's rows, against OFFSET and LIMIT
--
CREATE FUNCTION pages(relation regclass, per_page int, orphans int, order_by text, key text DEFAULT NULL, filter text DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	native text;
	counted record;
	rows text[];
	expected text[];
	below text;
	past text;
BEGIN
	FOREACH native IN ARRAY '{off,on}'::text[] LOOP
		PERFORM set_config('pg_chunked.native', native, true);
		SELECT * INTO counted FROM chunked.paginator(relation, per_page, orphans, key => key, filter => filter);
		FOR page IN 1 .. counted.page_count LOOP
			EXECUTE format('SELECT array_agg(p::text) FROM chunked.paginate(NULL::%s, $1, $2, $3, key => $4, filter => $5) p', relation)
				INTO rows USING page, per_page, orphans, key, filter;
			EXECUTE format('SELECT array_agg(p::text) FROM (SELECT * FROM %s WHERE %s ORDER BY %s OFFSET $1 LIMIT $2) p', relation, coalesce(filter, 'true'), order_by)
				INTO expected USING (page - 1) * per_page::bigint, CASE WHEN page = counted.page_count THEN per_page + orphans::bigint ELSE per_page END;
			IF rows IS DISTINCT FROM expected THEN
				RETURN format('native %s: page %s is %s, not %s', native, page, rows, expected);
			END IF;
		END LOOP;
		below := pg_temp.failure(format('SELECT FROM chunked.paginate(NULL::%s, 0, %s, %s, key => %L, filter => %L)', relation, per_page, orphans, key, filter));
		past := pg_temp.failure(format('SELECT FROM chunked.paginate(NULL::%s, %s, %s, %s, key => %L, filter => %L)', relation, counted.page_count + 1, per_page, orphans, key, filter));
	END LOOP;
	RETURN format('%s pages; %s; %s', counted.page_count, left(below, 5), left(past, 5));
END
$$;
SELECT per_page, orphans, pages('few', per_page, orphans, 'id') FROM unnest('{1,5,11,22,23,24,100}'::int[]) per_page, unnest('{0,1,3,30}'::int[]) orphans ORDER BY 1, 2;
SELECT orphans, pages('nothing', 5, orphans, 'id'), pages('few', 5, orphans, 'id', filter => 'false'), pages('few', 5, orphans, 'id', filter => 'id % 2 = 0'),
	pages('seen', 299, orphans, 'id', 'id'), pages('made', 10, orphans, 'id DESC', 'id DESC'), pages('part', 997, orphans, 'id') FROM unnest('{0,3}'::int[]) orphans;
SELECT pages('event', 493, 70, 'n, id DESC', 'n, id DESC'), pages('event', 493, 70, 'n DESC, id', 'n DESC, id'), pages('event', 493, 0, 'kind DESC, id', 'kind DESC'), pages('event', 493, 0, 'u DESC', 'u DESC');
SELECT * FROM chunked.paginate(NULL::few, 3, 5, 3);
SELECT * FROM chunked.paginate(NULL::few, 4, 5, 3);
SELECT count(*) FROM chunked.paginate(NULL::event, 50);
SELECT * FROM chunked.paginate(NULL::nothing, 1);
-- page by page in one statement
SELECT page, array_agg(id) FROM generate_series(1, 3) page, LATERAL chunked.paginate(NULL::few, page, 10) GROUP BY page ORDER BY page;

\set VERBOSITY default
SELECT call, split_part(pg_temp.failure('SELECT FROM chunked.' || call), ' | ', 1) AS failure FROM unnest(ARRAY[
	$$paginate(NULL::few, 0)$$, $$paginate(NULL::few, -1)$$, $$paginate(NULL::few, 2)$$, $$paginate(NULL::nothing, 2)$$, $$paginate(NULL::few, 4, 10)$$, $$paginate(NULL::few, 3, 10, 3)$$,
	$$paginate(NULL::few, 9223372036854775807, 2147483647)$$, $$paginate(NULL::few, 9223372036854775807, 1)$$, $$paginate(NULL::few, 1, 0)$$, $$paginate(NULL::few, 1, -1)$$, $$paginate(NULL::few, 1, 5, -1)$$,
	$$paginate(NULL::few, 1, NULL)$$, $$paginate(NULL::few, 1, exact => NULL)$$, $$paginate(NULL::few, NULL)$$, $$paginate(NULL::few, 2, 30, exact => false)$$,
	$$paginate(NULL::keyless, 1)$$, $$paginate(NULL::int, 1)$$, $$paginator('few', 0)$$, $$paginator('few', 5, -1)$$, $$paginator('few', NULL)$$, $$paginator('few', 5, 0, NULL)$$, $$paginator(NULL)$$]) call;
\set VERBOSITY sqlstate

-- by estimate: every row on one page, whatever was deleted
CREATE FUNCTION estimated_pages(relation regclass, per_page int, key text DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	page bigint := 0;
	rows text[];
	done text[] := '{}';
	whole text[];
BEGIN
	EXECUTE format('SELECT coalesce(array_agg(t::text ORDER BY t::text), ''{}'') FROM %s t', relation) INTO whole;
	LOOP
		page := page + 1;
		EXECUTE format('SELECT coalesce(array_agg(p::text), ''{}'') FROM chunked.paginate(NULL::%s, $1, $2, exact => false, key => $3) p', relation)
			INTO rows USING page, per_page, key;
		done := done || rows;
	END LOOP;
EXCEPTION WHEN no_data_found THEN
	SELECT coalesce(array_agg(r ORDER BY r), '{}') INTO done FROM unnest(done) r;
	RETURN CASE WHEN done = whole THEN cardinality(done) || ' rows' ELSE format('%s rows of %s', cardinality(done), cardinality(whole)) END;
END
$$;
SELECT per_page, estimated_pages('event', per_page), estimated_pages('event', per_page, 'id DESC') AS descending, estimated_pages('event', per_page, 'n, id DESC') AS mixed,
	estimated_pages('part', per_page) AS part, estimated_pages('hashed', per_page) AS hashed, estimated_pages('few', per_page) AS few, estimated_pages('nothing', per_page) AS nothing
FROM unnest('{250,1000,5000,10000}'::int[]) per_page;
BEGIN;
DELETE FROM event WHERE id BETWEEN 10000 AND 40000 OR id > 48000;
DELETE FROM part WHERE id BETWEEN 50 AND 5000;
DELETE FROM hashed WHERE id BETWEEN 2001 AND 5000 OR id % 1000 < 700;
SELECT per_page, estimated_pages('event', per_page), estimated_pages('event', per_page, 'id DESC') AS descending, estimated_pages('event', per_page, 'n, id DESC') AS mixed,
	estimated_pages('part', per_page) AS part, estimated_pages('hashed', per_page) AS hashed
FROM unnest('{250,1000,5000,10000}'::int[]) per_page;
ROLLBACK;

--
-- Who may see what
--
CREATE ROLE regress_chunked_owner;
CREATE ROLE regress_chunked_user;
GRANT USAGE, CREATE ON SCHEMA count_test TO regress_chunked_owner;
GRANT USAGE ON SCHEMA count_test TO regress_chunked_user;
ALTER TABLE event OWNER TO regress_chunked_owner;
ALTER TABLE hashed OWNER TO regress_chunked_owner;
CREATE FUNCTION calls(relation text) RETURNS TABLE (call text) LANGUAGE sql AS $$
SELECT replace(c, 'event', relation) FROM (VALUES
	('row_count(''event'')'), ('row_count(''event'', false)'), ('seek(''event'', 2)'), ('seek(''event'', 2, false)'), ('paginator(''event'')'), ('paginator(''event'', exact => false)'),
	('paginate(NULL::event, 1, 2)'), ('paginate(NULL::event, 1, 2, exact => false)'), ('split(''event'', 2)'), ('split(''event'', 2, true)'), ('chunks(''event'', 1, false)'),
	('split(''event'', 2, key => ''ctid'')'), ('chunks(''event'', key => ''ctid'')')) calls (c)
$$;
SET ROLE regress_chunked_user;
SELECT call, pg_temp.state('SELECT * FROM chunked.' || call), pg_temp.state('SET LOCAL pg_chunked.native = off; SELECT * FROM chunked.' || call) AS by_query FROM calls('event');
-- the columns of the key are enough to count and seek by them, those of another are not
SET ROLE regress_chunked_owner;
GRANT SELECT (id) ON event TO regress_chunked_user;
SET ROLE regress_chunked_user;
SELECT call, pg_temp.state('SELECT * FROM chunked.' || call), pg_temp.state('SET LOCAL pg_chunked.native = off; SELECT * FROM chunked.' || call) AS by_query FROM calls('event');
SELECT asked('chunked.row_count(''event'')'), asked('chunked.seek(''event'', 5)'), asked('SELECT sum(row_count) FROM chunked.split(''event'', 3, true)');
SELECT count(*), sum(row_count) BETWEEN 4500 AND 5500 AS about FROM chunked.split('event', 3);
SELECT pg_temp.state($$SELECT chunked.seek('event', 5, key => 'u')$$), pg_temp.state($$SELECT chunked.seek('event', 5, false, key => 'u')$$), pg_temp.state($$SELECT chunked.split('event', 5, key => 'u')$$),
	pg_temp.state($$SELECT chunked.row_count('event', filter => 'n = 1')$$), pg_temp.state($$SELECT chunked.row_count('event', key => 'n')$$);

-- Row-level security: nothing of other rows, not even how many there are
SET ROLE regress_chunked_owner;
GRANT SELECT ON event, hashed TO regress_chunked_user;
ALTER TABLE event ENABLE ROW LEVEL SECURITY;
ALTER TABLE hashed ENABLE ROW LEVEL SECURITY;
SET ROLE regress_chunked_user;
SELECT asked('chunked.row_count(''event'')'), asked('chunked.row_count(''event'', false)'), asked('chunked.seek(''event'', 1)'), asked('chunked.seek(''event'', 1, false)'),
	asked('SELECT p FROM chunked.paginator(''event'', exact => false) p'), (SELECT count(*) FROM chunked.split('event', 3)), (SELECT count(*) FROM chunked.chunks('event', 10, false));
SET ROLE regress_chunked_owner;
CREATE POLICY own ON event TO regress_chunked_user USING (id BETWEEN 101 AND 150);
CREATE POLICY own ON hashed TO regress_chunked_user USING (id BETWEEN 101 AND 150);
SET ROLE regress_chunked_user;
SELECT relation, asked(format('chunked.row_count(%L)', relation)) AS counted, asked(format('chunked.row_count(%L, false)', relation)) AS estimated, asked(format('chunked.seek(%L, 3)', relation)) AS seek,
	asked(format('chunked.seek(%L, 3, false)', relation)) AS about, asked(format('chunked.seek(%L, 51, false)', relation)) AS past,
	asked(format('SELECT p FROM chunked.paginator(%L, 2, exact => false) p', relation)) AS pages
FROM unnest('{event,hashed}'::regclass[]) relation;
SELECT relation, asked(format('SELECT array_agg((upto, row_count) ORDER BY number) FROM chunked.split(%L, 2)', relation)) AS split, asked(format('SELECT array_agg((upto, row_count) ORDER BY number) FROM chunked.chunks(%L, 30, false)', relation)) AS chunks,
	asked(format('SELECT array_agg(p.id) FROM chunked.paginate(NULL::%s, 2, 3, exact => false) p', relation)) AS page
FROM unnest('{event,hashed}'::regclass[]) relation;
SELECT sum(row_count) FROM chunked.chunks('event', key => 'ctid', exact => false);
SELECT sum(row_count) FROM chunked.split('event', 3, key => 'ctid');
-- the owner sees all, unless forced
SET ROLE regress_chunked_owner;
SELECT asked('chunked.row_count(''event'')'), asked('chunked.row_count(''hashed'')');
ALTER TABLE event FORCE ROW LEVEL SECURITY;
SELECT asked('chunked.row_count(''event'')'), asked('chunked.row_count(''event'', false)');
RESET ROLE;

-- Under SERIALIZABLE a read leaves its predicate locks
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT chunked.row_count('part');
SELECT count(*) > 0 AS locked FROM pg_locks WHERE mode = 'SIReadLock' AND pid = pg_backend_pid();
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT chunked.seek('few', 3);
SELECT count(*) > 0 AS locked FROM pg_locks WHERE mode = 'SIReadLock' AND pid = pg_backend_pid() AND relation IN ('few'::regclass, 'few_pkey'::regclass);
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT count(*) FROM chunked.split('hashed', 3);
SELECT count(*) > 0 AS locked FROM pg_locks WHERE mode = 'SIReadLock' AND pid = pg_backend_pid();
COMMIT;

SET client_min_messages = warning;
DROP SCHEMA count_test CASCADE;
DROP ROLE regress_chunked_owner, regress_chunked_user;
