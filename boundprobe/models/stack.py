"""A sequence model: embedding, a stack of residual layers, a norm, and a read-out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from boundprobe.bounds.diagonal.stages import Stage
from boundprobe.bounds.window import receptive_field
from boundprobe.checks import check_integer
from boundprobe.models.layers import Layer
from boundprobe.models.memory import CutState
from boundprobe.models.operations import check_any_backend
from boundprobe.models.sizes import model_stages
from boundprobe.models.spec import ModelSpec


class SequenceModel(nn.Module):
    """Causal stack of mixers whose memory is an object.

    ``forward`` reads whole sequences; ``prefill`` reads a prefix and returns the state at the cut, all that
    ``answer`` knows of it; ``return_states`` reads once and returns the state at any positions.  They agree:
    ``model(cat(prefix, suffix))[:, P:]`` is ``model.answer(model.prefill(prefix), suffix)``.

    Parameters
    ----------
    spec : ModelSpec
    vocab_size : int
        Tokens in, and classes out.
    backend : str
        Backend of every operation that has one of that name; ``auto`` takes the fastest that is usable
        (``boundprobe doctor`` lists them).

    Examples
    --------
    >>> import torch
    >>> model = SequenceModel(ModelSpec("mamba-attn", d_model=8, window=4, d_state=2), vocab_size=5)
    >>> state = model.prefill(torch.tensor([[0, 1, 2, 3]]))
    >>> state.bits()
    MemoryBits(recurrent_bits=1024, conv_bits=1536, cache_bits=1536)
    >>> model.answer(state, torch.tensor([[4]])).shape
    torch.Size([1, 1, 5])
    """

    def __init__(self, spec: ModelSpec, vocab_size: int, backend: str = "auto") -> None:
        super().__init__()
        check_any_backend(backend)
        self.spec = spec
        self.embedding = nn.Embedding(vocab_size, spec.d_model)
        self.layers = nn.ModuleList(Layer(spec, mixers, backend) for mixers in spec.layers)
        self.norm = nn.LayerNorm(spec.d_model) if spec.norm == "pre" else nn.Identity()
        self.readout = nn.Linear(spec.d_model, vocab_size, bias=False)

    def extend(self, tokens: Tensor, state: CutState | None = None) -> tuple[Tensor, CutState]:
        """Read tokens (B, T) after ``state``; logits (B, T, vocab_size) and the state after the last token."""
        x = self.embedding(tokens)
        before = state.layers if state else ((),) * len(self.layers)
        after = []
        for layer, layer_state in zip(self.layers, before, strict=True):
            x, new_state = layer(x, layer_state)
            after.append(new_state)
        return self.readout(self.norm(x)), CutState(tuple(after))

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (B, T, vocab_size) of whole sequences (B, T)."""
        return self.extend(tokens)[0]

    def prefill(self, prefix: Tensor) -> CutState:
        """State at the cut after a prefix (B, P)."""
        return self.extend(prefix)[1]

    def answer(self, state: CutState, suffix: Tensor) -> Tensor:
        """Logits (B, Q, vocab_size) at every position of a suffix (B, Q), from the state at the cut alone."""
        return self.extend(suffix, state)[0]

    def return_states(self, tokens: Tensor, positions: Sequence[int]) -> tuple[Tensor, tuple[CutState, ...]]:
        """Logits of whole sequences and the state after each of some positions, from one pass.

        Every token is read once: the pass stops at each position, returns the state, and continues from it.

        Parameters
        ----------
        tokens : Tensor (B, T)
        positions : sequence of int, increasing, 1 to T
            Numbers of tokens read; the state at T is the one after the whole sequence.

        Returns
        -------
        logits : Tensor (B, T, vocab_size)
        states : tuple of CutState, one for each position

        Raises
        ------
        ValueError
            If the positions do not increase or lie outside the sequence.
        """
        length = tokens.shape[1]
        for position in positions:
            check_integer("position", position, 1, length)
        if any(later <= earlier for earlier, later in pairwise(positions)):
            raise ValueError(f"`positions` must increase; got {list(positions)}. Sort them, each once.")
        state: CutState | None = None
        logits: list[Tensor] = []
        states: list[CutState] = []
        for start, stop in zip((0, *positions), (*positions, length), strict=True):
            if stop > start:
                piece, state = self.extend(tokens[:, start:stop], state)
                logits.append(piece)
            if state is not None and len(states) < len(positions):
                states.append(state)
        return torch.cat(logits, dim=1), tuple(states)

    @property
    def receptive_field(self) -> int | None:
        """Number of last tokens that an output depends on; None: unbounded (W1)."""
        return receptive_field(self.spec.windows)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Contents that the layers carry along diagonal cuts (D1), in bits of the weights' precision."""
        return model_stages(self.spec, self.embedding.weight.element_size() * 8)

    @property
    def n_params(self) -> int:
        """Number of trainable parameters."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)
