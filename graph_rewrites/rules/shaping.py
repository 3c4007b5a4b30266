"""Gradients of reshaping."""

from __future__ import annotations

import onnx_ir as ir
from onnxplain.graph_rewrites.builder import Builder, attribute, operand, rank
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


@gradient.rule("Tile")
def tile(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy summed over the copies; each axis is split into copies and their elements."""
    x, repeats = operand(node, 0), operand(node, 1)
    n = rank(x)
    if n is None:
        raise UnsupportedNodeError("the rank of its input is unknown")
    by_axis = op.Concat(op.Unsqueeze(repeats, [1]), op.Unsqueeze(op.Shape(x), [1]), axis=1)
    copies = op.Reshape(dy, op.Reshape(by_axis, [-1]))
    return [op.ReduceSum(copies, list(range(0, 2 * n, 2)), keepdims=0), None]
