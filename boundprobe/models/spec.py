"""Architecture and sizes of a model; torch-free, so that bounds apply before a model is built."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from boundprobe.checks import check_word, refuse
from boundprobe.models.heads import check_shared
from boundprobe.models.own_sources import check_recorded, check_sources, named_of, sources_of
from boundprobe.settings import check_settings, setting
from boundprobe.tasks.custom.consent import name_task
from boundprobe.text import one_line

#: Mixers that an architecture string may name.
MIXERS = (
    "attn",
    "mamba",
    "mamba2",
    "gla",
    "deltanet",
    "gated-deltanet",
    "gated-attn",
    "kda",
    "rwkv7",
    "lstm",
    "gru",
    "ssm",
    "mamba+chunks",
    "mamba+attnstep",
)
#: Mixers that look back through a window of attention and through nothing else.
WINDOWED = ("attn", "gated-attn")
#: Mixers whose heads share the width equally, and those of them whose values may have another width.
WITH_HEADS = (*WINDOWED, "gla", "deltanet", "gated-deltanet", "kda", "rwkv7", "ssm", "mamba+attnstep", "mamba+chunks")
WITH_VALUES = ("deltanet", "gated-deltanet", "kda")
#: Mixers that attend with rotary encoding where ``position`` says so.
ROTARY = (*WINDOWED, "mamba+attnstep")
#: Settings that came later.  Records leave them out at their defaults, so that earlier runs keep their names.
LATER = ("n_kv_heads", "d_value", "n_groups", "beta_max")
#: Layers of one model, so that a number of them that was mistyped is no list that fills the memory.
MOST_LAYERS = 10_000


#: A mixer of the user's own: ``module:name`` or ``file.py:name``.
OWN = re.compile(r"[^:\s]+:[A-Za-z_]\w*")


def is_own(mixer: str) -> bool:
    """True of the name of a user's own mixer."""
    return OWN.fullmatch(mixer) is not None


def parse_architecture(architecture: str) -> tuple[tuple[str, ...], ...]:
    """Layers of an architecture string, from input to output; each is the tuple of its parallel branches.

    ``layer-layer`` stacks, ``3xlayer`` repeats, ``mixer|mixer`` reads one input twice and adds the outputs.  A mixer of
    your own is ``module:name`` or ``file.py:name``, with no ``-`` or ``|`` in it; nothing of it is executed here.

    Raises
    ------
    ValueError
        If a mixer is not known.

    Examples
    --------
    >>> parse_architecture("2xmamba-attn")
    (('mamba',), ('mamba',), ('attn',))
    >>> parse_architecture("gated-deltanet-mamba|attn")
    (('gated-deltanet',), ('mamba', 'attn'))
    >>> parse_architecture("2xmixers.py:Mine-attn")
    (('mixers.py:Mine',), ('mixers.py:Mine',), ('attn',))
    """
    with_hyphens = str(architecture).replace("_", "-")
    if with_hyphens != architecture and all(part in MIXERS for part in re.split(r"(?<!gated)-", with_hyphens)):
        raise ValueError(
            f"`architecture` must join layers with '-'; got {architecture!r}. Did you mean {with_hyphens!r}?"
        )
    layers: list[tuple[str, ...]] = []
    # A mixer's own name may hold the sign that joins layers.
    for text in re.split(r"(?<!gated)-", str(architecture)):
        repeated = re.fullmatch(r"([1-9][0-9]*)x(.+)", text)
        times, layer = (int(repeated[1][:9]), repeated[2]) if repeated else (1, text)
        branches = tuple(layer.split("|"))
        for mixer in branches:
            advice = "join layers from input to output with '-', as in mamba-attn, 3xmamba-attn or mamba|attn-mamba"
            if ":" in str(architecture):
                advice = "name your own by module:name or file.py:name, with no '-' or '|' in it"
            if not is_own(mixer):
                check_word("mixer", mixer, MIXERS, advice, of=f" of architecture {architecture!r}")
        if len(layers) + times > MOST_LAYERS:
            refuse("architecture", f"of at most {MOST_LAYERS} layers", one_line(repr(architecture), 80))
        layers += [branches] * times
    return tuple(layers)


@dataclass(frozen=True)
class ModelSpec:
    """A stack of sequence mixers and its sizes.

    Attributes
    ----------
    architecture : str
        Layers from input to output, joined by ``-``: ``mamba-attn``, ``3xmamba-attn``, ``mamba|attn-attn``
        (``parse_architecture``).
    d_model : int
        Width of the residual stream.
    window : int
        Attention window in tokens: a position sees itself and the ``window - 1`` before it.  In
        ``mamba+chunks`` the number of chunk states that are kept.
    n_heads : int
        Heads of attention, gla, the deltanets, kda, rwkv7 and ssm; must divide ``d_model`` (not where ``d_value`` is
        given).
    position : str
        Position encoding of attention: ``rope`` (``d_model / n_heads`` must be even), ``learned`` (relative
        key vectors), ``none``.
    d_state : int
        State entries per channel of a recurrent layer, N; key width of a head of gla, the deltanets, kda and rwkv7.
    d_conv : int
        Width of a recurrent layer's causal convolution; it sees itself and the ``d_conv - 1`` inputs before it.
    expand : int
        Inner width of Mamba layers, and hidden width of lstm and gru, over ``d_model``.
    d_head : int
        Channels of a Mamba-2 head; must divide ``expand * d_model``.
    chunk : int
        Tokens between the states that ``mamba+chunks`` keeps.
    mlp_ratio : int
        Hidden width of the MLPs over ``d_model``; 0 for none.
    mlp_after : str
        ``attn``: an MLP after each layer with attention and none after others, as in the paper; ``every`` layer.
    norm : str
        ``pre``: a norm before each mixer, each MLP and the read-out; ``none``.
    n_kv_heads : int
        Heads of keys and values in attention, each shared by ``n_heads / n_kv_heads`` heads of queries; 0: ``n_heads``.
    d_value : int
        Value width of a head of the deltanets and kda; 0: ``d_model / n_heads``.
    n_groups : int
        Groups of heads that share queries and keys in the deltanets and kda, and B and C in mamba2; 0: one in mamba2,
        ``n_heads`` in the others.
    beta_max : int
        Upper limit of the deltanets' and kda's ``beta``: 1, or 2, with which the transition of the state may have
        negative eigenvalues.
    sources : tuple of str
        ``reference sha256`` of each mixer of the user's own.  Without them the user has named the mixers, and they are
        read off their sources; with them, as records have them, nothing of a mixer is executed that the user has not
        named (docs/trust.md).

    Examples
    --------
    >>> ModelSpec("mamba-attn", d_model=12).layers
    (('mamba',), ('attn',))
    >>> ModelSpec("attn-attn", window=8).windows
    (8, 8)
    """

    architecture: str = setting(
        "mamba-attn", "layers joined by '-': mamba-attn, 3xgla, mamba|attn", flag="--model", metavar="LAYERS"
    )
    d_model: int = setting(16, "width of the residual stream", metavar="N", least=1)
    window: int = setting(32, "attention window in tokens, itself included", metavar="N", least=1)
    n_heads: int = setting(1, "attention heads", flag="--heads", metavar="N", least=1)
    position: str = setting(
        "rope",
        "position encoding of attention: rope, learned or none",
        metavar="NAME",
        words=("rope", "learned", "none"),
    )
    d_state: int = setting(16, "state entries per channel of a recurrent layer", metavar="N", least=1)
    d_conv: int = setting(4, "width of a recurrent layer's convolution", metavar="N", least=1)
    expand: int = setting(2, "inner width of Mamba, lstm and gru over d_model", metavar="N", least=1)
    d_head: int = setting(16, "channels of a Mamba-2 head", metavar="N", least=1)
    chunk: int = setting(8, "tokens between the states that mamba+chunks keeps", metavar="N", least=1)
    mlp_ratio: int = setting(4, "MLP width over d_model; 0: none", metavar="N", least=0)
    mlp_after: str = setting(
        "attn", "MLPs after 'attn' layers or 'every' layer", metavar="NAME", words=("attn", "every")
    )
    norm: str = setting("pre", "'pre': a norm before each mixer; 'none'", metavar="NAME", words=("pre", "none"))
    n_kv_heads: int = setting(
        0, "heads of keys and values of attention; 0: as many as --heads", flag="--kv-heads", metavar="N", least=0
    )
    d_value: int = setting(
        0, "value width of a head of the deltanets and kda; 0: d_model over heads", metavar="N", least=0
    )
    n_groups: int = setting(
        0, "groups of heads that share queries and keys; 0: one in mamba2, one a head elsewhere", metavar="N", least=0
    )
    beta_max: int = setting(1, "upper limit of beta in the deltanets and kda: 1, or 2", metavar="N", least=1, most=2)
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        mixers = {mixer for layer in parse_architecture(self.architecture) for mixer in layer}
        check_settings(self)
        object.__setattr__(self, "sources", sources_of(sorted(filter(is_own, mixers)), self.sources))
        free = set(WITH_VALUES) if self.d_value else set()
        rotary = mixers & set(ROTARY) and self.position == "rope"
        if mixers & (set(WITH_HEADS) - free) and self.d_model % (heads := self.n_heads * (2 if rotary else 1)):
            why = "rotary encoding turns pairs" if rotary else "heads share the width equally"
            raise ValueError(
                f"`d_model` must be a multiple of {heads} ({why}); got {self.d_model} with n_heads={self.n_heads}."
            )
        if "mamba2" in mixers and (self.expand * self.d_model) % self.d_head:
            raise ValueError(
                f"`d_head` must divide expand * d_model = {self.expand * self.d_model}; got {self.d_head}."
            )
        if mixers & set(ROTARY):
            check_shared("n_kv_heads", self.n_kv_heads, self.n_heads)
        if mixers & set(WITH_VALUES):
            check_shared("n_groups", self.n_groups, self.n_heads)
        if "mamba2" in mixers:
            check_shared("n_groups", self.n_groups, self.expand * self.d_model // self.d_head)

    def __reduce__(self) -> tuple[object, tuple[dict[str, Any], tuple[str, ...]]]:
        """Another process of the user's executes what the user has named in this one, and nothing else."""
        return _read_again, (asdict(self), named_of(self.sources))

    def to_dict(self) -> dict[str, str | int | list[str]]:
        """The settings as records have them, without those of ``LATER`` that are at their defaults.

        Examples
        --------
        >>> "n_groups" in ModelSpec("mamba2").to_dict(), ModelSpec("mamba2", n_groups=2).to_dict()["n_groups"]
        (False, 2)
        """
        plain: dict[str, str | int | list[str]] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "sources":
                plain |= {"sources": list(value)} if value else {}
            elif field.name not in LATER or value != field.default:
                plain[field.name] = value if isinstance(value, str) else int(value)
        return plain

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> ModelSpec:
        """The model that a record has; its author has named none of its mixers on your behalf.

        Raises
        ------
        ValueError
            If a setting is not allowed, or a mixer of its author's own has no source.
        """
        check_recorded(record)
        return cls(**record)

    @property
    def may_be_built(self) -> bool:
        """False if a mixer of somebody's own is not named in this process, or its source is not there as it was."""
        try:
            check_sources(self.sources)
        except ValueError:
            return False
        return len(named_of(self.sources)) == len(self.sources)

    @property
    def layers(self) -> tuple[tuple[str, ...], ...]:
        """Names of the mixers of each layer, from input to output; several where branches run in parallel."""
        return parse_architecture(self.architecture)

    @property
    def mixers(self) -> tuple[str, ...]:
        """Names of all mixers, from input to output."""
        return tuple(mixer for layer in self.layers for mixer in layer)

    @property
    def windows(self) -> tuple[int | None, ...]:
        """Window of each layer in tokens; None for a layer with recurrence, which hears of everything before it."""
        return tuple(self.window if set(layer) <= set(WINDOWED) else None for layer in self.layers)


def _read_again(settings: dict[str, Any], named: tuple[str, ...]) -> ModelSpec:
    """The model that another process has passed on to this one, with the mixers that were named there."""
    for reference in named:
        name_task(reference)
    return ModelSpec(**settings)
