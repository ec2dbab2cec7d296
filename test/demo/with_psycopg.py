"""Four ways to read a table with the driver alone. Each yields every row."""
import json

import psycopg
from psycopg.rows import namedtuple_row

LABELS = {"everything": "SELECT * FROM event", "walk": "chunked.page()", "cursor": "named cursor", "offset": "OFFSET pages"}

connection: psycopg.Connection


def everything():
    yield from connection.execute("SELECT * FROM event").fetchall()


def walk():
    after = None
    while page := connection.execute("SELECT * FROM chunked.page(NULL::event, 1000, after => %s)", [after]).fetchall():
        yield from page
        after = json.dumps({"id": page[-1].id})


def cursor():
    with connection.transaction(), connection.cursor("events") as events:
        events.itersize = 1000
        yield from events.execute("SELECT * FROM event")


def offset():
    start = 0
    while page := connection.execute("SELECT * FROM event ORDER BY id LIMIT 1000 OFFSET %s", [start]).fetchall():
        yield from page
        start += 1000


def connect() -> None:
    global connection
    connection = psycopg.connect(autocommit=True, row_factory=namedtuple_row)
