"""Ladders whose numbers are stated, not measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from boundprobe.models import MemoryBits, ModelSpec
from boundprobe.probes import Ladder, ModelLadder, NullControl, PartBits
from boundprobe.probes.certificates import AnswerErrors, CertifiedBound, Proportion, RetainedGroup, Retention
from boundprobe.probes.quantised import RoundedMachine

N_ANSWERS, CONFIDENCE = 4, 0.95


def bound(lower: float, estimate: float | None = None, theorem: str = "T1") -> CertifiedBound:
    """A lower bound of bits."""
    return CertifiedBound(lower, "lower", lower if estimate is None else estimate, 0.99, theorem, "clopper-pearson")


def interval(estimate: float) -> Proportion:
    """An accuracy with bounds that are not alike."""
    return Proportion(estimate, estimate - 0.05, estimate + 0.04)


def machine(entry_bits: int, total_bits: int, accuracy: float = 1.0) -> RoundedMachine:
    """A rounded machine that certifies nothing."""
    return RoundedMachine(entry_bits, total_bits, accuracy, 0.0, bound(0.0, theorem="S1"), bound(0.0, theorem="S3"))


def model_ladder(
    architecture: str = "mamba",
    seed: int = 0,
    *,
    required: tuple[float, float] = (4.0, 5.0),
    low: float = 3.0,
    present: float | None = None,
    states: float | None = 7.0,
    needed: int | None = 24,
    groups: int = N_ANSWERS,
    kinds: tuple[str, ...] = ("recurrent",),
    nominal: int = 512,
    state_hard: float = 0.9,
    window_hard: float = 0.3,
    violations: tuple[str, ...] = (),
) -> ModelLadder:
    """A model's ladder: ``low`` bits used, twice that present unless it is given, ``groups`` of retained answers."""
    error = np.full(N_ANSWERS, 1 - state_hard)
    coarsest = None if needed is None else machine(3, needed, state_hard)
    held = tuple(RetainedGroup(2 * i + 1, bound(3.0 - i / 4, 3.0), 0.0, 9) for i in range(groups))
    ladder = Ladder(
        stream="keys-once",
        lag=0,
        entropy_bits=12.0,
        n_values=8,
        errors=AnswerErrors(error, error - 0.04, error + 0.05, 0.99),
        required=bound(*required, theorem="S3"),
        used=bound(low, low + 1),
        present=bound(2 * low if present is None else present, low + 1),
        parts=tuple(PartBits(i, kind, 64, bound(low, low + 1)) for i, kind in enumerate(kinds)),
        null_control=NullControl(bound(0.0), bound(0.0), -0.1),
        retention=Retention("distance", "I(Y_i;S)", held, 0.99) if groups else None,
        states=None if states is None else bound(states, 8.0, "list decoding"),
        rounded=tuple(machine(b, 8 * b, state_hard * (1 - 2.0**-b)) for b in (1, 2, 4)),
        needed=coarsest,
        rounded_entropy=None,
        memory=MemoryBits(nominal, 0, 0),
        window_hard=interval(window_hard),
        window_ceiling=1.0,
        diagonal=None,
        assumptions=(),
        confidence=CONFIDENCE,
        violations=violations,
    )
    sizes = {"d_model": 8, "window": 5, "d_state": 2}
    spec = ModelSpec(architecture, **sizes)
    return ModelLadder("probe-1", Path("probe-1"), "train-1", {"name": "own task"}, spec, seed, seed, 100, ladder)
