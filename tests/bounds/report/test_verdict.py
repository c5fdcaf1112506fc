"""Verdicts from sizes alone, and the sizes against real tensors."""

import subprocess
import sys

import numpy as np
import pytest

from boundprobe.bounds import (
    Witness,
    best_encoder_error,
    model_verdicts,
    packing_accuracy_ceiling,
    receptive_field,
    required_bits,
    window_accuracy_ceiling,
)
from boundprobe.models import ModelSpec, nominal_bits
from boundprobe.tasks import AssociativeRecallDecoding, SelectiveCopying, StateCase

TASKS = [SelectiveCopying(), AssociativeRecallDecoding()]
NAMES = ("state-hard", "window-hard", "mixture")


def verdicts(*args, **kwargs):
    found = model_verdicts(*args, **kwargs)
    assert tuple(one.distribution for one in found) == NAMES
    return {one.distribution: one for one in found}


@pytest.mark.parametrize("task", TASKS)
def test_a_short_window_must_fail_where_the_window_matters(task):
    found = verdicts(task, (20, 20), 10**6)
    assert [found[name].verdict for name in NAMES] == ["undecided", "must fail", "must fail"]
    ceiling = window_accuracy_ceiling(task.window_case(), receptive_field((20, 20)))
    assert found["window-hard"].ceiling_accuracy == ceiling
    assert found["mixture"].ceiling_accuracy == pytest.approx((1.0 + ceiling) / 2)
    assert "W2" in found["window-hard"].theorem
    assert "W2" in found["mixture"].theorem
    assert "S3" not in found["mixture"].theorem
    assert "39" in found["window-hard"].reason


@pytest.mark.parametrize("task", TASKS)
def test_too_few_bits_must_fail_where_the_state_matters(task):
    found = verdicts(task, (None,), 30, 0.9)
    assert [found[name].verdict for name in NAMES] == ["must fail", "undecided", "must fail"]
    case = task.state_case()
    assert found["state-hard"].ceiling_accuracy == packing_accuracy_ceiling(30.0, case.n_answers, case.n_values)
    assert found["state-hard"].theorem.startswith("S3")


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("target", [0.3, 0.7, 0.99, 1.0])
def test_the_verdict_turns_where_the_bound_does(task, target):
    needed = int(np.ceil(required_bits(task.state_case(), 1.0 - target)))
    assert verdicts(task, (None,), needed, target)["state-hard"].verdict == "undecided"
    assert verdicts(task, (None,), needed - 1, target)["state-hard"].verdict == "must fail"


def test_enough_of_both_is_undecided_and_says_so():
    found = verdicts(SelectiveCopying(), (None, 11), 10_000)
    assert {one.verdict for one in found.values()} == {"undecided"}
    assert all(one.reason.startswith("no bound forbids it") for one in found.values())


def test_only_a_witness_lets_a_model_pass():
    witness = Witness("state-hard", 1.0, "Theorem 4.3")
    found = verdicts(SelectiveCopying(), (None, 11), 10_000, 0.95, [witness, Witness("mixture", 0.9, "half of it")])
    assert [found[name].verdict for name in NAMES] == ["can pass", "undecided", "undecided"]
    assert found["state-hard"].reason == "Theorem 4.3"
    with pytest.raises(
        ValueError, match=r"accuracy of witness 'Theorem 4\.3' on state-hard must be at most .*; got 1\.0"
    ):
        model_verdicts(SelectiveCopying(), (None, 11), 10, 0.95, [witness])
    with pytest.raises(ValueError, match=r"`distribution` must be one of .*; got 'uniform'"):
        model_verdicts(SelectiveCopying(), (None, 11), 10, 0.95, [Witness("uniform", 1.0, "")])


class ThreeBits(SelectiveCopying):
    """A state-hard case small enough for every encoder: three uniform bits."""

    def state_case(self):
        return StateCase(3, 2, 3.0, True, 3.0, "Theorem 3.3", "by hand")


@pytest.mark.parametrize("state_bits", [0, 1, 2, 3])
def test_must_fail_is_never_said_of_what_some_encoder_does(state_bits):
    table = np.array(list(np.ndindex(2, 2, 2)))
    best = 1.0 - best_encoder_error(table, 2**state_bits)
    assert verdicts(ThreeBits(), (None,), state_bits, best)["state-hard"].verdict == "undecided"
    # Negative control: S3 is attained here, so a target 5 per cent higher must be refused.
    if state_bits < 3:
        assert verdicts(ThreeBits(), (None,), state_bits, 1.05 * best)["state-hard"].verdict == "must fail"


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="`target_accuracy` must be above 0 and at most 1; got 0"):
        model_verdicts(SelectiveCopying(), (None,), 10, 0)
    with pytest.raises(ValueError, match="`state_bits` must be an integer of at least 0; got -1"):
        model_verdicts(SelectiveCopying(), (None,), -1)
    with pytest.raises(ValueError, match="`window` must be an integer of at least 1; got 0"):
        model_verdicts(SelectiveCopying(), (0,), 10)


# Sizes


SPECS = [
    ModelSpec("mamba", d_model=8, d_state=3, d_conv=4),
    ModelSpec("attn", d_model=8, window=4, n_heads=2),
    ModelSpec("mamba-attn", d_model=12, window=6, d_state=2, d_conv=1, expand=3),
    ModelSpec("attn-mamba-attn-mamba", d_model=4, window=3, d_state=1, d_conv=3, expand=1),
    ModelSpec("attn-mamba", d_model=4, window=1, d_conv=2),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.architecture)
@pytest.mark.parametrize("prefix_len", [1, 2, 9])
def test_nominal_bits_are_those_of_real_tensors(spec, prefix_len):
    torch = pytest.importorskip("torch")
    from boundprobe.models.stack import SequenceModel

    model = SequenceModel(spec, vocab_size=5).eval()
    with torch.no_grad():
        for dtype, entry_bits in ((torch.float32, 32), (torch.bfloat16, 16)):
            counted = model.to(dtype).prefill(torch.zeros(2, prefix_len, dtype=torch.int64)).bits()
            bits = nominal_bits(spec, prefix_len, entry_bits)
            assert bits == (counted.recurrent_bits, counted.conv_bits, counted.cache_bits)
            assert bits.total_bits == counted.total_bits


def test_sizes_and_verdicts_need_no_torch():
    code = "import sys, boundprobe.models.sizes, boundprobe.bounds.report.verdict; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_bad_sizes_are_named():
    with pytest.raises(ValueError, match="`prefix_len` must be an integer of at least 0; got -1"):
        nominal_bits(SPECS[0], -1)
    with pytest.raises(ValueError, match="`entry_bits` must be an integer of at least 1; got 0"):
        nominal_bits(SPECS[0], 3, 0)
