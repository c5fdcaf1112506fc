"""How models are measured.  Torch-free, so that bad settings are refused at once."""

from __future__ import annotations

from dataclasses import dataclass

from boundprobe.checks import check_integer, check_number


@dataclass(frozen=True)
class ProbeConfig:
    """How a model is measured.

    Attributes
    ----------
    n_sequences : int
        Independent evaluation sequences, for each half of the mixture.
    n_calibration : int
        Sequences that freeze the limits of the rounding and choose its bits; never evaluated.
    confidence : float
        Probability, at least, that every certified number of one report holds.
    tolerance : float
        Accuracy that ``needed`` may lose to rounding.
    seed : int
    """

    n_sequences: int = 4000
    n_calibration: int = 1000
    confidence: float = 0.95
    tolerance: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        check_integer("n_sequences", self.n_sequences, 1)
        check_integer("n_calibration", self.n_calibration, 1)
        check_integer("seed", self.seed, 0)
        check_number("confidence", self.confidence, above=0, below=1, why="; take e.g. 0.95")
        check_number("tolerance", self.tolerance, least=0, below=1, why="; take e.g. 0.01")
