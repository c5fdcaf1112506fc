"""Dependencies point one way, and what theory needs is free of torch.

tasks <- bounds <- channels; kernels <- models <- constructions, training <- probes <- bottleneck <- sweep, plots <- cli
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import boundprobe

PACKAGE = Path(boundprobe.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

BOTTOM = {"errors", "seeds", "checks", "processes", "runs", "settings", "termination", "text", "version"}
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
    "hf": BOTTOM | {"bounds", "models"},
    "testing": BOTTOM | {"tasks", "bounds", "models"},
    "cli": BOTTOM
    | {"tasks", "bounds", "kernels", "models", "constructions", "training", "bottleneck", "probes", "sweep", "plots"}
    | {"export", "hf"},
    "__main__": {"cli"},
}


def name_of(path: Path) -> str:
    """``boundprobe/tasks/base.py`` is the module ``boundprobe.tasks.base``, an ``__init__`` its package."""
    parts = ("boundprobe", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def names_imported(source: str, package: str) -> set[str]:
    """Dotted names that a module imports from boundprobe, anywhere in it; ``package`` is where relative imports start.

    An import by name is "importlib".
    """
    found: set[str] = set()
    by_name: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            found |= {f"{origin}.{alias.name}" for alias in node.names}
        elif getattr(node, "attr", getattr(node, "id", None)) in ("__import__", "import_module"):
            by_name = {"importlib"}
    return {name for name in found if name.split(".")[0] == "boundprobe"} | by_name


def parts_imported(source: str, package: str) -> set[str]:
    """Parts of boundprobe that a module imports: "boundprobe" is the package itself."""
    words = [name.split(".") for name in names_imported(source, package)]
    return {word[1] if len(word) > 1 else word[0] for word in words}


def part_of(path: Path) -> str:
    """``tasks/base.py`` belongs to ``tasks``, ``seeds.py`` to ``seeds``, the root's ``__init__.py`` to itself."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def module_graph(sources: Mapping[str, tuple[str, str]]) -> dict[str, set[str]]:
    """Module to the modules that it imports; to import a face is to import all that it offers."""
    graph = {}
    for name, (text, package) in sources.items():
        dotted = [imported.split(".") for imported in names_imported(text, package)]
        prefixes = [[".".join(words[:n]) for n in range(len(words), 0, -1)] for words in dotted]
        found = {next((prefix for prefix in longest_first if prefix in sources), name) for longest_first in prefixes}
        graph[name] = found - {name}
    return graph


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Strongly connected components of more than one module (Tarjan), each sorted."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    path: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        path.append(name)
        for other in sorted(graph[name]):
            if other not in order:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in path:
                low[name] = min(low[name], order[other])
        if low[name] == order[name]:
            members = path[path.index(name) :]
            del path[path.index(name) :]
            if len(members) > 1:
                found.append(sorted(members))

    for name in sorted(graph):
        if name not in order:
            visit(name)
    return found


def package_sources() -> dict[str, tuple[str, str]]:
    """Every module with its text; a face's text is that of its stub, which says what it imports."""
    sources = {}
    for path in MODULES:
        name = name_of(path)
        is_face = path.name == "__init__.py"
        stub = path.with_suffix(".pyi")
        text = (stub if stub.is_file() else path).read_text("utf-8")
        sources[name] = (text, name if is_face else name.rpartition(".")[0])
    return sources


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_dependencies_point_one_way(path: Path) -> None:
    part = part_of(path)
    package = ".".join(("boundprobe", *path.relative_to(PACKAGE).parts[:-1]))
    imported = parts_imported(path.read_text("utf-8"), package)
    assert "importlib" not in imported or part == "cli", "imports by name hide from this test; import what is meant"
    if part != "__init__":
        assert part in ALLOWED, f"{part} is new; give it a place in ALLOWED"
        wrong = imported - ALLOWED[part] - {part, "importlib"}
        assert not wrong, f"{part} may not import {', '.join(sorted(wrong))}"


def test_no_module_is_in_a_circle_of_imports() -> None:
    """Imports inside functions count; so do faces, which import all that they offer."""
    assert circles(module_graph(package_sources())) == []


def test_no_package_is_in_a_circle_of_imports() -> None:
    packages: dict[str, set[str]] = {}
    for name, imported in module_graph(package_sources()).items():
        if name != "boundprobe":
            parts = {other.split(".")[1] for other in imported if other != "boundprobe"}
            packages.setdefault(name.split(".")[1], set()).update(parts - {name.split(".")[1]})
    assert circles(packages) == []


def test_a_circle_is_seen() -> None:
    """The negative control."""
    texts = {
        "boundprobe.a": "def f():\n    from boundprobe.b import x",
        "boundprobe.b": "import boundprobe.c",
        "boundprobe.c": "from boundprobe import a",
        "boundprobe.d": "from boundprobe.a import y",
    }
    graph = module_graph({name: (text, "boundprobe") for name, text in texts.items()})
    assert circles(graph) == [["boundprobe.a", "boundprobe.b", "boundprobe.c"]]


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
    assert parts_imported(source, package) == expected


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


LOADED = (
    "import sys; print('loaded:', "
    "*sorted({'torch', 'transformers', 'matplotlib', 'sklearn', 'rich'} & set(sys.modules)))"
)


def main_with(*argv: str) -> str:
    return (
        "from boundprobe.cli.main import main\n"
        "try:\n"
        f"    code = main({list(argv)!r})\n"
        "except SystemExit as stop:\n"
        "    code = stop.code\n"
        "assert not code, code\n" + LOADED
    )


#: A program that writes the configuration of a small hybrid into a directory of its own, and stands in it.
WITH_CONFIGURATION = """
import json, os, tempfile
os.chdir(tempfile.mkdtemp())
with open("config.json", "w") as file:
    json.dump({"model_type": "qwen3_next", "hidden_size": 8, "num_hidden_layers": 4, "num_attention_heads": 2}, file)
"""

FREE_OF_TORCH = {
    "the package": f"import boundprobe; {LOADED}",
    "tasks": f"import boundprobe.tasks; {LOADED}",
    "bounds": f"import boundprobe.bounds; {LOADED}",
    "--help": main_with("--help"),
    "train --help": main_with("train", "--help"),
    "bounds --task": main_with("bounds", "--task", "ar-decoding"),
    "bounds --json": main_with("bounds", "--task", "selective-copying", "--json"),
    "size --hf": WITH_CONFIGURATION + main_with("size", "--hf", "config.json", "--json"),
    "size --model": main_with("size", "--model", "mamba-attn"),
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
