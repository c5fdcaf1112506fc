"""What is particular to the linear recurrences: their definition, what they hold, strong decay, foreign kernels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from boundprobe.errors import MissingDependencyError
from boundprobe.kernels import (
    DECAYED_ATTENTION,
    DELTA_RULE,
    GENERALISED_DELTA_RULE,
    decayed_attention,
    delta_rule,
    generalised_delta_rule,
)
from boundprobe.kernels.linear import chunked, delta_rule_reference
from boundprobe.kernels.linear.opaque import apply_opaque
from tests.helpers.kernels import CASES, READ, Case, Inputs, assert_agrees, assert_close, gradients, loss_of

RECURRENCES = {
    key: case
    for key, case in CASES.items()
    if case.operation in (DECAYED_ATTENTION, DELTA_RULE, GENERALISED_DELTA_RULE)
}
DELTA = CASES["delta rule, one decay a head"]
each_recurrence = pytest.mark.parametrize("case", RECURRENCES.values(), ids=RECURRENCES)


def by_hand(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    s: Tensor,
    beta: Tensor | None,
    remove: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Matrices of one sequence and one head at a time, sharing nothing with the package; no beta: nothing corrected."""
    s, o = s.clone(), torch.zeros_like(v)
    for b in range(q.shape[0]):
        for h in range(q.shape[2]):
            for t in range(q.shape[1]):
                decay = torch.diag(log_decay[b, t, h].exp().expand(q.shape[-1]))
                key, value = k[b, t, h], v[b, t, h]
                if remove is not None:
                    keep = torch.eye(len(key), dtype=s.dtype) - torch.outer(remove[1][b, t, h], remove[0][b, t, h])
                    s[b, h] = keep @ decay @ s[b, h] + torch.outer(key, value)
                elif beta is None:
                    s[b, h] = decay @ s[b, h] + torch.outer(key, value)
                else:
                    keep = torch.eye(len(key), dtype=s.dtype) - beta[b, t, h] * torch.outer(key, key)
                    s[b, h] = keep @ decay @ s[b, h] + beta[b, t, h] * torch.outer(key, value)
                o[b, t, h] = s[b, h].T @ q[b, t, h]
    return o, s


def test_the_check_of_strong_decay_sees_a_division_by_decays() -> None:
    """The negative control: the textbook form (Q e^c)(K e^-c)^T overflows where the chunked form must not."""
    c = torch.full((40, 1), -50.0).cumsum(0)
    scores = (c.exp() @ (-c).exp().T).tril()
    assert not torch.isfinite(scores).all()


@pytest.mark.parametrize("backend", ["chunked", "reference"])
def test_without_decay_it_is_causal_linear_attention(backend: str) -> None:
    q, k, v, *_ = CASES["decayed attention, one decay a head"].draw(8, T=20, V=4)
    o, s = decayed_attention(q, k, v, backend=backend)
    scores = torch.einsum("bthk,bshk->bhts", q, k).tril()
    assert_close(o, torch.einsum("bhts,bshv->bthv", scores, v), "tril(Q K^T) V")
    assert_close(s, torch.einsum("bthk,bthv->bhkv", k, v), "K^T V")


@pytest.mark.parametrize("backend", ["chunked", "reference"])
def test_a_constant_decay_is_a_power_of_distance(backend: str) -> None:
    q, k, v, *_ = CASES["decayed attention, one decay a head"].draw(9, T=20, H=1)
    o, _ = decayed_attention(q, k, v, torch.full((2, 20, 1, 1), 0.9).double().log(), backend=backend)
    distance = torch.arange(20)[:, None] - torch.arange(20)[None, :]
    weights = torch.where(distance >= 0, torch.tensor(0.9).double() ** distance, 0)
    scores = torch.einsum("bthk,bshk->bhts", q, k) * weights
    assert_close(o, torch.einsum("bhts,bshv->bthv", scores, v), "0.9^(t-s)", tolerance=1e-6)  # 0.9 is a float32


@pytest.mark.parametrize("backend", ["chunked", "reference"])
def test_the_delta_rule_stores_orthonormal_keys_exactly(backend: str) -> None:
    keys = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(10)).double())[0]
    values = torch.randn(6, 4, generator=torch.Generator().manual_seed(11)).double()
    k, v = keys[None, :, None], values[None, :, None]
    o, s = delta_rule(k, k, v, torch.ones(1, 6, 1).double(), backend=backend)
    assert_close(s[0, 0].T @ keys.T, values.T, "values read with their keys")
    assert_close(o[0, :, 0], values, "each value as soon as it is written")


@pytest.mark.parametrize("backend", ["chunked", "reference"])
@pytest.mark.parametrize("distance", [1, 5, 20])
def test_the_same_key_again_overwrites(backend: str, distance: int) -> None:
    """A value written twice under one key is the second one, where linear attention holds their sum."""
    rng = torch.Generator().manual_seed(12)
    others = torch.linalg.qr(torch.randn(32, 32, generator=rng).double())[0]
    k = others[: distance + 1].clone()
    k[-1] = k[0]
    v = torch.randn(distance + 1, 3, generator=rng).double()
    k, v = k[None, :, None], v[None, :, None]
    _, written = delta_rule(k, k, v, torch.ones(1, distance + 1, 1).double(), backend=backend)
    _, added = decayed_attention(k, k, v, backend=backend)
    assert_close(written[0, 0].T @ k[0, 0, 0], v[0, -1, 0], "the second value")
    assert_close(added[0, 0].T @ k[0, 0, 0], v[0, 0, 0] + v[0, -1, 0], "both values")


@each_recurrence
@pytest.mark.parametrize("sizes", [{"T": 5}, dict.fromkeys("BTHKV", 1), {"B": 1, "T": 20, "K": 2, "V": 3}], ids=str)
def test_the_recurrence_by_hand(case: Case, sizes: dict[str, int]) -> None:
    """The delta rule as the paper writes it: S_t = (I - beta k k^T) diag(exp g) S_{t-1} + beta k v^T."""
    inputs = case.draw(0, **sizes)
    given = dict(zip(case.names, inputs, strict=True))
    remove = (given["a"], given["b"]) if "a" in given else None
    expected = by_hand(*(given.get(key) for key in ("q", "k", "v", "log_decay", "initial_state", "beta")), remove)
    for backend in case.operation.usable("cpu"):
        for found, right in zip(case.of_backend(backend)(*inputs), expected, strict=True):
            assert_close(found, right, backend)


def test_the_generalised_rule_with_one_key_is_the_delta_rule() -> None:
    q, k, v, beta, log_decay, initial = CASES["delta rule, one a row"].draw(5)
    scaled = beta[..., None] * k
    for backend in ("chunked", "reference"):
        found = generalised_delta_rule(q, scaled, v, k, scaled, log_decay, initial, backend=backend)
        for one, other in zip(found, delta_rule(q, k, v, beta, log_decay, initial), strict=True):
            assert_close(one, other, backend)


@each_recurrence
@pytest.mark.parametrize("length", [1, 2, 4, 32])
def test_the_length_of_chunks_changes_nothing(case: Case, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked, "CHUNK", length)
    assert_agrees(case.of_backend("chunked"), case.reference, case.draw(1, T=37), case.names)


@each_recurrence
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_strong_decay_neither_overflows_nor_loses_gradients(case: Case, dtype: torch.dtype) -> None:
    """Log decays of -50 and 0 in turns: exp(50 * 16) would overflow where a decay is divided by another.

    float32: sums of up to 16 log decays of 50 have 2^-15 between neighbours, so decays are off by up to that much.
    """
    inputs = list(case.draw(2, dtype, T=40))
    where = case.names.index("log_decay")
    forget = torch.rand(inputs[where].shape, generator=torch.Generator().manual_seed(3)) < 0.5
    inputs[where] = torch.where(forget, -50.0, 0.0).to(dtype)
    assert_agrees(case.of_backend("chunked"), case.reference, tuple(inputs), case.names)


@each_recurrence
def test_two_pieces_are_one_sequence(case: Case) -> None:
    """The final state is all that the rest of the sequence needs."""
    *streams, initial = case.draw(4, T=37)
    run = case.of_backend("chunked")
    whole, last = run(*streams, initial)
    for cut in (1, 16, 20):
        first, middle = run(*(x[:, :cut] for x in streams), initial)
        second, end = run(*(x[:, cut:] for x in streams), middle)
        assert_close(torch.cat([first, second], dim=1), whole, "o")
        assert_close(end, last, "final state")


@pytest.mark.parametrize("key", ["decayed attention, one decay a head", "delta rule, one decay a head"])
def test_kernels_are_refused_on_a_cpu_with_a_reason(key: str) -> None:
    with pytest.raises(MissingDependencyError, match="linear recurrence 'fla' cannot be used here: ") as caught:
        CASES[key].of_backend("fla")(*CASES[key].draw(15))
    assert "\n" not in str(caught.value)
    assert list(DECAYED_ATTENTION.backends) == list(DELTA_RULE.backends)  # one row of a record stands for both


class OldStyle(torch.autograd.Function):
    """The delta rule as a package's kernel would offer it: no batching rule, a context written in ``forward``."""

    @staticmethod
    def forward(ctx, *inputs):
        ctx.save_for_backward(*inputs)
        return delta_rule_reference(*inputs)

    @staticmethod
    def backward(ctx, *grads):
        with torch.enable_grad():
            leaves = [x.detach().requires_grad_() for x in ctx.saved_tensors]
            outputs = delta_rule_reference(*leaves)
        return torch.autograd.grad(outputs, leaves, grads)


def opaque(*inputs: Tensor) -> Inputs:
    return apply_opaque(OldStyle.apply, *inputs)


@pytest.mark.parametrize("read", READ)
def test_an_opaque_operation_has_gradients(read: str) -> None:
    assert_agrees(opaque, delta_rule_reference, DELTA.draw(16, T=7), DELTA.names, read)


@pytest.mark.parametrize("shared", [None, "k", "initial_state"])
def test_an_opaque_operation_serves_ensembles(shared: str | None) -> None:
    in_dims = tuple(None if key == shared else 0 for key in DELTA.names)
    drawn = DELTA.draw(17, members=(3,), T=7)
    stacked = [x if dim == 0 else x[0] for x, dim in zip(drawn, in_dims, strict=True)]

    def value(*inputs: Tensor) -> Tensor:
        return loss_of(opaque(*inputs))

    grad = torch.func.grad_and_value(value, argnums=tuple(range(len(in_dims))))
    found, losses = torch.func.vmap(grad, in_dims=in_dims)(*stacked)
    for i in range(3):
        member = tuple(x if dim is None else x[i] for x, dim in zip(stacked, in_dims, strict=True))
        assert_close(losses[i], loss_of(delta_rule_reference(*member)), f"member {i}")
        for what, x, y in zip(DELTA.names, found, gradients(delta_rule_reference, member), strict=True):
            assert_close(x[i], y, f"gradient of {what}, member {i}")


def test_functorch_refuses_the_operation_itself() -> None:
    """The negative control: without ``apply_opaque`` there is no gradient under torch.func."""
    inputs = DELTA.draw(18)
    with pytest.raises(RuntimeError, match="setup_context"):
        torch.func.grad(lambda q: OldStyle.apply(q, *inputs[1:])[0].sum())(inputs[0])
