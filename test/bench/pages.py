"""For a picture: how long page N takes by page(), which knows where the page before ended, by paginate() and by OFFSET."""
from __future__ import annotations

from bench import Bench, Result
from events import SCHEMA
from seek import PER_PAGE
from server_clock import race

TABLE = f"{SCHEMA}.sequential"


def numbers(last: int) -> list[int]:
    steps = [digit * 10 ** power for power in range(12) for digit in (1, 3)]
    return [n for n in steps if n < last] + [last]


def measure(bench: Bench) -> list[Result]:
    lines = []
    with bench.connect() as connection:
        for n in numbers(bench.rows // PER_PAGE):
            before = (n - 1) * PER_PAGE
            times = race(connection, {
                "page()": f"SELECT count(p) FROM chunked.page(NULL::{TABLE}, {PER_PAGE}, after => '{{\"id\": {before}}}') AS p",
                "paginate()": f"SELECT count(p) FROM chunked.paginate(NULL::{TABLE}, {n}, {PER_PAGE}) AS p",
                "paginate(exact => false)": f"SELECT count(p) FROM chunked.paginate(NULL::{TABLE}, {n}, {PER_PAGE}, exact => false) AS p",
                "OFFSET": f"SELECT count(p) FROM (SELECT * FROM {TABLE} ORDER BY id OFFSET {before} LIMIT {PER_PAGE}) AS p",
            }, bench.rounds)
            lines.append([n, *(times.seconds(name) for name in times.rounds)])
    bench.picture("pages", ["page", *times.rounds], lines)
    return []
