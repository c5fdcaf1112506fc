"""Sizes of a model's state from its configuration alone: no weights, no torch, no transformers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from boundprobe.bounds.diagonal.stages import Stage
from boundprobe.checks import MOST_TOKENS, check_integer, check_word
from boundprobe.hf.configuration import Configuration, read_configuration
from boundprobe.hf.families import FAMILIES
from boundprobe.hf.layer_size import DTYPE_BITS, LayerSize, StateSizes
from boundprobe.models.sizes import STAGES
from boundprobe.models.spec import ModelSpec

#: Tokens that are read unless said otherwise.
N_TOKENS = 1024


def state_sizes(
    source: Path | str | Mapping[str, Any], n_tokens: int = N_TOKENS, *, dtype: str | None = None
) -> StateSizes:
    """Entries and bits of a transformers model's state after ``n_tokens`` tokens, by layer and kind.

    A key that the configuration does not have gets the value that transformers documents for the family, and
    ``StateSizes.defaults`` names it; a key without such a value (``hidden_size``, the number of layers, of heads) is
    refused by name.

    Parameters
    ----------
    source : path or mapping
        A folder with a ``config.json``, such a file, or its contents.
    n_tokens : int, at least 0
        Tokens read before the state is taken.
    dtype : str, optional
        Type of the weights in place of the configuration's, such as ``"bfloat16"``.  Recurrent states stay float32
        in families that keep them so.

    Returns
    -------
    StateSizes

    Raises
    ------
    ValueError
        If there is no configuration, its family is not known, or a key is missing or not possible.

    References
    ----------
    Caches of transformers 5.23; *nominal* bits (docs/trust.md).

    Examples
    --------
    Mamba-130m: 24,576 recurrent and 4,608 convolution entries in each of 24 layers.

    >>> sizes = state_sizes({"model_type": "mamba", "hidden_size": 768, "num_hidden_layers": 24, "state_size": 16,
    ...                      "expand": 2, "conv_kernel": 4, "dtype": "float32"})
    >>> sizes.layers[0].recurrent_entries, sizes.layers[0].conv_entries, len(sizes.layers)
    (24576, 4608, 24)
    >>> sizes.memory
    NominalBits(recurrent_bits=18874368, conv_bits=3538944, cache_bits=0)
    """
    check_integer("n_tokens", n_tokens, 0, MOST_TOKENS)
    family, c, kept = _described(source, dtype)
    layers = [state.at(n_tokens, i, kept) for i, state in enumerate(FAMILIES[family](c))]
    return StateSizes(family, n_tokens, tuple(layers), c.defaults)


def state_stages(source: Path | str | Mapping[str, Any], *, dtype: str | None = None) -> tuple[Stage, ...]:
    """A transformers model as diagonal cuts see it (D1), from its configuration: bits that lag and bits that do not.

    Parameters
    ----------
    source, dtype
        As for ``state_sizes``.

    Returns
    -------
    tuple of Stage
        From input to output; layers without a state are left out.

    Raises
    ------
    ValueError
        As ``state_sizes``.

    References
    ----------
    D1 (docs/theory/bounds.md).

    Examples
    --------
    A window of 128 tokens can lag by 127; attention without one holds everything however far a cut reaches.

    >>> stages = state_stages({"model_type": "gpt_oss", "num_hidden_layers": 2, "dtype": "bfloat16"})
    >>> [int(stage.windows[0].crossing(1000, 1000 + 100)) // (2 * 8 * 64 * 16) for stage in stages]
    [27, 1000]
    """
    family, c, kept = _described(source, dtype)
    return tuple(stage for state in FAMILIES[family](c) for stage in state.stages(kept))


def _described(source: Path | str | Mapping[str, Any], dtype: str | None) -> tuple[str, Configuration, str]:
    """The family, the configuration of its language model, and the type of its weights."""
    values = read_configuration(source)
    family, decoder = _decoder(values)
    # A part of a model of several has its own type, or that of the whole.
    types = [each[key] for each in (decoder, values) for key in ("dtype", "torch_dtype") if each.get(key) is not None]
    c = Configuration({**decoder, "dtype": types[0]} if types else decoder, family)
    return family, c, c.dtype() if dtype is None else check_word("dtype", dtype, DTYPE_BITS)


def _decoder(values: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The family, and the part of the configuration that describes the language model."""
    own, nested = values.get("model_type"), values.get("text_config")
    if not isinstance(nested, Mapping):
        nested = {}
    for family in (nested.get("model_type", own), own):
        if isinstance(family, str) and family in FAMILIES:
            return family, nested or values
    check_word("model_type", own, FAMILIES, of=" of the configuration")
    raise AssertionError("unreachable: a known family was returned above")


def layer_windows(source: Path | str | Mapping[str, Any]) -> tuple[int | None, ...]:
    """Window of each layer in tokens, as ``boundprobe.bounds.model_verdicts`` takes them.

    Parameters
    ----------
    source
        As for ``state_sizes``.

    Returns
    -------
    tuple of int or None
        None for a layer that hears of everything before it; a convolution's width counts as a window.

    Raises
    ------
    ValueError
        As ``state_sizes``.

    Examples
    --------
    >>> layer_windows({"model_type": "gpt_oss", "num_hidden_layers": 2})
    (128, None)
    """
    family, c, _ = _described(source, None)
    return tuple(state.reach for state in FAMILIES[family](c))


def model_sizes(spec: ModelSpec, n_tokens: int = N_TOKENS, *, dtype: str = "float32") -> StateSizes:
    """Entries and bits of the state of one of boundprobe's own models after ``n_tokens`` tokens.

    Parameters
    ----------
    spec : ModelSpec
    n_tokens : int, at least 0
    dtype : str
        Type of the whole state.

    Returns
    -------
    StateSizes
        Its ``memory`` is that of ``boundprobe.models.nominal_bits``.

    Raises
    ------
    ValueError
        If a number is too small, or the type is not known.

    Examples
    --------
    >>> sizes = model_sizes(ModelSpec("mamba-attn", d_model=8, window=4, d_state=2), n_tokens=4)
    >>> [(layer.kind, layer.recurrent_entries, layer.conv_entries, layer.cache_entries) for layer in sizes.layers]
    [('mamba', 32, 48, 0), ('attn', 0, 0, 48)]
    """
    check_integer("n_tokens", n_tokens, 0, MOST_TOKENS)
    check_word("dtype", dtype, DTYPE_BITS)
    layers = [_own_layer(i, branches, spec, n_tokens, dtype) for i, branches in enumerate(spec.layers)]
    return StateSizes(spec.architecture, n_tokens, tuple(layers))


def _own_layer(index: int, mixers: tuple[str, ...], spec: ModelSpec, n_tokens: int, dtype: str) -> LayerSize:
    """A layer of one of the package's models, its branches counted together."""
    stages: list[Stage] = [stage for mixer in mixers for stage in STAGES[mixer](spec, 1)]  # of one bit an entry
    windows = [window for stage in stages for window in stage.windows]
    recurrent = sum(stage.recurrent_bits for stage in stages)
    conv = sum(window.bits * window.reach for window in windows if window.kind == "conv")
    caches = [window for window in windows if window.kind == "cache"]
    per_token = sum((window.bits / window.every for window in caches), 0.0)
    return LayerSize(
        index,
        "|".join(mixers),
        recurrent_entries=recurrent,
        conv_entries=conv,
        conv_entries_stored=conv,
        cache_entries_per_token=int(per_token) if per_token.is_integer() else per_token,
        cache_entries=sum(int(window.crossing(n_tokens, n_tokens)) for window in caches),
        window=max((window.tokens + 1 for window in caches), default=None),
        recurrent_dtype=dtype if recurrent else None,
        conv_dtype=dtype if conv else None,
        cache_dtype=dtype if caches else None,
    )
