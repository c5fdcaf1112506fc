"""Write docs/architecture.md, which package imports which: ``python docs/make_import_table.py``."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
#: From the lowest layer to the highest.
LAYERS = (
    "version", "checks", "text", "errors", "termination", "processes", "seeds", "settings", "runs", "tasks", "bounds",
    "channels", "kernels", "models", "hf", "constructions", "training", "probes", "bottleneck", "sweep", "plots",
    "export", "testing", "cli",
)  # fmt: skip

HEAD = """# Imports between packages

How often a row imports from a column. A package may import what stands above it in the list, never the reverse:
`tests/contracts/test_imports.py` holds every module to that, and finds no circle. The page is made by
`docs/make_import_table.py`; faces (`__init__.pyi`) are not counted.

"""


def imports() -> Counter[tuple[str, str]]:
    """Number of import statements from one part of the package to another, functions included."""
    found: Counter[tuple[str, str]] = Counter()
    for path in sorted((ROOT / "boundprobe").rglob("*.py")):
        part = path.relative_to(ROOT / "boundprobe").parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("boundprobe."):
                found[part, str(node.module).split(".")[1]] += 1
    return found


def page() -> str:
    """The page."""
    found = imports()
    imported = [name for name in LAYERS if any(found[row, name] for row in LAYERS if row != name)]
    lines = [f"| | {' | '.join(imported)} |", "|---|" + "---:|" * len(imported)]
    for row in LAYERS:
        cells = [str(found[row, column]) if row != column and found[row, column] else "" for column in imported]
        lines.append(f"| **{row}** | {' | '.join(cells)} |")
    return HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
