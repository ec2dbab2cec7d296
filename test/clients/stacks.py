#!/usr/bin/python3
"""The programs of docs/clients.md, a stack each: builds, checks and measures them.

stacks.py packages [--quick]             the packages of Debian that they need
stacks.py check [--quick] [STACK]...     goes through every recipe
stacks.py bench [--rows N] [--rounds N] [STACK]...
                                         walks a table in each stack's three ways and prints a table of what they cost

PGHOST and so on lead to the server; each stack gets a database of its own.

A program says "ready" and its name when it is connected, and begins when it reads a line. It says "first" at the first
row and "done" with their number after the last, and ends when it reads another line. So only the walk is measured, in
the client and in its backend, and nothing of a language's start.
"""
from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCHEMA = (HERE / "schema.sql").read_text(encoding="utf-8")
CHECKED_ROWS = 5000
WAYS = ("ours", "stream", "all")
PYTHON = "/usr/bin/python3"
MISSING = 77


@dataclass(frozen=True)
class Stack:
    stream: str                     # its own best way to stream
    whole: str                      # how it reads everything
    command: tuple[str, ...]        # {out}: the directory of what was built
    build: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    quick: bool = False             # whether check.sh goes through it


STACKS = {
    "django": Stack("`iterator()`", "`all()`", (PYTHON, "recipes.py"), packages=("python3-django", "python3-psycopg2"), quick=True),
    "psql": Stack("`FETCH_COUNT`", "`SELECT`", ("bash", "recipes.sh"), quick=True),
    "libpq": Stack("`FETCH 1000`", "`PQexec()`", ("{out}/recipes",), packages=("gcc", "libc6-dev", "libpq-dev"), quick=True,
                   build=("sh", "-c", "gcc -O2 -Wall -Werror -I$(pg_config --includedir) recipes.c -o {out}/recipes -lpq")),
    "psycopg": Stack("named cursor", "`fetchall()`", (PYTHON, "recipes.py"), packages=("python3-psycopg",), quick=True),
    "psycopg2": Stack("named cursor", "`fetchall()`", (PYTHON, "recipes.py"), packages=("python3-psycopg2",), quick=True),
    "node-pg": Stack("`QueryStream`", "`query()`", ("node", "recipes.js"),
                     packages=("nodejs", "node-pg"), quick=True),
    "sqlalchemy": Stack("`yield_per()`", "`all()`", (PYTHON, "recipes.py"), packages=("python3-sqlalchemy", "python3-psycopg2")),
    "jdbc": Stack("`setFetchSize()`", "`executeQuery()`", ("java", "-cp", "/usr/share/java/postgresql.jar:{out}", "Recipes"),
                  build=("javac", "-cp", "/usr/share/java/postgresql.jar", "-d", "{out}", "Recipes.java"),
                  packages=("default-jdk-headless", "libpostgresql-jdbc-java")),
    "pdo": Stack("`FETCH 1000`", "`fetchAll()`", ("php", "recipes.php"), packages=("php-cli", "php-pgsql")),
    "rails": Stack("`find_each`", "`to_a`", ("ruby", "recipes.rb"), packages=("ruby-activerecord", "ruby-pg")),
    "go": Stack("`Query()`", "a slice", ("{out}/recipes",), build=("go", "build", "-o", "{out}/recipes", "recipes.go"),
                packages=("golang-go", "golang-github-jackc-pgx-v4-dev", "golang-golang-x-sync-dev")),
    "laravel": Stack("`lazyById()`", "`get()`", ("php", "recipes.php"),
                     packages=("php-cli", "php-pgsql", "php-illuminate-database", "php-illuminate-pagination",
                               "php-symfony-process")),
}


def database_of(name: str) -> str:
    return "clients_" + name.replace("-", "_")


def psql(database: str, sql: str, *options: str) -> None:
    subprocess.run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database, *options],
                   input=f"SET client_min_messages = warning;\n{sql}", encoding="utf-8", check=True)


def make_database(name: str, rows: int) -> dict[str, str]:
    """The environment of a program that works on it."""
    database = database_of(name)
    # Notices of every chunk, since there are few. Go's driver does not know PGOPTIONS.
    psql("postgres", f"DROP DATABASE IF EXISTS {database};\nCREATE DATABASE {database};\n"
                     f"ALTER DATABASE {database} SET pg_chunked.progress_interval = 1;")
    psql(database, f"CREATE EXTENSION pg_chunked;\n{SCHEMA}", "-v", f"rows={rows}")
    # npm's, where stacks.sh needed it; else Debian's
    modules = f"{os.environ.get('CHUNKED_SANDBOX', '')}/node/node_modules:/usr/share/nodejs"
    # JDBC knows neither these variables nor Unix sockets: run.sh's server listens at a port, too.
    jdbc = f"jdbc:postgresql://127.0.0.1:{os.environ['PGPORT']}/{database}?user={os.environ['PGUSER']}&options=-c%20timezone=UTC"
    return {"NODE_PATH": modules, "CLIENTS_JDBC_URL": jdbc, **os.environ, "PGDATABASE": database, "PGOPTIONS": "-c timezone=UTC"}


def build(name: str, out: str) -> list[str]:
    """The command of a stack's program, as seen from its directory."""
    stack = STACKS[name]
    if stack.build:
        subprocess.run([word.format(out=out) for word in stack.build], cwd=HERE / name, check=True,
                       env={**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode"})
    return [word.format(out=out) for word in stack.command]


def check(names: list[str]) -> int:
    passed = failed = skipped = 0
    for name in names:
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as out:
            try:
                environment = make_database(name, CHECKED_ROWS)
                done = subprocess.run([*build(name, out), "check"], cwd=HERE / name, env=environment, timeout=120,
                                      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8")
                status, printed = done.returncode, done.stdout
            except (OSError, subprocess.SubprocessError) as error:
                status, printed = 1, str(error)
        passed, failed, skipped = passed + (status == 0), failed + (status not in (0, MISSING)), skipped + (status == MISSING)
        print(f"{name}: {'ok' if status == 0 else 'skipped' if status == MISSING else 'FAILED'}"
              f" in {time.monotonic() - start:.1f} s", flush=True)
        if status:
            print(printed, flush=True)
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or not passed else 0


def cpu_s(pid: int) -> float:
    """By the scheduler's clock, since that of times() ticks every 10 ms."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def peak_mb(pid: int) -> float:
    return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024


@dataclass
class Cost:
    program: str
    first_ms: float
    wall_s: float
    client_s: float
    backend_s: float
    memory_mb: float
    rows: int

    @property
    def cpu_s(self) -> float:
        return self.client_s + self.backend_s


def measure(command: list[str], name: str, way: str, environment: dict[str, str]) -> Cost:
    import psycopg

    process = subprocess.Popen([*command, "bench", way], cwd=HERE / name, env=environment, encoding="utf-8",
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def expect(word: str) -> str:
        line = process.stdout.readline()
        if not line.startswith(word):
            process.kill()
            raise RuntimeError(f"{name} {way} says {line!r}, not {word}")
        return line.removeprefix(word).strip()

    def go_on() -> None:
        process.stdin.write("\n")
        process.stdin.flush()

    program = expect("ready")
    with psycopg.connect(dbname="postgres", autocommit=True) as connection:
        backends = [pid for pid, in connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'", [environment["PGDATABASE"]])]
    if len(backends) != 1:
        raise RuntimeError(f"{name} {way} has {len(backends)} connections")
    client, backend = cpu_s(process.pid), cpu_s(backends[0])
    start = time.monotonic()
    go_on()
    expect("first")
    first = time.monotonic()
    rows = int(expect("done"))
    end = time.monotonic()
    cost = Cost(program, (first - start) * 1e3, end - start, cpu_s(process.pid) - client, cpu_s(backends[0]) - backend,
                peak_mb(process.pid), rows)
    go_on()
    process.communicate()
    return cost


def best(costs: list[Cost]) -> Cost:
    """Each figure's least, since whatever else the machine does only adds to it."""
    return Cost(costs[0].program, *(min(getattr(cost, field) for cost in costs)
                                    for field in ("first_ms", "wall_s", "client_s", "backend_s", "memory_mb", "rows")))


def bench(names: list[str], rows: int, rounds: int) -> int:
    header = ["Stack", "Way", "First row", "Rows a second", "CPU client + backend", "Peak memory", "CPU against streaming"]
    lines = [header, ["---"] * len(header)]
    failed = 0
    for name in names:
        stack = STACKS[name]
        with tempfile.TemporaryDirectory() as out:
            try:
                environment = make_database(name, rows)
                command = build(name, out)
                costs = {way: [] for way in WAYS}
                for _ in range(rounds):
                    for way in WAYS:
                        costs[way].append(measure(command, name, way, environment))
            except (OSError, subprocess.SubprocessError, RuntimeError) as error:
                print(f"{name}: FAILED: {error}", flush=True)
                failed += 1
                continue
            finally:
                psql("postgres", f"DROP DATABASE IF EXISTS {database_of(name)} WITH (FORCE)")
        found = {way: best(costs[way]) for way in WAYS}
        for way, label in zip(WAYS, ("**chunked**", stack.stream, stack.whole)):
            cost = found[way]
            if cost.rows != rows:
                print(f"{name}: FAILED: {way} has {cost.rows} rows of {rows}")
                failed += 1
            lines.append([cost.program if way == "ours" else "", label, f"{cost.first_ms:,.0f} ms", f"{rows / cost.wall_s:,.0f}",
                          f"{cost.client_s:.2f} + {cost.backend_s:.2f} s", f"{cost.memory_mb:,.0f} MB",
                          f"{found['stream'].cpu_s / cost.cpu_s:.2f}×"])
            print(f"{name} {way}: " + ", ".join(lines[-1][2:]), flush=True)
    print(f"\n{rows:,} rows, the best of {rounds}\n")
    widths = [max(map(len, column)) for column in zip(*lines)]
    for line in lines:
        print("| " + " | ".join(cell.ljust(width, "-" if cell == "---" else " ") for cell, width in zip(line, widths)) + " |")
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["packages", "check", "bench"])
    parser.add_argument("stacks", nargs="*", metavar="STACK")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_intermixed_args()
    names = options.stacks or [name for name, stack in STACKS.items() if stack.quick or not options.quick]
    if unknown := set(names) - set(STACKS):
        parser.error(f"no stack is called {', '.join(unknown)}")
    if options.command == "packages":
        print(*sorted({package for name in names for package in STACKS[name].packages}))
        return 0
    return check(names) if options.command == "check" else bench(names, options.rows, options.rounds)


sys.exit(main())
