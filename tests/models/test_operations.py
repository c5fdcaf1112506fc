"""Which backend each operation of a model takes, and what is said where it cannot be had."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch

from boundprobe.errors import MissingDependencyError
from boundprobe.models import operations
from boundprobe.models.backends import AUTO, Backend, choose, find_problem, usable
from boundprobe.models.operations import (
    OPERATION_OF,
    OPERATIONS,
    backend_for,
    check_scan,
    chosen_backends,
)
from boundprobe.models.spec import MIXERS, ModelSpec
from boundprobe.models.stack import SequenceModel

SCAN, LINEAR = "selective scan", "linear recurrence"
NAMES = sorted({name for table in OPERATIONS.values() for name in table})


def does_nothing(*args: Any) -> None:
    pass


def missing() -> Callable[..., Any]:
    raise ModuleNotFoundError("No module named 'fast_scan'")


def plant(monkeypatch: pytest.MonkeyPatch, table: Mapping[str, Backend]) -> None:
    """Give the selective scan other backends."""
    monkeypatch.setattr(operations, "OPERATIONS", OPERATIONS | {SCAN: table})


def test_every_operation_is_one_that_there_is() -> None:
    assert set(OPERATION_OF) <= set(MIXERS)
    assert set(OPERATION_OF.values()) == set(OPERATIONS)
    assert set(MIXERS) - set(OPERATION_OF) == {"attn", "lstm", "gru", "ssm"}  # plain torch
    for name, table in OPERATIONS.items():
        assert AUTO not in table, name
        assert "reference" in table, name
        assert find_problem(table["reference"], "cpu") is None, name


def test_a_mixer_with_an_operation_has_its_backend() -> None:
    """The table says what the modules do: a mixer of the table takes the name, no other mixer has a backend."""
    for mixer in MIXERS:
        spec = ModelSpec(mixer, d_model=8, d_head=4)
        modules = SequenceModel(spec, 3, "reference").modules()
        named = {module.backend for module in modules if hasattr(module, "backend")}
        assert named == ({"reference"} if mixer in OPERATION_OF else set()), mixer


@pytest.mark.parametrize("name", [AUTO, *NAMES])
def test_every_name_of_a_backend_is_a_scan(name: str) -> None:
    assert check_scan(name) == name


@pytest.mark.parametrize("name", ["", "Numba", "time_major", None, 3])
def test_a_scan_that_is_not_known_is_refused(name: Any) -> None:
    with pytest.raises(ValueError, match=r"^scan .* is not known;.* allowed: auto, ") as caught:
        check_scan(name)
    message = str(caught.value)
    assert "\n" not in message
    assert all(known in message for known in NAMES)
    with pytest.raises(ValueError, match=r"^scan "):
        chosen_backends(ModelSpec("attn"), name, "cpu")


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("name", [AUTO, *NAMES])
def test_a_name_means_itself_where_the_operation_has_it(mixer: str, name: str) -> None:
    has_it = mixer in OPERATION_OF and name in OPERATIONS[OPERATION_OF[mixer]]
    assert backend_for(mixer, name) == (name if has_it else AUTO)


@pytest.mark.parametrize("mixer", MIXERS)
def test_auto_is_the_first_that_can_be_used(mixer: str) -> None:
    chosen = chosen_backends(ModelSpec(mixer, d_model=8), AUTO, "cpu")
    operation = OPERATION_OF.get(mixer)
    expected = {} if operation is None else {operation: usable(OPERATIONS[operation], "cpu")[0]}
    assert chosen == expected


def test_each_operation_of_a_model_is_recorded() -> None:
    spec = ModelSpec("mamba-attn-gla|deltanet-mamba", d_model=8)
    assert chosen_backends(spec, "reference", "cpu") == {SCAN: "reference", LINEAR: "reference"}
    # chunked is no scan, time-major is no linear recurrence: the other operation chooses for itself
    assert chosen_backends(spec, "chunked", "cpu") == {SCAN: usable(OPERATIONS[SCAN], "cpu")[0], LINEAR: "chunked"}
    assert chosen_backends(spec, "time-major", "cpu") == {SCAN: "time-major", LINEAR: "chunked"}


def test_what_is_recorded_is_what_computes() -> None:
    """``chosen_backends`` and the layers ask the same tables, so a record cannot name another backend."""
    for operation, table in OPERATIONS.items():
        for name in (AUTO, *usable(table, "cpu")):
            spec = ModelSpec(next(mixer for mixer, of in OPERATION_OF.items() if of == operation), d_model=8, d_head=4)
            (branch,) = SequenceModel(spec, 3, name).layers[0].branches
            (own,) = {module.backend for module in branch.modules() if hasattr(module, "backend")}
            assert choose(operation, table, own, "cpu") == chosen_backends(spec, name, "cpu")[operation]


@pytest.mark.parametrize(
    ("architecture", "name"),
    [
        (next(mixer for mixer, of in OPERATION_OF.items() if of == operation), name)
        for operation, table in OPERATIONS.items()
        for name, backend in table.items()
        if find_problem(backend, "cpu") is not None
    ],
)
def test_a_backend_that_cannot_be_used_here_says_why(architecture: str, name: str) -> None:
    """Before training, and in the model's own pass; the model itself can be built, on another machine's behalf."""
    spec = ModelSpec(architecture, d_model=8, d_head=4)
    with pytest.raises(MissingDependencyError, match=f"{name!r} cannot be used here: .*; ") as caught:
        chosen_backends(spec, name, "cpu")
    assert "\n" not in str(caught.value)
    assert "not on cpu" in str(caught.value)
    model = SequenceModel(spec, 3, name)
    with pytest.raises(MissingDependencyError, match="cannot be used here"):
        model(torch.zeros(1, 2, dtype=torch.int64))


def test_a_broken_backend_is_passed_over_and_named_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    broken, works = Backend(missing, install="pip install fast-scan"), Backend(lambda: does_nothing)
    plant(monkeypatch, {"fast": broken, "slow": works})
    spec = ModelSpec("mamba", d_model=8)
    assert chosen_backends(spec, AUTO, "cpu") == {SCAN: "slow"}
    with pytest.raises(
        MissingDependencyError, match=r"'fast' cannot be used here: .*'fast_scan'; pip install fast-scan"
    ):
        chosen_backends(spec, "fast", "cpu")
    plant(monkeypatch, {"fast": broken})
    with pytest.raises(MissingDependencyError, match="pip install fast-scan"):
        chosen_backends(spec, AUTO, "cpu")
    assert chosen_backends(ModelSpec("attn", d_model=8), AUTO, "cpu") == {}  # it does not need one
