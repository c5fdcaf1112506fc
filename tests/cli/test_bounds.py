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
