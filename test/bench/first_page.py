"""
How long until a page's first row is in the client: of ten million rows against
ten thousand, and deep in the table against its start.
"""
from __future__ import annotations

import psycopg

from bench import Bench, Result, interleave, milliseconds
from events import SCHEMA


def page(connection: psycopg.Connection, table: str, size: int, after: str | None = None):
    query = f"SELECT * FROM chunked.page(NULL::{SCHEMA}.{table}, %s, after => %s)"
    return lambda: connection.execute(query, [size, after]).fetchone()


def measure(bench: Bench) -> list[Result]:
    results = []
    with bench.connect() as connection:
        for size in (1000, 100):
            deep = f'{{"id": "{bench.rows * 9 // 10}"}}'
            big, small, far = interleave(
                [page(connection, "event", size), page(connection, "event_small", size), page(connection, "event", size, deep)],
                bench.rounds, 100)
            what = f"first page of {size}, {bench.rows:,} rows against 10,000"
            results += [
                Result(what, milliseconds(big), milliseconds(small), f"{big / small:.2f}x", "<= 1.5x, < 2 ms", big <= 1.5 * small and big < 0.002),
                Result(f"page of {size} at row {bench.rows * 9 // 10:,} against the first", milliseconds(far), milliseconds(big), f"{far / big:.2f}x",
                       "<= 1.5x", far <= 1.5 * big),
            ]
    return results + [new_session(bench)]


def new_session(bench: Bench) -> Result:
    """Everything is read from the catalogs and planned for the first time."""

    def call(query: str):
        def run():
            with bench.connect() as connection:
                connection.execute(query).fetchone()
        return run

    ours, bare = interleave(
        [call(f"SELECT * FROM chunked.page(NULL::{SCHEMA}.event)"), call(f"SELECT * FROM {SCHEMA}.event ORDER BY id LIMIT 1000")],
        bench.rounds, 10)
    return Result("connect and first page of 1000, against LIMIT 1000", milliseconds(ours), milliseconds(bare), f"{ours / bare:.2f}x")
