"""SmoothGrad and its relatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from onnxplain.explainers.control import Estimate
from onnxplain.explainers.graph_run import GraphRun
from onnxplain.explainers.run import Result
from onnxplain.explainers.sampling import Sampling, known, relative_error, worst
from onnxplain.graph_rewrites import Access, declare
from onnxplain.graph_rewrites.options import (
    BatchSize,
    Noise,
    NSamples,
    Reduction,
    Score,
    Seed,
    SmoothGradVariant,
    Tolerance,
)

__all__ = ["smooth_grad"]

_FEWEST = 8  # samples before the estimate of the error is trusted

Floats = npt.NDArray[np.float64]


@declare(
    "smooth_grad",
    title="SmoothGrad",
    paper="Smilkov et al. 2017; VarGrad: Adebayo et al. 2018",
    access=Access.GRADIENT,
    returns=("attribution", "heatmap"),
    in_graph=False,
    anytime=True,
)
def smooth_grad(
    run: GraphRun,
    *,
    n_samples: NSamples = 50,
    tolerance: Tolerance = 0.0,
    noise: Noise = 0.15,
    variant: SmoothGradVariant = "mean",
    score: Score = "logit",
    reduction: Reduction = "max_abs",
    batch_size: BatchSize = None,
    seed: Seed = 0,
) -> list[Result]:
    """Mean gradient of noisy copies of the image; or the mean of its square, or its variance.

    The measure ``relative_error`` compares what the even and the odd samples give: an estimate of
    the attribution's error, as a share of its own variation. Sampling ends after ``n_samples``
    samples, or when that falls below ``tolerance`` for all targets.
    """
    dtype, spread = run.x.dtype, noise * (run.high - run.low)
    random = np.random.default_rng(seed)
    halves = _Halves(variant, (len(run.targets), *run.x.shape[1:]))

    def heatmaps(attributions: Floats) -> list[npt.NDArray[np.float32]]:
        found = attributions.astype(np.float32)
        return [run.reduce_channels(one, reduction) for one in found]

    def estimate(_: int) -> Estimate:
        found = halves.attributions
        return Estimate(worst(halves.relative_error), lambda: heatmaps(found))

    sampling = Sampling(run, "samples", n_samples, estimate, tolerance=tolerance, fewest=_FEWEST)
    while not sampling.enough(halves.n_samples):
        n = min(run.batch_size, n_samples - halves.n_samples)
        noisy = run.x + spread * random.standard_normal((n, *run.x.shape[1:]))
        inputs = noisy.astype(dtype)
        halves.add([run.gradients(inputs, target, score) for target in run.targets])
    found, error = halves.attributions, halves.relative_error
    return [
        Result(
            attribution=attribution,
            heatmap=heatmap,
            measures=known(relative_error=error[index], n_samples=halves.n_samples),
        )
        for index, (attribution, heatmap) in enumerate(
            zip(found.astype(np.float32), heatmaps(found), strict=True)
        )
    ]


class _Halves:
    """Running sums of gradients and of their squares, over the even and over the odd samples."""

    def __init__(self, variant: str, shape: tuple[int, ...]) -> None:
        self.n_samples = 0
        self._variant = variant
        self._sums = np.zeros((2, 2, *shape))

    def add(self, gradients: list[npt.NDArray[Any]]) -> None:
        """Add a batch of gradients ``[B, *input]`` for each target."""
        first = self.n_samples % 2
        for target, batch in enumerate(gradients):
            for half in (0, 1):
                rows = batch[(half - first) % 2 :: 2].astype(np.float64)
                self._sums[half, 0, target] += rows.sum(axis=0)
                self._sums[half, 1, target] += np.square(rows).sum(axis=0)
        self.n_samples += len(gradients[0])

    @property
    def attributions(self) -> Floats:
        """Of all samples, ``[T, *input]``."""
        return self._of(self._sums.sum(axis=0), self.n_samples)

    @property
    def relative_error(self) -> Floats:
        """The attributions' estimated errors, ``[T]``; infinite where they are not known."""
        n = self.n_samples
        if n < 4:
            return np.full(self._sums.shape[2], np.inf)
        even, odd = self._of(self._sums[0], n - n // 2), self._of(self._sums[1], n // 2)
        each = tuple(range(1, even.ndim))
        error = np.sqrt(np.square(even - odd).mean(axis=each)) / 2
        return relative_error(error, self.attributions.std(axis=each))

    def _of(self, sums: Floats, n: int) -> Floats:
        total, squares = sums
        mean: Floats = total / n
        if self._variant == "mean":
            return mean
        if self._variant == "squared":
            return np.asarray(squares / n)
        return np.asarray((squares - n * mean**2) / (n - 1))
