"""States of more entries than decoders see: the telling ones are found, and noise stays noise."""

import numpy as np
import pytest

from boundprobe.probes import DecoderConfig, StatesConfig, certify_states
from boundprobe.probes.precision import MOST_ENTRIES
from boundprobe.probes.wide import scores_of_entries

N, WIDE = 1500, MOST_ENTRIES + 800
CONFIG = StatesConfig(DecoderConfig(("linear",)))


@pytest.fixture(scope="module")
def answers():
    return np.random.default_rng(0).integers(8, size=(N, 2))


def noise(seed=1):
    return np.random.default_rng(seed).standard_normal((N, WIDE), dtype=np.float32)


def says(report):
    return report.assumptions[0].checked


@pytest.fixture(scope="module")
def planted(answers):
    """Noise everywhere, and the answers in 16 entries that lie far apart."""
    states = noise()
    states[:, 3 :: WIDE // 16][:, :16] += 4 * np.eye(8, dtype=np.float32)[answers].reshape(N, 16)
    return states


@pytest.fixture(scope="module")
def report(planted, answers):
    return certify_states(planted, answers, n_values=8, config=CONFIG)


def test_few_telling_entries_among_many_are_found(report):
    assert 5.5 < report.present.lower <= 6.0
    assert f"decoders see the 64 of {WIDE} entries that vary most with the answers of the fit split" in says(report)
    assert report.nominal_bits == 32 * WIDE


def test_states_mapped_from_a_file_give_the_same(planted, answers, report, tmp_path):
    np.save(tmp_path / "states.npy", planted)
    mapped = np.load(tmp_path / "states.npy", mmap_mode="r")
    assert certify_states(mapped, answers, n_values=8, config=CONFIG).to_json() == report.to_json()


@pytest.mark.slow
def test_answers_that_are_spread_over_all_entries_are_read_too(answers):
    directions = np.random.default_rng(2).standard_normal((16, WIDE), dtype=np.float32)
    states = noise() + 0.15 * np.eye(8, dtype=np.float32)[answers].reshape(N, 16) @ directions
    report = certify_states(states, answers, n_values=8, config=CONFIG)
    assert 3.0 < report.present.lower <= 6.0


def test_noise_is_nothing(answers):
    report = certify_states(noise(), answers, n_values=8, config=CONFIG)
    assert report.present.lower == report.null_control.lower == 0.0


def test_what_is_taken_does_not_depend_on_the_evaluation_split(planted, answers, report):
    """Answers of half of the sequences, evaluated or not, are exchanged; where all were evaluated nothing changes."""
    from boundprobe.probes.states_input import _split

    _, _, evaluation = _split(None, N, CONFIG)
    states = planted.copy()
    states[evaluation] = noise(3)[evaluation]
    other = certify_states(states, answers, n_values=8, config=CONFIG)
    assert other.present.lower == 0.0
    assert says(other).split("decoders see")[1] == says(report).split("decoders see")[1]
    assert other.calibration_estimate_bits == report.calibration_estimate_bits


def test_scores_are_mean_squared_correlations(answers):
    """Of an entry that is the answer itself, of one that is noise, and of a constant one."""
    states = np.stack([answers[:, 1], np.random.default_rng(4).normal(size=N), np.full(N, 3.0)], axis=1)
    scores = scores_of_entries(states, answers, np.arange(N))
    assert scores[0] > 0.05
    assert scores[1] < 20 / N
    assert scores[2] == 0.0
    assert np.array_equal(scores_of_entries(states, answers, np.arange(N)[::-1]), scores)
