"""Channels whose information is known, how each is decoded, and what a method is told of its answers."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boundprobe.channels import (
    AbstractChannel,
    EnumeratedMachine,
    Erasure,
    KeyValueStream,
    LinearHash,
    Null,
    Rotated,
    SignNoise,
    Superposition,
    SymmetricStorage,
    TokenStream,
    WholeStateLoss,
    WholeStateSwap,
    XorPairs,
    XorStorage,
)
from boundprobe.probes.certificates import Prior, Scored
from counting.channels import GroupedStorage, Parity, SharedPart

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

ALPHA = 0.05
REPETITIONS = 2000
N_CALIBRATION = 500
SEED = 2026
SLACK = 1e-9  # bits, for sums of entropies in floats


@dataclass(frozen=True)
class Case:
    """A channel, how it is decoded, and what is known of its answers.

    Attributes
    ----------
    name : str
    channel : AbstractChannel
        Whose units are sequences, or groups of them (``GroupedStorage``).
    chain : bool
        Decoded by ``chain_logits``, which a channel may have beside ``ideal_logits``.
    law_of_defined : bool
        Whether it is known how often answers are defined.
    n_sequences : tuple of int
        Sizes of a repetition, in units.
    n_population : int
        Units of the finite population.
    """

    name: str
    channel: AbstractChannel
    chain: bool = False
    law_of_defined: bool = True
    n_sequences: tuple[int, ...] = (500,)
    n_population: int = 400_000

    @property
    def prior(self) -> Prior:
        """What a method is told."""
        n, k, h = self.channel.n_answers, self.channel.n_values, self.channel.entropy_bits
        if not self.law_of_defined:
            return Prior.uniform_where_defined(n, k)
        if math.isclose(h, n * math.log2(k)):
            return Prior.uniform(n, k)
        return Prior.stated(n, k, h)

    @property
    def grouped(self) -> bool:
        """Whether units are groups of sequences."""
        return isinstance(self.channel, GroupedStorage)

    def scored(self, n_units: int, rng: np.random.Generator) -> Scored:
        """Fresh units, read by the channel's own posterior."""
        if isinstance(self.channel, GroupedStorage):
            states, answers, groups = self.channel.draw_groups(n_units, rng)
        else:
            (states, answers), groups = self.channel.draw(n_units, rng), None
        read = self.channel.chain_logits if self.chain else self.channel.ideal_logits
        return Scored(read(states, answers).astype(np.float32), answers, groups)

    def rng(self, role: str) -> np.random.Generator:
        """One stream for each case and role, whatever the other cases are."""
        return np.random.default_rng([SEED, zlib.crc32(self.name.encode()), zlib.crc32(role.encode())])


REFERENCE = Case(
    "storage 16x16, kept 0.9",
    SymmetricStorage(16, 16, 0.9),
    n_sequences=(200, 500, 1000, 2000, 5000),
    n_population=1_000_000,
)
KEY_VALUE = KeyValueStream(6, 8, 8, 0.1)
#: Those that the methods were developed on.
FIRST = (
    REFERENCE,
    Case("storage 1x4, kept 0.8", SymmetricStorage(1, 4, 0.8)),
    Case("storage 4x16, kept 0.998", SymmetricStorage(4, 16, 0.998)),
    Case("storage 4x2, kept 0.1", SymmetricStorage(4, 2, 0.1)),
    Case("erasure 8x8, lost 0.3", Erasure(8, 8, 0.3)),
    Case("whole-state loss 8x8, lost 0.2", WholeStateLoss(8, 8, 0.2)),
    Case("whole-state swap 8x8, lost 0.1", WholeStateSwap(8, 8, 0.1)),
    Case("whole-state swap 8x8, by a chain", WholeStateSwap(8, 8, 0.1), chain=True),
    Case("sign noise 8, sd 0.5", SignNoise(8, 0.5)),
    Case("xor storage 8", XorStorage(8)),
    Case("xor pairs 8x4", XorPairs(8, 4)),
    Case("linear hash 8, rank 4", LinearHash(8, 4)),
    Case("superposition 6x8 in 32", Superposition(6, 8, 32, 0.2)),
    Case("null 8x4", Null(8, 4, 4)),
    Case("key-value stream 6x8", KEY_VALUE),
    Case("key-value stream 6x8, law of keys unknown", KEY_VALUE, law_of_defined=False),
    Case("token stream 4, 12 tokens", TokenStream(4, 12)),
    Case("machine 4x3 of 6 states", EnumeratedMachine(4, 3, 6)),
    Case("rotated erasure 6x8", Rotated(Erasure(6, 8, 0.3), 32, 0.1)),
)


def kept_with_error(error: float, n_values: int) -> float:
    """How often an answer is kept, if else a uniform value takes its place and ``error`` of the answers are wrong."""
    return 1 - error * n_values / (n_values - 1)


#: Those that they were not: dependent answers, mixtures of whole sequences, many answers, extreme errors.
OTHERS = (
    Case("shared part 4x8, 3 apart", SharedPart(4, 8, 3, 0.3)),
    Case("shared part 4x8, 3 apart, by a chain", SharedPart(4, 8, 3, 0.3), chain=True),
    Case("parity 6x4, lost 0.2", Parity(6, 4, 0.2)),
    Case("parity 6x4, lost 0.2, by a chain", Parity(6, 4, 0.2), chain=True),
    Case("whole-state loss 16x16, lost 0.5", WholeStateLoss(16, 16, 0.5)),
    Case("whole-state loss 8x8, lost 0.01", WholeStateLoss(8, 8, 0.01)),
    Case("whole-state swap 16x4, lost 0.5, by a chain", WholeStateSwap(16, 4, 0.5), chain=True),
    Case("storage 64x2, kept 0.9", SymmetricStorage(64, 2, 0.9)),
    Case("whole-state swap 64x2, lost 0.3", WholeStateSwap(64, 2, 0.3)),
    Case("storage 8x16, error 1e-4", SymmetricStorage(8, 16, kept_with_error(1e-4, 16))),
    Case("storage 4x16, error 15/16", SymmetricStorage(4, 16, 0.0)),
    Case("storage 6x2, error 1/2", SymmetricStorage(6, 2, 0.0)),
)
#: Units are groups of 1 to 20 sequences.
GROUPED = (
    Case("groups 4x8, shared fate", GroupedStorage(4, 8, 0.9, 0.2, 0.2), n_sequences=(300,), n_population=100_000),
    Case(
        "groups 4x8, small ones lost more often",
        GroupedStorage(4, 8, 0.9, 0.5, 0.05),
        n_sequences=(300,),
        n_population=100_000,
    ),
)
CASES = (*FIRST, *OTHERS, *GROUPED)
#: Median certified share of the truth at rare and frequent errors.
TIGHTNESS = {error: SymmetricStorage(16, 16, 1 - error * 16 / 15) for error in (0.1, 0.05, 0.01)}


def case_named(name: str) -> Case:
    """The case of ``CASES`` with a name."""
    return next(case for case in CASES if case.name == name)
