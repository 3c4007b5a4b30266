"""Gradients of reshaping, joining and reducing."""

from __future__ import annotations

import math

import onnx_ir as ir

from ..builder import Builder, attribute, constant_ints, dims, rank
from ..engine import UnsupportedNodeError
from .tables import gradient

__all__: list[str] = []

Contributions = list[ir.Value | None]


@gradient.rule("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def reshape(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy in the shape of x."""
    return [op.reshape_like(dy, node.inputs[0]), *[None] * (len(node.inputs) - 1)]


@gradient.rule("Transpose")
def transpose(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy with the axes put back."""
    perm = attribute(node, "perm")
    if perm is None:
        return [op.Transpose(dy)]
    return [op.Transpose(dy, perm=[perm.index(axis) for axis in range(len(perm))])]


@gradient.rule("Concat")
def concat(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Each input gets its slice of dy."""
    axis = attribute(node, "axis")
    contributions: Contributions = []
    at: ir.Value | int = 0
    for x in node.inputs:
        size = dims(x)[axis] if x is not None and rank(x) is not None else None
        if size is not None and isinstance(at, int):
            start, at = [at], at + size
            stop: ir.Value | list[int] = [at]
        else:
            start = op.Reshape(at, [1])
            stop = op.Add(start, op.Gather(op.Shape(x), [axis]))
            at = stop
        contributions.append(op.Slice(dy, start, stop, [axis]))
    return contributions


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
        else:
            count = float(math.prod(int(size or 0) for size in sizes))
        dy = op.Div(dy, count)
    if not attribute(node, "keepdims", 1):
        dy = op.Unsqueeze(dy, axes)
    dx = op.Expand(dy, op.Shape(x)) if 0 in axes else op.expand_like(dy, x)
    return [dx, *nothing]
