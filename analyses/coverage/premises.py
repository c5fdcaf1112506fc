"""How often stated premises are refused: never where they are true, and where they are false, how often.

    python analyses/coverage/premises.py [--only NAME;NAME] [--out FOLDER] [--parts FOLDER]

Two processes of one thread.  Writes premises.csv and levels.csv, whole or not at all; README.md says what is counted.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from counting.jobs import Job, run_all, wanted
from counting.premise_cases import FALSE, SAMPLES, TRUE
from counting.premise_samples import Given, PremiseSample, absent, uniform
from counting.rows import AT_LEVEL, write_rows

from boundprobe.probes import (
    DecoderConfig,
    StatesConfig,
    StatesReport,
    certify_states,
    decode,
    null_control,
    read_states,
)
from boundprobe.probes.certificates import check_near_answers, check_order, check_row_statistics, check_uniform

SIZES = (1000, 4000)
#: Repetitions of the premise tests alone under a true prior; they are other draws than those of whole reports.
N_PREMISES, FIRST_PREMISES = 200, 60
SLACK = 1e-9
#: Words of each refusal.
TESTS = {
    "null control": "null control",
    "occur exactly": "copies",
    "agree with an earlier one": "near answers",
    "in clusters of": "near states",
    "sign test": "order",
    "odds of 10^": "uniformity",
    "as many that were drawn": "row statistics",
}


def config(repetition: int) -> StatesConfig:
    """Linear decoders, seeded anew for each repetition."""
    return StatesConfig(DecoderConfig(("linear",), seed=repetition), seed=repetition)


def refused_by(error: ValueError) -> str:
    """The test that refuses; anything else is an error of this script."""
    for words, test in TESTS.items():
        if words in str(error):
            return test
    raise error


def report_of(given: Given, repetition: int) -> StatesReport | str:
    """The report, or the test that refuses it."""
    try:
        return certify_states(given.states, given.answers, config=config(repetition), **given.stated)
    except ValueError as error:
        return refused_by(error)


@dataclass(frozen=True)
class Line:
    """One line of premises.csv.

    ``above_truth`` counts reports that were not refused, carry no violation, and certify more than the truth;
    ``flagged`` those that carry one.  Bits are of the reports that were not refused; -1 where all were.
    """

    premise: str
    sample: str
    procedure: str
    n_units: int
    repetitions: int
    refused: int
    by: str
    truth_bits: float
    median_bits: float
    most_bits: float
    flagged: int
    above_truth: int

    @property
    def verdict(self) -> str:
        """A true prior must not be refused, nor too often be certified too high; of a false one all is reported."""
        if self.premise != "true":
            return "reported"
        return "fails" if self.refused or self.above_truth > AT_LEVEL.allowed(self.repetitions, 0.025) else "holds"


def whole_reports(sample: PremiseSample, n_units: int, repetitions: int | None = None) -> Line:
    """Whole reports with linear decoders."""
    torch.set_num_threads(1)
    repetitions = repetitions or sample.n_reports
    found = [report_of(sample.given(n_units, r), r) for r in range(repetitions)]
    by = Counter(each for each in found if isinstance(each, str))
    reports = [each for each in found if isinstance(each, StatesReport)]
    bits = [each.present.lower for each in reports]
    above = sum(not each.violations and each.present.lower > sample.truth_bits + SLACK for each in reports)
    return Line(
        sample.premise,
        sample.name,
        "report",
        n_units,
        repetitions,
        sum(by.values()),
        " ".join(f"{test}:{count}" for test, count in by.most_common()),
        sample.truth_bits,
        float(np.median(bits)) if bits else -1.0,
        max(bits, default=-1.0),
        sum(bool(each.violations) for each in reports),
        above,
    )


def premise_tests(sample: PremiseSample, n_units: int, repetitions: int) -> Line:
    """The premise tests alone, on other draws than those of the reports."""
    by: Counter[str] = Counter()
    for r in range(FIRST_PREMISES, FIRST_PREMISES + repetitions):
        given = sample.given(n_units, r)
        try:
            read_states(given.states, given.answers, config=config(r), **given.stated)
        except ValueError as error:
            by[refused_by(error)] += 1
    told = " ".join(f"{test}:{count}" for test, count in by.most_common())
    refused = sum(by.values())
    return Line(
        sample.premise, sample.name, "premise tests", n_units, repetitions, refused, told, sample.truth_bits,
        -1.0, -1.0, 0, 0,
    )  # fmt: skip


def true_lines(name: str) -> list[Line]:
    """A true prior, by whole reports and by the tests alone."""
    return [whole_reports(SAMPLES[name], 1000), premise_tests(SAMPLES[name], 1000, N_PREMISES)]


def false_lines(name: str) -> list[Line]:
    """A false one, at both sizes."""
    return [whole_reports(SAMPLES[name], n) for n in SIZES]


# The tests at a level that a count can show.


@dataclass(frozen=True)
class LevelLine:
    """One line of levels.csv: alarms of a test at level 0.05, under a true prior."""

    test: str
    sample: str
    n_units: int
    repetitions: int
    alarms: int
    allowed: int

    @property
    def verdict(self) -> str:
        """Whether the test keeps the level."""
        return "fails" if self.alarms > self.allowed else "holds"


LEVEL = 0.05
N_UNITS = 300


def control_at_level(given: Given, repetition: int) -> None:
    """The null control of linear decoders."""
    settings = config(repetition)
    read = read_states(given.states, given.answers, config=settings, **given.stated)
    decoded = decode(read.prior, read.splits, settings.decoders, 0.025)
    null_control(read.prior, read.splits, decoded, settings.decoders, LEVEL)


def answers_with_absent(given: Given) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Answers as the tests read them."""
    return np.where(given.stated.get("defined", True), given.answers, -100)


LEVEL_TESTS: dict[str, tuple[Callable[[Given, int], object], int]] = {
    "null control": (control_at_level, 100),
    "uniformity": (lambda given, r: check_uniform(answers_with_absent(given), given.stated["n_values"], LEVEL), 1000),
    "row statistics": (
        lambda given, r: check_row_statistics(answers_with_absent(given), given.stated["n_values"], LEVEL), 1000,
    ),
    "order": (lambda given, r: check_order(given.states, answers_with_absent(given), LEVEL), 1000),
    "near answers": (
        lambda given, r: check_near_answers(answers_with_absent(given), given.stated["n_values"], LEVEL), 1000,
    ),
}  # fmt: skip
LEVEL_SAMPLES = {"uniform 8x4": uniform(8, 4), "uniform 4x32": uniform(4, 32), "absent answers 8x16": absent(0.5)}


def level_lines(name: str) -> list[LevelLine]:
    """One test on each sample; sizes differ, as the tests draw the same numbers for the same size."""
    torch.set_num_threads(1)
    test, repetitions = LEVEL_TESTS[name]
    lines = []
    for sample, draw in LEVEL_SAMPLES.items():
        alarms, each = 0, PremiseSample(f"level {sample}", "true", draw)
        for r in range(repetitions):
            try:
                test(each.given(N_UNITS + r % 200, r), r)
            except ValueError as error:
                refused_by(error)
                alarms += 1
        allowed = AT_LEVEL.allowed(repetitions)
        lines.append(LevelLine(name, sample, N_UNITS, repetitions, alarms, allowed))
    return lines


JOBS: tuple[Job, ...] = (
    *((false_lines, sample.name) for sample in FALSE),
    *((level_lines, name) for name in LEVEL_TESTS),
    *((true_lines, sample.name) for sample in TRUE),
)


def main() -> None:
    """Run every job in two processes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="names of samples or tests, separated by semicolons")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--parts", type=Path, help="folder of your own for finished parts, so that a rerun goes on")
    arguments = parser.parse_args()
    rows = run_all(wanted(JOBS, arguments.only), arguments.parts)
    for kind, file in ((Line, "premises.csv"), (LevelLine, "levels.csv")):
        names = [*(each.name for each in fields(kind)), "verdict"]
        write_rows([row for row in rows if isinstance(row, kind)], names, arguments.out / file)


if __name__ == "__main__":
    main()
