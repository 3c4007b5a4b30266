"""HiResCAM: feature map times its gradient, position by position."""

from __future__ import annotations

import onnx_ir as ir
from onnxplain.graph_rewrites.builder import Builder
from onnxplain.graph_rewrites.features import Features
from onnxplain.graph_rewrites.method import Access, declare
from onnxplain.graph_rewrites.options import Layer, Relu
from onnxplain.graph_rewrites.rewriting import Maps, Rewriting

from .class_activation import class_activation_map

__all__ = ["hires_cam"]


@declare(
    "hires_cam",
    title="HiResCAM",
    paper="Draelos & Carin 2020, eq. 3",
    access=Access.FEATURES,
    returns=("heatmap", "native_heatmap"),
)
def hires_cam(rewriting: Rewriting, *, relu: Relu = True, layer: Layer = None) -> Maps:
    """Feature map times its gradient, position by position: sum_k g A^k."""
    return class_activation_map(rewriting, layer, relu, _terms)


def _terms(op: Builder, features: Features, slope: ir.Value) -> ir.Value:
    return op.Mul(slope, features.value)
