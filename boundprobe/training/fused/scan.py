"""The selective scan of one sequence in compiled functions, from a state of zeros, forward and backward.

Equations and names are those of ``boundprobe.kernels.scan.numba_kernels``; channels are in the lanes here as there, and
the states are made again in the backward pass, from one that is kept in ``CHUNK``.  u, dt, y are (T, K) and a (K, N)
groups of lanes, K = d_lanes / LANES; b and c are rows (N, S), of which single numbers are read.
"""

from __future__ import annotations

from typing import Any

from boundprobe.kernels.simd.compilation import Array, part
from boundprobe.kernels.simd.vectors import LANES, broadcast, exponential, horizontal_sum, load_from, store_to
from boundprobe.training.fused.compilation import once
from boundprobe.training.fused.layout import (
    CHUNK,
    DECAYS,
    DT_B_C,
    DT_LANES,
    GRAD_A,
    GRAD_DT_B_C,
    STARTS,
    STATE,
    STATES,
    SUM_B,
    SUM_C,
    U_LANES,
    Y_LANES,
    A,
    Sizes,
)
from boundprobe.training.fused.vector_math import spread_from


@part
def scan_forward(s: Sizes, row: Array, work: Array) -> None:
    """Write y, and the state before each chunk."""
    n_states, wide, h = s.d_state, s.d_lanes, row[STATE]
    of_b = row[DT_B_C] + s.dt_rank * s.step
    of_c = of_b + n_states * s.step
    zero: Any = broadcast(work.dtype.type(0))
    for k in range(0, wide, LANES):
        of_a = row[A] + k * n_states
        for n in range(n_states):
            store_to(work, h + n * LANES, zero)
        for t in range(s.n_steps):
            if t % CHUNK == 0:
                start = row[STARTS] + (t // CHUNK * wide + k) * n_states
                for n in range(0, n_states * LANES, LANES):
                    store_to(work, start + n, load_from(work, h + n))
            at = t * wide + k
            dt_t = load_from(work, row[DT_LANES] + at)
            x, y_t = dt_t * load_from(work, row[U_LANES] + at), zero
            for n in range(n_states):
                decay = exponential(dt_t * load_from(work, of_a + n * LANES))
                b_n = spread_from(work, of_b + n * s.step + t)
                h_n = decay * load_from(work, h + n * LANES) + x * b_n
                store_to(work, h + n * LANES, h_n)
                y_t = h_n * spread_from(work, of_c + n * s.step + t) + y_t
            store_to(work, row[Y_LANES] + at, y_t)


@part
def _states_again(s: Sizes, row: Array, work: Array, k: int, first: int, n_here: int) -> None:
    """Write the decays and states of a chunk of a group of channels."""
    n_states, wide = s.d_state, s.d_lanes
    of_a, of_b = row[A] + k * n_states, row[DT_B_C] + s.dt_rank * s.step
    start = row[STARTS] + (first // CHUNK * wide + k) * n_states
    for n in range(0, n_states * LANES, LANES):
        store_to(work, row[STATES] + n, load_from(work, start + n))
    for i in range(n_here):
        at = (first + i) * wide + k
        dt_t = load_from(work, row[DT_LANES] + at)
        x = dt_t * load_from(work, row[U_LANES] + at)
        for n in range(n_states):
            j = (i * n_states + n) * LANES
            decay = exponential(dt_t * load_from(work, of_a + n * LANES))
            store_to(work, row[DECAYS] + j, decay)
            h_n = decay * load_from(work, row[STATES] + j) + x * spread_from(work, of_b + n * s.step + first + i)
            store_to(work, row[STATES] + j + n_states * LANES, h_n)


@part
def _back_through(s: Sizes, row: Array, work: Array, k: int, first: int, n_here: int) -> None:
    """Write the gradients of u and dt in the places of u and dt, and add to those of a, b and c."""
    n_states, wide, carried = s.d_state, s.d_lanes, row[STATE] + k * s.d_state
    of_a, of_g_a = row[A] + k * n_states, row[GRAD_A] + k * n_states
    of_b = row[DT_B_C] + s.dt_rank * s.step + first
    of_c = of_b + n_states * s.step
    states, decays, sum_b, sum_c = row[STATES], row[DECAYS], row[SUM_B], row[SUM_C]
    zero: Any = broadcast(work.dtype.type(0))
    for i in range(n_here - 1, -1, -1):
        at = (first + i) * wide + k
        g_y, u_t = load_from(work, row[Y_LANES] + at), load_from(work, row[U_LANES] + at)
        dt_t = load_from(work, row[DT_LANES] + at)
        x, g_x, g_dt = dt_t * u_t, zero, zero
        for n in range(n_states):
            j = (i * n_states + n) * LANES
            g = g_y * spread_from(work, of_c + n * s.step + i) + load_from(work, carried + n * LANES)
            g_x = g * spread_from(work, of_b + n * s.step + i) + g_x
            store_to(work, sum_b + j, g * x + load_from(work, sum_b + j))
            h_n = load_from(work, states + j + n_states * LANES)
            store_to(work, sum_c + j, g_y * h_n + load_from(work, sum_c + j))
            g = g * load_from(work, decays + j)
            store_to(work, carried + n * LANES, g)
            q = g * load_from(work, states + j)
            g_dt = q * load_from(work, of_a + n * LANES) + g_dt
            store_to(work, of_g_a + n * LANES, q * dt_t + load_from(work, of_g_a + n * LANES))
        store_to(work, row[U_LANES] + at, g_x * dt_t)
        store_to(work, row[DT_LANES] + at, g_x * u_t + g_dt)


@once
def scan_backward(s: Sizes, row: Array, work: Array) -> None:
    """From the gradient of y in its place: write those of u and dt in theirs, of b and c, and add to that of a."""
    n_states, wide = s.d_state, s.d_lanes
    zero: Any = broadcast(work.dtype.type(0))
    for j in range(0, wide * n_states, LANES):
        store_to(work, row[STATE] + j, zero)
    of_g_b = row[GRAD_DT_B_C] + s.dt_rank * s.step
    of_g_c = of_g_b + n_states * s.step
    for first in range((s.n_steps - 1) // CHUNK * CHUNK, -1, -CHUNK):
        n_here = min(CHUNK, s.n_steps - first)
        for j in range(0, n_here * n_states * LANES, LANES):
            store_to(work, row[SUM_B] + j, zero)
            store_to(work, row[SUM_C] + j, zero)
        for k in range(0, wide, LANES):
            _states_again(s, row, work, k, first, n_here)
            _back_through(s, row, work, k, first, n_here)
        for n in range(n_states):
            for i in range(n_here):
                j = (i * n_states + n) * LANES
                work[of_g_b + n * s.step + first + i] = horizontal_sum(load_from(work, row[SUM_B] + j))
                work[of_g_c + n * s.step + first + i] = horizontal_sum(load_from(work, row[SUM_C] + j))
