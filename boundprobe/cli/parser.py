"""The argument parser of the command line: errors of one line, and each flag once."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Mapping
from typing import Any, NoReturn


class _Once(argparse.Action):
    """Stores a flag's value, and refuses the flag a second time: which of two values counts is not to be guessed."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Store, where nothing is stored yet."""
        given = namespace.__dict__.setdefault("flags_given", set())
        if option_string is not None and self.dest in given:
            raise ValueError(f"`{option_string}` must be given once; got it more than once.")
        given.add(self.dest)
        setattr(namespace, self.dest, values)


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line: what must hold, what was got, what to do.

    Attributes
    ----------
    siblings : mapping of str to OneLineParser
        Parsers of all verbs by name: a flag that is another verb's is said to be.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for action in (None, "store"):
            self.register("action", action, _Once)
        self.siblings: Mapping[str, OneLineParser] = {}

    def error(self, message: str) -> NoReturn:
        """Raise ``ValueError`` instead of printing the usage; ``main`` prints it and exits with 2."""
        if message.startswith("unrecognized arguments: "):
            words = message.removeprefix("unrecognized arguments: ").split()
            advice = self._advice(words[0]) if words else ""
            got = " ".join(words) or "an empty one"
            message = f"arguments must be among those of '{self.prog} --help'; got {got}.{advice}"
        elif found := re.fullmatch(r"argument VERB: invalid choice: '(.*)' \(choose from (.*)\)", message):
            verbs = {verb.strip(" '"): verb.strip(" '") for verb in found[2].split(",")}
            message = f"the verb must be one of {', '.join(verbs)}; got {found[1]!r}.{_meant(found[1], verbs)}"
        elif found := re.fullmatch(r"argument (\S+): (must .*)", message):
            message = f"`{found[1]}` {found[2]}"
        elif found := re.fullmatch(r"argument (\S+): expected (.*)", message):
            message = f"`{found[1]}` must be given {found[2].replace('argument', 'value')}; got none."
        raise ValueError(message)

    def _advice(self, given: str) -> str:
        """Advice for a flag that is not known: a flag of this verb, or one that other verbs have."""
        if own := _meant(given, self._spellings()):
            return own
        for name in {_meant(given, verb._spellings()) for verb in self.siblings.values()} - {""}:
            flag = name.removeprefix(" Did you mean ").removesuffix("?")
            verbs = [verb for verb, parser in self.siblings.items() if flag in parser._spellings()]
            return f" {flag} belongs to {', '.join(verbs)}."
        return ""

    def _spellings(self) -> dict[str, str]:
        """Flags by what a user may type for them: the flag itself, or the name of the key that it sets."""
        spellings = {}
        for action in self._actions:
            flags = [flag for flag in action.option_strings if len(flag) > 2]
            if flags:
                spellings[f"--{action.dest.rpartition('.')[2].replace('_', '-')}"] = flags[0]
            spellings |= {flag: flag for flag in flags}
        return spellings


def _meant(given: str, spellings: Mapping[str, str]) -> str:
    """Suggest what the nearest spelling stands for; empty if none is near."""
    # Dashes apart: those that every flag has would make short names alike.
    bare = {name.lstrip("-"): meaning for name, meaning in spellings.items()}
    near = difflib.get_close_matches(given.partition("=")[0].lstrip("-"), bare, n=1, cutoff=0.7)
    return f" Did you mean {bare[near[0]]}?" if near else ""
