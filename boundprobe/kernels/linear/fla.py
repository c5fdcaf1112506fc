"""The recurrences by the kernels of flash-linear-attention: on CUDA, in half precision.

Its kernels multiply on tensor cores, where a product of half-precision numbers is exact and one of float32 numbers is
good to about three digits.  So q, k and v are given in half precision only; decays, ``beta`` and states are float32.
Narrow heads are padded with zeros: rows of the state that are never written, columns that are never read.
The package is imported where its kernels are called, so that this module can be read without it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from boundprobe.kernels.linear.opaque import Operation, apply_opaque

WIDTH_STEP = 16  # the least width of a product on tensor cores
MOST_ROWS = 256  # rows K of a head that the delta rule's kernels hold at once
MOST_BLOCKS = 65_535  # CUDA's limit on all but the first axis of a grid; sequences times heads stand on one


def decayed_attention_fla(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, initial_state: Tensor
) -> tuple[Tensor, Tensor]:
    """Decayed attention by kernels.  Arguments and result as in ``decayed_attention``."""
    _check(v)
    operation = _one_decay if log_decay.shape[-1] == 1 else _decay_of_each_row
    return _run(operation, q, k, v, log_decay, initial_state)


def delta_rule_fla(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor, initial_state: Tensor
) -> tuple[Tensor, Tensor]:
    """The delta rule by kernels, with one decay for a whole head.  Arguments and result as in ``delta_rule``."""
    _check(v)
    if log_decay.shape[-1] > 1 or k.shape[-1] > MOST_ROWS:
        raise ValueError(
            f"linear recurrence 'fla' must be given at most {MOST_ROWS} rows and one decay a head in the delta rule; "
            f"got {k.shape[-1]} rows and {log_decay.shape[-1]} decays. Take backend 'chunked'."
        )
    return _run(_delta_rule, q, k, v, log_decay, initial_state, beta)


def _check(v: Tensor) -> None:
    if v.dtype not in (torch.float16, torch.bfloat16):
        raise ValueError(
            f"linear recurrence 'fla' must be given torch.bfloat16 or torch.float16; got {v.dtype}. Take backend "
            "'chunked', or a model in half precision."
        )


def _run(
    operation: Operation, q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, initial_state: Tensor, *rest: Tensor
) -> tuple[Tensor, Tensor]:
    """``operation`` on heads of full width, in the types that the kernels take; o and state of v's type."""
    n_rows, n_columns = k.shape[-1], v.shape[-1]
    rows, columns = -n_rows % WIDTH_STEP, -n_columns % WIDTH_STEP
    q, k, v = (F.pad(x.to(v.dtype), (0, width)) for x, width in ((q, rows), (k, rows), (v, columns)))
    log_decay = F.pad(log_decay.float(), (0, rows if log_decay.shape[-1] > 1 else 0))
    initial_state = F.pad(initial_state.float(), (0, columns, 0, rows))
    o, state = apply_opaque(operation, q, k, v, log_decay, initial_state, *(x.float() for x in rest))
    return o[..., :n_columns], state[..., :n_rows, :n_columns].to(v.dtype)


def _one_decay(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, initial_state: Tensor) -> tuple[Tensor, Tensor]:
    from fla.ops.simple_gla import chunk_simple_gla

    _check_blocks(v)
    o, state = chunk_simple_gla(
        q, k, v, g=log_decay.squeeze(-1), scale=1.0, initial_state=initial_state, output_final_state=True
    )
    return o, state


def _decay_of_each_row(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, initial_state: Tensor
) -> tuple[Tensor, Tensor]:
    from fla.ops.gla import chunk_gla

    _check_blocks(v)
    o, state = chunk_gla(q, k, v, g=log_decay, scale=1.0, initial_state=initial_state, output_final_state=True)
    return o, state


def _delta_rule(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, initial_state: Tensor, beta: Tensor
) -> tuple[Tensor, Tensor]:
    from fla.ops.gated_delta_rule import chunk_gated_delta_rule

    _check_blocks(v)
    g = log_decay.squeeze(-1)
    o, state = chunk_gated_delta_rule(
        q, k, v, g=g, beta=beta, scale=1.0, initial_state=initial_state, output_final_state=True
    )
    return o, state


def _check_blocks(v: Tensor) -> None:
    """Refuse what CUDA would refuse with less to say: members, already folded into the batch, count."""
    if (n_blocks := v.shape[0] * v.shape[2]) > MOST_BLOCKS:
        raise ValueError(
            f"linear recurrence 'fla' must be given at most {MOST_BLOCKS} sequences times heads (times members); got "
            f"{n_blocks}. Take smaller batches."
        )
