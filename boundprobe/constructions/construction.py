"""A model whose weights are written down, with what is claimed of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from boundprobe.bounds.report.verdict import Witness
from boundprobe.checks import check_word
from boundprobe.constructions.compiler import compile_program
from boundprobe.constructions.score_margins import check_fit
from boundprobe.constructions.sizes import CodedBits
from boundprobe.constructions.theorems import theorem_of, witnesses
from boundprobe.models.sizes import NominalBits, nominal_bits
from boundprobe.models.spec import ModelSpec
from boundprobe.models.stack import SequenceModel
from boundprobe.tasks.base import AbstractTask


@dataclass(frozen=True)
class Construction:
    """A constructed model and the theorem behind it.

    Attributes
    ----------
    task : AbstractTask
    model : SequenceModel
        The same modules that are trained, in evaluation mode.
    theorem : str
    claims : tuple of str
        Where it is right, in words; ``in_reach`` says it of inputs, docs/theory/constructions.md proves it.
    """

    task: AbstractTask
    model: SequenceModel
    theorem: str
    claims: tuple[str, ...]

    @property
    def spec(self) -> ModelSpec:
        """Sizes of the model."""
        return self.model.spec

    @property
    def n_params(self) -> int:
        """Number of parameters, those that are 0 included."""
        return self.model.n_params

    @property
    def n_nonzero(self) -> int:
        """Number of parameters that are not 0."""
        return sum(int((parameter != 0).sum()) for parameter in self.model.parameters())

    @property
    def nominal(self) -> NominalBits:
        """Bits of the state at the cut of the state-hard case, by kind: entries times 32."""
        prefix_len = self.task.n_positions - theorem_of(self.task).query_len(self.task)
        return nominal_bits(self.spec, prefix_len)

    @property
    def coded(self) -> CodedBits:
        """Bits of the same state when each entry is written with as few bits as tell its values apart."""
        theorem = theorem_of(self.task)
        return theorem.coded_bits(self.task, self.spec, theorem.n_cached(self.task, self.spec))

    def in_reach(self, tokens: np.ndarray) -> np.ndarray:
        """Positions at which it must be right: int64 (n, T) -> bool (n, T); arbitrary where no answer is defined."""
        return theorem_of(self.task).reach(self.task, self.spec, tokens)

    def witnesses(self) -> tuple[Witness, ...]:
        """The facts that it proves about models of its sizes, for ``bounds.verdict.model_verdicts``."""
        return witnesses(self.task, self.spec)


def construct(
    task: AbstractTask,
    *,
    position: str | None = None,
    n_layers: int | None = None,
    window: int | None = None,
    backend: str = "auto",
) -> Construction:
    """Build the smallest model that answers a task, by the theorem that says how.

    Parameters
    ----------
    task : SelectiveCopying or AssociativeRecallDecoding
    position : "learned" | "rope", or None
        Position encoding of the attention layers; None for ``learned``.  Associative recall has no other.
    n_layers : int or None
        None for 2.  Associative recall can be had in 3 layers too, as in the paper.
    window : int or None, in tokens
        None for the smallest that makes it right on every input of the task's length.  Associative recall may have
        less; it is then right where ``Construction.in_reach`` says so.
    backend : str
        Backend of the recurrences.

    Returns
    -------
    Construction

    Raises
    ------
    ValueError
        If no theorem constructs a model for the task, or not with that position encoding, depth or window.

    References
    ----------
    Cooper, Diakonikolas, Ma, Sala 2026 (arXiv 2603.08859), Theorems 4.3 and 4.6; docs/theory/constructions.md.

    Examples
    --------
    >>> import torch
    >>> from boundprobe.tasks import SelectiveCopying
    >>> built = construct(SelectiveCopying(n_numbers=2, n_letters=3, seq_len=5))
    >>> built.spec.architecture, built.spec.d_model, built.spec.window
    ('mamba-attn', 6, 3)

    Tokens 0 and 1 are the numbers 1 and 2, the others letters; after "a b 2 c 1" each number asks for a token:

    >>> built.model(torch.tensor([[2, 3, 1, 4, 0]])).argmax(-1)[0, 2:].tolist()
    [2, 3, 4]
    """
    theorem = theorem_of(task)
    encoding = theorem.positions[0] if position is None else position
    check_word("position", encoding, theorem.positions, of=f" of {theorem.name}")
    depth = theorem.depths[0] if n_layers is None else n_layers
    if depth not in theorem.depths:
        allowed = " or ".join(str(number) for number in theorem.depths)
        raise ValueError(f"`n_layers` must be {allowed} for {task.name}; got {depth!r}.")
    return construct_in(task, theorem.smallest_spec(task, encoding, depth, window), backend=backend)


def construct_in(task: AbstractTask, spec: ModelSpec, *, backend: str = "auto") -> Construction:
    """The same in given sizes, which may be larger than needed.

    Raises
    ------
    ValueError
        If the construction does not fit into them.

    Examples
    --------
    >>> from boundprobe.tasks import SelectiveCopying
    >>> spec = ModelSpec("mamba-attn", d_model=16, window=20, position="learned", norm="none", d_state=4)
    >>> construct_in(SelectiveCopying(), spec).claims
    ('right at every position that has an answer, on every input of any length',)
    """
    theorem = theorem_of(task)
    program = theorem.program(task, spec)
    check_fit(program)
    return Construction(task, compile_program(program, backend), theorem.name, theorem.claims(task, spec))
