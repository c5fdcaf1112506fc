"""Printed ladders: one model rung by rung, or many as rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from boundprobe.cli.output import print_pairs, print_table, say

if TYPE_CHECKING:
    from boundprobe.bottleneck.curve import BottleneckCurve
    from boundprobe.bounds.diagonal.ceiling import DiagonalBound
    from boundprobe.probes.certificates.assumptions import Assumption
    from boundprobe.probes.certificates.binomial import Proportion
    from boundprobe.probes.certificates.retention import Retention
    from boundprobe.probes.ladder import Ladder
    from boundprobe.probes.null import NullControl
    from boundprobe.probes.run import ModelLadder

#: Groups of answers that are printed; the document has them all.
MOST_GROUPS = 16


def print_ladder(model: ModelLadder) -> None:
    """Print the ladder of one model: its rungs, layers and retention."""
    ladder = model.ladder
    beyond = f" beyond a lag of {ladder.lag}" if ladder.lag else ""
    entropy = f"H(Y{beyond})" if ladder.stream == "keys-once" else f"{ladder.stream}, H(Y | which are defined)"
    say(f"{model.task_name}, {model.label}: {entropy} = {ladder.entropy_bits:.2f} bits\n")
    print_pairs(_rows(ladder))
    say("\nby layer and kind, certified (parts may hold the same, so they do not add up):")
    print_table(
        ["layer", "kind", "present", "estimate", "nominal", "decoder"],
        [
            [
                str(part.layer),
                part.kind,
                f">= {part.present.lower:.2f}",
                f"{part.present.estimate:.2f}",
                str(part.nominal_bits),
                str(part.present.decoder),
            ]
            for part in ladder.parts
        ],
    )
    if ladder.retention is not None:
        print_retention(ladder.retention)
    print_assumptions(ladder.assumptions)
    say(f"\nAll certified numbers of this report hold together with probability at least {ladder.confidence:.0%}.")


def null_words(control: NullControl) -> str:
    """The null control of a report in words, beside its certificate in bits."""
    taken = f"; {control.excess_bits:.2f} bits of its estimate were taken off" if control.excess_bits >= 0.005 else ""
    level = 1 - control.constant.confidence
    return f"the same for a constant state and for other sequences' states, at level {level:.1e}{taken}"


def print_assumptions(assumptions: Sequence[Assumption]) -> None:
    """The assumptions of the certificates, and how each was checked."""
    say("\nwhat this rests on:")
    for assumption in assumptions:
        say(f"  {assumption.name}  {assumption.says}: {assumption.checked}")


def print_retention(retention: Retention) -> None:
    """Certified bits of each answer, or of each distance to the cut."""
    groups, by = retention.groups, retention.by
    shown = groups[:MOST_GROUPS]
    more = f" (the first {MOST_GROUPS} of {len(groups)})" if len(groups) > len(shown) else ""
    what = "by distance: tokens back from the cut" if by == "distance" else "by answer"
    say(f"\nretention {what}, certified bits of {retention.of}{more}:")
    print_table(
        [by, "certified", "estimate", "decoder error", "sequences"],
        [
            [
                str(held.group),
                f">= {held.bits.lower:.2f}",
                f"{held.bits.estimate:.2f}",
                f"{held.error:.4f}",
                str(held.n_sequences),
            ]
            for held in shown
        ],
    )


def print_ladders(models: Sequence[ModelLadder]) -> None:
    """Many models, one row each."""
    columns = ["task", "architecture", "run", "seed", "required", "used", "present", "states", "needed", "nominal"]
    rows = [
        [
            model.task_name,
            model.model.architecture,
            model.trained,
            str(model.seed_index),
            f"{model.ladder.required.estimate:.2f}",
            f">= {model.ladder.used.lower:.2f}",
            f">= {model.ladder.present.lower:.2f}",
            "-" if model.ladder.states is None else f">= {model.ladder.states.lower:.2f}",
            "-" if model.ladder.needed_bits is None else str(model.ladder.needed_bits),
            str(model.ladder.nominal_bits),
        ]
        for model in models
    ]
    print_table(columns, rows)
    say(
        f"\nCertified numbers hold with probability at least {models[0].ladder.confidence:.0%} for each row by itself, "
        "not for all rows together."
    )


def diagonal_row(cut: DiagonalBound) -> tuple[str, str, str]:
    """The diagonal cut that binds, beside the vertical one of the other rows."""
    crosses = cut.crossing
    kinds = f"recurrent {crosses.recurrent_bits}, convolution {crosses.conv_bits}, cache {crosses.cache_bits}"
    beyond = "answer beyond it takes" if cut.far_answers == 1 else "answers beyond it take"
    asked = f"{cut.far_answers} {beyond} {cut.required_bits:.2f} bits if all errors were among them"
    return f"across lag {cut.lag}", f"{crosses.total_bits} bits", f"{kinds}; {asked} (D1)"


def print_curve(curve: BottleneckCurve) -> None:
    """Print the bottlenecks of fixed size, beside the ceiling and partial storage."""
    where = "at the cut"
    if curve.lag:
        where = f"along the diagonal cut of lag {curve.lag} (answers beyond it: {curve.n_answers})"
    say(f"\nthe same model behind a bottleneck {where}, bounds of all rows together at {curve.confidence:.0%}:")
    rows = [
        [
            f"{point.n_entries} x {point.entry_bits}",
            str(point.total_bits),
            str(point.n_states_seen),
            f"{point.accuracy.estimate:.4f}",
            _interval(point.accuracy),
            f"{point.accuracy_ceiling:.4f}",
            "-" if point.accuracy_floor_strategy is None else f"{point.accuracy_floor_strategy:.4f}",
            f">= {point.used.lower:.2f}",
            *([f"{point.all_accuracy.estimate:.4f}"] if curve.lag else []),
        ]
        for point in curve.by_bits
    ]
    columns = ["entries", "bits", "states seen", "accuracy", "bounds", "ceiling", "partial storage", "bits used (S1)"]
    columns += ["all answers"] if curve.lag else []
    print_table(columns, rows)


def _rows(ladder: Ladder) -> list[tuple[str, str, str]]:
    """The ladder from what theory requires to what the state could hold."""
    used, present, states, memory = ladder.used, ladder.present, ladder.states, ladder.memory
    kinds = f"recurrent {memory.recurrent_bits}, convolution {memory.conv_bits}, cache {memory.cache_bits}"
    known = " | the tokens since" if ladder.lag else ""
    how = f"of I(U;S{known}); T1 {used.form}, {used.method}; estimate {used.estimate:.2f}"
    # S3 is for independent uniform answers alone.
    theorems = "S3 and S1" if ladder.required.theorem == "S3" else "S1; S3 needs independent uniform answers"
    beyond = f" beyond lag {ladder.lag}, from what crosses and the tokens since" if ladder.lag else ""
    rows = [
        ("required", f"{ladder.required.estimate:.2f} bits", f"of log2 |S| at the measured error ({theorems})"),
        ("used, certified", f"{used.lower:.2f} bits", f"{how}; the model's own answers"),
        (
            "present, certified",
            f"{present.lower:.2f} bits",
            f"of I(U;S); T1 {present.form}, {present.method}; estimate {present.estimate:.2f}; "
            f"decoder {present.decoder}",
        ),
    ]
    if states is not None:
        rows.append(
            (
                "states, certified",
                f"{states.lower:.2f} bits",
                f"of log2 of the number of states, not of information; at most {states.threshold} wrong",
            )
        )
    if ladder.diagonal is not None:
        rows.append(diagonal_row(ladder.diagonal))
    control = ladder.null_control
    rows.append(("null control", f"{control.lower:.2f} bits", null_words(control)))
    needed = "none" if ladder.needed_bits is None else f"{ladder.needed_bits} bits"
    rows.append(("needed", needed, "coarsest rounding of the state that keeps the accuracy, really run"))
    if ladder.rounded_entropy is not None:
        rows.append(
            (
                "entropy of that, at most",
                f"{ladder.rounded_entropy.upper:.2f} bits",
                "mean code length of the rounded state, certified",
            )
        )
    rows.append(("nominal", f"{ladder.nominal_bits} bits", kinds))
    uncut, from_it = ("uncut model; ", beyond) if ladder.lag else ("", " from one state")
    for half, accuracy, why in (
        ("state-hard", ladder.state_hard, f"all queries{from_it}"),
        ("window-hard", ladder.window_hard, f"{uncut}ceiling {ladder.window_ceiling:.4f} at its receptive field (W2)"),
    ):
        rows.append((f"accuracy, {half}", f"{accuracy.estimate:.4f}", f"{_interval(accuracy)}; {why}"))
    return rows


def _interval(accuracy: Proportion) -> str:
    return f"[{accuracy.lower:.4f}, {accuracy.upper:.4f}]"
