"""The end of a Mamba layer before its last projection, skip connection and gate, behind one function with backends.

``reference`` is plain torch; ``numba`` computes the same in one compiled loop on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from boundprobe.kernels.backends import AUTO, Backend, function
from boundprobe.kernels.gated_skip.reference import gated_skip_reference

__all__ = ["BACKENDS", "OPERATION", "gated_skip"]

OPERATION = "gated skip"


def _load_numba() -> Callable[..., Any]:
    from boundprobe.kernels.gated_skip.numba_cpu import gated_skip_numba

    return gated_skip_numba


#: In order of preference: ``auto`` takes the first that is usable on the device of the tensors.
BACKENDS: dict[str, Backend] = {
    "numba": Backend(_load_numba, ("cpu",), "pip install numba"),
    "reference": Backend(lambda: gated_skip_reference),
}


def gated_skip(y: Tensor, u: Tensor, d: Tensor, gate: Tensor, *, backend: str = AUTO) -> Tensor:
    """``(y_t + d u_t) SiLU(gate_t)``, entry by entry (Gu and Dao 2023, arXiv 2312.00752, Figure 3 and section 3.4).

    Parameters
    ----------
    y, u, gate : Tensor (B, T, D)
        What the recurrence read out, what it was given, and the gate before its SiLU.
    d : Tensor (D,)
        Weights of the skip connection, the paper's D.
    backend : str
        A key of ``BACKENDS``, or "auto" for the first of them that is usable on the device of u.

    Returns
    -------
    Tensor (B, T, D)

    Raises
    ------
    ValueError
        If there is no backend of that name, or the shapes do not fit.
    MissingDependencyError
        If the backend cannot be used here.

    Examples
    --------
    >>> import torch
    >>> one = torch.ones(1, 1, 1)
    >>> round(gated_skip(one, one, torch.tensor([2.0]), one).item(), 4)  # (1 + 2) / (1 + exp(-1))
    2.1932
    """
    compute = function(OPERATION, BACKENDS, backend, u.device.type)
    for name, x in (("y", y), ("gate", gate)):
        if x.shape != u.shape:
            raise ValueError(f"{name} has shape {tuple(x.shape)}; allowed: {tuple(u.shape)}, as u has it; change it")
    if d.shape != u.shape[2:]:
        raise ValueError(f"d has shape {tuple(d.shape)}; allowed: {tuple(u.shape[2:])}, as u has it; change it")
    out: Tensor = compute(y, u, d, gate)
    return out
