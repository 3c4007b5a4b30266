"""Gradients through rounding: straight through, but for what saturates."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnxplain.graph_rewrites.builder import Builder, constant_array, operand
from onnxplain.graph_rewrites.engine import Contributions, UnsupportedNodeError

from .tables import gradient

__all__ = ["representable"]


@gradient.rule("QuantizeLinear", since=10)
def quantize_linear(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy where x lies within what the quantised type can hold.

    ``dy`` is the gradient by the dequantised value.
    """
    x = operand(node, 0)
    low, high = representable(op, node)
    inside = op.And(op.GreaterOrEqual(x, low), op.LessOrEqual(x, high))
    return [op.Mul(dy, op.CastLike(inside, dy)), *[None] * (len(node.inputs) - 1)]


def representable(op: Builder, node: ir.Node) -> tuple[ir.Value, ir.Value]:
    """Return the least and the greatest number that a QuantizeLinear can tell from others."""
    zero = node.inputs[2] if len(node.inputs) > 2 else None
    dtype, scale = node.outputs[0].dtype, operand(node, 1)
    array = constant_array(scale)
    if dtype is None or dtype not in (ir.DataType.UINT8, ir.DataType.INT8):
        raise UnsupportedNodeError("it quantises to another type than int8 or uint8")
    if array is None or array.size != 1:
        raise UnsupportedNodeError("its scale is no constant number")
    limits = np.iinfo(dtype.numpy())
    low, high = (
        op.DequantizeLinear(op.constant(np.array(limit, dtype.numpy())), scale, zero)
        for limit in (limits.min, limits.max)
    )
    return low, high


@gradient.rule("DequantizeLinear", since=10)
def dequantize_linear(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Hand on the gradient by the dequantised value, which is what a quantised tensor gets."""
    return [dy, *[None] * (len(node.inputs) - 1)]
