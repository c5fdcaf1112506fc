"""What a state holds by trained decoders: parts, folding, classes, and whether the model may see more."""

import dataclasses

import numpy as np
import pytest
import torch

from boundprobe.models import ModelSpec, SequenceModel
from boundprobe.probes import ProbeConfig, count_sketch, states_at_cut
from boundprobe.probes.certificates import Prior, Sample, Scored, Splits
from boundprobe.probes.present import classes, entries, present_bits, present_by_part, used_bits
from boundprobe.tasks import IGNORE, SelectiveCopying

TASK = SelectiveCopying(n_numbers=2, n_letters=4, seq_len=8)
VALUES = TASK.stream_values("keys-once")
CONFIG = ProbeConfig(decoders=("linear",))


def cuts(*sizes):
    return [TASK.sample_cut(n, np.random.default_rng(seed)) for seed, n in enumerate(sizes)]


# Classes and entries.


def test_classes_are_places_among_the_values():
    (cut,) = cuts(20)
    found = classes(cut, VALUES)
    assert (VALUES[found] == cut.answers).all()
    absent = dataclasses.replace(cut, answers=np.where(np.arange(2) == 1, IGNORE, cut.answers))
    assert classes(absent, VALUES)[:, 1].tolist() == [IGNORE] * 20


@pytest.mark.parametrize("token", [-5, 10**6])
def test_an_answer_that_is_no_value_is_refused(token):
    (cut,) = cuts(5)
    cut.answers[3, 1] = token
    with pytest.raises(ValueError, match=f"among its .* answer_values; got {token}") as caught:
        classes(cut, VALUES)
    assert "\n" not in str(caught.value)


def test_entries_are_the_state_and_its_columns_by_part():
    torch.manual_seed(0)
    model = SequenceModel(ModelSpec("mamba-attn", d_model=8, window=3, d_state=2), TASK.vocab_size).eval()
    (cut,) = cuts(300)  # two pieces
    states = states_at_cut(model, cut.prefix)
    whole = entries(states)
    assert whole.shape == (300, states[0].flatten().shape[1])
    assert (whole == torch.cat([state.flatten() for state in states]).float().numpy()).all()
    parts = states[0].parts()
    columns = torch.cat([part.columns for part in parts])
    assert sorted(columns.tolist()) == list(range(whole.shape[1]))  # each entry in one part
    for part in parts:
        assert (entries(states, part.columns) == whole[:, part.columns.numpy()]).all()
        assert part.bits == 32 * len(part.columns)


def test_folding_is_the_same_every_time_linear_and_of_each_state_alone():
    rng = torch.Generator().manual_seed(0)
    wide = torch.randn(6, 50, generator=rng)
    assert count_sketch(wide, 50) is wide
    narrow = count_sketch(wide, 8)
    assert narrow.shape == (6, 8)
    assert torch.equal(narrow, count_sketch(wide, 8))
    assert torch.allclose(count_sketch(wide[2:4], 8), narrow[2:4], atol=1e-6)
    assert torch.allclose(count_sketch(2 * wide, 8), 2 * narrow, atol=1e-5)
    # Each entry goes to one sum with the sign 1 or -1.
    matrix = count_sketch(torch.eye(50), 8)
    assert (matrix.abs().sum(1) == 1).all()
    assert set(matrix.unique().tolist()) == {-1.0, 0.0, 1.0}


# Certificates.


def splits_of(columns, seed=0, sizes=(400, 100, 600)):
    """States that hold some of three bits as signs, with noise entries."""
    rng = np.random.default_rng(seed)
    found = []
    for n in sizes:
        answers = rng.integers(2, size=(n, 3))
        states = np.hstack([2.0 * answers[:, columns] - 1, rng.normal(size=(n, 2))]).astype(np.float32)
        found.append(Sample(states, answers))
    return Splits(*found)


def model_that(splits, right):
    """Scores of a model that is always right, or that says nothing, on the calibration and the evaluation split."""
    return tuple(
        Scored((9.0 * right * np.eye(2)[each.answers]).astype(np.float32), each.answers)
        for each in (splits.calibration, splits.evaluation)
    )


def test_present_is_at_least_what_was_promised_of_the_better_one():
    prior, splits = Prior.uniform(3, 2), splits_of([0, 1])
    blind, held = present_bits(prior, splits, model_that(splits, 0), CONFIG, 0.01, "cpu")
    assert blind.plan.decoder == held.decoder == "linear"
    assert 1.7 < held.lower <= 2.05
    seeing, held = present_bits(prior, splits, model_that(splits, 1), CONFIG, 0.01, "cpu")
    assert seeing.plan.decoder == held.decoder == "model"
    assert 2.7 < held.lower <= 3
    assert set(seeing.calibration_estimate_bits) == {"model", "linear"}
    used = used_bits(prior, *model_that(splits, 1), 0.01, 0)
    assert used.decoder == "model"
    assert used.lower == pytest.approx(held.lower, abs=0.05)
    used = used_bits(prior, *model_that(splits, 0), 0.01, 0)
    assert used.lower == 0.0


def test_only_the_chosen_decoder_sees_the_evaluation_split(monkeypatch):
    """Evaluation states of another width would be refused by whoever looked at them."""
    prior, splits = Prior.uniform(3, 2), splits_of([0])
    broken = Sample(splits.evaluation.states[:, :1], splits.evaluation.answers)
    decoded, _ = present_bits(
        prior, Splits(splits.fit, splits.calibration, broken), model_that(splits, 1), CONFIG, 0.01, "cpu"
    )
    assert decoded.plan.decoder == "model"


def test_the_parts_share_the_level(planted):
    torch.manual_seed(0)
    model = SequenceModel(ModelSpec("mamba-attn", d_model=8, window=3, d_state=2), TASK.vocab_size).eval()
    three = cuts(150, 60, 200)
    states = tuple(states_at_cut(model, cut.prefix) for cut in three)
    samples = (Sample(entries(of_cut), classes(cut, VALUES)) for of_cut, cut in zip(states, three, strict=True))
    prior = Prior.of_case(TASK.stream_case("keys-once"), len(VALUES))
    parts = present_by_part(prior, states, Splits(*samples), CONFIG, 0.03, "cpu")
    assert [(part.layer, part.kind) for part in parts] == [(p.layer, p.kind) for p in states[0][0].parts()]
    assert sum(1 - part.present.confidence for part in parts) == pytest.approx(0.03)
    assert all(0 <= part.present.lower <= prior.entropy_bits for part in parts)
    assert all(part.to_json()["present_bits"]["decoder"] == "linear" for part in parts)
    assert max(part.present.lower for part in parts) > 0.5  # negative control: something is read
