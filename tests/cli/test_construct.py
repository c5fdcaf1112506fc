"""``boundprobe construct``: what it prints, what it writes, and what it refuses."""

import json

import pytest
from safetensors.torch import load_file

from boundprobe.cli import main as cli
from boundprobe.constructions import construct, verify
from boundprobe.tasks import SelectiveCopying

SMALL = ["-p", "n_numbers=3", "-p", "n_letters=4", "-p", "seq_len=9", "--inputs", "110"]
COPYING = ["construct", "--task", "selective-copying", *SMALL]
RECALL = ["construct", "--task", "ar-decoding", "-p", "word_bits=2", "-p", "seq_len=9", "--inputs", "120"]


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setattr(cli, "VERBS", ("construct",))  # the others are not needed here


@pytest.fixture
def small_case_is_smaller(monkeypatch):
    """The exhaustive check of every run here would take longer than the rest: it has its own tests."""
    monkeypatch.setattr("boundprobe.constructions.verification.every_sequence", lambda n_token_ids, length: iter([]))
    monkeypatch.setattr("boundprobe.plots.construction.POINTS_PER_DECADE", 1)


@pytest.mark.parametrize(
    ("argv", "architecture", "n_layers"),
    [
        (COPYING, "mamba-attn", 2),
        ([*COPYING, "--position", "rope"], "mamba-attn", 2),
        (RECALL, "ssm-attn", 2),
        ([*RECALL, "--layers", "3", "--window", "5"], "ssm-attn-attn", 3),
    ],
    ids=["copying", "copying, rope", "recall", "recall, three layers"],
)
def test_the_document(document, small_case_is_smaller, argv, architecture, n_layers):
    found = document(*argv)
    assert found["schema"] == "boundprobe.construct/1"
    assert set(found) == {
        "schema", "task", "theorem", "model", "n_layers", "n_params", "n_nonzero", "claims", "memory", "pure_models",
        "verification", "on_paper",
    }  # fmt: skip
    assert (found["model"]["architecture"], found["n_layers"]) == (architecture, n_layers)
    memory, pure = found["memory"], found["pure_models"]
    for kind in ("recurrent_bits", "cache_bits", "total_bits"):
        assert memory["rounded"][kind] <= memory["coded"][kind] <= memory["nominal"][kind]
    assert pure["state_bits"] <= memory["rounded"]["total_bits"]
    assert pure["window_tokens"] == 8
    assert memory["rounded"]["n_wrong"] == 0
    sampled = found["verification"]["sampled"]
    families = sampled["families"]
    assert sampled["n_wrong"] == sum(family["n_wrong"] for family in families) == 0
    assert sampled["n_sequences"] == sum(family["n_sequences"] for family in families)
    assert sampled["n_sequences"] == int(argv[argv.index("--inputs") + 1])
    assert sampled["counterexample"] is None
    rows = found["on_paper"]["rows"]
    assert max(row["seq_len"] for row in rows) == max(row["seq_len"] for row in rows if row["size"] > 1000) == 10**6
    assert all(row["recurrent_bits"] + row["cache_bits"] >= row["state_bits"] for row in rows)


def test_the_small_case_is_enumerated(document):
    small = document(*COPYING)["verification"]["small_case"]
    assert (small["n_sequences"], small["n_wrong"]) == (4**8, 0)
    assert small["task"]["name"] == "selective-copying"
    assert small["task"]["parameters"]["seq_len"] == 8


def test_the_text_says_the_same(call, document, small_case_is_smaller):
    found, text = document(*RECALL), call(*RECALL).out
    assert f"{found['n_params']:,}" in text
    for memory in found["memory"].values():
        assert f"{memory['recurrent_bits']:,} recurrent, {memory['cache_bits']:,} cache" in text
    for claim in found["claims"]:
        assert f"claimed: {claim}" in text
    assert "0 wrong" in text
    assert "65,536" in text
    assert max(len(line) for line in text.splitlines()) < 140


def test_what_is_written(call, document, small_case_is_smaller, tmp_path):
    out = tmp_path / "made" / "here"
    found = document(*COPYING, "--out", out, "-q")
    assert found["files"] == [
        str(out / name) for name in ("model.safetensors", "construct.json", "construction.png", "construction.svg")
    ]
    kept = json.loads((out / "construct.json").read_text("utf-8"))
    assert kept == {key: value for key, value in found.items() if key != "files"}
    built = construct(SelectiveCopying(n_numbers=3, n_letters=4, seq_len=9))
    for parameter in built.model.parameters():
        parameter.data.zero_()
    built.model.load_state_dict(load_file(out / "model.safetensors"))
    assert verify(built, 110).n_wrong == 0
    assert (out / "construction.png").stat().st_size > 10_000
    assert str(out / "construction.svg") in call(*COPYING, "--out", out).out


def test_a_wrong_answer_is_exit_code_1(call, small_case_is_smaller, monkeypatch):
    original = SelectiveCopying.answers

    def shifted(task, tokens):
        targets = original(task, tokens)
        targets[targets >= 0] = (targets[targets >= 0] + 1) % task.vocab_size
        return targets

    monkeypatch.setattr(SelectiveCopying, "answers", shifted)
    code, out, err = call(*COPYING)
    assert code == 1
    assert "VIOLATION" in err
    assert "first wrong: tokens" in out


def test_the_same_command_says_the_same_twice(document, small_case_is_smaller):
    assert document(*COPYING) == document(*COPYING)
    assert document(*COPYING, "--seed", "1") != document(*COPYING)


def test_print_config_is_a_configuration(call, document, small_case_is_smaller, tmp_path):
    argv = [*COPYING, "--position", "rope"]
    file = tmp_path / "config.toml"
    file.write_text(call(*argv, "--print-config").out, encoding="utf-8")
    assert document("construct", "--config", file) == document(*argv)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["construct"], "a task must be given, one of "),
        (["construct", "--task", "mkar"], "`construction` must be one of selective-copying, ar-decoding; got 'mkar'"),
        (
            [*COPYING, "--position", "absolute"],
            "`position` of Theorem 4.3 (Cooper et al. 2026) must be one of learned, rope; got 'absolute'",
        ),
        ([*COPYING, "--layers", "3"], "`n_layers` must be 2 for selective-copying; got 3"),
        (
            [*COPYING, "--window", "2"],
            "`window` must be an integer of at least 4 (the largest number asks 3 tokens back); got 2",
        ),
        (
            [*RECALL, "--position", "rope"],
            "`position` of Theorem 4.6 (Cooper et al. 2026) must be one of learned; got 'rope'",
        ),
        ([*COPYING, "--inputs", "0"], "`--inputs` must be an integer of at least 1; got '0'"),
        ([*COPYING, "--layer", "2"], "Did you mean --layers"),
    ],
    ids=str,
)
def test_what_is_refused(refused, argv, said):
    assert said in refused(*argv)
