"""A model that answers across a cut, whoever made it: the protocol of everything that measures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from boundprobe.bounds.diagonal.stages import Stage
from boundprobe.checks import refuse
from boundprobe.models.memory import CutState

MEMBERS = ("receptive_field", "parameters", "prefill", "answer")


@runtime_checkable
class CutModel(Protocol):
    """A causal model whose memory at a position is an object.

    ``SequenceModel``, ``DiagonalCut``, ``BottleneckedModel`` and ``boundprobe.hf.wrap`` are such models, and so is any
    class with these members; ``boundprobe.testing.check_cut_model`` holds one against its contract.

    Examples
    --------
    A recurrent network of one's own, whose state is its last hidden vector:

    >>> from boundprobe.models import StateTensor
    >>> class Recurrent(torch.nn.Module):
    ...     receptive_field = None  # unbounded
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.embed, self.rnn = torch.nn.Embedding(5, 8), torch.nn.GRU(8, 8, batch_first=True)
    ...         self.readout = torch.nn.Linear(8, 5)
    ...     def prefill(self, tokens):
    ...         _, h = self.rnn(self.embed(tokens))
    ...         return CutState.of(StateTensor("h", "recurrent", h[0]))
    ...     def answer(self, state, tokens):
    ...         outputs, _ = self.rnn(self.embed(tokens), state["h"][None])
    ...         return self.readout(outputs)
    >>> model = Recurrent()
    >>> isinstance(model, CutModel), model.prefill(torch.tensor([[0, 1, 2]])).bits().total_bits
    (True, 256)
    """

    @property
    def receptive_field(self) -> int | None:
        """Number of last tokens that an output depends on, its own included; None: unbounded (W1, W2)."""

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """Parameters; the first says on which device the model is."""

    def prefill(self, tokens: Tensor) -> CutState:
        """State at the cut after token ids (B, P), int64: all that ``answer`` may know of them."""

    def answer(self, state: CutState, tokens: Tensor) -> Tensor:
        """Logits (B, Q, vocab_size) at every position of token ids (B, Q), from the state alone."""


def check_members(model: object) -> None:
    """Raise ``ValueError`` unless a model has the members of a ``CutModel``."""
    missing = [name for name in MEMBERS if not hasattr(model, name)]
    if missing:
        got = f"{type(model).__name__}, which lacks {' and '.join(missing)}"
        refuse("model", f"one with {', '.join(MEMBERS)} (see boundprobe.CutModel)", got)


def stages_of(model: CutModel) -> tuple[Stage, ...] | None:
    """The ``stages`` that a model says it has, of which diagonal cuts speak (D1); None if it says nothing."""
    stages: tuple[Stage, ...] | None = getattr(model, "stages", None)
    return stages
