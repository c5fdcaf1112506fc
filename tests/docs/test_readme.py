"""The commands of the README and the Python of every page run as they stand; what they show is in the repository."""

import contextlib
import io
import re
from pathlib import Path

import pytest

from boundprobe.cli.main import VERBS
from tests.helpers.commands import run_line

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
SHELL = [line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines() if line.strip()]
COMMANDS = [line for line in SHELL if line.startswith("boundprobe ")]
#: Tutorials have their own test: their blocks belong together.
PAGES = [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").rglob("*.md") if "tutorials" not in path.parts)]
TEXTS = {path.relative_to(ROOT): path.read_text(encoding="utf-8") for path in PAGES}
SNIPPETS = [
    pytest.param(text, id=f"{path}-{i}")
    for path, page in TEXTS.items()
    for i, text in enumerate(re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
]


def test_the_readme_has_the_two_commands_and_an_example_of_each_kind() -> None:
    assert {"make demo", "make test"} <= {line.split("#")[0].strip() for line in SHELL}
    assert COMMANDS
    assert SNIPPETS


def test_every_shell_line_is_one_that_is_known() -> None:
    # A line of another kind would not be run by this file: it is either added here, or made a boundprobe command.
    known = ("make demo", "make test", "git clone ", "cd boundprobe", "python3 -m venv ", ".venv/bin/", "boundprobe ")
    assert [line for line in SHELL if not line.startswith(known)] == []


def test_commands_run_in_order(tmp_path: Path) -> None:
    for command in COMMANDS:
        if command.split()[:2] == ["boundprobe", "demo"]:
            continue  # minutes: tests/cli runs the demo, at a smaller size
        done = run_line(command, tmp_path)
        assert done.code == 0, f"{command}: {done.err}"
        assert done.out, command


def test_the_example_of_a_model_that_must_fail_prints_what_the_readme_shows(tmp_path: Path) -> None:
    (shown,) = (text for kind, text in BLOCKS if kind == "text")
    assert "must fail" in shown
    (command,) = (line for line in COMMANDS if line.startswith("boundprobe bounds") and "--model" in line)
    printed = run_line(command, tmp_path).out.splitlines()
    assert [line for line in shown.splitlines() if line not in printed] == []


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_python_examples_print_what_they_say(snippet: str, tmp_path: Path) -> None:
    printed = io.StringIO()
    with contextlib.chdir(tmp_path), contextlib.redirect_stdout(printed):
        exec(compile(snippet, "<example>", "exec"), {"__name__": "__main__"})
    # A comment at the end of a print line is what the line prints.
    said = re.findall(r"^\s*print\(.*\)  # (.+)$", snippet, flags=re.MULTILINE)
    assert said, "an example shows what it prints"
    assert printed.getvalue().split("\n")[: len(said)] == said


@pytest.mark.parametrize("path", TEXTS, ids=str)
def test_figures_and_links_are_there(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", TEXTS[path])
    assert [target for target in targets if not (ROOT / path.parent / target).exists()] == []


def test_the_readme_is_one_screen_and_leads_to_the_pages() -> None:
    assert len(README.split()) <= 900
    assert README.count("![") == 1
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\((docs/[^)#:]+\.md)\)", README + contributing))
    assert {str(path) for path in TEXTS if path.parts[:1] == ("docs",) and len(path.parts) == 2} <= linked


def test_the_pip_lines_install_with_the_pins() -> None:
    assert any("-c constraints.txt" in line and "-e ." in line for line in SHELL)


def test_every_verb_is_on_some_page() -> None:
    said = " ".join(TEXTS.values())
    assert [verb for verb in VERBS if f"boundprobe {verb}" not in said] == []
