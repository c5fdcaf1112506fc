"""Codes of few bits: deterministic annealing beside straight-through gradients, same model, same states, one run.

    python benchmarks/bottleneck.py [--task ar-decoding|selective-copying] [--bits 1,2,3,4,6,8]

Both map the frozen model's state at the cut to so many bits; accuracy on 4,000 fresh sequences, seconds of training,
the line that anyone can build, and the ceiling S3.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from boundprobe import seeds
from boundprobe.bottleneck import BottleneckConfig, train_bottleneck
from boundprobe.bounds import packing_accuracy_ceiling, store_some_accuracy
from boundprobe.models import CutModel, CutState, SequenceModel, StateTensor
from boundprobe.probes import states_at_cut, wrong_answers
from boundprobe.tasks import AbstractTask
from boundprobe.training import TrainConfig, load_models, train

N_STATES, N_SEQUENCES, HIDDEN = 8192, 4000, 128
#: Task, model and schedule of each; those of ``boundprobe demo``.
SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "ar-decoding": {
        "task": {"word_bits": 3, "seq_len": 22},
        "model": {"d_model": 16, "window": 10, "d_state": 8, "mlp_ratio": 2},
        "train": {"steps": 1500, "batch": 64, "weight_decay": 0.01},
    },
    "selective-copying": {
        "task": {"n_numbers": 4, "n_letters": 4, "seq_len": 24},
        "model": {"d_model": 16, "window": 5, "d_state": 4, "mlp_ratio": 2},
        "train": {"steps": 800, "batch": 32, "weight_decay": 0.01},
    },
}


class StraightThrough(nn.Module):
    """The usual bottleneck: an MLP to so many signs, the gradient of tanh in their place, an MLP back."""

    def __init__(self, model: SequenceModel, n_bits: int, state: CutState) -> None:
        super().__init__()
        entries = state.flatten()
        self.model, self.template = model, state.map(lambda value: value[:1])
        self.mean, self.scale = entries.mean(0), entries.std(0)

        def mlp(n_in: int, n_out: int) -> nn.Module:
            return nn.Sequential(
                nn.Linear(n_in, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, n_out)
            )

        self.encoder, self.decoder = mlp(entries.shape[1], n_bits), mlp(n_bits, entries.shape[1])

    def signs(self, entries: Tensor) -> Tensor:
        """Codes (B, n_bits) of -1 and 1; backwards they are tanh."""
        soft = torch.tanh(self.encoder((entries - self.mean) / self.scale.clamp_min(1e-3)))
        return soft + (torch.where(soft > 0, 1.0, -1.0) - soft).detach()

    def prefill(self, prefix: Tensor) -> CutState:
        """Signs of the state after prefixes (B, P)."""
        signs = self.signs(self.model.prefill(prefix).flatten())
        return CutState(((StateTensor("signs", "recurrent", signs, 1),),))

    def answer(self, state: CutState, suffix: Tensor) -> Tensor:
        """Logits (B, Q, vocab_size) from the signs alone."""
        entries = self.mean + self.scale * self.decoder(state.layers[0][0].value)
        full = self.template.map(lambda value: value.expand(len(entries), *value.shape[1:])).unflatten(entries)
        return self.model.answer(full, suffix)


def train_straight_through(model: SequenceModel, task: AbstractTask, n_bits: int, steps: int) -> StraightThrough:
    """Cross-entropy of all answers, Adam, the rate falling linearly in the second half."""
    cut = task.sample_cut(N_STATES, seeds.generator(0, "bottleneck", 99))
    queries, answers = torch.from_numpy(cut.queries), torch.from_numpy(cut.answers)
    torch.manual_seed(n_bits)
    with torch.no_grad():
        state = model.prefill(torch.from_numpy(cut.prefix))
    machine = StraightThrough(model, n_bits, state)
    parameters = [*machine.encoder.parameters(), *machine.decoder.parameters()]
    adam = torch.optim.Adam(parameters, lr=0.003)
    decay = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: min(1.0, 2 * (1 - step / steps)))
    entries, n = state.flatten(), len(queries)
    for _ in range(steps):
        rows = torch.randint(N_STATES, (128,))
        code = CutState(((StateTensor("signs", "recurrent", machine.signs(entries[rows]).repeat_interleave(n, 0)),),))
        logits = machine.answer(code, queries.repeat(len(rows), 1))[:, -1]
        loss = F.cross_entropy(logits, answers[rows].flatten())
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = gradient
        adam.step()
        decay.step()
    return machine.eval()


def main() -> None:
    """Train both at every size and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="ar-decoding", choices=sorted(SETTINGS))
    parser.add_argument("--bits", default="1,2,3,4,5,6,8")
    parser.add_argument("--steps", type=int, default=400, help="of annealing; thrice for straight-through")
    args = parser.parse_args()
    torch.set_num_threads(1)
    setting = SETTINGS[args.task]
    parts = {"task": {"name": args.task, **setting["task"]}, "model": setting["model"] | {"architecture": "mamba-attn"}}
    config = TrainConfig.from_dict(parts | {"train": setting["train"] | {"learning_rates": [0.01]}, "seed": 0})
    with tempfile.TemporaryDirectory() as directory:
        (model,) = load_models(train(config, Path(directory)))
    task, case = config.task, config.task.state_case()
    cut = task.sample_cut(N_SEQUENCES, seeds.generator(0, "evaluation", 4))
    whole = 1 - wrong_answers(model, states_at_cut(model, cut.prefix), cut).mean()
    print(f"{task.name}, {case.entropy_bits:g} bits for no error; accuracy with the whole state {whole:.4f}")
    print("bits  store some  straight-through  seconds  annealed  seconds  ceiling S3")
    for bits in map(int, args.bits.split(",")):
        methods: tuple[Callable[[], CutModel], ...] = (
            partial(train_straight_through, model, task, bits, 3 * args.steps),
            partial(train_bottleneck, model, task, BottleneckConfig(1, bits, steps=args.steps), 0),
        )
        shown = ""
        for method in methods:
            started = time.perf_counter()
            machine = method()
            seconds = time.perf_counter() - started
            accuracy = 1 - np.mean(wrong_answers(machine, states_at_cut(machine, cut.prefix), cut))
            shown += f"  {accuracy:{8 if shown else 16}.4f}  {seconds:7.1f}"
        floor = store_some_accuracy(bits, case.n_answers, case.n_values)
        ceiling = packing_accuracy_ceiling(bits, case.n_answers, case.n_values)
        print(f"{bits:4d}  {floor:10.4f}{shown}  {ceiling:10.4f}", flush=True)


if __name__ == "__main__":
    main()
