"""``boundprobe sweep`` as a user types it: its table, its one document, what it refuses, and what failures do."""

import csv
import json
import shutil
import subprocess
import sys
import tomllib
from collections import namedtuple
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from boundprobe.runs import load_run, open_run
from boundprobe.sweep import SweepConfig
from tests.helpers.commands import run_here, run_line
from tests.helpers.strangers import edit
from tests.helpers.sweeps import sweep_text

TRAIN = {
    "steps": 5, "batch": 2, "learning_rates": [0.003, 0.01], "n_seeds": 3, "n_calibration_seeds": 2, "n_eval": 40,
}  # fmt: skip
GRID = {"model.architecture": ["attn", "gru"], "train.weight_decay": [0.0, 0.1]}
PROBE = {"n_sequences": 40, "n_calibration": 20, "n_train": 40, "decoders": ["linear"]}
SWEEP = sweep_text(train=TRAIN, model={"mlp_ratio": 1}, grid=GRID, probe=PROBE)
#: The same without the seeds' memory, for what is about something else.
PLAIN = sweep_text(train=TRAIN, model={"mlp_ratio": 1}, grid=GRID)
N_SEEDS, N_MODELS = 3, 4 * (2 * 2 + 3)
Swept = namedtuple("Swept", "path code out err")


@pytest.fixture
def file(tmp_path):
    """Write a sweep's file; its path."""

    def write(text=PLAIN):
        path = tmp_path / "sweep.toml"
        path.write_text(text)
        return path

    return write


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """The sweep: its directory, and what it said."""
    root = tmp_path_factory.mktemp("swept")
    (root / "sweep.toml").write_text(SWEEP)
    with pytest.MonkeyPatch.context() as patch:
        run_here(patch)
        done = run_line("boundprobe sweep sweep.toml --workers 2", root)
    (path,) = (root / "runs").glob("sweep-*")
    return Swept(path, *done)


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def snapshot(root):
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in root.rglob("*") if path.is_file()}


def tables(root):
    (path,) = root.glob("sweep-*")
    return [(path / name).read_bytes() for name in ("runs.csv", "seeds.csv")]


def forbid_training(monkeypatch):
    def trained(*args, **kwargs):
        raise AssertionError("it trained")

    monkeypatch.setattr("boundprobe.sweep.driver.run_jobs", trained)


# what comes out


def test_a_table_for_people(swept):
    assert swept.code == 0, swept.err
    head, rule, *rows = (line.split() for line in swept.out.splitlines())
    assert head == [
        "architecture", "weight_decay", "n_params", "learning_rate", "bits", "at", "cut", "converged", "mean", "median",
        "10%", "90%", "state-hard", "window-hard",
    ]  # fmt: skip
    assert set("".join(rule)) == {"-"}
    assert [row[:2] for row in rows] == [["attn", "0"], ["attn", "0.1"], ["gru", "0"], ["gru", "0.1"]]
    for row, kept in zip(rows, read_csv(swept.path / "runs.csv"), strict=True):
        assert row[2:4] == [kept["n_params"], kept["learning_rate"]]
        assert int(row[4]) == sum(int(kept[f"{kind}_bits"]) for kind in ("recurrent", "conv", "cache"))
        assert row[5] == f"{kept['n_converged']}/3"
        accuracies = ["mean", "median", "percentile_10", "percentile_90", "state-hard", "window-hard"]
        assert row[6:] == [f"{float(kept[f'accuracy_{name}']):.3f}" for name in accuracies]
    # stderr is talk: no progress where there is no terminal.
    assert swept.err.splitlines() == [
        f"4 runs, {N_MODELS} models, in 2 groups that are trained side by side",
        f"tables {swept.path / 'runs.csv'}, seeds.csv",
        f"figure: boundprobe plot {swept.path}",
    ]


def test_one_document_and_done_once(swept, document, call, monkeypatch):
    forbid_training(monkeypatch)
    root = swept.path.parent
    before = snapshot(root)
    argv = ["sweep", root.parent / "sweep.toml", "--out", root]
    result = document(*argv)
    assert set(result) == {"schema", "run_id", "run_dir", "tables", "runs", "violations"}
    assert result == json.loads((swept.path / "result.json").read_text())
    assert (result["schema"], result["run_id"]) == ("boundprobe.sweep/1", swept.path.name)
    assert (result["run_dir"], result["violations"]) == (str(swept.path), [])
    assert result["tables"] == {"runs": "runs.csv", "seeds": "seeds.csv"}
    assert call(*argv) == (0, swept.out, "".join(swept.err.splitlines(keepends=True)[1:]))
    assert call(*argv, "-q") == (0, swept.out, "")
    assert call("sweep", "--config", argv[1], "--out", root, "-q").out == swept.out  # as other verbs name a file
    assert snapshot(root) == before


def test_tables_are_what_the_runs_say(swept):
    root = swept.path.parent
    result = json.loads((swept.path / "result.json").read_text())
    runs, seeds = (read_csv(swept.path / name) for name in ("runs.csv", "seeds.csv"))
    assert len(runs) == len(result["runs"]) == 4
    assert len(seeds) == 4 * N_SEEDS
    measured = [json.loads(path.read_text()) for path in root.glob("probe-*/result.json")]
    ladders = {(ladder["trained"], ladder["seed_index"]): ladder for ladder in measured}
    assert len(ladders) == len(seeds)
    for i, (row, kept) in enumerate(zip(runs, result["runs"], strict=True)):
        assert row == {key: "" if value is None else str(value) for key, value in kept.items()}
        trained = load_run(root / row["run_id"])
        config, known = trained.config, trained.result()
        assert (row["architecture"], float(row["train.weight_decay"])) == (
            config["model"]["architecture"], config["train"]["weight_decay"],
        )  # fmt: skip
        assert (int(row["n_seeds"]), int(row["n_converged"])) == (N_SEEDS, known["summary"]["n_converged"])
        for name in ("mean", "median", "percentile_10", "percentile_90"):
            assert kept[f"accuracy_{name}"] == known["summary"][name]
        for member, own in zip(known["members"], seeds[N_SEEDS * i : N_SEEDS * (i + 1)], strict=True):
            assert own["run_id"] == row["run_id"]
            assert (int(own["seed_index"]), float(own["accuracy"])) == (member["seed_index"], member["accuracy"])
            assert (float(own["loss"]), own["converged"]) == (member["loss"], str(member["converged"]))
            assert (own["receptive_field"], own["n_violations"]) == ("3" if row["architecture"] == "attn" else "", "0")
            ladder = ladders[row["run_id"], member["seed_index"]]
            assert float(own["used_bits_lower"]) == ladder["used_bits"]["lower"]
            assert float(own["required_bits"]) == ladder["required_bits"]


def test_the_directory_of_a_sweep(swept):
    files = {"config.toml", "manifest.json", "result.json", "runs.csv", "seeds.csv", ".lock"}
    assert {path.name for path in swept.path.iterdir()} == files
    kept = tomllib.loads((swept.path / "config.toml").read_text())
    assert [point["settings"] for point in kept["points"]] == [
        {"model.architecture": architecture, "train.weight_decay": decay}
        for architecture in ("attn", "gru") for decay in (0.0, 0.1)
    ]  # fmt: skip
    kinds = [path.name.rsplit("-", 1)[0] for path in swept.path.parent.iterdir()]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {"sweep": 1, "train": 4, "probe": 12, "ensemble": 2}


@pytest.mark.parametrize("ensemble", ["1", "2", "100"])
def test_the_same_tables_whoever_trains_beside_whom(swept, file, call, here, tmp_path, ensemble):
    """In this process, and so many at a time."""
    assert call("sweep", file(SWEEP), "--out", tmp_path / "runs", "--ensemble", ensemble, "-q").code == 0
    assert tables(tmp_path / "runs") == tables(swept.path.parent)


def test_without_probes_nothing_is_measured(file, call, here, tmp_path, monkeypatch):
    def measured(*args):
        raise AssertionError("it measured")

    monkeypatch.setattr("boundprobe.probes.run.measure", measured)
    assert call("sweep", file(), "--out", tmp_path / "runs").code == 0
    assert not [column for column in read_csv(*(tmp_path / "runs").glob("*/seeds.csv"))[0] if "used" in column]


def test_a_seed_on_the_command_line(file, call, document, here, tmp_path):
    argv = ["--out", tmp_path / "runs"]
    plain = document("sweep", file(), *argv)
    assert document("sweep", file(), *argv, "--seed", "0") == plain  # the default
    other = document("sweep", file(), *argv, "--seed", "1")
    assert other["run_id"] != plain["run_id"]
    assert not {row["run_id"] for row in other["runs"]} & {row["run_id"] for row in plain["runs"]}
    said = f"seed = 1\n{PLAIN}"
    assert document("sweep", file(said), *argv) == other
    assert document("sweep", file(said), *argv, "--seed", "0") == plain  # flags go before the file


def test_the_printed_configuration_is_the_sweep(file, call, empty):
    code, printed, err = call("sweep", file(SWEEP), "--seed", "5", "--print-config")
    assert (code, err) == (0, "")
    assert SweepConfig.from_dict(tomllib.loads(printed)) == SweepConfig.from_dict(tomllib.loads(SWEEP) | {"seed": 5})
    (empty / "again.toml").write_text(printed)
    assert call("sweep", "again.toml", "--print-config") == (0, printed, "")
    assert [path.name for path in empty.iterdir()] == ["again.toml"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_of_every_seed_elsewhere(swept, call, tmp_path, monkeypatch, suffix):
    """Of a sweep that was finished long ago as well."""
    forbid_training(monkeypatch)
    root, path = swept.path.parent, tmp_path / f"table{suffix}"
    assert call("sweep", root.parent / "sweep.toml", "--out", root, "--table", path, "-q") == (0, swept.out, "")
    if suffix == ".csv":
        assert path.read_bytes() == (swept.path / "seeds.csv").read_bytes()
        return
    rows = pq.read_table(path).to_pylist()
    expected = read_csv(swept.path / "seeds.csv")
    assert [{key: "" if value is None else str(value) for key, value in row.items()} for row in rows] == expected


# parts


def test_parts_make_the_whole(swept, file, call, document, here, tmp_path):
    argv = ["sweep", file(SWEEP), "--out", tmp_path / "runs", "--shard"]
    first = document(*argv, "1/2")
    assert set(first) == {"schema", "run_id", "unfinished"}
    assert (first["schema"], len(first["unfinished"])) == ("boundprobe.sweep/1", 2)
    assert not list((tmp_path / "runs").glob("sweep-*/runs.csv"))
    before = snapshot(tmp_path / "runs")
    code, out, err = call(*argv, "1/2")  # again: nothing is left of it
    assert (code, out) == (0, "")
    assert "2 of 4 runs" in err
    after = snapshot(tmp_path / "runs")
    assert {path: after[path] for path in before} == before
    done = {path: content for path, content in after.items() if path.name == "result.json"}
    whole = document(*argv, "0/2")
    assert done.items() <= snapshot(tmp_path / "runs").items()
    assert whole["run_id"] == first["run_id"]
    assert tables(tmp_path / "runs") == tables(swept.path.parent)
    assert document(*argv, "1/2") == whole


def test_more_parts_than_groups(file, call, here, tmp_path):
    code, out, err = call("sweep", file(), "--out", tmp_path / "runs", "--shard", "3/4")
    assert (code, out) == (0, "")
    assert err.splitlines()[0].startswith("0 runs, 0 models")
    assert "0 of 4 runs" in err


# failures


def damage(root, architecture):
    """Cut off the result of the runs of one architecture, before anybody made them; the files."""
    damaged = []
    for point in SweepConfig.from_dict(tomllib.loads(PLAIN)).points:
        if point.config.model.architecture == architecture:
            path = open_run(root, "train", point.config.to_dict()).path / "result.json"
            path.write_text('{"schema": "boundprobe.tr')
            damaged.append(path)
    return damaged


def test_a_run_that_fails_is_said_in_one_line_and_the_others_are_finished(file, call, here, tmp_path):
    root = tmp_path / "runs"
    damaged = damage(root, "attn")
    argv = ["sweep", file(), "--out", root]
    code, out, err = call(*argv, "-q")
    assert (code, out, err.count("\n")) == (4, "", 1)
    assert err.startswith("boundprobe: 1 of 2 jobs failed (RunDirectoryError: ")
    assert str(damaged[0]) in err
    assert "what is finished is kept" in err
    finished = [path.parent for path in root.glob("train-*/result.json") if path not in damaged]
    assert [load_run(path).config["model"]["architecture"] for path in finished] == ["gru", "gru"]
    assert not list(root.glob("sweep-*/*.csv"))
    before = {path: snapshot(path) for path in finished}
    for path in damaged:  # the cause is mended
        path.unlink()
    assert call(*argv, "-q").code == 0
    assert {path: snapshot(path) for path in finished} == before


def test_failures_of_one_kind_are_said_once(file, call, here, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("boundprobe.training.loop.train_group", full)
        code, out, err = call("sweep", file(), "--out", tmp_path / "runs", "--json", "-q")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "2 of 2 jobs failed" in err
    assert err.count("No space left on device") == 1
    assert call("sweep", file(), "--out", tmp_path / "runs", "-q").code == 0


def test_ctrl_c(file, call, tmp_path, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("boundprobe.sweep.driver.run_jobs", interrupted)
    code, out, err = call("sweep", file(), "--out", tmp_path / "runs", "-q")
    assert (code, out, err.count("\n")) == (130, "", 1)
    assert "interrupted" in err


def test_a_violation_is_said_loudly_and_ends_with_1(file, call, here, tmp_path, monkeypatch):
    monkeypatch.setattr("boundprobe.models.memory.StateTensor.bits", 0)  # a state that claims to be empty
    text = sweep_text(
        train=TRAIN | {"steps": 100, "n_eval": 400},
        model={"mlp_ratio": 1},
        grid={"model.architecture": ["attn"], "train.weight_decay": [0.0]},
        probe=PROBE | {"n_sequences": 400, "n_train": 400},
    )
    argv = ["sweep", file(text), "--out", tmp_path / "runs"]
    code, out, _ = call(*argv, "--json")
    assert code == 1
    violations = json.loads(out)["violations"]
    assert violations
    code, out, _ = call(*argv)  # and each time again
    assert code == 1
    assert out.count("VIOLATION") == len(violations)


# what is refused


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a task must be given, one of "),
        ("[task]\nname = 'copying'\n[modle]\nd_model = 8", "Did you mean 'model'?"),
        ("sed = 1\n[task]\nname = 'copying'", "Did you mean 'seed'?"),
        ("[task]\nname = 'copying'\n[model]\ndmodel = 8", "Did you mean 'd_model'?"),
        ("[task]\nname = 'copying'\n[train]\nstep = 8", "Did you mean 'steps'?"),
        ("[task]\nname = 'copying'\n[grid]\n'model.dmodel' = [8]", "Did you mean 'd_model'?"),
        ("[task]\nname = 'copying'\n[grid]\nd_model = [8]", "'d_model'"),
        (
            "[task]\nname = 'copying'\n[grid]\nseed = [1, 1]",
            "`[grid]` must give each run once; got one twice, as {",
        ),
        ("[task]\nname = 'copying'\n[probe]\nmember = 8", "'member'"),
        ("[task]\nname = ", "must be TOML 1.0"),
        ("[task]\nname = 'a'\nname = 'b'", "must be TOML 1.0"),
        ("\x00", "must be TOML 1.0"),
        ("task = 'copying'", "task"),
        ("model = 3\n[task]\nname = 'copying'", "model"),
        ("grid = 3\n[task]\nname = 'copying'", "grid"),
    ],
)
def test_a_bad_file_is_refused(refused, file, text, said):
    assert said in refused("sweep", file(text))


def test_a_sweep_is_read_without_torch(command, file, tmp_path):
    """With torch made unimportable: a bad one is refused at once."""
    for text, code, said in ((SWEEP, 0, ""), (SWEEP.replace("steps", "stesp"), 2, "Did you mean 'steps'?")):
        argv = ["sweep", str(file(text)), "--print-config"]
        program = (
            f"import sys; sys.modules['torch'] = None; from boundprobe.cli.main import main; sys.exit(main({argv}))"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], env=command["env"], cwd=tmp_path, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert (done.returncode, said in done.stderr) == (code, True)


def test_a_file_that_is_not_there_or_no_text(refused, tmp_path):
    assert "missing.toml" in refused("sweep", "missing.toml")
    assert str(tmp_path) in refused("sweep", tmp_path)
    (tmp_path / "sweep.toml").write_bytes(b"\xff\xfe")
    assert "must be TOML 1.0" in refused("sweep", tmp_path / "sweep.toml")


def test_a_file_is_named_once(refused, file):
    assert "FILE.toml" in refused("sweep")
    assert "once" in refused("sweep", file(), "--config", file())
    assert "second.toml" in refused("sweep", file(), "second.toml")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--shard", "2/2"], "'2/2'"),
        (["--shard", "0/0"], "'0/0'"),
        (["--shard=-1/2"], "'-1/2'"),
        (["--shard", "1"], "'1'"),
        (["--shard", "a/b"], "'a/b'"),
        (["--executor", "pbs"], "local, slurm, ray"),
        (["--workers", "0"], "'0'"),
        (["--ensemble", "0"], "'0'"),
        (["--seed", "-1"], "'-1'"),
        (["--executor-option", "n_workers"], "name=value"),
        (["--executor-option", "=3"], "name=value"),
        (["--steps", "5"], "--steps"),  # what is trained is in the file
        (["--table", "table.txt"], "got table.txt"),
        (["--table", "table"], ".csv or .parquet"),
        (["--table", "missing/table.csv"], "missing"),
        (["--executor-option", "n_worker=2"], "Did you mean 'n_workers'?"),
        (["--executor-option", "n_workers=x"], "`n_workers` must be an integer of at least 1; got 'x' (str)"),
        (["--executor-option", "n_workers=0"], "`n_workers` must be an integer of at least 1; got 0"),
        (["--executor-option", "devices=cuda:x"], "device"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_refused(refused, file, argv, said):
    assert said in refused("sweep", file(), *argv)


@pytest.mark.parametrize("text", [f"scan = 'fastest'\n{PLAIN}", PLAIN.replace("[grid]", "[grid]\nscan = ['fastest']")])
def test_a_backend_that_is_not_there_is_refused(refused, file, text):
    """As ``train`` refuses it, before anything is made."""
    assert "'fastest'" in refused("sweep", file(text))


def test_an_executor_option_that_is_wrong_is_said_in_one_line(call, file, tmp_path, monkeypatch):
    forbid_training(monkeypatch)
    for option, said in (
        ("n_worker=2", "Did you mean 'n_workers'?"),
        ("n_workers=x", "`n_workers` must be an integer of at least 1; got 'x' (str)"),
    ):
        code, out, err = call("sweep", file(), "--out", tmp_path / "runs", "--executor-option", option, "-q")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert said in err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there(refused, file):
    assert "--device" in refused("sweep", file(), "--device", "cuda", code=3)


def test_parquet_without_pyarrow(refused, file, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "boundprobe[analysis]" in refused("sweep", file(), "--table", "table.parquet", code=3)


def test_an_executor_that_is_not_installed(call, file, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    code, out, err = call("sweep", file(), "--out", tmp_path / "runs", "--executor", "slurm", "-q")
    assert (code, out, err.count("\n")) == (3, "", 1)
    assert "boundprobe[slurm]" in err


def test_out_that_is_a_file(call, file, tmp_path):
    (tmp_path / "file").write_text("mine")
    code, out, err = call("sweep", file(), "--out", tmp_path / "file")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert (tmp_path / "file").read_text() == "mine"


# its figure


def test_plot_draws_a_sweep_and_the_same_bytes_again(swept, document, call, tmp_path, monkeypatch):
    forbid_training(monkeypatch)
    before = snapshot(swept.path.parent)
    names = ["sweep.png", "sweep.svg"]
    report = document("plot", swept.path, "--out", tmp_path / "a")
    assert report == {"schema": "boundprobe.plot/1", "figures": [str(tmp_path / "a" / name) for name in names]}
    code, out, err = call("plot", swept.path, "--out", tmp_path / "b")
    assert (code, err) == (0, "")
    assert out.split() == [str(tmp_path / "b" / name) for name in names]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert snapshot(swept.path.parent) == before


def test_plot_draws_each_task_of_a_sweep(file, call, here, tmp_path):
    grid = {"task.seq_len": [6, 7], "train.weight_decay": [0.0, 0.1]}
    text = sweep_text(train=TRAIN, model={"mlp_ratio": 1}, grid=grid)
    assert call("sweep", file(text), "--out", tmp_path / "runs", "-q").code == 0
    (path,) = (tmp_path / "runs").glob("sweep-*")
    code, out, _ = call("plot", path, "--out", tmp_path)
    assert code == 0
    expected = ["sweep.png", "sweep.svg", "sweep-2.png", "sweep-2.svg"]
    assert out.split() == [str(tmp_path / name) for name in expected]


ROWS = {
    "one with a key that others have not": lambda rows: rows[0].update({"1e308": "none"}),
    "one without what the grid sets": lambda rows: rows[1].pop("train.weight_decay"),
    "another value of the grid": lambda rows: rows[2].update({"train.weight_decay": 0.25}),
    "one too few": lambda rows: rows.pop(),
    "one twice": lambda rows: rows.append(rows[0]),
    "another order": lambda rows: rows.reverse(),
    "another run": lambda rows: rows[0].update(run_id="train-0123456789ab"),
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_of_a_sweep_are_those_of_its_grid(call, swept, tmp_path, name):
    runs = tmp_path / "runs"
    shutil.copytree(swept.path.parent, runs)
    argv = ["sweep", swept.path.parents[1] / "sweep.toml", "--out", runs]
    assert call(*argv).code == 0
    edit(runs / swept.path.name / "result.json", lambda document: ROWS[name](document["runs"]))
    code, out, err = call(*argv)
    assert (code, out, err.count("\n")) == (4, "", 1)
    assert "`runs` must have a row for each run" in err


def test_plot_wants_one_finished_sweep(refused, swept, tmp_path):
    train = next(path for path in swept.path.parent.glob("train-*"))
    assert "must be plotted by itself" in refused("plot", swept.path, train)
    assert "must be plotted by itself" in refused("plot", train, swept.path)
    unfinished = open_run(tmp_path / "runs", "sweep", SweepConfig.from_dict(tomllib.loads(PLAIN)).to_dict())
    assert "must be finished" in refused("plot", unfinished.path, code=4)
    assert "must lie beside its finished runs" in refused("probe", unfinished.path, code=4)


def test_probe_of_a_sweep_is_one_table_and_one_figure_of_all_its_models(call, document, refused, swept):
    argv = ["probe", swept.path]
    probed = document(*argv)
    assert (probed["schema"], probed["sweep"], probed["violations"]) == (
        "boundprobe.probe-sweep/1",
        swept.path.name,
        [],
    )
    ladders = probed["ladders"]
    assert len(ladders) == len({ladder["run_id"] for ladder in ladders}) >= 4
    assert [Path(figure).name for figure in probed["figures"]] == ["ladder.png", "ladder.svg"]
    assert all(Path(figure).stat().st_size > 5000 for figure in probed["figures"])
    before = [(Path(ladder["run_dir"]) / "result.json").stat().st_mtime_ns for ladder in ladders]
    code, out, err = call(*argv)
    assert code == 0
    earlier, figure = err.splitlines()
    assert earlier.startswith(f"{len(ladders)} of {len(ladders)} models were measured earlier, the last 20")
    assert figure == f"figure: {probed['figures'][0]}"
    assert len(out.splitlines()) == 2 + len(ladders) + 2
    assert "for each row by itself" in out
    # Measured once, and read back.
    assert [(Path(ladder["run_dir"]) / "result.json").stat().st_mtime_ns for ladder in ladders] == before
    assert "must be left out with a sweep" in refused(*argv, "--member", "0")
