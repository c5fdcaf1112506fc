"""The generated pages say what the code says."""

import importlib.util
from pathlib import Path
from types import ModuleType

DOCS = Path(__file__).resolve().parents[2] / "docs"


def script(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_tasks_is_what_the_code_says() -> None:
    said = (DOCS / "theory" / "tasks.md").read_text(encoding="utf-8")
    made = script(DOCS / "theory" / "make_tables.py").tasks_table()
    assert said == made, "run: python docs/theory/make_tables.py"


def test_the_table_of_imports_is_what_the_code_says() -> None:
    module = script(DOCS / "make_import_table.py")
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), "run: python docs/make_import_table.py"
    layers = {name: i for i, name in enumerate(module.LAYERS)}
    assert all(layers[row] > layers[column] for row, column in module.imports() if row in layers and row != column)
