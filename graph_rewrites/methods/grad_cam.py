"""Grad-CAM: the feature map weighted by the mean gradient of the score."""

from __future__ import annotations

from .. import rules
from ..method import Access, declare
from ..options import Layer, Relu
from ..rewriting import Maps, Rewriting

__all__ = ["grad_cam"]


@declare(
    "grad_cam",
    title="Grad-CAM",
    paper="Selvaraju et al. 2017, eq. 1, 2",
    access=Access.FEATURES,
    returns=("heatmap", "native_heatmap"),
)
def grad_cam(rewriting: Rewriting, *, relu: Relu = True, layer: Layer = None) -> Maps:
    """Where the last feature map speaks for the class: w_k = mean df_c/dA^k, ReLU(sum_k w_k A^k)."""
    op, features = rewriting.op, rewriting.features(layer)
    slope = rewriting.backward(rules.gradient, features.value)
    weights = op.ReduceMean(slope, list(features.spatial_axes), keepdims=1)
    native = op.ReduceSum(op.Mul(weights, features.value), [features.channel_axis], keepdims=0)
    if relu:
        native = op.Relu(native)
    return Maps(heatmap=rewriting.upsample(native), native_heatmap=native)
