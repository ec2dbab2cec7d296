"""The tables that jobs work on, and how each of their rounds starts alike."""
from __future__ import annotations

import time

import psycopg

from events import SCHEMA

# So that a round takes a few seconds.
MOST_UPDATED = 2_000_000
NUMBERED = 1_000_000


def load(connection: psycopg.Connection, rows: int) -> None:
    """
    updated: half of each page is free, so that an update finds room beside the
    row and touches no index.  numbered: only its key matters.
    """
    start = time.monotonic()
    rows = min(rows, MOST_UPDATED)
    connection.execute(
        f"CREATE TABLE {SCHEMA}.updated (id bigint, changes int NOT NULL, payload text) WITH (fillfactor = 45);"
        f"INSERT INTO {SCHEMA}.updated SELECT id, 0, md5(id::text) FROM generate_series(1::bigint, {rows}) AS id;"
        f"CREATE TABLE {SCHEMA}.numbered AS SELECT id FROM generate_series(1::bigint, {NUMBERED}) AS id")
    for table in ("updated", "numbered"):
        connection.execute(f"ALTER TABLE {SCHEMA}.{table} ADD PRIMARY KEY (id)")
        connection.execute(f"VACUUM ANALYZE {SCHEMA}.{table}")
    print(f"loaded updated, {rows:,} rows, and numbered, {NUMBERED:,}, in {time.monotonic() - start:.0f} s", flush=True)


def rest(connection: psycopg.Connection) -> None:
    """
    Removes what the round before left in tables and ledger: autovacuum is off on
    this server.  The checkpoint comes first, so that what is written in full
    behind it is written by VACUUM.
    """
    connection.execute("SELECT chunked.drop_job(name) FROM chunked.jobs")
    connection.execute("CHECKPOINT")
    for table in (f"{SCHEMA}.updated", "chunked.ledger_jobs", "chunked.ledger_carving", "chunked.ledger_chunks"):
        connection.execute(f"VACUUM {table}")
