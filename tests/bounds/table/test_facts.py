"""Facts of answer tables, smallest separating sets and VC dimension, each against brute force."""

import itertools
import math

import numpy as np
import pytest

from boundprobe.bounds import distinct_rows
from boundprobe.bounds.table import sensitivity_distance, smallest_separating_set, table_facts, table_fano_bits
from boundprobe.bounds.table.test_cover import separates_all
from boundprobe.bounds.table.vc_dimension import vc_dimension
from boundprobe.tasks import IGNORE
from boundprobe.tasks.answer_table import farthest_pair


def random_tables(n, most_values, absent=0.0, max_rows=10, max_columns=6):
    rng = np.random.default_rng(0)
    for _ in range(n):
        shape = rng.integers(1, max_rows + 1), rng.integers(1, max_columns + 1)
        table = rng.integers(0, most_values, shape)
        table[rng.random(shape) < absent] = IGNORE
        if (table != IGNORE).any():
            yield table


def fewest(table):
    sets = (s for k in range(table.shape[1] + 1) for s in itertools.combinations(range(table.shape[1]), k))
    return len(next(s for s in sets if separates_all(table, s)))


@pytest.mark.parametrize("most_values", [2, 3, 300])
def test_a_smallest_separating_set_is_smallest(most_values):
    for table in random_tables(60, most_values, absent=0.1):
        found = smallest_separating_set(table)
        assert separates_all(table, found.queries)
        assert len(found.queries) == fewest(table) == found.lower_bound
        assert found.gap == 0.0


def test_greedy_alone_is_not_smallest_and_says_so():
    rng = np.random.default_rng(1)
    table = rng.integers(0, 2, (60, 14))
    cut_off, solved = smallest_separating_set(table, time_limit=0), smallest_separating_set(table)
    assert separates_all(table, cut_off.queries)
    assert cut_off.lower_bound <= solved.lower_bound <= len(solved.queries) <= len(cut_off.queries)
    assert solved.optimal
    assert (cut_off.gap > 0) == (not cut_off.optimal)
    assert len(solved.queries) == fewest(table)


def test_pairs_are_never_all_formed():
    words = np.array(list(np.ndindex(4, 4, 4, 4)))
    forms = np.random.default_rng(0).integers(0, 4, (4, 60))
    found = smallest_separating_set((words @ forms) % 4)
    assert found.optimal
    assert len(found.queries) == 4
    assert found.n_pairs < 256 * 255 / 20


def brute_vc(table):
    best = 0
    for k in range(1, table.shape[1] + 1):
        for chosen in itertools.combinations(range(table.shape[1]), k):
            if len(np.unique(table[:, chosen], axis=0)) == 2**k and all(len(set(table[:, a])) == 2 for a in chosen):
                best = k
    return best


def test_vc_dimension_is_that_of_brute_force():
    for table in random_tables(80, 2, max_rows=14):
        found = vc_dimension(table)
        assert found.exact
        assert len(found.shattered) == found.lower == brute_vc(table)
        assert found.sauer_shelah <= found.lower <= math.log2(distinct_rows(table))
        # Cut off, it is still a valid pair of limits.
        for work in (0, 20, 60):
            short = vc_dimension(table, work_limit=work)
            assert short.lower <= found.lower <= short.upper
            assert len(np.unique(table[:, list(short.shattered)], axis=0)) == 2 ** len(short.shattered)


def test_vc_dimension_is_for_binary_answers():
    assert vc_dimension(np.array([[0], [1], [2]])) is None
    assert vc_dimension(np.array([[0], [IGNORE]])) is None
    assert vc_dimension(np.array([[5, 1], [7, 1]])).shattered == (0,)


def test_facts_by_hand():
    words = np.array(list(np.ndindex(2, 3)))
    facts = table_facts(words)
    assert facts.injective
    assert facts.independent
    assert facts.uniform_product
    assert not facts.packs
    assert facts.n_values == (2, 3)
    assert facts.entropy_bits == pytest.approx(math.log2(6))
    # Independent and not uniform: each coordinate is 0 twice as often as 1.
    biased = np.array([[a, b] for a in (0, 0, 1) for b in (0, 0, 1)])
    facts = table_facts(biased)
    assert facts.independent
    assert not facts.uniform_product
    assert not facts.injective
    assert facts.distinct_rows == 4
    # The same marginals, not independent.
    facts = table_facts(np.concatenate([biased[:-2], biased[-1:], [[1, 1]]]))
    assert not facts.independent
    facts = table_facts(np.array([[0, IGNORE], [1, IGNORE], [0, 1]]))
    assert facts.distinct_rows == 3
    assert facts.zero_error_bits == 1.0
    assert not facts.all_defined
    assert facts.entropy_bits == pytest.approx(2 / 3)


def test_entropy_given_what_is_defined_is_that_of_its_definition():
    for table in random_tables(50, 3, absent=0.3):
        given = 0.0
        for pattern in np.unique(table != IGNORE, axis=0):
            rows = table[((table != IGNORE) == pattern).all(axis=1)]
            share = np.unique(rows, axis=0, return_counts=True)[1] / len(rows)
            given -= len(rows) / len(table) * float(np.sum(share * np.log2(share)))
        assert table_facts(table).entropy_bits == pytest.approx(given, abs=1e-12)


def test_sensitivity_distance_is_that_of_all_pairs():
    rng = np.random.default_rng(0)
    for _ in range(60):
        words = np.array(list(np.ndindex(2, 2, 2)))
        words = words[rng.permutation(8)[: rng.integers(1, 9)]]
        queries = np.array(list(np.ndindex(2, 2)))[rng.permutation(4)[: rng.integers(1, 5)]]
        table = rng.integers(0, 2, (len(words), len(queries)))
        if rng.random() < 0.3:
            table[:] = table[0]  # the prefix never matters
        table[rng.random(table.shape) < 0.3] = IGNORE
        whole = [
            (*words[i], *queries[a], table[i, a]) for i, a in np.ndindex(*table.shape) if table[i, a] != IGNORE
        ]  # fmt: skip
        best = None
        for x, y in itertools.combinations(whole, 2):
            if x[-1] != y[-1]:
                agree = next(d for d in range(6) if x[-2 - d] != y[-2 - d])
                best = agree if best is None else max(best, agree)
        assert sensitivity_distance(words, queries, table) == best
        if best is not None:
            _, one, two = farthest_pair(words, queries, table)
            assert table[one] != table[two]
            assert IGNORE not in (table[one], table[two])
            tails = [np.concatenate([words[i], queries[a]])[5 - best :] for i, a in (one, two)]
            assert (tails[0] == tails[1]).all()


def test_bad_tables_and_errors_are_named():
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        table_facts(np.arange(3))
    with pytest.raises(ValueError, match="some of them defined"):
        table_facts(np.full((2, 2), IGNORE))
    with pytest.raises(ValueError, match=r"`errors` must be one number or have shape \(2,\), .*; got shape \(3,\)"):
        table_fano_bits(table_facts(np.eye(2, dtype=int)), [0, 0, 0])
    with pytest.raises(ValueError, match="time_limit"):
        smallest_separating_set(np.eye(2, dtype=int), time_limit=-1)
