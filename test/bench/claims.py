"""How many chunks eight clients, each a worker outside the server, claim and complete in a second, by pgbench."""
from __future__ import annotations

import os
import re
import subprocess
import tempfile
from statistics import median

import psycopg

from bench import Bench, Result
from events import SCHEMA
from jobs import rest

CLIENTS = 8
SECONDS = 5
# Small, so that there are chunks enough.
SIZE = 10
GOAL = 2000

# Nothing may be there to claim while another client carves.
SCRIPT = """\
SELECT number, fence, (state = 'claimed')::int AS claimed FROM chunked.claim_chunk('claims') \\gset
\\if :claimed
SELECT chunked.complete_chunk('claims', :number, :fence);
\\endif
"""


def pgbench(bench: Bench, script: str) -> tuple[int, float]:
    """Transactions, and those a second."""
    names = {"host": "PGHOST", "port": "PGPORT", "dbname": "PGDATABASE"}
    done = subprocess.run(
        ["pgbench", "-n", "-c", str(CLIENTS), "-j", "2", "-T", str(SECONDS), "-f", script],
        env={**os.environ, **{names[name]: str(value) for name, value in bench.conninfo.items()}}, capture_output=True, text=True)
    count = re.search(r"^number of transactions actually processed: (\d+)", done.stdout, re.M)
    rate = re.search(r"^tps = ([\d.]+)", done.stdout, re.M)
    # Its status tells of a client that was aborted.
    if done.returncode != 0 or not count or not rate:
        raise SystemExit(f"pgbench failed:\n{done.stdout}{done.stderr}")
    return int(count[1]), float(rate[1])


def pairs_a_second(bench: Bench, connection: psycopg.Connection, script: str) -> float:
    rest(connection)
    connection.execute(f"SELECT chunked.create_job('{SCHEMA}.numbered', name => 'claims', chunk_size => {SIZE})")
    transactions, rate = pgbench(bench, script)
    # The rows of those completed must add up, or chunks were lost.
    chunks, rows, status, leased = connection.execute(
        "SELECT chunks_done, rows_done, status, (SELECT count(*) FROM chunked.job_chunks WHERE job = p.job AND state = 'leased')"
        " FROM chunked.progress AS p WHERE job = 'claims'").fetchone()
    if status == "done":
        raise SystemExit(f"{SECONDS} s were enough for all {chunks:,} chunks: there must be more")
    if leased or chunks > transactions or rows != chunks * SIZE:
        raise SystemExit(f"{transactions} transactions left {chunks} chunks of {rows} rows done, and {leased} leased")
    print(f"  {chunks:,} chunks, {transactions - chunks} times none to claim", flush=True)
    return rate * chunks / transactions


def measure(bench: Bench) -> list[Result]:
    with bench.connect() as connection, tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(SCRIPT)
        script.flush()
        rate = median(pairs_a_second(bench, connection, script.name) for _ in range(bench.rounds))
    return [Result(f"claim_chunk() and complete_chunk(), {CLIENTS} clients", f"{rate:,.0f}/s", goal=f">= {GOAL:,}/s", ok=rate >= GOAL)]
