"""LIME for images."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from onnxplain.explainers.perturbation import SegmentHider, segment_means
from onnxplain.explainers.run import Result, Run
from onnxplain.explainers.segmentation import segment
from onnxplain.explainers.surrogate import Stability, cosine_kernel, fit_surrogate, resampled
from onnxplain.graph_rewrites import Access, InvalidArgument, Violation, declare
from onnxplain.graph_rewrites.options import (
    BatchSize,
    KernelWidth,
    NSamples,
    NSegments,
    Score,
    Seed,
    Segmenter,
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
    n_segments: NSegments = 50,
    kernel_width: KernelWidth = 0.25,
    score: Score = "probability",
    batch_size: BatchSize = None,
    seed: Seed = 0,
) -> list[Result]:
    """Weigh superpixels by a linear model fitted to the scores while some of them are hidden.

    Hidden superpixels take their mean colour. Samples count the more the more of the picture they
    show: ``sqrt(exp(-d^2 / kernel_width^2))`` with ``d`` the cosine distance to the whole picture;
    the model is a ridge regression with penalty 1. All targets share the samples.

    The measures of each result are ``r2``, how much of the scores' weighted variance the model
    explains; ``intercept`` and ``local_prediction``, its score with nothing and everything shown;
    and from bootstrap resamples of the samples ``spread``, the coefficients' standard deviation
    (root mean square), and ``rank_correlation``, how alike resamples rank the segments.
    """
    segments, taken = segment(run.segmentation_picture, segmenter, n_segments=n_segments)
    count = int(segments.max()) + 1
    _tell_what_was_cut(run, segmenter, taken, count)
    random = np.random.default_rng(seed)
    masks = _masks(random, n_samples, count)
    hider = SegmentHider(run.picture, segment_means(run.picture, segments), segments)
    scores = _scores(run, hider, masks)
    weights = cosine_kernel(masks, kernel_width)
    surrogate = fit_surrogate(masks, scores, weights)
    r2 = surrogate.r2(masks, scores, weights)
    stability = resampled(surrogate, masks, scores, weights, random, run.control.check)
    _tell_how_far_to_trust(run, r2, stability, weights, count)
    return [
        Result(
            heatmap=coefficients.astype(np.float32)[segments],
            segments=segments,
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


def _scores(run: Run, hider: SegmentHider, masks: Masks) -> Floats:
    """Return the targets' scores ``[N, T]`` of the perturbed pictures, made batch by batch."""
    scores = np.empty((len(masks), len(run.targets)))
    run.control.report("samples", 0, len(masks))
    for start in range(0, len(masks), run.batch_size):
        batch = masks[start : start + run.batch_size]
        scores[start : start + len(batch)] = run.predict(hider.pictures(batch))[:, run.targets]
        run.control.report("samples", start + len(batch), len(masks))
    return scores


def _tell_what_was_cut(run: Run, segmenter: str, taken: str, count: int) -> None:
    if segmenter == "auto" and taken == "grid":
        run.warn(
            "GRID_SEGMENTS",
            f"quickshift finds too few superpixels in this picture: a grid of {count} cells is "
            "used; name a segmenter to choose another",
        )
    if run.from_tensor:
        run.warn(
            "TENSOR_PERTURBED",
            "superpixels are found in the tensor scaled to 0..255, and hidden ones take their "
            "mean in the tensor's own units",
        )


def _tell_how_far_to_trust(
    run: Run, r2: Floats, stability: Stability, weights: Floats, count: int
) -> None:
    effective = weights.sum() ** 2 / (weights @ weights)  # Kish's effective sample size
    if effective < count:
        run.warn(
            "FEW_SAMPLES",
            f"{len(weights)} samples count as {effective:.0f} under this kernel, fewer than the "
            f"{count} segments; raise n_samples or kernel_width",
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
