"""A Mamba layer that looks back at its own state, compressed, at the ends of chunks.

Glossary: as in ``mamba``; C = chunk tokens, W = window summaries at most, H heads, E = d_model / H,
``s_j`` the summary of chunk j, of tokens jC+1 .. (j+1)C.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from boundprobe.checks import check_integer
from boundprobe.models.attention import check_heads
from boundprobe.models.mamba import Mamba
from boundprobe.models.memory import LayerState, StateTensor
from boundprobe.models.mixer import AbstractMixer


class MambaChunks(AbstractMixer):
    """Mamba's output plus attention over compressed states of the past.

    After every ``chunk`` tokens the recurrent state is compressed, ``s_j = compress(h_{(j+1)C})``, d_model numbers,
    and kept; at most the last ``window`` are.  Position t in chunk m sees the summaries of the chunks that
    ended before its own, j < m, and one learned entry, so that the first chunk has something to look at::

        y_t = mamba(x)_t + out(sum_j softmax_j(query(x_t) . (key(s_j) + r_{m-1-j}) / sqrt(E)) value(s_j))

    with learned key vectors r by age, as for the distances of Shaw et al. 2018 (arXiv 1803.02155, eq. 4).  The last
    token of a chunk does not see its summary; the next one does.

    The design is ours, after the idea of section 4 of Cooper, Diakonikolas, Ma, Sala 2026 (arXiv 2603.08859) that a
    state space model summarises a long context and hands the summary to attention.

    How far the current chunk has come is public time, the same for every sequence.  It is carried in the shape of
    a state tensor, ``phase`` (B, tokens read of the chunk, 0), that has no entries and so costs no bits.

    Parameters
    ----------
    d_model, d_state, d_conv, expand : int
        As in ``Mamba``.
    n_heads : int
        Divides ``d_model``.
    window : int
        Summaries that are kept, at least 1: positions see back ``window`` chunks through attention.
    chunk : int, in tokens, at least 1
    backend : str
        Backend of the selective scan, called once a chunk.

    Raises
    ------
    ValueError
        If a size is not allowed.

    Examples
    --------
    >>> layer = MambaChunks(4, 3, 2, 2, n_heads=1, window=5, chunk=3, backend="reference")
    >>> _, state = layer(torch.zeros(1, 8, 4))
    >>> [(tensor.name, tuple(tensor.value.shape)) for tensor in state]
    [('inputs', (1, 1, 8)), ('h', (1, 8, 3)), ('summaries', (1, 2, 4)), ('phase', (1, 2, 0))]
    """

    state_names = ("inputs", "h", "summaries", "phase")

    def __init__(
        self, d_model: int, d_state: int, d_conv: int, expand: int, n_heads: int, window: int, chunk: int, backend: str
    ) -> None:
        super().__init__()
        check_heads(d_model, n_heads)
        self.n_heads, self.window = n_heads, check_integer("window", window, 1)
        self.chunk = check_integer("chunk", chunk, 1)
        self.mamba = Mamba(d_model, d_state, d_conv, expand, backend)
        self.compress = nn.Linear(expand * d_model * d_state, d_model)
        self.query = nn.Linear(d_model, d_model)
        self.key_value = nn.Linear(d_model, 2 * d_model)
        self.out = nn.Linear(d_model, d_model)
        self.null = nn.Parameter(torch.randn(1, d_model) * d_model**-0.5)
        self.ages = nn.Parameter(torch.randn(window, d_model) * (d_model // n_heads) ** -0.5)  # r, the oldest first

    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        """Mix (B, T, d_model) after ``state``; return the output (B, T, d_model) and the state after it.

        The state is Mamba's (``inputs``, ``h``), the summaries (B, at most W, d_model), the oldest first, and the
        phase (B, 0 to C - 1, 0).
        """
        if state:
            buffer, h, summaries, clock = (tensor.value for tensor in state)
            phase = clock.shape[1]
        else:
            buffer, h, summaries, phase = None, None, x.new_zeros(x.shape[0], 0, x.shape[2]), 0
        u, gate, buffer = self.mamba.enter(x, buffer)
        dt, b, c = self.mamba.select(u)
        y, h, ends = self._scan_chunks((u, F.softplus(dt), b, c), h, phase)
        n_before = summaries.shape[1]
        if ends:
            summaries = torch.cat([summaries, self.compress(torch.stack(ends, dim=1))], dim=1)
        y = self.mamba.leave(y, u, gate) + self._look_back(x, summaries, n_before, phase)
        return y, (
            *self.mamba.as_state(buffer, h),
            StateTensor("summaries", "cache", summaries[:, -self.window :]),
            StateTensor("phase", "cache", x.new_zeros(x.shape[0], (phase + x.shape[1]) % self.chunk, 0)),
        )

    def _scan_chunks(
        self, inputs: tuple[Tensor, ...], h: Tensor | None, phase: int
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Scan in pieces that end where chunks end: y (B, T, D), the last h, and h (B, D * N) at each chunk's end."""
        n_new = inputs[0].shape[1]
        first = min(self.chunk - phase, n_new)
        whole, rest = divmod(n_new - first, self.chunk)
        lengths = [first, *[self.chunk] * whole, *[rest] * (rest > 0)]
        outputs, ends = [], []
        # Split at once: the gradient of a slice is as long as what it was cut from.
        for u, dt, b, c in zip(*(tensor.split(lengths, dim=1) for tensor in inputs), strict=True):
            y, h_end = self.mamba.recur(u, dt, b, c, h)
            outputs.append(y)
            phase = (phase + u.shape[1]) % self.chunk
            if phase == 0:
                ends.append(h_end.flatten(1))
            h = h_end
        return torch.cat(outputs, dim=1), h_end, ends

    def _look_back(self, x: Tensor, summaries: Tensor, n_before: int, phase: int) -> Tensor:
        """Attention of (B, T, d_model) over summaries (B, n, d_model), ``n_before`` of them made before x.

        Pieces are the parts of x in each chunk, side by side; all positions of a piece see the same V = min(W, n)
        places for summaries, of which the first may be from before there were any.
        """
        n_new, n_seen = x.shape[1], min(self.window, summaries.shape[1])
        n_pieces = -(-(phase + n_new) // self.chunk)
        queries = F.pad(self.query(x), (0, 0, phase, n_pieces * self.chunk - phase - n_new))
        q = queries.unflatten(1, (n_pieces, self.chunk)).unflatten(-1, (self.n_heads, -1))  # (B, pieces, C, H, E)
        # Piece p sees summaries n_before + p - V to n_before + p - 1; V empty ones stand in front of the first.
        first = n_before + torch.arange(n_pieces, device=x.device)
        places = first[:, None] + torch.arange(n_seen, device=x.device)  # (pieces, V)
        made = F.pad(self.key_value(summaries), (0, 0, n_seen, 0))[:, places]  # (B, pieces, V, 2 d_model)
        null = self.key_value(self.null).expand(x.shape[0], n_pieces, 1, -1)
        k, v = torch.cat([null, made], dim=2).unflatten(-1, (2, self.n_heads, -1)).unbind(3)  # (B, pieces, 1 + V, H, E)
        ages = F.pad(self.ages[self.window - n_seen :], (0, 0, 1, 0))  # none for the null entry
        k = k + ages.unflatten(-1, (self.n_heads, -1))
        hidden = F.pad(places < n_seen, (1, 0))[:, None, None]  # (pieces, 1, 1, 1 + V)
        scores = torch.einsum("bpche,bpshe->bphcs", q * q.shape[-1] ** -0.5, k).masked_fill(hidden, -torch.inf)
        wide = torch.promote_types(q.dtype, torch.float32)  # half-precision scores are exponentiated in float32
        mixed = torch.einsum("bphcs,bpshe->bpche", scores.softmax(dim=-1, dtype=wide).to(v.dtype), v)
        y: Tensor = self.out(mixed.flatten(-2).flatten(1, 2)[:, phase : phase + n_new])
        return y
