"""Gradients of activations, from the output ``y`` where it determines the slope.

A mask taken from the output leaves the activation the only consumer of its input, so that
runtimes still fuse it with the convolution before it.
"""

from __future__ import annotations

import math

import onnx_ir as ir
from onnxplain.graph_rewrites.builder import Builder, attribute, constant_array, operand
from onnxplain.graph_rewrites.engine import Contributions, UnsupportedNodeError

from .masks import above, below
from .tables import gradient

__all__: list[str] = []


@gradient.rule("Relu")
def relu(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy where y > 0."""
    return [op.Mul(dy, above(op, node.outputs[0], 0.0))]


@gradient.rule("LeakyRelu")
def leaky_relu(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy where x > 0, else alpha dy."""
    alpha = attribute(node, "alpha", 0.01)
    sign_from = node.outputs[0] if alpha > 0 else node.inputs[0]
    return [op.Where(op.Greater(sign_from, 0.0), dy, op.Mul(dy, alpha))]


@gradient.rule("Clip")
def clip(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy where min < y < max."""
    y, dx = node.outputs[0], dy
    for value, inside, compare in zip(
        node.inputs[1:], (above, below), (op.Greater, op.Less), strict=False
    ):
        if value is None:
            continue
        bound = constant_array(value)
        mask = op.CastLike(compare(y, value), dy) if bound is None else inside(op, y, bound.item())
        dx = op.Mul(dx, mask)
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


@gradient.rule("LogSoftmax", since=13)
def log_softmax(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy - e^y sum(dy), the sum along the axis."""
    total = op.ReduceSum(dy, [attribute(node, "axis", -1)], keepdims=1)
    return [op.Sub(dy, op.Mul(op.Exp(node.outputs[0]), total))]


@gradient.rule("PRelu")
def prelu(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy where x > 0, else slope dy."""
    x, slope = operand(node, 0), operand(node, 1)
    if constant_array(slope) is None:
        raise UnsupportedNodeError("its slope is computed from the input")
    return [op.Where(op.Greater(x, 0.0), dy, op.Mul(dy, slope)), None]


@gradient.rule("ThresholdedRelu")
def thresholded_relu(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy where x > alpha."""
    above = op.Greater(operand(node), attribute(node, "alpha", 1.0))
    return [op.Mul(dy, op.CastLike(above, dy))]


@gradient.rule("Elu", "Celu", "Selu")
def elu(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = k dy where y > 0, else dy (y + k alpha) / c.

    Y = k x where x > 0, else k alpha (e^(x/c) - 1); c is alpha for Celu, k is gamma for Selu.
    """
    y = node.outputs[0]
    alpha = attribute(node, "alpha", 1.67326319217681884765625 if node.op_type == "Selu" else 1.0)
    k = attribute(node, "gamma", 1.05070102214813232421875) if node.op_type == "Selu" else 1.0
    c = alpha if node.op_type == "Celu" else 1.0
    below = op.Div(op.Add(y, k * alpha), c)
    return [op.Mul(dy, op.Where(op.Greater(y, 0.0), op.scalar(k, y), below))]


@gradient.rule("Softplus")
def softplus(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy sigmoid(x)."""
    return [op.Mul(dy, op.Sigmoid(operand(node)))]


@gradient.rule("Softsign")
def softsign(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy / (1 + |x|)^2."""
    size = op.Add(op.Abs(operand(node)), 1.0)
    return [op.Div(dy, op.Mul(size, size))]


@gradient.rule("Gelu")
def gelu(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Y = x P(x): dx = dy (P + x P'), with P the normal distribution or its tanh approximation."""
    x = operand(node)
    if attribute(node, "approximate", "none") == "none":
        share = op.Mul(op.Add(op.Erf(op.Div(x, math.sqrt(2))), 1.0), 0.5)
        slope = op.Div(op.Exp(op.Mul(op.Mul(x, x), -0.5)), math.sqrt(2 * math.pi))
    else:
        root, cubic = math.sqrt(2 / math.pi), 0.044715
        square = op.Mul(x, x)
        t = op.Tanh(op.Mul(op.Mul(x, op.Add(op.Mul(square, cubic), 1.0)), root))
        share = op.Mul(op.Add(t, 1.0), 0.5)
        inner = op.Mul(op.Add(op.Mul(square, 3 * cubic), 1.0), 0.5 * root)
        slope = op.Mul(op.Sub(1.0, op.Mul(t, t)), inner)
    return [op.Mul(dy, op.Add(share, op.Mul(x, slope)))]


@gradient.rule("Swish", since=24)
def swish(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Y = x s(alpha x), s the sigmoid: dx = dy s (1 + alpha x (1 - s))."""
    x, alpha = operand(node), attribute(node, "alpha", 1.0)
    s = op.Sigmoid(op.Mul(x, alpha))
    return [op.Mul(dy, op.Mul(s, op.Add(op.Mul(op.Mul(x, alpha), op.Sub(1.0, s)), 1.0)))]


@gradient.rule("Mish")
def mish(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Y = x t, t = tanh(softplus(x)): dx = dy (t + x sigmoid(x) (1 - t^2))."""
    x = operand(node)
    t = op.Tanh(op.Softplus(x))
    slope = op.Mul(op.Mul(x, op.Sigmoid(x)), op.Sub(1.0, op.Mul(t, t)))
    return [op.Mul(dy, op.Add(t, slope))]


@gradient.rule("Dropout")
def dropout(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy: at inference Dropout is the identity."""
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        raise UnsupportedNodeError("its training mode is computed in the graph")
    return [dy, *[None] * (len(node.inputs) - 1)]
