"""Selective copying by holding and looking up (Theorem 4.3), at every position.

Registers: ``token`` (sign code of the token), ``offset`` (how far back the number asks, 0 at letters), ``number``
(1 at numbers) and ``one`` (1 everywhere).  The Mamba layer holds ``offset``; attention looks up the token at that
distance and adds it twice to ``token``, where it outvotes the token itself.
"""

from __future__ import annotations

import numpy as np

from boundprobe.checks import check_integer, check_word
from boundprobe.constructions.codes import bit_codes, code_width, sign_codes
from boundprobe.constructions.program import AtAngle, AtDistance, Hold, LookUp, Program, Registers
from boundprobe.constructions.rotary import FLOAT32, FLOAT64, choose_pairs, held_angles
from boundprobe.models.spec import ModelSpec
from boundprobe.tasks.selective_copying import SelectiveCopying

POSITIONS = ("learned", "rope")
#: Longest window, in tokens, whose rotary pairs are searched.
WIDEST_ROTARY_WINDOW = 200_000
#: A token looked up counts twice, the token that stands there once.
GAIN = 2.0


def smallest_window(task: SelectiveCopying) -> int:
    """Tokens that the look-up must see: the largest distance, and the position itself.

    >>> smallest_window(SelectiveCopying(n_numbers=10))
    11
    """
    return task.distances[-1] + 1


def smallest_spec(task: SelectiveCopying, position: str = "learned", window: int | None = None) -> ModelSpec:
    """Sizes of the narrowest model that the program fits into.

    Parameters
    ----------
    task : SelectiveCopying
    position : "learned" | "rope"
    window : int or None, in tokens
        None for the smallest.

    Returns
    -------
    ModelSpec

    Raises
    ------
    ValueError
        If the window does not reach the largest number's target, or rotations cannot tell its distances apart.

    Notes
    -----
    With ``rope``, sizes that float32 cannot carry are those of a float64 model; ``check_fit`` refuses to build it.

    Examples
    --------
    >>> smallest_spec(SelectiveCopying()).d_model, smallest_spec(SelectiveCopying(), "rope").d_model
    (12, 10)
    """
    check_word("position", position, POSITIONS)
    w = _check_window(task, smallest_window(task) if window is None else window)
    fixed = code_width(task.vocab_size) + 2
    if position == "learned":
        return _spec(fixed + code_width(task.n_numbers), w, position)
    # The search visits every distance in the window, so wide windows would take too long.
    for unit in (FLOAT32, FLOAT64) if w <= WIDEST_ROTARY_WINDOW else ():
        for n_pairs in range(1, code_width(w) + 2):
            d_model = fixed + 2 * n_pairs
            d_model += d_model % 2
            if choose_pairs(d_model, _farthest(task, w), task.seq_len, n_pairs, unit) is not None:
                return _spec(d_model, w, position)
    raise _no_pairs(w)


def selective_copying_program(task: SelectiveCopying, spec: ModelSpec) -> Program:
    """The two-layer hybrid ``mamba-attn``, right at every position of every input, in the sizes of ``spec``.

    Parameters
    ----------
    task : SelectiveCopying
    spec : ModelSpec
        ``mamba-attn`` without norms, at least as wide as ``smallest_spec``.  With ``learned`` positions
        relative key vectors hold the distances' codes, the theorem's mechanism; with ``rope`` rotations do.

    Returns
    -------
    Program

    Raises
    ------
    ValueError
        If the window is too small, or rotations cannot tell its distances apart.

    References
    ----------
    Cooper, Diakonikolas, Ma, Sala 2026 (arXiv 2603.08859), Theorem 4.3; their keys are codes of the distance to the
    end, so theirs answers at the last position only.

    Examples
    --------
    >>> task = SelectiveCopying()
    >>> selective_copying_program(task, smallest_spec(task)).registers.widths
    {'token': 6, 'offset': 4, 'number': 1, 'one': 1}
    """
    check_word("position", spec.position, POSITIONS)
    window = _check_window(task, spec.window)
    n, v = task.n_numbers, task.vocab_size
    number = (np.arange(v) < n).astype(np.float64)[:, None]
    held = held_offsets(task, spec)
    offset = np.zeros((v, held.shape[1]))
    offset[:n] = held
    criterion: AtDistance | AtAngle
    if spec.position == "learned":
        codes = np.zeros((window, held.shape[1]))
        codes[list(task.distances)] = sign_codes(n)
        criterion = AtDistance("offset", codes)
    else:
        criterion = _choose_angles(task, spec)
    return Program(
        spec=spec,
        registers=Registers({"token": code_width(v), "offset": held.shape[1], "number": 1, "one": 1}),
        embedding={"token": sign_codes(v), "offset": offset, "number": number, "one": np.ones((v, 1))},
        layers=(Hold("offset", "number", "one"), LookUp((criterion,), "token", "token", GAIN)),
        answer="token",
        answer_codes=sign_codes(v),
    )


def held_offsets(task: SelectiveCopying, spec: ModelSpec) -> np.ndarray:
    """The held register of each number, float64 (n_numbers, width): a bit code, or the angles of its distance."""
    if spec.position == "learned":
        return bit_codes(task.n_numbers)
    return held_angles(_choose_angles(task, spec), spec.d_model // spec.n_heads, task.distances)


def _spec(d_model: int, window: int, position: str) -> ModelSpec:
    return ModelSpec(
        "mamba-attn", d_model=d_model, window=window, position=position, n_heads=1, d_state=1, d_conv=1, expand=1,
        mlp_ratio=0, norm="none",
    )  # fmt: skip


def _check_window(task: SelectiveCopying, window: int) -> int:
    why = f" (the largest number asks {task.distances[-1]} tokens back)"
    return check_integer("window", window, smallest_window(task), why=why)


def _farthest(task: SelectiveCopying, window: int) -> int:
    """Greatest difference between a distance in the window and one that is asked for."""
    return max(task.distances[-1], window - 1 - task.distances[0])


def _choose_angles(task: SelectiveCopying, spec: ModelSpec) -> AtAngle:
    """The fewest rotary pairs that tell the distances apart and leave room for the other registers."""
    head_width = spec.d_model // spec.n_heads
    room = (spec.d_model - code_width(task.vocab_size) - 2) // 2
    for unit in (FLOAT32, FLOAT64):
        for n_pairs in range(1, min(room, head_width // 2) + 1):
            found = choose_pairs(head_width, _farthest(task, spec.window), task.seq_len, n_pairs, unit)
            if found is not None:
                return found
    raise _no_pairs(spec.window)


def _no_pairs(window: int) -> ValueError:
    return ValueError(
        f"`window` must be so short, or d_model so wide, that rotations tell its distances apart; got {window} "
        "distances where they cannot. Take position 'learned'."
    )
