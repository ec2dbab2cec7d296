"""
The clients: each reads a table in one way, in a process of its own, and reports
its speed and what memory it and its server process come to.
"""
from __future__ import annotations

import json
import multiprocessing
import time
import traceback
from dataclasses import dataclass, field
from typing import Callable, Iterator

import psycopg

SIZE = 1000


@dataclass
class Job:
    title: str
    way: str
    table: str
    key: str
    rows: int


@dataclass
class Report:
    rows: int = 0
    first_row: float = 0.0
    seconds: float = 0.0
    tenths: list[float] = field(default_factory=list)  # rows a second
    client_memory: tuple[int, int] = (0, 0)  # kB: with the first rows, and at most
    server_memory: tuple[int, int] = (0, 0)
    failure: str = ""


# A way yields rows, page by page.


def by_page(connection: psycopg.Connection, job: Job) -> Iterator[list]:
    """The walk, as an application does it: a page, and on from its last row."""
    after = None
    while True:
        cursor = connection.execute(f"SELECT * FROM chunked.page(NULL::{job.table}, {SIZE}, after => %s)", [after])
        rows = cursor.fetchall()
        if not rows:
            return
        yield rows
        column = [column.name for column in cursor.description].index(job.key)
        after = json.dumps({job.key: str(rows[-1][column])})


def whole(connection: psycopg.Connection, job: Job) -> Iterator[list]:
    """What happens when the table is simply iterated: the driver loads it all first."""
    rows = connection.execute(f"SELECT * FROM {job.table} LIMIT {job.rows}").fetchall()
    for start in range(0, len(rows), SIZE):
        yield rows[start:start + SIZE]


def by_offset(connection: psycopg.Connection, job: Job) -> Iterator[list]:
    for start in range(0, job.rows, SIZE):
        yield connection.execute(
            f"SELECT * FROM {job.table} ORDER BY {job.key} LIMIT {min(SIZE, job.rows - start)} OFFSET {start}").fetchall()


WAYS = {"page": by_page, "whole": whole, "offset": by_offset}


def memory(pid: int | str) -> int:
    """A process's own memory in kB; what it shares with others, such as the server's buffers, is not counted."""
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon:"))


def client(job: Job, answers) -> None:
    """Runs in the client's process.  Sends row counts now and then, and the report at the end."""
    try:
        with psycopg.connect(autocommit=True) as connection:
            answers.put(measure(job, connection, answers))
    except Exception:
        answers.put(Report(failure=traceback.format_exc()))


def measure(job: Job, connection: psycopg.Connection, answers) -> Report:
    backend = connection.info.backend_pid
    report = Report()
    edges = [job.rows * n // 10 for n in range(1, 11)]
    start = last_sent = edge_time = time.perf_counter()
    edge_rows = 0
    for rows in WAYS[job.way](connection, job):
        now = time.perf_counter()
        if not report.rows:
            report.first_row = now - start
            report.client_memory = (memory("self"),) * 2
            report.server_memory = (memory(backend),) * 2
        report.rows += len(rows)
        if edges and report.rows >= edges[0]:
            report.tenths.append((report.rows - edge_rows) / (now - edge_time))
            edge_rows, edge_time = report.rows, now
            edges = [edge for edge in edges if edge > report.rows]
        if now - last_sent > 0.05:
            last_sent = now
            report.client_memory = (report.client_memory[0], max(report.client_memory[1], memory("self")))
            report.server_memory = (report.server_memory[0], max(report.server_memory[1], memory(backend)))
            answers.put(report.rows)
    report.seconds = time.perf_counter() - start
    return report


def run_client(job: Job, progress: Callable[[int], None]) -> Report:
    context = multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    process = context.Process(target=client, args=(job, answers), daemon=True)
    process.start()
    while isinstance(answer := answers.get(), int):
        progress(answer)
    process.join()
    return answer
