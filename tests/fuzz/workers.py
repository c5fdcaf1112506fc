"""Worker processes that import torch once, with limits; a process that hangs or dies is a fault, and is replaced."""

from __future__ import annotations

import multiprocessing
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.fuzz.oracle import Verdict, kind_of

#: Seconds for one input, and for torch's import and the templates; bytes of memory for one process.
TIME_LIMIT, START_LIMIT, MEMORY_LIMIT = 60.0, 600.0, 6 * 2**30


def fuzz(
    seeds: Iterable[int],
    n_workers: int = 1,
    templates: Path | None = None,
    *,
    work: Callable[[Connection, Path, Path], None] | None = None,
    time_limit: float = TIME_LIMIT,
) -> Iterator[Verdict]:
    """Run the inputs of these seeds in worker processes; verdicts come as they are done.

    Parameters
    ----------
    seeds : iterable of int
    n_workers : int
    templates : Path, optional
        Where the run directories are that are changed; made if they are not there.  A new place if not given.
    work : callable, optional
        What a worker process does; for tests of the rest.
    time_limit : float
        Seconds for one input.
    """
    with tempfile.TemporaryDirectory(prefix="boundprobe-fuzz-") as place:
        base = Path(place) / "templates" if templates is None else templates
        todo = iter(seeds)
        workers = [_Worker(Path(place) / f"worker{i}", base, work or judge_seeds, time_limit) for i in range(n_workers)]
        try:
            busy = [worker for worker in workers if worker.start_next(todo)]
            while busy:
                ready = wait([worker.connection for worker in busy], timeout=0.5)
                for worker in list(busy):
                    verdict = worker.verdict(worker.connection in ready)
                    if verdict is not None:
                        yield verdict
                        if not worker.start_next(todo):
                            busy.remove(worker)
        finally:
            for worker in workers:
                worker.kill()


class _Worker:
    """A process, and the input that it is at."""

    def __init__(
        self, place: Path, templates: Path, work: Callable[[Connection, Path, Path], None], time_limit: float
    ) -> None:
        self.place, self.templates, self.work, self.time_limit = place, templates, work, time_limit
        self._start()

    def _start(self) -> None:
        self.place.mkdir(parents=True, exist_ok=True)
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=self.work, args=(theirs, self.place, self.templates), daemon=True)
        self.process.start()
        theirs.close()
        if not self.connection.poll(START_LIMIT) or self.connection.recv() != "ready":
            raise RuntimeError("a worker did not start")

    def start_next(self, todo: Iterator[int]) -> bool:
        """Take the next input; False if there is none."""
        self.seed = next(todo, None)
        self.since = time.monotonic()
        if self.seed is None:
            return False
        self.connection.send(self.seed)
        return True

    def verdict(self, ready: bool) -> Verdict | None:
        """The verdict on the input, if it is known by now."""
        assert self.seed is not None
        seconds = time.monotonic() - self.since
        if ready:
            try:
                verdict: Verdict = self.connection.recv()
                return verdict
            except EOFError:
                return self._lost(f"the process died, exit code {self._end()}", seconds)
        return self._lost(f"no end within {self.time_limit:g} s", seconds) if seconds > self.time_limit else None

    def _lost(self, why: str, seconds: float) -> Verdict:
        self.kill()
        self._start()
        assert self.seed is not None
        line = f"python -m tests.fuzz --again {self.seed}"
        return Verdict(self.seed, kind_of(self.seed), "", line, "lost", round(seconds, 2), [why])

    def _end(self) -> int | None:
        self.process.join(10)
        return self.process.exitcode

    def kill(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.join()
        self.connection.close()


def judge_seeds(connection: Connection, place: Path, templates: Path) -> None:
    """Answer seeds with verdicts until the other side is gone."""
    import torch

    from tests.fuzz.oracle import judge
    from tests.fuzz.sandbox import Sandbox

    torch.set_num_threads(1)
    make_once(templates)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    shorten()
    connection.send("ready")
    try:
        while True:
            connection.send(judge(connection.recv(), Sandbox(place / "sandbox"), templates))
    except (EOFError, BrokenPipeError):
        return


def make_once(templates: Path) -> None:
    """Make the run directories that are changed, unless they are there."""
    from boundprobe.cli.main import main
    from boundprobe.sweep.executors import LocalExecutor
    from boundprobe.sweep.executors.base import attempt
    from tests.fuzz.runs import make_templates

    def here(executor: Any, jobs: Any, on_news: Any) -> list[Any]:
        return [attempt(job, lambda done, what, i=i: on_news(i, done, what)) for i, job in enumerate(jobs)]

    LocalExecutor.run = here  # type: ignore[method-assign]
    while not templates.exists():
        making = Path(tempfile.mkdtemp(dir=templates.parent)) / "made"
        make_templates(making, main)
        try:
            making.rename(templates)
        except OSError:  # another worker was first
            continue
        finally:
            shutil.rmtree(making.parent)


def shorten() -> None:
    """Where an accepted input would take long, stop and say so; draw no figures, which have tests of their own."""
    import boundprobe.bottleneck.measure
    import boundprobe.constructions.rounded
    import boundprobe.constructions.verification
    import boundprobe.export.blocks
    import boundprobe.plots.bound_vs_empirical
    import boundprobe.plots.construction
    import boundprobe.plots.ladder
    import boundprobe.plots.sweep
    import boundprobe.probes.run
    import boundprobe.sweep.driver
    import boundprobe.sweep.jobs
    import boundprobe.training.loop
    from boundprobe.runs.files import write_whole
    from tests.fuzz.oracle import Accepted

    def stop(*args: Any, **kwargs: Any) -> None:
        raise Accepted

    def unless(module: Any, name: str, small: Callable[..., bool]) -> None:
        real = getattr(module, name)

        def run(*args: Any, **kwargs: Any) -> Any:
            if not small(*args, **kwargs):
                raise Accepted
            return real(*args, **kwargs)

        setattr(module, name, run)

    def draw(figure: Any, stem: Path) -> list[Path]:
        paths = [stem.with_name(f"{stem.name}.{suffix}") for suffix in ("png", "svg")]
        for path in paths:
            write_whole(path, lambda new: new.write_text("a figure"))
        return paths

    long: list[tuple[ModuleType, str]] = [
        (boundprobe.training.loop, "train"), (boundprobe.sweep.driver, "run_jobs"), (boundprobe.sweep.jobs, "run_jobs"),
    ]  # fmt: skip
    for module, name in long:
        setattr(module, name, stop)
    plots = boundprobe.plots
    for module in (plots.bound_vs_empirical, plots.construction, plots.ladder, plots.sweep):
        module.save_figure = draw
    unless(boundprobe.probes.run, "measure", lambda model, task, config, *args, **kwargs: (
        config.n_sequences + config.n_calibration + config.n_train < 300 and set(config.decoders) == {"linear"}
    ))  # fmt: skip
    unless(boundprobe.bottleneck.measure, "_train_missing", lambda run, model, task, config: config.steps <= 5)
    unless(boundprobe.constructions.verification, "verify", lambda built, n_inputs, seed: n_inputs <= 1000)
    small_case = boundprobe.constructions.verification.verify_small_case
    known: dict[Any, Any] = {}

    def once(built: Any) -> Any:
        key = type(built.task), built.spec
        return known[key] if key in known else known.setdefault(key, small_case(built))

    boundprobe.constructions.verification.verify_small_case = once
    unless(boundprobe.export.blocks.SampleStream, "block", lambda stream, index: (
        min(4096, stream.n_sequences) * stream.task.n_positions < 10**6 and stream.n_sequences < 50_000
    ))  # fmt: skip
