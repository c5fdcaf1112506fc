"""Errors that the command line turns into one line and an exit code."""

from __future__ import annotations

import errno
import re

from boundprobe.text import one_line

#: Exit codes: usage or configuration, an unexpected error, terminated after a checkpoint.
USAGE, UNEXPECTED, TERMINATED = 2, 5, 143


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


class Terminated(SystemExit):
    """The process was told to end (SIGTERM), and what it did is in checkpoints.  Exit code 143."""

    def __init__(self) -> None:
        super().__init__(TERMINATED)


#: What to do about errors of the machine, which are nobody's damaged file.
_ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EACCES: "change its permissions, or name another place",
    errno.EPERM: "change its permissions, or name another place",
    errno.EROFS: "name a place that can be written",
    errno.EFBIG: "raise the limit for the size of a file (ulimit -f), or name another place",
    errno.ENAMETOOLONG: "name a shorter one",
    errno.ENOTDIR: "name a folder",
    errno.EISDIR: "name a file",
    errno.ENOENT: "name a place that is there",
    errno.EIO: "check the disk",
    errno.EMFILE: "close some files, or raise the limit (ulimit -n)",
    errno.ENFILE: "close some files, or raise the limit",
    errno.ENOMEM: "free some memory",
}
#: Messages of torch's errors for sizes that no memory holds, or no integer.
_TOO_LARGE = re.compile(r"can.t allocate|out of memory|not enough memory|overflowed|would overflow|Overflow when", re.I)


def describe_error(error: BaseException) -> tuple[str, int]:
    """One line about an error, and the exit code that it stands for.

    >>> describe_error(OSError(errno.ENOSPC, "No space left on device", "runs/x"))
    ('No space left on device: runs/x; free some space, and give the same command again', 2)
    >>> describe_error(ZeroDivisionError("division by zero"))[1]
    5
    """
    if isinstance(error, MissingDependencyError | RunDirectoryError | UnfinishedError):
        return one_line(error, 2000), error.exit_code
    if isinstance(error, OSError) and error.strerror is not None:  # not "[Errno 27] ..."
        place = "" if error.filename is None else f": {error.filename}"
        advice = _ADVICE.get(error.errno or 0, "see what is there")
        return one_line(f"{error.strerror}{place}; {advice}, and give the same command again", 2000), USAGE
    if isinstance(error, ValueError | OSError):
        return one_line(error, 2000), USAGE
    of_torch = isinstance(error, RuntimeError | TypeError) and _TOO_LARGE.search(str(error))
    if isinstance(error, MemoryError | OverflowError) or of_torch:
        said = one_line(error, 200)
        return f"sizes must fit into memory; got {said or 'too much'}. Make them smaller.", USAGE
    if isinstance(error, RecursionError):
        return "what is given must have a few levels; got one that is nested too deeply. Make it flatter.", USAGE
    said = one_line(f"{type(error).__name__}: {error}")
    return f"unexpected error, a bug: {said}; -v shows where it happened; please report it", UNEXPECTED
