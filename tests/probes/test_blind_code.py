"""Answers coded by counts over other rows: a slow reference, entropies from above, and dependence that it sees."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boundprobe.probes.blind_code import DOUBTS, blind_bits
from boundprobe.tasks import IGNORE


def slow_bits(answers, n_values, undefined_bits):
    """Row by row, over the other rows."""
    keys = (
        tuple,
        lambda before: before[-1],
        lambda before: sum(v for v in before if v != IGNORE) % n_values,
        lambda before: np.bitwise_xor.reduce([v for v in before if v != IGNORE] or [0]),
    )
    total = 0.0
    for i in range(answers.shape[1]):
        rows = [row for row in answers.tolist() if row[i] != IGNORE]
        total += undefined_bits * (len(answers) - len(rows))

        def length(key, doubt, i=i, rows=rows):
            bits = 0.0
            for a, row in enumerate(rows):
                others = [other for b, other in enumerate(rows) if b != a]
                share = (sum(o[i] == row[i] for o in others) + 0.5) / (len(others) + n_values / 2)
                if key is None:
                    bits -= math.log2(share)
                    continue
                alike = [other for other in others if i == 0 or key(other[:i]) == key(row[:i])]
                bits -= math.log2((sum(o[i] == row[i] for o in alike) + doubt * share) / (len(alike) + doubt))
            return bits

        total += min([length(None, 0.0), *(length(key, doubt) for key in keys for doubt in DOUBTS)])
    return total / len(answers)


@given(
    n_rows=st.integers(2, 9),
    n_answers=st.integers(1, 4),
    n_values=st.integers(2, 4),
    absent=st.sampled_from([0.0, 0.4]),
    seed=st.integers(0, 2**32 - 1),
)
def test_lengths_are_those_of_the_reference(n_rows, n_answers, n_values, absent, seed):
    rng = np.random.default_rng(seed)
    answers = rng.integers(n_values, size=(n_rows, n_answers))
    answers[rng.random(answers.shape) < absent] = IGNORE
    assert blind_bits(answers, n_values, 1.5) == pytest.approx(slow_bits(answers, n_values, 1.5), abs=1e-9)


@pytest.mark.parametrize(("n_answers", "n_values"), [(8, 4), (8, 64), (64, 2), (1, 50)])
def test_uniform_answers_cost_their_entropy(n_answers, n_values):
    rng = np.random.default_rng(n_values)
    entropy = n_answers * math.log2(n_values)
    gained = [entropy - blind_bits(rng.integers(n_values, size=(1000, n_answers)), n_values) for _ in range(20)]
    # The choice of a context and a doubt may gain a little where counts say nothing: nats of a few choices a row.
    assert max(gained) < n_answers * math.log2(4 * len(DOUBTS)) / 1000


def a_function(rows):
    table = np.random.default_rng(9).integers(4, size=4**5)
    return table[(rows * 4 ** np.arange(5)).sum(1)]


@pytest.mark.parametrize(
    ("last", "most"),
    [
        (lambda rows: -rows.sum(1) % 4, 10.01),
        (lambda rows: np.bitwise_xor.reduce(rows, 1), 10.01),
        (lambda rows: rows[:, -1] ^ 1, 10.01),
        (a_function, 10.1),
    ],
    ids=["sum", "exclusive or", "the last", "any function of all"],
)
def test_an_answer_that_follows_from_others_costs_nothing(last, most):
    rows = np.random.default_rng(1).integers(4, size=(4000, 5))
    assert 9.99 < blind_bits(np.concatenate([rows, last(rows)[:, None]], axis=1), 4) < most
