"""Tokens of a text read back from states: what is held is found, nothing else is, and nothing is called certified."""

import numpy as np
import pytest
import torch

from boundprobe import CutState, ModelSpec, ProbeConfig, SequenceModel, StateTensor
from boundprobe.probes import read_back_text


class LastTokens(torch.nn.Module):
    """A model whose state has the last tokens, one-hot; or nothing at all."""

    receptive_field = None

    def __init__(self, n_kept, n_tokens):
        super().__init__()
        self.n_kept, self.n_tokens = n_kept, n_tokens
        self.nothing = torch.nn.Parameter(torch.zeros(1))

    def prefill(self, tokens):
        kept = torch.nn.functional.one_hot(tokens[:, tokens.shape[1] - self.n_kept :], self.n_tokens).float()
        return CutState.of(StateTensor("kept", "recurrent", kept))

    def answer(self, state, tokens):
        raise AssertionError("nothing is asked")


def random_text(n, n_tokens=4, seed=0):
    return np.random.default_rng(seed).integers(n_tokens, size=n)


@pytest.mark.parametrize("n_kept", [0, 2, 3])
def test_tokens_that_are_held_are_read_back_and_no_others(n_kept):
    report = read_back_text(LastTokens(n_kept, 4), random_text(9000), passage_len=6)
    for found in report.by_distance:
        assert found.entropy_bits == pytest.approx(2, abs=0.02)
        if found.distance <= n_kept:
            assert found.estimate_bits > 1.9
            assert found.right > 0.99
        else:  # four standard errors of what is nothing, and a little for fitting
            assert abs(found.estimate_bits) < 4 * found.standard_error + 0.01
            assert found.right < 0.4
        assert found.control_bits < 0.02
    assert report.nominal_bits == n_kept * 4 * 32
    document = report.to_json()
    assert document["certified"] is None
    assert "an estimate, not a certificate" in document["why"]


def test_a_window_forgets_what_is_beyond_it():
    torch.manual_seed(0)
    model = SequenceModel(ModelSpec("attn", d_model=16, window=4), vocab_size=4).eval()
    report = read_back_text(model, random_text(12000), passage_len=8)
    gains = {found.distance: found.estimate_bits for found in report.by_distance}
    assert min(gains[distance] for distance in (1, 2, 3)) > 0.5
    assert max(abs(gains[distance]) for distance in (6, 8)) < 0.05


def test_language_alone_makes_an_estimate_positive():
    """A state of the last token says something of the one before where tokens depend on each other: no certificate."""
    rng, text = np.random.default_rng(0), [0]
    for stays in rng.random(8999) < 0.9:
        text.append(text[-1] if stays else 1 - text[-1])
    report = read_back_text(LastTokens(1, 2), np.array(text), passage_len=4)
    assert report.by_distance[1].estimate_bits > 0.3


def test_splits_follow_the_text_and_the_configuration():
    config = ProbeConfig(n_sequences=100, n_calibration=50, n_train=200)
    report = read_back_text(LastTokens(1, 4), random_text(9000), 3, config, before=(0,))
    assert report.n_sequences == {"fit": 200, "calibration": 50, "evaluation": 100}
    fewer = read_back_text(LastTokens(1, 4), random_text(3 * 175), 3, config)
    assert fewer.n_sequences == {"fit": 100, "calibration": 25, "evaluation": 50}
    assert fewer == read_back_text(LastTokens(1, 4), random_text(3 * 175), 3, config)


def test_tokens_beyond_the_most_common_share_a_class():
    text = random_text(40_000, n_tokens=200)
    report = read_back_text(LastTokens(1, 200), text, passage_len=2)
    assert report.n_classes == 64
    other = 1 - 63 / 200
    assert report.by_distance[0].most_common == pytest.approx(other, abs=0.03)


def test_a_text_that_is_too_short_is_refused():
    with pytest.raises(ValueError, match=r"`--text` must be of at least 180 passages of 64 tokens; got 15\. Give a lo"):
        read_back_text(LastTokens(1, 4), random_text(1000))
