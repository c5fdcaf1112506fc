"""The language of the constructions: registers in the residual stream, and what layers do with them.

A program says in the theorems' words what a hybrid does: *hold* the last number, *shift* in the last bits, *look up*
the token at a distance.  ``compiler`` turns it into the weights of a ``SequenceModel``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from boundprobe.models.spec import ModelSpec


@dataclass(frozen=True)
class Registers:
    """Named subspaces of the residual stream, side by side.

    Parameters
    ----------
    widths : mapping
        Width of each register in channels, in order.

    Examples
    --------
    >>> Registers({"token": 2, "one": 1}).channels("one")
    [2]
    """

    widths: Mapping[str, int]

    @property
    def width(self) -> int:
        """Channels of all registers together."""
        return sum(self.widths.values())

    def channels(self, *names: str) -> list[int]:
        """Channels of some registers, one register after the other."""
        starts, start = {}, 0
        for name, width in self.widths.items():
            starts[name] = start
            start += width
        return [starts[name] + i for name in names for i in range(self.widths[name])]


@dataclass(frozen=True)
class Hold:
    """Mamba layer: ``register`` becomes what it was at the last token whose ``flag`` is 1; before any, 0.

    Attributes
    ----------
    register : str
        In the embedding it holds 0, or numbers in [1, 4] on a grid of 2^-16: only these pass the layer's
        activation exactly.
    flag, one : str
        Registers of width 1: 1 at the tokens that are held and 0 at others; 1 at every token.
    """

    mixer: ClassVar[str] = "mamba"

    register: str
    flag: str
    one: str


@dataclass(frozen=True)
class ShiftRegister:
    """One head of a ``Shift`` layer: the values of the last tokens of a kind, newest first.

    Attributes
    ----------
    registers : tuple of str
        Their channels together are the slots.  In the embedding the first slot holds the token's own value.
    width : int
        Channels of one slot.
    flag : str
        Register of width 1, 0 or 1.
    reads : 0 | 1
        The register shifts at tokens whose flag is this, and holds at the others.
    """

    registers: tuple[str, ...]
    width: int
    flag: str
    reads: int


@dataclass(frozen=True)
class Shift:
    """General selective SSM layer: shift registers, each in place."""

    mixer: ClassVar[str] = "ssm"

    heads: tuple[ShiftRegister, ...]


@dataclass(frozen=True)
class Avoid:
    """Positions whose register ``flag`` is 0 before those where it is 1."""

    flag: str


@dataclass(frozen=True)
class Earlier:
    """Earlier positions before the position itself."""


@dataclass(frozen=True)
class Latest:
    """Of two positions the later one."""


@dataclass(frozen=True)
class Agree:
    """The positions whose register ``key`` holds the sign code that ``query`` holds here."""

    query: str
    key: str


@dataclass(frozen=True)
class AtDistance:
    """The position at the distance whose code ``register`` holds, by relative key vectors.

    Attributes
    ----------
    register : str
        Holds a bit code (0 and 1).
    codes : float array (window, width)
        Sign code of each distance, 0 for distances that no code asks for.
    """

    register: str
    codes: np.ndarray

    @property
    def gap(self) -> float:
        """Another code scores less by 2 for each bit that differs, no code by the width."""
        return float(min(2, self.codes.shape[1]))


@dataclass(frozen=True)
class AtAngle:
    """The position at a distance k, by rotations: ``register`` holds shift + (cos k theta_i, -sin k theta_i).

    Attributes
    ----------
    register : str
    shift : float
        Keeps what is held positive.
    pairs : tuple of int
        The rotary pairs i that are used.
    gap : float
        Least score by which the distance asked for is ahead of any other in the window, less what rounding takes.
    float32 : bool
        Whether that is the rounding of float32; else of float64.
    """

    register: str
    shift: float
    pairs: tuple[int, ...]
    gap: float
    float32: bool


Criterion = Avoid | Earlier | Latest | Agree | AtDistance | AtAngle


@dataclass(frozen=True)
class LookUp:
    """Attention layer: ``into`` += gain * ``value`` at the one position in the window that the criteria choose.

    Attributes
    ----------
    criteria : tuple of Criterion
        The most important first: later ones decide where the earlier ones tie.
    value, into : str
        Registers of the same width.
    gain : float
    """

    mixer: ClassVar[str] = "attn"

    criteria: tuple[Criterion, ...]
    value: str
    into: str
    gain: float


@dataclass(frozen=True)
class Program:
    """A stack of layers over registers, with what stands at both of its ends.

    Attributes
    ----------
    spec : ModelSpec
        Sizes of the model; its architecture names the layers' mixers.
    registers : Registers
    embedding : mapping of str to float array (n_token_ids, width)
        What each token writes into registers; the others start at 0.
    layers : tuple of Hold, Shift or LookUp
    answer : str
        Register that the read-out reads.
    answer_codes : float array (n_token_ids, width)
        Code of each token as an answer; 0 for tokens that are none.
    """

    spec: ModelSpec
    registers: Registers
    embedding: Mapping[str, np.ndarray]
    layers: tuple[Hold | Shift | LookUp, ...]
    answer: str
    answer_codes: np.ndarray
