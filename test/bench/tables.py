"""The tables that are split: by a sequential, a random and a composite key, and with half their rows gone."""
from __future__ import annotations

import time

import psycopg

from events import SCHEMA

SEQUENTIAL = "SELECT id, md5(id::text) AS payload FROM generate_series(1::bigint, {rows}) AS id"

# name -> its rows and its key
TABLES = {
    "sequential": (SEQUENTIAL, "id"),
    "sequential_10th": (SEQUENTIAL.replace("{rows}", "{rows} / 10"), "id"),
    "sequential_100th": (SEQUENTIAL.replace("{rows}", "{rows} / 100"), "id"),
    "random": ("SELECT gen_random_uuid() AS id, n AS payload FROM generate_series(1::bigint, {rows}) AS n", "id"),
    "composite": ("SELECT 'customer ' || n % 1000 AS customer, n AS id FROM generate_series(1::bigint, {rows}) AS n", "customer, id"),
    "half_deleted": ("SELECT id, id AS payload FROM generate_series(1::bigint, {rows}) AS id", "id"),
}


def index_of(table: str) -> str:
    return f"{SCHEMA}.{table}_pkey"


def load(connection: psycopg.Connection, rows: int) -> None:
    start = time.monotonic()
    for name, (query, key) in TABLES.items():
        connection.execute(f"CREATE TABLE {SCHEMA}.{name} AS {query.format(rows=rows)};"
                           f"ALTER TABLE {SCHEMA}.{name} ADD PRIMARY KEY ({key})")
        connection.execute(f"VACUUM ANALYZE {SCHEMA}.{name}")
    # Autovacuum is off on this server, so that the rows stay where they are.
    connection.execute(f"DELETE FROM {SCHEMA}.half_deleted WHERE id % 2 = 0")
    connection.execute("CHECKPOINT")
    for name in TABLES:
        connection.execute("SELECT pg_prewarm(%s), pg_prewarm(%s)", [f"{SCHEMA}.{name}", index_of(name)])
    print(f"loaded {', '.join(TABLES)}, of {rows:,} rows, in {time.monotonic() - start:.0f} s", flush=True)
