"""build_task: what a command line gives becomes a task, and what it cannot read is named."""

from __future__ import annotations

import pytest

from boundprobe.tasks import TASKS, AssociativeRecallDecoding, SelectiveCopying, build_task
from boundprobe.tasks.convert import convert


def test_strings_become_the_parameters_types() -> None:
    texts = {"n_numbers": "4", "number_probability": "0.25", "seq_len": " 20 "}
    assert build_task("selective-copying", texts) == SelectiveCopying(n_numbers=4, number_probability=0.25, seq_len=20)
    assert build_task("ar-decoding", {"word_bits": 3}) == AssociativeRecallDecoding(word_bits=3)


def test_a_preset_is_overruled_by_parameters() -> None:
    task = build_task("selective-copying", {"n_letters": "10"}, preset="paper")
    assert task == SelectiveCopying(n_numbers=5, first_number=5, n_letters=10, seq_len=100, number_probability=0.2)


@pytest.mark.parametrize("none", [None, "none", "null", "None"])
def test_none_takes_a_preset_back(none: str | None) -> None:
    task = build_task("selective-copying", {"number_probability": none}, preset="paper")
    assert task.parameters()["number_probability"] is None


def test_a_whole_number_becomes_a_float() -> None:
    # The same configuration must hash the same, written 1 or 1.0; here it is refused only for its size.
    with pytest.raises(ValueError, match=r"`bit_probability` must be above 0 and below 1; got 1.0"):
        build_task("ar-decoding", {"bit_probability": 1})


def test_texts_stay_texts() -> None:
    assert convert("form", "suffix", str) == "suffix"
    assert convert("form", "none", str | None) is None
    with pytest.raises(ValueError, match=r"`form` must be a string, as in form=suffix; got 3"):
        convert("form", 3, str)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_parameters_build_the_same_task_again(name: str) -> None:
    for preset in (None, *TASKS[name].presets):
        task = build_task(name, {}, preset)
        assert build_task(name, task.parameters()) == task
        assert build_task(name, {key: str(value) for key, value in task.parameters().items()}) == task


@pytest.mark.parametrize(
    ("name", "parameters", "preset", "message"),
    [
        (
            "selective-copyng",
            {},
            None,
            (
                r"`task` must be one of ar-decoding, copying, mkar.*; got "
                r"'selective-copyng'\. Did you mean 'selective-copying'\?"
            ),
        ),
        ("zzz", {}, None, "^`task` must be one of ar-decoding,.*; got 'zzz'"),
        (
            "ar-decoding",
            {"word-bits": "5"},
            None,
            (
                r"`parameter` of ar-decoding must be one of bit_probability, gap, seq_len, word_bits; "
                r"got 'word-bits'\. Did you mean 'word_bits'\?"
            ),
        ),
        (
            "ar-decoding",
            {"name": "x"},
            None,
            "`parameter` of ar-decoding must be one of bit_probability, gap, seq_len, word_bits; got 'name'",
        ),
        (
            "ar-decoding",
            {},
            "papr",
            r"`preset` of ar-decoding must be one of paper; got 'papr'\. Did you mean 'paper'\?",
        ),
        (
            "ar-decoding",
            {"seq_len": "ten"},
            None,
            "^`seq_len` must be an integer, as in .*; got 'ten'",
        ),
        ("ar-decoding", {"seq_len": "1e3"}, None, "^`seq_len` must be an integer, as in .*; got '1e3'"),
        ("ar-decoding", {"seq_len": 100.0}, None, "^`seq_len` must be an integer, as in .*; got 100.0"),
        ("ar-decoding", {"seq_len": True}, None, "^`seq_len` must be an integer, as in .*; got True"),
        ("ar-decoding", {"seq_len": "none"}, None, "^`seq_len` must be an integer, as in .*; got 'none'"),
        ("ar-decoding", {"seq_len": [100]}, None, r"^`seq_len` must be an integer, as in .*; got \[100\]"),
        ("ar-decoding", {"bit_probability": "half"}, None, "^`bit_probability` must be a number, as in .*; got 'half'"),
        ("ar-decoding", {"bit_probability": "nan"}, None, "^`bit_probability` must be above 0 and below 1; got nan"),
        ("ar-decoding", {"bit_probability": True}, None, "^`bit_probability` must be a number, as in .*; got True"),
        (
            "selective-copying",
            {"number_probability": "x"},
            None,
            "must be a number or none, as in number_probability=0.2; got 'x'",
        ),
        (
            "selective-copying",
            {"seq_len": "9"},
            None,
            r"^`seq_len` must be an integer from 12 .*\(the largest number is 10\); got 9",
        ),
    ],
)
def test_what_is_wrong_is_named(name: str, parameters: dict[str, object], preset: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        build_task(name, parameters, preset)
    assert "\n" not in str(caught.value)
