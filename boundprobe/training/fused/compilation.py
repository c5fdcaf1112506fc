"""Compilation of the fused step, cached on disk under a hash of its source files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit

from boundprobe.kernels.simd import compilation


def once(function: Callable[..., Any]) -> Any:
    """A function that is called in one place and inlined there."""
    return njit(function, inline="always", nogil=True, error_model="numpy")


def compiled(function: Callable[..., Any], signature: Any) -> Any:
    """As ``boundprobe.kernels.simd.compilation.compiled``, for functions that call those of other files here."""
    function.__name__ = f"{function.__name__.strip('_')}_{_sources_hash()}"
    return compilation.compiled(function, signature)


@cache
def _sources_hash() -> str:
    sources = sorted(Path(__file__).parent.glob("[!_]*.py"))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]
