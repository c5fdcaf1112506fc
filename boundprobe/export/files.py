"""Write a stream of sequences to npz, jsonl or parquet: block by block, and whole or not at all."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from boundprobe.checks import check_word
from boundprobe.errors import MissingDependencyError
from boundprobe.export.blocks import Arrays, SampleStream
from boundprobe.runs.files import write_whole


def write_stream(stream: SampleStream, path: Path, file_format: str) -> None:
    """Write every sequence of ``stream``; memory is that of one block, whatever their number.

    Parameters
    ----------
    stream : SampleStream
    path : Path
    file_format : str
        ``npz`` (the arrays), ``jsonl`` or ``parquet`` (one row a sequence; the query set, the same for all, is in
        every row of jsonl and in the schema's metadata of parquet).

    Raises
    ------
    ValueError
        For an unknown format.
    MissingDependencyError
        For parquet without pyarrow.
    """
    writer = WRITERS[check_word("format", file_format, WRITERS)]
    write_whole(path, lambda temporary: writer(stream, temporary))


def _write_npz(stream: SampleStream, path: Path) -> None:
    # One member of a zip file can be written at a time: blocks are drawn again for each array, which costs less
    # than keeping them, and gives the same numbers.
    shared = stream.shared()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, shape in stream.shapes().items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                header = {"descr": "<i8", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_2_0(member, header)
                pieces = [shared[name]] if name in shared else (block[name] for block in stream.blocks())
                for piece in pieces:
                    member.write(np.ascontiguousarray(piece, dtype="<i8").tobytes())


def _write_jsonl(stream: SampleStream, path: Path) -> None:
    shared = {name: array.tolist() for name, array in stream.shared().items()}
    with path.open("w", encoding="utf-8") as file:
        for block in stream.blocks():
            for row in _rows(block):
                file.write(json.dumps(row | shared, separators=(",", ":")) + "\n")


def _write_parquet(stream: SampleStream, path: Path) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingDependencyError(
            "`--format` must be one of npz, jsonl here, because pyarrow is not installed; got 'parquet'. Run: pip "
            "install 'boundprobe[analysis]'"
        ) from None
    shapes, shared = stream.shapes(), stream.shared()

    def nested(values: Any, kind: Any, sizes: Sequence[int]) -> tuple[Any, Any]:
        """Flat values, and their type, as lists of fixed sizes, the innermost last."""
        for size in reversed(sizes):
            kind = pa.list_(kind, size)
            values = None if values is None else pa.FixedSizeListArray.from_arrays(values, type=kind)
        return values, kind

    names = [name for name in shapes if name not in shared]
    fields = [pa.field(name, nested(None, pa.int64(), shapes[name][1:])[1]) for name in names]
    metadata = {name: json.dumps(array.tolist()) for name, array in shared.items()}
    schema = pa.schema(fields, metadata=metadata)
    with pq.ParquetWriter(path, schema) as writer:
        for block in stream.blocks():
            columns = [nested(pa.array(block[n].reshape(-1)), pa.int64(), shapes[n][1:])[0] for n in names]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def _rows(block: Arrays) -> list[dict[str, list[int]]]:
    lists = {name: array.tolist() for name, array in block.items()}
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


#: Writers by the name of their format.
WRITERS: dict[str, Callable[[SampleStream, Path], None]] = {
    "npz": _write_npz,
    "jsonl": _write_jsonl,
    "parquet": _write_parquet,
}
