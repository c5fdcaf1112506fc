"""``boundprobe probe --hf``: the ladder of a model of Hugging Face on a task in its own vocabulary."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boundprobe.checks import MOST_TOKENS, check_integer, check_word
from boundprobe.cli.options import TASK_OPTIONS, Option, whole_number, word
from boundprobe.cli.output import find_device, note, note_earlier, print_config, print_json
from boundprobe.hf.layer_size import DTYPE_BITS

if TYPE_CHECKING:
    from boundprobe.hf.source import Source
    from boundprobe.probes.settings import ProbeConfig
    from boundprobe.tasks.base import AbstractTask

#: Bytes of weights from which on a model is measured with as many threads as torch takes.
MOST_BYTES = 40_000_000
#: Settings that mean something for a text.
FOR_TEXT = ("n_sequences", "n_calibration", "n_train", "seed")

HF_OPTIONS = (
    Option(
        "--hf", ("hf", "source"), word,
        "model of Hugging Face on this machine: folder, .gguf file, or name in the cache", "MODEL",
    ),
    *(
        dataclasses.replace(option, help=f"with --hf: {option.help}; else the own task of the run: it is executed")
        if option.flag == "--task"
        else dataclasses.replace(option, help=f"with --hf: {option.help}")
        for option in TASK_OPTIONS
    ),
    Option(
        "--token-map", ("hf", "token_map"), word,
        "with --hf: ids or texts for the task's tokens, in JSON, or auto (default: the task's own ids)", "auto|FILE",
    ),
    Option(
        "--template", ("hf", "template"), word,
        "with --token-map: a JSON file with texts or ids before, separator, between, after", "FILE",
    ),
    Option("--dtype", ("hf", "dtype"), word, "with --hf: type of the weights (default: that of the files)", "NAME"),
    Option(
        "--text", ("hf", "text"), word,
        "with --hf, in place of a task: how well past tokens of this text are read back, as an estimate", "FILE",
    ),
    Option(
        "--passage", ("hf", "passage"), whole_number(1, MOST_TOKENS),
        "with --text: tokens that are read before the state is taken (default 64)", "N",
    ),
)  # fmt: skip


def run_hf(args: argparse.Namespace, given: dict[str, Any]) -> int:
    """Measure and print; exit code 1 if an inequality that must hold does not."""
    table, task_table = given.pop("hf"), given.pop("task", {})
    _check_alone(args, given, table)

    from boundprobe.probes.settings import ProbeConfig
    from boundprobe.tasks.registry import task_of

    settings = ProbeConfig(**given)
    if args.print_config:
        resolved = {"task": task_table, "hf": table} | dataclasses.asdict(settings)
        return print_config({key: value for key, value in resolved.items() if value != {}})
    from boundprobe.hf.source import find_source

    if "text" in table:
        _check_text(given, task_table)
        from boundprobe.cli.probe_text import run_text

        source = find_source(table["source"])
        _few_threads(source)
        return run_text(args, table, settings, source)
    task = task_of(task_table)
    return _measure(args, table, task, settings, find_source(table["source"]))


def _measure(
    args: argparse.Namespace, table: Mapping[str, Any], task: AbstractTask, settings: ProbeConfig, source: Source
) -> int:
    """The ladder of a model that is there."""
    from boundprobe.cli.ladder import print_ladder
    from boundprobe.hf.readers import load_tokenizer
    from boundprobe.hf.vocabulary import in_vocabulary
    from boundprobe.runs.files import check_output_directory

    root = args.out or Path("runs")
    check_output_directory("--out", root)
    if "token_map" in table:
        task = in_vocabulary(task, load_tokenizer(source.path), table["token_map"], table.get("template"))
    device = find_device(args.device)
    from boundprobe.plots.ladder import save
    from boundprobe.probes.foreign import probe_source

    _few_threads(source)
    model = probe_source(source, task, settings, root, dtype=table.get("dtype"), device=device)
    figures = save([model], model.run_dir / "ladder")
    note_earlier([model], quiet=args.quiet)
    if args.json:
        print_json(model.to_json())
    else:
        print_ladder(model)
        note(f"figure: {figures[0]}", quiet=args.quiet)
    for violation in model.violations:
        note(f"boundprobe: VIOLATION, a bug in the theory or in the code: {violation}", quiet=False)
    return 1 if model.violations else 0


def _check_alone(args: argparse.Namespace, given: Mapping[str, Any], table: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` for settings that a model of Hugging Face does not have."""
    if "source" not in table:
        raise ValueError(f"`--hf` must be given with {', '.join(map(_flag, table))}; got no model of Hugging Face.")
    for name, value in table.items():
        if name != "passage" and not isinstance(value, str):
            raise ValueError(f"`hf.{name}` must be a text; got {value!r}.")
    if args.run_dir is not None:
        raise ValueError(f"one of RUN and --hf must be given; got both, {args.run_dir} and --hf. Measure them apart.")
    for name, flag in (("member", "--member"), ("bottleneck", "--budgets"), ("states", "--states")):
        if name in given:
            raise ValueError(f"`{flag}` must be left out with --hf; got it. Drop it.")
    if "template" in table and "token_map" not in table:
        raise ValueError("`--token-map` must be given with --template, such as --token-map auto; got none.")
    if "passage" in table:
        check_integer("--passage", table["passage"], 1, MOST_TOKENS)
        if "text" not in table:
            raise ValueError("`--text` must be given with --passage; got none.")
    if "text" in table and "token_map" in table:
        raise ValueError("`--token-map` must be left out with --text, which the tokenizer reads; got it. Drop it.")
    if "dtype" in table:
        check_word("--dtype", table["dtype"], DTYPE_BITS)


def _check_text(given: Mapping[str, Any], task_table: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` for settings that an estimate on a text does not have."""
    if task_table:
        raise ValueError("one of `--task` and `--text` must be given; got both. Measure them apart.")
    if others := sorted(set(given) - set(FOR_TEXT)):
        raise ValueError(f"with `--text` settings must be {', '.join(FOR_TEXT)}; got {others[0]}.")


def _few_threads(source: Source) -> None:
    """One thread for a small model: tiny operations collapse when threads outnumber free cores."""
    import torch

    if sum(file.stat().st_size for file in source.files) < MOST_BYTES:
        torch.set_num_threads(1)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
