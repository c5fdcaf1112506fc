"""Signals that tell a process to end: it ends soon, and what it did is in a checkpoint.

SIGTERM is what ``timeout`` and clusters send; a cluster may send another one before a time limit.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from boundprobe.errors import Terminated


class _State:
    """Flags of the process: signals that told it to end, whether somebody looks at them, a checkpoint to keep."""

    received: list[int] = []  # noqa: RUF012 (one process, one state)
    deferred = 0
    checkpoint = False


def note_checkpoint() -> None:
    """Say that a checkpoint is on disk from which the same command would go on."""
    _State.checkpoint = True


def has_checkpoint() -> bool:
    """Return whether the command that runs, or ran last, has a checkpoint."""
    return _State.checkpoint


@contextmanager
def terminable(*others: int) -> Iterator[Sequence[int]]:
    """Turn the first SIGTERM within into ``Terminated``; later signals do not disturb what cleans up.

    Python handles signals in its main thread, so elsewhere nothing is changed.

    Parameters
    ----------
    *others : int
        Numbers of further signals that mean the same.

    Yields
    ------
    sequence of int
        Numbers of the signals that came, in their order; still there when ``Terminated`` has been caught.

    Examples
    --------
    >>> try:
    ...     with terminable(signal.SIGUSR2) as received:
    ...         signal.raise_signal(signal.SIGUSR2)
    ... except Terminated as error:
    ...     print(error.code, [signal.Signals(number).name for number in received])
    143 ['SIGUSR2']
    """
    _State.checkpoint = False
    if threading.current_thread() is not threading.main_thread():
        yield ()
        return
    received: list[int] = []
    _State.received = received
    before = {number: signal.signal(number, _handle) for number in (signal.SIGTERM, *others)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        _State.received = []


@contextmanager
def deferred() -> Iterator[Callable[[], bool]]:
    """Hold ``Terminated`` back within; gives a function that says whether the process was told to end.

    Whoever uses it looks often, and raises ``Terminated`` after a checkpoint; it is raised at the end in any case.
    """
    _State.deferred += 1
    try:
        yield lambda: bool(_State.received)
    finally:
        _State.deferred -= 1
    if _State.received:
        raise Terminated


def _handle(number: int, frame: FrameType | None) -> None:
    _State.received.append(number)
    if len(_State.received) == 1 and not _State.deferred:
        raise Terminated
