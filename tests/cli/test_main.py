"""The command line as a whole: verbs, help, and errors of one line."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest

import boundprobe
from boundprobe.cli.main import VERBS
from boundprobe.cli.options import options_of
from boundprobe.models import ModelSpec
from boundprobe.settings import settings_of
from boundprobe.training import Schedule

BOUNDS = ["bounds", "--task", "selective-copying"]


def test_help_names_every_verb_and_goes_to_stdout(typed):
    code, out, err = typed("--help")
    assert (code, err) == (0, "")
    assert all(verb in out for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb, capsys, call):
    with pytest.raises(SystemExit) as stop:
        call(verb, "--help")
    assert stop.value.code == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "--json" in out
    assert "--config" in out


@pytest.mark.parametrize(
    "argv",
    [["--help"], ["train", "--help"], ["demo", "--help"], [*BOUNDS, "--json"], ["sample", "--task", "ar-decoding"]],
)
def test_help_bounds_and_samples_do_without_torch(command, tmp_path, argv):
    """With torch made unimportable, not only unimported."""
    program = f"import sys; sys.modules['torch'] = None; from boundprobe.cli.main import main; sys.exit(main({argv!r}))"
    done = subprocess.run(
        [sys.executable, "-c", program], env=command["env"], cwd=tmp_path, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_version(call):
    code, out, err = call("--version")
    assert (code, err) == (0, "")
    assert out.startswith("boundprobe ")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "a verb must be given, one of demo, "),
        (["bouns"], "bounds"),
        ([*BOUNDS, "--eror", "0.1"], "Did you mean --error?"),
        ([*BOUNDS, "--curvs=5"], "Did you mean --curves?"),
        ([*BOUNDS, "--err", "0.1"], "--err"),  # no abbreviations: what works today must work tomorrow
        ([*BOUNDS, "stray"], "stray"),
        (["--jsno", *BOUNDS], "--jsno"),
        ([*BOUNDS, "--error"], "--error"),
        ([*BOUNDS, "--error", "high"], "'high'"),
        ([*BOUNDS, "--error", "1.5"], "1.5"),
        ([*BOUNDS, "--error", "-0.1"], "-0.1"),
        ([*BOUNDS, "--error", "1"], "1"),
        ([*BOUNDS, "--error", "nan"], "nan"),
        ([*BOUNDS, "--curves", "1"], "'1'"),
        ([*BOUNDS, "--curves", "2.5"], "'2.5'"),
        (["bounds"], "selective-copying, ar-decoding"),
        (["bounds", "--task", "selective-copyin"], "Did you mean 'selective-copying'?"),
        ([*BOUNDS, "-p", "n_number=3"], "Did you mean 'n_numbers'?"),
        ([*BOUNDS, "-p", "n_numbers"], "name=value"),
        ([*BOUNDS, "-p", "n_numbers=ten"], "'ten'"),
        ([*BOUNDS, "-p", "n_numbers=200"], "seq_len"),
        ([*BOUNDS, "-p", "number_probability=nan"], "nan"),
        ([*BOUNDS, "--preset", "papr"], "Did you mean 'paper'?"),
        (["sample", "--task", "ar-decoding", "--distribution", "nonsense"], "'nonsense'"),
        (["sample", "--task", "ar-decoding", "--distribution", "paper-mixture"], "window-hard"),
        (["sample", "--task", "ar-decoding", "--format", "csv"], "npz, jsonl, parquet"),
        (["sample", "--task", "ar-decoding", "-n", "0"], "'0'"),
        (["sample", "--task", "ar-decoding", "--seed", "-1"], "'-1'"),
        (["sample", "--task", "ar-decoding", "--out", "missing/x.npz"], "missing"),
        (["train"], "a task must be given, one of "),
        (["train", "--task", "ar-decoding", "--model", "mamba-atn"], "'atn'"),
        (
            ["train", "--task", "ar-decoding", "--model", "attn", "--d-model", "7"],
            "`d_model` must be a multiple of 2 (rotary "
            "encoding turns "
            "pairs); got 7 with n_heads=1",
        ),
        (["train", "--task", "ar-decoding", "--d-model", "0"], "'0'"),
        (["train", "--task", "ar-decoding", "--lr", "0"], "0"),
        (["train", "--task", "ar-decoding", "--lr", "0.1,x"], "'x'"),
        (["train", "--task", "ar-decoding", "--lr", "nan"], "nan"),
        (["train", "--task", "ar-decoding", "--lr", "0.1,0.1"], "0.1"),
        (["train", "--task", "ar-decoding", "--backend", "fastest"], "'fastest'"),
        (
            ["train", "--task", "ar-decoding", "--scan", "fastest"],
            "`backend` must be one of auto, numba, mamba-ssm, "
            "reference, "
            "chunked, fla, blocks; got 'fastest'",
        ),
        (["train", "--task", "ar-decoding", "--distribution", "easy"], "'easy'"),
        (["train", "--task", "ar-decoding", "--device", "tpu"], "auto, cpu, cuda"),
        (["train", "--task", "ar-decoding", "--steps", "-5"], "'-5'"),
        (["probe"], "RUN"),
        (["plot"], "RUN"),
        (["probe", ".", "--confidence", "1.5"], "1.5"),
        (["probe", ".", "--tolerance", "-1"], "tolerance"),
        (["demo", "--steps", "0"], "'0'"),
        (["demo", "--task", "ar-decoding"], "--task"),
    ],
    ids=lambda value: " ".join(value) or "nothing" if isinstance(value, list) else None,
)  # fmt: skip
def test_what_is_wrong_is_refused_in_one_line(refused, argv, said):
    assert said in refused(*argv)


@pytest.mark.parametrize(
    ("text", "argv", "said"),
    [
        ("eror = 0.1", BOUNDS, "Did you mean 'error'?"),
        ("[model]\nd_model = 8", ["sample", "--task", "ar-decoding"], "model.d_model"),
        ("[task]\nwordbits = 5", ["bounds", "--task", "ar-decoding"], "word_bits"),
        ("[train]\nstep = 5", ["train", "--task", "ar-decoding"], "Did you mean 'train.steps'?"),
        ("[trian]\nsteps = 5", ["train", "--task", "ar-decoding"], "Did you mean 'train.steps'?"),
        ("[task.deeper]\nname = 'x'", BOUNDS, "task.deeper.name"),
        ("task = 'ar-decoding'", ["bounds"], "task"),
        ("error = ", BOUNDS, "must be TOML 1.0; got something else ("),
        ("error = 0.1\nerror = 0.2", BOUNDS, "must be TOML 1.0; got something else ("),
        ("error = 2", BOUNDS, "2"),
        ("error = [1]", BOUNDS, "error"),
        ("error = 'x'", BOUNDS, "error"),
        ("error = true", BOUNDS, "error"),
        ("curve_points = 2.5", BOUNDS, "curve_points"),
        ("curve_points = 'x'", BOUNDS, "curve_points"),
        ("distribution = 3", ["sample", "--task", "ar-decoding"], "distribution"),
        ("format = 'csv'", ["sample", "--task", "ar-decoding"], "npz, jsonl, parquet"),
        ("n = 'x'", ["sample", "--task", "ar-decoding"], "'x'"),
        ("n = -1", ["sample", "--task", "ar-decoding"], "-1"),
        ("seed = 'x'", ["sample", "--task", "ar-decoding"], "seed"),
        ("seed = true", ["train", "--task", "ar-decoding"], "seed"),
        ("backend = 3", ["train", "--task", "ar-decoding"], "backend"),
        ("scan = 3", ["train", "--task", "ar-decoding"], "backend"),
        ("scan = 'auto'\nbackend = 'auto'", ["train", "--task", "ar-decoding"], "`scan` is the old name of `backend`"),
        ("[model]\narchitecture = 3", ["train", "--task", "ar-decoding"], "architecture"),
        ("[train]\nlearning_rates = ['a']", ["train", "--task", "ar-decoding"], "learning_rates"),
        ("[train]\nweight_decay = 'a'", ["train", "--task", "ar-decoding"], "weight_decay"),
        ("[train]\nsteps = 1.5", ["train", "--task", "ar-decoding"], "steps"),
        ("n_sequences = 1.5", ["probe", "."], "n_sequences"),
        ("n_sequences = 'x'", ["probe", "."], "n_sequences"),
        ("confidence = 'a'", ["probe", "."], "confidence"),
        ("confidence = 1.5", ["probe", "."], "confidence"),
        ("member = 'a'", ["probe", "."], "member"),
        ("n_sequences = -4", ["demo"], "n_sequences"),
        ("n_seeds = 'x'", ["demo"], "n_seeds"),
        ("steps = 0", ["demo"], "steps"),
        ("[bottleneck]\nbudgets = ['1x2']", ["plot", "."], "`budgets` must be a text"),
        ("[bottleneck]\nbudgets = 4", ["probe", "."], "`budgets` must be a text"),
        ("[bottleneck.budgets]", ["plot", "."], "`budgets` must be a text"),
        ("[unknown]", ["plot", "."], "'unknown'"),
        ("[a.b.c]", ["sample", "--task", "copying"], "'a.b.c'"),
        ("[doctor]", ["doctor"], "'doctor'"),
        ("decoders = [['linear']]", ["probe", "."], "decoders"),
        ("part_decoders = [{}]", ["plot", "."], "decoders"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_is_wrong_in_a_file_is_refused_in_one_line(refused, tmp_path, text, argv, said):
    path = tmp_path / "config.toml"
    path.write_text(text)
    assert said in refused(*argv, "--config", path)


@pytest.mark.parametrize("argv", [["train", "--task", "copying"], ["bounds", "--task", "copying"], ["plot", "runs"]])
def test_tables_with_nothing_in_them_are_read(call, tmp_path, argv):
    path = tmp_path / "config.toml"
    path.write_text("[model]\n[task]\n[train]\n" if argv[0] == "train" else "[bottleneck]\n" * (argv[0] == "plot"))
    assert call(*argv, "--config", path, "--print-config").code == 0


@pytest.mark.parametrize("argv", [BOUNDS, ["train", "--task", "copying"], ["demo"]])
def test_a_pipe_without_another_end_is_not_waited_for(refused, tmp_path, argv):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert "got a pipe" in refused(*argv, "--config", pipe)
    assert "got a pipe" in refused("sweep", pipe)
    assert "got a pipe" in refused("bounds", "--task", f"{pipe}:Task")


def test_a_device_is_not_read_without_end(refused):
    assert "bytes" in refused(*BOUNDS, "--config", "/dev/zero")
    assert "bytes" in refused("sweep", "/dev/zero")
    assert "bytes" in refused("bounds", "--task", "/dev/zero:Task")


def test_a_pipe_that_a_shell_opened_is_read(call):
    """``--config <(command)``."""
    read, write = os.pipe()
    os.write(write, b"error = 0.25")
    os.close(write)
    assert "error = 0.25" in call(*BOUNDS, "--config", f"/dev/fd/{read}", "--print-config").out
    os.close(read)


@pytest.mark.parametrize(
    "argv",
    [
        ["plot", "loop"], ["probe", "loop"], ["probe", "loop/below"], ["demo", "--out", "loop"],
        ["train", "--task", "copying", "--out", "loop"], ["train", "--task", "copying", "--out", "loop/below"],
        ["sweep", "sweep.toml", "--out", "loop"], ["bounds", "--task", "loop.py:Task"], ["sweep", "loop"],
        ["sample", "--task", "copying", "--out", "loop"], ["construct", "--task", "ar-decoding", "--out", "loop"],
    ],
)  # fmt: skip
def test_a_link_to_itself_leads_nowhere(call, tmp_path, monkeypatch, argv):
    monkeypatch.chdir(tmp_path)
    for name in ("loop", "loop.py"):
        (tmp_path / name).symlink_to(name)
    (tmp_path / "sweep.toml").write_text('[task]\nname = "copying"\n')
    before = sorted(os.listdir())
    code, out, err = call(*argv)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "loop" in err
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize(
    "argv", [["sweep", "", ""], ["bounds", ""], ["doctor", " "], ["train", "--task", "copying", "", ""]]
)
def test_an_empty_word_is_no_argument(refused, argv):
    assert "got an empty one" in refused(*argv)


@pytest.mark.parametrize("out", ["n" * 256, "d/" * 2100 + "f", "d/" + "n" * 3000])
@pytest.mark.parametrize(
    "argv", [["construct", "--task", "ar-decoding"], ["plot", "."], ["sample", "--task", "copying"], ["demo"]],
    ids=lambda argv: argv[0],
)  # fmt: skip
def test_a_name_that_no_file_can_have_is_refused_before_anything_is_done(refused, argv, out):
    assert "at most 255 bytes" in refused(*argv, "--out", out)


@pytest.mark.parametrize(
    "text", ["seed = '0'", "seed = -1", "seed = 1.0", "n_inputs = 0", "n_inputs = 'x'", "n_inputs = true"]
)
def test_construct_refuses_before_it_builds(refused, tmp_path, text):
    path = tmp_path / "config.toml"
    path.write_text(text)
    for more in ([], ["--print-config"]):
        assert text.split()[0] in refused("construct", "--task", "ar-decoding", "--config", path, *more)


@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_a_file_that_cannot_be_read_is_refused(refused, name):
    assert name in refused(*BOUNDS, "--config", name)


def test_errors_are_the_same_in_a_process_of_their_own(typed, tmp_path):
    code, out, err = typed("bouns", cwd=tmp_path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_verbose_shows_where_an_error_comes_from(typed):
    code, out, err = typed(*BOUNDS, "--error", "2", "-v")
    assert (code != 0, out) == (True, "")
    assert "Traceback" in err


def test_a_reader_that_leaves_early_is_no_error(command, tmp_path):
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {' '.join(command['args'])} {' '.join(BOUNDS)} --curves 20000 | head -1"],
        env=command["env"], cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("selective-copying")


@pytest.mark.parametrize(
    "argv",
    [
        [*BOUNDS, "--error", "0.25", "-p", "n_letters=12"],
        ["bounds", "--task", "selective-copying", "--preset", "paper", "--curves", "3"],
        ["sample", "--task", "ar-decoding", "-n", "3", "--distribution", "mixture", "--seed", "4"],
        ["train", "--task", "ar-decoding", "--model", "attn-attn", "--lr", "0.1,0.2", "--backend", "reference"],
        ["probe", ".", "-n", "50", "--member", "1", "--tolerance", "0.02"],
        ["plot", ".", "-n", "50", "--confidence", "0.9"],
        ["demo", "--steps", "7", "--seeds", "1"],
    ],
    ids=lambda argv: argv[0],
)  # fmt: skip
def test_a_config_that_was_printed_is_read_back(call, empty, argv):
    """The printed configuration, given as a file, prints itself."""
    code, printed, err = call(*argv, "--print-config")
    assert (code, err) == (0, "")
    (empty / "config.toml").write_text(printed)
    where = ["."] if argv[0] in ("probe", "plot") else []
    assert call(argv[0], *where, "--config", "config.toml", "--print-config") == (0, printed, "")
    assert [path.name for path in empty.iterdir()] == ["config.toml"]


def test_flags_go_before_the_file_and_the_file_before_defaults(document, tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("error = 0.25\n[task]\nname = 'selective-copying'\nn_letters = 12\nseq_len = 30\n")
    report = document("bounds", "--config", path)
    assert report["error"] == 0.25
    assert report["task"]["parameters"]["n_letters"] == 12
    assert report["task"]["parameters"]["n_numbers"] == 10
    report = document("bounds", "--config", path, "--error", "0.5", "-p", "n_letters=20")
    assert report["error"] == 0.5
    assert report["task"]["parameters"] == {
        "n_numbers": 10, "first_number": 1, "n_letters": 20, "seq_len": 30, "number_probability": None, "offset": 0,
    }  # fmt: skip


def test_json_is_one_document_in_a_process_of_its_own(typed):
    code, out, err = typed(*BOUNDS, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["schema"] == "boundprobe.bounds/1"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("bound", "--task", "copying"), "Did you mean bounds?"),
        (("train", "--task", "copying", "--learning-rate", "0.1"), "Did you mean --lr?"),
        (("train", "--task", "copying", "--model", "mamba_attn"), "Did you mean 'mamba-attn'?"),
        (("bounds", "--task", "copying", "-p", "n_tokens=2", "-p", "n_tokens=3"), "more than once"),
    ],
)
def test_what_was_meant_is_suggested(refused, argv, said):
    assert said in refused(*argv)


def test_curves_take_a_number_of_points_of_their_own(document):
    assert len(document("bounds", "--task", "copying", "--curves")["curves"]["bits"]) == 21
    assert len(document("bounds", "--task", "copying", "--curves", "3")["curves"]["bits"]) == 3


def test_backend_has_an_old_name(call):
    argv = ["train", "--task", "copying", "--print-config"]
    new, old = (call(*argv, flag, "reference") for flag in ("--backend", "--scan"))
    assert new == old


def test_an_unexpected_error_is_one_line_and_a_code_of_its_own(refused, call, monkeypatch):
    def broken(*args, **kwargs):
        raise KeyError("lost\nkey")

    monkeypatch.setattr("boundprobe.bounds.report.task.bounds_report", broken)
    assert "unexpected error, a bug: KeyError" in refused("bounds", "--task", "copying", code=5)
    code, _, err = call("bounds", "--task", "copying", "-v")
    assert code == 5
    assert "Traceback" in err


def test_every_task_is_named_in_the_help(typed):
    out = " ".join(typed("bounds", "--help").out.split()).replace("- ", "-")  # lines are broken at hyphens
    assert all(name in out for name in boundprobe.TASKS)


def test_flags_are_those_of_the_fields():
    """A field without a flag could not be set, and a flag without a field would set nothing."""
    flags = {option.path: option for option in (*options_of(ModelSpec, "model"), *options_of(Schedule, "train"))}
    fields = {("model", f.name) for f, _ in settings_of(ModelSpec)} | {
        ("train", f.name) for f in dataclasses.fields(Schedule)
    }
    assert set(flags) == fields
    for (table, name), option in flags.items():
        default = getattr(ModelSpec() if table == "model" else Schedule(), name)
        shown = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
        assert option.help.endswith(f"(default {shown})")
