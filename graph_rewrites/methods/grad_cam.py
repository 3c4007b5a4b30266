"""Grad-CAM: the feature map weighted by the mean gradient of the score."""

from __future__ import annotations

from onnxplain.graph_rewrites import rules
from onnxplain.graph_rewrites.method import Access, declare
from onnxplain.graph_rewrites.options import Layer, Relu
from onnxplain.graph_rewrites.rewriting import Maps, Rewriting

__all__ = ["grad_cam"]


@declare(
    "grad_cam",
    title="Grad-CAM",
    paper="Selvaraju et al. 2017, eq. 1, 2",
    access=Access.FEATURES,
    returns=("heatmap", "native_heatmap"),
)
def grad_cam(rewriting: Rewriting, *, relu: Relu = True, layer: Layer = None) -> Maps:
    """Feature map weighted by its mean gradient: ReLU(sum_k w_k A^k), w_k = mean df_c/dA^k."""
    op, features = rewriting.op, rewriting.features(layer)
    slope = rewriting.backward(rules.gradient, features.value)
    weights = op.ReduceMean(slope, list(features.spatial_axes), keepdims=1)
    native = op.ReduceSum(op.Mul(weights, features.value), [features.channel_axis], keepdims=0)
    if relu:
        native = op.Relu(native)
    return Maps(heatmap=rewriting.upsample(native), native_heatmap=native)
