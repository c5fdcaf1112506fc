"""Dependencies point one way, and what theory needs is free of torch.

tasks <- bounds <- channels; kernels <- models <- constructions, training <- probes <- bottleneck <- sweep, plots <- cli
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import boundprobe

PACKAGE = Path(boundprobe.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

BOTTOM = {"errors", "seeds", "checks", "runs"}
#: What each part may import of the package; the root re-exports and may import all.
ALLOWED: dict[str, set[str]] = {
    **dict.fromkeys(BOTTOM, BOTTOM),
    "tasks": BOTTOM,
    "bounds": BOTTOM | {"tasks"},
    "channels": BOTTOM | {"tasks", "bounds"},
    "kernels": BOTTOM,
    "models": BOTTOM | {"tasks", "bounds", "kernels"},
    "constructions": BOTTOM | {"tasks", "bounds", "kernels", "models"},
    "training": BOTTOM | {"tasks", "bounds", "kernels", "models"},
    "probes": BOTTOM | {"tasks", "bounds", "models", "training"},
    "bottleneck": BOTTOM | {"tasks", "bounds", "models", "training", "probes"},
    "sweep": BOTTOM | {"tasks", "bounds", "models", "training", "probes", "bottleneck"},
    "plots": BOTTOM | {"tasks", "bounds", "models", "constructions", "probes", "bottleneck"},
    "export": BOTTOM | {"tasks"},
    "testing": BOTTOM | {"tasks", "bounds", "models"},
    "cli": BOTTOM
    | {"tasks", "bounds", "kernels", "models", "constructions", "training", "bottleneck", "probes", "sweep", "plots"}
    | {"export"},
    "__main__": {"cli"},
}
#: Run time imports by name would hide from this test; only these may use them.
MAY_IMPORT_BY_NAME = {"__init__", "cli"}


def part_of(path: Path) -> str:
    """``tasks/base.py`` belongs to ``tasks``, ``seeds.py`` to ``seeds``, the root's ``__init__.py`` to itself."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports_of(source: str, package: str) -> set[str]:
    """Parts of boundprobe that a module imports, anywhere in it; ``package`` is where relative imports start.

    The package itself is "boundprobe", an import by name "importlib".
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            names = [f"{origin}.{alias.name}" for alias in node.names]
        elif getattr(node, "attr", getattr(node, "id", None)) in ("__import__", "import_module"):
            names = ["boundprobe.importlib"]
        else:
            continue
        for name in names:
            words = name.split(".")
            if words[0] == "boundprobe":
                found.add(words[1] if len(words) > 1 else "boundprobe")
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_dependencies_point_one_way(path: Path) -> None:
    part = part_of(path)
    package = ".".join(("boundprobe", *path.relative_to(PACKAGE).parts[:-1]))
    imported = imports_of(path.read_text("utf-8"), package)
    by_name = "importlib" in imported
    assert not by_name or part in MAY_IMPORT_BY_NAME, "imports by name hide from this test; import what is meant"
    if part != "__init__":
        assert part in ALLOWED, f"{part} is new; give it a place in ALLOWED"
        wrong = imported - ALLOWED[part] - {part, "importlib"}
        assert not wrong, f"{part} may not import {', '.join(sorted(wrong))}"


@pytest.mark.parametrize(
    ("source", "package", "expected"),
    [
        ("import boundprobe.cli.main", "boundprobe.tasks", {"cli"}),
        ("import boundprobe", "boundprobe.tasks", {"boundprobe"}),
        ("from boundprobe import models", "boundprobe.tasks", {"models"}),
        ("from boundprobe.models.stack import SequenceModel", "boundprobe.tasks", {"models"}),
        ("if TYPE_CHECKING:\n    from boundprobe.sweep import x", "boundprobe.tasks", {"sweep"}),
        ("def f():\n    def g():\n        import boundprobe.plots as p", "boundprobe.tasks", {"plots"}),
        ("from ..models import stack", "boundprobe.tasks", {"models"}),
        ("from .. import models", "boundprobe.tasks", {"models"}),
        ("from . import base", "boundprobe.tasks", {"tasks"}),
        ("from ...models import stack", "boundprobe.kernels.scan", {"models"}),
        ("import importlib\nimportlib.import_module('boundprobe.cli')", "boundprobe.tasks", {"importlib"}),
        ("import numpy, torch.nn", "boundprobe.tasks", set()),
    ],
)
def test_the_walk_sees_every_kind_of_import(source: str, package: str, expected: set[str]) -> None:
    """The negative control: an import that this test overlooks would not be refused."""
    assert imports_of(source, package) == expected


def test_every_part_has_a_place() -> None:
    assert {part_of(path) for path in MODULES} - {"__init__"} == set(ALLOWED)


def python(code: str) -> str:
    """Standard output of a fresh interpreter."""
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


LOADED = "import sys; print('loaded:', *sorted({'torch', 'matplotlib', 'sklearn', 'rich'} & set(sys.modules)))"


def main_with(*argv: str) -> str:
    return (
        "from boundprobe.cli.main import main\n"
        "try:\n"
        f"    code = main({list(argv)!r})\n"
        "except SystemExit as stop:\n"
        "    code = stop.code\n"
        "assert not code, code\n" + LOADED
    )


FREE_OF_TORCH = {
    "the package": f"import boundprobe; {LOADED}",
    "tasks": f"import boundprobe.tasks; {LOADED}",
    "bounds": f"import boundprobe.bounds; {LOADED}",
    "--help": main_with("--help"),
    "train --help": main_with("train", "--help"),
    "bounds --task": main_with("bounds", "--task", "ar-decoding"),
    "bounds --json": main_with("bounds", "--task", "selective-copying", "--json"),
    "print-config": main_with("train", "--task", "ar-decoding", "--print-config"),
}


@pytest.mark.parametrize("name", FREE_OF_TORCH)
def test_what_needs_no_torch_loads_none(name: str) -> None:
    assert python(FREE_OF_TORCH[name]).splitlines()[-1].strip() == "loaded:"


def test_the_check_sees_torch() -> None:
    """The negative control of the test above."""
    assert "torch" in python(f"import boundprobe.models.stack; {LOADED}")


def test_theory_works_without_torch() -> None:
    code = """
import sys
sys.modules["torch"] = None  # importing it raises ImportError
import boundprobe
from boundprobe.bounds import bounds_report
from boundprobe.tasks import TASKS, build_task
for name in TASKS:
    print(name, bounds_report(build_task(name, {}), error=0.1).state.fano_bits > 0)
try:
    boundprobe.SequenceModel
except ImportError:
    print("and models do not")
"""
    lines = python(code).splitlines()
    assert lines[-1] == "and models do not"
    assert len(lines) == len(boundprobe.TASKS) + 1
    assert all(line.endswith(" True") for line in lines[:-1])
