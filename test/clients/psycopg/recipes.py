#!/usr/bin/python3
"""The recipes of docs/clients.md for psycopg 3.

recipes.py check       goes through all of them
recipes.py bench WAY   walks the table for bench.py
"""

import contextlib
import io
import sys
import tempfile
import threading
from pathlib import Path

# [walk]
import json
import psycopg

def walk(connection, after="{}"):
    while rows := connection.execute(
            "SELECT * FROM chunked.page(NULL::event, 1000, after => %s)", [after]).fetchall():
        yield from rows
        after = json.dumps({"id": rows[-1][0]})
# [end]


def resume(connection, path, handle):
    # [resume]
    after = path.read_text() if path.exists() else "{}"
    for number, row in enumerate(walk(connection, after), 1):
        handle(row)
        if number % 1000 == 0:          # after a crash, the rows since then come again
            path.write_text(json.dumps({"id": row[0]}))
    # [end]


# [backwards]
def walk_backwards(connection):
    before = "{}"
    while rows := connection.execute(
            "SELECT * FROM chunked.page(NULL::event, 1000, before => %s)", [before]).fetchall():
        yield from reversed(rows)
        before = json.dumps({"id": rows[0][0]})
# [end]


# [filter]
def walk_named(connection, kind, name, after="{}"):
    while rows := connection.execute(
            "SELECT * FROM chunked.page(NULL::event, 1000, after => %s, filter => 'kind = $1 AND name > $2', args => %s)",
            [after, json.dumps([kind, name])]).fetchall():
        yield from rows
        after = json.dumps({"id": rows[-1][0]})
# [end]


# [order]
def newest_first(connection, after="{}"):
    while rows := connection.execute(
            "SELECT p.*, chunked.position_of(p, 'created_at DESC, id DESC')::text"
            " FROM chunked.page(NULL::event, 1000, after => %s, key => 'created_at DESC, id DESC') p", [after]).fetchall():
        yield from rows
        after = rows[-1][-1]
# [end]


# [relations]
def with_orders(connection, after="{}"):
    while chunk := connection.execute(
            "SELECT upto::text, predicate FROM chunked.next_chunk('event', 1000, after => %s, alias => 'e')", [after]).fetchone():
        after, predicate = chunk
        yield from connection.execute(
            f'SELECT e.id, o.position FROM event e LEFT JOIN "order" o ON o.event_id = e.id WHERE {predicate} ORDER BY e.id')
# [end]


def numbered(connection):
    # [pages]
    rows, pages = connection.execute("SELECT row_count, page_count FROM chunked.paginator('event', 100)").fetchone()
    last = connection.execute("SELECT * FROM chunked.paginate(NULL::event, %s, 100)", [pages]).fetchall()
    # [end]
    return rows, pages, last


# [split]
from concurrent.futures import ThreadPoolExecutor

def export(handle):
    def part(predicate):
        with psycopg.connect() as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.execute(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
            for row in connection.execute(f"SELECT * FROM event WHERE {predicate}"):
                handle(row)

    with psycopg.connect() as connection, ThreadPoolExecutor(4) as pool:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        snapshot, = connection.execute("SELECT pg_export_snapshot()").fetchone()
        chunks = connection.execute("SELECT predicate FROM chunked.split('event', 8)").fetchall()
        list(pool.map(part, *zip(*chunks)))
# [end]


# [backfill]
def backfill():
    with psycopg.connect(autocommit=True) as connection:
        connection.add_notice_handler(lambda notice: print(notice.message_primary))
        connection.execute("CALL chunked.run('event', 'UPDATE event SET name = upper(name) WHERE {chunk}')")
# [end]


# [worker]
import time

def work(connection, job, handle):
    while True:
        number, fence, predicate, state = connection.execute(
            "SELECT number, fence, predicate, state FROM chunked.claim_chunk(%s)", [job]).fetchone()
        if state == "wait":
            time.sleep(1)
        elif state != "claimed":
            return state
        else:
            rows = connection.execute(f"SELECT * FROM event WHERE {predicate} ORDER BY id").fetchall()
            handle(rows)
            connection.execute("SELECT chunked.complete_chunk(%s, %s, %s, %s)", [job, number, fence, len(rows)])
# [end]


# Their checks

def ids(rows):
    return [row[0] for row in rows]


def check(connection):
    count, = connection.execute("SELECT count(*) FROM event").fetchone()
    everything = list(range(1, count + 1))

    assert ids(walk(connection)) == everything
    seen = []
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "position")

        def stop_half_way(row):
            if len(seen) == count // 2:
                raise KeyboardInterrupt
            seen.append(row)

        try:
            resume(connection, path, stop_half_way)
        except KeyboardInterrupt:
            pass
        with psycopg.connect(autocommit=True) as another:
            resume(another, path, seen.append)
    assert list(dict.fromkeys(ids(seen))) == everything and len(seen) < count + 1000
    assert ids(walk_backwards(connection)) == everything[::-1]
    assert ids(walk_named(connection, 7, "event 5' OR true --")) == [
        id for id in everything if id % 10 == 7 and f"event {id}" > "event 5' OR true --"]
    assert ids(newest_first(connection)) == everything[::-1]
    assert list(with_orders(connection)) == [
        (id, -id // 2 if id % 2 == 0 and id // 2 <= count // 10 else None) for id in everything]
    assert numbered(connection)[:2] == (count, count // 100) and ids(numbered(connection)[2]) == everything[-100:]
    seen.clear()
    lock = threading.Lock()

    def collect(row):
        """The first changes all rows, which nobody may see."""
        with lock:
            if not seen:
                connection.execute("UPDATE event SET kind = kind + 10")
            seen.append(row)

    export(collect)
    assert sorted(ids(seen)) == everything and max(row[2] for row in seen) < 10
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        backfill()
    assert "%" in printed.getvalue() and f" {count} rows in " in printed.getvalue()
    assert connection.execute("SELECT count(*) FROM event WHERE name LIKE 'EVENT %'").fetchone() == (count,)
    job, = connection.execute("SELECT chunked.create_job('event')").fetchone()
    seen.clear()
    assert work(connection, job, seen.extend) == "done"
    assert ids(seen) == everything


# What bench.py measures

def all_at_once(connection):
    return connection.execute("SELECT * FROM event ORDER BY id").fetchall()


def cursor(connection):
    with connection.transaction(), connection.cursor("walk") as cursor:
        cursor.itersize = 1000
        yield from cursor.execute("SELECT * FROM event ORDER BY id")


def bench(rows):
    print("ready psycopg", psycopg.__version__, flush=True)
    sys.stdin.readline()
    done = 0
    for _ in rows():
        if not done:
            print("first", flush=True)
        done += 1
    print("done", done, flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    with psycopg.connect(autocommit=True) as connection:
        if sys.argv[1] == "check":
            check(connection)
        else:
            ways = {"ours": walk, "stream": cursor, "all": all_at_once}
            bench(lambda: ways[sys.argv[2]](connection))
