"""``train``, ``probe`` and ``plot``: their documents, what they leave on disk, and what they refuse."""

import json
import re
import signal
import subprocess
import time
import tomllib

import pytest
import torch

from tests.helpers.commands import replaced

PROBE = ["-n", "200", "--calibration", "100", "--train", "150", "--decoders", "linear"]
FIGURES = ["bound_vs_empirical.png", "bound_vs_empirical.svg"]
MEMBER = {
    "phase", "learning_rate", "seed_index", "accuracy", "accuracy_by_distribution", "loss", "steps", "converged",
    "late_improvement", "n_params", "memory", "tokens_per_second",
}  # fmt: skip


def without_speed(result):
    """A training result less what no seed decides."""
    members = {
        name: [{k: v for k, v in member.items() if k != "tokens_per_second"} for member in result[name]]
        for name in ("members", "calibration")
    }
    return {key: value for key, value in result.items() if key != "run_dir"} | members


# train


def test_train_has_the_keys_of_the_contract_and_is_done_once(document, tiny, trained):
    before = {path.name: path.stat().st_mtime_ns for path in trained.iterdir()}
    result = document(*tiny, "--out", trained.parent)
    assert {path.name: path.stat().st_mtime_ns for path in trained.iterdir()} == before  # a no-op
    assert result == json.loads((trained / "result.json").read_text())
    assert set(result) == {
        "schema", "run_id", "run_dir", "learning_rate", "backends", "summary", "members", "calibration",
    }  # fmt: skip
    assert (result["schema"], result["run_id"], result["run_dir"]) == ("boundprobe.train/1", trained.name, str(trained))
    assert [member["seed_index"] for member in result["members"]] == [0, 1]
    assert [member["learning_rate"] for member in result["calibration"]] == [0.003, 0.01]
    best = max(result["calibration"], key=lambda member: (member["accuracy"], -member["loss"]))
    assert result["learning_rate"] == best["learning_rate"]
    for member in result["members"] + result["calibration"]:
        assert set(member) == MEMBER
        assert set(member["memory"]) == {"recurrent_bits", "conv_bits", "cache_bits"}
        assert set(member["accuracy_by_distribution"]) == {"mixture", "state-hard", "window-hard"}
        assert member["accuracy"] == member["accuracy_by_distribution"]["mixture"]
        assert 0 <= member["accuracy"] <= 1
        assert member["steps"] == 60
        assert member["converged"] == (member["late_improvement"] < 0.01)
    assert result["summary"]["values"] == [member["accuracy"] for member in result["members"]]
    # d_model 8: 16 channels of 2 states; 3 inputs of 16 channels; 3 keys and values of 8: float32 each.
    assert result["members"][0]["memory"] == {
        "recurrent_bits": 16 * 2 * 32, "conv_bits": 3 * 16 * 32, "cache_bits": 3 * 2 * 8 * 32,
    }  # fmt: skip
    assert result["members"][0]["loss"] != result["members"][1]["loss"]


def test_the_files_of_a_run(trained):
    assert {
        "config.toml", "manifest.json", "metrics.jsonl", "model.safetensors", "result.json",
    } <= {path.name for path in trained.iterdir()}  # fmt: skip
    assert tomllib.loads((trained / "config.toml").read_text())["train"]["steps"] == 60
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [(line["member"], line["step"]) for line in lines] == [(m, s) for m in range(4) for s in (50, 60)]


def test_the_same_seed_trains_the_same_and_another_does_not(document, tiny, trained, tmp_path):
    known = json.loads((trained / "result.json").read_text())
    assert without_speed(document(*tiny, "--out", tmp_path)) == without_speed(known)
    other = document(*replaced(tiny, {"--seed": 1, "--lr": 0.01, "--seeds": 1}), "--out", tmp_path)
    assert other["members"][0]["loss"] != known["members"][0]["loss"]


def test_the_table_for_people_and_the_same_run_from_its_own_config(call, tiny, trained):
    code, out, err = call("train", "--config", trained / "config.toml", "--out", trained.parent)
    assert code == 0
    assert str(trained) in err
    assert len(list(trained.parent.glob("train-*"))) == 1
    assert [line.split()[0] for line in out.splitlines()[2:]] == ["calibration"] * 2 + ["report"] * 2
    assert call(*tiny, "--out", trained.parent, "-q").err == ""


def test_train_takes_its_defaults(call, empty):
    """A task is all that must be given."""
    code, out, _ = call("train", "--task", "ar-decoding", "--print-config")
    assert code == 0
    assert tomllib.loads(out)["model"]["architecture"] == "mamba-attn"
    assert list(empty.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there(refused, tiny):
    assert "--device" in refused(*tiny, "--device", "cuda", code=3)


def test_out_that_is_a_file(call, tiny, tmp_path):
    (tmp_path / "file").write_text("mine")
    code, out, err = call(*tiny, "--out", tmp_path / "file")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("damage", ["foreign", "result", "no config", "config"])
def test_directories_that_are_not_as_they_were_left(call, tiny, trained, tmp_path, damage):
    run = tmp_path / trained.name
    run.mkdir()
    for name in ("config.toml", "result.json", "manifest.json", "metrics.jsonl", "train_state.pt"):
        (run / name).write_bytes((trained / name).read_bytes())
    config = (run / "config.toml").read_text()
    match damage:
        case "foreign":
            (run / "config.toml").write_text(config.replace("steps = 60", "steps = 61"))
        case "result":
            (run / "result.json").write_text('{"schema": "boundprobe.tr')
        case "no config":
            (run / "config.toml").unlink()
        case "config":
            (run / "config.toml").write_text(config[: len(config) // 2] + "=")
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    code, out, err = call(*tiny, "--out", tmp_path)
    assert (code, out, err.count("\n")) == (4, "", 1)
    assert trained.name in err
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before  # nothing deleted, nothing mended


def test_a_damaged_checkpoint_is_refused(call, tiny, trained, tmp_path):
    run = tmp_path / trained.name
    run.mkdir()
    (run / "config.toml").write_bytes((trained / "config.toml").read_bytes())
    (run / "train_state.pt").write_bytes(b"not a checkpoint")
    code, out, err = call(*tiny, "--out", tmp_path)
    assert (code, out, err.count("\n")) == (4, "", 1)
    assert "train_state.pt" in err


def test_ctrl_c_in_training_and_the_same_command_again(command, call, tmp_path):
    argv = [
        "train", "--task", "selective-copying", "-p", "n_numbers=2", "-p", "n_letters=2", "-p", "seq_len=6",
        "--model", "attn", "--d-model", "4", "--window", "3", "--steps", "700", "--batch", "2",
        "--eval-sequences", "20",
    ]  # fmt: skip
    out = tmp_path / "interrupted"
    process = subprocess.Popen(
        [*command["args"], *argv, "--out", str(out)], env=command["env"], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
        # A shell may have started the tests with SIGINT ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list(out.glob("*/train_state.pt")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    (run,) = out.glob("train-*")
    assert not (run / "result.json").exists(), "it was done before it could be interrupted"
    assert (process.returncode, stdout) == (130, "")
    assert stderr.count("\n") == 1
    assert "interrupted" in stderr

    code, resumed, _ = call(*argv, "--out", out, "--json")
    assert code == 0
    assert len(json.loads((run / "manifest.json").read_text())["sessions"]) == 2
    code, undisturbed, _ = call(*argv, "--out", tmp_path / "undisturbed", "--json")
    assert code == 0
    assert without_speed(json.loads(resumed)) == without_speed(json.loads(undisturbed))
    (other,) = (tmp_path / "undisturbed").glob("train-*")
    assert (run / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    assert (run / "metrics.jsonl").read_text() == (other / "metrics.jsonl").read_text()


# probe


def test_probe_has_the_keys_of_the_contract_and_is_done_once(document, trained):
    ladder = document("probe", trained, *PROBE)
    assert {
        "schema", "run_id", "run_dir", "trained", "task", "model", "member", "used_bits", "present_bits",
        "needed_bits", "nominal_bits", "required_bits", "violations",
    } <= set(ladder)  # fmt: skip
    for name in ("used_bits", "present_bits"):
        assert set(ladder[name]) == {"lower", "estimate", "confidence", "decoder", "form", "limit"}
        assert 0 <= ladder[name]["lower"] <= ladder[name]["estimate"] <= ladder["entropy_bits"]
    # Parts and the whole share the level: 9 parts of a ladder, and the parts of the state among themselves.
    shares = [1 - part["present_bits"]["confidence"] for part in ladder["present_by_part"]]
    assert sum(shares) == pytest.approx(1 - ladder["used_bits"]["confidence"]) == pytest.approx(0.05 / 9, rel=1e-4)
    assert sum(part["nominal_bits"] for part in ladder["present_by_part"]) == ladder["nominal_bits"]
    assert ladder["schema"] == "boundprobe.probe/1"
    assert ladder["trained"] == trained.name
    assert ladder["violations"] == []
    assert 0 <= ladder["used_bits"]["lower"] <= ladder["used_bits"]["estimate"] <= 4.0 + 1e-9
    assert ladder["nominal_bits"] == sum(ladder["memory"].values()) == 1024 + 1536 + 1536
    assert ladder["used_bits"]["lower"] <= ladder["nominal_bits"]
    assert document("probe", trained, *PROBE) == ladder
    (run,) = trained.parent.glob(ladder["run_id"])
    assert json.loads((run / "result.json").read_text()) == ladder
    assert (run / "ladder.png").read_bytes().startswith(b"\x89PNG")
    assert b"</svg>" in (run / "ladder.svg").read_bytes()


def test_probe_members_and_places(document, call, trained, tmp_path):
    second = document("probe", trained, *PROBE, "--member", "1", "--out", tmp_path)
    assert second["member"] == second["seed_index"] == 1
    assert second["accuracy"] != document("probe", trained, *PROBE)["accuracy"]
    assert [path.name for path in tmp_path.iterdir()] == [second["run_id"]]
    code, out, err = call("probe", trained, *PROBE)
    assert code == 0
    assert re.match(r"measured earlier, 20\d\d-\d\d-\d\dT.*: .*probe-\w{12}\nfigure: ", err)
    assert err.endswith("ladder.png\n")
    assert call("probe", trained, *PROBE, "-q").err == ""
    rungs = [line.split("  ")[0] for line in out.splitlines()[2:10]]
    assert rungs[:4] == ["required", "used, certified", "present, certified", "states, certified"]
    for name in ("needed", "nominal", "by layer and kind", "retention by distance", "accuracy, window-hard"):
        assert name in out
    assert "probability at least 95%" in out


def test_a_member_that_is_not_there(refused, trained):
    assert "0 to 1" in refused("probe", trained, "--member", "2")


def test_probe_and_plot_want_a_finished_training_run(refused, document, trained, tmp_path):
    unfinished = tmp_path / trained.name
    unfinished.mkdir()
    (unfinished / "config.toml").write_bytes((trained / "config.toml").read_bytes())
    probe_run = document("probe", trained, *PROBE)["run_dir"]
    for verb in ("probe", "plot"):
        for path, said in (
            (unfinished, "must be a finished training run"),
            (probe_run, "run"),
        ):
            assert said in refused(verb, path, *PROBE[:2], code=4)
        assert "does not exist" in refused(verb, tmp_path / "missing", code=2)
    assert [path.name for path in unfinished.iterdir()] == ["config.toml"]


def test_damaged_weights_are_refused(call, trained, tmp_path):
    run = tmp_path / trained.name
    run.mkdir()
    for name in ("config.toml", "result.json", "manifest.json"):
        (run / name).write_bytes((trained / name).read_bytes())
    (run / "model.safetensors").write_bytes((trained / "model.safetensors").read_bytes()[:-100])
    code, out, err = call("probe", run, *PROBE)
    assert (code, out, err.count("\n")) == (4, "", 1)
    assert "model.safetensors" in err


def test_a_violation_is_said_loudly_and_ends_with_1(call, trained, tmp_path, monkeypatch):
    monkeypatch.setattr("boundprobe.models.memory.StateTensor.bits", 0)  # a state that claims to be empty
    code, out, err = call("probe", trained, *PROBE, "--out", tmp_path, "--json")
    assert code == 1
    ladder = json.loads(out)
    assert ladder["nominal_bits"] == 0
    assert ladder["violations"]
    assert err.count("VIOLATION") == len(ladder["violations"])


# plot


def test_plot_draws_two_runs_and_the_same_bytes_again(document, call, tiny, trained, tmp_path):
    other = replaced(tiny, {"--model": "attn", "--lr": 0.01, "--seeds": 1})
    assert call(*other, "--out", tmp_path / "runs", "-q").code == 0
    (second,) = (tmp_path / "runs").glob("train-*")
    argv = ["plot", trained, second, *PROBE]
    report = document(*argv, "--out", tmp_path / "a")
    assert report == {
        "schema": "boundprobe.plot/1", "figures": [str(tmp_path / "a" / name) for name in FIGURES],
    }  # fmt: skip
    code, out, _ = call(*argv, "--out", tmp_path / "b")
    assert code == 0
    assert out.split() == [str(tmp_path / "b" / name) for name in FIGURES]
    for name in FIGURES:
        first, again = ((tmp_path / where / name).read_bytes() for where in "ab")
        assert len(first) > 5000
        assert first == again
    assert (tmp_path / "a" / FIGURES[0]).read_bytes().startswith(b"\x89PNG")
    assert b"</svg>" in (tmp_path / "a" / FIGURES[1]).read_bytes()


def test_plots_of_two_tasks_are_refused(call, tiny, trained, tmp_path):
    other = replaced(tiny, {"--steps": 1, "--lr": 0.01, "--seeds": 1})
    other = [word.replace("seq_len=8", "seq_len=9") for word in other]
    assert call(*other, "--out", tmp_path, "-q").code == 0
    (second,) = tmp_path.glob("train-*")
    code, out, err = call("plot", trained, second, "--out", tmp_path / "figures")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert not (tmp_path / "figures").exists()


def test_a_bottleneck_along_the_diagonal(document, call, refused, trained):
    flags = [*PROBE, "--budgets", "2x2,2x3", "--bottleneck-steps", "3", "--cut", "diagonal"]
    ladder = document("probe", trained, *flags)
    curve = ladder["bottleneck"]
    # Its window sees both letters; the older one, of four values, is beyond a lag of 1.
    assert (ladder["lag"], ladder["entropy_bits"], ladder["diagonal"]) == (1, 2.0, None)
    assert ladder["used_bits"]["lower"] <= ladder["present_bits"]["estimate"] <= 2.0
    assert ladder["memory"]["recurrent_bits"] == 32 * 2 * 16  # of the state of Mamba alone
    assert (curve["lag"], curve["n_answers"]) == (1, 1)
    assert [point["bits"] for point in curve["points"]] == [4, 6]
    code, out, _ = call("probe", trained, *flags)
    assert code == 0
    assert "behind a bottleneck along the diagonal cut of lag 1 (answers beyond it: 1)" in out
    assert "H(Y beyond a lag of 1) = 2.00 bits" in out
    assert "of I(U;S | the tokens since)" in out
    assert "`--cut` must be vertical with plot" in refused("plot", trained, "--budgets", "1x2", "--cut", "diagonal")
