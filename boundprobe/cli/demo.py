"""``boundprobe demo``: two tasks, three architectures, from bounds to figures, in five minutes."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boundprobe.checks import check_integer
from boundprobe.cli.demo_report import print_attack, print_summary
from boundprobe.cli.demo_settings import (
    BOTTLENECK_STEPS,
    PLANE_ACCURACY,
    budgets_of,
    build_configs,
    build_plane,
    plane_bottlenecks,
)
from boundprobe.cli.options import SEED_OPTION, Option, add_device, add_options, resolve, whole_number
from boundprobe.cli.output import find_device, print_config, print_json

if TYPE_CHECKING:
    from boundprobe.bottleneck.curve import MeasuredModel
    from boundprobe.training.config import TrainConfig

HELP = "bound, attack, train, measure and plot two tasks with three small architectures, and the trade-off plane"

#: Of everything that the demo certifies, together.
CONFIDENCE = 0.95

OPTIONS = (
    SEED_OPTION,
    Option("--steps", ("steps",), whole_number(1), "training steps of every model and bottleneck: a quick look", "N"),
    Option("--seeds", ("n_seeds",), whole_number(1), "models that are reported for each architecture (default 2)", "N"),
    Option("--sequences", ("n_sequences",), whole_number(1), "evaluation sequences (default 4000)", "N"),
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    add_options(parser, OPTIONS, task=False)
    add_device(parser)
    parser.add_argument(
        "--out", type=Path, default=Path("runs"), metavar="DIR", help="where runs are kept (default runs)"
    )
    parser.add_argument("--workers", type=whole_number(1), metavar="N", help="worker processes (default: one a core)")


def run(args: argparse.Namespace) -> int:
    """Do everything; exit with 1 if a measured point violates a bound."""
    from dataclasses import replace

    from boundprobe.probes.settings import DIAGONAL, ProbeConfig
    from boundprobe.runs.store import open_run

    given = {"seed": 0, "n_seeds": 2, "n_sequences": 4000} | resolve(OPTIONS, args)
    for name in ("n_seeds", "n_sequences"):
        check_integer(name, given[name], 1)
    configs = build_configs(given)
    plane = build_plane(given)
    bottlenecks = [(budgets_of(config), BOTTLENECK_STEPS) for config in configs]
    bottlenecks += [plane_bottlenecks(config) for config in plane]
    bottlenecks = [(budgets, min(steps, given.get("steps", steps))) for budgets, steps in bottlenecks]
    # A ladder for each model and a curve of bottlenecks for each that has one share what may fail.
    n_reports = len(configs) * given["n_seeds"] + sum(bool(budgets) for budgets, _ in bottlenecks) + len(plane)
    probe = ProbeConfig(
        n_sequences=given["n_sequences"],
        n_train=max(4, given["n_sequences"]),
        n_calibration=min(1000, given["n_sequences"]),
        confidence=1 - (1 - CONFIDENCE) / n_reports,
        seed=given["seed"],
    )
    settings = {
        "probe": probe.to_dict(),
        "bottlenecks": [
            {"budgets": [f"{m}x{b}" for m, b in budgets], "steps": steps} for budgets, steps in bottlenecks
        ],
        "runs": [config.to_dict() for config in (*configs, *plane)],
        "plane_accuracy": PLANE_ACCURACY,
    }
    if args.print_config:
        return print_config(given)
    device = find_device(args.device)
    demo = open_run(args.out, "demo", settings)
    if not args.json:
        for task in dict.fromkeys(config.task for config in configs):
            print_attack(task, given["seed"])
    result: dict[str, Any] | None = demo.result()
    if result is None:
        from boundprobe.cli.progress import progress_bar
        from boundprobe.sweep.executors.base import available_cores
        from boundprobe.sweep.executors.local import LocalExecutor
        from boundprobe.sweep.jobs import TrainAndProbe, run_jobs

        along = replace(probe, cut=DIAGONAL)
        jobs = [
            TrainAndProbe((config,), along if config in plane and budgets else probe, args.out, device, budgets, steps)
            for config, (budgets, steps) in zip((*configs, *plane), bottlenecks, strict=True)
        ]
        with demo.session(device=device, seeds={"seed": given["seed"]}):
            executor = LocalExecutor(args.workers or available_cores())
            with progress_bar(1.0, quiet=args.quiet) as bar:
                run_jobs(jobs, executor, bar.update)
            models = [list(job.measure(job.configs[0])) for job in jobs]
            result = summarise(configs, models[: len(configs)], demo.path)
            add_plane(result, plane, models[len(configs) :], demo.path)
            demo.finish(result)
    if args.json:
        print_json(result)
    else:
        print_summary(result)
    return 1 if result["violations"] else 0


def summarise(configs: list[TrainConfig], measured: list[list[MeasuredModel]], path: Path) -> dict[str, Any]:
    """Draw the figure of each task and put everything into one document."""
    from boundprobe.bounds.report.task import bounds_report
    from boundprobe.plots import ladder
    from boundprobe.plots.bound_vs_empirical import save
    from boundprobe.runs.files import make_directory

    tasks: list[dict[str, Any]] = []
    for task in dict.fromkeys(config.task for config in configs):
        models = [
            model for config, of_run in zip(configs, measured, strict=True) if config.task == task for model in of_run
        ]
        directory = path / task.name
        make_directory(directory)
        figures = save(task, models, directory / "bound_vs_empirical")
        figures += ladder.save([model.of_model for model in models], directory / "ladder")
        tasks.append(
            {
                "bounds": bounds_report(task).to_json(),
                "figures": [str(figure) for figure in figures],
                "models": [model.to_json() for model in models],
            }
        )
    return {
        "schema": "boundprobe.demo/1",
        "run_id": path.name,
        "run_dir": str(path),
        "confidence": CONFIDENCE,
        "tasks": tasks,
        "violations": [violation for task in tasks for violation in _violations(task["models"])],
    }


def add_plane(
    result: dict[str, Any], configs: list[TrainConfig], measured: list[list[MeasuredModel]], path: Path
) -> None:
    """Draw the trade-off plane, and put it and its models into the document."""
    from boundprobe.models.sizes import model_stages
    from boundprobe.plots.plane import PlanePoint, least_bits, save

    points, models = [], [of_run[0] for of_run in measured]
    for config, model in zip(configs, models, strict=True):
        if model.curve is not None:
            bits = least_bits(model.curve, PLANE_ACCURACY)
        else:  # nothing crosses: its answers come from the tokens within reach
            bits = 0 if model.of_model.ladder.state_hard.lower >= PLANE_ACCURACY else None
        reach = sum(stage.reach for stage in model_stages(config.model))
        points.append(PlanePoint(config.model.architecture, reach, bits))
    documents = [model.to_json() for model in models]
    result["plane"] = {
        "task": documents[0]["task"],
        "accuracy": PLANE_ACCURACY,
        "points": [asdict(point) for point in points],
        "models": documents,
        "figures": [str(figure) for figure in save(configs[0].task, points, path / "plane", PLANE_ACCURACY)],
    }
    result["violations"] += _violations(documents)


def _violations(models: list[dict[str, Any]]) -> list[str]:
    """Violations of models and their bottlenecks, each with its run."""
    return [
        f"{model['task']['name']} {model['model']['architecture']} ({model['run_id']}): {violation}"
        for model in models
        for violation in (*model["violations"], *model.get("bottleneck", {"violations": ()})["violations"])
    ]
