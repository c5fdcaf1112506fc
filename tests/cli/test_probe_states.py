"""``boundprobe probe --states``: a file of arrays as a user has it."""

import json
import pickle
import re
import tomllib
import zipfile

import numpy as np
import pytest

QUICK = ["--decoders", "linear"]
KEYS = {
    "schema", "run_id", "run_dir", "states", "prior", "present_bits", "retention", "nominal_bits", "n_sequences",
    "assumptions", "confidence", "violations", "null_control", "n_groups",
}  # fmt: skip

ANSWERS = np.random.default_rng(0).integers(2, size=(600, 4))
SIGNS = (2.0 * ANSWERS - 1).astype(np.float32)


@pytest.fixture
def file(tmp_path):
    """Write arrays; the path of the file."""

    def write(name="good.npz", *, compressed=False, **arrays):
        path = tmp_path / name
        (np.savez_compressed if compressed else np.savez)(path, **(arrays or {"state": SIGNS, "answers": ANSWERS}))
        return path

    return write


def test_one_document_made_once_and_read_back(call, file, tmp_path, monkeypatch):
    argv = ["probe", "--states", file(), "--n-values", "2", *QUICK, "--out", tmp_path / "out"]
    code, out, err = call(*argv, "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert set(report) >= KEYS
    assert report["schema"] == "boundprobe.probe-states/1"
    assert report["states"]["file"] == "good.npz"
    assert 3.4 < report["present_bits"]["lower"] <= 4
    assert report["nominal_bits"] == 128
    assert report["n_sequences"] == {"train": 240, "calibration": 60, "evaluation": 300}
    (run,) = (tmp_path / "out").iterdir()
    assert json.loads((run / "result.json").read_text()) == report

    def trained(*args, **kwargs):
        raise AssertionError("measured again")

    monkeypatch.setattr("boundprobe.probes.states_report.decode", trained)
    assert json.loads(call(*argv, "--json").out) == report
    code, table, err = call(*argv)
    assert (code, err) == (0, "")
    for said in ("present, certified", "retention by answer", "what this rests on:", "A1  ", "A5  ", "at least 95%"):
        assert said in table


def test_another_prior_seed_or_content_is_another_run(call, file, tmp_path):
    out = ["--out", tmp_path / "out", "-q", "--json", *QUICK]
    ids = {
        json.loads(call("probe", "--states", path, *more, *out).out)["run_id"]
        for path, more in (
            (file(), ["--n-values", "2"]),
            (file(), ["--entropy-bits", "4"]),
            (file(), ["--n-values", "2", "--seed", "1"]),
            (file("other.npz", state=SIGNS * 2, answers=ANSWERS), ["--n-values", "2"]),
        )
    }
    assert len(ids) == 4


def test_answers_that_are_not_all_defined(document, file, tmp_path):
    path = file(state=SIGNS, answers=ANSWERS, defined=np.random.default_rng(1).random(ANSWERS.shape) < 0.6)
    report = document("probe", "--states", path, "--n-values", "2", *QUICK, "--out", tmp_path)
    assert report["retention"] is None
    assert 1.5 < report["present_bits"]["lower"] < 3
    assert report["defined_entropy_bits"] == pytest.approx(0.6 * ANSWERS.shape[1], abs=0.3)


def test_the_table_has_the_entropy_of_what_is_defined_where_answers_are_absent(call, file, tmp_path):
    defined = np.random.default_rng(1).random(ANSWERS.shape) < 0.6
    argv = ["--n-values", "2", *QUICK, "--out", tmp_path]
    absent = call("probe", "--states", file(state=SIGNS, answers=ANSWERS, defined=defined), *argv).out
    assert "entropy of defined answers" in absent
    assert "compare present with this" in absent
    assert "entropy of the answers " not in absent
    assert "entropy of the answers " in call("probe", "--states", file(state=SIGNS, answers=ANSWERS), *argv).out


def test_a_configuration_file_and_the_one_that_is_printed(call, file, tmp_path):
    path = file()
    argv = ["probe", "--states", path, "--n-values", "2", *QUICK, "--confidence", "0.9"]
    code, printed, err = call(*argv, "--print-config")
    assert (code, err) == (0, "")
    assert tomllib.loads(printed)["states"] == {"file": str(path), "n_values": 2}
    (tmp_path / "c.toml").write_text(printed)
    out = ["--out", tmp_path / "out", "--json"]
    by_flags, by_file = call(*argv, *out), call("probe", "--config", tmp_path / "c.toml", *out)
    assert by_flags.code == 0
    assert by_file == by_flags
    assert call("probe", "--config", tmp_path / "c.toml", "--print-config").out == printed


def test_a_false_prior_is_refused_and_past_the_null_control_a_violation(call, refused, file, tmp_path, monkeypatch):
    path = file(state=ANSWERS[:, :2].astype(bool), answers=ANSWERS[:, [0, 1, 0, 1]])
    argv = ["probe", "--states", path, "--n-values", "2", "--entropy-bits", "3.9", *QUICK]
    assert "null control" in refused(*argv)
    monkeypatch.setattr("boundprobe.probes.NullControl.lower", 0.0)
    monkeypatch.setattr("boundprobe.probes.NullControl.excess_bits", 0.0)
    argv += ["--out", tmp_path]
    code, out, err = call(*argv, "--json")
    assert code == 1
    (violation,) = json.loads(out)["violations"]
    assert "more than nominal 2 bits" in violation
    assert err.count("VIOLATION") == err.count("\n") == 1
    assert call(*argv).code == 1  # read back, it is one still


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"state": SIGNS}, "without 'answers', with state"),
        ({"states": SIGNS, "answers": ANSWERS}, "without 'state', with states, answers"),
        ({"state": SIGNS.astype(object), "answers": ANSWERS}, "cannot be read"),
        ({"state": SIGNS.astype(str), "answers": ANSWERS}, "<U"),
        ({"state": SIGNS[:50], "answers": ANSWERS}, "600 rows of answers; got 50"),
        ({"state": SIGNS, "answers": ANSWERS * 1.0}, "whole numbers"),
        ({"state": SIGNS, "answers": ANSWERS * 0}, "answer 0 with 1 of 2 values in use"),
        ({"state": SIGNS, "answers": ANSWERS, "defined": ANSWERS}, "booleans"),
        ({"state": SIGNS[:12], "answers": ANSWERS[:12]}, "too few: draw more"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_arrays_that_are_refused_leave_nothing_behind(refused, file, arrays, said):
    message = refused("probe", "--states", file(**arrays), "--n-values", "2", *QUICK)
    assert said in message
    assert re.search(r" must .*; got ", message)
    assert "unsafely" not in message


def two_cuts(file, name="cuts.npz", **more):
    """Two cuts of each of 800 documents, with states that are codes of the documents."""
    rng = np.random.default_rng(1)
    answers = np.repeat(rng.integers(4, size=(800, 6)), 2, axis=0)
    answers[1::2, 2] = rng.integers(4, size=800)
    states = np.repeat(rng.normal(size=(800, 32)), 2, axis=0) + 0.1 * rng.normal(size=(1600, 32))
    return file(name, state=states.astype(np.float32), answers=answers, **more), np.repeat(np.arange(800), 2)


def test_groups_from_the_file_from_another_array_and_from_a_table(call, refused, file, tmp_path):
    path, groups = two_cuts(file)
    argv = ["probe", "--states", path, "--n-values", "4", *QUICK]
    assert "must be one group (`groups`, --groups)" in refused(*argv)
    (tmp_path / "rows.csv").write_text("row,document\n" + "".join(f"{i},doc {g}\n" for i, g in enumerate(groups)))
    out = ["--json", "--out", tmp_path / "out"]
    documents = [
        json.loads(call(*argv, "--groups", f"{tmp_path}/rows.csv:document", *out).out),
        json.loads(call("probe", "--states", two_cuts(file, groups=groups)[0], *argv[3:], *out).out),
        json.loads(
            call("probe", "--states", two_cuts(file, source=groups)[0], *argv[3:], "--groups", "source", *out).out
        ),
    ]
    assert len({document["run_id"] for document in documents}) == 3
    for document in documents:
        assert document["present_bits"] == documents[0]["present_bits"]
        assert document["present_bits"]["lower"] == 0.0
        assert document["n_groups"] == {"train": 320, "calibration": 80, "evaluation": 400}
        assert document["n_sequences"] == {"train": 640, "calibration": 160, "evaluation": 800}
    table = call(*argv, "--groups", f"{tmp_path}/rows.csv:document", *out[1:]).out
    assert "each is one observation" in table
    assert "null control" in table


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ("source", "without 'source'"),
        ("rows.csv:document", "rows.csv, which is not there"),
        ("rows.txt:document", "must be the name of an array of the .npz, or TABLE.csv:COLUMN"),
        ("HERE/rows.csv:docment", "column 'docment'"),
        ("HERE/rows.csv:row", "one for each of 600 sequences; got shape (2,)"),
        ("HERE/short.csv:document", "a row of"),
    ],
)
def test_groups_that_cannot_be_read(refused, file, tmp_path, groups, said):
    (tmp_path / "rows.csv").write_text("row,document\n1,a\n2,b\n")
    (tmp_path / "short.csv").write_text("row,document\n1,a\n2\n")
    argv = ["probe", "--states", file(), "--n-values", "2", "--groups", groups.replace("HERE", str(tmp_path))]
    assert said in refused(*argv)


@pytest.mark.parametrize("kind", ["missing", "directory", "empty", "text", "npy", "pickle", "cut", "damaged"])
def test_files_that_are_no_arrays(refused, file, tmp_path, kind):
    path = tmp_path / "bad.npz"
    rng = np.random.default_rng(0)
    whole = bytearray(file(state=rng.normal(size=(600, 40)), answers=ANSWERS, compressed=True).read_bytes())
    match kind:
        case "directory":
            path.mkdir()
        case "empty":
            path.touch()
        case "text":
            path.write_text("hello")
        case "npy":
            np.save(tmp_path / "bad", SIGNS)
            path = tmp_path / "bad.npy"
        case "pickle":
            path.write_bytes(pickle.dumps({"state": SIGNS}))
        case "cut":
            path.write_bytes(whole[: len(whole) // 2])
        case "damaged":
            whole[3000:3040] = b"\xff" * 40
            path.write_bytes(whole)
    message = refused("probe", "--states", path, "--n-values", "2", *QUICK)
    assert path.name in message
    assert "must be an .npz, as numpy.savez writes it" in message
    assert "unsafely" not in message


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--states", "GOOD"], "the prior of the answers must be stated"),
        (["--states", "GOOD", "--n-values", "1"], "--n-values"),
        (["--states", "GOOD", "--entropy-bits", "x"], "--entropy-bits"),
        (["--states", "GOOD", "--entropy-bits", "nan"], "`entropy_bits` must be above 0; got nan"),
        (
            ["--states", "GOOD", "--entropy-bits", "99"],
            "above 0, at most 4.000000, what 4 answers of 2 values can carry; got 99",
        ),
        (["--states", "GOOD", "--n-values", "2", "--decoders", "linaer"], "Did you mean 'linear'"),
        (["--states", "GOOD", "--n-values", "2", "--decoders", "mlp,mlp"], "each once"),
        (
            ["--states", "GOOD", "--n-values", "2", "--confidence", "1"],
            "`confidence` must be above 0 and at most 0.999999999; got 1.0",
        ),
        (["--states", "GOOD", "--n-values", "2", "--stream", "keys-once"], "; got stream"),
        (["--states", "GOOD", "--n-values", "2", "--budgets", "1x2"], "; got bottleneck"),
        (["RUN", "--states", "GOOD", "--n-values", "2"], "one of RUN and --states must be given; got both"),
        (["--n-values", "2"], "a prior must be given with --states; got no --states FILE.npz"),
        ([], "RUN, --states FILE.npz or --hf MODEL must be given; got nothing to measure"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_flags_that_make_no_sense_together(refused, file, argv, said):
    assert said in refused("probe", *[file() if word == "GOOD" else word for word in argv])


@pytest.mark.parametrize(
    "text",
    ["[states]\nfile = 3\nn_values = 2\n", "[states]\nfile = 'GOOD'\nentropy_bits = 'x'\n", "states = 'GOOD'\n"],
)
def test_configuration_files_with_other_types(refused, file, tmp_path, text):
    (tmp_path / "c.toml").write_text(text.replace("GOOD", str(file())))
    assert re.search(r" must .*; got ", refused("probe", "--config", tmp_path / "c.toml"))


def test_as_a_user_types_it(typed, file, tmp_path):
    path = file()
    code, out, err = typed("probe", "--states", path.name, "--n-values", 2, *QUICK, "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert (tmp_path / "runs" / report["run_id"] / "result.json").exists()


def npy(header, body=b"\0" * 64):
    """An .npy file with any header."""
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode("latin1") + body


HEADERS = {
    "a negative length": "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 2), }\n",
    "a length that is true": "{'descr': '<f4', 'fortran_order': False, 'shape': (True, 2), }\n",
    "a length beyond integers": "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }\n",
    "a trillion entries": "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }\n",
    "an order that is none": "{'descr': [('a', '<f4')], 'fortran_order': 1, 'shape': ()}\n",
    "a call": "__import__('os').mkdir('executed')\n",
    "no shape": "{'descr': '<f4', 'fortran_order': False}\n",
    "brackets": "(" * 3000 + "\n",
    "nothing": "",
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_numpy_cannot_take_is_refused(refused, tmp_path, name):
    path = tmp_path / "states.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("state.npy", npy(HEADERS[name]))
        archive.writestr("answers.npy", npy("{'descr': '<i8', 'fortran_order': False, 'shape': (1, 1), }\n", b"\0" * 8))
    refused("probe", "--states", path, "--n-values", "2")


@pytest.mark.parametrize(
    "content",
    [b"a\n" + b"x" * 200_000 + b"\n", b'a\n"' + b"1\n" * 100_000, b"\xff\xfe\x00", b"", b"PAR1" + b"\0" * 40 + b"PAR1"],
)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_that_cannot_be_read_is_refused(refused, file, tmp_path, kind, content):
    table = tmp_path / f"table.{kind}"
    table.write_bytes(content)
    assert f"table.{kind}" in refused("probe", "--states", file(), "--n-values", "2", "--groups", f"{table}:a")


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        (
            "--confidence",
            "0.9999999999999",
            "`confidence` must be above 0 and at most 0.999999999; got 0.9999999999999",
        ),
        ("--confidence", "1", "`confidence` must be above 0 and at most 0.999999999; got 1.0"),
        ("--seed", "9" * 26, "`--seed` must be an integer from 0 to 9223372036854775807; got"),
        ("--n-values", "1" + "0" * 30, "`--n-values` must be an integer from 2 to 1048576; got"),
    ],
)
def test_settings_that_no_run_survives_are_refused_before_one_is_made(call, file, tmp_path, flag, value, said):
    argv = ["probe", "--states", file(), "--n-values", "2", *QUICK, "--out", tmp_path / "out", flag, value]
    code, out, err = call(*argv)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("confidence", ["0.999999999", "1e-9"])
def test_the_highest_and_a_low_confidence_survive_json(call, file, tmp_path, confidence):
    argv = ["probe", "--states", file(), "--n-values", "2", *QUICK, "--out", tmp_path / "out", "-q", "--json"]
    first, again = (call(*argv, "--confidence", confidence, "--seed", 2**63 - 1) for _ in range(2))
    assert first.code == again.code == 0, first.err
    assert first.out == again.out
