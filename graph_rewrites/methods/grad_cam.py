"""Grad-CAM: feature map weighted by its mean gradient."""

from __future__ import annotations

import onnx_ir as ir
from onnxplain.graph_rewrites.builder import Builder
from onnxplain.graph_rewrites.features import Features
from onnxplain.graph_rewrites.method import Access, declare
from onnxplain.graph_rewrites.options import Layer, Relu
from onnxplain.graph_rewrites.rewriting import Maps, Rewriting

from .class_activation import class_activation_map

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
    return class_activation_map(rewriting, layer, relu, _terms)


def _terms(op: Builder, features: Features, slope: ir.Value) -> ir.Value:
    weights = op.ReduceMean(slope, list(features.spatial_axes), keepdims=1)
    return op.Mul(weights, features.value)
