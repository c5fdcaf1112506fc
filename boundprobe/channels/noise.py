"""Signs with Gaussian noise, and any channel's state rotated into more dimensions with noise."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from boundprobe.channels import base, codes
from boundprobe.channels.base import AbstractChannel, Answers, Logits, States
from boundprobe.channels.gaussian import letters_loss_bits
from boundprobe.checks import check_number


@dataclass(frozen=True)
class SignNoise(AbstractChannel):
    """One sign a bit, with Gaussian noise of a standard deviation: I(Y;S) = n (1 - E h(P(Y = 1 | S))), by quadrature.

    Examples
    --------
    >>> round(SignNoise(10, 1.0).true_bits, 5)
    4.85944
    """

    n_answers: int
    sd: float
    n_values: int = field(default=2, init=False)

    def __post_init__(self) -> None:
        base.check_sizes(self)
        check_number("sd", self.sd, above=0)

    @property
    def n_entries(self) -> int:
        """Entries of the state, d."""
        return self.n_answers

    def _information_bits(self) -> float:
        return self.n_answers * (1 - letters_loss_bits((-1.0, 1.0), self.sd))

    def draw(self, n_sequences: int, rng: np.random.Generator) -> tuple[States, Answers]:
        """See ``AbstractChannel``."""
        answers = base.uniform_answers(self, n_sequences, rng)
        noise = self.sd * rng.standard_normal(answers.shape)
        return (2.0 * answers - 1.0 + noise).astype(np.float32), answers

    def ideal_logits(self, states: States, answers: Answers) -> Logits:
        """P(Y_i = 1 | S) = 1 / (1 + exp(-2 S_i / sd^2))."""
        log_odds = 2 * states.astype(np.float64) / self.sd**2
        logits: Logits = -np.logaddexp(0.0, log_odds[..., None] * np.array([1.0, -1.0]))
        return np.maximum(logits, base.LOG_OF_ZERO, out=logits)


@dataclass(frozen=True)
class Rotated(AbstractChannel):
    """The state of another channel, rotated into a space of more dimensions, with Gaussian noise.

    Its entries must be letters, such as -1 and 1.  ``ideal_logits`` reads the nearest letters, and allows for the
    chance that one of them is wrong; at noise 0.1 nothing that can be measured is lost.

    Parameters
    ----------
    inner : AbstractChannel
    rotated_entries : int
        Entries of the state, d.
    noise : float
        Standard deviation of Gaussian noise on every entry.

    Examples
    --------
    >>> from boundprobe.channels import Erasure
    >>> channel = Rotated(Erasure(8, 8, 0.25), 32, 0.1)
    >>> channel.true_bits, channel.noise_loss_bits < 1e-3
    (18.0, True)
    """

    inner: AbstractChannel
    rotated_entries: int
    noise: float = 0.0
    n_answers: int = field(init=False)
    n_values: int = field(init=False)
    needs_chain: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("n_answers", "n_values", "needs_chain"):
            object.__setattr__(self, name, getattr(self.inner, name))
        if not self.inner.letters:
            name = type(self.inner).__name__
            raise ValueError(
                f"{name} must be a channel that stores letters, without noise; got one whose entries can be any number."
            )
        codes.check_room(self.rotated_entries, self.inner.n_entries)
        check_number("noise", self.noise, least=0)

    @property
    def entropy_bits(self) -> float:
        """Entropy of the inner channel."""
        return self.inner.entropy_bits

    @property
    def noise_loss_bits(self) -> float:
        """At most H(entries | state), entry by entry."""
        return self.inner.n_entries * letters_loss_bits(self.inner.letters, self.noise)

    @property
    def ideal_bits(self) -> float:
        """Information of the inner channel, up to the noise."""
        return self.inner.ideal_bits

    @property
    def n_entries(self) -> int:
        """Entries of the state, d."""
        return self.rotated_entries

    def _information_bits(self) -> float:
        return self.inner.true_bits

    def _misread(self) -> float:
        """Most probable that any entry is nearer to another letter: the union bound over entries."""
        if self.noise == 0:
            return 0.0
        half = float(np.diff(np.sort(self.inner.letters)).min()) / 2
        sides = min(len(self.inner.letters) - 1, 2)
        tail = math.erfc(half / self.noise / math.sqrt(2)) / 2
        return min(1.0, self.inner.n_entries * sides * tail)

    def draw(self, n_sequences: int, rng: np.random.Generator) -> tuple[States, Answers]:
        """See ``AbstractChannel``."""
        plain, answers = self.inner.draw(n_sequences, rng)
        return codes.rotate(plain, self.rotated_entries, self.noise, rng), answers

    def ideal_logits(self, states: States, answers: Answers) -> Logits:
        """The inner channel's posterior of the nearest letters, mixed with as much of the uniform one as is misread."""
        letters = np.sort(np.array(self.inner.letters))
        cuts = (letters[1:] + letters[:-1]) / 2
        plain = letters[np.searchsorted(cuts, codes.rotate_back(states, self.inner.n_entries))]
        posterior = np.exp(self.inner.ideal_logits(plain.astype(np.float32), answers))
        return base.logarithms(base.symmetric_posterior(posterior, 1 - self._misread()))
