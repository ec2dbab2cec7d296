"""The measurements of a walk, one module a subject; see walk, which starts the server."""
from __future__ import annotations

import argparse
import sys

import psycopg

import first_page
import full_walk
import memory
from bench import Bench, print_results
from events import SCHEMA, load

SUBJECTS = {"first_page": first_page, "full_walk": full_walk, "memory": memory}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="walk", description="Measures page() against its peers.")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", action="append", choices=SUBJECTS, metavar="SUBJECT", help=", ".join(SUBJECTS))
    parser.add_argument("--host", help="a running server that has pg_chunked, instead of a private one")
    parser.add_argument("--port")
    parser.add_argument("--dbname")
    return parser.parse_args()


def main() -> int:
    given = options()
    bench = Bench({k: v for k in ("host", "port", "dbname") if (v := getattr(given, k))}, given.rows, given.rounds)
    with bench.connect() as connection:
        connection.execute(f"CREATE SCHEMA {SCHEMA}; CREATE EXTENSION IF NOT EXISTS pg_chunked")
        try:
            print(f"PostgreSQL {connection.info.server_version // 10000}, psycopg {psycopg.__version__} ({psycopg.pq.__impl__}),"
                  f" {given.rows:,} rows, {given.rounds} rounds, medians", flush=True)
            load(connection, "event", given.rows)
            load(connection, "event_small", 10_000)
            results = []
            for name in given.only or SUBJECTS:
                print(f"measuring {name}", flush=True)
                results += SUBJECTS[name].measure(bench)
        finally:
            connection.execute(f"DROP SCHEMA {SCHEMA} CASCADE")
    print_results(results)
    return 1 if any(result.ok is False for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
