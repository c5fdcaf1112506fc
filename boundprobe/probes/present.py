"""Information in a trained model's state, used by the model or not: T1 with decoders trained on states.

``used`` takes the model itself as the decoder.  ``present`` chooses, on the calibration split, between the model and
decoders trained on the whole state; the same is done for what each layer keeps of each kind, with trained decoders
alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from boundprobe.models.memory import CutState, StatePart
from boundprobe.probes.certificates.certified_bound import CertifiedBound
from boundprobe.probes.certificates.information import Scored, certify, choose
from boundprobe.probes.certificates.prior import Prior
from boundprobe.probes.certificates.retention import ALONE, GIVEN_EARLIER, Retention, by_answer, retention
from boundprobe.probes.certificates.sample import Sample, Splits
from boundprobe.probes.decoder_choice import Candidate, Decoded, decode
from boundprobe.probes.precision import count_sketch
from boundprobe.probes.settings import ProbeConfig
from boundprobe.seeds import generator
from boundprobe.tasks.base import IGNORE, CutBatch


@dataclass(frozen=True)
class PartBits:
    """Certified information in what one layer keeps of one kind."""

    layer: int
    kind: str
    nominal_bits: int
    present: CertifiedBound

    def to_json(self) -> dict[str, Any]:
        """One entry of the ladder's ``present_by_part``."""
        return {
            "layer": self.layer,
            "kind": self.kind,
            "nominal_bits": self.nominal_bits,
            "present_bits": self.present.to_json(),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> PartBits:
        """Read a part back."""
        present = CertifiedBound.from_json(document["present_bits"], "T1")
        return cls(document["layer"], document["kind"], document["nominal_bits"], present)


def entries(states: Sequence[CutState], columns: Tensor | None = None) -> NDArray[np.float32]:
    """States side by side as float32 (N, entries), or some of their entries; wider ones by ``count_sketch``.

    A state without entries is one that is always 0.
    """
    return np.concatenate([_rows(state, columns) for state in states])


def _rows(state: CutState, columns: Tensor | None) -> NDArray[np.float32]:
    flat = state.flatten().float()
    if columns is not None:
        flat = flat[:, columns.to(flat.device)]
    if not flat.shape[1]:
        flat = flat.new_zeros(len(flat), 1)
    rows: NDArray[np.float32] = count_sketch(flat).cpu().numpy()
    return rows


def classes(cut: CutBatch, values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Answers as indices into ``values``; ``IGNORE`` where undefined.

    Raises
    ------
    ValueError
        If an answer is none of the values.
    """
    index = np.minimum(np.searchsorted(values, cut.answers), len(values) - 1)
    wrong = (values[index] != cut.answers) & (cut.answers != IGNORE)
    if wrong.any():
        raise ValueError(
            f"the task's answers must be among its {len(values)} answer_values; got {cut.answers[wrong][0]}. Mend the "
            "task."
        )
    return np.where(cut.answers == IGNORE, IGNORE, index)


def used_bits(prior: Prior, calibration: Scored, evaluation: Scored, alpha: float, seed: int) -> CertifiedBound:
    """T1 with the model itself as the decoder."""
    plan = choose(prior, {"model": calibration}, len(evaluation.answers), alpha)
    return certify(prior, plan, evaluation, alpha, generator(seed, "order", 0))


def present_bits(
    prior: Prior,
    splits: Splits,
    model: tuple[Scored, Scored] | None,
    config: ProbeConfig,
    alpha: float,
    device: str,
) -> tuple[Decoded, CertifiedBound]:
    """T1 with the best of the model and the decoders trained on the whole state.

    Parameters
    ----------
    prior : Prior
    splits : Splits
        Whole states and their answers.
    model : tuple of Scored or None
        What the model says of the calibration and of the evaluation split; None where it sees more than the state, as
        along a diagonal cut, where it is asked with the tokens since.
    config : ProbeConfig
    alpha : float
    device : str
    """
    others = {}
    if model is not None:
        others["model"] = Candidate(model[0], lambda: (model[1], "the best decoder is the model itself"))
    decoded = decode(prior, splits, config.decoding(config.decoders), alpha, device=device, others=others)
    return decoded, certify(prior, decoded.plan, decoded.evaluation, alpha, generator(config.seed, "order", 1))


def present_by_part(
    prior: Prior,
    states: tuple[Sequence[CutState], Sequence[CutState], Sequence[CutState]],
    splits: Splits,
    config: ProbeConfig,
    alpha: float,
    device: str,
) -> tuple[PartBits, ...]:
    """T1 for what each layer keeps of each kind, all parts together at level 1 - alpha.

    Parameters
    ----------
    states : tuple of lists of CutState
        Those of the three splits.
    """
    parts: tuple[StatePart, ...] = states[0][0].parts()
    found = []
    for i, part in enumerate(parts):
        own = Splits(
            *(
                Sample(entries(of_split, part.columns), getattr(splits, name).answers)
                for of_split, name in zip(states, ("fit", "calibration", "evaluation"), strict=True)
            )
        )
        level = alpha / len(parts)
        decoded = decode(prior, own, config.decoding(config.part_decoders), level, device=device)
        rng = generator(config.seed, "order", 2, i)
        found.append(
            PartBits(part.layer, part.kind, part.bits, certify(prior, decoded.plan, decoded.evaluation, level, rng))
        )
    return tuple(found)


def retention_of(decoded: Decoded, cut: CutBatch, n_values: int, alpha: float) -> Retention:
    """Retention by distance to the cut where the task says where answers lie, by answer elsewhere.

    The last token before the cut has distance 1.
    """
    decoder = decoded.plan.decoder
    told = decoder == "chain" or (decoder == "model" and cut.suffixes is not None)
    of = GIVEN_EARLIER if told else ALONE
    if cut.places is None:
        return by_answer(decoded.evaluation.wrong, n_values, alpha, of)
    distance = np.where(cut.places == IGNORE, IGNORE, cut.prefix.shape[1] - cut.places)
    return retention(decoded.evaluation.wrong, distance, n_values, alpha, by="distance", of=of)
