"""``boundprobe size``: the document of the contract, a table that agrees with it, and refusals."""

import json

import pytest

from boundprobe.hf import state_sizes

HYBRID = {
    "model_type": "jamba", "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 4, "attn_layer_period": 4,
    "attn_layer_offset": 1, "num_key_value_heads": 2, "mamba_d_state": 3, "mamba_d_conv": 4, "mamba_expand": 2,
    "dtype": "bfloat16",
}  # fmt: skip


@pytest.fixture
def hybrid(tmp_path):
    """A folder with a configuration and nothing else."""
    (tmp_path / "config.json").write_text(json.dumps(HYBRID))
    return tmp_path


def test_the_document(document, hybrid):
    found = document("size", "--hf", hybrid, "--tokens", "10")
    assert found["schema"] == "boundprobe.size/1"
    assert (found["family"], found["n_tokens"], found["defaults"]) == ("jamba", 10, {})
    recurrent, cached = found["layers"][0], found["layers"][1]
    assert recurrent == {
        "index": 0, "kind": "mamba", "recurrent_entries": 96, "conv_entries": 96, "conv_entries_stored": 128,
        "cache_entries_per_token": 0, "cache_entries": 0, "window": None, "recurrent_dtype": "float32",
        "conv_dtype": "bfloat16", "cache_dtype": None,
    }  # fmt: skip
    assert (cached["kind"], cached["cache_entries_per_token"], cached["cache_entries"]) == ("attn", 16, 160)
    assert found["memory"] == {"recurrent_bits": 3 * 96 * 32, "conv_bits": 3 * 96 * 16, "cache_bits": 160 * 16}
    assert found["cache_bits_per_token"] == 256


def test_the_document_is_that_of_python(document, hybrid):
    assert document("size", "--hf", hybrid / "config.json") == state_sizes(hybrid).to_json()
    assert document("size", "--hf", hybrid, "--dtype", "float16") == state_sizes(hybrid, dtype="float16").to_json()


def test_own_models_have_the_memory_that_bounds_says(document):
    model = ["--model", "mamba-attn", "--d-model", "8", "--window", "4"]
    task = ["--task", "needle", "-p", "seq_len=20", "-p", "vocab_size=5"]
    judged = document("bounds", *task, *model)
    found = document("size", *model, "--tokens", str(judged["verdict"]["prefix_len"]))
    assert found["memory"] == judged["model"]["memory"]


def test_the_table_says_what_the_document_says(call, document, hybrid):
    found = document("size", "--hf", hybrid)
    out = call("size", "--hf", hybrid).out.splitlines()
    rows = [line.split() for line in out]
    assert ["mamba", "3", "96", "96", "0", "0", "recurrent", "float32,", "conv", "bfloat16"] in rows
    assert ["attn", "1", "0", "0", "16", "16384", "bfloat16"] in rows
    for kind, key in (("recurrent", "recurrent_bits"), ("convolution", "conv_bits"), ("cache", "cache_bits")):
        assert [kind, str(found["memory"][key])] in [row[:2] for row in rows]


def test_defaults_that_are_taken_are_said(call, tmp_path):
    path = tmp_path / "some.json"
    path.write_text(json.dumps({key: HYBRID[key] for key in HYBRID if key != "mamba_d_conv"}))
    code, _, err = call("size", "--hf", path)
    assert code == 0
    assert err == "not in the configuration, so that transformers' default is taken: mamba_d_conv = 4\n"
    assert call("size", "--hf", path, "-q").err == ""


def test_a_printed_configuration_gives_the_same_document(call, document, hybrid, tmp_path):
    for argv in (["--hf", hybrid, "--tokens", "7", "--dtype", "float16"], ["--model", "gru", "--d-model", "3"]):
        (tmp_path / "size.toml").write_text(call("size", *argv, "--print-config").out)
        assert document("size", "--config", tmp_path / "size.toml") == document("size", *argv)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ([], "one of `--hf` and `--model` must be given, such as --model mamba-attn; got neither."),
        (["--model", "gru", "--hf", "."], "got both."),
        (
            ["--hf", "nowhere"],
            "`--hf` must be a folder with a config.json, or such a file; got nowhere, which does not",
        ),
        (["--model", "gru", "--dtype", "int3"], "`dtype` must be one of float64, float32, "),
        (["--model", "gru", "--tokens", "-1"], "`--tokens` must be an integer from 0"),
    ],
)
def test_refusals_are_one_line(call, empty, argv, says):
    code, out, err = call("size", *argv)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert says in err
