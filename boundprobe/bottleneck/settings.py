"""Settings of a curve of bottlenecks: which sizes are trained, and how they are measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from boundprobe.bottleneck.train import BottleneckConfig
from boundprobe.checks import MOST_CONFIDENCE, MOST_SEED, check_integer, check_number, check_word, refuse
from boundprobe.probes.settings import CUTS, VERTICAL, ProbeConfig


@dataclass(frozen=True)
class CurveConfig:
    """The bottlenecks to train, and the settings of their measurement.

    Attributes
    ----------
    budgets : tuple of (entries, bits of an entry)
    steps : int
        Training steps of each.
    n_sequences : int
        Independent evaluation sequences.
    confidence : float
        That every limit of the whole curve holds.
    seed : int
    cut : "vertical" | "diagonal"
        What goes through the bottleneck: the state at the cut, for all answers; or what crosses the diagonal cut of the
        greatest lag (D1), for the answers that lie beyond it.
    """

    budgets: tuple[tuple[int, int], ...]
    steps: int = 400
    n_sequences: int = 4000
    confidence: float = 0.95
    seed: int = 0
    cut: str = VERTICAL

    def __post_init__(self) -> None:
        check_word("cut", self.cut, CUTS)
        if not self.budgets or len(set(self.budgets)) < len(self.budgets):
            shown = [f"{m}x{b}" for m, b in self.budgets]
            raise ValueError(f"`--budgets` must be one or more, each once, such as 1x2,1x4,2x6; got {shown}.")
        for budget in self.budgets:
            self.bottleneck(budget)
        check_integer("n_sequences", self.n_sequences, 1)
        check_integer("seed", self.seed, 0, MOST_SEED)
        check_number("confidence", self.confidence, above=0, most=MOST_CONFIDENCE, why="; take e.g. 0.95")

    def bottleneck(self, budget: tuple[int, int]) -> BottleneckConfig:
        """Training settings of the bottleneck of one budget."""
        return BottleneckConfig(*budget, steps=self.steps)


def parse_budgets(text: str) -> tuple[tuple[int, int], ...]:
    """``1x2,4x3`` is one entry of 2 bits, and four of 3; ``6`` alone is one entry of 6 bits.

    >>> parse_budgets("2,4x3")
    ((1, 2), (4, 3))
    """
    if not isinstance(text, str):
        refuse("budgets", "a text such as 1x2,1x4,2x6", repr(text))
    budgets = []
    for part in text.split(","):
        entries, times, bits = part.strip().rpartition("x")
        if not (bits.isdecimal() and (entries.isdecimal() or not times)):
            raise ValueError(f"a budget must be ENTRIESxBITS or BITS, such as 1x2,1x4,2x6; got {part!r}.")
        budgets.append((int(entries or 1), int(bits)))
    return tuple(budgets)


def curve_config(given: Mapping[str, Any], probe: ProbeConfig) -> CurveConfig | None:
    """The curve that ``--budgets`` and ``--bottleneck-steps`` ask for, measured like ``probe``; None if none."""
    if not given:
        return None
    if "budgets" not in given:
        raise ValueError("`--bottleneck-steps` must come with --budgets, such as 1x2,1x4; got it alone.")
    return CurveConfig(
        parse_budgets(given["budgets"]),
        **{key: given[key] for key in ("steps",) if key in given},
        cut=probe.cut,
        n_sequences=probe.n_sequences,
        confidence=probe.confidence,
        seed=probe.seed,
    )
