"""Hostile texts, numbers, documents and bytes, drawn from a generator."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

#: For every place that takes a text.  No absolute path is among them: what is written must stay in the sandbox.
TEXTS = (
    "", " ", "0", "-0", "-1", "1", "2", "1e308", "1e309", "-1e400", "nan", "-nan", "inf", "-inf", "1_000", "0x10",
    "1e3",
    "1.", ".5", "1,2", ",", "1,,2", "٣", "²", "½", "true", "None", "none", "null", "[]", "{}", "[1]", "'1'", '"1"',
    "1 ",
    "10**18", str(10**9), str(10**18), str(2**31), str(2**63 - 1), str(2**63), str(-(2**63)), str(10**30), "9" * 5000,
    "a", "A" * 300, "A" * 5000, "é", "日本", "\u202etxt", "\u200b", "\ufeff", "\udc80\udcff", "\x1b[2J", "\x07",
    "\r", "\n",
    "a\nb", "\t", "\x7f", "\x9b31m", "%s%n", "{0}", "{}", "$(touch x)", "`x`", "; x", "| x", "*", "?", "~", "..",
    ".", "-",
    "--", "---", "=", "a=", "=b", "a=b", ":", "a:", ":b", "a:b", "a.b:c", "1x2", "0x0", "1x", "x1", "1x999999",
    "999999x1",
    "1x2,1x2", "0/0", "1/1", "0/2", "99/3", "auto", "cpu", "cuda", "linear", "linear,linear", "mlp,,", "numba", "torch",
    "reference", "attn", "mamba-attn", "gru", "attn-", "-attn", "attn" + "-attn" * 400, "uniform", "mixture", "paper",
)  # fmt: skip

#: For every place that takes a number: most are numbers.
NUMBERS = (
    "0", "1", "2", "3", "4", "7", "16", "33", "64", "1000", "10000", "100000", "-1", "-5", "0.1", "0.5", "0.999999",
    "1.0", "1.5",
    "1e-300", "1e-9", "1e9", "1e18", "1e308", "-1e308", "nan", "inf", "-inf", "none", "uniform", "suffix", "prefix",
    str(2**20),
    str(2**31), str(2**40), str(2**62), str(10**18), str(2**63), str(10**30), "1_0", " 3 ", "3.0", "0.1,0.2", "2x3",
    "1x60", "8,8",
)  # fmt: skip

#: For every place of a document that takes a value of any type.
VALUES: tuple[Any, ...] = (
    0, -1, 1, 2, 3, 10**9, 10**18, 2**63, -(2**63), 10**40, 0.0, -0.0, 0.5, -0.5, 1.0, 1.5, 1e-300, 1e9, 1e308,
    float("nan"),
    float("inf"), float("-inf"), True, False, "", "x", "1", "nan", "\x1b[2J", "日本", "A" * 3000, [], [1], [0.1, 0.1],
    [[1, 2], [3]], ["linear"], ["linear", "linear"], [True], [{}], {}, {"x": 1}, {"name": "x"}, {"": {"": {}}},
)  # fmt: skip


def pick(rng: np.random.Generator, things: Sequence[Any]) -> Any:
    """One of a few things, of whatever types."""
    return things[int(rng.integers(len(things)))]


def text(rng: np.random.Generator) -> str:
    """A hostile text."""
    return str(pick(rng, TEXTS))


def number(rng: np.random.Generator) -> str:
    """A number that may be hostile, or any hostile text."""
    return str(pick(rng, NUMBERS if rng.random() < 0.75 else TEXTS))


def value(rng: np.random.Generator) -> Any:
    """A hostile value, a nested one now and then."""
    found = copy.deepcopy(pick(rng, VALUES))
    if rng.random() < 0.03:
        for _ in range(int(pick(rng, [3, 60, 400]))):
            found = [found] if rng.random() < 0.5 else {"a": found}
    return found


def places(document: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of keys to everything in a document."""
    below = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    return [path for key, inner in below for path in [(*above, key), *places(inner, (*above, key))]]


def change_document(rng: np.random.Generator, document: Any) -> Any:
    """A document with one place changed: another value, another type, another name, gone, or new."""
    document = copy.deepcopy(document)
    found = places(document)
    if not found:
        return {text(rng): value(rng)}
    *above, key = pick(rng, found)
    parent = document
    for step in above:
        parent = parent[step]
    old, kind = parent[key], rng.integers(12)
    if kind <= 3:
        parent[key] = value(rng)
    elif kind <= 7:
        parent[key] = _near(rng, old)
    elif kind == 8:
        del parent[key]
    elif kind == 9 and isinstance(parent, dict):
        parent[pick(rng, [str(key) + "s", str(key)[:-1], text(rng), str(key).upper()])] = parent.pop(key)
    elif kind == 10 and isinstance(parent, dict):
        parent[text(rng)] = value(rng)
    else:
        other = document
        for step in pick(rng, found):
            other = other[step]
        parent[key] = copy.deepcopy(other)
    return document


def _near(rng: np.random.Generator, old: Any) -> Any:
    """A value of the same type that is a little off, or the same in another type."""
    if isinstance(old, bool):
        return not old
    if isinstance(old, int | float):
        return pick(
            rng, [old + 1, old - 1, -old, old * 1000, float(old), str(old), [old], old + 1e-6, old / 2, bool(old)]
        )
    if isinstance(old, str):
        return pick(rng, [old + " ", old.upper(), old + "\x00", [old], "", old[:-1], old * 2, f"../{old}", {old: old}])
    if isinstance(old, list):
        return pick(rng, [old * 2, old[1:], old[::-1], {"0": old}, [old], str(old), [*old, value(rng)]])
    return pick(rng, [[old], str(old), None, {"x": old}])


def change_bytes(rng: np.random.Generator, data: bytes) -> bytes:
    """Bytes with some flipped, cut off, doubled, put in, or all replaced."""
    kind, n = rng.integers(7), len(data)
    at = int(rng.integers(n + 1))
    if kind == 0 and n:
        changed = bytearray(data)
        for i in rng.integers(n, size=int(rng.integers(1, 9))):
            changed[i] ^= 1 << int(rng.integers(8))
        return bytes(changed)
    if kind == 1:
        return data[:at]
    if kind == 2:
        return (
            data[:at]
            + pick(rng, [b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"\n", b"\x1b[2J", b'"', b"[" * 20_000])
            + data[at:]
        )
    if kind == 3:
        return data + data
    if kind == 4:
        return pick(
            rng, [b"", b"\x00" * 100, b"\xef\xbb\xbf" + data, data.replace(b"\n", b"\r"), b"null", b"[1]", b"{}"]
        )
    if kind == 5:
        return data[at:]
    return rng.bytes(int(rng.integers(1, 2000)))
