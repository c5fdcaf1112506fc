"""Nominal memory of a model from its sizes alone; torch-free, so that bounds apply before a model is built."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from boundprobe.checks import check_integer
from boundprobe.models.spec import ModelSpec


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


Entries = tuple[int, int, int]  # recurrent, convolution, cache


def _attention(spec: ModelSpec, prefix_len: int) -> Entries:
    return 0, 0, 2 * spec.d_model * min(spec.window - 1, prefix_len)


def _mamba(spec: ModelSpec, prefix_len: int) -> Entries:
    d_inner = spec.expand * spec.d_model
    return d_inner * spec.d_state, d_inner * (spec.d_conv - 1), 0


def _mamba2(spec: ModelSpec, prefix_len: int) -> Entries:
    d_inner = spec.expand * spec.d_model
    return d_inner * spec.d_state, (d_inner + 2 * spec.d_state) * (spec.d_conv - 1), 0


def _gla(spec: ModelSpec, prefix_len: int) -> Entries:
    return spec.d_state * spec.d_model, 0, 0


def _deltanet(spec: ModelSpec, prefix_len: int) -> Entries:
    convolved = 2 * spec.n_heads * spec.d_state + spec.d_model  # queries, keys and values
    return spec.d_state * spec.d_model, convolved * (spec.d_conv - 1), 0


def _mamba_chunks(spec: ModelSpec, prefix_len: int) -> Entries:
    recurrent, conv, _ = _mamba(spec, prefix_len)
    return recurrent, conv, spec.d_model * min(spec.window, prefix_len // spec.chunk)


def _mamba_attention_step(spec: ModelSpec, prefix_len: int) -> Entries:
    recurrent, conv, _ = _mamba(spec, prefix_len)
    return recurrent, conv, _attention(spec, prefix_len)[2]


#: State entries of each mixer after a prefix; a test counts them in the modules' own tensors.
ENTRIES: dict[str, Callable[[ModelSpec, int], Entries]] = {
    "attn": _attention,
    "mamba": _mamba,
    "mamba2": _mamba2,
    "gla": _gla,
    "deltanet": _deltanet,
    "gated-deltanet": _deltanet,
    "lstm": lambda spec, prefix_len: (2 * spec.expand * spec.d_model, 0, 0),
    "gru": lambda spec, prefix_len: (spec.expand * spec.d_model, 0, 0),
    "ssm": lambda spec, prefix_len: (spec.n_heads * spec.d_state, 0, 0),
    "mamba+chunks": _mamba_chunks,
    "mamba+attnstep": _mamba_attention_step,
}


def nominal_bits(spec: ModelSpec, prefix_len: int, entry_bits: int = 32) -> NominalBits:
    """Entries of the state after a prefix times their precision.

    A Mamba layer has expand * d_model * d_state recurrent entries and expand * d_model * (d_conv - 1) in its
    convolution's buffer; an attention layer caches keys and values, 2 * d_model entries, of the last
    min(window - 1, prefix_len) tokens; the others are in ``ENTRIES``.

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
    Section 6 of the theory (*nominal*); Lemma 3.5 of Cooper, Diakonikolas, Ma, Sala 2026 (arXiv 2603.08859).

    Examples
    --------
    >>> nominal_bits(ModelSpec("mamba-attn", d_model=8, window=4, d_state=2), prefix_len=4)
    NominalBits(recurrent_bits=1024, conv_bits=1536, cache_bits=1536)
    """
    check_integer("prefix_len", prefix_len, 0)
    check_integer("entry_bits", entry_bits, 1)
    counts = [ENTRIES[mixer](spec, prefix_len) for mixer in spec.mixers]
    return NominalBits(*(entry_bits * sum(column) for column in zip(*counts, strict=True)))
