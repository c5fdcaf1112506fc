"""Check a task against its own definition."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from boundprobe.tasks.base import IGNORE, AbstractTask

#: Answer tables of up to so many cut sequences are compared with the entropy that a task states.
_SEEN_ROWS = 20_000


def check_task(task: AbstractTask, n_sequences: int = 48) -> None:
    """Hold a task against its own definition: answers, samplers, the cut, and the numbers of its cases.

    Parameters
    ----------
    task : AbstractTask
        A user's object becomes one with ``boundprobe.tasks.custom.task.wrap_task``.
    n_sequences : int
        Sequences that are drawn from each distribution.

    Raises
    ------
    AssertionError
        Lists everything that is wrong.

    Examples
    --------
    >>> from boundprobe.tasks import SelectiveCopying
    >>> check_task(SelectiveCopying(n_numbers=2, n_letters=2, seq_len=6))
    """
    wrong = [
        *(problem for name in task.distributions for problem in _sample_problems(task, name, n_sequences)),
        *_cut_problems(task, n_sequences),
        *_case_problems(task),
    ]
    if wrong:
        raise AssertionError(f"{task.name} breaks the contract of a task: {'; '.join(wrong)}")


def _oracle(task: AbstractTask, tokens: NDArray[np.int64]) -> int:
    answer = task.reference_answer(tokens.tolist())
    return IGNORE if answer is None else answer


def _sample_problems(task: AbstractTask, distribution: str, n: int) -> Iterator[str]:
    batch, again = (task.sample(n, np.random.default_rng(1), distribution) for _ in range(2))
    if not (np.array_equal(batch.tokens, again.tokens) and np.array_equal(batch.targets, again.targets)):
        yield f"{distribution}: two samples of one seed differ"
    for name, array in (("tokens", batch.tokens), ("targets", batch.targets)):
        if array.shape != (n, task.n_positions) or array.dtype != np.int64:
            yield f"{distribution}: {name} are {array.dtype} {array.shape}, not int64 ({n}, {task.n_positions})"
            return
    if batch.tokens.min() < 0 or batch.tokens.max() >= task.n_token_ids:
        yield f"{distribution}: tokens are outside 0..{task.n_token_ids - 1}"
        return
    asked = batch.targets != IGNORE
    if distribution in ("state-hard", "window-hard", "mixture") and not asked[:, -1].all():
        yield f"{distribution}: a sequence has no answer at its end"
    if (batch.targets[asked] != task.answers(batch.tokens)[asked]).any():
        yield f"{distribution}: a target is not what answers() says"
    for tokens, target in zip(batch.tokens[:8], batch.targets[:8, -1], strict=True):
        if target not in (IGNORE, wanted := _oracle(task, tokens)):
            yield f"{distribution}: {tokens.tolist()} has the target {target}, reference_answer says {wanted}"
    if task.sample(0, np.random.default_rng(1), distribution).tokens.shape != (0, task.n_positions):
        yield f"{distribution}: a sample of none is not empty"


def _cut_problems(task: AbstractTask, n: int) -> Iterator[str]:
    cut, again = (task.sample_cut(n, np.random.default_rng(2)) for _ in range(2))
    if not (np.array_equal(cut.prefix, again.prefix) and np.array_equal(cut.answers, again.answers)):
        yield "sample_cut: two samples of one seed differ"
    if cut.answers.shape != (n, task.state_case().n_answers):
        yield f"sample_cut: answers have shape {cut.answers.shape}, not ({n}, n_answers)"
        return
    if not np.isin(cut.answers[cut.answers != IGNORE], task.answer_values).all():
        yield "answer_values: an answer of sample_cut is not among them"
    if not np.array_equal(task.queries, cut.queries) or cut.prefix.shape[1] != task.prefix_len:
        yield "sample_cut: queries or the length of the prefix are not the task's own (queries, prefix_len)"
    if cut.places is not None:
        settled = cut.answers != IGNORE
        if cut.places.shape != cut.answers.shape or ((cut.places != IGNORE) != settled).any():
            yield "sample_cut: places are not those of the answers that are defined"
        elif settled.any() and not 0 <= cut.places[settled].min() <= cut.places[settled].max() < cut.prefix.shape[1]:
            yield f"sample_cut: a place is outside the prefix, 0..{cut.prefix.shape[1] - 1}"
    if cut.suffixes is None:
        for a in range(cut.answers.shape[1])[:64]:
            whole = cut.whole(np.full(n, a))
            if whole.shape[1] != task.n_positions:
                yield f"sample_cut: prefix and query have {whole.shape[1]} tokens together, not {task.n_positions}"
                return
            if (task.answers(whole)[:, -1] != cut.answers[:, a]).any() or any(
                _oracle(task, whole[i]) != cut.answers[i, a] for i in range(min(n, 4))
            ):
                yield f"sample_cut: an answer to query {cut.queries[a].tolist()} is not reference_answer's"


def _case_problems(task: AbstractTask) -> Iterator[str]:
    case, window = task.state_case(), task.window_case()
    most = case.n_answers * math.log2(case.n_values)
    if not 0 <= case.entropy_bits <= most * (1 + 1e-9):
        yield f"state_case: {case.entropy_bits} bits are more than {case.n_answers} answers carry, {most}"
    if case.zero_error_bits < case.entropy_bits * (1 - 1e-9):
        yield f"state_case: zero_error_bits {case.zero_error_bits} are less than entropy_bits {case.entropy_bits}"
    if case.independent_uniform and case.entropy_bits < most * (1 - 1e-9):
        yield f"state_case: independent uniform answers have {most} bits, not {case.entropy_bits}"
    if not 0 <= window.sensitivity_distance < task.n_positions:
        yield f"window_case: no token is {window.sensitivity_distance} before the end of {task.n_positions}"
    if case.zero_error_bits <= math.log2(_SEEN_ROWS / 50):
        yield from _entropy_problems(task, case.entropy_bits, case.zero_error_bits)


def _entropy_problems(task: AbstractTask, entropy_bits: float, zero_error_bits: float) -> Iterator[str]:
    """Rows and their entropy in a sample that is large next to their number."""
    answers = task.sample_cut(_SEEN_ROWS, np.random.default_rng(3)).answers
    counts = np.unique(answers, axis=0, return_counts=True)[1]
    if (answers == IGNORE).any():
        return  # the entropies are given which answers are defined
    if len(counts) > round(2**zero_error_bits):
        yield f"state_case: {len(counts)} rows were seen, more than 2^zero_error_bits = {2**zero_error_bits:g}"
    share = counts / _SEEN_ROWS
    seen = float(-(share * np.log2(share)).sum())
    # The estimate is low by about (rows - 1) / (2 N ln 2); its standard error is at most that of -log2 share.
    bias = (len(counts) - 1) / (2 * _SEEN_ROWS * math.log(2))
    spread = math.sqrt(max(0.0, float((share * np.log2(share) ** 2).sum()) - seen**2) / _SEEN_ROWS)
    if abs(seen + bias - entropy_bits) > 6 * spread + 2 * bias + 1e-9:
        yield f"state_case: the rows of a sample have {seen:.4f} bits, entropy_bits is {entropy_bits:.4f}"
