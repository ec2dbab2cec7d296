\echo Use "CREATE EXTENSION pg_chunked" to load this file. \quit

-- Top to bottom: the API.  Walk a relation in pages, split it into chunks, count
-- and number its pages, run a statement over every chunk.
-- Nothing here is SECURITY DEFINER, and nothing ever runs as another role than
-- the caller's.

-- The schema is made here, and not by the control file, which would give it to
-- the user who installs.  It belongs to the role that runs this script, which is
-- a superuser whoever installs, and to the extension: so nobody else can rename
-- it or put anything in the place of what is in it.  Where it exists already this
-- is an error.  (The control file says pg_catalog, where nothing is created, so
-- that the extension depends on no schema that may be dropped.)
CREATE SCHEMA chunked;
COMMENT ON SCHEMA chunked IS 'pg_chunked: walk, split and process tables of any size in bounded chunks';

----------------------------------------------------------------------
-- Planner support
----------------------------------------------------------------------

CREATE FUNCTION chunked.page_support(internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'chunked_page_support'
    LANGUAGE C STRICT IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION chunked.page_support(internal)
    IS 'says to the planner how many rows page() returns, and has statements over it parsed again when their relation changes';

CREATE FUNCTION chunked.paginate_support(internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'chunked_paginate_support'
    LANGUAGE C STRICT IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION chunked.paginate_support(internal)
    IS 'the same for paginate()';

CREATE FUNCTION chunked.chunks_support(internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'chunked_chunks_support'
    LANGUAGE C STRICT IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION chunked.chunks_support(internal)
    IS 'says to the planner how many rows chunks() returns';

CREATE FUNCTION chunked.position_of_support(internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'chunked_position_of_support'
    LANGUAGE C STRICT IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION chunked.position_of_support(internal)
    IS 'has position_of() of a row of FROM executed as position_of_columns()';

----------------------------------------------------------------------
-- Walk
----------------------------------------------------------------------

CREATE FUNCTION chunked.page(
    relation anyelement,
    page_size bigint DEFAULT 1000,
    after jsonb DEFAULT NULL,
    upto jsonb DEFAULT NULL,
    before jsonb DEFAULT NULL,
    key text DEFAULT NULL,
    filter text DEFAULT NULL,
    args jsonb DEFAULT NULL,
    max_bytes bigint DEFAULT NULL
) RETURNS SETOF anyelement
    AS 'MODULE_PATHNAME', 'chunked_page'
    LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 1000
    SUPPORT chunked.page_support;
COMMENT ON FUNCTION chunked.page(anyelement, bigint, jsonb, jsonb, jsonb, text, text, jsonb, bigint) IS
'A page of a table''s rows in key order.
relation: the table, partitioned table, foreign table, materialized view or view, as a null of its row type, NULL::event.
page_size: rows at most, over 0; default 1000.
after: position (exclusive) to start from; default, or as the empty position {}, the start.
upto: position (inclusive) to stop at; default, or as {}, the end.
before: position (exclusive): the last page_size rows before it, or as {} of all, still in key order; default none: the first.
key: the columns that order the walk, written as in ORDER BY, each with optional COLLATE, operator class, ASC or DESC, NULLS FIRST or LAST; default the primary key, else the narrowest unique index over NOT NULL columns. The default key''s columns are appended if needed to make it unique.
filter: SQL boolean expression over the columns; default all rows.
args: JSON array, the values of $1, $2 and so on in filter, whose types are those that PREPARE would find; default none.
max_bytes: the page ends with the row with which so many bytes are reached, of the values as they are read, not as they are stored; one row at least; default no limit. A page with fewer rows than page_size is then not the last one: a walk is over when a page is empty.
Lock: AccessShareLock. Privileges and row-level security are the caller''s.
Errors: 22023 a bad page_size or position, or one of another key, 42P10 no key, 42703 unknown column, 42601 a malformed key or filter, 42P02 a parameter without a value, 42P18 one without a type, 21000 a duplicate key at the page''s end.';

CREATE FUNCTION chunked.page(
    relation text,
    page_size bigint DEFAULT 1000,
    after jsonb DEFAULT NULL,
    upto jsonb DEFAULT NULL,
    before jsonb DEFAULT NULL,
    key text DEFAULT NULL,
    filter text DEFAULT NULL,
    args jsonb DEFAULT NULL,
    max_bytes bigint DEFAULT NULL
) RETURNS SETOF text
    AS 'MODULE_PATHNAME', 'chunked_page_untyped'
    LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION chunked.page(text, bigint, jsonb, jsonb, jsonb, text, text, jsonb, bigint)
    IS 'Always an error (42804), whose hint says how to name the relation: page(NULL::event), not page(''event'').';

CREATE FUNCTION chunked.position_of_columns(
    "row" anyelement,
    key text,
    attnums smallint[],
    VARIADIC columns "any"
) RETURNS jsonb
    AS 'MODULE_PATHNAME', 'chunked_position_of_columns'
    LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION chunked.position_of_columns(anyelement, text, smallint[], "any") IS
'What position_of() is executed as where its row is one of FROM: the key''s columns in place of the row. For the planner only.
row: a typed null. key: as given to position_of(). attnums, columns: the numbers and the values of the key''s columns.
Lock: AccessShareLock; reads no rows. Errors: 55000 they are not the key''s columns, and those of position_of().';

CREATE FUNCTION chunked.position_of(
    "row" anyelement,
    key text DEFAULT NULL
) RETURNS jsonb
    AS 'MODULE_PATHNAME', 'chunked_position_of'
    LANGUAGE C STABLE PARALLEL RESTRICTED
    SUPPORT chunked.position_of_support;
COMMENT ON FUNCTION chunked.position_of(anyelement, text) IS
'The position of a row: a JSON object of key column to text form, null for null, with a member "." for the order of the key where it is not that of the columns in the table; null for a null row.
row: a row of a table or view.
key: as given to page(); default the same as there.
Lock: AccessShareLock; reads no rows. Errors: 42P10 no key, 42703 unknown column, 42601 a malformed key.';

CREATE FUNCTION chunked.bounds(
    relation regclass,
    key text DEFAULT NULL,
    filter text DEFAULT NULL,
    args jsonb DEFAULT NULL,
    OUT first jsonb,
    OUT last jsonb
) RETURNS record
    AS 'MODULE_PATHNAME', 'chunked_bounds'
    LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION chunked.bounds(regclass, text, text, jsonb) IS
'The first and the last position of a walk; both null if it has no rows.
relation, key, filter, args: as for page().
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
    key text DEFAULT NULL,
    filter text DEFAULT NULL,
    args jsonb DEFAULT NULL,
    scan_limit bigint DEFAULT NULL,
    alias text DEFAULT NULL
) RETURNS SETOF chunked.chunk
    AS 'MODULE_PATHNAME', 'chunked_chunks'
    LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 1000
    SUPPORT chunked.chunks_support;
COMMENT ON FUNCTION chunked.chunks(regclass, bigint, boolean, jsonb, jsonb, text, text, jsonb, bigint, text) IS
'The chunks of a relation, in key order; in the select list they come one by one.
relation: table, partitioned table, foreign table, materialized view or view.
chunk_size: matching rows in each chunk but the last, over 0; default 1000.
exact: true, the default: every chunk but the last holds chunk_size rows of the statement''s snapshot. false: the ends are read from the index''s upper pages in a few milliseconds; sizes and row_count are estimates, and the chunks still cover every row once.
after: position (exclusive) to start from; default, or as the empty position {}, the start.
upto: position (inclusive) to stop at; default, or as {}, the high-water mark, the last position there is.
key: as for page(); or ''ctid'': ranges of blocks of the table, or of each leaf partition by its name in relation, for readers that share one snapshot; row_count is counted if exact.
filter, args: as for page(); its chunks are always counted.
scan_limit: closes a chunk once that many rows were examined, however few of them match; default no limit.
alias: qualifies the columns in the predicate; default unqualified.
Lock: AccessShareLock. Errors: as for page().';

CREATE FUNCTION chunked.next_chunk(
    relation regclass,
    chunk_size bigint DEFAULT 1000,
    after jsonb DEFAULT NULL,
    upto jsonb DEFAULT NULL,
    key text DEFAULT NULL,
    filter text DEFAULT NULL,
    args jsonb DEFAULT NULL,
    scan_limit bigint DEFAULT NULL,
    alias text DEFAULT NULL
) RETURNS SETOF chunked.chunk
    AS 'MODULE_PATHNAME', 'chunked_next_chunk'
    LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 1;
COMMENT ON FUNCTION chunked.next_chunk(regclass, bigint, jsonb, jsonb, text, text, jsonb, bigint, text) IS
'The first chunk after a position, or no row when the walk is over: the step of a walk that keeps nothing between calls.
Arguments, lock and errors: as for chunks(). To bound a walk over a growing table, pass bounds().last as upto.';

CREATE FUNCTION chunked.split(
    relation regclass,
    parts bigint,
    exact boolean DEFAULT false,
    key text DEFAULT NULL,
    filter text DEFAULT NULL,
    args jsonb DEFAULT NULL,
    alias text DEFAULT NULL
) RETURNS SETOF chunked.chunk
    AS 'MODULE_PATHNAME', 'chunked_split'
    LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION chunked.split(regclass, bigint, boolean, text, text, jsonb, text) IS
'A relation in a number of chunks as even as can be.
relation, key, filter, args, alias: as for chunks().
parts: the number of chunks, over 0; fewer come only where there are fewer rows (by ctid: fewer blocks, and at least one chunk for each partition with rows).
exact: false, the default: by estimate, as for chunks(). true: the sizes differ by one row at most.
Lock: AccessShareLock. Errors: as for page().';

----------------------------------------------------------------------
-- Count, seek, number pages
----------------------------------------------------------------------

CREATE FUNCTION chunked.row_count(
    relation regclass,
    exact boolean DEFAULT true,
    key text DEFAULT NULL,
    filter text DEFAULT NULL,
    args jsonb DEFAULT NULL
) RETURNS bigint
    AS 'MODULE_PATHNAME', 'chunked_row_count'
    LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION chunked.row_count(regclass, boolean, text, text, jsonb) IS
'The number of rows, of those that match the filter if there is one.
exact: true, the default: counted along the key''s index where it can be read directly, else by a query. false: an estimate; where one would show more than the caller may see, or with a filter, they are counted.
relation, key, filter, args: as for page(); a relation without a key is counted all the same.
Lock: AccessShareLock. Errors: as for page().';

CREATE FUNCTION chunked.seek(
    relation regclass,
    rank bigint,
    exact boolean DEFAULT true,
    key text DEFAULT NULL,
    filter text DEFAULT NULL,
    args jsonb DEFAULT NULL
) RETURNS jsonb
    AS 'MODULE_PATHNAME', 'chunked_seek'
    LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION chunked.seek(regclass, bigint, boolean, text, text, jsonb) IS
'The position of the rank-th row in key order; null if there are fewer rows or, by estimate, if no visible row follows.
rank: counted from 1.
exact: true, the default: of just that row. false: of a row about there, from the index''s upper pages; counted where these cannot be read directly, or with a filter.
relation, key, filter, args: as for page().
Lock: AccessShareLock. Errors: 22023 a rank below 1; else as for page().';

CREATE FUNCTION chunked.paginator(
    relation regclass,
    per_page bigint DEFAULT 100,
    orphans bigint DEFAULT 0,
    allow_empty_first_page boolean DEFAULT true,
    exact boolean DEFAULT true,
    key text DEFAULT NULL,
    filter text DEFAULT NULL,
    args jsonb DEFAULT NULL,
    OUT row_count bigint,
    OUT page_count bigint
) RETURNS record
    AS 'MODULE_PATHNAME', 'chunked_paginator'
    LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION chunked.paginator(regclass, bigint, bigint, boolean, boolean, text, text, jsonb) IS
'The number of rows, and of the pages that they make, as Django''s Paginator counts them.
per_page: rows a page, over 0; default 100.
orphans: rows that the last page may take in rather than make a page of their own; default 0.
allow_empty_first_page: whether no rows make one page, the default, or none.
relation, exact, key, filter, args: as for row_count().
Lock: AccessShareLock. Errors: as for row_count().';

CREATE FUNCTION chunked.paginate(
    relation anyelement,
    page_number bigint,
    per_page bigint DEFAULT 100,
    orphans bigint DEFAULT 0,
    exact boolean DEFAULT true,
    key text DEFAULT NULL,
    filter text DEFAULT NULL,
    args jsonb DEFAULT NULL
) RETURNS SETOF anyelement
    AS 'MODULE_PATHNAME', 'chunked_paginate'
    LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 100
    SUPPORT chunked.paginate_support;
COMMENT ON FUNCTION chunked.paginate(anyelement, bigint, bigint, bigint, boolean, text, text, jsonb) IS
'The rows of a numbered page, as Django''s Paginator numbers them.
relation: as for page(), a null of the row type.
page_number: from 1. per_page, orphans: as for paginator().
exact: true, the default: found by counting index entries. false: pages lie between estimated positions, every row on one page, sizes approximate, as long as the table is at rest and all pages are read by sessions that may read the index alike; orphans do not count then; partitioned tables are counted.
key, filter, args: as for page().
Lock: AccessShareLock. Errors: 22023 a page number below 1, P0002 one past the end; else as for page().';

CREATE FUNCTION chunked.paginate(
    relation text,
    page_number bigint,
    per_page bigint DEFAULT 100,
    orphans bigint DEFAULT 0,
    exact boolean DEFAULT true,
    key text DEFAULT NULL,
    filter text DEFAULT NULL,
    args jsonb DEFAULT NULL
) RETURNS SETOF text
    AS 'MODULE_PATHNAME', 'chunked_page_untyped'
    LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION chunked.paginate(text, bigint, bigint, bigint, boolean, text, text, jsonb)
    IS 'Always an error (42804), whose hint says how to name the relation: paginate(NULL::event, 1), not paginate(''event'', 1).';

----------------------------------------------------------------------
-- Run: the ledger
----------------------------------------------------------------------

-- References to a role and to a relation: the oid in the table, the name in a
-- dump.  Unlike regrole and regclass, what is missing where the dump is restored
-- is a warning and costs its own jobs alone: they are then nobody's, or of no
-- relation, until alter_job() says whose.
CREATE TYPE chunked.role_reference;
CREATE FUNCTION chunked.role_reference_in(text cstring) RETURNS chunked.role_reference
    AS 'MODULE_PATHNAME', 'chunked_role_reference_in' LANGUAGE C STABLE STRICT PARALLEL SAFE;
CREATE FUNCTION chunked.role_reference_out(reference chunked.role_reference) RETURNS cstring
    AS 'MODULE_PATHNAME', 'chunked_role_reference_out' LANGUAGE C STABLE STRICT PARALLEL SAFE;
CREATE TYPE chunked.role_reference (
    INPUT = chunked.role_reference_in,
    OUTPUT = chunked.role_reference_out,
    LIKE = pg_catalog.oid
);
COMMENT ON FUNCTION chunked.role_reference_in(cstring)
    IS 'text: a role''s name, quoted as in SQL; one that does not exist, or "-", gives no role, the former with a WARNING.';
COMMENT ON FUNCTION chunked.role_reference_out(chunked.role_reference)
    IS 'The role''s name, quoted where SQL would need it; "-" for none and for one that was dropped.';
COMMENT ON TYPE chunked.role_reference IS 'A role, in the ledger of jobs; dumped by its name.';

CREATE TYPE chunked.relation_reference;
CREATE FUNCTION chunked.relation_reference_in(text cstring) RETURNS chunked.relation_reference
    AS 'MODULE_PATHNAME', 'chunked_relation_reference_in' LANGUAGE C STABLE STRICT PARALLEL SAFE;
CREATE FUNCTION chunked.relation_reference_out(reference chunked.relation_reference) RETURNS cstring
    AS 'MODULE_PATHNAME', 'chunked_relation_reference_out' LANGUAGE C STABLE STRICT PARALLEL SAFE;
CREATE TYPE chunked.relation_reference (
    INPUT = chunked.relation_reference_in,
    OUTPUT = chunked.relation_reference_out,
    LIKE = pg_catalog.oid
);
COMMENT ON FUNCTION chunked.relation_reference_in(cstring)
    IS 'text: a relation''s name with its schema; one that does not exist, or "-", gives no relation, the former with a WARNING.';
COMMENT ON FUNCTION chunked.relation_reference_out(chunked.relation_reference)
    IS 'The relation''s name, always with its schema; "-" for none and for one that was dropped.';
COMMENT ON TYPE chunked.relation_reference IS 'A relation, in the ledger of jobs; dumped by its name.';

-- The same bits as an oid: casts call no function.
CREATE CAST (chunked.role_reference AS pg_catalog.oid) WITHOUT FUNCTION AS IMPLICIT;
CREATE CAST (pg_catalog.oid AS chunked.role_reference) WITHOUT FUNCTION AS ASSIGNMENT;
CREATE TYPE chunked.column_reference;
CREATE FUNCTION chunked.column_reference_in(text cstring) RETURNS chunked.column_reference
    AS 'MODULE_PATHNAME', 'chunked_column_reference_in' LANGUAGE C STABLE STRICT PARALLEL SAFE;
CREATE FUNCTION chunked.column_reference_out(reference chunked.column_reference) RETURNS cstring
    AS 'MODULE_PATHNAME', 'chunked_column_reference_out' LANGUAGE C STABLE STRICT PARALLEL SAFE;
CREATE TYPE chunked.column_reference (
    INPUT = chunked.column_reference_in,
    OUTPUT = chunked.column_reference_out,
    LIKE = pg_catalog.int8
);
COMMENT ON FUNCTION chunked.column_reference_in(cstring)
    IS 'By the quoted names of schema, relation and column; 0, with a WARNING, if it is missing.';
COMMENT ON FUNCTION chunked.column_reference_out(chunked.column_reference)
    IS 'The quoted names of schema, relation and column; - for none.';
COMMENT ON TYPE chunked.column_reference IS 'A column of a relation, in the ledger of jobs; dumped by its name.';

CREATE CAST (chunked.column_reference AS pg_catalog.int8) WITHOUT FUNCTION AS IMPLICIT;
CREATE CAST (pg_catalog.int8 AS chunked.column_reference) WITHOUT FUNCTION AS ASSIGNMENT;
CREATE CAST (chunked.relation_reference AS pg_catalog.oid) WITHOUT FUNCTION AS IMPLICIT;
CREATE CAST (pg_catalog.oid AS chunked.relation_reference) WITHOUT FUNCTION AS ASSIGNMENT;

-- A job's settings; written when they change, not as it goes.
CREATE TABLE chunked.ledger_jobs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    owner chunked.role_reference NOT NULL,
    relation chunked.relation_reference NOT NULL,
    statement text,
    chunk_size bigint NOT NULL CHECK (chunk_size > 0),
    key text NOT NULL,                -- all of its columns, by their names at its creation
    key_columns chunked.column_reference[] NOT NULL,    -- the columns themselves
    filter text,
    args jsonb,                         -- the values of its parameters
    target_time interval CHECK (target_time > interval '0'),
    pause interval NOT NULL CHECK (pause >= interval '0'),
    max_lag interval CHECK (max_lag > interval '0'),
    throttle text,
    max_attempts int NOT NULL CHECK (max_attempts > 0),
    on_error text NOT NULL CHECK (on_error IN ('stop', 'continue')),
    check_plan boolean NOT NULL,
    search_path text NOT NULL,          -- by which names in the job's texts are found
    settings text[] NOT NULL,           -- name, value, ...: by which the texts are read, and others to keep
    key_described text NOT NULL,        -- the key as it was, so that positions of another are not taken for its
    high_water jsonb,                   -- null: there were no rows
    total_rows bigint NOT NULL,         -- estimate
    on_foreign_write text NOT NULL DEFAULT 'refuse',
    created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    paused boolean NOT NULL DEFAULT false,
    cancelled boolean NOT NULL DEFAULT false,
    stopped boolean NOT NULL DEFAULT false,     -- by a failed chunk, with on_error = 'stop'
    waiting text,                       -- what the runners wait for, while they live
    turns_until timestamptz,            -- until then chunks are worked on one at a time, after deadlocks
    turns_ms bigint NOT NULL DEFAULT 0, -- for how long that was the last time
    error_sqlstate text,                -- that ended the last background worker
    error text,
    error_detail text,
    error_hint text
);
-- A job is found by its name, which is unique among its owner's; those that a
-- restore left without an owner may share one.  Not by an index on the names
-- themselves: comparing them is leakproof, so that such a condition would be
-- looked up before the policy, and EXPLAIN show whether another role has a job
-- of that name.  Hashing is not.  Nor are there statistics of what is in the rows.
CREATE UNIQUE INDEX ledger_jobs_owner_name ON chunked.ledger_jobs (
    pg_catalog.hashtextextended(name OPERATOR(pg_catalog.||) '/' OPERATOR(pg_catalog.||) owner::pg_catalog.oid::text, 0),
    pg_catalog.hashtextextended(name OPERATOR(pg_catalog.||) '/' OPERATOR(pg_catalog.||) owner::pg_catalog.oid::text, 1))
    WHERE owner::pg_catalog.oid OPERATOR(pg_catalog.<>) 0::pg_catalog.oid;
CREATE INDEX ledger_jobs_name ON chunked.ledger_jobs (pg_catalog.hashtextextended(name, 0));
ALTER TABLE chunked.ledger_jobs
    ALTER name SET STATISTICS 0, ALTER owner SET STATISTICS 0, ALTER relation SET STATISTICS 0,
    ALTER statement SET STATISTICS 0, ALTER key SET STATISTICS 0, ALTER filter SET STATISTICS 0,
    ALTER args SET STATISTICS 0,
    ALTER throttle SET STATISTICS 0, ALTER search_path SET STATISTICS 0, ALTER settings SET STATISTICS 0,
    ALTER key_described SET STATISTICS 0, ALTER high_water SET STATISTICS 0, ALTER waiting SET STATISTICS 0,
    ALTER error SET STATISTICS 0, ALTER error_detail SET STATISTICS 0, ALTER error_hint SET STATISTICS 0;
COMMENT ON TABLE chunked.ledger_jobs IS
'Jobs: what the view chunked.jobs shows. Changed by functions alone.';
COMMENT ON SEQUENCE chunked.ledger_jobs_id_seq IS
'Numbers the jobs.';

-- How far a job's boundaries have been carved; written a batch of chunks at a time.
CREATE TABLE chunked.ledger_carving (
    job bigint PRIMARY KEY,
    carved_upto jsonb,                  -- null: nothing yet
    carved_all boolean NOT NULL,
    chunks bigint NOT NULL DEFAULT 0,   -- numbers given out
    chunk_size bigint NOT NULL,         -- of the next chunk
    rate double precision,              -- rows a second, to go by for target_time
    folded_number bigint NOT NULL DEFAULT 0,    -- none up to this one is pending; of those that are done:
    folded_chunks bigint NOT NULL DEFAULT 0,
    folded_rows bigint NOT NULL DEFAULT 0,
    folded_affected numeric NOT NULL DEFAULT 0,
    folded_retries bigint NOT NULL DEFAULT 0,
    marks_at timestamptz[] NOT NULL DEFAULT '{}',   -- folded_rows some times in the last minute, oldest first
    marks_rows bigint[] NOT NULL DEFAULT '{}'
) WITH (fillfactor = 50);
COMMENT ON TABLE chunked.ledger_carving IS
'How far the boundaries of each job have been carved. Changed by functions alone.';

CREATE TABLE chunked.ledger_chunks (
    job bigint NOT NULL,
    number bigint NOT NULL,
    state text NOT NULL DEFAULT 'pending',      -- or done, failed; no CHECK, which each query would parse
    after jsonb,
    upto jsonb NOT NULL,
    row_count bigint NOT NULL,          -- when it was carved
    rows_affected bigint,
    attempts int NOT NULL DEFAULT 0,    -- that failed
    strikes int NOT NULL DEFAULT 0,     -- those of them that count towards max_attempts
    fence bigint NOT NULL DEFAULT 0,    -- of the last claim; 0: nobody has touched it
    lease_until timestamptz,
    retry_at timestamptz,
    started_at timestamptz,
    finished_at timestamptz,
    failed_key jsonb,
    error_sqlstate text,
    error text,
    error_detail text,
    error_hint text,
    PRIMARY KEY (job, number)
);
ALTER TABLE chunked.ledger_chunks
    ALTER after SET STATISTICS 0, ALTER upto SET STATISTICS 0, ALTER failed_key SET STATISTICS 0,
    ALTER error SET STATISTICS 0, ALTER error_detail SET STATISTICS 0, ALTER error_hint SET STATISTICS 0;
CREATE INDEX ledger_chunks_open ON chunked.ledger_chunks (job, state, number) WHERE state <> 'done';
COMMENT ON TABLE chunked.ledger_chunks IS
'The chunks of all jobs: what the view chunked.job_chunks shows. Changed by functions alone.';

-- Numbers of claims.  From a sequence, so that one that was rolled back is not given out again.
CREATE SEQUENCE chunked.ledger_fences;
COMMENT ON SEQUENCE chunked.ledger_fences IS
'Numbers the claims of all jobs.';

SELECT pg_catalog.pg_extension_config_dump('chunked.ledger_fences', '');
SELECT pg_catalog.pg_extension_config_dump('chunked.ledger_jobs', '');
SELECT pg_catalog.pg_extension_config_dump('chunked.ledger_jobs_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('chunked.ledger_carving', '');
SELECT pg_catalog.pg_extension_config_dump('chunked.ledger_chunks', '');

-- A job is seen by the members of the role that owns it.  Nobody but the
-- functions writes here, which check whose job it is.
ALTER TABLE chunked.ledger_jobs ENABLE ROW LEVEL SECURITY;
ALTER TABLE chunked.ledger_carving ENABLE ROW LEVEL SECURITY;
ALTER TABLE chunked.ledger_chunks ENABLE ROW LEVEL SECURITY;
CREATE POLICY see ON chunked.ledger_jobs FOR SELECT
    USING (pg_catalog.pg_has_role(owner::pg_catalog.oid, 'MEMBER'));
CREATE POLICY see ON chunked.ledger_carving FOR SELECT
    USING (job IN (SELECT j.id FROM chunked.ledger_jobs j));
CREATE POLICY see ON chunked.ledger_chunks FOR SELECT
    USING (job IN (SELECT j.id FROM chunked.ledger_jobs j));
GRANT SELECT ON chunked.ledger_jobs, chunked.ledger_carving, chunked.ledger_chunks,
    chunked.ledger_jobs_id_seq, chunked.ledger_fences TO PUBLIC;

----------------------------------------------------------------------
-- Run: views
----------------------------------------------------------------------

CREATE VIEW chunked.jobs WITH (security_invoker = true) AS
SELECT j.name, j.owner::pg_catalog.oid::pg_catalog.regrole AS owner,
       j.relation::pg_catalog.oid::pg_catalog.regclass AS relation, j.statement,
       CASE
           WHEN j.cancelled THEN 'cancelled'
           WHEN v.carved_all AND NOT c.pending AND NOT c.failed THEN 'done'
           WHEN r.runners > 0 THEN 'running'
           WHEN j.paused THEN 'paused'
           WHEN c.leased THEN 'running'
           WHEN c.failed AND (j.stopped OR (v.carved_all AND NOT c.pending)) THEN 'failed'
           WHEN EXISTS (SELECT FROM chunked.ledger_chunks d
                        WHERE d.job = j.id AND d.number = 1 AND d.fence > 0) THEN 'stopped'
           ELSE 'ready'
       END AS status,
       r.runners AS workers,
       CASE WHEN r.runners > 0 THEN j.waiting END AS waiting,
       j.chunk_size, j.key, j.filter, j.args, j.target_time, j.pause, j.max_lag, j.throttle,
       j.max_attempts, j.on_error, j.check_plan, j.search_path, j.high_water, j.total_rows,
       j.created_at, j.error_sqlstate, j.error, j.error_detail, j.error_hint, j.id
FROM chunked.ledger_jobs j
JOIN chunked.ledger_carving v ON v.job = j.id
CROSS JOIN LATERAL (
    SELECT pg_catalog.count(*)::int AS runners
    FROM pg_catalog.pg_locks l
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 3
      AND l.classid = 'chunked.ledger_jobs'::regclass::oid AND l.objid = (j.id % 4294967296)::oid
      AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d
                        WHERE d.datname = pg_catalog.current_database())
) r
CROSS JOIN LATERAL (
    SELECT coalesce(pg_catalog.bool_or(o.state = 'pending'), false) AS pending,
           coalesce(pg_catalog.bool_or(o.state = 'failed'), false) AS failed,
           coalesce(pg_catalog.bool_or(o.lease_until > pg_catalog.clock_timestamp()), false) AS leased
    FROM chunked.ledger_chunks o
    WHERE o.job = j.id AND o.state <> 'done'
) c;
COMMENT ON VIEW chunked.jobs IS
'Jobs of the roles that you are a member of.
status: ready, running (as live locks and leases show), paused, stopped (begun, and nobody is working on it), failed, cancelled or done.
workers: sessions and background workers working on it now. waiting: what they wait for. error_sqlstate, error, error_detail, error_hint: what ended the last background worker.';

-- By state, so that a condition on it is one on the index of chunks that are not done.
CREATE VIEW chunked.job_chunks WITH (security_invoker = true) AS
SELECT j.name AS job, c.number, 'done' AS state, c.after, c.upto, c.row_count, c.rows_affected, c.attempts, c.fence, c.lease_until,
       c.retry_at, c.started_at, c.finished_at, c.failed_key, c.error_sqlstate, c.error,
       c.error_detail, c.error_hint, j.owner::pg_catalog.oid::pg_catalog.regrole AS owner
FROM chunked.ledger_chunks c
JOIN chunked.ledger_jobs j ON j.id = c.job
WHERE c.state = 'done'
UNION ALL
SELECT j.name, c.number, 'failed', c.after, c.upto, c.row_count, c.rows_affected, c.attempts, c.fence, c.lease_until,
       c.retry_at, c.started_at, c.finished_at, c.failed_key, c.error_sqlstate, c.error,
       c.error_detail, c.error_hint, j.owner::pg_catalog.oid::pg_catalog.regrole AS owner
FROM chunked.ledger_chunks c
JOIN chunked.ledger_jobs j ON j.id = c.job
WHERE c.state <> 'done' AND c.state = 'failed'
UNION ALL
SELECT j.name, c.number,
       CASE WHEN c.lease_until > pg_catalog.clock_timestamp() THEN 'leased' ELSE 'pending' END, c.after, c.upto, c.row_count, c.rows_affected, c.attempts, c.fence, c.lease_until,
       c.retry_at, c.started_at, c.finished_at, c.failed_key, c.error_sqlstate, c.error,
       c.error_detail, c.error_hint, j.owner::pg_catalog.oid::pg_catalog.regrole AS owner
FROM chunked.ledger_chunks c
JOIN chunked.ledger_jobs j ON j.id = c.job
WHERE c.state <> 'done' AND c.state = 'pending';
COMMENT ON VIEW chunked.job_chunks IS
'The chunks of jobs, as far as they have been carved.
state: pending, leased (to a worker outside the server), done or failed. row_count: rows when it was carved. rows_affected: by its statement.
attempts: those that failed. failed_key: the position of the row that fails, with its error_sqlstate, error, error_detail and error_hint.';

CREATE FUNCTION chunked.human_number(number double precision) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN CASE
        WHEN number < 9999.5 THEN pg_catalog.round(number::numeric)::text
        WHEN number < 999500 THEN pg_catalog.round((number / 1e3)::numeric)::text || 'k'
        WHEN number < 999.95e6 THEN pg_catalog.round((number / 1e6)::numeric, 1)::text || 'M'
        ELSE pg_catalog.round((number / 1e9)::numeric, 1)::text || 'G'
    END;
COMMENT ON FUNCTION chunked.human_number(double precision)
    IS 'A number in short: 7.1M. number: any that is not negative.';

CREATE FUNCTION chunked.human_time(seconds double precision) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN CASE
        WHEN seconds < 9.95 THEN pg_catalog.round(seconds::numeric, 1)::text || ' s'
        WHEN seconds < 99.5 THEN pg_catalog.round(seconds::numeric)::text || ' s'
        WHEN seconds < 5970 THEN pg_catalog.round((seconds / 60)::numeric)::text || ' min'
        WHEN seconds < 356400 THEN pg_catalog.round((seconds / 3600)::numeric)::text || ' h'
        ELSE pg_catalog.round((seconds / 86400)::numeric)::text || ' days'
    END;
COMMENT ON FUNCTION chunked.human_time(double precision)
    IS 'A time in short: 14 s. seconds: any that is not negative.';

CREATE FUNCTION chunked.progress_bar(fraction double precision) RETURNS text
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
    RETURN CASE
        WHEN pg_catalog.getdatabaseencoding() = 'UTF8' AND pg_catalog.current_setting('client_encoding') = 'UTF8'
        THEN pg_catalog.repeat(pg_catalog.chr(9608), pg_catalog.floor(fraction * 10)::int)
             || pg_catalog.repeat(pg_catalog.chr(9617), 10 - pg_catalog.floor(fraction * 10)::int)
        ELSE pg_catalog.repeat('#', pg_catalog.floor(fraction * 10)::int)
             || pg_catalog.repeat('.', 10 - pg_catalog.floor(fraction * 10)::int)
    END;
COMMENT ON FUNCTION chunked.progress_bar(double precision)
    IS 'A bar ten characters long, of blocks if database and client use UTF-8. fraction: filled, 0 to 1.';

CREATE VIEW chunked.progress WITH (security_invoker = true) AS
SELECT j.name AS job, j.relation, j.status, d.chunks AS chunks_done, d.rows AS rows_done,
       t.total AS rows_total, n.fraction, b.bar, n.rate AS rows_per_second, n.eta,
       v.chunk_size, j.workers, d.failed AS chunks_failed, d.retries, d.affected AS rows_affected,
       j.waiting,
       b.bar || pg_catalog.format(' %s%%  %s/%s%s rows', pg_catalog.floor(n.fraction * 100)::int,
                                  chunked.human_number(d.rows), CASE WHEN v.carved_all THEN '' ELSE '~' END,
                                  chunked.human_number(t.total))
           || coalesce('  ' || chunked.human_number(n.rate) || ' rows/s', '')
           || coalesce('  ETA ' || chunked.human_time(extract(epoch FROM n.eta)::double precision), '')
           || CASE WHEN d.failed > 0 THEN pg_catalog.format('  %s failed', d.failed) ELSE '' END
           || coalesce('  waiting: ' || j.waiting, '') AS line,
       j.owner, j.id
FROM chunked.jobs j
JOIN chunked.ledger_carving v ON v.job = j.id
CROSS JOIN LATERAL (
    SELECT pg_catalog.count(*) AS chunks,
           coalesce(pg_catalog.sum(c.row_count), 0)::bigint AS open_rows,
           coalesce(pg_catalog.sum(c.attempts), 0)::bigint AS retries
    FROM chunked.ledger_chunks c
    WHERE c.job = j.id AND c.state <> 'done' AND c.state = 'failed' AND c.number <= v.folded_number
) f
CROSS JOIN LATERAL (
    SELECT v.folded_chunks + pg_catalog.count(*) FILTER (WHERE c.state = 'done') AS chunks,
           f.chunks + pg_catalog.count(*) FILTER (WHERE c.state = 'failed') AS failed,
           v.folded_rows + coalesce(pg_catalog.sum(c.row_count) FILTER (WHERE c.state = 'done'), 0)::bigint AS rows,
           v.folded_affected + coalesce(pg_catalog.sum(c.rows_affected) FILTER (WHERE c.state = 'done'), 0) AS affected,
           v.folded_retries + f.retries + coalesce(pg_catalog.sum(c.attempts), 0)::bigint AS retries,
           f.open_rows + coalesce(pg_catalog.sum(c.row_count) FILTER (WHERE c.state <> 'done'), 0)::bigint AS open_rows,
           pg_catalog.sum(c.row_count) FILTER (WHERE c.state = 'done'
               AND c.finished_at > pg_catalog.clock_timestamp() - interval '1 min')::double precision AS recent_rows,
           pg_catalog.min(c.started_at) FILTER (WHERE c.state = 'done'
               AND c.finished_at > pg_catalog.clock_timestamp() - interval '1 min') AS recent_start
    FROM chunked.ledger_chunks c
    WHERE c.job = j.id AND c.number > v.folded_number
) d
CROSS JOIN LATERAL (
    -- once all boundaries are known the total is, too
    SELECT CASE WHEN v.carved_all THEN d.rows + d.open_rows
                ELSE greatest(j.total_rows, d.rows + d.open_rows) END AS total,
           CASE WHEN v.marks_at[1] IS NULL THEN d.recent_rows ELSE (d.rows - v.marks_rows[1])::double precision END
           / greatest(extract(epoch FROM pg_catalog.clock_timestamp() - coalesce(v.marks_at[1], d.recent_start))::double precision,
                      0.001) AS rate
) t
CROSS JOIN LATERAL (
    SELECT CASE WHEN j.status = 'done' THEN 1
                WHEN t.total = 0 THEN 0
                ELSE least(d.rows::double precision / t.total, 1) END::double precision AS fraction,
           CASE WHEN j.status = 'running' THEN t.rate END AS rate,
           CASE WHEN j.status = 'running' AND t.rate > 0 THEN
               pg_catalog.make_interval(secs => greatest(t.total - d.rows, 0) / t.rate) END AS eta
) n
CROSS JOIN LATERAL (SELECT chunked.progress_bar(n.fraction) AS bar) b;
COMMENT ON VIEW chunked.progress IS
'How far each job is, as of now; for \watch 1.
rows_done: of the chunks that are done, counted when their boundaries were carved; rows_affected: what the statement changed, or workers outside reported.
fraction: of rows done, 0 to 1. rows_total: an estimate until all boundaries are carved, with ~ in line. rows_per_second: over the last minute.
eta: time left at that rate. chunk_size: of the next chunk. retries: attempts that failed. waiting: what the workers wait for. line: all of it in one line.';

----------------------------------------------------------------------
-- Run: jobs
----------------------------------------------------------------------

CREATE PROCEDURE chunked.run(
    relation regclass,
    statement text,
    name text DEFAULT NULL,
    chunk_size bigint DEFAULT 1000,
    workers bigint DEFAULT 0,
    key text DEFAULT NULL,
    filter text DEFAULT NULL,
    args jsonb DEFAULT NULL,
    target_time interval DEFAULT NULL,
    pause interval DEFAULT '0',
    max_lag interval DEFAULT NULL,
    throttle text DEFAULT NULL,
    max_attempts bigint DEFAULT 5,
    on_error text DEFAULT 'stop',
    check_plan boolean DEFAULT true,
    after jsonb DEFAULT NULL,
    upto jsonb DEFAULT NULL,
    settings text DEFAULT NULL,
    on_foreign_write text DEFAULT 'refuse',
    dry_run boolean DEFAULT false
)
    AS 'MODULE_PATHNAME', 'chunked_run'
    LANGUAGE C;
COMMENT ON PROCEDURE chunked.run(regclass, text, text, bigint, bigint, text, text, jsonb, interval, interval, interval, text, bigint, text, boolean, jsonb, jsonb, text, text, boolean) IS
'Runs a statement over every chunk of a relation, committed chunk by chunk; shows progress and ends with a summary. Interrupted, it goes on by run_job().
relation, key, filter, args: as for chunks(); the filter sizes the chunks, and the statement must imply it.
statement: INSERT, UPDATE, DELETE, MERGE or SELECT, with {chunk}, or {chunk:alias}, where the chunk''s condition belongs.
name: of the job; default the relation''s with a number. chunk_size: rows a chunk, the first one if target_time is given; default 1000.
workers: background workers; default 0, this session.
target_time: adapts the chunk size to take this long; default none. pause: sleeps between chunks; default 0.
max_lag: waits while a standby lags more; default none. throttle: boolean SQL expression, waits while it is true or fails; default none.
max_attempts: of a chunk that fails, before it is divided down to the row that fails; default 5. on_error: ''stop'' there, the default, or ''continue'' with the rest.
check_plan: refuses a statement that would read a large table in full for every chunk; default true.
after: position (exclusive) to start from; default, or as {}, the start. upto: position (inclusive) to stop at; default, or as {}, the high-water mark, the last position there is.
settings: names of settings of this session, with commas between them, that the job is to keep, such as those that policies go by; default none. DateStyle and whatever else decides how its texts are read is kept in any case.
on_foreign_write: ''refuse'', the default, a statement that writes through foreign tables, since these may commit what the chunk does not; or ''at_least_once''. dry_run: shows the first and the last statement, the estimates and the plan, and runs nothing; default false.
Lock: AccessShareLock and what the statement takes, a chunk at a time. Errors: 25001 in a transaction block, 42601 no {chunk}, 22023 a bad option, 42710 the name is taken, 0A000 a plan or a statement that is refused, 55000 without name, after and upto, a job with the same statement has done a part, 57014 another session paused, cancelled or dropped the job; else as for chunks(), and the statement''s own.';

CREATE FUNCTION chunked.create_job(
    relation regclass,
    statement text DEFAULT NULL,
    name text DEFAULT NULL,
    chunk_size bigint DEFAULT 1000,
    key text DEFAULT NULL,
    filter text DEFAULT NULL,
    args jsonb DEFAULT NULL,
    target_time interval DEFAULT NULL,
    pause interval DEFAULT '0',
    max_lag interval DEFAULT NULL,
    throttle text DEFAULT NULL,
    max_attempts bigint DEFAULT 5,
    on_error text DEFAULT 'stop',
    check_plan boolean DEFAULT true,
    after jsonb DEFAULT NULL,
    upto jsonb DEFAULT NULL,
    settings text DEFAULT NULL,
    on_foreign_write text DEFAULT 'refuse'
) RETURNS text
    AS 'MODULE_PATHNAME', 'chunked_create_job'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION chunked.create_job(regclass, text, text, bigint, text, text, jsonb, interval, interval, interval, text, bigint, text, boolean, jsonb, jsonb, text, text) IS
'Creates a job and returns its name; run_job() or start_job() runs it. Its high-water mark, the last position there is, is fixed here.
statement: as for run(); null, the default, for a job whose chunks are claimed by claim_chunk() and done outside the server.
The other arguments and the errors: as for run(). Lock: AccessShareLock.';

CREATE FUNCTION chunked.alter_job(
    name text,
    chunk_size bigint DEFAULT NULL,
    target_time interval DEFAULT NULL,
    pause interval DEFAULT NULL,
    max_lag interval DEFAULT NULL,
    throttle text DEFAULT NULL,
    max_attempts bigint DEFAULT NULL,
    on_error text DEFAULT NULL,
    check_plan boolean DEFAULT NULL,
    owner regrole DEFAULT NULL
) RETURNS void
    AS 'MODULE_PATHNAME', 'chunked_alter_job'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION chunked.alter_job(text, bigint, interval, interval, interval, text, bigint, text, boolean, regrole) IS
'Changes settings of a job, running or not, from its next chunk on.
name: of the job. The others: as for run(); null, the default, leaves one as it is; the interval ''0'' for target_time or max_lag, and '''' for throttle, turn it off.
throttle: by the owner alone. owner: another role that gets the job, by who has the rights of both; a superuser if the owner was dropped.
Lock: the job''s row. Errors: 42704 no such job, 22023 a bad option, 42501 not with your rights, 42710 the new owner has a job of that name.';

CREATE PROCEDURE chunked.run_job(
    name text,
    workers bigint DEFAULT 0
)
    AS 'MODULE_PATHNAME', 'chunked_run_job'
    LANGUAGE C;
COMMENT ON PROCEDURE chunked.run_job(text, bigint) IS
'Runs a job to its end: starts it, or goes on where it stopped or was paused.
name: of a job that the current role owns. workers: background workers; default 0, this session.
Errors: 25001 in a transaction block, 42704 no such job, 42501 not the owner, 55000 cancelled or without a statement, 53400 no background worker could be started, 57014 another session paused, cancelled or dropped the job; else the statement''s own.';

CREATE FUNCTION chunked.start_job(
    name text,
    workers bigint DEFAULT 1
) RETURNS int
    AS 'MODULE_PATHNAME', 'chunked_start_job'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION chunked.start_job(text, bigint) IS
'Starts background workers for a job and returns their number; they go on when the client has gone. In a transaction block they begin when it commits.
name: of a job that the current role owns. workers: how many, over 0; default 1.
Errors: as for run_job().';

CREATE FUNCTION chunked.pause_job(name text) RETURNS void
    AS 'MODULE_PATHNAME', 'chunked_pause_job'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION chunked.pause_job(text) IS
'Pauses a job: what runs it ends after the chunk in hand, and nothing is claimed. resume_job(), run_job() and start_job() go on.
name: of the job. Lock: its row. Errors: 42704 no such job, 55000 cancelled.';

CREATE FUNCTION chunked.resume_job(name text) RETURNS void
    AS 'MODULE_PATHNAME', 'chunked_resume_job'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION chunked.resume_job(text) IS
'Ends a job''s pause, for workers outside the server; runs nothing by itself.
name: of the job. Lock: its row. Errors: 42704 no such job, 55000 cancelled.';

CREATE FUNCTION chunked.cancel_job(name text) RETURNS void
    AS 'MODULE_PATHNAME', 'chunked_cancel_job'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION chunked.cancel_job(text) IS
'Cancels a job for good: what runs it ends after the chunk in hand; what was done stays done.
name: of the job. Lock: its row. Errors: 42704 no such job.';

CREATE FUNCTION chunked.drop_job(name text) RETURNS void
    AS 'MODULE_PATHNAME', 'chunked_drop_job'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION chunked.drop_job(text) IS
'Removes a job and its chunks from the ledger.
name: of the job. Lock: its row. Errors: 42704 no such job, 55006 it is running.';

CREATE FUNCTION chunked.drop_jobs(older_than interval) RETURNS bigint
    AS 'MODULE_PATHNAME', 'chunked_drop_jobs'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION chunked.drop_jobs(interval) IS
'Removes the current role''s jobs that are over, done without failed chunks or cancelled, and returns their number.
older_than: since they were created and their last chunk ended, 0 or more.
Lock: their rows. Errors: 22023 a bad interval. Jobs that are running are left.';

CREATE FUNCTION chunked.retry_failed(name text) RETURNS bigint
    AS 'MODULE_PATHNAME', 'chunked_retry_failed'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION chunked.retry_failed(text) IS
'Makes a job''s failed chunks pending again, with all their attempts, and returns their number; run_job() then does them.
name: of the job. Lock: its row and the chunks''. Errors: 42704 no such job, 55000 cancelled.';

----------------------------------------------------------------------
-- Run: workers outside the server
----------------------------------------------------------------------

CREATE FUNCTION chunked.claim_chunk(
    name text,
    lease interval DEFAULT '5 min',
    OUT number bigint,
    OUT fence bigint,
    OUT after jsonb,
    OUT upto jsonb,
    OUT predicate text,
    OUT state text,
    OUT reason text,
    OUT lsn pg_lsn
) RETURNS record
    AS 'MODULE_PATHNAME', 'chunked_claim_chunk'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION chunked.claim_chunk(text, interval) IS
'Claims a chunk of a job for a worker outside the server; never waits for another claimer.
name: of a job that the current role owns. lease: how long the chunk is the worker''s, over 0; default 5 minutes.
Returns one row. state claimed: number, fence, after, upto, predicate and lsn are set; who reads the chunk on a standby calls wait_for_lsn(lsn) there first. state wait: nothing now, for the reason given; ask again. state done, failed, paused, cancelled: there is nothing more to claim.
A lease that ran out counts as a failed attempt.
Lock: rows of the ledger. Errors: 42704 no such job, 42501 not the owner, 22023 a bad lease.';

CREATE FUNCTION chunked.wait_for_lsn(
    lsn pg_lsn,
    timeout interval DEFAULT '1 min'
) RETURNS void
    AS 'MODULE_PATHNAME', 'chunked_wait_for_lsn'
    LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION chunked.wait_for_lsn(pg_lsn, interval) IS
'Returns when a standby has replayed the primary''s WAL up to a position, so that statements that follow read what was there; on a primary, at once.
lsn: as claim_chunk() returned it. timeout: how long to wait; default 1 minute.
Lock: none. Errors: 55000 not there after that time, 25001 in a transaction that reads by one snapshot, 22004 a null, 22023 a bad timeout.';

CREATE FUNCTION chunked.renew_chunk(
    name text,
    number bigint,
    fence bigint,
    lease interval DEFAULT '5 min'
) RETURNS void
    AS 'MODULE_PATHNAME', 'chunked_renew_chunk'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION chunked.renew_chunk(text, bigint, bigint, interval) IS
'Makes a lease end that long from now.
name, number, fence: as claimed. lease: from now, over 0; default 5 minutes.
Lock: the chunk''s row. Errors: 55000 the lease is lost, with whose the chunk is now; 42704 no such job or chunk.';

CREATE FUNCTION chunked.complete_chunk(
    name text,
    number bigint,
    fence bigint,
    row_count bigint DEFAULT NULL
) RETURNS void
    AS 'MODULE_PATHNAME', 'chunked_complete_chunk'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION chunked.complete_chunk(text, bigint, bigint, bigint) IS
'Marks a claimed chunk as done; called again with the same fence it changes nothing.
name, number, fence: as claimed. row_count: rows that were worked on, for rows_affected; default not said.
Lock: the chunk''s row. Errors: as for renew_chunk().';

CREATE FUNCTION chunked.fail_chunk(
    name text,
    number bigint,
    fence bigint,
    error text DEFAULT NULL
) RETURNS void
    AS 'MODULE_PATHNAME', 'chunked_fail_chunk'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION chunked.fail_chunk(text, bigint, bigint, text) IS
'Gives a claimed chunk back as failed: it is tried again, and after max_attempts divided down to the row that fails.
name, number, fence: as claimed. error: why, for job_chunks; default not said.
Lock: the chunk''s row. Errors: as for renew_chunk().';

GRANT SELECT ON chunked.jobs, chunked.job_chunks, chunked.progress TO PUBLIC;
GRANT USAGE ON SCHEMA chunked TO PUBLIC;
