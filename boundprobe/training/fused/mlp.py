"""The MLP of a layer in compiled functions: y = x + b2 + W2 gelu(b1 + W1 norm x)."""

from __future__ import annotations

from boundprobe.kernels.simd.compilation import Array
from boundprobe.kernels.simd.vectors import LANES, load_from, store_to
from boundprobe.training.fused.compilation import once
from boundprobe.training.fused.layout import (
    BIAS_1,
    BIAS_2,
    GRAD_HIDDEN,
    GRAD_NORMED,
    GRAD_X,
    HIDDEN,
    NO_NORM,
    NORM,
    NORMED,
    OUT,
    SLOPE,
    WEIGHT_1,
    WEIGHT_2,
    Sizes,
    X,
)
from boundprobe.training.fused.products import NONE, add_outer, add_rows, product
from boundprobe.training.fused.vector_math import gelu


@once
def mlp_forward(s: Sizes, row: Array, weights: Array, work: Array) -> None:
    """Write the output, and keep the hidden features and the slopes of GELU there."""
    d, f, n, step, hidden, slope = s.d_model, s.hidden, s.n_vectors, s.step, row[HIDDEN], row[SLOPE]
    product(n_out=f, n_in=d, n_vectors=n, weights=weights, w=row[WEIGHT_1], w_out=d, w_in=1, bias=row[BIAS_1],
            x=work, of_x=row[NORMED], x_step=step, start=NONE, y=hidden, y_step=step)  # fmt: skip
    for k in range(0, f * step, LANES):
        y, slope_of_y = gelu(load_from(work, hidden + k), s.precise > 0)
        store_to(work, hidden + k, y)
        store_to(work, slope + k, slope_of_y)
    product(n_out=d, n_in=f, n_vectors=n, weights=weights, w=row[WEIGHT_2], w_out=f, w_in=1, bias=row[BIAS_2],
            x=work, of_x=hidden, x_step=step, start=row[X], y=row[OUT], y_step=step)  # fmt: skip


@once
def mlp_backward(s: Sizes, row: Array, weights: Array, work: Array, sums: Array) -> None:
    """Add to the gradients of the weights; write that of the input after the norm, or add it where there is none."""
    d, f, n, step, g_out, g_hidden = s.d_model, s.hidden, s.n_vectors, s.step, row[GRAD_X], row[GRAD_HIDDEN]
    product(n_out=f, n_in=d, n_vectors=n, weights=weights, w=row[WEIGHT_2], w_out=1, w_in=f, bias=NONE,
            x=work, of_x=g_out, x_step=step, start=NONE, y=g_hidden, y_step=step)  # fmt: skip
    for k in range(0, f * step, LANES):
        store_to(work, g_hidden + k, load_from(work, g_hidden + k) * load_from(work, row[SLOPE] + k))
    add_outer(d, f, n, work, g_out, step, row[HIDDEN], step, sums, row[WEIGHT_2])
    add_rows(d, n, work, g_out, step, sums, row[BIAS_2])
    add_outer(f, d, n, work, g_hidden, step, row[NORMED], step, sums, row[WEIGHT_1])
    add_rows(f, n, work, g_hidden, step, sums, row[BIAS_1])
    product(n_out=d, n_in=f, n_vectors=n, weights=weights, w=row[WEIGHT_1], w_out=1, w_in=d, bias=NONE,
            x=work, of_x=g_hidden, x_step=step, start=row[GRAD_X] if row[NORM] == NO_NORM else NONE,
            y=row[GRAD_NORMED], y_step=step)  # fmt: skip
