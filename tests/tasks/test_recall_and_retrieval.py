"""The six recall, copying and retrieval tasks: answers against the oracles, the hard cases against enumeration."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boundprobe.tasks import (
    IGNORE,
    TASKS,
    AbstractTask,
    Copying,
    MultiKeyRecall,
    MultiQueryRecall,
    Needle,
    NgramRetrieval,
    PositionRetrieval,
    build_task,
)
from boundprobe.tasks.sampling import distinct_integers

seeds = st.integers(0, 2**32 - 1)


@st.composite
def mkar(draw: st.DrawFn) -> MultiKeyRecall:
    q, keys = draw(st.integers(1, 3)), draw(st.none() | st.integers(1, 2))
    shortest = (q + 1) * (keys or 1) ** q + q
    vocab, gap = draw(st.integers(2 + (keys or 1), 6)), draw(st.integers(0, 6))
    return MultiKeyRecall(vocab, q, keys, shortest + gap + draw(st.integers(0, 12)), gap)


@st.composite
def mqar(draw: st.DrawFn) -> MultiQueryRecall:
    pairs = draw(st.integers(1, 4))
    extra, values, length = draw(st.integers(0, 20)), draw(st.integers(2, 4)), draw(st.integers(0, 6))
    gap = draw(st.integers(0, 6))
    return MultiQueryRecall(pairs, pairs + extra, values, max(3 * pairs, 2 * pairs + gap + 1) + length, gap)


@st.composite
def ngram(draw: st.DrawFn) -> NgramRetrieval:
    n = draw(st.integers(2, 5))
    q, vocab = draw(st.integers(1, n - 1)), draw(st.integers(3, 6))
    return NgramRetrieval(vocab, n, q, n + draw(st.integers(0, 12)), draw(st.sampled_from(["suffix", "prefix"])))


tasks = st.one_of(
    mkar(),
    mqar(),
    ngram(),
    st.builds(Needle, st.integers(2, 4), st.integers(3, 9)),
    st.builds(Copying, st.integers(2, 4), st.integers(1, 6), st.integers(0, 4)),
    st.builds(PositionRetrieval, st.integers(3, 7), st.sampled_from(["suffix", "prefix"])),
)
hard = st.sampled_from(["state-hard", "window-hard", "mixture"])


def oracle(task: AbstractTask, tokens: list[int]) -> int:
    answer = task.reference_answer(tokens)
    return IGNORE if answer is None else answer


def chi_square(counts: np.ndarray) -> float:
    """Standard scores of the chi-square statistic against equal cells: mean k - 1, variance 2 (k - 1)."""
    expected, k = counts.sum() / len(counts), len(counts)
    return float((((counts - expected) ** 2 / expected).sum() - (k - 1)) / math.sqrt(2 * (k - 1)))


def entropy(rows: list[tuple[int, ...]]) -> float:
    """Entropy in bits of equally likely rows."""
    counts = np.array(list(Counter(rows).values())) / len(rows)
    return float(-(counts * np.log2(counts)).sum())


@settings(max_examples=250, deadline=None)
@given(tasks, st.floats(0, 1), st.sampled_from(["uniform", "state-hard", "window-hard"]), seeds)
def test_answers_equal_the_oracle_on_every_prefix(
    task: AbstractTask, damage: float, distribution: str, seed: int
) -> None:
    # From well-formed sequences (no damage) to uniform noise: every path of both is met.
    rng = np.random.default_rng(seed)
    tokens = task.sample(4, rng, distribution).tokens
    spoilt = rng.random(tokens.shape) < damage**3
    tokens = np.where(spoilt, rng.integers(0, task.n_token_ids, tokens.shape), tokens)
    tokens = np.concatenate([tokens, rng.integers(0, task.n_token_ids, (4, seed % 4))], axis=1)
    answers = task.answers(tokens)
    for row, answer in zip(tokens.tolist(), answers.tolist(), strict=True):
        assert answer == [oracle(task, row[: t + 1]) for t in range(len(row))]


@settings(max_examples=100, deadline=None)
@given(tasks, hard, seeds)
def test_hard_sequences_have_their_answers(task: AbstractTask, distribution: str, seed: int) -> None:
    batch = task.sample(12, np.random.default_rng(seed), distribution)
    assert (batch.targets[:, -1] != IGNORE).all()
    assert (batch.targets[batch.targets != IGNORE] == task.answers(batch.tokens)[batch.targets != IGNORE]).all()


@settings(max_examples=60, deadline=None)
@given(tasks, seeds)
def test_a_cut_answers_like_the_oracle(task: AbstractTask, seed: int) -> None:
    cut = task.sample_cut(3, np.random.default_rng(seed))
    n_answers = task.state_case().n_answers
    assert cut.answers.shape == (3, n_answers)
    told = n_answers if cut.suffixes is None else n_answers // cut.suffixes.shape[1]
    for a in range(n_answers):
        tokens = cut.whole(np.full(3, a))
        end = tokens.shape[1] if cut.suffixes is None else tokens.shape[1] - told + a % told + 1
        assert [oracle(task, row[:end]) for row in tokens.tolist()] == cut.answers[:, a].tolist()


def key_prefixes(keys: list[tuple[int, ...]], values: range, n_after: int) -> Iterator[tuple[int, ...]]:
    """Every order of the keys, every choice of values after each."""
    choices = list(itertools.product(values, repeat=n_after))
    for order in itertools.permutations(keys):
        for after in itertools.product(choices, repeat=len(keys)):
            yield tuple(itertools.chain.from_iterable(k + v for k, v in zip(order, after, strict=True)))


def enumerated_rows(case: str) -> tuple[AbstractTask, list[tuple[int, ...]]]:
    """All equally likely prefixes of a tiny hard case, without the package's samplers, and the oracle's answers."""
    if case == "mkar":
        task: AbstractTask = MultiKeyRecall(4, 2, 2, 14)
        keys = list(itertools.product((0, 1), repeat=2))
        prefixes = key_prefixes(keys, range(2, 4), 1)
        return task, [tuple(oracle(task, [*p, *k]) for k in keys) for p in prefixes]
    if case == "mqar":
        task = MultiQueryRecall(3, 4, 2, 9)
        prefixes = key_prefixes([(0,), (1,), (2,)], range(4, 6), 1)
        return task, [tuple(oracle(task, [*p, 6, 6, k]) for k in range(3)) for p in prefixes]
    if case == "needle":
        task = Needle(8, 5)
        return task, [(oracle(task, [a, 8, b, 9]),) for a in range(8) for b in range(8)]
    if case == "copying":
        task = Copying(3, 4)
        strings = list(itertools.product(range(3), repeat=4))
        return task, [tuple(oracle(task, [*x, 3, *x[:i]]) for i in range(4)) for x in strings]
    if case == "ngram-suffix":
        task = NgramRetrieval(5, 3, 1, 6)  # K = 2, two keys, three values, two targets each
        assert (task.split, task.n_grams) == (2, 2)
        rows = []
        for x in key_prefixes([(0,), (1,)], range(2, 5), 2):
            told = {key: x[x.index(key) + 1] for key in (0, 1)}
            rows.append(tuple(oracle(task, [5, *x, 5, 6, k, 6, *[told[k]][:j]]) for k in (0, 1) for j in (0, 1)))
        return task, rows
    if case == "ngram-prefix":
        task = NgramRetrieval(5, 3, 1, 6, "prefix")
        rows = []
        for x in key_prefixes([(0,), (1,)], range(2, 5), 2):
            for key in (0, 1):
                told = x[x.index(key) + 1]
                rows.append(tuple(oracle(task, [6, key, 5, *x, 5, 6, *[told][:j]]) for j in (0, 1)))
        return task, rows
    form = case.removeprefix("position-")
    task = PositionRetrieval(5, form)
    if form == "suffix":
        orders = itertools.permutations(range(5))
        return task, [tuple(oracle(task, [10, *x, 11, a]) for a in range(5)) for x in orders]
    orders = itertools.permutations(range(4))
    return task, [(oracle(task, [11, a, 10, *x, 4]),) for x in orders for a in range(4)]


CASES = ["mkar", "mqar", "needle", "copying", "ngram-suffix", "ngram-prefix", "position-suffix", "position-prefix"]


@pytest.mark.parametrize("case", CASES)
def test_entropy_and_rows_by_enumeration(case: str) -> None:
    task, rows = enumerated_rows(case)
    said = task.state_case()
    assert entropy(rows) == pytest.approx(said.entropy_bits, abs=1e-9)
    assert math.log2(len(set(rows))) == pytest.approx(said.zero_error_bits, abs=1e-9)
    assert {len(set(column)) for column in zip(*rows, strict=True)} == {said.n_values}
    assert len(rows[0]) == said.n_answers
    independent = math.isclose(said.entropy_bits, said.n_answers * math.log2(said.n_values))
    assert said.independent_uniform == independent


@pytest.mark.parametrize("case", CASES)
def test_the_cut_draws_the_enumerated_law(case: str) -> None:
    task, rows = enumerated_rows(case)
    cut = task.sample_cut(20_000, np.random.default_rng(1))
    counts = Counter(map(tuple, cut.answers.tolist()))
    assert set(counts) == set(rows)
    observed = np.array(list(counts.values()))
    assert abs(chi_square(observed)) < 6
    biased = observed.copy()  # negative control: one answer row a quarter too frequent
    biased[0] += observed.sum() // 4
    assert chi_square(biased) > 6


@pytest.mark.parametrize("vocab_size", [2, 3])
def test_telling_earlier_tokens_leaves_the_error_balls_as_they_are(vocab_size: int) -> None:
    # The claim behind S1 and S3 under teacher forcing: for every predictor that is told the tokens before,
    # as many words have e errors as for a fixed word.
    n = 3 if vocab_size == 2 else 2
    nodes = [prefix for i in range(n) for prefix in itertools.product(range(vocab_size), repeat=i)]
    ball = [math.comb(n, e) * (vocab_size - 1) ** e for e in range(n + 1)]
    for guesses in itertools.product(range(vocab_size), repeat=len(nodes)):
        predictor = dict(zip(nodes, guesses, strict=True))
        words = itertools.product(range(vocab_size), repeat=n)
        errors = Counter(sum(predictor[word[:i]] != word[i] for i in range(n)) for word in words)
        assert [errors[e] for e in range(n + 1)] == ball


def blind_accuracy(tokens: np.ndarray, answers: np.ndarray, sees: int) -> float:
    """E[max_y P(y | last R tokens)] over the sequences given, each equally likely."""
    seen: dict[tuple[int, ...], Counter[int]] = {}
    for row, answer in zip(tokens[:, tokens.shape[1] - sees :].tolist(), answers.tolist(), strict=True):
        seen.setdefault(tuple(row), Counter())[answer] += 1
    return sum(max(counter.values()) for counter in seen.values()) / len(tokens)


@pytest.mark.parametrize(
    "task",
    [
        MultiKeyRecall(4, 1, 1, 5),
        Needle(3, 5),
        MultiQueryRecall(1, 2, 3, 5),
        MultiQueryRecall(1, 2, 3, 6, 3),
        MultiKeyRecall(4, 1, 1, 6, 2),
        Copying(2, 4),
        Copying(2, 3, 2),
        NgramRetrieval(4, 2, 1, 4),
        NgramRetrieval(4, 2, 1, 4, "prefix"),
        PositionRetrieval(4),
        PositionRetrieval(4, "prefix"),
    ],
    ids=lambda task: f"{task.name}-{getattr(task, 'form', '')}-{getattr(task, 'gap', '')}",
)
def test_who_does_not_see_the_candidate_guesses(task: AbstractTask) -> None:
    case = task.window_case()
    assert (case.control_distances, case.candidates_if_blind_to) == ((), ())
    batch = task.sample(6000, np.random.default_rng(2), "window-hard")
    # Every sequence once: all are equally likely.
    tokens, kept = np.unique(batch.tokens, axis=0, return_index=True)
    answers = batch.targets[kept, -1]
    for sees in range(1, task.n_positions + 1):
        best = 1.0 if case.candidate_distances[0] < sees else 1 / case.n_values
        assert blind_accuracy(tokens, answers, sees) == pytest.approx(best)


@pytest.mark.parametrize("name", ["ngram-retrieval", "position-retrieval"])
def test_the_query_first_needs_few_bits(name: str) -> None:
    suffix, prefix = (build_task(name, {"form": form}, "paper").state_case() for form in ("suffix", "prefix"))
    assert prefix.entropy_bits < 15 < 250 < suffix.entropy_bits
    assert prefix.n_answers * 20 <= suffix.n_answers


@pytest.mark.parametrize("form", ["suffix", "prefix"])
def test_duplicate_queries_stand_in_two_bins(form: str) -> None:
    task = NgramRetrieval(vocab_size=8, n=4, query_length=2, seq_len=22, form=form)
    batch = task.sample(4000, np.random.default_rng(3), "duplicate-query")
    x, gram = task._layout.split(batch.tokens)
    edges = [0, 5, 11, 16, 22]
    pairs: Counter[tuple[int, int]] = Counter()
    followers = np.empty((4000, 2, 2), np.int64)
    for i, (row, query) in enumerate(zip(x.tolist(), gram.tolist(), strict=True)):
        first, second = (j for j in range(21) if row[j : j + 2] == query)  # exactly twice
        bins = [next(b for b in range(4) if edges[b] <= j and j + 4 <= edges[b + 1]) for j in (first, second)]
        assert bins[0] < bins[1]
        assert row[first + 2] != row[second + 2]
        pairs[bins[0], bins[1]] += 1
        followers[i] = row[first + 2 : first + 4], row[second + 2 : second + 4]
    assert set(pairs) == set(itertools.combinations(range(4), 2))
    for which in (0, 1):
        for k in (1, 2):
            found = task.answer_bins(batch.tokens, followers[:, which, :k])
            assert Counter(found.tolist()) == Counter(pair[which] for pair in pairs.elements())
    neither = (followers.max(axis=(1, 2)) + 1) % 8
    right = (followers[:, :, 0] == neither[:, None]).any(axis=1)
    assert (task.answer_bins(batch.tokens, neither[:, None])[~right] == -1).all()


def test_ngram_queries_are_uniform_among_those_that_occur_once() -> None:
    task = NgramRetrieval(vocab_size=3, n=3, query_length=2, seq_len=7)
    tokens = task.sample(20_000, np.random.default_rng(4)).tokens
    x, gram = task._layout.split(tokens)
    counts: dict[int, Counter[int]] = {}
    for row, query in zip(x.tolist(), gram.tolist(), strict=True):
        grams = [row[i : i + 2] for i in range(6)]
        once = [i for i in range(5) if grams.count(grams[i]) == 1]
        if once:
            assert query in [grams[i] for i in once]
            counts.setdefault(len(once), Counter())[once.index(grams.index(query))] += 1
    for n_once, counter in counts.items():
        if n_once > 1:
            assert abs(chi_square(np.array([counter[i] for i in range(n_once)]))) < 6


@pytest.mark.parametrize(("high", "k"), [(4, 2), (4, 3), (9, 3)])
def test_distinct_integers_are_uniform_over_ordered_choices(high: int, k: int) -> None:
    drawn = distinct_integers(np.random.default_rng(5), high, (40_000, k))
    counts = Counter(map(tuple, drawn.tolist()))
    assert set(counts) == set(itertools.permutations(range(high), k))
    assert abs(chi_square(np.array(list(counts.values())))) < 6
    sorted_rows = Counter(map(tuple, np.sort(drawn, axis=1).tolist()))
    skew = np.array([sorted_rows[choice] for choice in itertools.permutations(range(high), k)])
    assert chi_square(skew) > 6  # negative control


def test_mkar_takes_the_best_split_that_fits() -> None:
    def best(vocab: int, q: int, length: int) -> float:
        fit = [k for k in range(1, vocab - 1) if (q + 1) * k**q + q <= length]
        return max(k**q * math.log2(vocab - k) for k in fit)

    for vocab, q, length in itertools.product(range(3, 12), (1, 2, 3), (7, 20, 50, 100)):
        case = MultiKeyRecall(vocab, q, None, length).state_case()
        assert case.entropy_bits == pytest.approx(best(vocab, q, length))
    assert MultiKeyRecall().split == 5


def test_mqar_asks_each_key_once() -> None:
    task = MultiQueryRecall(4, 30, 5, 20)
    batch = task.sample(500, np.random.default_rng(6))
    keys = np.sort(batch.tokens[:, :8:2], axis=1)
    assert (keys[:, 1:] > keys[:, :-1]).all()
    rest = np.sort(batch.tokens[:, 8:], axis=1)
    assert (rest[:, :4] == keys).all()
    assert (rest[:, 4:] == 35).all()
    assert ((batch.targets != IGNORE).sum(axis=1) == 4).all()
    assert (batch.targets == task.answers(batch.tokens)).all()


def test_cases_in_numbers() -> None:
    bits = {name: round(build_task(name, {}, "paper").state_case().entropy_bits, 3) for name in TASKS}
    assert {name: bits[name] for name in ("mkar", "needle", "mqar", "copying", "position-retrieval")} == {
        "mkar": 39.624,
        "needle": 6.644,
        "mqar": 48.0,
        "copying": 1410.132,
        "position-retrieval": 1245.381,
    }
    # 100 tokens hold 20 key bigrams over 5 tokens, each with 3 of 25 values: of L log2 V = 490.7 bits.
    assert bits["ngram-retrieval"] == 278.631 == round(60 * math.log2(25), 3)
    assert build_task("mqar", {}, "paper").vocab_size == 8192
    assert (Needle().n_token_ids, Copying().n_token_ids, NgramRetrieval().n_token_ids) == (102, 27, 32)
    assert (NgramRetrieval().n_positions, PositionRetrieval().n_positions, Copying().n_positions) == (72, 67, 40)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        (
            "mkar",
            {"vocab_size": 2},
            r"^`vocab_size` must be an integer from 3 to 524288 \(a key token and two values\); got 2",
        ),
        ("mkar", {"key_length": 13}, r"^`key_length` must be an integer from 1 to.*; got 13"),
        ("mkar", {"n_key_tokens": 7}, r"^`n_key_tokens` must be an integer from 1 to.*; got 7"),
        ("mkar", {"n_key_tokens": 6}, r"^`seq_len` must be an integer (of at least|from) \d.*; got 100"),
        ("mkar", {"seq_len": 4}, r"^`seq_len` must be an integer (of at least|from) 5 .*\(.*\); got 4"),
        ("needle", {"vocab_size": 1}, r"^`vocab_size` must be an integer (of at least|from) \d.*; got 1"),
        ("needle", {"seq_len": 2}, r"^`seq_len` must be an integer (of at least|from) 3 .*\(.*\); got 2"),
        ("mqar", {"n_pairs": 0}, r"^`n_pairs` must be an integer from 1 to 1048576; got 0"),
        ("mqar", {"n_keys": 7}, r"^`n_keys` must be an integer from 8 to.*; got 7"),
        (
            "mqar",
            {"n_values": 1},
            r"^`n_values` must be an integer from 2 to 1048576 \(one value alone is no answer\); got 1",
        ),
        (
            "mqar",
            {"seq_len": 23},
            r"^`seq_len` must be an integer (of at least|from) 24 .*\(8 pairs, and each key once more\); got 23",
        ),
        ("copying", {"vocab_size": 1}, r"^`vocab_size` must be an integer (of at least|from) \d.*; got 1"),
        ("mqar", {"gap": -1}, r"^`gap` must be an integer from 0 to 1073741824; got -1"),
        (
            "mqar",
            {"gap": 48},
            r"^`seq_len` must be an integer from 65 .*\(8 pairs, a gap of 48 and a key\); got 64",
        ),
        ("mqar", {"gap": 1, "seq_len": 23}, r"^`seq_len` must be an integer from 24 .*each key once more\); got 23"),
        (
            "mkar",
            {"key_length": 1, "n_key_tokens": 6, "gap": 88},
            r"^`seq_len` must be an integer from 101 .*\(6 keys, their values, a gap of 88, and a query\); got 100",
        ),
        ("mkar", {"gap": 1.5}, r"^`gap` must be an integer.*; got"),
        ("copying", {"gap": -1}, r"^`gap` must be an integer from 0 to 1073741784; got -1"),
        ("copying", {"n_tokens": 0}, r"^`n_tokens` must be an integer from 1 to 1048576; got 0"),
        (
            "ngram-retrieval",
            {"vocab_size": 2},
            r"^`vocab_size` must be an integer from 3 to 1073741824 \(a key token and two values\); got 2",
        ),
        (
            "ngram-retrieval",
            {"n": 1},
            r"^`n` must be an integer from 2 .*\(a query and a target\); got 1",
        ),
        ("ngram-retrieval", {"query_length": 5}, r"^`query_length` must be an integer from 1 to.*; got 5"),
        (
            "ngram-retrieval",
            {"seq_len": 4},
            r"^`seq_len` must be an integer (of at least|from) 5 .*\(.*\); got 4",
        ),
        (
            "ngram-retrieval",
            {"form": "sufix"},
            r"^`form` must be one of suffix, prefix; got 'sufix'\. Did you mean 'suffix'\?",
        ),
        (
            "position-retrieval",
            {"seq_len": 2},
            r"^`seq_len` must be an integer (of at least|from) 3 .*\(.*\); got 2",
        ),
        ("position-retrieval", {"form": "infix"}, "^`form` must be one of suffix, prefix; got 'infix'"),
    ],
)
def test_wrong_parameters_are_named(name: str, parameters: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        build_task(name, parameters)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (NgramRetrieval(seq_len=19), r"^`seq_len` must be an integer from 20 to.*; got 19"),
        (
            NgramRetrieval(vocab_size=3, seq_len=20),
            r"^`seq_len` must be an integer .*20.*; got 20",
        ),
    ],
)
def test_duplicate_queries_need_room(task: NgramRetrieval, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        task.sample(1, np.random.default_rng(0), "duplicate-query")
