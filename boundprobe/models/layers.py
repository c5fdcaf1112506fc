"""A residual layer: parallel branches of norm and mixer, then an MLP where the spec has one."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from boundprobe.models.memory import LayerState, StateTensor
from boundprobe.models.mixer import AbstractMixer
from boundprobe.models.operations import backend_for
from boundprobe.models.registry import build_mixer, build_norm
from boundprobe.models.spec import WINDOWED, ModelSpec


class Branch(nn.Module):
    """mixer(norm x)."""

    def __init__(self, spec: ModelSpec, mixer: str, backend: str) -> None:
        super().__init__()
        self.norm = build_norm(spec, mixer)
        self.mixer: AbstractMixer = build_mixer(spec, mixer, backend_for(mixer, backend))

    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        """(B, T, d_model) and the state before it -> (B, T, d_model) and the state after it."""
        y: Tensor
        y, state = self.mixer(self.norm(x), state)
        return y, state


class Layer(nn.Module):
    """x + sum of the branches of x, then x + MLP(norm x) where the spec has one.

    Parameters
    ----------
    spec : ModelSpec
    mixers : tuple of str
        Names of the branches; they read the same x.
    backend : str
        Of the recurrences.
    """

    def __init__(self, spec: ModelSpec, mixers: tuple[str, ...], backend: str) -> None:
        super().__init__()
        self.branches = nn.ModuleList(Branch(spec, mixer, backend) for mixer in mixers)
        hidden = spec.mlp_ratio * spec.d_model
        with_mlp = hidden and (spec.mlp_after == "every" or set(mixers) & set(WINDOWED))
        self.mlp = (
            nn.Sequential(
                nn.LayerNorm(spec.d_model) if spec.norm == "pre" else nn.Identity(),
                nn.Linear(spec.d_model, hidden),
                nn.GELU(),
                nn.Linear(hidden, spec.d_model),
            )
            if with_mlp
            else None
        )

    def forward(self, x: Tensor, state: LayerState = ()) -> tuple[Tensor, LayerState]:
        """(B, T, d_model) and the state before it -> (B, T, d_model) and the state after it.

        Tensors of the state of branch i are named ``i.name`` where there are several branches.
        """
        outputs, after = [], []
        for i, branch in enumerate(self.branches):
            y, new_state = branch(x, self._state_of(i, state))
            outputs.append(y)
            after += [self._named(i, tensor) for tensor in new_state]
        for y in outputs:  # all branches have read the same x
            x = x + y
        if self.mlp is not None:
            x = x + self.mlp(x)
        return x, tuple(after)

    def _named(self, i: int, tensor: StateTensor) -> StateTensor:
        return tensor if len(self.branches) == 1 else replace(tensor, name=f"{i}.{tensor.name}")

    def _state_of(self, i: int, state: LayerState) -> LayerState:
        """The tensors of branch i under their own names."""
        if len(self.branches) == 1:
            return state
        own = [tensor for tensor in state if tensor.name.startswith(f"{i}.")]
        return tuple(replace(tensor, name=tensor.name.removeprefix(f"{i}.")) for tensor in own)
