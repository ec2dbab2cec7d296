"""How long it takes to plan 100 chunks by estimate, written out with their predicates, against the skip-walk that finds their ends."""
from __future__ import annotations

import peers
from bench import FULL_SIZE, Bench, Result, milliseconds
from events import SCHEMA
from exact import chunks
from server_clock import race

PARTS = 100


def split(table: str) -> str:
    return f"SELECT count(*) FROM chunked.split('{SCHEMA}.{table}', {PARTS})"


def measure(bench: Bench) -> list[Result]:
    results = []
    size = bench.rows // PARTS
    with bench.connect() as connection:
        for table, note in (("sequential", ""), ("random", ", uuid"), ("composite", ", composite")):
            ways = {
                f"split(..., {PARTS}){note}": split(table),
                f"chunks(..., {size:,}, exact => false){note}": chunks(table, size, ", exact => false"),
            }
            times = race(connection, {**ways, "skip-walk": peers.skip_walk(connection, table, size)}, bench.rounds)
            for way in ways:
                ratio, seconds = times.faster(way, "skip-walk"), times.seconds(way)
                # A smaller table's skip-walk has less to do, the estimate does not.
                enough = ratio >= 500 or bench.rows < FULL_SIZE
                results.append(Result(
                    f"{way} / skip-walk", milliseconds(seconds), milliseconds(times.seconds("skip-walk")),
                    f"{ratio:,.0f}x faster", ("< 2 ms" if bench.rows < FULL_SIZE else ">= 500x faster, < 2 ms") if not note else "",
                    enough and seconds < 0.002 if not note else None))
    return results
