"""Products of other ranks than a layer's, as products by a matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from .builder import constant_array, rank
from .patterns.surgery import constant

__all__ = ["make_matrices"]


def make_matrices(graph: ir.Graph) -> bool:
    """Let MatMul take a vector as a matrix of one row or column; return whether any does."""
    found = False
    for node in list(graph):
        if node.op_type != "MatMul" or node.domain != "":
            continue
        _flatten_weights(graph, node)
        ranks = [None if value is None else rank(value) for value in node.inputs]
        if 1 not in ranks or None in ranks:
            continue
        found = True
        (y,) = node.outputs
        for index in (0, 1):
            if ranks[index] == 1:
                axis = _axis(graph, f"{y.name}/axis_{index}", index)
                taken = ir.node("Unsqueeze", [node.inputs[index], axis])
                _insert(graph, node, taken, f"{y.name}/matrix_{index}")
                node.replace_input_with(index, taken.outputs[0])
        lost = [index - 2 for index in (0, 1) if ranks[index] == 1]
        whole = ir.node("MatMul", list(node.inputs))
        _insert(graph, node, whole, f"{y.name}/matrix")
        node.op_type = "Squeeze"
        node.replace_input_with(0, whole.outputs[0])
        node.replace_input_with(1, _axis(graph, f"{y.name}/lost", lost))
    return found


def _flatten_weights(graph: ir.Graph, node: ir.Node) -> None:
    """Take constant weights ``[1, ..., K, M]``, the same for all rows of x, as ``[K, M]``."""
    x, weights = node.inputs[0], constant_array(node.inputs[1])
    if x is None or weights is None or weights.ndim < 3 or (rank(x) or 0) < weights.ndim:
        return
    if set(weights.shape[:-2]) == {1}:
        matrix = weights.reshape(weights.shape[-2:])
        name = f"{node.outputs[0].name}/weights"
        node.replace_input_with(1, constant(graph, name, matrix, matrix.dtype))


def _axis(graph: ir.Graph, name: str, axis: Any) -> ir.Value:
    return constant(graph, name, np.atleast_1d(np.array(axis)), np.dtype(np.int64))


def _insert(graph: ir.Graph, before: ir.Node, node: ir.Node, name: str) -> None:
    node.name = node.outputs[0].name = name
    graph.insert_before(before, node)
