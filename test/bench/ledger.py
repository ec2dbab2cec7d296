"""
What the ledger costs a chunk: the CPU time of a backend that runs a statement
which does nothing, so that what is left is carving, claiming and marking done.
"""
from __future__ import annotations

import os
import time
from statistics import median

import psycopg

from bench import Bench, Result, milliseconds
from events import SCHEMA
from jobs import NUMBERED, rest

SIZE = 100
CHUNKS = NUMBERED // SIZE
LIMIT = 0.0003
NOTHING = f"SELECT FROM {SCHEMA}.numbered WHERE false AND {{chunk}}"


def cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as stat:
        # The program's name, in parentheses, may have spaces in it.
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def once(connection: psycopg.Connection) -> tuple[float, float]:
    """CPU time and elapsed time of a chunk."""
    rest(connection)
    backend = connection.info.backend_pid
    cpu, start = cpu_seconds(backend), time.perf_counter()
    connection.execute(f"CALL chunked.run('{SCHEMA}.numbered', '{NOTHING}', name => 'ledger', chunk_size => {SIZE})")
    cpu, elapsed = cpu_seconds(backend) - cpu, time.perf_counter() - start
    done = connection.execute("SELECT chunks_done FROM chunked.progress WHERE job = 'ledger'").fetchone()[0]
    if done != CHUNKS:
        raise SystemExit(f"{done} chunks were done instead of {CHUNKS}")
    return cpu / CHUNKS, elapsed / CHUNKS


def measure(bench: Bench) -> list[Result]:
    with bench.connect() as connection:
        once(connection)
        cpu, elapsed = map(median, zip(*(once(connection) for _ in range(bench.rounds))))
    return [
        Result(f"the ledger's part of a chunk, of {CHUNKS:,}: CPU time", milliseconds(cpu), goal=f"< {LIMIT * 1000:g} ms", ok=cpu < LIMIT),
        Result("the ledger's part of a chunk: elapsed", milliseconds(elapsed)),
    ]
