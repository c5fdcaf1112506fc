"""Mixers of the user's own, by reference: built, sized, cut, trained, and executed with consent only."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from pathlib import Path

import pytest
import torch

from boundprobe.errors import RunDirectoryError
from boundprobe.models import CutState, DiagonalCut, ModelSpec, SequenceModel, model_stages, n_params, nominal_bits
from boundprobe.models.own_sources import check_sources
from boundprobe.runs import load_run
from boundprobe.tasks import SelectiveCopying
from boundprobe.tasks.custom.consent import consenting
from boundprobe.testing import check_mixer
from boundprobe.training import Schedule, TrainConfig, load_models, train
from tests.helpers import own_mixers
from tests.helpers.commands import run_line

PLACE = "tests.helpers.own_mixers"
SIZES = {"d_model": 8, "mlp_ratio": 1, "window": 3, "d_state": 2}
SOURCE = Path(own_mixers.__file__).read_text(encoding="utf-8")
#: A file that leaves a trace when it is executed.
TRACED = SOURCE + "\n\nfrom pathlib import Path\n\nPath('executed').touch()\n"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of one's own in the working directory."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mixers.py"
    path.write_text(f"# {tmp_path}\n{TRACED}", encoding="utf-8")  # a source of this test alone
    return path


@pytest.mark.parametrize("name", ["Leaky", "Sums"])
def test_the_contract_is_its_test(name: str) -> None:
    spec = ModelSpec("gru", **SIZES)
    check_mixer(lambda: getattr(own_mixers, name)(spec), d_model=8)


@pytest.mark.parametrize("architecture", ["{0}:Leaky", "mamba-{0}:Sums", "2x{0}:small|attn-gru", "{0}:Leaky-{0}:Sums"])
@torch.no_grad()
def test_it_stands_wherever_a_mixer_does(architecture: str) -> None:
    """Sizes and parameters are those of the modules; states carry the answers."""
    spec = ModelSpec(architecture.format(PLACE), **SIZES)
    torch.manual_seed(0)
    model = SequenceModel(spec, 5)
    assert n_params(spec, 5) == model.n_params
    tokens = torch.randint(5, (2, 9), generator=torch.Generator().manual_seed(0))
    state = model.prefill(tokens[:, :6])
    assert tuple(nominal_bits(spec, 6)) == tuple(vars(state.bits()).values())
    torch.testing.assert_close(model.answer(state, tokens[:, 6:]), model(tokens)[:, 6:])
    assert model.receptive_field is None


@pytest.mark.parametrize("architecture", ["{0}:Leaky", "{0}:Sums", "attn-{0}:Leaky-{0}:Sums", "{0}:Leaky|attn"])
@pytest.mark.parametrize("lag", [0, 2])
@torch.no_grad()
def test_it_is_cut_along_a_diagonal(architecture: str, lag: int) -> None:
    spec = ModelSpec(architecture.format(PLACE), **SIZES)
    torch.manual_seed(0)
    model = SequenceModel(spec, 5).double()
    lags = tuple(lag for _ in model_stages(spec))
    cut = DiagonalCut(model, lags, prefix_len=12)
    tokens = torch.randint(5, (2, 14), generator=torch.Generator().manual_seed(0))
    state = cut.prefill(tokens[:, :12])
    answers = cut.answer(state, tokens[:, cut.start :])
    torch.testing.assert_close(answers, model(tokens)[:, 12:], atol=1e-10, rtol=1e-10)
    time, counted = cut.start, [0, 0, 0]
    for stage in model_stages(spec, 64):
        counted = [a + b for a, b in zip(counted, stage.by_kind(time, time + lag), strict=True)]
        time += lag
    assert counted == list(vars(state.bits()).values())
    damaged = CutState(tuple(state.map(torch.zeros_like).layers))
    if sum(counted):
        assert not torch.allclose(cut.answer(damaged, tokens[:, cut.start :]), answers)


def test_a_state_that_grows_has_no_size_until_it_is_stated() -> None:
    spec = ModelSpec(f"{PLACE}:Growing", **SIZES)
    assert SequenceModel(spec, 5).prefill(torch.zeros(1, 3, dtype=torch.int64)).bits().cache_bits == 3 * 8 * 32
    with pytest.raises(
        ValueError, match=r"size of the state of .*:Growing must be known; got one that grows"
    ) as caught:
        nominal_bits(spec, 3)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_mixer", "`mixer` must be a class of AbstractMixer, or a function that returns one; got .*, a int"),
        ("number", "`mixer` must be a class of AbstractMixer, .*; got .*:number, which cannot be called"),
        ("Absent", r"`name` in .* must .*; got 'Absent'"),
        ("AbstractMixer", r"`mixer` must be built by .*:AbstractMixer\(spec\); got an error"),
    ],
)
def test_what_is_no_mixer_is_said(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        SequenceModel(ModelSpec(f"{PLACE}:{name}"), 5)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("reference", ["absent.py:Mine", "no.such.module:Mine"])
def test_a_source_that_is_not_there_is_said(reference: str) -> None:
    with pytest.raises(ValueError, match=r"^`mixer` must ") as caught:
        ModelSpec(f"attn-{reference}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("architecture", ["my-file.py:Mine", "file.py:", ":Mine", "file.py:not-a-name", "a:b:c"])
def test_references_with_signs_of_the_grammar_are_refused(architecture: str) -> None:
    with pytest.raises(ValueError, match=r"name your own by module:name or file.py:name|Name your own"):
        ModelSpec(architecture)


def test_naming_it_reads_its_source_and_executes_nothing(file: Path) -> None:
    with consenting():
        spec = ModelSpec("gru-mixers.py:Leaky", **SIZES)
        assert not Path("executed").exists()
        (reference, digest), *_ = (source.split(" ") for source in spec.sources)
        assert (reference, len(digest)) == ("mixers.py:Leaky", 64)
        assert ModelSpec.from_dict(spec.to_dict()) == spec
        SequenceModel(spec, 5)
        assert Path("executed").exists()
        file.write_text(TRACED + "# another\n", encoding="utf-8")
        assert ModelSpec("gru-mixers.py:Leaky", **SIZES) != spec  # and another run


def test_a_record_is_no_consent(file: Path) -> None:
    """The attack: a document of a stranger names a mixer, with or without the hash of its source."""
    with consenting():
        record = ModelSpec("gru-mixers.py:Leaky", **SIZES).to_dict()
    with consenting():
        for copy in (pickle.loads(pickle.dumps(ModelSpec.from_dict(record))), ModelSpec.from_dict(record)):
            with pytest.raises(ValueError, match=r"mixer 'mixers.py:Leaky' must be named by you to be executed"):
                SequenceModel(copy, 5)
        del record["sources"]
        with pytest.raises(ValueError, match=r"`sources` must have the sha256 of the mixer 'mixers.py:Leaky'"):
            ModelSpec.from_dict(record)
        with pytest.raises(ValueError, match="`sources` must"):
            ModelSpec.from_dict({**record, "architecture": "3xmixers.py:Leaky|gru"})
    assert not Path("executed").exists()


def test_a_changed_source_is_not_executed(file: Path) -> None:
    with consenting():
        spec = ModelSpec("mixers.py:Leaky", **SIZES)
        file.write_text(TRACED + "# another\n", encoding="utf-8")
        with pytest.raises(ValueError, match=r"the source of mixers.py:Leaky must be as it was"):
            SequenceModel(spec, 5)
    assert not Path("executed").exists()


def test_another_process_of_the_user_may_execute_what_was_named(file: Path) -> None:
    with consenting():
        sent = pickle.dumps(ModelSpec("mixers.py:Leaky", **SIZES))
    with consenting():
        SequenceModel(pickle.loads(sent), 5)


def test_a_run_of_a_stranger(file: Path, tmp_path: Path) -> None:
    """It is trained, loaded by its maker, and by a stranger after consent only."""
    with consenting():
        spec = ModelSpec("attn-mixers.py:Leaky", **SIZES)
        task = SelectiveCopying(n_numbers=2, n_letters=2, seq_len=8)
        config = TrainConfig(task, spec, Schedule("uniform", steps=5, batch=4, n_eval=20))
        run = train(config, tmp_path / "runs")
        assert len(load_models(run)) == 1
        assert TrainConfig.from_dict(config.to_dict()) == config
    Path("executed").unlink()
    shutil.move(tmp_path / "runs", tmp_path / "given")
    given = load_run(next((tmp_path / "given").iterdir()))
    with consenting(), pytest.raises(ValueError, match="must be named by you to be executed"):
        load_models(given)
    assert not Path("executed").exists()


def test_a_run_without_the_source_of_its_mixer_is_damaged(file: Path, tmp_path: Path) -> None:
    from boundprobe.training.config import config_of_run

    with consenting():
        config = TrainConfig(SelectiveCopying(), ModelSpec("mixers.py:Leaky", **SIZES), Schedule()).to_dict()
    del config["model"]["sources"]
    with consenting(), pytest.raises(RunDirectoryError, match="`sources` must have the sha256 of the mixer"):
        config_of_run(json.loads(json.dumps(config)), tmp_path)
    assert not Path("executed").exists()


def test_a_model_may_be_built_where_its_mixers_are_named_and_as_they_were(file: Path) -> None:
    with consenting():
        spec = ModelSpec("mixers.py:Leaky", **SIZES)
        assert spec.may_be_built
        assert ModelSpec("gru").may_be_built
        text = file.read_text(encoding="utf-8")
        file.write_text(text + "# another\n", encoding="utf-8")
        assert not spec.may_be_built
        with pytest.raises(ValueError, match=r"the source of mixer mixers.py:Leaky must be as it was"):
            check_sources(spec.sources)
        file.unlink()
        assert not spec.may_be_built
        file.write_text(text, encoding="utf-8")
    with consenting():
        assert not spec.may_be_built


def test_the_example_of_the_documentation_is_trained(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/models.md").read_text(encoding="utf-8")
    section = page.partition("## A mixer of your own")[2]
    (source,) = re.findall(r"^```python\n(.*?)^```$", section.partition("\n## ")[0], re.MULTILINE | re.DOTALL)
    (command,) = re.findall(r"^boundprobe train .*mixers.py:Sums.*$", section, re.MULTILINE)
    (tmp_path / "mixers.py").write_text(source, encoding="utf-8")
    done = run_line(command, tmp_path)
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    "sources", [3, "mixers.py:Leaky abc", ["mixers.py:Leaky"], [4], {"mixers.py:Leaky": "abc"}, None]
)
def test_sources_of_another_form_are_refused(sources: object) -> None:
    with pytest.raises(
        ValueError, match=r"^`sources` must be 'reference sha256' of each mixer of your own; got "
    ) as caught:
        ModelSpec("gru", sources=sources)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
