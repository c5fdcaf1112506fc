"""The selective scan, with backends by name.

``reference`` is the definition, one step after the other.  The others compute the same: ``numba`` in compiled loops on
a CPU, ``mamba-ssm`` with that package's CUDA kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from boundprobe.kernels.backends import AUTO, Backend, Operation
from boundprobe.kernels.scan.reference import selective_scan_reference


def _load_numba() -> Callable[..., Any]:
    from boundprobe.kernels.scan.numba_cpu import selective_scan_numba

    return selective_scan_numba


def _load_mamba_ssm() -> Callable[..., Any]:
    from boundprobe.kernels.scan.mamba_ssm_cuda import load_kernel, selective_scan_mamba_ssm

    load_kernel()
    return selective_scan_mamba_ssm


SELECTIVE_SCAN = Operation(
    "selective scan",
    {
        "numba": Backend(_load_numba, ("cpu",), "pip install numba"),
        "mamba-ssm": Backend(_load_mamba_ssm, ("cuda",), "pip install 'boundprobe[cuda]'"),
        "reference": Backend(lambda: selective_scan_reference),
    },
)


def selective_scan(
    u: Tensor,
    dt: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    initial_state: Tensor | None = None,
    *,
    backend: str = AUTO,
) -> tuple[Tensor, Tensor]:
    """Diagonal selective state space recurrence (Gu and Dao 2023, eq. 2 with the discretisation of sec. 3.6).

    With inputs of half precision the recurrence is computed in float32.

    Parameters
    ----------
    u, dt : Tensor (B, T, D)
        Inputs and step sizes.
    a : Tensor (D, N)
        Diagonal of the state matrix, negative.
    b, c : Tensor (B, T, N)
        Input and output vectors.
    initial_state : Tensor (B, D, N), optional
        State before the first step; zeros if it is not given.
    backend : str
        A backend of ``SELECTIVE_SCAN``, or "auto" for the first of them that is usable on the device of ``u``.

    Returns
    -------
    y : Tensor (B, T, D)
        ``y_t = c_t h_t`` with ``h_t = exp(dt_t a) h_{t-1} + dt_t b_t u_t``, in the type of ``u``.
    final_state : Tensor (B, D, N)
        In the type of ``u``.

    Raises
    ------
    ValueError
        If there is no backend of that name, or the shapes do not fit.
    MissingDependencyError
        If the backend cannot be used here; the line says what to install.

    Examples
    --------
    A constant input of 1, decay 1/2 and no other entry: h = 1/2 h + 1.

    >>> ones = torch.ones(1, 4, 1)
    >>> y, state = selective_scan(ones, ones, torch.tensor([[0.5]]).log(), ones, ones)
    >>> y.flatten().tolist(), state.item()
    ([1.0, 1.5, 1.75, 1.875], 1.875)
    """
    scan = SELECTIVE_SCAN.function(backend, u.device.type)
    _check_shapes(u, dt, a, b, c, initial_state)
    dtype = torch.promote_types(u.dtype, torch.float32)
    y, final_state = scan(*(None if x is None else x.to(dtype) for x in (u, dt, a, b, c, initial_state)))
    return y.to(u.dtype), final_state.to(u.dtype)


def _check_shapes(u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, initial_state: Tensor | None) -> None:
    """Raise ``ValueError`` where sizes disagree: compiled backends would read beyond the end of an array."""
    (batch, n_steps, d), n = u.shape, a.shape[1]
    for name, x, expected in (
        ("dt", dt, (batch, n_steps, d)),
        ("a", a, (d, n)),
        ("b", b, (batch, n_steps, n)),
        ("c", c, (batch, n_steps, n)),
        ("initial_state", initial_state, (batch, d, n)),
    ):
        if x is not None and tuple(x.shape) != expected:
            raise ValueError(f"`{name}` must have shape {expected}, as u and a have it; got shape {tuple(x.shape)}.")
