"""CAM: the feature map weighted by the linear layer after global average pooling."""

from __future__ import annotations

import onnx_ir as ir
from onnxplain.graph_rewrites.features import read_head
from onnxplain.graph_rewrites.method import Access, declare
from onnxplain.graph_rewrites.options import Layer, Relu
from onnxplain.graph_rewrites.rewriting import Maps, Rewriting

__all__ = ["cam"]


@declare(
    "cam",
    title="CAM",
    paper="Zhou et al. 2016, eq. 2",
    access=Access.FEATURES,
    returns=("heatmap", "native_heatmap"),
)
def cam(rewriting: Rewriting, *, relu: Relu = False, layer: Layer = None) -> Maps:
    """Class activation map sum_k w_k^c A^k, without a backward pass; needs a GAP + linear head.

    Where class maps are pooled into the scores, the target's class map as it is.
    """
    op, features = rewriting.op, rewriting.features(layer)
    head = read_head(features, rewriting.anatomy)
    weights = rewriting.weights
    if head.class_maps is not None:
        maps, channel_axis = head.class_maps, 1
        per_channel = op.CastLike(weights, maps)
    else:
        maps, channel_axis = features.value, features.channel_axis
        per_channel = _channel_weights(rewriting, head.weight, head.transposed)
    spatial = [axis for axis in (1, 2, 3) if axis != channel_axis]
    native = op.ReduceSum(
        op.Mul(op.Unsqueeze(per_channel, spatial), maps), [channel_axis], keepdims=0
    )
    if relu:
        native = op.Relu(native)
    return Maps(heatmap=rewriting.upsample(native), native_heatmap=native)


def _channel_weights(rewriting: Rewriting, weight: ir.Value | None, transposed: bool) -> ir.Value:
    """Return ``[N, K]``: the linear layer's weights of the target."""
    op = rewriting.op
    k_axis = 0 if transposed else 1
    flat = op.Reshape(
        weight,
        [-1, rewriting.anatomy.n_classes] if transposed else [rewriting.anatomy.n_classes, -1],
    )
    return op.Gemm(op.CastLike(rewriting.weights, flat), flat, transB=1 - k_axis)
