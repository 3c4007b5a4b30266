"""Local response normalisation that an exporter took apart, recognised as the node LRN."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnxplain.graph_rewrites.builder import (
    attribute,
    constant_array,
    constant_ints,
    dims,
    operand,
)
from onnxplain.graph_rewrites.engine import label

from .surgery import Folded, become

__all__ = ["recognise_response_normalisation"]

_MOVES = ("Reshape", "Squeeze", "Unsqueeze")


def recognise_response_normalisation(graph: ir.Graph) -> list[Folded]:
    """Make ``x / (bias + alpha mean(x^2 over a window of channels))^beta`` the node LRN."""
    folded = []
    for node in list(graph):
        if node.op_type != "Div" or node.domain != "":
            continue
        x = operand(node, 0)
        found = _parameters(operand(node, 1), x)
        if found is not None:
            folded.append(Folded(label(node), "LRN"))
            become(graph, node, "LRN", [x], found)
    return folded


def _parameters(divisor: ir.Value, x: ir.Value) -> dict[str, float | int] | None:
    """Return LRN's attributes where ``divisor`` is its denominator for ``x``."""
    beta, base = _with_number(divisor, "Pow", ordered=True)
    if beta is None:
        node = divisor.producer()
        if node is None or node.op_type != "Sqrt":
            return None
        beta, base = 0.5, operand(node)
    bias, scaled = _with_number(base, "Add")
    alpha, mean = _with_number(scaled, "Mul") if bias is not None else (None, base)
    if bias is None or alpha is None:
        return None
    pool = _before_moves(mean).producer()
    if pool is None or pool.op_type != "AveragePool":
        return None
    kernel = attribute(pool, "kernel_shape")
    plain = set(attribute(pool, "strides", [1])) | set(attribute(pool, "dilations", [1])) == {1}
    if len(kernel) not in (2, 3) or {*kernel[1:]} != {1} or kernel[0] == 1 or not plain:
        return None
    before, source = _window(pool, kernel[0])
    if before is None or not _is_square(_before_moves(source), x):
        return None
    if dims(source)[1:3] != (1, *dims(x)[1:2]) or source is _before_moves(source):
        return None  # the channels must have been moved to the window's axis
    return {"size": kernel[0], "alpha": alpha, "beta": beta, "bias": bias}


def _window(pool: ir.Node, size: int) -> tuple[int | None, ir.Value]:
    """Return the zeros before the first channel, None where not LRN's; and what is padded."""
    expected = [(size - 1) // 2, size // 2]
    n = len(attribute(pool, "kernel_shape"))
    own = attribute(pool, "pads", [0] * 2 * n)
    source = operand(pool)
    pad = source.producer()
    if any(own):
        counted = attribute(pool, "count_include_pad", 0)
        matches = [own[0], own[n]] == expected and sum(own) == sum(expected) and counted
        return (own[0] if matches else None), source
    if pad is None or pad.op_type != "Pad" or attribute(pad, "mode", "constant") != "constant":
        return (0 if size == 1 else None), source
    pads, axes = constant_ints(pad, 1), constant_ints(pad, 3)
    fill = constant_array(pad.inputs[2]) if len(pad.inputs) > 2 and pad.inputs[2] else None
    if pads is None or axes is not None or (fill is not None and fill.any()):
        return None, source
    rank = len(pads) // 2
    matches = [pads[2], pads[rank + 2]] == expected and sum(pads) == sum(expected)
    return (pads[2] if matches else None), operand(pad)


def _is_square(value: ir.Value, x: ir.Value) -> bool:
    node = value.producer()
    if node is None:
        return False
    if node.op_type == "Mul":
        return operand(node, 0) is x and operand(node, 1) is x
    exponent, base = _with_number(value, "Pow", ordered=True)
    return exponent == 2 and base is x


def _before_moves(value: ir.Value) -> ir.Value:
    while (node := value.producer()) is not None and node.op_type in _MOVES:
        value = operand(node)
    return value


def _with_number(
    value: ir.Value, op_type: str, *, ordered: bool = False
) -> tuple[float | None, ir.Value]:
    """Return the constant and the other operand of the node that makes ``value``."""
    node = value.producer()
    if node is None or node.op_type != op_type:
        return None, value
    for index in (1,) if ordered else (1, 0):
        array = constant_array(node.inputs[index])
        if array is not None and array.size == 1:
            return float(np.asarray(array).reshape(())), operand(node, 1 - index)
    return None, value
