"""What every architecture must do."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from boundprobe.models.scan import BACKENDS
from boundprobe.models.spec import ModelSpec
from boundprobe.models.stack import SequenceModel

ARCHITECTURES = ("attn", "mamba", "attn-attn", "mamba-mamba", "mamba-attn", "attn-mamba", "mamba-attn-attn")
VOCAB, T, BATCH = 6, 10, 3

each_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)


def make(architecture: str, seed: int = 0, window: int = 4, scan: str = "time-major") -> SequenceModel:
    torch.manual_seed(seed)
    return SequenceModel(ModelSpec(architecture, d_model=8, window=window, n_heads=2, d_state=3), VOCAB, scan)


def draw(n: int = BATCH, length: int = T, seed: int = 1) -> Tensor:
    return torch.randint(VOCAB, (n, length), generator=torch.Generator().manual_seed(seed))


@each_architecture
@torch.no_grad()
def test_shapes(architecture: str) -> None:
    model, tokens = make(architecture), draw()
    assert model(tokens).shape == (BATCH, T, VOCAB)
    assert model(tokens[:1, :1]).shape == (1, 1, VOCAB)
    state = model.prefill(tokens)
    assert state.batch == BATCH
    assert len(state.layers) == len(model.spec.layers)
    assert model.answer(state, tokens[:, :2]).shape == (BATCH, 2, VOCAB)
    kinds = [{tensor.kind for tensor in layer} for layer in state.layers]
    expected = {"attn": {"cache"}, "mamba": {"conv", "recurrent"}}
    assert kinds == [expected[mixer] for mixer in model.spec.layers]
    assert model.n_params == sum(value.numel() for value in model.state_dict().values())


@each_architecture
@torch.no_grad()
def test_no_position_sees_a_later_one(architecture: str) -> None:
    model, tokens = make(architecture), draw()
    logits = model(tokens)
    for changed in range(T):
        other = tokens.clone()
        other[:, changed] = (other[:, changed] + 1) % VOCAB
        found = model(other)
        assert torch.equal(found[:, :changed], logits[:, :changed])
        assert (found[:, changed] != logits[:, changed]).any()


@each_architecture
@torch.no_grad()
def test_no_sequence_sees_another(architecture: str) -> None:
    model, tokens = make(architecture), draw()
    together = model(tokens)
    for row in range(BATCH):
        torch.testing.assert_close(model(tokens[row : row + 1])[0], together[row], atol=1e-5, rtol=1e-5)


@each_architecture
@pytest.mark.parametrize("scan", BACKENDS)
def test_every_parameter_gets_a_gradient(architecture: str, scan: str) -> None:
    model = make(architecture, scan=scan)
    logits, targets = model(draw()), draw(seed=2)
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@each_architecture
@pytest.mark.parametrize("window", [1, 2, 4, 32])
@torch.no_grad()
def test_the_state_carries_all_across_every_cut(architecture: str, window: int) -> None:
    model, tokens = make(architecture, window=window), draw()
    whole, after = model.extend(tokens)
    for cut in range(1, T):
        state = model.prefill(tokens[:, :cut])
        found = model.answer(state, tokens[:, cut:])
        torch.testing.assert_close(found, whole[:, cut:], atol=1e-5, rtol=1e-5)
        _, end = model.extend(tokens[:, cut:], state)
        torch.testing.assert_close(end.flatten(), after.flatten(), atol=1e-5, rtol=1e-5)


@each_architecture
@torch.no_grad()
def test_one_token_at_a_time(architecture: str) -> None:
    model, tokens = make(architecture), draw()
    state, logits = None, []
    for t in range(T):
        step, state = model.extend(tokens[:, t : t + 1], state)
        logits.append(step)
    torch.testing.assert_close(torch.cat(logits, dim=1), model(tokens), atol=1e-5, rtol=1e-5)


@each_architecture
@torch.no_grad()
def test_gradients_flow_through_the_cut(architecture: str) -> None:
    """The state is not detached: a loss on the suffix trains what the prefix writes."""
    model, tokens = make(architecture), draw()
    with torch.enable_grad():
        state = model.prefill(tokens[:, :-1])
        model.answer(state, tokens[:, -1:]).square().sum().backward()
    whole = make(architecture)
    with torch.enable_grad():
        whole(tokens)[:, -1:].square().sum().backward()
    for (name, found), expected in zip(model.named_parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad, atol=1e-4, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


@each_architecture
@torch.no_grad()
def test_save_and_load(architecture: str) -> None:
    model, other, tokens = make(architecture, seed=0), make(architecture, seed=1), draw()
    assert not torch.equal(model(tokens), other(tokens))
    other.load_state_dict(copy.deepcopy(model.state_dict()))
    assert torch.equal(model(tokens), other(tokens))


@each_architecture
@torch.no_grad()
def test_a_seed_fixes_the_initial_weights(architecture: str) -> None:
    first, again, other = make(architecture, seed=3), make(architecture, seed=3), make(architecture, seed=4)
    for (name, x), y in zip(first.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(x, y), name
    assert torch.equal(first(draw()), again(draw()))
    assert not torch.equal(first(draw()), other(draw()))


def last_logits_change(model: SequenceModel, tokens: Tensor, distance: int) -> bool:
    """Whether another token at this distance from the last one changes the last logits of any sequence."""
    other = tokens.clone()
    other[:, -1 - distance] = (other[:, -1 - distance] + 1) % VOCAB
    return not torch.equal(model(tokens)[:, -1], model(other)[:, -1])


@pytest.mark.parametrize(("architecture", "n_layers"), [("attn", 1), ("attn-attn", 2), ("attn-attn-attn", 3)])
@pytest.mark.parametrize("window", [1, 2, 4])
@torch.no_grad()
def test_the_receptive_field_of_attention_is_what_theory_says(architecture: str, n_layers: int, window: int) -> None:
    """R = 1 + sum of (window - 1): the token at distance R - 1 is seen, none beyond it is."""
    field = 1 + n_layers * (window - 1)
    models, tokens = [make(architecture, seed, window) for seed in range(4)], draw(4, 12)
    for distance in range(12):
        changes = [last_logits_change(model, tokens, distance) for model in models]
        if distance >= field:
            assert not any(changes), f"distance {distance} is seen"
        if distance == field - 1:
            assert any(changes), f"distance {distance} is not seen"


@pytest.mark.parametrize("architecture", [a for a in ARCHITECTURES if "mamba" in a])
@torch.no_grad()
def test_a_recurrent_layer_sees_beyond_every_window(architecture: str) -> None:
    model, tokens = make(architecture, window=2), draw(4, 12)
    beyond = 1 + len(model.spec.layers) * max(2 - 1, model.spec.d_conv - 1)
    assert beyond < 11
    assert last_logits_change(model, tokens, 11)


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
@pytest.mark.parametrize("scan", BACKENDS)
@each_architecture
def test_an_ensemble_is_its_members_one_by_one(architecture: str, scan: str) -> None:
    models, tokens = [make(architecture, seed, scan=scan) for seed in range(3)], draw()
    parameters, buffers = torch.func.stack_module_state(models)
    base = copy.deepcopy(models[0]).to("meta")

    def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        logits = torch.func.functional_call(base, (parameters, buffers), (tokens,))
        return logits.square().sum(), logits

    values = {name: value.detach() for name, value in parameters.items()}
    grads, logits = torch.func.vmap(torch.func.grad(loss, has_aux=True))(values, buffers)
    for i, model in enumerate(models):
        alone = model(tokens)
        alone.square().sum().backward()
        torch.testing.assert_close(logits[i], alone, atol=1e-5, rtol=1e-5)
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(grads[name][i], parameter.grad, atol=1e-3, rtol=1e-3)


def test_an_unknown_scan_is_refused() -> None:
    with pytest.raises(ValueError, match="scan 'fast' is not known; allowed: "):
        SequenceModel(ModelSpec("attn"), VOCAB, "fast")


@each_architecture
@pytest.mark.gpu
@torch.no_grad()
def test_gpu_and_cpu_agree(architecture: str) -> None:
    model, tokens = make(architecture), draw()
    expected = model(tokens)
    found = model.cuda()(tokens.cuda())
    torch.testing.assert_close(found.cpu(), expected, atol=1e-4, rtol=1e-4)
    state = model.prefill(tokens[:, :5].cuda())
    torch.testing.assert_close(model.answer(state, tokens[:, 5:].cuda()), found[:, 5:], atol=1e-4, rtol=1e-4)
