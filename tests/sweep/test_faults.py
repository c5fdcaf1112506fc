"""Whatever happens to a sweep, the same command ends with the same table, and nothing that was finished is repeated."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import boundprobe
from boundprobe.cli.main import main
from tests.helpers.commands import run_here
from tests.helpers.sweeps import sweep_text

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds workers through Linux's /proc")


SWEEP = sweep_text(
    train={"steps": 520, "batch": 4, "learning_rates": [0.003, 0.01], "n_seeds": 2, "n_eval": 100},
    model={"d_state": 2, "mlp_ratio": 1},
    grid={"model.architecture": ["attn", "mamba-attn"], "train.weight_decay": [0.0, 0.1]},
    probe={
        "n_sequences": 50, "n_train": 50, "part_decoders": ["linear"], "decoders": ["linear"], "n_calibration": 20,
    },
)  # fmt: skip


def arguments(root: Path) -> list[str]:
    """Of ``boundprobe``: the sweep with two workers, in a directory."""
    root.mkdir(exist_ok=True)
    file = root.parent / "sweep.toml"
    file.write_text(SWEEP)
    return ["sweep", str(file), "--out", str(root), "--workers", "2"]


def start(root: Path, *more: str) -> subprocess.Popen[bytes]:
    """The sweep in a process of its own."""
    command = [sys.executable, "-m", "boundprobe", *arguments(root), *more]
    here = str(Path(boundprobe.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": here, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen[bytes], *, code: int = 0, seconds: float = 240) -> str:
    """Wait for its end; return what it said."""
    _, said = process.communicate(timeout=seconds)
    assert process.returncode == code, said.decode()
    return said.decode()


def finish_here(root: Path) -> None:
    """The same sweep in this process, without workers."""
    with pytest.MonkeyPatch.context() as patch:
        run_here(patch)
        assert main([*arguments(root), "-q"]) == 0


def tables(root: Path) -> dict[str, bytes]:
    """The collected tables of the one sweep in a directory, and the losses of every member of its runs."""
    (path,) = root.glob("sweep-*")
    losses = {file.parent.name: file.read_bytes() for file in root.glob("train-*/metrics.jsonl")}
    return {name: (path / name).read_bytes() for name in ("runs.csv", "seeds.csv")} | losses


def finished(root: Path) -> dict[str, tuple[int, bytes]]:
    """Done marks, with when each was written."""
    paths = root.glob("*/result.json")
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in paths}


def workers_of(process: subprocess.Popen[bytes]) -> list[int]:
    """Process ids of its children that do jobs."""
    found = []
    for path in Path(f"/proc/{process.pid}/task").glob("*/children"):
        for pid in path.read_text().split():
            command = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
            if "resource_tracker" not in command:
                found.append(int(pid))
    return found


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Return when it holds, or fail."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    root = tmp_path_factory.mktemp("undisturbed") / "runs"
    finish_here(root)
    return tables(root)


def kill_again_and_again(root: Path, n_kills: int, rng: random.Random, longest: float) -> None:
    """kill -9 of the sweep or of one of its workers at random moments; then the same command to its end."""
    kills = 0
    while kills < n_kills:
        before = finished(root)
        process = start(root)
        time.sleep(rng.uniform(0, longest))
        victims = [process.pid]
        with suppress(OSError):  # it may just have ended
            victims += workers_of(process)
        victim = rng.choice(victims)
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
                kills += 1
        if victim == process.pid:
            process.communicate()
        elif rng.random() < 0.5:  # the sweep goes on without its worker; then it is killed as well
            time.sleep(rng.uniform(0, longest / 2))
            process.kill()
            process.communicate()
        else:
            finish(process)  # it survives the death of a worker
        assert before.items() <= finished(root).items(), "a finished run was repeated"
        if kills < n_kills and list(root.glob("sweep-*/result.json")):
            root = _another(root)
    finish(start(root))


def _another(root: Path) -> Path:
    """A fresh place for the kills that are left, once a sweep has come to its end."""
    root.rename(root.with_name(f"done-{time.monotonic_ns()}"))
    return root


def assert_same_tables(base: Path, expected: dict[str, bytes]) -> None:
    roots = [path for path in base.iterdir() if path.is_dir()]
    assert roots
    for root in roots:
        assert tables(root) == expected


def interrupted(root: Path) -> None:
    """A sweep that was killed when a group had a checkpoint."""
    process = start(root)
    wait_until(lambda: list(root.glob("ensemble-*/train_state.pt")))
    process.kill()
    process.communicate()
    wait_until(lambda: not still_locked(root))  # its workers notice, and end


def still_locked(root: Path) -> bool:
    for path in root.glob("*/.lock"):
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    return False


def test_killed_between_two_checkpoints(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    """kill -9 of the driver, whose workers end with it; the slow test kills at any moment, and workers as well."""
    root = tmp_path / "runs"
    interrupted(root)
    assert not list(root.glob("sweep-*/result.json"))
    before = finished(root)
    finish_here(root)
    assert before.items() <= finished(root).items(), "a finished run was repeated"
    assert tables(root) == undisturbed


@pytest.mark.slow
def test_killed_thirty_times(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    kill_again_and_again(tmp_path / "runs", 30, random.Random(2), longest=8)
    assert_same_tables(tmp_path, undisturbed)


@pytest.mark.slow
def test_two_sweeps_in_one_directory_at_once(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    """Both end well; every run is trained by one of them, the other waits."""
    both = [start(tmp_path / "runs") for _ in range(2)]
    for process in both:
        finish(process)
    assert tables(tmp_path / "runs") == undisturbed
    for manifest in (tmp_path / "runs").glob("train-*/manifest.json"):
        assert manifest.read_text().count('"started"') == 1, "a run was worked on twice"


@pytest.mark.slow
def test_shards_together_are_the_sweep(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    said = finish(start(tmp_path / "runs", "--shard", "0/2"))
    assert "2 of 4 runs" in said
    assert not list((tmp_path / "runs").glob("sweep-*/result.json"))
    finish(start(tmp_path / "runs", "--shard", "1/2"))
    assert tables(tmp_path / "runs") == undisturbed


@pytest.mark.slow
def test_a_truncated_checkpoint_and_half_a_line(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    root = tmp_path / "runs"
    interrupted(root)
    damaged, *_ = sorted(root.glob("ensemble-*/train_state.pt"))
    content = damaged.read_bytes()[:1000]
    damaged.write_bytes(content)
    for metrics in root.glob("train-*/metrics.jsonl"):
        metrics.write_bytes(metrics.read_bytes()[:-9])
    said = finish(start(root))
    assert f"{damaged} must be as boundprobe wrote it" in said
    assert damaged.with_name("train_state.pt.damaged-1").read_bytes() == content  # nothing is deleted
    assert tables(root) == undisturbed


@contextmanager
def small_disk(path: Path, kilobytes: int) -> Iterator[None]:
    """A file system of its own, with little room."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(path)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here ({mounted.stderr.strip()})")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.mark.slow
def test_a_full_disk(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    with small_disk(tmp_path / "runs", 96):
        said = finish(start(tmp_path / "runs"), code=2)
        assert "No space left on device" in said
        assert said.count("\n") <= 3
        subprocess.run(["mount", "-o", "remount,size=20m", str(tmp_path / "runs")], check=True)
        finish(start(tmp_path / "runs"))
        assert tables(tmp_path / "runs") == undisturbed
        # Files are written beside their place, as .<process>.<name>, and nothing of that is left over.
        assert not list((tmp_path / "runs").glob("*/.[0-9]*"))


@pytest.mark.slow
def test_a_directory_that_cannot_be_written(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    """A read-only file system, because root may write into read-only directories."""
    with small_disk(tmp_path / "runs", 20_000):
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path / "runs")], check=True)
        said = finish(start(tmp_path / "runs"), code=2)
        assert "must be in a directory that can be written" in said
        assert said.count("\n") == 1
        subprocess.run(["mount", "-o", "remount,rw", str(tmp_path / "runs")], check=True)
        finish(start(tmp_path / "runs"))
        assert tables(tmp_path / "runs") == undisturbed
