"""Sizes of a measured model that its configuration alone says: what a ladder is held against when it is read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from boundprobe.bounds import DiagonalCuts, receptive_field
from boundprobe.bounds.diagonal.stages import Stage
from boundprobe.hf.source import ForeignModel, KnownSizes
from boundprobe.models.sizes import FLOAT32_BITS, NominalBits, crossing_by_layer, model_stages, nominal_bits
from boundprobe.models.spec import ModelSpec
from boundprobe.probes.read_back import check_same

KINDS = ("recurrent", "conv", "cache")


@dataclass(frozen=True)
class ModelSizes:
    """Sizes of a model after the tokens before the cut.

    Attributes
    ----------
    receptive_field : int or None, in tokens
    stages : tuple of Stage or None
        None where nobody knows what its layers carry: a family of Hugging Face that boundprobe does not know.
    parts : mapping of str to int, in bits, or None
        Nominal bits by ``"<kind> of layer <i>"``, without those that have none; None likewise.
    n_entries : int or None
    """

    receptive_field: int | None
    stages: tuple[Stage, ...] | None
    parts: Mapping[str, int] | None
    n_entries: int | None


def sizes_of(
    model: ModelSpec | ForeignModel, config: Mapping[str, Any], prefix_len: int, lag: int = 0
) -> ModelSizes | None:
    """Sizes of one of the package's models, or of one of Hugging Face by the configuration that its run has.

    Parameters
    ----------
    model : ModelSpec or ForeignModel
    config : mapping
        ``config.toml`` of the probe's run.
    prefix_len : int, in tokens
    lag : int, in tokens
        Of the diagonal cut that parts cross; 0 for that of a model of Hugging Face.

    Returns
    -------
    ModelSizes or None
        None for a model with a mixer of somebody's own that is not named here, or not as it was.
    """
    if isinstance(model, ModelSpec):
        return _of_spec(model, prefix_len, lag) if model.may_be_built else None
    return _of_foreign(model, config["hf"], prefix_len)


def _of_spec(spec: ModelSpec, prefix_len: int, lag: int) -> ModelSizes:
    stages, by_layer = model_stages(spec, FLOAT32_BITS), list[NominalBits]()
    if lag:
        crossing = DiagonalCuts(stages, prefix_len, lag).crossing(lag)
        by_layer += crossing_by_layer(spec, crossing.lags, prefix_len, FLOAT32_BITS)
    else:
        of_layers = (replace(spec, architecture="|".join(mixers)) for mixers in spec.layers)
        by_layer += [nominal_bits(of_layer, prefix_len, FLOAT32_BITS) for of_layer in of_layers]
    parts: dict[str, int] = {}
    for i, bits in enumerate(by_layer):
        parts |= {f"{kind} of layer {i}": n for kind, n in zip(KINDS, bits, strict=True) if n}
    n_entries = sum(parts.values()) // FLOAT32_BITS
    return ModelSizes(receptive_field(spec.windows), stages, parts, n_entries)


def _of_foreign(model: ForeignModel, table: Mapping[str, Any], prefix_len: int) -> ModelSizes:
    known = KnownSizes.of(json.loads(table["configuration"]), model.dtype, prefix_len)
    if known.sizes is None:
        return ModelSizes(None, None, None, None)
    parts = {
        f"{kind} of layer {layer.index}": n
        for layer in known.sizes.layers
        for kind, n in zip(KINDS, layer.bits(), strict=True)
        if n
    }
    entries = [each.recurrent_entries + each.conv_entries + each.cache_entries for each in known.sizes.layers]
    return ModelSizes(known.receptive_field, known.stages, parts, sum(entries))


def check_model(model: ModelSpec | ForeignModel, config: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` unless a model of Hugging Face is the one that its run says it measured."""
    if isinstance(model, ForeignModel):
        table = config["hf"]
        found = {name: getattr(model, name) for name in ("family", "sha256", "dtype") if name in table}
        check_same({name: table[name] for name in found}, found, "model")
