"""
Connections with random settings.  A walk's calls go to any of them, as behind a
transaction pooler, so that nothing may depend on the session or what it has set.
"""
from __future__ import annotations

import json
import re
from random import Random

import psycopg

SETTINGS = {
    "DateStyle": ("ISO, MDY", "SQL, DMY", "German, DMY", "Postgres, MDY", "ISO, YMD"),
    "IntervalStyle": ("postgres", "postgres_verbose", "sql_standard", "iso_8601"),
    "TimeZone": ("UTC", "Asia/Kolkata", "America/New_York", "Pacific/Chatham", "<+03>-3"),
    "extra_float_digits": ("-15", "0", "1", "3"),
    "bytea_output": ("hex", "escape"),
    "standard_conforming_strings": ("on", "on", "off"),
    "array_nulls": ("on", "on", "off"),
    "transform_null_equals": ("off", "off", "on"),
    "quote_all_identifiers": ("off", "off", "on"),
    "default_transaction_isolation": ("read committed", "read committed", "repeatable read", "serializable"),
    "default_transaction_read_only": ("off", "on"),
    "plan_cache_mode": ("auto", "force_generic_plan", "force_custom_plan"),
    "enable_indexscan": ("on", "on", "off"),
    "enable_sort": ("on", "on", "off"),
    "enable_partition_pruning": ("on", "on", "off"),
    "work_mem": ("4MB", "64kB"),
}
FIXED = "SET statement_timeout = '20s'; SET client_min_messages = warning; SET jit = off"

# Settings under which every table is walked once more, where the server knows them.
VARIANTS = {"pg_chunked.native": ("on", "off")}


# A chunk that rows at one position make far larger than asked for.
EXPECTED_WARNINGS = "a chunk of .* has .* rows, since so many share the position"


class Mismatch(Exception):
    """A walk gave something else than ORDER BY."""


def canonical(position: str | None) -> str | None:
    return None if position is None else json.dumps(json.loads(position), sort_keys=True)


class Sessions:
    def __init__(self, hostile: str, count: int = 3):
        self.hostile = hostile
        self.admin = psycopg.connect(autocommit=True)
        # PostgreSQL 19 has standard strings alone, and nothing to warn of.
        self.standard_only = self.admin.info.server_version >= 190000
        self.fixed = FIXED if self.standard_only else f"{FIXED}; SET escape_string_warning = off"
        self.admin.execute(f"{self.fixed}; SET TimeZone = UTC; SET client_min_messages = error")
        self.clients: list[psycopg.Connection | None] = [None] * count
        self.variant: dict[str, str] = {}
        self.stale: set[int] = set()  # clients whose settings are another check's
        self.only_admin = False
        self.admin_is_clean = True
        self.last_call = ""
        self.jobs: list[str] = []  # that are in the ledger
        self.warnings: list[str] = []

    def close(self) -> None:
        for connection in [self.admin, *self.clients]:
            if connection:
                connection.close()

    def use_variant(self, variant: dict[str, str]) -> None:
        self.variant = variant
        self.forget_settings()

    def forget_settings(self) -> None:
        """Every session gets new ones before its next call."""
        self.stale = set(range(len(self.clients)))

    def owner(self) -> psycopg.Connection:
        """The session that makes the tables and asks the oracle, always with the same settings."""
        if not self.admin_is_clean:
            self.admin.execute(f"RESET ALL; {self.fixed}; SET TimeZone = UTC; SET client_min_messages = error")
            self.admin_is_clean = True
        return self.admin

    def pick(self, r: Random, hostile: bool = True, array_nulls: bool = True, read_only: bool = True) -> psycopg.Connection:
        """
        Any session; now and then a new one, or with other settings.  Unless allowed, its
        search_path is not hostile, its array_nulls not off, or its transactions not read-only.
        """
        if self.only_admin:
            self.admin_is_clean = False
            self.admin.execute(self.random_settings(r, hostile, array_nulls, read_only=False))
            return self.admin
        i = r.randrange(len(self.clients))
        # every draw is made every time, so that a seed gives the same calls wherever it starts
        new, other = r.random() < 0.01, r.random() < 0.25
        client = self.clients[i]
        if client and new:
            client.close()
        if client is None or new:
            client = self.clients[i] = self.connect()
            self.stale.add(i)
        if i in self.stale or other or not hostile or not array_nulls:
            client.execute(self.random_settings(r, hostile, array_nulls))
        self.stale.discard(i)
        if not read_only:
            client.execute("SET default_transaction_read_only = off")
        return client

    def connect(self) -> psycopg.Connection:
        connection = psycopg.connect(autocommit=True)
        connection.add_notice_handler(lambda d: self.warnings.append(f"{d.severity}: {d.message_primary}"))
        return connection

    def random_settings(self, r: Random, hostile: bool, array_nulls: bool, read_only: bool = True) -> str:
        paths = ["''", "public", "pg_catalog", '"$user", public', "information_schema"]
        if hostile:
            paths.append(f"{self.hostile}, pg_catalog")
        lines = ["RESET ALL", self.fixed, f"SET search_path = {r.choice(paths)}"]
        for name, values in SETTINGS.items():
            if name == "array_nulls" and not array_nulls or "transaction" in name and not read_only:
                continue
            if name == "standard_conforming_strings" and self.standard_only:
                continue
            if r.random() < 0.5:
                lines.append(f"SET {name} = '{r.choice(values)}'")
        lines += [f"SET {name} = {value}" for name, value in self.variant.items()]
        return "; ".join(lines)

    def fetch(self, connection: psycopg.Connection, statement: str, params: dict) -> list[tuple]:
        self.last_call = psycopg.ClientCursor(connection).mogrify(statement, params)
        self.warnings.clear()
        rows = connection.execute(statement, params).fetchall()
        unexpected = [warning for warning in self.warnings if not re.search(EXPECTED_WARNINGS, warning)]
        if unexpected:
            raise Mismatch(f"an unexpected message: {unexpected[0]}")
        return rows

    def recover(self) -> None:
        """After an error: sessions that are gone are replaced."""
        for i, client in enumerate(self.clients):
            if client and (client.closed or client.broken):
                self.clients[i] = None


def existing_variants(connection: psycopg.Connection) -> list[dict[str, str]]:
    """One dict of settings for each time that a table is walked."""
    connection.execute("LOAD 'pg_chunked'")
    variants: list[dict[str, str]] = [{}]
    for name, values in VARIANTS.items():
        if connection.execute("SELECT 1 FROM pg_settings WHERE name = %s", [name]).fetchone():
            variants = [{**variant, name: value} for variant in variants for value in values]
    return variants
