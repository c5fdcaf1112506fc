"""One optimizer step of an ensemble: gradients of a batch in pieces, summed over processes, then the update."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from boundprobe.tasks.base import IGNORE
from boundprobe.training.config import ActiveMember, Schedule
from boundprobe.training.distributed import ProcessGroup
from boundprobe.training.ensemble import Ensemble
from boundprobe.training.fused import FusedGradients, find_obstacle
from boundprobe.training.optimizer import EnsembleAdamW, schedule_factor


class Stepper:
    """An ensemble with its optimizer, at the schedule that its members share.

    Parameters
    ----------
    ensemble : Ensemble
    members : sequence of ActiveMember
        Their weight decays, clipping norms and rates are their own; batch, precision and number of steps agree.
    processes : ProcessGroup
        Each process takes its share of every batch.

    Attributes
    ----------
    fused : FusedGradients or None
        Computes losses and gradients where it can; None where autograd does.
    """

    def __init__(self, ensemble: Ensemble, members: Sequence[ActiveMember], processes: ProcessGroup) -> None:
        self.ensemble, self.members, self.processes = ensemble, list(members), processes
        schedules = [config.schedule for config, _ in members]
        self.optimizer = EnsembleAdamW(ensemble, [s.weight_decay for s in schedules], [s.clip_norm for s in schedules])
        self.peak_rates = [member.learning_rate for _, member in members]
        self.fused: FusedGradients | None = None
        dtype, device_type = ensemble.values.dtype, ensemble.values.device.type
        if members and find_obstacle(members[0].config, dtype, device_type) is None:  # all may have stopped
            self.fused = FusedGradients(ensemble.skeleton)

    @property
    def schedule(self) -> Schedule:
        """The schedule that the members share in steps, warm-up, batch, precision and micro-batch."""
        return self.members[0].config.schedule

    def scalars_of(self, first: int, n_steps: int) -> Tensor:
        """Per-step scalars: Adam's two bias corrections and the learning rate of each member.

        Returns
        -------
        Tensor (n_steps, 2 + M)
            Of the steps from ``first`` on, on the device of the members.
        """
        rows = []
        for step in range(first, first + n_steps):
            factor = schedule_factor(step, self.schedule.steps, self.schedule.warmup_steps)
            rows.append([*self.optimizer.corrections(step), *(rate * factor for rate in self.peak_rates)])
        values = self.ensemble.values
        return torch.tensor(rows, dtype=values.dtype, device=values.device)

    def step(self, tokens: Tensor, targets: Tensor, scalars: Tensor) -> Tensor:
        """Do one step; return the mean loss (nats) of each member before it.

        Parameters
        ----------
        tokens, targets : Tensor (M, B, T)
            The whole batch: every process has all of it and reads its share.
        scalars : Tensor (2 + M,)
            A row of ``scalars_of``.

        Returns
        -------
        Tensor (M,)
        """
        n_asked = (targets != IGNORE).sum((1, 2)).clamp(min=1)
        losses = self._add_gradients(tokens, targets, n_asked)
        self.processes.add_up(self.ensemble.gradients)
        self.processes.add_up(losses)
        self.optimizer.update(scalars[2:, None], scalars[0], scalars[1])
        return losses

    def _add_gradients(self, tokens: Tensor, targets: Tensor, n_asked: Tensor) -> Tensor:
        """Gradients and losses of this process's share, in pieces of ``micro_batch`` sequences."""
        tokens, targets = (x[:, self.processes.rank :: self.processes.size] for x in (tokens, targets))
        piece = self.schedule.micro_batch or max(tokens.shape[1], 1)
        total = self.ensemble.values.new_zeros(len(self.ensemble))
        half = self.schedule.precision == "bfloat16"
        for own_tokens, own_targets in zip(tokens.split(piece, dim=1), targets.split(piece, dim=1), strict=True):
            if self.fused is not None:
                values, gradients = self.ensemble.values, self.ensemble.gradients
                total += self.fused.add_gradients(values, gradients, own_tokens, own_targets, n_asked)
                continue
            # Without its cache, which would hold weights of an earlier step where steps are recorded.
            with torch.autocast(tokens.device.type, torch.bfloat16, enabled=half, cache_enabled=False):
                # Divided by all that is asked in the batch, so pieces and shares add up to its mean.
                losses = self.ensemble.losses(own_tokens, own_targets) / n_asked
            self.ensemble.add_gradients(losses.sum())
            total += losses.detach()
        return total

    def keep(self, positions: Sequence[int]) -> Stepper:
        """The stepper of some of the members."""
        ensemble = self.ensemble.keep(positions)
        kept = Stepper(ensemble, [self.members[i] for i in positions], self.processes)
        kept.optimizer = self.optimizer.keep(ensemble, positions)
        return kept
