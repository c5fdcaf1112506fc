"""Settings of a measurement.  Torch-free, so that bad settings are refused at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from boundprobe.checks import MOST_CONFIDENCE, MOST_SEED, check_integer, check_kind, check_number, check_word
from boundprobe.settings import check_settings, setting

#: Decoders that can be trained on states (``boundprobe.probes.decoders``), forms of T1 and confidence bounds for means.
DECODER_NAMES = ("linear", "mlp", "chain", "logistic", "boosting")
FORM_NAMES = ("fano", "tangent-fano", "cross-entropy")
CONFIDENCE_BOUND_NAMES = ("betting", "empirical-bernstein", "chernoff-kl", "hoeffding")

#: Where the state is read: before the query, or along the diagonal cut of the greatest lag (D1).
VERTICAL, DIAGONAL = "vertical", "diagonal"
CUTS = (VERTICAL, DIAGONAL)

#: Share of the probability that a report may err which its premise tests and its null control take: 1e-6 of 0.05.
PREMISE_SHARE = 2e-5

#: Parts of a ladder that share its failure probability equally: answers from the whole state (accuracy, required),
#: answers from all rounded states, accuracy on the window-hard half, used, present, present by part, retention,
#: states, entropy of the rounded state.
LADDER_PARTS = 9
#: Certified parts of a report of states, which do the same: the total, and the answers one by one.
STATES_PARTS = 2


def premise_level(confidence: float) -> float:
    """Probability, at most, that a true prior is refused by the premise tests, and by the null control: half each."""
    return (1 - confidence) * PREMISE_SHARE / 2


def certificate_level(confidence: float, n_parts: int) -> float:
    """Probability, at most, that one of ``n_parts`` certificates of a report errs."""
    return (1 - confidence) * (1 - PREMISE_SHARE) / n_parts


def as_names(name: str, given: object) -> tuple[str, ...]:
    """A list of names, as configurations have them, as a tuple.

    Raises
    ------
    ValueError
        For one text instead of a list.
    """
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ValueError(f'`{name}` must be a list of names; got {given!r}. Write ["{given}"].')
    return tuple(given)


@dataclass(frozen=True)
class DecoderConfig:
    """The decoders to train on states, and the settings of their certificate.

    Attributes
    ----------
    names : tuple of str
        Of ``DECODER_NAMES``; the calibration split chooses among them.
    forms : tuple of str
        Of ``FORM_NAMES``; the same.
    limit : str
        One of ``CONFIDENCE_BOUND_NAMES``.
    seed : int
    """

    names: tuple[str, ...] = ("linear", "mlp", "chain")
    forms: tuple[str, ...] = FORM_NAMES
    limit: str = "betting"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("names", "forms"):
            object.__setattr__(self, name, as_names(name, getattr(self, name)))
        for name, given, allowed in (("decoders", self.names, DECODER_NAMES), ("forms", self.forms, FORM_NAMES)):
            for each in given:  # before they are compared: a list of lists cannot be
                check_word(name, each, allowed)
            if not given or len(set(given)) < len(given):
                raise ValueError(f"`{name}` must be one or more of {', '.join(allowed)}, each once; got {list(given)}.")
        check_word("limit", self.limit, CONFIDENCE_BOUND_NAMES)
        check_integer("seed", self.seed, 0, MOST_SEED)


@dataclass(frozen=True)
class StatesConfig:
    """Settings for measuring an array of states.

    Attributes
    ----------
    decoders : DecoderConfig
    train_share, calibration_share : float
        Shares of the fit and the calibration split; the rest is the evaluation split.
    confidence : float
        Probability, at least, that every certified number of the report holds.
    seed : int
        Of the split of the sequences, and of the order of the bets.
    """

    decoders: DecoderConfig = DecoderConfig()
    train_share: float = 0.4
    calibration_share: float = 0.1
    confidence: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        check_kind("decoders", self.decoders, DecoderConfig)
        for name in ("train_share", "calibration_share"):
            check_number(name, getattr(self, name), above=0, below=1, why="; take a part of 1")
        check_number("confidence", self.confidence, above=0, most=MOST_CONFIDENCE, why="; take e.g. 0.95")
        if self.train_share + self.calibration_share >= 1:
            raise ValueError(
                f"`train_share` and `calibration_share` must be below 1 together; got {self.train_share} and "
                f"{self.calibration_share}. Leave a third or more to be evaluated."
            )
        check_integer("seed", self.seed, 0, MOST_SEED)


@dataclass(frozen=True)
class ProbeConfig:
    """Settings for measuring a model.

    Attributes
    ----------
    n_sequences : int
        Independent sequences of the evaluation split, for each half of the mixture.
    n_calibration : int
        Sequences of the calibration split: they freeze the ranges of the rounding and choose its bits, and calibrate
        and choose decoders; never evaluated.
    n_train : int
        Sequences of the fit split, on which decoders are fitted; never evaluated.
    confidence : float
        Probability, at least, that every certified number of one report holds.
    tolerance : float
        Accuracy that ``needed`` may lose to rounding.
    decoders : tuple of str
        Trained on the whole state, beside the model itself (see ``DecoderConfig``).
    part_decoders : tuple of str
        Trained on each layer's state of each kind.
    stream : str
        Distribution of the prefix, one of the task's ``cut_streams``.
    cut : "vertical" | "diagonal"
        What is measured: the state before the query, for all answers; or what crosses the diagonal cut of the greatest
        lag (D1), for the answers that lie beyond it.
    seed : int
    """

    n_sequences: int = setting(4000, "evaluation sequences", flag="-n,--sequences", metavar="N", least=1)
    n_calibration: int = setting(1000, "sequences that calibrate", flag="--calibration", metavar="N", least=1)
    n_train: int = setting(4000, "sequences that decoders are fitted on", flag="--train", metavar="N", least=4)
    confidence: float = setting(0.95, "of the whole report", metavar="P", above=0, most=MOST_CONFIDENCE)
    tolerance: float = setting(0.01, "accuracy that rounding may lose", least=0, below=1)
    decoders: tuple[str, ...] = setting(("linear", "mlp"), f"of {', '.join(DECODER_NAMES)}", metavar="NAME[,..]")
    part_decoders: tuple[str, ...] = setting(("linear",), "the same for each layer", metavar="NAME[,..]")
    stream: str = setting("keys-once", "distribution of the prefix, one of the task's", metavar="NAME")
    cut: str = setting(
        VERTICAL,
        "the state before the query, or what crosses the diagonal cut of the greatest lag, for the answers beyond it",
        metavar="NAME",
        words=CUTS,
    )
    seed: int = setting(0, "seed of everything random", metavar="N", least=0, most=MOST_SEED)

    def __post_init__(self) -> None:
        check_settings(self)
        for name in ("decoders", "part_decoders"):
            object.__setattr__(self, name, as_names(name, getattr(self, name)))
            DecoderConfig(getattr(self, name))

    def to_dict(self) -> dict[str, Any]:
        """The configuration as ``config.toml`` says it; a vertical cut is not said, as before there were others."""
        plain = asdict(self)
        return plain if self.cut != VERTICAL else {key: value for key, value in plain.items() if key != "cut"}

    def decoding(self, names: tuple[str, ...]) -> DecoderConfig:
        """Settings of the named decoders."""
        return DecoderConfig(names, seed=self.seed)
