"""Prefix distributions in which answers may be absent: keys with replacement, and plain uniform tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from boundprobe.tasks.base import IGNORE, CutBatch, PrefixDistribution, row_blocks
from boundprobe.tasks.cases import StateCase
from boundprobe.tasks.sampling import uniform_integers
from boundprobe.tasks.token_entropy import MOST_EXACT_TOKENS, conditional_floor, exact_entropies

#: Pairs of a key, drawn uniformly with replacement, and a uniform value; the last value of a key counts.
REPLACEMENT = "replacement"
#: Independent uniform tokens, each a key for the one after it; the last one counts.
TOKENS = "tokens"


@dataclass(frozen=True, eq=False)
class PairStream(PrefixDistribution):
    """As many pairs as fit before the gap, each a uniform key with a uniform value, after filler where none fits.

    Given which keys came, the last values are independent and uniform: H(Y | which) = n p log2 K bits, with
    ``p = 1 - (1 - 1/n)^L`` the probability that a key came in L pairs.

    Attributes
    ----------
    keys : int64 array (n_keys, key_length)
        What stands before a value.
    values : int64 array (n_values,)
        Uniform values; none of them is a key's token.
    queries : int64 array (n_keys, query_len)
        What asks for each key.
    filler : int64 array (n_filler,)
        Tokens in front, uniform among these.
    prefix_len : int
    theorem : str
    gap : int64 array (n_gap,)
        The last tokens of every prefix; none of them is a key's.
    """

    keys: np.ndarray
    values: np.ndarray
    queries: np.ndarray
    filler: np.ndarray
    prefix_len: int
    theorem: str
    gap: np.ndarray

    @property
    def n_pairs(self) -> int:
        """Number of pairs, L."""
        key_length: int = self.keys.shape[1]
        return (self.prefix_len - len(self.gap)) // (key_length + 1)

    @property
    def defined_probability(self) -> float:
        """Probability that an answer is defined, p = 1 - (1 - 1/n)^L."""
        return 1 - (1 - 1 / len(self.keys)) ** self.n_pairs

    def case(self) -> StateCase:
        """Its case; no two rows of the most keys that fit can share a state."""
        n, bits = len(self.keys), math.log2(len(self.values))
        return StateCase(
            n_answers=n,
            n_values=len(self.values),
            entropy_bits=n * self.defined_probability * bits,
            independent_uniform=False,
            zero_error_bits=min(n, self.n_pairs) * bits,
            theorem=self.theorem,
            forces=f"hold the last value of each of {n} keys, of those that came in {self.n_pairs} pairs",
        )

    def sample(self, n_sequences: int, rng: np.random.Generator) -> CutBatch:
        """Draw prefixes; the answer to a query is the last value of its key."""
        n, key_length = self.keys.shape
        prefix = np.empty((n_sequences, self.prefix_len), np.int64)
        places = np.full((n_sequences, n), IGNORE, np.int64)
        block = key_length + 1
        end = self.prefix_len - len(self.gap)
        start = end - block * self.n_pairs
        for rows in row_blocks(n_sequences, max(n, self.prefix_len)):
            part = prefix[rows]
            chosen = uniform_integers(rng, 0, n, (len(part), self.n_pairs))
            part[:, :start] = self.filler[uniform_integers(rng, 0, len(self.filler), (len(part), start))]
            for i in range(key_length):
                part[:, start + i : end : block] = self.keys[chosen, i]
            values = self.values[uniform_integers(rng, 0, len(self.values), chosen.shape)]
            part[:, start + key_length : end : block] = values
            part[:, end:] = self.gap
            mark_last(places[rows], chosen, start + key_length, block)
        return CutBatch(prefix, self.queries, take_or_ignore(prefix, places), places=places)


@dataclass(frozen=True, eq=False)
class TokenStream(PrefixDistribution):
    """Independent uniform tokens; each token asks what followed it last, the query itself being read as well.

    The query follows the last token of the prefix: asked for that token, the answer is the token itself, and
    that it was the last is what must be known.  The answers are not independent: see ``token_entropy``.

    Attributes
    ----------
    n_tokens : int
        Size of the alphabet, V: the number of answers and of their values.
    prefix_len : int
    theorem : str
    """

    n_tokens: int
    prefix_len: int
    theorem: str

    @property
    def values(self) -> np.ndarray:  # type: ignore[override]
        """All tokens: int64 (V,)."""
        return np.arange(self.n_tokens)

    def case(self) -> StateCase:
        """Its case: entropy exact up to ``MOST_EXACT_TOKENS`` tokens, else a lower bound; zero error from below."""
        n, length = self.n_tokens, self.prefix_len
        exact = n <= MOST_EXACT_TOKENS
        entropy = exact_entropies(n, length)[0] if exact else conditional_floor(n, length)
        # Rows that are defined at the same k tokens: k! chains in k tokens, all k^(k-1) trees in 2k - 2.
        longest, widest = min(n, length), min(n, length // 2 + 1)
        rows = max(math.lgamma(longest + 1) / math.log(2), (widest - 1) * math.log2(widest))
        return StateCase(
            n_answers=n,
            n_values=n,
            entropy_bits=entropy,
            independent_uniform=False,
            zero_error_bits=max(entropy, rows),
            theorem=f"{self.theorem}; {'zero error' if exact else 'entropy and zero error'} bounded from below",
            forces=f"hold what followed each of {n} tokens last, and which token came last",
        )

    def sample(self, n_sequences: int, rng: np.random.Generator) -> CutBatch:
        """Draw prefixes; the answer to v is the token after its last place, v itself in the last one."""
        prefix = np.empty((n_sequences, self.prefix_len), np.int64)
        places = np.full((n_sequences, self.n_tokens), IGNORE, np.int64)
        for rows in row_blocks(n_sequences, max(self.n_tokens, self.prefix_len)):
            prefix[rows] = uniform_integers(rng, 0, self.n_tokens, prefix[rows].shape)
            mark_last(places[rows], prefix[rows], 1, 1)
        # The last token has none after it: it settles its own answer.
        np.minimum(places, self.prefix_len - 1, out=places)
        queries = np.arange(self.n_tokens)[:, None]
        return CutBatch(prefix, queries, take_or_ignore(prefix, places), places=places)


def mark_last(places: np.ndarray, codes: np.ndarray, start: int, step: int) -> None:
    """Set ``places[i, c]`` to ``start + step * j``, j the last column of ``codes`` (n, m) in which row i has c.

    >>> places = np.full((1, 3), -100)
    >>> mark_last(places, np.array([[2, 0, 2]]), 1, 2)
    >>> places.tolist()
    [[3, -100, 5]]
    """
    row = np.arange(len(codes))
    for j, code in enumerate(codes.T):
        places[row, code] = start + step * j


def take_or_ignore(prefix: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The tokens at ``places``, ``IGNORE`` where a place is.

    >>> take_or_ignore(np.array([[7, 8]]), np.array([[1, -100]])).tolist()
    [[8, -100]]
    """
    return np.where(places == IGNORE, IGNORE, np.take_along_axis(prefix, np.maximum(places, 0), axis=1))
