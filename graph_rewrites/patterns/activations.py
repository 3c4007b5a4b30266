"""Activations that an exporter took apart: their constant factors inside."""

from __future__ import annotations

import onnx_ir as ir
from onnxplain.graph_rewrites.builder import constant_array, operand, rank
from onnxplain.graph_rewrites.engine import label
from onnxplain.graph_rewrites.rules.products import is_activation, linear_index

from .surgery import Folded, become

__all__ = ["take_factors"]


def take_factors(graph: ir.Graph) -> list[Folded]:
    """Turn ``(x f(x)) c`` into ``x (f(x) c)``, so that no next layer takes in the factor.

    GELU ends in a half, and HardSwish in a sixth.
    """
    folded = []
    for node in list(graph):
        product = _scaled(node)
        if product is None:
            continue
        index = linear_index(product)
        if index is None:
            continue
        x, share, factor = operand(product, index), operand(product, 1 - index), operand(node, 1)
        if node.op_type == "Mul" and constant_array(operand(node, 0)) is not None:
            factor = operand(node, 0)
        inner = ir.node(node.op_type, [share, factor])
        inner.name = inner.outputs[0].name = f"{label(node)}/inside"
        inner.outputs[0].shape, inner.outputs[0].type = share.shape, share.type
        graph.insert_before(node, inner)
        folded.append(Folded(label(product), label(node)))
        become(graph, node, "Mul", [x, inner.outputs[0]], {})
    return folded


def _scaled(node: ir.Node) -> ir.Node | None:
    """Return the activation that a node multiplies by one number, and nothing else uses."""
    if node.op_type not in ("Div", "Mul") or node.domain != "":
        return None
    arrays = [constant_array(value) for value in node.inputs]
    index = 0 if arrays[0] is None else 1
    number, value = arrays[1 - index], operand(node, index)
    if number is None or number.size != 1 or (node.op_type == "Div" and index == 1):
        return None
    product = value.producer()
    if product is None or product.op_type != "Mul" or not is_activation(product):
        return None
    alone = len(value.uses()) == 1 and not value.is_graph_output()
    return product if alone and number.ndim <= (rank(value) or 0) else None
