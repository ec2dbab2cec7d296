\echo Use "CREATE EXTENSION pg_chunked" to load this file. \quit

-- Top to bottom: the API.  Walk a relation in pages, then split it into chunks.
-- Nothing here is SECURITY DEFINER: every read is a query of the caller.

----------------------------------------------------------------------
-- Planner support
----------------------------------------------------------------------

CREATE FUNCTION chunked.page_support(internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'chunked_page_support'
    LANGUAGE C STRICT IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION chunked.page_support(internal)
    IS 'tells the planner how many rows page() brings';

CREATE FUNCTION chunked.chunks_support(internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'chunked_chunks_support'
    LANGUAGE C STRICT IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION chunked.chunks_support(internal)
    IS 'tells the planner how many rows chunks() brings';

----------------------------------------------------------------------
-- Walk
----------------------------------------------------------------------

CREATE FUNCTION chunked.page(
    relation anyelement,
    page_size int DEFAULT 1000,
    after jsonb DEFAULT NULL,
    upto jsonb DEFAULT NULL,
    before jsonb DEFAULT NULL,
    key text[] DEFAULT NULL,
    filter text DEFAULT NULL
) RETURNS SETOF anyelement
    AS 'MODULE_PATHNAME', 'chunked_page'
    LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 1000
    SUPPORT chunked.page_support;
COMMENT ON FUNCTION chunked.page(anyelement, int, jsonb, jsonb, jsonb, text[], text) IS
'A page of a table''s rows in key order.
relation: the table, partitioned table, foreign table, materialized view or view, as a null of its row type, NULL::event.
page_size: rows at most, over 0; default 1000.
after: position (exclusive) to start from; default the start.
upto: position (inclusive) to stop at; default the end.
before: position (exclusive): the last page_size rows ahead of it, still in key order; default none.
key: columns that order the walk, each with optional COLLATE, operator class, ASC or DESC, NULLS FIRST or LAST; default the primary key, else the narrowest unique index over NOT NULL columns. The default key''s columns are appended if needed to make it unique.
filter: SQL boolean expression over the columns; default all rows.
Lock: AccessShareLock. Privileges and row-level security are the caller''s.
Errors: 22023 a bad page_size or position, 42P10 no key, 42703 unknown column, 42601 a malformed key or filter, 21000 a duplicate key at the page''s end.';

CREATE FUNCTION chunked.page(
    relation text,
    page_size int DEFAULT 1000,
    after jsonb DEFAULT NULL,
    upto jsonb DEFAULT NULL,
    before jsonb DEFAULT NULL,
    key text[] DEFAULT NULL,
    filter text DEFAULT NULL
) RETURNS SETOF text
    AS 'MODULE_PATHNAME', 'chunked_page_untyped'
    LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION chunked.page(text, int, jsonb, jsonb, jsonb, text[], text)
    IS 'Always an error (42804), whose hint tells how to name the relation: page(NULL::event), not page(''event'').';

CREATE FUNCTION chunked.position_of(
    "row" anyelement,
    key text[] DEFAULT NULL
) RETURNS jsonb
    AS 'MODULE_PATHNAME', 'chunked_position_of'
    LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION chunked.position_of(anyelement, text[]) IS
'The position of a row: a JSON object of key column to text form, null for null; null for a null row.
row: a row of a table or view.
key: as given to page(); default the same as there.
Lock: AccessShareLock; reads no rows. Errors: 42P10 no key, 42703 unknown column, 42601 a malformed key.';

CREATE FUNCTION chunked.bounds(
    relation regclass,
    key text[] DEFAULT NULL,
    filter text DEFAULT NULL,
    OUT first jsonb,
    OUT last jsonb
) RETURNS record
    AS 'MODULE_PATHNAME', 'chunked_bounds'
    LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION chunked.bounds(regclass, text[], text) IS
'The first and the last position of a walk; both null if it has no rows.
relation, key, filter: as for page().
Lock: AccessShareLock. Errors: as for page().';

----------------------------------------------------------------------
-- Split
----------------------------------------------------------------------

CREATE TYPE chunked.chunk AS (
    number bigint,
    relation regclass,
    after jsonb,
    upto jsonb,
    row_count bigint,
    predicate text
);
COMMENT ON TYPE chunked.chunk IS
'A range of positions: after (exclusive, null from the start) to upto (inclusive).
number: counts from 1. row_count: rows in it that match the filter.
predicate: the range as a WHERE condition with literals, right under any settings; the filter is not part of it.';

CREATE FUNCTION chunked.chunks(
    relation regclass,
    chunk_size bigint DEFAULT 1000,
    exact boolean DEFAULT true,
    after jsonb DEFAULT NULL,
    upto jsonb DEFAULT NULL,
    key text[] DEFAULT NULL,
    filter text DEFAULT NULL,
    scan_limit bigint DEFAULT NULL,
    alias text DEFAULT NULL
) RETURNS SETOF chunked.chunk
    AS 'MODULE_PATHNAME', 'chunked_chunks'
    LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 1000
    SUPPORT chunked.chunks_support;
COMMENT ON FUNCTION chunked.chunks(regclass, bigint, boolean, jsonb, jsonb, text[], text, bigint, text) IS
'The chunks of a relation, in key order; in the select list they come one by one.
relation: table, partitioned table, foreign table, materialized view or view.
chunk_size: matching rows in each chunk but the last, over 0; default 1000.
exact: true, the default: row counts are those of the statement''s snapshot.
after: position (exclusive) to start from; default the start.
upto: position (inclusive) to stop at; default the high-water mark, the last position there is.
key, filter: as for page().
scan_limit: closes a chunk once that many rows were examined, however few of them match; default no limit.
alias: qualifies the columns in the predicate; default unqualified.
Lock: AccessShareLock. Errors: as for page().';

CREATE FUNCTION chunked.next_chunk(
    relation regclass,
    chunk_size bigint DEFAULT 1000,
    after jsonb DEFAULT NULL,
    upto jsonb DEFAULT NULL,
    key text[] DEFAULT NULL,
    filter text DEFAULT NULL,
    scan_limit bigint DEFAULT NULL,
    alias text DEFAULT NULL
) RETURNS SETOF chunked.chunk
    AS 'MODULE_PATHNAME', 'chunked_next_chunk'
    LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 1;
COMMENT ON FUNCTION chunked.next_chunk(regclass, bigint, jsonb, jsonb, text[], text, bigint, text) IS
'The first chunk behind a position, or no row when the walk is over: the step of a walk that keeps nothing between calls.
Arguments, lock and errors: as for chunks(). To bound a walk over a growing table, pass bounds().last as upto.';

GRANT USAGE ON SCHEMA chunked TO PUBLIC;
