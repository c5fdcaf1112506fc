"""Keep freed memory in the process: training tiny models allocates the same few-megabyte arrays in every step."""

from __future__ import annotations

import ctypes
import platform

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_LARGEST = 2**25  # the most that glibc takes for its mmap threshold


def keep_freed_memory() -> None:
    """Ask glibc to reuse freed blocks up to 32 MiB instead of returning them to the kernel.

    By default every array over 128 KiB is mapped and unmapped, and each of its pages faults on first use; that
    is up to half the time of a training step here.  Elsewhere than on glibc this does nothing.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(_M_MMAP_THRESHOLD, _LARGEST)
    mallopt(_M_TRIM_THRESHOLD, 2**30)
