"""``boundprobe sweep FILE.toml``: train a grid of runs, many models at once, and collect a table."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boundprobe.cli.options import add_device, add_trust, add_verb_flags, one_of, whole_number
from boundprobe.cli.output import find_device, note, print_config, print_json, print_table, say
from boundprobe.cli.toml import load_toml
from boundprobe.cli.train import check_run

if TYPE_CHECKING:
    from boundprobe.sweep.executors.base import AbstractExecutor

HELP = "train every run of a grid, models of one shape side by side, and collect one table"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    parser.add_argument("file", type=Path, nargs="?", metavar="FILE.toml", help="the sweep; --config names it too")
    parser.add_argument(
        "--seed", type=whole_number(0), default=argparse.SUPPRESS, metavar="N",
        help="seed of everything random, instead of the file's (default 0)",
    )  # fmt: skip
    add_verb_flags(parser)
    add_trust(parser)
    add_device(parser)
    parser.add_argument(
        "--out", type=Path, default=Path("runs"), metavar="DIR", help="where runs are kept (default runs)"
    )
    parser.add_argument(
        "--executor", type=one_of("local", "slurm", "ray"), default="local", metavar="local|slurm|ray",
        help="worker processes here (default), a Slurm cluster, Ray",
    )  # fmt: skip
    parser.add_argument("--workers", type=whole_number(1), metavar="N", help="worker processes (default: one a core)")
    parser.add_argument(
        "--executor-option", dest="options", type=_option, action="append", default=[], metavar="name=value",
        help="of the executor, such as partition=long for slurm or num_gpus=0.25 for ray; repeatable",
    )  # fmt: skip
    parser.add_argument("--shard", type=_shard, default=(0, 1), metavar="I/N", help="do part I of N, from 0/N on")
    parser.add_argument(
        "--ensemble", type=whole_number(1), metavar="N", help="members trained side by side (default 16; on a GPU 128)"
    )
    parser.add_argument(
        "--table", type=Path, metavar="FILE", help="write every seed's row there too, as .csv or .parquet"
    )


def run(args: argparse.Namespace) -> int:
    """Run what is left to do, then collect; exit with 1 if a measured point violates a bound."""
    from boundprobe.sweep.config import SweepConfig

    document = _read(args)
    config = SweepConfig.from_dict(document)
    if args.print_config:
        for point in config.points:
            check_run(point.config)
        return print_config(document)
    from boundprobe.cli.progress import progress_bar
    from boundprobe.models.operations import chosen_backends
    from boundprobe.runs.collect import check_table, seed_rows, write_table
    from boundprobe.runs.files import check_output_directory
    from boundprobe.sweep.driver import Shard, Sweep, collect, run_sweep
    from boundprobe.training.member_queue import ensemble_size

    if args.table is not None:
        check_table(args.table)
    shard, device = Shard(*args.shard), find_device(args.device)
    for point in config.points:  # what cannot be trained here is refused before anything is made
        chosen_backends(point.config.model, point.config.backend, device)
        point.config.check_asks()
    executor, largest = _executor(args, device), ensemble_size(args.ensemble, device)
    executor.check_usable()
    check_output_directory("--out", args.out)
    sweep = Sweep(config, args.out)
    if sweep.result() is None:
        groups = [job.configs for job in sweep.jobs(device=device, largest=largest, shard=shard)]
        configs = [each for group in groups for each in group]
        n_models = sum(each.n_members for each in configs)
        note(f"{len(configs)} runs, {n_models} models, in {len(groups)} groups that are trained side by side",
             quiet=args.quiet)  # fmt: skip
    with progress_bar(1.0, quiet=args.quiet) as bar:
        result = run_sweep(config, args.out, executor, device=device, shard=shard, largest=largest, progress=bar.update)
    if result is None:
        left = sweep.unfinished()
        done = len(config.points) - len(left)
        note(f"shard {shard.index}/{shard.count} is finished; {done} of {len(config.points)} runs of the sweep are; "
             "the shard that ends last collects the table", quiet=args.quiet)  # fmt: skip
        document = {"schema": "boundprobe.sweep/1", "run_id": sweep.run_id, "unfinished": left}
        return print_json(document) if args.json else 0
    if args.table is not None:
        write_table(args.table, [row for each in collect(sweep.run, device=device) for row in seed_rows(each)])
    if args.json:
        print_json(result)
    else:
        print_table(*runs_table(result))
        note(f"tables {sweep.run.path / result['tables']['runs']}, {result['tables']['seeds']}", quiet=args.quiet)
        note(f"figure: boundprobe plot {sweep.run.path}", quiet=args.quiet)
        for violation in result["violations"]:
            say(f"VIOLATION, a bug in the theory or in the code: {violation}")
    return 1 if result["violations"] else 0


def _executor(args: argparse.Namespace, device: str) -> AbstractExecutor:
    """The executor that was asked for, with its options."""
    from boundprobe.sweep.executors.base import available_cores
    from boundprobe.sweep.executors.registry import build_executor

    options: dict[str, Any] = dict(args.options)
    if args.executor == "local" and device == "cuda":
        import torch

        options.setdefault("devices", tuple(f"cuda:{i}" for i in range(torch.cuda.device_count())))
        options["n_workers"] = args.workers or len(options["devices"])
    elif args.executor == "local":
        options.setdefault("n_workers", args.workers or available_cores())
    return build_executor(args.executor, options)


def runs_table(result: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the runs of a sweep."""
    rows = result["runs"]
    hidden = {"run_id", "accuracy_state-hard", "accuracy_window-hard", "accuracy_mean"}
    hidden |= {"recurrent_bits", "conv_bits", "cache_bits", "receptive_field", "n_seeds", "n_converged"}
    accuracies = [key for key in rows[0] if key.startswith("accuracy_") and key not in hidden]
    settings = [key for key in rows[0] if key not in hidden and key not in accuracies]
    heads = [key.removeprefix("model.").removeprefix("train.") for key in settings]
    columns = [*heads, "bits at cut", "converged", "mean", "median", "10%", "90%", "state-hard", "window-hard"]
    lines = []
    for row in rows:
        numbers = [row["accuracy_mean"], *(row[key] for key in accuracies)]
        numbers += [row["accuracy_state-hard"], row["accuracy_window-hard"]]
        lines.append(
            [
                *(f"{row[key]:g}" if isinstance(row[key], float) else str(row[key]) for key in settings),
                str(row["recurrent_bits"] + row["conv_bits"] + row["cache_bits"]),
                f"{row['n_converged']}/{row['n_seeds']}",
                *(f"{number:.3f}" for number in numbers),
            ]
        )
    return columns, lines


def _read(args: argparse.Namespace) -> dict[str, Any]:
    """The document of the sweep's file."""
    path = args.file or args.config
    if path is None or (args.file and args.config):
        raise ValueError("the sweep's file must be given once, as in boundprobe sweep FILE.toml; see 'sweep --help'.")
    document = load_toml(path, f"the sweep's file {path}")
    return document | ({"seed": args.seed} if "seed" in args else {})


def _shard(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if found is None or not int(found[1]) < int(found[2]):
        raise argparse.ArgumentTypeError(f"must be one part of several, as 0/4 to 3/4 for four; got {text!r}.")
    return int(found[1]), int(found[2])


def _option(text: str) -> tuple[str, Any]:
    """Reader of ``name=value``; numbers are numbers."""
    name, equals, value = text.partition("=")
    if not (name.isidentifier() and equals):
        raise argparse.ArgumentTypeError(f"must be name=value, such as partition=long; got {text!r}.")
    for read in (int, float):
        try:
            return name, read(value)
        except ValueError:
            continue
    return name, value
