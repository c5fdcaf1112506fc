"""SIGTERM, which clusters and ``timeout`` send: the process ends soon, and what it did is in a checkpoint."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from boundprobe.errors import Terminated


class _State:
    """Flags of the process: told to end, looked at by somebody, with a checkpoint to keep."""

    requested = False
    deferred = 0
    checkpoint = False


def note_checkpoint() -> None:
    """Say that a checkpoint is on disk from which the same command would go on."""
    _State.checkpoint = True


def has_checkpoint() -> bool:
    """Return whether the command that runs, or ran last, has a checkpoint."""
    return _State.checkpoint


@contextmanager
def terminable() -> Iterator[None]:
    """Turn the first SIGTERM into ``Terminated`` within; later ones do not disturb what cleans up.

    Python handles signals in its main thread, so elsewhere nothing is changed.
    """
    _State.checkpoint = False
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _State.requested = False
    before = signal.signal(signal.SIGTERM, _handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
        _State.requested = False


@contextmanager
def deferred() -> Iterator[Callable[[], bool]]:
    """Hold ``Terminated`` back within; gives a function that says whether the process was told to end.

    Whoever uses it looks often, and raises ``Terminated`` after a checkpoint; it is raised at the end in any case.
    """
    _State.deferred += 1
    try:
        yield lambda: _State.requested
    finally:
        _State.deferred -= 1
    if _State.requested:
        raise Terminated


def _handle(number: int, frame: FrameType | None) -> None:
    first, _State.requested = not _State.requested, True
    if first and not _State.deferred:
        raise Terminated
