"""DeltaNet: a matrix-valued state for each head, updated by the delta rule.

Glossary, code to paper (Yang et al. 2024, arXiv 2406.06484, sections 2 and 3):
B batch, T new tokens, H heads in G groups that share queries and keys, K = d_state key width of a head, V = d_value
value width of a head (d_model / H unless given);
``beta`` is the strength of a correction (B, T, H), ``s`` is S transposed, the recurrent state (B, H, K, V).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from boundprobe.checks import check_integer
from boundprobe.kernels.backends import check_backend
from boundprobe.kernels.conv.operation import SHORT_CONVOLUTION, short_convolution
from boundprobe.kernels.linear.operations import DELTA_RULE, delta_rule
from boundprobe.kernels.narrow_linear import NarrowLinear
from boundprobe.models.heads import KeyValueHeads
from boundprobe.models.memory import LayerState, StateTensor
from boundprobe.models.mixer import AbstractMixer

LENGTH_EPS = 1e-6  # added to squared lengths, as in flash-linear-attention and transformers


def split_heads(u: Tensor, heads: KeyValueHeads) -> tuple[Tensor, Tensor, Tensor]:
    """Queries and keys of length 1 (B, T, H, K) and values (B, T, H, V) from (B, T, 2 G K + H V).

    Keys of length 1 make I - beta k k^T a contraction for beta in [0, 2], and a projection for beta 1.
    """
    q, k, v = u.split([heads.n_keys, heads.n_keys, heads.n_values], dim=-1)
    q, k = (share_groups(of_unit_length(part.unflatten(-1, (heads.n_groups, -1))), heads) for part in (q, k))
    return q, k, v.unflatten(-1, (heads.n_heads, -1))


def of_unit_length(x: Tensor) -> Tensor:
    """x / sqrt(sum of squares + 1e-6) in the last axis, as the published layers have it, half precision in float32."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    scaled: Tensor = wide * (wide.square().sum(-1, keepdim=True) + LENGTH_EPS).rsqrt()
    return scaled.to(x.dtype)


def split_groups(u: Tensor, heads: KeyValueHeads) -> tuple[Tensor, Tensor, Tensor]:
    """Queries and keys (B, T, G, K) and values (B, T, H, V), as they are, from (B, T, 2 G K + H V)."""
    q, k, v = u.split([heads.n_keys, heads.n_keys, heads.n_values], dim=-1)
    q, k = (part.unflatten(-1, (heads.n_groups, -1)) for part in (q, k))
    return q, k, v.unflatten(-1, (heads.n_heads, -1))


def share_groups(x: Tensor, heads: KeyValueHeads) -> Tensor:
    """Hand each group's queries or keys (B, T, G, K) to all of its heads: (B, T, H, K)."""
    if heads.n_groups == heads.n_heads:
        return x
    return x[..., None, :].expand(*x.shape[:-1], heads.n_heads // heads.n_groups, -1).flatten(-3, -2)


class DeltaNet(AbstractMixer):
    """Linear attention with the delta rule: S_t = S_{t-1} + beta_t k_t (v_t - S_{t-1}^T k_t)^T;  o_t = S_t^T q_t.

    q, k and v are SiLU(convolution(x W)), q and k brought to length 1; beta_t = beta_max sigmoid(x_t W_beta); the
    output is RMSNorm(o_t) W_O.  With ``beta_max`` 2 the transition I - beta_t k_t k_t^T has eigenvalues down to -1,
    with which the state can keep a parity (Grazzi et al. 2024, arXiv 2411.12537).

    The state has H K V recurrent entries, d_state * d_model unless ``d_value`` is given, and
    (d_conv - 1) * (2 G K + H V) in the convolution's buffer.

    Parameters
    ----------
    d_model, n_heads, d_state, d_conv : int
        ``n_heads`` must divide ``d_model``; ``d_state`` is the width of the keys of one head.  With ``d_conv`` 1
        nothing is convolved and the buffer is empty.
    backend : str
        Of ``boundprobe.kernels.linear.delta_rule`` or of ``boundprobe.kernels.conv``.
    d_value : int
        Width of the values of one head; 0: ``d_model / n_heads``.
    n_groups : int
        Groups of heads that share queries and keys; 0: ``n_heads``.
    beta_max : int
        1, or 2 for negative eigenvalues.

    Raises
    ------
    ValueError
        If heads or groups do not divide, or no backend has that name.
    """

    state_names = ("inputs", "s")

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        d_state: int,
        d_conv: int,
        backend: str = "auto",
        *,
        d_value: int = 0,
        n_groups: int = 0,
        beta_max: int = 1,
    ) -> None:
        super().__init__()
        self.heads = heads = KeyValueHeads.of(d_model, n_heads, d_state, d_value, n_groups)
        self.beta_max = check_integer("beta_max", beta_max, 1, 2)
        self.backend = check_backend(backend, DELTA_RULE, SHORT_CONVOLUTION)
        d_convolved = heads.n_convolved
        self.in_proj = nn.Linear(d_model, d_convolved, bias=False)
        self.conv1d = nn.Conv1d(d_convolved, d_convolved, d_conv, groups=d_convolved, bias=False)
        self.beta_proj = NarrowLinear(d_model, n_heads, bias=False)
        self.norm = nn.RMSNorm(heads.d_value, eps=1e-5)
        self.out_proj = nn.Linear(heads.n_values, d_model, bias=False)

    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        """Mix (B, T, d_model) after ``state``; return the output (B, T, d_model) and the state after it.

        The state is the convolution's last ``d_conv - 1`` inputs (B, d_conv - 1, 2GK + HV) and ``s`` (B, H, K, V).
        """
        buffer, s = (tensor.value for tensor in state) if state else (None, None)
        u, buffer = short_convolution(
            self.conv1d, self.in_proj(x), buffer, backend=SHORT_CONVOLUTION.own_or_auto(self.backend)
        )
        q, k, v = split_heads(u, self.heads)
        beta = self.beta_proj(x).sigmoid() * self.beta_max  # (B, T, H)
        o, s = delta_rule(q, k, v, beta, initial_state=s, backend=DELTA_RULE.own_or_auto(self.backend))
        out: Tensor = self.out_proj(self.norm(o).flatten(-2))
        return out, (StateTensor("inputs", "conv", buffer), StateTensor("s", "recurrent", s))
