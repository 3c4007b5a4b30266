"""Gradients of elementwise arithmetic; the engine sums the contributions down to each operand."""

from __future__ import annotations

import onnx_ir as ir
from onnxplain.graph_rewrites.builder import Builder

from .tables import gradient

__all__: list[str] = []

Contributions = list[ir.Value | None]


@gradient.rule("Identity")
def identity(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy."""
    return [dy]


@gradient.rule("Cast")
def cast(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy, in the type of x."""
    return [op.CastLike(dy, node.inputs[0])]


@gradient.rule("Add", "Sum", broadcasts=True)
def add(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy for every summand."""
    return [dy] * len(node.inputs)


@gradient.rule("Sub", broadcasts=True)
def sub(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Da = dy, db = -dy."""
    return [dy, op.Neg(dy)]


@gradient.rule("Mul", broadcasts=True)
def mul(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Da = dy b, db = dy a."""
    a, b = node.inputs
    return [op.Mul(dy, b), op.Mul(dy, a)]


@gradient.rule("Div", broadcasts=True)
def div(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Da = dy / b, db = -dy y / b."""
    b, y = node.inputs[1], node.outputs[0]
    da = op.Div(dy, b)
    return [da, op.Neg(op.Mul(da, y))]
