"""Output of verbs: stdout carries data, one table or one JSON document; stderr carries messages.

Whatever goes to people goes through ``say`` and ``note``: names of tasks, files and runs may hold control characters.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from boundprobe.text import printable

if TYPE_CHECKING:
    from boundprobe.probes.run import ModelLadder


def say(text: object = "") -> None:
    """Print lines on stdout, control characters as escapes."""
    print(printable(str(text), keep="\n"))


def print_json(document: Mapping[str, Any]) -> int:
    """Print one JSON document; return exit code 0."""
    print(json.dumps(document, indent=2, allow_nan=False))
    return 0


def print_config(config: Mapping[str, Any]) -> int:
    """Print a resolved configuration as TOML that ``--config`` takes; return exit code 0."""
    import tomli_w

    from boundprobe.runs.store import without_none

    say(tomli_w.dumps(without_none(config)).removesuffix("\n"))
    return 0


def exact(value: float, spec: str) -> str:
    """A number in a format, or in full where the format would make it the 0 or 1 that it is not.

    >>> exact(0.25, ".6f"), exact(0.9999999, ".6f"), exact(1e-9, ".3f"), exact(1.0, "g")
    ('0.250000', '0.9999999', '1e-09', '1')
    """
    text = format(value, spec)
    return text if float(text) == value or float(text) not in (0.0, 1.0) else repr(value)


def print_pairs(rows: Sequence[tuple[str, str, str]]) -> None:
    """Print label, value and source in aligned columns."""
    cells = [tuple(map(printable, row)) for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in (0, 1)]
    for label, value, source in cells:
        print(f"{label:<{widths[0]}}  {value:>{widths[1]}}   {source}")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; columns after the first two are right-aligned, as numbers are."""
    shown = [list(map(printable, row)) for row in (columns, *rows)]
    widths = [max(len(text) for text in column) for column in zip(*shown, strict=True)]
    for row in (shown[0], ["-" * width for width in widths], *shown[1:]):
        cells = [
            f"{cell:<{w}}" if i < 2 else f"{cell:>{w}}" for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


def note(text: str, *, quiet: bool) -> None:
    """Say something on stderr, unless told not to."""
    if not quiet:
        print(printable(text, keep="\n"), file=sys.stderr, flush=True)


def note_earlier(models: Sequence[ModelLadder], *, quiet: bool) -> None:
    """Say on stderr which ladders were read back, and when they were measured."""
    earlier = [model for model in models if model.measured_earlier is not None]
    if len(earlier) == 1:
        note(f"measured earlier, {earlier[0].measured_earlier}: {earlier[0].run_dir}", quiet=quiet)
    elif earlier:
        last = max(str(model.measured_earlier) for model in earlier)
        note(f"{len(earlier)} of {len(models)} models were measured earlier, the last {last}", quiet=quiet)


def find_device(name: str) -> str:
    """The torch device for auto, cpu or cuda.

    Raises
    ------
    MissingDependencyError
        If cuda is asked for and there is none.
    """
    import torch

    from boundprobe.errors import MissingDependencyError

    if name == "cuda" and not torch.cuda.is_available():
        raise MissingDependencyError(
            "`--device` must be auto or cpu here, because torch sees no CUDA device; got cuda. Install a CUDA build of "
            "torch, or take --device cpu."
        )
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
