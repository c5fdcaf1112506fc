"""Decide from a model's sizes alone whether a bound rules out the target accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from boundprobe.bounds.diagonal.ceiling import DiagonalBound, diagonal_bounds
from boundprobe.bounds.diagonal.stages import Stage
from boundprobe.bounds.report.bound import Bound
from boundprobe.bounds.state.fano import fano_accuracy_ceiling, packing_accuracy_ceiling
from boundprobe.bounds.window import min_receptive_field, receptive_field, window_accuracy_ceiling
from boundprobe.checks import check_integer
from boundprobe.tasks.base import AbstractTask, check_distribution
from boundprobe.tasks.cases import StateCase, WindowCase

CAN_PASS, MUST_FAIL, UNDECIDED = "can pass", "must fail", "undecided"

#: The distributions that verdicts are for.
HARD_DISTRIBUTIONS = ("state-hard", "window-hard", "mixture")

#: Ceilings are right to about 1e-11; a target above one by less is not called impossible.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Witness:
    """Proof that models of some sizes reach an accuracy: the evidence for ``can pass``.

    Attributes
    ----------
    distribution : str
    accuracy : float, a probability
        Accuracy of weights that fit the sizes in question.
    argument : str
        The construction or theorem that gives those weights.
    """

    distribution: str
    accuracy: float
    argument: str


@dataclass(frozen=True)
class Verdict:
    """Decide from sizes alone whether an accuracy on one hard distribution is ruled out.

    Attributes
    ----------
    distribution : str
    target_accuracy : float, a probability
    ceilings : tuple of Bound
        Upper bounds on the accuracy of a model of these sizes; where there are several, the model is asked on equal
        shares of their distributions.
    witness : Witness or None
        The most accurate construction of these sizes.

    Raises
    ------
    ValueError
        If the witness claims more than the ceiling allows.
    """

    distribution: str
    target_accuracy: float
    ceilings: tuple[Bound, ...]
    witness: Witness | None = None

    def __post_init__(self) -> None:
        if self.witness is not None and self.witness.accuracy > self.ceiling_accuracy + _ROUNDING:
            raise ValueError(
                f"the accuracy of witness {self.witness.argument!r} on {self.distribution} must be at most "
                f"{self.ceiling_accuracy:.6f} by {self.theorem}; got {self.witness.accuracy!r}. One of the two is "
                "wrong."
            )

    @property
    def ceiling_accuracy(self) -> float:
        """The best accuracy that the bounds allow."""
        return sum(ceiling.number for ceiling in self.ceilings) / len(self.ceilings)

    @property
    def verdict(self) -> str:
        """``must fail`` rests on a bound, ``can pass`` on a witness.

        ``undecided`` says only that no bound here forbids it: enough bits and enough sight make some machine right,
        not this model.
        """
        if self.witness is not None and self.witness.accuracy >= self.target_accuracy:
            return CAN_PASS
        return MUST_FAIL if self.ceiling_accuracy < self.target_accuracy - _ROUNDING else UNDECIDED

    @property
    def theorem(self) -> str:
        """The theorems that give the ceiling."""
        if len(self.ceilings) == 1:
            return self.ceilings[0].theorem
        return "; ".join(ceiling.theorem for ceiling in self.ceilings if ceiling.number < 1.0) or "S1, S3, W2"

    @property
    def reason(self) -> str:
        """In words, with the numbers."""
        if self.verdict == CAN_PASS and self.witness is not None:
            return self.witness.argument
        shares = "half state-hard, half window-hard: the mean of their ceilings"
        why = self.ceilings[0].note if len(self.ceilings) == 1 else shares
        return f"no bound forbids it: {why}" if self.verdict == UNDECIDED else why

    def to_json(self) -> dict[str, object]:
        """The verdict as ``boundprobe bounds --model`` has it."""
        return {
            "distribution": self.distribution,
            "verdict": self.verdict,
            "target_accuracy": self.target_accuracy,
            "ceiling_accuracy": self.ceiling_accuracy,
            "theorem": self.theorem,
            "reason": self.reason,
        }


def model_verdicts(
    task: AbstractTask,
    windows: Sequence[int | None],
    state_bits: int,
    target_accuracy: float = 1.0,
    witnesses: Sequence[Witness] = (),
    stages: Sequence[Stage] = (),
) -> tuple[Verdict, ...]:
    """Verdicts on state-hard, window-hard and mixture for a model of given sizes.

    The state-hard ceiling is that of S1, and of S3 where it holds, at the bits of the state at the cut, or that of a
    diagonal cut (D1) where the stages of the model are given and one allows less; the window-hard one is W2's at the
    receptive field; the mixture is half of each, so its ceiling is their mean.

    Parameters
    ----------
    task : AbstractTask
    windows : sequence of int or None, in tokens
        One per layer, itself and the window - 1 before it; None for a recurrent layer.
    state_bits : int, in bits, at least 0
        Nominal bits of the whole state at the cut, caches included: an upper bound on log2 of its values.
    target_accuracy : float, in (0, 1]
        What counts as passing.
    witnesses : sequence of Witness
        Constructions that fit these sizes, for ``can pass``.
    stages : sequence of Stage
        Of the model, for its diagonal cuts (``boundprobe.models.model_stages``).

    Returns
    -------
    tuple of Verdict

    Raises
    ------
    ValueError
        If a number is outside its range, or a witness claims more than the ceiling allows.

    References
    ----------
    Statements S1, S3, W2 and D1; Cooper, Diakonikolas, Ma, Sala 2026 (arXiv 2603.08859), Theorems 3.3 and 3.7,
    Lemma 3.5.

    Examples
    --------
    >>> from boundprobe.tasks import SelectiveCopying
    >>> for found in model_verdicts(SelectiveCopying(), windows=(32, 32), state_bits=10_000):
    ...     print(found.distribution, found.verdict, round(found.ceiling_accuracy, 6))
    state-hard undecided 1.0
    window-hard must fail 0.201518
    mixture must fail 0.600759
    """
    if not 0.0 < target_accuracy <= 1.0:
        raise ValueError(f"`target_accuracy` must be above 0 and at most 1; got {target_accuracy!r}.")
    check_integer("state_bits", state_bits, 0)
    state = _state_ceiling(task.state_case(), state_bits)
    if stages:
        binding = diagonal_bounds(task.state_case(), stages, task.prefix_len, 1.0 - target_accuracy)[0]
        state = _diagonal_ceiling(binding) if binding.accuracy_ceiling < state.number - _ROUNDING else state
    window = _window_ceiling(task.window_case(), receptive_field(windows))
    ceilings = {"state-hard": (state,), "window-hard": (window,), "mixture": (state, window)}
    best = {name: _best(name, witnesses) for name in ceilings}
    return tuple(Verdict(name, target_accuracy, ceilings[name], best[name]) for name in ceilings)


def _best(name: str, witnesses: Sequence[Witness]) -> Witness | None:
    """The most accurate witness on one distribution."""
    fitting = [w for w in witnesses if check_distribution(w.distribution, HARD_DISTRIBUTIONS) == name]
    return max(fitting, key=lambda witness: witness.accuracy, default=None)


def _state_ceiling(case: StateCase, state_bits: int) -> Bound:
    """The lower of the ceilings of S1 and S3 on the state-hard distribution."""
    key, accuracy = (
        "fano_ceiling",
        fano_accuracy_ceiling(float(state_bits), case.entropy_bits, case.n_answers, case.n_values),
    )
    if case.independent_uniform:
        packing = packing_accuracy_ceiling(float(state_bits), case.n_answers, case.n_values)
        if packing <= accuracy:
            key, accuracy = "packing_ceiling", packing
    why = f"its state has {state_bits} bits; zero error takes {case.zero_error_bits:.3f}"
    return Bound(key, float(accuracy), "proved", note=why)


def _diagonal_ceiling(bound: DiagonalBound) -> Bound:
    """The ceiling of the binding diagonal cut, where it is below that of the state at the cut."""
    crossing = bound.crossing
    parts = {"recurrent": crossing.recurrent_bits, "convolution": crossing.conv_bits, "cache": crossing.cache_bits}
    crosses = ", ".join(f"{bits} {kind}" for kind, bits in parts.items() if bits) or "no"
    n = bound.far_answers
    settled = "1 answer is settled by a token" if n == 1 else f"{n} answers are settled by tokens"
    why = (
        f"{settled} with {bound.lag} or more others before the query; "
        f"{crosses} bits cross there, and the wanted accuracy takes {bound.required_bits:.3f}"
    )
    return Bound("diagonal_ceiling", bound.accuracy_ceiling, "proved", note=why)


def _window_ceiling(case: WindowCase, sees: int | None) -> Bound:
    """The ceiling of W2 on the window-hard distribution."""
    seen = "a recurrent layer hears of every token" if sees is None else f"it sees the last {sees} tokens"
    why = f"{seen}, of {min_receptive_field(case)} that matter"
    return Bound("window_ceiling", float(window_accuracy_ceiling(case, sees)), "proved", note=why)
