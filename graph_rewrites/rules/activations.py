"""Gradients of elementwise activations, from the output ``y`` where it determines the slope.

A mask taken from the output leaves the activation the only consumer of its input, so that
runtimes still fuse it with the convolution before it.
"""

from __future__ import annotations

import onnx_ir as ir
from onnxplain.graph_rewrites.builder import Builder, attribute
from onnxplain.graph_rewrites.engine import UnsupportedNodeError

from .tables import gradient

__all__: list[str] = []

Contributions = list[ir.Value | None]


@gradient.rule("Relu")
def relu(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy where y > 0."""
    y = node.outputs[0]
    return [op.Mul(dy, op.CastLike(op.Greater(y, 0.0), dy))]


@gradient.rule("LeakyRelu")
def leaky_relu(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy where x > 0, else alpha dy."""
    alpha = attribute(node, "alpha", 0.01)
    sign_from = node.outputs[0] if alpha > 0 else node.inputs[0]
    return [op.Where(op.Greater(sign_from, 0.0), dy, op.Mul(dy, alpha))]


@gradient.rule("Clip")
def clip(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy where min < y < max."""
    y = node.outputs[0]
    low, high = [*node.inputs[1:], None, None][:2]
    inside = [op.Greater(y, low)] if low is not None else []
    inside += [op.Less(y, high)] if high is not None else []
    mask = op.And(*inside) if len(inside) == 2 else inside[0] if inside else None
    dx = dy if mask is None else op.Mul(dy, op.CastLike(mask, dy))
    return [dx, *[None] * (len(node.inputs) - 1)]


@gradient.rule("Sigmoid")
def sigmoid(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy y (1 - y)."""
    y = node.outputs[0]
    return [op.Mul(dy, op.Mul(y, op.Sub(1.0, y)))]


@gradient.rule("Tanh")
def tanh(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy (1 - y^2)."""
    y = node.outputs[0]
    return [op.Mul(dy, op.Sub(1.0, op.Mul(y, y)))]


@gradient.rule("HardSigmoid")
def hard_sigmoid(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = alpha dy where 0 < y < 1."""
    y = node.outputs[0]
    inside = op.And(op.Greater(y, 0.0), op.Less(y, 1.0))
    return [op.Mul(op.Mul(dy, attribute(node, "alpha", 0.2)), op.CastLike(inside, dy))]


@gradient.rule("HardSwish")
def hard_swish(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Y = x h(x), h = clip(x/6 + 1/2, 0, 1): dx = dy (h + x/6) where -3 < x < 3, dy h elsewhere."""
    x = node.inputs[0]
    inside = op.And(op.Greater(x, -3.0), op.Less(x, 3.0))
    slope = op.Where(
        inside, op.Div(op.Add(op.Mul(x, 2.0), 3.0), 6.0), op.CastLike(op.Greater(x, 0.0), dy)
    )
    return [op.Mul(dy, slope)]


@gradient.rule("Softmax", since=13)
def softmax(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = y (dy - sum(dy y)), the sum along the softmax's axis."""
    y = node.outputs[0]
    weighted = op.Mul(dy, y)
    total = op.ReduceSum(weighted, [attribute(node, "axis", -1)], keepdims=1)
    return [op.Sub(weighted, op.Mul(y, total))]


@gradient.rule("Dropout")
def dropout(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy: at inference Dropout is the identity."""
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        raise UnsupportedNodeError("its training mode is computed in the graph")
    return [dy, *[None] * (len(node.inputs) - 1)]
