-- Calls within calls: code that a call has run, when it reads a value or plans a
-- query, makes the same call again, with other values.
CREATE TABLE nested (id int PRIMARY KEY, t text);
INSERT INTO nested SELECT i, 'row ' || i FROM generate_series(1, 10) i;

-- a value in args, of a domain whose condition pages with another value
CREATE FUNCTION nested_page(value text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    IF value LIKE 'outer%' THEN
        PERFORM * FROM chunked.page(NULL::nested, filter => 't = $1::nested_text', args => to_jsonb(ARRAY['inner' || repeat('z', 3000)]));
    END IF;
    RETURN value;
END $$;
CREATE FUNCTION nested_check(upper text, value text) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE '% %, % %', left(upper, 8), length(upper), left(value, 8), length(value);
    RETURN true;
END $$;
CREATE DOMAIN nested_text AS text CHECK (nested_check(upper(VALUE), nested_page(VALUE)));
SELECT * FROM chunked.page(NULL::nested, filter => 't = $1::nested_text', args => '["row 2"]');
SELECT * FROM chunked.page(NULL::nested, filter => 't = $1::nested_text', args => to_jsonb(ARRAY['outer' || repeat('y', 2000)]));

-- a position, of a key with such a domain in it
CREATE TYPE nested_row AS (t nested_text, n int);
CREATE TABLE nested_by_row (id nested_row PRIMARY KEY);
CREATE OR REPLACE FUNCTION nested_page(value text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    IF value LIKE 'outer%' THEN
        EXECUTE 'SELECT chunked.page(NULL::public.nested_by_row, after => $1)' USING jsonb_build_object('id', '(inner' || repeat('z', 3000) || ',1)');
    END IF;
    RETURN value;
END $$;
SELECT * FROM chunked.page(NULL::nested_by_row, after => '{"id": "(x,1)"}');
SELECT * FROM chunked.page(NULL::nested_by_row, after => jsonb_build_object('id', '(outer' || repeat('y', 2000) || ',1)'));

-- a function that the planner calls, for an estimate after the ways to read the
-- partitions are chosen, has a query of the same table planned, or calls page()
CREATE TABLE nested_hash (id int PRIMARY KEY, v int) PARTITION BY HASH (id);
CREATE TABLE nested_hash_0 PARTITION OF nested_hash FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TABLE nested_hash_1 PARTITION OF nested_hash FOR VALUES WITH (MODULUS 3, REMAINDER 1);
CREATE TABLE nested_hash_2 PARTITION OF nested_hash FOR VALUES WITH (MODULUS 3, REMAINDER 2);
INSERT INTO nested_hash SELECT i, i FROM generate_series(1, 300) i;
CREATE TABLE nested_other (x int, y int);
INSERT INTO nested_other SELECT i, i FROM generate_series(1, 300) i;
ANALYZE nested_hash, nested_other;
CREATE FUNCTION nested_count() RETURNS int LANGUAGE plpgsql STABLE AS $$
BEGIN
    EXECUTE 'SELECT count(*) FROM public.nested_hash';
    RETURN 3;
END $$;
CREATE FUNCTION nested_pages() RETURNS int LANGUAGE plpgsql STABLE AS $$
BEGIN
    EXECUTE 'SELECT count(*) FROM chunked.page(NULL::nested, 3, filter => $1)' USING 't <> ''''';
    RETURN 3;
END $$;
SELECT count(*) FROM chunked.page(NULL::nested_hash, 100,
    filter => 'EXISTS (SELECT 1 FROM nested_other o WHERE o.x = nested_hash.id AND (nested_hash.v = 3 OR o.y = 3))');
SELECT count(*) FROM chunked.page(NULL::nested_hash, 100,
    filter => 'EXISTS (SELECT 1 FROM nested_other o WHERE o.x = nested_hash.id AND (nested_hash.v = nested_count() OR o.y = 3))');
SELECT count(*) FROM chunked.page(NULL::nested_hash, 100, after => '{"id": 1}',
    filter => 'EXISTS (SELECT 1 FROM nested_other o WHERE o.x = nested_hash.id AND (nested_hash.v = nested_count() OR o.y = 3))');
SELECT count(*) FROM chunked.page(NULL::nested_hash, 100,
    filter => 'EXISTS (SELECT 1 FROM nested_other o WHERE o.x = nested_hash.id AND (nested_hash.v = nested_pages() OR o.y = 3))');
SELECT count(*) FROM chunked.page(NULL::nested_hash, 100, after => '{"id": 1}',
    filter => 'EXISTS (SELECT 1 FROM nested_other o WHERE o.x = nested_hash.id AND (nested_hash.v = nested_pages() OR o.y = 3))');

SET client_min_messages = warning;
DROP TABLE nested, nested_by_row, nested_hash, nested_other;
DROP TYPE nested_row;
DROP DOMAIN nested_text;
DROP FUNCTION nested_page, nested_check, nested_count, nested_pages;
