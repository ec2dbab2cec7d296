#!/usr/bin/python3
"""
Hostile calls: every public function, with arguments that nobody means well by, on
relations of every kind, while another session changes them.

    hostile.py [--seconds T | --calls N] [--seed S] [--sessions K] [--log FILE] [--print]

Connects by libpq's environment (PGHOST, PGPORT, PGUSER, PGDATABASE), to a database
that is its own: it makes and drops the schema hostile, the role hostile_user, and jobs.

A call may fail, but not by an internal error (class XX), nor by ending the server,
nor by running on when it was told to end; and a table that nobody touched must walk
as before.  The same seed gives the same calls in each session, however many there is
time for.  What meets what is up to the machine, so that a failure may take a few
runs to come again.  --print shows the calls, and makes none.

The last line is "N passed, N failed".
"""
from __future__ import annotations

import argparse
import collections
import re
import sys
import threading
import time
from pathlib import Path
from random import Random, SystemRandom

import psycopg
from psycopg.pq import ExecStatus, TransactionStatus

from calls import Calls, settings
from changes import Changes
from relations import FOREIGN, OTHERS, SETUP, SYSTEM, TABLES, TEMPORARY, UNTOUCHED

TIMEOUT_S = 1
# beyond the timeout, before a call counts as one that cannot be interrupted: sanitizers are slow, and machines busy
PATIENCE_S = 30
# Internal errors that the server may raise by itself where another session changes relations under a
# statement: whether it did so is seen from the backtrace in its log, in which the extension then does not occur.
SERVERS_OWN = tuple("""
relation_open TupleDescInitEntry simple_heap_update simple_heap_delete CatalogTupleUpdate ExecInitFunctionScan lookup_type_cache load_domaintype_info format_type_extended
LookupTypeNameExtended typeOrDomainTypeRelid typeidType typeidTypeRelid typeIsOfTypedTable get_rte_attribute_is_dropped TypeIsVisible RelationIsVisible pg_type_aclmask
getBaseTypeAndTypmod getTypeInputInfo getTypeOutputInfo getTypeBinaryInputInfo getTypeBinaryOutputInfo get_attname get_atttypetypmodcoll get_typdefault get_typlenbyval
get_typlenbyvalalign get_type_category_preferred get_type_io_data IndexGetRelation RelationInitIndexAccessInfo RelationReloadIndexInfo generate_partition_qual
generate_relation_name generate_qualified_relation_name get_relation_name pg_get_indexdef_worker
""".split())

LIMITS = (f"SET statement_timeout = '{TIMEOUT_S}s'; SET lock_timeout = '400ms'; SET client_min_messages = error; SET backtrace_functions = '{','.join(SERVERS_OWN)}'")


class Failed(Exception):
    """What ends a session: the server is gone."""


def connect() -> psycopg.Connection:
    """Later, if another session's endless recursion through a foreign table holds all connections until it fails."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return psycopg.connect(autocommit=True)
        except psycopg.OperationalError as error:
            if "too many clients" not in str(error) and "remaining connection slots" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.1)


class Session(threading.Thread):
    def __init__(self, run: Run, number: int):
        super().__init__(daemon=True)
        self.run_of, self.number = run, number
        self.r = Random(f"{run.seed} {number}")
        self.calls = 0
        self.setup: list[str] = []
        self.current: tuple[str, float] | None = None
        self.states: collections.Counter = collections.Counter()
        relations = [*run.relations, TEMPORARY, *SYSTEM]
        self.is_changer = number == 0
        self.source = Changes(self.r, run.relations) if self.is_changer else Calls(self.r, relations, TABLES)

    def statements(self):
        """(is it a call, statement), without end."""
        while True:
            if not self.is_changer and self.r.random() < 0.05:
                self.setup = settings(self.r, LIMITS)
                for statement in self.setup:
                    yield False, statement
            yield True, self.source.statement()

    def connect(self) -> psycopg.Connection:
        connection = connect()
        connection.pgconn.exec_(LIMITS.encode())
        if not self.is_changer:
            connection.pgconn.exec_(TEMPORARY.make.encode())
        return connection

    def run(self) -> None:
        try:
            self.connection = self.connect()
            for is_call, statement in self.statements():
                if self.run_of.is_over(self.calls):
                    break
                self.calls += is_call
                self.execute(statement, is_call)
                if is_call and not self.is_changer and self.calls % 500 == 0:
                    # caches start anew
                    self.connection.close()
                    self.connection = self.connect()
        except (Failed, psycopg.OperationalError) as error:
            self.run_of.server_gone(self, str(error))

    def execute(self, statement: str, is_call: bool) -> None:
        pgconn = self.connection.pgconn
        self.current = (statement, time.monotonic())
        result = pgconn.exec_(statement.encode())
        elapsed = time.monotonic() - self.current[1]
        if pgconn.status != 0:
            raise Failed(pgconn.error_message.decode(errors="replace"))
        if result.status == ExecStatus.FATAL_ERROR:
            state, message, function, context = ((result.error_field(ord(field)) or b"").decode(errors="replace") for field in "CMRW")
            self.states[state] += is_call
            if (state.startswith("XX") or not state) and "chunked." in statement:
                trace = self.backtrace(message) if function in SERVERS_OWN and self.run_of.log else []
                if not is_servers_own(trace):
                    self.run_of.report(self, f"{state or 'no SQLSTATE'}: {message} (in {function})", statement, "\n".join([context, *trace]))
        else:
            self.states["00000"] += is_call
        if elapsed > TIMEOUT_S + PATIENCE_S:
            self.run_of.report(self, f"took {elapsed:.0f} s, under a statement_timeout of {TIMEOUT_S} s", statement)
        if pgconn.transaction_status != TransactionStatus.IDLE:
            pgconn.exec_(b"ROLLBACK")
        pgconn.exec_(b"CLOSE ALL; DEALLOCATE ALL")
        self.current = None

    def backtrace(self, message: str) -> list[str]:
        """Of the error that this session had last, from the server's log."""
        with open(self.run_of.log, "rb") as log:
            log.seek(max(0, log.seek(0, 2) - 500000))
            lines = log.read().decode(errors="replace").split("\n")
        mine = f"[{self.connection.pgconn.backend_pid}] "
        starts = [i for i, line in enumerate(lines) if f"{mine}ERROR:  {message}" in line]
        if not starts:
            return []
        trace = None
        for line in lines[starts[-1] + 1:]:
            if f"{mine}BACKTRACE:" in line:
                trace = []
            elif trace is not None and line.startswith("\t"):
                trace.append(line)
            elif trace is not None or f"{mine}ERROR:" in line:
                break
        return trace or []


def is_servers_own(trace: list[str]) -> bool:
    """Does the extension not occur in it, but for its hook of the planner, which every statement goes through?"""
    functions = [(re.search(r"\((\w+)", line) or [None, ""])[1] for line in trace]
    ours = ["pg_chunked" in line for line in trace]
    at = 0
    while at < len(trace):
        end = at
        while end < len(trace) and ours[end]:
            end += 1
        if end > at and (at == 0 or functions[at - 1] != "standard_planner" or end == len(trace) or functions[end] not in ("planner", "pg_plan_query")):
            return False
        at = end + 1
    return bool(trace)


class Run:
    def __init__(self, options: argparse.Namespace):
        self.seed, self.seconds, self.calls, self.log = options.seed, options.seconds, options.calls, options.log
        self.relations = TABLES + OTHERS
        self.failures: list[str] = []
        self.known: collections.Counter = collections.Counter()
        self.lock = threading.Lock()
        self.gone = threading.Event()
        self.start = time.monotonic()

    def is_over(self, calls: int) -> bool:
        if self.gone.is_set():
            return True
        return calls >= self.calls if self.calls else time.monotonic() > self.start + self.seconds

    def report(self, session: Session, what: str, statement: str, context: str = "") -> None:
        """The first failure of a kind in full, the rest as a number."""
        kind = re.sub(r"\d+", "N", what)
        with self.lock:
            self.known[kind] += 1
            if self.known[kind] > 1:
                return
            setup = "; ".join(session.setup)
            self.failures.append(kind)
            print(f"\nFAILED: {what}\n  seed {self.seed}, session {session.number}, call {session.calls}, after: {setup or 'nothing'}\n  {shorten(statement)}"
                  + (f"\n  context: {shorten(context)}" if context else ""), flush=True)

    def server_gone(self, session: Session, message: str) -> None:
        statement = session.current[0] if session.current else "(connecting)"
        with self.lock:
            # one session's crash ends all the others
            self.failures.append("the server ended the session")
            print(f"\nFAILED: the connection was lost: {message.strip()}\n  seed {self.seed}, session {session.number}, call {session.calls},"
                  f" after: {'; '.join(session.setup) or 'nothing'}\n  {shorten(statement)}", flush=True)
        self.gone.set()

    def prepare(self) -> None:
        with psycopg.connect(autocommit=True) as connection:
            connection.execute("SET client_min_messages = error; CREATE EXTENSION IF NOT EXISTS pg_chunked")
            self.check_complete(connection)
            self.clean(connection)
            connection.execute("CREATE ROLE hostile_user")
            connection.execute(SETUP)
            connection.execute(UNTOUCHED)
            self.add_foreign(connection)
            for relation in self.relations:
                connection.execute(relation.make)
            connection.execute("GRANT USAGE ON SCHEMA hostile TO hostile_user; GRANT ALL ON hostile.ints, hostile.parts, hostile.plain_view, hostile.log TO hostile_user")

    def check_complete(self, connection: psycopg.Connection) -> None:
        """A function that is new must be called, too.  Those of types are called by casts, and one of the planner's stands for all."""
        called = (Path(__file__).parent / "calls.py").read_text()
        names = {name for name, in connection.execute(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'chunked'::regnamespace AND NOT 'internal'::regtype = ANY (proargtypes)"
            " AND proname NOT LIKE '%reference_in' AND proname NOT LIKE '%reference_out'")}
        missing = sorted(name for name in names if not re.search(rf"\b{name}\b", called))
        if missing:
            self.failures.append("never called")
            print(f"FAILED: calls.py has no call of {', '.join(missing)}", flush=True)

    def add_foreign(self, connection: psycopg.Connection) -> None:
        """A foreign table that leads back to this database, where postgres_fdw is at hand."""
        info = connection.info
        try:
            connection.execute("CREATE EXTENSION IF NOT EXISTS postgres_fdw")
        except psycopg.Error:
            return
        connection.execute(f"CREATE SERVER hostile_loopback FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{info.host}', port '{info.port}', dbname '{info.dbname}');"
                           f"CREATE USER MAPPING FOR PUBLIC SERVER hostile_loopback OPTIONS (user '{info.user}', password_required 'false')")
        self.relations = self.relations + [FOREIGN]

    @staticmethod
    def clean(connection: psycopg.Connection) -> None:
        connection.execute("SET client_min_messages = error; SET lock_timeout = 0")
        connection.execute("SELECT chunked.cancel_job(name) FROM chunked.jobs WHERE owner = current_role::regrole")
        end = time.monotonic() + 20
        while connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type LIKE 'pg_chunked%'").fetchall() and time.monotonic() < end:
            time.sleep(0.2)
        connection.execute("DROP SCHEMA IF EXISTS hostile CASCADE; DROP SERVER IF EXISTS hostile_loopback CASCADE")
        if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'hostile_user'").fetchone():
            connection.execute("REASSIGN OWNED BY hostile_user TO CURRENT_USER; DROP OWNED BY hostile_user; DROP ROLE hostile_user")
        connection.execute("DELETE FROM chunked.ledger_jobs")

    def watch(self, sessions: list[Session]) -> None:
        """Until all have ended, or one has not by long after it should have."""
        for session in sessions:
            while session.is_alive():
                session.join(1)
                for other in sessions:
                    current = other.current
                    if other.is_alive() and current and time.monotonic() > current[1] + TIMEOUT_S + 4 * PATIENCE_S:
                        self.report(other, "does not end", current[0])
                        return

    def check_untouched(self) -> None:
        """A table that was there all along, walked in every way."""
        with connect() as connection:
            for key, order in (("NULL", "id"), ("'a DESC, b, id'", "a DESC, b, id"), ("'a, b, id'", "a, b, id")):
                wanted = [row for row, in connection.execute(f"SELECT id FROM hostile.untouched ORDER BY {order}")]
                seen, after = [], None
                while True:
                    page = connection.execute(f"SELECT id, chunked.position_of(p, {key})::text FROM chunked.page(NULL::hostile.untouched, 700, key => {key}, after => %s::jsonb) AS p",
                                              [after]).fetchall()
                    if not page:
                        break
                    seen += [row for row, _ in page]
                    after = page[-1][1]
                self.expect(f"pages by {key}", seen, wanted)
                for exact in ("true", "false"):
                    seen = []
                    for count, predicate in connection.execute(f"SELECT row_count, predicate FROM chunked.chunks('hostile.untouched', 300, {exact}, key => {key})").fetchall():
                        rows = [row for row, in connection.execute(f"SELECT id FROM hostile.untouched WHERE {predicate} ORDER BY {order}")]
                        if exact == "true":
                            self.expect(f"a chunk's count by {key}", count, len(rows))
                        seen += rows
                    self.expect(f"chunks by {key}, exact => {exact}", seen, wanted)

    def expect(self, what: str, got, wanted) -> None:
        if got != wanted:
            self.failures.append(what)
            print(f"\nFAILED: of the untouched table, {what}: got {shorten(str(got))}, wanted {shorten(str(wanted))}\n  seed {self.seed}", flush=True)


def shorten(text: str) -> str:
    return text if len(text) <= 3000 else f"{text[:2000]} ... {text[-500:]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--calls", type=int, help="of each session, in place of --seconds")
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(1 << 31))
    parser.add_argument("--sessions", type=int, default=2, help="that call; one more makes the changes")
    parser.add_argument("--log", help="the server's log file: tells its own internal errors from the extension's")
    parser.add_argument("--print", action="store_true", dest="show")
    options = parser.parse_args()
    run = Run(options)

    if options.show:
        for session in [Session(run, number) for number in range(options.sessions + 1)]:
            for _, (is_call, statement) in zip(range(options.calls or 100), session.statements()):
                print(f"{session.number}{'' if is_call else ' (setting)'}: {shorten(statement)}")
        return 0

    print(f"seed {options.seed}", flush=True)
    run.prepare()
    run.start = time.monotonic()
    sessions = [Session(run, number) for number in range(options.sessions + 1)]
    for session in sessions:
        session.start()
    run.watch(sessions)

    calls = sum(session.calls for session in sessions)
    states = sum((session.states for session in sessions[1:]), collections.Counter())
    print(f"{sum(states.values())} calls, {states['00000']} of them without an error, beside {sessions[0].calls} changes; SQLSTATEs: "
          + ", ".join(f"{state} {number}" for state, number in states.most_common() if state != "00000"))
    try:
        if run.gone.is_set():
            time.sleep(10)
        run.check_untouched()
        with psycopg.connect(autocommit=True) as connection:
            run.clean(connection)
    except psycopg.Error as error:
        run.failures.append("afterwards")
        print(f"\nFAILED: after the calls: {error}")
    for kind, number in run.known.items():
        if number > 1:
            print(f"{number} times: {kind}")
    print(f"seed {options.seed}")
    print(f"{max(0, calls - len(run.failures))} passed, {len(run.failures)} failed")
    sys.stdout.flush()
    return 1 if run.failures or not states["00000"] else 0


if __name__ == "__main__":
    sys.exit(main())
