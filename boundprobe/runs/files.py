"""Files that are written whole or not at all."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` make a temporary file beside ``path`` and rename it: readers see all of it or nothing.

    The temporary file keeps the suffix of ``path``, because some writers choose the format by it.
    """
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, document: Any) -> None:
    """Write one JSON document, whole or not at all.  NaN is refused: no other reader would take it."""
    write_text(path, json.dumps(document, indent=2, allow_nan=False) + "\n")


def set_aside(path: Path) -> Path:
    """Rename a file that cannot be used, so that another can be written in its place; return where it is now."""
    for i in itertools.count(1):
        aside = path.with_name(f"{path.name}.damaged-{i}")
        if not aside.exists():
            path.rename(aside)
            return aside
    raise AssertionError("unreachable: the numbers do not end")
