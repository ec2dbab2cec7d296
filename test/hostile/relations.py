"""
What the hostile calls are made on: relations of every kind, and how to make each again.
"""
from __future__ import annotations

from dataclasses import dataclass, field

SETUP = """
CREATE SCHEMA hostile;
SET search_path = hostile, public;
CREATE DOMAIN small AS int CHECK (VALUE < 1000000);
CREATE DOMAIN strict_text AS text COLLATE "C" NOT NULL CHECK (VALUE <> 'bad');
CREATE TYPE mood AS ENUM ('sad', 'so-so', 'happy');
CREATE TYPE pair AS (x int, y text);
CREATE TABLE log (at timestamptz DEFAULT clock_timestamp(), what text);
CREATE FUNCTION raises(anyelement) RETURNS boolean LANGUAGE plpgsql AS
    $$BEGIN IF random() < 0.02 THEN RAISE 'raised' USING ERRCODE = 'P0007'; END IF; RETURN true; END$$;
CREATE FUNCTION writes(anyelement) RETURNS boolean LANGUAGE plpgsql VOLATILE AS
    $$BEGIN INSERT INTO hostile.log (what) SELECT left($1::text, 20) WHERE random() < 0.01; RETURN true; END$$;
CREATE FUNCTION alters(anyelement) RETURNS boolean LANGUAGE plpgsql VOLATILE AS
    $$BEGIN IF random() < 0.02 THEN ALTER TABLE hostile.ints ADD COLUMN IF NOT EXISTS by_filter int; END IF; RETURN true; END$$;
CREATE FUNCTION catches(anyelement) RETURNS boolean LANGUAGE plpgsql AS
    $$BEGIN PERFORM 1 / (random() * 3)::int; RETURN true; EXCEPTION WHEN division_by_zero THEN RETURN false; END$$;
CREATE FUNCTION sets(anyelement) RETURNS boolean LANGUAGE sql VOLATILE AS
    $$SELECT set_config('pg_chunked.native', CASE WHEN random() < 0.5 THEN 'on' ELSE 'off' END, true) IS NOT NULL
      AND set_config('datestyle', CASE WHEN random() < 0.5 THEN 'SQL, DMY' ELSE 'ISO' END, false) IS NOT NULL$$;
CREATE FUNCTION walks(anyelement) RETURNS boolean LANGUAGE sql STABLE AS
    $$SELECT chunked.row_count('hostile.ints') >= 0$$;
CREATE FUNCTION replaced(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';
"""


@dataclass
class Relation:
    name: str
    make: str = ""  # DDL; may be run again after DROP
    drop: str = "TABLE"
    columns: dict[str, str] = field(default_factory=dict)  # those of a key first, as in SQL, to their types
    writable: bool = True


def table(name: str, definition: str, rows: str, columns: dict[str, str], more: str = "") -> Relation:
    make = f"CREATE TABLE hostile.{name} {definition};"
    if rows:
        make += f"INSERT INTO hostile.{name} {rows} ON CONFLICT DO NOTHING;"
    return Relation(f"hostile.{name}", make + more, "TABLE", columns)


def series(columns: str, rows: int) -> str:
    return f"SELECT {columns} FROM generate_series(1, {rows}) AS i"


TABLES = [
    table("ints", "(id int PRIMARY KEY, v text, w numeric)", series("i, md5(i::text), i / 7.0", 3000), {"id": "int", "v": "text", "w": "numeric"}),
    table("bigs", "(id bigint PRIMARY KEY, v text, w int)", series("i::bigint * 1000003, 'x', i % 7", 20000), {"id": "bigint", "v": "text", "w": "int"},
          "CREATE INDEX ON hostile.bigs (w, id);"),
    table("mixed", "(a int, b text, c timestamptz, d float8, id serial PRIMARY KEY)",
          "(a, b, c, d) " + series("nullif(i % 5, 0), nullif(chr(97 + i % 26), 'b'), '2020-01-01'::timestamptz + i * interval '1 us',"
                                   " CASE i % 50 WHEN 0 THEN 'NaN'::float8 WHEN 1 THEN '-Infinity' ELSE i / 3.0 END", 2000),
          {"a": "int", "b": "text", "c": "timestamptz", "d": "float8", "id": "int"},
          "CREATE UNIQUE INDEX ON hostile.mixed (a DESC NULLS LAST, b, c DESC, id); CREATE INDEX ON hostile.mixed (b text_pattern_ops, id);"),
    table("texts", '(t text COLLATE "C" PRIMARY KEY, id int)', series("md5(i::text) || repeat('é', i % 40), i", 2000), {"t": "text", "id": "int"}),
    table("wide", "(t text PRIMARY KEY, s text)",
          series("(SELECT string_agg(md5((i * j)::text), '') FROM generate_series(1, 60) AS j), repeat('s', i * 20)", 150), {"t": "text", "s": "text"}),
    table("uuids", "(u uuid PRIMARY KEY, n numeric UNIQUE NOT NULL)", series("md5(i::text)::uuid, CASE WHEN i = 1 THEN 'NaN' ELSE i::numeric / 3 END", 2000),
          {"u": "uuid", "n": "numeric"}),
    table("kinds", "(i inet, y bytea, v interval, t timetz, r int4range, n name, c \"char\", b bit(5), o oid, m money, z int[], j jsonb, d date, id int PRIMARY KEY)",
          series("('10.0.0.' || i % 250)::inet, decode(md5(i::text), 'hex'), i * interval '1 day 1 hour', '01:02:03+04', int4range(i, i + 3), 'n' || i, 'c',"
                 " i::bit(5), i, i::numeric::money, ARRAY[i, NULL], jsonb_build_object('i', i), 'epoch'::date + i, i", 500),
          {"i": "inet", "y": "bytea", "v": "interval", "t": "timetz", "r": "int4range", "n": "name", "c": '"char"', "b": "bit(5)", "o": "oid", "m": "money",
           "z": "int[]", "j": "jsonb", "d": "date", "id": "int"},
          "CREATE UNIQUE INDEX ON hostile.kinds (i, y, v, id); CREATE UNIQUE INDEX ON hostile.kinds (n, z, id);"),
    table("domains", "(k hostile.small, s hostile.strict_text, m hostile.mood, p hostile.pair, PRIMARY KEY (k, s))",
          series("i, 's' || i, CASE i % 3 WHEN 0 THEN 'sad' WHEN 1 THEN 'happy' END::hostile.mood, ROW(i, 'y')::hostile.pair", 500),
          {"k": "hostile.small", "s": "hostile.strict_text", "m": "hostile.mood", "p": "hostile.pair"},
          "CREATE UNIQUE INDEX ON hostile.domains (m, p, k);"),
    table('"Odd ""Name% {chunk}"', '("a b" int, "select" text, "x?y:z" int, "{chunk}" int, "q""$1" int, PRIMARY KEY ("x?y:z", "q""$1"))',
          series("i, 'x', i % 10, i, i", 300), {'"x?y:z"': "int", '"q""$1"': "int", '"a b"': "int", '"{chunk}"': "int", '"select"': "text"}),
    table("parts", "(id int, at date, v text, PRIMARY KEY (id, at)) PARTITION BY RANGE (id)", "", {"id": "int", "at": "date", "v": "text"},
          "CREATE TABLE hostile.parts_1 PARTITION OF hostile.parts FOR VALUES FROM (MINVALUE) TO (500);"
          "CREATE TABLE hostile.parts_2 PARTITION OF hostile.parts FOR VALUES FROM (500) TO (1000) PARTITION BY HASH (id);"
          "CREATE TABLE hostile.parts_2a PARTITION OF hostile.parts_2 FOR VALUES WITH (MODULUS 2, REMAINDER 0);"
          "CREATE TABLE hostile.parts_2b (z int, v text, at date NOT NULL, id int NOT NULL); ALTER TABLE hostile.parts_2b DROP COLUMN z;"
          "ALTER TABLE hostile.parts_2 ATTACH PARTITION hostile.parts_2b FOR VALUES WITH (MODULUS 2, REMAINDER 1);"
          "CREATE TABLE hostile.parts_3 PARTITION OF hostile.parts DEFAULT;"
          "INSERT INTO hostile.parts SELECT i, 'epoch', 'v' FROM generate_series(1, 2000) AS i;"),
    table("parent", "(id int PRIMARY KEY, v text)", series("i, 'p'", 200), {"id": "int", "v": "text"},
          "CREATE TABLE hostile.child (extra int, PRIMARY KEY (id)) INHERITS (hostile.parent); INSERT INTO hostile.child " + series("i, 'c', i", 200) + ";"),
    table("keyless", "(a int, b text)", series("i % 50, 'b'", 500), {"a": "int", "b": "text"}),
    table("nothing", "()", "DEFAULT VALUES", {}),
    table("empty", "(id int PRIMARY KEY, v text)", "", {"id": "int", "v": "text"}),
    table("holes", "(id int PRIMARY KEY, v text)", series("i, repeat('v', 100)", 3000), {"id": "int", "v": "text"},
          "DELETE FROM hostile.holes WHERE id % 100 > 3;"),
    table("generated", "(a int, g int GENERATED ALWAYS AS (a * 2) STORED, i bigint GENERATED ALWAYS AS IDENTITY, PRIMARY KEY (g, i))",
          "(a) " + series("i % 100", 1000), {"g": "int", "i": "bigint", "a": "int"}),
    table("secured", "(id int PRIMARY KEY, v text)", series("i, 'v'", 500), {"id": "int", "v": "text"},
          "ALTER TABLE hostile.secured ENABLE ROW LEVEL SECURITY;"
          "CREATE POLICY some_rows ON hostile.secured USING (id % 3 = 0 AND hostile.raises(id)); GRANT SELECT (id) ON hostile.secured TO PUBLIC;"),
    table("partial", "(id int NOT NULL, v text, x int)", series("i, 'v', i", 1000), {"id": "int", "v": "text", "x": "int"},
          "CREATE UNIQUE INDEX ON hostile.partial (id) WHERE x > 10; CREATE UNIQUE INDEX ON hostile.partial ((x + 1)); CREATE INDEX ON hostile.partial USING hash (id);"),
    table("unlogged_deferred", "(id int UNIQUE DEFERRABLE, k int NOT NULL, UNIQUE (k) INCLUDE (id))", "", {"k": "int", "id": "int"},
          "INSERT INTO hostile.unlogged_deferred " + series("i, i", 500) + "; ALTER TABLE hostile.unlogged_deferred SET UNLOGGED;"),
]

OTHERS = [
    Relation("hostile.plain_view", "CREATE VIEW hostile.plain_view AS SELECT * FROM hostile.ints;", "VIEW", {"id": "int", "v": "text"}),
    Relation("hostile.joined_view", "CREATE VIEW hostile.joined_view WITH (security_barrier) AS SELECT i.id, m.b, m.c FROM hostile.ints i JOIN hostile.mixed m USING (id);",
             "VIEW", {"id": "int", "b": "text", "c": "timestamptz"}, False),
    Relation("hostile.raising_view", "CREATE VIEW hostile.raising_view AS SELECT id, 100 / (id - 7) AS q, hostile.replaced(id) AS f FROM hostile.ints;",
             "VIEW", {"id": "int", "q": "int", "f": "int"}, False),
    Relation("hostile.walking_view", "CREATE VIEW hostile.walking_view AS SELECT * FROM chunked.page(NULL::hostile.ints, 50);", "VIEW", {"id": "int", "v": "text"}, False),
    Relation("hostile.stored", "CREATE MATERIALIZED VIEW hostile.stored AS SELECT id, v FROM hostile.ints; CREATE UNIQUE INDEX ON hostile.stored (id);",
             "MATERIALIZED VIEW", {"id": "int", "v": "text"}, False),
    Relation("hostile.unfilled", "CREATE MATERIALIZED VIEW hostile.unfilled AS SELECT id FROM hostile.ints WITH NO DATA;", "MATERIALIZED VIEW", {"id": "int"}, False),
]

FOREIGN = Relation("hostile.far", "CREATE FOREIGN TABLE hostile.far (id int NOT NULL, v text) SERVER hostile_loopback OPTIONS (schema_name 'hostile', table_name 'ints');",
                   "FOREIGN TABLE", {"id": "int", "v": "text"})

# never changed by the DDL; the last ones are no relations to walk at all
SYSTEM = [Relation(name, columns=columns, writable=False) for name, columns in {
    "pg_catalog.pg_class": {"oid": "oid", "relname": "name"},
    "pg_catalog.pg_attribute": {"attrelid": "oid", "attnum": "int2", "attname": "name"},
    "pg_catalog.pg_proc": {"oid": "oid", "proargtypes": "oidvector", "proacl": "aclitem[]"},
    "pg_catalog.pg_statistic": {"starelid": "oid", "staattnum": "int2", "stainherit": "bool", "stavalues1": "anyarray"},
    "pg_catalog.pg_authid": {"oid": "oid", "rolname": "name"},
    "pg_catalog.pg_largeobject": {"loid": "oid", "pageno": "int"},
    "pg_catalog.pg_stats": {"tablename": "name", "histogram_bounds": "anyarray"},
    "pg_catalog.pg_locks": {"pid": "int", "virtualxid": "text"},
    "information_schema.columns": {"table_name": "name", "ordinal_position": "int"},
    "chunked.ledger_chunks": {"job": "bigint", "number": "bigint"},
    "chunked.ledger_jobs": {"id": "bigint", "name": "text"},
    "chunked.jobs": {"id": "bigint", "name": "text"},
    "hostile.pair": {"x": "int", "y": "text"},
    "hostile.mixed_id_seq": {"last_value": "bigint"},
    "hostile.ints_pkey": {"id": "int"},
    "hostile.parts_pkey": {"id": "int", "at": "date"},
    "hostile.gone": {"id": "int"},
}.items()]

# made by each session for itself
TEMPORARY = Relation("pg_temp.mine", "CREATE TEMPORARY TABLE IF NOT EXISTS mine AS SELECT i AS id, 'v' AS v FROM generate_series(1, 300) AS i;"
                     "CREATE UNIQUE INDEX IF NOT EXISTS mine_id ON mine (id); ALTER TABLE mine ALTER id SET NOT NULL", "TABLE", {"id": "int", "v": "text"})

UNTOUCHED = """
CREATE TABLE hostile.untouched (a int, b text COLLATE "C", id bigint PRIMARY KEY);
INSERT INTO hostile.untouched SELECT nullif(i % 17, 0), md5(i::text), i * 3 FROM generate_series(1, 5000) AS i;
CREATE UNIQUE INDEX ON hostile.untouched (a, b, id);
"""
