"""Integrated gradients."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from onnxplain.explainers.baselines import baseline as baseline_of
from onnxplain.explainers.graph_run import GraphRun
from onnxplain.explainers.run import Result
from onnxplain.graph_rewrites import Access, declare
from onnxplain.graph_rewrites.options import (
    Baseline,
    BatchSize,
    NSteps,
    Quadrature,
    Reduction,
    Score,
    Seed,
)

__all__ = ["integrate", "integrated_gradients", "nodes_and_weights"]

Floats = npt.NDArray[np.float64]


@declare(
    "integrated_gradients",
    title="Integrated gradients",
    paper="Sundararajan et al. 2017, eq. 1",
    access=Access.GRADIENT,
    returns=("attribution", "heatmap", "residual"),
    in_graph=False,
)
def integrated_gradients(
    run: GraphRun,
    *,
    n_steps: NSteps = 50,
    quadrature: Quadrature = "gauss_legendre",
    baseline: Baseline = "zero",
    score: Score = "logit",
    reduction: Reduction = "sum",
    batch_size: BatchSize = None,
    seed: Seed = 0,
) -> list[Result]:
    """Mean gradient on the straight path from a baseline b, times x - b; sums to f(x) - f(b)."""
    random = np.random.default_rng(seed)
    start = baseline_of(baseline, run.x, run.low, run.high, run.channel_axis, random)
    ends = run.scores(np.concatenate([run.x, start]), score)
    results = []
    for done, target in enumerate(run.targets):
        attribution = integrate(run, start, target, score, n_steps, quadrature, done)
        gain = ends[0, target] - ends[1, target]
        results.append(
            Result(
                attribution=attribution.astype(np.float32),
                heatmap=run.reduce_channels(attribution, reduction),
                residual=float(attribution.sum() - gain),
            )
        )
    return results


def integrate(
    run: GraphRun,
    start: npt.NDArray[np.floating],
    target: int,
    score: Literal["logit", "probability"],
    n_steps: int,
    quadrature: str,
    targets_done: int = 0,
) -> Floats:
    """Return the integral ``[*input]`` along the path from ``start`` ``[1, ...]`` to ``run.x``."""
    positions, weights = nodes_and_weights(n_steps, quadrature)
    way = run.x - start.astype(run.x.dtype)
    total = np.zeros(run.x.shape[1:])
    steps = len(positions)
    for first in range(0, steps, run.batch_size):
        run.control.report("steps", targets_done * steps + first, len(run.targets) * steps)
        part = slice(first, first + run.batch_size)
        shares = positions[part, None, None, None].astype(run.x.dtype)
        points = start.astype(run.x.dtype) + shares * way
        gradients = run.gradients(points, target, score)
        total += np.tensordot(weights[part], gradients.astype(np.float64), 1)
    run.control.report("steps", (targets_done + 1) * steps, len(run.targets) * steps)
    return np.asarray(total * way[0])


def nodes_and_weights(n_steps: int, quadrature: str) -> tuple[Floats, Floats]:
    """Return points in [0, 1] and their weights, which sum to 1."""
    if quadrature == "gauss_legendre":
        positions, weights = np.polynomial.legendre.leggauss(n_steps)
        return (positions + 1) / 2, weights / 2
    positions = np.linspace(0, 1, n_steps + 1)
    weights = np.full(n_steps + 1, 1 / n_steps)
    weights[[0, -1]] /= 2
    return positions, weights
