"""Retention: closed forms, the joint level, and what is refused."""

import math

import numpy as np
import pytest

from boundprobe.bounds import fano_loss_bits
from boundprobe.probes.certificates import Retention, by_answer
from boundprobe.probes.certificates.retention import retention
from boundprobe.tasks import IGNORE


def test_closed_forms_at_the_ends():
    n, k, alpha = 400, 4, 0.04
    wrong = np.zeros((n, 2), bool)
    wrong[:, 1] = True
    held = by_answer(wrong, k, alpha)
    e = 1 - (alpha / 2) ** (1 / n)
    price = -e * math.log2(e) - (1 - e) * math.log2(1 - e) + e * math.log2(3)
    assert held.lower_bits == pytest.approx([2 - price, 0.0], abs=1e-9)
    found = [(each.group, each.bits.estimate, each.error, each.n_sequences) for each in held.groups]
    assert found == [(0, 2.0, 0.0, n), (1, 0.0, 1.0, n)]
    assert held.confidence == 1 - alpha
    assert (held.lower_bits >= -1e-12).all()


def test_all_limits_hold_together():
    """1,000 repetitions: any limit above what its answer carries at most 5 per cent of the time (+ 3.1 deviations)."""
    rng, k, n, alpha = np.random.default_rng(0), 4, 300, 0.05
    error = np.array([0.02, 0.1, 0.3, 0.6])
    truth = math.log2(k) - fano_loss_bits(error, k)
    bad = plug_in = 0
    for _ in range(1000):
        held = by_answer(rng.random((n, 4)) < error, k, alpha)
        bad += (held.lower_bits > truth).any()
        plug_in += (np.array([each.bits.estimate for each in held.groups]) > truth).any()
    assert bad <= 72
    assert plug_in > 500  # negative control


def test_groups_are_counted_by_sequences_and_may_be_left_out():
    groups = np.array([[3, 5], [5, IGNORE], [5, 3], [IGNORE, IGNORE]])
    wrong = np.array([[True, False], [True, True], [False, False], [True, True]])
    held = retention(wrong, groups, 2, 0.05)
    assert [(each.group, each.n_sequences) for each in held.groups] == [(3, 2), (5, 3)]
    assert [each.error for each in held.groups] == pytest.approx([1 / 2, 1 / 3])


def test_two_answers_of_one_sequence_in_one_group_are_refused():
    with pytest.raises(ValueError, match=r"must have one answer of a sequence, .*; got two in group 3") as caught:
        retention(np.zeros((2, 2), bool), np.array([[1, 3], [3, 3]]), 4, 0.05)
    assert "\n" not in str(caught.value)


def test_no_group_is_no_claim():
    held = retention(np.zeros((3, 2), bool), np.full((3, 2), IGNORE), 4, 0.05)
    assert held.groups == ()
    assert held.lower_bits.shape == (0,)


def test_the_document_says_of_what():
    held = by_answer(np.zeros((50, 2), bool), 4, 0.05)
    document = held.to_json()
    assert (document["by"], document["of"]) == ("answer", "I(Y_i;S)")
    assert [set(group) for group in document["groups"]] == [{"group", "lower", "estimate", "error", "n_sequences"}] * 2
    assert Retention.from_json(document, held.confidence) == held
    assert {type(value) for group in document["groups"] for value in group.values()} == {int, float}
