"""All bounds of one task in one object: what `boundprobe bounds` prints, and its JSON."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from boundprobe.bounds.report.bound import Bound
from boundprobe.bounds.report.statements import state_statements, window_statements
from boundprobe.bounds.state.fano import (
    fano_accuracy_ceiling,
    mean_error_fano_bits,
    packing_accuracy_ceiling,
    store_some_accuracy,
)
from boundprobe.bounds.state.packing import packing_bits
from boundprobe.bounds.window import blind_accuracy, min_receptive_field, min_sum_window_minus_one
from boundprobe.checks import check_integer, check_number
from boundprobe.tasks.base import AbstractTask
from boundprobe.tasks.cases import StateCase

#: Name and version of the JSON document; its keys are a contract.
SCHEMA = "boundprobe.bounds/1"


@dataclass(frozen=True)
class StateBounds:
    """Bits that a state at the cut must hold, each number with its theorem and how it is known.

    Attributes
    ----------
    entropy_bits, fano_bits, packing_bits, zero_error_bits : float or None, in bits
        Joint entropy of all answers; S1; S3 (None where its condition does not hold); S4.
    theorem : dict of str
        The statement behind each number, by its name.
    evidence : dict of str
        ``proved``, ``enumerated``, ``author`` or ``unavailable``, by the number's name.
    vacuous : tuple of str
        Names of the bounds that came out at 0, which say nothing.
    """

    entropy_bits: float
    fano_bits: float
    packing_bits: float | None
    zero_error_bits: float
    theorem: dict[str, str]
    evidence: dict[str, str]
    vacuous: tuple[str, ...]


@dataclass(frozen=True)
class WindowBounds:
    """Tokens that a windowed stack must see, and its best accuracy when the control part is out of sight.

    Attributes
    ----------
    min_receptive_field : int, in tokens
        d + 1, the last position included.
    min_sum_window_minus_one : int, in tokens
        d: a window of w sees itself and the w - 1 before it.
    blind_accuracy : float
        Best accuracy on the window-hard distribution without the control part.
    theorem : str
    """

    min_receptive_field: int
    min_sum_window_minus_one: int
    blind_accuracy: float
    theorem: str


@dataclass(frozen=True)
class AccuracyCurves:
    """Accuracy against bits of state, from none to the entropy of all answers.

    Attributes
    ----------
    bits : list of float, in bits
    accuracy_ceiling_fano : list of float
        Best accuracy that S1 allows.
    accuracy_ceiling_packing : list of float, or None where S3 does not hold
    accuracy_floor_strategy : list of float, or None where S3 does not hold
        What keeping some coordinates exactly and guessing the rest gives.
    """

    bits: list[float]
    accuracy_ceiling_fano: list[float]
    accuracy_ceiling_packing: list[float] | None
    accuracy_floor_strategy: list[float] | None


@dataclass(frozen=True)
class BoundsReport:
    """Every bound of one task at one error.

    Attributes
    ----------
    task_name : str
    task_parameters : dict
    error : float
        Mean error over the queries that the state bounds are for.
    state : StateBounds
    window : WindowBounds
    curves : AccuracyCurves or None
        None where no curves were asked for.
    bounds : tuple of Bound
        S1 to S5, W1 and W2, each with its assumptions and evidence.
    """

    task_name: str
    task_parameters: dict[str, object]
    error: float
    state: StateBounds
    window: WindowBounds
    curves: AccuracyCurves | None = None
    bounds: tuple[Bound, ...] = ()

    def to_json(self) -> dict[str, object]:
        """The document ``boundprobe.bounds/1`` as plain dicts, lists, numbers and None.

        ``curves`` is there only if curves were asked for.
        """
        state = dataclasses.asdict(self.state)
        state["vacuous"] = list(self.state.vacuous)
        document: dict[str, object] = {
            "schema": SCHEMA,
            "task": {"name": self.task_name, "parameters": dict(self.task_parameters)},
            "error": self.error,
            "state": state,
            "window": dataclasses.asdict(self.window),
        }
        if self.curves is not None:
            document["curves"] = dataclasses.asdict(self.curves)
        return document


def bounds_report(task: AbstractTask, error: float = 0.0, curve_points: int | None = None) -> BoundsReport:
    """All bounds of a task: S1 to S5 for its state, W1 and W2 for its window.

    Parameters
    ----------
    task : AbstractTask
    error : float, in [0, 1)
        Mean error over the queries that is to be allowed.
    curve_points : int or None, at least 2
        Number of points of the accuracy curves, evenly spaced in bits; None for no curves.

    Returns
    -------
    BoundsReport

    Raises
    ------
    ValueError
        If ``error`` or ``curve_points`` is outside its range.

    References
    ----------
    Statements S1 to S5, W1, W2; Cooper, Diakonikolas, Ma, Sala 2026 (arXiv 2603.08859), Theorems 3.3, 3.7.

    Examples
    --------
    >>> from boundprobe.tasks import AssociativeRecallDecoding
    >>> round(bounds_report(AssociativeRecallDecoding(), error=0.1).state.fano_bits, 6)
    50.245046
    """
    error = check_number("error", error, least=0, below=1, why="; give a fraction, such as 0.1")
    if curve_points is not None:
        check_integer("curve_points", curve_points, 2, why=", or None for no curve; take e.g. 101")
    state_case, window_case, evidence = task.state_case(), task.window_case(), _evidence(task)
    window = WindowBounds(
        min_receptive_field=min_receptive_field(window_case),
        min_sum_window_minus_one=min_sum_window_minus_one(window_case),
        blind_accuracy=blind_accuracy(window_case),
        theorem=f"W1 two points and W2 exact ceiling ({window_case.theorem})",
    )
    return BoundsReport(
        task_name=task.name,
        task_parameters=task.parameters(),
        error=error,
        state=_state_bounds(state_case, error, evidence),
        window=window,
        curves=None if curve_points is None else _curves(state_case, curve_points),
        bounds=state_statements(state_case, error, evidence) + window_statements(window_case, evidence),
    )


def _state_bounds(case: StateCase, error: float, evidence: str) -> StateBounds:
    """The four numbers of the state-hard case, with their theorems and evidence."""
    fano = mean_error_fano_bits(case.entropy_bits, case.n_answers, case.n_values, error)
    packing = packing_bits(error, case.n_answers, case.n_values) if case.independent_uniform else None
    theorem = {
        "entropy_bits": f"joint entropy of all answers, H(Y_A) ({case.theorem})",
        "fano_bits": "S1 Fano (Theorem 3.3, exact form)",
        "packing_bits": "S3 ball packing (Theorem 3.3, one-shot form)",
        "zero_error_bits": "S4 zero error (Assumption 3.2, distinct rows of the answer table)",
    }
    kinds = dict.fromkeys(theorem, evidence)
    if packing is None:
        kinds["packing_bits"] = "unavailable"
    bounds = {"fano_bits": fano, "packing_bits": packing}
    return StateBounds(
        entropy_bits=case.entropy_bits,
        fano_bits=fano,
        packing_bits=packing,
        zero_error_bits=case.zero_error_bits,
        theorem=theorem,
        evidence=kinds,
        vacuous=tuple(name for name, bits in bounds.items() if bits == 0.0),
    )


def _curves(case: StateCase, n_points: int) -> AccuracyCurves:
    """Accuracy ceilings and the store-some strategy at evenly spaced numbers of bits."""
    bits = np.linspace(0.0, case.entropy_bits, n_points)
    fano = fano_accuracy_ceiling(bits, case.entropy_bits, case.n_answers, case.n_values)
    packing = strategy = None
    if case.independent_uniform:
        packing = packing_accuracy_ceiling(bits, case.n_answers, case.n_values).tolist()
        strategy = store_some_accuracy(bits, case.n_answers, case.n_values).tolist()
    return AccuracyCurves(bits.tolist(), fano.tolist(), packing, strategy)


def _evidence(task: AbstractTask) -> str:
    """``proved`` for this package's tasks, whose cases its tests enumerate; a custom task says what it has checked."""
    # Imported here: a user's task may be built on boundprobe.bounds, which would close a circle of imports.
    from boundprobe.tasks.custom.task import CustomTask
    from boundprobe.tasks.registry import TASKS

    if isinstance(task, CustomTask):
        return task.evidence
    return "proved" if type(task) in TASKS.values() else "author"
