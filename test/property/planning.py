"""
What plans a walk: estimated chunks, split(), block ranges, counts, ranks and
numbered pages.  Estimates may be off in size, never in what they cover.
"""
from __future__ import annotations

from typing import Callable

import psycopg

from checks import Walker, check_contiguous, chunk_rows, delete_some, escape, expect
from sessions import Mismatch, canonical

NO_DATA_FOUND = "P0002"


def estimated_chunks(w: Walker) -> None:
    delete_some(w, 0.2)
    after, upto = (w.some_position() if w.r.random() < 0.3 else None for _ in range(2))
    alias = w.r.choice((None, "e"))
    got = w.chunks(chunk_size=w.size(len(w.rows)), exact=False, after=w.written(after), upto=w.written(upto), alias=alias)
    check_cover(w, got, after, w.within(w.live, after, upto), alias)


def check_cover(w: Walker, got: list, after: int | None, wanted: list[int], alias: str | None) -> None:
    """Disjoint and complete, by position and by predicate."""
    call = w.sessions.last_call
    check_contiguous(w, got, after)
    seen: list[int] = []
    for chunk, rows in zip(got, w.rows_of(got, alias)):
        if w.where.get(canonical(chunk.upto)) in w.live:
            expect(f"the rows of chunk {chunk.number}'s predicate {chunk.predicate}\n  of {call}", rows, chunk_rows(w, chunk, after))
        seen += sorted(rows, key=w.place.get)
    expect(f"the rows that the chunks cover, by {call}", seen, wanted)


def parts(w: Walker) -> None:
    """split(): as many chunks as asked for, while there are rows."""
    delete_some(w, 0.2)
    w.choose_filter(0.3)
    matching = w.matching()
    wanted = w.within(matching, None, None)
    number = w.r.choice((1, 2, 3, 7, max(1, len(wanted)), len(wanted) + 5))
    number = min(number, 60)
    exact = w.r.random() < 0.5
    got = w.chunks("split", parts=number, exact=exact)
    expect("the number of parts", len(got), min(number, len(wanted)))
    if exact:
        sizes = [chunk.row_count for chunk in got]
        if sizes and max(sizes) - min(sizes) > 1:
            raise Mismatch(f"parts of {sizes} rows are not even")
        expect("the parts' row counts", sum(sizes), len(wanted))
    call = w.sessions.last_call
    check_contiguous(w, got, None)
    seen: list[int] = []
    for chunk, rows in zip(got, w.rows_of(got, None)):
        inside = [row for row in sorted(rows, key=w.place.get) if row in matching]
        if exact:
            expect(f"the count of part {chunk.number}, by {call}", len(inside), chunk.row_count)
        seen += inside
    expect(f"the rows that the parts cover, by {call}", seen, wanted)


def counting(w: Walker) -> None:
    delete_some(w, 0.2)
    w.choose_filter(0.3)
    wanted = w.within(w.matching(), None, None)
    expect("row_count", scalar(w, "row_count", {}), len(wanted))
    for rank in {1, len(wanted), len(wanted) + 1, w.r.randint(1, 500), w.r.randint(1, max(1, len(wanted)))} - {0}:
        position = canonical(scalar(w, "seek", {"rank": rank}))
        expect(f"the row of rank {rank}", w.where.get(position, position), wanted[rank - 1] if rank <= len(wanted) else None)
    if wanted:
        # none, if the estimate is of fewer rows, or only dead ones follow
        position = canonical(scalar(w, "seek", {"rank": w.r.randint(1, len(wanted)), "exact": False}))
        if position is not None and w.where.get(position) not in w.live:
            raise Mismatch(f"an estimated rank is at {position}, where no row is")


def scalar(w: Walker, function: str, given: dict) -> str | int | None:
    given = {**given, "filter": w.filter}
    found = w.fetch(f"SELECT to_json(chunked.{function}(%(relation)s::pg_catalog.regclass{w.arguments(given)}))::pg_catalog.text",
                    {"relation": w.table.relation, **given})
    text = found[0][0]
    return int(text) if text is not None and text.lstrip("-").isdigit() else text


def numbered_pages(w: Walker) -> None:
    """Pages as Django's Paginator numbers them."""
    delete_some(w, 0.2)
    w.choose_filter(0.3)
    wanted = w.within(w.matching(), None, None)
    per_page = w.size(len(wanted))
    orphans = w.r.choice((0, 0, 1, per_page // 2, per_page))
    empty = w.r.random() < 0.5
    given = {"per_page": per_page, "orphans": orphans, "allow_empty_first_page": empty, "filter": w.filter}
    counted = w.fetch("SELECT row_count, page_count FROM "
                      f"chunked.paginator(%(relation)s::pg_catalog.regclass{w.arguments(given)})", {"relation": w.table.relation, **given})
    pages = django_pages(len(wanted), per_page, orphans, empty)
    expect("paginator()", counted, [(len(wanted), pages)])
    for number in {1, 2, pages, w.r.randint(1, max(1, pages))} - {0}:
        if number > max(1, pages):
            continue
        low = (number - 1) * per_page
        high = low + per_page
        rows = wanted[low:] if high + orphans >= len(wanted) else wanted[low:high]
        expect(f"page {number} of {pages}", paginate(w, number, {"per_page": per_page, "orphans": orphans}), rows)
    if pages:
        expect_no_page(lambda: paginate(w, pages + 1, {"per_page": per_page, "orphans": orphans}))


def estimated_pages(w: Walker) -> None:
    """
    Every row is on one page, in order, however long the pages are and wherever they end:
    for one session, since one that may not read the index directly counts exactly.
    """
    delete_some(w, 0.2)
    w.filter = None
    w.session = w.sessions.pick(w.r, array_nulls=not w.table.remote)
    wanted = w.within(w.live, None, None)
    per_page = w.r.choice((1, 5, 20, 100))
    seen: list[int] = []
    pages = 2 * w.table.most_rows // per_page + 5  # dead rows count, too
    if pages > 80:
        return
    for number in range(1, pages):
        try:
            seen += paginate(w, number, {"per_page": per_page, "exact": False})
        except psycopg.Error as error:
            if error.sqlstate != NO_DATA_FOUND:
                raise
    expect(f"estimated pages of {per_page} rows", seen, wanted)


def django_pages(count: int, per_page: int, orphans: int, empty: bool) -> int:
    if count == 0:
        return int(empty)
    return -(-max(1, count - orphans) // per_page)


def paginate(w: Walker, number: int, given: dict) -> list[int]:
    given = {"page_number": number, **given, "filter": w.filter}
    found = w.fetch("SELECT page_._row FROM "
                    f"chunked.paginate(NULL::{escape(w.table.relation)}{w.arguments(given)}) AS page_", given)
    return [row for row, in found]


def expect_no_page(call: Callable) -> None:
    try:
        rows = call()
    except psycopg.Error as error:
        if error.sqlstate != NO_DATA_FOUND:
            raise
        return
    raise Mismatch(f"a page past the end has the rows {rows}")


def blocks(w: Walker) -> None:
    """Ranges of blocks, each of a table or leaf partition, or a parent without its children."""
    if w.table.relkind == "view" or w.table.remote:
        return
    delete_some(w, 0.2)
    exact = w.r.random() < 0.5
    got = w.fetch(
        "SELECT number, relation::pg_catalog.oid, predicate, row_count FROM chunked.chunks("
        "%(relation)s::pg_catalog.regclass, %(size)s, exact => %(exact)s, key => 'ctid')",
        {"relation": w.table.relation, "size": w.size(len(w.rows)), "exact": exact})
    expect("the chunks' numbers", [number for number, *_ in got], list(range(1, len(got) + 1)))
    seen: list[int] = []
    for _, oid, predicate, row_count in got:
        owner = w.sessions.owner()
        name = owner.execute("SELECT format('%%I.%%I', nspname, relname) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
                             " WHERE c.oid = %s", [oid]).fetchone()[0]
        rows = [row for row, in owner.execute(f"SELECT _row FROM {name} WHERE {predicate}")]
        if exact:
            expect(f"the rows of {name} WHERE {predicate}", len(rows), row_count)
        seen += rows
    expect("the rows in the block ranges", sorted(seen), sorted(w.live))


WRITING = (estimated_chunks, parts, counting, numbered_pages, estimated_pages, blocks)
