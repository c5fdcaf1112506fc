"""Check a sequence mixer against the contract of ``boundprobe.models.mixer.AbstractMixer``."""

from __future__ import annotations

from collections.abc import Callable

import torch

from boundprobe.checks import check_integer, check_number
from boundprobe.models.mixer import AbstractMixer
from boundprobe.testing.mixer_checks import BATCH, CHECKS, Case, form
from boundprobe.testing.problems import problems_of


def check_mixer(
    make: Callable[[], AbstractMixer],
    *,
    d_model: int,
    n_tokens: int = 12,
    tolerance: float = 1e-5,
    device: str = "cpu",
) -> None:
    """Hold a sequence mixer against its contract: shapes, state, causality, gradients, precision, ensembles.

    Parameters
    ----------
    make : callable
        Builds the mixer with new random weights from torch's global generator.
    d_model : int
        Width of its inputs and outputs.
    n_tokens : int, at least 3
        Length of the sequences that are read, T; more than a chunk or a window, so that all of the mixer is used.
    tolerance : float
        By how much float32 results may differ that should be the same, absolutely and relatively.
    device : str
        Where the mixer runs.

    Raises
    ------
    AssertionError
        Lists everything that is wrong, in one line.

    Notes
    -----
    What is checked: the output has the shape and type of the input, and the state the tensors that ``state_names``
    names, one row for each sequence; their shapes do not depend on what is read; the same reading twice gives the
    same, and a copy of the mixer goes on from a state as the mixer itself does (nothing is held between calls); no
    sequence hears of another, no token of a later one; reading in pieces, at every cut and token by token, is
    reading whole; every parameter gets a gradient, and the first piece gets one through the state; weights are saved
    and loaded; float64 and bfloat16 work and give their type to the state; and ``torch.func.vmap`` over stacked
    mixers gives the output and gradients of each.

    Examples
    --------
    >>> from boundprobe.models.gru import GRU
    >>> check_mixer(lambda: GRU(d_model=4, expand=1), d_model=4)
    """
    check_integer("d_model", d_model, 1)
    check_integer("n_tokens", n_tokens, 3, why=", so that a mixer has a past, a present and a future")
    check_number("tolerance", tolerance, above=0)
    with torch.random.fork_rng(devices=[]):  # the caller's global generator is left as it was
        torch.manual_seed(1)
        case = Case(make, torch.randn(BATCH, n_tokens, d_model).to(device), tolerance)
        # Where the form is wrong, everything else would be.
        wrong = problems_of(form, case) or [problem for check in CHECKS for problem in problems_of(check, case)]
    if wrong:
        raise AssertionError(f"the mixer breaks its contract: {'; '.join(wrong)}")
