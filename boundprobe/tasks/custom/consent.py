"""Consent to execute a user's own task: given by naming it, never by a run directory that names it.

A run's configuration names the file of its task, and both come from whoever made the run.  So a task is executed only
if its reference was named in this process without the hash that configurations of runs have, if the command line
named it (``--task``), or if everything is trusted (``--trust``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass
class Consent:
    """References that the user has named, or all."""

    everything: bool = False
    references: set[str] = field(default_factory=set)


#: In Python: whatever was named since the process started.
_CONSENT: ContextVar[Consent] = ContextVar("consent", default=Consent())  # noqa: B039 - shared on purpose


@contextmanager
def consenting(*references: str, everything: bool = False) -> Iterator[None]:
    """Let these references be executed within, and no others that are not named within.

    Parameters
    ----------
    references : str
        ``module:name`` or ``file.py:name``.
    everything : bool
        Whatever a run names.
    """
    token = _CONSENT.set(Consent(everything, set(references)))
    try:
        yield
    finally:
        _CONSENT.reset(token)


def name_task(reference: str) -> None:
    """Note that the user has named a task."""
    _CONSENT.get().references.add(reference)


def check_consent(reference: str) -> None:
    """Raise ``ValueError`` unless the user has named a task, or trusts whatever runs name."""
    consent = _CONSENT.get()
    if not consent.everything and reference not in consent.references:
        raise ValueError(
            f"task {reference!r} must be named by you to be executed; got it from a run or its configuration alone, "
            f"and executed nothing; read that file, then give --task {reference}, or --trust"
        )
