"""Which backend each operation of a model takes, and what is said where it cannot be had."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch

from boundprobe.errors import MissingDependencyError
from boundprobe.kernels import (
    AUTO,
    DECAYED_ATTENTION,
    DELTA_RULE,
    GENERALISED_DELTA_RULE,
    OPERATIONS,
    SELECTIVE_SCAN,
    SHORT_CONVOLUTION,
    WINDOWED_ATTENTION,
    Backend,
    find_problem,
)
from boundprobe.models import MIXERS, OPERATIONS_OF, ModelSpec, SequenceModel, chosen_backends
from boundprobe.models.operations import backend_for, check_any_backend

NAMES = sorted({name for operation in OPERATIONS.values() for name in operation.backends})


def does_nothing(*args: Any) -> None:
    pass


def missing() -> Callable[..., Any]:
    raise ModuleNotFoundError("No module named 'fast_scan'")


def plant(monkeypatch: pytest.MonkeyPatch, table: Mapping[str, Backend]) -> None:
    """Give the selective scan other backends."""
    monkeypatch.setitem(vars(SELECTIVE_SCAN), "backends", table)


def test_every_operation_is_one_that_there_is() -> None:
    assert set(OPERATIONS_OF) <= set(MIXERS)
    assert {of.name for operations in OPERATIONS_OF.values() for of in operations} == set(OPERATIONS)
    assert set(MIXERS) - set(OPERATIONS_OF) == {"lstm", "gru", "ssm"}  # plain torch
    for name, operation in OPERATIONS.items():
        assert AUTO not in operation.backends, name
        assert find_problem(operation.backends["reference"], "cpu") is None, name


def test_a_mixer_with_an_operation_has_its_backend() -> None:
    """The table says what the modules do: a mixer of the table takes the name, no other mixer has a backend."""
    for mixer in MIXERS:
        spec = ModelSpec(mixer, d_model=8, d_head=4)
        modules = SequenceModel(spec, 3, "reference").modules()
        named = {module.backend for module in modules if hasattr(module, "backend")}
        assert named == ({"reference"} if mixer in OPERATIONS_OF else set()), mixer


@pytest.mark.parametrize("name", [AUTO, *NAMES])
def test_every_name_of_a_backend_may_be_given(name: str) -> None:
    assert check_any_backend(name) == name


@pytest.mark.parametrize("name", ["", "Numba", "time_major", None, 3])
def test_a_backend_that_is_not_known_is_refused(name: Any) -> None:
    with pytest.raises(ValueError, match=r"^`backend` must be one of auto,") as caught:
        check_any_backend(name)
    message = str(caught.value)
    assert "\n" not in message
    assert all(known in message for known in NAMES)
    with pytest.raises(
        ValueError, match=r"^`backend` must be one of auto, numba, mamba-ssm, reference, chunked, fla, blocks; got .*"
    ):
        chosen_backends(ModelSpec("attn"), name, "cpu")


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("name", [AUTO, *NAMES])
def test_a_name_means_itself_where_the_operation_has_it(mixer: str, name: str) -> None:
    has_it = any(name in of.backends for of in OPERATIONS_OF.get(mixer, ()))
    assert backend_for(mixer, name) == (name if has_it else AUTO)


@pytest.mark.parametrize("mixer", MIXERS)
def test_auto_is_the_first_that_can_be_used(mixer: str) -> None:
    chosen = chosen_backends(ModelSpec(mixer, d_model=8), AUTO, "cpu")
    assert chosen == {of.name: of.usable("cpu")[0] for of in OPERATIONS_OF.get(mixer, ())}


def test_each_operation_of_a_model_is_recorded() -> None:
    spec = ModelSpec("mamba-attn-gla|deltanet-mamba", d_model=8)
    auto = {name: of.usable("cpu")[0] for name, of in OPERATIONS.items()}
    assert set(auto.values()) == {"numba", "chunked"}
    assert chosen_backends(spec, AUTO, "cpu") == auto
    assert chosen_backends(spec, "reference", "cpu") == dict.fromkeys(OPERATIONS, "reference")
    # blocks are no scan, chunked is no attention: the other operations choose for themselves
    assert chosen_backends(spec, "chunked", "cpu") == auto
    assert chosen_backends(spec, "blocks", "cpu") == auto | {WINDOWED_ATTENTION.name: "blocks"}


def test_what_auto_takes_depends_on_the_sizes_of_a_window() -> None:
    for sizes, expected in (({"window": 11, "d_model": 12}, "numba"), ({"window": 256, "d_model": 64}, "blocks")):
        for mixer in ("attn", "gated-attn", "mamba+attnstep"):
            assert chosen_backends(ModelSpec(mixer, **sizes), AUTO, "cpu")[WINDOWED_ATTENTION.name] == expected
    wide = ModelSpec("attn", window=64, d_model=128, n_heads=8)  # the width of a head counts, not that of the model
    assert chosen_backends(wide, AUTO, "cpu")[WINDOWED_ATTENTION.name] == "numba"


@pytest.mark.parametrize("mixer", OPERATIONS_OF)
def test_what_is_recorded_is_what_computes(mixer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The functions that run in a forward pass are those of the backends that ``chosen_backends`` names."""
    spec = ModelSpec(mixer, d_model=8, d_head=4)
    ran: set[tuple[str, str]] = set()

    def noted(operation: str, name: str, backend: Backend) -> Backend:
        def run(*inputs: Any) -> Any:
            ran.add((operation, name))
            return backend.load()(*inputs)

        return Backend(lambda: run, backend.devices)

    # the linear recurrence is three functions, each with its table
    recurrences = DELTA_RULE, DECAYED_ATTENTION, GENERALISED_DELTA_RULE
    for operation in (SELECTIVE_SCAN, *recurrences, SHORT_CONVOLUTION, WINDOWED_ATTENTION):
        table = {name: noted(operation.name, name, backend) for name, backend in operation.backends.items()}
        monkeypatch.setitem(vars(operation), "backends", table)
    here = {key for of in OPERATIONS_OF[mixer] for key in of.usable("cpu")}
    for name in (AUTO, *here):
        ran.clear()
        SequenceModel(spec, 3, name)(torch.zeros(1, 2, dtype=torch.int64))
        assert ran == set(chosen_backends(spec, name, "cpu").items()), name


@pytest.mark.parametrize(
    ("architecture", "name"),
    [
        (next(mixer for mixer, of in OPERATIONS_OF.items() if operation in of), name)
        for operation in OPERATIONS.values()
        for name, backend in operation.backends.items()
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
    assert chosen_backends(spec, AUTO, "cpu")[SELECTIVE_SCAN.name] == "slow"
    with pytest.raises(
        MissingDependencyError, match=r"'fast' cannot be used here: .*'fast_scan'; pip install fast-scan"
    ):
        chosen_backends(spec, "fast", "cpu")
    plant(monkeypatch, {"fast": broken})
    with pytest.raises(MissingDependencyError, match="pip install fast-scan"):
        chosen_backends(spec, AUTO, "cpu")
    assert set(chosen_backends(ModelSpec("attn", d_model=8), AUTO, "cpu")) == {
        WINDOWED_ATTENTION.name
    }  # it does not need one


def test_without_numba_plain_torch_is_taken() -> None:
    code = """
import sys
sys.modules["numba"] = None  # importing it raises ImportError
import torch
from boundprobe.models.operations import chosen_backends
from boundprobe.models.spec import ModelSpec
from boundprobe.models.stack import SequenceModel
spec = ModelSpec("mamba-attn", d_model=8)
SequenceModel(spec, 3)(torch.zeros(1, 5, dtype=torch.int64)).sum().backward()
print(chosen_backends(spec, "auto", "cpu"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert ast.literal_eval(done.stdout) == {
        "selective scan": "reference",
        "short convolution": "reference",
        "windowed attention": "blocks",
    }
