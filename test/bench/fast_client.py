"""
Walks by a client in C on libpq (walks.c), which costs so little that what the
server does shows: large pages against the server-side cursor, small ones against
the prepared query that one writes by hand.
"""
from __future__ import annotations

import os
import subprocess
from statistics import median

from bench import Bench, Result
from events import SCHEMA

# Ways of walks.c: ours, the peer, and what of the peer's rate is wanted
LARGE = [("page", "cursor", 0.95), ("position", "cursor", 0.9), ("keyset", "cursor", None)]
SMALL = [("page", "keyset", 0.95)]
NAMES = {"page": "page()", "position": "page() and position_of() of every row", "keyset": "hand-written keyset query", "cursor": "cursor"}


def walks(bench: Bench, table: str, key: str, size: int, rows: int, ways: list[str]) -> dict[str, list[float]]:
    """Rows a second of each way, in each round."""
    lines = subprocess.run([os.environ["CHUNKED_BENCH_WALKS"], table, key, str(size), str(rows), str(bench.rounds), *ways],
                           check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    return {way: [float(line.split()[i]) for line in lines] for i, way in enumerate(ways)}


def compare(what: str, rates: dict[str, list[float]], pairs: list[tuple[str, str, float | None]]) -> list[Result]:
    results = []
    for way, peer, goal in pairs:
        ratio = median(ours / theirs for ours, theirs in zip(rates[way], rates[peer]))
        results.append(Result(f"{what}, libpq, {NAMES[way]} / {NAMES[peer]}", f"{median(rates[way]):,.0f}/s", f"{median(rates[peer]):,.0f}/s",
                              f"{ratio:.2f}x", f">= {goal}x" if goal else "", ratio >= goal if goal else None))
    return results


def measure(bench: Bench) -> list[Result]:
    table = f"{SCHEMA}.event"
    results = compare("full walk by 1000", walks(bench, table, "id", 1000, bench.rows, ["page", "position", "keyset", "cursor"]), LARGE)
    for size in (100, 10, 1):
        rows = min(bench.rows, 20_000 * size)
        results += compare(f"pages of {size}", walks(bench, table, "id", size, rows, ["page", "keyset"]), SMALL if size == 10 else [("page", "keyset", None)])
    return results
