"""The long short-term memory, as a mixer.

Glossary, code to paper (Hochreiter and Schmidhuber 1997, Neural Computation 9(8); forget gate: Gers et al. 2000,
Neural Computation 12(10)): B batch, T new tokens, M = expand * d_model cells; ``h`` is the output y^c of the cells and
``c`` their inner state s_c, both (B, M).  Weights and biases are laid out as in ``torch.nn.LSTM``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from boundprobe.models.gates import sigmoid
from boundprobe.models.memory import LayerState, StateTensor
from boundprobe.models.mixer import AbstractMixer


class LSTM(AbstractMixer):
    """c_t = f_t * c_{t-1} + i_t * g_t;  h_t = o_t * tanh(c_t);  the output is h_t W_out.

    i, f, o are sigmoids and g is the tanh of x_t W_ih^T + b_ih + h_{t-1} W_hh^T + b_hh, in the order i, f, g, o.

    The state has 2 * expand * d_model recurrent entries, h and c: in float32 64 * expand * d_model bits.

    Parameters
    ----------
    d_model, expand : int
        The layer has ``expand * d_model`` cells.
    """

    state_names = ("h", "c")

    def __init__(self, d_model: int, expand: int) -> None:
        super().__init__()
        n_cells = expand * d_model
        bound = n_cells**-0.5  # as in torch.nn.LSTM
        self.weight_ih = nn.Parameter(torch.empty(4 * n_cells, d_model).uniform_(-bound, bound))
        self.weight_hh = nn.Parameter(torch.empty(4 * n_cells, n_cells).uniform_(-bound, bound))
        self.bias_ih = nn.Parameter(torch.empty(4 * n_cells).uniform_(-bound, bound))
        self.bias_hh = nn.Parameter(torch.empty(4 * n_cells).uniform_(-bound, bound))
        self.out_proj = nn.Linear(n_cells, d_model, bias=False)

    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        """Mix (B, T, d_model) after ``state``; return the output (B, T, d_model) and the state after it.

        The state is ``h`` and ``c``, (B, M) each.
        """
        wide = torch.promote_types(x.dtype, torch.float32)  # half precision would lose a little at each of T steps
        if state:
            h, c = (tensor.value.to(wide) for tensor in state)
        else:
            h = c = x.new_zeros(x.shape[0], self.out_proj.in_features, dtype=wide)
        from_inputs = F.linear(x, self.weight_ih, self.bias_ih + self.bias_hh).to(wide)  # (B, T, 4M)
        weight_hh, outputs = self.weight_hh.to(wide), []
        # A loop, because torch.nn.LSTM has no batching rule for ensembles (torch.func.vmap).
        for from_input in from_inputs.unbind(1):
            i, f, g, o = (from_input + F.linear(h, weight_hh)).chunk(4, dim=-1)
            c = sigmoid(f) * c + sigmoid(i) * g.tanh()
            h = sigmoid(o) * c.tanh()
            outputs.append(h)
        y: Tensor = self.out_proj(torch.stack(outputs, dim=1).to(x.dtype))
        return y, (StateTensor("h", "recurrent", h.to(x.dtype)), StateTensor("c", "recurrent", c.to(x.dtype)))
