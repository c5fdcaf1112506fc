"""The selective scan behind one function, with backends by name.

``reference`` is the definition, one step after the other; ``time-major`` computes the same with one small
operation a step and a backward pass written by hand.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from boundprobe.checks import check_word
from boundprobe.models.scan.reference import selective_scan_reference
from boundprobe.models.scan.time_major import selective_scan_time_major

__all__ = ["BACKENDS", "check_backend", "selective_scan"]

BACKENDS: dict[str, Callable[..., tuple[Tensor, Tensor]]] = {
    "time-major": selective_scan_time_major,
    "reference": selective_scan_reference,
}


def check_backend(name: str) -> str:
    """Return ``name``, or raise ``ValueError`` that says which backends there are."""
    return check_word("scan", name, BACKENDS)


def selective_scan(
    u: Tensor,
    dt: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    initial_state: Tensor,
    *,
    backend: str = "time-major",
) -> tuple[Tensor, Tensor]:
    """Diagonal selective state space recurrence (Gu and Dao 2023, eq. 2 with the discretisation of sec. 3.6).

    Parameters
    ----------
    u, dt : Tensor (B, T, D)
        Inputs and step sizes.
    a : Tensor (D, N)
        Diagonal of the state matrix, negative.
    b, c : Tensor (B, T, N)
        Input and output vectors.
    initial_state : Tensor (B, D, N)
    backend : str
        A key of ``BACKENDS``.

    Returns
    -------
    y : Tensor (B, T, D)
        ``y_t = c_t h_t`` with ``h_t = exp(dt_t a) h_{t-1} + dt_t b_t u_t``.
    final_state : Tensor (B, D, N)
    """
    return BACKENDS[check_backend(backend)](u, dt, a, b, c, initial_state)
