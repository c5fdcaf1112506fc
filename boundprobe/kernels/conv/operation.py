"""Short causal convolution of each channel on its own, with the last inputs handed in and out.

``reference`` is a sum of shifted products in plain torch; ``numba`` computes the same in compiled loops on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from boundprobe.kernels.backends import AUTO, Backend, Operation
from boundprobe.kernels.conv.reference import short_convolution_reference


def _load_numba() -> Callable[..., Any]:
    from boundprobe.kernels.conv.numba_cpu import short_convolution_numba

    return short_convolution_numba


SHORT_CONVOLUTION = Operation(
    "short convolution",
    {
        "numba": Backend(_load_numba, ("cpu",), "pip install numba"),
        "reference": Backend(lambda: short_convolution_reference),
    },
)


def short_convolution(
    conv: nn.Conv1d, x: Tensor, buffer: Tensor | None, *, backend: str = AUTO
) -> tuple[Tensor, Tensor]:
    """SiLU(bias + sum_i weight_i x_{t - (c-1) + i}), over the c = ``conv.kernel_size`` latest inputs.

    Parameters
    ----------
    conv : nn.Conv1d
        Holds the weight (D, 1, c) and the bias (D,) or None, under names that other packages use; never called.
        With c = 1 each channel is scaled, and nothing is remembered.
    x : Tensor (B, T, D)
    buffer : Tensor (B, c-1, D) or None
        The last c-1 inputs before x; None: zeros.
    backend : str
        A backend of ``SHORT_CONVOLUTION``, or "auto" for the first of them that is usable on the device of x.

    Returns
    -------
    y : Tensor (B, T, D)
    buffer : Tensor (B, c-1, D)
        The last c-1 inputs after x.

    Raises
    ------
    ValueError
        If there is no backend of that name, or the shapes do not fit.
    MissingDependencyError
        If the backend cannot be used here.

    Examples
    --------
    >>> conv = nn.Conv1d(1, 1, 2, groups=1)
    >>> y, buffer = short_convolution(conv, torch.tensor([[[1.0], [2.0]]]), None)
    >>> y.shape, buffer.tolist()
    (torch.Size([1, 2, 1]), [[[2.0]]])
    """
    convolve = SHORT_CONVOLUTION.function(backend, x.device.type)
    taps, bias = conv.weight[:, 0, :], conv.bias  # (D, c) and (D,)
    n_before, n_new = taps.shape[1] - 1, x.shape[1]
    if buffer is None:
        buffer = x.new_zeros(x.shape[0], n_before, x.shape[2])
    _check_shapes(x, taps, buffer)
    y: Tensor = convolve(x, taps, bias, buffer)
    after = x[:, n_new - n_before :] if n_new >= n_before else torch.cat([buffer[:, n_new:], x], dim=1)
    return y, after


def _check_shapes(x: Tensor, taps: Tensor, buffer: Tensor) -> None:
    """Raise ``ValueError`` where sizes disagree: compiled loops would read beyond the end of an array."""
    expected = {"x": (*x.shape[:2], len(taps)), "buffer": (x.shape[0], taps.shape[1] - 1, len(taps))}
    for name, value in (("x", x), ("buffer", buffer)):
        if tuple(value.shape) != expected[name]:
            raise ValueError(
                f"`{name}` must have shape {expected[name]}, for weights (D, c) of shape {tuple(taps.shape)}; got "
                f"shape {tuple(value.shape)}."
            )
