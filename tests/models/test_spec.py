"""What a model is made of: properties, and refusals that say value, what is allowed, and what to do."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boundprobe.models.spec import MIXERS, ModelSpec

WHOLE = ("d_model", "window", "n_heads", "d_state", "d_conv", "expand", "mlp_ratio")


@given(st.lists(st.sampled_from(MIXERS), min_size=1, max_size=5), st.integers(1, 100))
def test_layers_and_windows_follow_the_architecture(mixers: list[str], window: int) -> None:
    spec = ModelSpec("-".join(mixers), window=window)
    assert spec.layers == tuple(mixers)
    assert spec.windows == tuple({"attn": window, "mamba": None}[mixer] for mixer in mixers)
    assert ModelSpec(**asdict(spec)) == spec


def assert_says_what_to_do(message: str, *parts: str) -> None:
    """One line: the value, what is allowed, and after the last semicolon what to do."""
    assert "\n" not in message
    assert "allowed: " in message
    assert message.index(";") < len(message) - 1
    for part in parts:
        assert part in message, message


@pytest.mark.parametrize("architecture", ["", "attn-", "-attn", "attention", "mamba--attn", "ATTN", "mamba2"])
def test_an_unknown_mixer_is_refused(architecture: str) -> None:
    with pytest.raises(ValueError, match="mixer") as caught:
        ModelSpec(architecture)
    assert_says_what_to_do(str(caught.value), repr(architecture), *MIXERS, "mamba-attn")


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("value", [-1, 1.0, "8", True, None])
def test_a_size_that_is_no_size_is_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{name} is ") as caught:
        ModelSpec(**{name: value})
    assert_says_what_to_do(str(caught.value), repr(value), str(0 if name == "mlp_ratio" else 1))


@pytest.mark.parametrize("name", WHOLE)
def test_zero_is_allowed_for_the_mlp_alone(name: str) -> None:
    if name == "mlp_ratio":
        assert ModelSpec(mlp_ratio=0).mlp_ratio == 0
    else:
        with pytest.raises(ValueError, match=f"^{name} is 0; allowed: "):
            ModelSpec(**{name: 0})


@pytest.mark.parametrize(("d_model", "n_heads"), [(7, 1), (6, 2), (8, 8), (2, 4)])
def test_heads_of_odd_width_are_refused_where_there_is_attention(d_model: int, n_heads: int) -> None:
    with pytest.raises(ValueError, match="rotary") as caught:
        ModelSpec("mamba-attn", d_model=d_model, n_heads=n_heads)
    message = str(caught.value)
    assert f"d_model is {d_model} with n_heads {n_heads}" in message
    assert f"multiples of 2 * n_heads = {2 * n_heads}" in message
    assert "change d_model or n_heads" in message
    assert ModelSpec("mamba", d_model=d_model, n_heads=n_heads).d_model == d_model


def test_a_spec_cannot_be_changed() -> None:
    spec = ModelSpec()
    with pytest.raises(FrozenInstanceError):
        spec.d_model = 3  # type: ignore[misc]
