"""The bounds of one task as ``Bound`` objects, each with its assumptions and evidence."""

from __future__ import annotations

from boundprobe.bounds.report.bound import Bound
from boundprobe.bounds.state.blahut_arimoto import rate_distortion_uniform
from boundprobe.bounds.state.fano import mean_error_fano_bits
from boundprobe.bounds.state.packing import packing_bits
from boundprobe.bounds.state.whole_string import whole_success_bits
from boundprobe.bounds.window import blind_accuracy, min_receptive_field, min_sum_window_minus_one
from boundprobe.tasks.cases import StateCase, WindowCase

_STATES = "log2 of the number of states at the cut"
_INFORMATION = "bits that the state at the cut holds of the memory part, I(U;S)"
_CUT = "the query is independent of the prefix"
_WINDOW = "every layer has a window: itself and the w - 1 tokens before it"


def state_statements(case: StateCase, error: float, evidence: str) -> tuple[Bound, ...]:
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
    >>> [(bound.name, round(bound.value, 3)) for bound in state_statements(case, 0.1, "proved")[:3]]
    [('fano', 50.245), ('rate_distortion', 50.245), ('packing', 54.759)]
    """
    n, k, independent = case.n_answers, case.n_values, case.independent_uniform
    # log2 of the number of rows is their entropy only if all rows are equally likely.
    equally_likely = abs(case.zero_error_bits - case.entropy_bits) <= 1e-9 * (1.0 + case.entropy_bits)
    mean, whole = f"mean error over the queries at most {error:g}", f"all answers right with chance {1.0 - error:g}"
    uniform = "answers independent and uniform"
    found = (
        ("fano", _INFORMATION, mean_error_fano_bits(case.entropy_bits, n, k, error),
         "S1 Fano (Theorem 3.3, exact form)", (_CUT, mean)),
        ("rate_distortion", _INFORMATION, n * rate_distortion_uniform(error, k) if independent else None,
         "S2 rate-distortion (closed form, uniform answers)", (_CUT, mean, uniform)),
        ("packing", _STATES, packing_bits(error, n, k) if independent else None,
         "S3 ball packing (Theorem 3.3, one-shot form)", (_CUT, mean, uniform, "each query reads one answer")),
        ("zero_error", _STATES, case.zero_error_bits,
         "S4 zero error (Assumption 3.2, distinct rows)", ("no error at all",)),
        ("whole_string", _STATES, whole_success_bits(1.0 - error, case.entropy_bits) if equally_likely else None,
         "S5 one wrong is all wrong", (whole, "memory parts equally likely")),
    )  # fmt: skip
    return tuple(
        Bound(name, of, value, "bits", "lower", theorem, assumptions, "unavailable" if value is None else evidence)
        for name, of, value, theorem, assumptions in found
    )


def window_statements(case: WindowCase, evidence: str) -> tuple[Bound, ...]:
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
    >>> [(bound.name, round(bound.value, 6)) for bound in window_statements(case, "proved")]
    [('receptive_field', 100.0), ('sum_window_minus_one', 99.0), ('blind_accuracy', 0.201518)]
    """
    blind = "the token that matters is out of sight, or where several do, the control tokens are"
    found = (
        ("receptive_field", "last tokens that the model sees", float(min_receptive_field(case)), "tokens", "lower",
         "W1 two points (Theorem 3.7)", (_WINDOW, "success above 1/2 on the worst two inputs")),
        ("sum_window_minus_one", "sum over layers of (window - 1)", float(min_sum_window_minus_one(case)), "tokens",
         "lower", "W1 two points (Theorem 3.7)", (_WINDOW, "success above 1/2 on the worst two inputs")),
        ("blind_accuracy", "accuracy on the window-hard distribution", blind_accuracy(case), "probability", "upper",
         "W2 exact ceiling (Theorem 3.7)", (_WINDOW, blind)),
    )  # fmt: skip
    return tuple(Bound(*fields, evidence) for fields in found)
