"""
Random tables: DDL and rows of every kind of relation, and a random key to walk it
by.  Each table knows the whole order of its key as plain SQL, which is what the
walks are compared with.  No name, value or order here comes from the extension.
"""
from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Callable

from kinds import SERIALS, Kind, OpClass, random_kind

ODD_NAMES = (
    'Weird " Name', "with space", "UPPER", "select", "order", "user", "table", "ünïcode", "a.b", "back\\slash", "{curly}",
    "comma, name", "it's", "$1", "asc", "desc", "nulls", "key", "filter", "after", "before", "relation", "row", "%s", "--",
    "a" * 63, "collate", "last", "1st", "null", "x'y\"z",
    ".", "..",
)
COLLATIONS = (
    '"C"', '"en-x-icu"', '"de-x-icu"', "{common}.caseless", '{common}."Accents and ""case"" alike"', "{common}.numerals",
    '"default"',
)


def quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str | None) -> str:
    return "NULL" if text is None else "'" + text.replace("'", "''") + "'"


def nondeterministic(collation: str | None) -> bool:
    return collation is not None and ("caseless" in collation or "alike" in collation)


@dataclass
class Column:
    name: str
    type: str
    value: Callable[[Random, int], str | None] | None  # None: the table makes the value
    kind: Kind | None = None
    collation: str | None = None
    not_null: bool = False
    tail: str = ""  # GENERATED and the like

    def definition(self, with_not_null: bool = True) -> str:
        parts = [quote(self.name), self.type]
        if self.collation:
            parts.append(f"COLLATE {self.collation}")
        if self.not_null and with_not_null:
            parts.append("NOT NULL")
        return " ".join(parts + ([self.tail] if self.tail else []))


@dataclass
class Element:
    """One element of a key: its spelling for the extension, for an index, for ORDER BY."""

    column: Column
    collation: str | None = None
    opclass: OpClass | None = None
    descending: bool = False
    nulls_first: bool = False

    def _core(self, name: str) -> str:
        parts = [name]
        if self.collation:
            parts.append(f"COLLATE {self.collation}")
        if self.opclass:
            parts.append(self.opclass.name)
        return " ".join(parts)

    def _nulls(self) -> str:
        return " NULLS FIRST" if self.nulls_first else " NULLS LAST"

    def spelled(self, r: Random) -> str:
        """As a user would write it in key => '...'."""
        name = quote(self.column.name)
        if self.column.name.isascii() and self.column.name.isidentifier() and self.column.name.islower():
            if self.column.name not in RESERVED and r.random() < 0.8:
                name = r.choice((self.column.name, self.column.name.upper()))
        parts = [self._core(name)]
        if self.descending or r.random() < 0.3:
            parts.append("DESC" if self.descending else "ASC")
        if self.nulls_first != self.descending or r.random() < 0.2:
            parts.append(self._nulls().strip())
        words = " ".join(parts)
        if r.random() < 0.2:
            words = words.replace(" DESC", "  desc").replace(" NULLS ", " nulls\t").replace(" ASC", " asc ")
        return words

    def index_element(self, reverse: bool = False) -> str:
        descending, nulls_first = self.descending != reverse, self.nulls_first != reverse
        return (self._core(quote(self.column.name)) + (" DESC" if descending else " ASC")
                + (" NULLS FIRST" if nulls_first else " NULLS LAST"))

    def order_by(self) -> str:
        text = "o." + quote(self.column.name)
        if self.collation:
            text += f" COLLATE {self.collation}"
        if self.opclass:
            operator = self.opclass.greater if self.descending else self.opclass.less
            if "." not in operator:
                operator = "pg_catalog." + operator
            return f"{text} USING OPERATOR({operator})" + self._nulls()
        return text + (" DESC" if self.descending else " ASC") + self._nulls()

    def coarser_than_column(self) -> bool:
        """Is more equal under this element than in the column's own indexes?"""
        return nondeterministic(self.collation) and self.collation != self.column.collation


RESERVED = {"select", "order", "user", "table", "asc", "desc", "collate", "null", "row", "nulls", "last"}


REMOTE = ("foreign", "foreign partitions")


@dataclass
class Table:
    schema: str
    name: str
    relkind: str
    columns: list[Column]
    key: list[str] | None  # spelled, None for the default key
    elements: list[Element]  # the key's own elements, without tiebreaker
    order: list[Element]  # the whole order, tiebreaker included
    ambiguous: bool  # the order may leave ties: every row or an error
    filters: list[str]
    payload: str  # a column that may be updated at will
    ddl: list[str] = field(default_factory=list)
    insert: str = ""
    then: list[str] = field(default_factory=list)
    spares: list[str] = field(default_factory=list)  # INSERT statements for later
    base: str = ""  # where rows are inserted and deleted
    most_rows: int = 0  # that there can ever be
    temporary: bool = False
    frozen: bool = False  # a materialized view does not follow its base
    afterwards: list[str] = field(default_factory=list)  # what cannot be run in a transaction
    unique_indexes: dict[str, str] = field(default_factory=dict)  # that serve equally as default key: name and statement
    unique_columns: list[str] = field(default_factory=list)
    serial: str | None = None  # a column that is unique by itself

    @property
    def remote(self) -> bool:
        """Does another server, if only this one once more, hold some of the rows?"""
        return self.relkind in REMOTE

    @property
    def relation(self) -> str:
        return qualify(self.schema, self.name)

    @property
    def order_by(self) -> str:
        return ", ".join(element.order_by() for element in self.order)

    def describe(self) -> str:
        rows = self.insert[:400] + (" ..." if len(self.insert) > 400 else "")
        afterwards = self.then + [statement + ";" for statement in self.afterwards]
        key = "the default" if self.key is None else literal(", ".join(self.key))
        return "\n".join(self.ddl + [rows, *afterwards, f"-- key: {key}", f"-- order: {self.order_by}"])


def qualify(schema: str, name: str) -> str:
    return quote(name) if schema == "" else f"{quote(schema)}.{quote(name)}"


class Maker:
    """Makes one random table.  `sort` sorts values of a type as the server does, for partition bounds."""

    def __init__(self, r: Random, schema: str, facts: dict, sort: Callable[[str, list[str]], list[str]]):
        self.r, self.schema, self.facts, self.sort = r, schema, facts, sort
        self.used: set[str] = {"_row"}
        self.ddl: list[str] = []
        self.after_insert: list[str] = []
        self.foreign_share = r.choice((0.5, 1.0))

    def sparse(self) -> str:
        """An index of few rows a page has pages to count, and upper pages to estimate by."""
        return " WITH (fillfactor = 10)" if self.r.random() < 0.5 else ""

    def fill(self, text: str) -> str:
        return text.replace("{common}", self.facts["common"]).replace("{citext}", self.facts["citext"] or "")

    def name(self, plain: str) -> str:
        for _ in range(20):
            name = self.r.choice(ODD_NAMES) if self.r.random() < 0.3 else plain
            if name not in self.used:
                break
        else:
            name = plain
        while name in self.used:
            name += "_"
        self.used.add(name)
        return name

    def kind(self) -> Kind:
        while True:
            kind = random_kind(self.r)
            if "{citext}" in kind.sql and not self.facts["citext"]:
                continue
            if kind.sql == "regtype" and self.relkind in REMOTE:  # postgres_fdw looks its text up in search_path
                continue
            return kind

    # columns

    def collation(self, kind: Kind) -> str:
        while True:
            collation = self.fill(self.r.choice(COLLATIONS))
            # citext's = and < disagree under a nondeterministic one, so that it cannot be walked
            if "citext" not in kind.sql or not nondeterministic(collation):
                return collation

    def pooled(self, kind: Kind, nulls: float) -> Callable[[Random, int], str | None]:
        """Few or many different values, some of them NULL."""
        size = self.r.choice((1, 2, 2, 4, 10, 40, 400))
        pool = [kind.value(self.r) for _ in range(size)]
        return lambda r, n: None if r.random() < nulls else r.choice(pool)

    def key_column(self, number: int, not_null: bool) -> Column:
        kind = self.kind()
        collation = self.collation(kind) if kind.collatable and self.r.random() < 0.6 else None
        nulls = 0.0 if not_null else self.r.choice((0.0, 0.1, 0.5, 1.0))
        return Column(self.name(f"k{number}"), self.fill(kind.sql), self.pooled(kind, nulls), kind, collation, not_null)

    def serial_column(self) -> Column:
        kind = self.r.choice(tuple(SERIALS))
        value = SERIALS[kind]
        shuffled = list(range(1000))
        self.r.shuffle(shuffled)
        return Column(self.name("id"), kind, lambda r, n: value(shuffled[n]), not_null=True)

    def special_column(self) -> tuple[Column, str | None]:
        """A column that invites a wrong conclusion, and the index that does so."""
        shape = self.r.choice(("generated", "late", "nullable unique", "unique in another collation", "partial unique"))
        if shape == "generated":
            return Column(self.name("made"), "int", None, tail="GENERATED ALWAYS AS (_row % 5) STORED"), None
        if shape == "late":
            return Column(self.name("late"), "int", None, tail=self.r.choice(("DEFAULT 7", "NOT NULL DEFAULT 7", ""))), None
        if shape == "nullable unique":
            column = Column(self.name("maybe"), "int", lambda r, n: None if n % 3 else str(n))
            return column, "CREATE UNIQUE INDEX ON {table} ({column})"
        if shape == "partial unique":
            column = Column(self.name("part"), "int", lambda r, n: str(n % 7), not_null=True)
            return column, "CREATE UNIQUE INDEX ON {table} ({column}) WHERE _row < 0"
        column = Column(self.name("cases"), "text", lambda r, n: in_cases(n), collation=self.fill("{common}.caseless"), not_null=True)
        return column, 'CREATE UNIQUE INDEX ON {table} ({column} COLLATE "C")'

    def element(self, column: Column, decorated: bool = True) -> Element:
        r = self.r
        if not decorated:
            return Element(column)
        element = Element(column, descending=r.random() < 0.45)
        element.nulls_first = element.descending if r.random() < 0.6 else r.random() < 0.5
        kind = column.kind
        if kind is None:
            return element
        if kind.collatable and r.random() < 0.25:
            element.collation = self.collation(kind)
        if kind.opclasses and r.random() < 0.25:
            opclass = r.choice(kind.opclasses)
            element.opclass = OpClass(self.fill(opclass.name), self.fill(opclass.less), self.fill(opclass.greater))
            if opclass.deterministic_only and nondeterministic(element.collation or column.collation):
                element.collation = '"C"'
        return element

    # the table

    def make(self) -> Table:
        r = self.r
        relkind = self.relkind = r.choices(
            ("plain", "partitioned", "inherited", "view", "matview", "temporary", "unlogged", *REMOTE),
            (43, 22, 8, 8, 5, 3, 2) + ((5, 4) if self.facts["foreign"] else (0, 0)))[0]
        unproven = relkind in ("inherited", "view", "matview", *REMOTE) or (relkind == "plain" and r.random() < 0.2)
        unique = "none" if unproven else r.choice(("primary", "separate", "separate", "index", "index"))
        duplicates = unproven and r.random() < 0.5

        columns = [self.key_column(i, unique in ("primary", "index") or r.random() < 0.4)
                   for i in range(1, r.choice((1, 1, 2, 2, 3, 4)) + 1)]
        serial = self.serial_column() if not duplicates and (unique not in ("primary", "index") or r.random() < 0.6) else None
        special, special_index = self.special_column() if relkind != "foreign partitions" and r.random() < 0.3 else (None, None)

        partition_columns = self.choose_partition_columns(columns, serial) if relkind in ("partitioned", "foreign partitions") else []
        nulls_too = unique == "index" and relkind == "partitioned" and r.random() < 0.3
        unique_columns = self.unique_columns(unique, columns, serial, partition_columns, nulls_too)
        filler = [Column("_row", "int", lambda r, n: str(n), not_null=True),
                  Column(self.name("payload"), "text", lambda r, n: "x" * r.choice((0, 1, 50, 3000 if n % 50 == 0 else 5)))]
        all_columns = columns + [c for c in (serial, special) if c] + filler
        r.shuffle(all_columns)
        candidates = self.equal_candidates(unique, unique_columns)
        default_key = min(candidates, key=lambda es: index_rank(es, all_columns)) if candidates else []
        unique_columns = [e.column for e in default_key]

        elements, default = self.choose_key(unique, default_key, columns, serial, special, duplicates)
        if partition_columns and r.random() < 0.5:  # as the partitions are, so that they come one after the other
            elements, default = self.partitioned_key(elements, partition_columns, serial), False
        order = elements + [Element(c) for c in unique_columns if c not in [e.column for e in elements]]
        # A column that stands in the key under a coarser collation cannot be appended again as tiebreaker.
        ambiguous = duplicates or any(e.coarser_than_column() and (unique == "none" or e.column in unique_columns) for e in elements)

        count = r.choice((0, 1, 2, 3, r.randint(4, 20), r.randint(20, 120), r.randint(20, 120), r.randint(120, 400)))
        table = Table(
            schema="" if relkind == "temporary" else self.schema, name=self.name("t"), relkind=relkind, columns=all_columns,
            key=None if default else [e.spelled(r) for e in elements], elements=elements, order=order, ambiguous=ambiguous,
            filters=self.filters(columns), payload=filler[1].name, temporary=relkind == "temporary", frozen=relkind == "matview",
            unique_columns=[c.name for c in unique_columns], serial=serial.name if serial else None)
        self.build(table, unique + (" with nulls" if nulls_too else ""), candidates, partition_columns, special, special_index, count)
        return table

    def choose_partition_columns(self, columns: list[Column], serial: Column | None) -> list[Column]:
        candidates = [c for c in columns if c.kind and c.kind.hashable] + ([serial] if serial else [])
        if not candidates:
            columns.append(Column(self.name("region"), "int", self.pooled(self.kind_named("int"), 0), self.kind_named("int"), None, True))
            candidates = [columns[-1]]
        return self.r.sample(candidates, min(len(candidates), self.r.choice((1, 1, 2))))

    @staticmethod
    def kind_named(sql: str) -> Kind:
        from kinds import KINDS
        return next(kind for kind in KINDS if kind.sql == sql)

    def unique_columns(self, unique: str, columns: list[Column], serial: Column | None, partition: list[Column],
                       nulls_too: bool) -> list[Column]:
        if unique == "none":
            return []
        if unique == "separate":
            chosen = [serial] + [c for c in partition if c is not serial]
        else:
            chosen = columns + ([serial] if serial else [])
        for column in () if nulls_too else chosen:
            column.not_null = True
            if column.value is not None and column is not serial:
                column.value = never_null(column.value, column.kind, self.r)
        self.r.shuffle(chosen)
        return chosen

    def equal_candidates(self, unique: str, columns: list[Column]) -> list[list[Element]]:
        """Keys of the same columns, in an order and directions of their own, that serve equally as default key."""
        if unique == "none":
            return []
        candidates = [[Element(c) for c in columns]]
        while unique == "index" and len(columns) > 1 and len(candidates) < 3 and self.r.random() < 0.7:
            candidates.append([Element(c, descending=d, nulls_first=d) for c in self.r.sample(columns, len(columns))
                               for d in [self.r.random() < 0.3]])
        return candidates

    def choose_key(self, unique, default_key, columns, serial, special, duplicates) -> tuple[list[Element], bool]:
        """The key's elements, and whether they are the default key."""
        r = self.r
        if unique in ("primary", "index") and r.random() < 0.45 or unique == "separate" and r.random() < 0.1:
            # the first column ascends
            return [reversed_element(e) if default_key[0].descending else e for e in default_key], True
        chosen = list(columns)
        if unique == "none":
            chosen += [serial] if serial else []
        elif r.random() < 0.3:
            chosen = r.sample(columns, r.randint(1, len(columns)))
        if unique == "separate" and r.random() < 0.1:
            chosen.append(serial)
        if special and r.random() < 0.8:
            chosen.append(special)
        r.shuffle(chosen)
        if serial in chosen and r.random() < 0.8:
            chosen.remove(serial)
            chosen.append(serial)
        decorated = r.random() < 0.8
        return [self.element(c, decorated) for c in chosen], False

    def partitioned_key(self, elements: list[Element], partition_columns: list[Column], serial: Column | None) -> list[Element]:
        """A key that begins with the columns of the partitions, mostly all of them in one direction."""
        r = self.r
        descending = r.random() < 0.4
        first = [Element(c, descending=descending if r.random() < 0.85 else not descending) for c in partition_columns]
        for element in first:
            element.nulls_first = element.descending if r.random() < 0.6 else r.random() < 0.5
        rest = [e for e in elements if e.column not in partition_columns]
        return first + (rest if r.random() < 0.7 or not serial else [e for e in rest if e.column is serial])

    def filters(self, columns: list[Column]) -> list[str]:
        name = quote(self.r.choice(columns).name)
        modulus = self.r.randint(2, 9)
        return [
            f"_row % {modulus} = 0", f"_row % {modulus} <> 0 -- not these", "false", "true", f"{name} IS NOT NULL",
            f"{name} IS NULL OR _row % 2 = 1", "NULL::bool", f"_row IN (SELECT g FROM generate_series(1, 400, {modulus}) g)",
            f"/* ' */ {name}::text <> 'it''s'", "_row > 350", "_row between 20 AND 25",
        ]

    # its DDL

    def build(self, table, unique, candidates, partition_columns, special, special_index, count) -> None:
        r = self.r
        covered = table.relkind in ("view", "matview", "foreign")
        base_name = self.name("base") if covered else table.name
        table.base = qualify(table.schema, base_name)
        late = special if special and special.value is None and "GENERATED" not in special.tail else None
        present = [c for c in table.columns if c is not late]
        inserted = [c for c in present if c.value is not None]
        table.most_rows = count + 40
        rows = [[c.value(r, n) for c in inserted] for n in range(1, count + 41)]

        if partition_columns:
            self.create_partitioned(table, present, partition_columns, [dict(zip([c.name for c in inserted], row)) for row in rows])
        else:
            self.create_plain(table, present)
        self.create_unique(table, unique, candidates)
        if special_index:
            self.after_insert.append(self.special_index(table, special, special_index, partition_columns))
        self.create_supporting(table, late)
        children = self.create_children(table, present) if table.relkind == "inherited" else []

        names = ", ".join(quote(c.name) for c in inserted)
        values = ["(" + ", ".join(literal(v) for v in row) + ")" for row in rows]
        targets = [table.base] + children
        inserts = {target: [] for target in targets}
        for value in values[:count]:
            inserts[r.choice(targets)].append(value)
        table.insert = "\n".join(
            f"INSERT INTO {target} ({names}) VALUES\n{', '.join(chunk)}\nON CONFLICT DO NOTHING;" for target, chunk in inserts.items() if chunk)
        table.spares = [f"INSERT INTO {r.choice(targets)} ({names}) VALUES {value}" for value in values[count:]]

        if late:
            self.after_insert.insert(0, f"ALTER TABLE {table.base} ADD COLUMN {late.definition()}")
        if covered:
            self.after_insert.append(self.cover(table, base_name))
        if r.random() < 0.3:
            self.after_insert.append(f"ANALYZE {table.base}")
        if r.random() < 0.3:
            table.afterwards.append(f"REINDEX TABLE {table.base}")
        if r.random() < 0.3:
            table.afterwards.append(f"VACUUM {table.relation if table.frozen else table.base}")
        table.ddl = [line + ";" for line in self.ddl]
        table.then = [line + ";" for line in self.after_insert if line]

    def dropped(self, relation: str) -> tuple[list[str], str]:
        """Columns to be dropped again: their definitions, and the statement that drops them."""
        if self.r.random() < 0.6:
            return [], ""
        names = [self.name(f"dead{i}") for i in range(self.r.choice((1, 1, 3)))]
        drops = ", ".join(f"DROP COLUMN {quote(n)}" for n in names)
        return [f"{quote(n)} {self.r.choice(('int', 'text', 'numeric NOT NULL DEFAULT 1'))}" for n in names], f"ALTER TABLE {relation} {drops}"

    def definitions(self, columns: list[Column], dead: list[str]) -> str:
        parts = [c.definition() for c in columns]
        for definition in dead:
            parts.insert(self.r.randint(0, len(parts)), definition)
        return ", ".join(parts)

    def create_plain(self, table: Table, columns: list[Column]) -> None:
        dead, drop = self.dropped(table.base)
        kind = {"temporary": "TEMPORARY ", "unlogged": "UNLOGGED "}.get(table.relkind, "")
        self.ddl.append(f"CREATE {kind}TABLE {table.base} ({self.definitions(columns, dead)})")
        if drop:
            (self.ddl if self.r.random() < 0.5 else self.after_insert).append(drop)

    def create_partitioned(self, table: Table, columns: list[Column], keys: list[Column], rows: list[dict]) -> None:
        dead, drop = self.dropped(table.base)
        clause, keys = self.partition_clause(keys)
        self.ddl.append(f"CREATE TABLE {table.base} ({self.definitions(columns, dead)}) PARTITION BY {clause}")
        if drop:
            self.ddl.append(drop)
        self.create_partitions(table.base, clause, keys, columns, rows)

    def partition_clause(self, keys: list[Column]) -> tuple[str, list[Column]]:
        """By the first column, or a range of both; and the columns again, perhaps one of them twice, a level each."""
        column = keys[0]
        if len(keys) == 2 and self.r.random() < 0.35:
            return f"RANGE ({quote(column.name)}, {quote(keys[1].name)})", keys
        if len(keys) == 1 and self.r.random() < 0.25:
            keys = [column, column]
        methods = ["RANGE", "RANGE", "LIST"] + (["HASH"] if column.kind is None or column.kind.hashable else [])
        return f"{self.r.choice(methods)} ({quote(column.name)})", keys

    def create_partitions(self, parent: str, clause: str, keys: list[Column], columns: list[Column], rows: list[dict]) -> None:
        method = clause.split()[0]
        both = clause.startswith("RANGE") and clause.endswith(f", {quote(keys[-1].name)})") and len(keys) == 2
        below = self.partition_clause(keys[1:])[0] if len(keys) > 1 and not both else None
        bounds = self.pair_bounds(keys, rows) if both else self.partition_bounds(method, keys[0], rows)
        for bound in bounds:
            child = qualify(self.schema, self.name("p"))
            nested = below if self.r.random() < 0.7 else None
            subclause = f" PARTITION BY {nested}" if nested else ""
            if self.relkind == "foreign partitions" and not nested and self.r.random() < self.foreign_share:
                self.create_foreign_partition(parent, child, bound, columns)
            elif self.r.random() < 0.35:
                self.attach_partition(parent, child, bound, subclause, columns)
            else:
                self.ddl.append(f"CREATE TABLE {child} PARTITION OF {parent} {bound}{subclause}")
            if nested:
                self.create_partitions(child, nested, keys[1:], columns, rows)

    def create_foreign_partition(self, parent: str, child: str, bound: str, columns: list[Column]) -> None:
        far = self.name("far")
        where = f"SERVER {self.facts['foreign']} OPTIONS (schema_name {literal(self.schema)}, table_name {literal(far)})"
        self.ddl.append(f"CREATE TABLE {qualify(self.schema, far)} ({self.definitions(self.r.sample(columns, len(columns)), [])})")
        if self.r.random() < 0.35:
            self.attach_partition(parent, child, bound, f" {where}", columns, "FOREIGN TABLE")
        else:
            self.ddl.append(f"CREATE FOREIGN TABLE {child} PARTITION OF {parent} {bound} {where}")

    def attach_partition(self, parent: str, child: str, bound: str, subclause: str, columns: list[Column], kind: str = "TABLE") -> None:
        """A partition whose columns are numbered otherwise than its parent's."""
        shuffled = self.r.sample(columns, len(columns))
        dead, drop = self.dropped(child)
        self.ddl.append(f"CREATE {kind} {child} ({self.definitions(shuffled, dead)}){subclause}")
        if drop:
            self.ddl.append(drop)
        self.ddl.append(f"ALTER TABLE {parent} ATTACH PARTITION {child} {bound}")

    def partition_bounds(self, method: str, column: Column, rows: list[dict]) -> list[str]:
        r = self.r
        if method == "HASH":
            modulus = r.choice((1, 2, 3, 4, 4, 11))
            return [f"FOR VALUES WITH (MODULUS {modulus}, REMAINDER {i})" for i in range(modulus)]
        typed = column.type + (f" COLLATE {column.collation}" if column.collation else "")
        seen = sorted({row[column.name] for row in rows if row.get(column.name) is not None})
        values = self.sort(typed, r.sample(seen, min(len(seen), r.randint(1, 6))))
        if method == "RANGE":
            edges = [literal(v) for v in values]
            if r.random() < 0.5:
                edges = ["MINVALUE"] + edges
            if r.random() < 0.5:
                edges = edges + ["MAXVALUE"]
            bounds = [f"FOR VALUES FROM ({low}) TO ({high})" for low, high in zip(edges, edges[1:])]
            complete = column.not_null and len(bounds) > 0 and (edges[0], edges[-1]) == ("MINVALUE", "MAXVALUE")
        else:
            bounds = []
            complete = column.not_null and len(values) == len(self.sort(typed, seen))
            most = r.choice((1, 2, 2))
            if r.random() < 0.3:  # values of one on both sides of another's
                r.shuffle(values)
            while values:
                some, values = values[:most], values[most:]
                bounds.append("FOR VALUES IN (" + ", ".join(literal(v) for v in some) + ")")
            if not column.not_null and r.random() < 0.6:
                if bounds and r.random() < 0.5:
                    bounds[-1] = bounds[-1][:-1] + ", NULL)"
                else:
                    bounds.append("FOR VALUES IN (NULL)")
        return self.with_gaps(bounds, complete)

    def pair_bounds(self, columns: list[Column], rows: list[dict]) -> list[str]:
        """Ranges of two columns, some of which end between rows that share the first one."""
        r = self.r
        pairs = {tuple(row[c.name] for c in columns) for row in rows}
        pairs = sorted(pair for pair in pairs if None not in pair)
        edges = [f"({low}, {high})" for low, high in self.sorted_pairs(columns, r.sample(pairs, min(len(pairs), r.randint(1, 6))))]
        if r.random() < 0.5:
            edges = ["(MINVALUE, MINVALUE)"] + edges
        if r.random() < 0.5:
            edges = edges + ["(MAXVALUE, MAXVALUE)"]
        bounds = [f"FOR VALUES FROM {low} TO {high}" for low, high in zip(edges, edges[1:])]
        complete = all(c.not_null for c in columns) and len(bounds) > 0 and edges[0][1:4] == "MIN" and edges[-1][1:4] == "MAX"
        return self.with_gaps(bounds, complete)

    def sorted_pairs(self, columns: list[Column], pairs: list[tuple]) -> list[tuple[str, str]]:
        """As literals, in their order, each once; the second open where it is so for all of a first."""
        r = self.r
        open_ended = r.random() < 0.4
        typed = [c.type + (f" COLLATE {c.collation}" if c.collation else "") for c in columns]
        found = []
        for first in self.sort(typed[0], sorted({first for first, _ in pairs})):
            seconds = self.sort(typed[1], sorted({second for other, second in pairs if other == first}))
            if open_ended or not seconds:
                found += [(literal(first), end) for end in r.choice((("MINVALUE",), ("MAXVALUE",), ("MINVALUE", "MAXVALUE")))]
            else:
                found += [(literal(first), literal(second)) for second in seconds]
        return found

    def with_gaps(self, bounds: list[str], complete: bool) -> list[str]:
        """In any order; what is in none of them, if that may be, is in the default partition."""
        if not complete or self.r.random() < 0.4:
            bounds = [bound for bound in bounds if self.r.random() < 0.85] + ["DEFAULT"]
        self.r.shuffle(bounds)
        return bounds

    def create_unique(self, table: Table, unique: str, candidates: list[list[Element]]) -> None:
        include = ' INCLUDE (_row)' if self.r.random() < 0.15 else ""
        if unique.startswith("index"):
            nulls = " NULLS NOT DISTINCT" if unique.endswith("nulls") else ""
            for elements in self.r.sample(candidates, len(candidates)):
                name = self.name("u")
                columns = ", ".join(e.index_element() for e in elements)
                statement = f"CREATE UNIQUE INDEX {quote(name)} ON {table.base} ({columns}){include}{nulls}{self.sparse()}"
                table.unique_indexes[qualify(table.schema, name)] = statement
                self.ddl.append(statement)
        elif unique != "none":
            names = ", ".join(quote(e.column.name) for e in candidates[0])
            self.ddl.append(f"ALTER TABLE {table.base} ADD PRIMARY KEY ({names}){include}{self.sparse()}")

    def special_index(self, table: Table, column: Column, template: str, partition_columns: list[Column]) -> str:
        if partition_columns or table.base != table.relation:
            return ""
        return template.format(table=table.base, column=quote(column.name))

    def create_supporting(self, table: Table, late: Column | None) -> None:
        shape = self.r.choices(("none", "exact", "reversed", "prefix", "wrong"), (25, 35, 20, 10, 10))[0]
        if shape == "none":
            return
        elements = list(table.order)
        if shape == "prefix":
            elements = elements[: self.r.randint(1, len(elements))]
        parts = [e.index_element(shape == "reversed") for e in elements]
        if shape == "wrong":
            i = self.r.randrange(len(parts))
            parts[i] = elements[i].index_element(True)
        lines = self.after_insert if late in [e.column for e in elements] or self.r.random() < 0.3 else self.ddl
        lines.append(f"CREATE INDEX ON {table.base} ({', '.join(parts)}){self.sparse()}")

    def create_children(self, table: Table, columns: list[Column]) -> list[str]:
        children = []
        for i in range(self.r.randint(1, 3)):
            child = qualify(self.schema, self.name("child"))
            parent = self.r.choice([table.base] + children)
            self.ddl.append(f"CREATE TABLE {child} (extra{i} int) INHERITS ({parent})")
            children.append(child)
        return children

    def cover(self, table: Table, base_name: str) -> str:
        """The view or foreign table over the base, which is what is walked."""
        listed = ", ".join(quote(c.name) for c in self.r.sample(table.columns, len(table.columns)))
        if table.relkind == "foreign":
            columns = ", ".join(f"{quote(c.name)} {c.type}" if c.value is None else c.definition() for c in table.columns)
            return (f"CREATE FOREIGN TABLE {table.relation} ({columns}) SERVER {self.facts['foreign']} "
                    f"OPTIONS (schema_name {literal(self.schema)}, table_name {literal(base_name)})")
        body = self.r.choice((
            f"SELECT {listed} FROM {table.base}",
            f"SELECT {listed} FROM {table.base} WHERE _row % 2 = 0 UNION ALL SELECT {listed} FROM {table.base} WHERE _row % 2 <> 0",
            f"SELECT {listed} FROM {table.base} CROSS JOIN (VALUES (1)) one",
            f"SELECT {listed} FROM {table.base} ORDER BY _row DESC",
        ))
        if table.relkind == "matview":
            return f"CREATE MATERIALIZED VIEW {table.relation} AS {body}"
        options = self.r.choice(("", " WITH (security_barrier)"))
        return f"CREATE VIEW {table.relation}{options} AS {body}"


def index_rank(elements: list[Element], columns: list[Column]) -> tuple:
    """By what the least of equal indexes is found: the columns' numbers, then their options."""
    names = [c.name for c in columns]
    return [names.index(e.column.name) for e in elements], [e.descending + 2 * e.nulls_first for e in elements]


def reversed_element(e: Element) -> Element:
    return Element(e.column, e.collation, e.opclass, not e.descending, not e.nulls_first)


def in_cases(n: int) -> str:
    """Different bytes for every n, but 32 of them alike when case is ignored."""
    letters = "".join(c.upper() if n >> i & 1 else c for i, c in enumerate("abcde"))
    return f"{letters}{n // 32}"


def never_null(value: Callable, kind: Kind | None, r: Random) -> Callable:
    spare = kind.value(r) if kind else "0"
    return lambda rr, n: spare if (found := value(rr, n)) is None else found
