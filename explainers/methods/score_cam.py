"""Score-CAM."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from onnxplain.explainers.graph_run import GraphRun
from onnxplain.explainers.methods.native import results_of
from onnxplain.explainers.run import Result
from onnxplain.graph_rewrites import Access, declare
from onnxplain.graph_rewrites.options import BatchSize, Layer, Relu
from scipy.ndimage import zoom
from scipy.special import softmax

__all__ = ["score_cam"]

Floats = npt.NDArray[np.float64]


@declare(
    "score_cam",
    title="Score-CAM",
    paper="Wang et al. 2020, eq. 4, 5",
    access=Access.FEATURES,
    returns=("heatmap", "native_heatmap"),
    in_graph=False,
)
def score_cam(
    run: GraphRun, *, relu: Relu = True, layer: Layer = None, batch_size: BatchSize = None
) -> list[Result]:
    """Features weighted by the score of the image seen through them."""
    features = run.features(layer).astype(np.float64)
    n = len(features)
    parts = []
    for first in range(0, n, run.batch_size):
        run.control.report("channels", first, n)
        masks = _masks(features[first : first + run.batch_size], run.spatial_shape)
        seen = run.x * np.expand_dims(masks, run.channel_axis)
        parts.append(run.scores(seen.astype(run.x.dtype)))
    run.control.report("channels", n, n)
    weights = softmax(np.concatenate(parts), axis=0)
    maps = [np.tensordot(weights[:, target], features, 1) for target in run.targets]
    return results_of(run, maps, relu)


def _masks(features: Floats, shape: tuple[int, int]) -> Floats:
    """Return ``[B, H, W]``: channels resized bilinearly, corners aligned, each scaled to 0..1."""
    factors = [1.0, *(size / n for size, n in zip(shape, features.shape[1:], strict=True))]
    large = zoom(features, factors, order=1, mode="nearest")
    low = large.min(axis=(1, 2), keepdims=True)
    span = large.max(axis=(1, 2), keepdims=True) - low
    return np.asarray((large - low) / (span + 1e-8))
