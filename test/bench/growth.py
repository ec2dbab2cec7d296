"""
What planning costs as the table grows: measured at a hundredth, a tenth and all
of the rows, and on paper beyond, from the pages that there are to read.
"""
from __future__ import annotations

import math

import psycopg

import peers
from bench import Bench, Result, milliseconds
from estimate import PARTS, split
from events import SCHEMA
from exact import chunks
from server_clock import race
from tables import index_of

SIZE = 10_000
ON_PAPER = (100_000_000, 1_000_000_000, 10_000_000_000)
# An estimate reads the highest level with so many children for each chunk; see src/chunk_walk.c.
CHILDREN_PER_CHUNK = 50


def pages_touched(connection: psycopg.Connection, query: str) -> int:
    plan = connection.execute(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {query}").fetchone()[0][0]["Plan"]
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


def levels_on_paper(rows: int, per_leaf: float, fan_out: float) -> list[int]:
    levels = [math.ceil(rows / per_leaf)]
    while levels[-1] > 1:
        levels.append(math.ceil(levels[-1] / fan_out))
    return levels


def pages_on_paper(levels: list[int]) -> int:
    """The levels down to the one that tells the chunks apart, and for each boundary what is below that."""
    depth = next((n for n in range(len(levels) - 1, 0, -1) if levels[n - 1] >= PARTS * CHILDREN_PER_CHUNK), 1)
    return sum(levels[depth:]) + (PARTS - 1) * depth


def line(*cells: str) -> str:
    return "".join(cell.rjust(width) for cell, width in zip(cells, (15, 13, 10, 9, 9, 16, 14, 14)))


def measure(bench: Bench) -> list[Result]:
    print("\npages of a bigint primary key's index, and what planning takes\n\n"
          + line("rows", "leaf pages", "level 1", "level 2", "level 3", f"{PARTS} estimated", "pages read", "all exact"))
    measured, exact_page = [], 0.0
    with bench.connect() as connection:
        for table, rows in (("sequential_100th", bench.rows // 100), ("sequential_10th", bench.rows // 10), ("sequential", bench.rows)):
            levels = connection.execute(f"SELECT {SCHEMA}.level_pages(%s)", [index_of(table)]).fetchone()[0]
            times = race(connection, {
                "estimate": chunks(table, SIZE, ", exact => false"),
                "estimate, 100 chunks": split(table),
                "exact": chunks(table, SIZE),
                "skip-walk": peers.skip_walk(connection, table, SIZE),
                "row_number": peers.row_number(table, SIZE),
                "NTILE": peers.ntile(table, -(-rows // SIZE)),
            }, bench.rounds)
            seconds = {name: times.seconds(name) for name in times.rounds}
            touched = pages_touched(connection, split(table))
            exact_page = seconds["exact"] / levels[0]
            measured.append((rows, levels, seconds))
            print(line(f"{rows:,}", *(f"{n:,}" for n in (levels + [0, 0, 0])[:4]), milliseconds(seconds["estimate, 100 chunks"]),
                       f"{touched:,}", milliseconds(seconds["exact"])), flush=True)
    per_leaf, fan_out = bench.rows / levels[0], levels[0] / max(levels[1] if len(levels) > 1 else 1, 1)
    for rows in ON_PAPER:
        levels = levels_on_paper(rows, per_leaf, fan_out)
        print(line(f"{rows:,}", *(f"{n:,}" for n in (levels + [0, 0, 0])[:4]), "on paper", f"{pages_on_paper(levels):,}",
                   f"{exact_page * levels[0]:,.1f} s"))
    print(f"\n{per_leaf:.0f} rows a leaf page, {fan_out:.0f} children a page above")

    bench.picture("boundaries", ["rows", *measured[0][2]], [[rows, *seconds.values()] for rows, _, seconds in measured])
    (small, _, first), (big, _, last) = measured[0], measured[-1]
    return [Result(f"{name}, {big:,} rows / {small:,}", milliseconds(last[name]), milliseconds(first[name]), f"{last[name] / first[name]:.1f}x")
            for name in first]
