"""Where trained hybrids stand against D1: accuracy by distance, and behind bottlenecks along the diagonal.

    boundprobe sweep analyses/window-state-exchange/sweep.toml --out runs
    boundprobe sweep analyses/window-state-exchange/sweep-mqar.toml --out runs
    python analyses/window-state-exchange/measure.py runs/sweep-.. [--out FOLDER] [--steps N]

Writes into FOLDER (that of the sweep's task, if not given) retention.csv, the accuracy of each answer of every reported
model by the distance of its token, and exchange.csv, the best model of each run of the larger state behind bottlenecks
of exactly so many bits; whole or not at all.  Bottlenecks are kept in runs of their own beside those of the sweep, so
that a second start goes on.
"""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from boundprobe.bottleneck import CurveConfig, probe_bottleneck
from boundprobe.models import SequenceModel, model_stages
from boundprobe.probes import states_at_cut, wrong_answers
from boundprobe.probes.certificates import answer_errors
from boundprobe.runs import Run, find_run, load_run, sweep_points, write_whole
from boundprobe.tasks import AbstractTask
from boundprobe.training import TrainConfig, load_models

N_SEQUENCES = 4000
#: State size whose models are measured behind bottlenecks, and bits of one entry of these for each task.
MEASURED_D_STATE = 8
ENTRY_BITS = {"selective-copying": (3, 4, 5), "mqar": (2, 3, 4)}


@dataclass(frozen=True)
class Retained:
    """One line of retention.csv: ``distance`` tokens lie between the token that settles an answer and the query."""

    window: int
    d_state: int
    seed: int
    distance: int
    accuracy: float


@dataclass(frozen=True)
class Exchanged:
    """One line of exchange.csv: a bottleneck of exactly ``bits`` across the diagonal cut of a lag.

    Accuracy of the answers beyond it, their ceiling, and accuracy over all answers, each from what crosses and the
    tokens since; ``_lower`` is a lower confidence bound.
    """

    window: int
    lag: int
    far_answers: int
    bits: int
    far_accuracy: float
    far_lower: float
    far_ceiling: float
    all_accuracy: float
    all_lower: float


def reach_of(config: TrainConfig) -> int:
    """Reach of the windows and convolutions of a hybrid, in tokens: sum of (window - 1)."""
    return sum(stage.reach for stage in model_stages(config.model))


def wrong_of(model: SequenceModel, task: AbstractTask) -> tuple[np.ndarray, np.ndarray]:
    """Mask of wrong answers on the state-hard distribution, and the tokens between each answer and the cut."""
    cut = task.sample_cut(N_SEQUENCES, np.random.default_rng(2029))
    assert cut.places is not None
    return wrong_answers(model, states_at_cut(model, cut.prefix), cut), task.prefix_len - 1 - cut.places


def by_distance(model: SequenceModel, task: AbstractTask) -> dict[int, float]:
    """Accuracy of each answer by the tokens between it and the cut, the youngest first."""
    wrong, distances = wrong_of(model, task)
    return {int(distance): float(1 - wrong[distances == distance].mean()) for distance in np.unique(distances)}


def retention(run: Run, config: TrainConfig) -> Iterator[Retained]:
    """All reported models of a run."""
    for seed, model in enumerate(load_models(run)[: config.schedule.n_seeds]):
        for distance, accuracy in by_distance(model, config.task).items():
            yield Retained(config.model.window, config.model.d_state, seed, distance, accuracy)


def exchange(run: Run, config: TrainConfig, steps: int, kept: Sequence[Retained]) -> Iterator[Exchanged]:
    """The best model of a run behind bottlenecks along the diagonal, for the answers beyond its window."""
    of_seed = {seed: [row.accuracy for row in kept if row.seed == seed] for seed in {row.seed for row in kept}}
    best = max(of_seed, key=lambda seed: float(np.mean(of_seed[seed])))
    lag, case = reach_of(config), config.task.state_case()
    far = case.beyond(lag)
    if far is None:  # every answer is in sight
        errors = answer_errors(wrong_of(load_models(run)[best], config.task)[0], 0.05).accuracy
        yield Exchanged(config.model.window, lag, 0, 0, 1.0, 1.0, 1.0, errors.estimate, errors.lower)
        return
    budgets = tuple((far.n_answers, bits) for bits in ENTRY_BITS[config.task.name])
    settings = CurveConfig(budgets, steps=steps, n_sequences=N_SEQUENCES, cut="diagonal")
    curve = probe_bottleneck(run, best, settings)
    for point in curve.by_bits:
        yield Exchanged(
            config.model.window, curve.lag, curve.n_answers, point.total_bits, point.accuracy.estimate,
            point.accuracy.lower, point.accuracy_ceiling, point.all_accuracy.estimate, point.all_accuracy.lower,
        )  # fmt: skip


def write(rows: Sequence[Retained] | Sequence[Exchanged], path: Path) -> None:
    """A table, whole or not at all."""

    def fill(target: Path) -> None:
        with target.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([field.name for field in fields(rows[0])])
            writer.writerows([f"{v:.4f}" if isinstance(v, float) else v for v in astuple(row)] for row in rows)

    write_whole(path, fill)


def main() -> None:
    """Measure every finished run of the sweep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sweep", type=Path, help="the sweep's run directory")
    parser.add_argument("--out", type=Path, help="default: the folder of the task beside this file")
    parser.add_argument("--steps", type=int, default=1500, help="training steps of each bottleneck (default 1500)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sweep = load_run(arguments.sweep)
    retained: list[Retained] = []
    exchanged: list[Exchanged] = []
    for point in sweep_points(sweep):
        config = TrainConfig.from_dict(point["run"])
        run = find_run(sweep.path.parent, "train", point["run"])
        if run is None or run.result() is None:
            raise SystemExit(f"{arguments.sweep} must be a finished sweep; give its command again")
        rows = list(retention(run, config))
        retained += rows
        if config.model.d_state == MEASURED_D_STATE:
            exchanged += exchange(run, config, arguments.steps, rows)
        print(f"window {config.model.window}, d_state {config.model.d_state}: done", flush=True)
    out = arguments.out or Path(__file__).parent / config.task.name
    out.mkdir(exist_ok=True)
    write(retained, out / "retention.csv")
    write(exchanged, out / "exchange.csv")


if __name__ == "__main__":
    main()
