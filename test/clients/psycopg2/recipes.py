#!/usr/bin/python3
"""The recipes of docs/clients.md for psycopg2.

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
import psycopg2

def query(connection, sql, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters or None)
        return cursor.fetchall() if cursor.description else None

def walk(connection, after="{}"):
    with connection.cursor() as cursor:
        while True:
            cursor.execute("SELECT * FROM chunked.page(NULL::event, 5000, after => %s)", [after])
            if cursor.rowcount == 0:
                return
            yield from cursor
            cursor.scroll(-1)
            after = json.dumps({"id": cursor.fetchone()[0]})
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
def walk_backwards(connection, before="{}"):
    while rows := query(connection, "SELECT * FROM chunked.page(NULL::event, 1000, before => %s)", before):
        yield from reversed(rows)
        before = json.dumps({"id": rows[0][0]})
# [end]


# [filter]
def walk_named(connection, kind, name, after="{}"):
    while rows := query(
            connection, "SELECT * FROM chunked.page(NULL::event, 1000, after => %s, filter => 'kind = $1 AND name > $2', args => %s)",
            after, json.dumps([kind, name])):
        yield from rows
        after = json.dumps({"id": rows[-1][0]})
# [end]


# [order]
def newest_first(connection, after="{}"):
    while rows := query(
            connection, "SELECT p.*, chunked.position_of(p, 'created_at DESC, id DESC')::text"
            " FROM chunked.page(NULL::event, 1000, after => %s, key => 'created_at DESC, id DESC') p", after):
        yield from rows
        after = rows[-1][-1]
# [end]


# [relations]
def with_orders(connection, after="{}"):
    while chunk := query(
            connection, "SELECT upto::text, predicate FROM chunked.next_chunk('event', 1000, after => %s, alias => 'e')", after):
        (after, predicate), = chunk
        yield from query(
            connection, 'SELECT e.id, o.position FROM event e LEFT JOIN "order" o ON o.event_id = e.id'
            f' WHERE {predicate} ORDER BY e.id')
# [end]


def numbered(connection):
    # [pages]
    (rows, pages), = query(connection, "SELECT row_count, page_count FROM chunked.paginator('event', 100)")
    last = query(connection, "SELECT * FROM chunked.paginate(NULL::event, %s, 100)", pages)
    # [end]
    return rows, pages, last


# [split]
from concurrent.futures import ThreadPoolExecutor

def export(handle):
    def part(predicate):
        with psycopg2.connect("") as connection:
            connection.set_session("REPEATABLE READ")
            query(connection, "SET TRANSACTION SNAPSHOT %s", snapshot)
            handle(query(connection, f"SELECT * FROM event WHERE {predicate}"))

    with psycopg2.connect("") as connection, ThreadPoolExecutor(4) as pool:
        connection.set_session("REPEATABLE READ")
        (snapshot,), = query(connection, "SELECT pg_export_snapshot()")
        list(pool.map(part, *zip(*query(connection, "SELECT predicate FROM chunked.split('event', 8)"))))
# [end]


# [backfill]
import time

def backfill(connection):
    (job,), = query(connection, "SELECT chunked.create_job('event', 'UPDATE event SET name = upper(name) WHERE {chunk}')")
    query(connection, "SELECT chunked.start_job(%s)", job)
    status = "running"
    while status == "running":
        time.sleep(1)
        (status, line), = query(connection, "SELECT status, line FROM chunked.progress WHERE job = %s", job)
        print(line)
# [end]


# [worker]
def work(connection, job, handle):
    while True:
        (number, fence, predicate, state), = query(
            connection, "SELECT number, fence, predicate, state FROM chunked.claim_chunk(%s)", job)
        if state == "wait":
            time.sleep(1)
        elif state != "claimed":
            return state
        else:
            rows = query(connection, f"SELECT * FROM event WHERE {predicate} ORDER BY id")
            handle(rows)
            query(connection, "SELECT chunked.complete_chunk(%s, %s, %s, %s)", job, number, fence, len(rows))
# [end]


# Their checks

def connect():
    connection = psycopg2.connect("")
    connection.autocommit = True
    return connection


def ids(rows):
    return [row[0] for row in rows]


def check(connection):
    (count,), = query(connection, "SELECT count(*) FROM event")
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
        resume(connect(), path, seen.append)
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

    def collect(rows):
        """The first changes all rows, which nobody may see."""
        with lock:
            if not seen:
                query(connection, "UPDATE event SET kind = kind + 10")
            seen.extend(rows)

    export(collect)
    assert sorted(ids(seen)) == everything and max(row[2] for row in seen) < 10
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        backfill(connection)
    assert "100%" in printed.getvalue()
    assert query(connection, "SELECT count(*) FROM event WHERE name LIKE 'EVENT %'") == [(count,)]
    (job,), = query(connection, "SELECT chunked.create_job('event')")
    seen.clear()
    assert work(connection, job, seen.extend) == "done"
    assert ids(seen) == everything


# What bench.py measures

def all_at_once(connection):
    return query(connection, "SELECT * FROM event ORDER BY id")


def cursor(connection):
    connection.autocommit = False
    with connection, connection.cursor("walk") as cursor:
        cursor.itersize = 1000
        cursor.execute("SELECT * FROM event ORDER BY id")
        yield from cursor


def bench(rows):
    print("ready psycopg2", psycopg2.__version__.split()[0], flush=True)
    sys.stdin.readline()
    done = 0
    for _ in rows():
        if not done:
            print("first", flush=True)
        done += 1
    print("done", done, flush=True)
    sys.stdin.readline()


connection = connect()
if sys.argv[1] == "check":
    check(connection)
else:
    ways = {"ours": walk, "stream": cursor, "all": all_at_once}
    bench(lambda: ways[sys.argv[2]](connection))
