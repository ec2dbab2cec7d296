"""
How long it takes to plan all exact boundaries, written out as chunks with their
positions and predicates, against the SQL that finds the bare keys.
"""
from __future__ import annotations

import psycopg

import peers
from bench import Bench, Result, milliseconds
from events import SCHEMA
from server_clock import Times, race


def chunks(table: str, size: int, arguments: str = "") -> str:
    return f"SELECT count(*) FROM chunked.chunks('{SCHEMA}.{table}', {size}{arguments})"


def check(connection: psycopg.Connection, table: str, size: int) -> None:
    """Both must have found the same boundaries, or their times say nothing."""
    ours = connection.execute(
        f"SELECT (upto ->> 'id')::text FROM chunked.chunks('{SCHEMA}.{table}', {size}) WHERE row_count = {size}").fetchall()
    theirs = connection.execute(f"SELECT id::text FROM {SCHEMA}.skip_walk_{table}_{size}() AS id").fetchall()
    if ours != theirs:
        raise SystemExit(f"chunks of {size} of {table}: {len(ours)} boundaries are not the skip-walk's {len(theirs)}")


def measure(bench: Bench) -> list[Result]:
    def versus(times: Times, what: str, ours: str, peer: str, at_least: float | None = None) -> Result:
        ratio = times.faster(ours, peer)
        return Result(what, milliseconds(times.seconds(ours)), milliseconds(times.seconds(peer)), f"{ratio:.1f}x faster",
                      f">= {at_least:g}x faster" if at_least else "", ratio >= at_least if at_least else None)

    def at_most(times: Times, what: str, ours: str, peer: str, limit: float | None) -> Result:
        ratio = times.slower(ours, peer)
        return Result(what, milliseconds(times.seconds(ours)), milliseconds(times.seconds(peer)), f"{ratio:.2f}x",
                      f"<= {limit:g}x" if limit else "", ratio <= limit if limit else None)

    parts = -(-bench.rows // 10_000)
    with bench.connect() as connection:
        walk = {(table, size): peers.skip_walk(connection, table, size)
                for table in ("sequential", "random", "composite", "half_deleted") for size in (10_000, 1000)}
        for table in ("sequential", "random", "half_deleted"):
            check(connection, table, 10_000)
        check(connection, "sequential", 1000)

        times = race(connection, {
            "exact": chunks("sequential", 10_000),
            "skip-walk": walk["sequential", 10_000],
            "leaf pointers": peers.leaf_pointers("sequential", entries=False),
            "leaf entries": peers.leaf_pointers("sequential", entries=True),
            "exact 1000": chunks("sequential", 1000),
            "skip-walk 1000": walk["sequential", 1000],
            "half": chunks("half_deleted", 10_000),
            "half skip-walk": walk["half_deleted", 10_000],
            "random": chunks("random", 10_000),
            "random skip-walk": walk["random", 10_000],
            "random leaf entries": peers.leaf_pointers("random", entries=True),
            "composite": chunks("composite", 10_000),
            "composite skip-walk": walk["composite", 10_000],
        }, bench.rounds)
        connection.execute("SET pg_chunked.native = off")
        by_query = race(connection, {"exact": chunks("sequential", 10_000), "skip-walk": walk["sequential", 10_000]}, bench.rounds)
        connection.execute("RESET pg_chunked.native")
        windows = race(connection, {
            "exact": chunks("sequential", 10_000),
            "row_number": peers.row_number("sequential", 10_000),
            "ntile": peers.ntile("sequential", parts),
        }, bench.rounds)
    return [
        versus(times, "exact, 10,000 a chunk / skip-walk", "exact", "skip-walk", 8),
        at_most(times, "exact, 10,000 a chunk / bare read of all leaf entries", "exact", "leaf entries", 1.3),
        at_most(times, "exact, 10,000 a chunk / bare read of the line pointers alone", "exact", "leaf pointers", None),
        versus(times, "exact, 1000 a chunk / skip-walk", "exact 1000", "skip-walk 1000", 5),
        versus(times, "exact, half deleted, not vacuumed / skip-walk", "half", "half skip-walk", 2),
        at_most(times, "exact, random uuid keys / sequential keys", "random", "exact", 4),
        versus(times, "exact, random uuid keys / skip-walk", "random", "random skip-walk"),
        at_most(times, "exact, random uuid keys / bare read of all leaf entries", "random", "random leaf entries", None),
        versus(times, "exact, composite key / skip-walk", "composite", "composite skip-walk"),
        versus(by_query, "exact, pg_chunked.native = off / skip-walk", "exact", "skip-walk"),
        versus(windows, "exact, 10,000 a chunk / row_number()", "exact", "row_number"),
        versus(windows, "exact, 10,000 a chunk / NTILE", "exact", "ntile"),
    ]
