"""Upper bounds of the entropy of a rounded state: the mean length of its codes under a frozen code.

For any distribution of the rounded state Q(S) and any probabilities q fixed beforehand, H(Q(S)) <= E[-log2 q(Q(S))]
(Gibbs), so an upper bound of the mean code length is one of H(Q(S)), and of I(U;Q(S)).  The better q fits, the tighter.

Here q is a tree of histograms over the entries (Chow and Liu 1968): of each entry the first ``coarse_bits`` have
a smoothed histogram for each value of the first ``context_bits`` of one other entry, its parent; further bits are
sent as they are.  No context means independent entries.  What fits best is decided on a held-out part of the
fit split.  The code of a whole state is mixed with plain bits, so that none is much longer than these.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boundprobe.checks import check_integer
from boundprobe.probes.certificates.certified_bound import CertifiedBound
from boundprobe.probes.certificates.mean_bounds import upper_confidence_bound
from boundprobe.probes.quantised.chow_liu import chow_liu_parents

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Bits of an entry that get a histogram; finer ones would hold a training state or two in each bin.
COARSE_BITS = (8, 6, 4)
#: Bits of the parent that choose the histogram.
CONTEXT_BITS = (1, 2, 3)
#: Leading bits of each entry that the parents are found with, at most.
PARENT_BITS = 2
#: Share of plain bits in the mixture: 0.02 bits longer in general, at most 6 bits more than d * b.
PLAIN = 1 / 64
#: Training states that the parents are found with, at most.
MOST_FOR_PARENTS = 2048
#: Entries that are searched for parents, at most: time and memory grow with their square.
MOST_ENTRIES = 2048


@dataclass(frozen=True, eq=False)
class StateCode:
    """A frozen code for rounded states.

    Attributes
    ----------
    entry_bits : int
        Bits of each entry's code, b.
    coarse_bits : int
        Leading bits that have a histogram.
    context_bits : int
        Leading bits of the parent that choose it, 0 for independent entries.
    parents : int64 array (d,)
        Parent of each entry; -1 for the root, which has no context.
    tables : float64 array (d, 2^context_bits, 2^coarse_bits)
        log2 of the probabilities; each row sums to 1.
    """

    entry_bits: int
    coarse_bits: int
    context_bits: int
    parents: IntArray
    tables: FloatArray

    @property
    def nominal_bits(self) -> int:
        """Bits of a state without any code, d * b."""
        return len(self.parents) * self.entry_bits

    @property
    def least_bits(self) -> float:
        """No state has a shorter code."""
        return min(float(self.nominal_bits), self._plain_bits - float(self.tables.max(axis=(1, 2)).sum()))

    @property
    def most_bits(self) -> float:
        """No state has a longer code."""
        longest = self._plain_bits - float(self.tables.min(axis=(1, 2)).sum()) - math.log2(1 - PLAIN)
        return min(longest, self.nominal_bits - math.log2(PLAIN))

    @property
    def _plain_bits(self) -> int:
        """Bits of a state that have no histogram."""
        return len(self.parents) * (self.entry_bits - self.coarse_bits)

    def lengths_bits(self, codes: IntArray) -> FloatArray:
        """Code length of each rounded state, in bits.

        Parameters
        ----------
        codes : int64 array (N, d)
            Each 0 .. 2^b - 1, as ``Rounding.codes`` gives them.

        Returns
        -------
        float64 array (N,)
            From ``least_bits`` to ``most_bits``; 2 to minus these sums to at most 1 over all states.
        """
        check_codes(codes, self.entry_bits, len(self.parents))
        entries = np.arange(len(self.parents))
        out = np.empty(len(codes))
        for rows in _blocks(codes):
            symbols, contexts = _symbols(codes[rows], self)
            out[rows] = -self.tables[entries, contexts, symbols].sum(axis=1)
        out += self._plain_bits
        mixed = np.logaddexp2(math.log2(1 - PLAIN) - out, math.log2(PLAIN) - self.nominal_bits)
        # Within rounding of the limits.
        return np.clip(-mixed, self.least_bits, self.most_bits)


def fit_code(codes: IntArray, entry_bits: int) -> StateCode:
    """Fit a code on training states: how fine the histograms are and whether entries have parents is held out.

    Parameters
    ----------
    codes : int64 array (N, d)
        Of training states, 0 .. 2^b - 1; at least 4 states.  Above 2,048 entries each is coded alone.
    entry_bits : int
        b, 1 to 32.

    Returns
    -------
    StateCode

    Raises
    ------
    ValueError
        For codes outside their limits or too few states.

    References
    ----------
    Chow and Liu 1968, IEEE Transactions on Information Theory 14:462; smoothing: Krichevsky and Trofimov 1981.

    Examples
    --------
    An entry that never changes, a fair bit, and its copy:

    >>> bit = np.random.default_rng(0).integers(0, 2, 4000)
    >>> codes = np.stack([0 * bit, bit, bit], axis=1)
    >>> code = fit_code(codes, 1)
    >>> code.context_bits, round(float(code.lengths_bits(codes).mean()), 2)
    (1, 1.02)
    """
    check_integer("entry_bits", entry_bits, 1, 32)
    check_codes(codes, entry_bits)
    check_integer("the number of training states", len(codes), 4, why="; draw more")
    n_held_out = len(codes) // 4
    fitted, held_out = codes[n_held_out:], codes[:n_held_out]
    n_entries = codes.shape[1]

    def length(code: StateCode) -> float:
        return float(code.lengths_bits(held_out).mean())

    alone = np.full(n_entries, -1)
    best = min(
        (_fit(fitted, entry_bits, coarse, 0, alone) for coarse in sorted({min(c, entry_bits) for c in COARSE_BITS})),
        key=length,
    )
    if 1 < n_entries <= MOST_ENTRIES:
        parents = chow_liu_parents(fitted[:MOST_FOR_PARENTS] >> max(0, entry_bits - PARENT_BITS))
        contexts = [c for c in CONTEXT_BITS if c <= entry_bits]
        trees = [_fit(fitted, entry_bits, best.coarse_bits, c, parents) for c in contexts]
        best = min((best, *trees), key=length)
    return _fit(codes, entry_bits, best.coarse_bits, best.context_bits, best.parents)


def entropy_upper_bound(
    code: StateCode,
    codes: IntArray,
    alpha: float,
    limit: str = "betting",
    seen: IntArray | None = None,
) -> CertifiedBound:
    """Upper confidence bound of H(Q(S)), with probability at least 1 - alpha.

    Parameters
    ----------
    code : StateCode
        Fitted on states none of which is evaluated.
    codes : int64 array (N, d)
        Of independent evaluation states.
    alpha : float
    limit : str
        One of ``boundprobe.probes.certificates.mean_bounds.CONFIDENCE_BOUNDS``.
    seen : int64 array (n, d), optional
        Of calibration states, to start the bets from.

    Returns
    -------
    CertifiedBound

    Raises
    ------
    ValueError
        For codes outside their limits, or an unknown ``limit``.

    Examples
    --------
    >>> draw = np.random.default_rng(0).integers
    >>> code = fit_code(draw(0, 2, (2000, 5)) * 3, 2)
    >>> round(entropy_upper_bound(code, draw(0, 2, (2000, 5)) * 3, 0.05).upper, 1)
    5.0
    """
    lengths = code.lengths_bits(codes)
    known = np.empty(0) if seen is None else code.lengths_bits(seen)
    upper = upper_confidence_bound(lengths, alpha, code.least_bits, code.most_bits, limit, known)
    return CertifiedBound(
        min(upper, float(code.nominal_bits)), "upper", float(lengths.mean()), 1 - alpha, "Gibbs", limit
    )


def check_codes(codes: IntArray, entry_bits: int, n_entries: int | None = None) -> None:
    """Raise ``ValueError`` unless ``codes`` are rounded states of ``entry_bits`` an entry."""
    wanted = f"integers (states, {n_entries or 'entries'}) from 0 to {2**entry_bits - 1}"
    if codes.ndim != 2 or not codes.size or codes.dtype.kind not in "iu" or n_entries not in (None, codes.shape[1]):
        raise ValueError(f"`codes` must be {wanted}; got shape {codes.shape} and type {codes.dtype}.")
    if codes.min() < 0 or codes.max() >= 2**entry_bits:
        raise ValueError(f"`codes` must be {wanted}; got {codes.min()} to {codes.max()}.")


def _fit(codes: IntArray, entry_bits: int, coarse_bits: int, context_bits: int, parents: IntArray) -> StateCode:
    """The histograms of a given tree; with a context, each is drawn to that of all contexts."""
    n_entries, n_symbols, n_contexts = codes.shape[1], 2**coarse_bits, 2**context_bits
    code = StateCode(entry_bits, coarse_bits, context_bits, parents, np.empty(0))
    counts = np.zeros((n_entries, n_contexts, n_symbols))
    first = np.arange(n_entries) * (n_contexts * n_symbols)
    for rows in _blocks(codes):
        symbols, contexts = _symbols(codes[rows], code)
        cells = first + contexts * n_symbols + symbols
        counts += np.bincount(cells.ravel(), minlength=counts.size).reshape(counts.shape)
    smoothing = n_symbols / 2
    whole = (counts.sum(axis=1, keepdims=True) + 0.5) / (len(codes) + smoothing)
    tables = whole
    if context_bits:
        tables = (counts + smoothing * whole) / (counts.sum(axis=2, keepdims=True) + smoothing)
    return StateCode(entry_bits, coarse_bits, context_bits, parents, np.log2(tables))


def _symbols(codes: IntArray, code: StateCode) -> tuple[IntArray, IntArray]:
    """Leading bits of each entry, and the context that its parent gives: int64 (N, d) each."""
    symbols = codes >> (code.entry_bits - code.coarse_bits)
    contexts = codes[:, code.parents] >> (code.entry_bits - code.context_bits)
    return symbols, np.where(code.parents < 0, 0, contexts)


def _blocks(codes: IntArray, block_size: int = 2**20) -> list[slice]:
    step = max(1, block_size // codes.shape[1])
    return [slice(start, start + step) for start in range(0, len(codes), step)]
