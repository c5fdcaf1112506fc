"""``boundprobe plot RUN...``: bound against measurement for trained runs of one task, or a sweep."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from boundprobe.cli.options import (
    BOTTLENECK_OPTIONS,
    LADDER_OPTIONS,
    add_device,
    add_options,
    add_trusted_task,
    resolve,
)
from boundprobe.cli.output import find_device, note_earlier, print_config, print_json, say

if TYPE_CHECKING:
    from boundprobe.runs.store import Run

HELP = "draw bound_vs_empirical.png and .svg for finished training runs of one task, or sweep.png and .svg for a sweep"

OPTIONS = (
    *LADDER_OPTIONS,
    *BOTTLENECK_OPTIONS,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    parser.add_argument(
        "run_dirs", type=Path, nargs="+", metavar="RUN", help="directories of finished runs: training, or one sweep"
    )
    add_options(parser, OPTIONS, task=False)
    add_trusted_task(parser)
    add_device(parser)
    parser.add_argument("--out", type=Path, default=Path("."), metavar="DIR", help="where the figures go (default .)")


def run(args: argparse.Namespace) -> int:
    """Probe what is not probed yet, then draw."""
    from dataclasses import asdict

    from boundprobe.bottleneck.settings import curve_config
    from boundprobe.probes.settings import VERTICAL, ProbeConfig

    given = resolve(OPTIONS, args)
    bottleneck = given.pop("bottleneck", {})
    settings = ProbeConfig(**given)
    if settings.cut != VERTICAL:
        raise ValueError(
            "`--cut` must be vertical with plot, whose panels are of all answers; got diagonal. `probe` measures it."
        )
    curve = curve_config(bottleneck, settings)
    if args.print_config:
        return print_config(asdict(settings) | ({"bottleneck": bottleneck} if bottleneck else {}))
    from boundprobe.runs.files import check_output_directory, make_output_directory

    check_output_directory("--out", args.out)
    from boundprobe.bottleneck.curve import MeasuredModel
    from boundprobe.bottleneck.measure import probe_bottleneck
    from boundprobe.plots.bound_vs_empirical import save
    from boundprobe.probes.run import probe_run
    from boundprobe.runs.store import load_run
    from boundprobe.training.config import config_of_run

    runs = [load_run(path) for path in args.run_dirs]
    if any(run.verb == "sweep" for run in runs):
        if given or bottleneck:
            raise ValueError(
                "flags for measuring must be left out with a sweep, which says how its models were measured; got some. "
                "Drop them, or plot training runs."
            )
        return _plot_sweep(args, runs)
    tasks = [run.config.get("task") for run in runs]
    for run_dir, task in zip(args.run_dirs, tasks, strict=True):
        if task != tasks[0]:
            raise ValueError(
                f"runs plotted together must be of one task; got {run_dir}, which is of another task than "
                f"{args.run_dirs[0]}."
            )
    device = find_device(args.device)
    models = []
    for trained in runs:
        for model in probe_run(trained, settings, device=device):
            points = None if curve is None else probe_bottleneck(trained, model.member, curve, device=device)
            models.append(MeasuredModel(model, points))
    task = config_of_run(runs[0].config, runs[0].path).task  # which may be refused
    note_earlier([model.of_model for model in models], quiet=args.quiet)
    make_output_directory("--out", args.out)
    return _name(args, save(task, models, args.out / "bound_vs_empirical"))


def _plot_sweep(args: argparse.Namespace, runs: list[Run]) -> int:
    """Draw every task of a sweep."""
    from boundprobe.plots.sweep import save
    from boundprobe.runs.collect import seed_rows
    from boundprobe.runs.files import make_output_directory
    from boundprobe.sweep.driver import collect
    from boundprobe.training.config import config_of_run

    if len(runs) > 1:
        raise ValueError(f"a sweep must be plotted by itself; got {len(runs)} runs, one of them a sweep.")
    collected = collect(runs[0], device=find_device(args.device))
    tasks = [config_of_run(run.config, runs[0].path).task for run in collected]
    make_output_directory("--out", args.out)
    paths = []
    for i, task in enumerate(dict.fromkeys(tasks)):
        rows = [row for run, own in zip(collected, tasks, strict=True) if own == task for row in seed_rows(run)]
        paths += save(task, rows, args.out / ("sweep" if i == 0 else f"sweep-{i + 1}"))
    return _name(args, paths)


def _name(args: argparse.Namespace, paths: list[Path]) -> int:
    """Say where the figures are; return exit code 0."""
    if args.json:
        return print_json({"schema": "boundprobe.plot/1", "figures": [str(path) for path in paths]})
    for path in paths:
        say(path)
    return 0
