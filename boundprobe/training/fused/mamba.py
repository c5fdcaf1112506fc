"""A Mamba layer of one sequence in compiled functions; equations and names are those of ``boundprobe.models.mamba``."""

from __future__ import annotations

import math
from typing import Any

from boundprobe.kernels.simd.compilation import Array, part
from boundprobe.kernels.simd.vectors import LANES, broadcast, load_from, store_to
from boundprobe.training.fused.compilation import once
from boundprobe.training.fused.layout import (
    A_LOG,
    BEFORE,
    DT,
    DT_B_C,
    DT_BIAS,
    DT_LANES,
    DT_SLOPE,
    DT_WEIGHT,
    GATE,
    GATE_SLOPE,
    GATED,
    GRAD_A,
    GRAD_DT_B_C,
    GRAD_IN,
    GRAD_NORMED,
    GRAD_U,
    GRAD_X,
    GRAD_Y,
    GRAD_Z,
    IN_WEIGHT,
    INPUTS,
    NO_NORM,
    NORM,
    NORMED,
    OUT,
    OUT_PROJ,
    SKIP,
    TAPS,
    TAPS_BIAS,
    U_LANES,
    U_SLOPE,
    X_WEIGHT,
    Y_LANES,
    A,
    Sizes,
    U,
    X,
)
from boundprobe.training.fused.products import NONE, add_lanes, add_outer, add_rows, product
from boundprobe.training.fused.scan import scan_backward, scan_forward
from boundprobe.training.fused.vector_math import silu, softplus, spread_from, transpose


@part
def mamba_begin(s: Sizes, row: Array, weights: Array, work: Array) -> None:
    """Write a = -exp(A_log), channels in the lanes, once for all sequences of a member; its gradient starts from 0."""
    for d in range(s.d_inner):
        for n in range(s.d_state):
            j = (d // LANES * s.d_state + n) * LANES + d % LANES
            work[row[A] + j] = -math.exp(weights[row[A_LOG] + d * s.d_state + n])
    for j in range(s.d_lanes * s.d_state):
        work[row[GRAD_A] + j] = 0


@part
def mamba_end(s: Sizes, row: Array, work: Array, gradient: Array) -> None:
    """Add to the gradient of A_log: d(a) / d(A_log) = a."""
    for d in range(s.d_inner):
        for n in range(s.d_state):
            j = (d // LANES * s.d_state + n) * LANES + d % LANES
            gradient[row[A_LOG] + d * s.d_state + n] += work[row[GRAD_A] + j] * work[row[A] + j]


@part
def _to_lanes(s: Sizes, work: Array, rows: int, lanes: int) -> None:
    """From rows (d_lanes, S) to (S, d_lanes)."""
    for d in range(0, s.d_lanes, LANES):
        for t in range(0, s.step, LANES):
            transpose(work, rows + d * s.step + t, s.step, work, lanes + t * s.d_lanes + d, s.d_lanes)


@part
def _to_rows(s: Sizes, work: Array, lanes: int, rows: int) -> None:
    """The inverse of ``_to_lanes``."""
    for d in range(0, s.d_lanes, LANES):
        for t in range(0, s.step, LANES):
            transpose(work, lanes + t * s.d_lanes + d, s.d_lanes, work, rows + d * s.step + t, s.step)


@part
def _convolve(s: Sizes, row: Array, weights: Array, work: Array) -> None:
    """u = silu(bias + sum_i w_i x_{t-(c-1)+i}), and its slope."""
    pad, u, u_slope = s.n_taps - 1, row[U], row[U_SLOPE]
    for d in range(s.d_inner):
        x = row[INPUTS] + d * (s.step + pad) - pad
        for k in range(0, s.step, LANES):
            z = spread_from(weights, row[TAPS_BIAS] + d)
            for i in range(s.n_taps):
                z = spread_from(weights, row[TAPS] + d * s.n_taps + i) * load_from(work, x + k + i) + z
            y, slope = silu(z)
            store_to(work, u + d * s.step + k, y)
            store_to(work, u_slope + d * s.step + k, slope)


@part
def _convolve_back(s: Sizes, row: Array, weights: Array, work: Array, sums: Array) -> None:
    """From the gradient of u to that of the convolution's input, and those of its weights."""
    pad = s.n_taps - 1
    for d in range(s.d_inner):
        x, g_z = row[INPUTS] + d * (s.step + pad) - pad, row[GRAD_Z] + d * (s.step + pad)
        for k in range(0, s.step, LANES):
            at = d * s.step + k
            g = load_from(work, row[GRAD_U] + at) * load_from(work, row[U_SLOPE] + at)
            store_to(work, g_z + k, g)
        for i in range(s.n_taps):
            y: Any = broadcast(work.dtype.type(0))
            for k in range(0, s.step, LANES):
                y = load_from(work, g_z + k) * load_from(work, x + k + i) + y
            add_lanes(sums, row[TAPS] + d * s.n_taps + i, y)
        for k in range(0, s.step, LANES):
            g_x: Any = broadcast(work.dtype.type(0))
            for i in range(s.n_taps):
                g_x = spread_from(weights, row[TAPS] + d * s.n_taps + i) * load_from(work, g_z + k + pad - i) + g_x
            store_to(work, row[GRAD_IN] + d * s.step + k, g_x)
    add_rows(s.d_inner, s.n_vectors, work, row[GRAD_Z], s.step + pad, sums, row[TAPS_BIAS])


@once
def mamba_forward(s: Sizes, row: Array, weights: Array, work: Array) -> None:
    """Write the output, and keep what the backward pass needs."""
    d, inner, n, step, narrow = s.d_model, s.d_inner, s.n_vectors, s.step, s.dt_rank + 2 * s.d_state
    product(n_out=inner, n_in=d, n_vectors=n, weights=weights, w=row[IN_WEIGHT], w_out=d, w_in=1, bias=NONE, x=work,
            of_x=row[NORMED], x_step=step, start=NONE, y=row[INPUTS], y_step=step + s.n_taps - 1)  # fmt: skip
    product(n_out=inner, n_in=d, n_vectors=n, weights=weights, w=row[IN_WEIGHT] + inner * d, w_out=d, w_in=1,
            bias=NONE, x=work, of_x=row[NORMED], x_step=step, start=NONE, y=row[GATE], y_step=step)  # fmt: skip
    _convolve(s, row, weights, work)
    product(n_out=narrow, n_in=inner, n_vectors=n, weights=weights, w=row[X_WEIGHT], w_out=inner, w_in=1, bias=NONE,
            x=work, of_x=row[U], x_step=step, start=NONE, y=row[DT_B_C], y_step=step)  # fmt: skip
    product(n_out=inner, n_in=s.dt_rank, n_vectors=n, weights=weights, w=row[DT_WEIGHT], w_out=s.dt_rank, w_in=1,
            bias=row[DT_BIAS], x=work, of_x=row[DT_B_C], x_step=step, start=NONE, y=row[DT], y_step=step)  # fmt: skip
    for k in range(0, inner * step, LANES):
        dt, slope = softplus(load_from(work, row[DT] + k))
        store_to(work, row[DT] + k, dt)
        store_to(work, row[DT_SLOPE] + k, slope)
    _to_lanes(s, work, row[U], row[U_LANES])
    _to_lanes(s, work, row[DT], row[DT_LANES])
    scan_forward(s, row, work)
    for j in range(s.n_steps * s.d_lanes, step * s.d_lanes):  # gradients of another member may stand there
        work[row[Y_LANES] + j] = 0
    _to_rows(s, work, row[Y_LANES], row[BEFORE])
    for j in range(inner):
        skip = spread_from(weights, row[SKIP] + j)
        for k in range(j * step, (j + 1) * step, LANES):
            before = skip * load_from(work, row[U] + k) + load_from(work, row[BEFORE] + k)
            gate, slope = silu(load_from(work, row[GATE] + k))
            store_to(work, row[BEFORE] + k, before)
            store_to(work, row[GATE] + k, gate)
            store_to(work, row[GATE_SLOPE] + k, slope)
            store_to(work, row[GATED] + k, before * gate)
    product(n_out=d, n_in=inner, n_vectors=n, weights=weights, w=row[OUT_PROJ], w_out=inner, w_in=1, bias=NONE,
            x=work, of_x=row[GATED], x_step=step, start=row[X], y=row[OUT], y_step=step)  # fmt: skip


@once
def mamba_backward(s: Sizes, row: Array, weights: Array, work: Array, sums: Array) -> None:
    """Add to the gradients of the weights; write that of the input after the norm, or add it where there is none."""
    d, inner, n, step, narrow = s.d_model, s.d_inner, s.n_vectors, s.step, s.dt_rank + 2 * s.d_state
    g_out, g_y, g_u, g_in, g_gate = row[GRAD_X], row[GRAD_Y], row[GRAD_U], row[GRAD_IN], row[GRAD_IN] + inner * step
    add_outer(d, inner, n, work, g_out, step, row[GATED], step, sums, row[OUT_PROJ])
    product(n_out=inner, n_in=d, n_vectors=n, weights=weights, w=row[OUT_PROJ], w_out=1, w_in=inner, bias=NONE,
            x=work, of_x=g_out, x_step=step, start=NONE, y=g_y, y_step=step)  # fmt: skip
    for j in range(inner):
        skip, g_skip = spread_from(weights, row[SKIP] + j), broadcast(work.dtype.type(0))
        for k in range(j * step, (j + 1) * step, LANES):
            g, u = load_from(work, g_y + k), load_from(work, row[U] + k)
            g_before = g * load_from(work, row[GATE] + k)
            g_gate_k = g * load_from(work, row[BEFORE] + k) * load_from(work, row[GATE_SLOPE] + k)
            store_to(work, g_gate + k, g_gate_k)
            store_to(work, g_y + k, g_before)
            store_to(work, g_u + k, skip * g_before)
            g_skip = u * g_before + g_skip
        add_lanes(sums, row[SKIP] + j, g_skip)
    for k in range(inner * step, s.d_lanes * step):  # where a member that diverged has left what is not a number
        work[g_y + k] = 0
    _to_lanes(s, work, g_y, row[Y_LANES])
    scan_backward(s, row, work)  # gradients of u and dt are in the places of u and dt now
    for j in range(s.n_steps * s.d_lanes, step * s.d_lanes):
        work[row[U_LANES] + j] = 0
        work[row[DT_LANES] + j] = 0
    for j in range(s.dt_rank, narrow):
        for t in range(s.n_steps, step):
            work[row[GRAD_DT_B_C] + j * step + t] = 0
    _to_rows(s, work, row[U_LANES], g_y)
    for k in range(0, inner * step, LANES):
        store_to(work, g_u + k, load_from(work, g_u + k) + load_from(work, g_y + k))
    _to_rows(s, work, row[DT_LANES], g_y)
    for k in range(0, inner * step, LANES):
        store_to(work, g_y + k, load_from(work, g_y + k) * load_from(work, row[DT_SLOPE] + k))
    add_outer(inner, s.dt_rank, n, work, g_y, step, row[DT_B_C], step, sums, row[DT_WEIGHT])
    add_rows(inner, n, work, g_y, step, sums, row[DT_BIAS])
    product(n_out=s.dt_rank, n_in=inner, n_vectors=n, weights=weights, w=row[DT_WEIGHT], w_out=1, w_in=s.dt_rank,
            bias=NONE, x=work, of_x=g_y, x_step=step, start=NONE, y=row[GRAD_DT_B_C], y_step=step)  # fmt: skip
    add_outer(narrow, inner, n, work, row[GRAD_DT_B_C], step, row[U], step, sums, row[X_WEIGHT])
    product(n_out=inner, n_in=narrow, n_vectors=n, weights=weights, w=row[X_WEIGHT], w_out=1, w_in=inner, bias=NONE,
            x=work, of_x=row[GRAD_DT_B_C], x_step=step, start=g_u, y=g_u, y_step=step)  # fmt: skip
    _convolve_back(s, row, weights, work, sums)
    add_outer(2 * inner, d, n, work, g_in, step, row[NORMED], step, sums, row[IN_WEIGHT])
    product(n_out=d, n_in=2 * inner, n_vectors=n, weights=weights, w=row[IN_WEIGHT], w_out=1, w_in=d, bias=NONE,
            x=work, of_x=g_in, x_step=step, start=row[GRAD_X] if row[NORM] == NO_NORM else NONE,
            y=row[GRAD_NORMED], y_step=step)  # fmt: skip
