"""Printed results of ``boundprobe demo``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from boundprobe.cli.demo_settings import BOTTLENECKED
from boundprobe.cli.output import note, print_table, say

if TYPE_CHECKING:
    from boundprobe.tasks.base import AbstractTask


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
    plane = result["plane"]
    print_table(*plane_table(plane))
    say(
        f"\nThe trade-off plane: models of {plane['task']['name']} whose windows reach none to all of the answers.\n"
        "least bits: the least of the exact sizes that were tried across the diagonal cut (D1) with which accuracy\n"
        f"{plane['accuracy']:g} over all answers is certain; - if none is.  D1: no machine of that reach has less.\n"
    )
    for of in (*result["tasks"], plane):
        for figure in of["figures"][::2]:
            note(f"figure {figure}", quiet=False)
    if result["violations"]:
        for violation in result["violations"]:
            say(f"VIOLATION, a bug in the theory or in the code: {violation}")
    else:
        n_models = len(models) + len(plane["models"])
        say(f"No measured point violates a bound ({n_models} models, {len(result['tasks'])} tasks).")


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


def plane_table(plane: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Table of the points of the trade-off plane, with the bits that D1 asks of any model of that reach."""
    from boundprobe.bounds.diagonal.ceiling import frontier
    from boundprobe.tasks.registry import task_of

    case = task_of(plane["task"]).state_case()
    reaches = [point["reach"] for point in plane["points"]]
    needed = {at.reach: at.required_bits for at in frontier(case, sorted(set(reaches)), 1 - plane["accuracy"])}
    rows = []
    for point, model in zip(plane["points"], plane["models"], strict=True):
        tried = sorted(model.get("bottleneck", {"points": ()})["points"], key=lambda each: int(each["bits"]))
        rows.append(
            [
                point["architecture"],
                str(point["reach"]),
                f"{needed[point['reach']]:.2f}",
                "-" if point["bits"] is None else str(point["bits"]),
                ", ".join(f"{each['bits']}: {each['all_accuracy']['estimate']:.3f}" for each in tried)
                or "nothing crosses",
            ]
        )
    return ["architecture", "reach", "D1, bits", "least bits", "accuracy over all answers at bits across"], rows


def _accuracy(proportion: dict[str, float]) -> str:
    return f"{proportion['estimate']:.3f} [{proportion['lower']:.3f}, {proportion['upper']:.3f}]"
