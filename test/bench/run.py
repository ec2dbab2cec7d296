"""Every measurement, one module a subject; see run, which starts the server."""
from __future__ import annotations

import argparse
import os
import sys
import time

import psycopg

import claims
import client_memory
import cold
import estimate
import events
import exact
import fast_client
import first_page
import full_walk
import growth
import job_run
import jobs
import ledger
import memory
import pages
import partitions
import peers
import seek
import server_clock
import sizes
import tables
from bench import FULL_SIZE, Bench, Result, print_results
from events import SCHEMA

WALK = {"first_page": first_page, "full_walk": full_walk, "fast_client": fast_client, "memory": memory}
BOUNDARIES = {"exact": exact, "estimate": estimate, "seek": seek, "growth": growth, "sizes": sizes}
PARTITIONS = {"partitions": partitions}
JOBS = {"run": job_run, "claims": claims, "ledger": ledger}
COLD = {"cold": cold}  # restarts the server, so it comes last
WALK_PICTURES = {"client_memory": client_memory}
BOUNDARY_PICTURES = {"pages": pages}
GROUPS = {"walk": [*WALK, *COLD, *WALK_PICTURES], "boundaries": [*BOUNDARIES, *BOUNDARY_PICTURES], "jobs": [*JOBS],
          "partitions": [*PARTITIONS]}


def options() -> argparse.Namespace:
    names = [*GROUPS, *(name for group in GROUPS.values() for name in group)]
    parser = argparse.ArgumentParser(prog="run", description="Measures pg_chunked against its peers.")
    parser.add_argument("--rows", type=int, default=FULL_SIZE)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", action="append", choices=names, metavar="SUBJECT", help=", ".join(names))
    parser.add_argument("--plots", action="store_true")
    return parser.parse_args()


def measure(bench: Bench, subjects: dict, wanted: set[str]) -> list[Result]:
    results = []
    for name, subject in subjects.items():
        if name in wanted:
            print(f"measuring {name}", flush=True)
            start = time.monotonic()
            results += subject.measure(bench)
            print(f"measured {name} in {time.monotonic() - start:.0f} s", flush=True)
    return results


def measure_walks(bench: Bench, connection: psycopg.Connection, wanted: set[str]) -> list[Result]:
    subjects = {**WALK, **WALK_PICTURES}
    if not wanted & subjects.keys():
        return []
    events.load(connection, "event", bench.rows)
    events.load(connection, "event_small", 10_000)
    results = measure(bench, subjects, wanted)
    # Makes room in the buffers.
    connection.execute(f"DROP TABLE {SCHEMA}.event, {SCHEMA}.event_small")
    return results


def measure_boundaries(bench: Bench, connection: psycopg.Connection, wanted: set[str]) -> list[Result]:
    subjects = {**BOUNDARIES, **BOUNDARY_PICTURES}
    if not wanted & subjects.keys():
        return []
    server_clock.install(connection)
    peers.install(connection)
    tables.load(connection, bench.rows)
    return measure(bench, subjects, wanted)


def measure_partitions(bench: Bench, connection: psycopg.Connection, wanted: set[str]) -> list[Result]:
    if not wanted & PARTITIONS.keys():
        return []
    connection.execute(f"DROP FUNCTION IF EXISTS {SCHEMA}.seconds")
    server_clock.install(connection)
    return measure(bench, PARTITIONS, wanted)


def measure_jobs(bench: Bench, connection: psycopg.Connection, wanted: set[str]) -> list[Result]:
    if not wanted & JOBS.keys():
        return []
    jobs.load(connection, bench.rows)
    return measure(bench, JOBS, wanted)


def write_pictures(bench: Bench, file) -> None:
    """As gnuplot reads them: blocks by name, two blank lines apart, a line of column names each."""
    for name, lines in bench.pictures.items():
        print(f"# {name}", file=file)
        for line in lines:
            print(*(f'"{cell}"' if isinstance(cell, str) else f"{cell:.7g}" for cell in line), file=file)
        print("\n", file=file)


def main() -> int:
    given = options()
    wanted = {name for choice in given.only or GROUPS for name in GROUPS.get(choice, [choice])}
    if not given.plots:
        wanted -= (WALK_PICTURES.keys() | BOUNDARY_PICTURES.keys()) - set(given.only or [])
    bench = Bench({}, given.rows, given.rounds)
    with bench.connect() as connection:
        connection.execute(f"CREATE SCHEMA {SCHEMA}; CREATE EXTENSION pg_chunked; CREATE EXTENSION pg_prewarm")
        print(f"PostgreSQL {connection.info.server_version // 10000}, psycopg {psycopg.__version__} ({psycopg.pq.__impl__}),"
              f" {given.rows:,} rows, {given.rounds} rounds, medians", flush=True)
        results = [result for measure_group in (measure_walks, measure_boundaries, measure_partitions, measure_jobs)
                   for result in measure_group(bench, connection, wanted)]
    results += measure(bench, COLD, wanted)
    print_results(results)
    if given.plots:
        with os.fdopen(int(os.environ["CHUNKED_BENCH_DATA"]), "w") as file:
            write_pictures(bench, file)
    return 1 if any(result.ok is False for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
