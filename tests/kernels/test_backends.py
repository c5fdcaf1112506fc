"""Which backend is taken, and what is said of one that cannot be."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from boundprobe.errors import MissingDependencyError
from boundprobe.kernels import AUTO, SELECTIVE_SCAN, Backend, Operation, find_problem


def loads() -> Callable[[], str]:
    return lambda: "it ran"


def is_missing() -> Callable[[], str]:
    raise ModuleNotFoundError("No module named 'fast_thing'")


def is_broken() -> Callable[[], str]:
    raise OSError("libfast.so:\n undefined symbol")  # as a package that was built for another torch


GOOD = Backend(loads)
CUDA = Backend(loads, ("cuda",), "pip install 'boundprobe[cuda]'")
MISSING = Backend(is_missing, ("cpu",), "pip install fast-thing")
BROKEN = Backend(is_broken, ("cpu",), "pip install fast-thing")
SORT = Operation("sort", {"missing": MISSING, "broken": BROKEN, "cuda": CUDA, "good": GOOD, "also good": GOOD})

no_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")


def test_auto_takes_the_first_that_is_usable() -> None:
    assert SORT.choose(AUTO, "cpu") == "good"
    assert SORT.usable("cpu") == ("good", "also good")
    assert SORT.function(AUTO, "cpu")() == "it ran"


@pytest.mark.parametrize("name", ["good", "also good"])
def test_what_is_named_is_taken(name: str) -> None:
    assert SORT.choose(name, "cpu") == name


def test_a_name_of_another_operation_leaves_the_choice_open() -> None:
    assert [SORT.own_or_auto(name) for name in ("good", "chunked", AUTO)] == ["good", AUTO, AUTO]


def test_an_unknown_name_lists_what_is_allowed() -> None:
    with pytest.raises(ValueError, match=r"^`sort` must be one of auto, missing,.*; got 'god'\. Did you mean 'good'"):
        SORT.choose("god", "cpu")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing", "ModuleNotFoundError: No module named 'fast_thing'; pip install fast-thing"),
        ("broken", "OSError: libfast.so: undefined symbol; pip install fast-thing"),
        ("cuda", "it runs on cuda, not on cpu; give --device cuda"),
    ],
)
def test_an_unusable_one_is_refused_with_what_to_do(name: str, said: str) -> None:
    assert find_problem(SORT.backends[name], "cpu") == said
    for refuse in (SORT.choose, SORT.function):
        with pytest.raises(MissingDependencyError) as caught:
            refuse(name, "cpu")
        assert str(caught.value) == f"sort {name!r} cannot be used here: {said}"
        assert caught.value.exit_code == 3


@no_cuda
def test_a_device_that_is_not_there() -> None:
    assert find_problem(GOOD, "cuda") == "no CUDA device; run it where there is one"
    assert find_problem(MISSING, "cuda") == (
        "ModuleNotFoundError: No module named 'fast_thing'; pip install fast-thing; "
        "it runs on cpu, not on cuda; give --device cpu"
    )


def test_auto_where_nothing_is_usable_says_why_of_each() -> None:
    with pytest.raises(MissingDependencyError) as caught:
        Operation("sort", {"missing": MISSING, "cuda": CUDA}).choose(AUTO, "cpu")
    assert "sort 'missing' cannot be used here: ModuleNotFoundError" in str(caught.value)
    assert "sort 'cuda' cannot be used here: it runs on cuda" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_problem_is_looked_for_once() -> None:
    """Importing what is broken again, at every call, would cost more than the operation."""
    calls = []

    def load() -> Callable[[], str]:
        calls.append(1)
        raise ImportError

    backend = Backend(load)
    for _ in range(3):
        assert find_problem(backend, "cpu") is not None
    assert len(calls) == 1


@no_cuda
def test_the_scan_of_mamba_ssm_is_refused_on_a_cpu_with_what_to_install() -> None:
    with pytest.raises(MissingDependencyError, match=r"^selective scan 'mamba-ssm' cannot be used here: ") as caught:
        SELECTIVE_SCAN.choose("mamba-ssm", "cpu")
    assert "it runs on cuda, not on cpu" in str(caught.value)
    assert caught.value.exit_code == 3
    try:
        import mamba_ssm  # noqa: F401
    except ImportError:
        assert "pip install 'boundprobe[cuda]'" in str(caught.value)
