"""The selective scan and its gradient as compiled loops on one core.

Glossary: B sequences of T steps; D channels in K groups of ``LANES``; N state entries.  Arrays with lanes are vectors
(contiguous, of one axis) that stand for

    u, dt, y (B, T, K)    a (M, K, N)    initial, final (B, K, N)    starts (B, T / CHUNK rounded up, K, N)

of groups of lanes; b and c are (B, T, N).  There is one ``a`` for every B / M sequences in a row: M members of an
ensemble, or 1.  With ``p = exp(dt a)``, Gu and Dao 2023 (arXiv 2312.00752), eq. 2, and its gradients:

    h_t = p_t h_{t-1} + dt_t u_t b_t            y_t = c_t h_t
    g_t = gy_t c_t + p_{t+1} g_{t+1}            the gradient of h_t
    q_t = g_t p_t h_{t-1}                       so d(dt) gets sum_n q_t a, d(a) gets sum_{t,batch} q_t dt_t

The states are not kept.  ``_forward`` notes those at the start of every ``CHUNK`` steps; ``_backward`` goes through
the chunks from the last to the first, makes the states of one again, and sweeps back over them while they are in cache.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import int64, void

from boundprobe.kernels.simd.compilation import SCALARS, Array, Kernel, compiled
from boundprobe.kernels.simd.vectors import LANES, broadcast, exponential, horizontal_sum, load, store

#: Steps whose states the backward pass holds at once.
CHUNK = 64


def _forward(
    n_members: int, n_groups: int, u: Array, dt: Array, a: Array, b: Array, c: Array, initial: Array,
    y: Array, starts: Array, final: Array,
) -> None:  # fmt: skip
    """Write y, starts and final."""
    n_sequences, n_steps, n_states = b.shape
    n_chunks = (n_steps + CHUNK - 1) // CHUNK
    zero: Any = broadcast(u.dtype.type(0))
    h = np.empty(n_states * LANES, u.dtype)
    for i in range(n_sequences):
        for k in range(n_groups):
            of_a = (i * n_members // n_sequences * n_groups + k) * n_states
            of_state = (i * n_groups + k) * n_states
            for n in range(n_states):
                store(h, n, load(initial, of_state + n))
            for t in range(n_steps):
                if t % CHUNK == 0:
                    of_start = ((i * n_chunks + t // CHUNK) * n_groups + k) * n_states
                    for n in range(n_states):
                        store(starts, of_start + n, load(h, n))
                row = (i * n_steps + t) * n_groups + k
                dt_t = load(dt, row)
                x, y_t = dt_t * load(u, row), zero
                for n in range(n_states):
                    h_n = exponential(dt_t * load(a, of_a + n)) * load(h, n) + x * broadcast(b[i, t, n])
                    store(h, n, h_n)
                    y_t = h_n * broadcast(c[i, t, n]) + y_t
                store(y, row, y_t)
            for n in range(n_states):
                store(final, of_state + n, load(h, n))


def _backward(
    n_members: int, n_groups: int, u: Array, dt: Array, a: Array, b: Array, c: Array, starts: Array,
    grad_y: Array, grad_final: Array,
    grad_u: Array, grad_dt: Array, grad_a: Array, grad_b: Array, grad_c: Array, grad_initial: Array,
) -> None:  # fmt: skip
    """Write the gradients of the six inputs; grad_a must be 0 before."""
    n_sequences, n_steps, n_states = b.shape
    n_chunks = (n_steps + CHUNK - 1) // CHUNK
    zero: Any = broadcast(u.dtype.type(0))
    p = np.empty(CHUNK * n_states * LANES, u.dtype)
    h = np.empty((CHUNK + 1) * n_states * LANES, u.dtype)  # before the first step, after the first, ...
    sum_b, sum_c = np.empty(p.size, u.dtype), np.empty(p.size, u.dtype)
    for j in range(grad_final.size):
        grad_initial[j] = grad_final[j]  # holds p_{t+1} g_{t+1} all the way down to t + 1 = 1
    for i in range(n_sequences):
        for chunk in range(n_chunks - 1, -1, -1):
            first = chunk * CHUNK
            n_here = min(CHUNK, n_steps - first)
            for j in range(n_here * n_states):
                store(sum_b, j, zero)
                store(sum_c, j, zero)
            for k in range(n_groups):
                of_a = (i * n_members // n_sequences * n_groups + k) * n_states
                of_state = (i * n_groups + k) * n_states
                of_start = ((i * n_chunks + chunk) * n_groups + k) * n_states
                for n in range(n_states):
                    store(h, n, load(starts, of_start + n))
                for s in range(n_here):
                    row = (i * n_steps + first + s) * n_groups + k
                    dt_t = load(dt, row)
                    x = dt_t * load(u, row)
                    for n in range(n_states):
                        j = s * n_states + n
                        decay = exponential(dt_t * load(a, of_a + n))
                        store(p, j, decay)
                        store(h, j + n_states, decay * load(h, j) + x * broadcast(b[i, first + s, n]))
                for s in range(n_here - 1, -1, -1):
                    row = (i * n_steps + first + s) * n_groups + k
                    grad_y_t, u_t, dt_t = load(grad_y, row), load(u, row), load(dt, row)
                    x, grad_x, grad_dt_t = dt_t * u_t, zero, zero
                    for n in range(n_states):
                        j = s * n_states + n
                        g = grad_y_t * broadcast(c[i, first + s, n]) + load(grad_initial, of_state + n)
                        grad_x = g * broadcast(b[i, first + s, n]) + grad_x
                        store(sum_b, j, g * x + load(sum_b, j))
                        store(sum_c, j, grad_y_t * load(h, j + n_states) + load(sum_c, j))
                        g = g * load(p, j)
                        store(grad_initial, of_state + n, g)
                        q = g * load(h, j)
                        grad_dt_t = q * load(a, of_a + n) + grad_dt_t
                        store(grad_a, of_a + n, q * dt_t + load(grad_a, of_a + n))
                    store(grad_u, row, grad_x * dt_t)
                    store(grad_dt, row, grad_x * u_t + grad_dt_t)
            for s in range(n_here):
                for n in range(n_states):
                    grad_b[i, first + s, n] = horizontal_sum(load(sum_b, s * n_states + n))
                    grad_c[i, first + s, n] = horizontal_sum(load(sum_c, s * n_states + n))


def _inputs(scalar: Any) -> tuple[Any, ...]:
    """Types of the arguments that both have: n_members, n_groups, u, dt, a; b and c with any strides; a state."""
    return int64, int64, *[scalar[::1]] * 3, *[scalar[:, :, :]] * 2, scalar[::1]


@cache
def forward_kernel(dtype: str) -> Kernel:
    """``_forward`` for "float32" or "float64", compiled on the first call."""
    scalar = SCALARS[dtype]
    kernel: Kernel = compiled(_forward, void(*_inputs(scalar), *[scalar[::1]] * 3))
    return kernel


@cache
def backward_kernel(dtype: str) -> Kernel:
    """``_backward`` for "float32" or "float64", compiled on the first call."""
    scalar = SCALARS[dtype]
    gradients = (*[scalar[::1]] * 3, *[scalar[:, :, ::1]] * 2, scalar[::1])
    kernel: Kernel = compiled(_backward, void(*_inputs(scalar), *[scalar[::1]] * 2, *gradients))
    return kernel
