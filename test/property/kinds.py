"""
The column types of the random tables: how to spell each, and random values of it
as text.  The values lean towards what breaks a walk: extremes, values that are
equal without being identical (1.0 and 1.00, -0 and 0, '1 mon' and '30 days'),
text that needs quoting, and text forms that depend on session settings.
"""
from __future__ import annotations

import datetime
import json
from dataclasses import dataclass
from random import Random
from typing import Callable

# Objects that the types and opclasses below need.  One schema of them a run; its
# name has to be quoted, so that type names in predicates have to be, too.
# The reversed opclass has operators of its own: were < in two families, the
# server's own row comparisons would fail ("contains wrong operator").
COMMON_DDL = """
CREATE SCHEMA {common};
CREATE COLLATION {common}.caseless (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE COLLATION {common}."Accents and ""case"" alike" (provider = icu, locale = 'und-u-ks-level1', deterministic = false);
CREATE COLLATION {common}.numerals (provider = icu, locale = 'en-u-kn-true');
CREATE TYPE {common}.mood AS ENUM ('sad', 'ok', 'it''s "fine"', 'happy', 'a b', '-');
ALTER TYPE {common}.mood ADD VALUE 'glum' BEFORE 'ok';
CREATE DOMAIN {common}."Small int" AS int CHECK (VALUE > -1000000);
CREATE DOMAIN {common}.word AS text COLLATE "en-x-icu" CHECK (length(VALUE) < 200);
CREATE DOMAIN {common}.feeling AS {common}.mood;
CREATE DOMAIN {common}.label AS varchar(12);
CREATE TYPE {common}."Pair" AS (a int, b text, c timestamptz);
CREATE FUNCTION {common}.int4_reversed(int, int) RETURNS int LANGUAGE sql IMMUTABLE STRICT
    AS 'SELECT pg_catalog.btint4cmp($2, $1)';
CREATE OPERATOR {common}.<| (LEFTARG = int, RIGHTARG = int, FUNCTION = pg_catalog.int4gt, COMMUTATOR = OPERATOR({common}.|>));
CREATE OPERATOR {common}.<=| (LEFTARG = int, RIGHTARG = int, FUNCTION = pg_catalog.int4ge, COMMUTATOR = OPERATOR({common}.|>=));
CREATE OPERATOR {common}.|>= (LEFTARG = int, RIGHTARG = int, FUNCTION = pg_catalog.int4le, COMMUTATOR = OPERATOR({common}.<=|));
CREATE OPERATOR {common}.|> (LEFTARG = int, RIGHTARG = int, FUNCTION = pg_catalog.int4lt, COMMUTATOR = OPERATOR({common}.<|));
CREATE OPERATOR CLASS {common}.int4_reversed FOR TYPE int4 USING btree AS
    OPERATOR 1 {common}.<|, OPERATOR 2 {common}.<=|, OPERATOR 3 pg_catalog.=, OPERATOR 4 {common}.|>=, OPERATOR 5 {common}.|>,
    FUNCTION 1 {common}.int4_reversed(int, int);
"""

# A schema whose operators answer anything with an error, and whose types refuse any
# value: with it first in search_path, generated SQL that leaves a name unqualified fails.
HOSTILE_TYPES = ("int4", "int8", "text", "timestamptz", "numeric", "uuid", "tid", "jsonb", "bool")


def hostile_ddl(hostile: str) -> str:
    lines = [f"CREATE SCHEMA {hostile};"]
    for kind in HOSTILE_TYPES:
        lines.append(
            f"CREATE FUNCTION {hostile}.refuse(pg_catalog.{kind}, pg_catalog.{kind}) RETURNS pg_catalog.bool LANGUAGE plpgsql"
            " AS $$BEGIN RAISE EXCEPTION 'an unqualified operator was called'; END$$;")
        lines += [
            f"CREATE OPERATOR {hostile}.{op} (LEFTARG = pg_catalog.{kind}, RIGHTARG = pg_catalog.{kind}, FUNCTION = {hostile}.refuse);"
            for op in ("<", "<=", "=", ">=", ">", "<>")
        ]
    lines += [f"CREATE DOMAIN {hostile}.{kind} AS pg_catalog.bytea CHECK (false);" for kind in HOSTILE_TYPES if kind != "jsonb"]
    return "\n".join(lines)


@dataclass(frozen=True)
class OpClass:
    """A non-default opclass and the operators that ORDER BY ... USING needs for it."""

    name: str
    less: str
    greater: str
    deterministic_only: bool = False


@dataclass(frozen=True)
class Kind:
    """A column type.  `sql` and opclass names may hold {common} and {citext}."""

    sql: str
    value: Callable[[Random], str]
    collatable: bool = False
    hashable: bool = True
    opclasses: tuple[OpClass, ...] = ()
    # the value's text as a JSON scalar other than a string, if there is one
    json: Callable[[str], str | None] = lambda text: None
    weight: int = 2


def one_of(*texts: str) -> Callable[[Random], str]:
    return lambda r: r.choice(texts)


def integer(bits: int) -> Callable[[Random], str]:
    top = 2 ** (bits - 1)
    edges = (-top, -top + 1, -1, 0, 1, top - 2, top - 1)

    def value(r: Random) -> str:
        if r.random() < 0.2:
            return str(r.choice(edges))
        return str(r.randint(-50, 50) if r.random() < 0.5 else r.randint(-top, top - 1))

    return value


def numeric(r: Random) -> str:
    shape = r.random()
    if shape < 0.15:
        return r.choice(("NaN", "Infinity", "-Infinity", "-0", "0", "0.00"))
    if shape < 0.35:
        return str(r.randint(-3, 3)) + "." + "0" * r.randint(1, 3)
    if shape < 0.45:
        digits = "".join(r.choice("0123456789") for _ in range(999))
        return r.choice(("", "-")) + r.choice(("1" + digits, "0." + digits, digits[:500] + "." + digits[500:]))
    return f"{r.uniform(-100, 100):.{r.randint(0, 6)}f}"


def floating(*edges: str) -> Callable[[Random], str]:
    special = ("NaN", "Infinity", "-Infinity", "-0", "0", "0.1", "-0.1") + edges
    return lambda r: r.choice(special) if r.random() < 0.4 else repr(r.uniform(-1, 1) * 10 ** r.randint(-9, 9))


PIECES = (
    "a", "A", "á", "Á", "e\u0301", "é", "b", "B", "ss", "ß", "z", "Z", "ø", "日本", "😀", "-", "_", " ", "  ", "10", "9", "09",
    "'", '"', "\\", "\\n", "\n", "\t", "\r", "%", "%s", "{", "}", "(", ")", ",", "null", "NULL", "--", "$1", "$$", ";", "\x01",
    "\u00a0", "ﬀ",
)


def text(limit: int) -> Callable[[Random], str]:
    return lambda r: "".join(r.choice(PIECES) for _ in range(r.randint(0, 5)))[:limit]


def character(limit: int) -> Callable[[Random], str]:
    return lambda r: text(limit)(r).rstrip(" ")


def bytea(r: Random) -> str:
    return "\\x" + bytes(r.choice((0, 1, 39, 92, 127, 128, 255, 65)) for _ in range(r.randint(0, 6))).hex()


def uuid(r: Random) -> str:
    return f"{r.getrandbits(128) if r.random() < 0.8 else r.choice((0, 1, 2**128 - 1)):032x}"


def date(r: Random) -> str:
    if r.random() < 0.2:
        return r.choice(("infinity", "-infinity", "4713-01-01 BC", "0044-03-15 BC", "5874897-12-31", "10000-01-01"))
    return str(datetime.date(1970, 1, 1) + datetime.timedelta(days=r.randint(-40000, 40000)))


def moment(zone: str) -> Callable[[Random], str]:
    edges = (
        "infinity", "-infinity", f"4713-01-01 00:00:00{zone} BC", f"0044-03-15 12:00:00.000001{zone} BC",
        f"294276-12-31 11:59:59.999999{zone}", f"2000-01-01 00:00:00{zone}", f"1883-11-18 17:03:57.5{zone}",
    )

    def value(r: Random) -> str:
        if r.random() < 0.2:
            return r.choice(edges)
        seconds = r.choice((r.randint(0, 3), r.randint(-2 * 10**9, 4 * 10**9)))
        at = datetime.datetime(2000, 1, 1) + datetime.timedelta(seconds=seconds)
        return f"{at:%Y-%m-%d %H:%M:%S}.{r.choice((0, 1, 999999, r.randint(0, 999999))):06d}{zone}"

    return value


def clock(r: Random) -> str:
    if r.random() < 0.1:
        return r.choice(("24:00:00", "00:00:00", "23:59:59.999999"))
    return f"{r.randint(0, 23):02d}:{r.randint(0, 59):02d}:{r.randint(0, 59):02d}.{r.choice((0, 1, 500000)):06d}"


def zoned_clock(r: Random) -> str:
    return clock(r) + r.choice(("+00", "+02", "-13:30", "+05:45", "-07", "+14"))


def interval(r: Random) -> str:
    if r.random() < 0.5:
        return r.choice((
            "1 mon", "30 days", "720:00:00", "-1 mon", "-1 year -2 days", "1 day 24:00:00", "2 days", "00:00:00.000001",
            "-00:00:00.000001", "1 year -1 day", "-1 year 2 days -3:04:05.6", "178000000 years", "-178000000 years", "0",
        ))
    return f"{r.randint(-20, 20)} mons {r.randint(-40, 40)} days {r.randint(-10**6, 10**6)}.{r.randint(0, 10**6 - 1):06d} secs"


def bits(low: int, high: int) -> Callable[[Random], str]:
    return lambda r: "".join(r.choice("01") for _ in range(r.randint(low, high)))


def address(r: Random) -> str:
    if r.random() < 0.3:
        return r.choice(("::", "::1", "2001:db8::/32", "2001:db8::1/64", "::ffff:1.2.3.4", "0.0.0.0/0"))
    return f"{r.choice((10, 192))}.{r.randint(0, 3)}.0.{r.randint(0, 255)}" + r.choice(("", "/8", "/24", "/31"))


def network(r: Random) -> str:
    return r.choice(("10.0.0.0/8", "10.1.0.0/16", "10.0.0.0/9", "::/0", "2001:db8::/32", f"10.0.{r.randint(0, 255)}.0/24"))


def mac(length: int) -> Callable[[Random], str]:
    return lambda r: ":".join(f"{r.choice((0, 1, 8, 171, 255)):02x}" for _ in range(length))


MOODS = ("sad", "ok", 'it\'s "fine"', "happy", "a b", "-", "glum")


def quote_element(element: str | None) -> str:
    if element is None:
        return "NULL"
    return '"' + element.replace("\\", "\\\\").replace('"', '\\"') + '"'


def array(element: Callable[[Random], str]) -> Callable[[Random], str]:
    def items(r: Random, count: int) -> str:
        return "{" + ",".join(quote_element(None if r.random() < 0.15 else element(r)) for _ in range(count)) + "}"

    def value(r: Random) -> str:
        shape = r.random()
        if shape < 0.1:
            count = r.randint(1, 2)
            return "{" + ",".join(items(r, count) for _ in range(2)) + "}"
        if shape < 0.15:
            return "[0:1]=" + items(r, 2)
        return items(r, r.randint(0, 3))

    return value


def span(bound: Callable[[Random, int], str]) -> Callable[[Random], str]:
    def value(r: Random) -> str:
        if r.random() < 0.1:
            return r.choice(("empty", "(,)"))
        low = r.randint(0, 30)
        high = low + r.randint(1, 10)
        left = "" if r.random() < 0.15 else bound(r, low)
        right = "" if r.random() < 0.15 else bound(r, high)
        return r.choice("[(") + left + "," + right + r.choice("])")

    return value


def whole(r: Random, n: int) -> str:
    return str(n)


def decimal(r: Random, n: int) -> str:
    return f"{n}.{r.choice(('0', '00', '5'))}"


def instant(r: Random, n: int) -> str:
    return f'"2020-01-{n % 28 + 1:02d} {n % 24:02d}:00:00.00000{n % 10}+00"' if n < 28 else f'"20{n}-02-03 04:05:06+00"'


def multirange(r: Random) -> str:
    return "{" + ",".join(f"[{10 * i},{10 * i + r.randint(1, 9)})" for i in range(r.randint(0, 3))) + "}"


def pair(r: Random) -> str:
    if r.random() < 0.3:
        return r.choice(("(,,)", "(,,)", "(0,,)", '(,"",)'))
    a = "" if r.random() < 0.25 else str(r.randint(-2, 2))
    b = "" if r.random() < 0.25 else quote_element(text(20)(r))
    c = "" if r.random() < 0.25 else quote_element(moment("+00")(r))
    return f"({a},{b},{c})"


def document(r: Random) -> str:
    if r.random() < 0.4:
        return r.choice(("null", '"null"', "1", "1.0", "1.00", "true", "false", "{}", "[]", '""', "-0"))
    return json.dumps(
        r.choice((
            {"a": r.randint(0, 3), "b": text(9)(r).replace("\x00", "")},
            [r.randint(0, 3), None, text(9)(r)],
            text(30)(r),
            r.randint(-(2**60), 2**60),
        )),
        ensure_ascii=r.random() < 0.5,
    )


def number_as_json(text: str) -> str | None:
    """Finite decimals are JSON numbers as they stand, however many digits they have."""
    return text if text.lstrip("-").replace(".", "", 1).isdigit() else None


def bool_as_json(text: str) -> str | None:
    return {"t": "true", "f": "false", "true": "true", "false": "false"}.get(text)


PATTERN = dict(less="~<~", greater="~>~")
TEXT_OPCLASSES = (
    OpClass("text_pattern_ops", **PATTERN, deterministic_only=True),
    OpClass("pg_catalog.text_ops", "<", ">"),
)

KINDS = (
    Kind("smallint", integer(16), json=number_as_json),
    Kind("int", integer(32), json=number_as_json, weight=4, opclasses=(
        OpClass("{common}.int4_reversed", "{common}.<|", "{common}.|>"), OpClass("int4_ops", "<", ">"))),
    Kind("bigint", integer(64), json=number_as_json, weight=4),
    Kind("numeric", numeric, json=number_as_json, weight=4),
    Kind("numeric(12,3)", lambda r: f"{r.uniform(-99, 99):.3f}", json=number_as_json),
    Kind("float4", floating("3.4e38", "-3.4e38", "1e-45", "16777216")),
    Kind("float8", floating("1.7976931348623157e308", "5e-324", "0.30000000000000004"), weight=3),
    Kind("text", text(200), collatable=True, weight=8, opclasses=TEXT_OPCLASSES),
    Kind("varchar(20)", text(20), collatable=True, weight=3, opclasses=(
        OpClass("varchar_pattern_ops", **PATTERN, deterministic_only=True),)),
    Kind("char(12)", character(12), collatable=True, opclasses=(
        OpClass("bpchar_pattern_ops", **PATTERN, deterministic_only=True),)),
    Kind("name", text(15)),
    Kind('"char"', one_of("a", "b", "'", "\\", "")),
    Kind("{citext}.citext", text(60), collatable=True, weight=3, opclasses=(
        OpClass("{citext}.citext_pattern_ops", "{citext}.~<~", "{citext}.~>~", deterministic_only=True),)),
    Kind("bytea", bytea),
    Kind("uuid", uuid, weight=3),
    Kind("date", date, weight=3),
    Kind("timestamp", moment(""), weight=3),
    Kind("timestamp(0)", moment("")),
    Kind("timestamptz", moment("+00"), weight=5),
    Kind("time", clock),
    Kind("timetz", zoned_clock),
    Kind("interval", interval, weight=3),
    Kind("bool", one_of("t", "f"), json=bool_as_json),
    Kind("bit(5)", bits(5, 5), hashable=False),
    Kind("varbit", bits(0, 9), hashable=False),
    Kind("inet", address),
    Kind("cidr", network),
    Kind("macaddr", mac(6)),
    Kind("macaddr8", mac(8)),
    Kind("oid", lambda r: str(r.choice((0, 1, 2**31, 2**32 - 1, r.getrandbits(32)))), json=number_as_json),
    Kind("tid", lambda r: f"({r.choice((0, 1, 4294967294))},{r.randint(0, 9)})"),
    Kind("pg_lsn", lambda r: f"{r.choice((0, 22, 4294967295)):X}/{r.getrandbits(32):X}"),
    Kind("xid8", lambda r: str(r.choice((0, 3, 2**63, 2**64 - 1, r.getrandbits(40))))),
    # its text depends on search_path
    Kind("regtype", one_of("integer", "text", "information_schema.sql_identifier", "information_schema.yes_or_no"), weight=1),
    Kind("money", lambda r: f"{r.uniform(-9, 9):.2f}", hashable=False, weight=1),
    Kind("oidvector", lambda r: " ".join(str(r.randint(0, 3)) for _ in range(r.randint(0, 3)))),
    Kind("{common}.mood", one_of(*MOODS), weight=3),
    Kind('{common}."Small int"', lambda r: str(r.randint(-50, 10**6)), json=number_as_json),
    Kind("{common}.word", text(100), collatable=True),
    Kind("{common}.feeling", one_of(*MOODS)),
    Kind("{common}.label", text(12), collatable=True),
    Kind("int[]", array(lambda r: str(r.randint(-3, 3))), weight=2),
    Kind("text[]", array(text(9)), collatable=True),
    Kind("timestamptz[]", array(moment("+00"))),
    Kind("{common}.mood[]", array(one_of(*MOODS))),
    Kind("int4range", span(whole)),
    Kind("numrange", span(decimal)),
    Kind("tstzrange", span(instant)),
    Kind("int4multirange", multirange),
    Kind('{common}."Pair"', pair, weight=5, opclasses=(OpClass("record_image_ops", "*<", "*>"),)),
    Kind("jsonb", document, weight=2),
    Kind("tsvector", one_of("", "a", "a b", "'it''s':1A,2 b:3", "'\\\\':4"), hashable=False, weight=1),
    Kind("tsquery", one_of("a", "a & b", "a | !b", "'it''s'"), hashable=False, weight=1),
)

# Types for a column that holds a different value in every row: from a row number.
SERIALS = {
    "int": lambda n: str(n * 3 - 50),
    "bigint": lambda n: str(9223372036854775807 - n if n % 2 else -9223372036854775808 + n),
    "smallint": lambda n: str(n - 100),
    "numeric": lambda n: f"{n}.{'0' * (n % 4)}" if n % 4 else str(n),
    "uuid": lambda n: f"{(n * 0x9E3779B97F4A7C15F39CC0605CEDC835) % 2**128:032x}",
    "text": lambda n: f"it's {n}\\",
    "timestamptz": lambda n: f"2021-03-28 0{n % 10}:59:59.{n:06d}+00",
    "date": lambda n: str(datetime.date(2024, 2, 28) + datetime.timedelta(days=n)),
    "interval": lambda n: f"-{n} mons {n} secs",
    "float8": lambda n: repr(n / 7),
    "bytea": lambda n: f"\\x{n:04x}",
}


def random_kind(r: Random) -> Kind:
    return r.choices(KINDS, [kind.weight for kind in KINDS])[0]
