"""How ladders are printed: one model rung by rung, or many as rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from boundprobe.cli.output import print_pairs, print_table

#: Groups of answers that are printed; the document has them all.
MOST_GROUPS = 16


def print_ladder(document: dict[str, Any]) -> None:
    """One model: its rungs, what each layer keeps, and which answers are still there."""
    entropy = "H(Y)" if document["stream"] == "keys-once" else f"{document['stream']}, H(Y | which are defined)"
    print(f"{document['task']['name']}, {document['model']['architecture']}, member {document['member']} of "
          f"{document['trained']}: {entropy} = {document['entropy_bits']:.2f} bits\n")  # fmt: skip
    print_pairs(_rows(document))
    print("\nby layer and kind, certified (parts may hold the same, so they do not add up):")
    print_table(
        ["layer", "kind", "present", "estimate", "nominal", "decoder"],
        [
            [
                str(part["layer"]),
                part["kind"],
                f">= {part['present_bits']['lower']:.2f}",
                f"{part['present_bits']['estimate']:.2f}",
                str(part["nominal_bits"]),
                part["present_bits"]["decoder"],
            ]
            for part in document["present_by_part"]
        ],
    )
    if document["retention"]:
        print_retention(document["retention"])
    print_assumptions(document["assumptions"])
    print(
        f"\nAll certified numbers of this report hold together with probability at least {document['confidence']:.0%}."
    )


def print_assumptions(assumptions: Sequence[dict[str, str]]) -> None:
    """What certificates rest on, and what was done about each."""
    print("\nwhat this rests on:")
    for assumption in assumptions:
        print(f"  {assumption['name']}  {assumption['says']}: {assumption['checked']}")


def print_retention(retention: dict[str, Any]) -> None:
    """Certified bits of each answer, or of each distance to the cut."""
    groups, by = retention["groups"], retention["by"]
    shown = groups[:MOST_GROUPS]
    more = f" (the first {MOST_GROUPS} of {len(groups)})" if len(groups) > len(shown) else ""
    what = "by distance: tokens back from the cut" if by == "distance" else "by answer"
    print(f"\nretention {what}, certified bits of {retention['of']}{more}:")
    print_table(
        [by, "certified", "estimate", "error", "sequences"],
        [
            [
                str(held["group"]),
                f">= {held['lower']:.2f}",
                f"{held['estimate']:.2f}",
                f"{held['error']:.4f}",
                str(held["n_sequences"]),
            ]
            for held in shown
        ],
    )


def print_ladders(documents: Sequence[dict[str, Any]]) -> None:
    """Many models, one row each."""
    columns = ["task", "architecture", "run", "seed", "required", "used", "present", "states", "needed", "nominal"]
    rows = [
        [
            document["task"]["name"],
            document["model"]["architecture"],
            document["trained"],
            str(document["seed_index"]),
            f"{document['required_bits']:.2f}",
            f">= {document['used_bits']['lower']:.2f}",
            f">= {document['present_bits']['lower']:.2f}",
            "-" if document["states_bits"] is None else f">= {document['states_bits']['lower']:.2f}",
            "-" if document["needed_bits"] is None else str(document["needed_bits"]),
            str(document["nominal_bits"]),
        ]
        for document in documents
    ]
    print_table(columns, rows)
    print(
        f"\nCertified numbers hold with probability at least {documents[0]['confidence']:.0%} for each row by itself, "
        "not for all rows together."
    )


def print_curve(curve: dict[str, Any]) -> None:
    """The machines of exactly so many bits, beside the ceiling and what anyone can build."""
    print(f"\nthe same model behind a bottleneck at the cut, limits of all rows together at {curve['confidence']:.0%}:")
    rows = [
        [
            f"{point['entries']} x {point['entry_bits']}",
            str(point["bits"]),
            str(point["n_states_seen"]),
            f"{point['accuracy']['estimate']:.4f}",
            f"[{point['accuracy']['lower']:.4f}, {point['accuracy']['upper']:.4f}]",
            f"{point['accuracy_ceiling']:.4f}",
            "-" if point["accuracy_floor_strategy"] is None else f"{point['accuracy_floor_strategy']:.4f}",
            f">= {point['used_bits']['lower']:.2f}",
        ]
        for point in sorted(curve["points"], key=lambda point: int(point["bits"]))
    ]
    print_table(["entries", "bits", "states seen", "accuracy", "limits", "ceiling", "store some", "bits used"], rows)


def _rows(ladder: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The ladder from what theory requires to what the state could hold."""
    used, present, states = (ladder[f"{name}_bits"] for name in ("used", "present", "states"))
    memory = ladder["memory"]
    entropy = ladder["rounded_entropy_bits"]
    kinds = f"recurrent {memory['recurrent_bits']}, convolution {memory['conv_bits']}, cache {memory['cache_bits']}"
    how = f"of I(U;S); T1 {used['form']}, {used['limit']}; estimate {used['estimate']:.2f}"
    rows = [
        ("required", f"{ladder['required_bits']:.2f} bits", "of log2 |S| at the measured error (S3 and S1)"),
        ("used, certified", f"{used['lower']:.2f} bits", f"{how}; the model's own answers"),
        (
            "present, certified",
            f"{present['lower']:.2f} bits",
            f"of I(U;S); T1 {present['form']}, {present['limit']}; estimate {present['estimate']:.2f}; "
            f"decoder {present['decoder']}",
        ),
    ]
    if states is not None:
        rows.append(
            (
                "states, certified",
                f"{states['lower']:.2f} bits",
                f"of log2 of the number of states, not of information; at most {states['threshold']} wrong",
            )
        )
    needed = "none" if ladder["needed_bits"] is None else f"{ladder['needed_bits']} bits"
    rows.append(("needed", needed, "coarsest rounding of the state that keeps the accuracy, really run"))
    if entropy is not None:
        rows.append(
            (
                "entropy of that, at most",
                f"{entropy['upper']:.2f} bits",
                "mean code length of the rounded state, certified",
            )
        )
    rows.append(("nominal", f"{ladder['nominal_bits']} bits", kinds))
    for half, why in (
        ("state-hard", "all queries from one state"),
        ("window-hard", f"ceiling {ladder['window_accuracy_ceiling']:.4f} at its receptive field (W2)"),
    ):
        accuracy = ladder["accuracy"][half]
        limits = f"[{accuracy['lower']:.4f}, {accuracy['upper']:.4f}]"
        rows.append((f"accuracy, {half}", f"{accuracy['estimate']:.4f}", f"{limits}; {why}"))
    return rows
