"""A sampler's stated entropy, held against the rows of answers that its own draws have."""

from __future__ import annotations

import math

from boundprobe.bounds.table.report import CustomReport
from boundprobe.tasks.base import AbstractTask
from boundprobe.tasks.custom.enumerated import N_SAMPLED_PREFIXES
from boundprobe.tasks.custom.task import CustomTask

#: Draws for each distinct row from which a sample has seen nearly all rows.
FEW_ROWS = 10


def entropy_warning(task: AbstractTask, report: CustomReport) -> str | None:
    """A warning of a stated entropy that the sampler's own draws make implausible; None if nothing.

    Draws that repeat the same few rows show nearly all of a distribution: its entropy is then log2 of these rows at
    most, unless rows that are hardly ever drawn carry the rest.  It is a warning, therefore, and no refusal.
    """
    if not isinstance(task, CustomTask) or task.enumerated.sampler is None:
        return None
    rows, stated = int(report["distinct_rows"].number), report["entropy"].number
    if rows * FEW_ROWS > N_SAMPLED_PREFIXES or stated <= math.log2(rows) + 1:
        return None
    return (
        f"the entropy that you state, {stated:g} bits, looks too high: {N_SAMPLED_PREFIXES} draws of your sampler have "
        f"{rows} distinct rows of answers, which carry {math.log2(rows):.3f} bits at most; every bound that is "
        "computed from it is then too high as well"
    )
