"""Certified bits in any states with known answers, whoever made them: arrays in, a report out."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from boundprobe.checks import check_integer
from boundprobe.probes.assumptions import Assumption, check_repeats, check_uniform
from boundprobe.probes.decode import decode
from boundprobe.probes.information import InformationBits, certify
from boundprobe.probes.limits import upper_limit
from boundprobe.probes.prior import Prior
from boundprobe.probes.retention import Retention, by_answer
from boundprobe.probes.sample import Sample, Splits
from boundprobe.probes.settings import StatesConfig
from boundprobe.seeds import generator
from boundprobe.tasks.base import IGNORE

#: Certified parts of a report, which share what may fail: the total, and the answers one by one.
N_PARTS = 2


@dataclass(frozen=True)
class StatesReport:
    """What certainly is in an array of states.

    Attributes
    ----------
    prior : Prior
    present : InformationBits
        Of I(U;S), by the decoder that the calibration split promised most of.
    retention : Retention or None
        Answer by answer; None where the answers are not independent and uniform.
    nominal_bits : int
        Entries of a state times the bits of their type.
    calibration_estimate_bits : dict of float
        What the calibration split promised for each decoder: estimates, to choose by.
    n_sequences : dict of int
        Of each split.
    assumptions : tuple of Assumption
    confidence : float
        Of all certified numbers together.
    violations : tuple of str
        Inequalities that must hold and do not.
    """

    prior: Prior
    present: InformationBits
    retention: Retention | None
    nominal_bits: int
    calibration_estimate_bits: dict[str, float]
    n_sequences: dict[str, int]
    assumptions: tuple[Assumption, ...]
    confidence: float
    violations: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "prior": asdict(self.prior),
            "present_bits": asdict(self.present),
            "retention": None if self.retention is None else self.retention.to_json(),
            "nominal_bits": self.nominal_bits,
            "calibration_estimate_bits": self.calibration_estimate_bits,
            "n_sequences": self.n_sequences,
            "assumptions": [asdict(assumption) for assumption in self.assumptions],
            "confidence": self.confidence,
            "violations": list(self.violations),
        }


def certify_states(
    states: ArrayLike,
    answers: ArrayLike,
    *,
    defined: ArrayLike | None = None,
    n_values: int | None = None,
    entropy_bits: float | None = None,
    config: StatesConfig | None = None,
    device: str = "cpu",
) -> StatesReport:
    """Certify how many bits of the answers an array of states holds (T1).

    The sequences are dealt out at random into three parts: one trains decoders, one calibrates and chooses among
    them, and on the last the certificate is computed, once.

    Parameters
    ----------
    states : array or tensor (N, ...)
        One state per sequence; axes after the first are flattened.
    answers : integer array or tensor (N, n)
        What is asked of each state: 0..K-1.
    defined : bool array (N, n), optional
        Which answers there are; all if not given.
    n_values : int, optional
        K.  Without ``entropy_bits`` the prior is that the answers are independent and uniform over 0..K-1 (given which
        are defined).
    entropy_bits : float, optional
        Joint entropy of all answers of a sequence, H(Y | which are defined), known from how they were drawn.
    config : StatesConfig, optional
    device : str
        Where decoders are trained.

    Returns
    -------
    StatesReport

    Raises
    ------
    ValueError
        If the prior is not stated or not that of the answers, sequences repeat, or there are too few of them to
        certify anything.

    References
    ----------
    T1 (Fano 1961; Barber and Agakov 2003 for the cross-entropy form) with a limit for the mean of a bounded value.

    Examples
    --------
    Two of four bits are in the state, as signs:

    >>> rng = np.random.default_rng(0)
    >>> answers = rng.integers(2, size=(4000, 4))
    >>> states = 2.0 * answers[:, :2] - 1
    >>> report = certify_states(states, answers, n_values=2)
    >>> 1.9 < report.present.lower <= 2.0
    True
    """
    config = config or StatesConfig()
    sample, prior = _read(states, answers, defined, n_values, entropy_bits)
    repeats = check_repeats(sample, prior)
    uniform = prior.independent_uniform or prior.undefined_bits > 0
    law = check_uniform(sample.answers, prior.n_values) if uniform else prior.evidence
    splits = _deal(sample, config)
    alpha = (1 - config.confidence) / N_PARTS
    _check_enough(prior, splits, alpha)
    decoded = decode(prior, splits, config.decoders, alpha, device=device)
    rng = generator(config.seed, "order")
    present = certify(prior, decoded.plan, decoded.evaluation, alpha, rng, config.decoders.limit)
    held = by_answer(decoded.evaluation.wrong, prior.n_values, alpha) if prior.independent_uniform else None
    nominal_bits = _nominal_bits(states, sample.states.shape[1])
    return StatesReport(
        prior,
        present,
        held,
        nominal_bits,
        decoded.calibration_estimate_bits,
        {name: getattr(splits, name).n_sequences for name in ("train", "calibration", "evaluation")},
        _assumptions(repeats, law, decoded.swapped),
        config.confidence,
        _violations(present, nominal_bits),
    )


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
        raise ValueError(f"state has shape {s.shape} and type {s.dtype}; allowed: numbers (sequences, entries)")
    s = s.reshape(len(s), -1)
    if not np.isfinite(s).all():
        rows = int((~np.isfinite(s)).any(1).sum())
        raise ValueError(
            f"state has nan or infinite entries in {rows} rows; allowed: finite numbers; drop or mend them"
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
    k = n_values or int(known.max(initial=1)) + 1
    source = "stated by the user" if n_values else "the largest answer given, taken to be the largest there is"
    return Prior.stated(n, k, float(entropy_bits), f"H(Y) is the user's word; K = {k} is {source}")


def _deal(sample: Sample, config: StatesConfig) -> Splits:
    """The three parts, by a seeded shuffle."""
    order = generator(config.seed, "split").permutation(sample.n_sequences)
    n_train = int(sample.n_sequences * config.train_share)
    n_known = n_train + int(sample.n_sequences * config.calibration_share)
    parts = order[:n_train], order[n_train:n_known], order[n_known:]
    if not all(len(part) for part in parts):
        raise ValueError(
            f"there are {sample.n_sequences} sequences; allowed: enough for three parts; give a few hundred at least"
        )
    return Splits(*(sample.rows(part) for part in parts))


def _check_enough(prior: Prior, splits: Splits, alpha: float) -> None:
    """Refuse fewer sequences than a decoder without any error would need to certify something."""

    def best(n_evaluation: int, n_calibration: int) -> float:
        # A decoder that was never wrong on the calibration split, and never is, with the code that it then gets.
        error = 0.5 / (n_calibration + 1)
        shortest = -prior.n_answers * math.log2(1 - error)
        longest = -prior.n_answers * math.log2(error / (prior.n_values - 1))
        values, seen = np.full(n_evaluation, shortest), np.full(n_calibration, shortest)
        return prior.entropy_bits - upper_limit(values, alpha, 0.0, longest, seen=seen)

    n_evaluation, n_calibration = splits.evaluation.n_sequences, splits.calibration.n_sequences
    if best(n_evaluation, n_calibration) > 0:
        return
    factor = 2
    while best(factor * n_evaluation, factor * n_calibration) <= 0:
        factor *= 2
    n_all = n_evaluation + n_calibration + splits.train.n_sequences
    raise ValueError(
        f"there are {n_all} sequences, too few to certify a single bit of {prior.n_answers} answers even for a decoder "
        f"without error; allowed: about {factor * n_all} at least; draw more"
    )


def _array(values: ArrayLike) -> NDArray[Any]:
    """A numpy array of numbers, from arrays, lists or tensors on any device."""
    if hasattr(values, "detach"):
        tensor = values.detach().cpu()
        values = tensor.float() if tensor.dtype.is_floating_point else tensor
    return np.asarray(values)


def _nominal_bits(states: ArrayLike, n_entries: int) -> int:
    """Entries times the bits of their type; a boolean has one bit."""
    dtype = getattr(states, "dtype", np.asarray(states).dtype)
    if str(dtype).endswith("bool"):
        return n_entries
    return n_entries * 8 * dtype.itemsize


def _violations(present: InformationBits, nominal_bits: int) -> tuple[str, ...]:
    if present.lower > nominal_bits * (1 + 1e-9):
        return (
            f"present {present.lower:.3f} bits is more than nominal {nominal_bits} bits: the stated prior "
            "is wrong, or the program is",
        )
    return ()


def _assumptions(repeats: str, prior: str, swapped: str) -> tuple[Assumption, ...]:
    return (
        Assumption("A1", "sequences are independent draws, and nothing is shared between them", repeats),
        Assumption("A2", "the prior of the answers is known", prior),
        Assumption(
            "A3",
            "the decoder is fixed before evaluation",
            "three parts without a common sequence; decoder, form and calibration were chosen without the last",
        ),
        Assumption("A4", "the decoder sees the state, the query and earlier answers alone", swapped),
        Assumption("A5", "answers of one sequence may depend on each other", "the sequence is the unit of every limit"),
    )
