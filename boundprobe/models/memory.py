"""The state at the cut: everything a model carries from the prefix to the suffix, and its size in bits."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from boundprobe.checks import check_integer, check_word
from boundprobe.runs.files import write_whole

Kind = Literal["recurrent", "conv", "cache"]


@dataclass(frozen=True)
class StateTensor:
    """One tensor of a layer's state.

    Attributes
    ----------
    name : str
        Such as ``"h"``, ``"keys"``.
    kind : "recurrent" | "conv" | "cache"
        Recurrent state, convolution buffer, or key/value cache.
    value : Tensor (batch, ...)
    entry_bits : int, in bits, optional
        Of one entry, where it takes fewer values than its type has: a code of b bits in an int64 tensor.
    """

    name: str
    kind: Kind
    value: Tensor
    entry_bits: int | None = None

    @property
    def bits(self) -> int:
        """Entries of one sequence times the bits of an entry (those of the tensor's type if not fewer)."""
        return self.value[0].numel() * (self.entry_bits or self.value.element_size() * 8)


LayerState = tuple[StateTensor, ...]

STATE_SCHEMA = "boundprobe.state/1"


@dataclass(frozen=True)
class MemoryBits:
    """Nominal memory of one sequence's state, by kind, in bits: an exact upper limit on log2 |S|."""

    recurrent_bits: int
    conv_bits: int
    cache_bits: int

    @property
    def total_bits(self) -> int:
        """Bits of all kinds together."""
        return self.recurrent_bits + self.conv_bits + self.cache_bits


@dataclass(frozen=True)
class StatePart:
    """The state of one kind in one layer.

    Attributes
    ----------
    layer : int
    kind : "recurrent" | "conv" | "cache"
    columns : Tensor (entries,)
        Its entries among those of ``CutState.flatten``.
    bits : int
        Nominal bits.
    """

    layer: int
    kind: Kind
    columns: Tensor
    bits: int


@dataclass(frozen=True)
class CutState:
    """State of every layer of a stack at one position, for a batch of sequences.

    By Lemma 3.5 (Cooper et al. 2026) a stack is one machine whose state is the tuple of its layers' states,
    so bits add up over layers.
    """

    layers: tuple[LayerState, ...]

    @classmethod
    def of(cls, *tensors: StateTensor) -> CutState:
        """The state of one layer, or of a model that has none, from its tensors."""
        return cls((tensors,))

    def __getitem__(self, name: str) -> Tensor:
        """The value of a tensor by its name: ``"h"``, or ``"0.h"`` of layer 0 where several layers have one.

        Raises
        ------
        KeyError
            If none, or several, have that name.
        """
        names = [f"{i}.{tensor.name}" for i, layer in enumerate(self.layers) for tensor in layer]
        found = [full for full in names if name in (full, full.split(".", 1)[1])]
        if len(found) != 1:
            raise KeyError(f"`name` must be that of one tensor of {', '.join(names)}; got {name}")
        layer, own = found[0].split(".", 1)
        return next(tensor.value for tensor in self.layers[int(layer)] if tensor.name == own)

    @property
    def batch(self) -> int:
        """Number of sequences."""
        return next(tensor.value.shape[0] for layer in self.layers for tensor in layer)

    def bits(self) -> MemoryBits:
        """Nominal bits of one sequence, counted from the tensors themselves."""
        totals: dict[Kind, int] = {"recurrent": 0, "conv": 0, "cache": 0}
        for layer in self.layers:
            for tensor in layer:
                totals[tensor.kind] += tensor.bits
        return MemoryBits(totals["recurrent"], totals["conv"], totals["cache"])

    def parts(self) -> tuple[StatePart, ...]:
        """The state by layer and kind, in the order of ``flatten``; empty tensors are left out."""
        columns: dict[tuple[int, Kind], list[Tensor]] = {}
        bits: dict[tuple[int, Kind], int] = {}
        start = 0
        for i, layer in enumerate(self.layers):
            for tensor in layer:
                size, key = tensor.value[0].numel(), (i, tensor.kind)
                if size:
                    columns.setdefault(key, []).append(torch.arange(start, start + size))
                    bits[key] = bits.get(key, 0) + tensor.bits
                start += size
        return tuple(StatePart(*key, torch.cat(pieces), bits[key]) for key, pieces in columns.items())

    def map(self, function: Callable[[Tensor], Tensor]) -> CutState:
        """The state with ``function`` applied to every tensor: repeat it, round it, move it."""
        return CutState(tuple(tuple(replace(t, value=function(t.value)) for t in layer) for layer in self.layers))

    def flatten(self) -> Tensor:
        """All entries side by side, (batch, entries), as probes read them."""
        tensors = [tensor.value for layer in self.layers for tensor in layer]
        return torch.cat([value.flatten(1) for value in tensors], dim=1)

    def unflatten(self, entries: Tensor) -> CutState:
        """A state of this shape with its values from ``entries`` (batch, entries); inverse of ``flatten``.

        Raises
        ------
        ValueError
            If the number of entries is not this state's.
        """
        sizes = [tensor.value[0].numel() for layer in self.layers for tensor in layer]
        if entries.shape[1] != sum(sizes):
            raise ValueError(f"entries has {entries.shape[1]} columns; this state has {sum(sizes)} entries")
        pieces = iter(torch.split(entries, sizes, dim=1))

        def take(value: Tensor) -> Tensor:
            return next(pieces).reshape(len(entries), *value.shape[1:]).to(value.dtype)

        return self.map(take)

    def save(self, path: Path) -> None:
        """Write the state as safetensors, whole or not at all; tensors are named by layer and name, as ``0.keys``."""
        tensors, notes = {}, []
        for i, layer in enumerate(self.layers):
            for tensor in layer:
                key = f"{i}.{tensor.name}"
                # A copy, because views of one storage are refused.
                tensors[key] = tensor.value.detach().clone(memory_format=torch.contiguous_format)
                notes.append({"layer": i, "key": key, "kind": tensor.kind, "entry_bits": tensor.entry_bits})
        metadata = {"schema": STATE_SCHEMA, "n_layers": str(len(self.layers)), "tensors": json.dumps(notes)}
        write_whole(path, lambda temporary: save_file(tensors, temporary, metadata))

    @classmethod
    def load(cls, path: Path) -> CutState:
        """Read a state that ``save`` wrote, onto the CPU.

        Raises
        ------
        ValueError
            If the file is not such a state.
        """
        try:
            with safe_open(path, framework="pt") as file:
                return cls(_read_layers(file))
        except (SafetensorError, KeyError, IndexError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"`path` must be a file that CutState.save wrote; got {path}, which is no saved state, or a damaged "
                f"one ({reason})."
            ) from None


def _read_layers(file: Any) -> tuple[LayerState, ...]:
    """Layers of a state from an open file of safetensors."""
    metadata: dict[str, str] = file.metadata() or {}
    check_word("schema", metadata.get("schema"), (STATE_SCHEMA,))
    layers: list[list[StateTensor]] = [[] for _ in range(int(metadata["n_layers"]))]
    for note in json.loads(metadata["tensors"]):
        layer = check_integer("layer", note["layer"], 0, len(layers) - 1)
        kind, entry_bits = check_word("kind", note["kind"], get_args(Kind)), note["entry_bits"]
        if entry_bits is not None:
            check_integer("entry_bits", entry_bits, 1)
        name = note["key"].split(".", 1)[1]
        value = file.get_tensor(note["key"]).clone()  # memory of its own: what is read is a view of the file
        layers[layer].append(StateTensor(name, cast(Kind, kind), value, entry_bits))
    return tuple(tuple(layer) for layer in layers)
