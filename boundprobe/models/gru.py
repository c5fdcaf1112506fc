"""The gated recurrent unit, as a mixer.

Glossary, code to paper (Cho et al. 2014, arXiv 1406.1078, section 2.3): B batch, T new tokens, M = expand * d_model
units; ``h`` is the hidden state (B, M), ``r`` and ``z`` the reset and the update gate, ``n`` is h tilde.  As in
``torch.nn.GRU``, whose layout weights and biases have, r multiplies the product U h instead of h.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from boundprobe.models.gates import sigmoid
from boundprobe.models.memory import LayerState, StateTensor
from boundprobe.models.mixer import AbstractMixer


class GRU(AbstractMixer):
    """h_t = (1 - z_t) * n_t + z_t * h_{t-1};  the output is h_t W_out.

    r and z are sigmoids of x_t W_ih^T + b_ih + h_{t-1} W_hh^T + b_hh, and n = tanh(x_t W_in^T + b_in + r *
    (h_{t-1} W_hn^T + b_hn)), in the order r, z, n.

    The state has expand * d_model recurrent entries, h: in float32 32 * expand * d_model bits.

    Parameters
    ----------
    d_model, expand : int
        The layer has ``expand * d_model`` units.
    """

    state_names = ("h",)

    def __init__(self, d_model: int, expand: int) -> None:
        super().__init__()
        n_units = expand * d_model
        bound = n_units**-0.5  # as in torch.nn.GRU
        self.weight_ih = nn.Parameter(torch.empty(3 * n_units, d_model).uniform_(-bound, bound))
        self.weight_hh = nn.Parameter(torch.empty(3 * n_units, n_units).uniform_(-bound, bound))
        self.bias_ih = nn.Parameter(torch.empty(3 * n_units).uniform_(-bound, bound))
        self.bias_hh = nn.Parameter(torch.empty(3 * n_units).uniform_(-bound, bound))
        self.out_proj = nn.Linear(n_units, d_model, bias=False)

    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        """Mix (B, T, d_model) after ``state``; return the output (B, T, d_model) and the state after it.

        The state is ``h`` (B, M).
        """
        wide = torch.promote_types(x.dtype, torch.float32)  # half precision would lose a little at each of T steps
        h = state[0].value.to(wide) if state else x.new_zeros(x.shape[0], self.out_proj.in_features, dtype=wide)
        from_inputs = F.linear(x, self.weight_ih, self.bias_ih).to(wide)  # (B, T, 3M)
        weight_hh, bias_hh, outputs = self.weight_hh.to(wide), self.bias_hh.to(wide), []
        # A loop, because torch.nn.GRU has no batching rule for ensembles (torch.func.vmap).
        for from_input in from_inputs.unbind(1):
            from_hidden = F.linear(h, weight_hh, bias_hh)
            (r_in, z_in, n_in), (r_hid, z_hid, n_hid) = (u.chunk(3, dim=-1) for u in (from_input, from_hidden))
            r, z = sigmoid(r_in + r_hid), sigmoid(z_in + z_hid)
            n = (n_in + r * n_hid).tanh()
            h = (1 - z) * n + z * h
            outputs.append(h)
        y: Tensor = self.out_proj(torch.stack(outputs, dim=1).to(x.dtype))
        return y, (StateTensor("h", "recurrent", h.to(x.dtype)),)
