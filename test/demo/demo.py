"""The demo, once there is a server with the extension; see demo.sh."""
from __future__ import annotations

import os
import re
import signal
import sys
import time
from math import inf

import psycopg

import show
from race import Runner, race

PATIENCE = 8  # seconds for OFFSET, which takes longer than anyone likes to watch
PARTS = 4


def library() -> str:
    """The module of clients that this machine can run."""
    try:
        import with_django  # noqa: F401
        return "with_django"
    except Exception as error:  # Django is not there, or finds no driver
        show.paragraph(f"Django does not run here ({error}): the driver reads, without models.")
        return "with_psycopg"


def make_events(connection: psycopg.Connection, rows: int) -> None:
    connection.execute("CREATE TABLE event (id bigint NOT NULL, created_at timestamptz NOT NULL, kind int NOT NULL,"
                       " name text NOT NULL, times int NOT NULL DEFAULT 0)")
    moving = show.Moving()
    step = rows // 50
    for first in range(1, rows + 1, step):
        last = min(rows, first + step - 1)
        connection.execute("INSERT INTO event SELECT i, timestamptz '2025-01-01' + i * interval '3 seconds', i %% 10,"
                           " repeat(md5(i::text), 3) FROM generate_series(%s::bigint, %s) i", [first, last])
        line = f"{'making a table':<26}" + show.bar(last, rows) + f"  {moving.seconds():.1f} s"
        moving.draw([line], line)
    connection.execute("ALTER TABLE event ADD PRIMARY KEY (id)")
    connection.execute("VACUUM ANALYZE event")
    moving.finish([f"making a table of {rows:,} events, PRIMARY KEY (id): {show.duration(moving.seconds())}"])


def written(connection: psycopg.Connection) -> int:
    """Bytes that the server has written to temporary files."""
    return connection.execute("SELECT temp_bytes FROM pg_stat_database WHERE datname = current_database()").fetchone()[0]


def tell_others(cursor: Runner, offset: Runner, file: int, rows: int) -> None:
    """What the figures of these two do not show."""
    if file:
        show.paragraph(f"For {cursor.label}, the server first wrote the whole result to a file of {show.size(file / 1024)},"
                       " which is lost with the connection.")
    else:
        show.paragraph(f"The {cursor.label} held one transaction and its snapshot for {cursor.state.seconds:.1f} s.")
    if offset.state.stopped:
        show.paragraph(f"OFFSET was stopped after {offset.state.rows:,} rows: each page reads all pages before it, so that all"
                       f" {rows:,} would take about {offset.would_take(rows):.0f} s.")


def split(connection: psycopg.Connection, rows: int) -> None:
    """Chunks for parallel workers: their conditions select every row once."""
    start = time.perf_counter()
    predicates = [predicate for predicate, in connection.execute("SELECT predicate FROM chunked.split('event', %s)", [PARTS])]
    taken = time.perf_counter() - start
    show.say("", f"chunked.split('event', {PARTS}): {len(predicates)} chunks for parallel workers"
                 f" after {taken * 1000:.1f} ms, such as", f"  WHERE {predicates[0]}")
    counts = [connection.execute(f"SELECT count(*) FROM event WHERE {predicate}").fetchone()[0] for predicate in predicates]
    show.say("  " + " + ".join(f"{count:,}" for count in counts) + f" = {sum(counts):,} rows")
    if sum(counts) != rows:
        sys.exit(f"the chunks do not have {rows:,} rows")


def run(connection: psycopg.Connection, call: str, kill_at: int = 101) -> None:
    """Calls a job, and shows its notices. When one has so many percent, kills the server process that does it."""
    def show_notice(notice) -> None:
        text = notice.message_primary
        if percent := re.search(r"(\d+)%", text):
            shown[:] = ["  " + text]
            moving.draw(shown, text)
            if int(percent[1]) >= kill_at and not killed:
                killed.append(pid)
                os.kill(pid, signal.SIGKILL)

    show.say(call)
    pid = connection.info.backend_pid
    killed: list[int] = []
    shown: list[str] = []
    moving = show.Moving()
    connection.execute("SET pg_chunked.progress_interval = 20")
    connection.add_notice_handler(show_notice)
    try:
        connection.execute(call)
        shown[:] = ["  " + connection.execute("SELECT line FROM chunked.progress").fetchone()[0]]
    finally:
        moving.finish(shown)
        if killed:
            show.say(f"kill -9 {pid}: the whole server goes down")


def checkpointer(connection: psycopg.Connection) -> int:
    """A process that the server starts anew when it recovers from a crash."""
    return connection.execute("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'").fetchone()[0]


def reconnect(old: int) -> psycopg.Connection:
    """Waits for the server to come back with another checkpointer than the old one."""
    moving = show.Moving()
    while moving.seconds() < 120:
        try:
            connection = psycopg.connect(autocommit=True)
            if checkpointer(connection) != old:
                moving.finish([f"and is back, recovered, after {show.duration(moving.seconds())}"])
                return connection
        except psycopg.OperationalError:
            pass
        line = f"recovering: {moving.seconds():.1f} s"
        moving.draw([line], line)
        time.sleep(0.1)
    sys.exit("the server did not come back")


def check_updates(connection: psycopg.Connection, expected: tuple[int, int, int]) -> None:
    """How many rows the backfill has updated never, once, and more than once."""
    never, once, more = found = connection.execute(
        "SELECT count(*) FILTER (WHERE times = 0), count(*) FILTER (WHERE times = 1), count(*) FILTER (WHERE times > 1)"
        " FROM event").fetchone()
    show.say(f"  rows updated never: {never:,}   once: {once:,}   more than once: {more:,}")
    if found != expected:
        sys.exit("expected were {:,}, {:,} and {:,}".format(*expected))


def backfill(connection: psycopg.Connection, rows: int) -> None:
    """Runs a statement over every chunk, kills the server process in the middle, and goes on."""
    old = checkpointer(connection)
    connection.execute("CHECKPOINT")  # so that recovery has the backfill alone to redo
    show.say("")
    try:
        run(connection, "CALL chunked.run('event', 'UPDATE event SET times = times + 1 WHERE {chunk}',\n"
                        f"                 name => 'backfill', chunk_size => {rows // 100})", kill_at=50)
        sys.exit("the backfill was done before it was killed")
    except psycopg.OperationalError:
        connection.close()
    with reconnect(old) as connection:
        done = connection.execute("SELECT rows_done FROM chunked.progress").fetchone()[0]
        check_updates(connection, (rows - done, done, 0))
        run(connection, "CALL chunked.run_job('backfill')")
        check_updates(connection, (0, rows, 0))


def main() -> None:
    rows = int(sys.argv[1])
    clients = library()
    with psycopg.connect(autocommit=True) as connection:
        make_events(connection, rows)
    show.say("", f"Two clients loop over {rows:,} rows, at the same time:")
    everything, walk = race(clients, {"everything": inf, "walk": inf}, rows)
    show.say("", "Two more, at the same time:")
    with psycopg.connect(autocommit=True) as connection:
        before = written(connection)
        cursor, offset = race(clients, {"cursor": inf, "offset": PATIENCE}, rows)
        tell_others(cursor, offset, written(connection) - before, rows)
        split(connection, rows)
    backfill(psycopg.connect(autocommit=True), rows)
    show.say("")
    show.paragraph(
        f"Of {rows:,} rows, {everything.label} saw the first after {show.duration(everything.state.first_row)} and took"
        f" {show.size(everything.memory)}; {walk.label} saw it after {show.duration(walk.state.first_row)} and took"
        f" {show.size(walk.memory)}; and the backfill updated each of them once, through a kill -9.")


if __name__ == "__main__":
    main()
