"""The null control: the certificate of states that know nothing, by the same procedure.

T1 takes H(Y) from the prior.  Where that is stated too high, a decoder can gain on it without any state: from
frequencies, from earlier answers, from which answers are defined.  So the procedure is run on states of which I(Y;S) is
0, at a level of its own:

    constant    every state is 0; decoders are fitted anew: linear (any decoder of the state alone then knows the
                marginals and no more), and such as see earlier answers: counts of pairs and of contexts
                (``decoders.pairs``, ``decoders.contexts``), and the chain, where it may be chosen for the real states
    others'     the chosen decoder reads the state of another sequence
    counts      each row is coded by counts over all other rows (``blind_code``): an estimate alone, but of all rows

If either of the first two is certified to hold a bit, the prior is false and nothing is certified.  What the three
gain by their estimates alone, which prove nothing, is taken off every certificate that rests on the prior; under a true
prior that is 0, or noise below what the certificate allows for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from boundprobe.probes.blind_code import blind_bits
from boundprobe.probes.certificates.certified_bound import CertifiedBound
from boundprobe.probes.certificates.information import Plan, Scored, certify
from boundprobe.probes.certificates.prior import Prior
from boundprobe.probes.certificates.sample import Sample, Splits
from boundprobe.probes.decoder_choice import Decoded, candidate, decode
from boundprobe.probes.decoders.base import FitSettings
from boundprobe.probes.decoders.contexts import fit_contexts
from boundprobe.probes.decoders.pairs import fit_pairs
from boundprobe.probes.settings import DecoderConfig
from boundprobe.probes.violations import rounding_slack
from boundprobe.seeds import generator


@dataclass(frozen=True)
class NullControl:
    """Certified bits of states that know nothing; 0 under a true prior.

    Attributes
    ----------
    constant, others : CertifiedBound
        Of a constant state, and of the states of other sequences.
    counts_bits : float
        What a code without any state gains on the prior, counted over all rows; negative where it gains nothing.
    """

    constant: CertifiedBound
    others: CertifiedBound
    counts_bits: float

    @property
    def lower(self) -> float:
        """The larger certificate, bits: above 0 the prior is false."""
        return max(self.constant.lower, self.others.lower)

    @property
    def excess_bits(self) -> float:
        """The larger estimate, at least 0: taken off certificates."""
        return max(0.0, self.constant.estimate, self.others.estimate, self.counts_bits)

    def guard(self, bound: CertifiedBound) -> CertifiedBound:
        """A certificate less what a state that knows nothing gets."""
        return replace(bound, value=max(0.0, bound.lower - self.excess_bits))

    def to_json(self) -> dict[str, Any]:
        """All three, and what was taken off the others."""
        return {
            "constant": self.constant.to_json(),
            "others": self.others.to_json(),
            "counts_bits": self.counts_bits,
            "excess_bits": self.excess_bits,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> NullControl:
        """Read a control back."""
        constant, others = (CertifiedBound.from_json(document[name], "T1") for name in ("constant", "others"))
        return cls(constant, others, document["counts_bits"])


def null_control(
    prior: Prior, splits: Splits, decoded: Decoded, config: DecoderConfig, level: float, device: str = "cpu"
) -> NullControl:
    """Run the procedure of a certificate on states that know nothing.

    Parameters
    ----------
    prior : Prior
    splits : Splits
        Their states are not looked at.
    decoded : Decoded
        The decoder that was chosen for the real states, and what it says of them.
    config : DecoderConfig
        Its forms, confidence bound and seed.
    level : float
        Probability, at most, that a true prior is refused.
    device : str

    Raises
    ------
    ValueError
        If a state that knows nothing is certified to hold a bit.
    """
    nothing = Splits(*(_without_states(sample) for sample in (splits.fit, splits.calibration, splits.evaluation)))
    names: tuple[str, ...] = ("linear",)
    others = {}
    if prior.n_answers > 1:
        known = nothing.fit, nothing.calibration, prior.n_values
        blind = fit_pairs(*known, FitSettings(config.seed, device)), fit_contexts(*known)
        names = tuple(name for name in config.names if name == "chain") or names
        others = {decoder.name: candidate(decoder, nothing) for decoder in blind}
    gained = decode(prior, nothing, replace(config, names=names), level / 2, device=device, others=others)
    control = NullControl(
        _certified(prior, gained.plan, gained.evaluation, config, level / 2),
        _certified(prior, decoded.plan, _others(decoded.evaluation), config, level / 2),
        prior.entropy_bits - _counted(prior, splits, config.seed),
    )
    if control.lower > rounding_slack(prior.entropy_bits):
        raise ValueError(_refusal(prior, control))
    return control


def _certified(prior: Prior, plan: Plan, scored: Scored, config: DecoderConfig, level: float) -> CertifiedBound:
    return certify(prior, plan, scored, level, generator(config.seed, "order", 4), config.limit)


def _counted(prior: Prior, splits: Splits, seed: int) -> float:
    """Bits of a code without any state, by one sequence of each group."""
    parts = (_without_states(sample) for sample in (splits.fit, splits.calibration, splits.evaluation))
    single = [part.one_per_group(generator(seed, "split", 2)).answers for part in parts]
    return blind_bits(np.concatenate(single), prior.n_values, prior.undefined_bits)


def _without_states(sample: Sample) -> Sample:
    return Sample(np.zeros((sample.n_sequences, 1), np.float32), sample.answers, sample.groups)


def _others(scored: Scored) -> Scored:
    """Sequences that change scores in pairs, those of a group with a sequence of its partner.

    A pair is one unit, so that units are independent; a group without a partner is left out.
    """
    n_rows = len(scored.answers)
    groups = np.arange(n_rows) if scored.groups is None else np.unique(scored.groups, return_inverse=True)[1]
    rows = np.flatnonzero(groups // 2 < (groups.max() + 1) // 2)
    order = rows[np.argsort(groups[rows], kind="stable")]
    first = np.searchsorted(groups[order], np.arange(groups.max() + 2))  # where each group begins
    partner = groups[rows] ^ 1
    size = first[partner + 1] - first[partner]
    place = np.arange(len(rows)) % size
    source = order[first[partner] + place]
    return Scored(scored.scores[source], scored.answers[rows], groups[rows] // 2)


def _refusal(prior: Prior, control: NullControl) -> str:
    which = "constant state" if control.constant.lower >= control.others.lower else "state of another sequence"
    bound = max(control.constant, control.others, key=lambda each: each.lower)
    uniform = prior.independent_uniform or prior.undefined_bits > 0
    if uniform:
        premise = f"`answers` must be independent and uniform over {prior.n_values} values, as the prior says"
    else:
        premise = f"`entropy_bits` must be the joint entropy of the answers; got {prior.entropy_bits:.6g}"
    how = (
        "frequencies or earlier answers foretell them"
        if bound.decoder in ("chain", "contexts", "pairs")
        else "frequencies alone foretell them"
    )
    return (
        f"{premise}; but a {which} is certified to hold {control.lower:.2f} bits of them (null control, decoder "
        f"{bound.decoder}), where a true prior gives 0, as {how}; state their entropy, given which are defined"
    )
