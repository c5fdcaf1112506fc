"""Check a lower bound against every encoder-decoder pair of random tiny answer tables, with hypothesis strategies."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from boundprobe.bounds.machines import Machine, machines
from boundprobe.checks import check_word
from boundprobe.errors import MissingDependencyError
from boundprobe.tasks.base import IGNORE

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = ["Machine", "check_bound", "encoders", "machines", "tiny_tasks"]

Table = NDArray[np.int64]

#: Bits by which a bound may be above the truth: rounding of floats, and far below any real mistake.
SLACK_BITS = 1e-9

#: From a table and a machine's errors to bits that it must have; None where the bound's conditions do not hold.
BoundFunction = Callable[[Table, Machine], float | None]


def check_bound(
    bound: BoundFunction,
    tables: SearchStrategy[Table] | Sequence[Table],
    *,
    of: str = "states",
    max_examples: int = 50,
) -> None:
    """Search for a machine that has less than a lower bound says it must.

    Parameters
    ----------
    bound : callable
        From (table, machine) to bits, or None where it does not apply.  Of the machine it may use the errors.
    tables : strategy or sequence of int64 arrays (n_prefixes, n_queries)
        Such as ``tiny_tasks()``; a strategy needs hypothesis and is reduced to a small counterexample.
    of : "states" | "information"
        What is bounded: log2 of the number of states, or I(U;S).
    max_examples : int
        Tables that are drawn from a strategy.

    Raises
    ------
    AssertionError
        If some machine beats the bound, or the bound never applied.
    MissingDependencyError
        If a strategy is given without hypothesis.

    Examples
    --------
    >>> words = np.array(list(np.ndindex(2, 2)))
    >>> check_bound(lambda table, machine: 2.0 if machine.mean_error == 0 else 0.0, [words])
    >>> check_bound(lambda table, machine: 2.1 if machine.mean_error == 0 else 0.0, [words])
    Traceback (most recent call last):
    ...
    AssertionError: the bound says 2.1 bits, a machine with these errors has 2 bits of states: table [[0, 0], \
[0, 1], [1, 0], [1, 1]], states (0, 1, 2, 3), errors [0.0, 0.0]
    """
    check_word("of", of, ("states", "information"))
    applied = 0

    def beat(table: Table) -> None:
        nonlocal applied
        for machine in machines(table):
            bits = bound(table, machine)
            if bits is None:
                continue
            applied += 1
            has = math.log2(machine.n_states) if of == "states" else machine.information_bits
            if not bits <= has + SLACK_BITS:  # a bound that is nan is wrong as well
                raise AssertionError(
                    f"the bound says {bits:g} bits, a machine with these errors has {has:g} bits of {of}: "
                    f"table {table.tolist()}, states {machine.labels}, errors {machine.errors.tolist()}"
                )

    if isinstance(tables, Sequence):
        for table in tables:
            beat(np.asarray(table))
    else:
        hypothesis = _hypothesis()
        settings = hypothesis.settings(
            max_examples=max_examples, deadline=None, derandomize=True, database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )  # fmt: skip
        settings(hypothesis.given(tables)(beat))()
    if not applied:
        raise AssertionError("`tables` must hold some that meet the bound's conditions; got none that do.")


def tiny_tasks(
    max_prefixes: int = 6, max_queries: int = 3, max_values: int = 3, *, undefined: bool = False
) -> SearchStrategy[Table]:
    """Random answer tables, small enough to try every encoder.

    Parameters
    ----------
    max_prefixes, max_queries, max_values : int
        At most 12 prefixes; up to 6 take milliseconds, 8 a second.
    undefined : bool
        Whether answers may be undefined (``IGNORE``); at least one is defined.

    Raises
    ------
    MissingDependencyError
        If hypothesis is not installed.
    """
    _hypothesis()
    from hypothesis import strategies as st

    answers = st.integers(0, max_values - 1)
    cells = st.one_of(answers, st.just(IGNORE)) if undefined else answers
    shapes = st.tuples(st.integers(1, max_prefixes), st.integers(1, max_queries))

    def table(shape: tuple[int, int]) -> SearchStrategy[Table]:
        flat = st.lists(cells, min_size=shape[0] * shape[1], max_size=shape[0] * shape[1])
        return flat.map(lambda values: np.array(values, np.int64).reshape(shape))

    return shapes.flatmap(table).filter(lambda drawn: bool((drawn != IGNORE).any()))


def encoders(n_prefixes: int, n_states: int) -> SearchStrategy[tuple[int, ...]]:
    """Random maps from prefixes to states.

    Parameters
    ----------
    n_prefixes, n_states : int

    Raises
    ------
    MissingDependencyError
        If hypothesis is not installed.
    """
    _hypothesis()
    from hypothesis import strategies as st

    return st.tuples(*[st.integers(0, n_states - 1)] * n_prefixes)


def _hypothesis() -> Any:
    try:
        import hypothesis
    except ImportError:
        raise MissingDependencyError(
            "`tables` must be given, because hypothesis is not installed. Run: pip install 'boundprobe[test]'"
        ) from None
    return hypothesis
