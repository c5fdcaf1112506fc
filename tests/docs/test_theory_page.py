"""The page of the bounds: every test and every function that it names exists, and every statement has its section."""

from __future__ import annotations

import ast
import importlib
import re
from functools import reduce
from pathlib import Path

import pytest

from boundprobe.bounds import CATALOGUE

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/theory/bounds.md").read_text(encoding="utf-8")
OVERVIEW = (ROOT / "docs/bounds.md").read_text(encoding="utf-8")
TEXT = re.sub(r"^```.*?^```$", "", PAGE, flags=re.MULTILINE | re.DOTALL)
TESTS = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)))
#: Anchor of each section to its text, up to the next section.
SECTIONS = dict(re.findall(r'<a id="([\w-]+)"></a>\n(##.*?)(?=<a id=|\Z)', TEXT, re.DOTALL))
STATEMENTS = [name for name in (entry.name for entry in CATALOGUE) if re.match(r"[SWTD]\d ", name)]


def functions() -> list[str]:
    """Every dotted name: of a line such as *Code.* `boundprobe.bounds`: `fano_bits`, .., and those that stand alone."""
    named = []
    for package, names in re.findall(r"\*Code\.\* `([\w.]+)`: ((?:`\w+`(?:, )?)+)", TEXT):
        named += [f"{package}.{name}" for name in re.findall(r"`(\w+)`", names)]
    return sorted({*named, *re.findall(r"`(boundprobe(?:\.\w+)+)`", TEXT)})


def resolve(name: str) -> object:
    """What a dotted name stands for: a module, or an attribute of the longest module in it."""
    parts = name.split(".")
    for n in range(len(parts), 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:n]))
        except ModuleNotFoundError:
            continue
        return reduce(getattr, parts[n:], module)
    raise AttributeError(name)


@pytest.mark.parametrize(("path", "name"), TESTS)
def test_a_test_that_is_named_exists(path: str, name: str) -> None:
    nodes = ast.parse((ROOT / path).read_text(encoding="utf-8")).body
    assert name in {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


def test_no_mention_of_a_test_goes_unread() -> None:
    assert len(re.findall("tests/", TEXT)) == len(re.findall(r"`tests/[\w/]+\.py::test_\w+`", TEXT))
    assert len(TESTS) > 40


@pytest.mark.parametrize("name", functions())
def test_a_function_that_is_named_exists(name: str) -> None:
    resolve(name)


def test_a_name_that_does_not_exist_is_seen() -> None:
    # Negative control of the test above.
    for name in ("boundprobe.bounds.no_such_bound", "boundprobe.no_such_package"):
        with pytest.raises(AttributeError):
            resolve(name)


@pytest.mark.parametrize("name", STATEMENTS)
def test_every_statement_has_a_section_that_is_complete(name: str) -> None:
    anchor = name.split(maxsplit=1)[0].lower()
    # D1 has its corollaries under an anchor of their own.
    section = "".join(text for key, text in SECTIONS.items() if key.split("-")[0] == anchor)
    assert section.startswith(f"## {anchor.upper()}. ")
    for part in ("**Proof.**", "**Relation to the paper.**", "*Code.*", "*Attacked by.*", "∎"):
        assert part in section, part


def test_the_functions_of_the_catalogue_are_in_the_section_of_their_statement() -> None:
    for entry in CATALOGUE:
        anchor = "absent" if entry.name == "absent answers" else entry.name.split(maxsplit=1)[0].lower()
        if entry.family != "neighbour":
            section = "".join(text for key, text in SECTIONS.items() if key.split("-")[0] == anchor)
            missing = [name for name in entry.functions if f"`{name}`" not in section]
            assert missing == [], entry.name


@pytest.mark.parametrize("text", [PAGE, OVERVIEW], ids=["theory", "overview"])
def test_links_into_the_page_have_their_anchors(text: str) -> None:
    linked = re.findall(r"\]\((?:theory/bounds\.md)?#([\w-]+)\)", text)
    assert set(linked) <= set(SECTIONS)


def test_every_section_of_a_statement_is_linked_from_the_overview() -> None:
    linked = set(re.findall(r"\]\(theory/bounds\.md#([\w-]+)\)", OVERVIEW))
    assert {*(name.split()[0].lower() for name in STATEMENTS), "absent"} <= linked
