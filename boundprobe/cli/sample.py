"""``boundprobe sample``: draw sequences from a distribution, to look at or to train on elsewhere."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from boundprobe.checks import check_word
from boundprobe.cli.options import SEED_OPTION, TASK_OPTIONS, Option, add_options, one_of, resolve, whole_number, word
from boundprobe.cli.output import note, print_config, print_json, say
from boundprobe.tasks.registry import task_of

HELP = "draw sequences of a task from uniform, state-hard, window-hard, mixture or another of its distributions"

FORMATS = ("npz", "jsonl", "parquet")

OPTIONS = (
    *TASK_OPTIONS,
    SEED_OPTION,
    Option("-n", ("n",), whole_number(1), "number of sequences (default 5)", "N"),
    Option("--distribution", ("distribution",), word, "which distribution (default uniform)", "NAME"),
    Option("--format", ("format",), one_of(*FORMATS), "npz (default), jsonl or parquet", "NAME"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    add_options(parser, OPTIONS, task=True)
    parser.add_argument("--out", type=Path, metavar="FILE", help="write here; without it, print to stdout")


def _format_of(out: Path | None, given: str | None) -> str:
    """The format that the ending of ``--out`` names; ``--format`` is for an ending that names none."""
    if given is not None:
        check_word("format", given, FORMATS)
        if out is None:
            raise ValueError(f"`--format` must be given with --out; got {given} and no file.")
    ending = "" if out is None else out.suffix.removeprefix(".").lower()
    if ending in FORMATS and given not in (None, ending):
        raise ValueError(f"`--format` must be {ending}, as the ending of {out} says; got {given}.")
    return ending if ending in FORMATS else given or "npz"


def run(args: argparse.Namespace) -> int:
    """Draw, then write or print; numpy only."""
    from boundprobe.export.blocks import SampleStream
    from boundprobe.runs.files import check_output

    given = resolve(OPTIONS, args)
    task = task_of(given.get("task", {}))
    config: dict[str, Any] = {"n": 5, "distribution": "uniform", "seed": 0} | given
    config["format"] = _format_of(args.out, given.get("format"))
    if args.out is None:  # nothing is written, and a configuration that says how would be refused
        del config["format"]
    # Refused before anything is drawn or written.
    stream = SampleStream(task, config["n"], config["distribution"], config["seed"])
    if args.print_config:
        return print_config(config | {"task": {"name": task.name, **task.parameters()}})
    if args.out:
        check_output("--out", args.out)
    document: dict[str, Any] = {
        "schema": "boundprobe.sample/1",
        "task": {"name": task.name, "parameters": task.parameters()},
        "distribution": stream.distribution,
        "n": stream.n_sequences,
        "seed": stream.seed,
        "n_token_ids": task.n_token_ids,
        "shapes": {name: list(shape) for name, shape in stream.shapes().items()},
    }
    if args.out:
        from boundprobe.export.files import write_stream

        write_stream(stream, args.out, config["format"])
        note(f"wrote {args.out}: {', '.join(f'{k} {v}' for k, v in document['shapes'].items())}", quiet=args.quiet)
        return print_json(document | {"out": str(args.out), "format": config["format"]}) if args.json else 0
    if args.json:
        # One document, so all of it in memory; --out streams.
        arrays: dict[str, Any] = {name: [] for name in stream.shapes()}
        for block in stream.blocks():
            for name, array in block.items():
                arrays[name] += array.tolist()
        arrays |= {name: array.tolist() for name, array in stream.shared().items()}
        return print_json(document | {"arrays": arrays})
    width = len(str(task.n_token_ids - 1))
    for block in stream.blocks():
        for tokens, targets in zip(block["tokens"], block["targets"], strict=True):
            say(f"tokens  {' '.join(f'{token:>{width}}' for token in tokens)}")
            shown = (f"{target:>{width}}" if target >= 0 else "." * width for target in targets)
            say(f"targets {' '.join(shown)}")
    return 0
