"""Catalogue of the bounds, each with its formula, its reference, and how the reference was checked."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

#: Name and version of the JSON document.
SCHEMA = "boundprobe.bounds-catalogue/1"

_COOPER = "Cooper, Diakonikolas, Ma, Sala 2026, arXiv 2603.08859"
_DERIVED = "constants not available to us: derived here"


@dataclass(frozen=True)
class Entry:
    """One bound.

    Attributes
    ----------
    name : str
        Its name in the theory (S1, W2), or what it is about.
    family : "state" | "window" | "neighbour"
    direction : "lower" | "upper"
        ``lower``: on bits, tokens or error; ``upper``: on accuracy, success or pairs.
    formula : str
    assumptions : tuple of str
    functions : tuple of str
        Names in ``package``.
    reference : str
    source_says : str
        What the reference states, as far as we know it.
    source_known : str
        How we know it: read, quoted by others, its abstract alone.
    evidence : str
        For the formula, as in ``Bound``: ``proved`` entries are enumerated on small cases by tests.
    package : str
        Where the functions are.
    """

    name: str
    family: str
    direction: str
    formula: str
    assumptions: tuple[str, ...]
    functions: tuple[str, ...]
    reference: str
    source_says: str
    source_known: str
    evidence: str = "proved"
    package: str = "boundprobe.bounds"


CATALOGUE: tuple[Entry, ...] = (
    Entry(
        "S1 Fano", "state", "lower",
        "log2 |S| >= I(U;S) >= H(Y_A) - sum_a Phi(p_a), Phi(p) = h(p) + p log2(K - 1), at most log2 K",
        ("the query is independent of the prefix", "H(Y_A) is the joint entropy of the answers"),
        ("fano_bits", "mean_error_fano_bits", "fano_accuracy_ceiling", "required_bits", "required_state_entries"),
        f"{_COOPER}, Theorem 3.3 and Lemma 3.5",
        "a lower bound on sum_i log |S_i| at constant success",
        "our exact form, derived in docs/theory",
    ),
    Entry(
        "S2 rate-distortion", "state", "lower",
        "I(U;S) >= sum_a R_a(p_a); uniform answers: R(p) = log2 K - Phi(p)",
        ("the answers are independent",),
        ("rate_distortion_uniform", "blahut_arimoto", "rate_distortion", "distortion_rate"),
        "Shannon 1959; Blahut 1972 and Arimoto 1972, IEEE Trans. Inf. Theory 18; Csiszar 1974",
        "the iteration, and the dual bound that certifies it", "textbook",
    ),
    Entry(
        "S3 ball packing", "state", "lower",
        "mean error >= M B(q^n / M) / (n q^n), B(c) the sum of the c least Hamming distances from a word",
        ("n independent uniform coordinates of q values", "each query reads one coordinate"),
        ("packing_error_floor", "packing_bits", "packing_accuracy_ceiling"),
        f"one-shot form of Theorem 3.3, {_COOPER}", "no one-shot form",
        "our exact form, derived in docs/theory",
    ),
    Entry(
        "S4 zero error", "state", "lower",
        "states for zero error = distinct rows of the answer table",
        ("deterministic answers, all defined",), ("distinct_rows", "zero_error_bits"),
        f"Myhill 1957, Nerode 1958; Assumption 3.2 of {_COOPER}", "the classes of prefixes", "textbook",
    ),
    Entry(
        "S5 one wrong is all wrong", "state", "upper",
        "P(every answer right) <= M / number of equally likely memory parts",
        ("memory parts are equally likely, or their min-entropy is given",),
        ("whole_success_ceiling", "whole_success_bits"),
        "Jelassi, Brandfonbrener, Kakade, Malach 2024, arXiv 2402.01032, for copying", "see copying", "derived here",
    ),
    Entry(
        "absent answers", "state", "lower",
        "I(U;S) >= sum_a e_a [log2 K_a - Phi(p_a)]",
        ("defined answers are independent and uniform, given which are defined", "p_a given that it is defined"),
        ("absent_answers_bits",), f"S1 and Theorem 3.3 of {_COOPER}", "not treated", "derived here",
    ),
    Entry(
        "W1 two points", "window", "lower",
        "success above 1/2 on the worst two inputs needs sum_i (w_i - 1) >= d",
        ("window w: a position sees itself and the w - 1 before it", "no recurrent layer"),
        ("receptive_field", "min_receptive_field", "min_sum_window_minus_one"),
        f"{_COOPER}, Assumption 3.6 and Theorem 3.7",
        "two inputs that agree on the last tokens and differ in their answers",
        "our exact form, derived in docs/theory",
    ),
    Entry(
        "W2 exact ceiling", "window", "upper",
        "success <= E[max_y P(y | last R tokens)], R = 1 + sum_i (w_i - 1)",
        ("the window-hard distribution of the task",),
        ("window_accuracy_ceiling", "blind_accuracy", "expected_max_count"),
        f"{_COOPER}, Theorem 3.7", "the two-point form",
        "our exact form, derived in docs/theory",
    ),
    Entry(
        "D1 diagonal cut", "state", "lower",
        "S1 and S3 for the answers D or more tokens before the query, with the bits across a cut of lag D for log2 |S|",
        (
            "answers lie at known places, and are independent and uniform or a permutation, given those nearer",
            "the cut ends before the query",
        ),
        ("diagonal_bounds", "frontier", "DiagonalCuts"),
        f"generalises Theorems 3.3 and 3.7 of {_COOPER}", "states and windows apart, not of one hybrid",
        "ours, proved in docs/theory/bounds.md",
    ),
    Entry(
        "T1 certified information", "state", "lower",
        "I(U;S) >= H(Y | D) - c with probability 1 - alpha, c an upper confidence bound of the mean code length",
        ("the prior of the answers is known", "the decoder was frozen before independent sequences were evaluated"),
        ("certify_states", "measure"),
        "Fano 1961; Barber and Agakov 2003; Waudby-Smith and Ramdas 2024, arXiv 2010.09686, for the confidence bound",
        "variational bounds of mutual information; confidence bounds for means",
        "our combination, proved in docs/theory/bounds.md",
        package="boundprobe.probes",
    ),
    Entry(
        "copying", "neighbour", "lower",
        "M >= success * V^n states to repeat n uniform tokens whole",
        ("uniform string", "the whole string must be right"), ("whole_success_bits",),
        "Jelassi, Brandfonbrener, Kakade, Malach 2024, arXiv 2402.01032, Theorem 2.7 and Corollary 2.8",
        "error > 1 - |S| / D^L for every state space S; error > 1/2 if mem(S) < L log D - 1 "
        "(M states attain 1 - M / V^n, so 'at least', not '>', is computed here)",
        "theorem as quoted by others",
    ),
    Entry(
        "recall of N pairs", "neighbour", "lower",
        "I(U;S) >= N [log2 V - Phi(error)]: N log2 V at error 0",
        ("N known keys", "values independent and uniform over V"), ("mean_error_fano_bits",),
        "Arora et al. 2024 (Based), arXiv 2402.18668, Theorem 3.1; the task: Arora et al. 2023 (Zoology), "
        "arXiv 2312.04927",
        "Based: a recurrent model that reads u in {0,1}^(N x d) causally needs Omega(N) bits of state for multi-query "
        "recall. Zoology, Theorem 4.4, is about gated convolutions: a dimension at least linear in N",
        f"theorems as quoted by others; {_DERIVED}, from S1",
    ),
    Entry(
        "index lookup", "neighbour", "lower",
        "S3 for n positions of V values; n log2 V at error 0 (one-way communication); width >= bits / precision",
        ("uniform string and index", "the state at the cut is the one message"),
        ("packing_bits",),
        "Bhattamishra, Hahn, Blunsom, Kanade 2024, arXiv 2406.09347",
        "a recurrent network needs a hidden state of linear size for index lookup, by a reduction from "
        "communication complexity",
        f"abstract alone; {_DERIVED}, from S3 and S4",
    ),
    Entry(
        "recall at constant size", "neighbour", "upper",
        "pairs recalled <= bits / [log2 V - Phi(error)], whatever the length",
        ("N known keys", "values independent and uniform over V"), ("fano_loss_bits",),
        "Zhou 2026, arXiv 2605.05066 (efficiency, compactness, recall)",
        "O(poly(d) / log V) pairs for constant work and state; reported as withdrawn on 2026-08-06 for an error in "
        "the proof of its main theorem: nothing here rests on it",
        f"abstract, and others' report of the withdrawal; {_DERIVED}, from S1",
    ),
)  # fmt: skip


def catalogue_to_json() -> dict[str, object]:
    """The document ``boundprobe.bounds-catalogue/1``.

    Examples
    --------
    >>> entries = catalogue_to_json()["entries"]
    >>> entries[0]["name"]
    'S1 Fano'
    """
    entries = [
        {key: list(value) if isinstance(value, tuple) else value for key, value in dataclasses.asdict(entry).items()}
        for entry in CATALOGUE
    ]
    return {"schema": SCHEMA, "entries": entries}
