"""DeepLIFT through what divides by a norm or a sum, so that the differences add up.

Each is taken apart into sums, products and functions of one value: a product of two counts each
with the mean of the other at both ends, a function with the quotient of its differences.
"""

from __future__ import annotations

import onnx_ir as ir
from onnxplain.graph_rewrites.builder import Builder, attribute, operand, rank
from onnxplain.graph_rewrites.engine import UnsupportedNodeError
from onnxplain.graph_rewrites.twins import Twin

__all__ = ["of_softmax", "of_standardisation"]


def of_standardisation(op: Builder, node: ir.Node, m: ir.Value, twin: Twin) -> ir.Value:
    """Return x's multipliers in ``y = scale c / sqrt(mean(c^2) + epsilon) + shift``, c centred.

    With ``s = 1 / sqrt(v)``: of c the mean of s and s0; of s the mean of c and c0, summed;
    ``(s - s0) / (v - v0) = -(s s0)^2 / (s + s0)``; of c in v again ``(c + c0) / n``.
    """
    x, scale = operand(node), operand(node, 1)
    n = rank(x)
    if n is None:
        raise UnsupportedNodeError("the rank of its input is unknown")
    axes = list(range(2, n))
    if node.op_type == "LayerNormalization":
        axes = list(range(attribute(node, "axis", -1) % n, n))
    else:
        scale = op.Reshape(scale, [-1] + [1] * (n - 2))

    def centred(value: ir.Value) -> ir.Value:
        return op.Sub(value, op.ReduceMean(value, axes, keepdims=1))

    def inverse(c: ir.Value) -> ir.Value:
        variance = op.ReduceMean(op.Mul(c, c), axes, keepdims=1)
        return op.Reciprocal(op.Sqrt(op.Add(variance, attribute(node, "epsilon", 1e-5))))

    c, c0 = centred(x), centred(twin[x])
    s, s0 = inverse(c), inverse(c0)
    both, total = op.Add(c, c0), op.Add(s, s0)
    slope, product = op.Mul(m, scale), op.Mul(s, s0)
    of_s = op.ReduceMean(op.Mul(slope, both), axes, keepdims=1)  # times n / 2
    of_v = op.Div(op.Mul(op.Mul(of_s, product), product), op.Neg(total))
    of_c = op.Mul(op.Add(op.Mul(slope, total), op.Mul(of_v, both)), 0.5)
    return op.Sub(of_c, op.ReduceMean(of_c, axes, keepdims=1))


def of_softmax(op: Builder, node: ir.Node, m: ir.Value, twin: Twin) -> ir.Value:
    """Return x's multipliers in ``y = exp(z)``, ``z = x - lse(x)``.

    The quotient ``L = (y - y0) / (z - z0)`` is the logarithmic mean of y and y0. Both sum to 1, so
    the sum of ``L (dx - dlse)`` is 0: of lse(x), x has the share ``L / sum L``. In all,
    ``L (m - sum(m L) / sum L)``, which at ``x = x0`` is the gradient.
    """
    x, y, axis = operand(node), node.outputs[0], attribute(node, "axis", -1)
    y0 = twin[y]
    step = op.Sub(op.LogSoftmax(x, axis=axis), op.LogSoftmax(twin[x], axis=axis))
    told = op.Greater(op.Abs(step), 1e-3)
    quotient = op.Div(op.Sub(y, y0), op.Where(told, step, op.scalar(1.0, step)))
    mean = op.Where(told, quotient, op.Mul(op.Add(y, y0), 0.5))
    level = op.Div(
        op.ReduceSum(op.Mul(m, mean), [axis], keepdims=1), op.ReduceSum(mean, [axis], keepdims=1)
    )
    return op.Mul(mean, op.Sub(m, level))
