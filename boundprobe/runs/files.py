"""Files that are read only if they are regular and of bounded size, and written whole or not at all.

A run directory may come from a stranger: a link in it may lead anywhere, a pipe keeps its reader waiting, and a device
does something when it is opened.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from boundprobe.errors import RunDirectoryError
from boundprobe.runs.given import possible_path
from boundprobe.text import one_line

T = TypeVar("T")

MIB = 2**20
#: Most bytes of a document, of a configuration and of a file of tensors that are read.
MOST_DOCUMENT, MOST_CONFIG, MOST_TENSORS = 512 * MIB, 64 * MIB, 64 * 1024 * MIB

_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
#: A link at the end of the path is not followed, and opening a pipe does not wait for its other end.
_CAREFUL = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def irregular(path: Path) -> str | None:
    """Kind of what is at a path, such as "a symbolic link"; None for a regular file, and if nothing is there."""
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    return None if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "no regular file")


def check_regular(path: Path) -> None:
    """Raise ``RunDirectoryError`` if something is at a path of a run that is no regular file."""
    if (kind := irregular(path)) is not None:
        raise RunDirectoryError(f"{path} must be a regular file; got {kind}: it was not opened; move it away")


def check_output(name: str, path: Path) -> Path:
    """Return a path that a user gave for a file to be written, if a file can be written there.

    Raises
    ------
    ValueError
        If the path is no file name, its directory is not there, or something else than a regular file is at the path.
    """
    if not possible_path(name, path).name:
        raise ValueError(f"`{name}` must be a file in an existing directory; got {str(path)!r}; name the file")
    if not path.parent.is_dir():
        raise ValueError(
            f"`{name}` must be a file in an existing directory; got {path}, and {path.parent} is none; make it"
        )
    if (kind := irregular(path)) is not None:
        raise ValueError(f"`{name}` must be a regular file or a new name; got {path}, which is {kind}; choose another")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ValueError(f"`{name}` must be in a directory that can be written; got {path.parent}; choose another")
    return path


def check_output_directory(name: str, path: Path) -> Path:
    """Return a directory that a user gave for output, if it is there and can be written, or can be made.

    Raises
    ------
    ValueError
        If it is something else, or lies in what cannot be written; nothing is made.
    """
    above = possible_path(name, path).absolute()
    while not os.path.lexists(above):
        above = above.parent
    if not above.is_dir():
        raise ValueError(f"`{name}` must be a directory, or a new name in one; got {path}, and {above} is none")
    if not os.access(above, os.W_OK | os.X_OK):
        raise ValueError(f"`{name}` must be in a directory that can be written; got {path}, and {above} cannot")
    return path


def make_output_directory(name: str, path: Path) -> Path:
    """Make a directory that a user gave for output, and those above it; return it.

    Raises
    ------
    ValueError
        If it cannot be made: some file systems, such as /proc, say so only when it is tried.
    """
    check_output_directory(name, path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"`{name}` must be a directory that can be made; got {path} ({error.strerror}). Name another."
        ) from None
    return path


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of the machine in writing a file name the file: that of a full disk names none of itself."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def read_regular(path: Path, most_bytes: int = MOST_DOCUMENT) -> bytes:
    """The bytes of a regular file.

    Parameters
    ----------
    path : Path
        Its last part is not followed if it is a link.
    most_bytes : int
        A larger file is refused before it is read.

    Raises
    ------
    FileNotFoundError
        If there is none.
    RunDirectoryError
        If it is no regular file, or too large.
    OSError
        If it cannot be read: no permission, an error of the disk.
    """
    check_regular(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | _CAREFUL)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # it became a link or a socket since it was looked at
            raise RunDirectoryError(f"{path} must be a regular file; got another kind; move it away") from None
        raise
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise RunDirectoryError(f"{path} must be a regular file; got another kind; move it away")
        if status.st_size > most_bytes:
            raise RunDirectoryError(
                f"{path} must have at most {most_bytes} bytes; got {status.st_size}; move {path.parent} away"
            )
        return file.read(status.st_size)


def append_text(path: Path, text: str) -> None:
    """Add text at the end of a regular file, made if it is not there.

    Raises
    ------
    RunDirectoryError
        If it is no regular file.
    """
    check_regular(path)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _CAREFUL, 0o666)
    with naming(path), os.fdopen(descriptor, "a", encoding="utf-8") as file:
        file.write(text)


def parse_or_refuse(path: Path, parse: Callable[[], T]) -> T:
    """Return what ``parse`` makes of a file's content, or raise a ``RunDirectoryError`` that names the damaged file.

    What the machine lacks is no damage: an ``OSError`` and a ``MemoryError`` pass through.
    """
    try:
        return parse()
    except (OSError, MemoryError):
        raise
    except RunDirectoryError as error:
        raise RunDirectoryError(f"{path}: {error}") from error
    except Exception as error:  # readers of damaged files raise whatever they meet
        what = f"{type(error).__name__}: {one_line(error, 300)}"
        raise RunDirectoryError(
            f"{path} must be as boundprobe wrote it; got a damaged file ({what}). "
            f"Move {path.parent} away and run the command again."
        ) from error


def parse_json(data: bytes) -> Any:
    """One JSON document; NaN and infinity, which are no JSON, are refused.

    Raises
    ------
    ValueError
        If it is none.
    """

    def refuse(constant: str) -> None:
        raise ValueError(f"numbers must be finite; got {constant}")

    try:
        return json.loads(data.decode("utf-8"), parse_constant=refuse)
    except RecursionError:
        raise ValueError("values must be nested less deeply") from None


def make_directory(path: Path) -> Path:
    """Make a directory inside a run, unless it is there; a link is not followed.

    Raises
    ------
    RunDirectoryError
        If something else is there.
    """
    if (kind := irregular(path)) not in (None, "a directory") or path.is_file():
        raise RunDirectoryError(f"{path} must be a directory; got {kind or 'a file'}; move it away")
    path.mkdir(exist_ok=True)
    return path


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path`` and rename it: readers see all of it or nothing.

    The temporary file keeps the suffix of ``path``, because some writers choose the format by it.

    Raises
    ------
    RunDirectoryError
        If something else than a regular file is at ``path``: links and devices are never replaced.
    """
    check_regular(path)
    temporary = _new_file(path)
    try:
        with naming(path):
            write(temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _new_file(path: Path) -> Path:
    """An empty file beside ``path`` that this process has made: nobody's link is written through."""
    for i in itertools.count():
        temporary = path.with_name(f".{os.getpid()}-{i}.{path.name}")
        try:
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
        except FileExistsError:
            continue
        return temporary
    raise AssertionError("unreachable: the numbers do not end")


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write a file, whole or not at all."""
    write_whole(path, lambda temporary: temporary.write_bytes(data))


def json_text(document: Any) -> str:
    """One JSON document as it is written.  NaN is refused: no other reader would take it."""
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def write_json(path: Path, document: Any) -> None:
    """Write one JSON document, whole or not at all."""
    write_text(path, json_text(document))


def set_aside(path: Path) -> Path:
    """Rename a file that cannot be used, so that another can be written in its place; return where it is now."""
    for i in itertools.count(1):
        aside = path.with_name(f"{path.name}.damaged-{i}")
        if not aside.exists():
            path.rename(aside)
            return aside
    raise AssertionError("unreachable: the numbers do not end")
