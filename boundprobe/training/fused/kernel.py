"""Losses and gradients of all members in one compiled function, sequence by sequence.

What a sequence needs stays in the cache of a core from the embedding to the gradient of the embedding.  A member is
computed alike whoever is beside it, and its gradients are summed in the order of its sequences.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from numba import int64, types, void

from boundprobe.kernels.simd.compilation import SCALARS, Array, Kernel
from boundprobe.kernels.simd.vectors import horizontal_sum, load
from boundprobe.training.fused.attention import attention_backward, attention_forward
from boundprobe.training.fused.compilation import compiled, once
from boundprobe.training.fused.layout import ATTENTION, KIND, MAMBA, Sizes
from boundprobe.training.fused.mamba import mamba_backward, mamba_begin, mamba_end, mamba_forward
from boundprobe.training.fused.mlp import mlp_backward, mlp_forward
from boundprobe.training.fused.norms import norm_backward, norm_forward
from boundprobe.training.fused.readout import embed, embed_back, read_out


@once
def _read_sequence(
    s: Sizes, plan: Array, tables: Array, weights: Array, gradient: Array, tokens: Array, targets: Array,
    n_asked: float, work: Array, sums: Array,
) -> float:  # fmt: skip
    """The sum of cross-entropies of one sequence; add to the gradients of the weights."""
    n_blocks = len(plan) - 1
    last = plan[n_blocks]
    embed(s, plan[0], last, weights, tokens, work)
    for i in range(n_blocks):
        row = plan[i]
        norm_forward(s, row, weights, work)
        if row[KIND] == MAMBA:
            mamba_forward(s, row, weights, work)
        elif row[KIND] == ATTENTION:
            attention_forward(s, row, last, weights, tables, work)
        else:
            mlp_forward(s, row, weights, work)
    norm_forward(s, last, weights, work)
    loss: float = read_out(s, last, weights, targets, n_asked, work, sums)
    norm_backward(s, last, weights, work, sums)
    for i in range(n_blocks - 1, -1, -1):
        row = plan[i]
        if row[KIND] == MAMBA:
            mamba_backward(s, row, weights, work, sums)
        elif row[KIND] == ATTENTION:
            attention_backward(s, row, last, weights, tables, work, sums)
        else:
            mlp_backward(s, row, weights, work, sums)
        norm_backward(s, row, weights, work, sums)
    embed_back(s, last, tokens, work, gradient)
    return loss


def _add_gradients(
    s: Sizes, plan: Array, tables: Array, values: Array, gradients: Array, tokens: Array, targets: Array,
    n_asked: Array, work: Array, sums: Array, losses: Array,
) -> None:  # fmt: skip
    """Write the losses (M,), and add to the gradients (M, P)."""
    n_members, n_weights = values.shape
    for member in range(n_members):
        weights, gradient = values[member], gradients[member]
        sums[:] = 0
        for i in range(len(plan) - 1):
            if plan[i, KIND] == MAMBA:
                mamba_begin(s, plan[i], weights, work)
        loss = 0.0
        for i in range(tokens.shape[1]):
            loss += _read_sequence(
                s, plan, tables, weights, gradient, tokens[member, i], targets[member, i], n_asked[member], work, sums
            )
        for j in range(n_weights):
            gradient[j] += horizontal_sum(load(sums, j))
        for i in range(len(plan) - 1):
            if plan[i, KIND] == MAMBA:
                mamba_end(s, plan[i], work, gradient)
        losses[member] = loss / n_asked[member]


@cache
def kernel(dtype: str) -> Kernel:
    """``_add_gradients`` for "float32" or "float64", compiled on the first call."""
    scalar = SCALARS[dtype]
    sizes: Any = types.NamedUniTuple(int64, len(Sizes._fields), Sizes)  # type: ignore[no-untyped-call]
    signature = void(
        sizes, int64[:, ::1], scalar[::1], *[scalar[:, ::1]] * 2, *[int64[:, :, ::1]] * 2, int64[::1],
        *[scalar[::1]] * 3,
    )  # fmt: skip
    function: Kernel = compiled(_add_gradients, signature)
    return function
