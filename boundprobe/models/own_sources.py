"""Sources of a user's own mixers: read and hashed, never executed here."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from boundprobe.checks import refuse
from boundprobe.tasks.custom.consent import consented, name_task
from boundprobe.tasks.custom.source import source_of


def sources_of(mixers: Sequence[str], given: Any) -> tuple[str, ...]:
    """``reference sha256`` of each mixer: as given, else read off its source, which the user has then named.

    Parameters
    ----------
    mixers : sequence of str
        References, ``module:name`` or ``file.py:name``.
    given : sequence of str
        What is known, maybe of other mixers too; those are left out.

    Raises
    ------
    ValueError
        If a source is not there, or ``given`` is something else.
    """
    of_form = isinstance(given, list | tuple) and all(isinstance(x, str) and x.count(" ") == 1 for x in given)
    if not of_form:
        refuse("sources", "'reference sha256' of each mixer of your own", repr(given))
    known = dict(source.split(" ") for source in given)
    found = []
    for mixer in mixers:
        if mixer not in known:
            name_task(mixer)
            known[mixer] = hashlib.sha256(source_of(mixer, "mixer")).hexdigest()
        found.append(f"{mixer} {known[mixer]}")
    return tuple(found)


def check_sources(sources: Sequence[str]) -> None:
    """Compare the sources of the mixers that the user has named with those that a record has; nothing is executed.

    Raises
    ------
    ValueError
        If one has changed.
    """
    for source in sources:
        reference, sha256 = source.split(" ")
        for place in named_of([source]):
            if (found := hashlib.sha256(source_of(place, "mixer")).hexdigest()) != sha256:
                raise ValueError(
                    f"the source of mixer {reference} must be as it was, with sha256 {sha256[:12]}...; got "
                    f"{found[:12]}.... Restore it, or start a new run."
                )


def named_of(sources: Sequence[str]) -> tuple[str, ...]:
    """References by which the user has named mixers in this process: those that may be executed."""
    named = []
    for source in sources:
        reference, sha256 = source.split(" ")
        try:
            named.append(consented(reference, sha256, "mixer"))
        except ValueError:
            continue
    return tuple(named)


def check_recorded(record: object) -> None:
    """Hold the ``[model]`` of a record to naming a source for each mixer of its author's own.

    Without one, building the model would count as your having named the mixer.

    Raises
    ------
    ValueError
        If it does not.
    """
    if not isinstance(record, Mapping):
        return  # which is refused where its settings are read
    sources = record.get("sources", ())
    has = {str(source).split(" ")[0] for source in sources} if isinstance(sources, list | tuple) else set()
    for mixer in re.split(r"[-|]", str(record.get("architecture", ""))):
        own = re.sub(r"^[0-9]+x", "", mixer)
        if ":" in own and own not in has:
            raise ValueError(
                f"`sources` must have the sha256 of the mixer {own!r}, as boundprobe writes it; got none, and executed "
                "nothing."
            )
