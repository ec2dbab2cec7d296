"""
A table in random order that nothing of is in memory: the server is restarted and
the system forgets its files before each run.  20 pages of 1000 rows against the
server-side cursor, by the client in C; the same pages with all in shared buffers,
for information; and an UPDATE of 20 chunks by run(), with blocks read ahead and,
as its peer, without (effective_io_concurrency = 0).
"""
from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from statistics import median
from typing import Callable

import fast_client
from bench import Bench, Result
from events import SCHEMA

TABLE = f"{SCHEMA}.scattered"
SIZE = 1000
ROWS = 20_000
GOAL = 3.0


def load(bench: Bench) -> None:
    start = time.monotonic()
    with bench.connect() as connection:
        connection.execute(f"CREATE TABLE {TABLE} AS SELECT gen_random_uuid() AS id, 0 AS changes, repeat(md5(n::text), 4) AS payload"
                           f" FROM generate_series(1, {bench.rows}) AS n")
        connection.execute(f"ALTER TABLE {TABLE} ADD PRIMARY KEY (id)")
        connection.execute(f"VACUUM ANALYZE {TABLE}")
    print(f"loaded scattered, {bench.rows:,} rows, in {time.monotonic() - start:.0f} s", flush=True)


def restart(bench: Bench) -> None:
    """With nothing in memory, in so far as the system lets go of what it has of the server's files."""
    with bench.connect() as connection:
        connection.execute("CHECKPOINT")
        data = Path(connection.execute("SHOW data_directory").fetchone()[0])
    control = ["pg_ctl", "-D", str(data), "-l", str(data.with_name("restarted.log")), "-s", "-w"]
    subprocess.run([*control, "stop"], check=True)
    os.sync()
    for path in data.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)
    subprocess.run([*control, "start"], check=True)


def bytes_read() -> int:
    """By all the disks."""
    return sum(int(path.read_text().split()[2]) * 512 for path in Path("/sys/block").glob("*/stat"))


def is_forgotten(bench: Bench) -> bool:
    """Must a table be read from a disk after a restart?"""
    restart(bench)
    before = bytes_read()
    with bench.connect() as connection:
        connection.execute(f"SELECT count(payload) FROM {TABLE}")
        size = connection.execute(f"SELECT pg_table_size('{TABLE}')").fetchone()[0]
    return bytes_read() - before > size / 2


def walk(bench: Bench, way: str) -> float:
    """Rows a second."""
    return fast_client.walks(Bench(bench.conninfo, bench.rows, 1), TABLE, "id", SIZE, ROWS, [way])[way][0]


def race(bench: Bench, what: str, ways: list[str], prepare: Callable[[str, int], object], run: Callable[[str, object], float]) -> dict[str, list[float]]:
    """Rows a second of each way in each round, cold, by turns.  run() gets what prepare() returned before the restart."""
    rates: dict[str, list[float]] = {way: [] for way in ways}
    turn = 0
    for n in range(bench.rounds):
        for i in range(len(ways)):
            way = ways[(i + n) % len(ways)]
            prepared = prepare(way, turn)
            turn += 1
            restart(bench)
            rates[way].append(run(way, prepared))
        print(f"  {what}, round {n + 1}: " + ", ".join(f"{way} {rates[way][-1]:,.0f}" for way in ways) + " rows/s", flush=True)
    return rates


def race_jobs(bench: Bench) -> dict[str, list[float]]:
    """A job over other rows each time, since those of the last one have been moved to the table's end."""
    def prepare(way: str, turn: int) -> tuple[str, str]:
        after = '{"id": "%08x-0000-0000-0000-000000000000"}' % (2 ** 32 * turn // (2 * bench.rounds))
        with bench.connect() as connection:
            connection.execute("ALTER SYSTEM RESET effective_io_concurrency" if way == "ahead" else "ALTER SYSTEM SET effective_io_concurrency = 0")
            upto = connection.execute(f"SELECT chunked.position_of(p)::text FROM chunked.page(NULL::{TABLE}, {ROWS}, after => %s) AS p"
                                      f" OFFSET {ROWS - 1}", [after]).fetchone()[0]
        return after, upto

    def run(_way: str, positions: tuple[str, str]) -> float:
        with bench.connect() as connection:
            start = time.perf_counter()
            connection.execute(f"CALL chunked.run('{TABLE}', 'UPDATE {TABLE} SET changes = changes + 1 WHERE {{chunk}}',"
                               f" chunk_size => {SIZE}, after => %s, upto => %s)", positions)
            return ROWS / (time.perf_counter() - start)

    rates = race(bench, "a job", ["ahead", "one by one"], prepare, run)
    with bench.connect() as connection:
        connection.execute("ALTER SYSTEM RESET effective_io_concurrency")
    restart(bench)
    return rates


def measure(bench: Bench) -> list[Result]:
    load(bench)
    if not is_forgotten(bench):
        print("  skipped: the system does not let go of files, or no disk is seen to be read", flush=True)
        return []

    cold = race(bench, "a walk", ["page", "cursor"], lambda _way, _turn: None, lambda way, _: walk(bench, way))
    jobs = race_jobs(bench)
    with bench.connect() as connection:
        connection.execute(f"SELECT pg_prewarm('{TABLE}'), pg_prewarm('{TABLE}_pkey')")
    warm = fast_client.walks(bench, TABLE, "id", SIZE, ROWS, ["page", "cursor"])

    where = f"{ROWS:,} rows by {SIZE} in random order"
    return [
        *fast_client.compare(f"{where}, cold", cold, [("page", "cursor", GOAL)]),
        *fast_client.compare(f"{where}, in shared buffers", warm, [("page", "cursor", None)]),
        against(f"run(), UPDATE of {where}, cold, read ahead / not", jobs["ahead"], jobs["one by one"]),
    ]


def against(what: str, ours: list[float], peer: list[float]) -> Result:
    return Result(what, f"{median(ours):,.0f}/s", f"{median(peer):,.0f}/s", f"{median(a / b for a, b in zip(ours, peer)):.2f}x")
