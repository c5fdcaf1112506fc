"""``boundprobe construct``: weights written down by a theorem, checked, and their cost beside that of pure models."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boundprobe.checks import MOST_SEED, check_integer
from boundprobe.cli.options import SEED_OPTION, TASK_OPTIONS, Option, add_options, resolve, whole_number, word
from boundprobe.cli.output import note, print_config, print_json, print_pairs, print_table, say

if TYPE_CHECKING:
    from boundprobe.constructions.construction import Construction
from boundprobe.tasks.registry import task_of

HELP = "build a hybrid from a theorem, check it on many inputs, and compare its memory with what pure models need"

SCHEMA = "boundprobe.construct/1"

OPTIONS = (
    *TASK_OPTIONS,
    SEED_OPTION,
    Option("--layers", ("n_layers",), whole_number(1), "2 (default), or 3 as in the paper for ar-decoding", "N"),
    Option("--position", ("position",), word, "position encoding: learned (default), or rope", "NAME"),
    Option("--window", ("window",), whole_number(1), "attention window (default: enough for every input)", "N"),
    Option("--inputs", ("n_inputs",), whole_number(1), "sequences to check (default 10000)", "N"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    add_options(parser, OPTIONS, task=True)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write model.safetensors, construct.json and the figure"
    )


def run(args: argparse.Namespace) -> int:
    """Build, check, print; exit with 1 if an answer is wrong."""
    config = resolve(OPTIONS, args)
    task = task_of(config.get("task", {}))
    seed, n_inputs = config.get("seed", 0), config.get("n_inputs", 10_000)
    check_integer("seed", seed, 0, MOST_SEED)
    check_integer("n_inputs", n_inputs, 1)
    position, n_layers, window = (config.get(name) for name in ("position", "n_layers", "window"))
    if args.print_config:
        shape = {"position": position, "n_layers": n_layers, "window": window}
        table = {"task": {"name": task.name, **task.parameters()}}
        return print_config({"seed": seed, "n_inputs": n_inputs, **shape, **table})
    if args.out is not None:
        from boundprobe.runs.files import check_output_directory

        check_output_directory("--out", args.out)
    from boundprobe.constructions.construction import construct

    built = construct(task, position=position, n_layers=n_layers, window=window)
    document = describe(built, seed, n_inputs, quiet=args.quiet)
    if args.out is not None:
        document["files"] = [str(path) for path in write(built, document, args.out)]
    if args.json:
        print_json(document)
    else:
        print_document(document)
    n_wrong = [part["n_wrong"] for part in (*document["verification"].values(), document["memory"]["rounded"])]
    if any(n_wrong):
        note(f"boundprobe: VIOLATION, a bug in the proof or in the code: {sum(n_wrong)} answers are wrong", quiet=False)
    return 1 if any(n_wrong) else 0


def describe(built: Construction, seed: int, n_inputs: int, *, quiet: bool) -> dict[str, Any]:
    """Check a construction, and put everything about it into the document ``boundprobe.construct/1``."""
    from boundprobe.bounds.report.task import bounds_report
    from boundprobe.constructions.rounded import run_rounded
    from boundprobe.constructions.scaling import SCALES, decades, float32_suffices, scaling_rows
    from boundprobe.constructions.verification import verify, verify_small_case

    task, spec = built.task, built.spec
    small_task, small = verify_small_case(built)
    note(f"checking {n_inputs:,} sequences of {task.n_positions} tokens", quiet=quiet)
    large = verify(built, n_inputs, seed)
    rounded = run_rounded(built, seed=seed)
    bounds, scale = bounds_report(task), SCALES[type(task)]
    right_on, window_of = next(iter(scale.windows.items()))
    lengths = [length for length in decades(100, 1_000_000) if length >= task.seq_len] or [task.seq_len]
    kind = (task, spec.position, len(spec.layers))
    rows = scaling_rows(*kind, lengths, scale.sizes, window_of)
    return {
        "schema": SCHEMA,
        "task": {"name": task.name, "parameters": task.parameters()},
        "theorem": built.theorem,
        "model": spec.to_dict(),
        "n_layers": len(spec.layers),
        "n_params": built.n_params,
        "n_nonzero": built.n_nonzero,
        "claims": list(built.claims),
        "memory": {
            "nominal": {**built.nominal._asdict(), "total_bits": built.nominal.total_bits},
            "coded": {**built.coded._asdict(), "total_bits": built.coded.total_bits},
            "rounded": {
                **rounded.bits._asdict(),
                "total_bits": rounded.bits.total_bits,
                "n_prefixes": rounded.n_prefixes,
                "n_answers": rounded.n_answers,
                "n_wrong": rounded.n_wrong,
            },
        },
        "pure_models": {
            "state_bits": bounds.state.zero_error_bits,
            "state_theorem": bounds["zero_error"].theorem,
            "window_tokens": bounds.window.min_sum_window_minus_one,
            "window_theorem": bounds.window_theorem,
        },
        "verification": {
            "small_case": {"task": {"name": small_task.name, "parameters": small_task.parameters()}, **asdict(small)},
            "sampled": {
                "seed": seed,
                "n_sequences": large.n_sequences,
                "n_answers": large.n_answers,
                "n_wrong": large.n_wrong,
                "counterexample": None if large.counterexample is None else asdict(large.counterexample),
                "families": [asdict(check) for check in large.checks],
            },
        },
        "on_paper": {
            "size": scale.label,
            "right_on": right_on,
            "rows": [asdict(row) | {"float32": float32_suffices(*kind, row)} for row in rows],
        },
    }


def write(built: Construction, document: Mapping[str, Any], directory: Path) -> list[Path]:
    """Write the weights, the document and the figure; return their paths."""

    from safetensors.torch import save as save_tensors

    from boundprobe.plots.construction import save
    from boundprobe.runs.files import make_output_directory, write_bytes, write_json

    make_output_directory("--out", directory)
    weights, record = directory / "model.safetensors", directory / "construct.json"
    write_bytes(weights, save_tensors(built.model.state_dict()))  # a full disk is an OSError of ours, with its place
    write_json(record, document)
    return [weights, record, *save(built.task, document, directory / "construction")]


def print_document(document: Mapping[str, Any]) -> None:
    """Print the construction, its checks, and the scaling table."""
    model, pure = document["model"], document["pure_models"]
    say(f"{_named(document['task'])}: {model['architecture']}, {document['theorem']}\n")
    sizes = f"d_model {model['d_model']}, window {model['window']}, {model['position']} positions"
    recurrent = "any model at the cut (S4), so the recurrent state of a pure SSM"
    reach = "sum of (window - 1) of pure attention (W1), so the tokens in its caches"
    print_pairs(
        [
            ("parameters", f"{document['n_params']:,}", f"{document['n_nonzero']:,} of them not 0; {sizes}"),
            *_memory_rows(document["memory"]),
            ("needed for no error", f"{pure['state_bits']:.3f} bits", recurrent),
            ("needed to see enough", f"{pure['window_tokens']:,} tokens", reach),
        ]
    )
    say()
    for claim in document["claims"]:
        say(f"claimed: {claim}")
    small, sampled = document["verification"]["small_case"], document["verification"]["sampled"]
    say(f"checked: {_counted(small)}: every sequence of {_named(small['task'])}")
    say(f"checked: {_counted(sampled)}: sequences of these sizes")
    for family in sampled["families"]:
        say(f"    {family['n_sequences']:>9,} {family['name']}: {family['n_answers']:,} answers")
    wrong = small["counterexample"] or sampled["counterexample"]
    if wrong is not None:
        say(f"first wrong: tokens {wrong['tokens']}, expected {wrong['expected']}, found {wrong['found']}")
    _print_table(document["on_paper"])
    for path in document.get("files", ()):
        say(path)


def _named(task: Mapping[str, Any]) -> str:
    parameters = ", ".join(f"{name}={value}" for name, value in task["parameters"].items() if value is not None)
    return f"{task['name']} ({parameters})"


def _counted(check: Mapping[str, Any]) -> str:
    return f"{check['n_sequences']:,} sequences, {check['n_answers']:,} answers, {check['n_wrong']:,} wrong"


def _memory_rows(memory: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    rounded = memory["rounded"]
    why = {
        "nominal": "float32 tensors at the cut",
        "coded": "as few bits an entry as tell its values apart",
        "rounded": f"rounded so and run, state-hard: {rounded['n_answers']:,} answers, {rounded['n_wrong']:,} wrong",
    }
    return [
        (f"state, {name}", f"{memory[name]['total_bits']:,} bits",
         f"{memory[name]['recurrent_bits']:,} recurrent, {memory[name]['cache_bits']:,} cache; {why[name]}")
        for name in ("nominal", "coded", "rounded")
    ]  # fmt: skip


def _print_table(on_paper: Mapping[str, Any]) -> None:
    """Print the cost of the construction at other sizes, next to that of pure models."""
    columns = (
        on_paper["size"], "L", "width", "window", "parameters", "recurrent", "cache", "any state", "attention reaches",
        "precision",
    )  # fmt: skip
    rows = [
        [
            *(f"{row[name]:,}" for name in ("size", "seq_len", "d_model", "window", "n_params")),
            *(f"{row[name]:,} bits" for name in ("recurrent_bits", "cache_bits")),
            f">= {row['state_bits']:,.1f} bits",
            f">= {row['attention_tokens']:,} tokens",
            "float32" if row["float32"] else "float64",
        ]
        for row in on_paper["rows"]
    ]
    say(f"\non paper, in coded bits, right on {on_paper['right_on']}:")
    print_table(columns, rows)
