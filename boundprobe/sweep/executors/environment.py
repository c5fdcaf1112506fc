"""Environment variables that a process must have from its birth."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


def thread_variables(n_threads: int) -> dict[str, str]:
    """Variables that let numerical libraries use so many threads.

    Tiny operations collapse when threads outnumber free cores.  The libraries read these once, when they are imported.

    >>> thread_variables(1)["OMP_NUM_THREADS"]
    '1'
    """
    return dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(n_threads))


@contextmanager
def environment(changes: Mapping[str, str | None]) -> Iterator[None]:
    """Change variables for the processes that are started within; None takes a variable away."""
    before = {name: os.environ.get(name) for name in changes}
    _set(changes)
    try:
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
