"""
What every walk must give: exactly the rows of SELECT ... ORDER BY.  Each check
walks one table in one way and raises Mismatch at the first difference.
"""
from __future__ import annotations

import json
import re
from dataclasses import dataclass
from random import Random

import psycopg

from sessions import Mismatch, Sessions, canonical
from tables import Table, qualify, quote


def expect(what: str, got, wanted) -> None:
    if got != wanted:
        raise Mismatch(f"{what}\n  got:    {shorten(got)}\n  wanted: {shorten(wanted)}")


def shorten(value) -> str:
    text = str(value)
    return text if len(text) <= 1500 else f"{text[:900]} ... {text[-500:]}"


def escape(sql: str) -> str:
    """Identifiers may hold a percent sign, which psycopg would read as a placeholder."""
    return sql.replace("%", "%%")


@dataclass
class Chunk:
    number: int
    relation: bool  # is it the table's own oid?
    after: str | None
    upto: str | None
    row_count: int
    predicate: str


@dataclass(frozen=True)
class Gap:
    """A position that is made of several rows' values, and is mostly none's: where it is among them."""

    written: str
    before: int  # rows before it
    there: int  # rows at it


class Walker:
    """One table, the sessions that walk it, and the oracle's list of its rows."""

    def __init__(self, table: Table, sessions: Sessions, r: Random):
        self.table, self.sessions, self.r = table, sessions, r
        self.filter: str | None = None
        self.session: psycopg.Connection | None = None  # None: any, a call
        self.ask_oracle()

    # the oracle: plain SQL

    def ask_oracle(self) -> None:
        rows = self.sessions.owner().execute(
            f"SELECT o._row, md5(record_send(o)), rank() OVER (ORDER BY {self.table.order_by})"
            f" FROM {self.table.relation} AS o ORDER BY {self.table.order_by}").fetchall()
        self.rows = [row for row, _, _ in rows]
        self.images = {row: image for row, image, _ in rows}
        self.ranks = {row: rank for row, _, rank in rows}
        self.place = {row: i for i, row in enumerate(self.rows)}
        self.live = set(self.rows)

    def matching(self) -> set[int]:
        if self.filter is None:
            return set(self.rows)
        # the comment that a filter may end with ends at the line break
        found = self.sessions.owner().execute(f"SELECT _row FROM {self.table.relation} WHERE {self.filter}\n")
        return {row for row, in found}

    def learn_positions(self) -> None:
        """Every row's position, from two sessions, which must agree."""
        both = [dict(self.fetch(
            f"SELECT row_._row, chunked.position_of(row_{self.key_argument('')})::pg_catalog.text FROM {escape(self.table.relation)} AS row_", {}))
            for _ in range(2)]
        expect("positions differ between sessions", both[0], both[1])
        self.positions = both[0]
        # as a job has them, which keeps its key by itself: without the order that a position may name
        in_key = {element.column.name for element in self.table.elements} | set(self.table.unique_columns)
        names = {name for name, in self.sessions.admin.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0", [self.table.relation])
            if name.strip(".") or name in in_key}
        self.kept = {row: canonical(json.dumps({k: v for k, v in json.loads(position).items() if k in names}))
                     for row, position in self.positions.items()}
        self.where = {position: row for row, position in self.kept.items()}
        self.where |= {canonical(position): row for row, position in self.positions.items()}
        columns = {element.column.name for element in self.table.elements}
        for position in self.positions.values():
            value = json.loads(position)
            if not columns <= set(value) or not all(v is None or isinstance(v, str) for v in value.values()):
                raise Mismatch(f"not a position of text values for {sorted(columns)}: {position}")

    # the extension

    def key_argument(self, name: str = "key => ") -> str:
        if self.table.key is None:
            return ""
        return f", {name or ''}" + escape(dollar(", ".join(self.table.key)))

    def fetch(self, statement: str, params: dict, array_nulls: bool = True) -> list[tuple]:
        # under array_nulls = off postgres_fdw itself misreads arrays
        array_nulls = array_nulls and not self.table.remote
        connection = self.session or self.sessions.pick(self.r, self.filter is None, array_nulls)
        return self.sessions.fetch(connection, statement, params)

    def arguments(self, given: dict) -> str:
        """Named arguments; those that are not given sometimes as NULL or, an end, as the empty position."""
        text = ""
        if given.get("filter") is not None and self.r.random() < 0.4:
            given.update(self.with_args(given["filter"]))
        for name, value in list(given.items()):
            if value is None and name in ("after", "upto") and self.r.random() < 0.2:
                value = given[name] = "{}"
            if value is not None or (name in ("after", "upto", "before", "filter") and self.r.random() < 0.2):
                cast = "::pg_catalog.jsonb" if name in ("after", "upto", "before", "args") else ""
                text += f", {name} => %({name})s{cast}"
        return text + self.key_argument()

    def with_args(self, filter: str) -> dict:
        """The same filter, with a value that leaves it as it is; another one in the next call."""
        number = self.r.randrange(1000)
        text, args = self.r.choice((
            (f"$1 AND ({filter}\n)", [True]), (f"({filter}\n) AND $1::pg_catalog.int4 IS NULL", [None]), (f"({filter}\n) OR _row = $1 AND $2", [number, False]),
            (f"({filter}\n) AND _row <> ALL ($2) AND $1", ["true", [-1, -number - 2]]), (f"({filter}\n) AND $2::pg_catalog.text = $1", ["it's $3", "it's $3"])))
        return {"filter": text, "args": json.dumps(args)}

    def page(self, page_size: int, **given) -> list[int]:
        """The page's rows; remembers the first and the last one's positions, as a client would."""
        given = {"page_size": page_size, "filter": self.filter, **given}
        found = self.fetch(
            "SELECT page_._row, md5(record_send(page_)), "
            f"chunked.position_of(page_{self.key_argument('')})::pg_catalog.text"
            f" FROM chunked.page(NULL::{escape(self.table.relation)}{self.arguments(given)}) AS page_", given)
        if len(found) > page_size:
            raise Mismatch(f"a page of {page_size} has {len(found)} rows")
        if found:
            self.first, self.last = found[0][2], found[-1][2]
        for row, image, _ in found:
            if row in self.live and row in self.images:
                expect(f"the content of row {row}", image, self.images[row])
        return [row for row, _, _ in found]

    def chunks(self, function: str = "chunks", **given) -> list[Chunk]:
        given = {"filter": self.filter, **given}
        call = f"chunked.{function}(%(relation)s::pg_catalog.regclass{self.arguments(given)})"
        source = call if self.r.random() < 0.5 else f"(SELECT ({call}) AS c) AS list"
        columns = "number, relation, after, upto, row_count, predicate"
        if source is not call:
            columns = ", ".join(f"(c).{column} AS {column}" for column in columns.split(", "))
        found = self.fetch(
            f"SELECT number, relation::pg_catalog.oid = CAST(%(relation)s::pg_catalog.regclass AS pg_catalog.oid),"
            f" after::pg_catalog.text, upto::pg_catalog.text, row_count, predicate FROM (SELECT {columns} FROM {source}) AS chunk",
            {"relation": self.table.relation, **given})
        return [Chunk(*row) for row in found]

    def rows_of(self, chunks: list[Chunk], alias: str | None) -> list[list[int]]:
        """What each chunk's predicate selects, run as plain SQL by another session."""
        source = escape(self.table.relation)
        if alias:
            # ambiguous unless every column is qualified
            source += f" AS {alias}, LATERAL (SELECT {alias}.*) AS other"
        row = f"{alias}._row" if alias else "_row"
        answers: dict[int, list[int]] = {}
        for start in range(0, len(chunks), 50):
            parts = [f"SELECT {i}, array_agg({row}) FROM {source} WHERE {escape(chunk.predicate)}"
                     for i, chunk in enumerate(chunks[start:start + 50], start)]
            # no literal of an array with nulls can be read under array_nulls = off
            for number, rows in self.fetch(" UNION ALL ".join(parts), {}, array_nulls=False):
                answers[number] = sorted(rows or [])
        return [answers[i] for i in range(len(chunks))]

    # random arguments

    def choose_filter(self, share: float) -> None:
        self.filter = self.r.choice(self.table.filters) if self.r.random() < share else None

    def size(self, count: int) -> int:
        """A page or chunk size that leaves a walk of bounded length."""
        least = max(1, count // 25)
        return self.r.choice((least, least + 1, max(least, 3), max(least, count // 3), max(1, count - 1), count or 1, count + 1, 1000))

    def some_position(self) -> int | None:
        return self.r.choice(self.rows) if self.rows else None

    def some_gap(self) -> Gap:
        """Of each column of the key, the value of another row, as a user may make a position."""
        columns = list(dict.fromkeys(element.column.name for element in self.table.order))
        rows = [self.r.choice(self.rows) for _ in columns]
        position = json.loads(self.positions[rows[0]])
        for name, row in zip(columns, rows):
            position[name] = json.loads(self.positions[row])[name]
        of_rows = ", ".join(f"(SELECT r.{quote(name)} FROM {self.table.relation} AS r WHERE r._row = {row}) AS {quote(name)}"
                            for name, row in zip(columns, rows))
        names = ", ".join(map(quote, columns))
        found = self.sessions.owner().execute(
            f"SELECT _gap, rank() OVER (ORDER BY {self.table.order_by}) FROM"
            f" (SELECT {names}, false AS _gap FROM {self.table.relation} UNION ALL SELECT {names}, true FROM (SELECT {of_rows}) AS r) AS o").fetchall()
        rank = next(rank for made, rank in found if made)
        return Gap(json.dumps(position), rank - 1, sum(not made and other == rank for made, other in found))

    def written(self, row: int | Gap | None) -> str | None:
        """A row's position, its numbers and booleans sometimes as JSON's own."""
        if row is None:
            return None
        if isinstance(row, Gap):
            return row.written
        position = self.positions[row]
        if self.r.random() < 0.7:
            return position
        kinds = {e.column.name: e.column.kind for e in self.table.order if e.column.kind}
        parts = []
        for name, text in json.loads(position).items():
            scalar = kinds[name].json(text) if name in kinds and text is not None else None
            parts.append(f"{json.dumps(name)}: {scalar if scalar else json.dumps(text)}")
        return "{" + ", ".join(parts) + "}"

    def within(self, matching: set[int], after: int | Gap | None, upto: int | Gap | None, before: int | Gap | None = None) -> list[int]:
        def until(end: int | Gap | None, itself: bool) -> int:
            if end is None:
                return len(self.rows)
            there = end if isinstance(end, Gap) else Gap("", self.place[end], 1)
            return there.before + there.there * itself

        start = 0 if after is None else until(after, True)
        return [row for row in self.rows[start:min(until(upto, True), until(before, False))] if row in matching and row in self.live]


def dollar(text: str) -> str:
    """A literal that no session setting reads otherwise."""
    return f"$key${text}$key$"


# The checks


def forwards(w: Walker) -> None:
    w.choose_filter(0.3)
    matching = w.matching()
    wanted = w.within(matching, None, None)
    size = w.size(len(wanted))
    upto = w.positions[w.rows[-1]] if w.rows and w.r.random() < 0.3 else None
    bound = lambda: {"max_bytes": w.r.choice((None, 1, 100, 1000, 10 ** 6, 2 ** 63 - 1))} if w.r.random() < 0.3 else {}
    seen = page = w.page(size, upto=upto, **bound())
    while page and len(seen) <= len(wanted):
        page = w.page(size, after=w.last, upto=upto, **bound())
        seen = seen + page
    expect("pages forwards", seen, wanted)


def backwards(w: Walker) -> None:
    w.choose_filter(0.3)
    if not w.rows:
        return expect("an empty table's bounds", bounds_of(w), (None, None))
    wanted = w.within(w.matching(), None, None)
    size = w.size(len(wanted))
    seen: list[int] = []
    most = w.r.choice((None, None, 1, 300, 10 ** 6))
    page = w.page(size, before="{}", max_bytes=most)
    while page and len(seen) <= len(wanted):
        seen = page + seen
        page = w.page(size, before=w.first, max_bytes=most)
    expect("pages backwards", seen, wanted)


def between(w: Walker) -> None:
    """Pages between random positions, those of deleted rows and of no row at all among them."""
    if not w.rows:
        return
    gaps = [w.some_gap() for _ in range(4)]
    delete_some(w, 0.1)
    for _ in range(8):
        w.choose_filter(0.3)
        after, upto, before = (w.r.choice((w.some_position(), w.r.choice(gaps))) if w.r.random() < share else None for share in (0.6, 0.5, 0.4))
        matching = w.matching()
        wanted = w.within(matching, after, upto, before)
        size = w.r.choice((1, 2, 5, len(w.rows), 1000))
        backwards = before is not None or w.r.random() < 0.2
        wanted = wanted[-size:] if backwards else wanted[:size]
        seen = w.page(size, after=w.written(after), upto=w.written(upto), before="{}" if backwards and before is None else w.written(before))
        expect(f"the page after row {after}, upto row {upto}, before row {before}", seen, wanted)
        given = {"chunk_size": size, "after": w.written(after), "upto": w.written(upto)}
        expect(f"the rows of chunks after row {after}, upto row {upto}",
               sum(chunk.row_count for chunk in w.chunks(**given)), len(w.within(matching, after, upto)))


def chunks(w: Walker) -> None:
    delete_some(w, 0.05)
    for _ in range(2):
        w.choose_filter(0.35)
        after, upto = (w.some_position() if w.r.random() < 0.3 else None for _ in range(2))
        alias = w.r.choice((None, None, "e"))
        matching = w.matching()
        wanted = w.within(matching, after, upto)
        size = w.size(len(wanted))
        given = dict(chunk_size=size, after=w.written(after), upto=w.written(upto), alias=alias)
        got = w.chunks(**given)
        check_exact(w, got, wanted, size, after, given)
        call = w.sessions.last_call
        for chunk, rows in zip(got, w.rows_of(got, alias)):
            expect(f"the rows of chunk {chunk.number}'s predicate {chunk.predicate}\n  of {call}", rows, chunk_rows(w, chunk, after))
        step_through(w, got, given)


def check_exact(w: Walker, got: list[Chunk], wanted: list[int], size: int, after: int | None, given: dict) -> None:
    slices = [wanted[i:i + size] for i in range(0, len(wanted), size)]
    expect("the chunks' row counts", [c.row_count for c in got], [len(s) for s in slices])
    expect("the chunks' numbers", [c.number for c in got], list(range(1, len(got) + 1)))
    expect("the chunks' ends, as rows", [w.where.get(canonical(c.upto), c.upto) for c in got], [s[-1] for s in slices])
    expect("every chunk names the relation", all(c.relation for c in got), True)
    check_contiguous(w, got, after)


def check_contiguous(w: Walker, got: list[Chunk], after: int | None) -> None:
    if not got:
        return
    expect("the first chunk's start", None if got[0].after is None else w.where.get(canonical(as_text(got[0].after))), after)
    expect("each chunk starts where the last one ended",
           [canonical(c.after) for c in got[1:]], [canonical(c.upto) for c in got[:-1]])


def as_text(position: str) -> str:
    """A position whose values were written as JSON numbers and booleans, as text again."""
    value = json.loads(position, parse_int=str, parse_float=str)
    return json.dumps({k: {True: "t", False: "f"}[v] if isinstance(v, bool) else v for k, v in value.items()})


def chunk_rows(w: Walker, chunk: Chunk, after: int | None) -> list[int]:
    start = w.where[canonical(chunk.after)] if chunk.number > 1 else after
    return sorted(w.within(w.live, start, w.where[canonical(chunk.upto)]))


def step_through(w: Walker, got: list[Chunk], given: dict) -> None:
    """next_chunk(), step by step, gives the same chunks."""
    steps, after = [], given["after"]
    while len(steps) <= len(got):
        step = w.chunks("next_chunk", **{**given, "after": after})
        if not step:
            break
        expect("next_chunk gives one row", (len(step), step[0].number), (1, 1))
        steps += step
        after = step[0].upto
    expect("next_chunk's steps", [(canonical(c.upto), c.row_count) for c in steps], [(canonical(c.upto), c.row_count) for c in got])


def limited_scan(w: Walker) -> None:
    """scan_limit: chunks advance, cover what matches, and none examines more rows than it may."""
    w.choose_filter(0.9)
    limit = w.r.choice((max(1, len(w.rows) // 20), max(1, len(w.rows) // 5), max(1, len(w.rows) // 10) * 3, 1000))
    after, upto = (w.some_position() if w.r.random() < 0.2 else None for _ in range(2))
    matching = w.matching()
    given = dict(chunk_size=w.size(len(w.rows)), scan_limit=limit, after=w.written(after), upto=w.written(upto))
    got = w.chunks(**given)
    check_contiguous(w, got, after)
    covered: list[int] = []
    for chunk in got:
        start = w.where[canonical(chunk.after)] if chunk.number > 1 else after
        examined = w.within(w.live, start, w.where[canonical(chunk.upto)])
        if not 1 <= len(examined) <= limit:
            raise Mismatch(f"chunk {chunk.number} spans {len(examined)} rows under scan_limit {limit}")
        expect(f"row_count of chunk {chunk.number}", chunk.row_count, len(matching.intersection(examined)))
        if chunk.row_count > given["chunk_size"]:
            raise Mismatch(f"chunk {chunk.number} counts {chunk.row_count} rows of at most {given['chunk_size']}")
        covered += [row for row in examined if row in matching]
    expect("the matching rows covered under scan_limit", covered, w.within(matching, after, upto))
    step_through(w, got, given)


def bounds_of(w: Walker) -> tuple:
    given = {"filter": w.filter}
    found = w.fetch(
        "SELECT first::pg_catalog.text, last::pg_catalog.text FROM"
        f" chunked.bounds(%(relation)s::pg_catalog.regclass{w.arguments(given)})", {"relation": w.table.relation, **given})
    expect("bounds() gives one row", len(found), 1)
    return tuple(canonical(position) for position in found[0])


def bounds(w: Walker) -> None:
    for share in (0, 1):
        w.choose_filter(share)
        wanted = w.within(w.matching(), None, None)
        ends = (canonical(w.positions[wanted[0]]), canonical(w.positions[wanted[-1]])) if wanted else (None, None)
        expect("the bounds", bounds_of(w), ends)


def ties(w: Walker) -> None:
    """Where the key may hold duplicates: every row or, of pages, an error that says so."""
    unique = len(set(w.ranks.values())) == len(w.rows)
    wanted = sorted(w.rows)
    for walk in (forwards_with_ties, backwards_with_ties) + 3 * (chunks_with_ties,):
        w.filter = None
        try:
            seen = walk(w, w.size(len(w.rows)))
        except psycopg.Error as error:
            text = str(error).lower()
            if unique or walk is chunks_with_ties or not ("duplicate" in text or "unique" in text) or (error.sqlstate or "XX").startswith("XX"):
                raise
            continue
        expect(f"all rows, by {walk.__name__}", sorted(seen), wanted)
        ranks = [w.ranks[row] for row in seen]
        expect(f"in order, by {walk.__name__}", ranks, sorted(ranks))


def forwards_with_ties(w: Walker, size: int) -> list[int]:
    seen = page = w.page(size)
    while page and len(seen) <= len(w.rows):
        page = w.page(size, after=w.last)
        seen = seen + page
    return seen


def backwards_with_ties(w: Walker, size: int) -> list[int]:
    """From the last page back."""
    seen: list[int] = []
    page = w.page(size, before="{}")
    while page and len(seen) <= len(w.rows):
        seen = page + seen
        page = w.page(size, before=w.first)
    return seen


def chunks_with_ties(w: Walker, size: int) -> list[int]:
    got = w.chunks(chunk_size=size)
    parts = w.rows_of(got, None)
    expect("the chunks' row counts", [c.row_count for c in got], [len(rows) for rows in parts])
    return [row for rows in parts for row in sorted(rows, key=w.place.get)]


# While others write


def delete_some(w: Walker, share: float) -> None:
    if w.table.frozen or w.r.random() < 0.4:
        return
    delete(w, [row for row in w.rows if w.r.random() < share])
    if w.r.random() < 0.2:
        w.sessions.owner().execute(f"VACUUM {w.table.base}")


def delete(w: Walker, rows: list[int]) -> None:
    w.sessions.owner().execute(f"DELETE FROM {escape(w.table.base)} WHERE _row = ANY(%s)", [rows])
    w.live -= set(rows)


def insert_one(w: Walker) -> None:
    try:
        w.sessions.owner().execute(w.table.spares.pop(0))
    except psycopg.errors.UniqueViolation:
        return


def disturb(w: Walker, boundary: int, deleted: set[int]) -> None:
    """What other sessions do between two calls of a walk."""
    if w.table.frozen:
        return
    gone = [boundary] if w.r.random() < 0.5 else []
    gone += w.r.sample(sorted(w.live), min(len(w.live), w.r.choice((0, 0, 1, 3))))
    if gone:
        delete(w, gone)
        deleted.update(gone)
    for _ in range(w.r.choice((0, 1, 2))):
        if w.table.spares:
            insert_one(w)
    if w.live and w.r.random() < 0.4:
        payload = quote(w.table.payload)
        w.sessions.owner().execute(f"UPDATE {w.table.base} SET {payload} = {payload} || 'u' WHERE _row % 7 = 0")


def while_others_write(w: Walker) -> None:
    walk = w.r.choice((walk_pages, walk_pages, walk_back, walk_chunks))
    w.ask_oracle()
    w.images = {}
    w.filter = None
    before, deleted = list(w.rows), set()
    mark = bounds_of(w)[1] if w.r.random() < 0.6 else None
    seen = walk(w, mark, deleted)
    expect("each row once", len(set(seen)), len(seen))
    wanted = before[:-1] if walk is walk_back else before
    throughout = set(wanted) - deleted
    expect(f"the rows that were there throughout, by {walk.__name__}",
           [row for row in seen if row in throughout], [row for row in wanted if row in throughout])
    w.ask_oracle()
    remaining = [row for row in seen if row in w.live]
    expect("in order, inserted rows among them", remaining, sorted(remaining, key=w.place.get))
    if mark and before[-1] in w.live:
        beyond = [row for row in remaining if w.place[row] > w.place[before[-1]]]
        expect("no row beyond the high-water mark", beyond, [])


def walk_pages(w: Walker, mark: str | None, deleted: set[int]) -> list[int]:
    size = w.size(len(w.rows))
    seen = page = w.page(size, upto=mark)
    while page and len(seen) < 1000:
        disturb(w, page[-1], deleted)
        page = w.page(size, after=w.last, upto=mark)
        expect("rows that were deleted before the call", deleted.intersection(page), set())
        seen = seen + page
    return seen


def walk_back(w: Walker, mark: str | None, deleted: set[int]) -> list[int]:
    if not w.rows:
        return []
    size = w.size(len(w.rows))
    seen = page = w.page(size, before=bounds_of(w)[1])
    while page and len(seen) < 1000:
        disturb(w, page[0], deleted)
        page = w.page(size, before=w.first)
        seen = page + seen
    return seen


def walk_chunks(w: Walker, mark: str | None, deleted: set[int]) -> list[int]:
    size = w.size(len(w.rows))
    seen: list[int] = []
    after = None
    while len(seen) < 1000:
        step = w.chunks("next_chunk", chunk_size=size, after=after, upto=mark)
        if not step:
            break
        rows = w.rows_of(step, None)[0]
        expect("a chunk's count", len(rows), step[0].row_count)
        w.ask_oracle()
        rows = sorted(rows, key=w.place.get)
        seen += rows
        disturb(w, rows[-1], deleted)
        after = step[0].upto
    return seen


def while_indexes_change(w: Walker) -> None:
    """
    Indexes come, go and get new OIDs between two calls: the walk goes on as it began or,
    where the default key can become another, ends with an error that says so.
    """
    if w.table.base != w.table.relation or w.table.remote:
        return
    delete_some(w, 0.1)
    w.choose_filter(0.2)
    wanted = w.within(w.matching(), None, None)
    size = w.size(len(wanted))
    step = w.r.choice((step_by_page, step_by_page, step_by_chunk))
    made: list[str] = []
    seen: list[int] = []
    after = None
    try:
        while len(seen) <= len(wanted):
            try:
                rows, after = step(w, size, after)
            except psycopg.Error as error:
                whole = w.table.key is not None and len(w.table.order) == len(w.table.elements)
                if whole or not made or error.sqlstate != "22023" or not re.search(ANOTHER_KEY, str(error)):
                    raise
                wanted = wanted[:len(seen)]
                break
            if not rows:
                break
            seen += rows
            change_indexes(w, made)
    finally:
        restore_indexes(w, made)
    expect(f"the rows while indexes change, {step.__name__}", seen, wanted)


ANOTHER_KEY = "is a position of another key|does not say in which order|is not a column of the walk's key|lacks key column"


def step_by_page(w: Walker, size: int, after: str | None) -> tuple[list[int], str | None]:
    rows = w.page(size, after=after)
    return rows, w.last if rows else None


def step_by_chunk(w: Walker, size: int, after: str | None) -> tuple[list[int], str | None]:
    found = w.chunks("next_chunk", chunk_size=size, after=after)
    if not found:
        return [], None
    rows = set(w.rows_of(found, None)[0]) & w.matching()
    return sorted(rows, key=w.place.get), found[0].upto


def change_indexes(w: Walker, made: list[str]) -> None:
    """One change; made: the indexes that are there, or gone, because of this walk."""
    table, r, owner = w.table, w.r, w.sessions.owner()
    there = [name for name in table.unique_indexes if f"- {name}" not in made]
    name = f"{qualify(table.schema, 'made')[:-1]} {len(made)}\""
    columns = r.sample(table.columns, r.randint(1, min(3, len(table.columns))))
    directions = ", ".join(quote(c.name) + r.choice(("", " DESC", " NULLS FIRST")) for c in columns)
    change = r.choice(("reindex", "reindex", "reindex table", "twin", "narrower", "not unique", "drop", "none"))
    try:
        if change == "reindex" and there:
            owner.execute(f"REINDEX INDEX CONCURRENTLY {r.choice(there)}")
        elif change == "reindex table":
            owner.execute(f"REINDEX TABLE CONCURRENTLY {table.base}")
        elif change == "twin" and table.unique_columns:
            shuffled = ", ".join(quote(n) + r.choice(("", "", " DESC")) for n in r.sample(table.unique_columns, len(table.unique_columns)))
            owner.execute(f"CREATE UNIQUE INDEX {bare(name)} ON {table.base} ({shuffled})")
            made.append(f"+ {name}")
        elif change == "narrower" and table.serial:
            owner.execute(f"CREATE UNIQUE INDEX {bare(name)} ON {table.base} ({quote(table.serial)})")
            made.append(f"+ {name}")
        elif change == "not unique":
            owner.execute(f"CREATE INDEX {bare(name)} ON {table.base} ({directions})")
            made.append(f"+ {name}")
        elif change == "drop" and len(there) > 1:
            gone = r.choice(there)
            owner.execute(f"DROP INDEX {gone}")
            made.append(f"- {gone}")
    except (psycopg.errors.FeatureNotSupported, psycopg.errors.InvalidObjectDefinition,  # of a partitioned table
            psycopg.errors.UndefinedFunction, psycopg.errors.ProgramLimitExceeded,  # a column without an order, or too long
            psycopg.errors.DeadlockDetected, psycopg.errors.QueryCanceled):  # of two such at a time
        pass


def restore_indexes(w: Walker, made: list[str]) -> None:
    for change in made:
        name = change[2:]
        w.sessions.owner().execute(f"DROP INDEX {name}" if change[0] == "+" else w.table.unique_indexes[name])


def bare(qualified: str) -> str:
    """An index's name without the schema, as CREATE INDEX wants it."""
    return re.search(r'(?:^|\.)("(?:[^"]|"")+")$', qualified).group(1)


READING = (bounds, forwards, backwards, limited_scan)
WRITING = (between, chunks, while_others_write, while_indexes_change)
