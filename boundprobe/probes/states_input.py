"""Read and check a user's states and answers, before anything is certified."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from boundprobe.checks import MOST_VALUES, check_integer, check_kind, check_number
from boundprobe.probes.certificates.copies import check_copies, check_near_answers, points_of
from boundprobe.probes.certificates.mean_bounds import upper_confidence_bound
from boundprobe.probes.certificates.order import check_order
from boundprobe.probes.certificates.prior import Prior
from boundprobe.probes.certificates.row_statistics import check_row_statistics
from boundprobe.probes.certificates.sample import Sample, Splits, count_units
from boundprobe.probes.certificates.uniformity import check_uniform
from boundprobe.probes.precision import Encoding, rows_to_look_at
from boundprobe.probes.settings import STATES_PARTS, StatesConfig, certificate_level, premise_level
from boundprobe.probes.wide import narrow
from boundprobe.seeds import generator
from boundprobe.tasks.base import IGNORE

#: How far is searched for a number of sequences that would be enough.
MOST_SEQUENCES = 10**6

#: Scores of all values of all answers, which take minutes and gigabytes.
MOST_SCORES = 2**29


@dataclass(frozen=True)
class GivenStates:
    """States and answers that were read, checked and split.

    Attributes
    ----------
    splits : Splits
    prior : Prior
    nominal_bits : int
        Entries of a state times the bits of their type.
    independence, distribution : str
        How assumptions A1 and A2 were checked.
    """

    splits: Splits
    prior: Prior
    nominal_bits: int
    independence: str
    distribution: str


def read_states(
    states: ArrayLike,
    answers: ArrayLike,
    *,
    defined: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    n_values: int | None = None,
    entropy_bits: float | None = None,
    config: StatesConfig | None = None,
) -> GivenStates:
    """Check arrays, their prior (A2), and that no sequence repeats (A1); split them at random.

    Arguments and errors are those of ``boundprobe.probes.states_report.certify_states``.
    """
    config = StatesConfig() if config is None else check_kind("config", config, StatesConfig)
    raw, nominal_bits = _states(states)
    answered = _answers(answers, defined)
    if len(raw) != len(answered):
        raise ValueError(f"`state` must have a row for each of the {len(answered)} rows of answers; got {len(raw)}")
    labels = _groups(groups, len(answered))
    prior = _prior(answered, n_values, entropy_bits)
    _check_values(answered, prior)
    parts = _split(labels, len(answered), config)
    encoding = Encoding.fit(raw[parts[0][: rows_to_look_at(raw.shape[1])]])
    sample = Sample(encoding(raw), answered, labels)
    single = sample.one_per_group(generator(config.seed, "split", 1))
    copies, distribution = _check_premises(sample, single, prior, premise_level(config.confidence))
    if answered.size * prior.n_values > MOST_SCORES:
        raise ValueError(
            f"`n_values` must be at most {MOST_SCORES // answered.size} for {answered.size} answers in all, as every "
            f"value of each is scored; got {prior.n_values}: number the values that are in use"
        )
    whole = Splits(*(sample.rows(part) for part in parts))
    _check_enough(prior, whole, certificate_level(config.confidence, STATES_PARTS))
    narrowed = narrow(raw, sample, parts, prior, config)
    says = f"{copies}; {encoding.says}{'; ' * bool(narrowed.says)}{narrowed.says}"
    return GivenStates(narrowed.splits, prior, nominal_bits, says, distribution)


def _check_premises(sample: Sample, single: Sample, prior: Prior, level: float) -> tuple[str, str]:
    """Hold independent sequences and the prior against what is given; return what was tested of each."""
    copies = check_copies(sample)
    in_order = check_order(points_of(single.states), single.answers, level / 4)
    tested, word = f"{copies}; {in_order}", "independence is otherwise your word"
    if not (prior.independent_uniform or prior.undefined_bits > 0):
        return f"{tested}; {word}", prior.evidence
    premise = f"as the prior says ({prior.evidence})"
    distribution = check_uniform(single.answers, prior.n_values, level / 4, premise)
    check_row_statistics(single.answers, prior.n_values, level / 4, premise)
    near = check_near_answers(single.answers, prior.n_values, level / 4)
    return f"{tested}; {near}; {word}", distribution


def _states(given: ArrayLike) -> tuple[NDArray[Any], int]:
    """States as (N, d), numbers of any type, and their nominal bits."""
    s = _array("state", given)
    if s.ndim < 1 or s.dtype.kind not in "biuf":
        raise ValueError(
            f"`state` must be an array of numbers (sequences, entries); got shape {s.shape}, type {s.dtype}"
        )
    if not s.size:
        raise ValueError(f"`state` must have at least one sequence and one entry; got shape {s.shape}")
    dtype = given.dtype if hasattr(given, "dtype") else s.dtype
    rows = s.reshape(len(s), -1)
    # A boolean has one bit.
    return rows, rows.shape[1] * (1 if str(dtype).endswith("bool") else 8 * dtype.itemsize)


def _answers(given: ArrayLike, defined: ArrayLike | None) -> NDArray[np.int64]:
    """Answers as int64 (N, n), ``IGNORE`` where undefined."""
    a = _array("answers", given, masked=True)
    mask = np.ma.getmaskarray(a)
    a = np.ma.getdata(a)
    if a.ndim == 1:
        a, mask = a[:, None], mask[:, None]
    if a.dtype.kind == "f" and a.size and np.isnan(a).any():
        raise ValueError(
            f"`answers` must be whole numbers; got NaN in {int(np.isnan(a).sum())} places: say which answers there are "
            "with `defined`, booleans of the same shape, and put any number there"
        )
    if a.ndim != 2 or not a.shape[1] or a.dtype.kind not in "iu":
        raise ValueError(
            f"`answers` must be whole numbers (sequences, answers); got shape {a.shape}, type {a.dtype}: absent ones "
            "are marked with `defined`"
        )
    if a.dtype.kind == "u" and a.size and int(a.max()) > np.iinfo(np.int64).max:
        raise ValueError(f"`answers` must fit into 64 bits with a sign; got {a.max()}")
    known = ~mask
    if defined is not None:
        told = _array("defined", defined)
        told = told[:, None] if told.ndim == 1 else told
        if told.shape != a.shape or told.dtype.kind != "b":
            raise ValueError(
                f"`defined` must be booleans of the shape of `answers`, {a.shape}; got shape {told.shape}, type "
                f"{told.dtype}"
            )
        known = known & told
    values = a.astype(np.int64)
    if (n_marked := int((known & (values == IGNORE)).sum())) > 0:
        raise ValueError(
            f"`answers` must be values from 0 on; got {IGNORE} in {n_marked} places: if these are absent, say so with "
            f"`defined` (answers != {IGNORE})"
        )
    return np.where(known, values, IGNORE)


def _groups(given: ArrayLike | None, n_sequences: int) -> NDArray[np.int64] | None:
    """Groups numbered from 0 on; None if every sequence is one of its own."""
    if given is None:
        return None
    g = _array("groups", given)
    if g.shape != (n_sequences,) or g.dtype.kind not in "biuSU":
        raise ValueError(
            f"`groups` must be numbers or names, one for each of {n_sequences} sequences; got shape {g.shape}, type "
            f"{g.dtype}"
        )
    names, first, index = np.unique(g, return_index=True, return_inverse=True)
    # In order of appearance: what a group is called changes nothing.
    return None if len(names) == n_sequences else np.argsort(np.argsort(first))[index]


def _prior(answers: NDArray[np.int64], n_values: int | None, entropy_bits: float | None) -> Prior:
    n = answers.shape[1]
    if n_values is None and entropy_bits is None:
        raise ValueError(
            "the prior of the answers must be stated, as `n_values` (--n-values K, independent uniform answers) or "
            "`entropy_bits` (--entropy-bits H, their joint entropy); got neither: where it is not known, as in natural "
            "text, nothing can be certified; draw answers of your own, or report a held-out cross-entropy"
        )
    known = answers[answers != IGNORE]
    if n_values is not None:
        k, source = check_integer("n_values", n_values, 2, MOST_VALUES), "stated by the user"
    else:
        k = int(known.max(initial=1)) + 1
        if k > MOST_VALUES:
            raise ValueError(f"`answers` must be from 0 to {MOST_VALUES - 1}; got {k - 1}: number the values from 0")
        source = "the largest answer given, taken to be the largest there is"
    if entropy_bits is None:
        return Prior.uniform(n, k) if (answers != IGNORE).all() else Prior.uniform_where_defined(n, k)
    h = check_number("entropy_bits", entropy_bits, above=0)
    stated = Prior.stated(n, k, h, f"H(Y) is the user's word; K = {k} is {source}")
    if h >= n * math.log2(k) * (1 - 1e-6):  # no other distribution has as much: it is tested like that one
        evidence = f"entropy_bits {h:.6g} is what only independent uniform answers of {k} values have"
        uniform = Prior.uniform if (answers != IGNORE).all() else Prior.uniform_where_defined
        return uniform(n, k, evidence)
    return stated


def _check_values(answers: NDArray[np.int64], prior: Prior) -> None:
    wrong = (answers != IGNORE) & ((answers < 0) | (answers >= prior.n_values))
    if wrong.any():
        found = answers[wrong][0]
        raise ValueError(
            f"`answers` must lie in [0, n_values) with n_values={prior.n_values}; got {found}: number the values from 0"
            + (", and mark absent answers with `defined`" if found < 0 else "")
        )


def _array(name: str, values: ArrayLike, *, masked: bool = False) -> NDArray[Any]:
    """A numpy array, from arrays, lists, scipy's sparse arrays, or tensors on any device."""
    try:
        if hasattr(values, "detach"):
            tensor = values.detach()
            if tensor.layout is not _strided():
                tensor = tensor.to_dense()
            tensor = tensor.dequantize() if tensor.is_quantized else tensor
            tensor = tensor.cpu()
            # bfloat16 is unknown to numpy; float32 holds it exactly.
            values = tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor
        elif hasattr(values, "toarray"):
            values = values.toarray()
        array = np.ma.asarray(values) if np.ma.isMaskedArray(values) else np.asarray(values)
    except (ValueError, TypeError, RuntimeError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"`{name}` must be an array of numbers, with rows of equal length; got {reason}") from None
    if np.ma.isMaskedArray(array) and not masked:
        if np.ma.getmaskarray(array).any():
            raise ValueError(
                f"`{name}` must have a value everywhere; got a masked array: only `answers` may be absent (`defined`)"
            )
        return np.ma.getdata(array)
    return array


def _strided() -> Any:
    import torch

    return torch.strided


def _split(
    groups: NDArray[np.int64] | None, n_sequences: int, config: StatesConfig
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the fit, calibration and evaluation split, by a seeded shuffle of whole groups.

    Raises
    ------
    ValueError
        If there are too few to make three parts.
    """
    n_units = count_units(n_sequences, groups)
    order = generator(config.seed, "split").permutation(n_units)
    n_fit = int(n_units * config.train_share)
    n_known = n_fit + int(n_units * config.calibration_share)
    units = order[:n_fit], order[n_fit:n_known], order[n_known:]
    if not all(len(part) for part in units):
        what = "sequences" if groups is None else "groups"
        raise ValueError(f"there must be enough {what} for three parts, a few hundred at least; got {n_units}")
    if groups is None:
        return units
    fit, calibration, evaluation = (np.flatnonzero(np.isin(groups, part)) for part in units)
    return fit, calibration, evaluation


def _check_enough(prior: Prior, splits: Splits, alpha: float) -> None:
    """Refuse fewer sequences than a decoder without any error would need to certify something."""

    def best(n_evaluation: int, n_calibration: int) -> float:
        # A decoder that was never wrong on the calibration split, and never is, with the code that it then gets.
        error = 0.5 / (n_calibration + 1)
        shortest = -prior.n_answers * math.log2(1 - error)
        longest = -prior.n_answers * math.log2(error / (prior.n_values - 1))
        values, seen = np.full(n_evaluation, shortest), np.full(n_calibration, shortest)
        return prior.entropy_bits - upper_confidence_bound(values, alpha, 0.0, longest, seen=seen)

    n_evaluation, n_calibration = splits.evaluation.n_units, splits.calibration.n_units
    if best(n_evaluation, n_calibration) > 0:
        return
    n_all = n_evaluation + n_calibration + splits.fit.n_units
    factor = 2
    while factor * n_all <= MOST_SEQUENCES and best(factor * n_evaluation, factor * n_calibration) <= 0:
        factor *= 2
    enough = f"about {factor * n_all}" if factor * n_all <= MOST_SEQUENCES else f"more than {MOST_SEQUENCES}"
    raise ValueError(
        f"there must be {enough} sequences or groups at least to certify anything of {prior.n_answers} answers, even "
        f"for a decoder without error; got {n_all}, too few: draw more"
    )
