"""Neighbouring theorems, each against every encoder of a small case; the catalogue that lists them."""

import itertools
import json
import math

import numpy as np
import pytest

import boundprobe.bounds
from boundprobe.bounds import (
    CATALOGUE,
    best_encoder_error,
    catalogue_to_json,
    copying_bits,
    distinct_rows,
    encoder_errors,
    encoder_information_bits,
    encoders,
    index_lookup_bits,
    index_lookup_width,
    recall_bits,
    recall_capacity,
)


def words(n, q):
    return np.array(list(np.ndindex(*(q,) * n)), dtype=np.int64)


def best_copying(n, q, n_states):
    """Strings that come out whole, at best: over every encoder, each state writes one string."""
    strings = np.arange(q**n)
    best = 0
    for labels in encoders(q**n, n_states):
        states = np.array(labels)
        written = [strings[states == state][0] for state in range(states.max() + 1)]
        best = max(best, int(np.equal(np.array(written)[states], strings).sum()))
    return best / q**n


def copying_violations(stretch):
    return [
        (n, q, m) for n, q in ((3, 2), (1, 5), (2, 2)) for m in range(1, q**n + 1)
        if math.log2(m) < stretch * copying_bits(best_copying(n, q, m), n, q) - 1e-12
    ]  # fmt: skip


def test_copying_against_every_encoder():
    assert copying_violations(1.0) == []
    # It is attained, with equality: error is at least 1 - M / V^n, not more than that.
    for n_states in range(1, 9):
        assert copying_bits(best_copying(3, 2, n_states), 3, 2) == pytest.approx(math.log2(n_states), abs=1e-12)


def test_corollary_half():
    # Memory below n log2 V - 1 bits: success below 1/2.
    assert copying_bits(0.5, 20, 26) == pytest.approx(20 * math.log2(26) - 1.0)
    assert copying_bits(0.0, 20, 26) == 0.0


def recall_violations(bound, table, stretch):
    """Encoders of the values of known keys that hold fewer bits than the bound asks for at their mean error."""
    found = []
    for labels in encoders(len(table), len(table)):
        error = float(np.clip(encoder_errors(table, labels).mean(), 0.0, 1.0))
        if encoder_information_bits(labels) < stretch * bound(error) - 1e-9:
            found.append(labels)
    return found


@pytest.mark.parametrize(("n_pairs", "n_values"), [(3, 2), (2, 2), (1, 6)])
def test_recall_against_every_encoder(n_pairs, n_values):
    def bound(error):
        return recall_bits(error, n_pairs, n_values)

    table = words(n_pairs, n_values)
    assert recall_violations(bound, table, 1.0) == []
    assert recall_violations(bound, table, 1.05) != [], "5 per cent too high is caught"


def recall_rows(n_keys, n_values):
    """Every order in which the pairs may come, and every choice of values: rows of answers, all keys asked."""
    orders = itertools.permutations(range(n_keys))
    return np.array([values for _ in orders for values in itertools.product(range(n_values), repeat=n_keys)])


def test_recall_does_not_pay_for_the_order_of_pairs():
    table = recall_rows(3, 2)
    assert len(table) == 6 * 8
    assert math.log2(distinct_rows(table)) == recall_bits(0.0, 3, 2) == 3.0


def test_index_lookup_against_every_encoder():
    for stretch, caught in ((1.0, False), (1.05, True)):
        found = []
        for n, q in ((3, 2), (1, 7), (2, 3)):
            table = words(n, q)
            for m in range(1, min(q**n, 8 if n != 2 else 4) + 1):
                error = max(0.0, best_encoder_error(table, m))
                found += [m] * (math.log2(m) < stretch * index_lookup_bits(error, n, q) - 1e-9)
        assert bool(found) == caught
    # At error 0: the deterministic one-way communication complexity.
    assert index_lookup_bits(0.0, 3, 2) == math.log2(distinct_rows(words(3, 2)))


def test_width_is_linear_in_the_length():
    assert [index_lookup_width(0.0, n, 2, 32) for n in (1, 32, 33, 3200)] == [1, 1, 2, 100]
    assert index_lookup_width(0.5, 100, 2, 32) == 0
    with pytest.raises(ValueError, match="entry_bits is 0; allowed: above 0"):
        index_lookup_width(0.0, 10, 2, 0)


def test_capacity_inverts_recall():
    for error in (0.0, 0.1, 0.5):
        for n_pairs in (1, 7, 1000):
            assert recall_capacity(recall_bits(error, n_pairs, 64), 64, error) == pytest.approx(n_pairs, rel=1e-9)
    assert recall_capacity(10.0, 4, 0.75) == math.inf
    np.testing.assert_array_equal(recall_capacity(np.array([0.0, 6.0]), 64), [0.0, 1.0])


def test_capacity_against_every_encoder():
    # A state of m values holds log2 m bits: no encoder of n bits is free of error if n is above the capacity.
    for n in (1, 2, 3):
        for m in range(1, 9):
            if best_encoder_error(words(n, 2), m) == 0.0:
                assert recall_capacity(math.log2(m), 2) >= n - 1e-12


def test_the_catalogue_is_complete_and_true_to_the_code():
    document = catalogue_to_json()
    assert document["schema"] == "boundprobe.bounds-catalogue/1"
    assert json.loads(json.dumps(document)) == document
    names = [entry.name for entry in CATALOGUE]
    assert len(set(names)) == len(names)
    assert [name[:2] for name in names[:5]] == ["S1", "S2", "S3", "S4", "S5"]
    for entry in CATALOGUE:
        assert entry.family in ("state", "window", "neighbour")
        assert entry.direction in ("lower", "upper")
        assert entry.evidence in ("proved", "enumerated", "author", "unavailable")
        assert all(callable(getattr(boundprobe.bounds, name)) for name in entry.functions)
        assert all((entry.assumptions, entry.reference, entry.source_says, entry.source_known))
        if entry.family == "neighbour":
            assert "arXiv 24" in entry.reference or "arXiv 26" in entry.reference
    cited = " ".join(entry.reference for entry in CATALOGUE)
    for paper in ("2402.01032", "2312.04927", "2402.18668", "2406.09347", "2605.05066", "2603.08859"):
        assert paper in cited
