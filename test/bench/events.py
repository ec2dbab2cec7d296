"""The table that is walked."""
from __future__ import annotations

import time

import psycopg

SCHEMA = "chunked_bench"


def load(connection: psycopg.Connection, name: str, rows: int) -> None:
    start = time.monotonic()
    connection.execute(
        f"CREATE TABLE {SCHEMA}.{name} AS SELECT id, timestamptz '2020-01-01' + id * interval '3.000001 seconds' AS created_at,"
        f" (id % 10)::int AS kind, repeat(md5(id::text), 3) AS payload FROM generate_series(1::bigint, {rows}) AS id;"
        f"ALTER TABLE {SCHEMA}.{name} ADD PRIMARY KEY (id)")
    connection.execute(f"VACUUM ANALYZE {SCHEMA}.{name}")
    print(f"loaded {name}, {rows:,} rows, in {time.monotonic() - start:.0f} s", flush=True)
