"""Checks of values that people give: one line that says what was wrong, what is allowed, what to do."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from numbers import Integral, Real


def check_integer(
    name: str, value: object, at_least: int, at_most: int | None = None, *, why: str = "; change it"
) -> int:
    """Return ``value`` as an int, or raise ``ValueError`` unless it is a whole number within the limits.

    A bool is no whole number.  ``why`` ends the message: the reason for the limit and what to do.
    """
    allowed = f"at least {at_least}" if at_most is None else f"{at_least} to {at_most}"
    if isinstance(value, Integral) and not isinstance(value, bool):
        if at_least <= int(value) and (at_most is None or int(value) <= at_most):
            return int(value)
        found = str(value)
    else:
        found = f"{value!r} ({type(value).__name__})"
        allowed, why = f"an integer, {allowed}", "; give a whole number"
    raise ValueError(f"{name} is {found}; allowed: {allowed}{why}")


def check_number(
    name: str,
    value: object,
    *,
    above: float = -math.inf,
    below: float = math.inf,
    least: float = -math.inf,
    why: str = "; change it",
) -> float:
    """Return ``value`` as a float, or raise ``ValueError`` unless it is a finite number within the limits.

    ``above`` and ``below`` are not allowed themselves, ``least`` is.
    """
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if math.isfinite(number) and above < number < below and number >= least:
        return number
    limits = [f"from {least:g}"] if least > -math.inf else []
    limits += [f"above {above:g}"] if above > -math.inf else []
    limits += [f"below {below:g}"] if below < math.inf else []
    raise ValueError(f"{name} is {value!r}; allowed: {' and '.join(limits) or 'finite numbers'}{why}")


def check_word(
    kind: str, word: object, allowed: Iterable[str], advice: str = "choose one of them", *, of: str = ""
) -> str:
    """Return ``word``, or raise ``ValueError`` that lists what is allowed and names the nearest.

    ``of`` says of what, as in " of ar-decoding".

    >>> check_word("task", "mkra", ["mkar", "needle"])
    Traceback (most recent call last):
    ...
    ValueError: task 'mkra' is not known; did you mean 'mkar'? allowed: mkar, needle; choose one of them
    """
    names = list(allowed)
    if isinstance(word, str) and word in names:
        return word
    near = difflib.get_close_matches(str(word), names, n=1)
    meant = f" did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{kind} {word!r}{of} is not known;{meant} allowed: {', '.join(names) or 'none'}; {advice}")
