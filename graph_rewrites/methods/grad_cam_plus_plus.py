"""Grad-CAM++: feature map weighted by its positive gradients, each by its share in the map."""

from __future__ import annotations

import onnx_ir as ir
from onnxplain.graph_rewrites.builder import Builder
from onnxplain.graph_rewrites.features import Features
from onnxplain.graph_rewrites.method import Access, declare
from onnxplain.graph_rewrites.options import Layer, Relu
from onnxplain.graph_rewrites.rewriting import Maps, Rewriting

from .class_activation import class_activation_map

__all__ = ["grad_cam_plus_plus"]


@declare(
    "grad_cam_plus_plus",
    title="Grad-CAM++",
    paper="Chattopadhay et al. 2018, eq. 19",
    access=Access.FEATURES,
    returns=("heatmap", "native_heatmap"),
)
def grad_cam_plus_plus(rewriting: Rewriting, *, relu: Relu = True, layer: Layer = None) -> Maps:
    """Feature map weighted by its positive gradient, by shares in the map: sum_k w_k A^k."""
    return class_activation_map(rewriting, layer, relu, _terms)


def _terms(op: Builder, features: Features, slope: ir.Value) -> ir.Value:
    """W_k = sum alpha max(g, 0), alpha = g^2 / (2 g^2 + (sum A) g^3 + 1e-6), 0 where g = 0."""
    spatial = list(features.spatial_axes)
    square = op.Mul(slope, slope)
    total = op.ReduceSum(features.value, spatial, keepdims=1)
    cube = op.Mul(op.Mul(square, slope), total)
    alpha = op.Div(square, op.Add(op.Add(op.Mul(square, 2.0), cube), 1e-6))
    zero = op.scalar(0.0, slope)
    alpha = op.Where(op.Equal(slope, zero), zero, alpha)
    weights = op.ReduceSum(op.Mul(alpha, op.Relu(slope)), spatial, keepdims=1)
    return op.Mul(weights, features.value)
