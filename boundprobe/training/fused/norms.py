"""Norms before blocks in compiled functions: RMSNorm and LayerNorm (Zhang and Sennrich 2019, arXiv 1910.07467, eq. 4).

With m the mean over features (0 for RMSNorm) and r = 1 / sqrt(mean (x - m)^2 + eps):

    y = (x - m) r w + b             with z = (x - m) r and g = gy w: gx = r (g - mean g - z mean(g z)),

without ``mean g`` for RMSNorm; gw = sum_t gy z and gb = sum_t gy.
"""

from __future__ import annotations

from boundprobe.kernels.simd.compilation import Array, part
from boundprobe.kernels.simd.vectors import LANES, load_from, store_to
from boundprobe.training.fused.layout import (
    GRAD_NORMED,
    GRAD_X,
    LAYER_NORM,
    NO_NORM,
    NORM,
    NORM_BIAS,
    NORM_WEIGHT,
    NORMED,
    STATISTICS,
    Sizes,
    X,
)
from boundprobe.training.fused.products import add_lanes, add_rows
from boundprobe.training.fused.vector_math import like, root, spread_from

EPSILON = 1e-5


@part
def norm_forward(s: Sizes, row: Array, weights: Array, work: Array) -> None:
    """Write the input after the norm, and mean and scale."""
    if row[NORM] == NO_NORM:
        return
    x, y, statistics, w, b = row[X], row[NORMED], row[STATISTICS], row[NORM_WEIGHT], row[NORM_BIAS]
    for v in range(s.n_vectors):
        k = v * LANES
        first = load_from(work, x + k)
        zero = like(first, 0.0)
        share = like(first, 1 / s.d_model)
        mean, square = zero, zero
        if row[NORM] == LAYER_NORM:
            for i in range(s.d_model):
                mean = mean + load_from(work, x + i * s.step + k)
            mean = mean * share
        for i in range(s.d_model):
            z = load_from(work, x + i * s.step + k) - mean
            square = z * z + square
        scale = like(first, 1.0) / root(square * share + like(first, EPSILON))
        store_to(work, statistics + k, mean)
        store_to(work, statistics + s.step + k, scale)
        for i in range(s.d_model):
            out = (load_from(work, x + i * s.step + k) - mean) * scale * spread_from(weights, w + i)
            if b >= 0:
                out = out + spread_from(weights, b + i)
            store_to(work, y + i * s.step + k, out)


@part
def norm_backward(s: Sizes, row: Array, weights: Array, work: Array, sums: Array) -> None:
    """Add to the gradient of x that of the input after the norm, and to those of the weights."""
    if row[NORM] == NO_NORM:
        return
    x, statistics, w, g_y, g_x = row[X], row[STATISTICS], row[NORM_WEIGHT], row[GRAD_NORMED], row[GRAD_X]
    for v in range(s.n_vectors):
        k = v * LANES
        mean, scale = load_from(work, statistics + k), load_from(work, statistics + s.step + k)
        zero, share = like(mean, 0.0), like(mean, 1 / s.d_model)
        mean_g, mean_gz = zero, zero
        for i in range(s.d_model):
            z = (load_from(work, x + i * s.step + k) - mean) * scale
            g_out = load_from(work, g_y + i * s.step + k)
            add_lanes(sums, w + i, g_out * z)
            g = g_out * spread_from(weights, w + i)
            mean_g, mean_gz = mean_g + g, g * z + mean_gz
        mean_g, mean_gz = mean_g * share, mean_gz * share
        if row[NORM] != LAYER_NORM:
            mean_g = zero
        for i in range(s.d_model):
            z = (load_from(work, x + i * s.step + k) - mean) * scale
            g = load_from(work, g_y + i * s.step + k) * spread_from(weights, w + i)
            at = g_x + i * s.step + k
            store_to(work, at, (g - mean_g - z * mean_gz) * scale + load_from(work, at))
    if row[NORM_BIAS] >= 0:
        add_rows(s.d_model, s.n_vectors, work, g_y, s.step, sums, row[NORM_BIAS])
