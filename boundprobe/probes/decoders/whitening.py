"""Whitening: states in coordinates of mean 0 and covariance 1, by statistics of the fit split alone (assumption A1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from boundprobe.probes.certificates.sample import FloatArray

#: Principal components kept at most; above, the leading ones are found by random projection.
MOST_COMPONENTS = 2048

#: Standardised entries are cut off here: a value that training never came near must not end as infinity.
FURTHEST = 1e4

#: Components of less than this share of the largest variance are float32 rounding.
LEAST_VARIANCE = 1e-6


@dataclass(frozen=True)
class Whitening:
    """Frozen map from states to whitened coordinates, z = ((s - mean) / scale) V e^{-1/2}.

    Attributes
    ----------
    columns : int64 array (c,)
        Entries that varied in training; the others are dropped.
    mean, scale : float64 array (c,)
        Of each kept entry.
    projection : Tensor (c, r)
        V e^{-1/2}: principal components of the standardised entries, each over its standard deviation.
    variances : Tensor (r,)
        e, largest first: variances of the components of the standardised entries.
    """

    columns: NDArray[np.int64]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    projection: Tensor
    variances: Tensor

    @classmethod
    def fit(cls, states: FloatArray, seed: int, device: str) -> Whitening:
        """Statistics of the states of the fit split, (N, d)."""
        exact = _finite(states)
        most = np.abs(exact).max(0)
        unit = np.where(most > 0, most, 1.0)  # squares of 1e200 would overflow
        deviation = (exact / unit).std(0) * unit
        columns = np.flatnonzero(deviation > 1e-12 * most)  # float64 rounding of a constant column is far less
        mean, scale = exact[:, columns].mean(0), deviation[columns]
        standard = _standardise(exact, columns, mean, scale).to(device)
        directions, variances = _principal_components(standard, seed)
        return cls(columns, mean, scale, directions / variances.sqrt(), variances)

    def __call__(self, states: FloatArray) -> Tensor:
        """Whitened coordinates, (B, d) -> (B, r)."""
        return self.standardised(states).to(self.projection) @ self.projection

    def standardised(self, states: FloatArray) -> Tensor:
        """Kept entries of mean 0 and variance 1, not turned, (B, d) -> (B, c) on the CPU."""
        return _standardise(_finite(states), self.columns, self.mean, self.scale)


def _finite(states: FloatArray) -> NDArray[np.float64]:
    exact = np.asarray(states, dtype=np.float64)
    if not np.isfinite(exact).all():
        n_bad = int((~np.isfinite(exact)).any(1).sum())
        raise ValueError(f"`states` must be finite; got NaN or infinity in {n_bad} rows.")
    return exact


def _standardise(
    exact: NDArray[np.float64], columns: NDArray[np.int64], mean: NDArray[np.float64], scale: NDArray[np.float64]
) -> Tensor:
    standard = np.clip((exact[:, columns] - mean) / scale, -FURTHEST, FURTHEST)
    return torch.from_numpy(standard.astype(np.float32))


def _principal_components(standard: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Directions (c, r), orthonormal columns, and variances (r,), largest first."""
    n_rows, n_columns = standard.shape
    if n_columns == 0:  # a constant state
        return standard.new_zeros(0, 0), standard.new_zeros(0)
    if min(n_rows, n_columns) > MOST_COMPONENTS:
        basis = _leading_subspace(standard, seed)
        directions, variances = _principal_components(standard @ basis, seed)
        return basis @ directions, variances
    if n_columns <= n_rows:
        variances, directions = torch.linalg.eigh((standard.T @ standard / n_rows).double())
    else:  # the same eigenvalues from the smaller matrix, X X' u = e u, v = X'u / sqrt(e)
        variances, left = torch.linalg.eigh((standard @ standard.T / n_rows).double())
        directions = standard.T.double() @ left / (variances.clamp_min(1e-30) * n_rows).sqrt()
    kept = variances > LEAST_VARIANCE * variances[-1]
    return directions[:, kept].flip(1).float(), variances[kept].flip(0).float()


def _leading_subspace(standard: Tensor, seed: int) -> Tensor:
    """Orthonormal basis (c, MOST_COMPONENTS) of nearly the leading components (Halko et al. 2011, arXiv 0909.4061)."""
    rng = torch.Generator().manual_seed(seed)
    basis = torch.randn(standard.shape[1], MOST_COMPONENTS, generator=rng).to(standard)
    for _ in range(2):  # power iterations: (X'X)^2 of a random block
        basis = torch.linalg.qr(standard.T @ (standard @ basis)).Q
    return basis
