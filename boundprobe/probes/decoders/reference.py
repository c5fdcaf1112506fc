"""One classifier of scikit-learn for each answer: slow and well known, a reference for the decoders of this package.

    q_i(k | s) = g_i classifier_i(k | s) + (1 - g_i) marginal_i(k)

with g_i below 1 chosen by calibration cross-entropy, so that no value has probability 0, not even one that training
never saw, and a classifier that only learnt the fit split by heart is left out.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boundprobe.probes.certificates.sample import FloatArray, IntArray, Sample
from boundprobe.probes.decoders.base import (
    AbstractDecoder,
    FitSettings,
    Logits,
    as_answers,
    check_samples,
    log_marginals,
)
from boundprobe.probes.decoders.whitening import Whitening
from boundprobe.tasks.base import IGNORE

#: Shares of the classifier that are tried; the largest first, so that ties go to it.
SHARES = (0.9999, 0.999, 0.99, 0.95, 0.8, 0.5, 0.2, 0.05, 0.0)

FloatMatrix = NDArray[np.float64]


class PerAnswerDecoder(AbstractDecoder):
    """One fitted classifier for each answer, mixed with the answer's marginal.

    Parameters
    ----------
    name : str
    whitening : Whitening
        Its standardised columns are what classifiers see.
    classifiers : list of objects with ``predict_proba`` and ``classes_``, or None where training saw one value
    marginals : float64 array (n, K)
    shares : float64 array (n,)
        g_i.
    """

    def __init__(
        self,
        name: str,
        whitening: Whitening,
        classifiers: list[Any],
        marginals: FloatMatrix,
        shares: NDArray[np.float64],
    ) -> None:
        self.name, self.whitening, self.classifiers = name, whitening, classifiers
        self.marginals, self.shares = marginals, shares

    def logits(self, states: FloatArray, answers: IntArray) -> Logits:
        """Logs of the mixture; ``answers`` are not looked at."""
        x = self.whitening.standardised(states).numpy()
        mixed = np.empty((len(x), *self.marginals.shape))
        for i, classifier in enumerate(self.classifiers):
            mixed[:, i] = (1 - self.shares[i]) * self.marginals[i]
            if classifier is not None:
                mixed[:, i] += self.shares[i] * _probabilities(classifier, x, self.marginals.shape[1])
        return np.log(mixed).astype(np.float32)


def fit_logistic(fit: Sample, calibration: Sample, n_values: int, settings: FitSettings) -> PerAnswerDecoder:
    """``sklearn.linear_model.LogisticRegression`` with its default penalty, one for each answer."""
    from sklearn.linear_model import LogisticRegression

    def build() -> Any:
        return LogisticRegression(max_iter=settings.epochs * 10)

    return _fit("logistic", build, fit, calibration, n_values, settings)


def fit_boosting(fit: Sample, calibration: Sample, n_values: int, settings: FitSettings) -> PerAnswerDecoder:
    """``sklearn.ensemble.HistGradientBoostingClassifier``, one for each answer, a round of trees for each epoch."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    def build() -> Any:
        return HistGradientBoostingClassifier(
            max_iter=settings.epochs, max_leaf_nodes=15, early_stopping=False, random_state=settings.seed
        )

    return _fit("boosting", build, fit, calibration, n_values, settings)


def _fit(
    name: str,
    build: Callable[[], Any],
    fit: Sample,
    calibration: Sample,
    n_values: int,
    settings: FitSettings,
) -> PerAnswerDecoder:
    check_samples(fit, calibration, n_values)
    whitening = Whitening.fit(fit.states, settings.seed, "cpu")
    x, x_calibration = (whitening.standardised(sample.states).numpy() for sample in (fit, calibration))
    marginals = log_marginals(as_answers(fit.answers, "cpu"), n_values).double().exp().numpy()
    classifiers: list[Any] = []
    shares = np.zeros(len(marginals))
    for i, (y, y_calibration) in enumerate(zip(fit.answers.T, calibration.answers.T, strict=True)):
        known, known_calibration = y != IGNORE, y_calibration != IGNORE
        if x.shape[1] == 0 or len(np.unique(y[known])) < 2:
            classifiers.append(None)
            continue
        with warnings.catch_warnings():  # a fit that ends at its limit of iterations is a decoder like any other
            warnings.simplefilter("ignore")
            classifiers.append(build().fit(x[known], y[known]))
        if known_calibration.any():
            right = y_calibration[known_calibration]
            model = _probabilities(classifiers[i], x_calibration[known_calibration], n_values)
            model, marginal = model[np.arange(len(right)), right], marginals[i, right]
            shares[i] = min(SHARES, key=lambda g: -np.log(g * model + (1 - g) * marginal).mean())
    return PerAnswerDecoder(name, whitening, classifiers, marginals, shares)


def _probabilities(classifier: Any, x: NDArray[np.float32], n_values: int) -> FloatMatrix:
    """(B, K): 0 for values that training never saw."""
    found = np.zeros((len(x), n_values))
    found[:, classifier.classes_] = classifier.predict_proba(x)
    return found
