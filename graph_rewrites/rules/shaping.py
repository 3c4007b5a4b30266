"""Gradients of reshaping and reducing."""

from __future__ import annotations

import math

import onnx_ir as ir
from onnxplain.graph_rewrites.builder import Builder, attribute, constant_ints, dims, operand, rank
from onnxplain.graph_rewrites.engine import Contributions, UnsupportedNodeError

from .tables import gradient

__all__: list[str] = []


@gradient.rule("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def reshape(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy in the shape of x."""
    return [op.reshape_like(dy, operand(node)), *[None] * (len(node.inputs) - 1)]


@gradient.rule("Transpose")
def transpose(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy with the axes put back."""
    perm = attribute(node, "perm")
    if perm is None:
        return [op.Transpose(dy)]
    return [op.Transpose(dy, perm=[perm.index(axis) for axis in range(len(perm))])]


@gradient.rule("ReduceMean", "ReduceSum", since=18)
def reduce(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Every element gets dy, for a mean divided by their number."""
    x = node.inputs[0]
    n = rank(x) if x is not None else None
    axes = constant_ints(node, 1)
    if n is None or x is None or (axes is None and len(node.inputs) > 1 and node.inputs[1]):
        raise UnsupportedNodeError("its axes or the rank of its input are unknown")
    nothing = [None] * (len(node.inputs) - 1)
    if not axes and attribute(node, "noop_with_empty_axes", 0):
        return [dy, *nothing]
    axes = sorted(axis % n for axis in axes or range(n))
    if node.op_type == "ReduceMean":
        sizes = [dims(x)[axis] for axis in axes]
        if None in sizes:
            count = op.CastLike(op.ReduceProd(op.Gather(op.Shape(x), axes), keepdims=0), dy)
            dy = op.Div(dy, count)
        else:
            dy = op.Div(dy, float(math.prod(int(size or 0) for size in sizes)))
    if not attribute(node, "keepdims", 1):
        dy = op.Unsqueeze(dy, axes)
    dx = op.Expand(dy, op.Shape(x)) if 0 in axes else op.expand_like(dy, x)
    return [dx, *nothing]


@gradient.rule("ReduceL2", since=18)
def reduce_l2(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy x / y."""
    x, y = operand(node), node.outputs[0]
    share = op.Div(dy, y)
    if not attribute(node, "keepdims", 1):
        axes = constant_ints(node, 1)
        n = rank(x)
        if axes is None or n is None:
            raise UnsupportedNodeError("its axes or the rank of its input are unknown")
        share = op.Unsqueeze(share, sorted(axis % n for axis in axes))
    return [op.Mul(x, share), *[None] * (len(node.inputs) - 1)]
