"""The decoders by name."""

from __future__ import annotations

from boundprobe.probes.decoders.base import Fit
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
