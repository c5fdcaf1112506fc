"""One process at a time in a run directory."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout

from boundprobe.errors import RunInUseError
from boundprobe.runs.files import check_regular

log = logging.getLogger(__name__)

#: Errors of file systems that have no locks, such as some network and FUSE mounts.
WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the lock of a run directory; it is released when its process ends, however it ends.

    On a file system without locks work goes on without one, and a warning is logged once.

    Raises
    ------
    RunInUseError
        If another process holds it.
    RunDirectoryError
        If ``.lock`` is no regular file: taking a lock empties what a link points to.
    """
    check_regular(directory / ".lock")
    lock = FileLock(directory / ".lock", blocking=False, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise RunInUseError(f"{directory} is in use by another process; wait for it, or choose another --out") from None
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
        _warn_once(str(directory.parent))
    try:
        yield
    finally:
        if lock.is_locked:
            lock.release()


@cache
def _warn_once(root: str) -> None:
    log.warning("%s has no file locks: take care that no two commands work on one run there", root)
