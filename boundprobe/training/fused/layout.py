"""Layout of the vectors that a fused step works on: a member's weights, and the activations kept of a sequence.

Glossary: T tokens in V vectors of ``LANES``, S = V LANES numbers to a row; D inner channels of Mamba, ``d_lanes``
numbers of them in whole vectors; N state entries, R the rank of dt, c taps; H heads of width E, w window.  A block is
``x + f(norm x)``, f a mixer or an MLP; its row of the plan has a place in each column below.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from boundprobe.kernels.simd.compilation import Array
from boundprobe.kernels.simd.vectors import LANES
from boundprobe.kernels.window.positions import ROTARY_BASE, RotaryPosition
from boundprobe.models.attention import SlidingWindowAttention
from boundprobe.models.mamba import Mamba
from boundprobe.models.stack import SequenceModel
from boundprobe.training.fused.products import NONE

#: Kinds of blocks, and of the norms before them.
MLP, MAMBA, ATTENTION, READOUT = range(4)
NO_NORM, LAYER_NORM, RMS_NORM = range(3)
#: Steps of the scan whose states the backward pass holds at once.
CHUNK = 64

# Columns of every block: input, output, the input after the norm, mean and scale of the norm, gradients.
(KIND, NORM, NORM_WEIGHT, NORM_BIAS, X, OUT, NORMED, STATISTICS, GRAD_X, GRAD_NORMED) = range(10)
# Of an MLP: weights, then the hidden features, their slopes and their gradients.
(WEIGHT_1, BIAS_1, WEIGHT_2, BIAS_2, HIDDEN, SLOPE, GRAD_HIDDEN) = range(10, 17)
# Of attention: weights; q, k and v; softmax; output of the heads; and gradients.
(QKV, QKV_BIAS, OUT_WEIGHT, OUT_BIAS, RELATIVE, HEADS, SOFTMAX, HEADS_OUT, GRAD_O, GRAD_P, GRAD_QKV) = range(10, 21)
# Of Mamba: weights; then what is kept, in the order in which it is made; and gradients.
(IN_WEIGHT, TAPS, TAPS_BIAS, X_WEIGHT, DT_WEIGHT, DT_BIAS, A_LOG, SKIP, OUT_PROJ) = range(10, 19)
(INPUTS, GATE, GATE_SLOPE, U, U_SLOPE, DT_B_C, DT, DT_SLOPE, U_LANES, DT_LANES, Y_LANES, BEFORE, GATED) = range(19, 32)
(A, STARTS, STATE, GRAD_A, GRAD_Z, GRAD_U, GRAD_IN, GRAD_DT_B_C, GRAD_Y, DECAYS, STATES, SUM_B, SUM_C) = range(32, 45)
N_COLUMNS = 45
# Of the readout: embedding, readout, logits that become their gradients, and places in the tables.
(EMBEDDING, READOUT_WEIGHT, LOGITS, SCRATCH, MASK, COS, SIN) = range(10, 17)


class Sizes(NamedTuple):
    """Numbers that hold for all blocks."""

    n_steps: int
    n_vectors: int
    step: int
    n_token_ids: int
    d_model: int
    hidden: int
    n_heads: int
    window: int
    rotary: int
    d_inner: int
    d_lanes: int
    d_state: int
    dt_rank: int
    n_taps: int
    precise: int


@dataclass(frozen=True)
class Plan:
    """Sizes, a row of places for each block and last the readout, constant tables, and numbers in the workspace."""

    sizes: Sizes
    blocks: Array
    tables: Array
    n_numbers: int


class _Space:
    """Places in the workspace, handed out from its start on; scratch is shared by the blocks of a kind."""

    def __init__(self) -> None:
        self.end = 0
        self._shared: dict[str, int] = {}

    def take(self, n_numbers: int) -> int:
        place, self.end = self.end, self.end + -(-n_numbers // LANES) * LANES
        return place

    def share(self, name: str, n_numbers: int) -> int:
        if name not in self._shared:
            self._shared[name] = self.take(n_numbers)
        return self._shared[name]


def make_plan(model: SequenceModel, n_steps: int, dtype: torch.dtype) -> Plan:
    """The plan of a model for sequences of T tokens."""
    spec, sizes = model.spec, _sizes(model, n_steps, dtype)
    places, at = {}, 0
    for name, value in model.named_parameters():
        places[name] = at
        at += value.numel()
    space = _Space()
    x = space.take(spec.d_model * sizes.step)
    rows = []
    for name, module, norm in _blocks(model):
        row = np.full(N_COLUMNS, NONE, np.int64)
        out = x if isinstance(module, nn.Linear) else space.take(spec.d_model * sizes.step)
        row[X], row[OUT] = x, out
        _place_norm(row, norm, places, sizes, space)
        _place_block(row, name, module, places, sizes, space)
        rows.append(row)
        x = out
    tables, rows[-1][MASK], rows[-1][COS], rows[-1][SIN] = _tables(sizes, dtype)
    return Plan(sizes, np.stack(rows), tables, space.end)


def _blocks(model: SequenceModel) -> list[tuple[str, nn.Module, tuple[str, nn.Module]]]:
    """Name and module of each block and of its norm, from input to output."""
    found: list[tuple[str, nn.Module, tuple[str, nn.Module]]] = []
    layer: Any
    for i, layer in enumerate(model.layers):
        branch = layer.branches[0]
        name = f"layers.{i}.branches.0"
        found.append((f"{name}.mixer", branch.mixer, (f"{name}.norm", branch.norm)))
        if layer.mlp is not None:
            found.append((f"layers.{i}.mlp", layer.mlp, (f"layers.{i}.mlp.0", layer.mlp[0])))
    return [*found, ("", model.readout, ("norm", model.norm))]


def _sizes(model: SequenceModel, n_steps: int, dtype: torch.dtype) -> Sizes:
    spec = model.spec
    n_vectors, d_inner = -(-n_steps // LANES), spec.expand * spec.d_model
    ranks = [module.dt_rank for module in model.modules() if isinstance(module, Mamba)]
    rotary = any(isinstance(module, RotaryPosition) for module in model.modules())
    return Sizes(
        n_steps, n_vectors, n_vectors * LANES, model.embedding.num_embeddings, spec.d_model,
        spec.mlp_ratio * spec.d_model, spec.n_heads, min(spec.window, n_steps), int(rotary), d_inner,
        -(-d_inner // LANES) * LANES, spec.d_state, max(ranks, default=0), spec.d_conv, int(dtype == torch.float64),
    )  # fmt: skip


def _place_norm(row: Array, norm: tuple[str, nn.Module], places: dict[str, int], s: Sizes, space: _Space) -> None:
    name, module = norm
    kinds = {nn.Identity: NO_NORM, nn.LayerNorm: LAYER_NORM, nn.RMSNorm: RMS_NORM}
    row[NORM] = kinds[type(module)]
    row[NORM_WEIGHT], row[NORM_BIAS] = (places.get(f"{name}.{part}", NONE) for part in ("weight", "bias"))
    row[NORMED] = row[X] if row[NORM] == NO_NORM else space.take(s.d_model * s.step)
    row[STATISTICS] = space.take(2 * s.step)
    row[GRAD_X] = space.share("grad_x", s.d_model * s.step)
    row[GRAD_NORMED] = row[GRAD_X] if row[NORM] == NO_NORM else space.share("grad_normed", s.d_model * s.step)


def _place_block(row: Array, name: str, module: nn.Module, places: dict[str, int], s: Sizes, space: _Space) -> None:
    if isinstance(module, Mamba):
        _place_mamba(row, name, places, s, space)
    elif isinstance(module, SlidingWindowAttention):
        _place_attention(row, name, places, s, space)
    elif isinstance(module, nn.Sequential):
        row[KIND] = MLP
        names = ("1.weight", "1.bias", "3.weight", "3.bias")
        row[WEIGHT_1 : BIAS_2 + 1] = [places[f"{name}.{part}"] for part in names]
        row[HIDDEN], row[SLOPE] = (space.take(s.hidden * s.step) for _ in range(2))
        row[GRAD_HIDDEN] = space.share("grad_hidden", s.hidden * s.step)
    else:
        row[KIND] = READOUT
        row[EMBEDDING], row[READOUT_WEIGHT] = places["embedding.weight"], places["readout.weight"]
        row[LOGITS], row[SCRATCH] = space.take(s.n_token_ids * s.step), space.take(2 * LANES)


def _place_attention(row: Array, name: str, places: dict[str, int], s: Sizes, space: _Space) -> None:
    """Rows of q, k and v have w - 1 zeros before and behind; rows of what is summed over later queries behind."""
    row[KIND], pad = ATTENTION, s.window - 1
    names = ("qkv.weight", "qkv.bias", "out.weight", "out.bias")
    row[QKV : OUT_BIAS + 1] = [places[f"{name}.{part}"] for part in names]
    row[RELATIVE] = places.get(f"{name}.position.relative", NONE)
    row[HEADS] = space.take(3 * s.d_model * (s.step + 2 * pad)) + pad
    row[SOFTMAX] = space.take(s.n_heads * s.window * (s.step + pad))
    row[HEADS_OUT] = space.take(s.d_model * s.step)
    row[GRAD_O] = space.share("grad_o", s.d_model * (s.step + pad))
    row[GRAD_P] = space.share("grad_p", s.window * (s.step + pad))
    row[GRAD_QKV] = space.share("grad_qkv", 3 * s.d_model * s.step)


def _place_mamba(row: Array, name: str, places: dict[str, int], s: Sizes, space: _Space) -> None:
    """Rows of the convolution's inputs have c - 1 zeros before, those of its gradients behind."""
    row[KIND], pad = MAMBA, s.n_taps - 1
    names = (
        "in_proj.weight", "conv1d.weight", "conv1d.bias", "x_proj.weight", "dt_proj.weight", "dt_proj.bias", "A_log",
        "D", "out_proj.weight",
    )  # fmt: skip
    row[IN_WEIGHT : OUT_PROJ + 1] = [places[f"{name}.{part}"] for part in names]
    padded, wide, narrow = s.d_inner * (s.step + pad), s.d_lanes * s.step, s.dt_rank + 2 * s.d_state
    of_state = s.d_lanes * s.d_state
    row[INPUTS] = space.take(padded) + pad
    for column in (GATE, GATE_SLOPE, U, U_SLOPE, DT, DT_SLOPE, U_LANES, DT_LANES, BEFORE, GATED):
        row[column] = space.take(wide)
    row[DT_B_C] = space.take(narrow * s.step)
    row[A], row[GRAD_A] = space.take(of_state), space.take(of_state)
    row[STARTS] = space.take(-(-s.n_steps // CHUNK) * of_state)
    row[Y_LANES] = space.share("y_lanes", wide)
    row[STATE] = space.share("state", of_state)
    row[GRAD_Z] = space.share("grad_z", padded)
    row[GRAD_U], row[GRAD_Y] = space.share("grad_u", wide), space.share("grad_y", wide)
    row[GRAD_IN] = space.share("grad_in", 2 * wide)
    row[GRAD_DT_B_C] = space.share("grad_dt_b_c", narrow * s.step)
    n_held = min(CHUNK, s.n_steps) * s.d_state * LANES
    row[DECAYS], row[STATES] = space.share("decays", n_held), space.share("states", n_held + s.d_state * LANES)
    row[SUM_B], row[SUM_C] = space.share("sum_b", n_held), space.share("sum_c", n_held)


def _tables(s: Sizes, dtype: torch.dtype) -> tuple[Array, int, int, int]:
    """Mask of keys before the first, then cosines and sines (E/2, S) of rotary positions, and their places."""
    half = s.d_model // s.n_heads // 2
    exponents = torch.arange(half, dtype=dtype) / max(half, 1)
    angles = torch.arange(s.step, dtype=dtype)[:, None] * ROTARY_BASE ** (-exponents)[None, :]
    mask = torch.zeros(s.window - 1 + s.step, dtype=dtype)
    mask[: s.window - 1] = -torch.inf
    tables = torch.cat([mask, angles.cos().t().flatten(), angles.sin().t().flatten()])
    return tables.numpy(), s.window - 1, len(mask), len(mask) + half * s.step
