"""One input: made from its seed, given to the program in this process, and held against what must always be so."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import sys
import time
import traceback
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from boundprobe.cli.main import VERBS, main
from boundprobe.errors import describe_error
from tests.fuzz.arrays import states_call, states_file
from tests.fuzz.configurations import configuration
from tests.fuzz.lines import command_line
from tests.fuzz.runs import changed_runs
from tests.fuzz.sandbox import Sandbox

#: Kinds of inputs; the seed of an input says which it is.
KINDS = ("command line", "configuration", "file of states", "states in Python", "run directory")
CYCLE = (0, 1, 4, 0, 2, 0, 1, 4, 0, 3, 1, 0, 4, 0, 1, 2, 0, 4, 0, 1)
#: Exit codes of a refusal, and all that are no fault.  5 is a bug, and 1 says that a certified number is wrong.
REFUSED, FINE = (2, 3, 4), (0, 2, 3, 4)
#: What an own task may do to the command that it is named in.
OWN_ENDS = {"Interrupts": 130}


class Accepted(BaseException):
    """The input is right, and what would follow takes long: training, or measuring many sequences."""


@dataclass
class Verdict:
    """What became of one input.

    Attributes
    ----------
    seed : int
    kind, verb : str
    line : str
        The command line, as a shell takes it.
    end : str
        The exit code, "accepted", or what ended the process.
    seconds : float
    faults : list of str
        What must not be.
    err : str
        The beginning of what was on stderr.
    """

    seed: int
    kind: str
    verb: str
    line: str
    end: str = ""
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)
    err: str = ""


def kind_of(seed: int) -> str:
    """The kind of input that a seed stands for."""
    return KINDS[CYCLE[seed % len(CYCLE)]]


def make_input(seed: int, sandbox: Sandbox, templates: Path) -> list[Any]:
    """Fill the sandbox; the command line, or the arguments of a function."""
    sandbox.make()
    rng, kind = np.random.default_rng(seed), kind_of(seed)
    if kind == "run directory":
        return changed_runs(templates)(rng, sandbox)
    makers: dict[str, Callable[[np.random.Generator, Sandbox], list[Any]]] = {
        "command line": command_line, "configuration": configuration, "file of states": states_file,
        "states in Python": states_call,
    }  # fmt: skip
    return makers[kind](rng, sandbox)


def judge(seed: int, sandbox: Sandbox, templates: Path) -> Verdict:
    """Make one input, run it, and say what is wrong with what happened."""
    given = make_input(seed, sandbox, templates)
    kind = kind_of(seed)
    in_python = kind == "states in Python" or given[0] == "read_ladders"
    if in_python:
        verb = "certify_states" if kind == "states in Python" else "read_ladders"
        line = (
            f"boundprobe.{verb}(...), the arguments of seed {seed}" if kind == "states in Python" else shlex.join(given)
        )
    else:
        verb, line = next((word for word in given if word in VERBS), "none"), shlex.join(["boundprobe", *given])
    verdict = Verdict(seed, kind, verb, line)
    before = sandbox.state()
    start = time.monotonic()
    with captured(sandbox) as said:
        try:
            code: int | None = _call(verb, given) if in_python else main(given)
            verdict.end = str(code)
        except Accepted:
            code, verdict.end = None, "accepted"
        except SystemExit as ended:  # argparse, after --help
            code = ended.code if isinstance(ended.code, int) else -1
            verdict.end = str(code)
        except BaseException as error:
            code, verdict.end = -1, type(error).__name__
            verdict.faults.append(f"an exception left main: {''.join(traceback.format_exception(error)[-4:])}")
    verdict.seconds = round(time.monotonic() - start, 2)
    out, err = said
    verdict.err = err[:400].encode("ascii", "backslashreplace").decode()
    own = next((end for name, end in OWN_ENDS.items() if name in line), None)
    own = own if own is not None else next((end for name, end in OWN_ENDS.items() if name in _text(sandbox)), None)
    if code is not None and code not in FINE and code != own:
        verdict.faults.append(f"exit code {code}")
    verdict.faults += list(_of_text(given, code, out, err, in_python=in_python))
    verdict.faults += list(_of_files(sandbox, before, code))
    return verdict


def _text(sandbox: Sandbox) -> str:
    file = sandbox.work / "own.toml"
    return file.read_bytes().decode("latin1") if file.exists() else ""


def _call(verb: str, given: list[Any]) -> int:
    """A function of the package, with errors counted as the command line counts them."""
    import boundprobe
    from boundprobe.probes import read_ladders
    from boundprobe.runs import load_run

    try:
        if verb == "certify_states":
            states, answers, keywords = given
            config = boundprobe.StatesConfig(boundprobe.DecoderConfig(("linear",)))
            boundprobe.certify_states(states, answers, config=config, **keywords).to_json()
        else:
            read_ladders(load_run(Path(given[1])))
    except Exception as error:
        message, code = describe_error(error)
        print(f"boundprobe: {message}", file=sys.stderr)
        return code
    return 0


@contextlib.contextmanager
def captured(sandbox: Sandbox) -> Iterator[list[str]]:
    """Stand in the sandbox, and take what is written to stdout and stderr, by whatever means: [out, err]."""
    said: list[str] = []
    files = [sandbox.place.with_name(f"{sandbox.place.name}.{name}").open("w+b") for name in ("out", "err")]
    kept, streams, directory = [os.dup(1), os.dup(2)], (sys.stdout, sys.stderr), Path.cwd()
    for stream in streams:
        stream.flush()
    os.environ["BOUNDPROBE_FUZZ_MARK"] = str(sandbox.mark)
    os.chdir(sandbox.work)
    try:
        for descriptor, file in zip((1, 2), files, strict=True):
            os.dup2(file.fileno(), descriptor)
        sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), "utf-8", write_through=True)
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), "utf-8", "backslashreplace", write_through=True)
        with warnings.catch_warnings():
            warnings.simplefilter("always")  # not only where they come first
            for ignored in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
                warnings.simplefilter("ignore", ignored)
            yield said
    finally:
        sys.stdout, sys.stderr = streams
        for descriptor, old in zip((1, 2), kept, strict=True):
            os.dup2(old, descriptor)
            os.close(old)
        for file in files:
            file.seek(0)
            said.append(file.read().decode("utf-8", "surrogateescape"))
            file.close()
        os.chdir(directory)


def _of_text(given: list[Any], code: int | None, out: str, err: str, *, in_python: bool) -> Iterator[str]:
    """What is wrong with what was printed."""
    unsafe = {
        c
        for text in (out, err)
        for c in set(text) - {"\n"}
        if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
    }
    if unsafe:
        yield f"control characters: {sorted(map(ascii, unsafe))}"
    if not in_python and ("-v" in given or "--verbose" in given):
        return
    if "Traceback (most recent call last)" in err + out:
        yield "a traceback"
    if found := re.search(r"\w*Warning: .*", err):
        yield f"a warning: {found[0][:200]}"
    if code in REFUSED:
        if out:
            yield f"refused, and on stdout: {out[:100]!r}"
        if not (err.startswith("boundprobe: ") and err.endswith("\n") and err.count("\n") == 1):
            yield f"refused, and stderr is not one line: {err[:300]!r}"
    if (
        code == 0
        and not in_python
        and "--json" in given
        and not {"--help", "-h", "--print-config", "--version"} & set(given)
    ):
        try:
            json.loads(out, parse_constant=lambda constant: (_ for _ in ()).throw(ValueError(constant)))
        except ValueError as error:
            yield f"--json, and stdout is not one document ({error}): {out[:100]!r}"


def _of_files(sandbox: Sandbox, before: dict[str, tuple[object, ...]], code: int | None) -> Iterator[str]:
    """What is wrong with what lies in the sandbox now."""
    after = sandbox.state()
    if "executed" in after or "work/executed" in after:
        yield "something of a run or a file was executed"
    changed = sorted(path for path in {*before, *after} if before.get(path) != after.get(path))
    outside = [path for path in changed if path.startswith("canary/")]
    if outside:
        yield f"changed outside: {outside[:5]}"
    if code == 2 and changed:
        yield f"refused, and changed: {changed[:5]}"
