"""Mixers by name: the module, and the norm before it."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from boundprobe.models.attention import SlidingWindowAttention
from boundprobe.models.deltanet import DeltaNet
from boundprobe.models.gated_attention import GatedAttention
from boundprobe.models.gated_deltanet import GatedDeltaNet
from boundprobe.models.gla import GatedLinearAttention
from boundprobe.models.gru import GRU
from boundprobe.models.kda import KimiDeltaAttention
from boundprobe.models.lstm import LSTM
from boundprobe.models.mamba import Mamba
from boundprobe.models.mamba2 import Mamba2
from boundprobe.models.mamba_attention_step import MambaAttentionStep
from boundprobe.models.mamba_chunks import MambaChunks
from boundprobe.models.mixer import AbstractMixer
from boundprobe.models.own import build_own
from boundprobe.models.rwkv7 import RWKV7
from boundprobe.models.spec import ModelSpec, is_own
from boundprobe.models.ssm import SelectiveSSM

#: Builders of the mixers of ``spec.MIXERS``: called with the sizes and the name of a backend.
BUILDERS: dict[str, Callable[[ModelSpec, str], AbstractMixer]] = {
    "attn": lambda s, backend: SlidingWindowAttention(
        s.d_model, s.n_heads, s.window, s.position, backend, s.n_kv_heads
    ),
    "gated-attn": lambda s, backend: GatedAttention(s.d_model, s.n_heads, s.window, s.position, backend, s.n_kv_heads),
    "mamba": lambda s, backend: Mamba(s.d_model, s.d_state, s.d_conv, s.expand, backend),
    "mamba2": lambda s, backend: Mamba2(s.d_model, s.d_state, s.d_head, s.d_conv, s.expand, backend, s.n_groups),
    "gla": lambda s, backend: GatedLinearAttention(s.d_model, s.n_heads, s.d_state, backend),
    "deltanet": lambda s, backend: DeltaNet(
        s.d_model, s.n_heads, s.d_state, s.d_conv, backend, **_delta_rule_options(s)
    ),
    "gated-deltanet": lambda s, backend: GatedDeltaNet(
        s.d_model, s.n_heads, s.d_state, s.d_conv, backend, **_delta_rule_options(s)
    ),
    "kda": lambda s, backend: KimiDeltaAttention(
        s.d_model, s.n_heads, s.d_state, s.d_conv, backend, **_delta_rule_options(s)
    ),
    "rwkv7": lambda s, backend: RWKV7(s.d_model, s.n_heads, s.d_state, backend),
    "lstm": lambda s, backend: LSTM(s.d_model, s.expand),
    "gru": lambda s, backend: GRU(s.d_model, s.expand),
    "ssm": lambda s, backend: SelectiveSSM(s.d_model, s.n_heads, s.d_state),
    "mamba+chunks": lambda s, backend: MambaChunks(
        s.d_model, s.d_state, s.d_conv, s.expand, s.n_heads, s.window, s.chunk, backend
    ),
    "mamba+attnstep": lambda s, backend: MambaAttentionStep(
        s.d_model, s.d_state, s.d_conv, s.expand, s.n_heads, s.window, s.position, backend, s.n_kv_heads
    ),
}


def build_mixer(spec: ModelSpec, mixer: str, backend: str) -> AbstractMixer:
    """A mixer by its name, the user's own included, which is called with the spec alone."""
    return build_own(spec, mixer) if is_own(mixer) else BUILDERS[mixer](spec, backend)


def _delta_rule_options(s: ModelSpec) -> dict[str, int]:
    return {"d_value": s.d_value, "n_groups": s.n_groups, "beta_max": s.beta_max}


def build_norm(spec: ModelSpec, mixer: str) -> nn.Module:
    """The norm before a mixer: that of GPT-NeoX before attention, that of Mamba before recurrent layers."""
    if spec.norm == "none":
        return nn.Identity()
    return nn.LayerNorm(spec.d_model) if mixer == "attn" else nn.RMSNorm(spec.d_model, eps=1e-5)
