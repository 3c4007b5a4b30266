"""The linear surrogate of LIME: a weighted ridge regression on which segments are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import solve
from scipy.stats import rankdata

__all__ = [
    "Floats",
    "Masks",
    "Stability",
    "Surrogate",
    "centred",
    "cosine_kernel",
    "fit_surrogate",
    "resampled",
]

Floats = npt.NDArray[np.float64]
Masks = npt.NDArray[np.bool_]

_ROWS = 4096  # of masks turned to float64 at a time
_RESAMPLES = 25


@dataclass(frozen=True, eq=False)
class Surrogate:
    """``score = intercept + sum of the coefficients of the segments shown``, for T scores at once.

    Attributes
    ----------
    coefficients
        ``[K, T]``.
    intercepts
        ``[T]``.
    """

    coefficients: Floats
    intercepts: Floats

    def predict(self, masks: Masks | Floats) -> Floats:
        """Return the surrogate's scores ``[N, T]`` of masks ``[N, K]``."""
        parts = [masks[rows] @ self.coefficients for rows in _blocks(len(masks))]
        return np.concatenate(parts) + self.intercepts

    def r2(self, masks: Masks | Floats, scores: Floats, weights: Floats) -> Floats:
        """Return the share ``[T]`` of the scores' weighted variance that the surrogate explains.

        Of scores without variance it explains everything.
        """
        mean = weights @ scores / weights.sum()
        variance = weights @ (scores - mean) ** 2
        error = weights @ (scores - self.predict(masks)) ** 2
        varies = variance > 0
        return np.where(varies, 1 - error / np.where(varies, variance, 1), 1.0)


def cosine_kernel(masks: Masks, kernel_width: float) -> Floats:
    """Return LIME's weight of each mask ``[N]``: ``sqrt(exp(-d^2 / kernel_width^2))``.

    ``d`` is the cosine distance to the mask that shows everything: of K segments n shown,
    ``1 - n / (sqrt(n) sqrt(K))``.
    """
    distance = 1 - np.sqrt(masks.mean(axis=1))
    return np.asarray(np.exp(-((distance / kernel_width) ** 2) / 2))


def fit_surrogate(
    masks: Masks | Floats, scores: Floats, weights: Floats, *, alpha: float = 1.0
) -> Surrogate:
    """Minimise ``sum_n w_n (score_n - intercept - mask_n . b)^2 + alpha |b|^2`` for each score.

    Parameters
    ----------
    masks
        ``[N, K]``, true where a segment is shown; or any numbers to weigh.
    scores
        ``[N, T]``.
    weights
        ``[N]``, at least one of them above 0.
    """
    n_samples, n_segments = masks.shape
    root = np.sqrt(weights)[:, None]
    total = weights.sum()
    centre = sum(weights[rows] @ masks[rows] for rows in _blocks(n_samples)) / total
    mean = weights @ scores / total
    # With the weighted means taken out, x b = y has no intercept. Normal equations by the shorter
    # side: (x'x + alpha) b = x'y, or b = x' (x x' + alpha)^-1 y.
    y = (scores - mean) * root
    if n_samples < n_segments:
        x = (masks - centre) * root
        dual = solve(x @ x.T + alpha * np.eye(n_samples), y, assume_a="pos")
        coefficients = x.T @ dual
    else:
        gram = alpha * np.eye(n_segments)
        moments = np.zeros((n_segments, scores.shape[1]))
        for rows in _blocks(n_samples):
            x = (masks[rows] - centre) * root[rows]
            gram += x.T @ x
            moments += x.T @ y[rows]
        coefficients = solve(gram, moments, assume_a="pos")
    return Surrogate(coefficients, mean - centre @ coefficients)


@dataclass(frozen=True, eq=False)
class Stability:
    """How much a surrogate depends on which samples were drawn, for each of T scores.

    Attributes
    ----------
    spread
        ``[T]``, root mean square over the segments of the coefficients' standard deviations.
    rank_correlation
        ``[T]``, mean Spearman correlation of resampled coefficients with the surrogate's own.
    """

    spread: Floats
    rank_correlation: Floats


def resampled(
    fit: Callable[[Floats], Surrogate],
    weights: Floats,
    random: np.random.Generator,
    check: Callable[[], None],
) -> Stability:
    """Fit again to bootstrap resamples of the samples; ``check`` is called before each fit.

    ``fit`` takes the samples' weights. The first sample, the whole picture, was not drawn at
    random and stays in every resample.
    """
    n_drawn = len(weights) - 1
    whole = fit(weights).coefficients
    found, correlations = [], []
    for _ in range(_RESAMPLES):
        check()
        times = np.bincount(random.integers(n_drawn, size=n_drawn), minlength=n_drawn)
        found.append(fit(weights * np.concatenate([[1], times])).coefficients)
        correlations.append(_rank_correlation(found[-1], whole))
    spread = np.sqrt(np.mean(np.var(found, axis=0), axis=0))
    return Stability(spread, np.mean(correlations, axis=0))


def centred(values: npt.NDArray[Any], weights: Floats) -> Floats:
    """Return ``[N, K]`` less its weighted mean, each row times the root of its weight."""
    mean = weights @ values / weights.sum()
    return np.asarray((values - mean) * np.sqrt(weights)[:, None])


def _rank_correlation(a: Floats, b: Floats) -> Floats:
    """Return Spearman's correlation of the columns, 1 where a column is constant."""
    a, b = (ranks - ranks.mean(axis=0) for ranks in (rankdata(a, axis=0), rankdata(b, axis=0)))
    scale = np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0)
    varies = scale > 0
    return np.where(varies, np.sum(a * b, axis=0) / np.where(varies, scale, 1), 1.0)


def _blocks(n_rows: int) -> Iterator[slice]:
    return (slice(start, start + _ROWS) for start in range(0, n_rows, _ROWS))
