"""Every package inside another is an attribute of it, without an import of its own."""

import importlib
import pkgutil

import pytest

import boundprobe

NESTED = [
    m.name for m in pkgutil.walk_packages(boundprobe.__path__, "boundprobe.") if m.ispkg and m.name.count(".") == 2
]


@pytest.mark.parametrize("name", NESTED)
def test_a_subpackage_is_reached_from_the_face_of_its_parent(name: str) -> None:
    parent, _, child = name.rpartition(".")
    assert child in importlib.import_module(parent).__all__
    assert getattr(importlib.import_module(parent), child) is importlib.import_module(name)
