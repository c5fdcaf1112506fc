"""The promises of each theorem: its program, where that is right, and what its state costs; no torch here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from boundprobe.bounds.report.verdict import HARD_DISTRIBUTIONS, Witness
from boundprobe.checks import check_word
from boundprobe.constructions import ar_decoding, selective_copying
from boundprobe.constructions.codes import code_width
from boundprobe.constructions.program import Program
from boundprobe.constructions.reach import everywhere, pair_in_window
from boundprobe.constructions.score_margins import check_fit
from boundprobe.constructions.sizes import CodedBits, bits_of_levels
from boundprobe.models.spec import ModelSpec
from boundprobe.tasks.ar_decoding import AssociativeRecallDecoding
from boundprobe.tasks.base import AbstractTask
from boundprobe.tasks.selective_copying import SelectiveCopying


@dataclass(frozen=True)
class Theorem:
    """A construction for one kind of task, as functions of (task, spec).

    Attributes
    ----------
    name : str
        The published theorem.
    positions : tuple of str
        Position encodings that it can be had with, the default first.
    depths : tuple of int
        Numbers of layers that it can be had with, the default first.
    smallest_spec : callable (task, position, n_layers, window) -> ModelSpec
    program : callable (task, spec) -> Program
    coded_bits : callable (task, spec, n_cached) -> CodedBits
        Bits of the state with so many tokens in the cache.
    reach : callable (task, spec, tokens) -> bool array (n, T)
        Where it must be right, if an answer is defined there.
    hard_window : callable (task) -> int
        The window that is enough on the hard distributions.
    claims : callable (task, spec) -> tuple of str
        Where it is right, in words.
    small_case : callable (task) -> task
        A task of the same kind that is small enough to enumerate.
    query_len : callable (task) -> int
        Tokens after the cut of the state-hard case.
    """

    name: str
    positions: tuple[str, ...]
    depths: tuple[int, ...]
    smallest_spec: Callable[[Any, str, int, int | None], ModelSpec]
    program: Callable[[Any, ModelSpec], Program]
    coded_bits: Callable[[Any, ModelSpec, int], CodedBits]
    reach: Callable[[Any, ModelSpec, np.ndarray], np.ndarray]
    hard_window: Callable[[Any], int]
    claims: Callable[[Any, ModelSpec], tuple[str, ...]]
    small_case: Callable[[Any], AbstractTask]
    query_len: Callable[[Any], int]

    def n_cached(self, task: AbstractTask, spec: ModelSpec) -> int:
        """Tokens in the cache of an attention layer at the cut of the state-hard case."""
        return min(spec.window - 1, task.n_positions - self.query_len(task))


def _copying_bits(task: SelectiveCopying, spec: ModelSpec, n_cached: int) -> CodedBits:
    """The held code; and the code of each cached token, as keys are the same for all."""
    if spec.position == "learned":
        held = code_width(task.n_numbers)
    else:
        held = bits_of_levels(selective_copying.held_offsets(task, spec))
    return CodedBits(held, n_cached * code_width(task.vocab_size))


def _copying_claims(task: SelectiveCopying, spec: ModelSpec) -> tuple[str, ...]:
    how_long = {"learned": "of any length", "rope": f"of up to {task.seq_len} tokens (float32 angles)"}[spec.position]
    return (f"right at every position that has an answer, on every input {how_long}",)


def _copying_small(task: SelectiveCopying) -> SelectiveCopying:
    first = min(task.first_number, 5)
    return SelectiveCopying(n_numbers=2, first_number=first, n_letters=2, seq_len=8, offset=task.offset)


def _recall_bits(task: AssociativeRecallDecoding, spec: ModelSpec, n_cached: int) -> CodedBits:
    """Two layers: registers of b and 2b bits, keys and values of b.  Three: see docs/theory/constructions.md."""
    b, two_layers = task.word_bits, len(spec.layers) == 2
    return CodedBits(3 * b if two_layers else b, n_cached * (2 * b if two_layers else 3 * b + 2))


def _recall_reach(task: AssociativeRecallDecoding, spec: ModelSpec, tokens: np.ndarray) -> np.ndarray:
    if spec.window >= ar_decoding.smallest_window(task) and tokens.shape[1] <= task.seq_len:
        return everywhere(tokens)
    return pair_in_window(task, tokens, spec.window, len(spec.layers))


def _recall_claims(task: AssociativeRecallDecoding, spec: ModelSpec) -> tuple[str, ...]:
    if spec.window >= ar_decoding.smallest_window(task):
        return (f"right at every position that has an answer, on every input of up to {task.seq_len} tokens",)
    claims = ["right at every position whose pair, the word asked for and the next, is in the window"]
    if spec.window >= ar_decoding.hard_case_window(task):
        claims.append("right on every state-hard, window-hard and mixture input, of any length")
    error = ar_decoding.uniform_error(task, spec.window, len(spec.layers))
    claims.append(f"wrong at one position of a uniform input with probability {error:.3g} at most")
    return tuple(claims)


#: Constructions by kind of task.
THEOREMS: dict[type, Theorem] = {
    SelectiveCopying: Theorem(
        name="Theorem 4.3 (Cooper et al. 2026)",
        positions=("learned", "rope"),
        depths=(2,),
        smallest_spec=lambda task, position, n_layers, window: selective_copying.smallest_spec(task, position, window),
        program=selective_copying.selective_copying_program,
        coded_bits=_copying_bits,
        reach=lambda task, spec, tokens: everywhere(tokens),
        hard_window=selective_copying.smallest_window,
        claims=_copying_claims,
        small_case=_copying_small,
        query_len=lambda task: 1,
    ),
    AssociativeRecallDecoding: Theorem(
        name="Theorem 4.6 (Cooper et al. 2026)",
        positions=("learned",),
        depths=(2, 3),
        smallest_spec=lambda task, position, n_layers, window: ar_decoding.smallest_spec(task, n_layers, window),
        program=ar_decoding.ar_decoding_program,
        coded_bits=_recall_bits,
        reach=_recall_reach,
        hard_window=ar_decoding.hard_case_window,
        claims=_recall_claims,
        small_case=lambda task: AssociativeRecallDecoding(word_bits=2, seq_len=7),
        query_len=lambda task: task.word_bits,
    ),
}


def theorem_of(task: AbstractTask) -> Theorem:
    """The theorem that constructs a model for a task.

    Raises
    ------
    ValueError
        If there is none.
    """
    known = {kind.name: theorem for kind, theorem in THEOREMS.items() if issubclass(kind, AbstractTask)}
    return known[check_word("construction", task.name, known, "other tasks have no construction here")]


def witnesses(task: AbstractTask, spec: ModelSpec) -> tuple[Witness, ...]:
    """Proof that models of these sizes can answer every hard input: weights that fit; none if none are known.

    Parameters
    ----------
    task : AbstractTask
    spec : ModelSpec

    Returns
    -------
    tuple of Witness
        Of accuracy 1 on each hard distribution, for ``bounds.verdict.model_verdicts``; empty where no construction
        fits.  Models with norms before their mixers are others: nothing is said of them.

    Examples
    --------
    >>> task = SelectiveCopying()
    >>> spec = ModelSpec("mamba-attn", d_model=16, window=12, position="learned", norm="none")
    >>> [(found.distribution, found.accuracy) for found in witnesses(task, spec)]
    [('state-hard', 1.0), ('window-hard', 1.0), ('mixture', 1.0)]
    >>> witnesses(task, ModelSpec("mamba-attn", d_model=8, window=12, position="learned", norm="none"))
    ()
    """
    theorem = THEOREMS.get(type(task))
    if theorem is None or spec.window < theorem.hard_window(task):
        return ()
    try:
        check_fit(theorem.program(task, spec))
    except ValueError:  # the sizes, or the architecture, are not the construction's
        return ()
    argument = f"{theorem.name}: weights written down, boundprobe.constructions"
    return tuple(Witness(name, 1.0, argument) for name in HARD_DISTRIBUTIONS)
