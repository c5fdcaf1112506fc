"""A directory for one input: where the command stands, what is beside it, and what must not change."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.helpers.own_tasks import TWO_BITS

#: Tasks of a user, some of which fail, each in another place.
TASKS_FILE = (
    """
import sys


class Good:
    def __init__(self, n: int = 2):
        self.n = n
"""
    + TWO_BITS
    + """

class RaisesBuilding(Good):
    def __init__(self):
        raise KeyError("a\\nb\\x1b[2J")


class RaisesAnswering(Good):
    def answer(self, prefix, query):
        raise RuntimeError("no answer")


class RaisesListing(Good):
    def prefixes(self):
        yield (0, 0)
        raise StopIteration


class Exits(Good):
    def queries(self):
        sys.exit(0)


class Interrupts(Good):
    def queries(self):
        raise KeyboardInterrupt


class Unhashable(Good):
    def prefixes(self):
        return [[0, 0], {}]


class Negative(Good):
    def prefixes(self):
        return [(-1, 10**30), (True, 2.5)]


class Empty(Good):
    def prefixes(self):
        return []


class Endless(Good):
    def prefixes(self):
        n = 0
        while True:
            yield (n,)
            n += 1


class Prints(Good):
    def queries(self):
        return "\\x1b[31m\\n"

    def __repr__(self):
        raise ValueError("no repr")


class Nothing:
    pass


number = 5
none = None
good = Good()


def function():
    return Good()
"""
)
OWN_TASKS = tuple(
    f"tasks.py:{name}"
    for name in (
        "Good", "RaisesBuilding", "RaisesAnswering", "RaisesListing", "Exits", "Interrupts", "Unhashable", "Negative",
        "Empty", "Endless", "Prints", "Nothing", "number", "none", "good", "function", "missing", "",
    )
)  # fmt: skip
OWN_TASKS += (
    "broken.py:Task",
    "exits.py:Task",
    "nowhere.py:Task",
    "folder:Task",
    "fifo:Task",
    "binary:Task",
    "math:pi",
)

#: Paths to be read, and paths to be written; both are as the command line has them, from where it stands.
READ = (
    "nowhere", "folder", "fifo", "binary", "empty", "link", "loop", "dangling", "zero", "/dev/null", "/dev/zero",
    "/dev/full",
    "/dev/stdin", "/proc/self/mem", "text.txt/below", "L" * 300, "d/" * 2100 + "f", ".", "", "a\x1b[2Jb", "text.txt",
    "é",
)  # fmt: skip
WRITE = (
    "out", "deep/er/out", "folder", "text.txt", "text.txt/below", "fifo", "link", "loop", "dangling", "zero", "L" * 300,
    "d/" * 2100 + "f", "", ".", "a\x1b[2Jb", "/proc/nowhere", "/proc/self/x", "/dev/full/x", "out.csv",
    "out.parquet", "é\n",
)  # fmt: skip


class Sandbox:
    """``work`` is where the command stands; ``canary`` must never change."""

    def __init__(self, place: Path) -> None:
        self.place, self.work, self.canary = place, place / "work", place / "canary"
        self.mark = place / "executed"

    def make(self) -> None:
        """Make it anew."""
        shutil.rmtree(self.place, ignore_errors=True)
        for directory in (self.work / "folder", self.canary / "below"):
            directory.mkdir(parents=True)
        for name in ("precious", "below/precious"):
            (self.canary / name).write_text("precious")
        work = self.work
        (work / "tasks.py").write_text(TASKS_FILE)
        (work / "broken.py").write_text("def Task(:\n")
        (work / "exits.py").write_text("raise SystemExit(0)\n")
        (work / "text.txt").write_text("text\n")
        (work / "folder" / "kept").write_text("kept")
        (work / "binary").write_bytes(bytes(range(256)) * 4)
        (work / "empty").touch()
        os.mkfifo(work / "fifo")
        for name, aim in {"link": "../canary/precious", "loop": "loop", "dangling": "no", "zero": "/dev/zero"}.items():
            (work / name).symlink_to(aim)

    def state(self) -> dict[str, tuple[object, ...]]:
        """What is there, by path: kind, size, and times of what could be written; directories by name alone."""
        found = {}
        for directory, names, files in os.walk(self.place):
            for name in (*names, *files):
                path = f"{directory}/{name}"
                about = os.lstat(path)
                is_directory = name in names and not os.path.islink(path)
                state = (
                    (about.st_mode,)
                    if is_directory
                    else (about.st_mode, about.st_size, about.st_mtime_ns, about.st_ino)
                )
                found[path.removeprefix(f"{self.place}/")] = state
        return {path: state for path, state in found.items() if "__pycache__" not in path}
