"""LIME for images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt
from onnxplain.explainers.control import Estimate
from onnxplain.explainers.feature_selection import fit_sparse, select
from onnxplain.explainers.run import Result, Run
from onnxplain.explainers.sampling import known, latest, relative_error, worst
from onnxplain.explainers.superpixels import Superpixels
from onnxplain.explainers.surrogate import (
    Stability,
    Surrogate,
    cosine_kernel,
    fit_surrogate,
    resampled,
)
from onnxplain.graph_rewrites import Access, InvalidArgument, Violation, declare
from onnxplain.graph_rewrites.options import (
    BatchSize,
    FeatureSelection,
    Fill,
    KernelWidth,
    NFeatures,
    NSamples,
    NSegments,
    Score,
    Seed,
    Segmenter,
    Segments,
    Tolerance,
)

__all__ = ["lime"]

Floats = npt.NDArray[np.float64]
Masks = npt.NDArray[np.bool_]

_MAX_MASK_BYTES = 2**30
_FEWEST = 100  # samples before the estimate of the error is trusted
_LOW_R2 = 0.4
_LOW_RANK_CORRELATION = 0.7


@declare(
    "lime",
    title="LIME",
    paper="Ribeiro et al. 2016",
    access=Access.FORWARD,
    returns=("heatmap", "segments", "coefficients"),
    in_graph=False,
    anytime=True,
)
def lime(
    run: Run,
    *,
    n_samples: NSamples = 1000,
    tolerance: Tolerance = 0.0,
    segmenter: Segmenter = "auto",
    segments: Segments = None,
    n_segments: NSegments = 50,
    fill: Fill = "mean",
    kernel_width: KernelWidth = 0.25,
    feature_selection: FeatureSelection = "none",
    n_features: NFeatures = 10,
    score: Score = "probability",
    batch_size: BatchSize = None,
    seed: Seed = 0,
) -> list[Result]:
    """Weigh superpixels by a linear model fitted to the scores while some of them are hidden.

    Samples count the more the more of the picture they show: ``sqrt(exp(-d^2 / kernel_width^2))``
    with ``d`` the cosine distance to the whole picture; the model is a ridge regression with
    penalty 1. All targets share the samples.

    The measures of each result are ``r2``, how much of the scores' weighted variance the model
    explains; ``intercept`` and ``local_prediction``, its score with nothing and everything shown;
    and from bootstrap resamples of the samples ``spread``, the coefficients' standard deviation
    (root mean square), ``relative_error``, that as a share of the variation between the
    coefficients, and ``rank_correlation``, how alike resamples rank the segments; where features
    are selected, all of these for that selection. Sampling ends after ``n_samples`` samples, or
    when ``relative_error`` is below ``tolerance`` for all targets.
    """
    random = np.random.default_rng(seed)
    superpixels = Superpixels(run, segmenter, n_segments, fill, random, segments)
    masks = _masks(random, n_samples, superpixels.count)
    fitted = latest(partial(_fit, run, masks, kernel_width, feature_selection, n_features, seed))

    def maps(coefficients: Floats) -> list[npt.NDArray[np.float32]]:
        return [column.astype(np.float32)[superpixels.segments] for column in coefficients.T]

    def estimate(scores: Floats) -> Estimate:
        found = fitted(scores)
        return Estimate(worst(found.relative_error), partial(maps, found.surrogate.coefficients))

    scores = superpixels.scores(
        masks,
        estimate,
        tolerance=tolerance,
        fewest=_FEWEST,
        minimum=2 if feature_selection == "none" else superpixels.count + 2,
    )
    found = fitted(scores)
    _tell_how_far_to_trust(run, found)
    surrogate, stability = found.surrogate, found.stability
    return [
        Result(
            heatmap=heatmap,
            segments=superpixels.segments,
            coefficients=coefficients,
            measures={
                "r2": float(found.r2[index]),
                "intercept": float(surrogate.intercepts[index]),
                "local_prediction": float(surrogate.intercepts[index] + coefficients.sum()),
                "spread": float(stability.spread[index]),
                "rank_correlation": float(stability.rank_correlation[index]),
                **known(relative_error=found.relative_error[index], n_samples=len(scores)),
            },
        )
        for index, (coefficients, heatmap) in enumerate(
            zip(surrogate.coefficients.T, maps(surrogate.coefficients), strict=True)
        )
    ]


@dataclass(frozen=True, eq=False)
class _Fitted:
    """The linear models of some samples, and how far to trust them; see `lime`."""

    surrogate: Surrogate
    weights: Floats
    r2: Floats
    resampled: Callable[[], Stability]

    @cached_property
    def stability(self) -> Stability:
        """What resampling says of the coefficients."""
        return self.resampled()

    @property
    def effective(self) -> float:
        """How many samples of equal weight would say as much (Kish)."""
        return float(self.weights.sum() ** 2 / (self.weights @ self.weights))

    @property
    def relative_error(self) -> Floats:
        """As the measure, ``[T]``; infinite where the samples are too few to know."""
        coefficients = self.surrogate.coefficients
        if self.effective < len(coefficients):
            return np.full(coefficients.shape[1], np.inf)
        return relative_error(self.stability.spread, coefficients.std(axis=0))


def _fit(
    run: Run,
    masks: Masks,
    kernel_width: float,
    selection: str,
    n_features: int,
    seed: int,
    scores: Floats,
) -> _Fitted:
    """Return the models of scores ``[N, T]`` of the first masks."""
    masks = masks[: len(scores)]
    weights = cosine_kernel(masks, kernel_width)
    fit = partial(fit_surrogate, masks, scores)
    if selection != "none":
        fit = partial(
            fit_sparse,
            masks,
            scores,
            selected=[select(selection, masks, column, weights, n_features) for column in scores.T],
        )
    surrogate = fit(weights)
    random = np.random.default_rng((seed, len(scores)))
    stability = partial(resampled, fit, weights, random, run.control.check)
    return _Fitted(surrogate, weights, surrogate.r2(masks, scores, weights), stability)


def _masks(random: np.random.Generator, n_samples: int, n_segments: int) -> Masks:
    """Return which segments each sample shows: each with probability 1/2, in the first one all."""
    if n_samples * n_segments > _MAX_MASK_BYTES:
        message = f"{n_samples} samples of {n_segments} segments are too many; take fewer of either"
        raise InvalidArgument(
            "OPTION_OUT_OF_RANGE", message, violations=[Violation("n_samples", message)]
        )
    masks = np.empty((n_samples, n_segments), np.bool_)
    for mask in masks:
        mask[:] = random.random(n_segments) < 0.5
    masks[0] = True
    return masks


def _tell_how_far_to_trust(run: Run, found: _Fitted) -> None:
    n_segments = len(found.surrogate.coefficients)
    if found.effective < n_segments:
        run.warn(
            "FEW_SAMPLES",
            f"{len(found.weights)} samples count as {found.effective:.0f} under this kernel, fewer "
            f"than the {n_segments} segments; raise n_samples or kernel_width",
        )
    for index, target in enumerate(run.targets):
        r2, correlation = found.r2[index], found.stability.rank_correlation[index]
        if r2 < _LOW_R2:
            run.warn(
                "LOW_FIDELITY",
                f"the linear surrogate of class {target} explains {r2:.0%} of the score's "
                "variance here: segments act together, not one by one; try fewer, larger ones",
            )
        if correlation < _LOW_RANK_CORRELATION:
            run.warn(
                "UNSTABLE_RANKING",
                f"resampling ranks the segments of class {target} otherwise (rank correlation "
                f"{correlation:.2f}); raise n_samples",
            )
