"""Attention in a sliding window and its gradient as compiled loops on one core.

Glossary: N sequences of H heads of width E, as N H rows; T queries, S keys, P = S - T of them before the first query;
w window.  q, o (N, H, T, E), k, v (N, H, S, E); M members of an ensemble, or 1, with N / M sequences each.  ``cos`` and
``sin`` (S, E/2) are of the angles of rotary positions, (S, 0) without; ``relative`` r (M, w, E) are learned positions,
(M, 0, E) without.  With q' = q / sqrt(E), q' and k turned by their places, over the last w places s up to P + t:

    a_s = q'_t . (k_s + r_{P+t-s})        p = softmax(a)              o_t = sum_s p_s v_s
    gp_s = go_t . v_s                     ga_s = p_s (gp_s - sum_j p_j gp_j)
    gq'_t = sum_s ga_s (k_s + r)          gk_s = sum_t ga_s q'_t      gr_d: the same sum, over s = P + t - d
    gv_s = sum_t p_s go_t

``LANES`` rows are computed together, one in each lane, so that each is computed alike wherever it stands; nothing but
keys and values of those rows is held.  Lanes without a row hold zeros.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import types, void

from boundprobe.kernels.simd.compilation import SCALARS, Array, Kernel, compiled, part
from boundprobe.kernels.simd.vectors import LANES, broadcast, exponential, larger, load, store


@part
def _gather(lanes: Array, x: Array, first_row: int, start: int, stop: int) -> None:
    """Places ``start`` to ``stop`` of the rows from ``first_row`` on, (places, E) of lanes."""
    n_heads, width = x.shape[1], x.shape[3]
    for lane in range(min(LANES, x.shape[0] * n_heads - first_row)):
        sequence, head = divmod(first_row + lane, n_heads)
        for t in range(start, stop):
            for e in range(width):
                lanes[((t - start) * width + e) * LANES + lane] = x[sequence, head, t, e]


@part
def _scatter(lanes: Array, x: Array, first_row: int, start: int, stop: int) -> None:
    """The inverse of ``_gather``."""
    n_heads, width = x.shape[1], x.shape[3]
    for lane in range(min(LANES, x.shape[0] * n_heads - first_row)):
        sequence, head = divmod(first_row + lane, n_heads)
        for t in range(start, stop):
            for e in range(width):
                x[sequence, head, t, e] = lanes[((t - start) * width + e) * LANES + lane]


@part
def _turn(lanes: Array, cos: Array, sin: Array, start: int, stop: int, sign: float, width: int) -> None:
    """Rotate the vectors of places ``start`` to ``stop`` by their angles, or back where ``sign`` is -1."""
    half = cos.shape[1]
    for t in range(start, stop):
        for i in range(half):
            j = (t - start) * width + i
            c: Any = broadcast(cos[t, i])
            s: Any = broadcast(sign * sin[t, i])
            x, y = load(lanes, j), load(lanes, j + half)
            store(lanes, j, x * c - y * s)
            store(lanes, j + half, y * c + x * s)


@part
def _scale(lanes: Array, width: int, factor: float) -> None:
    for e in range(width):
        store(lanes, e, load(lanes, e) * broadcast(factor))


@part
def _gather_relative(lanes: Array, relative: Array, first_row: int, n_rows: int) -> None:
    """The learned positions of each row's member, (w, E) of lanes."""
    n_members, window, width = relative.shape
    for lane in range(min(LANES, n_rows - first_row)):
        member = (first_row + lane) * n_members // n_rows
        for d in range(window):
            for e in range(width):
                lanes[(d * width + e) * LANES + lane] = relative[member, d, e]


@part
def _softmax(p: Array, q: Array, k: Array, r: Array, newest: int, n_seen: int, width: int, learned: bool) -> None:
    """Weights of the ``n_seen`` keys up to ``newest``, the newest first."""
    one: Any = broadcast(p.dtype.type(1))
    zero: Any = broadcast(p.dtype.type(0))
    most: Any = broadcast(p.dtype.type(-np.inf))
    for d in range(n_seen):
        score, at = zero, (newest - d) * width
        if learned:
            for e in range(width):
                score = load(q, e) * (load(k, at + e) + load(r, d * width + e)) + score
        else:
            for e in range(width):
                score = load(q, e) * load(k, at + e) + score
        store(p, d, score)
        most = larger(most, score)
    total = zero
    for d in range(n_seen):
        weight = exponential(load(p, d) - most)
        store(p, d, weight)
        total = total + weight
    share = one / total
    for d in range(n_seen):
        store(p, d, load(p, d) * share)


def _forward(
    window: int, q: Array, k: Array, v: Array, cos: Array, sin: Array, relative: Array, o: Array
) -> None:  # fmt: skip
    """Write o (N, H, T, E)."""
    n_sequences, n_heads, n_new, width = q.shape
    n_rows, n_keys, n_before = n_sequences * n_heads, k.shape[2], k.shape[2] - n_new
    zero: Any = broadcast(q.dtype.type(0))
    factor, forwards, learned = q.dtype.type(1 / np.sqrt(width)), q.dtype.type(1), relative.shape[1] > 0
    keys, values = np.zeros(n_keys * width * LANES, q.dtype), np.zeros(n_keys * width * LANES, q.dtype)
    r = np.zeros(relative.shape[1] * width * LANES, q.dtype)
    query, out = np.zeros(width * LANES, q.dtype), np.empty(width * LANES, q.dtype)
    p = np.empty(min(window, n_keys) * LANES, q.dtype)
    for row in range(0, n_rows, LANES):
        _gather(keys, k, row, 0, n_keys)
        _gather(values, v, row, 0, n_keys)
        _turn(keys, cos, sin, 0, n_keys, forwards, width)
        _gather_relative(r, relative, row, n_rows)
        for t in range(n_new):
            newest = n_before + t
            n_seen = min(window, newest + 1)
            _gather(query, q, row, t, t + 1)
            _turn(query, cos, sin, newest, newest + 1, forwards, width)
            _scale(query, width, factor)
            _softmax(p, query, keys, r, newest, n_seen, width, learned)
            for e in range(width):
                y = zero
                for d in range(n_seen):
                    y = load(p, d) * load(values, (newest - d) * width + e) + y
                store(out, e, y)
            _scatter(out, o, row, t, t + 1)


def _backward(
    window: int, q: Array, k: Array, v: Array, cos: Array, sin: Array, relative: Array, grad_o: Array,
    grad_q: Array, grad_k: Array, grad_v: Array, grad_relative: Array,
) -> None:  # fmt: skip
    """Write the gradients of q, k and v, and add that of relative to what is there."""
    n_sequences, n_heads, n_new, width = q.shape
    n_rows, n_keys, n_before = n_sequences * n_heads, k.shape[2], k.shape[2] - n_new
    zero: Any = broadcast(q.dtype.type(0))
    factor, learned = q.dtype.type(1 / np.sqrt(width)), relative.shape[1] > 0
    forwards, backwards = q.dtype.type(1), q.dtype.type(-1)
    keys, values = np.zeros(n_keys * width * LANES, q.dtype), np.zeros(n_keys * width * LANES, q.dtype)
    grad_keys, grad_values = np.empty(keys.size, q.dtype), np.empty(keys.size, q.dtype)
    r, grad_r = (
        np.zeros(relative.shape[1] * width * LANES, q.dtype),
        np.empty(relative.shape[1] * width * LANES, q.dtype),
    )
    query, grad_query = np.zeros(width * LANES, q.dtype), np.empty(width * LANES, q.dtype)
    grad_out = np.zeros(width * LANES, q.dtype)
    p, grad_p = np.empty(min(window, n_keys) * LANES, q.dtype), np.empty(min(window, n_keys) * LANES, q.dtype)
    for row in range(0, n_rows, LANES):
        _gather(keys, k, row, 0, n_keys)
        _gather(values, v, row, 0, n_keys)
        _turn(keys, cos, sin, 0, n_keys, forwards, width)
        _gather_relative(r, relative, row, n_rows)
        grad_keys[:] = 0
        grad_values[:] = 0
        grad_r[:] = 0
        for t in range(n_new):
            newest = n_before + t
            n_seen = min(window, newest + 1)
            _gather(query, q, row, t, t + 1)
            _turn(query, cos, sin, newest, newest + 1, forwards, width)
            _scale(query, width, factor)
            _gather(grad_out, grad_o, row, t, t + 1)
            _softmax(p, query, keys, r, newest, n_seen, width, learned)
            mean = zero
            for d in range(n_seen):
                at, weight, g = (newest - d) * width, load(p, d), zero
                for e in range(width):
                    go = load(grad_out, e)
                    g = go * load(values, at + e) + g
                    store(grad_values, at + e, weight * go + load(grad_values, at + e))
                store(grad_p, d, g)
                mean = weight * g + mean
            for d in range(n_seen):
                store(grad_p, d, load(p, d) * (load(grad_p, d) - mean))  # of the score
            for e in range(width):
                y, x = zero, load(query, e)
                for d in range(n_seen):
                    at, g = (newest - d) * width + e, load(grad_p, d)
                    y = g * load(keys, at) + y
                    store(grad_keys, at, g * x + load(grad_keys, at))
                    if learned:
                        y = g * load(r, d * width + e) + y
                        store(grad_r, d * width + e, g * x + load(grad_r, d * width + e))
                store(grad_query, e, y)
            _scale(grad_query, width, factor)
            _turn(grad_query, cos, sin, newest, newest + 1, backwards, width)
            _scatter(grad_query, grad_q, row, t, t + 1)
        _turn(grad_keys, cos, sin, 0, n_keys, backwards, width)
        _scatter(grad_keys, grad_k, row, 0, n_keys)
        _scatter(grad_values, grad_v, row, 0, n_keys)
        for lane in range(min(LANES, n_rows - row)):  # row after row, so that a member's sum is alone or beside others
            member = (row + lane) * grad_relative.shape[0] // n_rows
            for d in range(relative.shape[1]):
                for e in range(width):
                    grad_relative[member, d, e] += grad_r[(d * width + e) * LANES + lane]


def _inputs(scalar: Any) -> tuple[Any, ...]:
    """Types of window, q, k, v with any strides, cos, sin and relative."""
    return types.int64, *[types.Array(scalar, 4, "A")] * 3, *[scalar[:, ::1]] * 2, types.Array(scalar, 3, "A")


@cache
def forward_kernel(dtype: str) -> Kernel:
    """``_forward`` for "float32" or "float64", compiled on the first call."""
    scalar = SCALARS[dtype]
    kernel: Kernel = compiled(_forward, void(*_inputs(scalar), types.Array(scalar, 4, "A")))
    return kernel


@cache
def backward_kernel(dtype: str) -> Kernel:
    """``_backward`` for "float32" or "float64", compiled on the first call."""
    scalar = SCALARS[dtype]
    strided = types.Array(scalar, 4, "A")
    kernel: Kernel = compiled(_backward, void(*_inputs(scalar), *[strided] * 4, scalar[:, :, ::1]))
    return kernel
