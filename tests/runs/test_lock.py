"""One process at a time in a run directory, where the file system has locks."""

from __future__ import annotations

import errno
import logging
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from boundprobe.errors import RunInUseError
from boundprobe.runs.lock import locked

HOLDER = "import sys; from pathlib import Path; from boundprobe.runs.lock import locked\n"
HOLDER += "with locked(Path(sys.argv[1])): print('held', flush=True); input()"


def test_a_lock_is_held_by_one_process_and_freed_when_it_is_killed(tmp_path: Path) -> None:
    command, pipe = [sys.executable, "-c", HOLDER, str(tmp_path)], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(RunInUseError, match="in use by another process"), locked(tmp_path):
            pass
        holder.kill()
        holder.wait()
    with locked(tmp_path):
        pass


def test_within_one_process_the_second_is_refused(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(RunInUseError), locked(tmp_path):
        pass


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_locks_work_goes_on_with_one_warning(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(self: filelock.BaseFileLock, *args: object, **kwargs: object) -> None:
        raise OSError(code, "no locks")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    run = tmp_path / f"run-{code}" / "train-0"
    run.mkdir(parents=True)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            with locked(run):
                pass
    assert len(caplog.records) == 1
    assert "no file locks" in caplog.text


def test_other_errors_are_not_taken_for_missing_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: filelock.BaseFileLock, *args: object, **kwargs: object) -> None:
        raise OSError(errno.EACCES, "not yours")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    with pytest.raises(PermissionError), locked(tmp_path):
        pass
