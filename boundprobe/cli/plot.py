"""``boundprobe plot RUN...``: bound against measurement for trained runs of one task."""

from __future__ import annotations

import argparse
from pathlib import Path

from boundprobe.cli.options import (
    BOTTLENECK_OPTIONS,
    SEED_OPTION,
    Option,
    add_device,
    add_options,
    number,
    resolve,
    whole_number,
)
from boundprobe.cli.output import find_device, print_config, print_json

HELP = "draw bound_vs_empirical.png and .svg for finished training runs of one task"

OPTIONS = (
    SEED_OPTION,
    Option("-n,--sequences", ("n_sequences",), whole_number(1), "evaluation sequences (default 4000)", "N"),
    Option("--calibration", ("n_calibration",), whole_number(1), "sequences that set the rounding (default 1000)", "N"),
    Option("--confidence", ("confidence",), number, "of each model's report (default 0.95)", "P"),
    Option("--tolerance", ("tolerance",), number, "accuracy that rounding may lose (default 0.01)", "X"),
    *BOTTLENECK_OPTIONS,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    parser.add_argument("run_dirs", type=Path, nargs="+", metavar="RUN", help="directories of finished training runs")
    add_options(parser, OPTIONS, task=False)
    add_device(parser)
    parser.add_argument("--out", type=Path, default=Path("."), metavar="DIR", help="where the figures go (default .)")


def run(args: argparse.Namespace) -> int:
    """Probe what is not probed yet, then draw."""
    from dataclasses import asdict

    from boundprobe.probes.bottleneck import curve_config, probe_bottleneck
    from boundprobe.probes.ladder import ProbeConfig

    given = resolve(OPTIONS, args)
    bottleneck = given.pop("bottleneck", {})
    settings = ProbeConfig(**given)
    curve = curve_config(bottleneck, settings)
    if args.print_config:
        return print_config(asdict(settings) | ({"bottleneck": bottleneck} if bottleneck else {}))
    from boundprobe.plots.bound_vs_empirical import save
    from boundprobe.probes.run import probe_member
    from boundprobe.runs.store import load_run
    from boundprobe.training.config import TrainConfig

    runs = [load_run(path) for path in args.run_dirs]
    tasks = [run.config.get("task") for run in runs]
    for run_dir, task in zip(args.run_dirs, tasks, strict=True):
        if task != tasks[0]:
            raise ValueError(
                f"{run_dir} is of another task than {args.run_dirs[0]}; allowed: runs of one task; plot them apart"
            )
    device = find_device(args.device)
    probes = []
    for trained in runs:
        n_members = len((trained.result() or {}).get("members", [None]))  # None: probe_member says what is wrong
        for member in range(n_members):
            probe = probe_member(trained, member, settings, device=device)
            if curve is not None:
                probe["bottleneck"] = probe_bottleneck(trained, member, curve, device=device)
            probes.append(probe)
    args.out.mkdir(parents=True, exist_ok=True)
    paths = save(TrainConfig.from_dict(runs[0].config).task, probes, args.out / "bound_vs_empirical")
    if args.json:
        return print_json({"schema": "boundprobe.plot/1", "figures": [str(path) for path in paths]})
    for path in paths:
        print(path)
    return 0
