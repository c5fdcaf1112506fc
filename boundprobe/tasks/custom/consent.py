"""Consent to execute a user's own task or mixer: given by naming it, never by a run directory that names it.

A run's configuration names the file of its task, and both come from whoever made the run.  So a task is executed only
if its reference was named in this process without the hash that configurations of runs have, if the command line
named it (``--task``), by whatever path leads to the same source, or if everything is trusted (``--trust``).  The same
holds for a mixer, which ``--model`` names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from boundprobe.tasks.custom.source import source_of


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
    """Note that the user has named a task or a mixer."""
    _CONSENT.get().references.add(reference)


def consented(reference: str, sha256: str, kind: str = "task") -> str:
    """The reference by which a run's task is executed: its own, or another path of yours to the same source and name.

    Parameters
    ----------
    reference : str
        As the run has it.
    sha256 : str
        The hash of its source that the run has.
    kind : str
        "task" or "mixer", for the message.

    Raises
    ------
    ValueError
        Unless the user has named the task, by this or another path, or trusts whatever runs name.
    """
    consent = _CONSENT.get()
    if reference in consent.references:
        return reference
    hashes = {named: _hash_of(named) for named in sorted(consent.references)}
    same_name = [named for named in hashes if named.rpartition(":")[2] == reference.rpartition(":")[2]]
    for named in same_name:
        if hashes[named] == sha256:
            return named
    if consent.everything:
        return reference
    yours = [f"{named} (source {(hashes[named] or 'not found')[:12]})" for named in same_name or list(hashes)]
    got = (
        f"you named {', '.join(yours[:3])}, the run has {reference} (source {sha256[:12]})"
        if yours
        else "got it from a run or its configuration alone"
    )
    give = f"--task {reference}, or --trust" if kind == "task" else "--trust"
    raise ValueError(
        f"{kind} {reference!r} must be named by you to be executed; {got}, and executed nothing; read that file, then "
        f"give {give}"
    )


def is_consented(reference: str, sha256: str) -> bool:
    """Return whether a run's task may be executed: the arguments are those of ``consented``."""
    try:
        consented(reference, sha256)
    except ValueError:
        return False
    return True


def _hash_of(reference: str) -> str | None:
    """The sha256 of the source that a reference names; None if there is none."""
    try:
        return hashlib.sha256(source_of(reference)).hexdigest()
    except (ValueError, OSError):
        return None
