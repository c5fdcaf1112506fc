"""Relations between the numbers of retention, and of rounded machines, that are read back."""

from __future__ import annotations

import math
from collections.abc import Sequence

from boundprobe.bounds import required_bits
from boundprobe.bounds.information import fano_loss_bits
from boundprobe.models.rounding import ENTRY_BITS
from boundprobe.probes.certificates.certified_bound import CertifiedBound
from boundprobe.probes.certificates.retention import ALONE, GIVEN_EARLIER, Retention
from boundprobe.probes.counts import MOST_COUNTS, retained_bits, whole_counts, widths
from boundprobe.probes.null import NullControl
from boundprobe.probes.quantised.machines import RoundedMachine
from boundprobe.probes.read_back import check_bounds, check_level, check_named, check_same
from boundprobe.probes.violations import rounding_slack
from boundprobe.tasks.cases import StateCase


def check_retention(retention: Retention, n_answers: int, n_values: int) -> None:
    """Groups are there once, in order, and the estimate of each is Fano's at its error."""
    check_named("retention.of", retention.of, (ALONE, GIVEN_EARLIER))
    names = [each.group for each in retention.groups]
    if retention.by == "answer":
        check_same(list(range(n_answers)), names, "retention.groups.group")
    elif names != sorted(set(names)) or (names and names[0] < 1):
        raise ValueError(f"`retention.groups` must be distances from 1 on, each once, in order; got {names[:20]}")
    each_bits = math.log2(n_values)
    for i, group in enumerate(retention.groups):
        estimate = each_bits - fano_loss_bits(group.error, n_values)
        check_same(estimate, group.bits.estimate, f"retention.groups.{i}.estimate")
        check_bounds({f"retention of {group.group}": group.bits}, each_bits)


def check_retention_counts(
    retention: Retention, n_answers: int, n_values: int, n_sequences: int, level: float, *, grouped: bool
) -> None:
    """Every answer of every sequence is in a group, and certificates are those of the counts of errors.

    Where sequences share sources (``grouped``) they are bounds of a mean, and follow from no count.
    """
    counts = [group.n_sequences for group in retention.groups]
    if retention.by == "answer":
        check_same([n_sequences] * n_answers, counts, "retention.groups.n_sequences")
    if sum(counts) != n_sequences * n_answers or max(counts) > n_sequences:
        raise ValueError(
            f"`retention.groups.n_sequences` must add up to {n_answers} answers of {n_sequences} sequences; got "
            f"{sum(counts)}"
        )
    if not grouped:
        for i, group in enumerate(retention.groups):
            bits = retained_bits(group, n_values, level / len(counts))
            check_same(bits, group.bits.lower, f"retention.groups.{i}.lower")


def check_fano(present: CertifiedBound, retention: Retention, control: NullControl, *, grouped: bool) -> None:
    """With Fano's form the whole is the sum of its answers; a tangent to it promises no more."""
    if retention.by != "answer":
        return
    lower, estimate = (sum(getattr(each.bits, name) for each in retention.groups) for name in ("lower", "estimate"))
    if present.form == "fano":
        check_same(max(0.0, estimate), present.estimate, "present_bits.estimate")
        if not grouped:
            check_same(max(0.0, lower - control.excess_bits), present.lower, "present_bits.lower")
    elif present.form == "tangent-fano" and present.estimate > estimate + rounding_slack(estimate):
        raise ValueError(
            f"`present_bits.estimate` must be at most {estimate:.6g} bits, the sum of its answers; got "
            f"{present.estimate:.6g}"
        )


def check_rounded(rounded: Sequence[RoundedMachine], case: StateCase, total_bits: int, level: float) -> None:
    """Every rounding was run, all of them on the same entries, and what each needs follows from its accuracy."""
    check_same(list(ENTRY_BITS), [machine.entry_bits for machine in rounded], "rounded.entry_bits")
    n_entries = rounded[0].total_bits // ENTRY_BITS[0]
    if n_entries > total_bits:
        raise ValueError(f"`rounded` must have at most {total_bits} entries, one a bit; got {n_entries}")
    for i, machine in enumerate(rounded):
        at = f"rounded.{i}"
        check_same(machine.entry_bits * n_entries, machine.total_bits, f"{at}.bits")
        if machine.accuracy_lower > machine.accuracy + 1e-12:
            raise ValueError(f"`{at}.accuracy_lower` must be at most {machine.accuracy!r}; got "
                             f"{machine.accuracy_lower!r}")  # fmt: skip
        check_bounds({f"{at}.used_bits": machine.used}, case.entropy_bits)
        for name, bound in (("used_bits", machine.used), ("required_bits", machine.required)):
            check_level(f"{at}.{name}", bound.confidence, level / len(rounded))
        for which, accuracy in (("estimate", machine.accuracy), ("lower", machine.accuracy_lower)):
            required, used = getattr(machine.required, which), getattr(machine.used, which)
            check_same(float(required_bits(case, 1 - accuracy)), required, f"{at}.required_bits.{which}")
            _check_used(used, 1 - accuracy, case, f"{at}.used_bits.{which}")


def _check_used(used: float, error: float, case: StateCase, name: str) -> None:
    """Fano's bits at errors of this mean: most where each is 0 or 1, least where they are alike."""
    n, k, h = case.n_answers, case.n_values, case.entropy_bits
    least, most = h - n * fano_loss_bits(error, k), h - n * error * math.log2(k)
    least, most = (max(0.0, bits) for bits in (least, least if n == 1 else most))
    slack = rounding_slack(h)
    if not least - slack <= used <= most + slack:
        raise ValueError(f"`{name}` must be {least:.6g} to {most:.6g} bits at a mean error {error:.6g}; got {used:.6g}")


def check_rounded_counts(rounded: Sequence[RoundedMachine], n_answers: int, n_sequences: int, level: float) -> None:
    """Accuracies are shares of all answers, and their certificates as far off as exact bounds can be."""
    for i, machine in enumerate(rounded):
        whole_counts(machine.accuracy, n_sequences * n_answers, f"rounded.{i}.accuracy")
    if n_sequences > MOST_COUNTS:
        return
    least, most = widths(n_sequences, level / len(rounded) / n_answers / 2)  # half on each side
    for i, machine in enumerate(rounded):
        width = machine.accuracy - machine.accuracy_lower
        if not least - 1e-9 <= width <= most + 1e-9:
            raise ValueError(
                f"`rounded.{i}.accuracy_lower` must be {least:.6g} to {most:.6g} below its accuracy with {n_sequences} "
                f"sequences; got {width:.6g}"
            )


def check_rounded_entropy(entropy: CertifiedBound | None, needed: RoundedMachine | None, level: float) -> None:
    """The entropy of a rounded state is at most its bits, and its estimate at most its bound."""
    if (entropy is None) != (needed is None):
        raise ValueError("`rounded_entropy_bits` must be there where `needed_bits` is; got one of them")
    if entropy is None or needed is None:
        return
    check_level("rounded_entropy_bits", entropy.confidence, level)
    slack = rounding_slack(needed.total_bits)
    if not entropy.estimate - slack <= entropy.upper <= needed.total_bits + slack:
        raise ValueError(
            f"`rounded_entropy_bits.upper` must be {entropy.estimate:.6g}, its estimate, to "
            f"{needed.total_bits}, the bits of the state; got {entropy.upper:.6g}"
        )
