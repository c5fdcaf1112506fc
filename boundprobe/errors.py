"""Errors that the command line turns into one line and an exit code (2 is ``ValueError``, usage)."""

from __future__ import annotations


class MissingDependencyError(RuntimeError):
    """An optional dependency or a device that was asked for is not there.  Exit code 3."""

    exit_code = 3


class RunDirectoryError(RuntimeError):
    """A run directory holds another configuration, is damaged, or is in use.  Exit code 4."""

    exit_code = 4


class RunInUseError(RunDirectoryError):
    """Another process works on a run just now: waiting may help.  Exit code 4."""


class UnfinishedError(RuntimeError):
    """Some of many jobs failed; the others are finished and kept.  Its exit code is that of the failures."""

    def __init__(self, message: str, *, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
