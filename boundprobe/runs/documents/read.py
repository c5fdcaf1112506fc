"""Check a document that is read back against its shape, and say in one line what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from boundprobe.errors import RunDirectoryError
from boundprobe.runs.documents import probes, training
from boundprobe.runs.documents.shapes import Document
from boundprobe.text import one_line

#: Verb of a run to the documents that its result may be, by their ``schema``.
RESULTS: dict[str, dict[str, type[Document]]] = {
    "train": {"boundprobe.train/1": training.Train},
    "ensemble": {"boundprobe.ensemble/1": training.Ensemble},
    "probe": {"boundprobe.probe/1": probes.Probe, "boundprobe.probe-states/1": probes.ProbeStates},
    "bottleneck": {"boundprobe.bottleneck/1": probes.Bottleneck},
    "sweep": {"boundprobe.sweep/1": training.Sweep},
    "demo": {"boundprobe.demo/1": training.Demo},
}
#: Verb of a run to the shape of a line of its metrics.
METRICS: dict[str, type[Document]] = {"train": training.Loss, "bottleneck": probes.Point}


def check_document(document: object, shape: type[Document], *, only: bool = True) -> dict[str, Any]:
    """Return a document if it has a shape.

    Parameters
    ----------
    document : object
        As ``json.loads`` gives it.
    shape : Document
        One of the classes of this package.
    only : bool
        False checks the keys of the shape alone and leaves others to somebody else.

    Raises
    ------
    ValueError
        In one line that names the first key that is wrong.

    Examples
    --------
    >>> check_document({"member": 0, "step": 50, "loss": "low"}, training.Loss)
    Traceback (most recent call last):
    ...
    ValueError: `loss` must be a valid number; got 'low'
    """
    if not isinstance(document, Mapping):
        raise ValueError(f"a document must be an object with named values; got {type(document).__name__}")
    checked = dict(document)
    if not only:
        known = {field.alias or name for name, field in shape.model_fields.items()}
        checked = {key: value for key, value in document.items() if key in known}
    try:
        shape.model_validate(checked)
    except ValidationError as error:
        raise ValueError(_first(error)) from None
    return dict(document)


def check_result(document: object, verb: str) -> dict[str, Any]:
    """Return the result of a run of this verb if it has one of the verb's schemas; verbs of others may say anything.

    Raises
    ------
    RunDirectoryError
        For another schema.
    ValueError
        For a document that has not the shape of its schema.
    """
    if not isinstance(document, Mapping):
        raise ValueError(f"a result must be an object with named values; got {type(document).__name__}")
    if (allowed := RESULTS.get(verb)) is None:
        return dict(document)
    schema = document.get("schema")
    if not isinstance(schema, str) or schema not in allowed:
        raise RunDirectoryError(
            f"`schema` must be {_either(allowed)}; got {one_line(repr(schema), 80)}, which this version does not read; "
            "read it with the version that wrote it"
        )
    return check_document(document, allowed[schema])


def _first(error: ValidationError) -> str:
    """The first thing that is wrong, as the other errors of the package say it."""
    found = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in found["loc"]) or "the document"
    if found["type"] == "missing":
        return f"`{one_line(place, 200)}` is missing"
    if found["type"] == "extra_forbidden":
        return f"`{one_line(place, 200)}` is an unknown key"
    says = found["msg"].removeprefix("Value error, ").replace("Input should", "must", 1)
    return f"`{one_line(place, 200)}` {says}; got {_shown(found['input'])}"


def _shown(value: object) -> str:
    return one_line(json.dumps(value, default=str) if isinstance(value, dict | list) else repr(value), 80)


def _either(names: Iterable[str]) -> str:
    return " or ".join(repr(name) for name in names)
