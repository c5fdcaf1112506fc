"""Parameters and bits of a construction from its spec, without building it; no torch here."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from boundprobe.models.spec import ModelSpec


class CodedBits(NamedTuple):
    """Bits that a construction's state takes when each entry is written with as few as tell its values apart.

    Attributes
    ----------
    recurrent_bits, cache_bits : int, in bits
    """

    recurrent_bits: int
    cache_bits: int

    @property
    def total_bits(self) -> int:
        """Bits of both kinds together."""
        return sum(self)


def _mamba(s: ModelSpec) -> int:
    inner, rank = s.expand * s.d_model, math.ceil(s.d_model / 16)
    projections = 2 * s.d_model * inner + inner * (rank + 2 * s.d_state) + (rank + 1) * inner + inner * s.d_model
    return projections + inner * (s.d_conv + 1) + inner * s.d_state + inner


def _ssm(s: ModelSpec) -> int:
    states = s.n_heads * s.d_state
    return (s.d_model + 1) * s.n_heads + states * s.d_state + 2 * states * s.d_model + s.d_model


def _attention(s: ModelSpec) -> int:
    table = s.window * (s.d_model // s.n_heads) if s.position == "learned" else 0
    return 4 * s.d_model * (s.d_model + 1) + table


#: Parameters of each mixer that a construction uses; a test counts them in the modules.
PARAMETERS: dict[str, Callable[[ModelSpec], int]] = {"mamba": _mamba, "ssm": _ssm, "attn": _attention}


def count_parameters(spec: ModelSpec, n_token_ids: int) -> int:
    """Parameters of a model without norms and MLPs: both ends and its mixers.

    Parameters
    ----------
    spec : ModelSpec
        Of mixers in ``PARAMETERS``, with norm ``none`` and mlp_ratio 0.
    n_token_ids : int

    Returns
    -------
    int

    Examples
    --------
    >>> spec = ModelSpec("attn", d_model=4, window=3, position="learned", mlp_ratio=0, norm="none")
    >>> count_parameters(spec, n_token_ids=10)
    172
    """
    return 2 * n_token_ids * spec.d_model + sum(PARAMETERS[mixer](spec) for mixer in spec.mixers)


def bits_of_levels(values: np.ndarray) -> int:
    """Bits that tell the levels of each column of ``values`` (n, entries) apart, over all columns.

    >>> bits_of_levels(np.array([[0.0, 1.0, 5.0], [0.0, 2.0, 6.0], [0.0, 1.0, 7.0]]))
    3
    """
    return sum((len(np.unique(column)) - 1).bit_length() for column in values.T)
