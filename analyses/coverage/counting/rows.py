"""One line of coverage.csv, and when a count fails."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from scipy.stats import beta, binom

from boundprobe.runs import write_whole
from counting.cases import ALPHA, REPETITIONS

#: Quantile of the violations that are expected: more fail.
QUANTILE = 0.999
#: That of a bound that errs as often as it may: 131.
MOST_VIOLATIONS = int(binom.ppf(QUANTILE, REPETITIONS, ALPHA))
#: Level at which the simulated rate of the reference may be too low.
REFERENCE_LEVEL = 0.01
NOT_COUNTED = -1


@dataclass(frozen=True)
class Rate:
    """How often the reference errs: exactly, or in ``violated`` of ``simulated`` repetitions.

    Attributes
    ----------
    share : float
    most : float
        Upper confidence bound of it, at level 0.99; the share where that is exact.
    """

    share: float
    most: float

    @classmethod
    def simulated(cls, violated: int, simulated: int) -> Rate:
        """From a simulation, with its Clopper-Pearson bound."""
        most = 1.0 if violated == simulated else float(beta.isf(REFERENCE_LEVEL, violated + 1, simulated - violated))
        return cls(violated / simulated, most)

    def allowed(self, repetitions: int, alpha: float = ALPHA) -> int:
        """Violations above which a method fails: never more than its level allows.

        >>> Rate(0.05, 0.06).allowed(2000), Rate(0.0, 0.0).allowed(2000)
        (131, 0)
        """
        return int(binom.ppf(QUANTILE, repetitions, min(self.most, alpha)))


#: Of what claims no more than its level.
AT_LEVEL = Rate(ALPHA, ALPHA)


@dataclass(frozen=True)
class Row:
    """One line of coverage.csv.

    ``above_truth`` and ``above_population`` are violations of ``repetitions``, ``NOT_COUNTED`` where they are not.
    ``expected_*`` is the share of violations of the reference, and ``allowed_*`` what it allows.
    """

    kind: str
    channel: str
    form: str
    limit: str
    sampling: str
    n_sequences: int
    truth_bits: float
    population_bits: float
    median_bits: float
    above_truth: int
    above_population: int
    repetitions: int
    expected_truth: float
    expected_population: float
    allowed_truth: int
    allowed_population: int

    @property
    def verdict(self) -> str:
        """Whether the limits are kept."""
        above = self.above_truth > self.allowed_truth or self.above_population > self.allowed_population
        return "fails" if above else "holds"


def with_limits(row: dict[str, object], truth: Rate, population: Rate) -> Row:
    """A row with what is expected of it."""
    repetitions = row["repetitions"]
    assert isinstance(repetitions, int)
    expected: dict[str, object] = {}
    for target, rate in (("truth", truth), ("population", population)):
        counted = row[f"above_{target}"] != NOT_COUNTED
        expected[f"expected_{target}"] = rate.share if counted else float(NOT_COUNTED)
        expected[f"allowed_{target}"] = rate.allowed(repetitions) if counted else NOT_COUNTED
    return Row(**row, **expected)  # type: ignore[arg-type]


def write_rows(rows: Iterable[object], names: Iterable[str], path: Path) -> None:
    """A table of the named attributes, whole or not at all; four digits after the point."""

    def fill(target: Path) -> None:
        with target.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(names)
            for row in rows:
                values = [getattr(row, name) for name in names]
                writer.writerow([f"{v:.4f}" if isinstance(v, float) else v for v in values])

    write_whole(path, fill)


COLUMNS = (*(field.name for field in fields(Row)), "verdict")
