"""``boundprobe bounds``: the numbers of the theory, and the keys that others build on."""

import math

import pytest

TASKS = ["selective-copying", "ar-decoding"]
STATE = ["entropy_bits", "fano_bits", "packing_bits", "zero_error_bits"]


def test_selective_copying_at_one_third(document):
    report = document("bounds", "--task", "selective-copying", "--error", "0.3333333333")
    assert report["state"]["fano_bits"] == pytest.approx(25.418682, abs=5e-7)
    assert report["state"]["entropy_bits"] == pytest.approx(51.699250, abs=5e-7)
    assert report["state"]["zero_error_bits"] == pytest.approx(10 * math.log2(36))
    assert report["state"]["packing_bits"] > report["state"]["fano_bits"]
    assert report["window"]["blind_accuracy"] == pytest.approx(0.201518, abs=5e-7)
    assert report["window"]["min_receptive_field"] == 100
    assert report["window"]["min_sum_window_minus_one"] == 99


def test_associative_recall(document):
    assert [document("bounds", "--task", "ar-decoding")["state"][name] for name in STATE] == [64.0] * 4
    state = document("bounds", "--task", "ar-decoding", "--error", "0.1")["state"]
    assert state["fano_bits"] == pytest.approx(50.245046, abs=5e-7)
    assert document("bounds", "--task", "ar-decoding", "-p", "word_bits=6")["state"]["entropy_bits"] == 160.0


@pytest.mark.parametrize("task", TASKS)
def test_keys_are_the_contract(document, task):
    report = document("bounds", "--task", task)
    assert set(report) == {"schema", "task", "error", "state", "window"}
    assert report["schema"] == "boundprobe.bounds/1"
    assert set(report["task"]) == {"name", "parameters"}
    assert report["task"]["name"] == task
    assert set(report["state"]) == {*STATE, "theorem", "evidence", "vacuous"}
    assert set(report["state"]["theorem"]) == set(report["state"]["evidence"]) == set(STATE)
    assert set(report["state"]["evidence"].values()) <= {"proved", "enumerated", "author", "unavailable"}
    assert set(report["window"]) == {
        "min_receptive_field", "min_sum_window_minus_one", "blind_accuracy", "theorem",
    }  # fmt: skip


@pytest.mark.parametrize("points", [2, 7])
def test_curves_have_their_lengths_and_order(document, points):
    curves = document("bounds", "--task", "selective-copying", "--curves", points)["curves"]
    names = ["bits", "accuracy_ceiling_fano", "accuracy_ceiling_packing", "accuracy_floor_strategy"]
    assert set(curves) == set(names)
    assert [len(curves[name]) for name in names] == [points] * 4
    for floor, packing, fano in zip(*(curves[name] for name in names[:0:-1]), strict=True):
        assert floor <= packing + 1e-12 <= fano + 2e-12
    assert all(curves[name] == sorted(curves[name]) for name in names)


def test_a_vacuous_bound_is_said_to_be(call, document):
    argv = ["bounds", "--task", "ar-decoding", "--error", "0.95"]
    assert document(*argv)["state"]["vacuous"] == ["fano_bits", "packing_bits"]
    assert call(*argv).out.count("vacuous") == 2
    assert "vacuous" not in call("bounds", "--task", "ar-decoding").out


def test_the_table_for_people(call):
    code, out, err = call("bounds", "--task", "selective-copying", "--error", "0.3333333333", "--curves", "5")
    assert (code, err) == (0, "")
    for shown in ("51.699 bits", "25.419 bits", "100 tokens", "99 tokens", "0.201518", "S1 Fano", "proved"):
        assert shown in out
    assert len(out.split("store-some\n")[1].splitlines()) == 5


def test_the_paper_preset_and_a_parameter_over_it(document):
    report = document("bounds", "--task", "selective-copying", "--preset", "paper")
    assert report["task"]["parameters"]["first_number"] == 5
    assert report["state"]["entropy_bits"] == pytest.approx(5 * math.log2(31))
    report = document("bounds", "--task", "selective-copying", "--preset", "paper", "-p", "n_letters=11")
    assert report["state"]["entropy_bits"] == pytest.approx(5 * math.log2(16))
    assert document("bounds", "--task", "ar-decoding", "--preset", "paper")["state"]["entropy_bits"] > 0


def test_a_curve_of_too_many_points_is_refused_at_once(refused):
    said = refused("bounds", "--task", "copying", "--curves", 100_000_000)
    assert "`--curves` must be an integer from 2 to 100000; got '100000000'" in said


# Diagonal cuts

GAP = ["-p", "n_pairs=8", "-p", "n_keys=8", "-p", "n_values=16", "-p", "seq_len=64", "-p", "gap=20"]
HYBRID = [
    "--model",
    "mamba-attn",
    "--d-model",
    "2",
    "--expand",
    "1",
    "--d-state",
    "2",
    "--d-conv",
    "3",
    "--window",
    "16",
]


def test_a_hybrid_that_its_recurrent_state_fails(document, call):
    """32 pairs' bits lie beyond the window; its cache would hold them all, and counts for nothing there."""
    found = document("bounds", "--task", "mqar", *GAP, *HYBRID, "--entry-bits", "4")
    model = found["model"]
    assert set(model) == {"n_params", "memory", "diagonal", "diagonal_cuts", "verdict"}
    assert model["verdict"]["state-hard"] == "must fail"
    assert model["memory"] == {"recurrent_bits": 16, "conv_bits": 16, "cache_bits": 240}
    cut = model["diagonal"]
    assert set(cut) == {
        "lag", "far_answers", "recurrent_bits", "conv_bits", "cache_bits", "required_bits", "accuracy_ceiling",
    }  # fmt: skip
    assert (cut["lag"], cut["far_answers"], cut["required_bits"]) == (17, 8, 32.0)
    assert (cut["recurrent_bits"], cut["conv_bits"], cut["cache_bits"]) == (16, 0, 0)
    assert cut in model["diagonal_cuts"]
    assert min(each["accuracy_ceiling"] for each in model["diagonal_cuts"]) == cut["accuracy_ceiling"] < 1
    code, out, _ = call("bounds", "--task", "mqar", *GAP, *HYBRID, "--entry-bits", "4")
    assert code == 0
    assert "<- binds" in out
    assert "8 answers are settled by tokens with 17 or more others before the query" in out


def test_the_frontier(document, call, refused):
    task = ["--task", "selective-copying", "-p", "n_numbers=4", "-p", "n_letters=4", "-p", "seq_len=20"]
    points = document("bounds", *task, "--frontier")["frontier"]
    assert [point["required_bits"] for point in points] == pytest.approx([12, 9, 6, 3, 0])
    assert [(point["reach"], point["far_answers"]) for point in points] == [(i, 4 - i) for i in range(5)]
    some = document("bounds", *task, "--frontier", "3,1", "--error", "0.1")["frontier"]
    assert [point["reach"] for point in some] == [3, 1]
    code, out, _ = call("bounds", *task, "--frontier", "0,2")
    assert code == 0
    assert "least recurrent bits for a reach" in out
    assert "numbers of tokens, such as 0,8,16" in refused("bounds", *task, "--frontier", "-1")
    assert "known distances" in refused("bounds", "--task", "position-retrieval", "-p", "form=prefix", "--frontier")
