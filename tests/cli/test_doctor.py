"""``boundprobe doctor``: what it says is what is there, and it goes on where something is broken."""

import json
import platform
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import torch

import boundprobe
from boundprobe.cli.doctor import OPTIONAL, missing_requirements
from boundprobe.kernels import OPERATIONS

PYPROJECT = Path(boundprobe.__file__).parents[1] / "pyproject.toml"


def test_the_document(document):
    found = document("doctor")
    assert found["schema"] == "boundprobe.doctor/1"
    assert found["versions"] == {
        "boundprobe": metadata.version("boundprobe"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": metadata.version("numpy"),
        "numba": metadata.version("numba"),
    }
    assert found["problems"] == []
    assert len(found["devices"]["cuda"]) == torch.cuda.device_count()
    assert found["devices"]["cpu"][0]["cores"] >= 1


@pytest.mark.parametrize("operation", OPERATIONS)
def test_it_says_of_each_backend_what_choosing_it_says(document, operation):
    expected, found = OPERATIONS[operation], document("doctor")["operations"][operation]
    assert list(found["backends"]) == list(expected.backends)
    assert found["auto"]["cpu"] == expected.choose("auto", "cpu")
    for name, said in found["backends"].items():
        assert said["devices"] == list(expected.backends[name].devices)
        assert ("cpu" in said["usable_on"]) == (name in expected.usable("cpu"))
        assert (said["problem"] is None) == bool(said["usable_on"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_some_backends_cannot_be_used_without_a_gpu(document):
    """The negative control: a problem is said where there is one."""
    operations = document("doctor")["operations"].values()
    assert any(said["problem"] for operation in operations for said in operation["backends"].values())


def test_packages_and_what_installs_them(document):
    found = document("doctor")["packages"]
    assert found["pyarrow"] == {"version": metadata.version("pyarrow"), "install": "pip install 'boundprobe[analysis]'"}
    for name, said in found.items():
        if said["version"] is None:
            with pytest.raises(metadata.PackageNotFoundError):
                metadata.version(name)
        else:
            assert said["version"] == metadata.version(name)


@pytest.mark.skipif(not PYPROJECT.exists(), reason="not run from a source tree")
@pytest.mark.parametrize("name", OPTIONAL)
def test_the_extras_it_names_are_there(name):
    extras = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]["optional-dependencies"]
    with_it = {f"pip install 'boundprobe[{extra}]'" for extra, texts in extras.items() if is_in(name, texts)}
    assert OPTIONAL[name] in (with_it or {f"pip install {name}"})


def is_in(name, requirements):
    return any(text == name or text.startswith((f"{name}>", f"{name}=", f"{name}[")) for text in requirements)


def test_the_check_of_extras_sees_a_wrong_one():
    """The negative control."""
    assert is_in("ray", ["ray>=2"])
    assert not is_in("ray", ["ray-core>=2"])


def test_for_people(call):
    code, out, err = call("doctor")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    titles = [line for line in lines if not line.startswith(" ")]
    assert titles[:2] == ["versions", "devices"]
    assert titles[-1] == "optional packages"
    for name, operation in OPERATIONS.items():
        said = f"{name} (auto takes {operation.choose('auto', 'cpu')} on cpu"
        assert any(title.startswith(said) for title in titles)
    for name in [*(name for operation in OPERATIONS.values() for name in operation.backends), *OPTIONAL]:
        assert any(line.split()[0] == name for line in lines)
    assert not any(line != line.rstrip() for line in lines)


def test_what_it_does_not_know_is_refused(refused):
    assert "--backend" in refused("doctor", "--backend", "numba")


def without(command, *modules):
    """``doctor --json`` in a process where some modules cannot be imported: exit code, document."""
    hide = "".join(f"sys.modules[{name!r}] = None; " for name in modules)
    program = f"import sys; {hide}from boundprobe.cli.main import main; sys.exit(main(['doctor', '--json']))"
    done = subprocess.run(
        [sys.executable, "-c", program], env=command["env"], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def test_without_torch_it_says_so(command):
    code, found = without(command, "torch")
    assert code == 3
    assert len(found["problems"]) == 1
    assert found["problems"][0].startswith("torch cannot be used: ")
    assert found["problems"][0].endswith("; pip install torch")
    assert found["operations"] == {}
    assert found["packages"]["pyarrow"]["version"] is not None


def test_a_backend_that_breaks_while_it_is_imported_is_no_problem(command):
    code, found = without(command, "numba")
    assert (code, found["problems"]) == (0, [])
    said = found["operations"]["selective scan"]
    assert said["auto"]["cpu"] == "reference"
    assert said["backends"]["numba"]["usable_on"] == []
    assert "numba" in said["backends"]["numba"]["problem"]
    assert said["backends"]["numba"]["problem"].endswith("; pip install numba")


def test_a_requirement_that_is_missing_is_named(monkeypatch, call):
    assert missing_requirements() == []
    monkeypatch.setattr(
        metadata, "requires", lambda name: ["numpy>=2.0", "no-such-thing>=1; python_version > '3'", "x; extra == 'y'"]
    )
    assert missing_requirements() == ["no-such-thing"]
    code, out, _ = call("doctor")
    assert code == 3
    assert out.splitlines()[-1] == "  no-such-thing is not installed; pip install no-such-thing"
