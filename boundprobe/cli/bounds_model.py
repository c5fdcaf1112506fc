"""Verdicts of ``boundprobe bounds`` on a model: one of the package's own, or a configuration of Hugging Face."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from boundprobe.cli.bounds_diagonal import model_document
from boundprobe.cli.options import Option, word
from boundprobe.cli.output import exact, print_pairs, say
from boundprobe.models.sizes import FLOAT32_BITS

if TYPE_CHECKING:
    from boundprobe.bounds.report.verdict import Verdict
    from boundprobe.hf.layer_size import LayerSize, StateSizes
    from boundprobe.tasks.base import AbstractTask

HF_OPTIONS = (
    Option(
        "--hf", ("hf",), word, "judge a transformers model by its config.json: a folder with one, or such a file",
        "FOLDER_OR_FILE",
    ),
    Option("--dtype", ("dtype",), word, "with --hf: type of the weights (default: the configuration's)", "NAME"),
)  # fmt: skip


def judge(task: AbstractTask, config: Mapping[str, Any], error: float) -> dict[str, Any]:
    """Verdicts and cuts of the model that is asked about; empty if none is."""
    if "hf" in config:
        if others := sorted({"model", "entry_bits"} & set(config)):
            flag = "--entry-bits" if others == ["entry_bits"] else "--model and its flags"
            raise ValueError(
                f"`{flag}` must be left out with --hf, whose configuration has its sizes; got it. Drop it."
            )
        return judge_configuration(task, config["hf"], error, config.get("dtype"))
    if "dtype" in config:
        raise ValueError("`--dtype` must be given with --hf; got no configuration. Give --entry-bits with --model.")
    if "model" not in config:
        if "entry_bits" in config:
            raise ValueError("`--entry-bits` must be given with --model, such as --model mamba-attn; got no model.")
        return {}
    entry_bits = config.get("entry_bits", FLOAT32_BITS)
    verdict = model_verdict(task, config["model"], error, entry_bits)
    said = {each["distribution"]: each["verdict"] for each in verdict["distributions"]}
    return {"verdict": verdict, "model": {**model_document(task, config["model"], error, entry_bits), "verdict": said}}


def judged_model(config: Mapping[str, Any], judged: Mapping[str, Any]) -> dict[str, Any]:
    """The model of a resolved configuration, as TOML has it; empty if none is judged."""
    if not judged:
        return {}
    verdict = judged["verdict"]
    if "hf" in config:
        return {"hf": config["hf"], "dtype": verdict["model"]["dtype"]}
    return {"model": verdict["model"], "entry_bits": verdict["entry_bits"]}


def judge_configuration(task: AbstractTask, source: str, error: float, dtype: str | None) -> dict[str, Any]:
    """Verdicts and cuts of a transformers model from its configuration; neither torch nor transformers is loaded."""
    from boundprobe.bounds.diagonal.ceiling import diagonal_bounds
    from boundprobe.bounds.report.verdict import model_verdicts
    from boundprobe.bounds.window import receptive_field
    from boundprobe.hf.sizes import layer_windows, state_sizes, state_stages

    sizes, stages = state_sizes(source, task.prefix_len, dtype=dtype), state_stages(source, dtype=dtype)
    windows, bits = layer_windows(source), sizes.memory
    verdicts = model_verdicts(task, windows, bits.total_bits, 1.0 - error, stages=stages)
    cuts = diagonal_bounds(task.state_case(), stages, task.prefix_len, error)
    distributions = [_said(verdict, sizes.layers) for verdict in verdicts]
    return {
        "verdict": {
            "model": {"architecture": sizes.family, "dtype": _dtype(sizes, dtype)},
            "prefix_len": task.prefix_len,
            "receptive_field": receptive_field(windows),
            "nominal_bits": {**bits._asdict(), "total_bits": bits.total_bits},
            "cache_bits_per_token": sizes.cache_bits_per_token,
            "unlimited_attention": len(unlimited(sizes.layers)),
            "n_layers": len(sizes.layers),
            "defaults": dict(sizes.defaults),
            "distributions": distributions,
        },
        "model": {
            "n_params": None,
            "memory": bits._asdict(),
            "diagonal": cuts[0].to_json(),
            "diagonal_cuts": [cut.to_json() for cut in sorted(cuts, key=lambda cut: cut.lag)],
            "verdict": {each["distribution"]: each["verdict"] for each in distributions},
        },
    }


def unlimited(layers: Sequence[LayerSize]) -> list[LayerSize]:
    """Layers of attention without a window: their caches grow with every token."""
    return [layer for layer in layers if layer.cache_entries_per_token and layer.window is None]


def _dtype(sizes: StateSizes, dtype: str | None) -> str | None:
    """Type of the weights: as given, or that of caches and convolutions, which have it."""
    said = [each for layer in sizes.layers for each in (layer.cache_dtype, layer.conv_dtype, layer.recurrent_dtype)]
    return dtype or next((each for each in said if each is not None), None)


def _said(verdict: Verdict, layers: Sequence[LayerSize]) -> dict[str, Any]:
    """A verdict whose reason names the layers that hear of every token: attention is no recurrence."""
    document: dict[str, Any] = verdict.to_json()
    recurrent, attention = any(layer.recurrent_entries for layer in layers), bool(unlimited(layers))
    subjects = [
        name for name, there in (("a recurrent layer", recurrent), ("attention without a window", attention)) if there
    ]
    document["reason"] = document["reason"].replace("a recurrent layer", " or ".join(subjects) or "a layer", 1)
    return document


def model_verdict(task: AbstractTask, model: Mapping[str, Any], error: float, entry_bits: int) -> dict[str, Any]:
    """Verdicts of a model's sizes on each hard distribution, as plain data."""
    from boundprobe.bounds.report.verdict import model_verdicts
    from boundprobe.bounds.window import receptive_field
    from boundprobe.constructions.theorems import witnesses
    from boundprobe.models.sizes import model_stages, nominal_bits
    from boundprobe.models.spec import ModelSpec

    spec = ModelSpec(**model)
    prefix_len = task.prefix_len
    bits = nominal_bits(spec, prefix_len, entry_bits)
    # Constructions are proved in float32: with entries of fewer bits they say nothing.
    known = witnesses(task, spec) if entry_bits >= FLOAT32_BITS else ()
    stages = model_stages(spec, entry_bits)
    verdicts = model_verdicts(task, spec.windows, bits.total_bits, 1.0 - error, known, stages)
    return {
        "model": spec.to_dict(),
        "entry_bits": entry_bits,
        "prefix_len": prefix_len,
        "receptive_field": receptive_field(spec.windows),
        "nominal_bits": {**bits._asdict(), "total_bits": bits.total_bits},
        "distributions": [verdict.to_json() for verdict in verdicts],
    }


def print_verdict(verdict: Mapping[str, Any]) -> None:
    """Print what the model's sizes say."""
    bits, sees = verdict["nominal_bits"], verdict["receptive_field"]
    say(f"\n{verdict['model']['architecture']}, from its sizes alone:")
    parts = f"{bits['recurrent_bits']} recurrent, {bits['conv_bits']} convolution, {bits['cache_bits']} cache"
    print_pairs(
        [
            ("state at the cut", f"{bits['total_bits']} bits", parts),
            ("receptive field", "all" if sees is None else f"{sees} tokens", "windows and recurrent layers together"),
            *(
                (v["distribution"], v["verdict"],
                 f"accuracy at most {exact(v['ceiling_accuracy'], '.6f')}, "
                 f"wanted {exact(v['target_accuracy'], '.6f')}; {v['theorem']}: {v['reason']}")
                for v in verdict["distributions"]
            ),
        ]
    )  # fmt: skip
    if n_unlimited := verdict.get("unlimited_attention"):
        say(
            f"\nAttention has no window in {n_unlimited} of {verdict['n_layers']} layers: its sight is not limited, "
            f"nor is its memory, as the cache grows by {verdict['cache_bits_per_token']:g} bits a token."
        )
    if taken := ", ".join(f"{name} = {value}" for name, value in verdict.get("defaults", {}).items()):
        say(f"\nNot in the configuration, so that transformers' default is taken: {taken}")
