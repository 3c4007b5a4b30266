"""DeepLIFT through norms and what divides by one, so that the differences add up.

Each is taken apart into sums, products and functions of one value: a product of two counts each
with the mean of the other at both ends, a function with the quotient of its differences.
"""

from __future__ import annotations

import onnx_ir as ir
from onnxplain.graph_rewrites.builder import Builder, attribute, operand, rank
from onnxplain.graph_rewrites.engine import UnsupportedNodeError
from onnxplain.graph_rewrites.twins import Twin

from .reducing import kept, reduced_axes
from .sharing import by_gradient

__all__ = ["SHARING"]


def _of_standardisation(op: Builder, node: ir.Node, m: ir.Value, twin: Twin) -> ir.Value:
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


def _of_softmax(op: Builder, node: ir.Node, m: ir.Value, twin: Twin) -> ir.Value:
    """Return x's multipliers in ``y = exp(z)``, ``z = x - lse(x)``.

    The quotient ``L = (y - y0) / (z - z0)`` is the logarithmic mean of y and y0. Both sum to 1, so
    the sum of ``L (dx - dlse)`` is 0: of lse(x), x has the share ``L / sum L``. In all,
    ``L (m - sum(m L) / sum L)``, which at ``x = x0`` is the gradient.
    """
    x, y, axis = operand(node), node.outputs[0], attribute(node, "axis", -1)
    z, z0 = op.LogSoftmax(x, axis=axis), op.LogSoftmax(twin[x], axis=axis)
    mean = _logarithmic_mean(op, y, twin[y], z, z0)
    total = op.ReduceSum(op.Mul(m, mean), [axis], keepdims=1)
    return op.Mul(mean, op.Sub(m, op.Div(total, op.ReduceSum(mean, [axis], keepdims=1))))


def _of_log_softmax(op: Builder, node: ir.Node, m: ir.Value, twin: Twin) -> ir.Value:
    """Return x's multipliers in ``x - lse(x)``; see `_of_softmax`."""
    z, axis = node.outputs[0], attribute(node, "axis", -1)
    shares = _shares_of_lse(op, z, twin[z], [axis])
    return op.Sub(m, op.Mul(op.ReduceSum(m, [axis], keepdims=1), shares))


def _of_log_sum_exp(op: Builder, node: ir.Node, m: ir.Value, twin: Twin) -> ir.Value:
    """Return x's multipliers in lse(x); see `_of_softmax`."""
    x, y = operand(node), node.outputs[0]
    z, z0 = op.Sub(x, kept(op, node, y)), op.Sub(twin[x], kept(op, node, twin[y]))
    return op.Mul(kept(op, node, m), _shares_of_lse(op, z, z0, reduced_axes(node)))


def _of_log_sum(op: Builder, node: ir.Node, m: ir.Value, twin: Twin) -> ir.Value:
    """Return x's multipliers in ``log sum x``: all the inverse of the sums' logarithmic mean."""
    x, y = operand(node), node.outputs[0]
    mean = _logarithmic_mean(op, op.Exp(y), op.Exp(twin[y]), y, twin[y])
    return op.Expand(kept(op, node, op.Div(m, mean)), op.Shape(x))


def _of_l1(op: Builder, node: ir.Node, m: ir.Value, twin: Twin) -> ir.Value:
    """Return x's multipliers in ``sum |x|``: ``(x + x0) / (|x| + |x0|)``."""
    x, x0 = operand(node), twin[operand(node)]
    quotient = _over(op, op.Add(x, x0), op.Add(op.Abs(x), op.Abs(x0)))
    return op.Mul(kept(op, node, m), quotient)


def _of_l2(op: Builder, node: ir.Node, m: ir.Value, twin: Twin) -> ir.Value:
    """Return x's multipliers in ``y = sqrt(sum x^2)``: ``(x + x0) / (y + y0)``."""
    x, y = operand(node), node.outputs[0]
    quotient = _over(op, op.Add(x, twin[x]), kept(op, node, op.Add(y, twin[y])))
    return op.Mul(kept(op, node, m), quotient)


def _of_sum_square(op: Builder, node: ir.Node, m: ir.Value, twin: Twin) -> ir.Value:
    """Return x's multipliers in ``sum x^2``: ``x + x0``."""
    x = operand(node)
    return op.Mul(kept(op, node, m), op.Add(x, twin[x]))


def _of_lp_pool(op: Builder, node: ir.Node, m: ir.Value, twin: Twin) -> ir.Value | None:
    """Return x's multipliers in ``y = sqrt(sum x^2)`` of windows, see `_of_l2`; else the gradient.

    The gradient of y for m is ``x A^T(m / y)``, that of the baseline ``x0 A^T(m / y0)``.
    """
    if attribute(node, "p", 2) != 2:
        return by_gradient(op, node, m)[0]
    y, y0 = node.outputs[0], twin[node.outputs[0]]
    share = _over(op, m, op.Add(y, y0))
    here = by_gradient(op, node, op.Mul(share, y))[0]
    there = by_gradient(op, twin.nodes[node], op.Mul(share, y0))[0]
    return op.Add(here, there)


def _logarithmic_mean(
    op: Builder, p: ir.Value, p0: ir.Value, log_p: ir.Value, log_p0: ir.Value
) -> ir.Value:
    """Return ``(p - p0) / (log p - log p0)``; the mean where that is lost in rounding."""
    step = op.Sub(log_p, log_p0)
    told = op.Greater(op.Abs(step), 1e-3)
    quotient = op.Div(op.Sub(p, p0), op.Where(told, step, op.scalar(1.0, step)))
    return op.Where(told, quotient, op.Mul(op.Add(p, p0), 0.5))


def _shares_of_lse(op: Builder, z: ir.Value, z0: ir.Value, axes: list[int]) -> ir.Value:
    """Return ``L / sum L`` of logarithms of what sums to 1."""
    mean = _logarithmic_mean(op, op.Exp(z), op.Exp(z0), z, z0)
    return op.Div(mean, op.ReduceSum(mean, axes, keepdims=1))


def _over(op: Builder, above: ir.Value, below: ir.Value) -> ir.Value:
    """Return the quotient, with 1 for a divisor, nowhere negative, that is 0."""
    return op.Div(above, op.Where(op.Equal(below, 0.0), op.scalar(1.0, below), below))


#: By operator, what returns its first input's multipliers.
SHARING = {
    "InstanceNormalization": _of_standardisation,
    "LayerNormalization": _of_standardisation,
    "LogSoftmax": _of_log_softmax,
    "LpPool": _of_lp_pool,
    "ReduceL1": _of_l1,
    "ReduceL2": _of_l2,
    "ReduceLogSum": _of_log_sum,
    "ReduceLogSumExp": _of_log_sum_exp,
    "ReduceSumSquare": _of_sum_square,
    "Softmax": _of_softmax,
}
