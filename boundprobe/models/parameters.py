"""Number of parameters of a model from its sizes alone; torch-free, as the bounds are."""

from __future__ import annotations

import math
from collections.abc import Callable

from boundprobe.checks import check_integer
from boundprobe.models.spec import ModelSpec

Count = Callable[[ModelSpec], int]


def _attention(s: ModelSpec) -> int:
    relative = s.window * (s.d_model // s.n_heads) if s.position == "learned" else 0
    return 4 * s.d_model * (s.d_model + 1) + relative


def _mamba(s: ModelSpec) -> int:
    inner, rank = s.expand * s.d_model, math.ceil(s.d_model / 16)
    projections = 3 * inner * s.d_model + inner * (rank + 2 * s.d_state) + inner * (rank + 1)
    return projections + inner * (s.d_conv + 1) + inner * s.d_state + inner


def _mamba2(s: ModelSpec) -> int:
    inner = s.expand * s.d_model
    convolved, heads = inner + 2 * s.d_state, inner // s.d_head
    return s.d_model * (inner + convolved + heads) + convolved * (s.d_conv + 1) + 3 * heads + inner * (1 + s.d_model)


def _gla(s: ModelSpec) -> int:
    keys, rank = s.n_heads * s.d_state, min(16, s.d_model)
    decay = s.d_model * rank + (rank + 1) * keys
    return s.d_model * (2 * keys + 2 * s.d_model) + decay + s.d_model // s.n_heads + s.d_model**2


def _deltanet(s: ModelSpec) -> int:
    convolved = 2 * s.n_heads * s.d_state + s.d_model
    return convolved * (s.d_model + s.d_conv) + s.d_model * (s.n_heads + s.d_model) + s.d_model // s.n_heads


def _gated_deltanet(s: ModelSpec) -> int:
    return _deltanet(s) + (s.d_model + 2) * s.n_heads + s.d_model**2


def _gated_cells(gates: int) -> Count:
    def count(s: ModelSpec) -> int:
        cells = s.expand * s.d_model
        return gates * cells * (s.d_model + cells + 2) + cells * s.d_model

    return count


def _ssm(s: ModelSpec) -> int:
    state = s.n_heads * s.d_state
    return (s.d_model + 1) * s.n_heads + state * s.d_state + 2 * state * s.d_model + s.d_model


def _mamba_chunks(s: ModelSpec) -> int:
    compress = s.expand * s.d_model * s.d_state * s.d_model + s.d_model
    return _mamba(s) + compress + 4 * s.d_model * (s.d_model + 1) + (1 + s.window) * s.d_model


def _mamba_attention_step(s: ModelSpec) -> int:
    return _mamba(s) + _attention(s) + s.expand * s.d_model**2


#: Parameters of each mixer; a test counts them in the modules.
COUNTS: dict[str, Count] = {
    "attn": _attention,
    "mamba": _mamba,
    "mamba2": _mamba2,
    "gla": _gla,
    "deltanet": _deltanet,
    "gated-deltanet": _gated_deltanet,
    "lstm": _gated_cells(4),
    "gru": _gated_cells(3),
    "ssm": _ssm,
    "mamba+chunks": _mamba_chunks,
    "mamba+attnstep": _mamba_attention_step,
}


def n_params(spec: ModelSpec, n_token_ids: int) -> int:
    """Number of trainable parameters, as ``SequenceModel.n_params`` counts them in a model that was built.

    Parameters
    ----------
    spec : ModelSpec
    n_token_ids : int
        Tokens of the embedding and of the read-out.

    Examples
    --------
    >>> n_params(ModelSpec("mamba-attn", d_model=8, window=4, d_state=2), n_token_ids=5)
    1600
    """
    check_integer("n_token_ids", n_token_ids, 1)
    d, hidden, with_norm = spec.d_model, spec.mlp_ratio * spec.d_model, spec.norm == "pre"
    total = 2 * n_token_ids * d + 2 * d * with_norm
    for layer in spec.layers:
        total += sum(COUNTS[mixer](spec) + d * (1 + (mixer == "attn")) * with_norm for mixer in layer)
        if hidden and (spec.mlp_after == "every" or "attn" in layer):
            total += 2 * d * hidden + hidden + d + 2 * d * with_norm
    return total
