"""The sign test of the order in which sequences come: exact under independence, and sees sources and drift."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boundprobe.probes import certify_states
from boundprobe.probes.certificates import check_order
from boundprobe.probes.certificates.order import _fours


def rng(seed=0):
    return np.random.default_rng(seed)


@given(n_rows=st.integers(2, 60), gap=st.integers(1, 20))
def test_fours_are_disjoint_and_the_gap_apart(n_rows, gap):
    fours = _fours(n_rows, min(gap, n_rows - 1))
    assert len(np.unique(fours)) == fours.size
    assert (fours[1] - fours[0] == min(gap, n_rows - 1)).all()
    assert (fours[3] - fours[2] == min(gap, n_rows - 1)).all()
    assert fours.max(initial=0) < n_rows


def refused_at(level, n_rows, seed):
    generator = rng(seed)
    answers = (generator.random((n_rows, 3)) < 0.3).astype(np.int64)
    try:
        check_order(answers + generator.standard_normal((n_rows, 3)), answers, level)
    except ValueError:
        return True
    return False


def test_independent_sequences_of_any_distribution_are_refused_as_seldom_as_the_level_says():
    refused = sum(refused_at(0.05, 301 + seed % 2, seed) for seed in range(600))
    assert refused <= 50  # binomial(600, 0.05) is above with probability 1e-4


@pytest.mark.parametrize("apart", ["next to each other", "600 rows apart", "400 rows apart"])
@pytest.mark.parametrize("of", ["states", "answers"])
def test_sources_are_seen_wherever_their_rows_lie(apart, of):
    times = {"next to each other": 5, "600 rows apart": 2, "400 rows apart": 3}[apart]
    source = np.arange(1200) // times if apart.startswith("next") else np.tile(np.arange(1200 // times), times)
    points, answers = rng(1).standard_normal((1200, 4)), rng(2).integers(3, size=(1200, 4))
    shared = rng(3).standard_normal((1200, 4)) if of == "states" else rng(3).integers(3, size=(1200, 4))
    if of == "states":
        points = points + shared[source]
    else:
        answers = np.where(rng(4).random(answers.shape) < 0.8, shared[source], answers)
    with pytest.raises(ValueError, match=f"{of} that are more alike {apart}"):
        check_order(points, answers, 1e-6)
    order = rng(5).permutation(1200)
    check_order(points[order], answers[order], 1e-6)  # it looks at the order, and at nothing else


def test_a_drift_is_seen():
    points = rng(1).standard_normal((2000, 2)) + np.linspace(0, 4, 2000)[:, None]
    with pytest.raises(ValueError, match="states that are more alike next to each other"):
        check_order(points, rng(2).integers(2, size=(2000, 1)), 1e-6)


def test_documents_with_a_stated_entropy():
    """300 documents, 20 sequences each: certified too high before, as a copy of few bits looks like any other."""
    answers = (rng().random((300, 6)) < 0.3).astype(np.int64)
    notes = answers ^ (rng(1).random(answers.shape) < 0.1)
    source = np.repeat(np.arange(300), 20)
    states = notes[source] + 0.15 * rng(2).standard_normal((6000, 6))
    entropy = -6 * (0.3 * np.log2(0.3) + 0.7 * np.log2(0.7))
    with pytest.raises(ValueError, match="must be one group"):
        certify_states(states, answers[source], n_values=2, entropy_bits=entropy)
    # With the groups named there are 300 observations.
    report = certify_states(states, answers[source], n_values=2, entropy_bits=entropy, groups=source)
    assert report.present.lower < 2.73
