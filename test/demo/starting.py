"""Shows that something is going on before there is a server: each line of standard input names what, until the next."""
import pathlib
import select
import sys

import show

SOURCES = len(list(pathlib.Path("src").rglob("*.c")))


def progress() -> str:
    """How much is compiled, until all is."""
    built = len(list(pathlib.Path("src").rglob("*.o")))
    return show.bar(built, SOURCES) + "  " if built < SOURCES else ""


def main() -> None:
    what = sys.stdin.readline().strip()
    while what:
        moving = show.Moving()
        while not select.select([sys.stdin], [], [], 0.1)[0]:
            moving.draw([f"{what:<26}{progress()}{moving.seconds():.1f} s"])
        moving.finish([f"{what}: {show.duration(moving.seconds())}"])
        what = sys.stdin.readline().strip()


if __name__ == "__main__":
    main()
