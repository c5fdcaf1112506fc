"""``boundprobe train``: choose a learning rate on calibration seeds, train and report other seeds."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from boundprobe.cli.options import (
    MODEL_OPTIONS,
    TASK_OPTIONS,
    add_device,
    add_options,
    options_of,
    resolve,
    whole_number,
)
from boundprobe.cli.output import find_device, note, print_config, print_json, print_table
from boundprobe.training.config import Schedule, TrainConfig, rename_old_keys

HELP = "train a model on a task; several learning rates are compared on seeds that are not reported"

OPTIONS = (*TASK_OPTIONS, *MODEL_OPTIONS, *options_of(TrainConfig), *options_of(Schedule, "train"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    add_options(parser, OPTIONS, task=True)
    add_device(parser)
    parser.add_argument(
        "--out", type=Path, default=Path("runs"), metavar="DIR", help="where runs are kept (default runs)"
    )
    parser.add_argument(
        "--ensemble", type=whole_number(1), metavar="N", help="members trained side by side (default 16; on a GPU 128)"
    )


def run(args: argparse.Namespace) -> int:
    """Train to the end, from wherever the run stopped."""
    config = TrainConfig.from_dict(resolve(OPTIONS, args))
    if args.print_config:
        check_run(config)
        return print_config(rename_old_keys(config.to_dict()))

    import torch

    from boundprobe.cli.progress import progress_bar
    from boundprobe.models.operations import chosen_backends
    from boundprobe.training.distributed import leave_processes
    from boundprobe.training.loop import train

    device = find_device(args.device)
    chosen_backends(config.model, config.backend, device)  # one that is not usable is refused before anything is made
    torch.set_num_threads(1)  # tiny operations collapse when threads outnumber free cores
    with progress_bar(config.total_steps, quiet=args.quiet) as bar:
        finished = train(
            config,
            args.out,
            device=device,
            progress=bar.update,
            largest=args.ensemble,
            resumed=lambda step, n_trained: _note_resumed(config, step, n_trained, quiet=args.quiet),
        )
    if not leave_processes().is_writer:  # of the processes that torchrun started, one prints
        return 0
    result: dict[str, Any] | None = finished.result()
    assert result is not None  # train returns finished runs
    if args.json:
        return print_json(result)
    print_table(*member_table(result, 1 / config.task.state_case().n_values))
    note(f"run {result['run_dir']}", quiet=args.quiet)
    return 0


def _note_resumed(config: TrainConfig, step: int, n_trained: int, *, quiet: bool) -> None:
    """Say on stderr where a run goes on."""
    before = f", after {n_trained} of {config.n_members} models" if n_trained else ""
    note(f"resumed at step {step} of {config.schedule.steps}{before}", quiet=quiet)


def check_run(config: TrainConfig) -> None:
    """Refuse what a run would refuse, but for what is not installed here.  No torch where no backend is named."""
    if config.backend != "auto":
        from boundprobe.models.operations import check_backend_of

        check_backend_of(config.model, config.backend)
    config.check_asks()


#: Accuracy above guessing from which a model has learnt something: four standard errors of 1,000 sequences or so.
ABOVE_CHANCE = 0.05


def _ended(member: dict[str, Any], chance: float) -> str:
    """End of a loss in words: one that stands still where answers are no better than guessed is a plateau."""
    if not member["converged"]:
        return "no"
    best = max(member["accuracy_by_distribution"].values())
    return "plateau" if best <= chance + ABOVE_CHANCE else "yes"


def member_table(result: dict[str, Any], chance: float) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the members of a training result; ``chance`` is the accuracy of guessing."""
    columns = ["phase", "lr", "seed", "accuracy", "state-hard", "window-hard", "loss", "converged"]
    columns += ["parameters", "bits at cut", "tokens/s"]
    rows = [
        [
            member["phase"],
            f"{member['learning_rate']:g}",
            str(member["seed_index"]),
            f"{member['accuracy']:.3f}",
            *(f"{member['accuracy_by_distribution'][half]:.3f}" for half in ("state-hard", "window-hard")),
            "diverged" if member["loss"] is None else f"{member['loss']:.4f}",
            _ended(member, chance),
            str(member["n_params"]),
            str(sum(member["memory"].values())),
            str(member["tokens_per_second"]),
        ]
        for member in (*result["calibration"], *result["members"])
    ]
    return columns, rows
