"""Nominal memory of a model from its sizes alone; torch-free, so that bounds apply before a model is built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from boundprobe.bounds.diagonal.stages import Stage, Window
from boundprobe.checks import check_integer
from boundprobe.models.heads import KeyValueHeads, check_shared
from boundprobe.models.spec import ModelSpec, is_own

#: Bits of an entry of a state that is measured.
FLOAT32_BITS = 32


class NominalBits(NamedTuple):
    """Bits of one sequence's state at the cut, by kind.

    Attributes
    ----------
    recurrent_bits, conv_bits, cache_bits : int, in bits
    """

    recurrent_bits: int
    conv_bits: int
    cache_bits: int

    @property
    def total_bits(self) -> int:
        """Bits of all kinds together: an upper bound on log2 of the number of states."""
        return sum(self)


#: Builders of the stages of a mixer: called with the sizes and the bits of an entry.
StageBuilder = Callable[[ModelSpec, int], tuple[Stage, ...]]


def _attention(spec: ModelSpec, entry: int) -> tuple[Stage, ...]:
    n_cached = check_shared("n_kv_heads", spec.n_kv_heads, spec.n_heads) * (spec.d_model // spec.n_heads)
    return (Stage((Window("cache", 2 * n_cached * entry, spec.window - 1),)),)


def _convolved(channels: int, recurrent: int, spec: ModelSpec, entry: int) -> tuple[Stage, ...]:
    """A convolution and the recurrence that reads it."""
    return (Stage((Window("conv", channels * entry, spec.d_conv - 1),), recurrent * entry),)


def _mamba(spec: ModelSpec, entry: int) -> tuple[Stage, ...]:
    d_inner = spec.expand * spec.d_model
    return _convolved(d_inner, d_inner * spec.d_state, spec, entry)


def _mamba2(spec: ModelSpec, entry: int) -> tuple[Stage, ...]:
    d_inner = spec.expand * spec.d_model
    return _convolved(d_inner + 2 * (spec.n_groups or 1) * spec.d_state, d_inner * spec.d_state, spec, entry)


def _delta_rule(spec: ModelSpec, entry: int) -> tuple[Stage, ...]:
    heads = KeyValueHeads.of(spec.d_model, spec.n_heads, spec.d_state, spec.d_value, spec.n_groups)
    return _convolved(heads.n_convolved, heads.n_state, spec, entry)


def _rwkv7(spec: ModelSpec, entry: int) -> tuple[Stage, ...]:
    """The token before, as a convolution of width 2 would keep it."""
    return (Stage((Window("conv", spec.d_model * entry, 1),), spec.d_state * spec.d_model * entry),)


def _mamba_chunks(spec: ModelSpec, entry: int) -> tuple[Stage, ...]:
    """Mamba, whose states at the ends of chunks are summarised and looked back at."""
    return (*_mamba(spec, entry), Stage((Window("cache", spec.d_model * entry, spec.window, spec.chunk),)))


def _mamba_attention_step(spec: ModelSpec, entry: int) -> tuple[Stage, ...]:
    """The attention and the convolution read the same input, and the recurrence both."""
    (mamba,), (attention,) = _mamba(spec, entry), _attention(spec, entry)
    return (replace(mamba, windows=(*mamba.windows, *attention.windows)),)


def _recurrent(entries: Callable[[ModelSpec], int]) -> StageBuilder:
    return lambda spec, entry: (Stage(recurrent_bits=entries(spec) * entry),)


#: What each mixer carries past a cut; a test counts it in the modules' own tensors.
STAGES: dict[str, StageBuilder] = {
    "attn": _attention,
    "gated-attn": _attention,
    "mamba": _mamba,
    "mamba2": _mamba2,
    "gla": _recurrent(lambda spec: spec.d_state * spec.d_model),
    "deltanet": _delta_rule,
    "gated-deltanet": _delta_rule,
    "kda": _delta_rule,
    "rwkv7": _rwkv7,
    "lstm": _recurrent(lambda spec: 2 * spec.expand * spec.d_model),
    "gru": _recurrent(lambda spec: spec.expand * spec.d_model),
    "ssm": _recurrent(lambda spec: spec.n_heads * spec.d_state),
    "mamba+chunks": _mamba_chunks,
    "mamba+attnstep": _mamba_attention_step,
}


def mixer_stages(spec: ModelSpec, mixer: str, entry_bits: int) -> tuple[Stage, ...]:
    """The stages of one mixer; of the user's own as it states them, or as its tensors have them."""
    if is_own(mixer):
        from boundprobe.models.own import own_stages  # with torch, as a mixer's own source has it

        return own_stages(spec, mixer, entry_bits)
    return STAGES[mixer](spec, entry_bits)


def model_stages(spec: ModelSpec, entry_bits: int = 32) -> tuple[Stage, ...]:
    """The stages of a stack, from input to output, as diagonal cuts see them.

    Branches of a parallel layer are one stage.  A branch of several stages (``mamba+chunks``) lags with its last one;
    the windows of the others, which could lag instead, are counted whole.

    Parameters
    ----------
    spec : ModelSpec
    entry_bits : int, in bits, at least 1
        Precision of one entry: 32 for float32.

    References
    ----------
    D1 (docs/theory/bounds.md).

    Examples
    --------
    >>> [stage.reach for stage in model_stages(ModelSpec("mamba-attn", d_model=8, window=6, d_conv=4))]
    [3, 5]
    """
    check_integer("entry_bits", entry_bits, 1)
    return tuple(stage for layer in layer_stages(spec, entry_bits) for stage in layer)


def layer_stages(spec: ModelSpec, entry_bits: int = FLOAT32_BITS) -> tuple[tuple[Stage, ...], ...]:
    """The same stages, those of each layer by themselves."""
    layers = []
    for layer in spec.layers:
        branches = [mixer_stages(spec, mixer, entry_bits) for mixer in layer]
        layers.append(branches[0] if len(branches) == 1 else (_side_by_side(branches),))
    return tuple(layers)


def crossing_by_layer(
    spec: ModelSpec, lags: Sequence[int], prefix_len: int, entry_bits: int = FLOAT32_BITS
) -> tuple[NominalBits, ...]:
    """Bits of each layer that cross a diagonal cut, by kind.

    Parameters
    ----------
    spec : ModelSpec
    lags : sequence of int, in tokens
        One for each stage of ``model_stages``.
    prefix_len : int, in tokens
        P, where the cut ends.
    entry_bits : int, in bits

    Examples
    --------
    >>> attention, gru = crossing_by_layer(ModelSpec("attn-gru", d_model=4, window=3), (2, 0), prefix_len=8)
    >>> attention.total_bits, gru.recurrent_bits
    (0, 256)
    """
    left, time, layers = list(lags), prefix_len - sum(lags), []
    for stages in layer_stages(spec, entry_bits):
        kinds = []
        for stage in stages:
            lag = left.pop(0)
            kinds.append(stage.by_kind(time, time + lag))
            time += lag
        layers.append(NominalBits(*(sum(bits) for bits in zip(*kinds, strict=True))))
    return tuple(layers)


def _side_by_side(branches: Sequence[tuple[Stage, ...]]) -> Stage:
    """The branches of a parallel layer, at one lag."""
    inner = [window for branch in branches for stage in branch[:-1] for window in stage.windows]
    of = {kind: sum(w.bits * w.reach for w in inner if w.kind == kind) for kind in ("conv", "cache")}
    stages = [stage for branch in branches for stage in branch]
    return Stage(
        tuple(window for branch in branches for window in branch[-1].windows),
        sum(stage.recurrent_bits for stage in stages),
        of["conv"] + sum(stage.conv_bits for stage in stages),
        of["cache"] + sum(stage.cache_bits for stage in stages),
    )


def nominal_bits(spec: ModelSpec, prefix_len: int, entry_bits: int = 32) -> NominalBits:
    """Entries of the state after a prefix times their precision.

    A Mamba layer has expand * d_model * d_state recurrent entries and expand * d_model * (d_conv - 1) in its
    convolution's buffer; an attention layer caches keys and values, 2 * d_model entries (n_kv_heads / n_heads of them
    where they are shared), of the last min(window - 1, prefix_len) tokens; the others are in ``STAGES``.

    Parameters
    ----------
    spec : ModelSpec
    prefix_len : int, in tokens, at least 0
        Length of the prefix before the cut.
    entry_bits : int, in bits, at least 1
        Precision of one entry: 32 for float32.

    Returns
    -------
    NominalBits

    Raises
    ------
    ValueError
        If a number is too small.

    References
    ----------
    *Nominal* bits (docs/trust.md); Lemma 3.5 of Cooper, Diakonikolas, Ma, Sala 2026 (arXiv 2603.08859).

    Examples
    --------
    >>> nominal_bits(ModelSpec("mamba-attn", d_model=8, window=4, d_state=2), prefix_len=4)
    NominalBits(recurrent_bits=1024, conv_bits=1536, cache_bits=1536)
    """
    check_integer("prefix_len", prefix_len, 0)
    stages = model_stages(spec, entry_bits)
    # A convolution's buffer is as long at the start; a cache is not.
    conv = sum(window.bits * window.reach for stage in stages for window in stage.windows if window.kind == "conv")
    cut = [stage.by_kind(prefix_len, prefix_len) for stage in stages]
    return NominalBits(
        sum(recurrent for recurrent, _, _ in cut),
        conv + sum(stage.conv_bits for stage in stages),
        sum(cache for _, _, cache in cut),
    )
