"""One seed, many independent generators: a role and indices name each RNG stream."""

from __future__ import annotations

import numpy as np

from boundprobe.checks import MOST_SEED, check_integer, check_word

#: What random numbers are drawn for.  The order is part of every result: append, never insert.
ROLES = (
    "initialisation", "training-data", "calibration", "evaluation", "sample", "bottleneck", "probe-training", "split",
    "order",
)  # fmt: skip


def seed_sequence(seed: int, role: str, *indices: int) -> np.random.SeedSequence:
    """The child of ``SeedSequence(seed)`` for a role and indices such as (phase, member, step).

    Children with different keys are independent streams of a 128-bit pool (assumption A2 of the certified
    probes); the same key is always the same stream, so a resumed run draws what an undisturbed one draws.

    Raises
    ------
    ValueError
        If ``seed`` is negative or ``role`` is not in ``ROLES``.

    Examples
    --------
    >>> rng = np.random.default_rng(seed_sequence(0, "evaluation", 1))
    >>> int(rng.integers(1000)) == int(np.random.default_rng(seed_sequence(0, "evaluation", 1)).integers(1000))
    True
    """
    check_integer("seed", seed, 0, MOST_SEED)
    check_word("role", role, ROLES)
    return np.random.SeedSequence(seed, spawn_key=(ROLES.index(role), *indices))


def generator(seed: int, role: str, *indices: int) -> np.random.Generator:
    """A numpy Generator on ``seed_sequence(seed, role, *indices)``."""
    return np.random.default_rng(seed_sequence(seed, role, *indices))
