"""``boundprobe probe --hf``: certified bits of small models that transformers trained, and what is refused."""

import json
import sys

import numpy as np
import pytest
import torch

from boundprobe import ProbeConfig, load_run
from boundprobe.cli.main import main
from boundprobe.hf import ForeignModel, find_source, in_vocabulary, load_tokenizer, shifted_labels, state_sizes
from boundprobe.probes import ModelLadder, probe_source, read_ladders
from boundprobe.tasks import build_task
from tests.hf.families import WORDS, byte_tokenizer, tiny_model

PARAMETERS = {"n_pairs": 2, "n_keys": 2, "n_values": 4, "seq_len": 7}
TASK = build_task("mqar", PARAMETERS)
FLAGS = ["--task", "mqar", *(word for name, value in PARAMETERS.items() for word in ("-p", f"{name}={value}"))]
FEW = ["-n", "300", "--calibration", "100", "--train", "300", "--decoders", "linear"]
#: Family, changes of its tiny configuration, steps and learning rate.
TRAINED = {
    "llama": ({}, 200, 3e-3),
    "mamba": ({}, 100, 1e-2),
    "lfm2": ({}, 150, 1e-2),
    "qwen3_next": ({"num_hidden_layers": 2, "layer_types": ["linear_attention", "full_attention"]}, 200, 1e-2),
}


def train(model, task, steps, rate):
    """The reader's own loop: transformers' forward, on batches of the generator."""
    torch.manual_seed(0)
    optimizer, rng = torch.optim.AdamW(model.train().parameters(), lr=rate), np.random.default_rng(0)
    for _ in range(steps):
        batch = task.sample(32, rng, "state-hard")
        input_ids, labels = shifted_labels(torch.from_numpy(batch.tokens), torch.from_numpy(batch.targets))
        loss = model(input_ids=input_ids, labels=labels, use_cache=False).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@pytest.fixture(scope="module")
def probed(tmp_path_factory):
    """A family trained, saved, and measured from the command line once: its folder and run."""
    root, found = tmp_path_factory.mktemp("hf"), {}

    def probe(family):
        if family not in found:
            changes, steps, rate = TRAINED[family]
            model = tiny_model(family, vocab_size=8, **changes)
            train(model, TASK, steps, rate)
            model.save_pretrained(root / family)
            runs = root / f"runs-{family}"
            assert main(["probe", "--hf", str(root / family), *FLAGS, *FEW, "--out", str(runs), "-q"]) == 0
            found[family] = root / family, load_run(next(runs.glob("probe-*")))
        return found[family]

    return probe


@pytest.fixture
def folder(probed):
    return probed("llama")[0]


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=() if name in ("llama", "mamba") else pytest.mark.slow) for name in TRAINED]
)
def test_a_trained_model_has_certified_bits(probed, family):
    folder, run = probed(family)
    (model,) = read_ladders(run)
    assert model.ladder.violations == ()
    assert 3.5 < model.ladder.used.lower <= model.ladder.present.lower <= 4
    assert model.ladder.null_control.lower == 0
    sizes = state_sizes(folder, TASK.prefix_len)
    assert model.ladder.nominal_bits == sizes.memory.total_bits
    assert model.model == ForeignModel(family, family, find_source(folder).sha256, "float32")
    assert ModelLadder.from_json(model.to_json()) == model


def test_the_same_command_again_measures_nothing(probed, folder, capsys, monkeypatch):
    monkeypatch.setattr("boundprobe.probes.foreign.load", None)
    root = folder.parent / "runs-llama"
    assert main(["probe", "--hf", str(folder), *FLAGS, *FEW, "--out", str(root), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["run_id"] == probed("llama")[1].run_id
    assert "measured earlier" in err


def test_a_folder_that_was_moved_is_the_same_model_and_other_weights_are_another(folder, tmp_path):
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for file in folder.iterdir():
        (moved / file.name).write_bytes(file.read_bytes())
    assert find_source(moved).sha256 == find_source(folder).sha256
    weights = moved / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert find_source(moved).sha256 != find_source(folder).sha256


EDITS = {
    "memory": lambda d: d["memory"].update(cache_bits=d["memory"]["cache_bits"] + 8),
    "part": lambda d: d["present_by_part"][0].update(nominal_bits=d["present_by_part"][0]["nominal_bits"] + 32),
    "ceiling": lambda d: d.update(window_accuracy_ceiling=0.99999),
    "diagonal": lambda d: d["diagonal"].update(lag=d["diagonal"]["lag"] + 1),
    "no diagonal": lambda d: d.update(diagonal=None),
    "another model": lambda d: d["model"].update(sha256="0" * 64),
    "another family": lambda d: d["model"].update(family="mamba"),
    "another type": lambda d: d["model"].update(dtype="bfloat16"),
    "no type": lambda d: d["model"].pop("dtype"),
    "tokens": lambda d: d.update(tokens={"ids": [[1]], "before": [], "between": [], "after": []}),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_document_is_refused(probed, edit):
    from boundprobe.probes.read_back import check_same
    from boundprobe.probes.run_relations import check_in_run

    run = probed("llama")[1]
    document = run.result()

    def read(document):
        model = ModelLadder.from_json(document)
        check_in_run(model.ladder, model.model, model.task, run.config)
        check_same(run.config.get("tokens"), model.tokens, "tokens")

    read(document)
    EDITS[edit](document)
    with pytest.raises(ValueError, match="must"):
        read(document)


@pytest.fixture
def words(folder, tmp_path):
    """A model with a tokenizer, trained on nothing."""
    path = tmp_path / "words"
    tokenizer = byte_tokenizer()
    tiny_model("mamba", vocab_size=len(tokenizer)).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def test_a_map_and_a_template_are_on_record(words, tmp_path, capsys):
    (tmp_path / "template.json").write_text(json.dumps({"separator": ",", "before": "the of"}))
    command = ["probe", "--hf", str(words), *FLAGS, *FEW, "--token-map", "auto", "--out", str(tmp_path), "--json"]
    assert main([*command, "--template", str(tmp_path / "template.json")]) == 0
    document = json.loads(capsys.readouterr().out)
    (run,) = map(load_run, tmp_path.glob("probe-*"))
    assert run.config["tokens"] == document["tokens"]
    task = in_vocabulary(TASK, load_tokenizer(words), "auto", tmp_path / "template.json")
    assert document["tokens"]["ids"] == [list(ids) for ids in task.ids]
    assert document["memory"] == state_sizes(words, task.prefix_len).memory._asdict()
    assert document["task"] == {"name": "mqar", **TASK.parameters()}
    assert document["present_bits"]["lower"] > 3  # an untrained state holds what it was given; nobody uses it
    assert document["used_bits"]["lower"] == 0
    assert {group["group"] for group in document["retention"]["groups"]} == {2, 6}  # each token is two ids
    found = probe_source(find_source(words), task, ProbeConfig(300, 100, 300, decoders=("linear",)), tmp_path)
    assert found.to_json() | {"run_dir": ""} == document | {"run_dir": ""}
    assert found.measured_earlier is not None


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--task", "mqar"], "`--hf` must be a model of at least 129 token ids, for mqar; got 8. Give --token-map"),
        ([*FLAGS, "--token-map", "auto"], "`--token-map` must be a file of ids, as the model has no tokenizer; got au"),
        ([], "a task must be given"),
        ([*FLAGS, "--member", "0"], "`--member` must be left out with --hf"),
        ([*FLAGS, "--budgets", "1x2"], "`--budgets` must be left out with --hf"),
        ([*FLAGS, "--states", "x.npz"], "`--states` must be left out with --hf"),
        ([*FLAGS, "--cut", "diagonal"], "`--cut` must be vertical with --hf"),
        ([*FLAGS, "--template", "x"], "`--token-map` must be given with --template"),
        ([*FLAGS, "--dtype", "int3"], "`--dtype` must be one of float64"),
        ([*FLAGS, "--stream", "tokens"], "`stream` of mqar must be one of keys-once"),
        (["RUN", *FLAGS], "one of RUN and --hf must be given; got both"),
    ],
)
def test_refused(folder, argv, says, capsys, tmp_path):
    assert main(["probe", "--hf", str(folder), *argv, "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"boundprobe: {says}")
    assert list(tmp_path.iterdir()) == []


def test_refused_without_a_model(capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "unknown").mkdir()
    (tmp_path / "unknown" / "config.json").write_text('{"model_type": "no_such_family"}')
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled" / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "pickled" / "pytorch_model.bin").write_bytes(b"")
    for argv, says in {
        ("--hf", "nowhere"): "`--hf` must be a folder with config.json and safetensors, a .gguf file, or the name of a",
        ("--hf", "no name"): "`--hf` must be a folder with config.json and safetensors, a .gguf file, or the name of a",
        ("--hf", f"{tmp_path}/empty"): "`--hf` must be a folder with a config.json",
        ("--hf", f"{tmp_path}/pickled"): "`--hf` must be a folder with weights as safetensors; got",
        ("--hf", f"{tmp_path}/pickled/config.json"): "`--hf` must be a folder with config.json and safetensors",
        ("--token-map", "auto"): "`--hf` must be given with --token-map",
    }.items():
        assert main(["probe", *argv, *FLAGS]) == 2
        assert capsys.readouterr().err.startswith(f"boundprobe: {says}")
    for argv, says in {
        ("-p", "n_pairs=2"): "`-p n_pairs` must be given with --hf",
        ("--preset", "paper"): "`--preset` must be given with --hf",
    }.items():
        assert main(["probe", "RUN", *argv]) == 2
        assert says in capsys.readouterr().err


def test_a_family_that_transformers_does_not_know_is_refused(folder, tmp_path, capsys):
    (tmp_path / "config.json").write_text('{"model_type": "no_such_family"}')
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    assert main(["probe", "--hf", str(tmp_path), *FLAGS, "--out", str(tmp_path / "runs")]) == 2
    err = capsys.readouterr().err
    assert err.startswith("boundprobe: `source` must be a causal language model that transformers loads")
    assert err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_without_transformers_the_exit_code_is_3(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for name in (str(folder), "some/name"):
        assert main(["probe", "--hf", name, *FLAGS, "--out", str(tmp_path)]) == 3
        assert "needs the package transformers, which is not installed" in capsys.readouterr().err


def test_a_model_in_the_cache_of_hugging_face_is_found_by_its_name(folder, tmp_path, monkeypatch):
    home = tmp_path / "models--some--model"
    snapshot = home / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    for file in folder.iterdir():
        (snapshot / file.name).write_bytes(file.read_bytes())
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    found = find_source("some/model")
    assert (found.name, found.family, found.sha256) == ("some/model", "llama", find_source(folder).sha256)


def test_a_gguf_file_needs_its_packages(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("boundprobe.hf.readers.find_spec", lambda name: None)
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    assert main(["probe", "--hf", str(tmp_path / "model.gguf"), *FLAGS]) == 3
    assert "a .gguf file needs the packages gguf and accelerate" in capsys.readouterr().err


def test_a_family_without_known_sizes_is_measured_and_read_back(tmp_path):
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=8, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1,
    )  # fmt: skip
    Qwen2ForCausalLM(config).to(torch.bfloat16).save_pretrained(tmp_path / "model")
    settings = ProbeConfig(200, 100, 200, decoders=("linear",))
    source = find_source(tmp_path / "model")
    short = probe_source(source, TASK, settings, tmp_path)
    assert (short.model.dtype, short.ladder.diagonal, short.ladder.window_ceiling) == ("bfloat16", None, 1.0)
    long = probe_source(source, TASK, settings, tmp_path, dtype="float32")
    assert long.run_id != short.run_id
    assert long.ladder.nominal_bits == 2 * short.ladder.nominal_bits


def test_a_text_is_read_back_as_an_estimate(words, tmp_path, capsys):
    text = tmp_path / "text.txt"
    text.write_text(" ".join(np.random.default_rng(0).choice(WORDS.split(), size=2500)))
    command = ["probe", "--hf", str(words), "--text", str(text), "--passage", "8"]
    assert main([*command, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "boundprobe.probe-text/1"
    assert document["certified"] is None
    assert 2500 <= document["text"]["n_tokens"] < 2510  # the first word has no space before it
    assert document["model"]["sha256"] == find_source(words).sha256
    last = document["by_distance"][0]
    assert (last["distance"], document["passage_len"]) == (1, 8)
    assert last["estimate_bits"] > 3
    assert last["control_bits"] < 0.1  # the state of another passage misleads
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "An estimate, not a certificate" in out
    assert "certified" not in out
    assert f"{last['estimate_bits']:.3f}" in out
    assert not list(tmp_path.glob("**/probe-*"))


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--task", "mqar"], "one of `--task` and `--text` must be given; got both"),
        (["--token-map", "auto"], "`--token-map` must be left out with --text"),
        (["--confidence", "0.9"], "with `--text` settings must be n_sequences, n_calibration, n_train, seed; got conf"),
        ([], "`--text` must be of at least 180 passages of 64 tokens; got 0. Give a longer text"),
    ],
)
def test_texts_are_refused(words, tmp_path, argv, says, capsys):
    (tmp_path / "text.txt").write_text("the of")
    assert main(["probe", "--hf", str(words), "--text", str(tmp_path / "text.txt"), *argv]) == 2
    assert capsys.readouterr().err.startswith(f"boundprobe: {says}")


def test_a_text_needs_a_tokenizer_and_is_utf8(folder, words, tmp_path, capsys):
    (tmp_path / "text.txt").write_bytes(b"\xff")
    for model, says in (
        (folder, "`--hf` must be a model with its tokenizer"),
        (words, "`--text` must be a file of UTF-8"),
    ):
        if model == folder:
            (tmp_path / "good.txt").write_text("the of")
        text = tmp_path / ("good.txt" if model == folder else "text.txt")
        assert main(["probe", "--hf", str(model), "--text", str(text)]) == 2
        assert capsys.readouterr().err.startswith(f"boundprobe: {says}")
    assert main(["probe", "--hf", str(folder), *FLAGS, "--passage", "3"]) == 2
    assert capsys.readouterr().err.startswith("boundprobe: `--text` must be given with --passage")
