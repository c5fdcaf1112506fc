"""``certify_states``: any states that a user may have, what is claimed of them, and what is refused."""

import json
import re

import numpy as np
import pytest
import torch

from boundprobe.probes import DecoderConfig, NullControl, StatesConfig, StatesReport, certify_states
from boundprobe.probes import states_report as arrays
from boundprobe.probes.decoders import AbstractDecoder, registry
from boundprobe.probes.settings import premise_level

LINEAR = StatesConfig(DecoderConfig(("linear",)))
RNG = np.random.default_rng(0)
ANSWERS = RNG.integers(2, size=(600, 4))
SIGNS = 2.0 * ANSWERS - 1


def certified(states=SIGNS, answers=ANSWERS, config=LINEAR, **prior):
    return certify_states(states, answers, config=config, **(prior or {"n_values": 2}))


# What may be given.


@pytest.mark.parametrize(
    ("given", "bits"),
    [
        (SIGNS, 64),
        (SIGNS.tolist(), 64),
        (SIGNS.astype(np.float32), 32),
        (SIGNS.astype(np.float16), 16),
        (SIGNS.astype(np.int8), 8),
        (SIGNS.astype(np.int64), 64),
        (ANSWERS.astype(np.uint8), 8),
        (ANSWERS.astype(bool), 1),
        (torch.tensor(SIGNS), 64),
        (torch.tensor(SIGNS).to(torch.float16), 16),
        (torch.tensor(SIGNS).to(torch.bfloat16), 16),
        (torch.tensor(SIGNS).float().requires_grad_(), 32),
        (torch.tensor(SIGNS).to(torch.int32), 32),
        (torch.tensor(ANSWERS).bool(), 1),
        (SIGNS[::-1][::-1], 64),
        (np.asfortranarray(SIGNS), 64),
        (SIGNS * 1e30, 64),
        (SIGNS * 1e-30, 64),
    ],
    ids=lambda given: f"{type(given).__module__} {getattr(given, 'dtype', '')}" if not isinstance(given, int) else "",
)
def test_states_of_every_type_are_read_and_sized(given, bits):
    report = certified(given)
    assert report.present.lower > 3.4
    assert report.nominal_bits == 4 * bits
    assert report.violations == ()
    json.dumps(report.to_json(), allow_nan=False)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint64])
def test_answers_of_every_whole_type(dtype):
    assert certified(answers=ANSWERS.astype(dtype)).present == certified().present
    assert certified(answers=torch.tensor(ANSWERS)).present == certified().present
    assert certified(answers=ANSWERS.tolist()).present == certified().present


def test_axes_of_states_are_flattened_and_one_answer_may_be_flat():
    report = certified(SIGNS.reshape(600, 2, 2))
    assert report.present == certified().present
    assert report.nominal_bits == 4 * 64
    one = certified(SIGNS[:, 0], ANSWERS[:, 0])
    assert (one.prior.n_answers, one.nominal_bits) == (1, 64)
    assert 0.8 < one.present.lower <= 1


def test_what_is_given_is_not_changed():
    states, answers = SIGNS.copy(), ANSWERS.copy()
    certified(states, answers)
    assert (states == SIGNS).all()
    assert (answers == ANSWERS).all()


def test_answers_that_are_not_defined_are_not_looked_at():
    defined = np.random.default_rng(1).random(ANSWERS.shape) < 0.7
    report = certified(defined=defined, n_values=2)
    again = certified(answers=np.where(defined, ANSWERS, 99), defined=defined, n_values=2)
    assert report.to_json() == again.to_json()
    assert report.retention is None
    assert report.present.form != "fano"
    # Of 4 answers, 2.8 are there.
    assert 2.0 < report.present.lower <= 2.9
    nothing = certified(defined=np.zeros(ANSWERS.shape, bool), n_values=2)
    assert nothing.present.lower == 0.0


def test_a_state_that_says_nothing_is_certified_nothing():
    """Certified above 0 one time in forty at most: more than 4 of 12 would be one time in 100,000."""
    n_above = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        answers, noise = rng.integers(2, size=(600, 4)), rng.normal(size=(600, 4))
        n_above += certified(noise * (seed % 2), answers).present.lower > 0
    assert n_above <= 4


# What is claimed.


def test_all_numbers_share_the_level():
    report = certified(config=StatesConfig(DecoderConfig(("linear",)), confidence=0.9))
    assert report.confidence == 0.9
    control = report.null_control
    levels = [1 - each.confidence for each in (report.present, report.retention, control.constant, control.others)]
    assert sum(levels) + premise_level(0.9) == pytest.approx(0.1)  # the premise tests take as much as the control
    assert [assumption.name for assumption in report.assumptions] == ["A1", "A2", "A3", "A4", "A5"]
    assert all(assumption.checked for assumption in report.assumptions)


def test_the_same_arrays_and_seed_give_the_same_report():
    document = certified().to_json()
    assert document == certified().to_json()
    assert StatesReport.from_json(json.loads(json.dumps(document))).to_json() == document


def test_another_order_of_the_sequences_changes_the_split_alone():
    order = np.random.default_rng(3).permutation(600)
    mixed = certified(SIGNS[order], ANSWERS[order])
    assert mixed.n_sequences == certified().n_sequences
    assert mixed.present.lower == pytest.approx(certified().present.lower, abs=0.1)
    other = certified(config=StatesConfig(DecoderConfig(("linear",)), seed=1))
    assert other.present.lower == pytest.approx(certified().present.lower, abs=0.1)


def test_more_bits_than_the_state_has_are_a_violation(monkeypatch):
    """Three answers, the last of them the exclusive or of the others, stated to have 2.9 bits: the state has 2.

    The null control sees it first; without it, the size of the state does.
    """
    answers = np.column_stack([ANSWERS[:, :2], ANSWERS[:, 0] ^ ANSWERS[:, 1]])
    config = StatesConfig(DecoderConfig(("mlp",)))
    states = answers[:, :2].astype(bool)
    with pytest.raises(ValueError, match=r"must be the joint entropy of the answers; got 2.9; .*null control"):
        certified(states, answers, config, n_values=2, entropy_bits=2.9)
    monkeypatch.setattr(NullControl, "lower", 0.0)
    monkeypatch.setattr(NullControl, "excess_bits", 0.0)
    wrong = certified(states, answers, config, n_values=2, entropy_bits=2.9)
    assert wrong.nominal_bits == 2
    (violation,) = wrong.violations
    assert "more than nominal 2 bits" in violation
    monkeypatch.undo()
    right = certified(states, answers, config, n_values=2, entropy_bits=2.0)
    assert right.violations == ()
    assert 1.4 < right.present.lower <= 2.0


# The plan and the evaluation split.


def spied(monkeypatch, states, answers):
    """Everything that is fixed before evaluation, with the splits."""
    found = {}
    plain, plain_read = arrays.certify, arrays.read_states

    def spy(prior, plan, evaluation, alpha, rng, limit="betting"):
        code = plan.code and [np.asarray(value).tolist() for value in vars(plan.code).values()]
        found["plan"] = [prior, plan.decoder, plan.form, code, plan.seen.tolist(), plan.expected_bits]
        found["next random number"] = rng.bit_generator.state["state"]
        found["scores"] = evaluation.scores
        return plain(prior, plan, evaluation, alpha, rng, limit)

    def read(*given, **settings):
        read_and_split = plain_read(*given, **settings)
        found["splits"] = read_and_split.splits
        return read_and_split

    monkeypatch.setattr(arrays, "certify", spy)
    monkeypatch.setattr(arrays, "read_states", read)
    config = StatesConfig(DecoderConfig(("linear", "mlp", "chain")))
    found["report"] = certify_states(states, answers, n_values=2, config=config)
    monkeypatch.undo()
    return found


def test_evaluation_answers_and_states_reach_no_plan(monkeypatch):
    noisy = SIGNS + np.random.default_rng(4).normal(size=SIGNS.shape)
    row_of = np.random.default_rng(6).permutation(600)
    number = np.argsort(row_of)[:, None].astype(float)  # tells the sequences apart, whatever their order
    first = spied(monkeypatch, np.hstack([noisy, 0 * number]), ANSWERS)
    found = spied(monkeypatch, np.hstack([noisy, number]), ANSWERS)
    parts = [getattr(found["splits"], name).states[:, -1] for name in ("fit", "calibration", "evaluation")]
    assert sorted(np.concatenate(parts).tolist()) == list(range(600))  # each sequence in one part
    calibrating, evaluated = (row_of[part.astype(int)] for part in parts[1:])
    states, answers = np.hstack([noisy, 0 * number]), ANSWERS.copy()
    rng = np.random.default_rng(5)
    answers[evaluated] = rng.integers(2, size=(len(evaluated), 4))
    other = spied(monkeypatch, states, answers)
    assert other["plan"] == first["plan"]
    assert other["next random number"] == first["next random number"]
    assert other["report"].calibration_estimate_bits == first["report"].calibration_estimate_bits
    assert other["report"].present.lower < first["report"].present.lower  # they were evaluated
    states[evaluated] = rng.normal(size=states[evaluated].shape) * np.array([1, 1, 1, 1, 0])
    last = spied(monkeypatch, states, answers)
    assert last["plan"] == first["plan"]
    # Negative control: another calibration answer is another plan.
    answers = ANSWERS.copy()
    answers[calibrating] ^= 1
    assert spied(monkeypatch, np.hstack([noisy, 0 * number]), answers)["plan"] != first["plan"]


class Cheat(AbstractDecoder):
    """Sees what it must not: ``how`` says what."""

    name = "logistic"

    def __init__(self, how):
        self.how = how

    def logits(self, states, answers):
        right = 9 * np.eye(2, dtype=np.float32)[np.maximum(answers, 0)]
        match self.how:
            case "answers":
                return right
            case "next":
                return np.roll(right, -1, axis=1)
            case "batch":
                shift = (states - states.mean(0)).astype(np.float32)
                return np.stack([-shift, shift], -1)[:, :4]
            case "frequent":
                return np.broadcast_to(right.mean(0), right.shape).copy() + states[:, :1, None].astype(np.float32)


@pytest.mark.parametrize("how", ["answers", "next", "batch", "frequent"])
def test_decoders_that_see_too_much_are_refused(monkeypatch, how):
    monkeypatch.setitem(registry.DECODERS, "logistic", lambda *given: Cheat(how))
    states = SIGNS + np.random.default_rng(6).normal(size=SIGNS.shape)
    with pytest.raises(ValueError, match=r" must .*; got ") as caught:
        certified(states, config=StatesConfig(DecoderConfig(("logistic",))))
    assert "decoder" in str(caught.value)
    assert "\n" not in str(caught.value)


# What is refused.

NAN = np.where(np.arange(600)[:, None] == 7, np.nan, SIGNS)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"states": NAN}, "in 1 rows"),
        ({"states": np.where(np.isnan(NAN), np.inf, NAN)}, "in 1 rows"),
        ({"states": SIGNS * 1e300}, "float32"),
        ({"states": SIGNS.astype(complex)}, "complex128"),
        ({"states": SIGNS.astype(str)}, "<U"),
        ({"states": SIGNS.astype(object)}, "object"),
        ({"states": None}, "object"),
        ({"states": 3.0}, "shape ()"),
        ({"states": np.zeros((600, 0))}, "(600, 0)"),
        ({"states": np.zeros((0, 4)), "answers": ANSWERS[:0]}, "(0, 4)"),
        ({"states": [[1.0, 2.0], [3.0]]}, "rows of equal length"),
        ({"states": SIGNS[:100]}, "600 rows of answers; got 100"),
        ({"answers": ANSWERS * 1.0}, "float64"),
        ({"answers": ANSWERS > 0}, "bool"),
        ({"answers": ANSWERS[..., None]}, "(600, 4, 1)"),
        ({"answers": ANSWERS - 1}, "`answers` must lie in [0, n_values) with n_values=2; got -1"),
        ({"answers": ANSWERS * 2}, "`answers` must lie in [0, n_values) with n_values=2; got 2"),
        ({"answers": np.zeros((600, 0), int)}, "(600, 0)"),
        ({"answers": ANSWERS * 0}, "answer 0 with 1 of 2 values in use"),
        ({"answers": ANSWERS[:, [0, 1, 2, 0]]}, "answers 0 and 3 that depend on each other"),
        ({"defined": np.ones((600, 4), int)}, "booleans"),
        ({"defined": np.ones(600, bool)}, "(600, 4)"),
        ({"groups": np.zeros(599, int)}, "one for each of 600 sequences; got shape (599,)"),
        ({"groups": np.linspace(0, 1, 600)}, "`groups` must be numbers or names"),
        ({"groups": np.arange(600) // 300}, "there must be enough groups for three parts"),
        ({"n_values": 1}, "`n_values` must be an integer from 2 to 1048576; got 1"),
        ({"n_values": True}, "`n_values` must be an integer from 2 to 1048576; got True (bool)"),
        ({"n_values": "2"}, "`n_values` must be an integer from 2 to 1048576; got '2' (str)"),
        ({"n_values": 10**30}, "`n_values` must be an integer from 2 to 1048576; got 1000000000000000000000000000000"),
        ({"n_values": 2**62}, "`n_values` must be an integer from 2 to 1048576; got 4611686018427387904"),
        (
            {"answers": ANSWERS * 2**40, "n_values": None, "entropy_bits": 4.0},
            "`answers` must be from 0 to 1048575; got 1099511627776",
        ),
        ({"n_values": None}, "the prior of the answers must be stated"),
        ({"n_values": 0, "entropy_bits": 4.0}, "`n_values` must be an integer from 2 to 1048576; got 0"),
        ({"entropy_bits": 4.1}, "`entropy_bits` must be above 0, at most 4.000000, what 4 answers of 2"),
        ({"entropy_bits": 0.0}, "`entropy_bits` must be above 0; got 0.0"),
        ({"entropy_bits": float("nan")}, "`entropy_bits` must be above 0; got nan"),
        ({"entropy_bits": "x"}, "`entropy_bits` must be above 0; got 'x'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_is_refused_in_one_line(change, said):
    arguments = {"states": SIGNS, "answers": ANSWERS, "n_values": 2, "config": LINEAR} | change
    with pytest.raises(ValueError, match=r" must .*; got ") as caught:
        certify_states(**arguments)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_fewer_sequences_than_parts_are_refused(n):
    with pytest.raises(ValueError, match=f"enough sequences for three parts, .*; got {n}"):
        certified(SIGNS[:n], ANSWERS[:n])


@pytest.mark.parametrize(("n_answers", "n_values"), [(1, 2), (4, 2), (6, 16)])
def test_the_number_of_sequences_that_a_refusal_asks_for_is_enough(n_answers, n_values):
    rng = np.random.default_rng(7)

    def of_so_many(n):
        answers = rng.integers(n_values, size=(n, n_answers))
        states = np.eye(n_values)[answers].reshape(n, -1)
        return certified(states, answers, n_values=n_values)

    with pytest.raises(ValueError, match="too few: draw more") as caught:
        of_so_many(12)
    enough = int(re.search(r"about (\d+) sequences", str(caught.value))[1])
    assert of_so_many(enough).present.estimate > 0  # not refused


def test_a_tiny_entropy_is_refused_at_once():
    with pytest.raises(ValueError, match=r"must be more than 1000000 sequences .* too few: draw more") as caught:
        certified(n_values=2, entropy_bits=1e-9)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "bad",
    [
        {"train_share": 0.0},
        {"calibration_share": 1.0},
        {"train_share": 0.6, "calibration_share": 0.4},
        {"confidence": 1.0},
        {"confidence": 0.9999999999999},
        {"seed": 2**63},
        {"seed": -1},
    ],
    ids=str,
)
def test_settings_that_cannot_be(bad):
    with pytest.raises(ValueError, match=next(iter(bad))) as caught:
        StatesConfig(**bad)
    assert "\n" not in str(caught.value)


# What a reader compares with.


def test_absent_answers_have_the_entropy_of_those_that_are_there():
    defined = np.random.default_rng(1).random(ANSWERS.shape) < 0.7
    report = certify_states(SIGNS, ANSWERS, defined=defined, n_values=2, config=LINEAR)
    assert report.prior.entropy_bits == 4
    assert report.defined_entropy_bits == pytest.approx(4 * 0.7, abs=0.2)
    assert report.present.lower <= report.defined_entropy_bits
    assert StatesReport.from_json(report.to_json()).defined_entropy_bits == report.defined_entropy_bits
    with pytest.raises(ValueError, match="`defined_entropy_bits` must be at most 4; got 5"):
        StatesReport.from_json(report.to_json() | {"defined_entropy_bits": 5.0})
    assert certified().defined_entropy_bits is None


def test_named_groups_are_what_must_be_independent():
    groups = np.arange(len(ANSWERS)) // 2
    assert certified().assumptions[0].says.startswith("sequences are independent draws")
    grouped = certify_states(SIGNS, ANSWERS, groups=groups, n_values=2, config=LINEAR)
    assert grouped.assumptions[0].says.startswith("groups are independent draws")


def test_a_refused_prior_names_groups_as_a_cause():
    skewed = (RNG.random((600, 4)) < 0.9).astype(int)
    with pytest.raises(ValueError, match="sequences that share one source need `groups`"):
        certified(RNG.normal(size=(600, 4)), skewed)
