"""Joint entropy of the last successor of each token in a stream of uniform tokens.

Read backwards, the stream is a walk that draws a uniform token at each step; what followed the last place of a
token is the token that the walk was at when it first came to this one.  So the answers are the walk's tree of
first entries, rooted at the last token (Aldous 1990; Broder 1989).  All labellings of a tree are equally
likely, so the walk needs to be followed up to isomorphism only.

Glossary: n tokens, P draws, k distinct tokens seen, D the set of them, Y the tree.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import cache

import numpy as np

#: Largest alphabet whose trees are enumerated, 4,766 of twelve vertices (0.4 s); beyond it there are floors.
MOST_EXACT_TOKENS = 12


def distinct_count_pmf(n_tokens: int, n_draws: int) -> np.ndarray:
    """Probability that k distinct tokens are seen in P uniform draws: float64 (n + 1,).

    >>> distinct_count_pmf(2, 3).tolist()
    [0.0, 0.25, 0.75]
    """
    k = np.arange(n_tokens + 1)
    pmf: np.ndarray = (k == 0).astype(float)
    for _ in range(n_draws):
        step = pmf * k / n_tokens
        step[1:] += pmf[:-1] * (n_tokens - k[:-1]) / n_tokens
        pmf = step
    return pmf


def set_entropy(n_tokens: int, n_draws: int) -> float:
    """Entropy of the set of tokens seen, H(D), in bits: sets of one size are equally likely.

    >>> round(set_entropy(2, 3), 4)
    1.0613
    """
    pmf = distinct_count_pmf(n_tokens, n_draws)
    return math.fsum(p * (log2_choose(n_tokens, k) - math.log2(p)) for k, p in enumerate(pmf.tolist()) if p > 0)


def log2_choose(n: int, k: int) -> float:
    """log2 of the number of sets of k out of n.

    >>> round(log2_choose(4, 2), 6)
    2.584963
    """
    return (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)) / math.log(2)


def conditional_floor(n_tokens: int, n_draws: int) -> float:
    """A lower bound of H(Y | D), in bits: sum_k P(k) max(0, (k-1) log2 k + log2 c_k).

    Given D, k tokens, the walk is uniform on D under the condition that it covers D, of probability c_k.  Without
    that condition its tree is uniform over k^(k-1) (Aldous-Broder), so with it no tree is likelier than
    k^-(k-1) / c_k.  From P(k) = C(n,k) (k/n)^P c_k.  Exact where c_k is 1.

    >>> round(conditional_floor(3, 200), 6) == round(2 * math.log2(3), 6)
    True
    """
    pmf = distinct_count_pmf(n_tokens, n_draws)
    k = np.flatnonzero(pmf)
    return float(np.sum(pmf[k] * np.maximum(0.0, (k - 1) * np.log2(k) + log2_cover(n_tokens, n_draws)[k])))


def log2_cover(n_tokens: int, n_draws: int) -> np.ndarray:
    """log2 c_k, c_k the probability that P uniform draws from k tokens show them all; NaN where k never is seen.

    >>> (2 ** log2_cover(3, 2)[1:3]).round(9).tolist()
    [1.0, 0.5]
    """
    pmf = distinct_count_pmf(n_tokens, n_draws)
    out = np.full(n_tokens + 1, np.nan)
    for k in np.flatnonzero(pmf).tolist():
        sets = log2_choose(n_tokens, k) + n_draws * math.log2(max(k, 1) / n_tokens)
        out[k] = min(0.0, math.log2(pmf[k]) - sets)
    return out


# Trees up to isomorphism are texts: a vertex is "(" children ")", children in order; "[]" is the leaf last entered.


def _children(tree: str) -> list[str]:
    depth, start, found = 0, 1, []
    for i in range(1, len(tree) - 1):
        depth += 1 if tree[i] in "([" else -1
        if depth == 0:
            found.append(tree[start : i + 1])
            start = i + 1
    return found


def _join(children: list[str]) -> str:
    return f"({''.join(sorted(children))})"


@cache
def grown(tree: str) -> tuple[str, ...]:
    """The trees with a new leaf "[]" at each vertex of ``tree`` in turn.

    >>> grown("(())")
    ('(()[])', '(([]))')
    """
    children = _children(tree)
    below = [_join([*children[:i], new, *children[i + 1 :]]) for i, c in enumerate(children) for new in grown(c)]
    return _join([*children, "[]"]), *below


@cache
def _replaced(tree: str, leaf: str) -> str:
    """``tree`` with ``leaf`` in place of its "[]"."""
    return leaf if tree == "[]" else _join([_replaced(c, leaf) if "[" in c else c for c in _children(tree)])


@cache
def symmetries(tree: str) -> int:
    """Number of automorphisms.

    >>> symmetries("(()()(()))")
    2
    """
    counts = Counter(_children(tree))
    return math.prod(symmetries(child) ** m * math.factorial(m) for child, m in counts.items())


@cache
def _steps(n_tokens: int) -> tuple[tuple[str, ...], np.ndarray, np.ndarray, np.ndarray]:
    """The walk on classes of trees: the classes, and from where to where it steps, with what probability.

    Where the last draw was no entry, the walk is at any of the k tokens seen, with equal probability; where it
    was, it is at the leaf "[]".
    """
    index = {"[]": 0}
    steps: list[tuple[int, int, float]] = []

    def step(start: int, tree: str, p: float) -> None:
        if tree not in index:
            index[tree] = len(index)
            classes.append(tree)
        steps.append((start, index[tree], p))

    classes = ["[]"]
    for start, tree in enumerate(classes):  # grows as it is read
        k = len(tree) // 2
        step(start, _settled(tree), k / n_tokens)
        if k < n_tokens:
            entries = (_replaced(tree, "([])"),) if "[" in tree else grown(tree)
            for entry in entries:
                step(start, entry, (n_tokens - k) / n_tokens / len(entries))
    starts, ends, p = zip(*steps, strict=True)
    return tuple(classes), np.array(starts), np.array(ends), np.array(p)


def _settled(tree: str) -> str:
    return _replaced(tree, "()") if "[" in tree else tree


def tree_pmf(n_tokens: int, n_draws: int) -> dict[str, float]:
    """Probability of each class of trees of first entries after P >= 1 draws.

    >>> tree_pmf(2, 2)
    {'()': 0.5, '(())': 0.5}
    """
    classes, starts, ends, p = _steps(n_tokens)
    now: np.ndarray = np.zeros(len(classes))
    now[0] = 1.0
    for _ in range(n_draws - 1):
        now = np.bincount(ends, weights=now[starts] * p, minlength=len(classes))
    pmf: defaultdict[str, float] = defaultdict(float)
    for i in np.flatnonzero(now).tolist():
        pmf[_settled(classes[i])] += float(now[i])
    return dict(pmf)


def exact_entropies(n_tokens: int, n_draws: int) -> tuple[float, float]:
    """H(Y | D) and H(Y) = H(Y | D) + H(D), in bits, where the last token's answer is itself.

    >>> [round(bits, 4) for bits in exact_entropies(2, 3)]
    [0.75, 1.8113]
    """
    joint = labelled_entropy(
        (p, math.perm(n_tokens, len(tree) // 2) // symmetries(tree)) for tree, p in tree_pmf(n_tokens, n_draws).items()
    )
    return max(0.0, joint - set_entropy(n_tokens, n_draws)), joint


def labelled_entropy(classes: Iterable[tuple[float, int]]) -> float:
    """Entropy in bits of classes of probability p, each of m equally likely members.

    >>> labelled_entropy([(0.5, 1), (0.5, 4)])
    2.0
    """
    return math.fsum(p * (math.log2(m) - math.log2(p)) for p, m in classes if p > 0)


@cache
def hung_trees(tree: str) -> tuple[tuple[str, ...], ...]:
    """For each vertex r in turn: the trees that hang on the path from the root to r, root first.

    >>> hung_trees("(()())")
    (('(()())',), ('(())', '()'), ('(())', '()'))
    """
    children = _children(tree)
    below = [(_join(children[:i] + children[i + 1 :]), *rest) for i, c in enumerate(children) for rest in hung_trees(c)]
    return (tree,), *below
