"""DeltaNet: a matrix-valued state for each head, updated by the delta rule.

Glossary, code to paper (Yang et al. 2024, arXiv 2406.06484, sections 2 and 3):
B batch, T new tokens, H heads, K = d_state key width of a head, V = d_model / H value width of a head;
``beta`` is the strength of a correction (B, T, H), ``s`` is S transposed, the recurrent state (B, H, K, V).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from boundprobe.kernels.backends import check_backend
from boundprobe.kernels.conv.operation import SHORT_CONVOLUTION, short_convolution
from boundprobe.kernels.linear.operations import DELTA_RULE, delta_rule
from boundprobe.kernels.narrow_linear import NarrowLinear
from boundprobe.models.memory import LayerState, StateTensor
from boundprobe.models.mixer import AbstractMixer


def split_heads(u: Tensor, n_heads: int, d_state: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries and keys of length 1 (B, T, H, K) and values (B, T, H, V) from (B, T, 2 H K + H V).

    Keys of length 1 make I - beta k k^T a contraction for beta in [0, 2], and a projection for beta 1.
    """
    d_keys = n_heads * d_state
    q, k, v = (
        part.unflatten(-1, (n_heads, -1)) for part in u.split([d_keys, d_keys, u.shape[-1] - 2 * d_keys], dim=-1)
    )
    return F.normalize(q, dim=-1, eps=1e-6), F.normalize(k, dim=-1, eps=1e-6), v


class DeltaNet(AbstractMixer):
    """Linear attention with the delta rule: S_t = S_{t-1} + beta_t k_t (v_t - S_{t-1}^T k_t)^T;  o_t = S_t^T q_t.

    q, k and v are SiLU(convolution(x W)), q and k brought to length 1; beta_t = sigmoid(x_t W_beta); the output is
    RMSNorm(o_t) W_O.

    The state has d_state * d_model recurrent entries, whatever n_heads is, and
    (d_conv - 1) * (2 * n_heads * d_state + d_model) in the convolution's buffer.

    Parameters
    ----------
    d_model, n_heads, d_state, d_conv : int
        ``n_heads`` must divide ``d_model``; ``d_state`` is the width of the keys of one head.  With ``d_conv`` 1
        nothing is convolved and the buffer is empty.
    backend : str
        Of ``boundprobe.kernels.linear.delta_rule`` or of ``boundprobe.kernels.conv``.

    Raises
    ------
    ValueError
        If ``n_heads`` does not divide, or no backend has that name.
    """

    state_names = ("inputs", "s")

    def __init__(self, d_model: int, n_heads: int, d_state: int, d_conv: int, backend: str = "auto") -> None:
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"`n_heads` must divide d_model={d_model}; got {n_heads}.")
        self.n_heads, self.d_state = n_heads, d_state
        self.backend = check_backend(backend, DELTA_RULE, SHORT_CONVOLUTION)
        d_convolved = 2 * n_heads * d_state + d_model
        self.in_proj = nn.Linear(d_model, d_convolved, bias=False)
        self.conv1d = nn.Conv1d(d_convolved, d_convolved, d_conv, groups=d_convolved, bias=False)
        self.beta_proj = NarrowLinear(d_model, n_heads, bias=False)
        self.norm = nn.RMSNorm(d_model // n_heads, eps=1e-5)
        self.out_proj = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        """Mix (B, T, d_model) after ``state``; return the output (B, T, d_model) and the state after it.

        The state is the convolution's last ``d_conv - 1`` inputs (B, d_conv - 1, 2HK + d_model) and ``s`` (B, H, K, V).
        """
        buffer, s = (tensor.value for tensor in state) if state else (None, None)
        u, buffer = short_convolution(
            self.conv1d, self.in_proj(x), buffer, backend=SHORT_CONVOLUTION.own_or_auto(self.backend)
        )
        q, k, v = split_heads(u, self.n_heads, self.d_state)
        beta = self.beta_proj(x).sigmoid()  # (B, T, H)
        o, s = delta_rule(q, k, v, beta, initial_state=s, backend=DELTA_RULE.own_or_auto(self.backend))
        out: Tensor = self.out_proj(self.norm(o).flatten(-2))
        return out, (StateTensor("inputs", "conv", buffer), StateTensor("s", "recurrent", s))
