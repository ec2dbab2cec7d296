"""
One hostile statement after another, from a seed alone: no answer of the server
goes into the next one, so that a seed always gives the same statements.
"""
from __future__ import annotations

from random import Random
from typing import Callable

from relations import Relation

INTS = ["0", "-1", "2147483647", "-2147483648", "NULL", "1000000000"]
BIGINTS = INTS + ["9223372036854775807", "-9223372036854775807 - 1", "4294967296", "9223372036854775806"]
INTERVALS = ["'0'", "'-1 s'", "'1 us'", "'1 ms'", "'20 ms'", "'178000000 years'", "'-178000000 years'", "'1 mon'", "'1000000000 days'", "NULL", "'x'"]
VALUES = {
    "int": ["0", "-2147483648", "2147483647", "2147483648", "7", "500", " 8 ", "1e3", "0x10", "", "x"],
    "bigint": ["9223372036854775807", "-9223372036854775808", "9223372036854775808", "3000009", "1000003"],
    "numeric": ["NaN", "Infinity", "-Infinity", "1.000000", "1e131071", "1e-16383", "0", "12.5"],
    "float8": ["NaN", "Infinity", "-Infinity", "-0", "1e308", "4.9e-324", "1e400", "5"],
    "timestamptz": ["infinity", "-infinity", "2020-01-01 00:00:00.000001+00", "294276-12-31", "4714-11-24 00:00:00+00 BC", "now", "01/02/03"],
    "date": ["infinity", "1970-01-01", "5874897-12-31", "today"],
    "interval": ["178000000 years", "-178000000 years", "1 mon -30 days", "P1D"],
    "inet": ["10.0.0.7", "::1/128", "0.0.0.0/0", "300.1.1.1"],
    "bytea": ["\\x", "\\xdeadbeef", "\\000", "\\xzz"],
    "uuid": ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", "{c4ca4238a0b923820dcc509a6f75849b}"],
    "timetz": ["24:00:00-15:59", "00:00:00+15:59", "allballs"],
    "int4range": ["empty", "(,)", "[5,5]", "[9,1)"],
    "bit(5)": ["10101", "1", "111111111", "2"],
    "int[]": ["{}", "{1,NULL}", "{{1,2},{3,4}}", "[5:6]={1,2}", "{"],
    "jsonb": ["{}", "null", '{"a": [1, 2.50]}', "{"],
    "hostile.mood": ["sad", "glad", ""],
    "hostile.pair": ["(1,y)", "(,)", "()", "(1,2,3)", "(x,y)"],
    "hostile.small": ["5", "1000000", "-5"],
    "hostile.strict_text": ["bad", "s5", ""],
    "oid": ["0", "4294967295", "1259", "pg_class"],
    "name": ["n5", "pg_class", "n" * 100],
    '"char"': ["c", "", "\\377", "é"],
    "money": ["$7.00", "-$92233720368547758.08", "1e9"],
}
TEXTS = ["", "x", "b", "é", "\u00ad", "\U0001f600", "s7", "%s", "' OR 1=1 --", "\\", "$1", "{chunk}", "NULL", "y" * 3000]


def literal(text: str | None) -> str:
    if text is None:
        return "NULL"
    quoted = "'" + text.replace("'", "''").replace("\\", "\\\\") + "'"
    return " E" + quoted if "\\" in text else quoted


class Calls:
    def __init__(self, r: Random, relations: list[Relation], changing: list[Relation]):
        self.r, self.relations, self.changing = r, relations, changing
        self.functions: list[tuple[int, Callable[[], str]]] = [
            (9, self.page), (4, self.position_of), (3, self.bounds), (8, self.chunks), (6, self.next_chunk), (5, self.split), (4, self.row_count),
            (4, self.seek), (2, self.paginator), (4, self.paginate), (5, self.create_job), (4, self.run), (2, self.run_job), (1, self.start_job),
            (5, self.claim), (3, self.lease), (2, self.alter_job), (2, self.job_control), (1, self.wait_for_lsn), (1, self.small_functions),
            (1, self.views), (2, self.composed), (1, self.crossed),
        ]

    def statement(self) -> str:
        weights, functions = zip(*self.functions)
        return self.r.choices(functions, weights)[0]()

    # arguments

    def hostile(self, share: float = 0.12) -> bool:
        return self.r.random() < share

    def integer(self, sensible: list[int], extremes: list[str]) -> str:
        return self.r.choice(extremes) if self.hostile() else str(self.r.choice(sensible))

    def relation(self) -> Relation:
        return self.r.choice(self.relations)

    def row(self, relation: Relation) -> str:
        if self.hostile(0.05):
            return self.r.choice(["NULL::int", "NULL::text", "NULL::record", "ROW(1, 2)", "NULL::hostile.small", f"NULL::{relation.name}[]", "NULL", "'x'",
                                  "NULL::hostile.pair", f"ROW(1)::{relation.name}", "NULL::chunked.chunk", "NULL::anyarray", "ARRAY[1]"])
        return f"NULL::{relation.name}"

    def regclass(self, relation: Relation) -> str:
        if self.hostile(0.03):
            return self.r.choice(["NULL", "0::regclass", "4294967295::regclass", "'-'", "1259", "'pg_toast.pg_toast_1255'", "'pg_toast.pg_toast_1255_index'",
                                  "(SELECT max(oid)::regclass FROM pg_class WHERE relpersistence = 't')"])
        return literal(relation.name)

    def value(self, kind: str) -> str | None:
        if self.hostile(0.1):
            return None
        if self.hostile(0.05):
            kind = self.r.choice(list(VALUES))
        pool = VALUES.get(kind, TEXTS)
        if kind in ("int", "bigint") and self.r.random() < 0.6:
            return str(self.r.randrange(0, 2500) * (1000003 if kind == "bigint" else 1))
        return self.r.choice(pool)

    def json_value(self, kind: str) -> str:
        value = self.value(kind)
        if value is None:
            return "null"
        if self.hostile(0.05):
            return self.r.choice(["{}", "[]", '{"a": 1}', "1e400", "true", "-0", "1.5", "9223372036854775807", '"' + "9" * 2000 + '"'])
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    def position(self, relation: Relation) -> str:
        """As it came, made up, damaged, or another relation's."""
        draw = self.r.random()
        if draw < 0.06:
            return self.r.choice(["NULL", "'{}'", "'[]'", "'1'", "'\"x\"'", "'null'", "'[{\"id\": 1}]'", "'{\"\": 1}'", "'{'", "'{\"id\": 1, \"id\": 2}'",
                                  "jsonb_build_object('id', repeat('7', 1000000))", "jsonb_build_object(repeat('k', 100000), 1)", "repeat('[', 20000)::jsonb",
                                  "'{\"ctid\": \"(0,1)\"}'", "'{\"ctid\": \"(4294967295,65535)\"}'", "'{\"ctid\": \"(4294967296,1)\"}'", "'{\"block\": -1}'",
                                  "(SELECT jsonb_object_agg(i::text, i) FROM generate_series(1, 2000) AS i)"])
        if self.hostile(0.05):
            relation = self.relation()
        if draw < 0.5:
            source = f"(SELECT chunked.position_of(r) FROM {relation.name} AS r LIMIT 1 OFFSET {self.r.randrange(300)})"
            damage = ["", "", "", " || '{\"id\": null}'", " - 'id'", " || '{\"id\": \"x\"}'", " || '{\"more\": 1}'", " || '[1]'"]
            return source + self.r.choice(damage)
        columns = list(relation.columns.items())
        shown = columns[:self.r.randint(1, 3)] if self.r.random() < 0.7 else columns
        names = [name.strip('"').replace('""', '"').replace('"', '\\"') for name, _ in shown]
        return literal("{" + ", ".join(f'"{name}": {self.json_value(kind)}' for name, (_, kind) in zip(names, shown)) + "}") + "::jsonb"

    def key(self, relation: Relation) -> str:
        draw = self.r.random()
        if draw < 0.1:
            return self.r.choice(["NULL", "''", "' '", "','", "'{}'", "'{id,v}'", "'{\"id DESC'", "'{{id,v},{v,id}}'", "'[0:1]={id,v}'", "'{\\'", "'\"\"'", "'\" \"'", "'id, id'", "'id;'",
                                  "'lower(v)'", "'1'", "repeat('x', 100000)", "repeat('id,', 39) || 'id'", "repeat('id, ', 2000)", "repeat('(', 20000)", "'tableoid'", "'xmin'",
                                  "'ctid DESC'", "'ctid, id'", "'id USING >'", "'id -- '", "'id /* '", "'*'", "'$1'", "'id ASC NULLS'", "'id) INCLUDE (v'", "'id) WHERE (true'",
                                  "'id); DROP TABLE hostile.ints; --'", "'id LIMIT 1'"])
        if draw < 0.2:
            return "'ctid'"
        elements = []
        names = list(relation.columns) or ["id"]
        for name in self.r.sample(names, min(len(names), self.r.choice((1, 1, 2, 2, 3, 5)))):
            more = self.r.choice(["", "", "", ' COLLATE "C"', ' COLLATE "en-x-icu"', " text_pattern_ops", " int4_ops", " nope_ops", ' COLLATE "nope"', " pg_catalog.text_ops"]) \
                if self.hostile(0.3) else ""
            elements.append(name + more + self.r.choice(["", "", " ASC", " DESC"]) + self.r.choice(["", "", " NULLS FIRST", " NULLS LAST"]))
        return literal(", ".join(elements))

    def filter(self, relation: Relation) -> str:
        columns = list(relation.columns) or ["id"]
        column = self.r.choice(columns)
        if self.hostile(0.3):
            return self.r.choice(["NULL", "''", "'true'", "'false'", "'NULL'", "'1'", "'1 = 1; DROP TABLE hostile.ints'", "'true) OR (true'", "'true --'", "'true /*'",
                                  "'$1'", "'$1 = 1'", "'count(*) > 0'", "'row_number() OVER () > 1'", "'generate_series(1, 2) > 0'", "'(SELECT true)'", "'true ORDER BY 1'",
                                  "'true LIMIT 1'", "'true UNION SELECT 1'", "'{chunk}'", "'EXISTS (SELECT FROM hostile.ints)'", "'pg_sleep(0.001) IS NOT NULL'", "repeat('(', 3000) || 'true'",
                                  "'true' || repeat(' AND true', 20000)", "'1 / 0 = 1'", "'ctid IS NOT NULL'", "'tableoid > 0'", "'random() < 0.5'", "'E''\\x'' = 1'", "chr(65533)"])
        function = self.r.choice(["raises", "writes", "alters", "catches", "sets", "walks"])
        if self.r.random() < 0.3:
            return literal(self.r.choice([f"{column} = $1", f"{column} <> $1 OR {column} IS NULL AND $1 IS NULL", f"{column} = ANY ($1)", f"hostile.{function}({column}) AND {column}::text <> $1", "$1", "$1 = $2",
                                          f"{column}::text || $1 > '3'", "$3", "$0", "$2147483647 = 1", "$99999999999 = 1", f"{column} = $1 -- $2", f"hostile.replaced($1) > 0", f"{column} IN (SELECT $1)", "$1::hostile.ints IS NULL"]))
        return literal(self.r.choice([f"{column} IS NOT NULL", f"{column} IS NULL", f"hostile.{function}({column})", f"hostile.{function}({column})", f"{column} = {column}",
                                      f"length({column}::text) % 3 = 0", f"{column}::text::int > 5", f"hostile.replaced({column}::int) > 0", f"{column} = $${column}$$"]))

    def args(self) -> str:
        return self.r.choice(["NULL", "'[]'", "'{}'", "'1'", "'null'", "'[null]'", "'[1]'", "'[1, 2]'", "'[\"1\", true]'", "'[\"'' OR true --\"]'", "'[[1, 2, null]]'", "'[[[1], [2]]]'", "'[[1, [2]]]'",
                              "'[{}]'", "'[[]]'", "'[\"now\"]'", "'[1e400]'", "repeat('[', 20000)::jsonb", "(SELECT jsonb_agg(i) FROM generate_series(1, 70000) AS i)",
                              "(SELECT jsonb_build_array(jsonb_agg(i)) FROM generate_series(1, 5000) AS i)", "jsonb_build_array(repeat('x', 1000000))"])

    def some(self, share: float, arguments: dict[str, Callable[[], str]]) -> str:
        """Some of the named arguments, each given or left out."""
        return "".join(f", {name} => {make()}" for name, make in arguments.items() if self.r.random() < share)

    def boolean(self) -> str:
        return self.r.choice(["true", "false", "false", "NULL"]) if self.hostile(0.3) else self.r.choice(["true", "false"])

    def walk(self, relation: Relation) -> dict[str, Callable[[], str]]:
        return {"key": lambda: self.key(relation), "filter": lambda: self.filter(relation), "args": self.args}

    # shapes that a call may stand in

    def shape(self, call: str, list_too: bool = True) -> str:
        draw = self.r.random()
        if draw < 0.5:
            return f"SELECT * FROM {call}"
        if draw < 0.65 and list_too:
            return f"SELECT {call} LIMIT {self.r.choice((0, 1, 3, 1000))}"
        if draw < 0.72:
            return f"SELECT count(*) FROM {call} AS x, {call} AS y" if self.hostile() else f"SELECT count(x), max(x::text) FROM {call} AS x"
        if draw < 0.8 and list_too:
            return (f"BEGIN; DECLARE c CURSOR {self.r.choice(('', 'WITH HOLD '))}FOR SELECT {call}; FETCH 2 FROM c; SAVEPOINT s; FETCH 2 FROM c;"
                    f" {self.r.choice(('ROLLBACK TO s; FETCH 1 FROM c; COMMIT', 'RELEASE s; CLOSE c; COMMIT', 'COMMIT; CLOSE ALL', 'ROLLBACK'))}")
        if draw < 0.87:
            return f"DO $hostile$BEGIN PERFORM * FROM {call}; EXCEPTION WHEN OTHERS THEN IF SQLSTATE LIKE 'XX%' THEN RAISE; END IF; PERFORM * FROM {call}; END$hostile$"
        if draw < 0.92:
            return f"PREPARE p AS SELECT * FROM {call}; EXECUTE p; EXECUTE p; DEALLOCATE p"
        if draw < 0.95:
            return f"EXPLAIN (COSTS OFF) SELECT * FROM {call} AS x WHERE x IS NOT NULL"
        change = self.r.choice(self.changing)
        return f"BEGIN ISOLATION LEVEL {self.r.choice(('REPEATABLE READ', 'SERIALIZABLE', 'READ COMMITTED'))}; SELECT 1; SELECT * FROM {call};" \
               f" ALTER TABLE {change.name} ADD COLUMN mine_only int; SELECT * FROM {call}; ROLLBACK"

    # calls

    def page(self) -> str:
        relation = self.relation()
        place = {name: lambda: self.position(relation) for name in ("after", "upto", "before")}
        size = {"page_size": lambda: self.integer([1, 2, 10, 100, 3000], BIGINTS), "max_bytes": lambda: self.integer([1, 100, 100000], BIGINTS)}
        call = f"chunked.page({self.row(relation)}{self.some(0.7, size)}{self.some(0.3, place)}{self.some(0.3, self.walk(relation))})"
        return self.shape(call)

    def position_of(self) -> str:
        relation = self.relation()
        key = self.some(0.4, {"key": lambda: self.key(relation)})
        if self.hostile(0.3):
            return f"SELECT chunked.position_of({self.row(relation)}{key})"
        if self.hostile(0.1):
            columns = "".join(f", {self.r.choice(['a', 'b', 'id', 'NULL', '7', 'r', 'ctid'])}" for _ in range(self.r.randint(1, 3)))
            return f"SELECT chunked.position_of_columns(NULL::{self.relation().name}, NULL, '{{{self.r.randint(-1, 3)}}}'{columns}) FROM {relation.name} AS r LIMIT 5"
        cast = self.r.choice(["", "", f"::{self.relation().name}"]) if self.hostile() else ""
        return f"SELECT chunked.position_of(r{cast}{key}) FROM {relation.name} AS r LIMIT 50"

    def bounds(self) -> str:
        relation = self.relation()
        return self.shape(f"chunked.bounds({self.regclass(relation)}{self.some(0.4, self.walk(relation))})")

    def chunk_arguments(self, relation: Relation) -> dict[str, Callable[[], str]]:
        return {"chunk_size": lambda: self.integer([1, 7, 100, 1000, 5000], BIGINTS), "after": lambda: self.position(relation), "upto": lambda: self.position(relation),
                **self.walk(relation), "scan_limit": lambda: self.integer([1, 10, 1000], BIGINTS), "alias": self.alias}

    def alias(self) -> str:
        return self.r.choice(["'a'", "''", "'A b'", "'\"'", "NULL", "repeat('a', 100000)", "'select'", "'%s'", "'a.b'"])

    def chunks(self) -> str:
        relation = self.relation()
        return self.shape(f"chunked.chunks({self.regclass(relation)}{self.some(0.3, {**self.chunk_arguments(relation), 'exact': self.boolean})})")

    def next_chunk(self) -> str:
        relation = self.relation()
        return self.shape(f"chunked.next_chunk({self.regclass(relation)}{self.some(0.35, self.chunk_arguments(relation))})")

    def split(self) -> str:
        relation = self.relation()
        given = {"exact": self.boolean, **self.walk(relation), "alias": self.alias}
        return self.shape(f"chunked.split({self.regclass(relation)}, {self.integer([1, 2, 10, 100, 5000], BIGINTS)}{self.some(0.3, given)})")

    def row_count(self) -> str:
        relation = self.relation()
        return self.shape(f"chunked.row_count({self.regclass(relation)}{self.some(0.4, {'exact': self.boolean, **self.walk(relation)})})")

    def seek(self) -> str:
        relation = self.relation()
        rank = self.integer([1, 2, 50, 499, 2000], BIGINTS)
        return self.shape(f"chunked.seek({self.regclass(relation)}, {rank}{self.some(0.4, {'exact': self.boolean, **self.walk(relation)})})")

    def page_numbers(self, relation: Relation) -> dict[str, Callable[[], str]]:
        return {"per_page": lambda: self.integer([1, 10, 100], BIGINTS), "orphans": lambda: self.integer([0, 5], BIGINTS), "exact": self.boolean, **self.walk(relation)}

    def paginator(self) -> str:
        relation = self.relation()
        given = {**self.page_numbers(relation), "allow_empty_first_page": self.boolean}
        return self.shape(f"chunked.paginator({self.regclass(relation)}{self.some(0.4, given)})")

    def paginate(self) -> str:
        relation = self.relation()
        number = self.integer([1, 2, 3, 10, 50], BIGINTS)
        return self.shape(f"chunked.paginate({self.row(relation)}, {number}{self.some(0.4, self.page_numbers(relation))})")

    # jobs

    def job(self) -> str:
        return self.r.choice(["NULL", "''", "repeat('n', 100000)", "'no such job'", "'%s'", "E'j\\n1'"]) if self.hostile(0.08) else f"'j{self.r.randrange(8)}'"

    def work(self, relation: Relation) -> str:
        column = next(iter(relation.columns), "id")
        if self.hostile(0.25):
            return self.r.choice(["NULL", "''", "'{chunk}'", "'SELECT 1'", "'SELECT 1 WHERE {chunk:'", "'SELECT 1 -- {chunk}'", "'SELECT $${chunk}$$'", "'SELECT ''{chunk}'''",
                                  "'SELECT 1 WHERE {chunk}; SELECT 2'", "'DROP TABLE hostile.ints -- {chunk}'", "'COMMIT /* {chunk} */'", "'CALL x({chunk})'", "'{chunk} {chunk} {chunk}'",
                                  "'SELECT {chunk:\"a b\"} FROM hostile.ints AS \"a b\"'", "'COPY hostile.ints TO PROGRAM ''true {chunk}'''", "'SELECT 1 WHERE {chunk}' || repeat(' ', 1000000)",
                                  "'SELECT ' || repeat('(', 20000) || '{chunk}'", "'EXPLAIN SELECT 1 FROM hostile.ints WHERE {chunk}'", "'SELECT $1 FROM hostile.ints WHERE {chunk}'"])
        name = relation.name
        reading = [f"SELECT * FROM {name} WHERE {{chunk}}", f"SELECT pg_sleep(0.005) FROM {name} WHERE {{chunk}} LIMIT 3"]
        return literal(self.r.choice(reading if not relation.writable else [
            f"UPDATE {name} SET {column} = {column} WHERE {{chunk}}", f"DELETE FROM {name} WHERE {{chunk}} AND random() < 0.1", f"SELECT * FROM {name} WHERE {{chunk}}",
            f"INSERT INTO hostile.log (what) SELECT left({column}::text, 10) FROM {name} AS s WHERE {{chunk:s}}", f"SELECT hostile.raises({column}) FROM {name} WHERE {{chunk}}",
            f"WITH w AS (SELECT {column} FROM {name} WHERE {{chunk}}) INSERT INTO hostile.log (what) SELECT count(*) FROM w",
            f"MERGE INTO hostile.log AS l USING (SELECT {column} AS c FROM {name} WHERE {{chunk}}) AS s ON l.what = s.c::text WHEN NOT MATCHED THEN INSERT (what) VALUES ('m')",
            f"SELECT 1 / 0 FROM {name} WHERE {{chunk}}", f"SELECT pg_sleep(0.005) FROM {name} WHERE {{chunk}} LIMIT 3", f"SELECT hostile.alters({column}) FROM {name} WHERE {{chunk}}",
            f"SELECT chunked.row_count('{'hostile.ints'}') FROM {name} WHERE {{chunk}} LIMIT 1"]))

    def job_arguments(self, relation: Relation) -> dict[str, Callable[[], str]]:
        return {"name": self.job, "chunk_size": lambda: self.integer([50, 200, 1000, 10000], BIGINTS), **self.walk(relation),
                "target_time": lambda: self.r.choice(INTERVALS), "pause": lambda: self.r.choice(INTERVALS), "max_lag": lambda: self.r.choice(INTERVALS),
                "throttle": lambda: self.r.choice(["NULL", "''", "'false'", "'random() < 0.3'", "'true'", "'1 / 0 = 1'", "'1'", "'{chunk}'", "'false; SELECT 1'"]),
                "max_attempts": lambda: self.integer([1, 2, 3], INTS), "on_error": lambda: self.r.choice(["'stop'", "'continue'", "'continue'", "''", "NULL", "'x'"]),
                "check_plan": self.boolean, "after": lambda: self.position(relation), "upto": lambda: self.position(relation),
                "settings": lambda: self.r.choice(["''", "NULL", "'DateStyle'", "'work_mem, TimeZone'", "','", "'no.such'", "'role'", "'x y'", "repeat('a,', 10000)"]),
                "on_foreign_write": lambda: self.r.choice(["'refuse'", "'at_least_once'", "NULL", "'x'"])}

    def create_job(self) -> str:
        relation = self.relation()
        statement = {"statement": lambda: self.work(relation)}
        if self.r.random() < 0.5:
            # one that there is, for the calls that want a job
            return f"SELECT chunked.create_job('hostile.ints'{self.some(0.5, statement)}, name => 'j{self.r.randrange(8)}', chunk_size => 100, check_plan => false)"
        return f"SELECT chunked.create_job({self.regclass(relation)}{self.some(0.5, statement)}, name => {self.job()}{self.some(0.15, self.without_name(relation))})"

    def without_name(self, relation: Relation) -> dict[str, Callable[[], str]]:
        return {name: make for name, make in self.job_arguments(relation).items() if name != "name"}

    def run(self) -> str:
        relation = self.relation()
        more = {"dry_run": self.boolean}
        workers = {"workers": lambda: self.integer([0, 1, 2], INTS)}
        call = f"CALL chunked.run({self.regclass(relation)}, {self.work(relation)}{self.some(0.12, self.job_arguments(relation))}{self.some(0.35, more)}{self.some(0.1, workers)})"
        return f"DO $hostile$BEGIN {call}; END$hostile$" if self.hostile() else call

    def run_job(self) -> str:
        return f"CALL chunked.run_job({self.job()}{self.some(0.2, {'workers': lambda: self.integer([0, 1, 2], INTS)})})"

    def start_job(self) -> str:
        call = f"SELECT chunked.start_job({self.job()}{self.some(0.5, {'workers': lambda: self.integer([1, 2], INTS)})})"
        return f"BEGIN; {call}; {self.r.choice(('COMMIT', 'ROLLBACK'))}" if self.hostile(0.3) else call

    def claim(self) -> str:
        return f"SELECT * FROM chunked.claim_chunk({self.job()}{self.some(0.5, {'lease': lambda: self.r.choice(INTERVALS + ['interval %s' % i for i in INTERVALS[3:5]])})})"

    def lease(self) -> str:
        """By the ledger's own numbers, mostly."""
        function, more = self.r.choice([("renew_chunk", {"lease": lambda: self.r.choice(INTERVALS)}), ("complete_chunk", {"row_count": lambda: self.integer([0, 5], BIGINTS)}),
                                        ("fail_chunk", {"error": lambda: self.r.choice(["NULL", "''", "'broken'", "repeat('e', 1000000)"])})])
        more = self.some(0.4, more)
        if self.hostile(0.3):
            return f"SELECT chunked.{function}({self.job()}, {self.integer([1, 2, 3], BIGINTS)}, {self.integer([1, 5, 20], BIGINTS)}{more})"
        return (f"SELECT chunked.{function}(j.name, c.number, c.fence{more}) FROM chunked.ledger_chunks AS c JOIN chunked.jobs AS j ON j.id = c.job"
                f" WHERE c.state NOT IN ('done', 'failed') ORDER BY c.number LIMIT {self.r.choice((1, 1, 3))}")

    def alter_job(self) -> str:
        relation = self.relation()
        names = ("chunk_size", "target_time", "pause", "max_lag", "throttle", "max_attempts", "on_error", "check_plan")
        given = {name: self.job_arguments(relation)[name] for name in names}
        given["owner"] = lambda: self.r.choice(["NULL", "'hostile_user'", "'pg_monitor'", "0::regrole", "4294967295::regrole"])
        return f"SELECT chunked.alter_job({self.job()}{self.some(0.25, given)})"

    def job_control(self) -> str:
        function = self.r.choice(["pause_job", "resume_job", "resume_job", "cancel_job", "drop_job", "drop_job", "drop_job", "retry_failed", "retry_failed", "drop_jobs"])
        return f"SELECT chunked.{function}({self.r.choice(INTERVALS) if function == 'drop_jobs' else self.job()})"

    def wait_for_lsn(self) -> str:
        lsn = self.r.choice(["NULL", "'0/0'", "'FFFFFFFF/FFFFFFFF'", "pg_current_wal_lsn()", "'x'"])
        return f"SELECT chunked.wait_for_lsn({lsn}{self.some(0.6, {'timeout': lambda: self.r.choice(INTERVALS)})})"

    def small_functions(self) -> str:
        number = self.r.choice(["'NaN'", "'Infinity'", "'-Infinity'", "-1", "0", "1e308", "0.5", "1e15", "NULL"])
        return self.r.choice([f"SELECT chunked.human_number({number})", f"SELECT chunked.human_time({number})", f"SELECT chunked.progress_bar({self.r.choice(['-1', '2', '0.5', number])})",
                              f"SELECT {literal(self.r.choice(TEXTS))}::chunked.role_reference", f"SELECT {literal(self.r.choice(TEXTS))}::chunked.relation_reference",
                              "SELECT 4294967295::oid::chunked.role_reference, 4294967295::oid::chunked.relation_reference", "SELECT oid::chunked.relation_reference FROM pg_class",
                              "SELECT chunked.page_support(NULL)"])

    def views(self) -> str:
        return f"SELECT * FROM chunked.{self.r.choice(('jobs', 'job_chunks', 'progress'))} LIMIT 100"

    def composed(self) -> str:
        """A chunk's condition used as one, a page by the position of another's row, a walk as a trigger's or an index's expression would call it."""
        relation = self.relation()
        name = relation.name
        return self.r.choice([
            f"SELECT p.* FROM {name} AS r, LATERAL chunked.page(NULL::{name}, 2, after => chunked.position_of(r)) AS p LIMIT 40",
            f"SELECT chunked.next_chunk('{name}', 5, after => c.upto) FROM chunked.chunks('{name}', 300) AS c".replace("'" + name + "'", literal(name)),
            f"SELECT query_to_xml('SELECT count(*) FROM ' || relation || ' WHERE ' || predicate, true, true, '') FROM chunked.split({literal(name)}, 4)",
            f"WITH RECURSIVE w AS (SELECT * FROM chunked.next_chunk({literal(name)}, 100) UNION ALL SELECT n.* FROM w, chunked.next_chunk({literal(name)}, 100, w.upto) AS n)"
            " SELECT count(*) FROM w",
            f"CREATE TEMPORARY TABLE kept ON COMMIT DROP AS SELECT * FROM chunked.page(NULL::{name})",
            f"SELECT chunked.page(NULL::{name}, 3), chunked.page(NULL::{name}, 2), chunked.chunks({literal(name)}, 50)",
        ])

    def crossed(self) -> str:
        """The session changes what it walks while it walks it."""
        relation = self.r.choice(self.changing)
        return (f"BEGIN; DECLARE c CURSOR FOR SELECT chunked.page(NULL::{relation.name}, 10); FETCH 1 FROM c; "
                + self.r.choice([f"ALTER TABLE {relation.name} ADD COLUMN crossed int", f"DROP TABLE {relation.name} CASCADE", f"TRUNCATE {relation.name}",
                                 f"DELETE FROM {relation.name}", f"INSERT INTO {relation.name} DEFAULT VALUES", "SET LOCAL ROLE hostile_user", "DISCARD PLANS",
                                 "SELECT chunked.claim_chunk('j1')"]) + "; FETCH 3 FROM c; FETCH ALL FROM c; ROLLBACK")


SETTINGS = ["pg_chunked.native = on", "pg_chunked.native = off", "DateStyle = 'German, DMY'", "IntervalStyle = sql_standard", "TimeZone = 'Pacific/Chatham'", "bytea_output = escape",
            "standard_conforming_strings = off", "transform_null_equals = on", "quote_all_identifiers = on", "enable_indexscan = off", "enable_sort = off", "work_mem = '64kB'",
            "plan_cache_mode = force_generic_plan", "search_path = ''", "search_path = hostile", "client_encoding = LATIN1", "row_security = off",
            "default_transaction_isolation = serializable", "default_transaction_read_only = on", "force_parallel_mode = on", "debug_parallel_query = on", "role = hostile_user",
            "session_replication_role = replica", "jit_above_cost = 0", "extra_float_digits = -15", "array_nulls = off", "debug_discard_caches = 1"]


def settings(r: Random, limits: str) -> list[str]:
    """Statements that give a session other settings; those that a server does not know fail on it."""
    return ["RESET ALL", "RESET ROLE", limits] + [f"SET {setting}" for setting in r.sample(SETTINGS, r.choice((0, 1, 1, 2, 4)))]
