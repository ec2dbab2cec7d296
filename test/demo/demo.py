"""The demo, once there is a server with the extension; see demo.sh."""
from __future__ import annotations

import glob
import random
import sys
import time

import psycopg

import show
from clients import Job, Report, run_client

PREFIX = 200_000  # rows that OFFSET is given: it would never come to the end
MOST = 1_000_000  # rows that SELECT * is given: they have to fit into memory


def load_events(connection: psycopg.Connection, rows: int) -> None:
    connection.execute(
        "CREATE TABLE event AS SELECT id, timestamptz '2020-01-01' + id * interval '3 seconds' AS created_at,"
        f" (id % 10)::int AS kind, repeat(md5(id::text), 3) AS payload FROM generate_series(1::bigint, {rows}) AS id;"
        "ALTER TABLE event ADD PRIMARY KEY (id)")
    connection.execute("VACUUM ANALYZE event")


def installed_paths() -> list[str]:
    """Every path in the machine's package lists, once."""
    paths: set[str] = set()
    for name in glob.glob("/var/lib/dpkg/info/*.list"):
        with open(name, encoding="utf-8", errors="replace") as lines:
            paths.update(line.rstrip("\n") for line in lines)
    return list(paths)


def load_paths(connection: psycopg.Connection, paths: list[str]) -> None:
    connection.execute('CREATE TABLE file (path text COLLATE "en-x-icu")')
    with connection.cursor() as cursor, cursor.copy("COPY file FROM STDIN") as copy:
        for path in paths:
            copy.write_row([path])
    connection.execute("ALTER TABLE file ADD PRIMARY KEY (path)")
    connection.execute("VACUUM ANALYZE file")


def read(job: Job) -> Report:
    """Runs a client in a process of its own and shows how it gets on."""
    print(f"\n{job.title}")
    bar = show.Bar(job.rows)
    report = run_client(job, bar.update)
    bar.finish()
    if report.failure:
        sys.exit(report.failure)
    if report.rows != job.rows:
        sys.exit(f"{job.title} gave {report.rows} rows instead of {job.rows}")
    print(f"  first row after {show.duration(report.first_row)}, all {report.rows:,} after {show.duration(report.seconds)}")
    if job.way != "whole":
        print("  rows/s in each tenth: " + " ".join(show.rate(rate) for rate in report.tenths))
    print(f"  peak memory: client {show.growth(report.client_memory)}, server process {show.growth(report.server_memory)}")
    return report


def jobs(rows: int, paths: int):
    tables = [("event", "id", rows)]
    if paths:
        tables.append(("file", "path", paths))
    for table, key, count in tables:
        yield Job(f"{table}: page(), 1000 rows a page", "page", table, key, count)
        most = min(count, MOST)
        yield Job(f"{table}: SELECT *, loaded whole" + (f" ({most:,} rows)" if most < count else ""), "whole", table, key, most)
        prefix = min(count, PREFIX)
        yield Job(f"{table}: OFFSET pages" + (f", the first {prefix:,} rows" if prefix < count else ""), "offset", table, key, prefix)


def split(connection: psycopg.Connection, rows: int) -> None:
    """Chunks of events: their counts add up, and their predicates select what they count."""
    size = max(1000, rows // 100)
    print(f"\nevent: split into chunks of {size:,} rows")
    start = time.perf_counter()
    connection.execute("SELECT chunked.chunks('event', %s) LIMIT 1", [size]).fetchone()
    first = time.perf_counter() - start
    start = time.perf_counter()
    chunks = connection.execute("SELECT number, row_count, predicate FROM chunked.chunks('event', %s)", [size]).fetchall()
    print(f"  first chunk after {show.duration(first)}, all {len(chunks)} after {show.duration(time.perf_counter() - start)}")
    total = sum(row_count for _, row_count, _ in chunks)
    check(f"sum(row_count) = {total:,}", total, f"count(*) = {rows:,}", connection.execute("SELECT count(*) FROM event").fetchone()[0])
    sample = sorted({0, len(chunks) - 1, *random.sample(range(len(chunks)), min(8, len(chunks)))})
    for number, row_count, predicate in (chunks[i] for i in sample):
        found = connection.execute(f"SELECT count(*) FROM event WHERE {predicate}").fetchone()[0]
        check(f"chunk {number}: {row_count:,} rows", row_count, f"WHERE {predicate}", found)


def backfill(connection: psycopg.Connection, rows: int) -> None:
    """Runs a statement over every chunk, interrupts it, and goes on with it."""
    def tell(notice) -> None:
        print(f"  {notice.message_primary}")
        if "%" in notice.message_primary and not interrupted:
            interrupted.append(True)
            connection.cancel()

    interrupted: list[bool] = []
    update = "UPDATE event SET kind = kind + 100 WHERE {chunk}"
    print(f"\nCALL chunked.run('event', '{update}', name => 'backfill'), cancelled and gone on with")
    connection.execute("SET pg_chunked.progress_interval = '500 ms'")
    connection.add_notice_handler(tell)
    try:
        connection.execute("CALL chunked.run('event', %s, name => 'backfill')", [update])
    except psycopg.errors.QueryCanceled as error:
        print(f"  {error.diag.message_primary}; CALL chunked.run_job('backfill')")
        connection.execute("CALL chunked.run_job('backfill')")
    connection.remove_notice_handler(tell)
    once = connection.execute("SELECT count(*) FROM event WHERE kind BETWEEN 100 AND 109").fetchone()[0]
    check(f"{once:,} rows updated once", once, f"count(*) = {rows:,}", rows)


def check(what: str, ours: int, against: str, theirs: int) -> None:
    if ours != theirs:
        sys.exit(f"{what}, but {against} gives {theirs:,}")
    print(f"  {what:<30} ok  {against}")


def main() -> None:
    rows = int(sys.argv[1])
    with psycopg.connect(autocommit=True) as connection:
        start = time.perf_counter()
        load_events(connection, rows)
        print(f"loaded event: {rows:,} rows, PRIMARY KEY (id), in {show.duration(time.perf_counter() - start)}")
        start = time.perf_counter()
        paths = installed_paths()
        load_paths(connection, paths)
        print(f'loaded file: {len(paths):,} rows, every path of this machine\'s packages, PRIMARY KEY (path COLLATE "en-x-icu"),'
              f" in {show.duration(time.perf_counter() - start)}")
        reports = [(job, read(job)) for job in jobs(rows, len(paths))]
        split(connection, rows)
        backfill(connection, rows)
    print()
    show.table(reports)


if __name__ == "__main__":
    main()
