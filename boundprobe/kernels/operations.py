"""All operations that have several backends."""

from __future__ import annotations

from boundprobe.kernels.backends import Operation
from boundprobe.kernels.conv.operation import SHORT_CONVOLUTION
from boundprobe.kernels.linear.operations import DELTA_RULE
from boundprobe.kernels.scan.operation import SELECTIVE_SCAN
from boundprobe.kernels.window.operation import WINDOWED_ATTENTION

#: By name.  The linear recurrence is two functions, whose backends have the same names and the same needs.
OPERATIONS: dict[str, Operation] = {
    operation.name: operation for operation in (SELECTIVE_SCAN, DELTA_RULE, SHORT_CONVOLUTION, WINDOWED_ATTENTION)
}
