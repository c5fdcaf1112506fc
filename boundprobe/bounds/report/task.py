"""All bounds of one task in one object, with its table and its JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from boundprobe.bounds.report.bound import Bound, find_bound
from boundprobe.bounds.report.statements import state_bounds, window_bounds
from boundprobe.bounds.state.fano import (
    fano_accuracy_ceiling,
    packing_accuracy_ceiling,
    store_some_accuracy,
)
from boundprobe.checks import MOST_CURVE_POINTS, check_integer, check_number
from boundprobe.tasks.base import AbstractTask
from boundprobe.tasks.cases import StateCase, WindowCase
from boundprobe.tasks.custom.task import CustomTask
from boundprobe.tasks.registry import TASKS

#: Name and version of the JSON document; its keys are a contract.
SCHEMA = "boundprobe.bounds/1"


class StateBounds(NamedTuple):
    """Bits that a state at the cut must hold, as numbers; ``BoundsReport`` has each with its theorem.

    Attributes
    ----------
    entropy_bits, fano_bits, packing_bits, zero_error_bits : float or None, in bits
        Joint entropy of all answers; S1; S3 (None where its condition does not hold); S4.
    """

    entropy_bits: float
    fano_bits: float
    packing_bits: float | None
    zero_error_bits: float


class WindowBounds(NamedTuple):
    """Tokens that a windowed stack must see, and its best accuracy when the control part is out of sight.

    Attributes
    ----------
    min_receptive_field : int, in tokens
        d + 1, the last position included.
    min_sum_window_minus_one : int, in tokens
        d: a window of w sees itself and the w - 1 before it.
    blind_accuracy : float
        Best accuracy on the window-hard distribution without the control part.
    """

    min_receptive_field: int
    min_sum_window_minus_one: int
    blind_accuracy: float


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


#: Key in the document to the bound that it is.
_STATE_KEYS = {
    "entropy_bits": "entropy",
    "fano_bits": "fano",
    "packing_bits": "packing",
    "zero_error_bits": "zero_error",
}


@dataclass(frozen=True)
class BoundsReport:
    """Every bound of one task at one error; ``report["fano"]`` is one of them.

    Attributes
    ----------
    task_name : str
    task_parameters : dict
    error : float
        Mean error over the queries that the state bounds are for.
    state_case : StateCase
    window_case : WindowCase
    entropy : Bound
        Joint entropy of all answers.
    bounds : tuple of Bound
        S1 to S5, W1 and W2, each with its assumptions and evidence.
    curves : AccuracyCurves or None
        None where no curves were asked for.
    """

    task_name: str
    task_parameters: dict[str, object]
    error: float
    state_case: StateCase
    window_case: WindowCase
    entropy: Bound
    bounds: tuple[Bound, ...]
    curves: AccuracyCurves | None = None

    def __getitem__(self, key: str) -> Bound:
        """The bound of that key, such as "fano", "packing" or "receptive_field".

        Raises
        ------
        ValueError
            If the report has no such bound; it lists those that it has.
        """
        return find_bound((self.entropy, *self.bounds), key)

    def __contains__(self, key: object) -> bool:
        """Return whether there is a bound of that key."""
        return key in self.keys()

    def __iter__(self) -> Iterator[str]:
        """Over the keys, as a mapping does."""
        return iter(self.keys())

    def keys(self) -> tuple[str, ...]:
        """Keys of all bounds."""
        return tuple(bound.key for bound in (self.entropy, *self.bounds))

    @property
    def state(self) -> StateBounds:
        """The numbers for the state."""
        packing = self["packing"]
        return StateBounds(
            entropy_bits=self.entropy.number,
            fano_bits=self["fano"].number,
            packing_bits=None if packing.value is None else packing.number,
            zero_error_bits=self["zero_error"].number,
        )

    @property
    def window(self) -> WindowBounds:
        """The numbers for the window."""
        reach, sum_of_windows = self["receptive_field"], self["sum_window_minus_one"]
        return WindowBounds(int(reach.number), int(sum_of_windows.number), self["blind_accuracy"].number)

    @property
    def window_theorem(self) -> str:
        """The theorems behind the numbers for the window, and the one that the case comes from."""
        return f"W1 two points and W2 exact ceiling ({self.window_case.theorem})"

    def to_json(self) -> dict[str, object]:
        """The document ``boundprobe.bounds/1`` as plain dicts, lists, numbers and None.

        ``curves`` is there only if curves were asked for.
        """
        bounds = {name: self[key] for name, key in _STATE_KEYS.items()}
        theorems = {name: bound.theorem for name, bound in bounds.items()}
        theorems["entropy_bits"] += f" ({self.state_case.theorem})"
        state: dict[str, object] = {
            **self.state._asdict(),
            "theorem": theorems,
            "evidence": {name: bound.evidence for name, bound in bounds.items()},
            "vacuous": [name for name in ("fano_bits", "packing_bits") if bounds[name].vacuous],
        }
        window = {**self.window._asdict(), "theorem": self.window_theorem}
        document: dict[str, object] = {
            "schema": SCHEMA,
            "task": {"name": self.task_name, "parameters": dict(self.task_parameters)},
            "error": self.error,
            "state": state,
            "window": window,
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
    curve_points : int or None, from 2 to 100,000
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
    error = check_number("error", error, least=0, below=1)
    if curve_points is not None:
        check_integer("curve_points", curve_points, 2, MOST_CURVE_POINTS, why=", or None for no curve; take e.g. 101")
    state_case, window_case, evidence = task.state_case(), task.window_case(), _evidence(task)
    return BoundsReport(
        task_name=task.name,
        task_parameters=task.parameters(),
        error=error,
        state_case=state_case,
        window_case=window_case,
        entropy=Bound("entropy", state_case.entropy_bits, evidence),
        bounds=state_bounds(state_case, error, evidence) + window_bounds(window_case, evidence),
        curves=None if curve_points is None else _curves(state_case, curve_points),
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
    if isinstance(task, CustomTask):
        return task.evidence
    return "proved" if type(task) in TASKS.values() else "author"
