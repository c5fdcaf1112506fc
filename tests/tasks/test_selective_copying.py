"""Selective copying: answers against the oracle, and the laws of its distributions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boundprobe.tasks import IGNORE, SelectiveCopying

TINY = SelectiveCopying(n_numbers=2, n_letters=2, seq_len=4)


@st.composite
def tasks(draw: st.DrawFn) -> SelectiveCopying:
    offset = draw(st.integers(0, 1))
    n_numbers, first = draw(st.integers(2, 4)), draw(st.integers(1 + offset, 3 + offset))
    shortest = first + n_numbers - 1 - offset + 2
    return SelectiveCopying(
        n_numbers=n_numbers,
        first_number=first,
        n_letters=draw(st.integers(2, 4)),
        seq_len=shortest + draw(st.integers(0, 4)),
        number_probability=draw(st.none() | st.floats(0.05, 0.95)),
        offset=offset,
    )


def chi_square(observed: np.ndarray, probability: np.ndarray) -> float:
    """Standard scores of the chi-square statistic: mean k - 1, variance 2 (k - 1) for k cells."""
    expected = probability * observed.sum()
    statistic = float(((observed - expected) ** 2 / expected).sum())
    return (statistic - (len(observed) - 1)) / math.sqrt(2 * (len(observed) - 1))


def cells(tokens: np.ndarray, base: int) -> np.ndarray:
    """Each row as one number in the given base."""
    return np.asarray(tokens @ base ** np.arange(tokens.shape[1])[::-1])


@settings(max_examples=60, deadline=None)
@given(tasks(), st.integers(1, 14), st.integers(0, 2**32 - 1))
def test_answers_equal_the_oracle_on_every_prefix(task: SelectiveCopying, length: int, seed: int) -> None:
    tokens = np.random.default_rng(seed).integers(0, task.vocab_size, (5, length))
    answers = task.answers(tokens)
    for row, answer in zip(tokens, answers, strict=True):
        for t in range(length):
            expected = task.reference_answer(row[: t + 1].tolist())
            assert answer[t] == (IGNORE if expected is None else expected)


@settings(max_examples=30, deadline=None)
@given(tasks(), st.integers(0, 2**32 - 1))
def test_hard_cases_have_their_structure(task: SelectiveCopying, seed: int) -> None:
    n, letters = task.n_numbers, range(task.n_numbers, task.vocab_size)
    state = task.sample(20, np.random.default_rng(seed), "state-hard")
    assert (state.tokens[:, -1] < n).all()
    back = np.array(task.distances)[state.tokens[:, -1]]
    assert (state.targets[:, -1] == state.tokens[np.arange(20), task.seq_len - 1 - back]).all()
    window = task.sample(20, np.random.default_rng(seed), "window-hard")
    assert (window.tokens[:, 0] < n).all()
    assert (window.tokens[:, 1:] >= n).all()
    assert np.isin(window.targets[:, -1], letters).all()
    back = np.array(task.distances)[window.tokens[:, 0]]
    assert (window.targets[:, -1] == window.tokens[np.arange(20), task.seq_len - 1 - back]).all()
    both = task.sample(20, np.random.default_rng(seed), "mixture").tokens
    is_state = both[:, -1] < n
    assert (is_state | ((both[:, 0] < n) & (both[:, 1:] >= n).all(axis=1))).all()


def test_a_worked_sequence_of_both_offsets() -> None:
    # ids 0, 1 are the numbers 2, 3; letters a..c are 2..4: "a b 3 c 2 a"
    tokens = [2, 3, 1, 4, 0, 2]
    code = SelectiveCopying(n_numbers=2, first_number=2, n_letters=3, seq_len=6)
    text = SelectiveCopying(n_numbers=2, first_number=2, n_letters=3, seq_len=6, offset=1)
    assert code.answers(np.array([tokens])).tolist() == [[IGNORE, IGNORE, IGNORE, 2, 1, 4]]
    assert text.answers(np.array([tokens])).tolist() == [[IGNORE, IGNORE, 2, 3, 4, 0]]


def test_state_hard_and_the_cut_have_one_law() -> None:
    # 64 prefixes x 2 queries, all equally likely; |z| < 6 standard deviations of the chi-square statistic.
    n = 25_600
    tokens = TINY.sample(n, np.random.default_rng(1), "state-hard").tokens
    joint = np.bincount(cells(tokens, 4), minlength=256).reshape(64, 4)
    assert (joint[:, 2:] == 0).all()
    assert abs(chi_square(joint[:, :2].ravel(), np.full(128, 1 / 128))) < 6
    cut = TINY.sample_cut(n, np.random.default_rng(2))
    assert abs(chi_square(np.bincount(cells(cut.prefix, 4), minlength=64), np.full(64, 1 / 64))) < 6
    # The answers to each query have one law too: here, uniform over all 4 tokens.
    batch = TINY.sample(n, np.random.default_rng(3), "state-hard")
    for query, answers in enumerate(cut.answers.T):
        asked = batch.targets[batch.tokens[:, -1] == query, -1]
        for sample in (answers, asked):
            assert abs(chi_square(np.bincount(sample, minlength=4), np.full(4, 1 / 4))) < 6
    # Negative control: a law with letters a little more likely is told apart.
    skew = SelectiveCopying(n_numbers=2, n_letters=2, seq_len=4, number_probability=0.45)
    prefix = skew.sample(n, np.random.default_rng(1)).tokens[:, :-1]
    assert chi_square(np.bincount(cells(prefix, 4), minlength=64), np.full(64, 1 / 64)) > 6


def test_paper_mixture_is_the_exact_conditional_law() -> None:
    # Where the numbers are, 15 patterns: half the law of p = 0.03 given any, half of 0.2 with the last.
    def law(sparse: float) -> np.ndarray:
        patterns = np.array(list(itertools.product((0, 1), repeat=4))[1:])
        free = np.prod(np.where(patterns, sparse, 1 - sparse), axis=1) / (1 - (1 - sparse) ** 4)
        forced = np.prod(np.where(patterns[:, :3], 0.2, 0.8), axis=1) * patterns[:, 3]
        return np.asarray(0.5 * free + 0.5 * forced)

    batch = TINY.sample(200_000, np.random.default_rng(4), "paper-mixture")
    counts = np.bincount(cells((batch.tokens < 2).astype(int), 2), minlength=16)
    assert counts[0] == 0
    assert (batch.targets[:, -1] != IGNORE).all()
    assert abs(chi_square(counts[1:], law(0.03))) < 6
    assert chi_square(counts[1:], law(0.035)) > 6  # negative control
    ids = np.bincount(batch.tokens.ravel(), minlength=4)
    for pair in (ids[:2], ids[2:]):  # uniform within each class
        assert abs(chi_square(pair, np.full(2, 0.5))) < 6


@pytest.mark.parametrize("p", [0.03, 0.2])
def test_number_probability_is_the_share_of_numbers(p: float) -> None:
    task = SelectiveCopying(number_probability=p)
    share = (task.sample(2000, np.random.default_rng(5)).tokens < 10).mean()
    error = math.sqrt(p * (1 - p) / 200_000)  # standard error of a share of 200,000 positions
    assert abs(share - p) < 5 * error
    assert abs(share - (p + 0.01)) > 5 * error  # negative control


def test_mixture_is_half_and_half() -> None:
    task = SelectiveCopying()
    ends_in_number = task.sample(10_000, np.random.default_rng(6), "mixture").tokens[:, -1] < 10
    # Only state-hard sequences end in a number; standard error 0.5 / 100.
    assert abs(ends_in_number.mean() - 0.5) < 5 * 0.005


def test_cases_in_numbers() -> None:
    state, window = SelectiveCopying().state_case(), SelectiveCopying().window_case()
    assert round(state.entropy_bits, 3) == 51.699 == round(state.zero_error_bits, 3)
    assert (window.control_distances, window.candidates_if_blind_to) == ((99,), (10,))
    assert window.candidate_distances == tuple(range(1, 11))
    assert SelectiveCopying(first_number=2, offset=1).window_case().candidate_distances == tuple(range(1, 11))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"seq_len": 11},
            r"^`seq_len` must be an integer from 12 .*\(the largest number is 10\); got 11",
        ),
        (
            {"n_numbers": 1},
            r"^`n_numbers` must be an integer from 2 .*\(one number alone asks nothing\); got 1",
        ),
        ({"n_numbers": True}, r"^`n_numbers` must be an integer (of at least|from) \d.*; got True \(bool\)"),
        ({"n_letters": 2.0}, r"^`n_letters` must be an integer (of at least|from) \d.*; got 2\.0 \(float\)"),
        ({"offset": 1}, r"^`first_number` must be an integer (of at least|from) \d.*; got 1"),
        ({"offset": 2}, "^`offset` must be an integer from 0 to 1; got 2"),
        ({"first_number": 0}, r"^`first_number` must be an integer (of at least|from) \d.*; got 0"),
        ({"number_probability": 0.0}, "^`number_probability` must be above 0 and below 1, or None; got 0.0"),
        ({"number_probability": math.nan}, "^`number_probability` must be above 0 and below 1, or None; got nan"),
    ],
)
def test_wrong_parameters_are_named(parameters: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        SelectiveCopying(**parameters)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
