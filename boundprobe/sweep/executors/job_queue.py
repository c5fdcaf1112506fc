"""The next job: those not yet tried, then those whose worker died, then those that wait for another process."""

from __future__ import annotations

import time
from collections import Counter, deque

from boundprobe.sweep.executors.base import Outcome

#: A job whose worker died so often is given up: it would take down worker after worker.
MOST_DEATHS = 3


def lost(error: str) -> Outcome:
    """The outcome of a job whose process has left none, with the exit code of any other failure."""
    return Outcome(error, exit_code=2)


class JobQueue:
    """Jobs by index, and what became of them.

    Parameters
    ----------
    n_jobs : int
    retry_seconds : float
        Time until a job is tried again whose run is in use by another process.
    """

    def __init__(self, n_jobs: int, *, retry_seconds: float) -> None:
        self._retry_seconds = retry_seconds
        self._outcomes: list[Outcome | None] = [None] * n_jobs
        self._ready = deque(range(n_jobs))
        self._waiting: deque[tuple[float, int]] = deque()  # (when to try again, index), the earliest first
        self._deaths: Counter[int] = Counter()

    @property
    def unfinished(self) -> bool:
        """Return whether any job has no outcome yet."""
        return None in self._outcomes

    def take(self) -> int | None:
        """The next job to try; None if there is none just now."""
        if self._ready:
            return self._ready.popleft()
        if self._waiting and self._waiting[0][0] <= time.monotonic():
            return self._waiting.popleft()[1]
        return None

    def take_up_to(self, n_jobs: int) -> list[int]:
        """The next jobs to try, at most so many."""
        taken: list[int] = []
        while len(taken) < n_jobs and (index := self.take()) is not None:
            taken.append(index)
        return taken

    def settle(self, index: int, outcome: Outcome) -> None:
        """Note what became of a job that was taken; one whose run is in use elsewhere is tried again later."""
        if outcome.busy:
            self._waiting.append((time.monotonic() + self._retry_seconds, index))
        else:
            self._outcomes[index] = outcome

    def put_back(self, index: int) -> None:
        """Try a job again, through no fault of its own."""
        self._ready.append(index)

    def bury(self, index: int, how: str) -> None:
        """Note that the process of a job died; put the job back, or give it up after ``MOST_DEATHS``."""
        self._deaths[index] += 1
        if self._deaths[index] < MOST_DEATHS:
            self._ready.append(index)
        else:
            self._outcomes[index] = lost(f"its process died {MOST_DEATHS} times, the last time {how}")

    def outcomes(self) -> list[Outcome]:
        """Outcomes in the order of the jobs; call it when none is unfinished."""
        return [outcome for outcome in self._outcomes if outcome is not None]
