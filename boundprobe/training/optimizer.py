"""AdamW with linear warm-up, linear decay and gradient clipping, as in the paper's appendix E."""

from __future__ import annotations

import torch
from torch import nn

from boundprobe.training.config import Schedule


def schedule_factor(step: int, steps: int, warmup_steps: int) -> float:
    """Learning rate of a step over its peak: up linearly to 1, then down linearly, 0 after the last step.

    >>> [schedule_factor(step, steps=6, warmup_steps=2) for step in (0, 1, 2, 5)]
    [0.5, 1.0, 1.0, 0.25]
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return (steps - step) / max(steps - warmup_steps, 1)


class Optimizer:
    """One member's optimizer; ``step`` clips, sets the rate of the step, and updates."""

    def __init__(self, model: nn.Module, schedule: Schedule, learning_rate: float) -> None:
        self.schedule, self.learning_rate = schedule, learning_rate
        self.parameters = list(model.parameters())
        self.adamw = torch.optim.AdamW(
            self.parameters, lr=learning_rate, weight_decay=schedule.weight_decay, fused=True
        )

    def step(self, step: int) -> None:
        """Update from the gradients that are there, and clear them."""
        torch.nn.utils.clip_grad_norm_(self.parameters, self.schedule.clip_norm)
        factor = schedule_factor(step, self.schedule.steps, self.schedule.warmup_steps)
        for group in self.adamw.param_groups:
            group["lr"] = self.learning_rate * factor
        self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)
