"""A bottleneck at the cut: the whole state is mapped to m entries of b bits each, and answered from those alone.

Glossary: S the state at the cut as one vector of E entries (recurrent states, convolution buffers and caches of
all layers side by side), m entries, b bits of each, c = (c_1 .. c_m) the code, c_j in 0 .. 2^b - 1.

    c_j = argmax_k  encoder(S)[j, k]                          all that crosses the cut: m b bits
    S'  = mean + scale * sum_j codebook[j, c_j]               what the model answers from

Nominal memory is exactly m b bits, whatever the architecture: the bounds can be tested at a few bits.  How the
codebooks are trained is in ``boundprobe.bottleneck.train``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from boundprobe.checks import check_integer
from boundprobe.models.cut_model import CutModel
from boundprobe.models.memory import CutState, StateTensor

#: Most bits of one entry: a codebook has 2^b rows.
MOST_ENTRY_BITS = 12


class Bottleneck(nn.Module):
    """Encoder to m entries of b bits, and codebooks back to a state.

    Parameters
    ----------
    n_state_entries : int
        Entries E of the state at the cut.
    n_entries, entry_bits : int
        m and b; ``entry_bits`` is at most ``MOST_ENTRY_BITS``.
    hidden : int
        Width of the encoder's two hidden layers.

    Examples
    --------
    >>> bottleneck = Bottleneck(n_state_entries=640, n_entries=2, entry_bits=3, hidden=16)
    >>> bottleneck.total_bits, bottleneck.codes(torch.zeros(5, 640)).shape
    (6, torch.Size([5, 2]))
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, n_state_entries: int, n_entries: int, entry_bits: int, hidden: int) -> None:
        super().__init__()
        why = "; a state without entries has nothing to keep, so take a model that carries some"
        check_integer("n_state_entries", n_state_entries, 1, why=why)
        check_integer("n_entries", n_entries, 1)
        check_integer("entry_bits", entry_bits, 1, MOST_ENTRY_BITS, why="; take more entries of fewer bits")
        self.n_entries, self.entry_bits = n_entries, entry_bits
        # Of states that are never evaluated (assumption A1); set where the bottleneck is trained.
        self.register_buffer("mean", torch.zeros(n_state_entries))
        self.register_buffer("scale", torch.ones(n_state_entries))
        self.codebooks = nn.Parameter(torch.zeros(n_entries, 2**entry_bits, n_state_entries))
        self.encoder = nn.Sequential(
            nn.Linear(n_state_entries, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, n_entries * 2**entry_bits),
        )

    @property
    def total_bits(self) -> int:
        """m b, the nominal memory at the cut, in bits."""
        return self.n_entries * self.entry_bits

    def standardised(self, entries: Tensor) -> Tensor:
        """States (B, E) with the frozen mean and scale taken out; entries that never vary are 0."""
        entries = entries.to(self.mean.dtype)  # models of any precision
        return torch.where(self.scale > 0, (entries - self.mean) / self.scale.clamp_min(1e-12), 0.0)

    def logits(self, entries: Tensor) -> Tensor:
        """Scores of every value of every entry, (B, m, 2^b), of states (B, E)."""
        scores: Tensor = self.encoder(self.standardised(entries)).unflatten(1, (self.n_entries, -1))
        return scores

    def codes(self, entries: Tensor) -> Tensor:
        """Codes (B, m), int64 in 0 .. 2^b - 1, of states (B, E): the hard rounding."""
        return self.logits(entries).argmax(-1)

    def decode(self, codes: Tensor) -> Tensor:
        """States (B, E) that stand for codes (B, m)."""
        places = torch.arange(self.n_entries, device=codes.device)
        return self.from_codewords(self.codebooks[places, codes].sum(1))

    def from_codewords(self, codewords: Tensor) -> Tensor:
        """States (B, E) of sums of codewords (B, E)."""
        state: Tensor = self.mean + self.scale * codewords
        return state


class BottleneckedModel(nn.Module):
    """A sequence model whose state at the cut is a code; answers from it as ``SequenceModel`` does from its state.

    There is no whole pass: without a cut there is no bottleneck.

    Parameters
    ----------
    model : CutModel
        Its answers must have gradients with respect to the state, if the bottleneck is to be trained.
    bottleneck : Bottleneck
    template : CutState
        A state at this cut, for its shapes: prefixes must be as long as the one it came from.
    """

    def __init__(self, model: CutModel, bottleneck: Bottleneck, template: CutState) -> None:
        super().__init__()
        self.model, self.bottleneck = model, bottleneck
        self._template = template.map(lambda value: value[:1].detach())

    @property
    def receptive_field(self) -> int | None:
        """That of the model."""
        return self.model.receptive_field

    def full_state(self, entries: Tensor) -> CutState:
        """The model's state with its values from ``entries`` (B, E)."""
        return self._template.map(lambda value: value.expand(len(entries), *value.shape[1:])).unflatten(entries)

    def prefill(self, prefix: Tensor) -> CutState:
        """The code of the state after a prefix (B, P): one tensor (B, m) of ``entry_bits`` an entry."""
        codes = self.bottleneck.codes(self.model.prefill(prefix).flatten())
        return CutState(((StateTensor("code", "recurrent", codes, self.bottleneck.entry_bits),),))

    def answer(self, state: CutState, suffix: Tensor) -> Tensor:
        """Logits (B, Q, vocab_size) at every position of a suffix (B, Q), from the code alone."""
        codes = state.layers[0][0].value
        return self.model.answer(self.full_state(self.bottleneck.decode(codes)), suffix)
