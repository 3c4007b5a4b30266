"""What the CAM methods share: features, their gradient, a map at their resolution, upsampled."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir
from onnxplain.graph_rewrites import rules
from onnxplain.graph_rewrites.builder import Builder
from onnxplain.graph_rewrites.features import Features
from onnxplain.graph_rewrites.rewriting import Maps, Rewriting

__all__ = ["class_activation_map"]


def class_activation_map(
    rewriting: Rewriting,
    layer: str | None,
    relu: bool,
    weigh: Callable[[Builder, Features, ir.Value], ir.Value],
) -> Maps:
    """Return the maps of a CAM method.

    Parameters
    ----------
    layer
        The feature map A ``[N, K, h, w]``; ``None``: found in the graph.
    relu
        Whether negative evidence is cut off.
    weigh
        Takes the features and the score's gradient g at them, shaped like A, and returns the
        terms, shaped like A, whose sum over the channels is the map.
    """
    op, features = rewriting.op, rewriting.features(layer)
    slope = rewriting.backward(rules.gradient, features.value)
    native = op.ReduceSum(weigh(op, features, slope), [features.channel_axis], keepdims=0)
    if relu:
        native = op.Relu(native)
    return Maps(heatmap=rewriting.upsample(native), native_heatmap=native)
