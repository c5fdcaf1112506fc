"""Score margins: strengths of a look-up's criteria so that the most important decides first, and a check of float32.

Glossary: each criterion gives a position a score; ``gap`` is the least difference between its best score and any
other, ``spread`` the greatest difference between any two; ``strength`` multiplies its scores, in nats.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any

from boundprobe.checks import check_integer
from boundprobe.constructions.program import (
    Agree,
    AtAngle,
    AtDistance,
    Avoid,
    Earlier,
    Latest,
    LookUp,
    Program,
    Registers,
)

#: Nats between the position that a look-up chooses and all others of its window together, before rounding.
MARGIN_NATS = 16.0
#: Of these, what rounding in float32 may take.
ROUNDING_NATS = 4.0
#: What all others together weigh at most: e^-12.
OTHERS = math.exp(ROUNDING_NATS - MARGIN_NATS)

Measure = Callable[[Any, Registers, int], tuple[float, float, int]]

#: Gap, spread and channels of each criterion in a window.
MEASURES: dict[type, Measure] = {
    Avoid: lambda criterion, registers, window: (1.0, 1.0, 1),
    Earlier: lambda criterion, registers, window: (1.0, 1.0, 1),
    Latest: lambda criterion, registers, window: (1.0, window - 1.0, 1),
    Agree: lambda criterion, registers, window: (
        2.0,
        2.0 * registers.widths[criterion.key],
        registers.widths[criterion.key],
    ),
    AtDistance: lambda criterion, registers, window: (
        criterion.gap,
        2.0 * criterion.codes.shape[1],
        criterion.codes.shape[1],
    ),
    AtAngle: lambda criterion, registers, window: (
        criterion.gap,
        2.0 * len(criterion.pairs),
        2 * len(criterion.pairs),
    ),
}


def strengths(look_up: LookUp, registers: Registers, window: int) -> list[float]:
    """Nats per unit of score of each criterion: each outweighs all later ones together, by a margin.

    ``strength_i gap_i = margin + sum_{j > i} strength_j spread_j`` with ``margin = 16 + ln(window)``: if a position is
    the first choice, every other one has at most e^-margin of its weight, all together at most e^-16.

    Parameters
    ----------
    look_up : LookUp
    registers : Registers
    window : int, in tokens

    Returns
    -------
    list of float, in nats

    Examples
    --------
    >>> look_up = LookUp((Agree("a", "b"), Latest()), "c", "c", 2.0)
    >>> registers = Registers({"a": 3, "b": 3, "c": 3})
    >>> [round(nats, 3) for nats in strengths(look_up, registers, window=11)]
    [101.188, 18.398]
    """
    margin = MARGIN_NATS + math.log(window)
    found: list[float] = []
    below = 0.0
    for criterion in reversed(look_up.criteria):
        gap, spread, _ = MEASURES[type(criterion)](criterion, registers, window)
        found.append((margin + below) / gap)
        below += found[-1] * spread
    return found[::-1]


def rounding_nats(look_up: LookUp, registers: Registers, window: int, fetched: Collection[str] = ()) -> float:
    """Most by which float32 changes the difference of two scores of a look-up, in nats.

    A score is a sum of C products, each at most strength times spread; forming and adding them one after the other
    errs by less than ``(C + 2) 2^-24`` times their sum, on either of the two positions.  Signs that an earlier look-up
    has fetched, into the registers ``fetched``, are off by up to twice the weight that it left to others.
    """
    total, n_channels = 0.0, 0
    inexact = 0.0
    for criterion, strength in zip(look_up.criteria, strengths(look_up, registers, window), strict=True):
        _, spread, width = MEASURES[type(criterion)](criterion, registers, window)
        total += strength * max(spread, 1.0)
        n_channels += width
        if isinstance(criterion, Agree) and criterion.key in fetched:
            inexact += strength * width * 2.0 * OTHERS
    return 2.0 * ((n_channels + 2) * 2.0**-24 * total + inexact)


def check_fit(program: Program) -> None:
    """Raise ``ValueError`` unless a program's layers, registers and look-ups fit into the sizes of its spec."""
    spec, registers = program.spec, program.registers
    mixers = tuple((layer.mixer,) for layer in program.layers)
    look_ups = [layer for layer in program.layers if isinstance(layer, LookUp)]
    angles = any(isinstance(criterion, AtAngle) for look_up in look_ups for criterion in look_up.criteria)
    position = "rope" if angles else "learned"  # rotations would turn every other criterion's codes
    if (spec.layers, spec.norm, spec.position) != (mixers, "none", position):
        raise ValueError(
            f"the program needs the architecture {'-'.join(mixer for (mixer,) in mixers)!r} with norm 'none' and "
            f"position {position!r}; got {spec.architecture!r} with norm {spec.norm!r} and position {spec.position!r}."
        )
    check_integer("d_model", spec.d_model, registers.width, why=" (the registers side by side)")
    for look_up in look_ups:
        n_channels = sum(MEASURES[type(c)](c, registers, spec.window)[2] for c in look_up.criteria)
        needed = max(n_channels, registers.widths[look_up.value])
        why = " (what a look-up compares, or fetches)"
        check_integer("d_model / n_heads", spec.d_model // spec.n_heads, needed, why=why)
    if not fits_float32(program):
        raise ValueError(
            "sizes must be such that float32 provably tells the scores in a window apart; got a window of "
            f"{spec.window} tokens where it cannot. Take a shorter window, shorter sequences or fewer tokens."
        )


def fits_float32(program: Program) -> bool:
    """Check that rounding to float32 provably takes no more than was allowed for, in every look-up."""
    fetched: set[str] = set()
    for look_up in (layer for layer in program.layers if isinstance(layer, LookUp)):
        if not all(criterion.float32 for criterion in look_up.criteria if isinstance(criterion, AtAngle)):
            return False
        if rounding_nats(look_up, program.registers, program.spec.window, fetched) > ROUNDING_NATS:
            return False
        fetched.add(look_up.into)
    return True
