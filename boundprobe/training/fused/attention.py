"""Attention in a sliding window of one sequence in compiled functions, queries in the lanes.

Equations and names are those of ``boundprobe.kernels.window.numba_kernels``.  Softmax and its gradient are kept by
distance, p[d, t] for the key at t - d, so that the queries of eight places meet keys that lie side by side.  The
gradients of keys and values are gathered, gk_s = sum_d ga[d, s+d] q_{s+d}: nothing is written to a place twice.
"""

from __future__ import annotations

import math
from typing import Any

from boundprobe.kernels.simd.compilation import Array, part
from boundprobe.kernels.simd.vectors import LANES, broadcast, exponential, larger, load_from, store_to
from boundprobe.training.fused.compilation import once
from boundprobe.training.fused.layout import (
    COS,
    GRAD_NORMED,
    GRAD_O,
    GRAD_P,
    GRAD_QKV,
    GRAD_X,
    HEADS,
    HEADS_OUT,
    MASK,
    NO_NORM,
    NORM,
    NORMED,
    OUT,
    OUT_BIAS,
    OUT_WEIGHT,
    QKV,
    QKV_BIAS,
    RELATIVE,
    SIN,
    SOFTMAX,
    Sizes,
    X,
)
from boundprobe.training.fused.products import NONE, add_lanes, add_outer, add_rows, product
from boundprobe.training.fused.vector_math import like, spread_from


@part
def _turn(
    s: Sizes, tables: Array, cos: int, sin: int, sign: float, factor: float, work: Array, x: int, step: int
) -> None:  # fmt: skip
    """Rotate the rows (E, S) of a head by the angles of their places, or back where ``sign`` is -1, and scale."""
    width = s.d_model // s.n_heads
    half = width // 2
    if s.rotary == 0:
        for e in range(width):
            for k in range(x + e * step, x + e * step + s.step, LANES):
                y = load_from(work, k)
                store_to(work, k, y * like(y, factor))
        return
    for e in range(half):
        for k in range(0, s.step, LANES):
            i, j = x + e * step + k, x + (e + half) * step + k
            first, second = load_from(work, i), load_from(work, j)
            c = load_from(tables, cos + e * s.step + k) * like(first, factor)
            n = load_from(tables, sin + e * s.step + k) * like(first, sign * factor)
            store_to(work, i, first * c - second * n)
            store_to(work, j, second * c + first * n)


@part
def _softmax(s: Sizes, tables: Array, mask: int, weights: Array, relative: int, work: Array, q: int, k: int, p: int,
             t: int) -> None:  # fmt: skip
    """Weights of the keys that are seen from eight places from t on; q, k and p are where they start in time."""
    width, pad, step = s.d_model // s.n_heads, s.window - 1, s.step + 2 * (s.window - 1)
    n_seen, p_step = min(s.window, t + LANES), s.step + pad
    most = load_from(tables, mask + t)
    for d in range(n_seen):
        score = load_from(tables, mask + t - d)
        if relative >= 0:
            for e in range(width):
                key = load_from(work, k + e * step + t - d) + spread_from(weights, relative + d * width + e)
                score = load_from(work, q + e * step + t) * key + score
        else:
            for e in range(width):
                score = load_from(work, q + e * step + t) * load_from(work, k + e * step + t - d) + score
        store_to(work, p + d * p_step + t, score)
        most = score if d == 0 else larger(most, score)
    sum_p = like(most, 0.0)
    for d in range(n_seen):
        share = exponential(load_from(work, p + d * p_step + t) - most)
        store_to(work, p + d * p_step + t, share)
        sum_p = sum_p + share
    share = like(most, 1.0) / sum_p
    for d in range(n_seen):
        store_to(work, p + d * p_step + t, load_from(work, p + d * p_step + t) * share)


@once
def attention_forward(s: Sizes, row: Array, last: Array, weights: Array, tables: Array, work: Array) -> None:
    """Write the output, and keep the turned queries and keys, the values and the softmax."""
    d, n, pad, width = s.d_model, s.n_vectors, s.window - 1, s.d_model // s.n_heads
    step, p_step, zero = s.step + 2 * pad, s.step + pad, broadcast(work.dtype.type(0))
    product(n_out=3 * d, n_in=d, n_vectors=n, weights=weights, w=row[QKV], w_out=d, w_in=1, bias=row[QKV_BIAS],
            x=work, of_x=row[NORMED], x_step=s.step, start=NONE, y=row[HEADS], y_step=step)  # fmt: skip
    for head in range(s.n_heads):
        q = row[HEADS] + head * width * step
        k = q + d * step
        v, p, o = k + d * step, row[SOFTMAX] + head * s.window * p_step, row[HEADS_OUT] + head * width * s.step
        _turn(s, tables, last[COS], last[SIN], 1.0, 1 / math.sqrt(width), work, q, step)
        if s.rotary > 0:
            _turn(s, tables, last[COS], last[SIN], 1.0, 1.0, work, k, step)
        for t in range(0, s.step, LANES):
            _softmax(s, tables, last[MASK], weights, row[RELATIVE], work, q, k, p, t)
            for e in range(width):
                y: Any = zero
                for i in range(min(s.window, t + LANES)):
                    y = load_from(work, p + i * p_step + t) * load_from(work, v + e * step + t - i) + y
                store_to(work, o + e * s.step + t, y)
    product(n_out=d, n_in=d, n_vectors=n, weights=weights, w=row[OUT_WEIGHT], w_out=d, w_in=1, bias=row[OUT_BIAS],
            x=work, of_x=row[HEADS_OUT], x_step=s.step, start=row[X], y=row[OUT], y_step=s.step)  # fmt: skip


@part
def _back_to_queries(s: Sizes, row: Array, weights: Array, work: Array, head: int, sums: Array) -> None:
    """Write the gradients of scores and of turned queries; add to those of learned positions."""
    d, pad, width, zero = s.d_model, s.window - 1, s.d_model // s.n_heads, broadcast(work.dtype.type(0))
    step, p_step, relative = s.step + 2 * pad, s.step + pad, row[RELATIVE]
    q, p, g_p = row[HEADS] + head * width * step, row[SOFTMAX] + head * s.window * p_step, row[GRAD_P]
    k, v, g_o = q + d * step, q + 2 * d * step, row[GRAD_O] + head * width * p_step
    for t in range(0, s.step, LANES):
        n_seen = min(s.window, t + LANES)
        mean: Any = zero
        for i in range(n_seen):
            g: Any = zero
            for e in range(width):
                g = load_from(work, g_o + e * p_step + t) * load_from(work, v + e * step + t - i) + g
            store_to(work, g_p + i * p_step + t, g)
            mean = load_from(work, p + i * p_step + t) * g + mean
        for i in range(n_seen):
            g = load_from(work, p + i * p_step + t) * (load_from(work, g_p + i * p_step + t) - mean)
            store_to(work, g_p + i * p_step + t, g)
        for e in range(width):
            y: Any = zero
            for i in range(n_seen):
                key = load_from(work, k + e * step + t - i)
                if relative >= 0:
                    key = key + spread_from(weights, relative + i * width + e)
                y = load_from(work, g_p + i * p_step + t) * key + y
            store_to(work, row[GRAD_QKV] + (head * width + e) * s.step + t, y)
    if relative >= 0:
        for i in range(s.window):
            for e in range(width):
                y = zero
                for t in range(i // LANES * LANES, s.step, LANES):
                    y = load_from(work, g_p + i * p_step + t) * load_from(work, q + e * step + t) + y
                add_lanes(sums, relative + i * width + e, y)


@part
def _back_to_keys(s: Sizes, row: Array, work: Array, head: int) -> None:
    """Write the gradients of turned keys and of values."""
    d, pad, width = s.d_model, s.window - 1, s.d_model // s.n_heads
    step, p_step = s.step + 2 * pad, s.step + pad
    q, p, g_p = row[HEADS] + head * width * step, row[SOFTMAX] + head * s.window * p_step, row[GRAD_P]
    g_o, g_k = row[GRAD_O] + head * width * p_step, row[GRAD_QKV] + (d + head * width) * s.step
    g_v = g_k + d * s.step
    for t in range(0, s.step, LANES):
        n_later = min(s.window, s.step - t)
        for e in range(width):
            y: Any = broadcast(work.dtype.type(0))
            z: Any = y
            for i in range(n_later):
                at = i * p_step + t + i
                y = load_from(work, g_p + at) * load_from(work, q + e * step + t + i) + y
                z = load_from(work, p + at) * load_from(work, g_o + e * p_step + t + i) + z
            store_to(work, g_k + e * s.step + t, y)
            store_to(work, g_v + e * s.step + t, z)


@once
def attention_backward(s: Sizes, row: Array, last: Array, weights: Array, tables: Array, work: Array, sums: Array
                       ) -> None:  # fmt: skip
    """Add to the gradients of the weights; write that of the input after the norm, or add it where there is none."""
    d, n, step, width, g_out = s.d_model, s.n_vectors, s.step, s.d_model // s.n_heads, row[GRAD_X]
    add_outer(d, d, n, work, g_out, step, row[HEADS_OUT], step, sums, row[OUT_WEIGHT])
    add_rows(d, n, work, g_out, step, sums, row[OUT_BIAS])
    product(n_out=d, n_in=d, n_vectors=n, weights=weights, w=row[OUT_WEIGHT], w_out=1, w_in=d, bias=NONE, x=work,
            of_x=g_out, x_step=step, start=NONE, y=row[GRAD_O], y_step=step + s.window - 1)  # fmt: skip
    for head in range(s.n_heads):
        _back_to_queries(s, row, weights, work, head, sums)
        _back_to_keys(s, row, work, head)
        g_q = row[GRAD_QKV] + head * width * step
        _turn(s, tables, last[COS], last[SIN], -1.0, 1 / math.sqrt(width), work, g_q, step)
        if s.rotary > 0:
            _turn(s, tables, last[COS], last[SIN], -1.0, 1.0, work, g_q + d * step, step)
    add_outer(3 * d, d, n, work, row[GRAD_QKV], step, row[NORMED], step, sums, row[QKV])
    add_rows(3 * d, n, work, row[GRAD_QKV], step, sums, row[QKV_BIAS])
    product(n_out=d, n_in=3 * d, n_vectors=n, weights=weights, w=row[QKV], w_out=1, w_in=d, bias=NONE, x=work,
            of_x=row[GRAD_QKV], x_step=step, start=row[GRAD_X] if row[NORM] == NO_NORM else NONE,
            y=row[GRAD_NORMED], y_step=step)  # fmt: skip
