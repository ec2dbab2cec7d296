#!/usr/bin/python3
"""The recipes of docs/clients.md for Django.

recipes.py check       goes through all of them
recipes.py bench WAY   walks the table for stacks.py
"""

import contextlib
import io
import os
import subprocess
import sys
import threading
from datetime import datetime, timedelta, timezone

import django
from django.conf import settings

settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": os.environ["PGDATABASE"]}},
                   USE_TZ=True, DEFAULT_AUTO_FIELD="django.db.models.BigAutoField")
django.setup()
from django.core.paginator import EmptyPage
from django.db import models


class Event(models.Model):
    created_at = models.DateTimeField()
    kind = models.IntegerField()
    name = models.TextField(null=True)

    class Meta:
        app_label, db_table = "clients", "event"


class Order(models.Model):
    id = models.BigIntegerField(primary_key=True)
    event = models.ForeignKey(Event, models.DO_NOTHING, related_name="orders")
    position = models.IntegerField()

    class Meta:
        app_label, db_table = "clients", "order"


# [chunks]
from django.db import connection

def key_of(queryset):
    """Its order, as pg_chunked is told it."""
    meta, words = queryset.model._meta, []
    for name in queryset.query.order_by or ["pk"]:
        field = meta.pk if name.strip("-") == "pk" else meta.get_field(name.strip("-"))
        words.append(connection.ops.quote_name(field.column) + (" DESC" if name.startswith("-") else ""))
    return ", ".join(words)

def chunks(queryset, size=10000, after="{}"):
    """Yields (position, queryset) for each chunk of a queryset's table, in the queryset's order."""
    table = queryset.model._meta.db_table
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT upto::text, predicate FROM chunked.next_chunk(%s, %s, after => %s, key => %s, alias => %s)",
                [connection.ops.quote_name(table), size, after, key_of(queryset), connection.ops.quote_name(table)])
            chunk = cursor.fetchone()
        if chunk is None:
            return
        after, predicate = chunk
        yield after, queryset.order_by(*queryset.query.order_by or ["pk"]).extra(where=[predicate])
# [end]


def walk(handle):
    # [walk]
    for position, events in chunks(Event.objects.all()):
        for event in events.iterator():
            handle(event)
    # [end]


def other_walks():
    name = "event 5' OR true --"
    # [own]
    chunks(Event.objects.filter(kind=7, name__gt=name))             # only some rows
    chunks(Event.objects.order_by("-created_at", "-id"))            # another order
    chunks(Event.objects.order_by("-pk"))                           # backwards, from the last page
    chunks(Order.objects.select_related("event"))                   # joins
    chunks(Event.objects.prefetch_related("orders"))                # one query more for each chunk
    chunks(Event.objects.values_list("id", "name"))                 # no instances
    # [end]
    return [chunks(Event.objects.filter(kind=7, name__gt=name)), chunks(Event.objects.order_by("-created_at", "-id")),
            chunks(Event.objects.order_by("-pk")), chunks(Order.objects.select_related("event")),
            chunks(Event.objects.prefetch_related("orders")), chunks(Event.objects.values_list("id", "name"))]


# [resume]
class Walk(models.Model):
    name = models.TextField(primary_key=True)
    position = models.TextField(default="{}")                       # the start

    class Meta:
        app_label = "clients"

def resume(name, handle):
    walk, _ = Walk.objects.get_or_create(name=name)
    for walk.position, events in chunks(Event.objects.all(), after=walk.position):
        handle(events)
        walk.save()
# [end]


# [pages]
from django.core.paginator import Paginator
from django.utils.functional import cached_property

class ChunkedPaginator(Paginator):
    def call(self, function, *arguments):
        with connection.cursor() as cursor:
            table = connection.ops.quote_name(self.object_list.model._meta.db_table)
            cursor.execute(f"SELECT chunked.{function}", [table, *arguments])
            return cursor.fetchone()[0]

    @cached_property
    def count(self):
        return self.call("row_count(%s)")

    def page(self, number):
        number = self.validate_number(number)
        first = (number - 1) * self.per_page
        size = self.count - first if number == self.num_pages else self.per_page
        after = self.call("seek(%s, %s, key => %s)::text", first, key_of(self.object_list)) if first else "{}"
        rows = next(chunks(self.object_list, size, after))[1] if size else []
        return self._get_page(list(rows), number, self)
# [end]


# [split]
from concurrent.futures import ThreadPoolExecutor
from django.db import transaction

def query(sql, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall() if cursor.description else None

def export(handle):
    def part(predicate):
        try:
            with transaction.atomic():
                query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                query("SET TRANSACTION SNAPSHOT %s", snapshot)
                handle(Event.objects.extra(where=[predicate]))
        finally:
            connection.close()

    with transaction.atomic(), ThreadPoolExecutor(4) as pool:
        query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        (snapshot,), = query("SELECT pg_export_snapshot()")
        predicates = query("SELECT predicate FROM chunked.split('event', 8, alias => 'event')")
        list(pool.map(part, *zip(*predicates)))
# [end]


# [backfill]
import time

def backfill():
    (job,), = query("SELECT chunked.create_job('event', 'UPDATE event SET name = upper(name) WHERE {chunk}')")
    query("SELECT chunked.start_job(%s)", job)
    status = "running"
    while status == "running":
        time.sleep(1)
        (status, line), = query("SELECT status, line FROM chunked.progress WHERE job = %s", job)
        print(line)
    return status
# [end]


# [worker]
def work(job, handle):
    while True:
        (number, fence, predicate, state), = query("SELECT number, fence, predicate, state FROM chunked.claim_chunk(%s)", job)
        if state == "wait":
            time.sleep(1)
        elif state != "claimed":
            return state
        else:
            rows = handle(Event.objects.extra(where=[predicate]).order_by("pk"))
            query("SELECT chunked.complete_chunk(%s, %s, %s, %s)", job, number, fence, rows)
# [end]


# Their checks

def pks(chunks):
    return [event.pk for _, events in chunks for event in events]


def check():
    chunks.__defaults__ = 700, "{}"         # so that there are some
    count = Event.objects.count()
    everything = list(range(1, count + 1))

    seen = []
    walk(seen.append)
    assert seen == list(Event.objects.order_by("pk"))
    filtered, newest, backwards, orders, prefetched, values = other_walks()
    assert pks(filtered) == [i for i in everything if i % 10 == 7 and f"event {i}" > "event 5' OR true --"]
    assert pks(newest) == pks(backwards) == everything[::-1]
    ties = [event.pk for _, events in chunks(Event.objects.order_by("-created_at"), 777) for event in events]
    assert sorted(ties) == everything and [pk // 4 for pk in ties] == [pk // 4 for pk in everything[::-1]]
    orders = [order for _, chunk in orders for order in chunk]
    queries = len(connection.queries_log)
    settings.DEBUG = True
    assert [(order.position, order.event.kind) for order in orders] == [(-i, i * 2 % 10) for i in range(1, count // 10 + 1)]
    assert [len(event.orders.all()) for _, events in prefetched for event in events] == [
        int(i % 2 == 0 and i // 2 <= count // 10) for i in everything]
    settings.DEBUG = False
    assert len(connection.queries_log) - queries < 30
    assert [row for _, rows in values for row in rows] == [(i, f"event {i}") for i in everything]

    with connection.schema_editor() as editor:
        editor.create_model(Walk)
    seen.clear()

    def stop_half_way(events):
        if len(seen) >= count // 2:
            raise KeyboardInterrupt
        seen.extend(events)

    with contextlib.suppress(KeyboardInterrupt):
        resume("export", stop_half_way)
    connection.close()
    resume("export", seen.extend)
    assert [event.pk for event in seen] == everything

    for orphans in (0, 30):
        for queryset in (Event.objects.all(), Event.objects.order_by("-created_at", "-id"), Order.objects.select_related("event")):
            ours, theirs = ChunkedPaginator(queryset, 70, orphans), Paginator(queryset.order_by(*queryset.query.order_by or ["pk"]), 70, orphans)
            assert ours.num_pages == theirs.num_pages
            for number in (1, 2, theirs.num_pages - 1, theirs.num_pages):
                assert list(ours.page(number)) == list(theirs.page(number))
            with contextlib.suppress(EmptyPage):
                ours.page(theirs.num_pages + 1)
                raise AssertionError

    seen.clear()
    lock = threading.Lock()

    def collect(events):
        """All rows are changed before, which nobody may see."""
        with lock:
            subprocess.run(["psql", "-Xqc", "UPDATE event SET kind = kind + 10"], check=True)
        seen.extend(events)

    export(collect)
    assert sorted(event.pk for event in seen) == everything and max(event.kind for event in seen) < 10
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert backfill() == "done"
    assert "100%" in printed.getvalue() and Event.objects.filter(name__startswith="EVENT").count() == count
    (job,), = query("SELECT chunked.create_job('event')")
    seen.clear()

    def take(events):
        seen.extend(events)
        return len(events)

    assert work(job, take) == "done"
    assert [event.pk for event in seen] == everything


# What stacks.py measures

def each(events, handle):
    for event in events:
        handle(event)


def bench(walk):
    connection.ensure_connection()
    print("ready Django", django.get_version(), flush=True)
    sys.stdin.readline()
    done = 0

    def handle(event):
        nonlocal done
        if not done:
            print("first", flush=True)
        done += 1

    walk(handle)
    print("done", done, flush=True)
    sys.stdin.readline()


if sys.argv[1] == "check":
    check()
else:
    events = Event.objects.order_by("pk")
    bench({"ours": walk, "stream": lambda handle: each(events.iterator(), handle), "all": lambda handle: each(events.all(), handle)}[sys.argv[2]])
