"""
Throughput of a walk over the whole table, against the same driver's server-side
cursor.  Both bring the same rows in the same order, 1000 at a time, to the same
loop; the walk takes each page's position from the page before, as an application
does.  The walks advance by turns, a slice of the table each, so that all see the
same machine.
"""
from __future__ import annotations

import json
import time
from statistics import median
from typing import Callable, Iterator

import psycopg
import psycopg2

from bench import Bench, Result
from events import SCHEMA

SIZE = 1000
SLICE = 5_000

# A walk yields pages, each a list of rows.
Walk = Callable[[Bench], Iterator[list]]


def pages_by_client(execute: Callable) -> Iterator[list]:
    """The application knows the key, and writes the position itself."""
    after = None
    while rows := execute(f"SELECT * FROM chunked.page(NULL::{SCHEMA}.event, {SIZE}, after => %s)", [after]):
        yield rows
        after = json.dumps({"id": str(rows[-1][0])})


def pages_by_position_of(execute: Callable) -> Iterator[list]:
    """The application knows nothing of the key."""
    after = None
    query = f"SELECT e.*, chunked.position_of(e)::text FROM chunked.page(NULL::{SCHEMA}.event, {SIZE}, after => %s) AS e"
    while rows := execute(query, [after]):
        yield rows
        after = rows[-1][-1]


def cursor(make_cursor: Callable, query: str) -> Iterator[list]:
    with make_cursor() as server_side:
        server_side.execute(query)
        while rows := server_side.fetchmany(SIZE):
            yield rows


def psycopg3(walk: Callable) -> Walk:
    def run(bench: Bench) -> Iterator[list]:
        with bench.connect() as connection:
            yield from walk(lambda query, parameters: connection.execute(query, parameters).fetchall())
    return run


def psycopg3_cursor(query: str) -> Walk:
    def run(bench: Bench) -> Iterator[list]:
        with psycopg.connect(**bench.conninfo) as connection:
            yield from cursor(lambda: connection.cursor("walk"), query)
    return run


def psycopg2_walk(walk: Callable) -> Walk:
    def run(bench: Bench) -> Iterator[list]:
        connection = psycopg2.connect("", **bench.conninfo)
        connection.autocommit = True
        with connection.cursor() as plain:
            def execute(query, parameters):
                plain.execute(query, parameters)
                return plain.fetchall()
            yield from walk(execute)
        connection.close()
    return run


def psycopg2_cursor(query: str) -> Walk:
    def run(bench: Bench) -> Iterator[list]:
        connection = psycopg2.connect("", **bench.conninfo)
        yield from cursor(lambda: connection.cursor("walk"), query)
        connection.close()
    return run


ORDERED = f"SELECT * FROM {SCHEMA}.event ORDER BY id"
GOAL = 0.95
# The goal is set for psycopg 3. psycopg2, which takes a tenth of its time for a row
# and prepares nothing, shows what difference is left when the client costs little.
DRIVERS = (
    (f"psycopg {psycopg.__version__}", GOAL,
     (psycopg3(pages_by_client), psycopg3(pages_by_position_of), psycopg3_cursor(ORDERED))),
    (f"psycopg2 {psycopg2.__version__.split()[0]}", None,
     (psycopg2_walk(pages_by_client), psycopg2_walk(pages_by_position_of), psycopg2_cursor(ORDERED))),
)


class Runner:
    """One walk, driven slice by slice and timed."""

    def __init__(self, bench: Bench, walk: Walk):
        self.pages = walk(bench)
        self.rows = self.total = 0
        self.rates: list[float] = []

    def advance(self, upto: int) -> float:
        start = time.perf_counter()
        while self.rows < upto:
            rows = next(self.pages)
            for row in rows:
                self.total += row[0]
            self.rows += len(rows)
        return time.perf_counter() - start

    def finish(self, rows: int) -> None:
        if next(self.pages, None) is not None or (self.rows, self.total) != (rows, rows * (rows + 1) // 2):
            raise SystemExit(f"a walk gave {self.rows} rows instead of {rows}, or other ones")


def race(bench: Bench, walks: tuple[Walk, ...]) -> list[Runner]:
    """All walks over the whole table, a fifth of it a round."""
    runners = [Runner(bench, walk) for walk in walks]
    turn = 0
    for n in range(bench.rounds):
        low, high = bench.rows * n // bench.rounds, bench.rows * (n + 1) // bench.rounds
        times = [0.0] * len(runners)
        for end in [*range(low + SLICE, high, SLICE), high]:
            turn += 1
            for i in range(len(runners)):
                i = (i + turn) % len(runners)
                times[i] += runners[i].advance(end)
        for runner, taken in zip(runners, times):
            runner.rates.append((high - low) / taken)
        print(f"  round {n + 1}: " + ", ".join(f"{runner.rates[-1]:,.0f}" for runner in runners) + " rows/s", flush=True)
    for runner in runners:
        runner.finish(bench.rows)
    return runners


def measure(bench: Bench) -> list[Result]:
    results = []
    for driver, goal, walks in DRIVERS:
        by_client, by_position_of, peer = race(bench, walks)
        results += [
            compare(f"full walk, {driver}, position built in the client", by_client, peer, goal),
            compare(f"full walk, {driver}, position_of() beside every row", by_position_of, peer, None),
        ]
    return results


def compare(what: str, runner: Runner, peer: Runner, goal: float | None) -> Result:
    ratio = median(ours / theirs for ours, theirs in zip(runner.rates, peer.rates))
    return Result(what, f"{median(runner.rates):,.0f}/s", f"{median(peer.rates):,.0f}/s", f"{ratio:.2f}x",
                  f">= {goal}x" if goal else "", ratio >= goal if goal else None)
