"""What every architecture must do, whatever it is made of."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from boundprobe.kernels import AUTO, OPERATIONS
from boundprobe.models import MIXERS, OPERATIONS_OF, CutState, ModelSpec, SequenceModel
from boundprobe.models.layers import Layer
from boundprobe.models.spec import WINDOWED

VOCAB, T, BATCH = 6, 10, 3
#: T is more than three chunks, three windows and three convolutions.
SIZES = {
    "d_model": 8, "window": 3, "n_heads": 2, "d_state": 3, "d_conv": 3, "expand": 2, "d_head": 4, "chunk": 3,
    "mlp_ratio": 2,
}  # fmt: skip
COMPOSITES = (
    "attn-attn",
    "mamba-attn",
    "attn-mamba",
    "mamba-attn-attn",
    "3xmamba-attn",
    "mamba|attn",
    "gated-deltanet|attn-mamba2",
    "2xlstm|gru",
)
SPECS = {architecture: ModelSpec(architecture, **SIZES) for architecture in (*MIXERS, *COMPOSITES)}
SPECS |= {
    f"{architecture}, {field} {value}": ModelSpec(architecture, **SIZES | {field: value})
    for architecture, field, value in (
        ("attn-attn", "position", "learned"),
        ("attn-attn", "position", "none"),
        ("mamba+attnstep", "position", "learned"),
        ("gru-attn", "mlp_after", "every"),
        ("mamba-attn", "norm", "none"),
        ("mamba-attn", "mlp_ratio", 0),
        ("mamba2-attn", "d_conv", 1),
        ("mamba2-kda", "n_groups", 2),
        ("gated-attn|attn-gru", "n_kv_heads", 1),
        ("mamba-attn", "window", 1),
        ("mamba-attn", "window", 32),
    )
}
#: Kinds of what a mixer carries.
KINDS = {
    "attn": {"cache"},
    "mamba": {"recurrent", "conv"},
    "mamba2": {"recurrent", "conv"},
    "gla": {"recurrent"},
    "deltanet": {"recurrent", "conv"},
    "gated-deltanet": {"recurrent", "conv"},
    "gated-attn": {"cache"},
    "kda": {"recurrent", "conv"},
    "rwkv7": {"recurrent", "conv"},
    "lstm": {"recurrent"},
    "gru": {"recurrent"},
    "ssm": {"recurrent"},
    "mamba+chunks": {"recurrent", "conv", "cache"},
    "mamba+attnstep": {"recurrent", "conv", "cache"},
}
#: Names of backends of any operation that can be used here.
USABLE = sorted({name for operation in OPERATIONS.values() for name in operation.usable("cpu")})

each_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())


def backends_of(spec: ModelSpec) -> list[str]:
    """Usable backends of the operations of one mixer alone; "auto" where it has none, and for what is composed."""
    if len(spec.mixers) > 1 or spec.mixers[0] not in OPERATIONS_OF:
        return [AUTO]
    return [name for name in USABLE if any(name in of.backends for of in OPERATIONS_OF[spec.mixers[0]])]


each_backend = pytest.mark.parametrize(
    ("spec", "backend"),
    [
        pytest.param(spec, backend, id=f"{key}-{backend}")
        for key, spec in SPECS.items()
        for backend in backends_of(spec)
    ],
)


def make(
    spec: ModelSpec | str, seed: int = 0, backend: str = "auto", dtype: torch.dtype = torch.float32
) -> SequenceModel:
    torch.manual_seed(seed)
    return SequenceModel(SPECS[spec] if isinstance(spec, str) else spec, VOCAB, backend).to(dtype)


def draw(n: int = BATCH, length: int = T, seed: int = 1) -> Tensor:
    return torch.randint(VOCAB, (n, length), generator=torch.Generator().manual_seed(seed))


def assert_same_state(found: CutState, expected: CutState, tolerance: float) -> None:
    for layer, same in zip(found.layers, expected.layers, strict=True):
        for tensor, other in zip(layer, same, strict=True):
            assert (tensor.name, tensor.kind) == (other.name, other.kind)
            torch.testing.assert_close(tensor.value, other.value, atol=tolerance, rtol=tolerance)


def assert_same_gradients(found: SequenceModel, expected: SequenceModel, tolerance: float) -> None:
    for (name, parameter), other in zip(found.named_parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(
            parameter.grad, other.grad, atol=tolerance, rtol=tolerance, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_no_mixer_is_left_out() -> None:
    assert set(MIXERS) == {mixer for spec in SPECS.values() for mixer in spec.mixers} == set(KINDS)
    assert {"numba", "chunked", "reference"} <= set(USABLE)


@each_spec
@torch.no_grad()
def test_shapes_and_names(spec: ModelSpec) -> None:
    model, tokens = make(spec), draw()
    assert model(tokens).shape == (BATCH, T, VOCAB)
    assert model(tokens[:1, :1]).shape == (1, 1, VOCAB)
    state = model.prefill(tokens)
    assert state.batch == BATCH
    assert model.answer(state, tokens[:, :2]).shape == (BATCH, 2, VOCAB)
    for layer, mixers, module in zip(state.layers, spec.layers, model.layers, strict=True):
        assert {tensor.kind for tensor in layer} == set.union(*(KINDS[mixer] for mixer in mixers))
        names = [branch.mixer.state_names for branch in module.branches]
        prefixes = [""] if len(names) == 1 else [f"{i}." for i in range(len(names))]
        expected = [prefix + name for prefix, own in zip(prefixes, names, strict=True) for name in own]
        assert [tensor.name for tensor in layer] == expected
        assert all(tensor.value.shape[0] == BATCH for tensor in layer)
    assert model.n_params == sum(value.numel() for value in model.state_dict().values())


@each_spec
@torch.no_grad()
def test_no_position_sees_a_later_one(spec: ModelSpec) -> None:
    model, tokens = make(spec), draw()
    logits = model(tokens)
    for changed in range(T):
        other = tokens.clone()
        other[:, changed] = (other[:, changed] + 1) % VOCAB
        found = model(other)
        assert torch.equal(found[:, :changed], logits[:, :changed])
        assert (found[:, changed] != logits[:, changed]).any()


@each_spec
def test_every_parameter_gets_a_gradient(spec: ModelSpec) -> None:
    model = make(spec)
    logits, targets = model(draw()), draw(seed=2)
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@each_spec
@torch.no_grad()
def test_the_state_carries_all_across_every_cut(spec: ModelSpec) -> None:
    model, tokens = make(spec), draw()
    whole, after = model.extend(tokens)
    for cut in range(1, T):
        state = model.prefill(tokens[:, :cut])
        found, end = model.extend(tokens[:, cut:], state)
        torch.testing.assert_close(found, whole[:, cut:], atol=1e-5, rtol=1e-5)
        assert_same_state(end, after, 1e-5)
        assert torch.equal(model.answer(state, tokens[:, cut:]), found)


@each_spec
@torch.no_grad()
def test_without_its_state_a_suffix_is_answered_otherwise(spec: ModelSpec) -> None:
    """The negative control of the test above: a state that did not matter would pass it."""
    model, tokens = make(spec), draw()
    alone, whole = model(tokens[:, 5:]), model(tokens)[:, 5:]
    sees_back = spec.windows != (1,)
    assert torch.allclose(alone, whole, atol=1e-4) != sees_back
    if spec.norm == "pre":
        zeros = model.prefill(tokens[:, :5]).map(torch.zeros_like)
        assert not torch.allclose(model.answer(zeros, tokens[:, 5:]), whole, atol=1e-4)


@each_spec
def test_gradients_flow_through_the_cut(spec: ModelSpec) -> None:
    """The state is not detached: a loss on the suffix trains what the prefix writes."""
    model, whole, tokens = make(spec), make(spec), draw()
    model.answer(model.prefill(tokens[:, :-2]), tokens[:, -2:]).square().sum().backward()
    whole(tokens)[:, -2:].square().sum().backward()
    assert_same_gradients(model, whole, 1e-4)


@each_spec
@torch.no_grad()
def test_a_seed_fixes_the_initial_weights(spec: ModelSpec) -> None:
    first, again, other = make(spec, seed=3), make(spec, seed=3), make(spec, seed=4)
    for (name, x), y in zip(first.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(x, y), name
    assert torch.equal(first(draw()), again(draw()))
    assert not torch.equal(first(draw()), other(draw()))


@each_spec
@torch.no_grad()
def test_half_precision_halves_the_state(spec: ModelSpec) -> None:
    """bfloat16 in and out, near to what float32 gives for the same rounded weights.

    About a dozen roundings stand one after another in each layer, and a few at both ends; each is of relative size
    2^-9 on average, and errors that are independent add up like their squares.  Twice that is allowed.
    """
    model, tokens = make(spec, dtype=torch.bfloat16), draw()
    wide = copy.deepcopy(model).float()
    logits, state = model.extend(tokens)
    expected, full = wide.extend(tokens)
    assert logits.dtype == torch.bfloat16
    assert {tensor.value.dtype for layer in state.layers for tensor in layer} == {torch.bfloat16}
    assert 2 * state.bits().total_bits == full.bits().total_bits
    n_roundings = 12 * len(spec.mixers) + 4
    error = (logits.float() - expected).norm() / expected.norm()
    assert 0 < error < 2 * math.sqrt(n_roundings) * 2**-9


@each_spec
@torch.no_grad()
def test_double_precision_doubles_the_state(spec: ModelSpec) -> None:
    """And carries digits that float32 lacks from the embedding to the logits."""
    model, tokens = make(spec), draw()
    wide = copy.deepcopy(model).double()
    logits, state = wide.extend(tokens)
    expected, half = model.extend(tokens)
    assert {logits.dtype, *(tensor.value.dtype for layer in state.layers for tensor in layer)} == {torch.float64}
    assert state.bits().total_bits == 2 * half.bits().total_bits
    torch.testing.assert_close(logits.float(), expected, atol=1e-5, rtol=1e-4)
    wide.embedding.weight.add_(torch.randn_like(wide.embedding.weight), alpha=1e-11)
    assert (wide(tokens) != logits).float().mean() > 0.9


@each_backend
def test_an_ensemble_is_its_members_one_by_one(spec: ModelSpec, backend: str) -> None:
    models, tokens = [make(spec, seed, backend, torch.float64) for seed in range(3)], draw()
    parameters, buffers = torch.func.stack_module_state(models)
    base = copy.deepcopy(models[0]).to("meta")

    def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        logits = torch.func.functional_call(base, (parameters, buffers), (tokens,))
        return logits.square().sum(), logits

    values = {name: value.detach() for name, value in parameters.items()}
    gradients, logits = torch.func.vmap(torch.func.grad(loss, has_aux=True))(values, buffers)
    for i, model in enumerate(models):
        alone = model(tokens)
        alone.square().sum().backward()
        torch.testing.assert_close(logits[i], alone.detach(), atol=1e-10, rtol=1e-10)
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(
                gradients[name][i], parameter.grad, atol=1e-8, rtol=1e-8, msg=lambda m, n=name: f"{n}: {m}"
            )


@each_backend
def test_backends_agree_with_the_reference(spec: ModelSpec, backend: str) -> None:
    """Logits, states and gradients, in double precision and across a cut."""
    model, reference = (make(spec, backend=name, dtype=torch.float64) for name in (backend, "reference"))
    tokens = draw()
    (found, found_state), (expected, expected_state) = (
        m.extend(tokens[:, 4:], m.prefill(tokens[:, :4])) for m in (model, reference)
    )
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10)
    assert_same_state(found_state, expected_state, 1e-10)
    for logits in (found, expected):
        logits.square().sum().backward()
    assert_same_gradients(model, reference, 1e-8)


@each_spec
@torch.no_grad()
def test_states_at_positions_are_those_after_each_prefix(spec: ModelSpec) -> None:
    model, tokens = make(spec), draw()
    whole = model(tokens)
    after = {position: model.prefill(tokens[:, :position]) for position in range(1, T + 1)}
    for positions in ((), (1,), (T,), (1, 2, 3), (3, 4, 7, T), range(1, T + 1)):
        logits, states = model.return_states(tokens, positions)
        torch.testing.assert_close(logits, whole, atol=1e-5, rtol=1e-5)
        for position, state in zip(positions, states, strict=True):
            assert_same_state(state, after[position], 1e-5)


@pytest.mark.parametrize(
    ("positions", "said"),
    [
        ([0], "`position` must be an integer from 1 to 10; got 0"),
        ([-1], "`position` must be an integer from 1 to 10; got -1"),
        ([3, 11], "`position` must be an integer from 1 to 10; got 11"),
        ([2.0], "`position` must be an integer from 1 to 10; got 2.0 (float)"),
        ([True], "`position` must be an integer from 1 to 10; got True (bool)"),
        ([5, 2], "`positions` must increase; got [5, 2]. Sort them"),
        ([3, 3], "`positions` must increase; got [3, 3]"),
    ],
    ids=str,
)
def test_positions_that_cannot_be_are_refused(positions: list[int], said: str) -> None:
    with pytest.raises(ValueError, match=r" must .*; got ") as caught:
        make("mamba-attn").return_states(draw(), positions)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


# The equations of a layer.


@torch.no_grad()
def test_branches_read_the_same_and_are_added() -> None:
    model, x = make("mamba|attn"), torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
    (layer,) = model.layers
    mamba, attention = layer.branches
    y = x + mamba.mixer(mamba.norm(x))[0] + attention.mixer(attention.norm(x))[0]
    torch.testing.assert_close(layer(x)[0], y + layer.mlp(y), atol=1e-6, rtol=1e-6)
    one_after_the_other = x + mamba.mixer(mamba.norm(x))[0]
    one_after_the_other = one_after_the_other + attention.mixer(attention.norm(one_after_the_other))[0]
    assert not torch.allclose(layer(x)[0], one_after_the_other + layer.mlp(one_after_the_other), atol=1e-4)


@torch.no_grad()
def test_a_model_is_embedding_layers_norm_and_readout() -> None:
    model, tokens = make("3xmamba-attn"), draw()
    x = model.embedding(tokens)
    assert len(model.layers) == 4
    for layer in model.layers:
        (branch,) = layer.branches
        x = x + branch.mixer(branch.norm(x))[0]
        x = x if layer.mlp is None else x + layer.mlp(x)
    torch.testing.assert_close(model(tokens), model.readout(model.norm(x)), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("architecture", "mlp_after", "expected"),
    [
        ("mamba-attn-gru", "attn", [False, True, False]),
        ("mamba-attn-gru", "every", [True, True, True]),
        ("mamba|attn-mamba|gru", "attn", [True, False]),
        ("mamba+attnstep", "attn", [False]),
    ],
)
def test_mlps_stand_where_the_spec_says(architecture: str, mlp_after: str, expected: list[bool]) -> None:
    model = make(ModelSpec(architecture, **SIZES, mlp_after=mlp_after))
    assert [layer.mlp is not None for layer in model.layers] == expected
    without = make(ModelSpec(architecture, **SIZES | {"mlp_ratio": 0}, mlp_after=mlp_after))
    assert all(layer.mlp is None for layer in without.layers)


def test_norms_stand_where_the_spec_says() -> None:
    def norms(spec: ModelSpec) -> list[str]:
        model = make(spec)
        found = [branch.norm for layer in model.layers for branch in layer.branches]
        return [type(norm).__name__ for norm in (*found, model.norm)]

    spec = ModelSpec("mamba-attn|gru", **SIZES)
    assert norms(spec) == ["RMSNorm", "LayerNorm", "RMSNorm", "LayerNorm"]
    without = make(ModelSpec("mamba-attn|gru", **SIZES, norm="none"))
    kinds = {type(module).__name__ for module in without.modules()}
    assert "LayerNorm" not in kinds
    assert "RMSNorm" not in kinds


# How far a position sees.


def last_logits_change(model: SequenceModel, tokens: Tensor, distance: int) -> bool:
    """Whether another token at this distance from the last one changes the last logits of any sequence."""
    other = tokens.clone()
    other[:, -1 - distance] = (other[:, -1 - distance] + 1) % VOCAB
    return not torch.equal(model(tokens)[:, -1], model(other)[:, -1])


@pytest.mark.parametrize(
    ("architecture", "n_layers"), [("attn", 1), ("attn|gated-attn", 1), ("2xattn", 2), ("3xgated-attn", 3)]
)
@pytest.mark.parametrize("window", [1, 2, 4])
@torch.no_grad()
def test_the_receptive_field_of_attention_is_what_theory_says(architecture: str, n_layers: int, window: int) -> None:
    """R = 1 + sum of (window - 1): the token at distance R - 1 is seen, none beyond it is."""
    spec = ModelSpec(architecture, **SIZES | {"window": window})
    assert spec.windows == (window,) * n_layers
    field = 1 + n_layers * (window - 1)
    models, tokens = [make(spec, seed) for seed in range(2)], draw(4, 12)
    for distance in range(12):
        changes = [last_logits_change(model, tokens, distance) for model in models]
        if distance >= field:
            assert not any(changes), f"distance {distance} is seen"
        if distance == field - 1:
            assert any(changes), f"distance {distance} is not seen"


@pytest.mark.parametrize(
    "architecture", [*(mixer for mixer in MIXERS if mixer not in WINDOWED), "attn-gru", "attn|gru"]
)
@torch.no_grad()
def test_a_recurrent_layer_sees_beyond_every_window(architecture: str) -> None:
    spec = ModelSpec(architecture, **SIZES | {"window": 2, "d_conv": 2})
    assert None in spec.windows
    assert 1 + len(spec.layers) * (2 - 1) < 11
    assert last_logits_change(make(spec), draw(4, 12), 11)


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`backend` must be one of auto,.*; got 'fast'") as caught:
        SequenceModel(ModelSpec("attn"), VOCAB, "fast")
    assert "\n" not in str(caught.value)


def test_layers_are_built_with_the_backend_that_their_operation_has() -> None:
    """``chunked`` is a backend of linear recurrences alone: the scan beside it takes ``auto``."""
    spec = SPECS["gated-deltanet|attn-mamba2"]
    layer = Layer(ModelSpec("mamba|gla", **SIZES), ("mamba", "gla"), "chunked")
    assert [branch.mixer.backend for branch in layer.branches] == ["auto", "chunked"]
    assert make(spec, backend="blocks").layers[1].branches[0].mixer.backend == "auto"


@each_spec
@pytest.mark.gpu
@torch.no_grad()
def test_gpu_and_cpu_agree(spec: ModelSpec) -> None:
    model, tokens = make(spec), draw()
    expected = model(tokens)
    found = model.cuda()(tokens.cuda())
    torch.testing.assert_close(found.cpu(), expected, atol=1e-4, rtol=1e-4)
    state = model.prefill(tokens[:, :5].cuda())
    torch.testing.assert_close(model.answer(state, tokens[:, 5:].cuda()), found[:, 5:], atol=1e-4, rtol=1e-4)
