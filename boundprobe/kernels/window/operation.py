"""Attention in a sliding window, with backends by name.

``reference`` is the formula, all queries against all keys; ``blocks`` costs what the window costs, in plain torch on
any device; ``numba`` computes the same in compiled loops on a CPU, without a score in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from boundprobe.kernels.backends import AUTO, Backend, Operation
from boundprobe.kernels.window.blocked import attend, attend_in_window
from boundprobe.kernels.window.positions import AbstractPosition

#: Window times width of a head up to which the loops are faster than the matrix products of ``blocks``, measured
#: (benchmarks/windowed_attention.py) for eight rows, heads times sequences, and more.
LARGEST_COMPILED = 2048


def _load_numba() -> Callable[..., Any]:
    from boundprobe.kernels.window.numba_cpu import windowed_attention_numba

    return windowed_attention_numba


#: In the order of preference for small windows and narrow heads; ``attention_at`` has that for others.
WINDOWED_ATTENTION = Operation(
    "windowed attention",
    {
        "numba": Backend(_load_numba, ("cpu",), "pip install numba"),
        "blocks": Backend(lambda: attend_in_window),
        "reference": Backend(lambda: attend),
    },
)


def attention_at(window: int, head_width: int) -> Operation:
    """The operation with its backends in order of preference at a size.

    Examples
    --------
    >>> next(iter(attention_at(window=11, head_width=12).backends))
    'numba'
    >>> next(iter(attention_at(window=256, head_width=64).backends))
    'blocks'
    """
    if window * head_width <= LARGEST_COMPILED:
        return WINDOWED_ATTENTION
    order = ("blocks", "numba", "reference")
    return Operation(WINDOWED_ATTENTION.name, {name: WINDOWED_ATTENTION.backends[name] for name in order})


def windowed_attention(
    q: Tensor, k: Tensor, v: Tensor, window: int, position: AbstractPosition, *, backend: str = AUTO
) -> Tensor:
    """``sum_s softmax_s(position(q_t, k_s) / sqrt(E)) v_s`` over the place of the query and the ``window - 1`` before.

    Parameters
    ----------
    q : Tensor (B, H, T, E)
    k, v : Tensor (B, H, S, E)
        S at least T; the last query stands where the last key stands.
    window : int
        At least 1.  At most ``window - 1`` keys lie before the first query.
    position : AbstractPosition
        Scores of queries on keys.
    backend : str
        A backend of ``WINDOWED_ATTENTION``, or "auto" for the first of ``attention_at`` that is usable on the
        device of q.

    Returns
    -------
    Tensor (B, H, T, E)

    Raises
    ------
    ValueError
        If there is no backend of that name, or the shapes do not fit.
    MissingDependencyError
        If the backend cannot be used here.

    Examples
    --------
    Queries of 0 see all keys of the window alike:

    >>> import torch
    >>> from boundprobe.kernels.window.positions import NoPosition
    >>> q, v = torch.zeros(1, 1, 4, 1), torch.tensor([1.0, 3.0, 5.0, 7.0]).reshape(1, 1, 4, 1)
    >>> windowed_attention(q, q, v, 2, NoPosition()).flatten().tolist()
    [1.0, 2.0, 4.0, 6.0]
    """
    attention = attention_at(window, q.shape[3]).function(backend, q.device.type)
    _check_shapes(q, k, v, window)
    y: Tensor = attention(q, k, v, window, position)
    return y


def _check_shapes(q: Tensor, k: Tensor, v: Tensor, window: int) -> None:
    """Raise ``ValueError`` where sizes disagree: compiled loops would read beyond the end of an array."""
    (batch, n_heads, n_new, width), n_keys = q.shape, k.shape[2]
    for name, x in (("k", k), ("v", v)):
        if tuple(x.shape) != (batch, n_heads, n_keys, width):
            raise ValueError(
                f"`{name}` must have shape {(batch, n_heads, n_keys, width)}, as q and k have it; got shape "
                f"{tuple(x.shape)}."
            )
    if not n_new <= n_keys <= n_new + window - 1:
        raise ValueError(
            f"{n_new} queries with a window of {window} must be given {n_new} to {n_new + window - 1} keys; got "
            f"{n_keys}. Leave out those that no query sees."
        )
