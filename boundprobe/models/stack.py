"""A sequence model: embedding, a stack of residual mixer layers, a norm, and a read-out."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from boundprobe.models.attention import SlidingWindowAttention
from boundprobe.models.mamba import Mamba
from boundprobe.models.memory import CutState, LayerState
from boundprobe.models.scan import check_backend
from boundprobe.models.spec import ModelSpec


class AttentionLayer(nn.Module):
    """x + attention(norm x), then x + MLP(norm x) where the spec has one."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(spec.d_model)
        self.mixer = SlidingWindowAttention(spec.d_model, spec.n_heads, spec.window)
        hidden = spec.mlp_ratio * spec.d_model
        self.mlp = (
            nn.Sequential(
                nn.LayerNorm(spec.d_model),
                nn.Linear(spec.d_model, hidden),
                nn.GELU(),
                nn.Linear(hidden, spec.d_model),
            )
            if hidden
            else None
        )

    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        """(B, T, d_model) and the state before it -> (B, T, d_model) and the state after it."""
        y, state = self.mixer(self.norm(x), state)
        x = x + y
        if self.mlp is not None:
            x = x + self.mlp(x)
        return x, state


class MambaLayer(nn.Module):
    """x + mamba(norm x)."""

    def __init__(self, spec: ModelSpec, scan: str) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(spec.d_model, eps=1e-5)
        self.mixer = Mamba(spec.d_model, spec.d_state, spec.d_conv, spec.expand, scan)

    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        """(B, T, d_model) and the state before it -> (B, T, d_model) and the state after it."""
        y, state = self.mixer(self.norm(x), state)
        return x + y, state


class SequenceModel(nn.Module):
    """Causal stack of mixers whose memory is an object.

    ``forward`` reads whole sequences; ``prefill`` reads a prefix and returns the state at the cut, all that
    ``answer`` knows of it.  The three agree: ``model(cat(prefix, suffix))[:, P:]`` is
    ``model.answer(model.prefill(prefix), suffix)``.

    Parameters
    ----------
    spec : ModelSpec
    vocab_size : int
        Tokens in, and classes out.
    scan : str
        Backend of the selective scan.

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

    def __init__(self, spec: ModelSpec, vocab_size: int, scan: str = "time-major") -> None:
        super().__init__()
        check_backend(scan)
        self.spec = spec
        self.embedding = nn.Embedding(vocab_size, spec.d_model)
        build: dict[str, Callable[[], nn.Module]] = {
            "attn": lambda: AttentionLayer(spec),
            "mamba": lambda: MambaLayer(spec, scan),
        }
        self.layers = nn.ModuleList(build[mixer]() for mixer in spec.layers)
        self.norm = nn.LayerNorm(spec.d_model)
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

    @property
    def n_params(self) -> int:
        """Number of trainable parameters."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)
