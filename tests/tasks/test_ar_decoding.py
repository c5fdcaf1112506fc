"""Associative recall with decoding: answers against the oracle, and the laws of its distributions."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boundprobe.tasks import IGNORE, AssociativeRecallDecoding

TINY = AssociativeRecallDecoding(word_bits=2, seq_len=7)


def small(word_bits: int, extra: int = 0, gap: int = 0) -> AssociativeRecallDecoding:
    return AssociativeRecallDecoding(word_bits=word_bits, seq_len=2**word_bits + gap + word_bits + extra, gap=gap)


tasks = st.builds(small, st.integers(2, 4), st.integers(0, 5), st.integers(0, 5))


def enumerate_prefixes() -> list[tuple[int, ...]]:
    """All prefixes of TINY: a filler value, then keys 2 and 4 in any order, each with a value, 3 or 5."""
    return [
        (filler, a, x, b, y) for filler, (a, b), x, y in itertools.product((3, 5), ((2, 4), (4, 2)), (3, 5), (3, 5))
    ]


def z_score(counts: Counter[tuple[int, ...]], support: list[tuple[int, ...]]) -> float:
    """Standard scores of the chi-square statistic against the uniform law on ``support``."""
    expected = counts.total() / len(support)
    statistic = sum((counts[cell] - expected) ** 2 / expected for cell in support)
    return (statistic - (len(support) - 1)) / math.sqrt(2 * (len(support) - 1))


def rows(tokens: np.ndarray) -> Counter[tuple[int, ...]]:
    return Counter(map(tuple, tokens.tolist()))


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 4), st.floats(0, 1), st.integers(1, 24), st.integers(0, 2**32 - 1))
def test_answers_equal_the_oracle_on_every_prefix(b: int, bits: float, length: int, seed: int) -> None:
    task, rng = small(b), np.random.default_rng(seed)
    # Few distinct words, so that look-ups often succeed.
    words = rng.integers(2, 2 + 2 ** min(b, 3), (5, length))
    tokens = np.where(rng.random((5, length)) < bits, rng.integers(0, 2, (5, length)), words)
    answers = task.answers(tokens)
    for row, answer in zip(tokens, answers, strict=True):
        for t in range(length):
            expected = task.reference_answer(row[: t + 1].tolist())
            assert answer[t] == (IGNORE if expected is None else expected)


@settings(max_examples=30, deadline=None)
@given(tasks, st.sampled_from(["state-hard", "window-hard"]), st.integers(0, 2**32 - 1))
def test_hard_cases_have_their_structure(task: AssociativeRecallDecoding, case: str, seed: int) -> None:
    batch, b, m = task.sample(20, np.random.default_rng(seed), case), task.word_bits, task.n_keys
    state = case == "state-hard"
    bits = batch.tokens[:, -b:] if state else batch.tokens[:, :b]
    words = batch.tokens[:, :-b] if state else batch.tokens[:, b:]
    if state and task.gap:
        words, between = words[:, : -task.gap], words[:, -task.gap :]
        assert (between == 3).all()
    assert (bits < 2).all()
    assert (bits[:, -1] == 0).all()
    assert (words >= 2).all()
    keys, values, filler = words[:, -2 * m :: 2] - 2, words[:, 1 - 2 * m :: 2] - 2, words[:, : -2 * m] - 2
    assert (np.sort(keys, axis=1) == np.arange(0, task.n_words, 2)).all()
    assert (values % 2 == 1).all()
    assert (filler % 2 == 1).all()
    asked = bits @ (1 << np.arange(b)[::-1])
    assert (batch.targets[:, -1] == 2 + values[keys == asked[:, None]]).all()
    assert (batch.targets == task.answers(batch.tokens)).all()


def test_only_the_last_occurrence_counts() -> None:
    # The bits 00 name word 0 (id 2).  First word 1 follows it; then it occurs again, with no successor yet.
    # In between the bits spell 01 (word 1, which word 0 follows) and 10 (word 2, which never occurs).
    tokens = [0, 0, 2, 3, 2, 1, 0, 0, 5]
    assert TINY.answers(np.array([tokens])).tolist() == [[IGNORE, IGNORE, IGNORE, 3, IGNORE, 2, IGNORE, IGNORE, 5]]


def test_a_word_can_follow_itself() -> None:
    assert TINY.answers(np.array([[1, 0, 4, 4, 3]])).tolist() == [[IGNORE, IGNORE, IGNORE, IGNORE, 3]]


def test_state_hard_and_the_cut_have_one_law() -> None:
    # 16 prefixes x 2 queries, all equally likely; |z| < 6 standard deviations of the chi-square statistic.
    n, prefixes = 16_000, enumerate_prefixes()
    joint = [prefix + query for prefix in prefixes for query in ((0, 0), (1, 0))]
    sampled = rows(TINY.sample(n, np.random.default_rng(1), "state-hard").tokens)
    assert set(sampled) == set(joint)
    assert abs(z_score(sampled, joint)) < 6
    cut = TINY.sample_cut(n, np.random.default_rng(2))
    assert set(rows(cut.prefix)) == set(prefixes)
    assert abs(z_score(rows(cut.prefix), prefixes)) < 6
    answers = list(itertools.product((3, 5), repeat=2))
    assert abs(z_score(rows(cut.answers), answers)) < 6
    # Negative control: the same counts, with one prefix in 20 replaced by the first one, are told apart.
    biased = cut.prefix.copy()
    biased[::20] = prefixes[0]
    assert z_score(rows(biased), prefixes) > 6


def test_window_hard_law() -> None:
    support = [query + prefix for prefix in enumerate_prefixes() for query in ((0, 0), (1, 0))]
    sampled = rows(TINY.sample(16_000, np.random.default_rng(3), "window-hard").tokens)
    assert set(sampled) == set(support)
    assert abs(z_score(sampled, support)) < 6


def test_key_orders_are_uniform() -> None:
    prefix = small(3).sample_cut(24_000, np.random.default_rng(4)).prefix
    orders = list(itertools.permutations((2, 4, 6, 8)))
    assert abs(z_score(rows(prefix[:, ::2]), orders)) < 6
    assert z_score(rows(np.sort(prefix[:, ::2], axis=1)), orders) > 6  # negative control


@pytest.mark.parametrize("p", [0.2, 0.7])
def test_bit_probability_is_the_share_of_bits(p: float) -> None:
    task = AssociativeRecallDecoding(bit_probability=p)
    tokens = task.sample(2000, np.random.default_rng(5)).tokens
    error = math.sqrt(p * (1 - p) / tokens.size)  # standard error of a share of 200,000 positions
    assert abs((tokens < 2).mean() - p) < 5 * error
    assert abs((tokens < 2).mean() - (p + 0.01)) > 5 * error  # negative control
    counts = np.bincount(tokens[tokens >= 2] - 2, minlength=32)
    assert abs(z_score(Counter({(i,): int(c) for i, c in enumerate(counts)}), [(i,) for i in range(32)])) < 6


def test_mixture_is_half_and_half() -> None:
    tokens = AssociativeRecallDecoding().sample(10_000, np.random.default_rng(6), "mixture").tokens
    ends_in_bit = tokens[:, -1] < 2
    assert (ends_in_bit ^ (tokens[:, 0] < 2)).all()
    assert abs(ends_in_bit.mean() - 0.5) < 5 * 0.005  # standard error 0.5 / sqrt(10,000)


def test_cases_in_numbers() -> None:
    state, window = AssociativeRecallDecoding().state_case(), AssociativeRecallDecoding().window_case()
    assert (state.entropy_bits, state.zero_error_bits) == (64.0, 64.0)
    assert (state.n_answers, state.n_values) == (16, 16)
    assert window.control_distances == (99, 98, 97, 96, 95)
    assert window.candidates_if_blind_to == (2, 4, 8, 16, 16)
    assert window.candidate_distances == tuple(range(0, 31, 2))


def test_many_words_work() -> None:
    task = AssociativeRecallDecoding(word_bits=10, seq_len=1034)
    batch = task.sample(3, np.random.default_rng(7), "state-hard")
    assert (task.answers(batch.tokens) == batch.targets).all()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"seq_len": 36},
            r"^`seq_len` must be an integer from 37 .*32 words once each and 5 bits\); got 36",
        ),
        (
            {"seq_len": 38, "gap": 2},
            r"^`seq_len` must be an integer from 39 .*32 words once each, a gap of 2 and 5 bits\); got 38",
        ),
        ({"gap": -1}, "^`gap` must be an integer from 0 to 1073741824; got -1"),
        ({"word_bits": 1}, "^`word_bits` must be an integer from 2 to 16; got 1"),
        ({"word_bits": 17}, "^`word_bits` must be an integer from 2 to 16; got 17"),
        ({"word_bits": True}, r"^`word_bits` must be an integer from 2 to 16; got True \(bool\)"),
        ({"word_bits": "5"}, r"^`word_bits` must be an integer from 2 to 16; got '5' \(str\)"),
        ({"bit_probability": 1}, "^`bit_probability` must be above 0 and below 1; got 1"),
        ({"bit_probability": None}, "^`bit_probability` must be above 0 and below 1; got None"),
    ],
)
def test_wrong_parameters_are_named(parameters: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        AssociativeRecallDecoding(**parameters)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
