"""Every package has a face: what it offers can be imported, is typed, and is what documents and analyses import."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import boundprobe

ROOT = Path(boundprobe.__file__).parents[1]
PACKAGES = sorted(".".join(path.relative_to(ROOT).parent.parts) for path in (ROOT / "boundprobe").rglob("__init__.py"))
#: The command line is no library: it has no face.
WITHOUT_FACE = {"boundprobe.cli"}
#: Modules of the root that are for the package itself.
INTERNAL = {"processes", "text", "termination"}


@pytest.mark.parametrize("name", sorted(set(PACKAGES) - WITHOUT_FACE))
def test_all_that_a_face_offers_can_be_imported(name: str) -> None:
    face = importlib.import_module(name)
    offered = dir(face)
    assert offered
    assert list(offered) == sorted(set(offered))
    for attribute in offered:
        getattr(face, attribute)


@pytest.mark.parametrize("name", sorted(set(PACKAGES) - WITHOUT_FACE))
def test_no_offered_name_is_hidden_by_a_submodule(name: str) -> None:
    """Importing ``package.x`` binds ``x`` to the module; an object of that name would be either, by chance."""
    face = importlib.import_module(name)
    submodules = {module.name for module in pkgutil.iter_modules(face.__path__)}
    objects = {attribute for attribute in dir(face) if not hasattr(getattr(face, attribute), "__path__")}
    objects -= {attribute for attribute in objects if type(getattr(face, attribute)).__name__ == "module"}
    assert not submodules & objects


def test_the_root_offers_every_part() -> None:
    parts = {module.name for module in pkgutil.iter_modules(boundprobe.__path__)} - {"__main__"}
    assert parts - INTERNAL <= set(dir(boundprobe)) | {"cli"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", boundprobe.__version__)


def test_a_name_that_is_not_there_is_refused() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        boundprobe.no_such_name  # noqa: B018


def readers() -> Iterator[tuple[str, str]]:
    """File and Python source of everything that is to import from faces."""
    for path in sorted((*(ROOT / "analyses").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py"))):
        yield str(path.relative_to(ROOT)), path.read_text("utf-8")
    for path in sorted((ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "docs").rglob("*.py"))):
        text = path.read_text("utf-8")
        blocks = [text] if path.suffix == ".py" else re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
        for block in blocks:
            yield str(path.relative_to(ROOT)), block


def modules_imported(source: str) -> list[str]:
    """Modules of boundprobe that names are imported from."""
    nodes = list(ast.walk(ast.parse(source)))
    found = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    found += [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return [name for name in found if name.split(".")[0] == "boundprobe"]


@pytest.mark.parametrize(("file", "source"), list(readers()))
def test_documents_analyses_and_benchmarks_import_from_faces(file: str, source: str) -> None:
    assert [name for name in modules_imported(source) if name not in PACKAGES] == []


def offered() -> dict[tuple[str, str], str]:
    """(module, name) to the package whose face offers it."""
    found = {}
    for stub in sorted((ROOT / "boundprobe").rglob("__init__.pyi"), reverse=True):
        package = ".".join(stub.relative_to(ROOT).parent.parts)
        for node in ast.parse(stub.read_text("utf-8")).body:
            if isinstance(node, ast.ImportFrom) and node.module and package != "boundprobe":
                found |= {(f"{package}.{node.module}", alias.name): package for alias in node.names}
    return found


OFFERED = offered()


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_import_from_a_face_what_it_offers(path: Path) -> None:
    """Tests of internals may import modules, for what no face has."""
    nodes = [node for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.ImportFrom)]
    past = [(node.module or "", alias.name) for node in nodes for alias in node.names]
    assert [f"{name} from {module}" for module, name in past if (module, name) in OFFERED] == []


def test_an_import_past_a_face_is_seen() -> None:
    """The negative control."""
    assert modules_imported("from boundprobe.models.stack import SequenceModel\nimport numpy") == [
        "boundprobe.models.stack"
    ]
    assert OFFERED["boundprobe.models.stack", "SequenceModel"] == "boundprobe.models"


USER_SCRIPT = """
import boundprobe as bp

task = bp.build_task("selective-copying", {"n_numbers": 10})
report = bp.bounds_report(task, error=1 / 3)
bits: float = report.state.fano_bits
spec = bp.ModelSpec("mamba-attn", d_model=12, window=11, d_state=4)
model = bp.SequenceModel(spec, task.n_token_ids)
parameters: int = model.n_params
reveal_type(bits + parameters)
wrong: str = bp.bounds_report(task).state.fano_bits
"""


def test_a_user_script_sees_real_types(tmp_path: Path) -> None:
    """``mypy --strict`` finds the one mistake of the script, and knows the type of the rest."""
    assert (ROOT / "boundprobe" / "py.typed").is_file()
    script = tmp_path / "script.py"
    script.write_text(USER_SCRIPT, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", str(script)],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    lines = [line.partition("script.py:")[2] for line in done.stdout.splitlines() if "script.py:" in line]
    assert [line.partition(": ")[0] for line in lines] == ["10", "11"], done.stdout
    assert "float" in lines[0]
    assert "Incompatible types in assignment" in lines[1]
