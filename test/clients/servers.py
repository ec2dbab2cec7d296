"""For clients whose connections break: servers of a program's own, which it may restart and promote, and walks that go on
after whatever happens to their connections."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

try:
    import psycopg
except ImportError:
    print("psycopg 3 is not installed")
    sys.exit(77)

CLIENTS = Path(__file__).resolve().parent
sys.path.insert(0, str(CLIENTS / "psycopg"))
sys.dont_write_bytecode = True
import recipes

ROWS = 5000
EVERYTHING = list(range(1, ROWS + 1))
os.environ.setdefault("NODE_PATH", f"{os.environ.get('CHUNKED_SANDBOX', '')}/node/node_modules:/usr/share/nodejs")


def check(what, got, expected):
    if got != expected:
        print(f"FAILED: {what}: {str(got)[:200]}, not {str(expected)[:200]}")
        sys.exit(1)
    print(f"ok: {what}", flush=True)


def wait_until(what, condition):
    deadline = time.monotonic() + 30
    while not condition():
        if time.monotonic() > deadline:
            check(what, "not within 30 s", "in time")
        time.sleep(0.01)


class Server:
    """A server with the table of the recipes or, with a primary, a hot standby of it, which waits for no query."""

    def __init__(self, directory, primary=None):
        self.directory, self.log = directory, directory / "log"
        directory.mkdir(exist_ok=True)
        if primary:
            subprocess.run(["pg_basebackup", "-D", directory / "data", "-h", primary.directory, "-p", "5432", "-U", "postgres", "-R", "-c", "fast",
                            "--no-sync"], check=True)
        else:
            subprocess.run(["initdb", "-D", directory / "data", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"],
                           check=True, stdout=subprocess.DEVNULL)
        self.control("start", "-o", f"-k {directory} -p 5432 -c listen_addresses= -c fsync=off -c max_standby_streaming_delay=0")
        try:
            if not primary:
                with self.connect() as connection:
                    connection.execute("CREATE EXTENSION pg_chunked")
                subprocess.run(["psql", "-X", "-q", "-h", directory, "-p", "5432", "-U", "postgres", "-d", "postgres", "-v", "ON_ERROR_STOP=1",
                                "-v", f"rows={ROWS}", "-f", CLIENTS / "schema.sql"], check=True)
        except BaseException:
            self.stop()
            raise

    def control(self, *words):
        subprocess.run(["pg_ctl", "-D", self.directory / "data", "-l", self.log, "-s", "-w", *words], check=True)

    def stop(self):
        if (self.directory / "data" / "postmaster.pid").exists():
            self.control("stop", "-m", "immediate")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def connect(self, port=5432, **options):
        return connect([self], port, **options)


def connect(servers, port=5432, **options):
    return psycopg.connect(host=",".join(str(server.directory) for server in servers), port=port, user="postgres", dbname="postgres",
                           autocommit=True, **options)


def lead_to(server, port=5432):
    """Where connections without parameters go, as those of recipes.export(), and of programs."""
    os.environ.update(PGHOST=str(server.directory), PGPORT=str(port), PGUSER="postgres", PGDATABASE="postgres")


def at_half(action):
    return lambda number: action() if number == ROWS // 2 else None


def walk_on(connect, after_row=lambda number: None):
    """A walk that goes on after whatever happens to its connection; its ids, and how often it went on."""
    ids, after, interruptions = [], "{}", 0
    while interruptions < 100:
        try:
            with connect() as connection:
                for row in recipes.walk(connection, after):
                    ids.append(row[0])
                    after = json.dumps({"id": row[0]})
                    after_row(len(ids))
                return ids, interruptions
        except psycopg.OperationalError:
            interruptions += 1
            time.sleep(0.05)
    return ids, interruptions


def node_walk(way, servers, action, options=""):
    """The same by walk.js, or its other way; the ids, and what interrupted it. Without node-pg, nothing."""
    lead_to(servers[0])
    with subprocess.Popen(["node", CLIENTS / "node-pg" / "walk.js", way, *(str(server.directory) for server in servers)], encoding="utf-8",
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PGOPTIONS": options}) as process:
        watchdog = threading.Timer(60, process.kill)
        watchdog.start()
        try:
            if process.stdout.readline() != "half\n":
                check("status of walk.js", process.wait(), 77)
                print("node-pg is not installed")
                return None
            action()
            process.stdin.write("\n")
            process.stdin.flush()
            done = json.loads(process.stdout.readline() or "{}")
            return done.get("ids"), done.get("errors")
        finally:
            watchdog.cancel()
