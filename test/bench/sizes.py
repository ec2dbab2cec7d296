"""
How far the sizes of estimated chunks are from the size asked for: each chunk's
rows are counted by its predicate, and together they must be the whole table.
"""
from __future__ import annotations

from dataclasses import dataclass

import psycopg

from bench import Bench, Result
from events import SCHEMA

# name -> how it is made from a number of rows; a statement a line, VACUUM by itself
MADE = {
    "uuid_inserted": """
        CREATE TABLE {t} (id uuid PRIMARY KEY)
        INSERT INTO {t} SELECT gen_random_uuid() FROM generate_series(1, {rows})
        VACUUM ANALYZE {t}""",
    "uuid_churned": """
        CREATE TABLE {t} (id uuid PRIMARY KEY)
        INSERT INTO {t} SELECT gen_random_uuid() FROM generate_series(1, {rows})
        DELETE FROM {t} WHERE random() < 0.4
        VACUUM {t}
        INSERT INTO {t} SELECT gen_random_uuid() FROM generate_series(1, {rows} / 5)
        DELETE FROM {t} WHERE random() < 0.2
        VACUUM ANALYZE {t}""",
    "region_deleted": """
        CREATE TABLE {t} AS SELECT id FROM generate_series(1::bigint, {rows}) AS id
        ALTER TABLE {t} ADD PRIMARY KEY (id)
        DELETE FROM {t} WHERE id < {rows} / 3 AND id % 10 <> 0
        VACUUM ANALYZE {t}""",
    "text_skewed": """
        CREATE TABLE {t} AS SELECT 'customer ' || floor(1000 * random() ^ 4) || ' order ' || n AS id FROM generate_series(1, {rows}) AS n
        ALTER TABLE {t} ADD PRIMARY KEY (id)
        VACUUM ANALYZE {t}""",
    "text_lengths": """
        CREATE TABLE {t} AS SELECT c || '/' || repeat(c::text, 5 + hashint4(c) % 5 * 4) || n AS id
            FROM (SELECT n, floor(1000 * random() ^ 4)::int AS c FROM generate_series(1, {rows}) AS n) AS s
        ALTER TABLE {t} ADD PRIMARY KEY (id)
        VACUUM ANALYZE {t}""",
    "partitioned": """
        CREATE TABLE {t} (id bigint, tenant int) PARTITION BY LIST (tenant)
        {partitions}
        INSERT INTO {t} SELECT id, floor(64 ^ (random() * (0.3 + 0.7 * id / {rows})))::int - 1 FROM generate_series(1, {rows}) AS id
        ALTER TABLE {t} ADD PRIMARY KEY (id, tenant)
        VACUUM ANALYZE {t}""",
}
PARTITIONS = "\n".join(f"CREATE TABLE {{t}}_{n} PARTITION OF {{t}} FOR VALUES IN ({n})" for n in range(64))

# what -> table, by which goal its sizes are judged
BULK, CHURNED, SHOWN = "±10%", "95% ±25%", ""
SUBJECTS = {
    "bulk-loaded, sequential": ("sequential", BULK),
    "bulk-loaded, uuid": ("random", BULK),
    "bulk-loaded, text and bigint": ("composite", BULK),
    "bulk-loaded, skewed text": ("text_skewed", BULK),
    "bulk-loaded, text, length by prefix": ("text_lengths", BULK),
    "bulk-loaded, 64 partitions": ("partitioned", BULK),
    "random inserts": ("uuid_inserted", CHURNED),
    "random inserts and deletes": ("uuid_churned", CHURNED),
    "every other row deleted, not vacuumed": ("half_deleted", CHURNED),
    "9 of 10 rows deleted in the first third": ("region_deleted", SHOWN),
}


@dataclass
class Sizes:
    """Deviations from the size asked for, as fractions of it, sorted."""

    deviations: list[float]
    estimates: list[float]  # of row_count from the rows that there are

    def at(self, quantile: float) -> float:
        return self.deviations[round(quantile * (len(self.deviations) - 1))]

    def within(self, share: float, of: list[float] | None = None) -> float:
        """What that share of the chunks is within."""
        sizes = sorted(abs(d) for d in (self.deviations if of is None else of))
        return sizes[round(share * (len(sizes) - 1))]

    def meets(self, goal: str) -> bool:
        return self.within(1) <= 0.10 if goal == BULK else self.within(0.95) <= 0.25


def make(connection: psycopg.Connection, name: str, rows: int) -> None:
    statement = ""
    for line in MADE[name].replace("{partitions}", PARTITIONS).format(t=f"{SCHEMA}.{name}", rows=rows).splitlines():
        if line.strip().split(" ")[0] in ("CREATE", "INSERT", "DELETE", "VACUUM", "ALTER") and statement:
            connection.execute(statement)
            statement = ""
        statement += line + "\n" if line.strip() else ""
    connection.execute(statement)


def count(connection: psycopg.Connection, table: str, query: str, asked: float, rest: bool) -> Sizes:
    """rest: whether the last chunk is what is left over, of no size that was asked for."""
    planned = connection.execute(f"SELECT predicate, row_count FROM {query}").fetchall()
    counted = [connection.execute(f"SELECT count(*) FROM {SCHEMA}.{table} WHERE {predicate}").fetchone()[0] for predicate, _ in planned]
    total = connection.execute(f"SELECT count(*) FROM {SCHEMA}.{table}").fetchone()[0]
    if sum(counted) != total:
        raise SystemExit(f"{query}: its chunks have {sum(counted)} rows, the table {total}")
    estimates = [estimate / max(rows, 1) - 1 for (_, estimate), rows in zip(planned, counted)]
    measured = counted[:-1] if rest and len(counted) > 1 else counted
    return Sizes(sorted(rows / asked - 1 for rows in measured), estimates[:len(measured)])


def measure(bench: Bench) -> list[Result]:
    results = []
    print("\nsizes of estimated chunks, counted, and how far they are from the size asked for\n\n"
          f"{'':<40}{'chunks':>7}{'least':>8}{'5%':>8}{'median':>8}{'95%':>8}{'most':>8}   row_count, 95% within")
    with bench.connect() as connection:
        for what, (table, goal) in SUBJECTS.items():
            if table in MADE:
                make(connection, table, bench.rows)
            total = connection.execute(f"SELECT count(*) FROM {SCHEMA}.{table}").fetchone()[0]
            calls = {
                "split into 100": (f"chunked.split('{SCHEMA}.{table}', 100)", total / 100, False),
                "chunk_size 10,000": (f"chunked.chunks('{SCHEMA}.{table}', 10000, exact => false)", 10_000, True),
            }
            for call, (query, asked, rest) in calls.items():
                sizes = count(connection, table, query, asked, rest)
                print(f"{what:<40}{len(sizes.deviations):>7}"
                      + "".join(f"{sizes.at(q):>+8.1%}" for q in (0, 0.05, 0.5, 0.95, 1))
                      + f"   {sizes.within(0.95, sizes.estimates):.1%}", flush=True)
                # Where half the rows are gone unseen, a number of chunks can be had, their size cannot; and a
                # small chunk of 64 partitions is made of parts of 64 leaves, each of which may be cut anywhere.
                judged = goal and not (rest and table in ("half_deleted", "partitioned"))
                results.append(Result(
                    f"sizes, {what}, {call}", f"±{sizes.within(1):.1%}", "", f"95% ±{sizes.within(0.95):.1%}",
                    goal if judged else "", sizes.meets(goal) if judged else None))
            if table in MADE:
                connection.execute(f"DROP TABLE {SCHEMA}.{table}")
    return results
