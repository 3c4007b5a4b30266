"""LIME for images."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
from onnxplain.explainers.feature_selection import fit_sparse, select
from onnxplain.explainers.run import Result, Run
from onnxplain.explainers.superpixels import Superpixels
from onnxplain.explainers.surrogate import Stability, cosine_kernel, fit_surrogate, resampled
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
)

__all__ = ["lime"]

Floats = npt.NDArray[np.float64]
Masks = npt.NDArray[np.bool_]

_MAX_MASK_BYTES = 2**30
_LOW_R2 = 0.4
_LOW_RANK_CORRELATION = 0.7


@declare(
    "lime",
    title="LIME",
    paper="Ribeiro et al. 2016",
    access=Access.FORWARD,
    returns=("heatmap", "segments", "coefficients"),
    in_graph=False,
)
def lime(
    run: Run,
    *,
    n_samples: NSamples = 1000,
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
    (root mean square), and ``rank_correlation``, how alike resamples rank the segments.
    """
    random = np.random.default_rng(seed)
    superpixels = Superpixels(run, segmenter, n_segments, fill, random, segments)
    masks = _masks(random, n_samples, superpixels.count)
    scores = superpixels.scores(masks)
    weights = cosine_kernel(masks, kernel_width)
    fit = partial(fit_surrogate, masks, scores)
    if feature_selection != "none":
        fit = partial(
            fit_sparse,
            masks,
            scores,
            selected=[
                select(feature_selection, masks, column, weights, n_features) for column in scores.T
            ],
        )
    surrogate = fit(weights)
    r2 = surrogate.r2(masks, scores, weights)
    stability = resampled(fit, weights, random, run.control.check)
    _tell_how_far_to_trust(run, r2, stability, weights, superpixels.count)
    return [
        Result(
            heatmap=coefficients.astype(np.float32)[superpixels.segments],
            segments=superpixels.segments,
            coefficients=coefficients,
            measures={
                "r2": float(r2[index]),
                "intercept": float(surrogate.intercepts[index]),
                "local_prediction": float(surrogate.intercepts[index] + coefficients.sum()),
                "spread": float(stability.spread[index]),
                "rank_correlation": float(stability.rank_correlation[index]),
            },
        )
        for index, coefficients in enumerate(surrogate.coefficients.T)
    ]


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


def _tell_how_far_to_trust(
    run: Run, r2: Floats, stability: Stability, weights: Floats, n_segments: int
) -> None:
    effective = weights.sum() ** 2 / (weights @ weights)  # Kish's effective sample size
    if effective < n_segments:
        run.warn(
            "FEW_SAMPLES",
            f"{len(weights)} samples count as {effective:.0f} under this kernel, fewer than the "
            f"{n_segments} segments; raise n_samples or kernel_width",
        )
    for index, target in enumerate(run.targets):
        if r2[index] < _LOW_R2:
            run.warn(
                "LOW_FIDELITY",
                f"the linear surrogate of class {target} explains {r2[index]:.0%} of the score's "
                "variance here: segments act together, not one by one; try fewer, larger ones",
            )
        correlation = stability.rank_correlation[index]
        if correlation < _LOW_RANK_CORRELATION:
            run.warn(
                "UNSTABLE_RANKING",
                f"resampling ranks the segments of class {target} otherwise (rank correlation "
                f"{correlation:.2f}); raise n_samples",
            )
