"""Binary codes of small integers: how a token is written into the residual stream."""

from __future__ import annotations

import numpy as np

from boundprobe.checks import check_integer


def code_width(n_values: int) -> int:
    """Bits that tell ``n_values`` values apart: ceil(log2 n), at least 1.

    >>> [code_width(n) for n in (1, 2, 3, 36)]
    [1, 1, 2, 6]
    """
    return max(1, (check_integer("n_values", n_values, 1) - 1).bit_length())


def bit_codes(n_values: int) -> np.ndarray:
    """Codes of 0 .. n-1 in bits 0 and 1, least significant first: float64 (n, code_width(n)).

    >>> bit_codes(3).tolist()
    [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    """
    return (np.arange(n_values)[:, None] >> np.arange(code_width(n_values)) & 1).astype(np.float64)


def sign_codes(n_values: int) -> np.ndarray:
    """The same codes in signs -1 and 1: two of them agree by their width if equal, by 2 less at least if not.

    >>> (sign_codes(4) @ sign_codes(4).T).tolist()
    [[2.0, 0.0, 0.0, -2.0], [0.0, 2.0, -2.0, 0.0], [0.0, -2.0, 2.0, 0.0], [-2.0, 0.0, 0.0, 2.0]]
    """
    return 2.0 * bit_codes(n_values) - 1.0
