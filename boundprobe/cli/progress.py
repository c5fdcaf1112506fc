"""A progress bar on stderr, with activity, progress and time left; only on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from boundprobe.text import printable


class Bar:
    """Progress of one piece of work, in units of work."""

    def __init__(self, progress: Progress, total: float) -> None:
        self._progress = progress
        self._task = progress.add_task("starting up", total=total)

    def update(self, done: float, what: str) -> None:
        """Show that ``done`` units are done, and what is being done."""
        self._progress.update(self._task, completed=done, description=printable(what))


@contextmanager
def progress_bar(total: float, *, quiet: bool) -> Iterator[Bar]:
    """A bar that is shown on a terminal and silent elsewhere."""
    progress = Progress(
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("elapsed,"),
        TimeRemainingColumn(),
        TextColumn("left: {task.description}", markup=False),
        console=Console(stderr=True),
        disable=quiet or not sys.stderr.isatty(),
    )
    with progress:
        yield Bar(progress, total)
