"""A user's own prefixes, queries and answers, wrapped as a task of the package."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np

from boundprobe.checks import check_integer
from boundprobe.tasks.answer_table.rows import answer_case, sampled_case
from boundprobe.tasks.base import IGNORE, AbstractTask, Batch, CutBatch, check_tokens
from boundprobe.tasks.cases import StateCase, WindowCase
from boundprobe.tasks.custom.consent import consented, name_task
from boundprobe.tasks.custom.enumerated import EnumeratedTask
from boundprobe.tasks.custom.read import UserTask
from boundprobe.tasks.custom.source import HASH_KEY, build_object, read_reference

#: Values that the answer could take in the window-hard case's own words: its two candidates never agree.
_NEVER_EQUAL = 2**52


@dataclass(frozen=True)
class CustomTask(AbstractTask):
    """A user's task as one of the package's: see ``load_task`` and ``wrap_task``.

    The prefix is uniform over the user's prefixes (or drawn by the sampler), the query uniform over the
    queries; a pair without an answer is drawn anew.  'uniform' is 'state-hard'; 'window-hard' is the two
    inputs of W1, each with probability 1/2; 'mixture' is half of each.

    Parameters
    ----------
    reference : str
        ``module:name`` or ``file.py:name``.
    source_sha256 : str
        Of the source file: a changed file is another task.
    arguments : tuple of (name, value)
        What the user's class was built from.
    enumerated : EnumeratedTask
        Not compared: it follows from the rest.
    place : str
        The reference by which the source was found here, where that is another.
    """

    reference: str
    source_sha256: str
    arguments: tuple[tuple[str, object], ...]
    enumerated: EnumeratedTask = field(compare=False, repr=False)
    place: str = field(default="", compare=False, repr=False)

    def __reduce__(self) -> tuple[object, tuple[str, dict[str, object], str]]:
        """Another process reads the source itself, and refuses one that has changed."""
        return _load_again, (self.reference, self.parameters(), self.place or self.reference)

    @property
    def name(self) -> str:  # type: ignore[override]
        """The reference."""
        return self.reference

    @property
    def evidence(self) -> str:
        """``enumerated``, or ``author`` where a sampler stands for the prefixes."""
        return "enumerated" if self.enumerated.sampler is None else "author"

    @property
    def vocab_size(self) -> int:
        """Number of token ids."""
        return self.enumerated.vocab_size

    @property
    def seq_len(self) -> int:
        """Length of a prefix and a query together."""
        return int(self.enumerated.prefixes.shape[1] + self.queries.shape[1])

    def parameters(self) -> dict[str, object]:
        """The class's parameters, and ``source_sha256``."""
        return {**dict(self.arguments), HASH_KEY: self.source_sha256}

    @property
    def queries(self) -> np.ndarray:
        """The user's queries: int64 (n_queries, query_len)."""
        return self.enumerated.queries

    @property
    def answer_values(self) -> np.ndarray:
        """Values of all defined answers, maybe more than any one answer takes; all ids where prefixes are sampled."""
        if self.enumerated.sampler is not None:
            return np.arange(self.vocab_size)
        return np.setdiff1d(self.enumerated.table, [IGNORE]).astype(np.int64)

    def answers(self, tokens: np.ndarray) -> np.ndarray:
        """Answer at the last position, ``IGNORE`` elsewhere and for inputs that are none of the task's."""
        tokens = check_tokens(tokens, self.vocab_size)
        out = np.full(tokens.shape, IGNORE, np.int64)
        if tokens.shape[1] == self.seq_len:
            out[:, -1] = [self.enumerated.one_answer(tuple(word)) for word in tokens.tolist()]
        return out

    def reference_answer(self, tokens: Sequence[int]) -> int | None:
        """The user's own answer at the end of a whole input, None for any other sequence."""
        word, n = tuple(int(token) for token in tokens), self.enumerated.prefixes.shape[1]
        if len(word) != self.seq_len or self.enumerated.one_answer(word) == IGNORE:
            return None
        return self.enumerated.task.answer(word[:n], word[n:])

    def state_case(self) -> StateCase:
        """From the answer table; from the author's entropy where a sampler stands for the prefixes."""
        table, sampler = self.enumerated.table, self.enumerated.sampler
        return answer_case(table) if sampler is None else sampled_case(table, sampler, self.vocab_size)

    def window_case(self) -> WindowCase:
        """The two inputs of W1: both answers are known, the token at distance d tells which is right.

        As candidates they are in sight at any receptive field and never equal, so the ceiling is 1/2 up to
        R = d, exactly, and 1 beyond.
        """
        distance = self.enumerated.pair[0]
        return WindowCase(
            seq_len=self.seq_len,
            n_values=_NEVER_EQUAL,
            control_distances=(distance,),
            candidates_if_blind_to=(2,),
            candidate_distances=(0, 0),
            theorem="Theorem 3.7, two points (Cooper et al. 2026)",
            forces=f"see or remember a token {distance} positions before the answer",
        )

    def _sample(self, n_sequences: int, rng: np.random.Generator, distribution: str) -> Batch:
        """Draw sequences with the answer at the last position, which is always defined."""
        hard = np.full(n_sequences, distribution == "window-hard")
        if distribution == "mixture":
            hard = rng.random(n_sequences) < 0.5
        tokens = np.empty((n_sequences, self.seq_len), np.int64)
        targets = np.full_like(tokens, IGNORE)
        tokens[hard], targets[hard, -1] = self._draw_window_hard(int(hard.sum()), rng)
        tokens[~hard], targets[~hard, -1] = self._draw_state_hard(int((~hard).sum()), rng)
        return Batch(tokens, targets)

    def sample_cut(self, n_sequences: int, rng: np.random.Generator) -> CutBatch:
        """Draw prefixes with all queries and answers, ``IGNORE`` where undefined."""
        check_integer("n_sequences", n_sequences, 0)
        prefix, answers = self.enumerated.cut(n_sequences, rng)
        return CutBatch(prefix, self.queries, answers)

    def _draw_window_hard(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        made = self.enumerated
        inputs = np.array(made.pair[1:])[rng.integers(2, size=n)].reshape(n, 2)
        tokens = np.concatenate([made.prefixes[inputs[:, 0]], made.queries[inputs[:, 1]]], axis=1)
        return tokens, made.table[inputs[:, 0], inputs[:, 1]]

    def _draw_state_hard(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        made = self.enumerated
        if made.sampler is None:
            flat = rng.integers(made.table.size if made.defined_pairs is None else len(made.defined_pairs), size=n)
            chosen = flat if made.defined_pairs is None else made.defined_pairs[flat]
            i, a = np.divmod(chosen, len(made.queries))
            return np.concatenate([made.prefixes[i], made.queries[a]], axis=1), made.table[i, a]
        tokens, targets = np.empty((n, self.seq_len), np.int64), np.full(n, IGNORE)
        while len(open_rows := np.flatnonzero(targets == IGNORE)):  # ends: the sample had defined answers
            a = rng.integers(len(made.queries), size=len(open_rows))
            tokens[open_rows] = np.concatenate([made.draw(len(open_rows), rng), made.queries[a]], axis=1)
            targets[open_rows] = [made.one_answer(tuple(word)) for word in tokens[open_rows].tolist()]
        return tokens, targets


def load_task(reference: str, parameters: Mapping[str, object]) -> CustomTask:
    """Load a user's task: an object, or a class that is built from the parameters.

    Parameters
    ----------
    reference : str
        ``module:name`` or ``file.py:name``.
    parameters : mapping
        Values by name, texts or not.  With ``source_sha256``, as a run's configuration has it, the source is compared
        before it is executed, and must have been named before or be trusted (``consenting``).

    Raises
    ------
    ValueError
        In one line, for anything that is wrong with the reference, the parameters, the prefixes or the
        queries, and where the source is not the one that ``source_sha256`` says.  Wrong answers are refused
        when they are first needed.
    """
    settings = dict(parameters)
    wanted = settings.pop(HASH_KEY, None)
    if wanted is None:
        name_task(reference)
        return _load(reference, settings, reference, None)
    # As configurations of runs have it.
    return _load(reference, settings, consented(reference, str(wanted)), str(wanted))


def _load(reference: str, settings: Mapping[str, object], place: str, wanted: str | None) -> CustomTask:
    """The task of a reference, whose source is read at a place that may be another reference."""
    target, found = read_reference(place, wanted)
    built, arguments = build_object(target, settings, reference)
    enumerated = EnumeratedTask(cast(UserTask, built))
    return CustomTask(reference, found, tuple(sorted(arguments.items())), enumerated, place)


def _load_again(reference: str, parameters: Mapping[str, object], place: str) -> CustomTask:
    """The task that another process has loaded and passed on to this one."""
    name_task(place)
    settings = dict(parameters)
    return _load(reference, settings, place, str(settings.pop(HASH_KEY)))


def wrap_task(task: UserTask) -> CustomTask:
    """A Python object as a task, for use in Python; runs need ``load_task``, which can be repeated.

    >>> class Recall:
    ...     def prefixes(self):
    ...         return [(a, b) for a in (0, 1) for b in (0, 1)]
    ...
    ...     def queries(self):
    ...         return [(2,), (3,)]
    ...
    ...     def answer(self, prefix, query):
    ...         return prefix[query[0] - 2]
    >>> wrap_task(Recall()).state_case().entropy_bits
    2.0
    """
    file = inspect.getsourcefile(type(task))
    digest = hashlib.sha256(Path(file).read_bytes()).hexdigest() if file and Path(file).is_file() else ""
    return CustomTask(f"{type(task).__module__}:{type(task).__qualname__}", digest, (), EnumeratedTask(task))
