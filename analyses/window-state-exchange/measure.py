"""Where trained hybrids stand against D1: accuracy by distance, and behind bottlenecks along the diagonal.

    boundprobe sweep analyses/window-state-exchange/sweep.toml --out runs
    python analyses/window-state-exchange/measure.py runs/sweep-500285a171fc [--out FOLDER] [--steps N]

Writes retention.csv (every reported model: accuracy of each answer by the distance of its token) and exchange.csv (the
best model of each run of the larger state: bottlenecks of exactly so many bits), whole or not at all.  Bottlenecks are
kept in runs of their own beside those of the sweep, so that a second start goes on.
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
from boundprobe.models import SequenceModel
from boundprobe.probes import states_at_cut, wrong_answers
from boundprobe.runs import Run, find_run, load_run, sweep_points, write_whole
from boundprobe.tasks import AbstractTask
from boundprobe.training import TrainConfig, load_models

N_SEQUENCES = 4000
#: State size whose models are measured behind bottlenecks, and bits of one entry of these.
MEASURED_D_STATE, ENTRY_BITS = 8, (3, 4, 5, 6)


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
    """One line of exchange.csv: far answers behind a bottleneck of exactly ``bits``; near ones have the model's."""

    window: int
    lag: int
    far_answers: int
    bits: int
    far_accuracy: float
    far_lower: float
    far_ceiling: float
    near_accuracy: float


def by_distance(model: SequenceModel, task: AbstractTask) -> np.ndarray:
    """Accuracy of the answer whose token lies 0, 1, .. before the cut, on the state-hard distribution."""
    cut = task.sample_cut(N_SEQUENCES, np.random.default_rng(2029))
    right = ~wrong_answers(model, states_at_cut(model, cut.prefix), cut)
    assert cut.places is not None
    order = np.argsort(-cut.places, axis=1)  # the youngest first
    return np.take_along_axis(right, order, axis=1).mean(0)


def retention(run: Run, config: TrainConfig) -> Iterator[Retained]:
    """All reported models of a run."""
    for seed, model in enumerate(load_models(run)[: config.schedule.n_seeds]):
        for distance, accuracy in enumerate(by_distance(model, config.task)):
            yield Retained(config.model.window, config.model.d_state, seed, distance, float(accuracy))


def exchange(run: Run, config: TrainConfig, steps: int, kept: Sequence[Retained]) -> Iterator[Exchanged]:
    """The best model of a run behind bottlenecks along the diagonal, for the answers beyond its window."""
    of_seed = {seed: [row.accuracy for row in kept if row.seed == seed] for seed in {row.seed for row in kept}}
    best = max(of_seed, key=lambda seed: float(np.mean(of_seed[seed])))
    lag = config.model.window - 1
    n_far = config.task.state_case().n_answers - lag
    if n_far < 1:  # every answer is in sight
        yield Exchanged(config.model.window, lag, 0, 0, 1.0, 1.0, 1.0, float(np.mean(of_seed[best])))
        return
    budgets = tuple((n_far, bits) for bits in ENTRY_BITS)
    settings = CurveConfig(budgets, steps=steps, n_sequences=N_SEQUENCES, cut="diagonal")
    curve = probe_bottleneck(run, best, settings)
    near = float(np.mean(of_seed[best][:lag])) if lag else 1.0
    for point in curve.by_bits:
        accuracy = point.accuracy
        yield Exchanged(
            config.model.window, curve.lag, curve.n_answers, point.total_bits, accuracy.estimate, accuracy.lower,
            point.accuracy_ceiling, near,
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
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
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
    write(retained, arguments.out / "retention.csv")
    write(exchanged, arguments.out / "exchange.csv")


if __name__ == "__main__":
    main()
