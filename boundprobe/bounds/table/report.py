"""What can be found, and certified, of a user's own task: one finding per question, each with its evidence."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from boundprobe.bounds.information import binary_entropy_bits
from boundprobe.bounds.state.packing import packing_bits
from boundprobe.bounds.table.facts import TableFacts, table_facts, table_mean_error_bits, table_packing_bits
from boundprobe.bounds.table.test_cover import smallest_separating_set
from boundprobe.bounds.table.vc_dimension import vc_dimension
from boundprobe.checks import check_number
from boundprobe.tasks.custom.task import CustomTask

#: Name and version of the document; its keys are a contract.
SCHEMA = "boundprobe.enumeration/1"

_SAMPLE = "available from a sample only"


@dataclass(frozen=True)
class Finding:
    """One question about a task, and what is known.

    Attributes
    ----------
    name : str
    value : int, float, bool, list of int, or None
        None where it is not known.
    unit : str
    theorem : str
        The statement behind it.
    evidence : str
        ``enumerated``, ``author`` or ``unavailable``.
    note : str
        What was checked, what was not, and what the value says.
    """

    name: str
    value: int | float | bool | list[int] | None
    unit: str
    theorem: str
    evidence: str
    note: str


@dataclass(frozen=True)
class CustomReport:
    """All findings of a user's task, in order.

    Attributes
    ----------
    task_name : str
    source : str
        ``enumerated``, or ``available from a sample only``.
    error : float
        Mean error over defined answers that the bounds are for.
    n_prefixes, n_queries : int
        Prefixes that were enumerated or sampled, and queries.
    findings : tuple of Finding
    """

    task_name: str
    source: str
    error: float
    n_prefixes: int
    n_queries: int
    findings: tuple[Finding, ...]

    def __getitem__(self, name: str) -> Finding:
        """The finding of that name."""
        return next(finding for finding in self.findings if finding.name == name)

    def to_json(self) -> dict[str, object]:
        """The report as plain dicts, lists, numbers and None."""
        return {
            "schema": SCHEMA,
            "source": self.source,
            "error": self.error,
            "n_prefixes": self.n_prefixes,
            "n_queries": self.n_queries,
            **{f.name: {k: v for k, v in dataclasses.asdict(f).items() if k != "name"} for f in self.findings},
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
        A condition that was not checked is never claimed: its finding is ``unavailable``.

    Raises
    ------
    ValueError
        If the task's answers are wrong, or ``error`` or ``time_limit`` is outside its range.

    References
    ----------
    *A user's own task* (section 4 of the theory).

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
    >>> report["packing_bits"].value, report["sensitivity_distance"].evidence
    (2.0, 'enumerated')
    """
    check_number("error", error, least=0, below=1, why="; give a fraction, such as 0.1")
    made, whole = task.material, task.material.sampler is None
    facts = table_facts(made.table)
    findings = [
        *_rows(facts, whole),
        _separating_set(task, whole, time_limit),
        *_vc(task, whole, error),
        Finding(
            "sensitivity_distance", made.pair[0], "tokens", "W1 two points (Theorem 3.7)", _kind(whole),
            _about(whole, "success above 1/2 on two inputs needs sum of (window - 1) of at least this", "at least"),
        ),
        *(_conditions(facts) if whole else ()),
        *_curves(task, facts, whole, error),
    ]  # fmt: skip
    return CustomReport(
        task.name, "enumerated" if whole else _SAMPLE, float(error), facts.n_prefixes, facts.n_queries, tuple(findings)
    )


def _kind(whole: bool) -> str:
    return "enumerated" if whole else "author"


def _about(whole: bool, note: str, side: str = "") -> str:
    """A note, with what a sample makes of the value."""
    return note if whole else f"{_SAMPLE}: {side + ' the value; ' if side else ''}{note}"


def _rows(facts: TableFacts, whole: bool) -> list[Finding]:
    """S4 and injectivity."""
    undefined = "" if facts.all_defined else "; an undefined answer counts as a value of its own"
    rows = Finding(
        "distinct_rows", facts.distinct_rows, "states", "S4 zero error (Assumption 3.2)", _kind(whole),
        _about(whole, f"rows of the answer table{undefined}", "at least"),
    )  # fmt: skip
    bits = Finding(
        "zero_error_bits", facts.zero_error_bits, "bits", "S4 zero error (Assumption 3.2)", _kind(whole),
        _about(whole, "log2 of the rows" if facts.all_defined else
               "log2 of the most rows that are defined at the same queries: holds for machines that may say anything "
               "where nothing is defined", "at least"),
    )  # fmt: skip
    if whole or not facts.injective:
        note = "the queries tell all prefixes apart" if facts.injective else "two prefixes have the same answers"
        injective = Finding(
            "injective", facts.injective, "", "Assumption 3.2", _kind(whole), _about(whole, note + undefined)
        )
    else:
        injective = Finding(
            "injective", None, "", "Assumption 3.2", "unavailable",
            f"{_SAMPLE}: no two prefixes of it have the same answers, which proves nothing of the others",
        )  # fmt: skip
    return [rows, bits, injective]


def _separating_set(task: CustomTask, whole: bool, time_limit: float) -> Finding:
    """A minimum test cover, with the gap that the solver left."""
    found = smallest_separating_set(task.material.table, time_limit)
    said = (
        f"{len(found.queries)} queries tell apart all rows that any queries do; "
        f"at least {found.lower_bound} are needed ({found.method}); gap {found.gap:.3g}"
        f"{', so no set is smaller' if found.optimal else ' within the time limit'}"
    )
    return Finding(
        "separating_set", list(found.queries), "queries", "minimum test cover", _kind(whole), _about(whole, said)
    )


def _vc(task: CustomTask, whole: bool, error: float) -> list[Finding]:
    """VC dimension for binary answers, and the bits that it costs."""
    theorem = "S1 and S3 on a shattered set (Kremer, Nisan, Ron 1999, with constants)"
    found = vc_dimension(task.material.table)
    if found is None:
        note = "for queries with at most two answers, all defined, only"
        return [
            Finding(name, None, unit, theorem, "unavailable", note)
            for name, unit in (("vc_dimension", "queries"), ("vc_bits", "bits"))
        ]
    exact = "exact" if found.exact else (
        f"at least the value and at most {found.upper}: the search stopped after {found.n_tests} sets "
        f"(Sauer-Shelah gives {found.sauer_shelah})"
    )  # fmt: skip
    d = found.lower
    shannon = d * (1.0 - binary_entropy_bits(min(error, 0.5)))
    bits = max(shannon, float(packing_bits(error, d, 2)) if d else 0.0)
    note = "on the worst prefixes and queries: any machine, randomised or not, with at most this error on each"
    return [
        Finding("vc_dimension", d, "queries", theorem, _kind(whole), _about(whole, exact, "at least")),
        Finding("vc_bits", bits, "bits", theorem, _kind(whole), _about(whole, note, "at least")),
    ]


def _conditions(facts: TableFacts) -> list[Finding]:
    """Independence and uniformity of the answers, from whole counts."""
    said = "counted over all prefixes, in whole numbers"
    return [
        Finding("entropy_bits", facts.entropy_bits, "bits", "H(Y_A)" if facts.all_defined else
                "H(Y_A | which are defined)", "enumerated", said),
        Finding("independent", facts.independent, "", "condition of S2", "enumerated", said),
        Finding("uniform_product", facts.uniform_product, "", "condition of S3", "enumerated",
                f"every combination of answers, equally often; {said}"),
    ]  # fmt: skip


def _curves(task: CustomTask, facts: TableFacts, whole: bool, error: float) -> list[Finding]:
    """S1 to S3 at one error, where their conditions hold."""
    fano, rate, ball = "S1 Fano (Theorem 3.3, exact form)", "S2 rate-distortion", "S3 ball packing"
    if not whole:
        case = task.state_case()
        from boundprobe.bounds.state.fano import mean_error_fano_bits

        bits = mean_error_fano_bits(case.entropy_bits, case.n_answers, case.n_values, error)
        note = f"at the entropy that the author gives, {case.entropy_bits:g} bits; nothing of it was checked"
        packed = float(packing_bits(error, case.n_answers, case.n_values)) if case.independent_uniform else None
        return [
            Finding("entropy_bits", case.entropy_bits, "bits", "H(Y_A)", "author", "the sampler's entropy_bits"),
            Finding("fano_bits", bits, "bits", fano, "author", note),
            Finding("rate_distortion_bits", None, "bits", rate, "unavailable", "independence was not checked"),
            Finding("packing_bits", packed, "bits", ball, "unavailable" if packed is None else "author",
                    "the entropy given is not all that the answers can carry" if packed is None else note),
        ]  # fmt: skip
    bits = table_mean_error_bits(facts, error)
    packed = table_packing_bits(facts, error)
    uniform = facts.packs
    return [
        Finding("fano_bits", bits, "bits", fano, "enumerated", "from the joint entropy; needs no independence"),
        Finding("rate_distortion_bits", bits if uniform else None, "bits", rate,
                "enumerated" if uniform else "unavailable",
                "independent uniform answers: the same number as S1" if uniform else
                "independent, not uniform: boundprobe.bounds.rate_distortion gives each answer's" if facts.independent
                else "the answers are not independent"),
        Finding("packing_bits", packed, "bits", ball, "unavailable" if packed is None else "enumerated",
                "every combination of answers, equally often" if packed is not None else
                "the table is no uniform product of equal alphabets"),
    ]  # fmt: skip


def headline(report: CustomReport) -> list[tuple[str, str, str]]:
    """Label, value and source of each finding, for a table.

    Parameters
    ----------
    report : CustomReport

    Returns
    -------
    list of (str, str, str)
    """
    rows = []
    for f in report.findings:
        value = f.value
        if value is None:
            shown = "not available"
        elif isinstance(value, bool):
            shown = "yes" if value else "no"
        elif isinstance(value, list):
            shown = " ".join(map(str, value[:12])) + (" ..." if len(value) > 12 else "")
        else:
            shown = f"{value:.3f}" if isinstance(value, float) and not math.isinf(value) else str(value)
        said = f"; {f.note}" if f.note else ""
        rows.append(
            (
                f.name.replace("_", " "),
                shown if value is None else f"{shown} {f.unit}".strip(),
                f"{f.theorem}; {f.evidence}{said}",
            )
        )
    return rows
