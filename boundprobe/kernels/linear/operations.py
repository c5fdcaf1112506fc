"""Recurrences whose state is a matrix for each head: two functions, with backends by name; ``generalised`` is a third.

``reference`` is the definition, one token after the other; ``chunked`` computes the same by matrix products, on any
device and in any precision; ``fla`` calls flash-linear-attention's kernels on CUDA, in half precision only.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from boundprobe.kernels.backends import AUTO, Backend, Operation
from boundprobe.kernels.linear.chunked import decayed_attention_chunked, delta_rule_chunked
from boundprobe.kernels.linear.reference import decayed_attention_reference, delta_rule_reference

Recurrence = Callable[..., tuple[Tensor, Tensor]]


def in_float32(recurrence: Recurrence) -> Recurrence:
    """``recurrence``, computed in float32 where its inputs are half precision, with results of v's type."""

    def run(*inputs: Tensor) -> tuple[Tensor, Tensor]:
        given = inputs[2].dtype
        wide = torch.promote_types(given, torch.float32)
        o, state = recurrence(*(x.to(wide) for x in inputs))
        return o.to(given), state.to(given)

    return run


def _load_decayed_attention_fla() -> Recurrence:
    import fla.ops  # noqa: F401  (raises where it is missing)

    from boundprobe.kernels.linear.fla import decayed_attention_fla

    return decayed_attention_fla


def _load_delta_rule_fla() -> Recurrence:
    import fla.ops  # noqa: F401  (raises where it is missing)

    from boundprobe.kernels.linear.fla import delta_rule_fla

    return delta_rule_fla


def _operation(chunked: Recurrence, load_fla: Callable[[], Recurrence], reference: Recurrence) -> Operation:
    """Both functions have the same backends; "fla" must be named, because it refuses float32."""
    return Operation(
        "linear recurrence",
        {
            "chunked": Backend(lambda: in_float32(chunked)),
            "fla": Backend(load_fla, ("cuda",), "pip install 'boundprobe[cuda]'"),
            "reference": Backend(lambda: in_float32(reference)),
        },
    )


DECAYED_ATTENTION = _operation(decayed_attention_chunked, _load_decayed_attention_fla, decayed_attention_reference)
DELTA_RULE = _operation(delta_rule_chunked, _load_delta_rule_fla, delta_rule_reference)


def decayed_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None = None,
    initial_state: Tensor | None = None,
    *,
    backend: str = AUTO,
) -> tuple[Tensor, Tensor]:
    """Linear attention whose memory decays: S_t = diag(exp g_t) S_{t-1} + k_t v_t^T;  o_t = S_t^T q_t.

    Gated linear attention (Yang et al. 2023, arXiv 2312.06635, section 4), and with one decay for a whole head the
    state space duality of Mamba-2 (Dao and Gu 2024, arXiv 2405.21060, section 6).

    Parameters
    ----------
    q, k : Tensor (B, T, H, K), T at least 1
        What is asked for, and where a value is written.
    v : Tensor (B, T, H, V)
        What is written.  Its type is that of the results; half precision is computed in float32.
    log_decay : Tensor (B, T, H, K) or (B, T, H, 1), or None
        g, at most 0 and finite, for each row of the state or for a whole head; None: nothing decays.
    initial_state : Tensor (B, H, K, V) or None
        S_0; None: zeros.
    backend : str
        A backend of ``DECAYED_ATTENTION``, or "auto".

    Returns
    -------
    o : Tensor (B, T, H, V)
    final_state : Tensor (B, H, K, V)

    Raises
    ------
    ValueError
        If there is no such backend, or it cannot compute inputs like these.
    MissingDependencyError
        If the backend cannot be used here.

    Examples
    --------
    One token is forgotten by half while the next is read:

    >>> one = torch.ones(1, 2, 1, 1)
    >>> o, _ = decayed_attention(one, one, one, log_decay=one * torch.tensor(0.5).log())
    >>> o.flatten().tolist()
    [1.0, 1.5]
    """
    run = DECAYED_ATTENTION.function(backend, v.device.type)
    o, state = run(q, k, v, *fill_missing(k, v, log_decay, initial_state))
    return o, state


def delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None = None,
    initial_state: Tensor | None = None,
    *,
    backend: str = AUTO,
) -> tuple[Tensor, Tensor]:
    """Delta rule: S_t = S' + beta_t k_t (v_t - S'^T k_t)^T;  o_t = S_t^T q_t.

    S' = diag(exp g_t) S_{t-1} is the decayed memory, S'^T k_t what the key brings up from it (Yang et al. 2024,
    arXiv 2406.06484, section 2.2; with decay arXiv 2412.06464, section 3).

    Parameters
    ----------
    q, k, v, log_decay, initial_state
        As in ``decayed_attention``.  Keys of length 1 and ``beta`` in [0, 2] keep the state from growing.
    beta : Tensor (B, T, H)
        How much of the error is corrected; 1 and a key of length 1: all of it.
    backend : str
        A backend of ``DELTA_RULE``, or "auto".

    Returns
    -------
    o : Tensor (B, T, H, V)
    final_state : Tensor (B, H, K, V)

    Raises
    ------
    ValueError, MissingDependencyError
        As in ``decayed_attention``.

    Examples
    --------
    The same key again: the new value takes the place of the old one.

    >>> key = torch.ones(1, 2, 1, 1)
    >>> value = torch.tensor([3.0, 5.0]).reshape(1, 2, 1, 1)
    >>> o, state = delta_rule(key, key, value, beta=torch.ones(1, 2, 1))
    >>> o.flatten().tolist(), state.item()
    ([3.0, 5.0], 5.0)
    """
    run = DELTA_RULE.function(backend, v.device.type)
    o, state = run(q, k, v, beta, *fill_missing(k, v, log_decay, initial_state))
    return o, state


def fill_missing(k: Tensor, v: Tensor, log_decay: Tensor | None, initial_state: Tensor | None) -> tuple[Tensor, Tensor]:
    """Log decays and initial state, zeros where they are None."""
    batch, n_tokens, heads, rows = k.shape
    if log_decay is None:
        log_decay = v.new_zeros(batch, n_tokens, heads, 1)
    if initial_state is None:
        initial_state = v.new_zeros(batch, heads, rows, v.shape[-1])
    return log_decay, initial_state
