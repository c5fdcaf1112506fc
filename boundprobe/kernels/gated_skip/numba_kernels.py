"""Skip connection and gate and their gradients as compiled loops on one core.

Glossary: N sequences of T steps of D channels, D at least ``LANES``; M members of an ensemble, or 1, with N / M
sequences each.  y, u, gate, out (N, T, D), d (M, D); s = sigma(gate):

    out = (y + d u) gate s              gy = gout gate s        gu = d gy       gd = sum_{t,sequences} u gy
    ggate = gout (y + d u) s (1 + gate (1 - s))

``LANES`` channels are computed together.  Where D is no multiple, the last ones overlap those before them: what both
write is the same.  Sums run in one order whatever M is.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import types, void

from boundprobe.kernels.simd.compilation import SCALARS, Array, Kernel, compiled, part
from boundprobe.kernels.simd.vectors import LANES, exponential, load, load_from, spread, store, store_to


@part
def _at(x: Array, sequence: int) -> tuple[int, int]:
    """Where in its memory an array has a sequence, and how far apart steps are, in numbers."""
    return sequence * x.strides[0] // x.itemsize, x.strides[1] // x.itemsize


def _forward(y: Array, u: Array, d: Array, gate: Array, out: Array) -> None:
    """Write out (N, T, D)."""
    n_sequences, n_steps, n_channels = u.shape
    n_own = n_sequences // d.shape[0]
    one: Any = spread(u.dtype.type(1))
    minus: Any = spread(u.dtype.type(-1))
    for sequence in range(n_sequences):
        of_d = sequence // n_own * n_channels
        (at_y, step_y), (at_u, step_u), (at_gate, step_gate) = _at(y, sequence), _at(u, sequence), _at(gate, sequence)
        for t in range(n_steps):
            for group in range((n_channels + LANES - 1) // LANES):
                first = min(group * LANES, n_channels - LANES)
                g = load_from(gate, at_gate + t * step_gate + first)
                u_t = load_from(u, at_u + t * step_u + first)
                y_t = load_from(y, at_y + t * step_y + first)
                before = y_t + load_from(d, of_d + first) * u_t
                store_to(
                    out, (sequence * n_steps + t) * n_channels + first, before * (g / (one + exponential(minus * g)))
                )


def _backward(
    y: Array, u: Array, d: Array, gate: Array, grad_out: Array,
    grad_y: Array, grad_u: Array, grad_d: Array, grad_gate: Array,
) -> None:  # fmt: skip
    """Write the gradients of the four inputs."""
    n_sequences, n_steps, n_channels = u.shape
    n_members, n_groups = d.shape[0], (n_channels + LANES - 1) // LANES
    n_own = n_sequences // n_members
    one: Any = spread(u.dtype.type(1))
    minus: Any = spread(u.dtype.type(-1))
    sums = np.empty(n_groups * LANES, u.dtype)
    for member in range(n_members):
        sums[:] = 0
        for sequence in range(member * n_own, (member + 1) * n_own):
            (at_y, step_y), (at_u, step_u), (at_gate, step_gate) = (
                _at(y, sequence),
                _at(u, sequence),
                _at(gate, sequence),
            )
            at_grad, step_grad = _at(grad_out, sequence)
            for t in range(n_steps):
                row = (sequence * n_steps + t) * n_channels
                for group in range(n_groups):
                    first = min(group * LANES, n_channels - LANES)
                    g = load_from(gate, at_gate + t * step_gate + first)
                    u_t = load_from(u, at_u + t * step_u + first)
                    y_t = load_from(y, at_y + t * step_y + first)
                    grad = load_from(grad_out, at_grad + t * step_grad + first)
                    d_of = load_from(d, member * n_channels + first)
                    sigma = one / (one + exponential(minus * g))
                    grad_before = grad * (g * sigma)
                    store_to(grad_y, row + first, grad_before)
                    store_to(grad_u, row + first, d_of * grad_before)
                    slope = sigma * (one + g * (one - sigma))
                    store_to(grad_gate, row + first, grad * (y_t + d_of * u_t) * slope)
                    store(sums, group, u_t * grad_before + load(sums, group))
        for group in range(n_groups):
            store_to(grad_d, member * n_channels + min(group * LANES, n_channels - LANES), load(sums, group))


@cache
def forward_kernel(dtype: str) -> Kernel:
    """``_forward`` for "float32" or "float64", compiled on the first call; channels lie side by side."""
    scalar = SCALARS[dtype]
    rows = types.Array(scalar, 3, "A")
    kernel: Kernel = compiled(_forward, void(rows, rows, scalar[:, ::1], rows, scalar[:, :, ::1]))
    return kernel


@cache
def backward_kernel(dtype: str) -> Kernel:
    """``_backward`` for "float32" or "float64", compiled on the first call; channels lie side by side."""
    scalar = SCALARS[dtype]
    rows, written, weights = types.Array(scalar, 3, "A"), scalar[:, :, ::1], scalar[:, ::1]
    kernel: Kernel = compiled(_backward, void(rows, rows, weights, rows, rows, written, written, weights, written))
    return kernel
