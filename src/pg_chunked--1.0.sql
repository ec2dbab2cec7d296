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
exact: true, the default: every chunk but the last holds chunk_size rows of the statement''s snapshot. false: the ends are read off the index''s upper pages in a few milliseconds; sizes and row_count are estimates, the chunks still cover every row once.
after: position (exclusive) to start from; default the start.
upto: position (inclusive) to stop at; default the high-water mark, the last position there is.
key: as for page(); or ''{ctid}'': ranges of blocks of the table, or of each leaf partition by its name in relation, for readers that share one snapshot; row_count is counted if exact.
filter: as for page(); its chunks are always counted.
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

CREATE FUNCTION chunked.split(
    relation regclass,
    parts int,
    exact boolean DEFAULT false,
    key text[] DEFAULT NULL,
    filter text DEFAULT NULL,
    alias text DEFAULT NULL
) RETURNS SETOF chunked.chunk
    AS 'MODULE_PATHNAME', 'chunked_split'
    LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION chunked.split(regclass, int, boolean, text[], text, text) IS
'A relation in a number of chunks as even as can be told.
relation, key, filter, alias: as for chunks().
parts: the number of chunks, over 0; fewer come only where there are fewer rows (by ctid: fewer blocks, and at least one chunk for each partition with rows).
exact: false, the default: by estimate, as for chunks(). true: the sizes differ by one row at most.
Lock: AccessShareLock. Errors: as for page().';

----------------------------------------------------------------------
-- Count, seek, number pages
----------------------------------------------------------------------

CREATE FUNCTION chunked.row_count(
    relation regclass,
    exact boolean DEFAULT true,
    key text[] DEFAULT NULL,
    filter text DEFAULT NULL
) RETURNS bigint
    AS 'MODULE_PATHNAME', 'chunked_row_count'
    LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION chunked.row_count(regclass, boolean, text[], text) IS
'The number of rows, of those that match the filter if there is one.
exact: true, the default: counted along the key''s index where it can be read directly, else by a query. false: an estimate; where one would show more than the caller may see, or with a filter, they are counted.
relation, key, filter: as for page(); a relation without a key is counted all the same.
Lock: AccessShareLock. Errors: as for page().';

CREATE FUNCTION chunked.seek(
    relation regclass,
    rank bigint,
    exact boolean DEFAULT true,
    key text[] DEFAULT NULL,
    filter text DEFAULT NULL
) RETURNS jsonb
    AS 'MODULE_PATHNAME', 'chunked_seek'
    LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION chunked.seek(regclass, bigint, boolean, text[], text) IS
'The position of the rank-th row in key order; null if there are fewer rows or, by estimate, if no visible row follows.
rank: counted from 1.
exact: true, the default: of just that row. false: of a row about there, from the index''s upper pages; counted where these cannot be read directly, or with a filter.
relation, key, filter: as for page().
Lock: AccessShareLock. Errors: 22023 a rank below 1; else as for page().';

CREATE FUNCTION chunked.paginator(
    relation regclass,
    per_page int DEFAULT 100,
    orphans int DEFAULT 0,
    allow_empty_first_page boolean DEFAULT true,
    exact boolean DEFAULT true,
    key text[] DEFAULT NULL,
    filter text DEFAULT NULL,
    OUT row_count bigint,
    OUT page_count bigint
) RETURNS record
    AS 'MODULE_PATHNAME', 'chunked_paginator'
    LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION chunked.paginator(regclass, int, int, boolean, boolean, text[], text) IS
'The number of rows, and of the pages that they make, as Django''s Paginator counts them.
per_page: rows a page, over 0; default 100.
orphans: rows that the last page may take in rather than make a page of their own; default 0.
allow_empty_first_page: whether no rows make one page, the default, or none.
relation, exact, key, filter: as for row_count().
Lock: AccessShareLock. Errors: as for row_count().';

CREATE FUNCTION chunked.paginate(
    relation anyelement,
    page_number bigint,
    per_page int DEFAULT 100,
    orphans int DEFAULT 0,
    exact boolean DEFAULT true,
    key text[] DEFAULT NULL,
    filter text DEFAULT NULL
) RETURNS SETOF anyelement
    AS 'MODULE_PATHNAME', 'chunked_paginate'
    LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 100;
COMMENT ON FUNCTION chunked.paginate(anyelement, bigint, int, int, boolean, text[], text) IS
'The rows of a numbered page, as Django''s Paginator numbers them.
relation: as for page(), a null of the row type.
page_number: from 1. per_page, orphans: as for paginator().
exact: true, the default: found by counting index entries. false: pages lie between estimated positions, every row on one page, sizes approximate, as long as the table is at rest and all pages are read by sessions that may read the index alike; orphans do not count then; partitioned tables are counted.
key, filter: as for page().
Lock: AccessShareLock. Errors: 22023 a page number below 1, P0002 one past the end; else as for page().';

GRANT USAGE ON SCHEMA chunked TO PUBLIC;
