"""The decoders by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from boundprobe.probes.certificates.sample import Sample
from boundprobe.probes.decoders.base import AbstractDecoder, Fit, FitSettings
from boundprobe.probes.decoders.chain import fit_chain
from boundprobe.probes.decoders.linear import fit_linear
from boundprobe.probes.decoders.mlp import fit_mlp
from boundprobe.probes.decoders.reference import fit_boosting, fit_logistic

#: How each decoder is fitted.
DECODERS: dict[str, Fit] = {
    "linear": fit_linear,
    "mlp": fit_mlp,
    "chain": fit_chain,
    "logistic": fit_logistic,
    "boosting": fit_boosting,
}

#: Those that correct the linear decoder.
CORRECTIONS = {"mlp": fit_mlp, "chain": fit_chain}


def fit_all(
    names: Iterable[str], fit: Sample, calibration: Sample, n_values: int, settings: FitSettings
) -> Iterator[tuple[str, AbstractDecoder]]:
    """Each decoder by its name, fitted when it is asked for; those that start from the linear one share it."""
    linear = None
    for name in names:
        if name != "linear" and name not in CORRECTIONS:
            yield name, DECODERS[name](fit, calibration, n_values, settings)
            continue
        linear = linear or fit_linear(fit, calibration, n_values, settings)
        correct = CORRECTIONS.get(name)
        yield name, linear if correct is None else correct(fit, calibration, n_values, settings, linear)
