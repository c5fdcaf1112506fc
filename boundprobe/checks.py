"""Checks of values that people give: one line that says what must hold, what was got and, if it helps, what to do."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from numbers import Integral, Real
from typing import NoReturn, TypeVar

T = TypeVar("T")

#: Tokens of a sequence, and token ids: positions and ids are 32-bit integers wherever they are kept.
MOST_TOKENS = 2**30
#: Answers of a sequence, each of which a task's case lists.
MOST_ANSWERS = 2**20
#: Values that an answer can take: a decoder has a score for each, of each answer of each sequence.
MOST_VALUES = 2**20
#: Points of a curve that is drawn or printed.
MOST_CURVE_POINTS = 100_000
#: Seeds are 64-bit integers with a sign wherever random numbers are drawn, and in TOML.
MOST_SEED = 2**63 - 1
#: Confidences end here, so that one minus the smallest share of what is left is not 1 in floats.
MOST_CONFIDENCE = 1 - 1e-9


def refuse(name: str, must: str, got: str, why: str = "") -> NoReturn:
    """Raise ``ValueError("`name` must be <must>; got <got>.")``: the one spelling of every refused value.

    ``why`` is a reason, which follows what is allowed, and advice after a semicolon, which ends the message; either
    may be missing, as in " (two markers and the needle); raise seq_len".

    >>> refuse("seq_len", "an integer of at least 3", "2", " (two markers and the needle); raise seq_len")
    Traceback (most recent call last):
    ...
    ValueError: `seq_len` must be an integer of at least 3 (two markers and the needle); got 2. Raise seq_len.
    """
    reason, _, advice = why.partition("; ")
    raise ValueError(f"{quoted(name)} must be {must}{reason}; got {got}.{_sentence(advice)}")


def quoted(name: str) -> str:
    """A name between backticks; words in a row, such as "the number of states", are no name and stay as they are."""
    return name if re.search(r"\w \w", name) else f"`{name}`"


def meant(word: object, names: Iterable[str]) -> str:
    """A sentence that asks for the name that is spelled nearest, after a space; empty if none is near."""
    near = difflib.get_close_matches(str(word), list(names), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def _sentence(advice: str) -> str:
    """Advice as a sentence after a space.  A name that starts it keeps its spelling."""
    first = advice.partition(" ")[0]
    start = advice[:1].upper() if first.isalpha() else advice[:1]
    return f" {start}{advice[1:]}." if advice else ""


def check_integer(name: str, value: object, at_least: int, at_most: int | None = None, *, why: str = "") -> int:
    """Return ``value`` as an int, or raise ``ValueError`` unless it is an integer within the limits.

    A bool is no integer.  ``why`` as in ``refuse``.
    """
    is_integer = isinstance(value, Integral) and not isinstance(value, bool)
    if (
        isinstance(value, Integral)
        and is_integer
        and at_least <= int(value)
        and (at_most is None or int(value) <= at_most)
    ):
        return int(value)
    limits = f"of at least {at_least}" if at_most is None else f"from {at_least} to {at_most}"
    if at_most is not None and at_most < at_least:
        limits = f"of at least {at_least} and at most {at_most}, which none is"
    refuse(name, f"an integer {limits}", f"{value}" if is_integer else f"{value!r} ({type(value).__name__})", why)


def check_number(
    name: str,
    value: object,
    *,
    above: float = -math.inf,
    below: float = math.inf,
    least: float = -math.inf,
    most: float = math.inf,
    why: str = "",
) -> float:
    """Return ``value`` as a float, or raise ``ValueError`` unless it is a finite number within the limits.

    ``above`` and ``below`` are not allowed themselves, ``least`` and ``most`` are.  ``why`` as in ``refuse``.
    """
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if math.isfinite(number) and above < number < below and least <= number <= most:
        return number
    limits = [f"at least {least:g}"] if least > -math.inf else []
    limits += [f"above {above:g}"] if above > -math.inf else []
    limits += [f"below {below:g}"] if below < math.inf else []
    limits += [f"at most {most:.12g}"] if most < math.inf else []
    refuse(name, " and ".join(limits) or "a finite number", f"{value!r}", why)


def check_kind(name: str, value: object, kind: type[T]) -> T:
    """Return ``value`` if it is of a class, such as the configuration that a function takes.

    >>> check_kind("config", 3, str)
    Traceback (most recent call last):
    ...
    ValueError: `config` must be a str; got int.
    """
    if isinstance(value, kind):
        return value
    got = f"the class {value.__name__} itself" if isinstance(value, type) else type(value).__name__
    raise ValueError(f"`{name}` must be {'an' if kind.__name__[0] in 'AEIOU' else 'a'} {kind.__name__}; got {got}.")


def check_word(kind: str, word: object, allowed: Iterable[str], advice: str = "", *, of: str = "") -> str:
    """Return ``word``, or raise ``ValueError`` that lists what is allowed and names the nearest.

    ``of`` says of what, as in " of ar-decoding".

    >>> check_word("task", "mkra", ["mkar", "needle"])
    Traceback (most recent call last):
    ...
    ValueError: `task` must be one of mkar, needle; got 'mkra'. Did you mean 'mkar'?
    """
    names = list(allowed)
    if isinstance(word, str) and word in names:
        return word
    must = f"be one of {', '.join(names)}" if names else "not be given, as there is none"
    raise ValueError(f"{quoted(kind)}{of} must {must}; got {word!r}.{meant(word, names)}{_sentence(advice)}")
