"""Paths that users name: what they lead to may be a pipe, a device, a link to itself, or nothing that there can be."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from boundprobe.text import one_line

#: Bytes of a configuration or of the source of a task, at most.
MOST_GIVEN = 64 * 2**20
#: Bytes of a name, and of a path, at most: those of every file system that is in use.
MOST_NAME, MOST_PATH = 255, 4095


def read_given(name: str, path: Path, most_bytes: int = MOST_GIVEN) -> bytes:
    """The bytes of a file that a user named, links followed; ``/dev/stdin`` and ``<(command)`` are files here too.

    Parameters
    ----------
    name : str
        What a refusal calls it.
    path : Path
    most_bytes : int

    Raises
    ------
    ValueError
        If it is a named pipe, whose other end may never come, or has no end, as devices have none.
    OSError
        If it cannot be read.
    """
    is_open = path.is_relative_to("/dev/fd") or path.is_relative_to("/proc") or path == Path("/dev/stdin")
    if not is_open and stat.S_ISFIFO(path.stat().st_mode):
        raise ValueError(f"{name} must be a file; got a pipe. Write it to a file first.")
    with path.open("rb") as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise ValueError(f"{name} must be a file of at most {most_bytes} bytes; got one with more. Name another.")
    return data


def real_path(path: Path) -> Path:
    """A path with its links followed.

    Raises
    ------
    ValueError
        If they lead back to themselves.
    """
    try:
        return path.resolve()
    except RuntimeError:  # of pathlib, until Python 3.12
        raise ValueError(f"a path must lead somewhere; got {path}, a link that leads back to itself.") from None


def possible_path(name: str, path: Path) -> Path:
    """Return a path that a user gave for output, if a file can have it.

    Raises
    ------
    ValueError
        If it, or a name in it, is too long.
    """
    if len(os.fsencode(path.absolute())) > MOST_PATH or any(len(os.fsencode(part)) > MOST_NAME for part in path.parts):
        raise ValueError(f"`{name}` must have names of at most {MOST_NAME} bytes; got {one_line(path, 80)}.")
    return path
