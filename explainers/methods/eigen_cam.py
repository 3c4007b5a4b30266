"""Eigen-CAM."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from onnxplain.explainers.graph_run import GraphRun
from onnxplain.explainers.methods.native import results_of
from onnxplain.explainers.run import Result
from onnxplain.graph_rewrites import Access, declare
from onnxplain.graph_rewrites.options import Layer, Relu

__all__ = ["eigen_cam"]

Floats = npt.NDArray[np.float64]


@declare(
    "eigen_cam",
    title="Eigen-CAM",
    paper="Muhammad & Yeasin 2020",
    access=Access.FEATURES,
    returns=("heatmap", "native_heatmap"),
    in_graph=False,
)
def eigen_cam(run: GraphRun, *, relu: Relu = True, layer: Layer = None) -> list[Result]:
    """First principal component of the features, the same for every target."""
    features = run.features(layer).astype(np.float64)
    flat = features.reshape(len(features), -1).T
    flat = flat - flat.mean(axis=0)
    _, _, components = np.linalg.svd(flat, full_matrices=False)
    native = (flat @ components[0]).reshape(features.shape[1:])
    sign = 1 if np.sum(native * features.mean(axis=0)) >= 0 else -1  # a component has none
    return results_of(run, [sign * native] * len(run.targets), relu)
