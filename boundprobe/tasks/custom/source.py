"""From ``module:name`` or ``file.py:name`` to the user's object, its parameters and the hash of its source."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import os
import pkgutil
import sys
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from boundprobe.checks import check_word
from boundprobe.runs.given import read_given
from boundprobe.tasks.convert import convert

#: Keys of a ``[task]`` table that are no parameters of a user's class.
HASH_KEY = "source_sha256"
RESERVED = ("name", "preset", HASH_KEY)

_SIMPLE = (bool, int, float, str)
#: Digits of a hash that tables for people show; documents have them all.
SHOWN_DIGITS = 12


def shown_parameter(name: str, value: object) -> object:
    """A parameter of a task as tables for people show it.

    >>> shown_parameter("source_sha256", "0123456789abcdef"), shown_parameter("n", 3)
    ('0123456789ab', 3)
    """
    return value[:SHOWN_DIGITS] if name == HASH_KEY and isinstance(value, str) else value


def read_reference(reference: str, wanted: str | None = None, kind: str = "task") -> tuple[object, str]:
    """The object that a reference names, and the sha256 of its source file.

    Parameters
    ----------
    reference : str
        ``module:name`` (the working directory is searched as well) or ``file.py:name``.
    wanted : str, optional
        The sha256 that the source must have: compared before anything of it is executed.
    kind : str
        "task" or "mixer", for messages.

    Returns
    -------
    target : object
    sha256 : str
        64 hex digits, of the file's bytes; other files that it imports are not in it.

    Raises
    ------
    ValueError
        In one line, if the file, module or name is not there, the source is another than the wanted one, or running
        it raises.
    """
    source = source_of(reference, kind)
    _check_source(reference, source, wanted)
    place, _, name = reference.rpartition(":")
    module = _run_file(Path(place), source, reference, kind) if _is_file(place) else _import(place, reference, kind)
    if not hasattr(module, name):
        public = [key for key, value in vars(module).items() if hasattr(value, "queries")]
        check_word("name", name, public, "define it there", of=f" in {place}")
        raise ValueError(f"`name` must be defined in {place}; got {name!r}.")
    return getattr(module, name), hashlib.sha256(source).hexdigest()


def source_of(reference: str, kind: str = "task") -> bytes:
    """The source that a reference names; nothing of it is executed.  ``kind`` is for messages.

    Raises
    ------
    ValueError
        In one line, if there is none.
    """
    place, _, name = reference.rpartition(":")
    if not place or not name.isidentifier():
        raise ValueError(f"`{kind}` must be module:name or file.py:name; got {reference!r}, which names nothing.")
    if not _is_file(place):
        return _source_of_module(place, reference, kind)
    try:
        return read_given(f"`{kind}`", Path(place))
    except OSError as error:
        raise ValueError(
            f"`{kind}` must name a Python file; got {reference!r}, and {place} cannot be read ({error.strerror})."
        ) from None


def _is_file(place: str) -> bool:
    """Return whether the part of a reference before its colon is a file, not a module."""
    return place.endswith(".py") or os.sep in place


def _check_source(reference: str, source: bytes, wanted: str | None) -> None:
    found = hashlib.sha256(source).hexdigest()
    if wanted is not None and wanted != found:
        raise ValueError(
            f"the source of {reference} must be as it was, with {HASH_KEY} {str(wanted)[:12]}...; got {found[:12]}.... "
            "Restore it, or start a new run."
        )


def _source_of_module(place: str, reference: str, kind: str) -> bytes:
    """The source of a module by its name; of the module nothing is executed, of packages around it their own file."""
    with _from_here():
        try:
            spec = importlib.util.find_spec(place)
        except Exception as error:
            raise ValueError(_failed(reference, error, kind)) from error
    if spec is None:
        raise ValueError(_failed(reference, ModuleNotFoundError(f"No module named {place!r}"), kind))
    if not spec.has_location or not spec.origin:
        raise ValueError(f"`{kind}` must name a Python module; got {reference!r}, and {place} has no source file.")
    return Path(spec.origin).read_bytes()


def _import(place: str, reference: str, kind: str) -> ModuleType:
    """A module by its name."""
    with _from_here():
        try:
            module = pkgutil.resolve_name(f"{place}:")
        except Exception as error:
            raise ValueError(_failed(reference, error, kind)) from error
    if not isinstance(module, ModuleType):
        raise ValueError(f"`{kind}` must name a Python module; got {reference!r}, and {place} has no source file.")
    return module


@contextmanager
def _from_here() -> Iterator[None]:
    """Modules of the working directory are found as well."""
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def _run_file(path: Path, source: bytes, reference: str, kind: str) -> ModuleType:
    """Run a file as a module of its own; what it imports from its own directory is found."""
    name = f"boundprobe_user_{hashlib.sha256(str(path.resolve()).encode() + source).hexdigest()[:16]}"
    spec = importlib.util.spec_from_loader(name, loader=None, origin=str(path))
    assert spec is not None  # a name and an origin make a spec
    module = importlib.util.module_from_spec(spec)
    module.__file__ = str(path)
    beside = str(path.resolve().parent)
    sys.modules[name] = module  # dataclasses look their module up there
    sys.path.insert(0, beside)
    try:
        # Not the import system's loader: a byte cache may be that of an older file of the same size and second.
        exec(compile(source, str(path), "exec"), module.__dict__)
    except Exception as error:
        del sys.modules[name]
        raise ValueError(_failed(reference, error, kind)) from error
    finally:
        sys.path.remove(beside)
    return module


def _failed(reference: str, error: Exception, kind: str) -> str:
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return (
        f"`{kind}` must be a module:name or file.py:name that runs; got {reference!r}, which cannot be loaded "
        f"({reason})."
    )


def build_object(target: object, parameters: Mapping[str, object], reference: str) -> tuple[Any, dict[str, object]]:
    """The user's object, built from its parameters if a class is named, and all parameters resolved.

    Texts, as a command line gives them, are converted by the class's annotations or, without one, by the
    type of the default.

    Parameters
    ----------
    target : object
    parameters : mapping
    reference : str
        For messages.

    Returns
    -------
    task : object
    arguments : dict
        By name, defaults included; those that are no number, text, bool or None are left out.

    Raises
    ------
    ValueError
        In one line, for a parameter that is unknown, missing or unreadable, and if the class raises.
    """
    for key in RESERVED:
        if key in parameters:
            raise ValueError(
                f"the name of a parameter of {reference} must not be the package's own; got {key!r}. Rename it."
            )
    if not isinstance(target, type):
        check = next(iter(parameters), None)
        if check is not None:
            check_word("parameter", check, (), "drop it, or name a class", of=f" of {reference}")
        return _checked(target, reference), {}
    signature = inspect.signature(target)
    try:
        hints = typing.get_type_hints(target.__init__)  # type: ignore[misc]
    except Exception:  # annotations that cannot be evaluated are no annotations
        hints = {}
    settings = {}
    for key, value in parameters.items():
        check_word("parameter", key, signature.parameters, of=f" of {reference}")
        default = signature.parameters[key].default
        fallback = type(default) if type(default) in _SIMPLE else None
        settings[key] = _converted(key, value, hints.get(key, fallback))
    try:
        bound = signature.bind(**settings)
        bound.apply_defaults()
        built = target(**settings)
    except Exception as error:
        raise ValueError(
            f"the parameters of {reference} must be among {', '.join(signature.parameters) or 'none'}, so that it can "
            f"be built; got {settings} ({' '.join(str(error).split())[:200]}). Give them with -p name=value."
        ) from error
    arguments = {k: v for k, v in bound.arguments.items() if v is None or type(v) in _SIMPLE}
    return _checked(built, reference), arguments


def _converted(name: str, value: object, hint: object) -> object:
    """A parameter's value: by its annotation where there is one that is known, else texts as they look."""
    if not isinstance(value, str):
        return value
    kinds = [kind for kind in (typing.get_args(hint) or (hint,)) if kind is not type(None)]
    if kinds == [bool] and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if len(kinds) == 1 and kinds[0] in (int, float, str):
        return convert(name, value, hint)
    for read in (int, float):
        try:
            return read(value)
        except ValueError:
            pass
    return value


def _checked(task: object, reference: str) -> object:
    """``task`` if it has the three methods, else ``ValueError``."""
    for name in ("prefixes", "queries", "answer"):
        if not callable(getattr(task, name, None)):
            raise ValueError(
                "`task` must be an object or class with prefixes(), queries() and answer(prefix, query); got "
                f"{reference!r}, which has no {name}()."
            )
    return task
