"""News that are passed on now and then, where each piece costs something."""

from __future__ import annotations

import time

from boundprobe.sweep.executors.base import Report


class SeldomReport:
    """A ``Report`` that passes on the first news, then the latest at most every so many seconds.

    Parameters
    ----------
    report : callable
        Takes what is passed on.
    seconds : float
        Least time between two calls of it, but for ``flush``.
    """

    def __init__(self, report: Report, seconds: float) -> None:
        self._report, self._seconds = report, seconds
        self._next_time = 0.0
        self._held: tuple[float, str] | None = None

    def __call__(self, done: float, what: str) -> None:
        """Pass on the news, or hold them until it is time."""
        self._held = (done, what)
        if time.monotonic() >= self._next_time:
            self.flush()

    def flush(self) -> None:
        """Pass on what is held."""
        if self._held is not None:
            self._report(*self._held)
            self._held = None
            self._next_time = time.monotonic() + self._seconds
