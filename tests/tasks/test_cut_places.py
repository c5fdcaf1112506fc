"""Where the answers of a cut stand, what values they take, and the streams in which answers may be absent."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boundprobe.tasks import (
    IGNORE,
    TASKS,
    AbstractTask,
    AssociativeRecallDecoding,
    CutBatch,
    MultiKeyRecall,
    MultiQueryRecall,
    build_task,
    wrap_task,
)
from boundprobe.tasks.prefix_distributions import PairStream
from boundprobe.tasks.token_entropy import MOST_EXACT_TOKENS, conditional_floor, distinct_count_pmf, exact_entropies

CONFIGURATIONS: list[tuple[str, dict[str, object], str | None]] = [
    *((name, {}, preset) for name in TASKS for preset in (None, *TASKS[name].presets)),
    ("selective-copying", {"offset": 1, "first_number": 3, "n_numbers": 4, "seq_len": 11}, None),
    ("ar-decoding", {"word_bits": 3, "seq_len": 20}, None),
    ("mkar", {"vocab_size": 6, "key_length": 1, "seq_len": 24}, None),
    ("mkar", {"vocab_size": 5, "key_length": 3, "n_key_tokens": 2, "seq_len": 41}, None),
    ("ngram-retrieval", {"form": "prefix"}, None),
    ("position-retrieval", {"form": "prefix", "seq_len": 9}, None),
    ("mqar", {"gap": 40}, None),
    ("ar-decoding", {"word_bits": 3, "seq_len": 21, "gap": 9}, None),
    ("mkar", {"gap": 30}, None),
    ("mkar", {"vocab_size": 6, "key_length": 1, "seq_len": 24, "gap": 5}, None),
    ("copying", {"gap": 9}, None),
]
each_configuration = pytest.mark.parametrize(("name", "parameters", "preset"), CONFIGURATIONS)


def streams_of(task: AbstractTask) -> list[str]:
    known = task.parameters()
    return [s for s in task.cut_streams if s != "tokens" or (known["key_length"], known["gap"]) == (1, 0)]


def oracle(task: AbstractTask, tokens: list[int]) -> int:
    answer = task.reference_answer(tokens)
    return IGNORE if answer is None else answer


def read_at(task: AbstractTask, cut: CutBatch, answer: int) -> np.ndarray:
    """What ``task.answers`` says where a cut asks for one answer, (n,)."""
    tokens = cut.whole(np.full(len(cut.prefix), answer))
    told = 1 if cut.suffixes is None else cut.answers.shape[1] // cut.suffixes.shape[1]
    return task.answers(tokens)[:, answer % told - told]


@each_configuration
def test_answers_take_the_values_that_the_task_says(
    name: str, parameters: dict[str, object], preset: str | None
) -> None:
    task = build_task(name, parameters, preset)
    values, case = task.answer_values, task.state_case()
    assert values.dtype == np.int64
    assert (np.diff(values) > 0).all()
    assert len(values) == case.n_values
    # A value is missing from 40 K uniform answers with probability K e^-40 at most.
    answers = task.sample_cut(max(50, 40 * case.n_values // case.n_answers + 40), np.random.default_rng(0)).answers
    assert np.array_equal(np.unique(answers), values)


@each_configuration
def test_an_answer_stands_at_its_place(name: str, parameters: dict[str, object], preset: str | None) -> None:
    task = build_task(name, parameters, preset)
    cut = task.sample_cut(20, np.random.default_rng(1))
    assert cut.places is not None
    assert cut.places.shape == cut.answers.shape
    assert cut.places.dtype == np.int64
    assert cut.places.min() >= 0
    assert cut.places.max() < cut.prefix.shape[1]
    at = np.take_along_axis(cut.prefix, cut.places, axis=1)
    if name != "position-retrieval":
        assert (at == cut.answers).all()
        return
    x_at = 1 if parameters.get("form", "suffix") == "suffix" else 3
    assert (cut.places - x_at + task.seq_len == cut.answers).all()
    assert (at == (cut.queries[:, -1] if x_at == 1 else cut.prefix[:, 1:2])).all()


@each_configuration
def test_the_token_at_the_place_settles_the_answer(
    name: str, parameters: dict[str, object], preset: str | None
) -> None:
    # That a token equals the answer may be chance; that another one there becomes the answer is none.
    task, rng = build_task(name, parameters, preset), np.random.default_rng(2)
    if name == "position-retrieval":  # the answer is no copy of a token
        return
    for answer in rng.integers(task.state_case().n_answers, size=4).tolist():
        cut = task.sample_cut(8, rng)
        other = task.answer_values[rng.integers(len(task.answer_values), size=8)]
        cut.prefix[np.arange(8), cut.places[:, answer]] = other
        assert (read_at(task, cut, answer) == other).all()


@each_configuration
def test_streams_are_what_they_say(name: str, parameters: dict[str, object], preset: str | None) -> None:
    task = build_task(name, parameters, preset)
    usual = task.sample_cut(5, np.random.default_rng(3))
    for stream in streams_of(task):
        case, values = task.stream_case(stream), task.stream_values(stream)
        cut, again = (task.sample_cut_stream(30, np.random.default_rng(3), stream) for _ in range(2))
        assert np.array_equal(cut.prefix, again.prefix)
        assert cut.prefix.shape[1] == usual.prefix.shape[1]
        assert np.array_equal(cut.queries, usual.queries) or stream == "tokens"
        assert cut.answers.shape == cut.places.shape == (30, case.n_answers)
        assert (len(values), values.dtype) == (case.n_values, np.int64)
        assert 0 < case.entropy_bits <= case.n_answers * math.log2(case.n_values) * (1 + 1e-12)
        assert case.zero_error_bits >= case.entropy_bits * (1 - 1e-12)
        defined = cut.answers != IGNORE
        assert np.array_equal(defined, cut.places != IGNORE)
        assert np.isin(cut.answers[defined], values).all()
        assert task.sample_cut_stream(0, np.random.default_rng(0), stream).answers.shape == (0, case.n_answers)
        if stream == "keys-once":
            assert case == task.state_case()
            assert np.array_equal(cut.prefix[:5], task.sample_cut(30, np.random.default_rng(3)).prefix[:5])
            continue
        rows, _ = np.nonzero(defined)
        assert (cut.prefix[rows, cut.places[defined]] == cut.answers[defined]).all()
        for a in range(0, case.n_answers, max(1, case.n_answers // 9)):
            assert (read_at(task, cut, a) == cut.answers[:, a]).all()
            whole = cut.whole(np.full(30, a))
            assert [oracle(task, row) for row in whole[:3].tolist()] == cut.answers[:3, a].tolist()


@given(st.integers(1, 3), st.integers(1, 2), st.integers(0, 30), st.integers(0, 9), st.integers(0, 2**32 - 1))
def test_no_straddling_gram_is_mistaken_for_a_key(q: int, key_tokens: int, extra: int, gap: int, seed: int) -> None:
    task = MultiKeyRecall(key_tokens + 2, q, key_tokens, (q + 1) * key_tokens**q + gap + q + extra, gap)
    for stream in ("keys-once", "replacement"):
        cut = task.sample_cut_stream(6, np.random.default_rng(seed), stream)
        for a in range(task.n_keys):
            assert (read_at(task, cut, a) == cut.answers[:, a]).all()


def entropy_given_defined(rows: list[tuple[int, ...]]) -> float:
    """H(Y | which are defined) of equally likely rows."""

    def entropy(items: list[tuple[int, ...]]) -> float:
        share = np.array(list(Counter(items).values())) / len(items)
        return float(-(share * np.log2(share)).sum())

    return entropy(rows) - entropy([tuple(int(a == IGNORE) for a in row) for row in rows])


def enumerated(task: AbstractTask, stream: str) -> list[tuple[int, ...]]:
    """The oracle's answers on every prefix of a tiny stream, each as likely as the others."""
    cut = task.sample_cut_stream(1, np.random.default_rng(0), stream)
    length = cut.prefix.shape[1]
    if stream == "tokens":
        prefixes = itertools.product(range(task.vocab_size), repeat=length)
    else:
        law = task._stream(stream)
        assert isinstance(law, PairStream)
        pairs = [(*key, value) for key in law.keys.tolist() for value in law.values.tolist()]
        n_pairs = law.n_pairs
        gap = tuple(law.gap.tolist())
        filler = (int(law.filler[0]),) * (length - n_pairs * len(pairs[0]) - len(gap))
        prefixes = ((*filler, *itertools.chain(*some), *gap) for some in itertools.product(pairs, repeat=n_pairs))
    return [tuple(oracle(task, [*p, *query]) for query in cut.queries.tolist()) for p in prefixes]


TINY_STREAMS: dict[str, tuple[AbstractTask, str]] = {
    "ar-decoding": (AssociativeRecallDecoding(2, 9), "replacement"),
    "mqar": (MultiQueryRecall(2, 3, 2, 10), "replacement"),
    "mkar": (MultiKeyRecall(4, 1, 2, 10), "replacement"),
    "ar-decoding, a gap": (AssociativeRecallDecoding(2, 12, gap=3), "replacement"),
    "mqar, a gap": (MultiQueryRecall(2, 3, 2, 12, 2), "replacement"),
    "mkar, a gap": (MultiKeyRecall(4, 2, 2, 17, 3), "replacement"),
    "mkar, two tokens a key": (MultiKeyRecall(4, 2, 2, 14), "replacement"),
    "three tokens": (MultiKeyRecall(3, 1, 1, 8), "tokens"),
    "four tokens": (MultiKeyRecall(4, 1, 1, 6), "tokens"),
    "as many tokens as places": (MultiKeyRecall(5, 1, 1, 6), "tokens"),
}


@pytest.mark.parametrize("case", TINY_STREAMS)
def test_the_entropy_of_a_stream_by_enumeration(case: str) -> None:
    task, stream = TINY_STREAMS[case]
    rows, said = enumerated(task, stream), task.stream_case(stream)
    assert entropy_given_defined(rows) == pytest.approx(said.entropy_bits, abs=1e-9)
    alike: defaultdict[tuple[bool, ...], set[tuple[int, ...]]] = defaultdict(set)
    for row in rows:
        alike[tuple(a == IGNORE for a in row)].add(row)
    assert said.entropy_bits <= said.zero_error_bits <= math.log2(max(map(len, alike.values()))) + 1e-9
    if stream == "replacement":
        assert said.zero_error_bits == pytest.approx(math.log2(max(map(len, alike.values()))), abs=1e-9)


@pytest.mark.parametrize("case", TINY_STREAMS)
def test_a_stream_draws_the_enumerated_law(case: str) -> None:
    task, stream = TINY_STREAMS[case]
    rows = enumerated(task, stream)
    drawn = task.sample_cut_stream(20_000, np.random.default_rng(4), stream).answers
    expected = {row: 20_000 * count / len(rows) for row, count in Counter(rows).items()}
    seen = Counter(map(tuple, drawn.tolist()))
    assert set(seen) <= set(expected)

    def standard_score(counts: Counter[tuple[int, ...]]) -> float:
        """Of the chi-square statistic: mean k - 1, variance 2 (k - 1) + sum 1/expected."""
        k = len(expected)
        statistic = sum((counts[row] - e) ** 2 / e for row, e in expected.items())
        return (statistic - (k - 1)) / math.sqrt(2 * (k - 1) + sum(1 / e for e in expected.values()))

    assert abs(standard_score(seen)) < 6
    seen[rows[0]] += 2_000  # negative control: one row a tenth of all too frequent
    assert standard_score(seen) > 6


@pytest.mark.parametrize("n_tokens", [1, 2, 3, 4])
def test_trees_of_first_entries_by_enumeration(n_tokens: int) -> None:
    for n_draws in range(1, 9 if n_tokens == 4 else 10):
        draws = np.stack(np.unravel_index(np.arange(n_tokens**n_draws), (n_tokens,) * n_draws), axis=1)
        answers = np.full((len(draws), n_tokens), IGNORE)
        after = np.concatenate([draws[:, 1:], draws[:, -1:]], axis=1)
        for t in range(n_draws):
            answers[np.arange(len(draws)), draws[:, t]] = after[:, t]
        seen = np.unique((answers != IGNORE).sum(axis=1), return_counts=True)
        assert distinct_count_pmf(n_tokens, n_draws)[seen[0]].tolist() == pytest.approx((seen[1] / len(draws)).tolist())
        exact = entropy_given_defined(list(map(tuple, answers.tolist())))
        assert exact_entropies(n_tokens, n_draws)[0] == pytest.approx(exact, abs=1e-9)


def test_the_floor_lies_below_the_exact_entropy_and_meets_it() -> None:
    for n_tokens in range(1, MOST_EXACT_TOKENS + 1):
        for n_draws in (1, 2, 3, 5, 8, 13, 21, 34):
            exact, floor = exact_entropies(n_tokens, n_draws)[0], conditional_floor(n_tokens, n_draws)
            assert 0 <= floor <= exact + 1e-9
    # Long streams show every token, and every rooted tree is as likely: (n - 1) log2 n bits.
    assert conditional_floor(8, 400) == pytest.approx(21, abs=1e-9)
    assert exact_entropies(8, 400)[0] == pytest.approx(21, abs=1e-9)
    # Independent answers would have n log2 n: more than there is.
    assert exact_entropies(8, 400)[0] < 8 * 3


def test_larger_alphabets_get_a_floor() -> None:
    exact, below = (MultiKeyRecall(n, 1, 1, 300).stream_case("tokens") for n in (10, 64))
    assert exact.theorem.endswith("; zero error bounded from below")
    assert below.theorem.endswith("; entropy and zero error bounded from below")
    assert 0.97 * 63 * 6 < below.entropy_bits < 63 * 6


def test_a_uniform_prefix_asks_for_the_token_that_stands_last() -> None:
    # The query is read: asked for the last token, its successor is the query itself.
    task = MultiKeyRecall(3, 1, 1, 5)
    assert task.answers(np.array([[1, 0, 1, 2, 2]]))[0, -1] == 2
    cut = task.sample_cut_stream(50, np.random.default_rng(6), "tokens")
    last = cut.prefix[:, -1]
    assert (cut.answers[np.arange(50), last] == last).all()
    assert (cut.places[np.arange(50), last] == 3).all()


def test_streams_that_a_task_does_not_have_are_named() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"`stream` of mqar must be one of keys-once, replacement.*; got 'tokens'"):
        MultiQueryRecall().sample_cut_stream(2, rng, "tokens")
    with pytest.raises(ValueError, match="`key_length` must be an integer from 1 to 1; got 2"):
        MultiKeyRecall().stream_case("tokens")
    with pytest.raises(ValueError, match=r"`gap` must be an integer from 0 to 0; got 3.*every token is a key"):
        MultiKeyRecall(key_length=1, gap=3).stream_case("tokens")
    for stream in ("keys-once", "replacement"):
        with pytest.raises(ValueError, match="`n_sequences` must be an integer of at least 0; got -1"):
            MultiKeyRecall().sample_cut_stream(-1, rng, stream)


class Table:
    """Two cells, the second one absent where the first is 2; cells have different values."""

    def prefixes(self) -> list[tuple[int, int]]:
        return [(a, b) for a in (0, 1, 2) for b in (3, 4)]

    def queries(self) -> list[tuple[int]]:
        return [(5,), (6,)]

    def answer(self, prefix: tuple[int, ...], query: tuple[int, ...]) -> int | None:
        return None if query == (6,) and prefix[0] == 2 else prefix[query[0] - 5]


class Coins:
    """Two bits from a sampler."""

    entropy_bits = 2.0
    n_values = 2
    vocab_size = 5

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        return rng.integers(0, 2, (n, 2))

    def prefixes(self) -> Coins:
        return self

    def queries(self) -> list[tuple[int]]:
        return [(3,), (4,)]

    def answer(self, prefix: tuple[int, ...], query: tuple[int, ...]) -> int:
        return prefix[query[0] - 3]


def test_a_users_task_says_what_is_known() -> None:
    listed, sampled = wrap_task(Table()), wrap_task(Coins())
    assert listed.answer_values.tolist() == [0, 1, 2, 3, 4]
    assert sampled.answer_values.tolist() == [0, 1, 2, 3, 4]
    assert listed.sample_cut(4, np.random.default_rng(0)).places is None
    assert listed.stream_case("keys-once") == listed.state_case()
