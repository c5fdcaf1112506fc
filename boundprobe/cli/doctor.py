"""``boundprobe doctor``: versions, devices, usable backends, and packages to install for the others."""

from __future__ import annotations

import argparse
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any

from boundprobe.cli.options import add_options, resolve
from boundprobe.cli.output import print_config, print_json, say

if TYPE_CHECKING:
    from boundprobe.kernels.backends import Backend

HELP = "say what is installed, which devices and backends are usable, and what to install for the others"

#: Distributions whose versions are always said.
CORE = ("boundprobe", "torch", "numpy", "numba")
#: Distributions that some part can use and none needs, and what installs them.
OPTIONAL = {
    "mamba-ssm": "pip install 'boundprobe[cuda]'",
    "causal-conv1d": "pip install 'boundprobe[cuda]'",
    "flash-linear-attention": "pip install 'boundprobe[cuda]'",
    "triton": "pip install triton",
    "transformers": "pip install 'boundprobe[hf]'",
    "datasets": "pip install 'boundprobe[hf]'",
    "mambapy": "pip install 'boundprobe[bench]'",
    "pyarrow": "pip install 'boundprobe[analysis]'",
    "submitit": "pip install 'boundprobe[slurm]'",
    "ray": "pip install 'boundprobe[ray]'",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    add_options(parser, (), task=False)


def run(args: argparse.Namespace) -> int:
    """Look and print; exit with 3 only if something that is always needed is missing or broken."""
    config = resolve((), args)
    if args.print_config:
        return print_config(config)
    document = examine()
    if args.json:
        print_json(document)
    else:
        print_document(document)
    return 3 if document["problems"] else 0


def examine() -> dict[str, Any]:
    """The document that ``--json`` prints."""
    document: dict[str, Any] = {
        "schema": "boundprobe.doctor/1",
        "versions": {"boundprobe": None, "python": platform.python_version()} | {name: version(name) for name in CORE},
        "devices": {},
        "operations": {},
        "packages": {name: {"version": version(name), "install": install} for name, install in OPTIONAL.items()},
        "problems": [f"{name} is not installed; pip install {name}" for name in missing_requirements()],
    }
    try:
        document["devices"] = find_devices()
        device_types = [name for name, found in document["devices"].items() if found]
        document["operations"] = find_operations(device_types)
    except Exception as error:  # whatever a broken torch raises while it is imported
        document["problems"].append(f"torch cannot be used: {' '.join(str(error).split())}; pip install torch")
    for name, operation in document["operations"].items():
        document["problems"] += [
            f"no backend of {name} is usable on {device}; install one of those above"
            for device, backend in operation["auto"].items()
            if backend is None
        ]
    return document


def version(name: str) -> str | None:
    """Version of an installed distribution, None if it is not there."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def missing_requirements() -> list[str]:
    """Distributions that are always needed, by the metadata of this one, and not there."""
    try:
        texts = metadata.requires("boundprobe") or []
    except metadata.PackageNotFoundError:  # run from a source tree
        return []
    names = (re.match(r"[A-Za-z0-9._-]+", text) for text in texts if "extra ==" not in text)
    return [name[0] for name in names if name is not None and version(name[0]) is None]


def find_devices() -> dict[str, list[dict[str, Any]]]:
    """List the devices that torch can compute on, by type."""
    import torch

    from boundprobe.sweep.executors.base import available_cores

    with_cuda = torch.cuda.is_available()
    bf16 = with_cuda and torch.cuda.is_bf16_supported()
    cuda = [{"name": torch.cuda.get_device_name(i), "bf16": bf16} for i in range(torch.cuda.device_count() * with_cuda)]
    return {"cpu": [{"name": platform.machine(), "cores": available_cores()}], "cuda": cuda}


def find_operations(device_types: Sequence[str]) -> dict[str, Any]:
    """Backends of each operation, and what ``auto`` takes on each device."""
    from boundprobe.kernels.operations import OPERATIONS

    return {
        name: {
            "auto": {device: next(iter(operation.usable(device)), None) for device in device_types},
            "backends": {key: describe(backend, device_types) for key, backend in operation.backends.items()},
        }
        for name, operation in OPERATIONS.items()
    }


def describe(backend: Backend, device_types: Sequence[str]) -> dict[str, Any]:
    """Device types that a backend runs on and is usable on, with the reason if there is none."""
    from boundprobe.kernels.backends import find_problem

    usable_on = [device for device in device_types if find_problem(backend, device) is None]
    return {
        "devices": list(backend.devices),
        "usable_on": usable_on,
        "problem": None if usable_on else find_problem(backend, backend.devices[0]),
        "install": backend.install or None,
    }


def print_document(document: Mapping[str, Any]) -> None:
    """Print the document as tables."""
    print_section("versions", [(name, found or "not installed") for name, found in document["versions"].items()])
    devices = document["devices"]
    rows = [("cpu", f"{cpu['name']}, {cpu['cores']} cores") for cpu in devices.get("cpu", ())]
    rows += [("cuda", f"{gpu['name']}, bf16: {'yes' if gpu['bf16'] else 'no'}") for gpu in devices.get("cuda", ())]
    if not devices.get("cuda"):
        rows.append(("cuda", "none that torch can use"))
    print_section("devices", rows)
    for name, operation in document["operations"].items():
        auto = ", ".join(f"{backend or 'none'} on {device}" for device, backend in operation["auto"].items())
        print_section(
            f"{name} (auto takes {auto})", map(backend_row, *zip(*operation["backends"].items(), strict=True))
        )
    packages = document["packages"].items()
    print_section(
        "optional packages",
        [(name, found["version"] or "not installed", "" if found["version"] else found["install"])
         for name, found in packages],
    )  # fmt: skip
    if document["problems"]:
        print_section("problems", [(problem,) for problem in document["problems"]])


def backend_row(name: str, found: Mapping[str, Any]) -> tuple[str, str, str]:
    """Name, usable or not, and where or why not."""
    if found["usable_on"]:
        return name, "usable", f"on {' and '.join(found['usable_on'])}"
    return name, "not usable", found["problem"]


def print_section(title: str, rows: Iterable[Sequence[str]]) -> None:
    """A title and aligned rows below it."""
    say(title)
    rows = list(rows)
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        say("  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
