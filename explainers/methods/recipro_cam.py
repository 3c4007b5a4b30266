"""Recipro-CAM."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from onnxplain.explainers.graph_run import GraphRun
from onnxplain.explainers.methods.native import results_of
from onnxplain.explainers.run import Result
from onnxplain.graph_rewrites import Access, declare
from onnxplain.graph_rewrites.options import BatchSize, Layer, Relu

__all__ = ["recipro_cam"]

Floats = npt.NDArray[np.float64]


@declare(
    "recipro_cam",
    title="Recipro-CAM",
    paper="Byun & Lee 2022",
    access=Access.FEATURES,
    returns=("heatmap", "native_heatmap"),
    in_graph=False,
)
def recipro_cam(
    run: GraphRun, *, relu: Relu = True, layer: Layer = None, batch_size: BatchSize = None
) -> list[Result]:
    """Score of the features seen through a small Gaussian window, at each of their positions."""
    features = run.features(layer)
    height, width = features.shape[1:]
    n = height * width
    parts = []
    for first in range(0, n, run.batch_size):
        run.control.report("positions", first, n)
        positions = range(first, min(first + run.batch_size, n))
        windows = np.stack([_window(height, width, *divmod(at, width)) for at in positions])
        seen = (features * windows[:, None]).astype(features.dtype)
        parts.append(run.head_scores(seen, layer))
    run.control.report("positions", n, n)
    scores = np.concatenate(parts)
    maps = [scores[:, target].reshape(height, width) for target in run.targets]
    return results_of(run, maps, relu)


def _window(height: int, width: int, row: int, column: int) -> Floats:
    """Return a 3x3 Gaussian around one position, cut at the borders."""
    profile = np.array([0.25, 0.5, 0.25])
    padded = np.zeros((height + 2, width + 2))
    padded[row : row + 3, column : column + 3] = np.outer(profile, profile)
    return padded[1:-1, 1:-1]
