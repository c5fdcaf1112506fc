"""Read and check a user's task: prefixes, queries and the table of their answers.

Everything that a user can get wrong is one line that names the prefix or the query.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Protocol, cast

import numpy as np

from boundprobe.checks import check_integer
from boundprobe.tasks.base import IGNORE

Word = tuple[int, ...]
Answer = Callable[[Word, Word], int | None]

#: Most prefixes and most answers that are enumerated; beyond, a task must give a sampler.
MAX_PREFIXES = 1_000_000
MAX_ANSWERS = 200_000_000


#: What a sampler may state: H(Y_A), or H(Y_A | which answers are defined).
ENTROPIES = ("entropy_bits", "conditional_entropy_bits")


class PrefixSampler(Protocol):
    """Prefixes that are too many to list: an allowed result of ``prefixes()``.

    Attributes
    ----------
    entropy_bits : float, in bits
        Joint entropy of the answers to all queries, H(Y_A), where all are defined: the author's word.
    conditional_entropy_bits : float, in bits
        Instead, where some prefixes have no answer to some query: H(Y_A | D), D telling which answers are defined.
        Bounds and certificates need this one; what D itself says is never asked for.
    """

    entropy_bits: float

    def sample(self, rng: np.random.Generator, n: int) -> Iterable[Word]:
        """Draw n independent prefixes."""


class UserTask(Protocol):
    """A user's task.

    Two more are optional: ``vocab_size``, an int (a sampler needs it), and ``answers(prefixes, queries)``, all
    answers at once from int64 arrays (n, prefix_len) and (m, query_len) to integers (n, m), -100 where there is
    none: ``answer`` is then asked at random places only, and must say the same.
    """

    def prefixes(self) -> Iterable[Hashable] | PrefixSampler:
        """All prefixes, each once, or a sampler of them."""

    def queries(self) -> Iterable[Word]:
        """All queries."""

    def answer(self, prefix: Word, query: Word) -> int | None:
        """The answer, a token id, or None where there is none."""


def shown(word: object) -> str:
    """A prefix or query as an error shows it: short, on one line."""
    text = " ".join(repr(word).split())
    return text if len(text) <= 80 else f"{text[:60]} ... {text[-15:]}"


def called(what: str, call: Callable[[], Any]) -> Any:
    """Result of a user's code; its exceptions become one line, with their cause."""
    try:
        return call()
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ValueError(f"a task must not raise; {what} raised {reason}") from error


def read_words(kind: str, words: Iterable[Any], vocab_size: int | None, *, distinct: bool) -> np.ndarray:
    """Check prefixes or queries: tuples of token ids, all of one length.

    Parameters
    ----------
    kind : str
        "prefix" or "query", for messages.
    words : iterable
    vocab_size : int or None
        Ids must be below it; None where it is not known.
    distinct : bool
        Whether no word may occur twice.

    Returns
    -------
    int64 array (n_words, length)

    Raises
    ------
    ValueError
        In one line that names the first word that is wrong.

    Examples
    --------
    >>> read_words("query", [(0,), (1, 2)], None, distinct=True)
    Traceback (most recent call last):
    ...
    ValueError: query 1 must have the length of query 0, 1; got (1, 2), of length 2. Pad it.
    """
    many = {"prefix": "prefixes", "query": "queries"}[kind]
    iterator = called(f"{many}()", lambda: iter(words))
    items: list[Any] = called(f"{many}()", lambda: list(itertools.islice(iterator, MAX_PREFIXES + 1)))
    if len(items) > MAX_PREFIXES:
        raise ValueError(f"{many}() must give at most {MAX_PREFIXES}; got more. Give a sampler.")
    if not items:
        raise ValueError(f"{many}() must give at least one {kind}, a tuple of token ids; got none.")
    # The fast test of all words at once; only if it fails are they gone through one by one.
    fine = set(map(type, items)) == {tuple} and len(set(map(len, items))) == 1 and len(items[0]) > 0
    fine = fine and set(map(type, itertools.chain.from_iterable(items))) == {int}
    for i, word in enumerate(() if fine else items):
        _check_word(kind, i, word)
        if len(word) != len(items[0]):
            length = len(items[0])
            raise ValueError(
                f"{kind} {i} must have the length of {kind} 0, {length}; got {shown(word)}, of length {len(word)}. Pad "
                "it."
            )
    top = vocab_size if vocab_size is not None else np.iinfo(np.int32).max
    try:
        array = np.array(items, dtype=np.int64)
        outside = (array < 0) | (array >= top)
    except OverflowError:
        outside = np.array([[not 0 <= token < top for token in word] for word in items])
    if outside.any():
        i = int(outside.any(axis=1).argmax())
        raise ValueError(
            f"{kind} {i} must hold token ids in [0, {top}); got {shown(items[i])}, with the token "
            f"{items[i][int(outside[i].argmax())]}. Renumber tokens or change vocab_size."
        )
    if distinct and len(set(items)) < len(items):
        first: dict[Any, int] = {}
        i = next(i for i, word in enumerate(items) if first.setdefault(word, i) != i)
        raise ValueError(
            f"each {kind} must be given once; got {kind} {i}, {shown(items[i])}, which is also {kind} "
            f"{first[items[i]]}."
        )
    return array


def _check_word(kind: str, i: int, word: object) -> None:
    """Raise ``ValueError`` unless a word is a tuple of one token id or more."""
    found = f"{shown(word)} ({type(word).__name__})"
    if not isinstance(word, tuple):
        try:
            hash(word)
        except TypeError:
            found += ", which is not hashable"
        raise ValueError(f"{kind} {i} must be a tuple of token ids; got {found}. Write tuple(...).")
    if not word:
        raise ValueError(f"{kind} {i} must be a tuple of one token id or more; got ().")
    for token in word:
        if isinstance(token, bool | np.bool_) or not isinstance(token, int | np.integer):
            raise ValueError(f"{kind} {i} must hold integers, token ids; got {found}, with {shown(token)}.")


def read_vocab_size(task: object) -> int | None:
    """The task's own ``vocab_size``, checked, or None."""
    given = getattr(task, "vocab_size", None)
    return None if given is None else check_integer("vocab_size", given, 1, np.iinfo(np.int32).max)


def read_sampler(given: object) -> PrefixSampler | None:
    """``given`` if it is a sampler with a known entropy, None if it has no ``sample``."""
    if not callable(getattr(given, "sample", None)):
        return None
    stated = {name: getattr(given, name, None) for name in ENTROPIES}
    found = {name: value for name, value in stated.items() if value is not None}
    for name, value in (found or stated).items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise ValueError(
                f"the sampler's `{name}` must be a number above 0, in bits, the joint entropy of all answers; got "
                f"{value!r}"
            )
    return cast(PrefixSampler, given)


def read_answers(
    answer: Answer, prefixes: Sequence[Word], queries: Sequence[Word], vocab_size: int | None
) -> np.ndarray:
    """The answer table: every prefix with every query, as small integers.

    Parameters
    ----------
    answer : callable
        The user's ``answer(prefix, query)``.
    prefixes, queries : sequences of tuples
    vocab_size : int or None
        Answers must be below it; None where it is not known.

    Returns
    -------
    int8, int16 or int32 array (n_prefixes, n_queries), the smallest that holds the answers
        ``IGNORE`` where the answer is None.

    Raises
    ------
    ValueError
        In one line that names the first prefix and query with a wrong answer.

    Examples
    --------
    >>> read_answers(lambda prefix, query: prefix[query[0]], [(5, 6), (7, 8)], [(0,), (1,)], 9).tolist()
    [[5, 6], [7, 8]]
    """
    if len(prefixes) * len(queries) > MAX_ANSWERS:
        raise ValueError(
            f"prefixes times queries must be at most {MAX_ANSWERS} answers; got {len(prefixes)} prefixes by "
            f"{len(queries)} queries. Give a sampler or fewer queries."
        )
    top = vocab_size if vocab_size is not None else np.iinfo(np.int32).max
    table = np.empty((len(prefixes), len(queries)), np.int8)
    row: np.ndarray = np.empty(0, np.int64)
    for i, prefix in enumerate(prefixes):
        try:
            values: list[Any] = list(map(answer, itertools.repeat(prefix), queries))
            if set(map(type, values)) == {int}:
                row = np.fromiter(values, np.int64, len(queries))  # half the time of row[:] = values
                wrong = row.min() < 0 or row.max() >= top
            else:
                row = np.array([_read_answer(value, top) for value in values])
                wrong = False
        except Exception:  # whatever it was, going through the row again finds the query and says it well
            wrong = True
        if wrong:
            row = np.array([_ask(answer, prefix, query, top) for query in queries])
        if row.max() > np.iinfo(table.dtype).max:
            table = table.astype(np.promote_types(np.min_scalar_type(-int(row.max()) - 1), np.int16))
        table[i] = row
    return table


def read_all_answers(task: UserTask, prefixes: np.ndarray, queries: np.ndarray, vocab_size: int | None) -> np.ndarray:
    """The answer table of a task: at once where it has ``answers``, else one by one (see ``read_answers``).

    Raises
    ------
    ValueError
        Also if ``answers`` gives no table of answers, or another one than ``answer`` at some of 1000 places.
    """
    words, asked = ([tuple(word) for word in array.tolist()] for array in (prefixes, queries))
    at_once = getattr(task, "answers", None)
    if not callable(at_once):
        return read_answers(task.answer, words, asked, vocab_size)
    table = np.asarray(called("answers(prefixes, queries)", lambda: at_once(prefixes, queries)))
    top = vocab_size if vocab_size is not None else np.iinfo(np.int32).max
    if table.shape != (len(words), len(asked)) or table.dtype.kind not in "iu":
        raise ValueError(
            f"answers(prefixes, queries) must be integers of shape ({len(words)}, {len(asked)}); got shape "
            f"{table.shape} and type {table.dtype}."
        )
    rng = np.random.default_rng(0)
    places = [(int(rng.integers(len(words))), int(rng.integers(len(asked)))) for _ in range(min(table.size, 1000))]
    outside = ((table < 0) & (table != IGNORE)) | (table >= top)
    if outside.any():
        places.insert(0, divmod(int(outside.argmax()), len(asked)))
    for i, a in places:
        value, said = int(table[i, a]), _ask(task.answer, words[i], asked[a], top)
        if value != said or outside[i, a]:
            raise ValueError(
                f"answers(prefixes, queries) must agree with answer(), in ids from 0 to {top - 1}, or {IGNORE} for "
                f"None; got {value} at prefix {shown(words[i])}, query {shown(asked[a])}, where answer() gives {said}."
            )
    return table


def _ask(answer: Answer, prefix: Word, query: Word, top: int) -> int:
    """One answer, with the errors that it deserves."""
    where = f"answer(prefix, query) at prefix {shown(prefix)}, query {shown(query)}"
    value = called(where, lambda: answer(prefix, query))
    try:
        return _read_answer(value, top)
    except TypeError:
        raise ValueError(
            f"{where} must be a token id from 0 to {top - 1}, or None where undefined; got {shown(value)} "
            f"({type(value).__name__})."
        ) from None


def _read_answer(value: object, top: int) -> int:
    """An answer as an int, ``IGNORE`` for None; ``TypeError`` for anything that is no token id."""
    if value is None:
        return IGNORE
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer) or not 0 <= value < top:
        raise TypeError
    return int(value)
