"""Numbers and widths of heads; torch-free, as sizes are counted from them before a model is built."""

from __future__ import annotations

from dataclasses import dataclass

from boundprobe.checks import check_integer, refuse


def check_shared(name: str, n_shared: int, n_heads: int, default: int = 0) -> int:
    """Return the number of groups that heads share equally; 0 stands for ``default``, or for one group a head.

    Raises
    ------
    ValueError
        Unless it divides the number of heads.

    Examples
    --------
    >>> check_shared("n_kv_heads", 0, 4), check_shared("n_kv_heads", 2, 4)
    (4, 2)
    """
    n_groups = check_integer(name, n_shared, 0) or default or n_heads
    if n_heads % n_groups:
        refuse(name, f"0, or a number that divides the {n_heads} heads", f"{n_shared}")
    return n_groups


@dataclass(frozen=True)
class KeyValueHeads:
    """Heads of a memory that is a matrix of keys by values.

    Attributes
    ----------
    n_heads : int
        Heads, each with a matrix of its own, H.
    n_groups : int
        Groups of heads that share queries and keys, G.
    d_key, d_value : int
        Rows and columns of a matrix, K and V.

    Examples
    --------
    The gated DeltaNet of Qwen3-Next: 16 heads of keys for 32 of values, convolutions over 8,192 channels.

    >>> heads = KeyValueHeads.of(d_model=2048, n_heads=32, d_key=128, d_value=128, n_groups=16)
    >>> heads.n_state, heads.n_convolved
    (524288, 8192)
    """

    n_heads: int
    n_groups: int
    d_key: int
    d_value: int

    @classmethod
    def of(cls, d_model: int, n_heads: int, d_key: int, d_value: int = 0, n_groups: int = 0) -> KeyValueHeads:
        """Heads of a layer; ``d_value`` 0 stands for ``d_model / n_heads``, ``n_groups`` 0 for ``n_heads``.

        Raises
        ------
        ValueError
            If heads do not share the width, or groups the heads, equally.
        """
        if not d_value and d_model % n_heads:
            raise ValueError(f"`n_heads` must divide d_model={d_model}; got {n_heads}.")
        return cls(n_heads, check_shared("n_groups", n_groups, n_heads), d_key, d_value or d_model // n_heads)

    @property
    def n_keys(self) -> int:
        """Entries of the keys of all groups, and of the queries."""
        return self.n_groups * self.d_key

    @property
    def n_values(self) -> int:
        """Entries of the values of all heads."""
        return self.n_heads * self.d_value

    @property
    def n_convolved(self) -> int:
        """Channels of queries, keys and values together."""
        return 2 * self.n_keys + self.n_values

    @property
    def n_state(self) -> int:
        """Entries of all matrices."""
        return self.n_heads * self.d_key * self.d_value
