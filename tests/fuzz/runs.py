"""Run directories as somebody else may send them: small ones, made once, and changed at random."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from tests.fuzz.arrays import Bomb
from tests.fuzz.configurations import without_none
from tests.fuzz.hostile import change_bytes, change_document, pick
from tests.fuzz.sandbox import Sandbox
from tests.helpers.own_tasks import TWO_BITS
from tests.helpers.strangers import forget, record
from tests.helpers.sweeps import sweep_text

TINY = ["--d-model", "4", "--window", "4", "--steps", "4", "--batch", "4", "--eval-sequences", "20", "-q"]
PROBE = ["-n", "60", "--calibration", "40", "--train", "40", "--decoders", "linear", "-q"]
COPYING = ["--task", "selective-copying", "-p", "n_numbers=2", "-p", "n_letters=2", "-p", "seq_len=8"]
BUDGETS = ["--budgets", "1x2", "--bottleneck-steps", "3"]
SWEEP = sweep_text(
    train={"steps": 3, "batch": 2, "n_seeds": 1, "n_eval": 20},
    model={"architecture": "attn"},
    grid={"train.weight_decay": [0.0, 0.1]},
    probe={"n_sequences": 40, "n_calibration": 20, "n_train": 40, "decoders": ["linear"]},
)
#: A task that says when it is executed.
OWN = f"""
import os
from pathlib import Path

if os.environ.get("BOUNDPROBE_FUZZ_MARK"):
    Path(os.environ["BOUNDPROBE_FUZZ_MARK"]).touch()


class Cells:{TWO_BITS}"""


def make_templates(place: Path, main: Callable[[list[str]], int]) -> None:
    """Train, measure, sweep and certify, once, in ``place/runs``; jobs of sweeps must be done in this process."""
    place.mkdir(parents=True)
    before = Path.cwd()
    os.chdir(place)
    try:
        (place / "own.py").write_text(OWN)
        (place / "sweep.toml").write_text(SWEEP)
        rng = np.random.default_rng(0)
        answers = rng.integers(2, size=(400, 3))
        np.savez(place / "given.npz", state=2.0 * answers - 1, answers=answers)

        def go(*words: str) -> None:
            with contextlib.redirect_stdout(io.StringIO()):
                assert main(list(words)) == 0, words

        go("train", *COPYING, "--model", "attn", "--lr", "0.003,0.01", "--seeds", "2", *TINY)
        (trained,) = Path("runs").glob("train-*")
        go("probe", str(trained), *PROBE, *BUDGETS)
        go("sweep", "sweep.toml", "--workers", "1", "-q")
        go("probe", "--states", "given.npz", "--n-values", "2", "--decoders", "linear", "-q")
        go("train", "--task", "own.py:Cells", "--model", "attn", *TINY, "--out", "own-runs")
        (own,) = Path("own-runs").glob("train-*")
        go("probe", str(own), *PROBE, "--task", "own.py:Cells")
        for drawing in [*Path("runs").rglob("*.svg"), *Path("runs").rglob("*.png")]:
            drawing.unlink()
    finally:
        os.chdir(before)


def changed_runs(templates: Path) -> Callable[[np.random.Generator, Sandbox], list[str]]:
    """The maker of inputs from these templates."""

    def change(rng: np.random.Generator, sandbox: Sandbox) -> list[str]:
        work = sandbox.work
        for name in ("runs", "own-runs"):
            shutil.copytree(templates / name, work / name)
        for name in ("sweep.toml", "given.npz", "own.py"):
            shutil.copy(templates / name, work / name)
        root = work / ("runs" if rng.random() < 0.85 else "own-runs")
        for _ in range(int(rng.integers(1, 5))):
            of = pick(rng, ["train-", "probe-", "sweep-", "bottleneck-", ""])
            runs = [path for path in sorted(root.iterdir()) if path.name.startswith(of)] or sorted(root.iterdir())
            _change_run(rng, pick(rng, runs), sandbox)
        return _command(rng, work, root)

    return change


def _command(rng: np.random.Generator, work: Path, root: Path) -> list[str]:
    """A command that reads the runs."""
    place = root.name
    found = [f"{place}/{path.name}" for path in sorted(root.iterdir())]
    runs = [name for name in found if "/train-" in name or "/sweep-" in name]
    budgets = BUDGETS if rng.random() < 0.3 else []
    commands: list[list[str]] = [
        ["probe", pick(rng, runs or found), *PROBE, *budgets],
        ["probe", pick(rng, runs or found), *PROBE, *budgets, "--json"],
        ["probe", pick(rng, found), *PROBE],
        ["plot", pick(rng, runs or found), *PROBE, "--out", "figures"],
        ["plot", *(name for name in runs if "/sweep-" in name), "--out", "figures", "-q"],
        ["train", "--config", f"{pick(rng, runs or found)}/config.toml", "--out", place, "-q"],
        ["train", *COPYING, "--model", "attn", "--lr", "0.003,0.01", "--seeds", "2", *TINY, "--out", place],
        ["sweep", "sweep.toml", "--out", place, "-q"],
        ["probe", "--states", "given.npz", "--n-values", "2", "--decoders", "linear", "-q", "--out", place],
        ["read_ladders", pick(rng, runs or found)],
    ]
    return list(pick(rng, commands))


def _change_run(rng: np.random.Generator, run: Path, sandbox: Sandbox) -> None:
    """Change one file of a run, or its whole directory."""
    if not run.is_dir() or run.is_symlink():
        return
    if rng.random() < 0.04:
        return pick(rng, WHOLE)(run, sandbox)
    regular = (file for file in sorted(run.iterdir()) if file.is_file() and not file.is_symlink())
    files = [file for file in regular if file.name != "elsewhere"]
    if not files:
        return None
    file = pick(rng, files)
    kind = rng.random()
    if kind < 0.5 and file.suffix in (".json", ".toml", ".jsonl"):
        _change_text(rng, file)
    elif kind < 0.75:
        file.write_bytes(_change_content(rng, file.read_bytes(), sandbox))
    else:
        aim = pick(
            rng, [sandbox.canary / "precious", file.with_name("elsewhere"), Path("/dev/zero"), file, Path("nowhere")]
        )
        file.rename(file.with_name("elsewhere"))
        pick(rng, KINDS)(file, aim)
        return None
    if file.suffix == ".toml" and rng.random() < 0.6:
        _rename(run)
    elif rng.random() < 0.7:
        _quietly(record, file)
    elif rng.random() < 0.5:
        _quietly(lambda file: forget(file.parent), file)
    return None


def _quietly(do: Callable[[Path], None], path: Path) -> None:
    """Bring the manifest in line, unless it has been changed to no manifest."""
    try:
        if all(file.is_file() and not file.is_symlink() for file in (path, path.with_name("manifest.json"))):
            do(path)
    except (ValueError, OSError, AttributeError, TypeError, KeyError, RecursionError):
        pass


def _change_text(rng: np.random.Generator, file: Path) -> None:
    """One place of a document; for JSON lines, of one line."""
    try:
        if file.suffix == ".toml":
            found = change_document(rng, tomllib.loads(file.read_text()))
            file.write_text(tomli_w.dumps(without_none(found)))
        elif file.suffix == ".jsonl":
            lines = file.read_text().splitlines()
            at = int(rng.integers(len(lines)))
            lines[at] = json.dumps(change_document(rng, json.loads(lines[at])))
            file.write_text("\n".join(lines) + "\n")
        else:
            document = json.loads(file.read_text())
            for _ in range(int(rng.integers(1, 3))):
                document = change_document(rng, document)
            file.write_text(json.dumps(document))
    except (ValueError, RecursionError, TypeError):
        file.write_bytes(b"{")


def _rename(run: Path) -> None:
    """Give a run the name that its changed configuration has."""
    from boundprobe.runs import config_hash

    try:
        name = f"{run.name.partition('-')[0]}-{config_hash(tomllib.loads((run / 'config.toml').read_text()))}"
        if name != run.name and not run.with_name(name).exists():
            run.rename(run.with_name(name))
    except (ValueError, OSError, RecursionError, TypeError):
        pass


def _change_content(rng: np.random.Generator, data: bytes, sandbox: Sandbox) -> bytes:
    import pickle

    kind = rng.integers(6)
    if kind == 0:
        return pickle.dumps(Bomb())
    if kind == 1:
        length = int(pick(rng, [2**62, 2**34, 99_999_999, 2**63 - 1, 0, 2, 2**64 - 1]))
        return length.to_bytes(8, "little") + data[8 : int(rng.integers(8, 4000))]
    if kind == 2:
        others = [path for path in sorted(sandbox.work.rglob("*-*/*")) if path.is_file() and not path.is_symlink()]
        return bytes(pick(rng, others).read_bytes())
    return change_bytes(rng, data)


KINDS: tuple[Callable[[Path, Path], object], ...] = (
    lambda file, aim: os.mkfifo(file),
    lambda file, aim: file.symlink_to(aim),
    lambda file, aim: file.symlink_to(aim),
    lambda file, aim: file.symlink_to(aim),
    lambda file, aim: file.mkdir(),
    lambda file, aim: None,
    lambda file, aim: file.touch(),
)


def _out_of_the_place(run: Path, sandbox: Sandbox) -> None:
    away = sandbox.canary / run.name  # a run whose directory is a link: what is written would be elsewhere
    run.rename(away)
    run.symlink_to(away)


def _a_file(run: Path, sandbox: Sandbox) -> None:
    shutil.rmtree(run)
    run.write_text("x")


def _a_pipe(run: Path, sandbox: Sandbox) -> None:
    shutil.rmtree(run)
    os.mkfifo(run)


def _twice(run: Path, sandbox: Sandbox) -> None:
    with contextlib.suppress(shutil.Error, FileExistsError):  # what can be copied
        shutil.copytree(run, run.with_name(f"{run.name.partition('-')[0]}-0123456789ab"), symlinks=True)


WHOLE: tuple[Callable[[Path, Sandbox], Any], ...] = (
    _out_of_the_place, _a_file, _a_pipe, _twice, lambda run, sandbox: shutil.rmtree(run),
    lambda run, sandbox: run.rename(run.with_name(f"x{run.name}")),
)  # fmt: skip
