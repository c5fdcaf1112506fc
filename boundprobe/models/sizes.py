"""Nominal memory of a model from its sizes alone: no torch here, so a bound can speak before a model exists."""

from __future__ import annotations

from typing import NamedTuple

from boundprobe.checks import check_integer, check_word
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


def nominal_bits(spec: ModelSpec, prefix_len: int, entry_bits: int = 32) -> NominalBits:
    """Entries of the state after a prefix times their precision.

    A Mamba layer has expand * d_model * d_state recurrent entries and expand * d_model * (d_conv - 1) in its
    convolution's buffer; an attention layer caches keys and values, 2 * d_model entries, of the last
    min(window - 1, prefix_len) tokens.

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
        If a number is too small, or a mixer's state is not known here.

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
    d_inner = spec.expand * spec.d_model
    entries = {
        "mamba": (d_inner * spec.d_state, d_inner * (spec.d_conv - 1), 0),
        "attn": (0, 0, 2 * spec.d_model * min(spec.window - 1, prefix_len)),
    }
    for mixer in spec.layers:
        check_word("mixer", mixer, entries, "the size of its state is not known here")
    return NominalBits(*(entry_bits * sum(column) for column in zip(*(entries[m] for m in spec.layers), strict=True)))
