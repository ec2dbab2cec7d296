"""
How much more memory client and backend hold at the last row than at row 10,000.
The client is a process of its own, so that nothing else is counted.
"""
from __future__ import annotations

import json
import multiprocessing

from bench import Bench, Result
from events import SCHEMA

EARLY = 10_000
LIMIT = 2 * 1024  # kB


def anonymous(pid: int | str) -> int:
    """A process's own memory in kB, without what it shares with others."""
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon:"))


def contexts(connection) -> int:
    return connection.execute("SELECT sum(total_bytes) / 1024 FROM pg_backend_memory_contexts").fetchone()[0]


def walk(bench: Bench, answer) -> None:
    with bench.connect() as connection:
        backend = connection.info.backend_pid
        contexts(connection)
        after, seen, early = None, 0, None
        while rows := connection.execute(f"SELECT * FROM chunked.page(NULL::{SCHEMA}.event, 1000, after => %s)", [after]).fetchall():
            seen += len(rows)
            after = json.dumps({"id": str(rows[-1][0])})
            if early is None and seen >= EARLY:
                early = anonymous("self"), anonymous(backend), contexts(connection)
        late = anonymous("self"), anonymous(backend), contexts(connection)
    answer.put((early, late))


def measure(bench: Bench) -> list[Result]:
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    process = context.Process(target=walk, args=(bench, answer))
    process.start()
    early, late = answer.get()
    process.join()
    names = "client memory", "backend memory", "backend memory contexts"
    return [
        Result(f"{name} at row {bench.rows:,} against row {EARLY:,}", f"{after / 1024:.1f} MB", f"{before / 1024:.1f} MB",
               f"{(after - before) / 1024:+.2f} MB", "<= +2 MB", after - before <= LIMIT)
        for name, before, after in zip(names, early, late)
    ]
