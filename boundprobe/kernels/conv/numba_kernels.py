"""The short convolution and its gradient as compiled loops on one core.

Glossary: N sequences of T inputs of D channels, D at least ``LANES``; c taps; M members of an ensemble, or 1, with
N / M sequences each.  x (N, T, D), taps w (M, D, c), bias (M, D), before (N, c-1, D), the inputs before x, so that
``x_s`` for s < 0 is one of them:

    z_t = bias + sum_i w_i x_{t-(c-1)+i}        y_t = z_t sigma(z_t)
    gz_t = gy_t sigma(z_t) (1 + z_t (1 - sigma(z_t)))
    gx_s = sum_i w_i gz_{s+(c-1)-i}             gw_i = sum_t gz_t x_{t-(c-1)+i}         gbias = sum_t gz_t

``LANES`` channels are computed together.  Where D is no multiple, the last ones overlap those before them: what both
write is the same.  Sums over time and sequences run in one order whatever M is.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import types, void

from boundprobe.kernels.simd.compilation import SCALARS, Array, Kernel, compiled, part
from boundprobe.kernels.simd.vectors import LANES, broadcast, exponential, load, load_from, store, store_to


@part
def _read_weights(weights: Array, taps: Array, bias: Array, member: int, first: int) -> None:
    """The taps and then the bias of ``LANES`` channels, side by side."""
    n_taps = taps.shape[2]
    for lane in range(LANES):
        for i in range(n_taps):
            weights[i * LANES + lane] = taps[member, first + lane, i]
        weights[n_taps * LANES + lane] = bias[member, first + lane]


@part
def _read_inputs(inputs: Array, x: Array, before: Array, sequence: int, first: int) -> None:
    """The inputs of ``LANES`` channels from the first before x on, side by side."""
    n_before, n_steps = before.shape[1], x.shape[1]
    start = (sequence * before.strides[0] + first * before.strides[2]) // before.itemsize
    for t in range(n_before):
        store(inputs, t, load_from(before, start + t * (before.strides[1] // before.itemsize)))
    start = (sequence * x.strides[0] + first * x.strides[2]) // x.itemsize
    for t in range(n_steps):
        store(inputs, n_before + t, load_from(x, start + t * (x.strides[1] // x.itemsize)))


@part
def _write_gradients(sums: Array, grad_taps: Array, grad_bias: Array, member: int, first: int) -> None:
    """The inverse of ``_read_weights``."""
    n_taps = grad_taps.shape[2]
    for lane in range(LANES):
        for i in range(n_taps):
            grad_taps[member, first + lane, i] = sums[i * LANES + lane]
        grad_bias[member, first + lane] = sums[n_taps * LANES + lane]


def _forward(x: Array, taps: Array, bias: Array, before: Array, y: Array) -> None:
    """Write y (N, T, D)."""
    n_sequences, n_steps, n_channels = x.shape
    n_members, _, n_taps = taps.shape
    n_own = n_sequences // n_members
    one: Any = broadcast(x.dtype.type(1))
    minus: Any = broadcast(x.dtype.type(-1))
    weights = np.empty((n_taps + 1) * LANES, x.dtype)
    inputs = np.empty((n_taps - 1 + n_steps) * LANES, x.dtype)
    for member in range(n_members):
        for group in range((n_channels + LANES - 1) // LANES):
            first = min(group * LANES, n_channels - LANES)
            _read_weights(weights, taps, bias, member, first)
            for sequence in range(member * n_own, (member + 1) * n_own):
                _read_inputs(inputs, x, before, sequence, first)
                for t in range(n_steps):
                    z = load(weights, n_taps)
                    for i in range(n_taps):
                        z = load(weights, i) * load(inputs, t + i) + z
                    y_t = z / (one + exponential(minus * z))
                    store_to(y, (sequence * n_steps + t) * n_channels + first, y_t)


def _backward(
    x: Array, taps: Array, bias: Array, before: Array, grad_y: Array,
    grad_x: Array, grad_taps: Array, grad_bias: Array, grad_before: Array,
) -> None:  # fmt: skip
    """Write the gradients of the four inputs."""
    n_sequences, n_steps, n_channels = x.shape
    n_members, _, n_taps = taps.shape
    n_own, n_before = n_sequences // n_members, n_taps - 1
    zero: Any = broadcast(x.dtype.type(0))
    one: Any = broadcast(x.dtype.type(1))
    minus: Any = broadcast(x.dtype.type(-1))
    weights = np.empty((n_taps + 1) * LANES, x.dtype)
    sums = np.empty((n_taps + 1) * LANES, x.dtype)  # gradients of the weights
    inputs = np.empty((n_before + n_steps) * LANES, x.dtype)
    grad_z = np.zeros((n_before + n_steps + n_before) * LANES, x.dtype)  # zeros before the first and after the last
    for member in range(n_members):
        for group in range((n_channels + LANES - 1) // LANES):
            first = min(group * LANES, n_channels - LANES)
            _read_weights(weights, taps, bias, member, first)
            sums[:] = 0
            for sequence in range(member * n_own, (member + 1) * n_own):
                _read_inputs(inputs, x, before, sequence, first)
                start = sequence * grad_y.strides[0] // x.itemsize + first
                for t in range(n_steps):
                    z = load(weights, n_taps)
                    for i in range(n_taps):
                        z = load(weights, i) * load(inputs, t + i) + z
                    sigma = one / (one + exponential(minus * z))
                    slope = sigma * (one + z * (one - sigma))
                    gz = slope * load_from(grad_y, start + t * (grad_y.strides[1] // x.itemsize))
                    store(grad_z, n_before + t, gz)
                    for i in range(n_taps):
                        store(sums, i, gz * load(inputs, t + i) + load(sums, i))
                    store(sums, n_taps, gz + load(sums, n_taps))
                for s in range(n_before + n_steps):
                    gx = zero
                    for i in range(n_taps):
                        gx = load(weights, i) * load(grad_z, n_before + s - i) + gx
                    if s < n_before:
                        store_to(grad_before, (sequence * n_before + s) * n_channels + first, gx)
                    else:
                        store_to(grad_x, (sequence * n_steps + s - n_before) * n_channels + first, gx)
            _write_gradients(sums, grad_taps, grad_bias, member, first)


def _inputs(scalar: Any) -> tuple[Any, ...]:
    """Types of x, taps, bias and before: any strides, but channels of x and before side by side."""
    strided = types.Array(scalar, 3, "A")
    return strided, strided, scalar[:, :], strided


@cache
def forward_kernel(dtype: str) -> Kernel:
    """``_forward`` for "float32" or "float64", compiled on the first call."""
    scalar = SCALARS[dtype]
    kernel: Kernel = compiled(_forward, void(*_inputs(scalar), scalar[:, :, ::1]))
    return kernel


@cache
def backward_kernel(dtype: str) -> Kernel:
    """``_backward`` for "float32" or "float64", compiled on the first call."""
    scalar = SCALARS[dtype]
    gradients = scalar[:, :, ::1], scalar[:, :, ::1], scalar[:, ::1], scalar[:, :, ::1]
    kernel: Kernel = compiled(_backward, void(*_inputs(scalar), types.Array(scalar, 3, "A"), *gradients))
    return kernel
