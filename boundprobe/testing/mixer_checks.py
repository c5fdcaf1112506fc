"""The contract of a sequence mixer, with one check for each law: a check yields a line for each problem.

Glossary: B batch, T tokens; a mixer reads x (B, T, d_model) after a state.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import get_args

import torch
from torch import Tensor

from boundprobe.models.memory import Kind, LayerState, StateTensor
from boundprobe.models.mixer import AbstractMixer

BATCH, MEMBERS = 2, 3
#: Largest relative error of bfloat16: some thirty roundings of relative size 2^-9, and room for their growth.
HALF_TOLERANCE = 30 * 2**-9


@dataclass(frozen=True)
class Case:
    """A mixer and its inputs; it is built anew for each check, because one that was called may differ."""

    make: Callable[[], AbstractMixer]
    x: Tensor
    tolerance: float

    def build(self, seed: int = 0) -> AbstractMixer:
        """A mixer that has not been called, its weights fixed by the seed."""
        torch.manual_seed(seed)
        return self.make().eval().to(self.x.device)

    @property
    def other(self) -> Tensor:
        """Other inputs of the same shape."""
        return self.x.flip(0, 1) + 1

    @property
    def n_tokens(self) -> int:
        """T."""
        return self.x.shape[1]

    def differ(self, found: Tensor, expected: Tensor) -> bool:
        """True where two results that should be the same are not."""
        return not torch.allclose(found, expected, atol=self.tolerance, rtol=self.tolerance)

    def states_differ(self, found: LayerState, expected: LayerState) -> str | None:
        """Name of a tensor that differs in shape or value."""
        for tensor, other in zip(found, expected, strict=True):
            if tensor.value.shape != other.value.shape or self.differ(tensor.value, other.value):
                return tensor.name
        return None


@torch.no_grad()
def form(case: Case) -> Iterator[str]:
    """Shapes, types and names of output and state."""
    mixer = case.build()
    if not isinstance(mixer, AbstractMixer):
        yield f"it is a {type(mixer).__name__}, not an AbstractMixer"
        return
    state: LayerState = ()
    for x in (case.x[:, :1], case.x[:, 1:], case.x):
        y, state = mixer(x, state)
        if y.shape != x.shape or y.dtype != x.dtype:
            yield f"the output is {y.dtype} {tuple(y.shape)}, not {x.dtype} {tuple(x.shape)} as the input"
            return
        if not (isinstance(state, tuple) and all(isinstance(tensor, StateTensor) for tensor in state)):
            yield f"the state is a {type(state).__name__}, not a tuple of StateTensor"
            return
        names = tuple(tensor.name for tensor in state)
        if names != mixer.state_names:
            yield f"the state has {names}, state_names says {mixer.state_names}"
            return
        yield from (problem for tensor in state for problem in _tensor_problems(tensor, x))
    shapes, others = ([tuple(t.value.shape) for t in case.build()(x)[1]] for x in (case.x, case.other))
    if shapes != others:
        yield f"the shapes of the state depend on what is read: {shapes} and {others}"


def _tensor_problems(tensor: StateTensor, x: Tensor) -> Iterator[str]:
    if tensor.kind not in get_args(Kind):
        yield f"{tensor.name} is of kind {tensor.kind!r}, not one of {', '.join(get_args(Kind))}"
    if tensor.value.shape[:1] != x.shape[:1]:
        yield f"{tensor.name} has shape {tuple(tensor.value.shape)}, not one row for each of {len(x)} sequences"
    if tensor.value.dtype != x.dtype and tensor.entry_bits is None:
        yield f"{tensor.name} is {tensor.value.dtype}, not {x.dtype} as the input, and has no entry_bits"


@torch.no_grad()
def memory(case: Case) -> Iterator[str]:
    """Nothing is held between calls, and the seed fixes the weights."""
    mixer, again, cut = case.build(), case.build(), case.n_tokens // 2
    first, second = case.x[:, :cut], case.x[:, cut:]
    for (name, value), other in zip(mixer.state_dict().items(), again.state_dict().values(), strict=True):
        if not torch.equal(value, other):
            yield f"{name} is not fixed by the seed of torch"
    y, state = mixer(first)
    before = [tensor.value.clone() for tensor in state]
    expected, _ = mixer(second, state)
    if any(not torch.equal(tensor.value, value) for tensor, value in zip(state, before, strict=True)):
        yield "forward changes the state that it is given"
    mixer(case.other)
    if case.differ(mixer(first)[0], y):
        yield "the same inputs read again give another output: it holds something between calls"
    again(case.other)  # a copy with another past continues from the same state
    given = tuple(replace(tensor, value=value) for tensor, value in zip(state, before, strict=True))
    if case.differ(again(second, given)[0], expected):
        yield "a copy of the mixer goes on otherwise from the same state: it holds something outside its state"
    swapped = tuple(replace(tensor, value=value.flip(0)) for tensor, value in zip(state, before, strict=True))
    if case.differ(again(second.flip(0), swapped)[0], expected.flip(0)):
        yield "sequences in another order, with their states, give other outputs"


@torch.no_grad()
def causality(case: Case) -> Iterator[str]:
    """No sequence hears of another, no token of a later one."""
    y, _ = case.build()(case.x)
    for row in range(BATCH):
        if case.differ(case.build()(case.x[row : row + 1])[0], y[row : row + 1]):
            yield f"sequence {row} of {BATCH} hears of the others"
    for changed in range(1, case.n_tokens):
        x = torch.cat([case.x[:, :changed], case.other[:, changed:]], dim=1)
        if case.differ(case.build()(x)[0][:, :changed], y[:, :changed]):
            yield f"the outputs of the first {changed} tokens hear of later ones"
            return


@torch.no_grad()
def pieces(case: Case) -> Iterator[str]:
    """Reading in pieces, at every cut and token by token, is reading whole."""
    whole, last = case.build()(case.x)
    cuts = [(cut,) for cut in range(1, case.n_tokens)]
    for places in (*cuts, tuple(range(1, case.n_tokens))):
        mixer, state, outputs = case.build(), (), []
        for start, stop in zip((0, *places), (*places, case.n_tokens), strict=True):
            y, state = mixer(case.x[:, start:stop], state)
            outputs.append(y)
        how = f"in two pieces, the first of {places[0]} tokens," if len(places) == 1 else "token by token"
        if case.differ(torch.cat(outputs, dim=1), whole):
            yield f"reading {how} gives other outputs than reading whole: the state forgets something"
            return
        if (name := case.states_differ(state, last)) is not None:
            yield f"reading {how} ends in another {name} than reading whole"
            return


def gradients(case: Case) -> Iterator[str]:
    """Every parameter gets one, and so does the first piece, through the state."""
    mixer, cut = case.build(), case.n_tokens // 2
    mixer(case.x)[0].sin().sum().backward()
    for name, parameter in mixer.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter.grad is None or not parameter.grad.abs().max() > 0:
            yield f"{name} gets no gradient"
        elif not parameter.grad.isfinite().all():
            yield f"the gradient of {name} is not finite"
    first, whole = (x.clone().requires_grad_() for x in (case.x[:, :cut], case.x))
    y, _ = mixer(case.x[:, cut:], mixer(first)[1])
    (found,) = torch.autograd.grad(y.sin().sum(), first, materialize_grads=True)
    (expected,) = torch.autograd.grad(mixer(whole)[0][:, cut:].sin().sum(), whole)
    if not torch.allclose(found, expected[:, :cut], atol=10 * case.tolerance, rtol=1e-3):
        yield "the gradient through the state is not that of reading whole"


@torch.no_grad()
def weights(case: Case) -> Iterator[str]:
    """They are random, and all of them are in ``state_dict``."""
    mixer, other = case.build(seed=0), case.build(seed=1)
    y, _ = mixer(case.x)
    if not case.differ(other(case.x)[0], y):
        yield "two seeds give the same outputs: its weights are not random, or not used"
    other.load_state_dict(mixer.state_dict())
    if case.differ(other(case.x)[0], y):
        yield "another mixer with its weights gives other outputs: something is missing from state_dict"


@torch.no_grad()
def precision(case: Case) -> Iterator[str]:
    """float64 and bfloat16 work, and give their type to the state."""
    for dtype, most in ((torch.float64, 1e-3), (torch.bfloat16, HALF_TOLERANCE)):
        mixer, x = case.build().to(dtype), case.x.to(dtype)
        cut = case.n_tokens // 2
        _, state = mixer(x[:, :cut])
        y, state = mixer(x[:, cut:], state)
        types = {"the output": y.dtype} | {t.name: t.value.dtype for t in state if t.entry_bits is None}
        wrong = [f"{name} is {found}" for name, found in types.items() if found != dtype]
        if wrong:
            yield f"in {dtype} {', '.join(wrong)}"
            continue
        expected = mixer.float()(x.float())[0][:, cut:]  # of the same rounded weights and inputs
        error = float((y.float() - expected).norm() / expected.norm())
        if not error <= most:
            yield f"in {dtype} the output is off by {error:.2g} of its size, more than {most:.2g}"


def ensembles(case: Case) -> Iterator[str]:
    """``torch.func.vmap`` over stacked mixers gives the output and gradients of each."""
    members = [case.build(seed) for seed in range(MEMBERS)]
    parameters, buffers = torch.func.stack_module_state(list(members))
    template = copy.deepcopy(members[0])

    def loss(own: dict[str, Tensor], kept: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        y, _ = torch.func.functional_call(template, (own, kept), (case.x,))
        return y.sin().sum(), y

    values = {name: value.detach() for name, value in parameters.items()}
    gradients, outputs = torch.func.vmap(torch.func.grad(loss, has_aux=True))(values, buffers)
    for i, member in enumerate(members):
        y, _ = member(case.x)
        if case.differ(outputs[i], y):
            yield f"member {i} of a stack under vmap gives another output than alone"
        expected = torch.autograd.grad(y.sin().sum(), list(member.parameters()), allow_unused=True)
        for (name, _), gradient in zip(member.named_parameters(), expected, strict=True):
            if gradient is None:
                continue
            size = max(1.0, float(gradient.abs().max()))
            gap = float((gradients[name][i] - gradient).abs().max()) / size
            if math.isnan(gap) or gap > 100 * case.tolerance:
                yield f"member {i} of a stack under vmap gives {name} another gradient than alone"


Check = Callable[[Case], Iterator[str]]

#: What is checked of a mixer whose form is right.
CHECKS: tuple[Check, ...] = (memory, causality, pieces, gradients, weights, precision, ensembles)
