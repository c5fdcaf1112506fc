"""Many independent jobs at once: what a job is, what becomes of it, and what can run it."""

from __future__ import annotations

import os
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from boundprobe.errors import UNEXPECTED, RunInUseError, describe_error
from boundprobe.text import one_line

#: Told by a job: units of work done, and what is being done.
Report = Callable[[float, str], None]
#: A job can be pickled and is called with a ``Report``.  What it returns is ignored: results are in run directories,
#: so that a job which is run again returns at once if it was finished, and goes on from its checkpoint if not.
Job = Callable[[Report], object]
#: Called in the driver with (job index, units of work done, what is being done).
OnNews = Callable[[int, float, str], None]


@dataclass(frozen=True)
class Outcome:
    """Outcome of a job.

    Attributes
    ----------
    error : str or None
        One line that says what went wrong; None if the job ended well.
    traceback : str
        Where it went wrong, as Python prints it; empty if it did not, or if the process died.
    busy : bool
        Another process works on the same run.  Executors try such a job again and never return this.
    exit_code : int
        What ``boundprobe`` would have ended with: 0 for a job that ended well.
    """

    error: str | None = None
    traceback: str = ""
    busy: bool = False
    exit_code: int = 0


@dataclass(frozen=True)
class AbstractExecutor(ABC):
    """Runs jobs somewhere, and says what became of each; its fields are its options."""

    def in_folder(self, folder: Path) -> AbstractExecutor:
        """The executor with a place in this folder for its own files, if it has any and was given none."""
        return self

    def check_usable(self) -> None:  # noqa: B027 - most executors need nothing
        """Raise ``MissingDependencyError`` if what the executor needs is not here; nothing is made."""

    @abstractmethod
    def run(self, jobs: Sequence[Job], on_news: OnNews) -> list[Outcome]:
        """Run every job to its end; return their outcomes in the order of the jobs.

        A job that fails does not stop the others.  One that raises ``RunInUseError`` is tried again until it does not.

        Parameters
        ----------
        jobs : sequence of callables
            Started in this order; put the longest first.
        on_news : callable
            Called here, in the thread of the caller, with (job index, units done, what is being done).
        """


def attempt(job: Job, report: Report) -> Outcome:
    """Call a job in the process that is to do it; return what became of it, whatever it raises.

    >>> def fail(report):
    ...     raise ArithmeticError("no luck")
    >>> attempt(fail, print).error
    'ArithmeticError: no luck'
    """
    try:
        job(report)
    except Exception as error:  # the other jobs go on
        said, exit_code = describe_error(error)
        line = one_line(f"{type(error).__name__}: {error if exit_code == UNEXPECTED else said}", 2000)
        return Outcome(line, traceback.format_exc(), isinstance(error, RunInUseError), exit_code)
    return Outcome()


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
