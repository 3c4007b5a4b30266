"""Gradients of elementwise arithmetic; the engine sums the contributions down to each operand."""

from __future__ import annotations

import math

import onnx_ir as ir
from onnxplain.graph_rewrites.builder import Builder, constant_array, operand
from onnxplain.graph_rewrites.engine import Contributions, UnsupportedNodeError

from .tables import gradient

__all__: list[str] = []


@gradient.rule("Identity")
def identity(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy."""
    return [dy]


@gradient.rule("Cast")
def cast(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy, in the type of x."""
    return [op.CastLike(dy, operand(node))]


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


@gradient.rule("Mean", broadcasts=True)
def mean(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy / n for each of n operands."""
    return [op.Div(dy, float(len(node.inputs)))] * len(node.inputs)


@gradient.rule("Max", "Min", broadcasts=True)
def extremum(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dy goes to the operand that is the extremum, the first one of equals."""
    y, zero = node.outputs[0], op.scalar(0.0, dy)
    contributions: Contributions = []
    open_to = dy
    for x in node.inputs:
        wins = op.Equal(x, y)
        contributions.append(op.Where(wins, open_to, zero))
        open_to = op.Where(wins, zero, open_to)
    return contributions


@gradient.rule("Where", broadcasts=True)
def where(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dy goes to the operand that was chosen."""
    condition, zero = node.inputs[0], op.scalar(0.0, dy)
    return [None, op.Where(condition, dy, zero), op.Where(condition, zero, dy)]


@gradient.rule("Expand", broadcasts=True)
def expand(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy summed over the copies."""
    return [dy, None]


@gradient.rule("Pow", broadcasts=True)
def power(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy p x^(p - 1) for a constant exponent p."""
    x, p = operand(node, 0), operand(node, 1)
    if constant_array(p) is None:
        raise UnsupportedNodeError("its exponent is computed from the input")
    exponent = op.CastLike(p, x)
    return [op.Mul(dy, op.Mul(exponent, op.Pow(x, op.Sub(exponent, 1.0)))), None]


@gradient.rule("Neg")
def negative(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = -dy."""
    return [op.Neg(dy)]


@gradient.rule("Abs")
def absolute(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy sign(x)."""
    return [op.Mul(dy, op.Sign(operand(node)))]


@gradient.rule("Sqrt")
def square_root(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy / (2 y)."""
    return [op.Div(dy, op.Mul(node.outputs[0], 2.0))]


@gradient.rule("Reciprocal")
def reciprocal(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = -dy y^2."""
    y = node.outputs[0]
    return [op.Neg(op.Mul(dy, op.Mul(y, y)))]


@gradient.rule("Exp")
def exponential(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy y."""
    return [op.Mul(dy, node.outputs[0])]


@gradient.rule("Log")
def logarithm(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy / x."""
    return [op.Div(dy, operand(node))]


@gradient.rule("Sin")
def sine(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy cos(x)."""
    return [op.Mul(dy, op.Cos(operand(node)))]


@gradient.rule("Cos")
def cosine(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = -dy sin(x)."""
    return [op.Neg(op.Mul(dy, op.Sin(operand(node))))]


@gradient.rule("Erf")
def error_function(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy 2 e^(-x^2) / sqrt(pi)."""
    x = operand(node)
    slope = op.Mul(op.Exp(op.Neg(op.Mul(x, x))), 2 / math.sqrt(math.pi))
    return [op.Mul(dy, slope)]
