"""What sizes alone say about a model: it must fail, or nothing forbids it, on each hard distribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    """An argument that models of some sizes do reach an accuracy: what ``can pass`` rests on.

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
    """Whether a model of given sizes can reach an accuracy on one hard distribution.

    Attributes
    ----------
    distribution : str
    verdict : "can pass" | "must fail" | "undecided"
        ``must fail`` rests on a lower bound, ``can pass`` on a witness.  Undecided says only that no bound here
        forbids it: enough bits and enough sight make some machine right, not this model.
    target_accuracy : float, a probability
    ceiling_accuracy : float, a probability
        No model of these sizes is more accurate.
    theorem : str
        What gives the ceiling.
    reason : str
        In words, with the numbers.
    """

    distribution: str
    verdict: str
    target_accuracy: float
    ceiling_accuracy: float
    theorem: str
    reason: str


def model_verdicts(
    task: AbstractTask,
    windows: Sequence[int | None],
    state_bits: int,
    target_accuracy: float = 1.0,
    witnesses: Sequence[Witness] = (),
) -> tuple[Verdict, ...]:
    """Verdicts on state-hard, window-hard and mixture for a model of given sizes.

    The state-hard ceiling is that of S1, and of S3 where it holds, at the bits of the state at the cut; the
    window-hard one is W2's at the receptive field; the mixture is half of each, so its ceiling is their mean.

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

    Returns
    -------
    tuple of Verdict

    Raises
    ------
    ValueError
        If a number is outside its range, or a witness claims more than the ceiling allows.

    References
    ----------
    Statements S1, S3 and W2; Cooper, Diakonikolas, Ma, Sala 2026 (arXiv 2603.08859), Theorems 3.3 and 3.7,
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
        raise ValueError(
            f"target_accuracy is {target_accuracy!r}; allowed: above 0 and at most 1; give a fraction, such as 0.9"
        )
    check_integer("state_bits", state_bits, 0)
    ceilings = {
        "state-hard": _state_ceiling(task.state_case(), state_bits),
        "window-hard": _window_ceiling(task.window_case(), receptive_field(windows)),
    }
    mean = sum(accuracy for accuracy, _, _ in ceilings.values()) / len(ceilings)
    theorems = "; ".join(theorem for accuracy, theorem, _ in ceilings.values() if accuracy < 1.0) or "S1, S3, W2"
    ceilings["mixture"] = (mean, theorems, "half state-hard, half window-hard: the mean of their ceilings")
    by_distribution = {name: _best(name, witnesses) for name in HARD_DISTRIBUTIONS}
    return tuple(_judge(name, target_accuracy, ceilings[name], by_distribution[name]) for name in HARD_DISTRIBUTIONS)


def _judge(name: str, target: float, ceiling: tuple[float, str, str], witness: Witness | None) -> Verdict:
    """Compare the target with the ceiling and the best witness."""
    accuracy, theorem, why = ceiling
    if witness is not None and witness.accuracy > accuracy + _ROUNDING:
        raise ValueError(
            f"witness {witness.argument!r} claims accuracy {witness.accuracy!r} on {name}; allowed: at most "
            f"{accuracy:.6f} by {theorem}; one of the two is wrong"
        )
    if witness is not None and witness.accuracy >= target:
        return Verdict(name, CAN_PASS, target, accuracy, theorem, witness.argument)
    if accuracy < target - _ROUNDING:
        return Verdict(name, MUST_FAIL, target, accuracy, theorem, why)
    return Verdict(name, UNDECIDED, target, accuracy, theorem, f"no bound forbids it: {why}")


def _best(name: str, witnesses: Sequence[Witness]) -> Witness | None:
    """The most accurate witness on one distribution."""
    fitting = [w for w in witnesses if check_distribution(w.distribution, HARD_DISTRIBUTIONS) == name]
    return max(fitting, key=lambda witness: witness.accuracy, default=None)


def _state_ceiling(case: StateCase, state_bits: int) -> tuple[float, str, str]:
    """Ceiling, theorem and reason on the state-hard distribution."""
    accuracy = fano_accuracy_ceiling(float(state_bits), case.entropy_bits, case.n_answers, case.n_values)
    theorem = "S1 Fano (Theorem 3.3, exact form)"
    if case.independent_uniform:
        packing = packing_accuracy_ceiling(float(state_bits), case.n_answers, case.n_values)
        if packing <= accuracy:
            accuracy, theorem = packing, "S3 ball packing (Theorem 3.3, one-shot form)"
    return (
        accuracy,
        theorem,
        f"its state has {state_bits} bits, of {case.zero_error_bits:.3f} that no error at all takes",
    )


def _window_ceiling(case: WindowCase, sees: int | None) -> tuple[float, str, str]:
    """Ceiling, theorem and reason on the window-hard distribution."""
    accuracy = window_accuracy_ceiling(case, sees)
    needed = min_receptive_field(case)
    seen = "a recurrent layer hears of every token" if sees is None else f"it sees the last {sees} tokens"
    return accuracy, "W2 exact ceiling (Theorem 3.7)", f"{seen}, of {needed} that matter"
