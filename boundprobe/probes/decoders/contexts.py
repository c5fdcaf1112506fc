"""Answers from earlier answers alone, by counts of contexts: a decoder of the null control.

    q_i(v) = (N_c(v) + beta m_i(v)) / (N_c + beta)

c is the context of answer i in its row: all earlier answers, the last one, their sum mod K, or their exclusive or; N_c
counts the rows of the fit split with this context, and m_i are the marginals.  Where whole rows repeat, any dependence
shows; where they do not, one that follows the last answer, the sum or the exclusive or.  The state is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from boundprobe.probes.certificates.sample import FloatArray, IntArray, Sample
from boundprobe.probes.decoders.base import AbstractDecoder, Logits, as_answers, check_samples, log_marginals
from boundprobe.tasks.base import IGNORE

#: Counts of one answer, contexts times K, up to which they are kept.
MOST_COUNTS = 2**20
#: Beta that are tried, in counts.
DOUBTS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
#: Multiplier of the 64-bit hash of all earlier answers (Knuth, TAOCP 3, table of Fibonacci hashing).
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Table:
    """Scores of one answer by its context.

    Attributes
    ----------
    of : str
        Name of the context.
    keys : int64 array (C,)
        Contexts that occur, in order.
    shares : float32 array (C + 1, K)
        Natural logs of q for each context; the marginals, for all others, come last.
    """

    of: str
    keys: IntArray
    shares: Logits

    def scores(self, contexts: IntArray) -> Logits:
        """Contexts (B,) -> scores (B, K)."""
        place = np.searchsorted(self.keys, contexts)
        known = np.append(self.keys, 0)[place] == contexts
        scores: Logits = self.shares[np.where(known & (place < len(self.keys)), place, len(self.keys))]
        return scores


class ContextsDecoder(AbstractDecoder):
    """The context that says most, for each answer.

    Parameters
    ----------
    tables : list of Table
    """

    name = "contexts"

    def __init__(self, tables: list[Table]) -> None:
        self.tables = tables

    def logits(self, states: FloatArray, answers: IntArray) -> Logits:
        """Scores of each answer given the ones before it; ``states`` are not looked at."""
        walk = contexts_of(answers, self.tables[0].shares.shape[1])
        said = [table.scores(contexts[table.of]) for table, contexts in zip(self.tables, walk, strict=True)]
        return np.stack(said, axis=1)


def contexts_of(answers: IntArray, n_values: int) -> Iterator[dict[str, IntArray]]:
    """Contexts of each answer of rows (N, n), by name.

    All earlier answers are told apart by a hash of 64 bits: two that meet by chance spoil a count, never a certificate.
    """
    zeros = np.zeros(len(answers), np.int64)
    contexts = {"all": zeros, "last": zeros, "sum": zeros, "xor": zeros}
    for column in answers.T:
        yield contexts
        defined = column != IGNORE
        known = np.where(defined, column, 0)
        mixed = (contexts["all"].view(np.uint64) ^ (known + defined).astype(np.uint64)) * GOLDEN
        contexts = {
            "all": (mixed ^ (mixed >> np.uint64(29))).view(np.int64),
            "last": known + defined,
            "sum": (contexts["sum"] + known) % n_values,
            "xor": contexts["xor"] ^ known,
        }


def fit_contexts(fit: Sample, calibration: Sample, n_values: int) -> ContextsDecoder:
    """Count contexts of the fit split; the calibration split chooses one and beta, for each answer."""
    check_samples(fit, calibration, n_values)
    marginals: Logits = log_marginals(as_answers(fit.answers, "cpu"), n_values).numpy()
    walks = (contexts_of(sample.answers, n_values) for sample in (fit, calibration))
    tables = []
    for i, (here, there) in enumerate(zip(*walks, strict=True)):
        tried = list(_tables(here, fit.answers[:, i], marginals[i]))
        costs = [_cost(table.scores(there[table.of]), calibration.answers[:, i]) for table in tried]
        tables.append(tried[int(np.argmin(costs))])
    return ContextsDecoder(tables)


def _tables(contexts: dict[str, IntArray], values: IntArray, marginals: Logits) -> Iterator[Table]:
    """Tables of one answer: the marginals alone, and each context with each doubt."""
    yield Table("all", np.empty(0, np.int64), marginals[None])
    defined = values != IGNORE
    for of, context in contexts.items():
        keys, index = np.unique(context[defined], return_inverse=True)
        if not 1 < len(keys) <= MOST_COUNTS // len(marginals):
            continue  # one context says no more than the marginals
        counts = np.zeros((len(keys), len(marginals)), np.float32)
        np.add.at(counts, (index, values[defined]), 1)
        for doubt in DOUBTS:
            shares = (counts + doubt * np.exp(marginals)) / (counts.sum(1, keepdims=True) + doubt)
            yield Table(of, keys, np.concatenate([np.log(shares), marginals[None]]))


def _cost(scores: Logits, values: IntArray) -> float:
    defined = values != IGNORE
    return -float(np.take_along_axis(scores[defined], values[defined][:, None], axis=1).sum())
