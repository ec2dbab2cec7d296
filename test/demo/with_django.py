"""Four ways to read a table with Django. Each yields every event."""
import json
import os

import django
from django.conf import settings

settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": os.environ["PGDATABASE"]}},
    USE_TZ=True)
django.setup()

from django.db import connection, models  # noqa: E402: not before setup()

LABELS = {"everything": "Event.objects.all()", "walk": "chunked.page()", "cursor": "iterator()", "offset": "OFFSET pages"}


class Event(models.Model):
    id = models.BigAutoField(primary_key=True)
    created_at = models.DateTimeField()
    kind = models.IntegerField()
    name = models.TextField()
    times = models.IntegerField()

    class Meta:
        app_label, db_table = "demo", "event"


def everything():
    yield from Event.objects.all()


def walk():
    after = None
    while page := list(Event.objects.raw("SELECT * FROM chunked.page(NULL::event, 1000, after => %s)", [after])):
        yield from page
        after = json.dumps({"id": page[-1].id})


def cursor():
    yield from Event.objects.iterator()


def offset():
    start = 0
    while page := list(Event.objects.order_by("id")[start:start + 1000]):
        yield from page
        start += 1000


def connect() -> None:
    connection.ensure_connection()
