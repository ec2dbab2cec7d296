"""
Jobs over the random tables: what is committed chunk by chunk must come to every row
once, whatever fails on the way, and the ledger's chunks must lie end to end.
"""
from __future__ import annotations

import itertools
import os
import threading
import time
from dataclasses import dataclass

import psycopg

from checks import Walker, delete_some, disturb, escape, expect
from sessions import Mismatch, canonical
from tables import qualify, quote

LEASE_LOST = "55000"
DIVISION_BY_ZERO = "22012"

PATIENCE = 60  # seconds, for a job that would never end

numbers = itertools.count(1)


@dataclass
class LedgerChunk:
    number: int
    state: str
    after: str | None
    upto: str
    row_count: int
    failed_key: str | None


def runs(w: Walker) -> None:
    """One or the other, as each takes as long as several walks."""
    w.r.choice((whole_run, failing_rows))(w)


class Job:
    """A job over a Walker's table; its statement, if it has one, notes every row in an audit table."""

    def __init__(self, w: Walker):
        self.w = w
        self.name = f"walks {os.getpid()} {next(numbers)} 'of' \"{w.table.relkind}\" {{chunk}} %"
        w.sessions.jobs.append(self.name)

    # the tables that the statement uses

    def qualified(self, name: str) -> str:
        return qualify(self.w.table.schema, name)

    def prepare_audit(self, bad: list[int]) -> None:
        kind = "TEMPORARY " if self.w.table.temporary else ""
        audit, flags = self.qualified("job_audit"), self.qualified("job_flags")
        self.w.sessions.owner().execute(
            f"DROP TABLE IF EXISTS {audit}, {flags}; CREATE {kind}TABLE {audit} (noted int);"
            f"CREATE {kind}TABLE {flags} (flagged int)")
        self.w.sessions.owner().execute(f"INSERT INTO {flags} SELECT unnest(%s::int[])", [bad])

    def statement(self) -> str:
        """Fails at a flagged row.  A job's own filter only sizes its chunks, so that the statement has it, too."""
        # the comment that a filter may end with ends at the line break
        condition = "{chunk:t}" + (f" AND ({self.w.filter}\n)" if self.w.filter else "")
        # no division of constants, which would fail for every row when it is planned
        return (f"INSERT INTO {self.qualified('job_audit')} SELECT t._row OPERATOR(pg_catalog./) CASE WHEN EXISTS"
                f" (SELECT FROM {self.qualified('job_flags')} AS f WHERE f.flagged OPERATOR(pg_catalog.=) t._row) THEN 0 ELSE 1 END"
                f" FROM {self.w.table.relation} AS t WHERE {condition}")

    def mend(self, rows: list[int] | None) -> None:
        condition = "" if rows is None else " WHERE flagged = ANY(%s)"
        self.w.sessions.owner().execute(f"DELETE FROM {escape(self.qualified('job_flags'))}{condition}", None if rows is None else [rows])

    def noted(self) -> list[int]:
        return sorted(row for row, in self.w.sessions.owner().execute(f"SELECT noted FROM {self.qualified('job_audit')}"))

    # calls, each in any session

    def call(self, statement: str, given: dict) -> list[tuple]:
        # under array_nulls = off postgres_fdw itself misreads arrays
        w = self.w
        connection = w.sessions.pick(w.r, w.filter is None, not w.table.remote, read_only=False)
        w.sessions.last_call = psycopg.ClientCursor(connection).mogrify(statement, given)
        while True:
            # statement_timeout is for each execution of a job's statement
            guard = threading.Timer(PATIENCE, connection.cancel)
            guard.start()
            try:
                cursor = connection.execute(statement, given)
            except psycopg.errors.SerializationFailure:
                continue  # SERIALIZABLE, and another process is at its jobs
            finally:
                guard.cancel()
            return cursor.fetchall() if cursor.description else []

    def options(self, given: dict) -> str:
        text = "".join(f", {name} => %({name})s" for name in given if given[name] is not None or self.w.r.random() < 0.2)
        return "%(relation)s::pg_catalog.regclass, name => %(name)s" + text + self.w.key_argument()

    def given(self, values: dict) -> dict:
        return {"relation": self.w.table.relation, "name": self.name, "filter": self.w.filter, **values}

    def own(self, values: dict) -> str:
        return self.options({"filter": self.w.filter, **values})

    def run(self, values: dict, workers: int) -> None:
        """run(), or what it stands for."""
        if self.w.r.random() < 0.5:
            self.call(f"CALL chunked.run({self.own({**values, 'workers': workers})})", self.given({**values, "workers": workers}))
        else:
            self.create(values)
            self.go_on(workers)

    def create(self, values: dict) -> None:
        expect("the job's name", self.call(f"SELECT chunked.create_job({self.own(values)})", self.given(values)), [(self.name,)])

    def go_on(self, workers: int = 0) -> None:
        self.call("CALL chunked.run_job(%(name)s, %(workers)s)", {"name": self.name, "workers": workers})

    def retry_failed(self) -> int:
        return self.call("SELECT chunked.retry_failed(%(name)s)", {"name": self.name})[0][0]

    def drop(self) -> None:
        self.call("SELECT chunked.drop_job(%(name)s)", {"name": self.name})
        self.w.sessions.jobs.remove(self.name)

    # what the ledger says

    def status(self) -> str:
        return self.w.sessions.owner().execute("SELECT status FROM chunked.jobs WHERE name = %s", [self.name]).fetchone()[0]

    def chunks(self) -> list[LedgerChunk]:
        """From the start of the key to its end, by where each begins and ends; not all need be carved."""
        found = [LedgerChunk(*row) for row in self.w.sessions.owner().execute(
            "SELECT number, state, after::text, upto::text, row_count, failed_key::text"
            " FROM chunked.job_chunks WHERE job = %s", [self.name])]
        by_start = {canonical(chunk.after): chunk for chunk in found}
        expect("chunks that begin at different places", len(by_start), len(found))
        expect("the chunks' numbers", sorted(chunk.number for chunk in found), list(range(1, len(found) + 1)))
        ordered, at = [], None
        while at in by_start:
            ordered.append(by_start.pop(at))
            at = canonical(ordered[-1].upto)
        expect("chunks that do not begin where another ends", list(by_start.values()), [])
        return ordered

    def covered(self) -> list[int]:
        """The rows up to the high-water mark: under a filter, of matching rows alone or of all."""
        w = self.w
        at = canonical(w.sessions.owner().execute("SELECT high_water::text FROM chunked.jobs WHERE name = %s", [self.name]).fetchone()[0])
        covered = [] if at is None else w.within(w.live, None, w.where[at])
        matching = w.within(w.matching(), None, None)
        expect("matching rows beyond the high-water mark", [row for row in matching if row not in set(covered)], [])
        if w.filter is None:
            expect("the rows up to the high-water mark", covered, matching)
        return covered

    def check_complete(self, wanted: list[int]) -> None:
        """All is done, and the chunks lie end to end up to the high-water mark, with as many of the wanted rows as they count."""
        w, covered, chunks = self.w, self.covered(), self.chunks()
        expect("the job's status", self.status(), "done")
        expect("the chunks' states", {chunk.state for chunk in chunks}, {"done"} if covered else set())
        expect("the high-water mark", canonical(chunks[-1].upto) if chunks else None, w.kept[covered[-1]] if covered else None)
        start = None
        for chunk in chunks:
            upto = w.where[canonical(chunk.upto)]
            # one that was divided counts all its rows, whatever the filter
            counts = [len(w.within(rows, start, upto)) for rows in (set(wanted), w.live)]
            if chunk.row_count not in counts:
                raise Mismatch(f"chunk {chunk.number} counts {chunk.row_count} rows of {counts[0]} that match and {counts[1]} in all")
            start = upto
        found = w.sessions.owner().execute(
            "SELECT chunks_done, rows_done, rows_total, fraction, chunks_failed FROM chunked.progress WHERE job = %s", [self.name]).fetchone()
        rows = sum(chunk.row_count for chunk in chunks)
        expect("its progress", found, (len(chunks), rows, rows, 1, 0))


def chunk_size(w: Walker, count: int) -> int:
    """Few chunks mostly, since each is a transaction; any size now and then."""
    return w.r.randint(1, 2 * count or 1) if w.r.random() < 0.3 else w.size(count)


def beginning(w: Walker) -> list[int]:
    """A filter or none: the rows that it matches."""
    delete_some(w, 0.2)
    w.choose_filter(0.35)
    return w.within(w.matching(), None, None)


def workers(w: Walker) -> int:
    return w.r.choice((1, 2)) if not w.table.temporary and w.r.random() < 0.06 else 0


def whole_run(w: Walker) -> None:
    """A run from beginning to end: every row up to the high-water mark once."""
    wanted = beginning(w)
    job = Job(w)
    job.prepare_audit([])
    target = w.r.choice(("1 ms", "20 ms", "1 hour")) if w.r.random() < 0.25 else None
    job.run({"statement": job.statement(), "chunk_size": chunk_size(w, len(wanted)), "target_time": target}, workers(w))
    expect("the rows that were done", job.noted(), sorted(wanted))
    job.check_complete(wanted)
    job.drop()


def failing_rows(w: Walker) -> None:
    """Rows that fail: all others done, they alone told; and when they are mended they are done, too."""
    wanted = beginning(w)
    attempts = w.r.choices((1, 2, 3), (85, 10, 5))[0]
    bad = sorted(w.r.sample(wanted, min(len(wanted), w.r.choice((1, 1, 2, 4)))))
    values = {"chunk_size": chunk_size(w, len(wanted)), "max_attempts": attempts, "on_error": "continue"}
    if attempts == 1 and w.r.random() < 0.3:
        values["on_error"] = "stop"
    job = Job(w)
    job.prepare_audit(bad)
    values["statement"] = job.statement()
    if values["on_error"] == "stop":
        run_and_mend(job, values, bad)
    else:
        job.run(values, workers(w))
        expect("the rows that were done", job.noted(), sorted(set(wanted) - set(bad)))
        check_failed(job, wanted, bad)
        expect("the job's status", job.status(), "failed" if bad else "done")
        if bad and w.r.random() < 0.5:
            # some of them still fail: alone, as before
            mended = bad[: len(bad) // 2]
            job.mend(mended)
            expect("what is tried again", job.retry_failed(), len(bad))
            job.go_on(workers(w))
            bad = bad[len(bad) // 2:]
            expect("the rows that were done then", job.noted(), sorted(set(wanted) - set(bad)))
            check_failed(job, wanted, bad)
        job.mend(None)
        expect("what is tried again at last", job.retry_failed(), len(bad))
        job.go_on(workers(w))
    expect("the rows that were done at last", job.noted(), sorted(wanted))
    job.check_complete(wanted)
    job.drop()


def run_and_mend(job: Job, values: dict, bad: list[int]) -> None:
    """Each error stops the job at one of the bad rows."""
    left = list(bad)
    while True:
        try:
            if len(left) == len(bad):
                job.run(values, 0)
            else:
                job.go_on()
        except psycopg.Error as error:
            if error.sqlstate != DIVISION_BY_ZERO or not left:
                raise
        else:
            expect("the rows that failed, each in its turn", left, [])
            return
        expect("the job's status", job.status(), "failed")
        failed = [job.w.where[canonical(chunk.failed_key)] for chunk in job.chunks() if chunk.state == "failed"]
        expect("one bad row", (len(failed), failed[0] in left), (1, True))
        left.remove(failed[0])
        job.mend(failed)
        expect("what is tried again", job.retry_failed(), 1)


def check_failed(job: Job, wanted: list[int], bad: list[int]) -> None:
    """The failed chunks have one row each, which is the one that fails."""
    w, start, told = job.w, None, []
    for chunk in job.chunks():
        upto = w.where[canonical(chunk.upto)]
        if chunk.state == "failed":
            key = w.where[canonical(chunk.failed_key)]
            expect(f"the rows of failed chunk {chunk.number}", w.within(set(wanted), start, upto), [key])
            told.append(key)
        else:
            expect(f"the state of chunk {chunk.number}", chunk.state, "done")
        start = upto
    expect("the rows told to fail", sorted(told), bad)


@dataclass
class Claimed:
    number: int
    fence: int
    predicate: str
    lost: bool  # its lease ran out


class Outside:
    """Workers outside the server, one step of any of them at a time."""

    def __init__(self, job: Job):
        self.job, self.w, self.r = job, job.w, job.w.r
        self.held: list[Claimed] = []
        self.paused = False
        self.state = ""
        self.done: list[int] = []  # rows of completed chunks, as they were then
        self.deleted: set[int] = set()

    def function(self, name: str, chunk: Claimed, **given) -> None:
        arguments = "".join(f", {argument} => %({argument})s" for argument in given)
        self.job.call(f"SELECT chunked.{name}(%(name)s, %(number)s, %(fence)s{arguments})",
                      {"name": self.job.name, "number": chunk.number, "fence": chunk.fence, **given})

    def refused(self, name: str, chunk: Claimed, **given) -> None:
        try:
            self.function(name, chunk, **given)
        except psycopg.Error as error:
            if error.sqlstate != LEASE_LOST:
                raise
            return
        raise Mismatch(f"{name}() accepts fence {chunk.fence} of chunk {chunk.number}, which does not hold it")

    def some(self, lost: bool = False) -> Claimed | None:
        chunks = [chunk for chunk in self.held if chunk.lost == lost]
        return self.r.choice(chunks) if chunks else None

    # steps

    def claim(self) -> None:
        brief = self.r.random() < 0.25
        number, fence, predicate, self.state, reason = self.job.call(
            "SELECT number, fence, predicate, state, reason FROM chunked.claim_chunk(%(name)s, %(lease)s)",
            {"name": self.job.name, "lease": "1 ms" if brief else "1 hour"})[0]
        if (self.state == "paused") != self.paused:
            raise Mismatch(f"a chunk's claim is answered by {self.state} when paused is {self.paused}")
        if self.state == "claimed":
            expect("chunks claimed twice", [c for c in self.held if c.number == number and not c.lost], [])
            self.held.append(Claimed(number, fence, predicate, brief))
            if brief:
                time.sleep(0.002)
        elif self.state == "wait" and reason is None:
            raise Mismatch("a claimer is told to wait, and not for what")

    def complete(self) -> None:
        if not (chunk := self.some()):
            return
        source = escape(self.w.table.relation)
        rows = [row for row, in self.w.fetch(f"SELECT _row FROM {source} WHERE {escape(chunk.predicate)}", {}, array_nulls=False)]
        self.function("complete_chunk", chunk, row_count=len(rows))
        self.held.remove(chunk)
        self.done += rows
        if self.r.random() < 0.1:
            self.function("complete_chunk", chunk)  # once more, by one who does not know
            self.refused(self.r.choice(("fail_chunk", "renew_chunk")), chunk)

    def fail(self) -> None:
        if chunk := self.some():
            self.function("fail_chunk", chunk, error="so it is")
            self.held.remove(chunk)
            if self.r.random() < 0.1:
                self.refused(self.r.choice(("complete_chunk", "fail_chunk", "renew_chunk")), chunk)
            elif self.r.random() < 0.3:
                self.resize()  # which must spare what it was divided into

    def come_late(self) -> None:
        if chunk := self.some(lost=True):
            self.refused(self.r.choice(("complete_chunk", "fail_chunk", "renew_chunk")), chunk)
            self.held.remove(chunk)

    def overtake(self) -> None:
        """Whoever lost a chunk comes when it is another's."""
        if lost := self.some(lost=True):
            if self.paused:
                self.pause()
            for _ in range(20):
                self.pass_time()
                self.claim()
                if any(chunk.number == lost.number and not chunk.lost for chunk in self.held):
                    break
            self.refused(self.r.choice(("complete_chunk", "fail_chunk", "renew_chunk")), lost)
            self.held.remove(lost)

    def renew(self) -> None:
        if chunk := self.some():
            self.function("renew_chunk", chunk, lease="2 hours")

    def resize(self) -> None:
        self.job.call("SELECT chunked.alter_job(%(name)s, chunk_size => %(size)s)",
                      {"name": self.job.name, "size": self.w.size(len(self.w.rows))})

    def pause(self) -> None:
        self.paused = not self.paused
        self.job.call(f"SELECT chunked.{'pause' if self.paused else 'resume'}_job(%(name)s)", {"name": self.job.name})

    def retry(self) -> None:
        failed = [chunk for chunk in self.job.chunks() if chunk.state == "failed"]
        expect("what is tried again", self.job.retry_failed(), len(failed))

    def write(self) -> None:
        if self.w.rows:
            disturb(self.w, self.r.choice(self.w.rows), self.deleted)

    def pass_time(self) -> None:
        """What waiting for a second attempt comes to."""
        self.w.sessions.owner().execute(
            "UPDATE chunked.ledger_chunks SET retry_at = clock_timestamp() WHERE retry_at IS NOT NULL"
            " AND job = (SELECT id FROM chunked.jobs WHERE name = %s)", [self.job.name])

    def drain(self) -> None:
        """No more failures: to the end."""
        if self.paused:
            self.pause()
        for _ in range(3000):
            self.pass_time()
            self.claim()
            while self.some():
                self.complete()
            if self.state == "failed":
                self.retry()
            elif self.state == "done":
                return
        raise Mismatch(f"the job does not come to its end; last a claim gave {self.state}")


def outside(w: Walker) -> None:
    """Chunks that are claimed, completed, failed and lost in any order: each row is in one completed chunk."""
    wanted = beginning(w)
    job = Job(w)
    job.create({"chunk_size": chunk_size(w, len(wanted)), "max_attempts": w.r.choice((1, 1, 2, 3)),
                "on_error": w.r.choice(("continue", "continue", "stop"))})
    covered = job.covered()
    others = Outside(job)
    writes = w.r.random() < 0.4
    steps = (others.claim, others.complete, others.fail, others.come_late, others.overtake, others.renew, others.resize, others.pause,
             others.retry, others.pass_time, others.write)
    for step in w.r.choices(steps, (12, 6, 3, 4, 3, 1, 2, 1, 1, 2, 2 if writes else 0), k=w.r.choice((0, 10, 40))):
        step()
        job.chunks()
    others.drain()
    for chunk in others.held:
        others.refused("complete_chunk", chunk)
    done = sorted(others.done)
    expect("each row in one completed chunk", sorted(set(done)), done)
    throughout = set(covered) - others.deleted
    expect("the rows that were there throughout", [row for row in done if row in throughout], sorted(throughout))
    if not writes:
        expect("the rows in completed chunks", done, sorted(covered))
        job.check_complete(wanted)
    elif covered and covered[-1] not in others.deleted:
        w.ask_oracle()
        expect("rows beyond the high-water mark", [row for row in done if row in w.live and w.place[row] > w.place[covered[-1]]], [])
    job.drop()


JOBS = (runs, outside)
