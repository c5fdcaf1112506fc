"""D1: what each diagonal cut demands of a model, and the accuracy that it allows.

The answers whose tokens lie D or more before the query, m of n, are functions of what crosses a cut of lag D and of
the tokens after its start.  So S1 and S3 hold for them with the bits across the cut in place of those of the state, and
the mean error over all n answers is at least m / n times the error of those.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boundprobe.bounds.diagonal.cuts import Crossing, DiagonalCuts
from boundprobe.bounds.diagonal.stages import Stage
from boundprobe.bounds.information import error_rates
from boundprobe.bounds.state.fano import fano_accuracy_ceiling, packing_accuracy_ceiling, required_bits
from boundprobe.tasks.cases import StateCase

#: Cuts that are evaluated, at most; more lags than that are thinned evenly, the first and the last kept.
MOST_CUTS = 128


@dataclass(frozen=True)
class DiagonalBound:
    """One diagonal cut of a model under a task.

    Attributes
    ----------
    crossing : Crossing
        Of the cuts of this lag, the one that fewest bits cross.
    far_answers : int
        Answers whose tokens lie that far from the query, m.
    required_bits : float
        Bits that must cross it for the error that is allowed.
    accuracy_ceiling : float
        Best mean accuracy, over all answers, that its bits allow.
    """

    crossing: Crossing
    far_answers: int
    required_bits: float
    accuracy_ceiling: float

    @property
    def lag(self) -> int:
        """Tokens from the start of the cut to the query, D."""
        return self.crossing.lag

    def to_json(self) -> dict[str, float]:
        """The cut as ``boundprobe bounds --model`` has it."""
        return {
            "lag": self.lag,
            "far_answers": self.far_answers,
            "recurrent_bits": self.crossing.recurrent_bits,
            "conv_bits": self.crossing.conv_bits,
            "cache_bits": self.crossing.cache_bits,
            "required_bits": self.required_bits,
            "accuracy_ceiling": self.accuracy_ceiling,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> DiagonalBound:
        """Read a cut back; the lags of its stages are not in the document."""
        bits = (document[f"{kind}_bits"] for kind in ("recurrent", "conv", "cache"))
        crossing = Crossing((document["lag"],), *bits)
        return cls(crossing, document["far_answers"], document["required_bits"], document["accuracy_ceiling"])


@dataclass(frozen=True)
class FrontierPoint:
    """Least recurrent bits at one reach.

    Attributes
    ----------
    reach : int
        Sum over layers of (window - 1), convolutions included, in tokens.
    far_answers : int
        Answers whose tokens lie that far from the query.
    required_bits : float
        Bits that must cross in recurrent states, as windows and convolutions carry nothing that far.
    """

    reach: int
    far_answers: int
    required_bits: float


def diagonal_bounds(
    case: StateCase, stages: Sequence[Stage], prefix_len: int, error: float = 0.0
) -> tuple[DiagonalBound, ...]:
    """Evaluate the diagonal cuts of a stack; the first is the binding one, which allows least.

    Of the lags that leave equally many answers far away the greatest is taken, as fewest bits cross there.  Where the
    places of a task's answers are not known there is the vertical cut alone, lag 0.

    Parameters
    ----------
    case : StateCase
    stages : sequence of Stage
        Of the model, from input to output.
    prefix_len : int, in tokens
        P, tokens before the query.
    error : float, in [0, 1]
        Mean error that is allowed.

    Returns
    -------
    tuple of DiagonalBound
        By ceiling, the lowest first; among equals by bits that are missing or left, the fewest left first.

    Raises
    ------
    ValueError
        If a number is outside its range.

    References
    ----------
    Statement D1 (docs/theory/bounds.md); Cooper, Diakonikolas, Ma, Sala 2026 (arXiv 2603.08859), Theorems 3.3 and 3.7,
    are its ends.

    Examples
    --------
    Ten letters of 36, a window of 6 on a recurrence of 20 bits: five letters are out of sight and take 25.8 bits.

    >>> from boundprobe.bounds.diagonal import Stage, Window
    >>> from boundprobe.tasks import SelectiveCopying
    >>> stages = [Stage(recurrent_bits=20), Stage((Window("cache", 512, 5),))]
    >>> task = SelectiveCopying()
    >>> first = diagonal_bounds(task.state_case(), stages, task.prefix_len)[0]
    >>> first.lag, first.far_answers, round(first.required_bits, 2), first.crossing.total_bits
    (5, 5, 25.85, 20)
    """
    error_rates(error)
    cuts = DiagonalCuts(stages, prefix_len, _most_lag(case))
    bits = cuts.total_bits
    found = []
    for lag in _lags(case, cuts.most_lag):
        far = case.beyond(lag) if lag else case
        if far is not None:
            ceiling = 1 - far.n_answers / case.n_answers * (1 - _far_ceiling(far, float(bits[lag])))
            found.append((ceiling, float(bits[lag]) - _required(case, far, error), lag, far.n_answers))
    return tuple(
        DiagonalBound(cuts.crossing(lag), n_far, float(bits[lag]) - spare, ceiling)
        for ceiling, spare, lag, n_far in sorted(found)
    )


def frontier(case: StateCase, reaches: Iterable[int] | None = None, error: float = 0.0) -> tuple[FrontierPoint, ...]:
    """Least bits of recurrent state for each reach of the windows.

    Parameters
    ----------
    case : StateCase
    reaches : iterable of int, in tokens, optional
        Default: 0, and each at which one answer more comes into sight.
    error : float, in [0, 1]
        Mean error over all answers that is allowed.

    Raises
    ------
    ValueError
        If it is not known where a task's answers lie.

    Examples
    --------
    A token of window is worth log2 q bits of state:

    >>> from boundprobe.tasks import SelectiveCopying
    >>> case = SelectiveCopying(n_numbers=4, n_letters=4, seq_len=20).state_case()
    >>> [(point.reach, round(point.required_bits, 6)) for point in frontier(case)]
    [(0, 12.0), (1, 9.0), (2, 6.0), (3, 3.0), (4, 0.0)]
    """
    error_rates(error)
    if case.places is None:
        raise ValueError(
            "the task must have its answers' tokens at known distances from the query for a frontier; got one whose "
            "places are not known"
        )
    if reaches is None:
        distances = np.unique(case.places.distances())
        reaches = _thinned(np.unique(np.concatenate([[0], distances + 1])))
    points = []
    for reach in reaches:
        far = case.beyond(reach) if reach else case
        points.append(
            FrontierPoint(int(reach), 0, 0.0)
            if far is None
            else FrontierPoint(int(reach), far.n_answers, _required(case, far, error))
        )
    return tuple(points)


def _far_ceiling(far: StateCase, bits: float) -> float:
    """Best accuracy over the far answers: S3 where it holds, as it is at least as strong as S1."""
    if bits >= far.entropy_bits:
        return 1.0
    if far.independent_uniform:
        return float(packing_accuracy_ceiling(bits, far.n_answers, far.n_values))
    return float(fano_accuracy_ceiling(bits, far.entropy_bits, far.n_answers, far.n_values))


def _required(case: StateCase, far: StateCase, error: float) -> float:
    """Bits for a mean error over all answers, if every error is among the far ones."""
    return float(required_bits(far, min(1.0, error * case.n_answers / far.n_answers)))


def _most_lag(case: StateCase) -> int:
    """The greatest lag at which an answer is still far away."""
    places = case.places
    return 0 if places is None else places.nearest + (places.n_blocks - 1) * places.block_len + places.width - 1


def _lags(case: StateCase, most_lag: int) -> list[int]:
    """For each number of far answers the greatest lag at which so many are."""
    if case.places is None or not most_lag:
        return [0]
    distances = case.places.distances()
    return [int(lag) for lag in _thinned(np.unique(np.append(distances[distances <= most_lag], most_lag)))]


def _thinned(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """At most ``MOST_CUTS`` of them, evenly, the first and the last among them."""
    if len(values) <= MOST_CUTS:
        return values
    return values[np.linspace(0, len(values) - 1, MOST_CUTS).round().astype(np.int64)]
