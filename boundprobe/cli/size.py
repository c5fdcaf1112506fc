"""``boundprobe size``: the state of a model by layer and kind, from its configuration alone."""

from __future__ import annotations

import argparse
import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from boundprobe.checks import MOST_TOKENS
from boundprobe.cli.options import MODEL_OPTIONS, Option, add_options, resolve, whole_number, word
from boundprobe.cli.output import note, print_config, print_json, print_pairs, print_table, say

if TYPE_CHECKING:
    from boundprobe.hf.layer_size import LayerSize, StateSizes

HELP = "entries and bits of a model's state by layer and kind, from a configuration alone"

OPTIONS = (
    Option(
        "--hf", ("hf",), word, "folder of a transformers model with its config.json, or such a file", "FOLDER_OR_FILE"
    ),
    *(
        dataclasses.replace(option, help=option.help.replace("(default ", "(without --hf the default is "))
        if option.flag == "--model"
        else option
        for option in MODEL_OPTIONS
    ),
    Option(
        "--tokens", ("n_tokens",), whole_number(0, MOST_TOKENS), "tokens read before the state is taken (default 1024)",
        "N",
    ),
    Option(
        "--dtype", ("dtype",), word,
        "type of the weights, such as bfloat16 (default: the configuration's; float32 for --model)", "NAME",
    ),
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    add_options(parser, OPTIONS, task=False)


def run(args: argparse.Namespace) -> int:
    """Count and print; neither torch nor transformers is loaded."""
    config = resolve(OPTIONS, args)
    sizes = count(config)
    if args.print_config:
        return print_config(config | {"n_tokens": sizes.n_tokens})
    if sizes.defaults:
        taken = ", ".join(f"{name} = {value}" for name, value in sizes.defaults.items())
        note(f"not in the configuration, so that transformers' default is taken: {taken}", quiet=args.quiet)
    if args.json:
        return print_json(sizes.to_json())
    print_sizes(sizes)
    return 0


def count(config: Mapping[str, Any]) -> StateSizes:
    """Sizes of the model that a configuration of this verb names.

    Raises
    ------
    ValueError
        If it names none, or two.
    """
    from boundprobe.hf.sizes import N_TOKENS, model_sizes, state_sizes
    from boundprobe.models.spec import ModelSpec

    if ("hf" in config) == ("model" in config):
        got = "both" if "hf" in config else "neither"
        raise ValueError(f"one of `--hf` and `--model` must be given, such as --model mamba-attn; got {got}.")
    n_tokens = config.get("n_tokens", N_TOKENS)
    if "hf" in config:
        return state_sizes(config["hf"], n_tokens, dtype=config.get("dtype"))
    return model_sizes(ModelSpec(**config["model"]), n_tokens, dtype=config.get("dtype", "float32"))


def print_sizes(sizes: StateSizes) -> None:
    """Print one row for layers of one size, and the bits of all layers."""
    say(f"{sizes.family}: state of one sequence after {sizes.n_tokens} tokens\n")
    alike = Counter(dataclasses.replace(layer, index=0) for layer in sizes.layers)
    print_table(
        ["kind", "layers", "recurrent", "conv", "cache per token", "cache", "window", "types"],
        [_row(layer, n_layers) for layer, n_layers in alike.items()],
    )
    memory, windowed = sizes.memory, any(layer.window is not None for layer in sizes.layers)
    grows = f"{sizes.cache_bits_per_token:g} with each token{' that fits the windows' if windowed else ''}"
    say("\nEntries of one layer; of convolutions the columns that are read.  Bits of all layers:\n")
    print_pairs(
        [
            ("recurrent", f"{memory.recurrent_bits}", "whatever the number of tokens"),
            ("convolution", f"{memory.conv_bits}", "whatever the number of tokens"),
            ("cache", f"{memory.cache_bits}", grows),
            ("all", f"{memory.total_bits}", f"{memory.total_bits / 8 / 2**20:.3f} MiB"),
        ]
    )


def _row(layer: LayerSize, n_layers: int) -> list[str]:
    types = {layer.recurrent_dtype: "recurrent", layer.conv_dtype: "conv", layer.cache_dtype: "cache"}
    named = [f"{name}" for name in dict.fromkeys((layer.recurrent_dtype, layer.conv_dtype, layer.cache_dtype)) if name]
    shown = named[0] if len(named) == 1 else ", ".join(f"{types[name]} {name}" for name in named)
    return [
        layer.kind,
        f"{n_layers}",
        f"{layer.recurrent_entries}",
        f"{layer.conv_entries}",
        f"{layer.cache_entries_per_token:g}",
        f"{layer.cache_entries}",
        "" if layer.window is None else f"{layer.window}",
        shown,
    ]
