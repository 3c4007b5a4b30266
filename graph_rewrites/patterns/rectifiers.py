"""Rectifiers that an exporter or a hand took apart, recognised as the node Relu."""

from __future__ import annotations

import onnx_ir as ir
from onnxplain.graph_rewrites.builder import constant_array, operand, rank

from .surgery import become

__all__ = ["recognise_rectifiers"]

_ABOVE, _BELOW = ("Greater", "GreaterOrEqual"), ("Less", "LessOrEqual")


def recognise_rectifiers(graph: ir.Graph) -> None:
    """Make ``where(x > 0, x, 0)`` and ``x cast(x > 0)``, however turned, the node Relu."""
    for node in list(graph):
        x = _rectified(node) if node.graph is graph and node.domain == "" else None
        if x is not None and rank(x) == rank(node.outputs[0]):
            become(graph, node, "Relu", [x], {})


def _rectified(node: ir.Node) -> ir.Value | None:
    if node.op_type == "Where":
        condition, chosen, other = (operand(node, index) for index in range(3))
        if _is_zero(chosen):
            return other if _compared(condition, other) in _BELOW else None
        return chosen if _is_zero(other) and _compared(condition, chosen) in _ABOVE else None
    if node.op_type == "Mul":
        for index in range(2):
            x, mask = operand(node, index), operand(node, 1 - index).producer()
            if mask is None or mask.op_type != "Cast" or mask.domain != "":
                continue
            if _compared(operand(mask), x) in _ABOVE:
                return x
    return None


def _compared(condition: ir.Value, x: ir.Value) -> str | None:
    """Return how ``condition`` compares ``x`` with 0, as if ``x`` stood first."""
    node = condition.producer()
    if node is None or node.domain != "" or node.op_type not in (*_ABOVE, *_BELOW):
        return None
    if operand(node, 0) is x and _is_zero(operand(node, 1)):
        return node.op_type
    if operand(node, 1) is x and _is_zero(operand(node, 0)):
        turned = dict(zip((*_ABOVE, *_BELOW), (*_BELOW, *_ABOVE), strict=True))
        return turned[node.op_type]
    return None


def _is_zero(value: ir.Value) -> bool:
    array = constant_array(value)
    return array is not None and array.size == 1 and not array.any()
