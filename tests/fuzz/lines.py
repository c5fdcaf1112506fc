"""Hostile command lines, from the flags that the parsers really have."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from boundprobe.cli.main import VERBS, build_parser
from boundprobe.tasks import TASKS
from tests.fuzz.hostile import TEXTS, number, pick, text
from tests.fuzz.sandbox import OWN_TASKS, READ, WRITE, Sandbox

#: Sizes at which every task is quick.
SMALL = {
    "selective-copying": ["n_numbers=2", "n_letters=2", "seq_len=8"],
    "ar-decoding": ["word_bits=2", "seq_len=8"],
    "mkar": ["vocab_size=4", "key_length=1", "seq_len=8"],
    "needle": ["vocab_size=4", "seq_len=8"],
    "mqar": ["n_pairs=2", "n_keys=4", "n_values=4", "seq_len=8"],
    "copying": ["vocab_size=3", "n_tokens=3"],
    "ngram-retrieval": ["vocab_size=4", "n=3", "query_length=1", "seq_len=8"],
    "position-retrieval": ["seq_len=4"],
}
MODES = ("--json", "--json", "--print-config", "-q", "-v", "--help", "--trust", "--list", "--statements", "--curves")
READ_FLAGS, WRITE_FLAGS = ("config", "run_dir", "run_dirs", "file"), ("out", "table")


@cache
def actions() -> dict[str, list[argparse.Action]]:
    """The actions of every verb's parser."""
    (verbs,) = (each for each in build_parser()._actions if isinstance(each, argparse._SubParsersAction))
    return {name: list(parser._actions) for name, parser in verbs.choices.items()}


def task(rng: np.random.Generator) -> list[str]:
    """Arguments for a task, small, with a hostile parameter or two now and then."""
    if rng.random() < 0.2:
        return ["--task", pick(rng, OWN_TASKS)]
    name = pick(rng, list(SMALL))
    words = ["--task", name]
    for parameter in SMALL[name]:
        if rng.random() < 0.9:
            words += ["-p", parameter]
    while rng.random() < 0.5:
        key = pick(rng, [field.name for field in dataclasses.fields(TASKS[name])])
        words += ["-p", f"{key}={number(rng)}"]
    return words


def base(rng: np.random.Generator, verb: str) -> list[str]:
    """Arguments with which the verb would be quick."""
    if verb in ("bounds", "sample"):
        return task(rng)
    if verb == "train":
        return [*task(rng), "--model", pick(rng, ["attn", "gru", "mamba-attn"]), "--d-model", "4", "--steps", "3"]
    if verb == "construct":
        name = pick(rng, ["selective-copying", "ar-decoding"])
        return ["--task", name, *(word for p in SMALL[name] for word in ("-p", p)), "--inputs", "20"]
    if verb == "demo":
        return ["--steps", "1", "--workers", "1"]
    if verb == "sweep":
        return [pick(rng, ["sweep.toml", *READ])]
    return [pick(rng, READ)] if verb in ("probe", "plot") else []


def command_line(rng: np.random.Generator, sandbox: Sandbox) -> list[str]:
    """A command line of any verb; ``sweep.toml`` and others lie in the sandbox."""
    (sandbox.work / "sweep.toml").write_text('[task]\nname = "copying"\nn_tokens = 2\n[model]\nd_model = 4\n')
    verb = pick(rng, VERBS)
    words = [verb, *base(rng, verb)]
    for _ in range(int(pick(rng, [0, 1, 1, 1, 2, 2, 3]))):
        words = pick(rng, CHANGES)(rng, verb, words) or [verb]
    return [word.replace("\x00", "") for word in words]  # which no shell can pass on


def _flag(rng: np.random.Generator, verb: str, words: list[str]) -> list[str]:
    """A flag of the verb with a value that may be hostile."""
    action = pick(rng, actions()[verb])
    if not action.option_strings:
        return [*words, argument(rng, action)]
    flag = pick(rng, action.option_strings)
    if action.nargs == 0:
        return [*words, flag] if rng.random() < 0.9 else [*words, f"{flag}={text(rng)}"]
    given = argument(rng, action)
    return [*words, f"{flag}={given}"] if rng.random() < 0.3 else [*words, flag, given]


def argument(rng: np.random.Generator, action: argparse.Action) -> str:
    """A value for a flag: a path where it takes one, else any text."""
    name = action.dest
    if name in WRITE_FLAGS:
        return str(pick(rng, WRITE))
    if name in READ_FLAGS or action.type is Path or name in ("states.file", "hf"):
        return str(pick(rng, READ))
    if name == "task.name":
        return str(pick(rng, [*TASKS, *OWN_TASKS, text(rng)]))
    if name == "task_parameters":
        key = pick(rng, ["seq_len", "vocab_size", "n", "n_tokens", "form", text(rng)])
        return pick(rng, [f"{key}={number(rng)}", text(rng)])
    return text(rng) if action.type is None or rng.random() < 0.1 else number(rng)


def _junk(rng: np.random.Generator, verb: str, words: list[str]) -> list[str]:
    at = int(rng.integers(len(words) + 1))
    return [*words[:at], pick(rng, ["--", "--unknown", "-x", "--sede", "-", "--=", "-p", *TEXTS]), *words[at:]]


def _drop(rng: np.random.Generator, verb: str, words: list[str]) -> list[str]:
    at = int(rng.integers(len(words)))
    return words[:at] + words[at + 1 :]


def _repeat(rng: np.random.Generator, verb: str, words: list[str]) -> list[str]:
    at = int(rng.integers(len(words)))
    return words + words[at : at + int(rng.integers(1, 3))]


def _replace(rng: np.random.Generator, verb: str, words: list[str]) -> list[str]:
    at = int(rng.integers(len(words)))
    previous = words[at - 1] if at else ""
    if previous in ("--out", "--table") or words[at].startswith(("--out", "--table")):
        return words  # what is written stays in the sandbox
    if previous == "-p" and "=" in words[at]:
        return [*words[:at], f"{words[at].partition('=')[0]}={number(rng)}", *words[at + 1 :]]
    return [*words[:at], number(rng) if at else text(rng), *words[at + 1 :]]


def _mode(rng: np.random.Generator, verb: str, words: list[str]) -> list[str]:
    return [*words, pick(rng, MODES)]


Change = Callable[[np.random.Generator, str, list[str]], list[str]]
CHANGES: tuple[Change, ...] = (
    _flag,
    _flag,
    _flag,
    _flag,
    _flag,
    _flag,
    _replace,
    _replace,
    _mode,
    _mode,
    _junk,
    _drop,
    _repeat,
)
