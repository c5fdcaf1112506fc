"""``boundprobe bounds`` beyond one task's numbers: --list, --statements, and the verdict on a model."""

import subprocess
import sys

import pytest

MODEL = ["--task", "selective-copying", "--model", "attn-attn", "--d-model", "12", "--window", "20"]


def test_list_is_a_catalogue_with_references(call, document):
    report = document("bounds", "--list")
    assert report["schema"] == "boundprobe.bounds-catalogue/1"
    assert {entry["family"] for entry in report["entries"]} == {"state", "window", "neighbour"}
    code, out, err = call("bounds", "--list")
    assert (code, err) == (0, "")
    for entry in report["entries"]:
        assert entry["name"] in out
        assert entry["reference"] in out
    for said in ("2402.01032", "2406.09347", "withdrawn", "constants not available to us: derived here"):
        assert said in out


def test_statements_carry_everything(call, document):
    report = document("bounds", "--task", "ar-decoding", "--error", "0.1", "--statements")
    assert "bounds" not in document("bounds", "--task", "ar-decoding")
    for bound in report["bounds"]:
        assert set(bound) == {
            "name", "of", "value", "unit", "direction", "theorem", "assumptions", "evidence", "vacuous",
        }  # fmt: skip
    values = {bound["name"]: bound["value"] for bound in report["bounds"]}
    assert values["fano"] == report["state"]["fano_bits"]
    assert values["packing"] == report["state"]["packing_bits"]
    out = call("bounds", "--task", "ar-decoding", "--error", "0.1", "--statements").out
    for statement in ("S1", "S2", "S3", "S4", "S5", "W1", "W2", "if "):
        assert statement in out


def test_the_verdict_on_a_model(call, document):
    verdict = document("bounds", *MODEL)["verdict"]
    assert verdict["model"]["architecture"] == "attn-attn"
    assert verdict["prefix_len"] == 99
    assert verdict["receptive_field"] == 39
    bits = {"recurrent_bits": 0, "conv_bits": 0, "cache_bits": 2 * 2 * 19 * 12 * 32}
    assert verdict["nominal_bits"] == bits | {"total_bits": bits["cache_bits"]}
    found = {one["distribution"]: one for one in verdict["distributions"]}
    assert [found[name]["verdict"] for name in ("state-hard", "window-hard", "mixture")] == [
        "undecided", "must fail", "must fail",
    ]  # fmt: skip
    assert found["window-hard"]["ceiling_accuracy"] == pytest.approx(0.201518, abs=5e-7)
    assert found["window-hard"]["theorem"].startswith("W2")
    out = call("bounds", *MODEL).out
    for said in ("must fail", "undecided", "W2", "29184", "0.201518"):
        assert said in out


def test_precision_decides_what_the_state_can_hold(document):
    argv = ["bounds", "--task", "selective-copying", "--model", "mamba", "--d-model", 1, "--d-state", 1, "--d-conv", 1]
    for entry_bits, verdict in ((4, "must fail"), (26, "undecided")):
        report = document(*argv, "--entry-bits", entry_bits)["verdict"]
        assert report["nominal_bits"]["total_bits"] == 2 * entry_bits
        assert report["receptive_field"] is None
        assert report["distributions"][0]["verdict"] == verdict
    # At error 1/3 S1 asks for 25.4 bits and S3 for more than 26.
    for entry_bits, verdict in ((13, "must fail"), (15, "undecided")):
        found = document(*argv, "--entry-bits", entry_bits, "--error", "0.3333333333")["verdict"]["distributions"][0]
        assert found["verdict"] == verdict
        assert found["target_accuracy"] == pytest.approx(2 / 3)


def test_what_is_refused(refused):
    assert "`--entry-bits` must be given with --model, such as --model mamba-attn; got no model" in refused(
        "bounds", "--task", "ar-decoding", "--entry-bits", "8"
    )
    assert "got 'mmaba'. Did you mean 'mamba'?" in refused("bounds", "--task", "ar-decoding", "--model", "mmaba-attn")
    assert "`d_model` must be a multiple of 2 (rotary encoding turns pairs); got 5 with n_heads=1" in refused(
        "bounds", "--task", "ar-decoding", "--model", "attn", "--d-model", "5"
    )


def test_the_configuration_holds_the_model(call, tmp_path):
    code, out, _ = call("bounds", *MODEL, "--entry-bits", "16", "--print-config")
    assert code == 0
    (tmp_path / "config.toml").write_text(out)
    assert call("bounds", "--config", tmp_path / "config.toml", "--print-config").out == out
    assert "[model]" not in call("bounds", "--task", "ar-decoding", "--print-config").out


def test_a_verdict_does_without_torch(command):
    """With torch made unimportable: with it, a cold start would take seconds."""
    argv = ["bounds", *MODEL, "--statements", "--json"]
    program = f"import sys; sys.modules['torch'] = None; from boundprobe.cli.main import main; sys.exit(main({argv!r}))"
    done = subprocess.run([sys.executable, "-c", program], env=command["env"], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
