"""Jobs that worker processes run: plain data that can be pickled, and called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boundprobe.training.config import TrainConfig

#: Relative time of one training step of a layer, measured on two CPU cores; only the time left is guessed by it.
LAYER_COST = {"attn": 1.0, "mamba": 2.0}
OTHER_COST = 3.0
#: Time of probing one model, in training steps.
PROBE_STEPS = 500
#: A bottleneck is measured on more sequences than a whole model, because it may come within a per cent of the ceiling.
CURVE_SEQUENCES = 4


@dataclass(frozen=True)
class TrainAndProbe:
    """Train a run to its end, then measure each of its reported models.

    Attributes
    ----------
    config : TrainConfig
    probe : dict
        Arguments of ``ProbeConfig``.
    budgets : tuple of (entries, bits of an entry)
        Bottlenecks that the first reported model is also measured behind; none if empty.
    budget_steps : int
        Training steps of each bottleneck.
    root : Path
        Where run directories are.
    device : str
    """

    config: TrainConfig
    probe: dict[str, Any]
    root: Path
    device: str
    budgets: tuple[tuple[int, int], ...] = ()
    budget_steps: int = 400

    @property
    def cost_per_step(self) -> float:
        """Relative time of one training step."""
        return sum(LAYER_COST.get(mixer, OTHER_COST) for mixer in self.config.model.mixers)

    @property
    def total_cost(self) -> float:
        """Units of work of the whole job."""
        steps = self.config.total_steps + PROBE_STEPS * (self.config.schedule.n_seeds + len(self.budgets))
        return steps * self.cost_per_step

    def __call__(self, report: Callable[[float, str], None]) -> dict[str, Any]:
        """Do it; return the training result and the probe documents."""
        from boundprobe.probes.bottleneck import CurveConfig, probe_bottleneck
        from boundprobe.probes.ladder import ProbeConfig
        from boundprobe.probes.run import probe_member
        from boundprobe.training.loop import train

        def on_progress(steps: int, what: str) -> None:
            report(steps * self.cost_per_step, what)

        probe = ProbeConfig(**self.probe)
        run = train(self.config, self.root, device=self.device, progress=on_progress)
        probes = []
        for member in range(self.config.schedule.n_seeds):
            done = (self.config.total_steps + PROBE_STEPS * member) * self.cost_per_step
            report(done, f"{self.config.task.name} {self.config.model.architecture} measuring memory")
            probes.append(probe_member(run, member, probe, self.root, device=self.device))
        if self.budgets:
            probed = (self.config.total_steps + PROBE_STEPS * self.config.schedule.n_seeds) * self.cost_per_step
            report(probed, f"{self.config.task.name} {self.config.model.architecture} bottlenecks")
            curve = CurveConfig(
                self.budgets,
                steps=self.budget_steps,
                n_sequences=CURVE_SEQUENCES * probe.n_sequences,
                confidence=probe.confidence,
                seed=probe.seed,
            )
            probes[0]["bottleneck"] = probe_bottleneck(run, 0, curve, self.root, device=self.device)
        report(self.total_cost, f"{self.config.task.name} {self.config.model.architecture} done")
        return {"train": run.result(), "probes": probes}
