"""For a picture: a client's memory while it reads rows by page(), and while it reads them by SELECT *."""
from __future__ import annotations

import json
import multiprocessing
import time

from bench import Bench, Result
from events import SCHEMA
from memory import anonymous

MOST_ROWS = 1_000_000
SAMPLES = 150


def walk(bench: Bench, rows: int, total) -> None:
    query = f"SELECT * FROM chunked.page(NULL::{SCHEMA}.event, 1000, after => %s, upto => %s)"
    after, upto = None, json.dumps({"id": str(rows)})
    with bench.connect() as connection:
        while page := connection.execute(query, [after, upto]).fetchall():
            for row in page:
                total.value += row[0]
            after = json.dumps({"id": str(page[-1][0])})


def select(bench: Bench, rows: int, total) -> None:
    with bench.connect() as connection:
        for row in connection.execute(f"SELECT * FROM {SCHEMA}.event WHERE id <= %s ORDER BY id", [rows]).fetchall():
            total.value += row[0]


def sample(read, bench: Bench, rows: int) -> list[list]:
    """[seconds, megabytes] of a process of its own, until it has read every row."""
    context = multiprocessing.get_context("spawn")
    total, whole = context.RawValue("q", 0), rows * (rows + 1) // 2
    process = context.Process(target=read, args=(bench, rows, total))
    samples = []
    start = time.monotonic()
    process.start()
    while process.is_alive() and total.value < whole:
        try:
            samples.append([time.monotonic() - start, anonymous(process.pid) / 1024])
        except (FileNotFoundError, ProcessLookupError, StopIteration):
            break  # it is no more
        time.sleep(0.02)
    process.join()
    if total.value != whole:
        raise SystemExit(f"{read.__name__}() did not read the {rows} rows")
    return samples[::max(1, len(samples) // SAMPLES)]


def measure(bench: Bench) -> list[Result]:
    rows = min(bench.rows, MOST_ROWS)
    results = []
    for name, read in (("page()", walk), ("SELECT *", select)):
        samples = sample(read, bench, rows)
        bench.picture(f"memory {name}", ["seconds", "MB"], samples)
        results.append(Result(f"client memory at its most, {rows:,} rows by {name}", f"{max(megabytes for _, megabytes in samples):,.0f} MB"))
    return results
