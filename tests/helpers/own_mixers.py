"""A user's own mixers, as a file of theirs would have them: one whose size is measured, one that states it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from boundprobe.bounds.diagonal import Stage, Window
from boundprobe.models import AbstractMixer, LayerState, ModelSpec, StateTensor


class Leaky(AbstractMixer):
    """h_t = a h_{t-1} + W x_t with a decay for each channel, and the last output beside it."""

    state_names = ("last", "h")

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.decay = nn.Parameter(torch.rand(spec.d_model))
        self.proj = nn.Linear(spec.d_model, spec.d_model)

    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        """(B, T, d_model) after ``last`` (B, 1, d_model) and ``h`` (B, d_model)."""
        u, outputs = self.proj(x), []
        last, h = (t.value for t in state) if state else (torch.zeros_like(x[:, :1]), torch.zeros_like(x[:, 0]))
        for t in range(x.shape[1]):
            h = self.decay * h + u[:, t]
            outputs.append(h)
        y = torch.stack(outputs, dim=1)
        before = torch.cat([last, y[:, :-1]], dim=1)
        return y + before.tanh(), (StateTensor("last", "conv", y[:, -1:]), StateTensor("h", "recurrent", h))


class Sums(AbstractMixer):
    """The sum of the last two tokens, which a cache keeps; it says itself that it has a window of two."""

    state_names = ("inputs",)

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.proj = nn.Linear(spec.d_model, spec.d_model)

    @staticmethod
    def stages(spec: ModelSpec, entry_bits: int) -> tuple[Stage, ...]:
        """One entry of a cache."""
        return (Stage((Window("cache", spec.d_model * entry_bits, 1),)),)

    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        """(B, T, d_model) after the last input (B, at most 1, d_model)."""
        before = state[0].value if state else x[:, :0]
        whole = torch.cat([before, x], dim=1)
        first = torch.zeros_like(x[:, : 1 - before.shape[1]])
        y = x + torch.cat([first, whole], dim=1)[:, : x.shape[1]]
        return self.proj(y), (StateTensor("inputs", "cache", x[:, -1:]),)


class Growing(Sums):
    """It keeps all inputs, and does not say so."""

    stages = None  # type: ignore[assignment]

    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        """(B, T, d_model) after all inputs."""
        whole = torch.cat([state[0].value, x], dim=1) if state else x
        return self.proj(x), (StateTensor("inputs", "cache", whole),)


def small(spec: ModelSpec) -> AbstractMixer:
    """A function serves as well."""
    return Leaky(spec)


def no_mixer(spec: ModelSpec) -> int:
    """What it gives is no mixer."""
    return spec.d_model


number = 3
