"""``boundprobe demo``: two tasks, three architectures, from bounds to figures, in six minutes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boundprobe.checks import check_integer
from boundprobe.cli.options import SEED_OPTION, Option, add_device, add_options, resolve, whole_number
from boundprobe.cli.output import find_device, note, print_config, print_json, print_table, say

if TYPE_CHECKING:
    from boundprobe.bottleneck.curve import MeasuredModel
    from boundprobe.tasks.base import AbstractTask
    from boundprobe.training.config import TrainConfig

HELP = "bound, attack, train, measure and plot two tasks with three small architectures"

ARCHITECTURES = ("attn-attn", "mamba-mamba", "mamba-attn")

#: Task, model and schedule of each half of the demo.  Windows cover what the state-hard prefix asks for, and two
#: such layers still cannot see the far end of the window-hard sequence.
SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "ar-decoding": {
        "task": {"word_bits": 3, "seq_len": 22},
        "model": {"d_model": 16, "window": 10, "d_state": 8, "mlp_ratio": 2},
        "train": {"steps": 1500, "batch": 64, "learning_rates": [0.005, 0.01], "weight_decay": 0.01},
    },
    "selective-copying": {
        "task": {"n_numbers": 4, "n_letters": 4, "seq_len": 24},
        "model": {"d_model": 16, "window": 5, "d_state": 4, "mlp_ratio": 2},
        "train": {"steps": 800, "batch": 32, "learning_rates": [0.005, 0.01], "weight_decay": 0.01},
    },
}

#: Bottlenecks (entries, bits of an entry) that the first model of one architecture is also measured behind, from
#: well below the bits that no error takes to above them.
BOTTLENECKED = "mamba-attn"
BOTTLENECK_STEPS = 400
BUDGETS: dict[str, tuple[tuple[int, int], ...]] = {
    "ar-decoding": ((1, 1), (1, 2), (1, 3), (1, 4), (1, 5), (1, 6), (1, 8), (1, 9)),  # 8 bits for no error
    "selective-copying": ((1, 2), (1, 3), (1, 4), (1, 5), (1, 6), (1, 8), (4, 3), (4, 4)),  # 12 bits
}

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
    from boundprobe.probes.settings import ProbeConfig
    from boundprobe.runs.store import open_run

    given = {"seed": 0, "n_seeds": 2, "n_sequences": 4000} | resolve(OPTIONS, args)
    for name in ("n_seeds", "n_sequences"):
        check_integer(name, given[name], 1)
    configs = build_configs(given)
    # A ladder for each model and a curve of bottlenecks for each task share what may fail.
    n_reports = len(configs) * given["n_seeds"] + len(BUDGETS)
    probe = ProbeConfig(
        n_sequences=given["n_sequences"],
        n_train=max(4, given["n_sequences"]),
        n_calibration=min(1000, given["n_sequences"]),
        confidence=1 - (1 - CONFIDENCE) / n_reports,
        seed=given["seed"],
    )
    budgets = {name: [f"{m}x{b}" for m, b in pairs] for name, pairs in BUDGETS.items()}
    budget_steps = min(BOTTLENECK_STEPS, given.get("steps", BOTTLENECK_STEPS))
    settings = {
        "probe": probe.to_dict(),
        "budgets": budgets,
        "budget_steps": budget_steps,
        "runs": [config.to_dict() for config in configs],
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

        jobs = [
            TrainAndProbe((config,), probe, args.out, device, budgets_of(config), budget_steps) for config in configs
        ]
        with demo.session(device=device, seeds={"seed": given["seed"]}):
            executor = LocalExecutor(args.workers or available_cores())
            with progress_bar(1.0, quiet=args.quiet) as bar:
                run_jobs(jobs, executor, bar.update)
            models = [list(job.measure(config)) for job, config in zip(jobs, configs, strict=True)]
            result = summarise(configs, models, demo.path)
            demo.finish(result)
    if args.json:
        print_json(result)
    else:
        print_summary(result)
    return 1 if result["violations"] else 0


def build_configs(given: dict[str, Any]) -> list[TrainConfig]:
    """One training run for each task and architecture."""
    from boundprobe.training.config import TrainConfig

    configs = []
    for name, setting in SETTINGS.items():
        schedule = setting["train"] | {"n_seeds": given["n_seeds"]}
        if "steps" in given:
            schedule["steps"] = given["steps"]
        for architecture in ARCHITECTURES:
            parts = {
                "task": {"name": name, **setting["task"]},
                "model": setting["model"] | {"architecture": architecture},
            }
            configs.append(TrainConfig.from_dict(parts | {"train": schedule, "seed": given["seed"]}))
    return configs


def budgets_of(config: TrainConfig) -> tuple[tuple[int, int], ...]:
    """Bottlenecks that a run's first model is measured behind."""
    return BUDGETS[config.task.name] if config.model.architecture == BOTTLENECKED else ()


def print_attack(task: AbstractTask, seed: int) -> None:
    """Print the bounds of a task and one sequence from each hard distribution."""
    from boundprobe.bounds.report.task import bounds_report
    from boundprobe.seeds import generator

    report = bounds_report(task)
    state, window = report.state, report.window
    parameters = ", ".join(f"{name}={value}" for name, value in task.parameters().items())
    say(f"{task.name} ({parameters})")
    say(f"  state   {state.zero_error_bits:.2f} bits at the cut for no error  [{task.state_case().theorem}]")
    say(
        f"  window  sum of (window - 1) at least {window.min_sum_window_minus_one}; accuracy at most "
        f"{window.blind_accuracy:.4f} without the control token  [{task.window_case().theorem}]"
    )
    width = len(str(task.n_token_ids - 1))
    for i, distribution in enumerate(("state-hard", "window-hard", "mixture")):
        batch = task.sample(1, generator(seed, "sample", i), distribution)
        tokens = " ".join(f"{token:>{width}}" for token in batch.tokens[0])
        say(f"  {distribution:<12}{tokens}  -> {batch.targets[0, -1]}")
    say()


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
        "violations": [
            f"{model['task']['name']} {model['model']['architecture']} ({model['run_id']}): {violation}"
            for task in tasks
            for model in task["models"]
            for violation in (*model["violations"], *model.get("bottleneck", {"violations": ()})["violations"])
        ],
    }


def print_summary(result: dict[str, Any]) -> None:
    """Print the table, where the figures are, and whether any measured point violates a bound."""
    columns = ["task", "architecture", "seed", "params", "recurrent", "conv", "cache"]
    columns += ["required", "used", "present", "state-hard", "window-hard"]
    rows = []
    models = [model for task in result["tasks"] for model in task["models"]]
    for model in models:
        memory, used = model["memory"], model["used_bits"]
        rows.append(
            [
                model["task"]["name"],
                model["model"]["architecture"],
                str(model["seed_index"]),
                str(model["n_params"]),
                *(str(memory[f"{kind}_bits"]) for kind in ("recurrent", "conv", "cache")),
                f"{model['required_bits']:.2f}",
                f">= {used['lower']:.2f}",
                f">= {model['present_bits']['lower']:.2f}",
                *(_accuracy(model["accuracy"][half]) for half in ("state-hard", "window-hard")),
            ]
        )
    print_table(columns, rows)
    say(
        "\nrecurrent, conv, cache: bits of the state at the cut, by kind.  required: bits that theorem S3 asks of any\n"
        "state with the measured error.  used, present: certified lower bounds of I(U;S) (T1), by the model's answers\n"
        "and by the best of these and of decoders that were trained on the state.\n"
    )
    print_table(*bottleneck_table(models))
    say(
        f"\nThe first {BOTTLENECKED} of each task behind bottlenecks of exactly so many bits at the cut: trained, run\n"
        "and measured.  ceiling: no machine of so many bits is better (S3).  All bounds of both tables hold together\n"
        f"with probability at least {result['confidence']:.0%}."
    )
    for task in result["tasks"]:
        for figure in task["figures"][::2]:
            note(f"figure {figure}", quiet=False)
    if result["violations"]:
        for violation in result["violations"]:
            say(f"VIOLATION, a bug in the theory or in the code: {violation}")
    else:
        say(f"No measured point violates a bound ({len(models)} models, {len(result['tasks'])} tasks).")


def bottleneck_table(models: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Table of the bottlenecks of fixed size, beside the ceiling and partial storage."""
    columns = ["task", "entries", "bits", "states seen", "used", "partial", "accuracy", "ceiling"]
    rows = [
        [
            model["task"]["name"],
            f"{point['entries']} x {point['entry_bits']}",
            str(point["bits"]),
            str(point["n_states_seen"]),
            f">= {point['used_bits']['lower']:.2f}",
            f"{point['accuracy_floor_strategy']:.3f}",
            _accuracy(point["accuracy"]),
            f"{point['accuracy_ceiling']:.3f}",
        ]
        for model in models
        for point in sorted(model.get("bottleneck", {"points": ()})["points"], key=lambda point: int(point["bits"]))
    ]
    return columns, rows


def _accuracy(proportion: dict[str, float]) -> str:
    return f"{proportion['estimate']:.3f} [{proportion['lower']:.3f}, {proportion['upper']:.3f}]"
