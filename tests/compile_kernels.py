"""Compile every kernel that is kept on disk: ``python -m tests.compile_kernels``.

``make test`` does so beside mypy, so that the workers of pytest load them instead of compiling each of them twice.
"""

from boundprobe.kernels.conv import numba_kernels as convolution
from boundprobe.kernels.scan import numba_kernels as scan
from boundprobe.kernels.window import numba_kernels as attention
from boundprobe.training.fused.kernel import kernel

if __name__ == "__main__":
    for dtype in ("float32", "float64"):
        kernel(dtype)
        for module in (scan, convolution, attention):
            module.forward_kernel(dtype)
            module.backward_kernel(dtype)
