"""A task in the vocabulary of a model: which of its token ids stand for the task's tokens, and what is around them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from boundprobe.checks import MOST_TOKENS, check_integer, check_word, refuse
from boundprobe.runs.given import read_given
from boundprobe.tasks.base import AbstractTask
from boundprobe.tasks.rewritten import Rewritten
from boundprobe.text import one_line

#: The map that chooses words and digits by itself.
AUTO = "auto"
#: Parts of a template: before the prefix, after each token, between prefix and query, after the query.
PARTS = ("before", "separator", "between", "after")
#: Kinds of tokens that stand for those of a task, the most natural first; a mark stands for the space before a word.
WORDS = (r"[Ġ▁][a-z]{3,}", r"[a-z]{3,}", r"[Ġ▁]?[a-zA-Z]+", r"[Ġ▁]?\S+")
#: Up to so many answers are digits.
N_DIGITS = 10


def in_vocabulary(
    task: AbstractTask,
    tokenizer: Any,
    token_map: str | Path | Mapping[str, Any] = AUTO,
    template: Path | Mapping[str, Any] | None = None,
) -> Rewritten:
    """Write a task in the token ids of a model, with a prompt around it; its prior stays exactly known.

    Parameters
    ----------
    task : AbstractTask
    tokenizer : PreTrainedTokenizerBase or None
        Of the model; None where ``token_map`` and ``template`` have ids alone.
    token_map : "auto", path or mapping
        "auto" takes distinct words that are single tokens, those of the least ids, and digits for up to ten answers.  A
        JSON file or a mapping has, for each of the task's tokens, "0" to "n-1", an id, a text, or a list of ids.
    template : path or mapping, optional
        A JSON file or a mapping with texts or lists of ids, all optional: ``before`` the prefix, ``separator`` after
        each token, ``between`` prefix and query, ``after`` the query.  What the tokenizer puts in front of every text,
        such as ``<s>``, comes first unless ``before`` is a list of ids.

    Returns
    -------
    Rewritten

    Raises
    ------
    ValueError
        If the vocabulary has too few words, or the map or the template does not fit the task.

    Examples
    --------
    >>> from boundprobe.tasks import MultiQueryRecall
    >>> task = MultiQueryRecall(n_pairs=1, n_keys=1, n_values=2, seq_len=5)
    >>> words = in_vocabulary(task, None, {"0": 17, "1": 4, "2": 5, "3": 0}, {"separator": [9], "before": [1]})
    >>> words.sample_cut(1, np.random.default_rng(0)).prefix.tolist()
    [[1, 0, 9, 0, 9, 17, 9, 5, 9]]
    """
    given = {} if template is None else _document("--template", template)
    for name in given:
        check_word("--template", name, PARTS)
    parts = {name: _encoded(f"template.{name}", given[name], tokenizer) for name in PARTS if name in given}
    separator = parts.pop("separator", [])
    if not isinstance(given.get("before"), list):
        parts["before"] = [*start_ids(tokenizer), *parts.get("before", [])]
    if isinstance(token_map, str) and token_map == AUTO:
        ids = [[each] for each in _chosen(task, tokenizer)]
    else:
        ids = _mapped(task, _document("--token-map", token_map), tokenizer)
    return Rewritten(task, tuple((*each, *separator) for each in ids), **{k: tuple(v) for k, v in parts.items()})


def rewritten_of(task: AbstractTask, tokens: Mapping[str, Any]) -> Rewritten:
    """A task in the ids that a run has on record (``tokens_of``).

    Raises
    ------
    ValueError
        If they are not those of such a task.
    """
    ids, fixed = tokens.get("ids"), {name: tokens.get(name, []) for name in ("before", "between", "after")}
    if not isinstance(ids, list) or not all(isinstance(each, list) for each in (*ids, *fixed.values())):
        refuse("tokens", "lists of ids", one_line(json.dumps(tokens, default=str), 80))
    return Rewritten(task, tuple(map(tuple, ids)), **{name: tuple(each) for name, each in fixed.items()})


def tokens_of(task: Rewritten) -> dict[str, Any]:
    """The ids of a task as a run has them on record."""
    fixed = {name: list(getattr(task, name)) for name in ("before", "between", "after")}
    return {"ids": [list(each) for each in task.ids], **fixed}


def check_vocabulary(task: AbstractTask, vocab_size: int) -> None:
    """Raise ``ValueError`` if a task has a token id that a model of so many does not have."""
    if task.n_token_ids > vocab_size:
        what = "a map" if isinstance(task, Rewritten) else task.name
        advice = "name other ids" if isinstance(task, Rewritten) else "give --token-map, or smaller parameters"
        refuse("--hf", f"a model of at least {task.n_token_ids} token ids, for {what}", f"{vocab_size}", f"; {advice}")


def _document(name: str, source: str | Path | Mapping[str, Any]) -> Mapping[str, Any]:
    """A JSON object from a file, or as it is given."""
    if isinstance(source, Mapping):
        return source
    try:
        document = json.loads(read_given(f"the file of {name}", Path(source), 2**26))
    except (ValueError, RecursionError) as error:
        refuse(
            name, "a JSON file" + (", or auto" if name == "--token-map" else ""), f"{source} ({one_line(error, 120)})"
        )
    if not isinstance(document, dict):
        refuse(name, "a JSON object", f"{source}, a {type(document).__name__}")
    return document


def _encoded(name: str, given: object, tokenizer: Any) -> list[int]:
    """An id, a list of ids, or a text as ids."""
    if isinstance(given, str):
        if tokenizer is None:
            refuse(name, "ids, as the model has no tokenizer", f"{given!r}")
        return [int(each) for each in tokenizer.encode(given, add_special_tokens=False)]
    return [check_integer(name, each, 0, MOST_TOKENS) for each in (given if isinstance(given, list) else [given])]


def _mapped(task: AbstractTask, given: Mapping[str, Any], tokenizer: Any) -> list[list[int]]:
    """Ids of each of the task's tokens from a map of all of them."""
    names = [f"{t}" for t in range(task.n_token_ids)]
    if missing := [name for name in names if name not in given]:
        must = f"for every token of {task.name}, 0 to {len(names) - 1}"
        refuse("--token-map", must, f"none for {', '.join(missing[:5])}{', ..' if len(missing) > 5 else ''}")
    if others := sorted(set(given) - set(names)):
        refuse("--token-map", f"for the tokens of {task.name} alone, 0 to {len(names) - 1}", f"{others[0]!r}")
    return [_encoded(f"token-map.{name}", given[name], tokenizer) for name in names]


def start_ids(tokenizer: Any) -> list[int]:
    """Ids that a tokenizer puts in front of every text: the id of ``<s>`` or the like, or nothing."""
    if tokenizer is None or tokenizer.bos_token_id is None:
        return []
    return [int(each) for each in tokenizer.encode("")[:1] if each == tokenizer.bos_token_id]


def _chosen(task: AbstractTask, tokenizer: Any) -> Sequence[int]:
    """An id for each token of a task: digits for few answers, else words."""
    if tokenizer is None:
        refuse("--token-map", "a file of ids, as the model has no tokenizer", AUTO)
    n_tokens, values = task.n_token_ids, task.answer_values
    digits = _digits(tokenizer) if len(values) <= N_DIGITS else []
    ids = np.full(n_tokens, -1, np.int64)
    if digits:
        ids[values] = digits[: len(values)]
    open_places = np.flatnonzero(ids < 0)
    found: list[int] = []
    for each in _words(tokenizer, set(digits)):
        found.append(each)
        if len(found) == len(open_places):
            break
    if len(found) < len(open_places):
        must = f"a file, as the vocabulary has too few words for {task.name}, of {n_tokens} tokens"
        refuse("--token-map", must, f"{AUTO}, which found {n_tokens - len(open_places) + len(found)}")
    ids[open_places] = found
    return [int(each) for each in ids]


def _digits(tokenizer: Any) -> list[int]:
    """Ids of the ten digits, with a space before them or without; none where they are not single tokens."""
    for space in (" ", ""):
        pieces = [tokenizer.encode(f"{space}{digit}", add_special_tokens=False) for digit in range(N_DIGITS)]
        found = [int(piece[0]) for piece in pieces if len(piece) == 1]
        if len(set(found) - set(tokenizer.all_special_ids)) == N_DIGITS:
            return found
    return []


def _words(tokenizer: Any, taken: set[int]) -> Iterator[int]:
    """Ids of words that a text of one word is read as, the most natural kinds first, the least ids first."""
    special = set(tokenizer.all_special_ids)
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    seen = taken | special
    for kind in map(re.compile, WORDS):
        for token, index in vocabulary:
            if index not in seen and kind.fullmatch(token) and _is_read_as(tokenizer, token, index):
                seen.add(index)
                yield index


def _is_read_as(tokenizer: Any, token: str, index: int) -> bool:
    """True if the text of a token, with or without a space before it, is read as that token alone."""
    word = token.lstrip("Ġ▁")
    texts = (f" {word}", word) if word != token else (word,)
    return any(tokenizer.encode(text, add_special_tokens=False) == [index] for text in texts)
