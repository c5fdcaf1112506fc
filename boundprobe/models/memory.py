"""The state at the cut: everything a model carries from the prefix to the suffix, and its size in bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["recurrent", "conv", "cache"]


@dataclass(frozen=True)
class StateTensor:
    """One tensor of a layer's state.

    Attributes
    ----------
    name : str
        Such as ``"h"``, ``"keys"``.
    kind : "recurrent" | "conv" | "cache"
        Recurrent state, convolution buffer, or key/value cache.
    value : Tensor (batch, ...)
    """

    name: str
    kind: Kind
    value: Tensor

    @property
    def bits(self) -> int:
        """Entries of one sequence times the precision of the tensor's type, in bits."""
        return self.value[0].numel() * self.value.element_size() * 8


LayerState = tuple[StateTensor, ...]


@dataclass(frozen=True)
class MemoryBits:
    """Nominal memory of one sequence's state, by kind, in bits: an exact upper limit on log2 |S|."""

    recurrent_bits: int
    conv_bits: int
    cache_bits: int

    @property
    def total_bits(self) -> int:
        """Bits of all kinds together."""
        return self.recurrent_bits + self.conv_bits + self.cache_bits


@dataclass(frozen=True)
class CutState:
    """State of every layer of a stack at one position, for a batch of sequences.

    By Lemma 3.5 (Cooper et al. 2026) a stack is one machine whose state is the tuple of its layers' states,
    so bits add up over layers.
    """

    layers: tuple[LayerState, ...]

    @property
    def batch(self) -> int:
        """Number of sequences."""
        return self.layers[0][0].value.shape[0]

    def bits(self) -> MemoryBits:
        """Nominal bits of one sequence, counted from the tensors themselves."""
        totals: dict[Kind, int] = {"recurrent": 0, "conv": 0, "cache": 0}
        for layer in self.layers:
            for tensor in layer:
                totals[tensor.kind] += tensor.bits
        return MemoryBits(totals["recurrent"], totals["conv"], totals["cache"])

    def map(self, function: Callable[[Tensor], Tensor]) -> CutState:
        """The state with ``function`` applied to every tensor: repeat it, round it, move it."""
        return CutState(
            tuple(tuple(StateTensor(t.name, t.kind, function(t.value)) for t in layer) for layer in self.layers)
        )

    def flatten(self) -> Tensor:
        """All entries side by side, (batch, entries): what a probe reads."""
        tensors = [tensor.value for layer in self.layers for tensor in layer]
        return torch.cat([value.reshape(value.shape[0], -1) for value in tensors], dim=1)

    def unflatten(self, entries: Tensor) -> CutState:
        """A state of this shape with its values from ``entries`` (batch, entries); inverse of ``flatten``.

        Raises
        ------
        ValueError
            If the number of entries is not this state's.
        """
        sizes = [tensor.value[0].numel() for layer in self.layers for tensor in layer]
        if entries.shape[1] != sum(sizes):
            raise ValueError(f"entries has {entries.shape[1]} columns; this state has {sum(sizes)} entries")
        pieces = iter(torch.split(entries, sizes, dim=1))

        def take(value: Tensor) -> Tensor:
            return next(pieces).reshape(len(entries), *value.shape[1:]).to(value.dtype)

        return self.map(take)
