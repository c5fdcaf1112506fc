"""``boundprobe probe``: how much a state certainly holds: of a trained model, of a sweep, of any array of states."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boundprobe.checks import MOST_VALUES, check_integer
from boundprobe.cli.options import (
    BOTTLENECK_OPTIONS,
    LADDER_OPTIONS,
    TASK_NAME,
    Option,
    add_device,
    add_options,
    number,
    resolve,
    whole_number,
    word,
)
from boundprobe.cli.output import find_device, note, note_earlier, print_config, print_json
from boundprobe.cli.probe_hf import HF_OPTIONS, run_hf

if TYPE_CHECKING:
    from boundprobe.probes.settings import ProbeConfig
    from boundprobe.runs.store import Run

HELP = "certified bits that a state holds and that a model uses, beside what theory requires"

STATES_OPTIONS = (
    Option("--states", ("states", "file"), word, "arrays state (N x d), answers (N x n)", "NPZ"),
    Option(
        "--n-values", ("states", "n_values"), whole_number(2, MOST_VALUES), "of them: answers uniform over 0..K-1", "K"
    ),
    Option("--entropy-bits", ("states", "entropy_bits"), number, "of them: joint entropy of the answers", "H"),
    Option("--groups", ("states", "groups"), word, "of them: array of the file, or TABLE.csv:COLUMN", "NAME"),
)

OPTIONS = (
    Option("--member", ("member",), whole_number(0), "which reported model of a training run (default 0)", "N"),
    *LADDER_OPTIONS,
    *STATES_OPTIONS,
    *BOTTLENECK_OPTIONS,
    *HF_OPTIONS,
)  # fmt: skip

#: Settings that mean something for an array of states.
FOR_STATES = ("seed", "decoders", "confidence")
PRIORS = ("n_values", "entropy_bits", "groups")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    parser.add_argument(
        "run_dir", type=Path, metavar="RUN", nargs="?", help="directory of a finished training run, or of a sweep"
    )
    add_options(parser, OPTIONS, task=True)
    add_device(parser)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where the result is kept (default: beside RUN, or runs)"
    )


def run(args: argparse.Namespace) -> int:
    """Measure, print, and exit with 1 if an inequality that must hold does not."""
    given = resolve(OPTIONS, args)
    if "hf" in given:
        return run_hf(args, given)
    _check_no_task(args, given.pop("task", {}))
    states = given.pop("states", {})
    if states:
        return _run_states(args, given, states)
    if args.run_dir is None and not args.print_config:
        raise ValueError("RUN, --states FILE.npz or --hf MODEL must be given; got nothing to measure.")
    return _run_model(args, given)


def _check_no_task(args: argparse.Namespace, table: dict[str, Any]) -> None:
    """Raise ``ValueError`` for a task without ``--hf``, but for the name by which a run's own task is trusted."""
    allowed = {"name"} if hasattr(args, TASK_NAME) else set()
    if others := sorted(set(table) - allowed):
        flag = {"name": "--task", "preset": "--preset"}.get(others[0], f"-p {others[0]}")
        raise ValueError(f"`{flag}` must be given with --hf, or left out, as a run has its task; got it without --hf.")


def _run_states(args: argparse.Namespace, given: dict[str, Any], states: dict[str, Any]) -> int:
    """Certify the arrays of a file."""
    from boundprobe.cli.probe_states import print_states, probe_states, states_config

    if "file" not in states:
        raise ValueError("a prior must be given with --states; got no --states FILE.npz.")
    if not isinstance(states["file"], str):
        raise ValueError(f"`states.file` must be the path of an .npz, as a string; got {states['file']!r}.")
    for name in given:
        if name not in FOR_STATES:
            raise ValueError(f"with `--states` settings must be {', '.join((*FOR_STATES, *PRIORS))}; got {name}")
    if args.run_dir is not None:
        raise ValueError(
            f"one of RUN and --states must be given; got both, {args.run_dir} and --states. Measure them apart."
        )
    config = states_config(given)
    if args.print_config:
        resolved = {"seed": config.seed, "decoders": config.decoders.names, "confidence": config.confidence}
        return print_config(resolved | {"states": states})
    measured = probe_states(states, config, args.out or Path("runs"), find_device(args.device))
    if args.json:
        print_json(measured.to_json())
    else:
        print_states(measured)
    return _violated(measured.report.violations)


def _run_model(args: argparse.Namespace, given: dict[str, Any]) -> int:
    """The ladder of one model, or of every model of a sweep."""
    bottleneck = given.pop("bottleneck", {})
    one = "member" in given
    member = check_integer("member", given.pop("member", 0), 0)

    from dataclasses import asdict

    from boundprobe.bottleneck.settings import curve_config
    from boundprobe.probes.settings import VERTICAL, ProbeConfig
    from boundprobe.runs.files import check_output_directory
    from boundprobe.runs.store import load_run

    settings = ProbeConfig(**given)
    curve = curve_config(bottleneck, settings)
    if args.print_config:
        return print_config({"member": member} | asdict(settings) | ({"bottleneck": bottleneck} if bottleneck else {}))
    trained = load_run(args.run_dir)
    if args.out is not None:
        check_output_directory("--out", args.out)
    if trained.verb == "sweep":
        if one or bottleneck:
            raise ValueError(
                "`--member` and `--budgets` must be left out with a sweep, all whose models are measured; got one. "
                "Drop it, or probe one of the sweep's training runs."
            )
        if settings.cut != VERTICAL:
            raise ValueError(
                "`--cut` must be vertical with a sweep, whose table is of all answers; got diagonal. Probe one of the "
                "sweep's training runs."
            )
        return _run_sweep(args, trained, ProbeConfig(**(trained.config.get("probe") or {}) | given))
    device = find_device(args.device)
    import torch

    from boundprobe.bottleneck.curve import MeasuredModel
    from boundprobe.bottleneck.measure import probe_bottleneck
    from boundprobe.cli.ladder import print_curve, print_ladder
    from boundprobe.plots.ladder import save
    from boundprobe.probes.run import probe_member

    torch.set_num_threads(1)  # tiny operations collapse when threads outnumber free cores
    model = probe_member(trained, member, settings, args.out, device=device)
    points = None if curve is None else probe_bottleneck(trained, member, curve, args.out, device=device)
    figures = save([model], model.run_dir / "ladder")  # when nothing can be refused any more
    measured = MeasuredModel(model, points)
    note_earlier([model], quiet=args.quiet)
    if args.json:
        print_json(measured.to_json())
    else:
        print_ladder(model)
        if points is not None:
            print_curve(points)
        note(f"figure: {figures[0]}", quiet=args.quiet)
    return _violated(measured.violations)


def _run_sweep(args: argparse.Namespace, sweep: Run, settings: ProbeConfig) -> int:
    """The ladder of every reported model of a sweep: one table, and one figure for each task."""
    import torch

    from boundprobe.cli.ladder import print_ladders
    from boundprobe.plots.ladder import save
    from boundprobe.probes.run import ModelLadder
    from boundprobe.probes.sweep import probe_sweep

    device = find_device(args.device)
    torch.set_num_threads(1)  # as for one model
    models = probe_sweep(sweep, settings, args.out, device=device)
    note_earlier(models, quiet=args.quiet)
    tasks: dict[str, list[ModelLadder]] = {}
    for model in models:
        tasks.setdefault(str(model.task), []).append(model)
    root = args.out or sweep.path
    figures = []
    for i, of_task in enumerate(tasks.values()):
        figures += [str(path) for path in save(of_task, root / ("ladder" if i == 0 else f"ladder-{i + 1}"))]
    violations = [f"{model.run_id}: {found}" for model in models for found in model.violations]
    if args.json:
        ladders = [model.to_json() for model in models]
        print_json({"schema": "boundprobe.probe-sweep/1", "sweep": sweep.run_id, "ladders": ladders,
                    "figures": figures, "violations": violations})  # fmt: skip
    else:
        print_ladders(models)
        for figure in figures[::2]:
            note(f"figure: {figure}", quiet=args.quiet)
    return _violated(violations)


def _violated(violations: Sequence[str]) -> int:
    for violation in violations:
        note(f"boundprobe: VIOLATION, a bug in the theory or in the code: {violation}", quiet=False)
    return 1 if violations else 0
