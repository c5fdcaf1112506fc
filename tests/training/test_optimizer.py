"""The optimizer of an ensemble against torch's, member by member."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from boundprobe.models import ModelSpec, SequenceModel
from boundprobe.training import Ensemble
from boundprobe.training.optimizer import EnsembleAdamW, schedule_factor

SPEC = ModelSpec("gru", d_model=4, expand=1)


def make(n_members: int) -> tuple[list[SequenceModel], Ensemble]:
    models = []
    for i in range(n_members):
        torch.manual_seed(i)
        models.append(SequenceModel(SPEC, vocab_size=3).double())
    return models, Ensemble.of(models)


def gradients_like(ensemble: Ensemble, step: int) -> Tensor:
    """Some that are clipped and some that are not, and one member with none."""
    torch.manual_seed(100 + step)
    sizes = torch.tensor([0.01, 0.5, 5.0, 0.0], dtype=torch.float64)[: len(ensemble), None]
    return torch.randn_like(ensemble.values) * sizes


def test_each_member_is_stepped_as_torch_would() -> None:
    """Ten steps with rates, decays and norms of their own; the oracle is torch.optim.AdamW behind its clipping."""
    models, ensemble = make(4)
    rates, decays, norms = [0.1, 0.02, 0.003, 0.1], [0.0, 0.1, 0.5, 0.1], [1.0, 2.0, 1.0, 1.0]
    optimizer = EnsembleAdamW(ensemble, decays, norms)
    oracles = [torch.optim.AdamW(m.parameters(), lr=1.0, weight_decay=d) for m, d in zip(models, decays, strict=True)]
    for step in range(10):
        factor = schedule_factor(step, 10, 3)
        found = gradients_like(ensemble, step)
        for model, oracle, rate, norm, row, values in zip(
            models, oracles, rates, norms, found, ensemble.values, strict=True
        ):
            if step == 0:  # both start there; afterwards each goes its own way
                torch.testing.assert_close(torch.nn.utils.parameters_to_vector(model.parameters()), values)
            sizes = [p.numel() for p in model.parameters()]
            for parameter, piece in zip(model.parameters(), row.split(sizes), strict=True):
                parameter.grad = piece.view_as(parameter).clone()
            torch.nn.utils.clip_grad_norm_(model.parameters(), norm)
            oracle.param_groups[0]["lr"] = rate * factor
            oracle.step()
        ensemble.gradients += found
        numbers = ensemble.values.new_tensor([*optimizer.corrections(step), *(rate * factor for rate in rates)])
        optimizer.update(numbers[2:, None], numbers[0], numbers[1])
        assert not ensemble.gradients.any()
        expected = torch.stack([torch.nn.utils.parameters_to_vector(m.parameters()) for m in models])
        torch.testing.assert_close(ensemble.values, expected, rtol=1e-12, atol=1e-12)


def test_the_models_parameters_follow() -> None:
    """``parameters`` are views: a step of the matrix is a step of the models."""
    _, ensemble = make(2)
    before = {name: value.detach().clone() for name, value in ensemble.parameters.items()}
    optimizer = EnsembleAdamW(ensemble, [0.0, 0.0], [1.0, 1.0])
    ensemble.gradients.fill_(1e-3)
    one = ensemble.values.new_ones(())
    optimizer.update(ensemble.values.new_full((2, 1), 0.1), one, one)
    assert all((value != before[name]).all() for name, value in ensemble.parameters.items())


def test_a_lost_member_does_not_touch_the_others() -> None:
    _, ensemble = make(3)
    _, alone = make(3)
    for e in (ensemble, alone):
        optimizer = EnsembleAdamW(e, [0.1] * 3, [1.0] * 3)
        e.gradients += gradients_like(e, 0)
        if e is ensemble:
            e.gradients[1, 5] = torch.nan
        numbers = e.values.new_tensor([*optimizer.corrections(0), 0.1, 0.1, 0.1])
        optimizer.update(numbers[2:, None], numbers[0], numbers[1])
    assert ensemble.values[1].isnan().all()
    assert torch.equal(ensemble.values[[0, 2]], alone.values[[0, 2]])


def test_members_that_are_kept_go_on_as_before() -> None:
    _, ensemble = make(3)
    optimizer = EnsembleAdamW(ensemble, [0.1, 0.2, 0.3], [1.0, 2.0, 3.0])
    numbers = ensemble.values.new_tensor([*optimizer.corrections(0), 0.1, 0.2, 0.3])
    ensemble.gradients += gradients_like(ensemble, 0)
    optimizer.update(numbers[2:, None], numbers[0], numbers[1])
    rest = ensemble.keep([2, 0])
    kept = optimizer.keep(rest, [2, 0])
    assert kept.weight_decays.flatten().tolist() == [0.3, 0.1]
    assert kept.clip_norms.flatten().tolist() == [3.0, 1.0]
    found = gradients_like(ensemble, 1)
    ensemble.gradients += found
    rest.gradients += found[[2, 0]]
    numbers = ensemble.values.new_tensor([*optimizer.corrections(1), 0.1, 0.2, 0.3])
    optimizer.update(numbers[2:, None], numbers[0], numbers[1])
    kept.update(numbers[[4, 2], None], numbers[0], numbers[1])
    assert torch.equal(rest.values, ensemble.values[[2, 0]])


@pytest.mark.parametrize(("step", "factor"), [(0, 0.25), (3, 1.0), (4, 1.0), (9, 1 / 6)])
def test_the_rate_of_a_step(step: int, factor: float) -> None:
    assert schedule_factor(step, 10, 4) == pytest.approx(factor)
