"""
What partitions cost: the same rows in one table, in 64 and 1,000 partitions by
range of the key, beside a default one, and in as many by hash, against the table that
is not partitioned.
"""
from __future__ import annotations

import json
import time

import psycopg

from bench import Bench, Result, milliseconds
from events import SCHEMA
from server_clock import race

MOST_ROWS = 4_000_000
WALK_PAGES = 1000
PLAIN = "parts_none"
# name -> how many, by what
TABLES = {PLAIN: (0, ""), "parts_64_range": (64, "RANGE"), "parts_1000_range": (1000, "RANGE"), "parts_64_hash": (64, "HASH"),
          "parts_1000_hash": (1000, "HASH")}
# times as long as for the table that is not partitioned, at most
GOALS = {"parts_64_range": 2, "parts_1000_range": 2, "parts_64_hash": 4}
PAGE_GOALS = {"parts_64_range": 1.5, "parts_1000_range": 1.5}


def load(connection: psycopg.Connection, rows: int) -> None:
    start = time.monotonic()
    for name, (parts, kind) in TABLES.items():
        connection.execute(f"CREATE TABLE {SCHEMA}.{name} (created_at timestamptz, id bigint, payload text, PRIMARY KEY (created_at, id))"
                           + (f" PARTITION BY {kind} ({'created_at' if kind == 'RANGE' else 'created_at, id'})" if parts else ""))
        for n in range(parts):
            bounds = (f"FROM ({moment(rows * n // parts)}) TO ({moment(rows * (n + 1) // parts)})" if kind == "RANGE"
                      else f"WITH (MODULUS {parts}, REMAINDER {n})")
            connection.execute(f"CREATE TABLE {SCHEMA}.{name}_{n} PARTITION OF {SCHEMA}.{name} FOR VALUES {bounds}")
        if kind == "RANGE":
            connection.execute(f"CREATE TABLE {SCHEMA}.{name}_rest PARTITION OF {SCHEMA}.{name} DEFAULT")
        connection.execute(f"INSERT INTO {SCHEMA}.{name} SELECT timestamptz '2020-01-01 00:00+00' + n * interval '1 second', n, md5(n::text)"
                           f" FROM generate_series(0::bigint, {rows - 1}) AS n")
        connection.execute(f"VACUUM ANALYZE {SCHEMA}.{name}")
    print(f"loaded {', '.join(TABLES)}, {rows:,} rows each, in {time.monotonic() - start:.0f} s", flush=True)


def moment(n: int) -> str:
    """Of row n, as a partition's bound."""
    days, seconds = divmod(n, 86_400)
    return f"(timestamptz '2020-01-01 00:00+00' + interval '{days} days {seconds} seconds')"


def first_page(bench: Bench, name: str) -> float:
    """Seconds that it takes in a session of its own."""
    with bench.connect() as connection:
        connection.execute("SELECT 1")
        start = time.monotonic()
        connection.execute(f"SELECT count(*) FROM chunked.page(NULL::{SCHEMA}.{name}, 1000)").fetchone()
        return time.monotonic() - start


def memory_of_walk(bench: Bench, name: str) -> float:
    """Bytes that a backend has taken after a walk of many pages."""
    with bench.connect() as connection:
        position = None
        for _ in range(WALK_PAGES):
            last = connection.execute(f"SELECT created_at::text, id::text FROM chunked.page(NULL::{SCHEMA}.{name}, 1000, after => %s::jsonb) OFFSET 999",
                                      [position], prepare=True).fetchone()
            if last is None:
                break
            position = json.dumps({"created_at": last[0], "id": last[1]})
        return connection.execute("SELECT sum(total_bytes)::float8 FROM pg_backend_memory_contexts").fetchone()[0]


def measure(bench: Bench) -> list[Result]:
    rows = min(bench.rows, MOST_ROWS)
    with bench.connect() as connection:
        load(connection, rows)
        queries, locks, firsts, memories = {}, {}, {}, {}
        middle = connection.execute(f"SELECT chunked.seek('{SCHEMA}.{PLAIN}', {rows // 2})::text").fetchone()[0]
        for name in TABLES:
            page = f"SELECT count(*) FROM chunked.page(NULL::{SCHEMA}.{name}, 1000, after => '{middle}')"
            queries[f"page {name}"] = page
            queries[f"seek {name}"] = f"SELECT chunked.seek('{SCHEMA}.{name}', {rows * 9 // 10})"
            queries[f"rows {name}"] = f"SELECT chunked.row_count('{SCHEMA}.{name}')"
            queries[f"chunks {name}"] = f"SELECT count(*) FROM chunked.chunks('{SCHEMA}.{name}', 10000)"
            firsts[name] = min(first_page(bench, name) for _ in range(3))
            memories[name] = memory_of_walk(bench, name)
            with connection.transaction():
                connection.execute(page)
                locks[name] = connection.execute("SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation'"
                                                 " AND relation <> 'pg_locks'::regclass").fetchone()[0]
        times = race(connection, queries, bench.rounds)
        results = []
        for name in list(TABLES)[1:]:
            for what, text in (("page", "page of 1000 in the middle"), ("chunks", "exact chunks of 10,000"),
                               ("seek", "exact seek to 90%"), ("rows", "row_count()")):
                ours, peer = f"{what} {name}", f"{what} {PLAIN}"
                slower, goal = times.slower(ours, peer), (PAGE_GOALS if what == "page" else GOALS).get(name)
                results.append(Result(f"{text}, {name[6:].replace('_', ' by ')} / one table", milliseconds(times.seconds(ours)),
                                      milliseconds(times.seconds(peer)), f"{slower:.1f}x slower", goal=f"<= {goal}x" if goal else "",
                                      ok=slower <= goal if goal else None))
            results.append(Result(f"relations locked by that page, {name[6:].replace('_', ' by ')} / one table",
                                  str(locks[name]), str(locks[PLAIN])))
            results.append(Result(f"first page of a session, {name[6:].replace('_', ' by ')} / one table",
                                  milliseconds(firsts[name]), milliseconds(firsts[PLAIN])))
            results.append(Result(f"memory after {WALK_PAGES} pages of 1000, {name[6:].replace('_', ' by ')} / one table",
                                  f"{memories[name] / 1e6:.1f} MB", f"{memories[PLAIN] / 1e6:.1f} MB"))
        for name in TABLES:  # all at once would take more locks than a server has
            connection.execute(f"DROP TABLE {SCHEMA}.{name}")
    return results
