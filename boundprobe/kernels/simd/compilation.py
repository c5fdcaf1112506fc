"""Compile kernels with Numba, cache them on disk, and convert tensors to kernel arguments."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numba import float32, float64, njit
from torch import Tensor

from boundprobe.kernels.simd.jit import require_jit

require_jit()

Array = np.ndarray[Any, np.dtype[Any]]
Kernel = Callable[..., None]

#: Types of numbers that the kernels compute with, by the names of torch's types.
SCALARS: dict[str, Any] = {"float32": float32, "float64": float64}


_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}


def part(function: Callable[..., Any]) -> Any:
    """A function that ``compiled`` ones call; it becomes machine code with each of them."""
    return njit(function, **_OPTIONS)


def compiled(function: Callable[..., Any], signature: Any, *, cached: bool = True) -> Any:
    """A function in machine code; kept on disk where there is a place for it."""
    if cached:
        try:
            # numba names the files after the function, and looks at the time and size of one source file only.
            function.__qualname__ = f"{function.__name__}_{_sources_hash(function.__code__.co_filename)}"
            return njit(signature, cache=True, **_OPTIONS)(function)
        except (RuntimeError, OSError):  # neither the package's directory nor the user's cache can be written
            pass
    return njit(signature, **_OPTIONS)(function)


@cache
def _sources_hash(path: str) -> str:
    """A name for the text that the machine code is made from: the function's file, and those of this package."""
    sources = (Path(path), *sorted(Path(__file__).parent.glob("*.py")))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]


def name_of_type(x: Tensor) -> str:
    """The key of a tensor's type in ``SCALARS``, if it is one of them."""
    return str(x.dtype).removeprefix("torch.")


def array(x: Tensor) -> Array:
    """The memory of a tensor as an array."""
    memory: Array = x.detach().numpy()
    return memory


def vector(x: Tensor) -> Array:
    """The same as one contiguous vector."""
    return array(x.contiguous().view(-1))


def rows(x: Tensor) -> Array:
    """The memory of a tensor (B, T, D) as an array whose channels lie side by side; rows may be apart.

    So are those of a part of a projection, which need not be copied.
    """
    return array(x if x.stride(2) == 1 or x.shape[2] == 1 else x.contiguous())
