"""Codes of rounded states: probabilities, what they cost, and the coverage of the entropy's upper limit."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from boundprobe.probes.quantised import StateCode, chow_liu_parents, entropy_upper_bound, fit_code
from boundprobe.probes.quantised.chow_liu import pairwise_information

#: Repetitions at alpha = 0.05 and the most violations: 3.2 standard deviations above the mean.
MANY, FEW = (2000, 131), (400, 34)


def every_state(n_entries: int, entry_bits: int) -> np.ndarray:
    return np.array(list(itertools.product(range(2**entry_bits), repeat=n_entries)))


def chain(n: int, n_entries: int, entry_bits: int, seed: int = 0) -> np.ndarray:
    """Each entry stays as the one before with probability 0.9, else is drawn anew."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 2**entry_bits, (n, n_entries))
    for j in range(1, n_entries):
        codes[:, j] = np.where(rng.random(n) < 0.9, codes[:, j - 1], codes[:, j])
    return codes


@pytest.mark.parametrize(("n_entries", "entry_bits"), [(1, 1), (1, 5), (3, 2), (5, 1), (2, 3)])
@pytest.mark.parametrize("source", ["chain", "constant", "uniform"])
def test_lengths_are_those_of_probabilities(n_entries: int, entry_bits: int, source: str) -> None:
    codes = {
        "chain": chain(200, n_entries, entry_bits),
        "constant": np.zeros((200, n_entries), int),
        "uniform": np.random.default_rng(1).integers(0, 2**entry_bits, (200, n_entries)),
    }[source]
    code = fit_code(codes, entry_bits)
    lengths = code.lengths_bits(every_state(n_entries, entry_bits))
    # Every state has a word, and the words are those of one law: the sum is 1, not only at most 1.
    assert np.exp2(-lengths).sum() == pytest.approx(1, abs=1e-9)
    assert (lengths >= code.least_bits).all()
    assert (lengths <= code.most_bits).all()
    assert 0 <= code.least_bits <= code.nominal_bits == n_entries * entry_bits
    assert code.most_bits <= code.nominal_bits + 6


@pytest.mark.parametrize("entry_bits", [9, 16, 32])
def test_fine_bits_are_sent_as_they_are(entry_bits: int) -> None:
    codes = np.random.default_rng(0).integers(0, 2**entry_bits, (400, 3))
    code = fit_code(codes, entry_bits)
    assert code.coarse_bits <= 8
    assert code.least_bits >= 3 * (entry_bits - 8)
    assert entropy_upper_bound(code, codes[:50], 0.05).upper <= 3 * entry_bits
    coarse_words = np.exp2(code.tables)
    assert coarse_words.sum(axis=2) == pytest.approx(np.ones(coarse_words.shape[:2]))


def test_the_code_comes_near_the_entropy() -> None:
    codes, fresh = chain(20_000, 12, 1), chain(20_000, 12, 1, seed=1)
    stay = 0.95  # kept, or drawn anew and the same
    truth = 1 + 11 * -(stay * math.log2(stay) + (1 - stay) * math.log2(1 - stay))
    code = fit_code(codes, 1)
    assert code.context_bits == 1
    mean = float(code.lengths_bits(fresh).mean())
    assert truth - 0.1 < mean < truth + 0.1  # the mean's standard error is 0.02; plain bits cost 0.02
    # Each entry is next to its parent in the chain.
    assert (np.abs(code.parents[1:] - np.arange(1, 12)) == 1).all()
    # Negative control: a code for independent entries pays for each of them in full.
    alone = StateCode(1, 1, 0, np.full(12, -1), np.log2(np.full((12, 1, 2), 0.5)))
    assert alone.lengths_bits(fresh).mean() == pytest.approx(12, abs=0.05)


def test_entries_that_tell_nothing_of_each_other_get_no_parents() -> None:
    biased = (np.random.default_rng(2).random((3000, 30)) < 0.2).astype(np.int64)
    assert fit_code(biased, 1).context_bits == 0


def test_histograms_are_as_fine_as_the_states_allow() -> None:
    normal = np.random.default_rng(3).normal(size=(20_000, 4))
    codes = np.clip((normal + 4) * 32, 0, 255).astype(np.int64)
    few, many = fit_code(codes[:120], 8), fit_code(codes, 8)
    assert few.coarse_bits < many.coarse_bits
    # Entropy of a normal entry in bins of 1/32: log2(sqrt(2 pi e)) + 5 bits.
    assert many.lengths_bits(codes).mean() == pytest.approx(4 * (2.0471 + 5), abs=0.15)
    # Where the last bits never change, fine histograms see it.
    even = fit_code(codes // 4 * 4, 8)
    assert even.coarse_bits == 8
    assert even.lengths_bits(codes // 4 * 4).mean() == pytest.approx(4 * (2.0471 + 3), abs=0.15)


def test_pairwise_information_and_the_tree_by_hand() -> None:
    codes = chain(4000, 5, 2)
    found = pairwise_information(codes)
    for i, j in itertools.combinations(range(5), 2):
        joint = np.bincount(codes[:, i] * 4 + codes[:, j], minlength=16).reshape(4, 4) / len(codes)
        apart = np.outer(joint.sum(axis=1), joint.sum(axis=0))
        assert found[i, j] == pytest.approx(float((joint * np.log2(joint / apart)).sum()), abs=1e-9)
        assert found[i, j] == found[j, i]

    def weight(parents: list[int]) -> float:
        return sum(found[j, p] for j, p in enumerate(parents) if p >= 0)

    trees = [[-1, *rest] for rest in itertools.product(range(5), repeat=4) if is_tree([-1, *rest])]
    assert len(trees) == 125  # Cayley
    assert weight(chow_liu_parents(codes).tolist()) == pytest.approx(max(map(weight, trees)))


def is_tree(parents: list[int]) -> bool:
    for start in range(len(parents)):
        seen, at = set(), start
        while parents[at] >= 0 and at not in seen:
            seen.add(at)
            at = parents[at]
        if at in seen:
            return False
    return True


def test_very_wide_states_are_coded_entry_by_entry() -> None:
    copies = np.repeat(np.random.default_rng(7).integers(0, 2, (40, 1)), 2049, axis=1)
    assert fit_code(copies[:, :2048], 1).context_bits == 1
    assert fit_code(copies, 1).context_bits == 0


@pytest.mark.parametrize(("repetitions", "most_violations"), [FEW, pytest.param(*MANY, marks=pytest.mark.slow)])
def test_coverage_of_the_entropy(repetitions: int, most_violations: int) -> None:
    # Eight bits in four pairs of copies with noise: the law of all 256 states is known.
    n_entries, n, flip = 8, 100, 0.1
    states = every_state(n_entries, 1)
    ones = np.array([0.5, 0.2, 0.05, 0.9])
    pairs = states.reshape(-1, 4, 2)
    law = np.where(pairs[:, :, 0] == 1, ones, 1 - ones).prod(axis=1)
    law *= np.where(pairs[:, :, 0] == pairs[:, :, 1], 1 - flip, flip).prod(axis=1)
    entropy = float(-(law * np.log2(law)).sum())
    rng = np.random.default_rng(4)
    code = fit_code(states[rng.choice(256, 2000, p=law)], 1)
    lengths = code.lengths_bits(states)
    mean = float(law @ lengths)
    assert entropy < mean < entropy + 0.3
    seen = states[rng.choice(256, 50, p=law)]
    below_mean = below_entropy = plug_in_below = distinct_below = 0
    for _ in range(repetitions):
        drawn = rng.choice(256, n, p=law)
        found = entropy_upper_bound(code, states[drawn], 0.05, seen=seen)
        below_mean += found.upper < mean  # the sharp test
        below_entropy += found.upper < entropy
        plug_in_below += found.estimate < mean
        share = np.unique(drawn, return_counts=True)[1] / n
        distinct_below += -float((share * np.log2(share)).sum()) < entropy
    assert below_mean <= most_violations
    assert below_entropy <= below_mean
    # Negative controls: the mean itself, and the entropy of the states that a sample happens to show.
    assert plug_in_below > most_violations
    assert distinct_below > 0.9 * repetitions


@pytest.mark.parametrize("limit", ["betting", "hoeffding"])
def test_the_limit_is_at_most_the_nominal_bits(limit: str) -> None:
    rng = np.random.default_rng(5)
    uniform = rng.integers(0, 4, (300, 6))
    found = entropy_upper_bound(fit_code(uniform[:200], 2), uniform[200:], 0.05, limit)
    assert found.upper == 12
    assert found.confidence == 0.95
    # Of another law than the code was fitted for: wide, and still finite.
    moved = entropy_upper_bound(fit_code(np.zeros((200, 6), int), 2), uniform[200:], 0.05, limit)
    assert moved.upper == 12
    assert 12 < moved.estimate <= 18


@pytest.mark.parametrize("entry_bits", [1, 8])
def test_pairs_of_six_hundred_entries_are_seen(entry_bits: int) -> None:
    rng = np.random.default_rng(6)
    normal = rng.normal(size=(2400, 600))
    normal[:, 1::2] = 0.9 * normal[:, ::2] + 0.44 * normal[:, 1::2]
    codes = np.clip((normal / 8 + 0.5) * 2**entry_bits, 0, 2**entry_bits - 1).astype(np.int64)
    found = entropy_upper_bound(fit_code(codes[:1200], entry_bits), codes[1200:], 0.05)
    assert found.upper < 0.9 * 600 * entry_bits


def test_wrong_codes_are_named() -> None:
    code = fit_code(np.zeros((10, 3), int), 2)
    for wrong, message in [
        (
            np.zeros((4, 2), int),
            r"must be integers \(states, 3\) from 0 to 3; got shape \(4, 2\) and type int64",
        ),
        (np.zeros((4, 3)), "must be integers .*type float64"),
        (np.full((4, 3), 4), "must be integers .*; got 4 to 4"),
        (np.full((4, 3), -1), "must be integers .*; got -1 to -1"),
    ]:
        with pytest.raises(ValueError, match=message):
            code.lengths_bits(wrong)
    with pytest.raises(ValueError, match="`entry_bits` must be an integer from 1 to 32; got 0"):
        fit_code(np.zeros((10, 3), int), 0)
    with pytest.raises(ValueError, match="the number of training states must be an integer of at least 4; got 3"):
        fit_code(np.zeros((3, 3), int), 2)
    with pytest.raises(
        ValueError, match="`limit` must be one of betting, empirical-bernstein, chernoff-kl, hoeffding; got 'bets'"
    ):
        entropy_upper_bound(code, np.zeros((4, 3), int), 0.05, "bets")
