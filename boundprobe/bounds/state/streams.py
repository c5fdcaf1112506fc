"""Streams in which answers may be absent or dependent: their entropy, and the state that they require.

Two distributions of answers on a stream of uniform tokens, for each token v that occurs:

- *within the stream* (here): Y_v is the token after the last place of v that has one after it;
- *asked after it* (``boundprobe.tasks.token_entropy``, the stream 'tokens' of mkar): the query is read as well,
  so the last token's answer is the last token itself.

Given which answers are defined (D), all that is proven holds for the entropy H(Y | D): which tokens came is never
asked, and code lengths are summed over defined answers only.
"""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from boundprobe.bounds.state.absent import absent_answers_bits
from boundprobe.checks import check_integer, check_number
from boundprobe.tasks.token_entropy import (
    MOST_EXACT_TOKENS,
    distinct_count_pmf,
    hung_trees,
    labelled_entropy,
    log2_cover,
    set_entropy,
    symmetries,
    tree_pmf,
)


def key_value_stream_bits(n_keys: int, n_values: int, n_pairs: int, mean_errors: float) -> float:
    """Bits of state that answers on a key-value stream prove: n p [log2 K - Phi(m / p)].

    L pairs of a uniform key, with replacement, and a uniform value; the last value of a key counts.  A key comes
    with probability p = 1 - (1 - 1/n)^L.

    Parameters
    ----------
    n_keys : int, at least 1
        Keys, n; each is asked about.
    n_values : int, at least 1
        Values, K.
    n_pairs : int, at least 1
        Pairs, L.
    mean_errors : float, at least 0
        Mean over sequences of (wrong answers on keys that came) / n, or an upper limit of it, m.

    Returns
    -------
    float, in bits; 0 says nothing (vacuous), from m / p = 1 - 1/K on

    Raises
    ------
    ValueError
        For a number outside its limits.

    References
    ----------
    *Absent answers* (docs/theory/bounds.md), all probabilities alike and the errors averaged by concavity.

    Examples
    --------
    >>> round(key_value_stream_bits(16, 16, 16, 0.0), 3)
    41.211
    >>> key_value_stream_bits(16, 16, 16, 0.7)
    0.0
    """
    check_integer("n_keys", n_keys, 1)
    check_integer("n_pairs", n_pairs, 1)
    errors = check_number("mean_errors", mean_errors, least=0.0)
    p = -math.expm1(n_pairs * math.log1p(-1 / n_keys)) if n_keys > 1 else 1.0
    return n_keys * absent_answers_bits(np.array([p]), n_values, min(1.0, errors / p))


def token_stream_entropy(n_tokens: int, seq_len: int) -> float:
    """Joint entropy H(Y) of what followed each token last within a stream of uniform tokens, exactly, in bits.

    Y tells which answers are defined too: H(Y) = H(Y | D) + H(D).  A certificate from the code lengths of defined
    answers needs H(Y | D), ``token_stream_conditional_entropy``.

    Parameters
    ----------
    n_tokens : int, 1 to 12
        Size of the alphabet, n.
    seq_len : int, at least 2
        Tokens of the stream, L; the last one only follows.

    Returns
    -------
    float, in bits

    Raises
    ------
    ValueError
        For more tokens than can be enumerated.

    Notes
    -----
    Read backwards from the last token but one, the answers are the walk's tree of first entries with an arrow from
    its root to the last token: a map with one cycle, whose trees in cyclic order tell it up to isomorphism.

    Examples
    --------
    >>> round(token_stream_entropy(3, 12), 3)
    4.17
    """
    _check_stream(n_tokens, seq_len, MOST_EXACT_TOKENS)
    pmf: defaultdict[tuple[str, ...], float] = defaultdict(float)
    members: dict[tuple[str, ...], int] = {}
    for tree, p in tree_pmf(n_tokens, seq_len - 1).items():
        k = len(tree) // 2
        if k < n_tokens:  # the last token came nowhere else
            absent = ("", tree)
            pmf[absent] += p * (n_tokens - k) / n_tokens
            members[absent] = math.perm(n_tokens, k) // symmetries(tree) * (n_tokens - k)
        for around in hung_trees(tree):
            turns = [around[i:] + around[:i] for i in range(len(around))]
            same = math.prod(map(symmetries, around)) * turns.count(around)
            pmf[min(turns)] += p / n_tokens
            members[min(turns)] = math.perm(n_tokens, k) // same
    return labelled_entropy((p, members[shape]) for shape, p in pmf.items())


def token_stream_conditional_entropy(n_tokens: int, seq_len: int) -> float:
    """H(Y | D) of the same stream, D telling which answers are defined, exactly, in bits: H(Y) - H(D).

    Parameters and errors are those of ``token_stream_entropy``; ``token_stream_entropy_floor`` serves more tokens.

    >>> round(token_stream_conditional_entropy(3, 12), 3)
    3.898
    """
    return token_stream_entropy(n_tokens, seq_len) - set_entropy(n_tokens, seq_len - 1)


def token_stream_entropy_floor(n_tokens: int, seq_len: int) -> float:
    """A lower bound of H(Y | D), and so of H(Y), for any number of tokens, in bits.

        sum_k P(k) max(0, log2 n + (k-1) log2 k + log2 c_k - (k/n) W_k)

    P(k) is the probability that k tokens come before the last, c_k that L - 1 uniform draws from k tokens show
    them all, and W_k the largest mean of log2 j in a share c_k of the distribution P(j) = (j/k) prod_{i<j} (1 - i/k).

    Parameters
    ----------
    n_tokens : int, at least 1
        Size of the alphabet, n.
    seq_len : int, at least 2
        Tokens of the stream, L.

    Returns
    -------
    float, in bits

    Raises
    ------
    ValueError
        For a number outside its limits.

    Notes
    -----
    Given D, the tree of first entries has probability k^-(k-1) / c_k at most (Aldous-Broder, and the condition that
    D is covered).  The last token is in D with probability k/n, and Y tells if so.  If not, Y is the tree and one of
    n - k tokens; h(k/n) + (1 - k/n) log2(n - k) + (k/n) log2 k = log2 n.  If so, Y has a cycle of j tokens and comes
    from j pairs of tree and last token: its probability is j k^-k / c_k at most.  j is the place of a uniform vertex
    below the root; for trees that are all equally likely it has the distribution above, and given the condition no
    event is more than 1 / c_k times as likely.

    The simpler n p log2 n - sum_j (j/n) prod_{i<j}(1 - i/n) log2 j, p = 1 - (1 - 1/n)^(L-1), is no lower bound of
    H(Y | D): 2.549 against 2.486 for n = 3, L = 4.  In the limit of long streams the two agree.

    Examples
    --------
    >>> round(token_stream_entropy_floor(3, 12), 3), round(token_stream_entropy_floor(64, 640), 2)
    (3.822, 380.91)
    """
    _check_stream(n_tokens, seq_len)
    pmf = distinct_count_pmf(n_tokens, seq_len - 1)
    cover = log2_cover(n_tokens, seq_len - 1)
    terms = []
    for k in np.flatnonzero(pmf).tolist():
        cycle = k / n_tokens * _longest_cycles(k, float(np.exp2(cover[k])))
        bits = math.log2(n_tokens) + (k - 1) * math.log2(k) + float(cover[k]) - cycle
        terms.append(float(pmf[k]) * max(0.0, bits))
    return math.fsum(terms)


def _longest_cycles(k: int, share: float) -> float:
    """W_k: the mean of log2 j over the largest j, a share of P(j) = (j/k) prod_{i<j} (1 - i/k)."""
    j: NDArray[np.float64] = np.arange(1.0, min(k, 40 * math.isqrt(k) + 40) + 1)
    left = np.cumprod(np.concatenate([[1.0], 1 - j[:-1] / k]))
    pmf = (j / k * left)[::-1]
    if share < 1e-9:  # too small to be told apart from rounding
        return math.log2(k)
    before = np.cumsum(pmf) - pmf
    return float(np.sum(np.log2(j[::-1]) * np.clip(share - before, 0.0, pmf))) / share


def _check_stream(n_tokens: int, seq_len: int, most: int | None = None) -> None:
    check_integer("n_tokens", n_tokens, 1, most, why="; for more, take token_stream_entropy_floor")
    check_integer("seq_len", seq_len, 2, why="; a token needs one after it: raise seq_len")
