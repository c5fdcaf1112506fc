"""The bounds of one hard case, each with its assumptions and evidence."""

from __future__ import annotations

from boundprobe.bounds.report.bound import Bound
from boundprobe.bounds.state.distortion import rate_distortion_uniform
from boundprobe.bounds.state.fano import mean_error_fano_bits
from boundprobe.bounds.state.packing import packing_bits
from boundprobe.bounds.state.whole_string import whole_success_bits
from boundprobe.bounds.window import blind_accuracy, min_receptive_field, min_sum_window_minus_one
from boundprobe.tasks.cases import StateCase, WindowCase

_CUT = "the query is independent of the prefix"
_WINDOW = "every layer has a window: itself and the w - 1 tokens before it"


def state_bounds(case: StateCase, error: float, evidence: str) -> tuple[Bound, ...]:
    """S1 to S5 for a state-hard case at one error.

    Parameters
    ----------
    case : StateCase
    error : float, in [0, 1)
        Mean error over the queries for S1 to S3, chance that some answer is wrong for S5.
    evidence : "proved" | "enumerated" | "author"
        How the case itself is known.

    Returns
    -------
    tuple of Bound
        Without a value where the case does not meet the conditions.

    References
    ----------
    Statements S1 to S5.

    Examples
    --------
    >>> case = StateCase(16, 16, 64.0, True, 64.0, "Theorem 3.3", "store every value")
    >>> [(bound.key, round(bound.value, 3)) for bound in state_bounds(case, 0.1, "proved")[:3]]
    [('fano', 50.245), ('rate_distortion', 50.245), ('packing', 54.759)]
    """
    n, k, independent = case.n_answers, case.n_values, case.independent_uniform
    # log2 of the number of rows is their entropy only if all rows are equally likely.
    equally_likely = abs(case.zero_error_bits - case.entropy_bits) <= 1e-9 * (1.0 + case.entropy_bits)
    mean, whole = f"mean error over the queries at most {error:g}", f"all answers right with chance {1.0 - error:g}"
    uniform = "answers independent and uniform"
    values = (
        ("fano", mean_error_fano_bits(case.entropy_bits, n, k, error), (_CUT, mean)),
        ("rate_distortion", n * rate_distortion_uniform(error, k) if independent else None, (_CUT, mean, uniform)),
        ("packing", packing_bits(error, n, k) if independent else None,
         (_CUT, mean, uniform, "each query reads one answer")),
        ("zero_error", case.zero_error_bits, ("no error at all",)),
        ("whole_string", whole_success_bits(1.0 - error, case.entropy_bits) if equally_likely else None,
         (whole, "memory parts equally likely")),
    )  # fmt: skip
    return tuple(
        Bound(key, value, "unavailable" if value is None else evidence, assumptions)
        for key, value, assumptions in values
    )


def window_bounds(case: WindowCase, evidence: str) -> tuple[Bound, ...]:
    """W1 and W2 for a window-hard case.

    Parameters
    ----------
    case : WindowCase
    evidence : "proved" | "enumerated" | "author"
        How the case itself is known.

    Returns
    -------
    tuple of Bound

    References
    ----------
    Statements W1 and W2.

    Examples
    --------
    >>> case = WindowCase(100, 26, (99,), (10,), tuple(range(1, 11)), "Theorem 3.7", "see the first token")
    >>> [(bound.key, round(bound.value, 6)) for bound in window_bounds(case, "proved")]
    [('receptive_field', 100.0), ('sum_window_minus_one', 99.0), ('blind_accuracy', 0.201518)]
    """
    two_points = (_WINDOW, "success above 1/2 on the worst two inputs")
    blind = "the token that matters is out of sight, or where several do, the control tokens are"
    return (
        Bound("receptive_field", float(min_receptive_field(case)), evidence, two_points),
        Bound("sum_window_minus_one", float(min_sum_window_minus_one(case)), evidence, two_points),
        Bound("blind_accuracy", blind_accuracy(case), evidence, (_WINDOW, blind)),
    )
