"""Models of one shape with stacked parameters: one forward and one backward pass serve all of them.

Glossary: M members, P parameters of one of them, B sequences, T tokens, V token ids.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, vmap

from boundprobe.models.stack import SequenceModel
from boundprobe.tasks.base import IGNORE


class Ensemble:
    """M models that share everything but their weights.

    All weights lie in one matrix, ``values`` (M, P), and all gradients in another, ``gradients`` (M, P): an optimizer
    works on two matrices whatever the model.  ``parameters``, by their names in the model, are views of the first.

    Parameters
    ----------
    skeleton : SequenceModel
        A model of the shape; its own weights are never read.
    values : Tensor (M, P)
        Weights of the members, in the order of ``skeleton.named_parameters()``.

    Raises
    ------
    ValueError
        If the matrix does not fit the model.

    Examples
    --------
    >>> from boundprobe.models.spec import ModelSpec
    >>> models = [SequenceModel(ModelSpec("attn", d_model=4, window=2), vocab_size=3) for _ in range(2)]
    >>> ensemble = Ensemble.of(models)
    >>> tokens = torch.tensor([[[0, 1, 2]], [[2, 1, 0]]])
    >>> torch.allclose(ensemble.logits(tokens)[1], models[1](tokens[1]), atol=1e-5)
    True
    """

    def __init__(self, skeleton: SequenceModel, values: Tensor) -> None:
        shapes = {name: value.shape for name, value in skeleton.named_parameters()}
        sizes = [shape.numel() for shape in shapes.values()]
        if values.ndim != 2 or values.shape[1] != sum(sizes):
            raise ValueError(f"`values` must have shape (members, {sum(sizes)}); got shape {tuple(values.shape)}.")
        self.skeleton, self.values = skeleton, values
        self.gradients = torch.zeros_like(values)
        self.parameters = {
            name: value.unflatten(1, shape).detach().requires_grad_()
            for (name, shape), value in zip(shapes.items(), values.split(sizes, dim=1), strict=True)
        }

    @classmethod
    def of(cls, models: Sequence[SequenceModel]) -> Ensemble:
        """The ensemble with copies of the weights of some models of one shape."""
        rows = [torch.cat([value.detach().flatten() for value in model.parameters()]) for model in models]
        return cls(models[0], torch.stack(rows))

    def __len__(self) -> int:
        return len(self.values)

    def logits(self, tokens: Tensor) -> Tensor:
        """Logits (M, B, T, V) of each member on its own sequences (M, B, T)."""
        return self._run(tokens, 0)

    def logits_of_same(self, tokens: Tensor) -> Tensor:
        """Logits (M, B, T, V) of all members on the same sequences (B, T)."""
        return self._run(tokens, None)

    def _run(self, tokens: Tensor, members_at: int | None) -> Tensor:
        def member(parameters: dict[str, Tensor], own: Tensor) -> Tensor:
            logits: Tensor = functional_call(self.skeleton, parameters, (own,))
            return logits

        logits: Tensor = vmap(member, in_dims=(0, members_at))(self.parameters, tokens)
        return logits

    def losses(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Sums of the cross-entropies (nats) of each member, over the positions that are asked.

        Parameters
        ----------
        tokens, targets : Tensor (M, B, T)
            Targets are ``IGNORE`` where nothing is asked.

        Returns
        -------
        Tensor (M,)
        """
        logits = self.logits(tokens).flatten(0, 2)
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        entropies = F.cross_entropy(wide, targets.flatten(), ignore_index=IGNORE, reduction="none")
        return entropies.view(len(self), -1).sum(1)

    def add_gradients(self, loss: Tensor) -> None:
        """Add the gradients of a sum over members to ``gradients``."""
        pieces = torch.autograd.grad(loss, list(self.parameters.values()))
        self.gradients += torch.cat([piece.flatten(1) for piece in pieces], dim=1)

    def keep(self, members: Sequence[int]) -> Ensemble:
        """The ensemble of some of the members, with copies of their weights."""
        return Ensemble(self.skeleton, self.values[list(members)])

    def state_dict(self, member: int) -> dict[str, Tensor]:
        """Weights of one member, as its model would give them; copies."""
        return {name: value.detach()[member].clone() for name, value in self.parameters.items()}
