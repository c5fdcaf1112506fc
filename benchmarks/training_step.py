"""Time and memory of a training step of a small Mamba beside other packages: ``python benchmarks/training_step.py``.

A step is forward, cross-entropy, backward and AdamW, on one thread.  All contestants have the same layers with the
same weights, which is checked, and between the layers and the loss ours' embedding, norm and read-out.  On a CPU
they are ours with each backend of the scan, transformers' MambaForCausalLM (without the CUDA kernels it computes
step after step, which is checked too) and mambapy's parallel scan.  With ``--device cuda`` they are ours and
mamba-ssm's fused block.

In every round each contestant does one step, in turn, so that what else the machine does meets all of them; times are
medians over rounds, ratios medians of the ratios within a round.  Memory is how far one step raises the peak of what
is resident (VmHWM over VmRSS before it), in a process of its own for each contestant; on CUDA, of what is allocated.
"""

from __future__ import annotations

import argparse
import copy
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from boundprobe.kernels import SELECTIVE_SCAN
from boundprobe.models import ModelSpec, SequenceModel

SIZES = {"n_layers": 2, "d_model": 16, "d_state": 16, "seq_len": 100, "batch": 64, "vocab_size": 64, "rounds": 15}
TOLERANCE = 1e-4  # of logits of size 1 in float32, after two recurrences of 100 steps

#: A peer, the least ratio of its time to ours that the project asks for, and the least ratio of memories.
TARGETS = {
    "cpu": {"transformers": (12, 3), "mambapy": (4, 3)},
    "cuda": {"mamba-ssm block": (1 / 1.2, 0)},
}


class Stack(nn.Module):
    """Another package's layers between ours' embedding and read-out."""

    def __init__(self, ours: SequenceModel, layers: list[nn.Module]) -> None:
        super().__init__()
        self.embedding, self.norm, self.readout = (copy.deepcopy(x) for x in (ours.embedding, ours.norm, ours.readout))
        self.layers = nn.ModuleList(layers)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T) -> (B, T, vocab_size)."""
        x = self.embedding(tokens)
        for layer in self.layers:
            x = layer(x)
        logits: Tensor = self.readout(self.norm(x))
        return logits


class Residual(nn.Module):
    """x + mixer(norm x)."""

    def __init__(self, norm: nn.Module, mixer: nn.Module) -> None:
        super().__init__()
        self.norm, self.mixer = norm, mixer

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, d_model) -> (B, T, d_model)."""
        y: Tensor = x + self.mixer(self.norm(x))
        return y


def build_ours(sizes: argparse.Namespace, backend: str) -> SequenceModel:
    """The same weights whatever the backend."""
    spec = ModelSpec(f"{sizes.n_layers}xmamba", d_model=sizes.d_model, d_state=sizes.d_state)
    torch.manual_seed(0)
    return SequenceModel(spec, sizes.vocab_size, backend)


def build_transformers(sizes: argparse.Namespace) -> nn.Module:
    """MambaForCausalLM with our weights, and with our norm before the read-out in place of its own."""
    from transformers import MambaConfig, MambaForCausalLM, logging

    logging.set_verbosity_error()  # it says that the fast path is not there
    ours = build_ours(sizes, "reference")
    mixer = ours.layers[0].branches[0].mixer
    config = MambaConfig(
        vocab_size=sizes.vocab_size,
        hidden_size=sizes.d_model,
        state_size=sizes.d_state,
        num_hidden_layers=sizes.n_layers,
        time_step_rank=mixer.dt_rank,
        tie_word_embeddings=False,
        use_cache=False,
        use_mambapy=False,
    )
    model = MambaForCausalLM(config)
    model.backbone.embeddings, model.lm_head = copy.deepcopy(ours.embedding), copy.deepcopy(ours.readout)
    model.backbone.norm_f = copy.deepcopy(ours.norm)
    for theirs, own in zip(model.backbone.layers, ours.layers, strict=True):
        theirs.load_state_dict(own.branches[0].state_dict())
    return model.train()


def build_mambapy(sizes: argparse.Namespace) -> nn.Module:
    """mambapy's residual blocks."""
    from mambapy.mamba import MambaConfig, ResidualBlock

    ours = build_ours(sizes, "reference")
    config = MambaConfig(d_model=sizes.d_model, n_layers=sizes.n_layers, d_state=sizes.d_state)
    layers = [ResidualBlock(config) for _ in ours.layers]
    for theirs, own in zip(layers, ours.layers, strict=True):
        theirs.load_state_dict(own.branches[0].state_dict())
    return Stack(ours, layers)


def build_mamba_ssm(sizes: argparse.Namespace) -> nn.Module:
    """mamba-ssm's block, which fuses convolution, scan and gate where causal-conv1d is there, between our norms."""
    import causal_conv1d  # noqa: F401
    from mamba_ssm.modules.mamba_simple import Mamba

    ours = build_ours(sizes, "reference")
    layers: list[nn.Module] = []
    for own in ours.layers:
        mixer = Mamba(sizes.d_model, d_state=sizes.d_state)
        mixer.load_state_dict(own.branches[0].mixer.state_dict())
        layers.append(Residual(copy.deepcopy(own.branches[0].norm), mixer))
    return Stack(ours, layers)


PEERS: dict[str, dict[str, Callable[[argparse.Namespace], nn.Module]]] = {
    "cpu": {"transformers": build_transformers, "mambapy": build_mambapy},
    "cuda": {"mamba-ssm block": build_mamba_ssm},
}


class CountOperations(TorchDispatchMode):
    """How many operations of torch ran."""

    n_operations = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.n_operations += 1
        return func(*args, **(kwargs or {}))


class Contestant:
    """A model in training; ``step`` does one step on the same batch."""

    def __init__(self, sizes: argparse.Namespace, build: Callable[[argparse.Namespace], nn.Module]) -> None:
        self.device, self.vocab_size = sizes.device, sizes.vocab_size
        self.model = build(sizes).to(self.device)
        self.adamw = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)
        self.batch = self.draw(sizes.batch, sizes.seq_len)
        self.wait = torch.cuda.synchronize if sizes.device == "cuda" else lambda: None

    def draw(self, n_sequences: int, seq_len: int) -> Tensor:
        """Random tokens, the same for all contestants."""
        rng = torch.Generator().manual_seed(1)
        return torch.randint(self.vocab_size, (n_sequences, seq_len), generator=rng).to(self.device)

    def logits(self, tokens: Tensor) -> Tensor:
        """(B, T) -> (B, T, vocab_size); transformers returns them with other things."""
        output = self.model(tokens)
        return output if isinstance(output, Tensor) else output.logits

    def gradients(self, tokens: Tensor) -> None:
        """Forward and backward."""
        F.cross_entropy(self.logits(tokens).flatten(0, 1), tokens.flatten()).backward()

    def step(self, tokens: Tensor) -> None:
        """Forward, backward and AdamW."""
        self.gradients(tokens)
        self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)

    def seconds(self) -> float:
        """Of one step, all of it."""
        self.wait()
        start = time.perf_counter()
        self.step(self.batch)
        self.wait()
        return time.perf_counter() - start

    def peak_bytes(self) -> int | None:
        """How far one step raises the peak; None where the system does not tell."""
        self.step(self.draw(2, 3))  # libraries, compiled code and the state of the optimizer are there afterwards
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            self.step(self.batch)
            return torch.cuda.max_memory_allocated() - before
        if not Path("/proc/self/clear_refs").exists():
            return None
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is resident now
        before = _status_bytes("VmRSS")
        self.step(self.batch)
        return _status_bytes("VmHWM") - before


def _status_bytes(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def builders(device: str) -> dict[str, Callable[[argparse.Namespace], nn.Module]]:
    """Contestants by name: ours with each backend, fastest first, then the peers."""
    ours = {f"ours, {name}": partial(build_ours, backend=name) for name in SELECTIVE_SCAN.usable(device)}
    return ours | PEERS[device]


def check_same(contestants: dict[str, Contestant]) -> None:
    """Raise ``ValueError`` unless all compute the same, and transformers does it step after step."""
    expected: tuple[Tensor, float] | None = None
    for name, contestant in contestants.items():
        with torch.no_grad(), CountOperations() as count:
            logits = contestant.logits(contestant.batch)
        contestant.gradients(contestant.batch)
        norm = float(torch.nn.utils.get_total_norm([x.grad for x in contestant.model.parameters()]))
        contestant.adamw.zero_grad(set_to_none=True)
        expected = expected or (logits, norm)
        worst = max(float((logits - expected[0]).abs().max()), abs(norm / expected[1] - 1))
        if not worst < TOLERANCE:
            raise ValueError(f"{name} differs by {worst:.1e}; allowed: {TOLERANCE}; the comparison would mean nothing")
        if name == "transformers" and count.n_operations < 3 * contestant.batch.shape[1]:
            raise ValueError("transformers did not compute step after step; uninstall its fast path to compare with it")


def measure_memory(name: str, sizes: argparse.Namespace) -> int | None:
    """``Contestant.peak_bytes`` in a new process."""
    flags = [word for key in SIZES for word in (f"--{key.replace('_', '-')}", str(getattr(sizes, key)))]
    command = [sys.executable, __file__, "--memory-of", name, "--device", sizes.device, *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return None if (word := done.stdout.split()[-1]) == "None" else int(word)


def compare(sizes: argparse.Namespace) -> int:
    """Print one line a contestant; 1 if the fastest of ours misses a target, else 0."""
    contestants = {name: Contestant(sizes, build) for name, build in builders(sizes.device).items()}
    check_same(contestants)
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for i in range(sizes.rounds + 2):
        for name, contestant in contestants.items():
            taken = contestant.seconds()
            if i >= 2:  # the first two warm up
                seconds[name].append(taken)
    memory = {name: measure_memory(name, sizes) for name in contestants}
    best, targets = next(iter(contestants)), TARGETS[sizes.device]
    columns = "".join(f"{'time of ' + peer + ' / this':>30} {'memory':>7}" for peer in targets)
    print(f"{'':18} {'ms a step':>9} {'peak MB':>8}{columns}")
    missed = 0
    for name in contestants:
        own = memory[name]
        line = f"{name:18} {1e3 * median(seconds[name]):9.1f} {_number(own and own / 1e6):>8}"
        for peer, (least_faster, least_smaller) in targets.items():
            faster = median(theirs / mine for theirs, mine in zip(seconds[peer], seconds[name], strict=True))
            theirs = memory[peer]
            smaller = theirs / own if theirs and own else None
            line += f"{faster:30.2f} {_number(smaller):>7}"
            missed += name == best and (faster < least_faster or (smaller or least_smaller) < least_smaller)
        print(line, flush=True)
    print("asked of the first:", ", ".join(f"{a:.3g} and {b:.3g} of {peer}" for peer, (a, b) in targets.items()))
    return int(missed > 0)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def main(argv: list[str]) -> int:
    """Compare, or with ``--memory-of`` measure one contestant."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=list(PEERS), default="cpu")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    for name, default in SIZES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default)
    sizes = parser.parse_args(argv)
    torch.set_num_threads(1)
    if sizes.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device; run it where there is one", file=sys.stderr)
        return 3
    try:
        if sizes.memory_of is not None:
            print(Contestant(sizes, builders(sizes.device)[sizes.memory_of]).peak_bytes())
            return 0
        return compare(sizes)
    except ImportError as error:
        packages = "'boundprobe[bench]'" if sizes.device == "cpu" else "'boundprobe[cuda]'"
        print(f"{error}; pip install {packages}", file=sys.stderr)
        return 3


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
