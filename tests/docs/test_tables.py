"""The generated pages say what the code says."""

import importlib.util
from pathlib import Path

THEORY = Path(__file__).resolve().parents[2] / "docs" / "theory"


def test_the_table_of_tasks_is_what_the_code_says() -> None:
    spec = importlib.util.spec_from_file_location("make_tables", THEORY / "make_tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    said = (THEORY / "tasks.md").read_text(encoding="utf-8")
    assert said == module.tasks_table(), "run: python docs/theory/make_tables.py"
