"""What a model is made of, in sizes alone: no torch here, so bounds can speak about a model before it exists."""

from __future__ import annotations

from dataclasses import dataclass, fields

from boundprobe.checks import check_integer, check_word

#: Mixers that an architecture string may name.
MIXERS = ("attn", "mamba")


@dataclass(frozen=True)
class ModelSpec:
    """A stack of sequence mixers and its sizes.

    Attributes
    ----------
    architecture : str
        Layers from input to output, joined by ``-``: ``mamba-attn``, ``attn-attn``, ``mamba-attn-attn``.
    d_model : int
        Width of the residual stream.
    window : int
        Attention window in tokens: a position sees itself and the ``window - 1`` before it.
    n_heads : int
        Attention heads; ``d_model / n_heads`` must be even for rotary encoding.
    d_state : int
        State entries per channel of a Mamba layer, N.
    d_conv : int
        Width of Mamba's causal convolution; it sees itself and the ``d_conv - 1`` inputs before it.
    expand : int
        Inner width of a Mamba layer over ``d_model``.
    mlp_ratio : int
        Hidden width of the MLP after each attention layer over ``d_model``; 0 for none.  Mamba layers
        have none, as in the paper.

    Examples
    --------
    >>> ModelSpec("mamba-attn", d_model=12).layers
    ('mamba', 'attn')
    >>> ModelSpec("attn-attn", window=8).windows
    (8, 8)
    """

    architecture: str = "mamba-attn"
    d_model: int = 16
    window: int = 32
    n_heads: int = 1
    d_state: int = 16
    d_conv: int = 4
    expand: int = 2
    mlp_ratio: int = 4

    def __post_init__(self) -> None:
        for mixer in str(self.architecture).split("-"):
            advice = "join layers from input to output with '-', as in mamba-attn"
            check_word("mixer", mixer, MIXERS, advice, of=f" of architecture {self.architecture!r}")
        for field in fields(self)[1:]:
            check_integer(field.name, getattr(self, field.name), 0 if field.name == "mlp_ratio" else 1)
        if "attn" in self.layers and self.d_model % (2 * self.n_heads):
            raise ValueError(
                f"d_model is {self.d_model} with n_heads {self.n_heads}; allowed: multiples of 2 * n_heads = "
                f"{2 * self.n_heads} (rotary encoding turns pairs); change d_model or n_heads"
            )

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the mixers, from input to output."""
        return tuple(self.architecture.split("-"))

    @property
    def windows(self) -> tuple[int | None, ...]:
        """Window of each layer in tokens; None for a recurrent layer, which sees everything before it."""
        return tuple(self.window if mixer == "attn" else None for mixer in self.layers)
