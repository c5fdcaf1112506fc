"""``check_mixer`` passes mixers that keep the contract and names what is wrong with each that is broken."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from boundprobe.models import BUILDERS, AbstractMixer, LayerState, ModelSpec, StateTensor
from boundprobe.testing import check_mixer

D = 4


class Leaky(AbstractMixer):
    """h_t = decay * h_{t-1} + W x_t;  y_t = V h_t.  It keeps the contract, and those below break it."""

    state_names = ("h",)

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(D, D), nn.Linear(D, D)
        self.decay = nn.Parameter(torch.randn(D) * 0.1)

    def start(self, x: Tensor, state: LayerState) -> Tensor:
        return state[0].value if state else x.new_zeros(len(x), D)

    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        h, outputs = self.start(x, state), []
        for u in self.enter(x).unbind(1):
            h = self.decay.sigmoid() * h + u
            outputs.append(h)
        return self.leave(torch.stack(outputs, dim=1)), (StateTensor("h", "recurrent", h),)


class Memoryless(AbstractMixer):
    """Keeps the contract with no state at all."""

    state_names = ()

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(D, D)

    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        return self.map(x), ()


def test_mixers_that_keep_the_contract_pass() -> None:
    for mixer in (Leaky, Memoryless):
        check_mixer(mixer, d_model=D)


# What it must see


class NotAMixer(nn.Linear):
    def __init__(self) -> None:
        super().__init__(D, D)


class Narrow(Leaky):
    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        y, state = super().forward(x, state)
        return y[..., :-1], state


class Listed(Leaky):
    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        y, state = super().forward(x, state)
        return y, list(state)


class Misnamed(Leaky):
    state_names = ("state",)


class Unkind(Leaky):
    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        y, state = super().forward(x, state)
        return y, tuple(replace(tensor, kind="hidden") for tensor in state)


class Shared(Leaky):
    """Its state is one row for all sequences."""

    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        y, state = super().forward(x, state)
        return y, tuple(replace(tensor, value=tensor.value.mean(0, keepdim=True)) for tensor in state)


class Wide(Leaky):
    """Its state has twice the bits that one would count from its input's type."""

    def start(self, x: Tensor, state: LayerState) -> Tensor:
        return super().start(x, state).to(x.dtype)

    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        y, state = super().forward(x, state)
        return y, tuple(replace(tensor, value=tensor.value.double()) for tensor in state)


class Telling(Leaky):
    """How many entries its state has tells what was read: bits that nobody counts."""

    state_names = ("h", "tell")

    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        y, state = super().forward(x, state)
        return y, (*state, StateTensor("tell", "cache", x.new_zeros(len(x), int((x[0] > 0).sum()), 0)))


class Fails(Leaky):
    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        raise RuntimeError("out of\nluck")


class Attribute(Leaky):
    """Goes on from where it stopped last, whatever state it is given."""

    def start(self, x: Tensor, state: LayerState) -> Tensor:
        return self.last if state else super().start(x, state)

    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        y, after = super().forward(x, state)
        self.last = after[0].value
        return y, after


class Counter(Leaky):
    """Its outputs depend on how often it was called."""

    n_calls = 0

    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        self.n_calls += 1
        y, state = super().forward(x, state)
        return y + self.n_calls, state


class Noisy(Leaky):
    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        return super().forward(F.dropout(x, 0.5), state)


class InPlace(Leaky):
    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        y, after = super().forward(x, state)
        if state:
            state[0].value.zero_()
        return y, after


class RowNumbered(Leaky):
    """Tells the sequences of a batch apart by their place in it."""

    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        return super().forward(x + torch.arange(len(x), dtype=x.dtype)[:, None, None], state)


class Unseeded(Leaky):
    def __init__(self) -> None:
        super().__init__()
        self.decay = nn.Parameter(torch.randn(D, generator=torch.Generator().manual_seed(id(self) % 2**31)))


class Mixing(Leaky):
    """Batch statistics: a sequence hears of the others."""

    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        return super().forward(x - x.mean(0, keepdim=True), state)


class NonCausal(Leaky):
    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        return super().forward(x - 0.01 * x.mean(1, keepdim=True), state)


class OneAhead(Leaky):
    """Only the token before the last hears of the last."""

    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        y, state = super().forward(x, state)
        return y + F.pad(x[:, -1:], (0, 0, max(x.shape[1] - 2, 0), 1))[:, : x.shape[1]], state


class Forgetful(Leaky):
    """A state that is returned and never read."""

    def start(self, x: Tensor, state: LayerState) -> Tensor:
        return super().start(x, ())


class HalfForgotten(Leaky):
    """It also looks one token back, and does not say so in its state."""

    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        return super().forward(x + F.pad(x, (0, 0, 1, 0))[:, :-1], state)


class Blurred(Leaky):
    """The state that it returns after several tokens is not the one after the last."""

    state_names = ("h", "mean")

    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        y, after = super().forward(x, state)
        return y, (*after, StateTensor("mean", "recurrent", x.mean(1)))


class Dead(Leaky):
    def __init__(self) -> None:
        super().__init__()
        self.dead = nn.Parameter(torch.randn(D))


class Undone(Leaky):
    """A parameter that is used, with a gradient of zero."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.randn(D))

    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        return super().forward(x + self.shift - self.shift, state)


class Detached(Leaky):
    def start(self, x: Tensor, state: LayerState) -> Tensor:
        return super().start(x, state).detach()


class Constant(Leaky):
    def __init__(self) -> None:
        super().__init__()
        for parameter in self.parameters():
            nn.init.constant_(parameter, 0.1)


class Unregistered(Leaky):
    """A weight that is a plain tensor: neither trained nor saved."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = torch.randn(D)

    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        return super().forward(x * self.gain.to(x.dtype), state)


class SingleOnly(Leaky):
    def start(self, x: Tensor, state: LayerState) -> Tensor:
        return super().start(x, state).float()


class Coarse(Leaky):
    """Loses half of its digits in half precision."""

    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        return super().forward((x * 4).round() / 4 if x.dtype == torch.bfloat16 else x, state)


class Branching(Leaky):
    """Looks at its weights in Python: one mixer can, a stack cannot."""

    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        return super().forward(x if float(self.decay.detach().sum()) > -100 else -x, state)


BROKEN: list[tuple[Callable[[], AbstractMixer], str]] = [
    (NotAMixer, "form: it is a NotAMixer, not an AbstractMixer"),
    (Narrow, r"form: the output is torch.float32 \(2, 1, 3\), not torch.float32 \(2, 1, 4\)"),
    (Listed, "form: the state is a list, not a tuple of StateTensor"),
    (Misnamed, r"form: the state has \('h',\), state_names says \('state',\)"),
    (Unkind, "form: h is of kind 'hidden', not one of recurrent, conv, cache"),
    (Shared, r"form: h has shape \(1, 4\), not one row for each of 2 sequences"),
    (Wide, "form: h is torch.float64, not torch.float32 as the input"),
    (Telling, "form: the shapes of the state depend on what is read"),
    (Fails, "form: it raises RuntimeError: out of luck"),
    (Attribute, "memory: a copy of the mixer goes on otherwise from the same state"),
    (Counter, "memory: the same inputs read again give another output"),
    (Noisy, "memory: the same inputs read again give another output"),
    (InPlace, "memory: forward changes the state that it is given"),
    (RowNumbered, "memory: sequences in another order, with their states, give other outputs"),
    (Unseeded, "memory: decay is not fixed by the seed"),
    (Mixing, "causality: sequence 0 of 2 hears of the others"),
    (NonCausal, "causality: the outputs of the first 1 tokens hear of later ones"),
    (OneAhead, "causality: the outputs of the first 11 tokens hear of later ones"),
    (Forgetful, "pieces: reading in two pieces, the first of 1 tokens, gives other outputs"),
    (HalfForgotten, "pieces: reading in two pieces, the first of 1 tokens, gives other outputs"),
    (Blurred, "pieces: reading in two pieces, the first of 1 tokens, ends in another mean than reading whole"),
    (Dead, "gradients: dead gets no gradient"),
    (Undone, "gradients: shift gets no gradient"),
    (Detached, "gradients: the gradient through the state is not that of reading whole"),
    (Constant, "weights: two seeds give the same outputs"),
    (Unregistered, "weights: another mixer with its weights gives other outputs"),
    (SingleOnly, r"precision: it raises RuntimeError|in torch.float64 .* is torch.float32"),
    (Coarse, r"precision: in torch.bfloat16 the output is off by 0\.\d+ of its size, more than"),
    (Branching, "ensembles: it raises RuntimeError"),
]


@pytest.mark.parametrize(("make", "message"), BROKEN, ids=lambda item: getattr(item, "__name__", ""))
def test_a_mixer_that_breaks_the_contract_is_named(make: Callable[[], AbstractMixer], message: str) -> None:
    with pytest.raises(AssertionError, match=message) as caught:
        check_mixer(make, d_model=D)
    assert str(caught.value).startswith("the mixer breaks its contract: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "make", [Dead, Undone, Detached, Constant, Coarse, Branching, Blurred], ids=lambda make: make.__name__
)
def test_one_fault_is_one_complaint(make: Callable[[], AbstractMixer]) -> None:
    with pytest.raises(AssertionError) as caught:
        check_mixer(make, d_model=D)
    checks = {problem.split(":")[0] for problem in str(caught.value).split("contract: ")[1].split("; ")}
    assert len(checks) == 1, str(caught.value)


def test_what_needs_a_long_sequence_is_told_by_its_length() -> None:
    """Chunks of 8 have no summaries within 6 tokens, so what reads them gets no gradient; within 12 they have."""
    spec = ModelSpec("mamba+chunks", d_model=4, window=1, d_state=2, d_conv=2, chunk=8)
    check_mixer(lambda: BUILDERS["mamba+chunks"](spec, "auto"), d_model=4)
    with pytest.raises(AssertionError, match=r"gradients: compress\.weight gets no gradient"):
        check_mixer(lambda: BUILDERS["mamba+chunks"](spec, "auto"), d_model=4, n_tokens=6)


def test_the_callers_generator_is_left_alone() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    check_mixer(Leaky, d_model=D)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"d_model": 0}, "`d_model` must be an integer of at least 1; got 0"),
        (
            {"n_tokens": 2},
            "`n_tokens` must be an integer of at least 3, so that a mixer has a past, a present and a future; got 2",
        ),
        ({"tolerance": 0.0}, "`tolerance` must be above 0; got 0.0"),
    ],
    ids=str,
)
def test_arguments_that_cannot_be_are_refused(given: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=r" must .*; got ") as caught:
        check_mixer(Leaky, **{"d_model": D} | given)
    assert str(caught.value).startswith(said)


def test_the_other_checks_need_no_torch() -> None:
    code = """
import sys
sys.modules["torch"] = None  # importing it raises ImportError
from boundprobe.tasks import SelectiveCopying
from boundprobe.testing import check_bound, check_task
check_task(SelectiveCopying(n_numbers=2, n_letters=2, seq_len=6))
try:
    from boundprobe.testing import check_mixer
except ImportError:
    print("and mixers do")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "and mixers do", done.stderr


def test_a_name_that_is_not_there_is_refused() -> None:
    import boundprobe.testing

    with pytest.raises(AttributeError, match="check_model"):
        boundprobe.testing.check_model  # noqa: B018
