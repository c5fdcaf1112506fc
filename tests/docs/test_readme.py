"""The commands and code of README and docs/probes.md run as they stand; what they show is in the repository."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
SHELL = [line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines() if line.strip()]
COMMANDS = [line for line in SHELL if line.startswith("boundprobe ")]
PAGES = [README, (ROOT / "docs/probes.md").read_text(encoding="utf-8")]
SNIPPETS = [text for page in PAGES for text in re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)]


def run(command: list[str] | str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    shell = isinstance(command, str)
    return subprocess.run(
        command, cwd=cwd, env=environment, shell=shell, capture_output=True, text=True, timeout=300, check=False
    )


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
        done = run(command, tmp_path)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        assert done.stdout, command


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_python_examples_print_what_they_say(snippet: str, tmp_path: Path) -> None:
    done = run([sys.executable, "-c", snippet], tmp_path)
    assert done.returncode == 0, done.stderr
    # A comment at the end of a print line is what the line prints.
    said = re.findall(r"^\s*print\(.*\)  # (.+)$", snippet, flags=re.MULTILINE)
    assert said, "an example shows what it prints"
    assert done.stdout.split("\n")[: len(said)] == said


def test_figures_and_links_are_there() -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", README)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_the_pip_lines_install_with_the_pins() -> None:
    assert any("-c constraints.txt" in line and "-e ." in line for line in SHELL)


def test_every_verb_is_in_the_readme() -> None:
    from boundprobe.cli.main import VERBS

    assert [verb for verb in VERBS if f"boundprobe {verb}" not in README] == []
