#!/usr/bin/python3
"""The recipes of docs/clients.md for SQLAlchemy, Core and ORM.

recipes.py check       goes through all of them
recipes.py bench WAY   walks the table for stacks.py
"""

import contextlib
import io
import sys
import threading

import sqlalchemy
from sqlalchemy import BigInteger, Column, DateTime, ForeignKey, Integer, Text, create_engine, select
from sqlalchemy.orm import Session, contains_eager, declarative_base, joinedload, relationship, selectinload

Base = declarative_base()


class Event(Base):
    __tablename__ = "event"
    id = Column(BigInteger, primary_key=True)
    created_at = Column(DateTime(timezone=True))
    kind = Column(Integer)
    name = Column(Text)
    orders = relationship("Order", back_populates="event")


class Order(Base):
    __tablename__ = "order"
    id = Column(BigInteger, primary_key=True)
    event_id = Column(BigInteger, ForeignKey("event.id"))
    position = Column(Integer)
    event = relationship(Event, back_populates="orders")


# [core]
import json
from sqlalchemy import text

page = text("SELECT * FROM chunked.page(NULL::event, 2000, after => :after)")

def walk_rows(connection, after="{}"):
    while rows := connection.execute(page, {"after": after}).all():
        yield from rows
        after = json.dumps({"id": rows[-1].id})
# [end]


# [walk]
def walk(session, after="{}"):
    while after:
        event = None
        for event in session.scalars(select(Event).from_statement(page), {"after": after}):
            yield event
        after = event and json.dumps({"id": event.id})
# [end]


# [backwards]
def walk_backwards(session, before="{}"):
    last = text("SELECT * FROM chunked.page(NULL::event, 1000, before => :before)")
    while events := session.scalars(select(Event).from_statement(last), {"before": before}).all():
        yield from reversed(events)
        before = json.dumps({"id": events[0].id})
# [end]


# [chunks]
def chunks(session, statement, table, key=None, after="{}", size=1000):
    """Runs a select() chunk by chunk: its own conditions, joins and options stay as they are."""
    while chunk := session.execute(
            text("SELECT upto::text, predicate FROM chunked.next_chunk(:table, :size, after => :after, key => :key, alias => :table)"),
            {"table": table, "size": size, "after": after, "key": key}).first():
        after, predicate = chunk
        yield after, session.scalars(statement.where(text(predicate)))
# [end]


def other_walks(session):
    name = "event 5' OR true --"
    # [own]
    some = chunks(session, select(Event).where(Event.kind == 7, Event.name > name).order_by(Event.id), "event")
    newest = chunks(session, select(Event).order_by(Event.created_at.desc(), Event.id.desc()), "event", "created_at DESC, id DESC")
    orders = chunks(session, select(Order).options(joinedload(Order.event)).order_by(Order.id), '"order"')
    events = chunks(session, select(Event).options(selectinload(Event.orders)).order_by(Event.id), "event")
    # [end]
    return some, newest, orders, events


# [resume]
class Walk(Base):
    __tablename__ = "walk"
    name = Column(Text, primary_key=True)
    position = Column(Text)

def resume(session, name, handle):
    walk = session.get(Walk, name) or Walk(name=name, position="{}")
    session.add(walk)
    for walk.position, events in chunks(session, select(Event).order_by(Event.id), "event", after=walk.position):
        handle(events)
        session.commit()
# [end]


def numbered(session):
    # [pages]
    pages = session.scalar(text("SELECT page_count FROM chunked.paginator('event', 100)"))
    last = session.scalars(
        select(Event).from_statement(text("SELECT * FROM chunked.paginate(NULL::event, :number, 100)")), {"number": pages}).all()
    # [end]
    return pages, last


# [split]
from concurrent.futures import ThreadPoolExecutor

def export(engine, handle):
    engine = engine.execution_options(isolation_level="REPEATABLE READ")

    def part(predicate):
        with Session(engine) as session:
            session.execute(text("SET TRANSACTION SNAPSHOT " + snapshot))
            handle(session.scalars(select(Event).where(text(predicate))))

    with engine.connect() as connection, ThreadPoolExecutor(4) as pool:
        snapshot = connection.scalar(text("SELECT quote_literal(pg_export_snapshot())"))
        list(pool.map(part, connection.scalars(text("SELECT predicate FROM chunked.split('event', 8, alias => 'event')")).all()))
# [end]


# [backfill]
import time

def backfill(engine):
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        job = connection.scalar(text("SELECT chunked.create_job('event', 'UPDATE event SET name = upper(name) WHERE {chunk}')"))
        connection.execute(text("SELECT chunked.start_job(:job)"), {"job": job})
        status = "running"
        while status == "running":
            time.sleep(1)
            status, line = connection.execute(
                text("SELECT status, line FROM chunked.progress WHERE job = :job"), {"job": job}).one()
            print(line)
# [end]


# [worker]
def work(engine, job, handle):
    with Session(engine.execution_options(isolation_level="AUTOCOMMIT")) as session:
        while True:
            chunk = session.execute(
                text("SELECT number, fence, predicate, state FROM chunked.claim_chunk(:job)"), {"job": job}).one()
            if chunk.state == "wait":
                time.sleep(1)
            elif chunk.state != "claimed":
                return chunk.state
            else:
                handle(session.scalars(select(Event).where(text(chunk.predicate)).order_by(Event.id)))
                session.execute(text("SELECT chunked.complete_chunk(:job, :number, :fence)"),
                                {"job": job, "number": chunk.number, "fence": chunk.fence})
# [end]


# Their checks

def ids(rows):
    return [row.id for row in rows]


def check(engine):
    with Session(engine) as session, engine.connect() as connection:
        count = session.scalar(text("SELECT count(*) FROM event"))
        everything = list(range(1, count + 1))
        assert ids(walk_rows(connection)) == ids(walk(session)) == everything
        assert ids(walk(session, '{"id": 1234}')) == everything[1234:]
        assert ids(walk_backwards(session)) == everything[::-1]
        some, newest, orders, events = other_walks(session)
        assert [event.id for _, events in some for event in events] == [
            i for i in everything if i % 10 == 7 and f"event {i}" > "event 5' OR true --"]
        assert [event.id for _, events in newest for event in events] == everything[::-1]
        assert [(order.position, order.event.kind) for _, orders in orders for order in orders] == [
            (-i, i * 2 % 10) for i in range(1, count // 10 + 1)]
        assert [len(event.orders) for _, events in events for event in events] == [
            int(i % 2 == 0 and i // 2 <= count // 10) for i in everything]
        pages, last = numbered(session)
        assert (pages, ids(last)) == (count // 100, everything[-100:])
    Walk.__table__.create(engine)
    seen = []

    def stop_half_way(rows):
        if len(seen) >= count // 2:
            raise KeyboardInterrupt
        seen.extend(ids(rows))

    with contextlib.suppress(KeyboardInterrupt), Session(engine) as session:
        resume(session, "a user's", stop_half_way)
    with Session(engine) as session:
        resume(session, "a user's", lambda rows: seen.extend(ids(rows)))
    assert seen == everything
    seen.clear()
    lock = threading.Lock()

    def collect(rows):
        """All rows are changed before, which nobody may see."""
        with lock, engine.begin() as connection:
            connection.execute(text("UPDATE event SET kind = kind + 10"))
        events = rows.all()
        assert max(event.kind for event in events) < 10
        seen.extend(ids(events))

    export(engine, collect)
    assert sorted(seen) == everything
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        backfill(engine)
    assert "100%" in printed.getvalue()
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        assert connection.scalar(text("SELECT count(*) FROM event WHERE name LIKE 'EVENT %'")) == count
        job = connection.scalar(text("SELECT chunked.create_job('event')"))
    seen.clear()
    assert work(engine, job, lambda rows: seen.extend(ids(rows))) == "done"
    assert seen == everything


# What stacks.py measures

def stream(session):
    yield from session.scalars(select(Event).order_by(Event.id).execution_options(yield_per=1000))


def bench(session, rows):
    session.execute(text("SELECT 1"))
    session.commit()
    print("ready SQLAlchemy", sqlalchemy.__version__, flush=True)
    sys.stdin.readline()
    done = 0
    for _ in rows(session):
        if not done:
            print("first", flush=True)
        done += 1
    print("done", done, flush=True)
    sys.stdin.readline()


engine = create_engine("postgresql+psycopg2://", future=True)
if sys.argv[1] == "check":
    check(engine)
else:
    with Session(engine) as session:
        bench(session, {"ours": walk, "stream": stream, "all": lambda session: session.scalars(select(Event).order_by(Event.id)).all()}[sys.argv[2]])
