"""Jobs that worker processes run: plain data that can be pickled, and called."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from boundprobe.errors import UnfinishedError
from boundprobe.probes.settings import ProbeConfig
from boundprobe.runs.store import open_run
from boundprobe.sweep.executors.base import AbstractExecutor
from boundprobe.training.config import TrainConfig

if TYPE_CHECKING:
    from boundprobe.bottleneck.curve import MeasuredModel

log = logging.getLogger(__name__)

#: Relative time of one training step of a layer, measured on two CPU cores; only the time left is guessed by it.
LAYER_COST = {"attn": 1.0, "mamba": 2.0}
OTHER_COST = 3.0
#: Time of probing one model, in training steps.
PROBE_STEPS = 500
#: A bottleneck is measured on more sequences than a whole model, because it may come within a per cent of the ceiling.
CURVE_SEQUENCES = 4


@dataclass(frozen=True)
class TrainAndProbe:
    """Train a group of runs side by side, then measure each of their reported models.

    Attributes
    ----------
    configs : tuple of TrainConfig
        Of one shape; see ``boundprobe.sweep.config.group_runs``.
    probe : ProbeConfig or None
        None: nothing is measured.
    root : Path
        Where run directories are.
    device : str
    budgets : tuple of (entries, bits of an entry)
        Bottlenecks that the first reported model of each run is also measured behind; none if empty.
    budget_steps : int
        Training steps of each bottleneck.
    largest : int or None
        Members of an ensemble at most.
    """

    configs: tuple[TrainConfig, ...]
    probe: ProbeConfig | None
    root: Path
    device: str
    budgets: tuple[tuple[int, int], ...] = ()
    budget_steps: int = 400
    largest: int | None = None

    @property
    def cost_per_step(self) -> float:
        """Relative time of one training step of one member."""
        return sum(LAYER_COST.get(mixer, OTHER_COST) for mixer in self.configs[0].model.mixers)

    @property
    def total_cost(self) -> float:
        """Units of work of the whole job."""
        n_probes = sum(self._probe_steps(config) for config in self.configs)
        return (sum(config.total_steps for config in self.configs) + n_probes) * self.cost_per_step

    def _probe_steps(self, config: TrainConfig) -> int:
        if self.probe is None:
            return 0
        return PROBE_STEPS * config.schedule.n_seeds + self.budget_steps * len(self.budgets)

    def __call__(self, report: Callable[[float, str], None]) -> None:
        """Do it; results are in run directories."""
        from boundprobe.training.loop import train_group

        what = f"{self.configs[0].task.name} {self.configs[0].model.architecture}"
        train_group(
            self.configs,
            self.root,
            device=self.device,
            progress=lambda steps, now: report(steps * self.cost_per_step, now),
            largest=self.largest,
            set_damaged_aside=True,
        )
        done = sum(config.total_steps for config in self.configs)
        for config in self.configs:
            for step, _ in enumerate(self.measure(config)):
                report((done + PROBE_STEPS * step) * self.cost_per_step, f"{what} measuring memory")
            done += self._probe_steps(config)
        report(self.total_cost, f"{what} done")

    def measure(self, config: TrainConfig) -> Iterator[MeasuredModel]:
        """The ladder of each reported model of a trained run, the first with its bottlenecks; read back if known."""
        if self.probe is None:
            return
        from boundprobe.bottleneck.curve import MeasuredModel
        from boundprobe.bottleneck.measure import probe_bottleneck
        from boundprobe.bottleneck.settings import CurveConfig
        from boundprobe.probes.run import probe_member

        run = open_run(self.root, "train", config.to_dict())
        for member in range(config.schedule.n_seeds):
            curve, ladder = None, probe_member(run, member, self.probe, self.root, device=self.device)
            if self.budgets and member == 0:
                config_of_curve = CurveConfig(
                    self.budgets,
                    steps=self.budget_steps,
                    n_sequences=CURVE_SEQUENCES * self.probe.n_sequences,
                    confidence=self.probe.confidence,
                    seed=self.probe.seed,
                    cut=self.probe.cut,
                )
                curve = probe_bottleneck(run, member, config_of_curve, self.root, device=self.device)
            yield MeasuredModel(ladder, curve)


def run_jobs(
    jobs: Sequence[TrainAndProbe], executor: AbstractExecutor, progress: Callable[[float, str], object] | None = None
) -> None:
    """Run jobs to their end, the longest first.

    Parameters
    ----------
    jobs : sequence of TrainAndProbe
    executor : AbstractExecutor
    progress : callable, optional
        Called with (share of the work that is done, what is being done).

    Raises
    ------
    UnfinishedError
        If a job failed: how many, and the first line of each kind of failure.
    """
    longest_first = sorted(jobs, key=lambda job: -job.total_cost)
    done, total = [0.0] * len(jobs), sum(job.total_cost for job in jobs)

    def on_news(index: int, units: float, what: str) -> None:
        done[index] = units
        if progress is not None:
            progress(sum(done) / total, what)

    outcomes = executor.run(longest_first, on_news)
    if failed := [outcome for outcome in outcomes if outcome.error is not None]:
        reasons = dict.fromkeys(outcome.error or "" for outcome in failed)
        for outcome in failed:
            log.info("%s", outcome.traceback, extra={"lines": True})
        raise UnfinishedError(
            f"{len(failed)} of {len(outcomes)} jobs failed ({'; '.join(reasons)}); what is finished is kept; "
            "mend the cause and give the same command again",
            exit_code=max(outcome.exit_code or 2 for outcome in failed),
        )
