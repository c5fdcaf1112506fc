"""All certified bounds of a user's own task: one bound per question, with its evidence."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from boundprobe.bounds.information import binary_entropy_bits
from boundprobe.bounds.report.bound import Bound, find_bound
from boundprobe.bounds.report.statements import state_bounds
from boundprobe.bounds.state.packing import packing_bits
from boundprobe.bounds.table.facts import TableFacts, table_facts, table_mean_error_bits, table_packing_bits
from boundprobe.bounds.table.test_cover import smallest_separating_set
from boundprobe.bounds.table.vc_dimension import vc_dimension
from boundprobe.checks import check_number
from boundprobe.tasks.custom.task import CustomTask

#: Name and version of the document; its keys are a contract.
SCHEMA = "boundprobe.enumeration/1"

_SAMPLE = "available from a sample only"


#: Bounds by the name that the document gives them, where that is not their key.
_DOCUMENT_NAMES = {key: f"{key}_bits" for key in ("entropy", "fano", "rate_distortion", "packing", "zero_error", "vc")}


@dataclass(frozen=True)
class CustomReport:
    """The bounds of a user's task, in order; ``report["distinct_rows"]`` is one of them.

    Attributes
    ----------
    task_name : str
    source : str
        ``enumerated``, or ``available from a sample only``.
    error : float
        Mean error over defined answers that the bounds are for.
    n_prefixes, n_queries : int
        Prefixes that were enumerated or sampled, and queries.
    bounds : tuple of Bound
    """

    task_name: str
    source: str
    error: float
    n_prefixes: int
    n_queries: int
    bounds: tuple[Bound, ...]

    def __getitem__(self, key: str) -> Bound:
        """The bound of that key.

        Raises
        ------
        KeyError
            If the report has no such bound.
        """
        return find_bound(self.bounds, key)

    def to_json(self) -> dict[str, object]:
        """The report as plain dicts, lists, numbers and None."""
        return {
            "schema": SCHEMA,
            "source": self.source,
            "error": self.error,
            "n_prefixes": self.n_prefixes,
            "n_queries": self.n_queries,
            **{
                _DOCUMENT_NAMES.get(bound.key, bound.key): {
                    "value": bound.value,
                    "unit": bound.statement.unit,
                    "theorem": bound.theorem,
                    "evidence": bound.evidence,
                    "note": bound.note,
                }
                for bound in self.bounds
            },
        }


def custom_report(task: CustomTask, error: float = 0.0, time_limit: float = 10.0) -> CustomReport:
    """Enumerate what a user's task says, or look at a sample where its prefixes come from a sampler.

    Parameters
    ----------
    task : CustomTask
    error : float, in [0, 1)
        Mean error over defined answers.
    time_limit : float, in seconds
        For the search of a smallest separating set of queries.

    Returns
    -------
    CustomReport
        A condition that was not checked is never claimed: its bound is ``unavailable``.

    Raises
    ------
    ValueError
        If the task's answers are wrong, or ``error`` or ``time_limit`` is outside its range.

    References
    ----------
    *A user's own task*, by enumeration (docs/tasks.md).

    Examples
    --------
    >>> from boundprobe.tasks.custom.task import wrap_task
    >>> class Recall:
    ...     def prefixes(self):
    ...         return [(a, b) for a in (0, 1) for b in (0, 1)]
    ...
    ...     def queries(self):
    ...         return [(2,), (3,)]
    ...
    ...     def answer(self, prefix, query):
    ...         return prefix[query[0] - 2]
    >>> report = custom_report(wrap_task(Recall()))
    >>> report["distinct_rows"].value, report["injective"].value, report["vc_dimension"].value
    (4, True, 2)
    >>> report["packing"].value, report["sensitivity_distance"].evidence
    (2.0, 'enumerated')
    """
    check_number("error", error, least=0, below=1)
    made, whole = task.enumerated, task.enumerated.sampler is None
    facts = table_facts(made.table)
    pair = _about(whole, "success above 1/2 on two inputs needs sum of (window - 1) of at least this", "at least")
    bounds = [
        *_rows(facts, whole),
        _separating_set(task, whole, time_limit),
        *_vc(task, whole, error),
        Bound("sensitivity_distance", made.pair[0], _kind(whole), note=pair),
        *(_enumerated(facts, error) if whole else _by_the_author(task, error)),
    ]
    return CustomReport(
        task.name, "enumerated" if whole else _SAMPLE, float(error), facts.n_prefixes, facts.n_queries, tuple(bounds)
    )


def _kind(whole: bool) -> str:
    return "enumerated" if whole else "author"


def _about(whole: bool, note: str, side: str = "") -> str:
    """A note, with what a sample makes of the value."""
    return note if whole else f"{_SAMPLE}: {side + ' the value; ' if side else ''}{note}"


def _rows(facts: TableFacts, whole: bool) -> list[Bound]:
    """S4 and injectivity."""
    undefined = "" if facts.all_defined else "; an undefined answer counts as a value of its own"
    least = (
        "log2 of the rows" if facts.all_defined else
        "log2 of the most rows that are defined at the same queries: holds for machines that may say anything where "
        "nothing is defined"
    )  # fmt: skip
    if whole or not facts.injective:
        note = "the queries tell all prefixes apart" if facts.injective else "two prefixes have the same answers"
        injective = Bound("injective", facts.injective, _kind(whole), note=_about(whole, note + undefined))
    else:
        note = f"{_SAMPLE}: no two prefixes of it have the same answers, which proves nothing of the others"
        injective = Bound("injective", None, "unavailable", note=note)
    return [
        Bound("distinct_rows", facts.distinct_rows, _kind(whole),
              note=_about(whole, f"rows of the answer table{undefined}", "at least")),
        Bound("zero_error", facts.zero_error_bits, _kind(whole), note=_about(whole, least, "at least")),
        injective,
    ]  # fmt: skip


def _separating_set(task: CustomTask, whole: bool, time_limit: float) -> Bound:
    """A minimum test cover, with the gap that the solver left."""
    found = smallest_separating_set(task.enumerated.table, time_limit)
    said = (
        f"{len(found.queries)} queries tell apart all rows that any queries do; "
        f"at least {found.lower_bound} are needed ({found.method}); gap {found.gap:.3g}"
        f"{', so no set is smaller' if found.optimal else ' within the time limit'}"
    )
    return Bound("separating_set", list(found.queries), _kind(whole), note=_about(whole, said))


def _vc(task: CustomTask, whole: bool, error: float) -> list[Bound]:
    """VC dimension for binary answers, and the bits that it costs."""
    found = vc_dimension(task.enumerated.table)
    if found is None:
        note = "for queries with at most two answers, all defined, only"
        return [Bound(key, None, "unavailable", note=note) for key in ("vc_dimension", "vc")]
    exact = "exact" if found.exact else (
        f"at least the value and at most {found.upper}: the search stopped after {found.n_tests} sets "
        f"(Sauer-Shelah gives {found.sauer_shelah})"
    )  # fmt: skip
    d = found.lower
    shannon = d * (1.0 - binary_entropy_bits(min(error, 0.5)))
    bits = max(shannon, float(packing_bits(error, d, 2)) if d else 0.0)
    note = "on the worst prefixes and queries: any machine, randomised or not, with at most this error on each"
    return [
        Bound("vc_dimension", d, _kind(whole), note=_about(whole, exact, "at least")),
        Bound("vc", bits, _kind(whole), note=_about(whole, note, "at least")),
    ]


def _enumerated(facts: TableFacts, error: float) -> list[Bound]:
    """Conditions from whole counts, and S1 to S3 at one error where they hold."""
    said = "counted over all prefixes, in whole numbers"
    given = "" if facts.all_defined else "given which answers are defined, H(Y_A | D); "
    among_defined = "" if facts.all_defined else "; the mean error here is over defined answers alone"
    bits, packed, packs = table_mean_error_bits(facts, error), table_packing_bits(facts, error), facts.packs
    rate = (
        "independent uniform answers: the same number as S1" if packs else
        "independent, not uniform: boundprobe.bounds.rate_distortion gives each answer's" if facts.independent else
        "the answers are not independent"
    )  # fmt: skip
    ball = (
        "the table is no uniform product of equal alphabets" if packed is None else
        "every combination of answers, equally often"
    )  # fmt: skip
    return [
        Bound("entropy", facts.entropy_bits, "enumerated", note=given + said),
        Bound("independent", facts.independent, "enumerated", note=said),
        Bound("uniform_product", facts.uniform_product, "enumerated",
              note=f"every combination of answers, equally often; {said}"),
        Bound("fano", bits, "enumerated", note=f"from the joint entropy; needs no independence{among_defined}"),
        Bound("rate_distortion", bits if packs else None, "enumerated" if packs else "unavailable", note=rate),
        Bound("packing", packed, "unavailable" if packed is None else "enumerated", note=ball),
    ]  # fmt: skip


def _by_the_author(task: CustomTask, error: float) -> list[Bound]:
    """S1 to S3 at the entropy that a sampler states."""
    case = task.state_case()
    stated = f"at the entropy that you state, {case.entropy_bits:g} bits; nothing of it was checked"
    most = case.n_answers * math.log2(case.n_values)
    below = (
        f"the entropy that you state, {case.entropy_bits:g} bits, must be all that {case.n_answers} answers of "
        f"{case.n_values} values can carry, {most:g} bits: K = {case.n_values} is the sampler's n_values or, without "
        "it, vocab_size"
    )
    notes = {
        "fano": stated,
        "rate_distortion": "independence was not checked",
        "packing": stated if case.independent_uniform else below,
    }
    found = {bound.key: bound for bound in state_bounds(case, error, "author")}
    found["rate_distortion"] = Bound("rate_distortion", None, "unavailable")
    return [
        Bound("entropy", case.entropy_bits, "author", note="given which answers are defined; the sampler's word"),
        *(dataclasses.replace(found[key], note=note) for key, note in notes.items()),
    ]


def headline(report: CustomReport) -> list[tuple[str, str, str]]:
    """Label, value and source of each bound, for a table.

    Parameters
    ----------
    report : CustomReport

    Returns
    -------
    list of (str, str, str)
    """
    rows = []
    for bound in report.bounds:
        value = bound.value
        if value is None:
            shown = "not available"
        elif isinstance(value, bool):
            shown = "yes" if value else "no"
        elif isinstance(value, list):
            shown = " ".join(map(str, value[:12])) + (" ..." if len(value) > 12 else "")
        else:
            shown = f"{value:.3f}" if isinstance(value, float) and not math.isinf(value) else str(value)
        # "author" is the sampler's word for some bounds; others were counted in a sample, as their notes say.
        known = "stated by you" if bound.evidence == "author" else bound.evidence
        known = f"{bound.theorem}; {known}" if _SAMPLE not in bound.note else bound.theorem
        said = f"; {bound.note}" if bound.note else ""
        rows.append(
            (
                _DOCUMENT_NAMES.get(bound.key, bound.key).replace("_", " "),
                shown if value is None else f"{shown} {bound.statement.unit}".strip(),
                f"{known}{said}",
            )
        )
    return rows
