"""LayerCAM: feature map weighted by its positive gradient, position by position."""

from __future__ import annotations

import onnx_ir as ir
from onnxplain.graph_rewrites.builder import Builder
from onnxplain.graph_rewrites.features import Features
from onnxplain.graph_rewrites.method import Access, declare
from onnxplain.graph_rewrites.options import Layer, Relu
from onnxplain.graph_rewrites.rewriting import Maps, Rewriting

from .class_activation import class_activation_map

__all__ = ["layer_cam"]


@declare(
    "layer_cam",
    title="LayerCAM",
    paper="Jiang et al. 2021, eq. 5, 6",
    access=Access.FEATURES,
    returns=("heatmap", "native_heatmap"),
)
def layer_cam(rewriting: Rewriting, *, relu: Relu = True, layer: Layer = None) -> Maps:
    """Feature map weighted by its positive gradient, position by position: sum_k max(g, 0) A^k."""
    return class_activation_map(rewriting, layer, relu, _terms)


def _terms(op: Builder, features: Features, slope: ir.Value) -> ir.Value:
    return op.Mul(op.Relu(slope), features.value)
