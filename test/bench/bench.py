"""What the subjects share: connections, interleaved timing, and the table of results."""
from __future__ import annotations

import time
from dataclasses import dataclass, field
from statistics import median
from typing import Callable

import psycopg

# The number of rows that the goals are about.
FULL_SIZE = 10_000_000


@dataclass
class Bench:
    conninfo: dict  # what is given on the command line; libpq's environment has the rest
    rows: int
    rounds: int
    pictures: dict[str, list[list]] = field(default_factory=dict)  # by the name of a line or picture, the numbers to draw

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(autocommit=True, **self.conninfo)

    def picture(self, name: str, columns: list[str], lines: list[list]) -> None:
        self.pictures[name] = [columns, *lines]


@dataclass
class Result:
    what: str
    ours: str
    peer: str = ""
    ratio: str = ""
    goal: str = ""
    ok: bool | None = None  # None: for information


def interleave(calls: list[Callable[[], object]], rounds: int, repeats: int) -> list[float]:
    """The median time of each call in seconds; they take turns, so that a busy machine slows all alike."""
    times: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()
    for n in range(rounds * repeats):
        for i in range(len(calls)):
            i = (i + n) % len(calls)
            start = time.perf_counter()
            calls[i]()
            times[i].append(time.perf_counter() - start)
    return [median(each) for each in times]


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"


def print_results(results: list[Result]) -> None:
    lines = [("what", "ours", "peer", "ratio", "goal", "")]
    for r in results:
        lines.append((r.what, r.ours, r.peer, r.ratio, r.goal, "" if r.ok is None else "ok" if r.ok else "MISSED"))
    widths = [max(len(line[i]) for line in lines) for i in range(5)]
    lines.insert(1, tuple("-" * width for width in widths) + ("------",))
    print()
    for line in lines:
        first, *rest = [cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(line, widths))]
        print("  ".join([first, *rest, line[5]]).rstrip())
