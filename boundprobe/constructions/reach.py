"""Positions at which a construction with a short window must be right: those whose answer it can see."""

from __future__ import annotations

import numpy as np

from boundprobe.tasks.ar_decoding import AssociativeRecallDecoding

_FIRST_WORD = 2
#: Far in the past: never in any window.
_NEVER = -(2**40)


def everywhere(tokens: np.ndarray) -> np.ndarray:
    """Reach of a construction that sees all it needs: bool (n, T), all true."""
    return np.ones(tokens.shape, bool)


def pair_in_window(task: AssociativeRecallDecoding, tokens: np.ndarray, window: int, n_layers: int) -> np.ndarray:
    """Positions from which the pair asked for is in the window: bool (n, T); means nothing where nothing is asked.

    Let o be the last occurrence of the word asked for, s the next word's position, r the position before the word
    after that (or the last one so far).  Positions s to r show the pair.  Two layers are right at t if ``t - r <
    window``; three if ``t - s < window``, as bits show no pair there, and ``s - o < window``.

    Parameters
    ----------
    task : AssociativeRecallDecoding
    tokens : int64 array (n, T)
    window : int, in tokens
    n_layers : 2 | 3

    Returns
    -------
    bool array (n, T)

    Examples
    --------
    Words 0, 3, 1, then the bits 0, 0 ask for what followed word 0, which stands three positions before the end:

    >>> task, tokens = AssociativeRecallDecoding(word_bits=2, seq_len=6), np.array([[2, 5, 3, 0, 0]])
    >>> [bool(pair_in_window(task, tokens, window, 2)[0, -1]) for window in (3, 4)]
    [False, True]
    """
    n, length = tokens.shape
    rows = np.arange(n)
    shown_at = np.full((n, task.n_words + 1), _NEVER)  # by the pair's first word; the last column is for no word
    code = np.zeros(n, np.int64)
    word, before = np.full(n, task.n_words), np.full(n, task.n_words)
    word_at = np.full(n, _NEVER)
    reach = np.zeros(tokens.shape, bool)
    for t in range(length):
        token = tokens[:, t]
        is_word = token >= _FIRST_WORD
        code = np.where(is_word, code, (code << 1 | token) & (task.n_words - 1))
        before, word = np.where(is_word, word, before), np.where(is_word, token - _FIRST_WORD, word)
        if n_layers == 2:
            shown_at[rows, before] = t
        else:
            seen = np.where(t - word_at < window, t, _NEVER)  # the word before is too far to be seen from here
            shown_at[rows, before] = np.where(is_word, seen, shown_at[rows, before])
        word_at = np.where(is_word, t, word_at)
        reach[:, t] = t - shown_at[rows, code] < window
    return reach
