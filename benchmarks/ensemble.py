"""Many tiny models at once: members times steps per second of an ensemble, beside the same models one after another.

    python benchmarks/ensemble.py                    # two CPU cores, the paper's setting
    python benchmarks/ensemble.py --device cuda      # 99 members beside mamba-ssm, one after another

Every contestant trains `mamba-attn` models (d_model 12, window 11, 100 tokens, batch 8) on random tokens: forward,
backward, clipping, AdamW.  All run for the same time, in turns, so that ratios of one round are of one state of the
machine; printed are medians over rounds.  The sequential contestants are what one would otherwise write: a module,
torch's clipping, its fused AdamW.  Exit code 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from boundprobe.models import ModelSpec, SequenceModel
from boundprobe.tasks import SelectiveCopying
from boundprobe.training import (
    ActiveMember,
    Ensemble,
    Member,
    ProcessGroup,
    Replayer,
    Schedule,
    Stepper,
    TrainConfig,
    build_model,
    keep_freed_memory,
)

TASK = SelectiveCopying()  # 36 token ids, 100 tokens
CONFIG = TrainConfig(TASK, ModelSpec("mamba-attn", d_model=12, window=11), Schedule(batch=8))
N_BATCHES = 8  # drawn before the clock starts

Step = Callable[[], None]
#: Name of a contestant: processes, threads of each, members of each, and how a step is made.
Contestants = dict[str, tuple[int, int, int, Callable[[int, str], Step]]]


def data(n_members: int, device: str) -> list[Tensor]:
    """Batches (M, B, T) of random tokens."""
    rng = torch.Generator().manual_seed(0)
    size = (n_members, CONFIG.schedule.batch, TASK.n_positions)
    return [torch.randint(TASK.n_token_ids, size, generator=rng).to(device) for _ in range(N_BATCHES)]


def pairs_of(n_members: int) -> list[ActiveMember]:
    """Members that differ in their seed."""
    return [ActiveMember(CONFIG, Member("report", 1e-3, i)) for i in range(n_members)]


def ensemble_step(n_members: int, device: str) -> Step:
    """One step of all members side by side."""
    pairs = pairs_of(n_members)
    replayer = Replayer(Stepper(Ensemble.of([build_model(*pair).to(device) for pair in pairs]), pairs, ProcessGroup()))
    numbers = replayer.stepper.scalars_of(0, CONFIG.schedule.steps)
    batches, count = data(n_members, device), iter(range(10**9))

    def step() -> None:
        i = next(count)
        tokens = batches[i % N_BATCHES]
        replayer.step(tokens, tokens, numbers[i % len(numbers)])

    return step


def loop_step(models: list[nn.Module], logits: Callable[[nn.Module, Tensor], Tensor], device: str) -> Step:
    """One step of each of some modules, one after the other."""
    optimizers = [torch.optim.AdamW(m.parameters(), lr=1e-3, weight_decay=0.1, fused=True) for m in models]
    batches, count = data(len(models), device), iter(range(10**9))

    def step() -> None:
        batch = batches[next(count) % N_BATCHES]
        for model, optimizer, tokens in zip(models, optimizers, batch, strict=True):
            F.cross_entropy(logits(model, tokens).flatten(0, 1), tokens.flatten()).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return step


def own_step(n_members: int, device: str) -> Step:
    """boundprobe's models in a plain loop."""
    models: list[nn.Module] = [build_model(*pair).to(device) for pair in pairs_of(n_members)]
    return loop_step(models, lambda model, tokens: model(tokens), device)


def transformers_step(n_members: int, device: str) -> Step:
    """transformers' Mamba layer (with mambapy's scan) and its GPT-NeoX layer, as the paper's models are built."""
    return loop_step([TransformersHybrid().to(device) for _ in range(n_members)], lambda m, tokens: m(tokens), device)


class TransformersHybrid(nn.Module):
    """Mamba, then GPT-NeoX, of our sizes; attention over all 100 tokens, because it has no window."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, MambaConfig, MambaForCausalLM, logging

        logging.set_verbosity_error()
        spec = CONFIG.model
        mamba = MambaForCausalLM(
            MambaConfig(
                vocab_size=TASK.n_token_ids, hidden_size=spec.d_model, state_size=spec.d_state, num_hidden_layers=1,
                use_cache=False, use_mambapy=True, tie_word_embeddings=False,
            )
        )  # fmt: skip
        self.embedding, self.mamba = mamba.backbone.embeddings, mamba.backbone.layers[0]
        self.attention = GPTNeoXForCausalLM(
            GPTNeoXConfig(
                vocab_size=TASK.n_token_ids, hidden_size=spec.d_model, num_hidden_layers=1, num_attention_heads=1,
                intermediate_size=spec.mlp_ratio * spec.d_model, use_cache=False,
            )
        )  # fmt: skip

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T) -> (B, T, vocab_size)."""
        x = self.mamba(self.embedding(tokens))
        logits: Tensor = self.attention(inputs_embeds=x, use_cache=False).logits
        return logits


def mamba_ssm_step(n_members: int, device: str) -> Step:
    """mamba-ssm's fused block in place of our Mamba layer."""
    from mamba_ssm.modules.mamba_simple import Mamba

    def build(pair: tuple[TrainConfig, Member]) -> SequenceModel:
        model = build_model(*pair)
        spec = CONFIG.model
        theirs = Mamba(spec.d_model, d_state=spec.d_state, d_conv=spec.d_conv, expand=spec.expand)
        branch = model.layers[0].branches[0]
        branch.mixer = _WithoutState(theirs)
        return model.to(device)

    return loop_step([build(pair) for pair in pairs_of(n_members)], lambda model, tokens: model(tokens), device)


class _WithoutState(nn.Module):
    """A layer in the place of a mixer; hands out no state."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, state: object = ()) -> tuple[Tensor, tuple[()]]:
        """(B, T, d_model) -> (B, T, d_model) and nothing."""
        return self.layer(x), ()


CONTESTANTS: dict[str, Contestants] = {
    "cpu": {
        "ensemble, 2 processes of 8": (2, 1, 8, ensemble_step),
        "ensemble of 16, 1 thread": (1, 1, 16, ensemble_step),
        "ensemble of 16, 2 threads": (1, 2, 16, ensemble_step),
        "ensemble of 1, 1 thread": (1, 1, 1, ensemble_step),
        "own loop, 1 thread": (1, 1, 16, own_step),
        "own loop, 2 threads": (1, 2, 16, own_step),
        "transformers, mambapy, 1 thread": (1, 1, 16, transformers_step),
        "transformers, mambapy, 2 threads": (1, 2, 16, transformers_step),
    },
    "cuda": {
        "ensemble of 99": (1, 1, 99, ensemble_step),
        "own loop": (1, 1, 99, own_step),
        "mamba-ssm": (1, 1, 99, mamba_ssm_step),
    },
}
#: First of a family of contestants: the best of the family is compared; and how many times faster the ensemble must be.
TARGETS = {"cpu": {"own loop": 4, "transformers": 20}, "cuda": {"mamba-ssm": 30}}


def work(name: str, device: str, seconds: float) -> None:
    """Be one process of a contestant: warm up, say so, wait for the word, and print steps of members per second."""
    _, n_threads, n_members, make = CONTESTANTS[device][name]
    torch.set_num_threads(n_threads)
    keep_freed_memory()
    step = make(n_members, device)
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    for _ in range(3):
        step()
    wait()
    print("ready", flush=True)
    for _ in sys.stdin:
        started, n_steps = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            step()
            n_steps += 1
        wait()
        print(n_members * n_steps / (time.perf_counter() - started), flush=True)


class Contestant:
    """The processes of one contestant, idle until they are told to go."""

    def __init__(self, name: str, device: str, seconds: float) -> None:
        command = [sys.executable, __file__, "--work", name, "--device", device, "--seconds", str(seconds)]
        environment = os.environ | {"OMP_NUM_THREADS": str(CONTESTANTS[device][name][1])}
        self.processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
            for _ in range(CONTESTANTS[device][name][0])
        ]
        for process in self.processes:
            if self._line(process) != "ready":
                raise RuntimeError(f"{name} does not run here")

    @staticmethod
    def _line(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline().strip()

    def rate(self) -> float:
        """Steps of members per second, all processes together."""
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return sum(float(self._line(process)) for process in self.processes)

    def end(self) -> None:
        """Close it."""
        for process in self.processes:
            process.kill()
            process.wait()


def compare(device: str, seconds: float, rounds: int) -> int:
    """Print one line a contestant, and the ratios that are asked for; 1 if one is missed."""
    contestants: dict[str, Contestant] = {}
    try:
        for name in CONTESTANTS[device]:
            contestants[name] = Contestant(name, device, seconds)
        rates: dict[str, list[float]] = {name: [] for name in contestants}
        for _ in range(rounds):
            for name, contestant in contestants.items():
                rates[name].append(contestant.rate())
    finally:
        for contestant in contestants.values():
            contestant.end()
    best = median_best(rates, "ensemble")
    print(f"{'':34} {'members x steps / s':>20} {'best ensemble / this':>21}")
    for name, found in rates.items():
        ratio = median(a / b for a, b in zip(rates[best], found, strict=True))
        print(f"{name:34} {median(found):20.0f} {ratio:21.2f}")
    missed = 0
    for family, target in TARGETS[device].items():
        peer = median_best(rates, family)
        ratio = median(a / b for a, b in zip(rates[best], rates[peer], strict=True))
        print(f"{best} over {peer}: {ratio:.1f} (asked: {target})")
        missed += ratio < target
    return int(missed > 0)


def median_best(rates: dict[str, list[float]], family: str) -> str:
    """The contestant of a family with the best median."""
    return max((name for name in rates if name.startswith(family)), key=lambda name: median(rates[name]))


def main(argv: list[str]) -> int:
    """Compare, or with ``--work`` be one of the processes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=list(CONTESTANTS), default="cpu")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each contestant in each round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device; run it where there is one", file=sys.stderr)
        return 3
    if arguments.work is not None:
        work(arguments.work, arguments.device, arguments.seconds)
        return 0
    return compare(arguments.device, arguments.seconds, arguments.rounds)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
