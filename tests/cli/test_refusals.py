"""What a command line refuses before anything is drawn, trained or made."""

from __future__ import annotations

from pathlib import Path

import pytest

from boundprobe.cli.main import main
from tests.helpers.commands import Done, run_line

BOUNDS = "boundprobe bounds --task selective-copying"
TRAIN = "boundprobe train --task copying"


def refused(line: str, directory: Path) -> str:
    """The one line that a refused command says, having made nothing."""
    before = sorted(directory.rglob("*"))
    done: Done = run_line(line, directory)
    assert (done.code, done.out) == (2, ""), done
    assert done.err.count("\n") == 1
    assert sorted(directory.rglob("*")) == before
    return done.err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f"{BOUNDS} --error 0.1 --error 0.2", "`--error` must be given once"),
        (f"{TRAIN} --lr 0.1 --lr 0.2", "`--lr` must be given once"),
        (f"{TRAIN} --scan numba --backend numba", "`--backend` must be given once"),
        (f"{BOUNDS} --backnd numba", "--backend belongs to train"),
        (f"{TRAIN} --print-config --backend foo", "`backend` must be one of auto, "),
        (f"{TRAIN} --print-config --model mamba --backend fla", "`backend` of mamba must be one of auto, numba, "),
        (f"{TRAIN} --model attn-lstm --backend chunked", "`backend` of attn-lstm must be one of auto, numba, blocks, "),
        ("boundprobe train --task ngram-retrieval --distribution duplicate-query --print-config", "asks for an answer"),
        ("boundprobe sample --task copying --format parquet --out y.npz", "`--format` must be npz, as the ending of y"),
        ("boundprobe sample --task copying --format npz --out y.jsonl", "`--format` must be jsonl"),
        ("boundprobe sample --task copying --format npz", "`--format` must be given with --out"),
        ("boundprobe sample --task copying -n 1000000000000000", "`n_sequences` must be an integer from 1 to "),
        ("boundprobe bounds --task mqar -p n_pairs=1000000000", "`n_pairs` must be an integer from 1 to 1048576"),
        (
            "boundprobe bounds --task copying -p n_tokens=100000000000",
            "`n_tokens` must be an integer from 1 to 1048576",
        ),
        ("boundprobe bounds --task position-retrieval -p seq_len=1000000000", "`seq_len` must be an integer from 3 to"),
        ("boundprobe sample --task needle -p vocab_size=1000000000000", "`vocab_size` must be an integer from 2 to"),
    ],
)
def test_refused_in_one_line(line: str, said: str, tmp_path: Path) -> None:
    assert said in refused(line, tmp_path)


def test_a_flag_that_is_nothing_of_the_kind_is_given_no_advice(tmp_path: Path) -> None:
    said = refused(f"{BOUNDS} --qwertz 1", tmp_path)
    assert "Did you mean" not in said
    assert "belongs" not in said


@pytest.mark.parametrize(("error", "shown"), [("0.9999999", "0.9999999"), ("1e-9", "1e-09"), ("0.25", "0.25")])
def test_an_error_is_shown_as_what_it_is(error: str, shown: str, tmp_path: Path) -> None:
    assert f"mean error {shown}\n" in run_line(f"{BOUNDS} --error {error}", tmp_path).out


def test_the_help_of_bounds_has_no_default_model(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bounds", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "(no model is judged unless this or another flag of a model is given; then the default is mamba-attn)" in said
    )
    assert "(default mamba-attn)" not in said


@pytest.mark.parametrize("key", ["backend", "scan"])
def test_a_configuration_names_the_backend(key: str, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(f'{key} = "numba"\n[task]\nname = "copying"\n', encoding="utf-8")
    printed = run_line("boundprobe train --config c.toml --print-config", tmp_path).out
    assert 'backend = "numba"\n' in printed
    assert "scan" not in printed


@pytest.mark.parametrize("ending", ["npz", "jsonl", "parquet"])
def test_the_ending_is_the_format(ending: str, tmp_path: Path) -> None:
    assert run_line(f"boundprobe sample --task copying -n 2 --out x.{ending}", tmp_path).code == 0
    start = {"npz": b"PK", "jsonl": b"{", "parquet": b"PAR1"}[ending]
    assert (tmp_path / f"x.{ending}").read_bytes().startswith(start)
