"""One colour and marker for each architecture, the same in every figure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from boundprobe.models.spec import WINDOWED, parse_architecture

#: Colour and markers of each kind of stack; the first marker is that of the plain one of each kind.
COLORS = {"attention": "#0072B2", "recurrent": "#D55E00", "hybrid": "#009E73"}
MARKERS = {"attention": "ohp8H", "recurrent": "s^vP<>", "hybrid": "DdX*"}
PLAIN = {"attention": "attn", "recurrent": "mamba", "hybrid": "mamba-attn"}
#: How much of black or white is mixed into a colour, once all markers of a kind are in use.
SHADES = (0.0, -0.4, 0.45)


class Look(NamedTuple):
    """Colour and marker of an architecture.

    Attributes
    ----------
    color, marker : str
    """

    color: str
    marker: str


def kind_of(architecture: str) -> str:
    """Attention, recurrent or hybrid, by the mixers of its name; what is no name of ours counts as recurrent.

    >>> kind_of("attn-attn"), kind_of("mamba|attn"), kind_of("gru")
    ('attention', 'hybrid', 'recurrent')
    """
    try:
        mixers = {mixer for layer in parse_architecture(architecture) for mixer in layer}
    except ValueError:  # a model from elsewhere
        return "recurrent"
    if mixers <= set(WINDOWED):
        return "attention"
    return "hybrid" if mixers & set(WINDOWED) else "recurrent"


def looks_of(architectures: Mapping[str, str]) -> dict[str, Look]:
    """The look of each series of a figure.

    An architecture has the same look in every figure, but where two of one figure would have one look between them:
    there the second takes the next that is free.

    Parameters
    ----------
    architectures : mapping of str to str
        The architecture of each series.

    Examples
    --------
    >>> looks_of({"attn-attn": "attn-attn", "mamba-attn": "mamba-attn"})["mamba-attn"]
    Look(color='#009E73', marker='D')
    """
    looks: dict[str, Look] = {}
    for series, architecture in architectures.items():
        variants = _variants(kind := kind_of(architecture))
        first = 0 if _is_plain(architecture, kind) else 1 + _digest(architecture) % (len(MARKERS[kind]) - 1)
        order = [variants[(first + i) % len(variants)] for i in range(len(variants))]
        looks[series] = next((look for look in order if look not in looks.values()), order[0])
    return looks


def _is_plain(architecture: str, kind: str) -> bool:
    """Return True for the plain stack of its kind, of any depth: attn-attn, mamba, mamba-attn-mamba-attn."""
    plain, times = PLAIN[kind], architecture.count("-") + 1
    n_layers = plain.count("-") + 1
    return times % n_layers == 0 and architecture == "-".join([plain] * (times // n_layers))


def _variants(kind: str) -> list[Look]:
    return [Look(_shaded(COLORS[kind], shade), marker) for shade in SHADES for marker in MARKERS[kind]]


def _shaded(color: str, shade: float) -> str:
    """A colour darkened by a negative share, lightened by a positive one."""
    if not shade:
        return color
    target = 255 if shade > 0 else 0
    mixed = (round(part + abs(shade) * (target - part)) for part in bytes.fromhex(color[1:]))
    return "#" + bytes(mixed).hex().upper()


def _digest(architecture: str) -> int:
    return hashlib.sha256(architecture.encode()).digest()[0]
