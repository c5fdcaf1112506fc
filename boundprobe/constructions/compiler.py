"""From a program to a ``SequenceModel``: everything 0, then both ends, then one layer after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch

from boundprobe.constructions.lowering import write_hold, write_look_up, write_shift
from boundprobe.constructions.program import Hold, LookUp, Program, Registers, Shift
from boundprobe.constructions.score_margins import check_fit
from boundprobe.models.layers import Branch, Layer
from boundprobe.models.stack import SequenceModel

#: What writes the weights of each kind of layer.
WRITERS: dict[type, Callable[[Any, Registers, Any], None]] = {
    Hold: write_hold,
    Shift: write_shift,
    LookUp: write_look_up,
}


@torch.no_grad()
def compile_program(program: Program, backend: str = "auto") -> SequenceModel:
    """Write the weights of a program, in float32.

    Parameters
    ----------
    program : Program
    backend : str
        Backend of the recurrences, as for ``SequenceModel``.

    Returns
    -------
    SequenceModel
        In evaluation mode; its parameters could be trained further.

    Raises
    ------
    ValueError
        If the program's layers are not those of its spec, or do not fit into its sizes.
    """
    check_fit(program)
    spec, registers, codes = program.spec, program.registers, program.answer_codes
    model = SequenceModel(spec, len(codes), backend).eval()
    for parameter in model.parameters():
        parameter.zero_()  # an MLP that is all 0 adds nothing
    for name, values in program.embedding.items():
        model.embedding.weight[:, registers.channels(name)] = torch.as_tensor(values, dtype=torch.float32)
    model.readout.weight[:, registers.channels(program.answer)] = torch.as_tensor(codes, dtype=torch.float32)
    for layer, module in zip(program.layers, model.layers, strict=True):
        (branch,) = cast(Layer, module).branches
        WRITERS[type(layer)](layer, registers, cast(Branch, branch).mixer)
    return model
