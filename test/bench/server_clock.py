"""Queries timed inside the server, all by the same function, so that neither client nor network counts."""
from __future__ import annotations

from dataclasses import dataclass
from statistics import median

import psycopg

from events import SCHEMA

# What one round spends on a query that takes less: it is repeated, and its median counts.
ROUND_SECONDS = 0.1
MOST_REPEATS = 100


def install(connection: psycopg.Connection) -> None:
    connection.execute(f"""
        CREATE FUNCTION {SCHEMA}.seconds(query text) RETURNS double precision LANGUAGE plpgsql AS $$
        DECLARE
            start timestamptz := clock_timestamp();
        BEGIN
            EXECUTE query;
            RETURN extract(epoch FROM clock_timestamp() - start);
        END $$""")


@dataclass
class Times:
    rounds: dict[str, list[float]]  # by name, a time for each round

    def seconds(self, name: str) -> float:
        return median(self.rounds[name])

    def faster(self, name: str, peer: str) -> float:
        """How many times as fast as the peer, the median of the rounds."""
        return median(theirs / ours for ours, theirs in zip(self.rounds[name], self.rounds[peer]))

    def slower(self, name: str, peer: str) -> float:
        return median(ours / theirs for ours, theirs in zip(self.rounds[name], self.rounds[peer]))


def race(connection: psycopg.Connection, queries: dict[str, str], rounds: int) -> Times:
    """Each query in each round, by turns, after a round that only warms."""

    def once(query: str) -> float:
        return connection.execute(f"SELECT {SCHEMA}.seconds(%s)", [query]).fetchone()[0]

    repeats = {}
    for name, query in queries.items():
        once(query)
        repeats[name] = max(1, min(MOST_REPEATS, int(ROUND_SECONDS / max(once(query), 1e-6))))
    names = list(queries)
    times = Times({name: [] for name in names})
    for n in range(rounds):
        for i in range(len(names)):
            name = names[(i + n) % len(names)]
            times.rounds[name].append(median(once(queries[name]) for _ in range(repeats[name])))
    return times
