"""No machine beats a bound: every encoder of random tiny tasks is tried, and a bound 5 per cent too high is caught."""

import functools
import math

import numpy as np
import pytest

from boundprobe.bounds import (
    absent_answers_bits,
    best_encoder_error,
    fano_bits,
    mean_error_fano_bits,
    packing_bits,
    packing_error_floor,
    whole_success_bits,
    zero_error_bits,
)
from boundprobe.bounds.table import table_facts, table_fano_bits, table_mean_error_bits, table_packing_bits
from boundprobe.bounds.table.vc_dimension import vc_dimension
from boundprobe.tasks import IGNORE
from boundprobe.testing import check_bound, machines, tiny_tasks

#: Full products of n coordinates of q values, whole and with every row twice, as S3 wants them.
PRODUCTS = [np.array(list(np.ndindex(*shape))) for shape in ((2, 2), (4,), (6,), (2, 2, 2))]
PRODUCTS.append(np.repeat(PRODUCTS[0], 2, axis=0))

RANDOM = tiny_tasks(max_prefixes=5)
WITH_ABSENT = tiny_tasks(max_prefixes=5, undefined=True)
BINARY = tiny_tasks(max_prefixes=5, max_queries=3, max_values=2)


def per_table(function):
    """The same table is asked about for every encoder."""
    known = functools.lru_cache(maxsize=64)(lambda data, shape: function(np.frombuffer(data, np.int64).reshape(shape)))
    return lambda table: known(np.ascontiguousarray(table, np.int64).tobytes(), table.shape)


facts = per_table(table_facts)
vc_of = per_table(vc_dimension)
rows_of = per_table(lambda table: np.unique(table, axis=0, return_inverse=True, return_counts=True)[1:])


@per_table
def entropy(table):
    share = np.unique(table, axis=0, return_counts=True)[1] / len(table)
    return float(-(share * np.log2(share)).sum())


@per_table
def most_values(table):
    return max(len(np.unique(column)) for column in table.T)


def s1(table, machine):
    return fano_bits(entropy(table), most_values(table), machine.errors)


def s1_mean(table, machine):
    return mean_error_fano_bits(entropy(table), table.shape[1], most_values(table), machine.mean_error)


def s1_table(table, machine):
    return table_fano_bits(facts(table), machine.errors)


def s1_table_mean(table, machine):
    return table_mean_error_bits(facts(table), machine.mean_error)


def s3(table, machine):
    n, q = table.shape[1], most_values(table)
    return packing_bits(machine.mean_error, n, q) if len(rows_of(table)[1]) == q**n else None


def s3_table(table, machine):
    return table_packing_bits(facts(table), machine.mean_error)


per_table_s4 = per_table(zero_error_bits)


def s4(table, machine):
    return per_table_s4(table) if machine.mean_error == 0 else 0.0


def s4_absent(table, machine):
    return facts(table).zero_error_bits if machine.mean_error == 0 else 0.0


def s5(table, machine):
    """Success at being right everywhere: of each state one row, the most frequent, is answered in full."""
    rows, counts = rows_of(table)
    if len(set(counts)) > 1:
        return None  # S5 is stated for equally likely memory parts
    states = np.array(machine.labels)
    whole = sum(np.bincount(rows[states == state]).max() for state in range(machine.n_states))
    return whole_success_bits(whole / len(table), math.log2(len(counts)))


def absent(table, machine):
    """For queries with one key each: given which are defined, the defined answers are independent and uniform."""
    defined = table != IGNORE
    q = len(np.setdiff1d(table, [IGNORE]))
    for pattern in np.unique(defined, axis=0):
        rows = table[(defined == pattern).all(axis=1)][:, pattern]
        distinct, counts = np.unique(rows, axis=0, return_counts=True)
        if len(distinct) != q ** int(pattern.sum()) or len(set(counts)) > 1:
            return None
    return absent_answers_bits(machine.defined, q, machine.errors)


def vc(table, machine):
    """One prefix for each pattern of a shattered set: there S1 and S3 hold for the machine's own errors."""
    found = vc_of(table)
    d = len(found.shattered) if found else 0
    if d == 0 or len(table) != 2**d or table.shape[1] != d:
        return None
    return packing_bits(machine.mean_error, d, 2)


#: Some keys with a value, some without: every pattern of which exist, then every value.
ABSENT_PRODUCTS = [
    np.array([[0, IGNORE], [1, IGNORE], [IGNORE, 0], [IGNORE, 1]]),
    np.array([[0, 0], [0, 1], [1, 0], [1, 1], [IGNORE, 0], [IGNORE, 1]]),
    np.array([[0, IGNORE], [1, IGNORE], [2, IGNORE], [IGNORE, IGNORE]]),
]
SHATTERED = [PRODUCTS[0], PRODUCTS[3][:, ::-1]]

BOUNDS = [
    (s1, RANDOM, "information"),
    (s1_mean, RANDOM, "information"),
    (s1_table, RANDOM, "information"),
    (s1_table, WITH_ABSENT, "information"),
    (s1_table_mean, WITH_ABSENT, "information"),
    (s1_table, BINARY, "states"),
    (s3, PRODUCTS, "states"),
    (s3_table, PRODUCTS, "states"),
    (s4, RANDOM, "states"),
    (s4_absent, WITH_ABSENT, "states"),
    (s5, RANDOM, "states"),
    (s5, PRODUCTS, "states"),
    (absent, ABSENT_PRODUCTS, "information"),
    (vc, SHATTERED, "states"),
]
NAMES = [f"{bound.__name__}-{i}" for i, (bound, _, _) in enumerate(BOUNDS)]


@pytest.mark.parametrize(("bound", "tables", "of"), BOUNDS, ids=NAMES)
def test_no_machine_beats_the_bound(bound, tables, of):
    check_bound(bound, tables, of=of, max_examples=20)


@pytest.mark.parametrize(("bound", "tables", "of"), BOUNDS, ids=NAMES)
def test_a_bound_5_per_cent_too_high_is_caught(bound, tables, of):
    # Random tables hardly ever leave S1 tight where answers are absent; these do (the value, without its key).
    tables = ABSENT_PRODUCTS if tables is WITH_ABSENT and of == "information" else tables

    def planted(table, machine):
        bits = bound(table, machine)
        return None if bits is None else 1.05 * bits

    with pytest.raises(AssertionError, match="the bound says"):
        check_bound(planted, tables, of=of, max_examples=20)


def test_packing_where_the_table_is_no_product_is_caught():
    # The condition is needed: with correlated answers S3 asks for more than a machine has.
    with pytest.raises(AssertionError, match="the bound says"):
        check_bound(lambda table, m: packing_bits(m.mean_error, table.shape[1], most_values(table)), RANDOM)


@pytest.mark.parametrize("table", PRODUCTS[:3])
def test_machines_hold_the_best_encoder(table):
    everything = list(machines(table))
    for n_states in range(1, len(table) + 1):
        best = min(machine.mean_error for machine in everything if machine.n_states <= n_states)
        assert best == pytest.approx(best_encoder_error(table, n_states))


def test_packing_on_two_letters_of_three():
    words = np.array(list(np.ndindex(3, 3)))
    for n_states in (2, 3):
        floor = packing_error_floor(math.log2(n_states), 2, 3)
        assert floor <= best_encoder_error(words, n_states) < 1.3 * floor


def test_a_bound_that_never_applies_is_an_error():
    with pytest.raises(AssertionError, match="must hold some that meet the bound's conditions; got none"):
        check_bound(lambda table, machine: None, PRODUCTS)
