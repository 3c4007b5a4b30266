"""KernelSHAP on superpixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt
from onnxplain.explainers.control import Estimate
from onnxplain.explainers.run import Result, Run
from onnxplain.explainers.sampling import known, latest, relative_error, worst
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
    Tolerance,
)

__all__ = ["kernel_shap"]

Floats = npt.NDArray[np.float64]

_MAX_MASK_CELLS = 2**27
_RESAMPLES = 25
_FEWEST = 100  # samples before the estimate of the error is trusted


@declare(
    "kernel_shap",
    title="KernelSHAP",
    paper="Lundberg and Lee 2017",
    access=Access.FORWARD,
    returns=("heatmap", "segments", "coefficients"),
    in_graph=False,
    anytime=True,
)
def kernel_shap(
    run: Run,
    *,
    n_samples: NSamples = 1000,
    tolerance: Tolerance = 0.0,
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
    bootstrap resamples of the pairs (root mean square), ``relative_error`` that as a share of the
    variation between the values. Sampling ends when ``relative_error`` is below ``tolerance`` for
    all targets.
    """
    random = np.random.default_rng(seed)
    superpixels = Superpixels(run, segmenter, n_segments, fill, random, segments)
    n_players = superpixels.count
    if n_samples * n_players > _MAX_MASK_CELLS:
        message = f"{n_samples} samples of {n_players} segments are too many; take fewer"
        raise InvalidArgument(
            "OPTION_OUT_OF_RANGE", message, violations=[Violation("n_samples", message)]
        )
    coalitions = choose_coalitions(n_players, n_samples, random)
    fitted = latest(partial(_fit, run, coalitions, seed))

    def maps(values: Floats) -> list[npt.NDArray[np.float32]]:
        return [own.astype(np.float32)[superpixels.segments] for own in values.T]

    def estimate(scores: Floats) -> Estimate:
        found = fitted(scores)
        return Estimate(worst(found.relative_error), partial(maps, found.values))

    ends = np.array([[False], [True]]).repeat(n_players, axis=1)
    scores = superpixels.scores(
        np.concatenate([ends, coalitions.masks]),
        estimate,
        tolerance=tolerance,
        fewest=_FEWEST,
        minimum=3,
    )
    found = fitted(scores)
    if found.n_coalitions < n_players - 1:
        run.warn(
            "FEW_SAMPLES",
            f"{len(scores)} samples cannot tell {n_players} segments apart; raise n_samples",
        )
    return [
        Result(
            heatmap=heatmap,
            segments=superpixels.segments,
            coefficients=own,
            residual=float(own.sum() - (scores[1, index] - scores[0, index])),
            measures={
                "baseline_score": float(scores[0, index]),
                **known(
                    spread=found.spread[index],
                    relative_error=found.relative_error[index],
                    n_samples=len(scores),
                ),
            },
        )
        for index, (own, heatmap) in enumerate(zip(found.values.T, maps(found.values), strict=True))
    ]


@dataclass(frozen=True, eq=False)
class _Fitted:
    """Shapley values ``[K, T]`` by the first coalitions, and how certain they are."""

    values: Floats
    n_coalitions: int
    n_drawn: int
    resampled: Callable[[], Floats]

    @cached_property
    def spread(self) -> Floats:
        """As the measure, ``[T]``; infinite where it is not known."""
        return self.resampled()

    @property
    def relative_error(self) -> Floats:
        """As the measure, ``[T]``; infinite where it is not known."""
        if self.n_drawn and self.n_coalitions < 2 * len(self.values):
            return np.full(self.values.shape[1], np.inf)
        return relative_error(self.spread, self.values.std(axis=0))


def _fit(run: Run, coalitions: Coalitions, seed: int, scores: Floats) -> _Fitted:
    """Return what scores ``[2 + N, T]`` say, of nobody, everybody, and the first coalitions."""
    first = coalitions.first(len(scores) - 2)
    gains, total = scores[2 : 2 + len(first.masks)] - scores[0], scores[1] - scores[0]
    values = fit_shapley(first.masks, gains, first.weights, total)

    def spread() -> Floats:
        if not first.n_drawn:  # nothing is left to chance, but there may be more
            return np.full_like(total, 0 if first is coalitions else np.inf)
        return _spread(run, first, gains, total, np.random.default_rng((seed, len(gains))))

    return _Fitted(values, len(gains), first.n_drawn, spread)


def _spread(
    run: Run, coalitions: Coalitions, gains: Floats, total: Floats, random: np.random.Generator
) -> Floats:
    """Return the values' standard deviation over resamples of the drawn pairs, ``[T]``."""
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
