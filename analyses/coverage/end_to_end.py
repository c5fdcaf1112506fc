"""Certificates with everything done anew each time: fresh states, decoders trained, calibrated, chosen, evaluated.

    python analyses/coverage/end_to_end.py [--repetitions 200] [--out FOLDER]

Two processes of one thread.  Writes end_to_end.csv, whole or not at all; README.md says what is counted.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from boundprobe.bounds import fano_loss_bits
from boundprobe.channels import (
    AbstractChannel,
    Null,
    Rotated,
    SymmetricStorage,
    WholeStateLoss,
    XorPairs,
    XorStorage,
)
from boundprobe.probes import DecoderConfig, StatesConfig, certify_states
from boundprobe.probes.certificates import GIVEN_EARLIER
from boundprobe.runs import write_whole

SEED = 2027
PIECE = 20  # repetitions of one job
ALL = ("linear", "mlp", "chain")
SLACK = 1e-9


@dataclass(frozen=True)
class Trial:
    """States of a channel, and the decoders that are trained on them.

    Attributes
    ----------
    name : str
    channel : AbstractChannel
    answer_bits : tuple of float
        I(Y_i;S) of each answer.
    told_bits : tuple of float
        I(Y_i;S | Y_<i): what an answer's limit is about where the decoder is a chain.
    decoders : tuple of str
    n_sequences : int
    repeated : bool
        Whether it is repeated; else done once.
    """

    name: str
    channel: AbstractChannel
    answer_bits: tuple[float, ...]
    told_bits: tuple[float, ...]
    decoders: tuple[str, ...]
    n_sequences: int
    repeated: bool = False


def symmetric_bits(n_values: int, kept: float, n_answers: int) -> tuple[float, ...]:
    """I(Y_i;S) of symmetric storage."""
    return n_answers * (float(np.log2(n_values) - fano_loss_bits((1 - kept) * (1 - 1 / n_values), n_values)),)


LARGE = SymmetricStorage(16, 16, 0.9, 64, 0.1)
LARGE_BITS = symmetric_bits(16, 0.9, 16)
SMALL_BITS = symmetric_bits(4, 0.8, 4)
XOR, PAIRS = Rotated(XorStorage(6), 24, 0.1), Rotated(XorPairs(8, 2), 24, 0.1)
TRIALS = (
    Trial("whole-state loss 4x4, lost 0.3", WholeStateLoss(4, 4, 0.3), 4 * (1.4,), 4 * (1.4,), ALL, 1200, True),
    Trial("xor pairs 4x2", XorPairs(4, 2), 4 * (0.0,), 2 * (0.0, 1.0), ALL, 1200, True),
    Trial("storage 4x4, kept 0.8", SymmetricStorage(4, 4, 0.8), SMALL_BITS, SMALL_BITS, ALL, 1200, True),
    Trial("null 6x4", Null(6, 4, 8), 6 * (0.0,), 6 * (0.0,), ALL, 1200, True),
    Trial("storage 16x16, kept 0.9, in 64 entries", LARGE, LARGE_BITS, LARGE_BITS, ("linear",), 10_000),
    Trial("storage 16x16, kept 0.9, in 64 entries", LARGE, LARGE_BITS, LARGE_BITS, ("linear",), 50_000),
    *(Trial("xor storage 6, in 24 entries", XOR, 6 * (1.0,), 6 * (1.0,), (name,), 6000) for name in ALL),
    *(Trial("xor pairs 8x2, in 24 entries", PAIRS, 8 * (0.0,), 4 * (0.0, 1.0), (name,), 6000) for name in ALL),
)


@dataclass(frozen=True)
class Outcome:
    """What one repetition certified."""

    lower: float
    estimate: float
    above_truth: bool
    broken: bool
    decoder: str
    seconds: float


@dataclass(frozen=True)
class Row:
    """One line of end_to_end.csv.

    ``above_truth`` counts totals above the truth, at level 0.025; ``broken`` counts reports, at 0.05, of which the
    total or any answer was.
    """

    channel: str
    decoders: str
    n_sequences: int
    repetitions: int
    truth_bits: float
    median_bits: float
    above_truth: int
    broken: int
    chosen: str
    seconds: float


def once(trial: Trial, repetition: int) -> Outcome:
    """Fresh states, fresh decoders, one report."""
    states, answers = trial.channel.draw(trial.n_sequences, np.random.default_rng([SEED, repetition]))
    config = StatesConfig(DecoderConfig(trial.decoders, seed=repetition), seed=repetition)
    start = time.perf_counter()
    report = certify_states(states, answers, n_values=trial.channel.n_values, config=config)
    seconds = time.perf_counter() - start
    above = report.present.lower > trial.channel.true_bits + SLACK
    broken = above
    if report.retention is not None:
        limits = np.array(trial.told_bits if report.retention.of == GIVEN_EARLIER else trial.answer_bits)
        broken |= bool((report.retention.lower_bits > limits + SLACK).any())
    return Outcome(report.present.lower, report.present.estimate, above, broken, report.present.decoder, seconds)


def run(job: tuple[int, range]) -> list[Outcome]:
    """Some repetitions of one trial, in one thread."""
    torch.set_num_threads(1)
    index, repetitions = job
    outcomes = [once(TRIALS[index], repetition) for repetition in repetitions]
    print(f"{TRIALS[index].name}: {repetitions.stop} done", file=sys.stderr, flush=True)
    return outcomes


def row(trial: Trial, outcomes: list[Outcome]) -> Row:
    """All repetitions of a trial together."""
    chosen = Counter(outcome.decoder for outcome in outcomes)
    return Row(
        trial.name,
        " ".join(trial.decoders),
        trial.n_sequences,
        len(outcomes),
        trial.channel.true_bits,
        float(np.median([outcome.lower for outcome in outcomes])),
        sum(outcome.above_truth for outcome in outcomes),
        sum(outcome.broken for outcome in outcomes),
        " ".join(f"{name}:{chosen[name]}" for name in trial.decoders if chosen[name]),
        float(np.mean([outcome.seconds for outcome in outcomes])),
    )


def write(rows: list[Row], path: Path) -> None:
    """The table, whole or not at all."""

    def fill(target: Path) -> None:
        with target.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            names = [field.name for field in fields(Row)]
            writer.writerow(names)
            for each in rows:
                values = [getattr(each, name) for name in names]
                writer.writerow([f"{v:.4f}" if isinstance(v, float) else v for v in values])

    write_whole(path, fill)


def main() -> None:
    """Run all trials in two processes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    wanted = [arguments.repetitions if trial.repeated else 1 for trial in TRIALS]
    jobs = [(i, range(n)[start : start + PIECE]) for i, n in enumerate(wanted) for start in range(0, n, PIECE)]
    outcomes: list[list[Outcome]] = [[] for _ in TRIALS]
    with ProcessPoolExecutor(2) as pool:
        for (index, _), found in zip(jobs, pool.map(run, jobs), strict=True):
            outcomes[index] += found
    rows = [row(trial, found) for trial, found in zip(TRIALS, outcomes, strict=True)]
    write(rows, arguments.out / "end_to_end.csv")


if __name__ == "__main__":
    main()
