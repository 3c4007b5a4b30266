"""SmoothGrad and its relatives."""

from __future__ import annotations

import numpy as np
from onnxplain.explainers.graph_run import GraphRun
from onnxplain.explainers.run import Result
from onnxplain.graph_rewrites import Access, declare
from onnxplain.graph_rewrites.options import (
    BatchSize,
    Noise,
    NSamples,
    Reduction,
    Score,
    Seed,
    SmoothGradVariant,
)

__all__ = ["smooth_grad"]


@declare(
    "smooth_grad",
    title="SmoothGrad",
    paper="Smilkov et al. 2017; VarGrad: Adebayo et al. 2018",
    access=Access.GRADIENT,
    returns=("attribution", "heatmap"),
    in_graph=False,
)
def smooth_grad(
    run: GraphRun,
    *,
    n_samples: NSamples = 50,
    noise: Noise = 0.15,
    variant: SmoothGradVariant = "mean",
    score: Score = "logit",
    reduction: Reduction = "max_abs",
    batch_size: BatchSize = None,
    seed: Seed = 0,
) -> list[Result]:
    """Mean gradient of noisy copies of the image; or the mean of its square, or its variance."""
    shape, dtype = run.x.shape[1:], run.x.dtype
    spread = noise * (run.high - run.low)
    results = []
    for done, target in enumerate(run.targets):
        random = np.random.default_rng(seed)  # every target sees the same noise
        total, squares = np.zeros(shape), np.zeros(shape)
        for first in range(0, n_samples, run.batch_size):
            run.control.report("samples", done * n_samples + first, len(run.targets) * n_samples)
            n = min(run.batch_size, n_samples - first)
            noisy = run.x + spread * random.standard_normal((n, *shape))
            gradients = run.gradients(noisy.astype(dtype), target, score).astype(np.float64)
            total += gradients.sum(axis=0)
            squares += np.square(gradients).sum(axis=0)
        mean = total / n_samples
        attribution = {
            "mean": mean,
            "squared": squares / n_samples,
            "var": (squares - n_samples * mean**2) / (n_samples - 1),
        }[variant].astype(np.float32)
        heatmap = run.reduce_channels(attribution, reduction)
        results.append(Result(attribution=attribution, heatmap=heatmap))
    return results
