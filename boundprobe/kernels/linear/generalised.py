"""The generalised delta rule: one key removes, another writes.  Its backends are those of the other recurrences, on any
device; flash-linear-attention's kernels are not among them.
"""

from __future__ import annotations

from torch import Tensor

from boundprobe.kernels.backends import AUTO, Backend, Operation
from boundprobe.kernels.linear.chunked import generalised_delta_rule_chunked
from boundprobe.kernels.linear.operations import fill_missing, in_float32
from boundprobe.kernels.linear.reference import generalised_delta_rule_reference

GENERALISED_DELTA_RULE = Operation(
    "linear recurrence",
    {
        "chunked": Backend(lambda: in_float32(generalised_delta_rule_chunked)),
        "reference": Backend(lambda: in_float32(generalised_delta_rule_reference)),
    },
)


def generalised_delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    b: Tensor,
    log_decay: Tensor | None = None,
    initial_state: Tensor | None = None,
    *,
    backend: str = AUTO,
) -> tuple[Tensor, Tensor]:
    """Generalised delta rule: S_t = S' - b_t (S'^T a_t)^T + k_t v_t^T;  o_t = S_t^T q_t.

    S' = diag(exp g_t) S_{t-1} is the decayed memory, S'^T a_t what the removal key brings up from it (Peng et al. 2025,
    arXiv 2503.14456, section 4, where the removal key reads the memory before its decay: a = kappa / w, b = a kappa).
    With a = k and b = beta k, and beta k in place of k, it is ``delta_rule``.

    Parameters
    ----------
    q, k, v, log_decay, initial_state
        As in ``decayed_attention``.
    a, b : Tensor (B, T, H, K)
        What is looked up for removal, and where it is removed.
    backend : str
        A backend of ``GENERALISED_DELTA_RULE``, or "auto".

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
    Half of what was there is removed when the next value is written:

    >>> import torch
    >>> one = torch.ones(1, 2, 1, 1)
    >>> o, state = generalised_delta_rule(one, one, one, a=one, b=one / 2)
    >>> o.flatten().tolist(), state.item()
    ([1.0, 1.5], 1.5)
    """
    run = GENERALISED_DELTA_RULE.function(backend, v.device.type)
    o, state = run(q, k, v, a, b, *fill_missing(k, v, log_decay, initial_state))
    return o, state
