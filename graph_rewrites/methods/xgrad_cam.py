"""XGrad-CAM: feature map weighted by its gradient, each position by its share in the map."""

from __future__ import annotations

import onnx_ir as ir
from onnxplain.graph_rewrites.builder import Builder
from onnxplain.graph_rewrites.features import Features
from onnxplain.graph_rewrites.method import Access, declare
from onnxplain.graph_rewrites.options import Layer, Relu
from onnxplain.graph_rewrites.rewriting import Maps, Rewriting

from .class_activation import class_activation_map

__all__ = ["xgrad_cam"]


@declare(
    "xgrad_cam",
    title="XGrad-CAM",
    paper="Fu et al. 2020, eq. 8",
    access=Access.FEATURES,
    returns=("heatmap", "native_heatmap"),
)
def xgrad_cam(rewriting: Rewriting, *, relu: Relu = True, layer: Layer = None) -> Maps:
    """Feature map weighted by its gradient, by shares in the map: sum_k w_k A^k."""
    return class_activation_map(rewriting, layer, relu, _terms)


def _terms(op: Builder, features: Features, slope: ir.Value) -> ir.Value:
    """W_k = sum g A / (sum A + 1e-7)."""
    spatial = list(features.spatial_axes)
    total = op.ReduceSum(features.value, spatial, keepdims=1)
    product = op.ReduceSum(op.Mul(slope, features.value), spatial, keepdims=1)
    return op.Mul(op.Div(product, op.Add(total, 1e-7)), features.value)
