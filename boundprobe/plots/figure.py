"""Common parts of all figures: style, the grey of forbidden regions, and writing to a file."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.figure import Figure
from matplotlib.text import Text

from boundprobe.runs.files import write_whole
from boundprobe.text import printable

FORBIDDEN = "0.86"


def project_style() -> AbstractContextManager[None]:
    """The project's one matplotlib style."""
    return style.context(str(resources.files("boundprobe.plots") / "boundprobe.mplstyle"))


def save_figure(figure: Figure, stem: Path) -> list[Path]:
    """Write a figure as ``stem``.png and ``stem``.svg, each whole or not at all; return both paths."""
    for text in figure.findobj(Text):  # names of tasks and runs may hold anything
        assert isinstance(text, Text)
        text.set_text(printable(text.get_text(), keep="\n"))
        text.set_parse_math("\\mathdefault" in text.get_text())
    # The layout ends an ulp off now and then, and ids in an svg are hashes of floats.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for ax in figure.axes:
        ax.set_position(np.round(ax.get_position().bounds, 6).tolist())
    paths = [stem.with_name(f"{stem.name}.{suffix}") for suffix in ("png", "svg")]
    for path in paths:
        # No date in the file: the same results give the same figure, byte for byte.
        metadata: dict[str, Any] = {"Date": None} if path.suffix == ".svg" else {"Software": None}
        with project_style():
            write_whole(path, partial(figure.savefig, metadata=metadata))
    return paths
