"""Text for people: no control characters, whatever names, files and run directories bring along."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

#: Unicode categories that a terminal may act upon, or that change how their neighbours look: control and format
#: characters (escape sequences, bidirectional overrides), surrogates, private use, separators of lines.
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def printable(text: str, *, keep: str = "") -> str:
    r"""``text`` with every control character written as an escape that TOML, JSON and Python read alike.

    Parameters
    ----------
    text : str
    keep : str
        Control characters that stay, such as a newline between lines of the program's own.

    Examples
    --------
    >>> printable("a\x1b[31mb\nc")
    'a\\u001b[31mb\\u000ac'
    >>> printable("a\nb", keep="\n") == "a\nb"
    True
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character if character in keep or unicodedata.category(character) not in _UNSAFE else _escaped(character)
        for character in text
    )


def _escaped(character: str) -> str:
    return f"\\u{ord(character):04x}" if ord(character) < 0x10000 else f"\\U{ord(character):08x}"


def one_line(text: object, most: int = 500) -> str:
    """``text`` on one line, cut after ``most`` characters, without control characters."""
    line = printable(" ".join(str(text).split()))
    return line if len(line) <= most else f"{line[: most - 4]} ..."


class _OneLine(logging.Formatter):
    """One line for each record, but for those that are marked as several (tracebacks)."""

    def format(self, record: logging.LogRecord) -> str:
        said = record.getMessage()
        return printable(said, keep="\n") if getattr(record, "lines", False) else f"boundprobe: {one_line(said, 2000)}"


@contextmanager
def logging_lines(*, verbose: bool = False) -> Iterator[None]:
    """Write log records of the package as lines on stderr within: warnings always, notes where it is verbose."""
    handler, log = logging.StreamHandler(), logging.getLogger("boundprobe")
    handler.setFormatter(_OneLine())
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO if verbose else logging.WARNING)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)
