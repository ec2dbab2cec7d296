#!/usr/bin/python3
"""
Property test: random tables, walked in every way, compared with ORDER BY.

    walks.py [--tables N] [--seconds T] [--seed S [--only I] [--keep]] [--jobs J]

Connects by libpq's environment (PGHOST, PGPORT, PGUSER, PGDATABASE) and creates
nothing but schemas and jobs of its own, which it drops.  A failure prints the seed and the
table's index; `--seed S --only I` makes that table again, `--keep` leaves it there.
"""
from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import sys
import time
import traceback
from dataclasses import dataclass

import psycopg

import checks
import jobs
import planning
from kinds import COMMON_DDL, hostile_ddl
from sessions import Mismatch, Sessions, existing_variants
from tables import Maker, Table, literal, quote


@dataclass
class Outcome:
    index: int
    failures: list[str]
    table: str = ""  # as SQL


class Run:
    """What all tables of a run share."""

    def __init__(self, options: argparse.Namespace):
        self.seed, self.keep = options.seed, options.keep
        self.prefix = f"walks {os.getpid()} "
        self.facts = {"common": quote(self.prefix + 'co"mmon'), "citext": None, "foreign": None}
        self.hostile = quote(self.prefix + "hostile")
        self.server = self.prefix + "server"

    def prepare(self) -> None:
        with psycopg.connect(autocommit=True) as connection:
            connection.execute("SET client_min_messages = error")
            if connection.execute("SHOW server_encoding").fetchone()[0] != "UTF8":
                sys.exit("walks.py wants a database in UTF8")
            connection.execute("CREATE EXTENSION IF NOT EXISTS pg_chunked")
            self.facts["citext"] = self.install(connection, "citext")
            if self.install(connection, "postgres_fdw") and self.connects_to_itself(connection):
                self.facts["foreign"] = quote(self.server)
            connection.execute(COMMON_DDL.replace("{common}", self.facts["common"]))
            connection.execute(hostile_ddl(self.hostile))

    @staticmethod
    def install(connection: psycopg.Connection, extension: str) -> str | None:
        """The extension's schema, None if it cannot be had here."""
        try:
            connection.execute(f"CREATE EXTENSION IF NOT EXISTS {extension}")
        except psycopg.Error:
            return None
        return connection.execute(
            "SELECT quote_ident(nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = %s",
            [extension]).fetchone()[0]

    def connects_to_itself(self, connection: psycopg.Connection) -> bool:
        info = connection.info
        try:
            connection.execute(
                f"CREATE SERVER {quote(self.server)} FOREIGN DATA WRAPPER postgres_fdw"
                f" OPTIONS (host {literal(info.host)}, port {literal(str(info.port))}, dbname {literal(info.dbname)});"
                f"CREATE USER MAPPING FOR CURRENT_USER SERVER {quote(self.server)} OPTIONS (user {literal(info.user)});"
                f"CREATE SCHEMA {quote(self.prefix + 'trial')};"
                f"CREATE FOREIGN TABLE {quote(self.prefix + 'trial')}.t (oid oid) SERVER {quote(self.server)}"
                " OPTIONS (schema_name 'pg_catalog', table_name 'pg_class')")
            connection.execute(f"SELECT count(*) FROM {quote(self.prefix + 'trial')}.t")
        except psycopg.Error:
            return False
        return True

    def clean_up(self) -> None:
        with psycopg.connect(autocommit=True) as connection:
            connection.execute("SET client_min_messages = error")
            mine = connection.execute(
                "SELECT quote_ident(nspname) FROM pg_namespace WHERE starts_with(nspname, %s)"
                " ORDER BY nspname ~ '(common|hostile)$'", [self.prefix]).fetchall()
            for (schema,) in mine:
                connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
            connection.execute(f"DROP SERVER IF EXISTS {quote(self.server)} CASCADE")


class Tester:
    """One process: makes tables and checks them, one after the other."""

    def __init__(self, run: Run):
        self.run = run
        self.sessions = Sessions(run.hostile)
        self.variants = existing_variants(self.sessions.admin)

    def test(self, index: int) -> Outcome:
        outcome = Outcome(index, [])
        schema = f"{self.run.prefix}{index}" + ("" if index % 3 else ' "odd" ')
        try:
            table = self.make(random.Random(f"{self.run.seed}/{index}"), schema)
            outcome.table = table.describe()
            for variant in self.variants:
                self.check(table, index, variant, outcome)
        except Exception:
            self.failed(outcome, "make", traceback.format_exc())
        finally:
            self.drop(schema)
        return outcome

    def make(self, r: random.Random, schema: str) -> Table:
        owner = self.sessions.owner()
        owner.execute(f"CREATE SCHEMA {quote(schema)}")
        maker = Maker(r, schema, self.run.facts, self.sort)
        table = maker.make()
        self.sessions.only_admin = table.temporary
        for statements in (table.ddl, [table.insert], table.then):  # each seen by the foreign server
            if any(statements):
                owner.execute("\n".join(statements))
        for statement in table.afterwards:
            owner.execute(statement)
        return table

    def sort(self, type: str, values: list[str]) -> list[str]:
        """Different values in the order of their type, for partition bounds."""
        rows = self.sessions.owner().execute(
            f"SELECT d.v::text FROM (SELECT DISTINCT t::{type} AS v FROM unnest(%s::text[]) AS t) AS d ORDER BY d.v", [values])
        return [text for text, in rows]

    def check(self, table: Table, index: int, variant: dict, outcome: Outcome) -> None:
        self.sessions.use_variant(variant)
        walks = (checks.ties,) if table.ambiguous else checks.READING + jobs.JOBS + planning.WRITING + checks.WRITING
        for walk in walks:
            r = random.Random(f"{self.run.seed}/{index}/{walk.__name__}")
            self.sessions.forget_settings()
            try:
                walker = checks.Walker(table, self.sessions, r)
                if not table.ambiguous:
                    walker.learn_positions()
                walk(walker)
            except (Mismatch, psycopg.Error) as error:
                kind = "" if isinstance(error, Mismatch) else f"{type(error).__name__} {error.sqlstate or ''}: "
                self.failed(outcome, f"{walk.__name__} {variant or ''}", kind + str(error))
            except Exception:
                self.failed(outcome, f"{walk.__name__} {variant or ''}", traceback.format_exc())

    def failed(self, outcome: Outcome, check: str, message: str) -> None:
        outcome.failures.append(f"-- {check} fails; the last call:\n{self.sessions.last_call}\n-- {message}\n")
        self.sessions.recover()
        self.wait_for_server()

    def wait_for_server(self) -> None:
        """A crashed backend takes all connections with it."""
        if not (self.sessions.admin.closed or self.sessions.admin.broken):
            return
        for _ in range(60):
            try:
                self.sessions = Sessions(self.run.hostile)
                return
            except psycopg.OperationalError:
                time.sleep(0.5)
        sys.exit("the server does not come back")

    def drop(self, schema: str) -> None:
        if self.run.keep:
            return
        self.sessions.only_admin = False
        for name in self.sessions.jobs:  # of checks that failed
            self.sessions.owner().execute("SELECT chunked.drop_job(name) FROM chunked.jobs WHERE name = %s", [name])
        self.sessions.jobs.clear()
        self.sessions.owner().execute(f"DISCARD TEMP; DROP SCHEMA IF EXISTS {quote(schema)} CASCADE")


def work(run: Run, tables, outcomes) -> None:
    """A process: takes indices until there are none."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tester = Tester(run)
    while (index := tables.get()) is not None:
        outcomes.put(tester.test(index))
    outcomes.put(None)


def indices(options: argparse.Namespace):
    if options.only is not None:
        yield options.only
        return
    end = time.monotonic() + options.seconds if options.seconds else None
    index = 0
    while time.monotonic() < end if end else index < options.tables:
        yield index
        index += 1


def run_all(run: Run, options: argparse.Namespace) -> tuple[int, int]:
    tables, outcomes = multiprocessing.Queue(), multiprocessing.Queue()
    workers = [multiprocessing.Process(target=work, args=(run, tables, outcomes), daemon=True) for _ in range(options.jobs)]
    for worker in workers:
        worker.start()
    passed = failed = shown = waiting = 0
    try:
        source = indices(options)
        # a few ahead, so that no process waits, and a run for a time ends in time
        for _, index in zip(range(2 * options.jobs), source):
            tables.put(index)
            waiting += 1
        while waiting:
            outcome = next_outcome(outcomes, workers)
            waiting -= 1
            passed, failed = passed + (not outcome.failures), failed + bool(outcome.failures)
            if outcome.failures and shown < options.show:
                shown += 1
                print(f"\n=== table {outcome.index}; again: walks.py --seed {run.seed} --only {outcome.index}\n{outcome.table}",
                      *outcome.failures[:2], sep="\n", flush=True)
                if len(outcome.failures) > 2:
                    print(f"-- and {len(outcome.failures) - 2} more of this table's checks", flush=True)
            for index in source:
                tables.put(index)
                waiting += 1
                break
        for _ in workers:
            tables.put(None)
        for worker in workers:
            worker.join()
    finally:
        for worker in workers:
            worker.kill()
            worker.join()
    return passed, failed


def next_outcome(outcomes, workers) -> Outcome:
    while True:
        try:
            return outcomes.get(timeout=5)
        except multiprocessing.queues.Empty:
            if not all(worker.is_alive() for worker in workers):
                sys.exit("a process of the test died")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=300)
    parser.add_argument("--seconds", type=float, help="run for this long instead")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--only", type=int, metavar="I", help="only the table of this index")
    parser.add_argument("--keep", action="store_true", help="leave the schemas there")
    parser.add_argument("--show", type=int, default=5, help="print so many failures")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()

    start = time.monotonic()
    run = Run(options)
    print(f"walks.py --seed {options.seed}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        run.prepare()
        passed, failed = run_all(run, options)
    except KeyboardInterrupt:
        return 130
    finally:
        if not options.keep:
            run.clean_up()
    print(f"seed {options.seed}, {time.monotonic() - start:.1f} s")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
