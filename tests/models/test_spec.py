"""What a model is made of: the grammar, properties, and refusals that say value, what is allowed, and what to do."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError, asdict, fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boundprobe.models import BUILDERS, MIXERS, ModelSpec, parse_architecture
from boundprobe.models.sizes import STAGES
from boundprobe.models.spec import LATER, WINDOWED
from boundprobe.settings import settings_of

#: Fields that are words, and what they may be.
WORDS = {field.name: about.words for field, about in settings_of(ModelSpec) if about.words}

WHOLE = ("d_model", "window", "n_heads", "d_state", "d_conv", "expand", "d_head", "chunk", "mlp_ratio", *LATER)
#: Sizes that may be 0.
FROM_ZERO = ("mlp_ratio", "n_kv_heads", "d_value", "n_groups")

layers = st.lists(
    st.tuples(st.integers(1, 12), st.lists(st.sampled_from(MIXERS), min_size=1, max_size=3)), min_size=1, max_size=4
)


@pytest.mark.parametrize("text", ["10001xattn", "9" * 30 + "xmamba", "5000xattn-5001xgru", "9" * 5000 + "xattn"])
def test_more_layers_than_any_model_has_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"`architecture` must be of at most 10000 layers; got '"):
        parse_architecture(text)
    assert len(parse_architecture("9999xattn-gru")) == 10_000


def test_all_tables_name_the_same_mixers() -> None:
    assert set(MIXERS) == set(BUILDERS) == set(STAGES)
    assert len(set(MIXERS)) == len(MIXERS)
    assert set(WINDOWED) <= set(MIXERS)
    assert set(WHOLE) | set(WORDS) | {"architecture", "sources"} == {field.name for field in fields(ModelSpec)}


@given(layers, st.booleans(), st.integers(1, 100))
def test_an_architecture_is_written_and_read(
    drawn: list[tuple[int, list[str]]], ones_are_written: bool, window: int
) -> None:
    written = "-".join(
        ("" if times == 1 and not ones_are_written else f"{times}x") + "|".join(branches) for times, branches in drawn
    )
    expected = tuple(tuple(branches) for times, branches in drawn for _ in range(times))
    spec = ModelSpec(written, window=window)
    assert parse_architecture(written) == spec.layers == expected
    assert spec.mixers == tuple(mixer for branches in expected for mixer in branches)
    assert spec.windows == tuple(window if set(branches) <= {"attn", "gated-attn"} else None for branches in expected)
    assert ModelSpec(**asdict(spec)) == spec


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("attn", (("attn",),)),
        ("mamba-attn", (("mamba",), ("attn",))),
        ("3xmamba-attn", (("mamba",), ("mamba",), ("mamba",), ("attn",))),
        ("12xgru", (("gru",),) * 12),
        ("mamba|attn", (("mamba", "attn"),)),
        ("2xmamba|attn-gru", (("mamba", "attn"), ("mamba", "attn"), ("gru",))),
        ("gated-deltanet", (("gated-deltanet",),)),
        ("deltanet-gated-deltanet-deltanet", (("deltanet",), ("gated-deltanet",), ("deltanet",))),
        ("2xgated-deltanet|attn-mamba2", (("gated-deltanet", "attn"), ("gated-deltanet", "attn"), ("mamba2",))),
        ("mamba+chunks-mamba+attnstep", (("mamba+chunks",), ("mamba+attnstep",))),
    ],
)
def test_the_grammar_in_examples(written: str, expected: tuple[tuple[str, ...], ...]) -> None:
    assert parse_architecture(written) == expected


def assert_says_what_to_do(message: str, *parts: str) -> None:
    """One line: what must hold, and what was got."""
    assert "\n" not in message
    assert re.search(r" must .*; got .*\.$|\?$", message)
    for part in parts:
        assert part in message, message


@pytest.mark.parametrize(
    "architecture",
    [
        "",
        "attn-",
        "-attn",
        "mamba--attn",
        "attention",
        "ATTN",
        "mamba3",
        "deltanet-gated",
        "0xmamba",
        "-1xmamba",
        "x mamba",
        "xmamba",
        "3x",
        "2x3xmamba",
        "mamba|",
        "|mamba",
        "mamba|2xattn",
        "mamba+attn",
        "mamba, attn",
        "mamba\nattn",
    ],
)
def test_an_unknown_mixer_is_refused(architecture: str) -> None:
    with pytest.raises(ValueError, match=r"^`mixer` of architecture '.*") as caught:
        ModelSpec(architecture)
    assert_says_what_to_do(str(caught.value), repr(architecture), *MIXERS, "mamba-attn", "3xmamba", "mamba|attn")


def test_a_near_miss_is_named() -> None:
    with pytest.raises(
        ValueError,
        match=(
            r"`mixer` of architecture 'mamba-gateddeltanet' must be one of attn, mamba, mamba2.*; got "
            r"'gateddeltanet'\. Did you mean 'gated-deltanet'\?"
        ),
    ):
        ModelSpec("mamba-gateddeltanet")


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("value", [-1, 1.0, "8", True, None])
def test_a_size_that_is_no_size_is_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^`{name}` must be ") as caught:
        ModelSpec(**{name: value})
    assert_says_what_to_do(str(caught.value), repr(value), str(0 if name in FROM_ZERO else 1))


@pytest.mark.parametrize("name", WHOLE)
def test_zero_is_allowed_where_it_has_a_meaning(name: str) -> None:
    if name in FROM_ZERO:
        assert getattr(ModelSpec(**{name: 0}), name) == 0
    else:
        with pytest.raises(ValueError, match=f"^`{name}` must be .*; got 0"):
            ModelSpec(**{name: 0})


@pytest.mark.parametrize("name", WORDS)
@pytest.mark.parametrize("value", ["", "Pre", None, 3, True])
def test_a_word_that_is_not_known_is_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^`{name}` ") as caught:
        ModelSpec(**{name: value})
    assert_says_what_to_do(str(caught.value), repr(value), *WORDS[name])


@pytest.mark.parametrize("name", WORDS)
def test_every_word_is_allowed(name: str) -> None:
    assert [getattr(ModelSpec(**{name: word}), name) for word in WORDS[name]] == list(WORDS[name])


@pytest.mark.parametrize("architecture", ["attn", "gated-attn", "mamba-attn", "mamba|attn", "mamba+attnstep"])
@pytest.mark.parametrize(("d_model", "n_heads"), [(7, 1), (6, 2), (8, 8), (2, 4)])
def test_heads_of_odd_width_are_refused_where_pairs_are_turned(architecture: str, d_model: int, n_heads: int) -> None:
    with pytest.raises(ValueError, match="rotary") as caught:
        ModelSpec(architecture, d_model=d_model, n_heads=n_heads)
    parts = (f"got {d_model} with n_heads={n_heads}.", f"`d_model` must be a multiple of {2 * n_heads} ")
    assert_says_what_to_do(str(caught.value), *parts)
    other_positions = [
        ModelSpec(architecture, d_model=3 * n_heads, n_heads=n_heads, position=p) for p in WORDS["position"][1:]
    ]
    assert all(spec.d_model == 3 * n_heads for spec in other_positions)


@pytest.mark.parametrize(
    "architecture", ["gla", "deltanet", "gated-deltanet", "kda", "rwkv7", "ssm", "mamba+chunks", "attn"]
)
def test_heads_share_the_width_equally(architecture: str) -> None:
    with pytest.raises(ValueError, match=r"^`d_model` must be a multiple of 3 .*; got 8 with n_heads=3") as caught:
        ModelSpec(architecture, d_model=8, n_heads=3, position="none")
    assert_says_what_to_do(str(caught.value), "(heads share")
    assert ModelSpec(architecture, d_model=9, n_heads=3, position="none").n_heads == 3


@pytest.mark.parametrize("architecture", ["mamba", "mamba2", "lstm", "gru"])
def test_a_model_without_heads_takes_any_width(architecture: str) -> None:
    assert ModelSpec(architecture, d_model=7, n_heads=4, d_head=7).d_model == 7


@pytest.mark.parametrize(("expand", "d_model", "d_head"), [(2, 8, 3), (1, 8, 16), (3, 4, 8)])
def test_channels_that_are_no_heads_are_refused_where_there_is_mamba2(expand: int, d_model: int, d_head: int) -> None:
    sizes = {"expand": expand, "d_model": d_model, "d_head": d_head}
    with pytest.raises(
        ValueError, match=f"^`d_head` must divide expand \\* d_model = {expand * d_model}; got {d_head}"
    ) as caught:
        ModelSpec("gru-mamba2", **sizes)
    assert_says_what_to_do(str(caught.value))
    assert ModelSpec("gru-mamba", **sizes).d_head == d_head


@pytest.mark.parametrize("architecture", ["attn", "gated-attn", "mamba+attnstep", "gru|attn"])
def test_heads_share_keys_and_values_equally(architecture: str) -> None:
    with pytest.raises(ValueError, match=r"^`n_kv_heads` must be 0, or a number that divides the 4 heads; got 3\.$"):
        ModelSpec(architecture, n_heads=4, n_kv_heads=3)
    assert ModelSpec(architecture, n_heads=4, n_kv_heads=2).n_kv_heads == 2
    assert ModelSpec("gru", n_heads=4, n_kv_heads=3).n_kv_heads == 3


@pytest.mark.parametrize(
    ("architecture", "n_heads"), [("deltanet", 4), ("gated-deltanet", 4), ("kda", 4), ("mamba2", 2)]
)
def test_groups_share_heads_equally(architecture: str, n_heads: int) -> None:
    said = f"^`n_groups` must be 0, or a number that divides the {n_heads} heads; got 3\\.$"
    with pytest.raises(ValueError, match=said):
        ModelSpec(architecture, n_heads=4, n_groups=3)
    assert ModelSpec(architecture, n_heads=4, n_groups=2).n_groups == 2
    assert ModelSpec("gla", n_heads=4, n_groups=3).n_groups == 3


@pytest.mark.parametrize("architecture", ["deltanet", "gated-deltanet", "kda"])
def test_values_of_their_own_width_need_no_multiple(architecture: str) -> None:
    assert ModelSpec(architecture, d_model=7, n_heads=2, d_value=3).d_value == 3
    with pytest.raises(ValueError, match=r"`d_model` must be a multiple of 2"):
        ModelSpec(f"{architecture}-gla", d_model=7, n_heads=2, d_value=3)


def test_beta_ends_at_one_or_two() -> None:
    with pytest.raises(ValueError, match=r"^`beta_max` must be an integer from 1 to 2; got 3") as caught:
        ModelSpec("deltanet", beta_max=3)
    assert_says_what_to_do(str(caught.value))


@pytest.mark.parametrize("name", LATER)
def test_a_setting_that_came_later_is_recorded_where_it_is_not_at_its_default(name: str) -> None:
    """Names of runs are hashes of records: those from before a setting must stay."""
    assert name not in ModelSpec().to_dict()
    other = ModelSpec("gru", **{name: 2})
    assert other.to_dict() == {**ModelSpec("gru").to_dict(), name: 2}
    assert ModelSpec(**other.to_dict()) == other


def test_a_spec_cannot_be_changed() -> None:
    spec = ModelSpec()
    with pytest.raises(FrozenInstanceError):
        spec.d_model = 3  # type: ignore[misc]


def test_underscores_are_taken_for_hyphens_in_what_is_suggested():
    with pytest.raises(
        ValueError, match=r"`architecture` must join layers with '-'; got 'mamba_attn'. Did you mean 'mamba-attn'"
    ):
        parse_architecture("mamba_attn")
