"""Speed and memory of every sampler: ``python benchmarks/samplers.py [TASK ...]``.

The samplers use one thread: nothing in them calls a linear algebra library.
Tokens per second, best of several batches, by CPU time of this process: on a busy machine that leaves out the
time that others had the core.  Memory is the peak of traced allocations over the bytes of the arrays returned.
"""

from __future__ import annotations

import sys
import time
import tracemalloc

import numpy as np

from boundprobe.tasks import TASKS, AbstractTask, build_task

N_SEQUENCES = 4000
N_REPEATS = 25

#: Millions of tokens per second that the project asks for.
TARGETS = {
    "selective-copying": 30,
    "mqar": 20,
    "mkar": 10,
    "ar-decoding": 10,
    "ngram-retrieval": 10,
    "position-retrieval": 10,
}


def tokens_per_second(task: AbstractTask, distribution: str) -> float:
    """Best of ``N_REPEATS`` batches, by CPU time."""
    rng, best = np.random.default_rng(0), float("inf")
    for _ in range(N_REPEATS):
        start = time.process_time()
        task.sample(N_SEQUENCES, rng, distribution)
        best = min(best, time.process_time() - start)
    return N_SEQUENCES * task.n_positions / best


def peak_over_returned(task: AbstractTask, distribution: str) -> float:
    """Peak of traced memory while drawing, over the bytes of the arrays returned."""
    rng = np.random.default_rng(0)
    tracemalloc.start()
    batch = task.sample(N_SEQUENCES, rng, distribution)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / (batch.tokens.nbytes + batch.targets.nbytes)


def main(names: list[str]) -> int:
    """Print one line a task and distribution; 1 if a target is missed, else 0."""
    print(f"{'task':20} {'parameters':10} {'distribution':16} {'M tokens/s':>10} {'asked':>6} {'peak/returned':>13}")
    missed = 0
    for name in names or list(TASKS):
        for preset in (None, *TASKS[name].presets):
            task = build_task(name, {}, preset)
            for distribution in task.distributions:
                speed = tokens_per_second(task, distribution) / 1e6
                memory = peak_over_returned(task, distribution)
                # The targets are for the defaults, mqar's for the sizes of its preset: V = 8192, L = 64, 4 pairs.
                is_target = distribution == "uniform" and preset == ("paper" if name == "mqar" else None)
                asked = TARGETS.get(name) if is_target else None
                missed += memory > 3 or speed < (asked or 0)
                columns = f"{name:20} {preset or 'default':10} {distribution:16} {speed:10.1f} {asked or '':>6}"
                print(f"{columns} {memory:13.2f}", flush=True)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
