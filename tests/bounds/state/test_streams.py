"""Streams: entropies against enumeration, floors below them, and what answers on a stream prove against machines."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest

from boundprobe.bounds import (
    fano_loss_bits,
    key_value_stream_bits,
    token_stream_conditional_entropy,
    token_stream_entropy,
    token_stream_entropy_floor,
)
from boundprobe.tasks import IGNORE, MultiKeyRecall, MultiQueryRecall


def entropy(rows: np.ndarray) -> float:
    """Entropy in bits of equally likely rows."""
    share = np.unique(rows, axis=0, return_counts=True)[1] / len(rows)
    return float(-(share * np.log2(share)).sum())


def all_words(n: int, length: int) -> np.ndarray:
    return np.stack(np.unravel_index(np.arange(n**length), (n,) * length), axis=1)


def followers(words: np.ndarray, n: int) -> np.ndarray:
    """What followed each token last within each word, ``IGNORE`` for none: the definition itself."""
    answers = np.full((len(words), n), IGNORE)
    for t in range(words.shape[1] - 1):
        answers[np.arange(len(words)), words[:, t]] = words[:, t + 1]
    return answers


def simple_floor(n: int, length: int) -> float:
    """n p log2 n - sum_j (j/n) prod_{i<j} (1 - i/n) log2 j: no bound of H(Y | D)."""
    p, left, lost = 1 - (1 - 1 / n) ** (length - 1), 1.0, 0.0
    for j in range(1, n + 1):
        lost += j / n * left * math.log2(j)
        left *= 1 - j / n
    return n * p * math.log2(n) - lost


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_token_streams_by_enumeration(n: int) -> None:
    for length in range(2, 11):
        answers = followers(all_words(n, length), n)
        # Rows as single numbers: a million of them are counted in no time.
        joint = entropy((np.where(answers == IGNORE, n, answers) @ (n + 1) ** np.arange(n))[:, None])
        defined = entropy(((answers != IGNORE) @ 2 ** np.arange(n))[:, None])
        assert token_stream_entropy(n, length) == pytest.approx(joint, abs=1e-9)
        assert token_stream_conditional_entropy(n, length) == pytest.approx(joint - defined, abs=1e-9)
        assert token_stream_entropy_floor(n, length) <= joint - defined + 1e-9
        assert simple_floor(n, length) <= joint + 1e-9


def test_the_simple_floor_is_none_of_what_certificates_need() -> None:
    # Negative control: it bounds H(Y), which tells as well which answers are defined, and not H(Y | D).
    assert simple_floor(3, 4) == pytest.approx(2.5494, abs=1e-4)
    assert token_stream_conditional_entropy(3, 4) == pytest.approx(2.4864, abs=1e-4)
    broken = [
        (n, length) for n in (3, 4) for length in range(2, 13)
        if simple_floor(n, length) > token_stream_conditional_entropy(n, length) + 1e-9
    ]  # fmt: skip
    assert broken == [(n, length) for n in (3, 4) for length in range(4, 13)]
    # Nor are the answers independent: n p log2 n is above even H(Y).
    p = 1 - (2 / 3) ** 11
    assert 3 * p * math.log2(3) == pytest.approx(4.700, abs=1e-3)
    assert token_stream_entropy(3, 12) == pytest.approx(4.170, abs=1e-3)


def test_floors_of_larger_alphabets() -> None:
    for n in (5, 8, 12):
        for length in (2, 4, 8, 16, 32, 64):
            exact = token_stream_conditional_entropy(n, length)
            assert 0 <= token_stream_entropy_floor(n, length) <= exact + 1e-9
    # Where every token has come, floor, exact entropy and the simple formula are one.
    for value in (token_stream_entropy_floor(8, 500), token_stream_entropy(8, 500), simple_floor(8, 500)):
        assert value == pytest.approx(token_stream_conditional_entropy(8, 500), abs=1e-9)
    assert token_stream_entropy_floor(500, 10_000) == pytest.approx(simple_floor(500, 10_000), abs=1e-3)


def test_twelve_tokens_take_about_a_second() -> None:
    start = time.perf_counter()
    assert token_stream_conditional_entropy(12, 100) > 12
    assert time.perf_counter() - start < 20  # it takes 0.7 s on an idle core


def test_more_tokens_are_refused_with_what_serves_instead() -> None:
    for exact in (token_stream_entropy, token_stream_conditional_entropy):
        with pytest.raises(ValueError, match="`n_tokens` must be an integer from 1 to 12; got 13"):
            exact(13, 20)
    with pytest.raises(ValueError, match="`seq_len` must be an integer of at least 2; got 1"):
        token_stream_entropy_floor(3, 1)


@pytest.mark.parametrize(("n", "k", "pairs"), [(1, 2, 1), (2, 2, 3), (3, 2, 3), (2, 3, 3), (3, 3, 2)])
def test_key_value_streams_by_enumeration(n: int, k: int, pairs: int) -> None:
    answers = last_values(n, k, pairs)
    exact = entropy(answers) - entropy(answers != IGNORE)
    assert key_value_stream_bits(n, k, pairs, 0.0) == pytest.approx(exact, abs=1e-9)


def last_values(n: int, k: int, pairs: int) -> np.ndarray:
    """The answers on every key-value stream, each as likely as the others."""
    words = all_words(n * k, pairs)
    answers = np.full((len(words), n), IGNORE)
    for t in range(pairs):
        answers[np.arange(len(words)), words[:, t] // k] = words[:, t] % k
    return answers


def test_a_key_value_stream_is_that_of_the_tasks() -> None:
    for task in (MultiQueryRecall(3, 5, 4, 12), MultiKeyRecall(6, 1, 3, 12)):
        case = task.stream_case("replacement")
        assert key_value_stream_bits(3, case.n_values, 11 // 2, 0.0) == pytest.approx(case.entropy_bits)


def machine_errors(answers: np.ndarray, states: np.ndarray, n_states: int, k: int) -> float:
    """Mean over streams of (wrong answers on keys that came) / n, each state with its best answers."""
    wrong = 0
    for s in range(n_states):
        rows = answers[states == s]
        for column in rows.T:
            counts = np.bincount(column[column != IGNORE], minlength=k)
            wrong += counts.sum() - counts.max()
    return wrong / answers.size


def violations(bound: object, n: int, k: int, pairs: int) -> int:
    """How many of 3,000 machines hold less than ``bound(m)`` says, from lazy ones to such that hold much."""
    rng, answers = np.random.default_rng(0), last_values(n, k, pairs)
    found = 0
    for _ in range(3000):
        n_states = int(rng.integers(1, 9))
        if rng.random() < 0.5:
            states = rng.integers(0, n_states, len(answers))
        else:  # the last values of some keys, taken modulo the states: near what is best
            keys = rng.permutation(n)[: rng.integers(1, n + 1)]
            states = (np.maximum(answers[:, keys], 0) @ k ** np.arange(len(keys))) % n_states
        share = np.bincount(states, minlength=n_states) / len(states)
        held = float(-(share[share > 0] * np.log2(share[share > 0])).sum())
        found += bound(machine_errors(answers, states, n_states, k)) > held + 1e-9  # type: ignore[operator]
    return found


@pytest.mark.parametrize(("n", "k", "pairs"), [(2, 2, 3), (3, 2, 3), (2, 3, 3)])
def test_no_machine_holds_less_than_its_answers_prove(n: int, k: int, pairs: int) -> None:
    assert violations(lambda m: key_value_stream_bits(n, k, pairs, m), n, k, pairs) == 0


def test_the_machines_catch_a_wrong_bound() -> None:
    # Negative control: the errors counted as if every key came.
    p = 1 - (1 / 2) ** 3
    assert violations(lambda m: 2 * p * (1 - float(fano_loss_bits(m, 2))), 2, 2, 3) > 0


def test_errors_past_guessing_prove_nothing() -> None:
    p = 1 - (15 / 16) ** 16
    values = [key_value_stream_bits(16, 16, 16, m) for m in np.linspace(0, 2, 81)]
    assert all(b <= a + 1e-12 for a, b in itertools.pairwise(values))
    assert key_value_stream_bits(16, 16, 16, p * 15 / 16) == pytest.approx(0, abs=1e-9)
    assert key_value_stream_bits(16, 16, 16, 2.0) == 0
    with pytest.raises(ValueError, match=r"`mean_errors` must be at least 0; got -0\.1"):
        key_value_stream_bits(16, 16, 16, -0.1)
