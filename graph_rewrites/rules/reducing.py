"""Gradients of reductions: what becomes of dy, spread along the axes that were reduced."""

from __future__ import annotations

import math

import onnx_ir as ir
from onnxplain.graph_rewrites.builder import Builder, attribute, constant_ints, dims, operand, rank
from onnxplain.graph_rewrites.engine import Contributions, UnsupportedNodeError

from .tables import gradient

__all__ = ["kept", "reduced_axes"]


@gradient.rule("ReduceMean", "ReduceSum", since=18)
def reduce(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Every element gets dy, for a mean divided by their number."""
    x, axes = operand(node), reduced_axes(node)
    if node.op_type == "ReduceMean":
        sizes = [dims(x)[axis] for axis in axes]
        if None in sizes:
            count = op.CastLike(op.ReduceProd(op.Gather(op.Shape(x), axes), keepdims=0), dy)
            dy = op.Div(dy, count)
        else:
            dy = op.Div(dy, float(math.prod(int(size or 0) for size in sizes)))
    dy = kept(op, node, dy)
    dx = op.Expand(dy, op.Shape(x)) if 0 in axes else op.expand_like(dy, x)
    return _to_data(node, dx)


@gradient.rule("ReduceL1", since=18)
def reduce_l1(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy sign(x)."""
    return _to_data(node, op.Mul(op.Sign(operand(node)), kept(op, node, dy)))


@gradient.rule("ReduceL2", since=18)
def reduce_l2(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy x / y, 0 where y is."""
    y = node.outputs[0]
    nonzero = op.Where(op.Equal(y, 0.0), op.scalar(1.0, y), y)
    return _to_data(node, op.Mul(operand(node), kept(op, node, op.Div(dy, nonzero))))


@gradient.rule("ReduceSumSquare", since=18)
def reduce_sum_square(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = 2 dy x."""
    return _to_data(node, op.Mul(operand(node), kept(op, node, op.Mul(dy, 2.0))))


@gradient.rule("ReduceLogSum", since=18)
def reduce_log_sum(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy / e^y."""
    x = operand(node)
    share = op.Mul(dy, op.Exp(op.Neg(node.outputs[0])))
    return _to_data(node, op.Expand(kept(op, node, share), op.Shape(x)))


@gradient.rule("ReduceLogSumExp", since=18)
def reduce_log_sum_exp(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy e^(x - y)."""
    share = op.Exp(op.Sub(operand(node), kept(op, node, node.outputs[0])))
    return _to_data(node, op.Mul(kept(op, node, dy), share))


@gradient.rule("ReduceMax", "ReduceMin", since=18)
def reduce_extremum(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dy goes to the extremum, of equal ones to the first in row-major order."""
    wins = op.CastLike(op.Equal(operand(node), kept(op, node, node.outputs[0])), dy)
    first = _first(op, wins, reduced_axes(node), rank(operand(node)) or 0)
    return _to_data(node, op.Mul(first, kept(op, node, dy)))


@gradient.rule("ReduceProd", since=18)
def reduce_product(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy times the product of the others: 0 where one of them is."""
    x, axes = operand(node), reduced_axes(node)
    is_zero = op.Equal(x, 0.0)
    nonzero = op.Where(is_zero, op.scalar(1.0, x), x)
    zeros = op.CastLike(is_zero, x)
    zeros_elsewhere = op.Sub(op.ReduceSum(zeros, axes, keepdims=1), zeros)
    others = op.Div(op.ReduceProd(nonzero, axes, keepdims=1), nonzero)
    slope = op.Where(op.Greater(zeros_elsewhere, 0.0), op.scalar(0.0, x), others)
    return _to_data(node, op.Mul(kept(op, node, dy), slope))


def _first(op: Builder, wins: ir.Value, axes: list[int], n: int) -> ir.Value:
    """Return 1 at the first 1 along the axes, of ``n``, in row-major order, 0 elsewhere."""
    others = [axis for axis in range(n) if axis not in axes]
    order = [*others, *axes]
    aside = op.Transpose(wins, perm=order)
    flat = op.Reshape(aside, [0] * len(others) + [-1])
    count = op.CumSum(flat, len(others))
    first = op.Mul(flat, op.CastLike(op.Equal(count, 1.0), flat))
    back = [order.index(axis) for axis in range(len(order))]
    return op.Transpose(op.Reshape(first, op.Shape(aside)), perm=back)


def reduced_axes(node: ir.Node) -> list[int]:
    """Return the axes that are reduced, in order."""
    n, axes = rank(operand(node)), constant_ints(node, 1)
    if n is None or (axes is None and len(node.inputs) > 1 and node.inputs[1] is not None):
        raise UnsupportedNodeError("its axes or the rank of its input are unknown")
    if not axes and attribute(node, "noop_with_empty_axes", 0):
        return []
    return sorted(axis % n for axis in axes or range(n))


def kept(op: Builder, node: ir.Node, value: ir.Value) -> ir.Value:
    """Return a value of the output's shape with the reduced axes as 1."""
    axes = reduced_axes(node)
    if attribute(node, "keepdims", 1) or not axes:
        return value
    return op.Unsqueeze(value, axes)


def _to_data(node: ir.Node, dx: ir.Value) -> Contributions:
    return [dx, *[None] * (len(node.inputs) - 1)]
