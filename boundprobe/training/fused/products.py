"""Small matrix products in compiled functions, several tokens in the lanes of a vector.

Glossary: x, y and their gradients are rows, one for each feature, of V vectors of ``LANES`` tokens; rows are ``step``
numbers apart.  W[o, i] is a single number.  A tile of sums is held in registers, 4 features by 3.
"""

from __future__ import annotations

from typing import Any

from boundprobe.kernels.simd.compilation import Array, part
from boundprobe.kernels.simd.vectors import LANES, broadcast, load, load_from, store, store_to
from boundprobe.training.fused.vector_math import spread_from

NONE = -1  # in place of a place: there is nothing of the kind


@part
def _tile(
    n_in: int, weights: Array, w0: int, w_out: int, w_in: int, x: Array, of_x: int, x_step: int, y: int, y_step: int
) -> None:
    """Add four rows of three vectors to y."""
    w1, w2, w3 = w0 + w_out, w0 + 2 * w_out, w0 + 3 * w_out
    y1, y2, y3 = y + y_step, y + 2 * y_step, y + 3 * y_step
    s00 = load_from(x, y)
    s01 = load_from(x, y + LANES)
    s02 = load_from(x, y + 2 * LANES)
    s10 = load_from(x, y1)
    s11 = load_from(x, y1 + LANES)
    s12 = load_from(x, y1 + 2 * LANES)
    s20 = load_from(x, y2)
    s21 = load_from(x, y2 + LANES)
    s22 = load_from(x, y2 + 2 * LANES)
    s30 = load_from(x, y3)
    s31 = load_from(x, y3 + LANES)
    s32 = load_from(x, y3 + 2 * LANES)
    for i in range(n_in):
        at, k = of_x + i * x_step, i * w_in
        x0 = load_from(x, at)
        x1 = load_from(x, at + LANES)
        x2 = load_from(x, at + 2 * LANES)
        f0 = spread_from(weights, w0 + k)
        s00 = f0 * x0 + s00
        s01 = f0 * x1 + s01
        s02 = f0 * x2 + s02
        f1 = spread_from(weights, w1 + k)
        s10 = f1 * x0 + s10
        s11 = f1 * x1 + s11
        s12 = f1 * x2 + s12
        f2 = spread_from(weights, w2 + k)
        s20 = f2 * x0 + s20
        s21 = f2 * x1 + s21
        s22 = f2 * x2 + s22
        f3 = spread_from(weights, w3 + k)
        s30 = f3 * x0 + s30
        s31 = f3 * x1 + s31
        s32 = f3 * x2 + s32
    store_to(x, y, s00)
    store_to(x, y + LANES, s01)
    store_to(x, y + 2 * LANES, s02)
    store_to(x, y1, s10)
    store_to(x, y1 + LANES, s11)
    store_to(x, y1 + 2 * LANES, s12)
    store_to(x, y2, s20)
    store_to(x, y2 + LANES, s21)
    store_to(x, y2 + 2 * LANES, s22)
    store_to(x, y3, s30)
    store_to(x, y3 + LANES, s31)
    store_to(x, y3 + 2 * LANES, s32)


@part
def _column(
    n_in: int, weights: Array, w0: int, w_out: int, w_in: int, x: Array, of_x: int, x_step: int, y: int, y_step: int
) -> None:
    """Add four rows of one vector to y."""
    y1, y2, y3 = y + y_step, y + 2 * y_step, y + 3 * y_step
    s0 = load_from(x, y)
    s1 = load_from(x, y1)
    s2 = load_from(x, y2)
    s3 = load_from(x, y3)
    for i in range(n_in):
        x0, k = load_from(x, of_x + i * x_step), w0 + i * w_in
        s0 = spread_from(weights, k) * x0 + s0
        s1 = spread_from(weights, k + w_out) * x0 + s1
        s2 = spread_from(weights, k + 2 * w_out) * x0 + s2
        s3 = spread_from(weights, k + 3 * w_out) * x0 + s3
    store_to(x, y, s0)
    store_to(x, y1, s1)
    store_to(x, y2, s2)
    store_to(x, y3, s3)


@part
def product(
    n_out: int, n_in: int, n_vectors: int, weights: Array, w: int, w_out: int, w_in: int, bias: int,
    x: Array, of_x: int, x_step: int, start: int, y: int, y_step: int,
) -> None:  # fmt: skip
    """y_o = start_o + bias_o + sum_i W[o, i] x_i, with W[o, i] at ``w + o w_out + i w_in``.

    ``bias`` and ``start`` may be ``NONE``; ``start`` has the steps of y and may be y itself.
    """
    if start != y:
        for o in range(n_out):
            for p in range(o * y_step, o * y_step + n_vectors * LANES, LANES):
                first: Any = load_from(x, start + p) if start >= 0 else broadcast(x.dtype.type(0))
                store_to(x, y + p, first)
    if bias >= 0:
        for o in range(n_out):
            for p in range(y + o * y_step, y + o * y_step + n_vectors * LANES, LANES):
                store_to(x, p, load_from(x, p) + spread_from(weights, bias + o))
    n_fours, n_threes = n_out - n_out % 4, (n_vectors - n_vectors % 3) * LANES
    for o in range(0, n_fours, 4):
        w0, y0 = w + o * w_out, y + o * y_step
        for p in range(0, n_threes, 3 * LANES):
            _tile(n_in, weights, w0, w_out, w_in, x, of_x + p, x_step, y0 + p, y_step)
        for p in range(n_threes, n_vectors * LANES, LANES):
            _column(n_in, weights, w0, w_out, w_in, x, of_x + p, x_step, y0 + p, y_step)
    for o in range(n_fours, n_out):
        for p in range(0, n_vectors * LANES, LANES):
            at = y + o * y_step + p
            s = load_from(x, at)
            for i in range(n_in):
                s = spread_from(weights, w + o * w_out + i * w_in) * load_from(x, of_x + i * x_step + p) + s
            store_to(x, at, s)


@part
def add_lanes(sums: Array, at: int, value: Any) -> None:
    """Add to a group of lanes."""
    store(sums, at, load(sums, at) + value)


@part
def add_outer(
    n_out: int, n_in: int, n_vectors: int, x: Array, of_g: int, g_step: int, of_x: int, x_step: int,
    sums: Array, w: int,
) -> None:  # fmt: skip
    """W[o, i] at ``w + o n_in + i`` of ``sums`` gets the lanes of sum_t g_o x_i."""
    zero: Any = broadcast(x.dtype.type(0))
    for o in range(0, n_out - n_out % 4, 4):
        g0 = of_g + o * g_step
        g1, g2, g3 = g0 + g_step, g0 + 2 * g_step, g0 + 3 * g_step
        w0 = w + o * n_in
        w1, w2, w3 = w0 + n_in, w0 + 2 * n_in, w0 + 3 * n_in
        for i in range(0, n_in - n_in % 3, 3):
            p = of_x + i * x_step
            q, r = p + x_step, p + 2 * x_step
            y00, y01, y02, y10, y11, y12 = zero, zero, zero, zero, zero, zero
            y20, y21, y22, y30, y31, y32 = zero, zero, zero, zero, zero, zero
            for v in range(n_vectors):
                k = v * LANES
                x0, x1, x2 = load_from(x, p + k), load_from(x, q + k), load_from(x, r + k)
                g = load_from(x, g0 + k)
                y00, y01, y02 = g * x0 + y00, g * x1 + y01, g * x2 + y02
                g = load_from(x, g1 + k)
                y10, y11, y12 = g * x0 + y10, g * x1 + y11, g * x2 + y12
                g = load_from(x, g2 + k)
                y20, y21, y22 = g * x0 + y20, g * x1 + y21, g * x2 + y22
                g = load_from(x, g3 + k)
                y30, y31, y32 = g * x0 + y30, g * x1 + y31, g * x2 + y32
            add_lanes(sums, w0 + i, y00)
            add_lanes(sums, w0 + i + 1, y01)
            add_lanes(sums, w0 + i + 2, y02)
            add_lanes(sums, w1 + i, y10)
            add_lanes(sums, w1 + i + 1, y11)
            add_lanes(sums, w1 + i + 2, y12)
            add_lanes(sums, w2 + i, y20)
            add_lanes(sums, w2 + i + 1, y21)
            add_lanes(sums, w2 + i + 2, y22)
            add_lanes(sums, w3 + i, y30)
            add_lanes(sums, w3 + i + 1, y31)
            add_lanes(sums, w3 + i + 2, y32)
        for i in range(n_in - n_in % 3, n_in):
            p = of_x + i * x_step
            y00, y10, y20, y30 = zero, zero, zero, zero
            for v in range(n_vectors):
                k = v * LANES
                x0 = load_from(x, p + k)
                y00, y10 = load_from(x, g0 + k) * x0 + y00, load_from(x, g1 + k) * x0 + y10
                y20, y30 = load_from(x, g2 + k) * x0 + y20, load_from(x, g3 + k) * x0 + y30
            add_lanes(sums, w0 + i, y00)
            add_lanes(sums, w1 + i, y10)
            add_lanes(sums, w2 + i, y20)
            add_lanes(sums, w3 + i, y30)
    for o in range(n_out - n_out % 4, n_out):
        for i in range(n_in):
            y00 = zero
            for v in range(n_vectors):
                k = v * LANES
                y00 = load_from(x, of_g + o * g_step + k) * load_from(x, of_x + i * x_step + k) + y00
            add_lanes(sums, w + o * n_in + i, y00)


@part
def add_rows(n_out: int, n_vectors: int, x: Array, of_g: int, g_step: int, sums: Array, b: int) -> None:
    """The bias b_o at ``b + o`` of ``sums`` gets the lanes of sum_t g_o."""
    for o in range(n_out):
        y: Any = broadcast(x.dtype.type(0))
        for v in range(n_vectors):
            y = y + load_from(x, of_g + o * g_step + v * LANES)
        add_lanes(sums, b + o, y)
