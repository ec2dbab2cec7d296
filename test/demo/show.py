"""What the demo prints: a progress bar, numbers, the final table."""
from __future__ import annotations

import shutil
import sys
import time

from clients import Job, Report


def duration(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"


def rate(rows: float) -> str:
    return f"{rows / 1e6:.1f}M" if rows >= 999_500 else f"{rows / 1e3:.0f}k" if rows >= 10_000 else f"{rows / 1e3:.1f}k"


def size(kilobytes: int) -> str:
    return f"{kilobytes / 1024:.0f} MB" if kilobytes >= 10 * 1024 else f"{kilobytes / 1024:.1f} MB"


def growth(memory: tuple[int, int]) -> str:
    first, peak = memory
    return f"{size(peak)} ({(peak - first) / 1024:+.1f} MB since the first rows)"


class Bar:
    """Redrawn in place on a terminal; elsewhere a line for each tenth."""

    def __init__(self, rows: int):
        self.rows = rows
        self.start = time.perf_counter()
        self.live = sys.stdout.isatty()
        self.tenths = 0
        if self.live:
            self.draw(0)

    def update(self, done: int) -> None:
        tenths = done * 10 // max(1, self.rows)
        if self.live:
            self.draw(done)
        elif tenths > self.tenths:
            self.tenths = tenths
            print("  " + self.text(done), flush=True)

    def text(self, done: int) -> str:
        seconds = time.perf_counter() - self.start
        return f"{done * 100 // max(1, self.rows):3d}%  {done:,}/{self.rows:,} rows  {rate(done / max(seconds, 1e-6))} rows/s"

    def draw(self, done: int) -> None:
        text = self.text(done)
        width = max(10, min(40, shutil.get_terminal_size().columns - len(text) - 6))
        full = done * width // max(1, self.rows)
        sys.stdout.write("\r  " + "█" * full + "░" * (width - full) + " " + text + "\x1b[K")
        sys.stdout.flush()

    def finish(self) -> None:
        """What stays is the report, not the bar."""
        if self.live:
            sys.stdout.write("\r\x1b[K")
            sys.stdout.flush()


def table(reports: list[tuple[Job, Report]]) -> None:
    lines = [("", "rows", "first row", "all rows", "rows/s: first tenth", "last tenth", "client peak", "server peak")]
    for job, report in reports:
        tenths = [rate(report.tenths[i]) if job.way != "whole" else "" for i in (0, -1)]
        lines.append((job.title.split(",")[0], f"{report.rows:,}", duration(report.first_row), duration(report.seconds), *tenths,
                      size(report.client_memory[1]), size(report.server_memory[1])))
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    lines.insert(1, tuple("-" * width for width in widths))
    for line in lines:
        print("  ".join(cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(line, widths))).rstrip())
