"""Read and check a user's states and answers, before anything is certified."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from boundprobe.checks import check_integer, check_number
from boundprobe.probes.certificates.assumptions import check_repeats, check_uniform
from boundprobe.probes.certificates.prior import Prior
from boundprobe.probes.certificates.sample import Sample
from boundprobe.tasks.base import IGNORE


@dataclass(frozen=True)
class GivenStates:
    """States and answers that were read and checked.

    Attributes
    ----------
    sample : Sample
    prior : Prior
    nominal_bits : int
        Entries of a state times the bits of their type.
    repeats, distribution : str
        How assumptions A1 and A2 were checked.
    """

    sample: Sample
    prior: Prior
    nominal_bits: int
    repeats: str
    distribution: str


def read_states(
    states: ArrayLike,
    answers: ArrayLike,
    *,
    defined: ArrayLike | None = None,
    n_values: int | None = None,
    entropy_bits: float | None = None,
) -> GivenStates:
    """Check arrays, their prior (A2), and that no sequence repeats (A1).

    Arguments and errors are those of ``boundprobe.probes.states_report.certify_states``.
    """
    sample, prior = _read(states, answers, defined, n_values, entropy_bits)
    uniform = prior.independent_uniform or prior.undefined_bits > 0
    distribution = check_uniform(sample.answers, prior.n_values) if uniform else prior.evidence
    nominal_bits = _nominal_bits(states, sample.states.shape[1])
    return GivenStates(sample, prior, nominal_bits, check_repeats(sample, prior), distribution)


def _read(
    states: ArrayLike,
    answers: ArrayLike,
    defined: ArrayLike | None,
    n_values: int | None,
    entropy_bits: float | None,
) -> tuple[Sample, Prior]:
    """Check what was given; return it as a sample, with its prior."""
    s, a = _array(states), _array(answers)
    if a.ndim == 1:
        a = a[:, None]
    if a.ndim != 2 or a.dtype.kind not in "iu":
        raise ValueError(
            f"answers have shape {a.shape} and type {a.dtype}; allowed: whole numbers (sequences, answers); give "
            "them so"
        )
    if s.ndim < 1 or s.dtype.kind not in "biuf":
        raise ValueError(
            f"state has shape {s.shape} and type {s.dtype}; allowed: numbers (sequences, entries); give them so"
        )
    if not s.size:
        raise ValueError(f"state has shape {s.shape}; allowed: at least one sequence and one entry; give states")
    s = s.reshape(len(s), -1)
    if s.dtype.kind == "f" and (np.abs(s) > np.finfo(np.float32).max).any():
        s = np.where(np.abs(s) > np.finfo(np.float32).max, np.nan, s)
    if not np.isfinite(s).all():
        rows = int((~np.isfinite(s)).any(1).sum())
        raise ValueError(
            f"state has entries in {rows} rows that are no numbers of float32; allowed: finite ones; mend them"
        )
    a = a.astype(np.int64)
    asked = np.ones(a.shape, bool) if defined is None else _array(defined)
    if asked.shape != a.shape or asked.dtype.kind != "b":
        raise ValueError(
            f"defined has shape {asked.shape} and type {asked.dtype}; allowed: booleans of the shape of "
            f"answers, {a.shape}; give them so"
        )
    sample = Sample(s.astype(np.float32), np.where(asked, a, IGNORE))
    prior = _prior(sample, n_values, entropy_bits)
    wrong = asked & ((a < 0) | (a >= prior.n_values))
    if wrong.any():
        raise ValueError(
            f"answers hold {a[wrong][0]}; allowed: 0 to {prior.n_values - 1} (n_values is {prior.n_values}); number "
            "the values from 0"
        )
    return sample, prior


def _prior(sample: Sample, n_values: int | None, entropy_bits: float | None) -> Prior:
    defined, n = sample.defined, sample.answers.shape[1]
    if n_values is None and entropy_bits is None:
        raise ValueError(
            "the prior of the answers is not stated; allowed: n_values (--n-values K, independent uniform answers) or "
            "entropy_bits (--entropy-bits H, their joint entropy); where it is not known, as in natural text, nothing "
            "can be certified: draw answers of your own, or report a held-out cross-entropy as an estimate"
        )
    if entropy_bits is None:
        k = check_integer("n_values", n_values, 2, why="; give the number of values of an answer")
        if not defined.all():
            return Prior.uniform_where_defined(n, k)
        return Prior.uniform(n, k)
    known = sample.answers[defined]
    k = int(known.max(initial=1)) + 1 if n_values is None else check_integer("n_values", n_values, 2)
    source = (
        "stated by the user" if n_values is not None else "the largest answer given, taken to be the largest there is"
    )
    return Prior.stated(
        n, k, check_number("entropy_bits", entropy_bits, above=0), f"H(Y) is the user's word; K = {k} is {source}"
    )


def _array(values: ArrayLike) -> NDArray[Any]:
    """A numpy array of numbers, from arrays, lists or tensors on any device."""
    if hasattr(values, "detach"):
        tensor = values.detach().cpu()
        values = tensor.float() if tensor.dtype.is_floating_point else tensor
    try:
        return np.asarray(values)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"an array cannot be made ({reason}); allowed: rows of equal length; give an array") from None


def _nominal_bits(states: ArrayLike, n_entries: int) -> int:
    """Entries times the bits of their type; a boolean has one bit."""
    dtype = states.dtype if hasattr(states, "dtype") else np.asarray(states).dtype
    return n_entries * (1 if str(dtype).endswith("bool") else 8 * dtype.itemsize)
