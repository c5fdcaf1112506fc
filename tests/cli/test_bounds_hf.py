"""``boundprobe bounds --hf``: verdicts and diagonal cuts from a configuration, without torch or transformers."""

import json
import sys

import pytest

from boundprobe.bounds import diagonal_bounds, window_accuracy_ceiling
from boundprobe.hf import state_sizes, state_stages
from boundprobe.tasks import build_task

WINDOWED = {
    "model_type": "mistral", "hidden_size": 8, "num_attention_heads": 1, "num_key_value_heads": 1,
    "num_hidden_layers": 2, "sliding_window": 8, "head_dim": 8, "dtype": "bfloat16",
}  # fmt: skip
HYBRID = {
    "model_type": "jamba", "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 4, "attn_layer_period": 4,
    "attn_layer_offset": 1, "num_key_value_heads": 2, "mamba_d_state": 3, "mamba_d_conv": 4, "mamba_expand": 2,
    "dtype": "bfloat16",
}  # fmt: skip
FULL = WINDOWED | {"model_type": "llama"}
SMALL = {"model_type": "rwkv", "hidden_size": 1, "attention_hidden_size": 1, "num_hidden_layers": 1, "dtype": "float16"}
PARAMETERS = {"n_pairs": 8, "seq_len": 48, "gap": 8}
TASK = build_task("mqar", PARAMETERS)
FLAGS = ["--task", "mqar", *(word for name, value in PARAMETERS.items() for word in ("-p", f"{name}={value}"))]


@pytest.fixture
def written(tmp_path):
    """Write a configuration; its path."""

    def write(values):
        path = tmp_path / "config.json"
        path.write_text(json.dumps(values))
        return path

    return write


def test_windows_that_are_too_short_must_fail(document, written):
    found = document("bounds", *FLAGS, "--hf", written(WINDOWED), "--error", "0.25")
    model, verdict = found["model"], found["verdict"]
    assert model["verdict"] == {"state-hard": "must fail", "window-hard": "must fail", "mixture": "must fail"}
    first = diagonal_bounds(TASK.state_case(), state_stages(WINDOWED), TASK.prefix_len, 0.25)[0]
    assert model["diagonal"] == first.to_json()
    assert model["diagonal"] in model["diagonal_cuts"]
    assert model["memory"] == state_sizes(WINDOWED, TASK.prefix_len).memory._asdict()
    assert verdict["receptive_field"] == 1 + 2 * 7
    ceilings = {each["distribution"]: each["ceiling_accuracy"] for each in verdict["distributions"]}
    assert ceilings["window-hard"] == pytest.approx(window_accuracy_ceiling(TASK.window_case(), 15))
    assert ceilings["state-hard"] == pytest.approx(model["diagonal"]["accuracy_ceiling"])
    assert verdict["unlimited_attention"] == 0
    assert model["n_params"] is None


def test_a_state_that_is_too_small_must_fail(document, written):
    many = ["--task", "mqar", "-p", "n_pairs=40", "-p", "seq_len=128"]
    found = document("bounds", *many, "--hf", written(SMALL))
    assert found["model"]["verdict"]["state-hard"] == "must fail"
    assert found["model"]["verdict"]["window-hard"] == "undecided"


@pytest.mark.parametrize(
    ("values", "said", "n_layers"),
    [
        (FULL, "attention without a window hears", 2),
        (HYBRID, "a recurrent layer or attention without a window hears", 1),
    ],
    ids=["full", "hybrid"],
)
def test_full_attention_is_unbounded_and_says_so(call, document, written, values, said, n_layers):
    path = written(values)
    found = document("bounds", *FLAGS, "--hf", path)
    assert set(found["model"]["verdict"].values()) == {"undecided"}
    assert found["verdict"]["receptive_field"] is None
    assert said in next(
        each["reason"] for each in found["verdict"]["distributions"] if "window" in each["distribution"]
    )
    out = call("bounds", *FLAGS, "--hf", path).out
    per_token = state_sizes(values).cache_bits_per_token
    assert f"Attention has no window in {n_layers} of {values['num_hidden_layers']} layers" in out
    assert f"the cache grows by {per_token:g} bits a token" in out


def test_types_and_defaults_are_said(call, document, written):
    path = written(WINDOWED)
    half = document("bounds", *FLAGS, "--hf", path)["model"]["memory"]["cache_bits"]
    assert document("bounds", *FLAGS, "--hf", path, "--dtype", "float32")["model"]["memory"]["cache_bits"] == 2 * half
    assert "Not in the configuration" not in call("bounds", *FLAGS, "--hf", path).out
    written({key: value for key, value in WINDOWED.items() if key != "sliding_window"})
    assert "transformers' default is taken: sliding_window = 4096" in call("bounds", *FLAGS, "--hf", path).out


def test_a_printed_configuration_says_the_same_again(call, document, written, tmp_path):
    path = written(WINDOWED)
    (tmp_path / "bounds.toml").write_text(call("bounds", *FLAGS, "--hf", path, "--print-config").out)
    assert document("bounds", "--config", tmp_path / "bounds.toml") == document("bounds", *FLAGS, "--hf", path)


def test_neither_torch_nor_transformers_is_needed(call, written, monkeypatch):
    for name in ("torch", "transformers"):
        monkeypatch.setitem(sys.modules, name, None)
    assert call("bounds", *FLAGS, "--hf", written(HYBRID)).code == 0


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--hf", "CONFIG", "--model", "mamba"], "`--model and its flags` must be left out with --hf"),
        (["--hf", "CONFIG", "--d-model", "4"], "--model and its flags"),
        (["--hf", "CONFIG", "--entry-bits", "8"], "`--entry-bits` must be left out with --hf"),
        (["--dtype", "float32"], "`--dtype` must be given with --hf; got no configuration"),
        (["--hf", "CONFIG", "--dtype", "int3"], "`dtype` must be one of float64"),
        (["--hf", "nowhere"], "`--hf` must be a folder with a config.json, or such a file; got nowhere"),
    ],
)
def test_refused(refused, written, argv, says):
    path = written(WINDOWED)
    assert says in refused("bounds", *FLAGS, *(str(path) if word == "CONFIG" else word for word in argv))


def test_an_unknown_family_is_refused_by_name(refused, written):
    err = refused("bounds", *FLAGS, "--hf", str(written({"model_type": "llamma"})))
    assert "`model_type` of the configuration must be one of" in err
    assert "Did you mean 'llama'?" in err
