"""A stream of sequences as a Hugging Face dataset (``pip install 'boundprobe[hf]'``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from boundprobe.errors import MissingDependencyError
from boundprobe.export.blocks import SampleStream


def to_hugging_face(stream: SampleStream) -> Any:
    """The stream as a ``datasets.IterableDataset`` with fixed-length int64 columns; save it, or push it to a hub.

    Nothing is drawn until the dataset is read, and it is read block by block.

    Parameters
    ----------
    stream : SampleStream

    Returns
    -------
    datasets.IterableDataset
        One shard a block, so that readers can share them out.

    Raises
    ------
    MissingDependencyError
        Without the ``datasets`` library.
    """
    try:
        import datasets
    except ImportError:
        raise MissingDependencyError(
            "the Hugging Face export needs the package datasets, which is not installed. Run: pip install "
            "'boundprobe[hf]'; npz, jsonl and parquet need it not."
        ) from None
    shared = stream.shared()

    def feature(sizes: Sequence[int]) -> Any:
        """Lists of fixed sizes, the innermost last."""
        return datasets.List(feature(sizes[1:]), length=sizes[0]) if sizes else datasets.Value("int64")

    features = datasets.Features(
        {name: feature(shape[1:]) for name, shape in stream.shapes().items() if name not in shared}
    )

    def rows(blocks: list[int]) -> Iterator[dict[str, list[int]]]:
        for index in blocks:
            lists = {name: array.tolist() for name, array in stream.block(index).items()}
            for row in zip(*lists.values(), strict=True):
                yield dict(zip(lists, row, strict=True))

    return datasets.IterableDataset.from_generator(
        rows, features=features, gen_kwargs={"blocks": list(range(stream.n_blocks))}
    )
