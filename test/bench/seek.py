"""How long it takes to find the row of a rank, and the page of a number, against OFFSET."""
from __future__ import annotations

from bench import Bench, Result, milliseconds
from events import SCHEMA
from server_clock import race

PER_PAGE = 100


def measure(bench: Bench) -> list[Result]:
    table = f"{SCHEMA}.sequential"
    rank = bench.rows * 9 // 10
    page = rank // PER_PAGE
    offset = f"SELECT id FROM {table} ORDER BY id OFFSET {rank - 1} LIMIT 1"
    seek = f"SELECT chunked.seek('{table}', {rank})"
    with bench.connect() as connection:
        found = connection.execute(f"SELECT ({seek}) ->> 'id' = ({offset})::text").fetchone()[0]
        same = connection.execute(
            f"SELECT array(SELECT p.id FROM chunked.paginate(NULL::{table}, {page}, {PER_PAGE}) AS p)"
            f" = array(SELECT id FROM {table} ORDER BY id OFFSET {(page - 1) * PER_PAGE} LIMIT {PER_PAGE})").fetchone()[0]
        if not (found and same):
            raise SystemExit("seek() or paginate() found another row than OFFSET")
        times = race(connection, {
            "seek": seek,
            "seek by estimate": f"SELECT chunked.seek('{table}', {rank}, exact => false)",
            "OFFSET": offset,
            "paginate": f"SELECT count(p) FROM chunked.paginate(NULL::{table}, {page}, {PER_PAGE}) AS p",
            "paginate by estimate": f"SELECT count(p) FROM chunked.paginate(NULL::{table}, {page}, {PER_PAGE}, exact => false) AS p",
            "OFFSET page": f"SELECT count(p) FROM (SELECT * FROM {table} ORDER BY id OFFSET {(page - 1) * PER_PAGE} LIMIT {PER_PAGE}) AS p",
        }, bench.rounds)

    def result(what: str, ours: str, peer: str, goal: str = "", ok: bool | None = None) -> Result:
        return Result(what, milliseconds(times.seconds(ours)), milliseconds(times.seconds(peer)),
                      f"{times.faster(ours, peer):,.1f}x faster", goal, ok)

    return [
        result(f"seek to rank {rank:,}, exact / OFFSET", "seek", "OFFSET", ">= 8x faster", times.faster("seek", "OFFSET") >= 8),
        result(f"seek to rank {rank:,}, estimated / OFFSET", "seek by estimate", "OFFSET", "< 1 ms",
               times.seconds("seek by estimate") < 0.001),
        result(f"paginate() page {page:,} of {bench.rows // PER_PAGE:,}, exact / OFFSET", "paginate", "OFFSET page"),
        Result(f"paginate() page {page:,}, exact / seek() to its rank", milliseconds(times.seconds("paginate")),
               milliseconds(times.seconds("seek")), f"{times.slower('paginate', 'seek'):.2f}x", "<= 1.5x", times.slower("paginate", "seek") <= 1.5),
        result(f"paginate() page {page:,} of {bench.rows // PER_PAGE:,}, estimated / OFFSET", "paginate by estimate", "OFFSET page"),
    ]
