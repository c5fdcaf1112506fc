"""Number of parameters of a model from its sizes alone; torch-free, as the bounds are."""

from __future__ import annotations

import math
from collections.abc import Callable

from boundprobe.checks import check_integer
from boundprobe.models.heads import KeyValueHeads
from boundprobe.models.ranks import gate_rank, rate_rank
from boundprobe.models.spec import WINDOWED, ModelSpec, is_own

Count = Callable[[ModelSpec], int]


def _attention(s: ModelSpec) -> int:
    width = s.d_model // s.n_heads
    projected = s.d_model + 2 * (s.n_kv_heads or s.n_heads) * width
    return (s.d_model + 1) * (projected + s.d_model) + _relative(s)


def _gated_attention(s: ModelSpec) -> int:
    width = s.d_model // s.n_heads
    projected = s.d_model + 2 * (s.n_kv_heads or s.n_heads) * width
    return s.d_model * (projected + 2 * s.d_model) + 2 * width + _relative(s)


def _relative(s: ModelSpec) -> int:
    """Key vectors of distances."""
    return s.window * (s.d_model // s.n_heads) if s.position == "learned" else 0


def _mamba(s: ModelSpec) -> int:
    inner, rank = s.expand * s.d_model, math.ceil(s.d_model / 16)
    projections = 3 * inner * s.d_model + inner * (rank + 2 * s.d_state) + inner * (rank + 1)
    return projections + inner * (s.d_conv + 1) + inner * s.d_state + inner


def _mamba2(s: ModelSpec) -> int:
    inner = s.expand * s.d_model
    convolved, heads = inner + 2 * (s.n_groups or 1) * s.d_state, inner // s.d_head
    return s.d_model * (inner + convolved + heads) + convolved * (s.d_conv + 1) + 3 * heads + inner * (1 + s.d_model)


def _gla(s: ModelSpec) -> int:
    keys, rank = s.n_heads * s.d_state, min(16, s.d_model)
    decay = s.d_model * rank + (rank + 1) * keys
    return s.d_model * (2 * keys + 2 * s.d_model) + decay + s.d_model // s.n_heads + s.d_model**2


def _heads(s: ModelSpec) -> KeyValueHeads:
    return KeyValueHeads.of(s.d_model, s.n_heads, s.d_state, s.d_value, s.n_groups)


def _deltanet(s: ModelSpec) -> int:
    heads = _heads(s)
    return heads.n_convolved * (s.d_model + s.d_conv) + s.d_model * (s.n_heads + heads.n_values) + heads.d_value


def _gated_deltanet(s: ModelSpec) -> int:
    return _deltanet(s) + (s.d_model + 2) * s.n_heads + s.d_model * _heads(s).n_values


def _kda(s: ModelSpec) -> int:
    heads, n_rows = _heads(s), s.n_heads * s.d_state
    low_rank = heads.d_value * (2 * s.d_model + n_rows + heads.n_values)
    return _deltanet(s) + low_rank + n_rows + s.n_heads


def _rwkv7(s: ModelSpec) -> int:
    d, rows = s.d_model, s.n_heads * s.d_state
    low_rank = 2 * rate_rank(d) * (d + rows) + 2 * gate_rank(d) * d
    return 6 * d + 2 * d * rows + 2 * d * d + low_rank + 5 * rows + 2 * d


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
    "gated-attn": _gated_attention,
    "mamba": _mamba,
    "mamba2": _mamba2,
    "gla": _gla,
    "deltanet": _deltanet,
    "gated-deltanet": _gated_deltanet,
    "kda": _kda,
    "rwkv7": _rwkv7,
    "lstm": _gated_cells(4),
    "gru": _gated_cells(3),
    "ssm": _ssm,
    "mamba+chunks": _mamba_chunks,
    "mamba+attnstep": _mamba_attention_step,
}


def _count(spec: ModelSpec, mixer: str) -> int:
    """Parameters of one mixer; those of the user's own are counted in one that is built."""
    if is_own(mixer):
        from boundprobe.models.own import own_params  # with torch, as a mixer's own source has it

        return own_params(spec, mixer)
    return COUNTS[mixer](spec)


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
        total += sum(_count(spec, mixer) + d * (1 + (mixer == "attn")) * with_norm for mixer in layer)
        if hidden and (spec.mlp_after == "every" or set(layer) & set(WINDOWED)):
            total += 2 * d * hidden + hidden + d + 2 * d * with_norm
    return total
