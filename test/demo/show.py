"""What the demo prints: lines that move on a terminal, and figures."""
from __future__ import annotations

import os
import shutil
import sys
import textwrap
import time

LIVE = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
COLUMNS = shutil.get_terminal_size((80, 24)).columns - 1  # the last one makes some terminals wrap


class Moving:
    """Lines redrawn in place on a terminal; elsewhere one line a second, and nothing but text."""

    def __init__(self) -> None:
        self.drawn = 0
        self.start = self.last = time.monotonic()

    def seconds(self) -> float:
        return time.monotonic() - self.start

    def draw(self, lines: list[str], brief: str = "") -> None:
        """brief, if any, stands for the lines where they cannot move."""
        if LIVE:
            self.rewrite(lines)
        elif brief and time.monotonic() - self.last >= 1:
            self.last += 1
            say("  " + brief)

    def finish(self, lines: list[str]) -> None:
        """What stays."""
        if LIVE:
            self.rewrite(lines)
        else:
            say(*lines)

    def rewrite(self, lines: list[str]) -> None:
        up = f"\x1b[{self.drawn}A" if self.drawn else ""
        sys.stdout.write(up + "".join(f"{line[:COLUMNS]}\x1b[K\n" for line in lines) + "\x1b[J")
        sys.stdout.flush()
        self.drawn = len(lines)


def say(*lines: str) -> None:
    print(*lines, sep="\n", flush=True)


def paragraph(text: str) -> None:
    say(textwrap.fill(text, min(COLUMNS, 79)))


def bar(done: float, total: float, width: int = 20) -> str:
    full = int(done * width / max(total, 1))
    return "█" * full + "░" * (width - full) + f" {int(done * 100 / max(total, 1)):3d}%"


def duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 0.9995 else f"{seconds:.1f} s"


def size(kilobytes: float) -> str:
    return f"{kilobytes / 1024:,.0f} MB"
