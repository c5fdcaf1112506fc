"""Checking a construction against the task's own answers: every input of a small case, many of a large one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from boundprobe.checks import check_integer
from boundprobe.constructions.construction import Construction, construct
from boundprobe.constructions.inputs import Family, every_sequence, families
from boundprobe.constructions.theorems import theorem_of
from boundprobe.models.stack import SequenceModel
from boundprobe.seeds import generator
from boundprobe.tasks.base import IGNORE, AbstractTask, row_blocks

#: Scores of attention that are computed at a time: more do not stay in cache.
BLOCK = 2**20
#: Sequences that are drawn at a time.
DRAWN = 4096


@dataclass(frozen=True)
class Counterexample:
    """An input that a model gets wrong.

    Attributes
    ----------
    tokens : tuple of int
        Up to the position whose answer is wrong.
    expected, found : int
    """

    tokens: tuple[int, ...]
    expected: int
    found: int


@dataclass(frozen=True)
class Check:
    """The outcome on one family of inputs.

    Attributes
    ----------
    name : str
    n_sequences : int
    n_answers : int
        Positions with an answer in reach; each was compared.
    n_wrong : int
    counterexample : Counterexample or None
        The first wrong one.
    """

    name: str
    n_sequences: int
    n_answers: int
    n_wrong: int
    counterexample: Counterexample | None


@dataclass(frozen=True)
class Verification:
    """The outcomes on all families."""

    checks: tuple[Check, ...]

    @property
    def n_sequences(self) -> int:
        """Sequences read."""
        return sum(check.n_sequences for check in self.checks)

    @property
    def n_answers(self) -> int:
        """Answers compared."""
        return sum(check.n_answers for check in self.checks)

    @property
    def n_wrong(self) -> int:
        """Answers that differ from the task's."""
        return sum(check.n_wrong for check in self.checks)

    @property
    def counterexample(self) -> Counterexample | None:
        """The first wrong answer of the first family that has one."""
        return next((check.counterexample for check in self.checks if check.n_wrong), None)


def verify(construction: Construction, n_inputs: int = 10_000, seed: int = 0) -> Verification:
    """Compare answers on random and hand-made inputs, at every position that has one in reach.

    Parameters
    ----------
    construction : Construction
    n_inputs : int, at least 1
        Sequences of the task's length; shared equally by the task's distributions and the hand-made families.
    seed : int

    Returns
    -------
    Verification
        One ``Check`` for each family.

    Examples
    --------
    >>> from boundprobe.tasks import AssociativeRecallDecoding
    >>> found = verify(construct(AssociativeRecallDecoding(word_bits=2, seq_len=8)), n_inputs=120)
    >>> found.n_sequences, found.n_wrong
    (120, 0)
    """
    check_integer("n_inputs", n_inputs, 1)
    named = families(construction.task)
    shares = np.diff(np.linspace(0, n_inputs, len(named) + 1).astype(int))
    checks = [
        check_sequences(construction, name, _drawn(construction.task, family, int(share), seed, i))
        for i, ((name, family), share) in enumerate(zip(named.items(), shares, strict=True))
    ]
    return Verification(tuple(checks))


def verify_small_case(construction: Construction) -> tuple[AbstractTask, Check]:
    """Build the smallest case of the same construction, and compare every answer of every sequence.

    Returns
    -------
    task : AbstractTask
        The small case.
    check : Check
    """
    task = theorem_of(construction.task).small_case(construction.task)
    spec = construction.spec
    small = construct(task, position=spec.position, n_layers=len(spec.layers))
    check = check_sequences(small, "every sequence", every_sequence(task.n_token_ids, task.n_positions))
    return task, check


def check_sequences(construction: Construction, name: str, blocks: Iterable[np.ndarray]) -> Check:
    """Compare answers on sequences, int64 (n, T) a block, wherever one is defined and in reach."""
    found = Check(name, 0, 0, 0, None)
    for tokens in blocks:
        targets = construction.task.answers(tokens)
        asked = (targets != IGNORE) & construction.in_reach(tokens)
        answers = _answers(construction.model, tokens)
        wrong = asked & (answers != targets)
        found = replace(
            found,
            n_sequences=found.n_sequences + len(tokens),
            n_answers=found.n_answers + int(asked.sum()),
            n_wrong=found.n_wrong + int(wrong.sum()),
        )
        if found.counterexample is None and wrong.any():
            row, t = (int(i[0]) for i in np.nonzero(wrong))
            shown = tuple(int(token) for token in tokens[row, : t + 1])
            first = Counterexample(shown, int(targets[row, t]), int(answers[row, t]))
            found = replace(found, counterexample=first)
    return found


def _drawn(task: AbstractTask, family: Family, n: int, seed: int, i: int) -> Iterator[np.ndarray]:
    rng = generator(seed, "evaluation", i)
    for rows in row_blocks(n, 1, DRAWN):
        yield family(task, rows.stop - rows.start, rng)


@torch.inference_mode()
def _answers(model: SequenceModel, tokens: np.ndarray) -> np.ndarray:
    """The token of the greatest logit at every position: int64 (n, T)."""
    step = max(1, BLOCK // tokens.shape[1] ** 2)
    parts = [model(part).argmax(-1) for part in torch.as_tensor(tokens).split(step)]
    return torch.cat(parts).numpy()
