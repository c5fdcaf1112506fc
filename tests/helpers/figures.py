"""Files of a figure."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import matplotlib.image


def assert_drawn_twice(
    save: Callable[[Path], list[Path]], folder: Path, least_width: int, ratios: tuple[float, float]
) -> None:
    """A figure is rendered without a warning, the same byte for byte each time, in its two files and shape.

    Parameters
    ----------
    save : function
        Of the stem of the files.
    folder : Path
        Empty.
    least_width : int
        Pixels.
    ratios : pair of float
        Between which height / width lies.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, again = (save(folder / stem) for stem in ("a.b", "again"))
    assert [path.name for path in first] == ["a.b.png", "a.b.svg"]
    for one, other in zip(first, again, strict=True):
        assert one.read_bytes() == other.read_bytes()
    height, width, _ = matplotlib.image.imread(first[0]).shape
    assert width > least_width
    assert ratios[0] < height / width < ratios[1]
    assert sorted(path.name for path in folder.iterdir()) == ["a.b.png", "a.b.svg", "again.png", "again.svg"]
