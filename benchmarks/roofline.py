"""What a training step of an ensemble must do at least, and how far from it the step is.

    python benchmarks/roofline.py [--device cuda] [--members 16]

Operations: the matrix products that torch's own counter sees in the step through autograd, and, by formula, what runs
in compiled kernels.  Bytes: what the forward pass keeps for the backward pass, written once and read once, and the
weights, gradients and moments of all members.  Peaks are measured here, in the same process: a large matrix product
and a large copy.  The roofline is the longer of operations over peak and bytes over peak.  A step that keeps a sequence
in the processor's cache does not move those bytes through memory, so it may be faster than they say.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from statistics import median

import torch
from ensemble import CONFIG, TASK, data, pairs_of
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from boundprobe.training import Ensemble, ProcessGroup, Replayer, Stepper, build_model, keep_freed_memory

#: Times that a step must touch each weight's place: weights are read forward and backward, the gradient is written and
#: read; the optimizer reads and writes weight and both moments.
TOUCHES_PER_WEIGHT = 10


def kernel_operations(n_members: int) -> float:
    """Additions and multiplications of what torch's counter does not see, forward and backward.

    Scan, for each token, inner channel and state: an exponential (8), decay, input and read-out forward (6), made again
    and differentiated backward (8 + 14).  Convolution: 2 a tap forward, 4 backward.  Attention, for each key in the
    window and entry of a head: 4 forward, 10 backward.
    """
    spec, tokens = CONFIG.model, n_members * CONFIG.schedule.batch * TASK.n_positions
    channels = spec.expand * spec.d_model
    scan = tokens * channels * spec.d_state * (8 + 6 + 8 + 14)
    convolution = tokens * channels * spec.d_conv * (2 + 4)
    attention = tokens * spec.window * spec.d_model * (4 + 10)
    return float(scan + convolution + attention)


def kept_bytes(step: Callable[[], object]) -> int:
    """Bytes that the forward pass of a step keeps for its backward pass, each memory once."""
    sizes: dict[int, int] = {}

    def keep(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        step()
    return sum(sizes.values())


def seconds_of(step: Callable[[], object], device: str, rounds: int = 15) -> float:
    """Median time of a call."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    for _ in range(3):
        step()
    taken = []
    for _ in range(rounds):
        wait()
        started = time.perf_counter()
        step()
        wait()
        taken.append(time.perf_counter() - started)
    return median(taken)


def peaks(device: str) -> tuple[float, float]:
    """Operations and bytes per second, of a matrix product of 2048 x 2048 and of a copy of 256 MB."""
    n, n_floats = 2048, 2**26
    a, b = (torch.randn(n, n, device=device) for _ in range(2))
    source = torch.randn(n_floats, device=device)
    target = torch.empty_like(source)
    operations = 2 * n**3 / seconds_of(lambda: a @ b, device, 5)
    moved = 2 * 4 * n_floats / seconds_of(lambda: target.copy_(source), device, 5)
    return operations, moved


def main(argv: list[str]) -> int:
    """Print the count, the peaks, the roofline, and the measured step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--members", type=int, default=16)
    arguments = parser.parse_args(argv)
    device, n_members = arguments.device, arguments.members
    if device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device; run it where there is one", file=sys.stderr)
        return 3
    torch.set_num_threads(1)
    keep_freed_memory()
    pairs = pairs_of(n_members)
    stepper = Stepper(Ensemble.of([build_model(*pair).to(device) for pair in pairs]), pairs, ProcessGroup())
    tokens, numbers = data(n_members, device)[0], stepper.scalars_of(0, 1)[0]

    counted = Stepper(Ensemble(stepper.ensemble.skeleton, stepper.ensemble.values.clone()), pairs, ProcessGroup())
    counted.fused = None  # the counters see torch's operations only

    def step() -> Tensor:
        return counted.step(tokens, tokens, numbers)

    with FlopCounterMode(display=False) as counter:
        step()
    operations = counter.get_total_flops() + kernel_operations(n_members)
    moved = 2 * kept_bytes(step) + 4 * TOUCHES_PER_WEIGHT * stepper.ensemble.values.numel()
    most_operations, most_bytes = peaks(device)
    replayer = Replayer(stepper)
    taken = seconds_of(lambda: replayer.step(tokens, tokens, numbers), device)
    roof = max(operations / most_operations, moved / most_bytes)
    print(f"{n_members} members on {device}, one step")
    print(f"  operations {operations / 1e6:10.1f} M    at {most_operations / 1e9:8.1f} G/s: "
          f"{1e3 * operations / most_operations:7.2f} ms")  # fmt: skip
    print(f"  bytes      {moved / 1e6:10.1f} MB   at {most_bytes / 1e9:8.1f} GB/s: {1e3 * moved / most_bytes:6.2f} ms")
    print(f"  measured   {1e3 * taken:10.2f} ms   {taken / roof:8.1f} times the roofline")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
