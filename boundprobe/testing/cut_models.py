"""Check a model that answers across a cut against its contract (``boundprobe.CutModel``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import cast, get_args

import torch
from torch import Tensor

from boundprobe.checks import check_integer, check_number
from boundprobe.models.cut_model import CutModel, check_members
from boundprobe.models.memory import CutState, Kind
from boundprobe.testing.problems import problems_of


@dataclass(frozen=True)
class _Case:
    model: CutModel
    tokens: Tensor
    cuts: tuple[int, ...]
    tolerance: float

    def fresh(self) -> _Case:
        """The case with tokens of its own: a model may write into those that it is given."""
        return replace(self, tokens=self.tokens.clone())

    def differ(self, found: Tensor, expected: Tensor) -> bool:
        """True where two results that should be the same are not."""
        return not torch.allclose(found.float(), expected.float(), atol=self.tolerance, rtol=self.tolerance)

    def whole(self) -> Tensor:
        """Logits after the first token, from one cut behind it."""
        return self.model.answer(self.model.prefill(self.tokens[:, :1]), self.tokens[:, 1:])


@torch.no_grad()
def check_cut_model(
    model: CutModel, tokens: Tensor, *, cuts: Sequence[int] | None = None, tolerance: float = 1e-4
) -> None:
    """Hold a model that answers across a cut against its contract.

    Parameters
    ----------
    model : CutModel
        In evaluation mode.
    tokens : Tensor (B, T), int64
        Token ids that it reads: at least three sequences, no two alike, of at least three tokens.
    cuts : sequence of int, in tokens, optional
        Lengths of the prefixes that are tried, 1 to T - 1; a short one, a long one and one between if not given.
    tolerance : float
        By how much logits may differ that should be the same, absolutely and relatively.

    Raises
    ------
    AssertionError
        Lists everything that is wrong, in one line.

    Notes
    -----
    What is checked: the state is a ``CutState`` with a row for each sequence, finite, of kinds that are known, and its
    size does not depend on what was read; logits are (B, Q, vocab_size); answers after every cut are those after the
    first token, at once or token by token, so that prefix and suffix may be divided anywhere; a state that is asked
    again answers the same, whatever was read between; given to another sequence, in another batch, it takes its
    answers along; another state gives other logits; a sequence alone is one among others; the entries of a state in
    tensors of their own give the same; and no output depends on a token that ``receptive_field`` says is out of
    reach.

    Examples
    --------
    >>> import torch
    >>> from boundprobe.models import ModelSpec, SequenceModel
    >>> model = SequenceModel(ModelSpec("mamba-attn", d_model=8, window=4, d_state=2), vocab_size=5).eval()
    >>> check_cut_model(model, torch.randint(5, (4, 9), generator=torch.Generator().manual_seed(0)))
    """
    check_members(model)
    check_number("tolerance", tolerance, above=0)
    if tokens.ndim != 2 or tokens.is_floating_point() or len(tokens) < 3 or tokens.shape[1] < 3:
        raise ValueError(f"`tokens` must be integers (B, T), both at least 3; got shape {tuple(tokens.shape)}.")
    if len(torch.unique(tokens[:, :-1], dim=0)) < len(tokens):
        raise ValueError(f"`tokens` must be {len(tokens)} sequences, no two alike; got some that are.")
    length = tokens.shape[1]
    chosen = sorted({1, length // 2, length - 1}) if cuts is None else cuts
    for cut in chosen:
        check_integer("cut", cut, 1, length - 1)
    case = _Case(model, tokens, tuple(chosen), tolerance)
    # Where the form is wrong, everything else would be.
    wrong = problems_of(form, case.fresh()) or [each for check in CHECKS for each in problems_of(check, case.fresh())]
    if wrong:
        raise AssertionError(f"the model breaks its contract: {'; '.join(wrong)}")


def form(case: _Case) -> Iterator[str]:
    """The state is a ``CutState`` with a finite row for each sequence, and logits have their shape."""
    n_sequences = len(case.tokens)
    for cut in case.cuts:
        state = case.model.prefill(case.tokens[:, :cut])
        if not isinstance(state, CutState):
            yield f"prefill must return a CutState; got {type(state).__name__}"
            return
        names = [(i, tensor.name) for i, layer in enumerate(state.layers) for tensor in layer]
        if len(set(names)) < len(names):
            yield f"tensors of a layer must have names of their own; got {names}"
        for layer in state.layers:
            for tensor in layer:
                if tensor.kind not in get_args(cast(type, Kind)):
                    yield f"kinds must be {', '.join(get_args(cast(type, Kind)))}; got {tensor.kind!r}"
                if tensor.value.ndim < 1 or tensor.value.shape[0] != n_sequences:
                    yield f"{tensor.name} must have a row for each of {n_sequences} sequences; got {tensor.value.shape}"
                elif not bool(torch.isfinite(tensor.value.float()).all()):
                    yield f"{tensor.name} must be finite after {cut} tokens"
        logits = case.model.answer(state, case.tokens[:, cut:])
        expected = (n_sequences, case.tokens.shape[1] - cut)
        if logits.ndim != 3 or logits.shape[:2] != expected:
            yield f"answer must return logits {(*expected, 'vocab_size')} after {cut} tokens; got {tuple(logits.shape)}"


def any_cut(case: _Case) -> Iterator[str]:
    """Prefix and suffix may be divided anywhere."""
    whole = case.whole()
    for cut in case.cuts:
        logits = case.model.answer(case.model.prefill(case.tokens[:, :cut]), case.tokens[:, cut:])
        if case.differ(logits, whole[:, cut - 1 :]):
            worst = float((logits - whole[:, cut - 1 :]).abs().max())
            yield f"answers after a cut at {cut} are not those of the whole pass; they differ by up to {worst:.2g}"


def token_by_token(case: _Case) -> Iterator[str]:
    """One token at a time is all at once."""
    whole, length = case.whole(), case.tokens.shape[1]
    for before, at in pairwise(range(max(1, length - 4), length)):
        logits = case.model.answer(case.model.prefill(case.tokens[:, :at]), case.tokens[:, at : at + 1])
        if case.differ(logits[:, 0], whole[:, at - 1]):
            yield f"the token after {at}, read by itself, has other logits than after {before} and more at once"


def swapped(case: _Case) -> Iterator[str]:
    """A state that is given to another sequence of another batch takes the answers along."""
    n_sequences = len(case.tokens)
    turned = torch.roll(torch.arange(n_sequences - 1), 1).to(case.tokens.device)
    for cut in case.cuts:
        state, suffix = case.model.prefill(case.tokens[:, :cut]), case.tokens[:1, cut:].expand(n_sequences, -1)
        here = case.model.answer(state, suffix)
        case.model.prefill(case.tokens.flip(0)[:, :cut])  # whatever the model remembers of its last call is another's
        again = case.model.answer(state.map(torch.clone), suffix)
        if case.differ(again, here):
            yield f"a state after {cut} tokens answers otherwise when it is asked again"
        few = state.map(lambda value: value[turned].clone())
        there = case.model.answer(few, suffix[: len(turned)])
        if case.differ(there, here[turned]):
            yield f"a state after {cut} tokens that is given to another sequence does not take its answers along"


def used(case: _Case) -> Iterator[str]:
    """Answers come from the state: another one gives others."""
    cut = case.cuts[-1]
    state, suffix = case.model.prefill(case.tokens[:, :cut]), case.tokens[:1, cut:].expand(len(case.tokens), -1)
    if not sum(tensor.value[0].numel() for layer in state.layers for tensor in layer):
        return  # a model without a state has the same answers for all
    logits = case.model.answer(state, suffix)
    if not bool((logits != logits[:1]).any()):
        yield f"the states of {len(case.tokens)} different prefixes of {cut} tokens all give the same logits"


def alone(case: _Case) -> Iterator[str]:
    """A batch of one is one of many, and no sequence hears of another."""
    cut = case.cuts[-1]
    logits = case.model.answer(case.model.prefill(case.tokens[:, :cut]), case.tokens[:, cut:])
    for i, row in enumerate(case.tokens):
        one = case.model.answer(case.model.prefill(row[None, :cut]), row[None, cut:])
        if case.differ(one[0], logits[i]):
            yield f"sequence {i} read alone has other logits than in a batch of {len(case.tokens)}"
            return


def reach(case: _Case) -> Iterator[str]:
    """No output depends on a token that is out of the receptive field."""
    seen, length = case.model.receptive_field, case.tokens.shape[1]
    if seen is None or seen >= length:
        return
    other = case.tokens.clone()
    other[:, : length - seen] = case.tokens.roll(1, 0)[:, : length - seen]
    last = [case.model.answer(case.model.prefill(tokens[:, :-1]), tokens[:, -1:]) for tokens in (case.tokens, other)]
    if case.differ(*last):
        yield f"the last output depends on tokens before the last {seen}, its receptive_field"


def sizes(case: _Case) -> Iterator[str]:
    """Bits are those of the tensors, whatever is in them; a state is saved and read as its entries."""
    cut = case.cuts[-1]
    state = case.model.prefill(case.tokens[:, :cut])
    if case.model.prefill(case.tokens.flip(0)[:, :cut]).bits() != state.bits():
        yield f"the size of a state depends on the {cut} tokens that were read"
    logits = case.model.answer(state, case.tokens[:, cut:])
    for layer in state.layers:
        for tensor in layer:
            if tensor.entry_bits is not None and tensor.value.is_floating_point():
                yield f"{tensor.name} is said to take {tensor.entry_bits} bits an entry, but is of {tensor.value.dtype}"
    if case.differ(case.model.answer(state.unflatten(state.flatten()), case.tokens[:, cut:]), logits):
        yield "the entries of a state in tensors of their own give other logits"


Check = Callable[[_Case], Iterator[str]]
CHECKS: tuple[Check, ...] = (any_cut, token_by_token, swapped, used, alone, reach, sizes)
