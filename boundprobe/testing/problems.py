"""Problems that a check of a contract finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

C = TypeVar("C")


def problems_of(check: Callable[[C], Iterator[str]], case: C) -> list[str]:
    """Problems that a check finds, under its name; an error of what is checked is one of them.

    >>> problems_of(lambda case: iter([f"{case} is odd"]), 3)
    ['<lambda>: 3 is odd']
    """
    found, name = [], getattr(check, "__name__", "check")
    try:
        for problem in check(case):
            found.append(f"{name}: {problem}")
    except Exception as error:  # what others wrote may raise anything
        found.append(f"{name}: it raises {type(error).__name__}: {' '.join(str(error).split())[:200]}")
    return found
