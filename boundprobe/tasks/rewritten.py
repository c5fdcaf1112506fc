"""A task in other token ids, such as those of a pretrained model's vocabulary, with fixed ids around them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from boundprobe.checks import MOST_TOKENS, check_integer, refuse
from boundprobe.tasks.base import IGNORE, KEYS_ONCE, AbstractTask, Batch, CutBatch, check_tokens
from boundprobe.tasks.cases import Places, StateCase, WindowCase


@dataclass(frozen=True)
class Rewritten(AbstractTask):
    """A task each of whose tokens is written as one id of a model, or as a few: the prior is the task's own.

    Every sequence is ``before``, the ids of the prefix's tokens, ``between``, the ids of the query's tokens, ``after``.
    The cut lies after ``between``.  The answer to a query is the first id of the token that answers it.

    Parameters
    ----------
    task : AbstractTask
    ids : tuple of tuple of int
        Entry t: the ids that token t is written as; equally many for all tokens, and no two alike.  Tokens that can be
        answers differ in their first id.
    before, between, after : tuple of int
        Fixed ids.  With ``after``, an answer is asked for at the last position alone.

    Raises
    ------
    ValueError
        If the ids are not like that, or the task asks for several tokens in a row (``answers_per_sequence``) and tokens
        have several ids or something comes after them.

    Notes
    -----
    Fixed ids and a one-to-one map change neither the answers nor their distribution, so that entropies, bounds and
    certificates are those of the task.  Distances are counted in ids, to the last one by which tokens differ: a token
    is out of sight, or beyond a diagonal cut, when all its ids are that tell it from another.

    Examples
    --------
    >>> from boundprobe.tasks import MultiQueryRecall
    >>> task = MultiQueryRecall(n_pairs=2, n_keys=2, n_values=2, seq_len=6)
    >>> words = Rewritten(task, ((70, 5), (71, 5), (80, 6), (81, 6), (90, 6)), before=(1,), after=(7,))
    >>> cut = words.sample_cut(1, np.random.default_rng(0))
    >>> cut.prefix.tolist(), cut.queries.tolist(), cut.answers.tolist()
    ([[1, 90, 6, 70, 5, 81, 6, 71, 5, 81, 6]], [[70, 5, 7], [71, 5, 7]], [[81, 81]])
    >>> words.state_case().entropy_bits == task.state_case().entropy_bits
    True
    """

    name: ClassVar[str] = "rewritten"

    task: AbstractTask
    ids: tuple[tuple[int, ...], ...]
    before: tuple[int, ...] = ()
    between: tuple[int, ...] = ()
    after: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", tuple(_ids("ids", each) for each in self.ids))
        for name in ("before", "between", "after"):
            object.__setattr__(self, name, _ids(name, getattr(self, name)))
        n_tokens, lengths = self.task.n_token_ids, sorted({len(each) for each in self.ids})
        if len(self.ids) != n_tokens:
            refuse("ids", f"of {n_tokens} tokens, those of {self.task.name}", f"{len(self.ids)}")
        if len(lengths) != 1 or not lengths[0]:
            why = "; sequences of one length need equally many for all"
            refuse(
                "ids", "one or more for each token, equally many for all", f"from {lengths[0]} to {lengths[-1]}", why
            )
        twice = [each for each in self.ids if self.ids.count(each) > 1] if len(set(self.ids)) < n_tokens else []
        if twice:
            refuse("ids", "those of one token alone", f"{list(twice[0])} for {self.ids.count(twice[0])} tokens")
        values = np.unique(np.concatenate([self.task.stream_values(stream) for stream in self.task.cut_streams]))
        firsts = self._first[values]
        if len(np.unique(firsts)) < len(firsts):
            refuse("ids", "such that tokens which can be answers differ in their first id", "two of them with the same")
        if self.task.answers_per_sequence > 1 and (lengths[0] > 1 or self.after):
            got = f"{lengths[0]} for each token" if lengths[0] > 1 else f"{len(self.after)} after the sequence"
            why = " (it asks for several tokens in a row)"
            refuse("ids", f"one for each token of {self.task.name} and none after the last", got, why)

    @property
    def cut_streams(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those of the task."""
        return self.task.cut_streams

    @property
    def distributions(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those of the task."""
        return self.task.distributions

    @property
    def _first(self) -> np.ndarray:
        """First id of each token, int64 (n_token_ids of the task,): what the token is as an answer."""
        return np.array([each[0] for each in self.ids], np.int64)

    @property
    def _width(self) -> int:
        """Ids that each token is written as."""
        return len(self.ids[0])

    @property
    def _telling(self) -> int:
        """Index of the last of a token's ids that is not the same for all tokens."""
        columns = list(zip(*self.ids, strict=True))
        return max(i for i, column in enumerate(columns) if len(set(column)) > 1)

    @property
    def vocab_size(self) -> int:
        """One more than the greatest id."""
        return 1 + max(max(each) for each in (*self.ids, self.before, self.between, self.after) if each)

    @property
    def seq_len(self) -> int:
        """Number of ids of every sequence."""
        return self.prefix_len + int(self.queries.shape[1])

    @property
    def prefix_len(self) -> int:
        """Number of ids before the cut."""
        return len(self.before) + self.task.prefix_len * self._width + len(self.between)

    @property
    def queries(self) -> np.ndarray:
        """The task's queries, each followed by ``after``: int64 (n_queries, query_len)."""
        return self._suffixes(self.task.queries)

    @property
    def answers_per_sequence(self) -> int:
        """That of the task."""
        return self.task.answers_per_sequence

    @property
    def answer_values(self) -> np.ndarray:
        """First ids of the task's answers, ascending."""
        return np.sort(self._first[self.task.answer_values])

    def rewrite(self, tokens: np.ndarray) -> np.ndarray:
        """Whole sequences of the task, int64 (n, n_positions of the task), in ids: int64 (n, n_positions)."""
        prefix_len = self.task.prefix_len
        return np.concatenate([self._prefix(tokens[:, :prefix_len]), self._suffixes(tokens[:, prefix_len:])], axis=1)

    def _spelled(self, tokens: np.ndarray) -> np.ndarray:
        """Tokens (.., T) as ids (.., T * width)."""
        spelled: np.ndarray = np.array(self.ids, np.int64)[tokens]
        return spelled.reshape(*tokens.shape[:-1], tokens.shape[-1] * self._width)

    def _prefix(self, tokens: np.ndarray) -> np.ndarray:
        return _around(self.before, self._spelled(tokens), self.between)

    def _suffixes(self, tokens: np.ndarray) -> np.ndarray:
        return _around((), self._spelled(tokens), self.after)

    def _answer_ids(self, answers: np.ndarray) -> np.ndarray:
        """Tokens that are answers as ids; ``IGNORE`` stays."""
        return np.where(answers == IGNORE, IGNORE, self._first[np.where(answers == IGNORE, 0, answers)])

    def _ends(self, index: int | None = None) -> np.ndarray:
        """Position of the last id of each of the task's tokens, or of that with an index: int64 (n_positions,)."""
        t = np.arange(self.task.n_positions)
        start = len(self.before) + self._width * t + len(self.between) * (t >= self.task.prefix_len)
        return start + (self._width - 1 if index is None else index)

    def _asked(self, targets: np.ndarray) -> np.ndarray:
        """Answers at the task's positions (n, n_positions of the task), moved to where they are asked for in ids."""
        moved = np.full((len(targets), self.n_positions), IGNORE, np.int64)
        if self.after:
            moved[:, -1] = self._answer_ids(targets[:, -1])
        else:
            moved[:, self._ends()] = self._answer_ids(targets)
        return moved

    def answers(self, tokens: np.ndarray) -> np.ndarray:
        """Answer at every position of whole sequences; ``IGNORE`` everywhere in what is no sequence of the task.

        Parameters
        ----------
        tokens : int64 array (n, T)

        Returns
        -------
        int64 array (n, T)
        """
        tokens = check_tokens(tokens, self.n_token_ids)
        read = self._read(tokens)
        known = (read >= 0).all(axis=1)
        out = np.full(tokens.shape, IGNORE, np.int64)
        if known.any():
            out[known] = self._asked(self.task.answers(read[known]))
        return out

    def _read(self, tokens: np.ndarray) -> np.ndarray:
        """The task's tokens in whole sequences of ids, int64 (n, n_positions of the task); -1 where there are none."""
        n_tokens = self.task.n_positions
        read = np.full((len(tokens), n_tokens), -1, np.int64)
        if tokens.shape[1] != self.n_positions or not len(tokens):
            return read
        columns = self._ends()[:, None] + np.arange(1 - self._width, 1)
        written, place = np.unique(tokens[:, columns].reshape(-1, self._width), axis=0, return_inverse=True)
        index = {each: t for t, each in enumerate(self.ids)}
        found = np.array([index.get(tuple(each), -1) for each in written.tolist()], np.int64)
        read[...] = found[place.reshape(-1)].reshape(len(tokens), n_tokens)
        fixed = (self.rewrite(np.zeros((1, n_tokens), np.int64)) == tokens) | np.isin(
            np.arange(self.n_positions), columns
        )
        read[~fixed.all(axis=1)] = -1
        return read

    def reference_answer(self, tokens: Sequence[int]) -> int | None:
        """Answer at the end of one whole sequence of ids, read token by token; None where undefined."""
        rest, read = list(tokens), []
        pieces: list[tuple[int, ...] | None] = [self.before, *[None] * self.task.prefix_len, self.between]
        for piece in (*pieces, *[None] * (self.task.n_positions - self.task.prefix_len), self.after):
            length = self._width if piece is None else len(piece)
            head, rest = tuple(rest[:length]), rest[length:]
            if piece is None and head in self.ids:
                read.append(self.ids.index(head))
            elif head != piece:
                return None
        answer = None if rest else self.task.reference_answer(read)
        return None if answer is None else self.ids[answer][0]

    def state_case(self) -> StateCase:
        """That of the task, with places in ids."""
        return self._rewritten(self.task.state_case())

    def stream_case(self, stream: str = KEYS_ONCE) -> StateCase:
        """That of the task, with places in ids."""
        return self._rewritten(self.task.stream_case(stream))

    def stream_values(self, stream: str = KEYS_ONCE) -> np.ndarray:
        """First ids of the task's answers under a prefix distribution, ascending."""
        return np.sort(self._first[self.task.stream_values(stream)])

    def _rewritten(self, case: StateCase) -> StateCase:
        """Places lie ``width`` times as far; None where tokens side by side settle answers and are so no longer."""
        places = case.places
        if places is None or (places.width > 1 and self._width > 1):
            return dataclasses.replace(case, places=None)
        nearest = places.nearest * self._width + self._width - 1 - self._telling + len(self.between)
        moved = Places(nearest, places.n_blocks, places.block_len * self._width, places.width)
        return dataclasses.replace(case, places=moved)

    def window_case(self) -> WindowCase:
        """That of the task, with distances in ids: back to the last one by which a token differs from others."""
        case, back = self.task.window_case(), self.n_positions - 1 - self._ends(self._telling)[::-1]
        return dataclasses.replace(
            case,
            seq_len=self.n_positions,
            control_distances=tuple(int(back[distance]) for distance in case.control_distances),
            candidate_distances=tuple(int(back[distance]) for distance in case.candidate_distances),
        )

    def _sample(self, n_sequences: int, rng: np.random.Generator, distribution: str) -> Batch:
        drawn = self.task.sample(n_sequences, rng, distribution)
        return Batch(self.rewrite(drawn.tokens), self._asked(drawn.targets))

    def sample_cut(self, n_sequences: int, rng: np.random.Generator) -> CutBatch:
        """Draw state-hard prefixes of the task with the whole query set, in ids."""
        return self.sample_cut_stream(n_sequences, rng)

    def sample_cut_stream(self, n_sequences: int, rng: np.random.Generator, stream: str = KEYS_ONCE) -> CutBatch:
        """Draw prefixes of one of the task's ``cut_streams`` with the whole query set, in ids."""
        cut = self.task.sample_cut_stream(n_sequences, rng, stream)
        places = cut.places
        if places is not None:
            places = np.where(places == IGNORE, IGNORE, self._ends(self._telling)[np.maximum(places, 0)])
        return CutBatch(
            self._prefix(cut.prefix),
            self._suffixes(cut.queries),
            self._answer_ids(cut.answers),
            None if cut.suffixes is None else self._suffixes(cut.suffixes),
            places,
        )

    def parameters(self) -> dict[str, object]:
        """The task's name and parameters, and the ids."""
        ids = {name: list(getattr(self, name)) for name in ("before", "between", "after")}
        return {"task": {"name": self.task.name, **self.task.parameters()}, "ids": [*map(list, self.ids)], **ids}


def _ids(name: str, given: Sequence[int]) -> tuple[int, ...]:
    """Token ids as plain integers."""
    return tuple(check_integer(name, each, 0, MOST_TOKENS) for each in given)


def _around(before: Sequence[int], inner: np.ndarray, after: Sequence[int]) -> np.ndarray:
    """Arrays (.., T) with fixed ids in front and behind."""
    fixed = [np.broadcast_to(np.array(ids, np.int64), (*inner.shape[:-1], len(ids))) for ids in (before, after)]
    return np.concatenate([fixed[0], inner, fixed[1]], axis=-1)
