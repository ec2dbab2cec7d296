"""
Clients that read the same table in different ways at the same time, each in a
process of its own, while this one watches them from outside.
"""
from __future__ import annotations

import ctypes
import importlib
import multiprocessing
import sys
import time
from dataclasses import dataclass, field

import show

HEADER = f"{'':<46} {'time':>8} {'first row':>10} {'memory':>9}"


class State(ctypes.Structure):
    """What a client tells while it runs, in memory that both processes have."""
    _fields_ = [("ready", ctypes.c_bool), ("rows", ctypes.c_int64), ("ids", ctypes.c_int64),
                ("first_row", ctypes.c_double), ("seconds", ctypes.c_double), ("stopped", ctypes.c_bool)]


@dataclass
class Runner:
    label: str
    process: multiprocessing.Process
    state: State
    memory: int = 0  # kB, the most seen
    course: list[tuple[float, int]] = field(default_factory=list)  # seconds and rows

    def would_take(self, rows: int) -> float:
        """How many seconds for so many rows, if each page costs the same and something for each row before it."""
        seconds, part = self.state.seconds, rows / self.state.rows
        half = next((at for at, done in self.course if done >= self.state.rows / 2), seconds / 2)
        return max(part * seconds, (4 * half - seconds) * part + 2 * (seconds - 2 * half) * part ** 2)


def client(library: str, way: str, patience: float, go, state: State) -> None:
    """Runs in the client's process, for so many seconds at most."""
    module = importlib.import_module(library)
    module.connect()
    state.ready = True
    go.wait()
    start = time.perf_counter()
    rows = ids = 0
    for event in getattr(module, way)():
        if not rows:
            state.first_row = time.perf_counter() - start
        rows += 1
        ids += event.id
        if rows % 100 == 0:
            state.rows = rows
            state.stopped = time.perf_counter() - start > patience
            if state.stopped:
                break
    state.rows, state.ids = rows, ids
    state.seconds = time.perf_counter() - start


def race(library: str, ways: dict[str, float], rows: int) -> list[Runner]:
    """Reads the table of so many rows in each of these ways, for so many seconds at most, and shows it."""
    context = multiprocessing.get_context("spawn")
    go = context.Event()
    labels = importlib.import_module(library).LABELS
    runners = []
    for way, patience in ways.items():
        state = context.RawValue(State)
        process = context.Process(target=client, args=(library, way, patience, go, state), daemon=True)
        process.start()
        runners.append(Runner(labels[way], process, state))
    while not all(runner.state.ready for runner in runners):
        check_alive(runners)
        time.sleep(0.01)
    go.set()
    moving = show.Moving()
    while any(not runner.state.seconds for runner in runners):
        check_alive(runners)
        for runner in runners:
            sample(runner, moving.seconds())
        moving.draw([HEADER] + [line(runner, rows, moving.seconds()) for runner in runners],
                    "; ".join(brief(runner, rows) for runner in runners))
        time.sleep(0.1)
    for runner in runners:
        runner.process.join()
        check_rows(runner, rows)
    moving.finish([HEADER] + [line(runner, rows, runner.state.seconds) for runner in runners])
    return runners


def sample(runner: Runner, seconds: float) -> None:
    """Memory is what the process has of its own, without what it shares with others."""
    if runner.state.seconds:
        return
    with open(f"/proc/{runner.process.pid}/status") as status:
        memory = [int(line.split()[1]) for line in status if line.startswith("RssAnon:")]
    runner.memory = max([runner.memory, *memory])
    runner.course.append((seconds, runner.state.rows))


def check_alive(runners: list[Runner]) -> None:
    for runner in runners:
        if runner.process.exitcode:
            sys.exit(f"{runner.label} failed")


def check_rows(runner: Runner, rows: int) -> None:
    """The ids are 1, 2, 3 and so on: count and sum tell whether each came once."""
    state = runner.state
    expected = state.rows if state.stopped else rows
    if (state.rows, state.ids) != (expected, expected * (expected + 1) // 2):
        sys.exit(f"{runner.label} gave {state.rows:,} rows: not each of {expected:,} once")


def line(runner: Runner, rows: int, seconds: float) -> str:
    state = runner.state
    first_row = show.duration(state.first_row) if state.first_row else "..."
    return (f"{runner.label:<20} {show.bar(state.rows, rows)} {state.seconds or seconds:>6.1f} s {first_row:>10}"
            f" {show.size(runner.memory):>9}")


def brief(runner: Runner, rows: int) -> str:
    return f"{runner.label} {runner.state.rows * 100 // rows}%, {show.size(runner.memory)}"
