"""KernelSHAP on superpixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from onnxplain.explainers.run import Result, Run
from onnxplain.explainers.shapley import Coalitions, choose_coalitions, fit_shapley
from onnxplain.explainers.superpixels import Superpixels
from onnxplain.graph_rewrites import Access, InvalidArgument, Violation, declare
from onnxplain.graph_rewrites.options import (
    BatchSize,
    Fill,
    NSamples,
    NSegments,
    Score,
    Seed,
    Segmenter,
    Segments,
)

__all__ = ["kernel_shap"]

Floats = npt.NDArray[np.float64]

_MAX_MASK_CELLS = 2**27
_RESAMPLES = 25


@declare(
    "kernel_shap",
    title="KernelSHAP",
    paper="Lundberg and Lee 2017",
    access=Access.FORWARD,
    returns=("heatmap", "segments", "coefficients"),
    in_graph=False,
)
def kernel_shap(
    run: Run,
    *,
    n_samples: NSamples = 1000,
    segmenter: Segmenter = "auto",
    segments: Segments = None,
    n_segments: NSegments = 50,
    fill: Fill = "mean",
    score: Score = "probability",
    batch_size: BatchSize = None,
    seed: Seed = 0,
) -> list[Result]:
    """Shapley values of superpixels: the score each adds, on average over all orders of showing.

    They add up to the score of the whole picture less that of the hidden one, the measure
    ``baseline_score``; the residual is what numbers of finite precision leave of it. With no more
    than ``n_samples`` ways to hide superpixels the values are exact. Otherwise ways are drawn in
    pairs with their complements, and the measure ``spread`` is the values' standard deviation over
    bootstrap resamples of the pairs (root mean square).
    """
    random = np.random.default_rng(seed)
    superpixels = Superpixels(run, segmenter, n_segments, fill, random, segments)
    if n_samples * superpixels.count > _MAX_MASK_CELLS:
        message = f"{n_samples} samples of {superpixels.count} segments are too many; take fewer"
        raise InvalidArgument(
            "OPTION_OUT_OF_RANGE", message, violations=[Violation("n_samples", message)]
        )
    coalitions = choose_coalitions(superpixels.count, n_samples, random)
    if len(coalitions.masks) < superpixels.count - 1:
        run.warn(
            "FEW_SAMPLES",
            f"{n_samples} samples cannot tell {superpixels.count} segments apart; raise n_samples",
        )
    ends = np.array([[False], [True]]).repeat(superpixels.count, axis=1)
    scores = superpixels.scores(np.concatenate([ends, coalitions.masks]))
    nobody, total, gains = scores[0], scores[1] - scores[0], scores[2:] - scores[0]
    values = fit_shapley(coalitions.masks, gains, coalitions.weights, total)
    spread = _spread(run, coalitions, gains, total, random)
    return [
        Result(
            heatmap=own.astype(np.float32)[superpixels.segments],
            segments=superpixels.segments,
            coefficients=own,
            residual=float(own.sum() - total[index]),
            measures={"baseline_score": float(nobody[index]), "spread": float(spread[index])},
        )
        for index, own in enumerate(values.T)
    ]


def _spread(
    run: Run, coalitions: Coalitions, gains: Floats, total: Floats, random: np.random.Generator
) -> Floats:
    """Return the values' standard deviation over resamples of the drawn pairs, ``[T]``."""
    if coalitions.n_drawn == 0:
        return np.zeros_like(total)
    certain = len(coalitions.weights) - coalitions.n_drawn
    pairs = coalitions.weights[certain::2]
    drawn = pairs.sum()
    found = []
    for _ in range(_RESAMPLES):
        run.control.check()
        times = random.multinomial(len(pairs), pairs / drawn) / len(pairs)
        weights = np.concatenate([coalitions.weights[:certain], (drawn * times).repeat(2)])
        found.append(fit_shapley(coalitions.masks, gains, weights, total))
    return np.asarray(np.sqrt(np.mean(np.var(found, axis=0), axis=0)))
