"""Tell whether Numba compiles at all: ``NUMBA_DISABLE_JIT`` leaves functions as Python, which is no faster backend."""

from __future__ import annotations

import logging
from functools import cache

from numba import config

log = logging.getLogger(__name__)


def require_jit() -> None:
    """Raise ``ImportError`` where Numba does not compile, so that other backends are taken; said once as a warning."""
    if getattr(config, "DISABLE_JIT", 0):
        _warn()
        raise ImportError("NUMBA_DISABLE_JIT is set, so nothing is compiled; unset it, or give --backend reference")


@cache
def _warn() -> None:
    log.warning("NUMBA_DISABLE_JIT is set: compiled backends are not used; results differ in rounding, and take longer")
