"""The interface of sequence mixers: causal maps whose memory is an argument and a result, as named tensors."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from boundprobe.models.memory import LayerState


class AbstractMixer(nn.Module):
    """A causal sequence mixer that holds nothing between calls.

    Subclasses are final, set ``state_names``, and write ``forward``.  Everything that a later token may depend
    on is in the state that ``forward`` returns; reading a sequence in pieces gives what reading it whole gives.
    How much public time has passed (the same for every sequence of a batch) may show in the *shape* of a
    state tensor, as in a cache that is not full yet; it costs no bits, because it says nothing about a sequence.

    Attributes
    ----------
    state_names : tuple of str
        Names of the tensors of the state after at least one token, in order.
    """

    state_names: ClassVar[tuple[str, ...]]

    @abstractmethod
    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        """Mix (B, T, d_model) after ``state`` (empty at the start); the output (B, T, d_model), the state after it."""
