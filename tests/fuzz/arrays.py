"""Hostile arrays and files of arrays, for ``probe --states`` and for ``certify_states``."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

from tests.fuzz.hostile import change_bytes, number, pick, text
from tests.fuzz.sandbox import READ, Sandbox

N, N_ANSWERS = 300, 2
STATE_TYPES = (
    "float32", "float64", "float16", "longdouble", "int8", "int64", "uint64", "bool", "complex64", "object", "U5", "S3",
    "datetime64[s]", "timedelta64[s]", "V8", ">f4", "f4,i4",
)  # fmt: skip
ANSWER_TYPES = (
    "int64",
    "int8",
    "uint8",
    "uint64",
    "bool",
    "float32",
    "float64",
    "object",
    "U3",
    "S2",
    "complex64",
    ">i2",
)
ODD_NUMBERS = (np.nan, np.inf, -np.inf, 1e308, -1e308, 1e-320, 0.0, 2.0**63)
SHAPES = ((0,), (0, 3), (N,), (N, 0), (N, 1), (N, 1, 1), (1, N), (N - 1, 2), (), (N, 2, 3), (1, 1))
#: What a caller may pass for K or H.
PRIORS: tuple[Any, ...] = (
    2, 2, 2, 3, 1, 0, -1, 10**9, 10**18, 2**63, 10**40, 2.0, 2.5, True, "2", "x", None, float("nan"), float("inf"),
    -1.0, 1e308, 1e-308, 1e-9, 0.5, 1.9999, 2.0000001, [2], {}, 2j, Fraction(2), Decimal("2"), np.int8(2),
    np.float16(2),
    np.array(2), np.array([2]), np.nan, b"2",
)  # fmt: skip


def good(rng: np.random.Generator) -> dict[str, Any]:
    """Arrays that are right: states that hold the answers, or noise."""
    answers = rng.integers(2, size=(N, N_ANSWERS))
    states = 2.0 * answers - 1 if rng.random() < 0.5 else rng.normal(size=(N, 3))
    arrays: dict[str, Any] = {"state": states.astype(np.float32), "answers": answers}
    if rng.random() < 0.3:
        arrays["defined"] = rng.random(answers.shape) < 0.8
    if rng.random() < 0.3:
        arrays["groups"] = rng.integers(N // 2, size=N)
    return arrays


def change(rng: np.random.Generator, arrays: dict[str, Any]) -> dict[str, Any]:
    """Change one array: its type, its shape, its numbers, or what it is at all."""
    name = pick(rng, list(arrays))
    a, kind = arrays[name], rng.integers(8)
    try:
        if kind == 0:
            new: Any = np.asarray(a).astype(pick(rng, STATE_TYPES if name == "state" else ANSWER_TYPES))
        elif kind == 1:
            new = np.resize(np.asarray(a), pick(rng, SHAPES))
        elif kind == 2:
            new = np.array(a, dtype=float)
            new.reshape(-1)[rng.integers(new.size, size=int(rng.integers(1, 20)))] = pick(rng, ODD_NUMBERS)
        elif kind == 3:
            new = np.array(a)
            new.reshape(-1)[rng.integers(new.size)] = pick(rng, [-1, -100, 7, 100, 2**31])
        elif kind == 4:
            new = np.full_like(np.asarray(a), pick(rng, [0, 1]))
        elif kind == 5:
            new = np.asarray(a)[rng.integers(len(a), size=len(a))] if rng.random() < 0.5 else np.asarray(a)[: N // 2]
        elif kind == 6:
            new = np.asarray(a)[..., ::-1].T if rng.random() < 0.5 else np.asfortranarray(a)
        else:
            new = rng.integers(-3, 5, size=np.shape(a))
    except (ValueError, TypeError, IndexError, OverflowError, FloatingPointError):
        new = np.array(None)
    return arrays | {name: new}


def states_file(rng: np.random.Generator, sandbox: Sandbox) -> list[str]:
    """Write an .npz; the command line that measures it."""
    arrays = good(rng)
    for _ in range(int(rng.integers(3))):
        arrays = change(rng, arrays)
    if rng.random() < 0.1:
        arrays.pop(pick(rng, list(arrays)))
    buffer = io.BytesIO()
    try:
        (np.savez_compressed if rng.random() < 0.5 else np.savez)(buffer, **arrays)
    except (ValueError, TypeError):
        np.savez(buffer)
    data = buffer.getvalue()
    damage = rng.random()
    if damage < 0.15:
        data = change_bytes(rng, data)
    elif damage < 0.4:
        data = pick(rng, CONTAINERS)(rng, data)
    (sandbox.work / "states.npz").write_bytes(data)
    file = "states.npz" if rng.random() < 0.95 else pick(rng, READ)
    words = ["probe", "--states", file, "--decoders", "linear"]
    if rng.random() < 0.8:
        words += ["--n-values", "2" if rng.random() < 0.8 else number(rng)]
    if rng.random() < 0.3:
        words += ["--entropy-bits", "2" if rng.random() < 0.4 else number(rng)]
    if rng.random() < 0.2:
        (sandbox.work / "table.csv").write_bytes(pick(rng, TABLES))
        (sandbox.work / "table.parquet").write_bytes(pick(rng, TABLES))
        groups = [
            "groups",
            "state",
            "answers",
            "table.csv:a",
            "table.csv:b",
            "table.parquet:a",
            "fifo:a",
            "loop:a",
            ":",
        ]
        words += ["--groups", pick(rng, [*groups, text(rng)])]
    for flag, values in (("--confidence", ["0.5", "0.999999999", text(rng)]), ("--seed", ["7", text(rng)])):
        if rng.random() < 0.1:
            words += [flag, pick(rng, values)]
    return [word.replace("\x00", "") for word in words] + [mode for mode in ("--json", "-q") if rng.random() < 0.3]


ROWS = "\n".join(map(str, range(N)))
TABLES = (
    f"a\n{ROWS}\n".encode(), f"a,b\n{ROWS}\n".encode(), b"", b"\xff\xfe\x00", b"a\n1\n", b'a\n"1\n', b"\n" * 400,
    b"a,a\n" + b"1,2\n" * N,
    b"PAR1" + b"\x00" * 40 + b"PAR1", b"a\n" + b"x" * 200_000 + b"\n",
)  # fmt: skip


def _member(name: str, data: bytes, compress: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compress) as file:
        file.writestr(name, data)
        file.writestr("answers.npy", npy(np.zeros((N, N_ANSWERS), dtype=np.int64)))
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    """An array as an .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def header(description: str, body: bytes = b"") -> bytes:
    """An .npy file with this header."""
    said = description.encode("latin1")
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(said) % 65536) + said + body


class Bomb:
    """What a pickle would execute."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (open, ("executed", "w"))


HEADERS = (
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }\n",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (300, 10000000000), }\n",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }\n",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 2), }\n",
    "{'descr': '|O', 'fortran_order': False, 'shape': (2,), }\n",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (True, 2), }\n",
    "{'descr': [('a', '<f4')], 'fortran_order': 1, 'shape': ()}\n",
    "{'descr': '<f4', 'fortran_order': False}\n", "__import__('os').mkdir('executed')\n", "(" * 3000 + "\n", "{}\n",
    "", "\xff\n", "9" * 9999,
    "{'descr': '<f999999999', 'fortran_order': False, 'shape': (2,), }\n",
    "{'descr': '|V2147483647', 'fortran_order': False, 'shape': (9,), }\n",
)  # fmt: skip
CONTAINERS: tuple[Callable[[np.random.Generator, bytes], bytes], ...] = (
    lambda rng, data: _member("state.npy", header(pick(rng, HEADERS), b"\x00" * 64)),
    lambda rng, data: _member("state.npy", header(pick(rng, HEADERS), b"\x00" * 64)),
    lambda rng, data: _member("state.npy", pickle.dumps(Bomb())),
    lambda rng, data: _member("state.npy", npy(np.array([Bomb()] * N, dtype=object))),
    lambda rng, data: _member(pick(rng, ["state", "../state.npy", "/state.npy", "state.npy.npy", "\x1b[2J.npy"]),
    npy(np.ones((N, 2)))),
    lambda rng, data: _member("state.npy", change_bytes(rng, npy(rng.normal(size=(N, 2))))),
    lambda rng, data: _member("state.npy", npy(np.zeros((N, 10**5))), zipfile.ZIP_DEFLATED),  # 240 MB of zeros
    lambda rng, data: npy(np.ones((N, 2))),
    lambda rng, data: pickle.dumps(Bomb()),
    lambda rng, data: data[: int(rng.integers(len(data)))],
    lambda rng, data: b"PK\x05\x06" + b"\x00" * 18,
    lambda rng, data: data[:-22] + b"PK\x05\x06" + rng.bytes(18),
    lambda rng, data: data.replace(b"state.npy", b"\xff\xff\xff\xff\xff.npy"),
)  # fmt: skip


def states_call(rng: np.random.Generator, sandbox: Sandbox) -> list[Any]:
    """Arguments of ``certify_states``: (states, answers, keywords)."""
    import scipy.sparse
    import torch

    arrays = good(rng)
    for _ in range(int(pick(rng, [0, 0, 1, 1, 2]))):
        arrays = change(rng, arrays)
    keywords: dict[str, Any] = {key: arrays[key] for key in ("defined", "groups") if key in arrays}
    keywords["n_values"] = pick(rng, PRIORS) if rng.random() < 0.2 else 2
    if rng.random() < 0.2:
        keywords["entropy_bits"] = pick(rng, PRIORS)
    if rng.random() < 0.05:
        keywords[pick(rng, ["defined", "groups"])] = pick(
            rng, [object(), "x", [[1], [1, 2]], 0, [None] * N, ["g"] * N, {}, set()]
        )
    states, answers = arrays["state"], arrays["answers"]
    kinds: tuple[Callable[[Any], Any], ...] = (
        lambda a: a.tolist(), torch.tensor, lambda a: torch.tensor(a).to_sparse(), lambda a: torch.tensor(a).bfloat16(),
        lambda a: torch.tensor(a, device="meta"), lambda a: torch.tensor(a).float().requires_grad_(),
        scipy.sparse.csr_matrix,
        lambda a: np.ma.masked_array(a, mask=rng.random(a.shape) < 0.1), lambda a: [*a.tolist()[:-1], [1]],
        lambda a: list(map(str, a)),
        lambda a: np.array([*a.tolist(), None], dtype=object), lambda a: None, lambda a: {"a": 1},
        lambda a: "states", iter,
        lambda a: torch.tensor(a).to(torch.complex64), np.asmatrix, memoryview,
        lambda a: [torch.tensor(x) for x in a],
        lambda a: np.lib.stride_tricks.as_strided(a, strides=(0,) * a.ndim),
        lambda a: torch.quantize_per_tensor(torch.tensor(a).float(), 0.1, 0, torch.qint8),
        lambda a: torch.nested.nested_tensor([torch.tensor(x) for x in a[:3]]), lambda a: torch.tensor(a).conj(),
        lambda a: a.astype("f4").view(np.recarray),
    )  # fmt: skip
    for of_states in (True, False):
        if rng.random() < 0.2:
            a = states if of_states else answers
            try:
                new = pick(rng, kinds)(a)
            except (ValueError, TypeError, RuntimeError, AttributeError, NotImplementedError, OverflowError):
                new = None
            states, answers = (new, answers) if of_states else (states, new)
    return [states, answers, keywords]
