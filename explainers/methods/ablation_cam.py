"""Ablation-CAM."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from onnxplain.explainers.graph_run import GraphRun
from onnxplain.explainers.methods.native import results_of
from onnxplain.explainers.run import Result
from onnxplain.graph_rewrites import Access, declare
from onnxplain.graph_rewrites.options import BatchSize, Layer, Relu

__all__ = ["ablation_cam"]

Floats = npt.NDArray[np.float64]


@declare(
    "ablation_cam",
    title="Ablation-CAM",
    paper="Desai & Ramaswamy 2020, eq. 3",
    access=Access.FEATURES,
    returns=("heatmap", "native_heatmap"),
    in_graph=False,
)
def ablation_cam(
    run: GraphRun, *, relu: Relu = True, layer: Layer = None, batch_size: BatchSize = None
) -> list[Result]:
    """Features weighted by the share of the score lost without them: w_k = (f - f_k) / f."""
    features = run.features(layer)
    whole = run.head_scores(features[None], layer)[0]
    n = len(features)
    without = np.empty((n, len(whole)))
    for first in range(0, n, run.batch_size):
        run.control.report("channels", first, n)
        channels = np.arange(first, min(first + run.batch_size, n))
        ablated = np.repeat(features[None], len(channels), axis=0)
        ablated[np.arange(len(channels)), channels] = 0
        without[channels] = run.head_scores(ablated, layer)
    run.control.report("channels", n, n)
    maps = [
        np.tensordot((whole[target] - without[:, target]) / whole[target], features, 1)
        for target in run.targets
    ]
    return results_of(run, maps, relu)
