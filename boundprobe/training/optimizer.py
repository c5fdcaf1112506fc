"""AdamW: for one module, and for each member of an ensemble on its own, with warm-up, decay and gradient clipping.

Warm-up, decay and AdamW as in the paper's appendix E; AdamW is Loshchilov and Hutter 2019, arXiv 1711.05101,
Algorithm 2, with the constants of ``torch.optim.AdamW``, which is the oracle of the tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from boundprobe.training.ensemble import Ensemble

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
#: Keeps the clipping factor finite, as in ``torch.nn.utils.clip_grad_norm_``.
SMALLEST_NORM = 1e-6


def schedule_factor(step: int, steps: int, warmup_steps: int) -> float:
    """Learning rate of a step over its peak: up linearly to 1, then down linearly, 0 after the last step.

    >>> [schedule_factor(step, steps=6, warmup_steps=2) for step in (0, 1, 2, 5)]
    [0.5, 1.0, 1.0, 0.25]
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return (steps - step) / max(steps - warmup_steps, 1)


class AdamW:
    """AdamW of one module, with torch's own update; ``torch.optim.AdamW`` imports a compiler, which takes seconds.

    Parameters
    ----------
    values : iterable of Tensor
        Weights, as a module's ``parameters()`` gives them.
    weight_decay, beta_2 : float
    """

    def __init__(self, values: Iterable[Tensor], *, weight_decay: float = 0.0, beta_2: float = BETA_2) -> None:
        self.values, self.weight_decay, self.beta_2 = list(values), weight_decay, beta_2
        self.moments, self.squares = ([torch.zeros_like(value) for value in self.values] for _ in range(2))
        self.steps = [torch.zeros(()) for _ in self.values]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Update the weights by their gradients, and clear these."""
        gradients = [torch.zeros_like(v) if v.grad is None else v.grad for v in self.values]
        adamw(
            self.values, gradients, self.moments, self.squares, [], self.steps, foreach=True, amsgrad=False,
            beta1=BETA_1, beta2=self.beta_2, lr=rate, weight_decay=self.weight_decay, eps=EPSILON, maximize=False,
        )  # fmt: skip
        for value in self.values:
            value.grad = None


class EnsembleAdamW:
    """AdamW on the two matrices of an ensemble, with rates, decays and norms of each member.

    Everything that changes from step to step is handed to ``update`` as a tensor, so that a step can be recorded once
    and replayed (CUDA graphs).

    Parameters
    ----------
    ensemble : Ensemble
    weight_decays, clip_norms : sequence of M floats
    """

    def __init__(self, ensemble: Ensemble, weight_decays: Sequence[float], clip_norms: Sequence[float]) -> None:
        self.ensemble = ensemble
        self.weight_decays, self.clip_norms = (
            ensemble.values.new_tensor(list(column))[:, None] for column in (weight_decays, clip_norms)
        )
        self.first_moments, self.second_moments = (torch.zeros_like(ensemble.values) for _ in range(2))

    def corrections(self, step: int) -> tuple[float, float]:
        """Adam's bias corrections of both moments at a step, counted from 0."""
        return 1 - BETA_1 ** (step + 1), (1 - BETA_2 ** (step + 1)) ** 0.5

    @torch.no_grad()
    def update(self, rates: Tensor, first_correction: Tensor, second_correction: Tensor) -> None:
        """Clip, update and clear the gradients.

        Parameters
        ----------
        rates : Tensor (M, 1)
            Learning rate of each member at this step.
        first_correction, second_correction : Tensor ()
            As ``corrections`` gives them.
        """
        values, gradients = self.ensemble.values, self.ensemble.gradients
        norms = gradients.norm(dim=1, keepdim=True)
        gradients *= (self.clip_norms / (norms + SMALLEST_NORM)).clamp(max=1)
        values *= 1 - rates * self.weight_decays
        self.first_moments.lerp_(gradients, 1 - BETA_1)
        self.second_moments.mul_(BETA_2).addcmul_(gradients, gradients, value=1 - BETA_2)
        denominators = (self.second_moments.sqrt() / second_correction).add_(EPSILON)
        values -= (rates / first_correction) * (self.first_moments / denominators)
        gradients.zero_()

    def load(self, first_moments: Tensor, second_moments: Tensor) -> None:
        """Take the moments (M, P) of a checkpoint.

        Raises
        ------
        ValueError
            If their shape or type is not that of the weights: compiled steps do not look at it.
        """
        for moments in (first_moments, second_moments):
            if moments.shape != self.ensemble.values.shape or moments.dtype != self.ensemble.values.dtype:
                raise ValueError(
                    f"moments must have the shape of the weights, {tuple(self.ensemble.values.shape)}; got "
                    f"{tuple(moments.shape)}"
                )
        self.first_moments, self.second_moments = first_moments, second_moments

    def keep(self, ensemble: Ensemble, members: Sequence[int]) -> EnsembleAdamW:
        """The optimizer of ``ensemble``, which holds some of the members, with copies of their moments."""
        chosen = list(members)
        kept = EnsembleAdamW(ensemble, self.weight_decays[chosen, 0].tolist(), self.clip_norms[chosen, 0].tolist())
        kept.first_moments, kept.second_moments = self.first_moments[chosen], self.second_moments[chosen]
        return kept
