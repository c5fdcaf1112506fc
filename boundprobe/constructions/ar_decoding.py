"""Associative recall with decoding by shift registers and look-ups (Theorem 4.6), in three layers or in two.

Registers: ``word`` (sign code of the word, 0 at bits), ``before`` (the word before it), ``wanted`` (sign code of the
word that the last bits spell; in the embedding a bit stands in its first channel) and ``bit`` (1 at bits, 0 at words).

Three layers, as in the paper: shift the bits into ``wanted``; look up the word before; look up the latest word whose
``before`` agrees with ``wanted``.  Two layers: a second shift register keeps the last two words, so every position, a
bit's too, knows the latest word and the one before it, and one look-up is enough.
"""

from __future__ import annotations

import math

import numpy as np

from boundprobe.checks import check_integer, check_number, check_word
from boundprobe.constructions.codes import sign_codes
from boundprobe.constructions.program import (
    Agree,
    Avoid,
    Earlier,
    Latest,
    LookUp,
    Program,
    Registers,
    Shift,
    ShiftRegister,
)
from boundprobe.models.spec import ModelSpec
from boundprobe.tasks.ar_decoding import AssociativeRecallDecoding

#: Architecture by number of layers, and the heads that it needs.
ARCHITECTURES = {2: ("ssm-attn", 2), 3: ("ssm-attn-attn", 1)}
#: A word looked up counts twice, the word that stands there once.
GAIN = 2.0


def smallest_window(task: AssociativeRecallDecoding) -> int:
    """The window that makes the construction right on every input of the task's length: L - 1.

    The farthest pair that can be asked for is that of the first two tokens, seen from the last.  In three layers a
    word that is L - 1 behind the next is not seen by it, but then all between are bits, and that next word is the only
    one to look up.

    >>> smallest_window(AssociativeRecallDecoding())
    99
    """
    return task.seq_len - 1


def hard_case_window(task: AssociativeRecallDecoding) -> int:
    """The window that is enough on state-hard, window-hard and mixture: W + gap + b - 1, whatever the length.

    The first value stands W - 2 positions before the last one, and at most the gap, which is words, and b bits follow
    that.

    >>> hard_case_window(AssociativeRecallDecoding()), hard_case_window(AssociativeRecallDecoding(gap=10))
    (36, 46)
    """
    return task.n_words + task.gap + task.word_bits - 1


def uniform_error(task: AssociativeRecallDecoding, window: int, n_layers: int = 2) -> float:
    """Upper bound on the probability of being wrong at one position of a uniform input.

    ``(1 - (1 - p) / W)^w``: if the pair is out of sight, none of the last w tokens is the word asked for.  Three layers
    also need the second word of the pair to see the first: at most ``p^(w - 1)`` more for each of L positions.

    >>> round(uniform_error(AssociativeRecallDecoding(), window=36), 3)
    0.402
    """
    p = task.bit_probability
    unseen = (1.0 - (1.0 - p) / task.n_words) ** window
    return float(unseen if n_layers == 2 else unseen + task.seq_len * p ** (window - 1))


def uniform_window(task: AssociativeRecallDecoding, error: float) -> int:
    """Smallest window with ``uniform_error`` at most ``error``, in two layers; the paper's W log W, with constants.

    >>> uniform_window(AssociativeRecallDecoding(), 0.01)
    182
    """
    missed = math.log1p(-(1.0 - task.bit_probability) / task.n_words)
    return math.ceil(math.log(check_number("error", error, above=0, below=1)) / missed)


def smallest_spec(task: AssociativeRecallDecoding, n_layers: int = 2, window: int | None = None) -> ModelSpec:
    """Sizes of the narrowest model that the program fits into.

    Parameters
    ----------
    task : AssociativeRecallDecoding
    n_layers : 2 | 3
        3 as in the paper.
    window : int or None, in tokens
        None for ``smallest_window``.

    Returns
    -------
    ModelSpec

    Raises
    ------
    ValueError
        If the number of layers is another, or the window is no size.

    Examples
    --------
    >>> spec = smallest_spec(AssociativeRecallDecoding())
    >>> spec.architecture, spec.d_model, spec.window, spec.n_heads, spec.d_state
    ('ssm-attn', 16, 99, 2, 10)
    """
    check_integer("n_layers", n_layers, 2, 3, why="; take 2, or 3 as in the paper")
    architecture, n_heads = ARCHITECTURES[n_layers]
    width = 3 * task.word_bits + 1
    return ModelSpec(
        architecture, d_model=width + width % n_heads,  # heads share the width equally
        window=smallest_window(task) if window is None else check_integer("window", window, 1),
        position="learned", n_heads=n_heads, d_state=n_heads * task.word_bits, d_conv=1, expand=1, mlp_ratio=0,
        norm="none",
    )  # fmt: skip


def ar_decoding_program(task: AssociativeRecallDecoding, spec: ModelSpec) -> Program:
    """The hybrid ``ssm-attn`` or ``ssm-attn-attn``, right wherever the pair is in its window.

    Parameters
    ----------
    task : AssociativeRecallDecoding
    spec : ModelSpec
        One of ``ARCHITECTURES`` without norms, with learned positions, at least as large as ``smallest_spec``.

    Returns
    -------
    Program

    Raises
    ------
    ValueError
        If the architecture is another, or its state too small.

    References
    ----------
    Cooper, Diakonikolas, Ma, Sala 2026 (arXiv 2603.08859), Theorem 4.6, which has three layers.

    Examples
    --------
    >>> task = AssociativeRecallDecoding()
    >>> program = ar_decoding_program(task, smallest_spec(task))
    >>> program.registers.widths, len(program.layers)
    ({'word': 5, 'before': 5, 'wanted': 5, 'bit': 1}, 2)
    """
    names = {name: (n_layers, n_heads) for n_layers, (name, n_heads) in ARCHITECTURES.items()}
    n_layers, n_heads = names[check_word("architecture", spec.architecture, names, of=" of associative recall")]
    b, n_words = task.word_bits, task.n_words
    check_integer("n_heads", spec.n_heads, n_heads, why=" (one for each shift register)")
    check_integer("d_state", spec.d_state, n_heads * b, why=" (the slots of a shift register)")
    words, bits = np.zeros((n_words + 2, b)), np.zeros((n_words + 2, b))
    words[2:] = sign_codes(n_words)
    bits[:2, 0] = (-1.0, 1.0)
    is_bit = (np.arange(n_words + 2) < 2).astype(np.float64)[:, None]
    return Program(
        spec=spec,
        registers=Registers({"word": b, "before": b, "wanted": b, "bit": 1}),
        embedding={"word": words, "wanted": bits, "bit": is_bit},
        layers=_layers(b)[n_layers],
        answer="word",
        answer_codes=words,
    )


def _layers(word_bits: int) -> dict[int, tuple[Shift | LookUp, ...]]:
    """The layers of the program, by their number."""
    last_bits = ShiftRegister(("wanted",), 1, "bit", reads=1)
    last_words = ShiftRegister(("word", "before"), word_bits, "bit", reads=0)
    recall = (Agree("wanted", "before"), Latest())
    return {
        2: (
            Shift((last_bits, last_words)),
            LookUp(recall, "word", "word", GAIN),
        ),
        3: (
            Shift((last_bits,)),
            LookUp((Earlier(), Avoid("bit"), Latest()), "word", "before", 1.0),
            LookUp((Avoid("bit"), *recall), "word", "word", GAIN),
        ),
    }
