"""Time and memory of the backends of sliding-window attention, and of dense attention with a mask.

``python benchmarks/windowed_attention.py [POSITION ...]``, of ``boundprobe.kernels.window.POSITIONS`` (default: all).

All sides do the same layer, forward and backward: ours with the compiled loops, with the blocks, and with the dense
masked ``scaled_dot_product_attention`` of torch in their place, so that projections cost the same in all.  For
learned positions the mask is the bias, which sends torch's function to its explicit form.  The backend that ``auto``
takes is marked with a star.
Times are the best of several runs by CPU time of this process: on a busy machine that leaves out the time that
others had the core.  Memory is how far a run raises the peak of its process; each number is measured in a process of
its own, which has run a short sequence before.  The last column of each side is time at L over time at L / 2: 2 is
linear, 4 quadratic.
"""

from __future__ import annotations

import math
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from boundprobe.kernels.window import (
    POSITIONS,
    AbstractPosition,
    LearnedPosition,
    RotaryPosition,
    attention_at,
    by_distance,
    rotate,
)
from boundprobe.models import SlidingWindowAttention, attention

BATCH, D_MODEL, N_HEADS = 2, 32, 2
LENGTHS = (256, 512, 1024, 2048, 4096, 8192)
WINDOWS = (11, 32, 128, 512)
SECONDS = 0.5  # of repetitions for each number, at least two
#: Arrays of scores that the dense side holds: the explicit form of a learned mask several, the fused one its mask.
ARRAYS = {"rope": 1, "learned": 6, "none": 1}
#: Bytes that the dense side may take before it is left out.
MOST_BYTES = 3e9

#: Backends of the layer, and torch's own function in their place.
SIDES = ("numba", "blocks", "dense")


def attend_dense(q: Tensor, k: Tensor, v: Tensor, window: int, score: AbstractPosition, *, backend: str) -> Tensor:
    """All queries against all keys, with torch's own function, whatever the backend."""
    places = torch.arange(q.shape[2])
    distance = places[:, None] - places
    mask = (distance >= 0) & (distance < window)
    if isinstance(score, LearnedPosition):
        bias = by_distance(q, score.relative, k.shape[2]) / math.sqrt(q.shape[-1])
        mask = bias.masked_fill(~mask, -torch.inf)
    elif isinstance(score, RotaryPosition):
        q, k = rotate(q, places), rotate(k, places)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def forward_and_backward(position: str, window: int, length: int, side: str) -> Callable[[], None]:
    """What is measured, with its inputs made."""
    torch.manual_seed(0)
    layer = SlidingWindowAttention(D_MODEL, N_HEADS, window, position, "auto" if side == "dense" else side)
    x = torch.randn(BATCH, length, D_MODEL, requires_grad=True)
    return lambda: layer(x)[0].sum().backward()


def measure(position: str, window: int, length: int, side: str) -> tuple[float, float]:
    """Least seconds of a run, and megabytes by which the first one raises the peak of this process."""
    if side == "dense":
        attention.windowed_attention = attend_dense
    forward_and_backward(position, window, 16, side)()
    run = forward_and_backward(position, window, length, side)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in KiB on Linux
    run()
    raised = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / 1e6
    best, spent, n_runs = math.inf, 0.0, 0
    while spent < SECONDS or n_runs < 2:
        start = time.process_time()
        run()
        took = time.process_time() - start
        best, spent, n_runs = min(best, took), spent + took, n_runs + 1
    return best, raised


def main(positions: list[str]) -> int:
    """Print one line a position, window and length."""
    torch.set_num_threads(1)
    processes = multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1)
    print(f"batch {BATCH}, d_model {D_MODEL}, {N_HEADS} heads, float32, one thread, torch {torch.__version__}")
    sides = "".join(f"  {side:>7}: {'ms':>8} {'MB':>7} {'x':>5}" for side in SIDES)
    print(f"{'position':9} {'window':>6} {'L':>6}{sides}  dense over auto")
    for position in positions or list(POSITIONS):
        for window in WINDOWS:
            before: dict[str, float] = {}
            taken = next(iter(attention_at(window, D_MODEL // N_HEADS).backends))
            for length in LENGTHS:
                times, columns = {}, ""
                for side in SIDES:
                    if side == "dense" and ARRAYS[position] * BATCH * N_HEADS * length**2 * 4 > MOST_BYTES:
                        continue
                    times[side], raised = processes.apply(measure, (position, window, length, side))
                    growth = f"{times[side] / before[side]:5.2f}" if side in before else ""
                    star = "*" if side == taken else ""
                    columns += f"{star:>11}{times[side] * 1e3:8.1f} {raised:7.1f} {growth:>5}"
                speed_up = f"  {times['dense'] / times[taken]:15.1f}" if "dense" in times else ""
                print(f"{position:9} {window:6} {length:6}{columns}{speed_up}", flush=True)
                before = times
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
