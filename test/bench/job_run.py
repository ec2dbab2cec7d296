"""
Throughput of run() with an UPDATE of 1000 rows a chunk, against the loop with
COMMIT that one would write in PL/pgSQL; and of two workers against one.  The
notices of progress are on, as they are by default; the loop has none.
"""
from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Callable

import psycopg

from bench import Bench, Result
from events import SCHEMA
from jobs import MOST_UPDATED, rest
from server_clock import Times

SIZE = 1000
TABLE = f"{SCHEMA}.updated"
UPDATE = f"UPDATE {TABLE} SET changes = changes + 1 WHERE"


def install_loop(connection: psycopg.Connection) -> None:
    """From each chunk's last key to the next one's; what is left over is the last chunk."""
    connection.execute(f"""
        CREATE PROCEDURE {SCHEMA}.update_loop(behind bigint, high_water bigint) LANGUAGE plpgsql AS $$
        DECLARE
            last bigint;
        BEGIN
            WHILE behind < high_water LOOP
                SELECT id INTO last FROM {TABLE} WHERE id > behind AND id <= high_water ORDER BY id OFFSET {SIZE - 1} LIMIT 1;
                IF NOT FOUND THEN
                    last := high_water;
                END IF;
                {UPDATE} id > behind AND id <= last;
                COMMIT;
                behind := last;
            END LOOP;
        END $$""")


def run(connection: psycopg.Connection, workers: int) -> None:
    connection.execute(f"CALL chunked.run('{TABLE}', '{UPDATE} {{chunk}}', chunk_size => {SIZE}, workers => {workers})")


def race(connection: psycopg.Connection, ways: dict[str, Callable[[], object]], rounds: int) -> Times:
    """Each way in each round, by turns, after a round that only warms.  Every row must have been updated once a turn."""
    names = list(ways)
    times = Times({name: [] for name in names})
    turns = 0
    for n in range(rounds + 1):
        for i in range(len(names)):
            name = names[(i + n) % len(names)]
            rest(connection)
            start = time.perf_counter()
            ways[name]()
            taken = time.perf_counter() - start
            turns += 1
            wrong = connection.execute(f"SELECT count(*) FROM {TABLE} WHERE changes <> {turns}").fetchone()[0]
            if wrong:
                raise SystemExit(f"{name} left out {wrong} rows, or updated them twice")
            if n > 0:
                times.rounds[name].append(taken)
        if n > 0:
            print(f"  round {n}: " + ", ".join(f"{name} {times.rounds[name][-1]:.2f} s" for name in names), flush=True)
    return times


def hot_updates(connection: psycopg.Connection) -> float:
    connection.execute("SELECT pg_stat_force_next_flush()")
    return connection.execute(
        f"SELECT n_tup_hot_upd::float / n_tup_upd FROM pg_stat_user_tables WHERE relid = '{TABLE}'::regclass").fetchone()[0]


def measure(bench: Bench) -> list[Result]:
    rows = min(bench.rows, MOST_UPDATED)
    notices: list[str] = []
    with bench.connect() as connection, bench.connect() as other, ThreadPoolExecutor(2) as threads:
        connection.add_notice_handler(lambda notice: notices.append(f"{notice.severity}: {notice.message_primary}"))
        install_loop(connection)

        def loop(session: psycopg.Connection, behind: int, high_water: int) -> None:
            session.execute(f"CALL {SCHEMA}.update_loop({behind}, {high_water})")

        def two_loops() -> None:
            list(threads.map(loop, (connection, other), (0, rows // 2), (rows // 2, rows)))

        times = race(connection, {
            "run": lambda: run(connection, 0),
            "loop": lambda: loop(connection, 0, rows),
            "1 worker": lambda: run(connection, 1),
            "2 workers": lambda: run(connection, 2),
            "2 loops": two_loops,
        }, bench.rounds)
        hot = hot_updates(connection)
    warnings = [notice for notice in notices if notice.startswith("WARNING")]
    if warnings:
        # As when fewer workers were to be had.
        raise SystemExit("\n".join(warnings))
    print(f"  {hot:.1%} of the updates touched no index", flush=True)

    def versus(what: str, ours: str, peer: str, goal: float | None = None, note: str = "") -> Result:
        ratio = times.faster(ours, peer)
        return Result(what, f"{rows / times.seconds(ours):,.0f}/s", f"{rows / times.seconds(peer):,.0f}/s", f"{ratio:.2f}x",
                      f">= {goal}x" if goal else note, ratio >= goal if goal else None)

    cores = len(os.sched_getaffinity(0))
    two = (1.7, "") if cores >= 2 else (None, "needs 2 cores")
    return [
        versus(f"run(), {rows:,} rows, UPDATE of {SIZE} a chunk / loop with COMMIT in PL/pgSQL", "run", "loop", 1.0),
        versus("run(), the same, 1 worker / loop", "1 worker", "loop"),
        versus(f"run(), the same, 2 workers / 1 worker, on {cores} cores", "2 workers", "1 worker", *two),
        versus("what the machine gives: two such loops, half of the rows each / one", "2 loops", "loop"),
    ]
